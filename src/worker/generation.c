// One zygote as the poller sees it: its start, its reports, its end.
#include "worker/crew_internal.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"

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

static void take_model(struct generation *g, const struct zygote_report *report)
{
    if (g->model_count == WORKER_MODELS_MAX)
        return;
    snprintf(g->folders[g->model_count], PACKAGE_FOLDER_BYTES_MAX, "%s", report->folder);
    g->models[g->model_count++] = report->model;
}

static void take_death(struct generation *g, const struct zygote_report *report)
{
    struct crew *c = g->crew;
    CHECK(report->slot < (uint32_t)c->config.children && g->children > 0);
    struct slot *s = &c->slots[report->slot];
    if (s->generation == g && s->serial == report->serial) // else it was retired
        slot_died(s, report);
    g->children--;      // only now: g must not go while its slot is looked at
    change_on_fewer(g); // may free g
}

// One report; g may be gone afterwards.
static void on_report(void *ctx, uint32_t events)
{
    struct generation *g = ctx;
    struct zygote_report report;
    (void)events;
    ssize_t got = recv(g->control_fd, &report, sizeof report, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got != (ssize_t)sizeof report) { // its end is reported by its pidfd
        loop_watch_remove(g->crew->config.loop, &g->control_watch);
        return;
    }
    switch (report.kind) {
    case ZYGOTE_LOADS:
        change_on_loads(g);
        break;
    case ZYGOTE_MODEL:
        take_model(g, &report);
        break;
    case ZYGOTE_READY:
        memcpy(g->fingerprint, report.fingerprint, sizeof g->fingerprint);
        g->child_bytes = report.child_bytes;
        g->shared_bytes = report.shared_bytes;
        change_on_ready(g);
        break;
    case ZYGOTE_SAME:
        change_on_same(g, report.which);
        break;
    case ZYGOTE_FAILED:
        change_on_failed(g, report.sentence);
        break;
    default: // both ends are of one build
        CHECK(report.kind == ZYGOTE_DIED);
        take_death(g, &report);
    }
}

// The zygote has ended, and its children with it: no job is to blame.
static void on_end(void *ctx, uint32_t events)
{
    struct generation *g = ctx;
    struct crew *c = g->crew;
    struct crew_death death;
    struct zygote_report report;
    int status = 0;
    char text[200];
    (void)events;
    // its last words: after these its end was no accident. Deaths of children are covered below
    while (recv(g->control_fd, &report, sizeof report, MSG_DONTWAIT) == (ssize_t)sizeof report)
        if (report.kind == ZYGOTE_FAILED) {
            change_on_failed(g, report.sentence);
            return;
        } else if (report.kind == ZYGOTE_SAME) {
            change_on_same(g, report.which);
            return;
        }
    waitpid(g->pid, &status, 0);
    g->pid = 0;
    crew_describe_death(c, status, false, false, &death);
    log_event(LOG_ERROR, "zygote_died", "generation=%u why=%s", g->number,
              log_quote(death.sentence, text, sizeof text));
    for (int i = 0; i < c->config.children; i++)
        if (c->slots[i].generation == g)
            slot_bury(&c->slots[i], NULL);
    change_on_end(g, death.sentence);
}

static void on_load_limit(void *ctx)
{
    char sentence[100];
    snprintf(sentence, sizeof sentence, "it was not loaded within %d s", WORKER_LOAD_S_MAX);
    change_on_failed(ctx, sentence);
}

// Fingerprints of what need not be loaded: what serves, what is kept, what was taken back.
static void list_known(const struct crew *c, struct buf *out)
{
    buf_printf(out, "%s,%s", c->serving != NULL ? c->serving->fingerprint : "",
               c->kept != NULL ? c->kept->fingerprint : "");
    for (size_t i = 0; i < WORKER_CONDEMNED_MAX; i++)
        buf_printf(out, ",%s", c->condemned[i].fingerprint);
}

static enum err spawn(struct generation *g, struct error *error)
{
    struct crew *c = g->crew;
    const struct crew_config *config = &c->config;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(error, ERR_IO, errno, "make the zygote's socket");
    g->control_fd = pair[0];
    AUTO_FD int theirs = pair[1];
    AUTO_BUF struct buf known = {0};
    const char *argv[16] = {"smelt",   "zygote",      "--fd",     "3",
                            "--model", config->model, "--models", config->search_path};
    size_t n = 8;
    if (c->serving != NULL || c->kept != NULL) {
        list_known(c, &known);
        argv[n++] = "--known";
        argv[n++] = known.data;
    }
    if (config->exec != NULL) {
        argv[n++] = "--exec";
        argv[n++] = config->exec;
    }
    if (config->pin)
        argv[n++] = "--pin";
    struct process_fd fds[] = {{theirs, 3}};
    TRY(process_spawn(argv, fds, 1, &g->pid, error));
    g->pid_fd = (int)syscall(SYS_pidfd_open, g->pid, 0);
    if (g->pid_fd < 0)
        return fail(error, ERR_IO, errno, "watch the zygote");
    TRY(loop_watch_add(config->loop, &g->pid_watch, g->pid_fd, EPOLLIN, on_end, g, error));
    return loop_watch_add(config->loop, &g->control_watch, g->control_fd, EPOLLIN, on_report, g,
                          error);
}

static void limit_loading(struct generation *g)
{
    struct loop *loop = g->crew->config.loop;
    loop_timer_set(loop, &g->limit, loop_now_ms(loop) + WORKER_LOAD_S_MAX * 1000, on_load_limit, g);
}

void generation_let_load(struct generation *g)
{
    const struct zygote_request request = {.kind = ZYGOTE_LOAD};
    g->waits = false;
    g->loaded = true;
    limit_loading(g);
    // cannot fail but by the zygote's death, which is seen elsewhere
    if (send(g->control_fd, &request, sizeof request, MSG_NOSIGNAL) < 0)
        log_event(LOG_DEBUG, "load_unsent", "generation=%u errno=%d", g->number, errno);
}

enum err generation_start(struct crew *c, struct error *error)
{
    CHECK(c->coming == NULL);
    struct generation *g = calloc(1, sizeof *g);
    CHECK(g != NULL);
    *g = (struct generation){.next = c->generations,
                             .crew = c,
                             .number = ++c->generation_number,
                             .role = GENERATION_COMING,
                             .control_fd = -1,
                             .pid_fd = -1};
    c->generations = c->coming = g;
    c->counts.zygote_starts++;
    enum err err = spawn(g, error);
    if (err != OK) {
        generation_end(g);
        return err;
    }
    limit_loading(g);
    return OK;
}

void generation_end(struct generation *g)
{
    struct crew *c = g->crew;
    struct generation **place = &c->generations;
    while (*place != g)
        place = &(*place)->next;
    *place = g->next;
    c->serving = c->serving == g ? NULL : c->serving;
    c->coming = c->coming == g ? NULL : c->coming;
    c->kept = c->kept == g ? NULL : c->kept;
    loop_timer_cancel(c->config.loop, &g->limit);
    loop_watch_remove(c->config.loop, &g->control_watch);
    loop_watch_remove(c->config.loop, &g->pid_watch);
    if (g->pid > 0) {
        kill(g->pid, SIGKILL);
        waitpid(g->pid, NULL, 0);
    }
    fd_close(&g->control_fd);
    fd_close(&g->pid_fd);
    free(g);
}
