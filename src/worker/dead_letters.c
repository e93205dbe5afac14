#include "worker/dead_letters.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "job/job.h"
#include "job/reply_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SWEEP_REQUESTS_MAX = 1000, // receives of ten: what is deeper is looked at when this is less
    SWEEP_VISIBILITY_S = 60,   // longer than a sweep of them takes
    SWEEP_AGAIN_MS =
        15 * 60 * 1000,           // a count may have stayed the same while messages came and went
    SWEEP_REQUEST_MS = 60 * 1000, // and a minute more for each request: one a minute on average
};

// A message of the batch that is looked at.
struct letter {
    struct arena arena;
    const char *id;
    int64_t sent_ms;
    struct job *jobs;
    size_t job_count;
};

struct dead_letters {
    struct dead_letters_config config;
    char *url; // NULL: not found yet
    struct sqs_call *sqs_call;
    struct s3_call *s3_call;
    struct timer timer;
    uint64_t known; // messages, all of them looked at
    int64_t sweep_at_ms;
    int sweep_requests;
    struct letter letters[SQS_BATCH_MAX];
    size_t letter_count, letter, job; // the one that is looked at
    struct buf result;
    char **held; // receipts of this sweep
    size_t held_count;
    struct dead_letters_counts counts;
};

static void look(void *ctx);
static void sweep_on(struct dead_letters *d);
static void next_job(struct dead_letters *d);

static void look_later(struct dead_letters *d)
{
    int64_t ms = d->config.look_s * INT64_C(1000);
    ms = ms * 3 / 4 + (int64_t)(random_u64() % (uint64_t)(ms / 2)); // not all pools at once
    loop_timer_set(d->config.loop, &d->timer, loop_now_ms(d->config.loop) + ms, look, d);
}

// --- one job: has it a result? ---

static void on_published(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct dead_letters *d = ctx;
    const struct job *job = &d->letters[d->letter].jobs[d->job];
    AUTO_BUF struct buf url = {0};
    (void)object;
    d->s3_call = NULL;
    if (r->err == ERR_CANCELLED)
        return;
    if (r->err == OK) {
        d->counts.abandoned++;
        log_event(LOG_WARN, "job_abandoned", "id=%s message_id=%s queue=%s", job->id,
                  d->letters[d->letter].id, d->config.name);
        if (reply_url(d->config.jobs_url, job->reply_to, &url))
            outbox_send(d->config.outbox, url.data, buf_view(&d->result), 0, NULL, NULL);
    } else if (r->err != ERR_PRECONDITION) {
        d->sweep_at_ms = 0; // the store is away: this one again at the next look
    }
    d->job++;
    next_job(d);
}

static void result_key(const struct job *job, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%s%s.json", JOB_RESULTS_PREFIX, job->id);
}

static void publish(struct dead_letters *d)
{
    const struct letter *l = &d->letters[d->letter];
    const struct job *job = &l->jobs[d->job];
    char key[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8], sentence[400];
    int64_t now = clock_wall_ms();
    bool expired = job->expires_ms > 0 && job->expires_ms <= now;
    result_key(job, key, sizeof key);
    snprintf(sentence, sizeof sentence,
             expired ? "it expired before a worker could say what became of it; its message is in "
                       "the dead-letter queue '%s' after %d attempts"
                     : "given up without a result: its message is in the dead-letter queue '%s' "
                       "after %d attempts, each of which ended before it could say why",
             d->config.name, d->config.max_receive_count);
    const struct job_result result = {.id = job->id,
                                      .status = expired ? JOB_EXPIRED : JOB_FAILED,
                                      .trace = job->trace,
                                      .model = job->model,
                                      .error_code = expired ? "expired" : "abandoned",
                                      .error_message = sentence,
                                      .timing = {-1, -1, -1, -1, -1},
                                      .bucket = job->bucket,
                                      .key = job->key,
                                      .attempts = d->config.max_receive_count,
                                      .dead_letter = {d->config.name, l->id, l->sent_ms},
                                      .submitted_ms = job->submitted_ms,
                                      .finished_ms = now};
    const struct s3_put_options options = {.content_type = "application/json",
                                           .if_none_match = true};
    buf_clear(&d->result);
    job_result_encode(&result, &d->result);
    d->s3_call = s3_put(d->config.s3, d->config.bucket, key, buf_view(&d->result), &options,
                        on_published, d);
}

static void on_head(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct dead_letters *d = ctx;
    (void)object;
    d->s3_call = NULL;
    if (r->err == ERR_CANCELLED)
        return;
    if (r->err == ERR_NOT_FOUND) {
        publish(d);
        return;
    }
    if (r->err != OK)
        d->sweep_at_ms = 0;
    d->job++;
    next_job(d);
}

static void drop_letters(struct dead_letters *d)
{
    for (size_t i = 0; i < d->letter_count; i++)
        arena_release(&d->letters[i].arena);
    d->letter_count = d->letter = d->job = 0;
}

static void next_job(struct dead_letters *d)
{
    char key[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8];
    while (d->letter < d->letter_count && d->job == d->letters[d->letter].job_count) {
        d->letter++;
        d->job = 0;
    }
    if (d->letter == d->letter_count) {
        drop_letters(d);
        sweep_on(d);
        return;
    }
    result_key(&d->letters[d->letter].jobs[d->job], key, sizeof key);
    d->s3_call = s3_head(d->config.s3, d->config.bucket, key, on_head, d);
}

// --- a sweep through the queue ---

static void give_back(struct dead_letters *d)
{
    for (size_t i = 0; i < d->held_count; i++) {
        outbox_visibility(d->config.outbox, d->url, span_from(d->held[i]), 0);
        free(d->held[i]);
    }
    free(d->held);
    d->held = NULL;
    d->held_count = 0;
}

static void sweep_end(struct dead_letters *d, bool complete)
{
    int64_t pause_ms = SWEEP_REQUEST_MS * (int64_t)d->sweep_requests;
    give_back(d);
    if (complete && d->sweep_at_ms != 0) {
        d->known = d->counts.messages;
        d->sweep_at_ms =
            loop_now_ms(d->config.loop) + (pause_ms > SWEEP_AGAIN_MS ? pause_ms : SWEEP_AGAIN_MS);
    }
    look_later(d);
}

static void take(struct dead_letters *d, const struct sqs_message *in)
{
    struct letter *l = &d->letters[d->letter_count];
    struct error error;
    *l = (struct letter){.sent_ms = in->sent_ms};
    d->held[d->held_count] = strndup(in->receipt_handle.data, in->receipt_handle.len);
    CHECK(d->held[d->held_count] != NULL);
    d->held_count++;
    l->id = arena_copy(&l->arena, in->id);
    // what cannot be read has no owner that could be told, unless its id can
    if (job_decode(in->body, &l->arena, &l->jobs, &l->job_count, &error) != OK)
        log_event(LOG_DEBUG, "dead_letter_unreadable", "message_id=%s", l->id);
    d->letter_count++;
}

static void on_received(void *ctx, const struct aws_result *r, const struct sqs_message *messages,
                        size_t count)
{
    struct dead_letters *d = ctx;
    d->sqs_call = NULL;
    if (r->err == ERR_CANCELLED)
        return;
    if (r->err != OK || count == 0) {
        sweep_end(d, r->err == OK);
        return;
    }
    char **held = realloc(d->held, (d->held_count + count) * sizeof *held);
    CHECK(held != NULL);
    d->held = held;
    for (size_t i = 0; i < count && i < SQS_BATCH_MAX; i++)
        take(d, &messages[i]);
    next_job(d);
}

static void sweep_on(struct dead_letters *d)
{
    if (d->sweep_requests == SWEEP_REQUESTS_MAX) {
        log_event(LOG_WARN, "dead_letters_many", "queue=%s messages=%llu looked_at=%zu",
                  d->config.name, (unsigned long long)d->counts.messages, d->held_count);
        sweep_end(d, true);
        return;
    }
    d->sweep_requests++;
    d->counts.requests++;
    d->sqs_call =
        sqs_receive(d->config.sqs, d->url, SQS_BATCH_MAX, 0, SWEEP_VISIBILITY_S, on_received, d);
}

// --- looking ---

static uint64_t number(const struct http_call_header *attributes, size_t count, const char *name)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(attributes[i].name, name) == 0)
            span_to_u64(span_from(attributes[i].value), UINT64_MAX, &value);
    return value;
}

static bool has(const struct http_call_header *attributes, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(attributes[i].name, name) == 0)
            return true;
    return false;
}

static void on_attributes(void *ctx, const struct aws_result *r,
                          const struct http_call_header *attributes, size_t count)
{
    struct dead_letters *d = ctx;
    d->sqs_call = NULL;
    if (r->err == ERR_CANCELLED)
        return;
    if (r->err != OK) {
        look_later(d);
        return;
    }
    d->counts.messages = number(attributes, count, "ApproximateNumberOfMessages") +
                         number(attributes, count, "ApproximateNumberOfMessagesNotVisible");
    bool due = d->counts.messages > d->known ||
               (d->counts.messages > 0 && loop_now_ms(d->config.loop) >= d->sweep_at_ms);
    if (d->counts.messages < d->known)
        d->known = d->counts.messages; // redriven, deleted or too old
    if (!due || has(attributes, count, "RedrivePolicy")) {
        look_later(d);
        return;
    }
    d->sweep_requests = 0;
    d->sweep_at_ms = 1; // 0 by the end: something could not be done
    sweep_on(d);
}

static void on_url(void *ctx, const struct aws_result *r, const char *queue_url)
{
    struct dead_letters *d = ctx;
    d->sqs_call = NULL;
    if (r->err == ERR_CANCELLED)
        return;
    if (r->err != OK) {
        look_later(d);
        return;
    }
    d->url = strdup(queue_url);
    CHECK(d->url != NULL);
    look(d);
}

static void look(void *ctx)
{
    struct dead_letters *d = ctx;
    d->counts.requests++;
    if (d->url == NULL)
        d->sqs_call = sqs_get_queue_url(d->config.sqs, d->config.name, on_url, d);
    else
        d->sqs_call = sqs_get_attributes(d->config.sqs, d->url, on_attributes, d);
}

// --- life ---

struct dead_letters *dead_letters_new(const struct dead_letters_config *config)
{
    struct dead_letters *d = calloc(1, sizeof *d);
    CHECK(d != NULL);
    d->config = *config;
    look_later(d);
    return d;
}

void dead_letters_free(struct dead_letters *d)
{
    if (d == NULL)
        return;
    loop_timer_cancel(d->config.loop, &d->timer);
    if (d->sqs_call != NULL)
        sqs_call_cancel(d->sqs_call);
    if (d->s3_call != NULL)
        s3_call_cancel(d->s3_call);
    give_back(d);
    drop_letters(d);
    buf_release(&d->result);
    free(d->url);
    free(d);
}

struct dead_letters_counts dead_letters_counts(const struct dead_letters *d)
{
    return d != NULL ? d->counts : (struct dead_letters_counts){0};
}
