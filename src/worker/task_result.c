// The end of one job's way: its result is written down, published once, its owner told.
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "job/reply_url.h"
#include "worker/poller_internal.h"

#include <stdio.h>
#include <string.h>

enum { REPLY_IN_TIME_MS = 100 }; // a job that waited less in the queue is answered at once

static struct poller *poller_of(const struct task *t)
{
    return t->message->poller;
}

// --- publish, reply ---

static void publish(struct task *t);

static void on_reply(void *ctx, bool sent)
{
    struct task *t = ctx;
    if (!sent)
        log_event(LOG_INFO, "reply_dropped", "id=%s", t->job->id);
    task_end(t, t->verdict);
}

static void reply(struct task *t)
{
    struct poller *p = poller_of(t);
    AUTO_BUF struct buf url = {0};
    task_set_step(t, TASK_REPLYING);
    if (t->job->reply_to[0] == '\0' ||
        !reply_url(t->message->source->found.queue_url, t->job->reply_to, &url)) {
        task_end(t, t->verdict);
        return;
    }
    // an owner who waited long in the queue can wait a little for the batch
    double delay_ms = t->timing.queued > REPLY_IN_TIME_MS ? t->timing.queued / 10 : 0;
    if (delay_ms > WORKER_REPLY_DELAY_MS)
        delay_ms = WORKER_REPLY_DELAY_MS;
    outbox_send(p->outbox, url.data, buf_view(&t->result), (int)delay_ms, on_reply, t);
}

static void count_up(struct task *t)
{
    struct poller *p = poller_of(t);
    struct tally *all = &p->tally;
    p->finished[t->status]++;
    tally_job(all, t->model_name, t->status);
    tally_phase(all, t->model_name, PHASE_QUEUE, t->timing.queued);
    tally_phase(all, t->model_name, PHASE_FETCH, t->timing.fetched);
    tally_phase(all, t->model_name, PHASE_DECODE, t->timing.decoded);
    tally_phase(all, t->model_name, PHASE_INFER, t->timing.inferred);
    tally_phase(all, t->model_name, PHASE_PUBLISH,
                (double)(clock_monotonic_us() - t->publish_begun_us) / 1000);
}

static void on_published(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct task *t = ctx;
    (void)object;
    if (!task_call_done(t, r))
        return;
    if (r->err == OK) {
        count_up(t);
        poller_speed_up(poller_of(t));
        reply(t);
    } else if (r->err == ERR_PRECONDITION) {
        task_adopt(t);                     // somebody was first: theirs is the result
    } else if (t->instead_of[0] != '\0') { // a store that cannot replace one object by another
        t->instead_of[0] = '\0';
        t->replaces_nothing = r->err == ERR_UNSUPPORTED || r->err == ERR_ARGUMENT;
        task_again_later(t, task_adopt);
    } else {
        if (r->err == ERR_NOT_FOUND)
            sources_setup_again(poller_of(t)); // the bucket
        task_again_later(t, publish);
    }
}

static void publish(struct task *t)
{
    struct poller *p = poller_of(t);
    char key[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8];
    snprintf(key, sizeof key, "%s%s.json", JOB_RESULTS_PREFIX, t->job->id);
    const struct s3_put_options options = {.content_type = "application/json",
                                           .if_none_match = t->instead_of[0] == '\0',
                                           .if_match =
                                               t->instead_of[0] != '\0' ? t->instead_of : NULL};
    task_set_step(t, TASK_PUBLISHING);
    aws_client_trace(p->config.s3, t->trace);
    t->call = s3_put(p->config.s3, p->config.bucket, key, buf_view(&t->result), &options,
                     on_published, t);
}

void task_finish(struct task *t, enum job_status status, struct span predictions, const char *code,
                 const char *sentence)
{
    struct poller *p = poller_of(t);
    const struct message *m = t->message;
    const struct crew_model *by = t->answered_by;
    if (by == NULL && t->model >= 0) // the one that was meant
        by = crew_model(p->crew, (size_t)t->model);
    int64_t now = clock_wall_ms();
    int64_t since = t->job->submitted_ms > 0 ? t->job->submitted_ms : m->sent_wall_ms;
    t->timing.queued =
        since > 0 && since <= m->received_wall_ms ? (double)(m->received_wall_ms - since) : -1;
    t->timing.total = since > 0 && since <= now ? (double)(now - since) : -1;
    const struct job_result result = {
        .id = t->job->id,
        .status = status,
        .model = by != NULL ? by->name : t->job->model,
        .model_sha256 = by != NULL ? by->sha256 : "",
        .precision = by != NULL ? by->precision : "",
        .preprocessing = by != NULL ? by->preprocessing : "",
        .result_json = predictions,
        .trace = t->trace,
        .error_code = code,
        .error_message = sentence,
        .timing = t->timing,
        .bucket = t->job->bucket,
        .key = t->job->key,
        .attempts = m->receive_count,
        .dead_letter = t->last_words ? (struct job_dead_letter){m->source->found.dlq_name, m->id,
                                                                m->sent_wall_ms}
                                     : (struct job_dead_letter){0},
        .submitted_ms = t->job->submitted_ms,
        .finished_ms = now};
    task_drop_picture(t);
    buf_clear(&t->result);
    job_result_encode(&result, &t->result);
    t->status = status;
    snprintf(t->model_name, sizeof t->model_name, "%s", result.model);
    t->publish_begun_us = clock_monotonic_us();
    t->failures = 0;
    log_event(LOG_DEBUG, "job_finished", "id=%s trace=%s status=%s code=%s attempt=%d", t->job->id,
              t->trace, job_status_name(status), code != NULL ? code : "", m->receive_count);
    publish(t);
}

// --- adopt: a result that is there already ---

// The failure of a dead letter, and this message is its redrive: a new chance.
static bool is_outlived(const struct task *t, const struct s3_object *object)
{
    AUTO_ARENA struct arena arena = {0};
    struct job_result result;
    struct error error;
    const struct message *m = t->message;
    return !t->replaces_nothing && object->etag[0] != '\0' &&
           job_result_decode(object->body, &arena, &result, &error) == OK &&
           job_result_is_outlived(&result, m->id, m->sent_wall_ms, m->receive_count);
}

static void on_adopted(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct task *t = ctx;
    if (!task_call_done(t, r))
        return;
    if (r->err == OK && is_outlived(t, object)) {
        if (task_is_open(t)) {
            task_fetch(t);
        } else {
            snprintf(t->instead_of, sizeof t->instead_of, "%s", object->etag);
            publish(t);
        }
    } else if (r->err == OK) {
        poller_of(t)->adopted++;
        task_drop_picture(t);
        buf_clear(&t->result);
        buf_add_span(&t->result, object->body);
        if (!t->last_words)
            t->verdict = VERDICT_DELETE;
        reply(t);
    } else if (r->err == ERR_NOT_FOUND) {
        t->failures = 0;
        t->superseded = false;
        t->instead_of[0] = '\0';
        if (task_is_open(t))
            task_fetch(t);
        else
            task_again_later(t, publish); // deleted since
    } else {
        task_again_later(t, task_adopt);
    }
}

void task_adopt(struct task *t)
{
    struct poller *p = poller_of(t);
    char key[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8];
    snprintf(key, sizeof key, "%s%s.json", JOB_RESULTS_PREFIX, t->job->id);
    t->call = s3_get(p->config.s3, p->config.bucket, key, JOB_RESULT_BYTES_MAX, on_adopted, t);
}
