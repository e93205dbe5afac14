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

// --- the crew ---

static void on_packages(void *ctx)
{
    crew_reload(ctx);
}

enum err crew_new(const struct crew_config *config, struct crew **out, struct error *error)
{
    CHECK(config->children >= 1 && config->children <= WORKER_CHILDREN_MAX &&
          config->children_min <= config->children);
    struct crew *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->config = *config;
    if (config->children_min < 1)
        c->config.children_min = config->children;
    if (config->idle_ms < 1)
        c->config.idle_ms = WORKER_IDLE_S * 1000;
    c->wanted = c->config.children_min;
    c->limit = config->children;
    c->slots = calloc((size_t)config->children, sizeof *c->slots);
    CHECK(c->slots != NULL);
    for (int i = 0; i < config->children; i++) {
        c->slots[i].crew = c;
        c->slots[i].index = (uint32_t)i;
        c->slots[i].socket_fd = c->slots[i].memory_fd = -1;
    }
    c->watch = package_watch_new(config->loop, config->search_path, config->model, on_packages, c);
    if (config->exec == NULL) // from before they are read; in packages, when it is known which
        package_watch_reset(c->watch, NULL, 0);
    enum err err = generation_start(c, error);
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
    loop_timer_cancel(c->config.loop, &c->shrink);
    for (int i = 0; i < c->config.children; i++)
        slot_close(&c->slots[i]);
    while (c->generations != NULL)
        generation_end(c->generations);
    package_watch_free(c->watch);
    free(c->slots);
    free(c);
}

void crew_reload(struct crew *c)
{
    if (c->serving != NULL || c->zygote_restart.heap_place != 0)
        change_start(c);
    else
        c->look_again = true; // one loads already
}

void crew_status(const struct crew *c, struct buf *out)
{
    for (size_t i = 0; c->serving != NULL && i < c->model_count; i++)
        if (c->config.exec != NULL)
            buf_printf(out, "handler %s generation %u\n", c->models[i].name, c->serving->number);
        else
            buf_printf(out, "model %s %s sha256 %.12s generation %u\n", c->models[i].name,
                       c->models[i].precision, c->models[i].sha256, c->serving->number);
    if (c->coming != NULL && c->serving != NULL)
        buf_printf(out, "generation %u %s\n", c->coming->number,
                   c->coming->waits ? "waits until an older one has left" : "loads");
    if (c->refused[0] != '\0')
        buf_printf(out, "the models' new state was refused: %s\n", c->refused);
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
        struct span given = span_trim(span_cut(rest, ',', &rest)); // as --model has it
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

static bool can_grow(const struct crew *c)
{
    return c->serving != NULL && c->wanted < c->limit;
}

size_t crew_room(const struct crew *c)
{
    size_t room = can_grow(c) ? CHILD_LANES * (size_t)(c->limit - c->wanted) : 0;
    for (int i = 0; i < c->config.children; i++)
        if (slot_usable(&c->slots[i]))
            room += CHILD_LANES - c->slots[i].pending;
    return room;
}

// The fewest jobs first, then a child that is up, then the one whose job began first; of idle ones
// the lowest, so that the highest have nothing to do and can go.
static bool slot_better(const struct slot *a, const struct slot *b)
{
    if (a->pending != b->pending)
        return a->pending < b->pending;
    if (a->state != b->state)
        return a->state == SLOT_UP;
    return a->pending > 0 && a->begun_ms < b->begun_ms;
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

// --- more and fewer children ---

static void on_shrink(void *ctx)
{
    struct crew *c = ctx;
    int64_t now = loop_now_ms(c->config.loop), next = now + c->config.idle_ms;
    int before = c->wanted;
    while (c->wanted > c->config.children_min) {
        struct slot *s = &c->slots[c->wanted - 1];
        bool idle = s->state == SLOT_OFF || (s->state == SLOT_UP && s->pending == 0);
        if (!idle || s->idle_ms + c->config.idle_ms > now) {
            next = idle ? s->idle_ms + c->config.idle_ms : next;
            break;
        }
        loop_timer_cancel(c->config.loop, &s->restart);
        if (s->state == SLOT_UP)
            slot_retire(s);
        c->wanted--;
    }
    if (c->wanted < before)
        log_event(LOG_INFO, "pool_shrank", "children=%d why=\"idle for %d ms\"", c->wanted,
                  c->config.idle_ms);
    if (c->wanted > c->config.children_min)
        loop_timer_set(c->config.loop, &c->shrink, next, on_shrink, c);
}

// One more child, for a job that would wait behind another one. NULL: it cannot be started.
static struct slot *grow(struct crew *c)
{
    struct slot *s = &c->slots[c->wanted];
    if (s->state == SLOT_OFF && s->restart.heap_place == 0)
        slot_start(s);
    if (!slot_usable(s))
        return NULL;
    c->wanted++;
    log_event(LOG_INFO, "pool_grew", "children=%d of=%d", c->wanted, c->limit);
    if (c->shrink.heap_place == 0)
        loop_timer_set(c->config.loop, &c->shrink, loop_now_ms(c->config.loop) + c->config.idle_ms,
                       on_shrink, c);
    return s;
}

void crew_fit_memory(struct crew *c)
{
    const struct generation *g = c->serving;
    uint64_t each = g->child_bytes + WORKER_CHILD_EXTRA_BYTES, shared = g->shared_bytes;
    uint64_t total = c->config.memory_bytes, rest = total > shared ? total - shared : 0;
    c->limit = c->config.children;
    if (total == 0 || g->child_bytes == 0)
        return;
    if (rest / each < (uint64_t)c->limit)
        c->limit = rest / each > 1 ? (int)(rest / each) : 1;
    bool room = rest >= (uint64_t)c->limit * each + shared;
    log_event(c->limit < c->config.children ? LOG_WARN : LOG_INFO, "memory",
              "mib=%llu shared_mib=%llu child_mib=%llu children_max=%d of=%d "
              "room_for_second_generation=%s",
              (unsigned long long)(total >> 20), (unsigned long long)(shared >> 20),
              (unsigned long long)(each >> 20), c->limit, c->config.children, room ? "yes" : "no");
    if (c->wanted > c->limit) // those that are there already end as they become idle
        c->wanted = c->limit;
}

void crew_hand_over(struct crew *c, void *task, const struct crew_job *job)
{
    struct slot *s = best_slot(c);
    if (can_grow(c) && (s == NULL || s->pending > 0)) {
        struct slot *more = grow(c);
        s = more != NULL ? more : s;
    }
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
    counts.wanted = c->wanted;
    counts.limit = c->limit;
    counts.generation = c->serving != NULL ? c->serving->number : 0;
    for (const struct generation *g = c->generations; g != NULL; g = g->next)
        counts.loaded += g->loaded;
    for (int i = 0; i < c->config.children; i++) {
        counts.up += c->slots[i].state == SLOT_UP;
        counts.busy += c->slots[i].state == SLOT_UP && c->slots[i].pending > 0;
    }
    return counts;
}
