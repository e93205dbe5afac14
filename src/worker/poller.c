#include "worker/poller.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"
#include "worker/poller_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    s->broken = broken;
}

// --- messages ---

static void message_free(struct message *m)
{
    struct poller *p = m->poller;
    if (m->prev != NULL)
        m->prev->next = m->next;
    else
        p->messages = m->next;
    if (m->next != NULL)
        m->next->prev = m->prev;
    p->message_count--;
    p->unstarted -= m->job_count - m->next_job;
    free(m->receipt);
    arena_release(&m->arena);
    free(m);
}

static void message_finish(struct message *m)
{
    struct poller *p = m->poller;
    struct span receipt = span_from(m->receipt);
    if (m->verdict == VERDICT_DELETE) {
        int delay_ms = p->config.visibility_s * 1000 / 6; // the lease holds two thirds at least
        outbox_delete(p->outbox, p->queue.queue_url, receipt,
                      delay_ms < WORKER_DELETE_DELAY_MS ? delay_ms : WORKER_DELETE_DELAY_MS);
    } else {
        p->returned++;
        outbox_visibility(p->outbox, p->queue.queue_url, receipt, 0);
    }
    message_free(m);
}

void message_task_done(struct message *m, enum verdict verdict)
{
    CHECK(m->open_tasks > 0);
    m->open_tasks--;
    if (verdict == VERDICT_RETURN)
        m->verdict = VERDICT_RETURN;
    if (m->open_tasks == 0 && m->next_job == m->job_count)
        message_finish(m);
}

// A message that cannot be understood. With an id its owner is told; without one it is left to come
// again until the queue moves it to the dead-letter queue.
static void message_is_broken(struct message *m, const struct error *error)
{
    struct poller *p = m->poller;
    char text[400];
    log_event(LOG_WARN, "bad_message", "message_id=%s attempt=%d why=%s", m->id, m->receive_count,
              log_quote(error->msg, text, sizeof text));
    if (m->job_count == 0) {
        if (p->queue.has_dlq)
            outbox_visibility(p->outbox, p->queue.queue_url, span_from(m->receipt), 0);
        message_free(m);
        return;
    }
    char sentence[400];
    snprintf(sentence, sizeof sentence, "the job's message is wrong: %.350s", error->msg);
    p->unstarted -= m->job_count;
    m->next_job = m->job_count;
    task_refuse(m, &m->jobs[0], "bad_message", sentence);
}

// Events about our own results are no jobs: a bucket that notifies its own queue would never end.
static void drop_own_results(struct message *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->job_count; i++)
        if (m->jobs[i].kind != JOB_S3_EVENT ||
            strcmp(m->jobs[i].bucket, m->poller->config.bucket) != 0 ||
            !span_starts(span_from(m->jobs[i].key), JOB_RESULTS_PREFIX))
            m->jobs[kept++] = m->jobs[i];
    m->job_count = kept;
}

static void keep_receipt(struct message *m, const struct sqs_message *in)
{
    free(m->receipt);
    m->receipt = strndup(in->receipt_handle.data, in->receipt_handle.len);
    CHECK(m->receipt != NULL);
    m->receive_count = in->receive_count > 0 ? in->receive_count : 1;
    m->renew_at_ms =
        loop_now_ms(m->poller->config.loop) + m->poller->config.visibility_s * 1000 / 3;
}

// The queue gave us a message again that we still have: its lease was lost, the new receipt counts.
static bool message_again(struct poller *p, const struct sqs_message *in)
{
    for (struct message *m = p->messages; m != NULL; m = m->next)
        if (span_is(in->id, m->id)) {
            keep_receipt(m, in);
            return true;
        }
    return false;
}

static void message_take(struct poller *p, const struct sqs_message *in)
{
    struct error error = {0};
    if (message_again(p, in))
        return;
    struct message *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    *m = (struct message){.poller = p,
                          .next = p->messages,
                          .received_wall_ms = clock_wall_ms(),
                          .sent_wall_ms = in->sent_ms};
    if (p->messages != NULL)
        p->messages->prev = m;
    p->messages = m;
    p->message_count++;
    m->id = arena_copy(&m->arena, in->id);
    keep_receipt(m, in);
    enum err err = job_decode(in->body, &m->arena, &m->jobs, &m->job_count, &error);
    if (err == OK)
        drop_own_results(m);
    p->unstarted += m->job_count;
    if (err != OK)
        message_is_broken(m, &error);
    else if (m->job_count == 0)
        message_finish(m);
}

// --- leases ---

static void on_lease(void *ctx)
{
    struct poller *p = ctx;
    enum { TOGETHER_MS = 5000 }; // leases that are due soon go with those that are due now
    int64_t now = loop_now_ms(p->config.loop), next = INT64_MAX;
    for (struct message *m = p->messages; m != NULL; m = m->next) {
        if (m->renew_at_ms <= now + TOGETHER_MS) {
            outbox_visibility(p->outbox, p->queue.queue_url, span_from(m->receipt),
                              p->config.visibility_s);
            m->renew_at_ms = now + p->config.visibility_s * 1000 / 3;
        }
        next = m->renew_at_ms < next ? m->renew_at_ms : next;
    }
    if (next != INT64_MAX)
        loop_timer_set(p->config.loop, &p->lease, next, on_lease, p);
}

static void watch_leases(struct poller *p)
{
    int64_t soon = loop_now_ms(p->config.loop) + p->config.visibility_s * 1000 / 3;
    if (p->lease.heap_place == 0 && p->messages != NULL)
        loop_timer_set(p->config.loop, &p->lease, soon, on_lease, p);
}

// --- receiving ---

// Pictures fetched ahead, beyond the two that each child has: one for each child, and more when
// pictures take less time than their fetching.
static size_t prefetch(const struct poller *p)
{
    size_t children = (size_t)p->config.children, count = children;
    if (p->job_us > 0)
        count = (size_t)(p->config.children * WORKER_PREFETCH_MS * 1000.0 / p->job_us);
    if (count > WORKER_PREFETCH_MAX)
        count = WORKER_PREFETCH_MAX;
    if (count < children)
        count = children;
    return count > WORKER_PREFETCH_MIN ? count : WORKER_PREFETCH_MIN;
}

static size_t in_hand_max(const struct poller *p)
{
    return 2 * (size_t)p->config.children + prefetch(p);
}

static void on_receive_retry(void *ctx)
{
    (void)ctx; // the hook at the end of this turn receives
}

static void on_received(void *ctx, const struct aws_result *r, const struct sqs_message *messages,
                        size_t count)
{
    struct poller *p = ctx;
    p->receive = NULL;
    if (r->err == ERR_CANCELLED)
        return;
    service_note(p, &p->sqs, r);
    if (r->err != OK) {
        if (r->err == ERR_NOT_FOUND && !p->draining) {
            p->queue_lost = true; // deleted under our feet
            setup_again(p->setup);
        }
        loop_timer_set(p->config.loop, &p->receive_retry,
                       loop_now_ms(p->config.loop) + poller_back_off_ms(++p->receive_failures),
                       on_receive_retry, p);
        return;
    }
    p->receive_failures = 0;
    p->received += count;
    for (size_t i = 0; i < count; i++) {
        if (p->draining) // came in the last moment
            outbox_visibility(p->outbox, p->queue.queue_url, messages[i].receipt_handle, 0);
        else
            message_take(p, &messages[i]);
    }
    watch_leases(p);
}

static bool may_receive(const struct poller *p)
{
    if (p->draining || p->receive != NULL || p->receive_retry.heap_place != 0 ||
        p->queue.queue_url == NULL || p->queue_lost || !p->crew_ready || !crew_able(p->crew))
        return false;
    // what is in hand probes a store that is out of reach; with nothing in hand one job does
    return !p->s3.broken || p->task_count == 0;
}

static void receive_more(struct poller *p)
{
    size_t max = in_hand_max(p), taken = p->open_count + p->unstarted;
    size_t worthwhile = prefetch(p) < SQS_BATCH_MAX ? prefetch(p) : SQS_BATCH_MAX;
    // publishing and replying are behind: what is computed must not pile up
    if (!may_receive(p) || taken + worthwhile > max || p->task_count > 4 * max)
        return;
    size_t room = p->s3.broken ? 1 : max - taken;
    p->receives++;
    // after an outage a short answer, so that we know that it is over
    p->receive = sqs_receive(
        p->config.sqs, p->queue.queue_url, room < SQS_BATCH_MAX ? (int)room : SQS_BATCH_MAX,
        p->sqs.broken ? 0 : SQS_WAIT_S_MAX, p->config.visibility_s, on_received, p);
}

// --- flow: at the end of every turn of the loop ---

static void start_jobs(struct poller *p)
{
    for (struct message *m = p->messages, *next; m != NULL && p->unstarted > 0; m = next) {
        next = m->next;
        while (m->next_job < m->job_count && p->open_count < in_hand_max(p) &&
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
        const struct crew_job job = {.model = (size_t)t->model,
                                     .picture = buf_view(&t->picture),
                                     .timeout_ms = p->config.job_timeout_ms};
        crew_hand_over(p->crew, t, &job);
    }
}

static void check_drained(struct poller *p)
{
    if (!p->draining || p->drained || p->tasks != NULL || outbox_count(p->outbox) > 0)
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
    receive_more(p);
    if (p->task_count == 0) // nothing comes that could go with them
        outbox_hurry(p->outbox);
    check_drained(p);
    return false;
}

// --- the crew's callbacks ---

static void announce(struct poller *p)
{
    if (p->announced || !p->crew_ready || p->queue.queue_url == NULL)
        return;
    p->announced = true;
    p->config.on_ready(p->config.ctx);
}

static void on_crew_ready(void *ctx)
{
    struct poller *p = ctx;
    p->crew_ready = true;
    announce(p);
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

static void on_setup(void *ctx, const struct setup_result *result)
{
    struct poller *p = ctx;
    p->queue = *result;
    p->queue_lost = false;
    log_event(LOG_INFO, "queue_found", "url=%s max_receive_count=%d dead_letter_queue=%s",
              result->queue_url, result->max_receive_count, result->has_dlq ? "yes" : "no");
    announce(p);
}

static void on_setup_progress(void *ctx, bool is_s3, const struct aws_result *r)
{
    struct poller *p = ctx;
    struct service *s = is_s3 ? &p->s3 : &p->sqs;
    service_note(p, s, r);
    if (r->err != OK && !is_outage(r)) {
        char text[300];
        log_event(LOG_WARN, "setup_waits", "service=%s why=%s", s->name,
                  log_quote(r->error.msg, text, sizeof text));
    }
}

// --- life ---

enum err poller_new(const struct poller_config *config, struct poller **out, struct error *error)
{
    struct poller *p = calloc(1, sizeof *p);
    CHECK(p != NULL);
    p->config = *config;
    p->ready_end = &p->ready_first;
    p->sqs.name = "sqs";
    p->s3.name = "s3";
    const struct crew_config crew = {
        .loop = config->loop,
        .model = config->model,
        .search_path = config->search_path,
        .children = config->children,
        .job_timeout_ms = config->job_timeout_ms,
        .handlers = {p, on_crew_ready, on_crew_failed, on_answer, on_death, on_return}};
    enum err err = crew_new(&crew, &p->crew, error);
    if (err != OK) {
        free(p);
        return err;
    }
    p->outbox = outbox_new(config->loop, config->sqs);
    const struct setup_config setup = {.loop = config->loop,
                                       .sqs = config->sqs,
                                       .s3 = config->s3,
                                       .queue = config->queue,
                                       .bucket = config->bucket,
                                       .create = config->create,
                                       .max_receive_count = config->max_receive_count,
                                       .visibility_s = config->visibility_s};
    p->setup = setup_new(&setup, on_setup, on_setup_progress, p);
    loop_hook_add(config->loop, &p->hook, on_turn, p);
    *out = p;
    return OK;
}

void poller_free(struct poller *p)
{
    if (p == NULL)
        return;
    p->leaving = p->draining = true;
    if (p->receive != NULL)
        sqs_call_cancel(p->receive);
    setup_free(p->setup);
    outbox_free(p->outbox);
    crew_free(p->crew);
    while (p->tasks != NULL) {
        if (p->tasks->call != NULL)
            s3_call_cancel(p->tasks->call);
        task_free(p->tasks);
    }
    for (struct message *m = p->messages, *next; m != NULL; m = next) {
        next = m->next;
        message_free(m);
    }
    loop_timer_cancel(p->config.loop, &p->receive_retry);
    loop_timer_cancel(p->config.loop, &p->lease);
    loop_timer_cancel(p->config.loop, &p->drain_limit);
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

// Jobs of messages that were not started: the message goes back when its last task is done.
static void forget_unstarted(struct poller *p)
{
    for (struct message *m = p->messages, *next; m != NULL; m = next) {
        next = m->next;
        if (m->next_job == m->job_count)
            continue;
        p->unstarted -= m->job_count - m->next_job;
        m->next_job = m->job_count;
        m->verdict = VERDICT_RETURN;
        if (m->open_tasks == 0)
            message_finish(m);
    }
}

void poller_drain(struct poller *p)
{
    if (p->draining)
        return;
    p->draining = true;
    log_event(LOG_INFO, "drain", "jobs=%zu computing=%d", p->task_count, crew_counts(p->crew).busy);
    if (p->receive != NULL)
        sqs_call_cancel(p->receive);
    loop_timer_cancel(p->config.loop, &p->receive_retry);
    forget_unstarted(p);
    crew_rebalance(p->crew, true);
    hand_back(p, false);
    outbox_flush(p->outbox);
    loop_timer_set(p->config.loop, &p->drain_limit,
                   loop_now_ms(p->config.loop) + (WORKER_DRAIN_S_MAX - FLUSH_S_MAX) * 1000,
                   on_drain_limit, p);
}

bool poller_ready(const struct poller *p, struct buf *why)
{
    if (p->draining)
        buf_add_text(why, "draining");
    else if (!p->crew_ready || !crew_able(p->crew))
        buf_printf(why, "waiting for the model '%s' to be loaded", p->config.model);
    else if (p->sqs.broken || p->s3.broken)
        buf_printf(why, "waiting for %s: %s", p->sqs.broken ? "sqs" : "s3",
                   p->sqs.broken ? p->sqs.why : p->s3.why);
    else if (p->queue.queue_url == NULL || p->queue_lost)
        buf_printf(why, "waiting for the queue '%s'", p->config.queue);
    else
        return true;
    return false;
}

static void add_counter(struct metrics *m, const char *name, const char *labels, const char *help,
                        double value)
{
    metric_add(metrics_counter(m, name, labels, help), value);
}

void poller_metrics(const struct poller *p, struct buf *out)
{
    static const char *const by_status[] = {NULL, "status=\"succeeded\"", "status=\"failed\"",
                                            "status=\"expired\"", "status=\"cancelled\""};
    struct metrics m = {0};
    struct crew_counts crew = {0};
    if (p->crew != NULL)
        crew = crew_counts(p->crew);
    for (int i = JOB_SUCCEEDED; i <= JOB_CANCELLED; i++)
        add_counter(&m, "smelt_worker_jobs_total", by_status[i], "Jobs with a result.",
                    (double)p->finished[i]);
    add_counter(&m, "smelt_worker_jobs_returned_total", "", "Messages handed back to the queue.",
                (double)p->returned);
    add_counter(&m, "smelt_worker_results_adopted_total", "",
                "Jobs whose result was there already.", (double)p->adopted);
    add_counter(&m, "smelt_worker_messages_received_total", "", "Messages received.",
                (double)p->received);
    add_counter(&m, "smelt_worker_sqs_requests_total", "", "Requests to SQS.",
                (double)(p->receives + outbox_requests(p->outbox)));
    add_counter(&m, "smelt_worker_child_deaths_total", "", "Children that died.",
                (double)crew.deaths);
    add_counter(&m, "smelt_worker_child_hangs_total", "", "Children killed for their deadline.",
                (double)crew.hung);
    add_counter(&m, "smelt_worker_zygote_starts_total", "", "Zygotes started.",
                (double)crew.zygote_starts);
    metric_set(metrics_gauge(&m, "smelt_worker_children", "state=\"up\"", "Children."), crew.up);
    metric_set(metrics_gauge(&m, "smelt_worker_children", "state=\"busy\"", "Children."),
               crew.busy);
    metric_set(metrics_gauge(&m, "smelt_worker_jobs_in_hand", "", "Jobs received and not done."),
               (double)p->task_count);
    metrics_write(&m, out);
    metrics_release(&m);
}
