#include "worker/crew.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/random.h"
#include "worker/crew_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Full jitter: anything up to a doubling bound.
int64_t crew_back_off_ms(int failures)
{
    int64_t bound = 50;
    for (int i = 1; i < failures && bound < WORKER_RETRY_MS_MAX; i++)
        bound *= 2;
    if (bound > WORKER_RETRY_MS_MAX)
        bound = WORKER_RETRY_MS_MAX;
    return 1 + (int64_t)(random_u64() % (uint64_t)bound);
}

static void describe_signal(int signal, struct crew_death *out)
{
    const char *why = "";
    if (signal == SIGSYS) {
        why = ": a system call that the sandbox forbids";
        out->limit = "sandbox";
    } else if (signal == SIGKILL) { // not by us
        why = ": by the kernel for want of memory, or by somebody";
        out->limit = "memory";
    }
    out->signal = signal;
    snprintf(out->sentence, sizeof out->sentence, "killed by signal %d (%s)%s", signal,
             strsignal(signal), why);
}

void crew_describe_death(const struct crew *c, int wait_status, bool hung, bool cancelled,
                         struct crew_death *out)
{
    *out = (struct crew_death){.hung = hung, .cancelled = cancelled, .limit = ""};
    if (hung) {
        out->limit = "deadline";
        snprintf(out->sentence, sizeof out->sentence, "killed: no answer within %d ms",
                 c->config.job_timeout_ms);
    } else if (cancelled) {
        snprintf(out->sentence, sizeof out->sentence, "killed: it did not hear the cancellation");
    } else if (wait_status == -1) {
        snprintf(out->sentence, sizeof out->sentence, "could not be forked");
    } else if (WIFSIGNALED(wait_status)) {
        describe_signal(WTERMSIG(wait_status), out);
    } else {
        snprintf(out->sentence, sizeof out->sentence, "ended with status %d",
                 WEXITSTATUS(wait_status));
    }
}

void crew_give_up(struct crew *c, const char *sentence)
{
    if (!c->ever_ready)
        c->config.handlers.on_failed(c->config.handlers.ctx, sentence);
}

// --- the zygote ---

static void zygote_start(struct crew *c);

static void on_zygote_restart(void *ctx)
{
    zygote_start(ctx);
}

static void zygote_close(struct crew *c)
{
    loop_watch_remove(c->config.loop, &c->control_watch);
    loop_watch_remove(c->config.loop, &c->pid_watch);
    fd_close(&c->control_fd);
    fd_close(&c->pid_fd);
    c->zygote_pid = 0;
    c->zygote_ready = false;
}

static void zygote_kill(struct crew *c)
{
    if (c->zygote_pid > 0) { // its children die with it
        kill(c->zygote_pid, SIGKILL);
        waitpid(c->zygote_pid, NULL, 0);
    }
    zygote_close(c);
}

static void zygote_start_later(struct crew *c)
{
    c->zygote_failures++;
    loop_timer_set(c->config.loop, &c->zygote_restart,
                   loop_now_ms(c->config.loop) +
                       (c->zygote_failures == 1 ? 0 : crew_back_off_ms(c->zygote_failures)),
                   on_zygote_restart, c);
}

// One report, if there is one. False: there was none.
static bool take_report(struct crew *c)
{
    struct zygote_report report;
    ssize_t got = recv(c->control_fd, &report, sizeof report, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got != (ssize_t)sizeof report) { // its end is reported by its pidfd
        loop_watch_remove(c->config.loop, &c->control_watch);
        return false;
    }
    if (report.kind == ZYGOTE_MODEL && c->models_heard < WORKER_MODELS_MAX) {
        c->models[c->models_heard++] = report.model;
    } else if (report.kind == ZYGOTE_READY) {
        c->model_count = c->models_heard;
        c->zygote_ready = true;
        c->zygote_failures = 0;
        for (int i = 0; i < c->config.children; i++)
            slot_start(&c->slots[i]);
    } else if (report.kind == ZYGOTE_FAILED) {
        char text[600];
        snprintf(c->why, sizeof c->why, "%s", report.sentence);
        // at the start it is the worker's last sentence, which needs no second one in the log
        log_event(c->ever_ready ? LOG_ERROR : LOG_INFO, "model_failed", "why=%s",
                  log_quote(c->why, text, sizeof text));
    } else if (report.kind == ZYGOTE_DIED && report.slot < (uint32_t)c->config.children) {
        slot_died(&c->slots[report.slot], &report);
    }
    return true;
}

static void on_zygote_report(void *ctx, uint32_t events)
{
    (void)events;
    take_report(ctx);
}

// The zygote has ended, and its children with it: no job is to blame.
static void on_zygote_end(void *ctx, uint32_t events)
{
    struct crew *c = ctx;
    struct crew_death death;
    int status = 0;
    char text[200];
    (void)events;
    while (c->control_watch.active && take_report(c)) // its last words
        continue;
    waitpid(c->zygote_pid, &status, 0);
    crew_describe_death(c, status, false, false, &death);
    bool explained = !c->ever_ready && c->why[0] != '\0';
    log_event(explained ? LOG_INFO : LOG_ERROR, "zygote_died", "pid=%d why=%s", (int)c->zygote_pid,
              log_quote(death.sentence, text, sizeof text));
    zygote_close(c);
    for (int i = 0; i < c->config.children; i++) {
        loop_timer_cancel(c->config.loop, &c->slots[i].restart);
        if (c->slots[i].state != SLOT_OFF)
            slot_bury(&c->slots[i], NULL);
    }
    if (!c->ever_ready) {
        char sentence[700];
        snprintf(sentence, sizeof sentence, "the process that loads model '%s' was %s",
                 c->config.model, death.sentence);
        crew_give_up(c, c->why[0] != '\0' ? c->why : sentence);
        return;
    }
    zygote_start_later(c);
}

static enum err zygote_spawn(struct crew *c, struct error *error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(error, ERR_IO, errno, "make the zygote's socket");
    c->control_fd = pair[0];
    AUTO_FD int theirs = pair[1];
    const char *argv[] = {
        "smelt",    "zygote",              "--fd",
        "3",        "--model",             c->config.model,
        "--models", c->config.search_path, c->config.exec != NULL ? "--exec" : NULL,
        c->config.exec,     NULL};
    struct process_fd fds[] = {{theirs, 3}};
    TRY(process_spawn(argv, fds, 1, &c->zygote_pid, error));
    c->pid_fd = (int)syscall(SYS_pidfd_open, c->zygote_pid, 0);
    if (c->pid_fd < 0)
        return fail(error, ERR_IO, errno, "watch the zygote");
    TRY(loop_watch_add(c->config.loop, &c->pid_watch, c->pid_fd, EPOLLIN, on_zygote_end, c, error));
    return loop_watch_add(c->config.loop, &c->control_watch, c->control_fd, EPOLLIN,
                          on_zygote_report, c, error);
}

static void zygote_start(struct crew *c)
{
    struct error error;
    c->why[0] = '\0';
    c->models_heard = 0;
    c->counts.zygote_starts++;
    if (zygote_spawn(c, &error) == OK)
        return;
    char text[520];
    log_event(LOG_ERROR, "zygote_start_failed", "why=%s", log_quote(error.msg, text, sizeof text));
    zygote_kill(c);
    zygote_start_later(c);
}

// --- the crew ---

enum err crew_new(const struct crew_config *config, struct crew **out, struct error *error)
{
    CHECK(config->children >= 1 && config->children <= WORKER_CHILDREN_MAX);
    struct crew *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->config = *config;
    c->control_fd = c->pid_fd = -1;
    c->slots = calloc((size_t)config->children, sizeof *c->slots);
    CHECK(c->slots != NULL);
    for (int i = 0; i < config->children; i++) {
        c->slots[i].crew = c;
        c->slots[i].index = (uint32_t)i;
        c->slots[i].socket_fd = c->slots[i].memory_fd = -1;
    }
    c->counts.zygote_starts = 1;
    enum err err = zygote_spawn(c, error);
    if (err != OK) {
        crew_free(c);
        return err;
    }
    *out = c;
    return OK;
}

void crew_free(struct crew *c)
{
    if (c == NULL)
        return;
    loop_timer_cancel(c->config.loop, &c->zygote_restart);
    for (int i = 0; i < c->config.children; i++)
        slot_close(&c->slots[i]);
    zygote_kill(c);
    free(c->slots);
    free(c);
}

size_t crew_model_count(const struct crew *c)
{
    return c->model_count;
}

const struct crew_model *crew_model(const struct crew *c, size_t i)
{
    CHECK(i < WORKER_MODELS_MAX);
    return &c->models[i];
}

int crew_find_model(const struct crew *c, const char *name)
{
    struct span rest = span_from(c->config.model);
    if (name[0] == '\0')
        return 0;
    for (size_t i = 0; i < c->model_count; i++) {
        struct span given = span_cut(rest, ',', &rest); // as --model has it
        if (strcmp(c->models[i].name, name) == 0 || span_is(given, name))
            return (int)i;
    }
    return -1;
}

bool crew_able(const struct crew *c)
{
    for (int i = 0; i < c->config.children; i++)
        if (slot_usable(&c->slots[i]))
            return true;
    return false;
}

size_t crew_room(const struct crew *c)
{
    size_t room = 0;
    for (int i = 0; i < c->config.children; i++)
        if (slot_usable(&c->slots[i]))
            room += CHILD_LANES - c->slots[i].pending;
    return room;
}

// The fewest jobs first, then a child that is up, then the one whose job began first.
static bool slot_better(const struct slot *a, const struct slot *b)
{
    if (a->pending != b->pending)
        return a->pending < b->pending;
    if (a->state != b->state)
        return a->state == SLOT_UP;
    return a->begun_ms < b->begun_ms;
}

static struct slot *best_slot(const struct crew *c)
{
    struct slot *best = NULL;
    for (int i = 0; i < c->config.children; i++) {
        struct slot *s = &c->slots[i];
        if (slot_usable(s) && s->pending < CHILD_LANES && (best == NULL || slot_better(s, best)))
            best = s;
    }
    return best;
}

void crew_hand_over(struct crew *c, void *task, const struct crew_job *job)
{
    struct slot *s = best_slot(c);
    CHECK(s != NULL && job->picture.len <= IMAGE_BYTES_MAX &&
          job->note.len <= SLOT_NOTE_BYTES_MAX && job->model < c->model_count);
    slot_hand_over(s, task, job);
}

void crew_cancel(struct crew *c, void *task)
{
    for (int i = 0; i < c->config.children; i++)
        if (slot_cancel(&c->slots[i], task))
            return;
}

static int idle_children(const struct crew *c)
{
    int idle = 0;
    for (int i = 0; i < c->config.children; i++)
        idle += c->slots[i].state == SLOT_UP && c->slots[i].pending == 0;
    return idle;
}

void crew_rebalance(struct crew *c, bool everything)
{
    int idle = idle_children(c);
    for (int i = 0; i < c->config.children && (everything || idle > 0); i++) {
        struct slot *s = &c->slots[i];
        for (uint32_t k = 1; slot_usable(s) && k < s->pending && (everything || idle > 0); k++) {
            idle -= !s->lanes[s->order[k]].revoked;
            slot_revoke(s, s->order[k]);
        }
    }
}

struct crew_counts crew_counts(const struct crew *c)
{
    struct crew_counts counts = c->counts;
    for (int i = 0; i < c->config.children; i++) {
        counts.up += c->slots[i].state == SLOT_UP;
        counts.busy += c->slots[i].state == SLOT_UP && c->slots[i].pending > 0;
    }
    return counts;
}
