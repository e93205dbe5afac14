#include "worker/poller.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "worker/poller_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACE_FREE 1e9 // no service asks to slow down

enum { FLUSH_S_MAX = 3 }; // of the drain: for the last deletes and hand-backs

int64_t poller_back_off_ms(int failures)
{
    int64_t bound = INT64_C(200) << (failures < 7 ? failures : 7);
    if (bound > WORKER_RETRY_MS_MAX)
        bound = WORKER_RETRY_MS_MAX;
    return 1 + (int64_t)(random_u64() % (uint64_t)bound);
}

// --- outages ---

static bool is_outage(const struct aws_result *r)
{
    switch (r->err) {
    case ERR_NET:
    case ERR_TIMEOUT:
    case ERR_UNAVAILABLE:
    case ERR_THROTTLED:
    case ERR_IO:
    case ERR_FORMAT:
        return true;
    case ERR_DENIED: // our keys; an object that we may not read is another thing
        return strcmp(r->code, "AccessDenied") != 0;
    default:
        return false;
    }
}

// A service asks for fewer requests: half as many jobs in hand, at most once in a while, and one
// more for every round that goes well (poller_speed_up).
static void slow_down(struct poller *p, const struct service *s)
{
    enum { ONCE_IN_MS = 500 };
    int64_t now = loop_now_ms(p->config.loop);
    if (p->slowed_at_ms != 0 && now - p->slowed_at_ms < ONCE_IN_MS)
        return;
    if (p->pace >= PACE_FREE)
        log_event(LOG_WARN, "slowed_down", "service=%s", s->name);
    double now_allowed = (double)poller_in_hand_max(p);
    p->slowed_at_ms = now;
    p->pace = now_allowed > 2 ? now_allowed / 2 : 1;
    p->slowdowns++;
}

void poller_speed_up(struct poller *p)
{
    if (p->pace >= PACE_FREE)
        return;
    p->pace += 1 / p->pace;
    if (p->pace > 2.0 * p->config.children + WORKER_PREFETCH_MAX) {
        log_event(LOG_INFO, "full_speed", "after_ms=%lld",
                  (long long)(loop_now_ms(p->config.loop) - p->slowed_at_ms));
        p->pace = PACE_FREE;
    }
}

void service_note(struct poller *p, struct service *s, const struct aws_result *r)
{
    bool broken = is_outage(r);
    int64_t now = loop_now_ms(p->config.loop);
    char text[300];
    if (broken && !s->broken) {
        snprintf(s->why, sizeof s->why, "%.199s", r->error.msg);
        log_event(LOG_WARN, "service_lost", "service=%s why=%s", s->name,
                  log_quote(s->why, text, sizeof text));
        s->since_ms = now;
    } else if (!broken && s->broken) {
        log_event(LOG_INFO, "service_back", "service=%s after_ms=%lld", s->name,
                  (long long)(now - s->since_ms));
    }
    bool back = s->broken && !broken;
    s->broken = broken;
    if (r->throttles > 0)
        slow_down(p, s);
    if (back && s == &p->s3)
        tasks_wake(p);
    else if (back)
        sources_wake(p);
}

// --- how much ---

// That there may be now: memory and processors bound an elastic crew.
static int children_now(const struct poller *p)
{
    int limit = p->crew != NULL ? crew_counts(p->crew).limit : 0;
    return limit > 0 && limit < p->config.children ? limit : p->config.children;
}

// Pictures fetched ahead, beyond the two that each child has: one for each child, and more when
// pictures take less time than their fetching.
size_t poller_prefetch(const struct poller *p)
{
    size_t children = (size_t)children_now(p), count = children;
    if (p->job_us > 0)
        count = (size_t)((double)children * WORKER_PREFETCH_MS * 1000.0 / p->job_us);
    if (count > WORKER_PREFETCH_MAX)
        count = WORKER_PREFETCH_MAX;
    if (count < children)
        count = children;
    return count > WORKER_PREFETCH_MIN ? count : WORKER_PREFETCH_MIN;
}

// Jobs in hand at most: two for each child and what is fetched ahead, but no more waiting than can
// begin before the lease is renewed. Less while a service asks to slow down.
size_t poller_in_hand_max(const struct poller *p)
{
    double children = children_now(p);
    double most = 2 * children + (double)poller_prefetch(p);
    double begin = children; // of what is not computed yet nothing is known
    if (p->job_us > 0)
        begin += children * sources_visibility_s(p) * (1e6 / 3) / p->job_us;
    most = begin < most ? begin : most;
    most = p->pace < most ? p->pace : most;
    return most > 1 ? (size_t)most : 1;
}

// --- flow: at the end of every turn of the loop ---

static void start_jobs(struct poller *p)
{
    for (struct message *m = p->messages, *next; m != NULL && p->unstarted > 0; m = next) {
        next = m->next;
        while (m->next_job < m->job_count && p->open_count < poller_in_hand_max(p) &&
               p->picture_bytes < WORKER_PREFETCH_BYTES_MAX) {
            p->unstarted--;
            task_new(m, &m->jobs[m->next_job++]);
        }
    }
}

static void hand_over(struct poller *p)
{
    while (p->ready_first != NULL && crew_room(p->crew) > 0) {
        struct task *t = task_take_ready(p);
        if (!task_expired(t))
            task_hand_over(t);
    }
}

static void check_drained(struct poller *p)
{
    if (!p->draining || p->drained || p->tasks != NULL || outbox_count(p->outbox) > 0 ||
        sources_receiving(p))
        return;
    p->drained = true;
    loop_timer_cancel(p->config.loop, &p->drain_limit);
    p->config.on_drained(p->config.ctx);
}

static bool on_turn(void *ctx)
{
    struct poller *p = ctx;
    if (p->crew == NULL || p->leaving) {
        check_drained(p);
        return false;
    }
    if (!p->draining && p->crew_ready)
        start_jobs(p);
    hand_over(p);
    if (p->ready_first == NULL && !p->draining) {
        crew_rebalance(p->crew, false);
        hand_over(p);
    }
    sources_receive(p);
    if (p->task_count == 0) // nothing comes that could go with them
        outbox_hurry(p->outbox);
    check_drained(p);
    return false;
}

// --- the crew's callbacks ---

void poller_announce(struct poller *p)
{
    const char *missing;
    if (p->announced || !p->crew_ready || !sources_found(p, &missing))
        return;
    p->announced = true;
    p->config.on_ready(p->config.ctx);
}

static void on_crew_ready(void *ctx)
{
    struct poller *p = ctx;
    p->crew_ready = true;
    poller_announce(p);
}

static void on_crew_failed(void *ctx, const char *sentence)
{
    struct poller *p = ctx;
    p->config.on_failed(p->config.ctx, sentence);
}

static void on_answer(void *ctx, void *task, const struct crew_answer *answer)
{
    (void)ctx;
    task_on_answer(task, answer);
}

static void on_death(void *ctx, void *task, const struct crew_death *death)
{
    (void)ctx;
    task_on_death(task, death);
}

static void on_return(void *ctx, void *task)
{
    (void)ctx;
    task_on_return(task);
}

static void on_outbox_result(void *ctx, const struct aws_result *r)
{
    struct poller *p = ctx;
    service_note(p, &p->sqs, r);
}

// --- life ---

enum err poller_new(const struct poller_config *config, struct poller **out, struct error *error)
{
    struct poller *p = calloc(1, sizeof *p);
    CHECK(p != NULL);
    p->config = *config;
    p->ready_end = &p->ready_first;
    p->pace = PACE_FREE;
    p->sqs.name = "sqs";
    p->s3.name = "s3";
    const struct crew_config crew = {
        .loop = config->loop,
        .model = config->model,
        .search_path = config->search_path,
        .state_file = config->state_file,
        .exec = config->exec,
        .children = config->children,
        .children_min = config->children_min,
        .idle_ms = config->idle_ms,
        .memory_bytes = config->memory_bytes,
        .pin = config->pin,
        .job_timeout_ms = config->job_timeout_ms,
        .handlers = {p, on_crew_ready, on_crew_failed, on_answer, on_death, on_return}};
    enum err err = crew_new(&crew, &p->crew, error);
    if (err != OK) {
        free(p);
        return err;
    }
    p->outbox = outbox_new(config->loop, config->sqs,
                           (struct outbox_handlers){p, on_outbox_result, messages_on_stale});
    err = config->leases != NULL ? lease_book_open(config->leases, &p->leases, error) : OK;
    if (err == OK)
        err = sources_open(p, error);
    if (err != OK) {
        poller_free(p);
        return err;
    }
    loop_hook_add(config->loop, &p->hook, on_turn, p);
    *out = p;
    return OK;
}

void poller_free(struct poller *p)
{
    if (p == NULL)
        return;
    p->leaving = p->draining = true;
    backlog_stop(p);
    sources_close(p);
    outbox_free(p->outbox);
    crew_free(p->crew);
    while (p->tasks != NULL) {
        if (p->tasks->call != NULL)
            s3_call_cancel(p->tasks->call);
        task_free(p->tasks);
    }
    for (struct message *m = p->messages, *next; m != NULL; m = next) {
        next = m->next;
        message_forget(m);
    }
    loop_timer_cancel(p->config.loop, &p->lease);
    loop_timer_cancel(p->config.loop, &p->drain_limit);
    lease_book_close(p->leases);
    tally_release(&p->tally);
    free(p);
}

// Hands back whatever is not published: of all tasks, or of those that no child computes.
static void hand_back(struct poller *p, bool all)
{
    for (struct task *t = p->tasks, *next; t != NULL; t = next) {
        next = t->next;
        // an unsent reply is the outbox's; that message comes again and finds its result
        if (t->step != TASK_REPLYING && (all || t->step < TASK_WITH_CREW))
            task_abandon(t);
    }
}

static void on_drain_flushed(void *ctx)
{
    struct poller *p = ctx;
    log_event(LOG_WARN, "drain_cut", "unconfirmed=%zu", outbox_count(p->outbox));
    p->drained = true;
    p->config.on_drained(p->config.ctx);
}

static void on_drain_limit(void *ctx)
{
    struct poller *p = ctx;
    log_event(LOG_WARN, "drain_limit", "jobs=%zu seconds=%d", p->task_count, WORKER_DRAIN_S_MAX);
    p->leaving = true;
    crew_free(p->crew);
    p->crew = NULL;
    hand_back(p, true);
    loop_timer_set(p->config.loop, &p->drain_limit,
                   loop_now_ms(p->config.loop) + FLUSH_S_MAX * 1000, on_drain_flushed, p);
}

void poller_drain(struct poller *p)
{
    if (p->draining)
        return;
    p->draining = true;
    log_event(LOG_INFO, "drain", "jobs=%zu computing=%d", p->task_count, crew_counts(p->crew).busy);
    sources_drain(p);
    messages_forget_unstarted(p);
    crew_rebalance(p->crew, true);
    hand_back(p, false);
    outbox_flush(p->outbox);
    loop_timer_set(p->config.loop, &p->drain_limit,
                   loop_now_ms(p->config.loop) + (WORKER_DRAIN_S_MAX - FLUSH_S_MAX) * 1000,
                   on_drain_limit, p);
}

void poller_reload(struct poller *p)
{
    if (p->crew != NULL && !p->draining)
        crew_reload(p->crew);
}

void poller_ask_backlog(struct poller *p)
{
    backlog_ask(p);
}
