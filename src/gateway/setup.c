// From nothing to a gateway that can take jobs: bucket, jobs queue, reply queue, one after the
// other, each tried again with a growing pause for as long as it takes.
#include "base/log.h"
#include "gateway/core.h"

#include <stdio.h>
#include <string.h>

static void step(void *ctx);

int backoff_next_ms(int *backoff_ms)
{
    int now_ms = *backoff_ms < GATEWAY_BACKOFF_MS_MIN ? GATEWAY_BACKOFF_MS_MIN : *backoff_ms;
    *backoff_ms = now_ms * 2 > GATEWAY_BACKOFF_MS_MAX ? GATEWAY_BACKOFF_MS_MAX : now_ms * 2;
    return now_ms;
}

static void step_failed(struct gateway *g, const char *what, const struct aws_result *r)
{
    if (r->err == ERR_CANCELLED)
        return;
    char quoted[600];
    snprintf(g->setup_error, sizeof g->setup_error, "%s: %.400s", what, r->error.msg);
    log_event(LOG_WARN, "gateway_not_ready", "reason=%s",
              log_quote(g->setup_error, quoted, sizeof quoted));
    loop_timer_set(g->config.loop, &g->setup_timer,
                   loop_now_ms(g->config.loop) + backoff_next_ms(&g->setup_backoff_ms), step, g);
}

static void step_done(struct gateway *g, enum setup_step next)
{
    g->setup = next;
    g->setup_backoff_ms = 0;
    step(g);
}

static bool may_pass(enum err err)
{
    return err == ERR_NET || err == ERR_TIMEOUT || err == ERR_UNAVAILABLE || err == ERR_THROTTLED ||
           err == ERR_CANCELLED;
}

static void on_bucket(void *ctx, const struct aws_result *r)
{
    struct gateway *g = ctx;
    // keys that may not create buckets are usual; a bucket that is missing shows at the first job
    if (r->err != OK && may_pass(r->err))
        step_failed(g, "cannot reach the S3 store", r);
    else
        step_done(g, SETUP_JOBS);
}

static void on_making(void *ctx, bool is_s3, const struct aws_result *r)
{
    struct gateway *g = ctx;
    if (r->err != OK)
        snprintf(g->setup_error, sizeof g->setup_error,
                 "cannot make the queue '" JOB_QUEUE "' (%s): "
                 "%.400s",
                 is_s3 ? "S3" : "SQS", r->error.msg);
}

static void on_made(void *ctx, const struct setup_result *result)
{
    struct gateway *g = ctx;
    snprintf(g->jobs_url, sizeof g->jobs_url, "%s", result->queue_url);
    setup_free(g->making); // it is done with itself
    g->making = NULL;
    step_done(g, SETUP_REPLIES);
}

// As a worker does; both may try at the same time.
static void make_jobs_queue(struct gateway *g)
{
    const struct setup_config config = {.loop = g->config.loop,
                                        .sqs = g->sqs,
                                        .s3 = g->s3,
                                        .queue = JOB_QUEUE,
                                        .bucket = JOB_BUCKET,
                                        .create = true,
                                        .max_receive_count = g->config.max_receive_count,
                                        .visibility_s = WORKER_VISIBILITY_S};
    g->making = setup_new(&config, on_made, on_making, g);
}

static void on_jobs_url(void *ctx, const struct aws_result *r, const char *queue_url)
{
    struct gateway *g = ctx;
    if (r->err == ERR_NOT_FOUND && g->config.create) {
        make_jobs_queue(g);
    } else if (r->err == ERR_NOT_FOUND) {
        struct aws_result why = *r;
        snprintf(why.error.msg, sizeof why.error.msg,
                 "there is no queue '" JOB_QUEUE "'; a worker makes it when it starts");
        step_failed(g, "cannot queue jobs", &why);
    } else if (r->err != OK) {
        step_failed(g, "cannot reach the SQS queue '" JOB_QUEUE "'", r);
    } else {
        snprintf(g->jobs_url, sizeof g->jobs_url, "%s", queue_url);
        step_done(g, SETUP_REPLIES);
    }
}

static void on_replies_url(void *ctx, const struct aws_result *r, const char *queue_url)
{
    struct gateway *g = ctx;
    if (r->err != OK) {
        step_failed(g, "cannot make the reply queue", r);
        return;
    }
    snprintf(g->replies_url, sizeof g->replies_url, "%s", queue_url);
    g->setup = SETUP_DONE;
    g->setup_running = false;
    g->setup_error[0] = '\0';
    log_event(LOG_INFO, "gateway_ready", "jobs=%s replies=%s", g->jobs_url, g->replies_url);
    if (g->receive == NULL && g->receive_timer.heap_place == 0)
        replies_poll(g);
    if (!g->was_ready && g->config.on_ready != NULL)
        g->config.on_ready(g->config.ctx);
    g->was_ready = true;
}

static void step(void *ctx)
{
    struct gateway *g = ctx;
    // a reply is of use for as long as a client can wait, twice over; SQS keeps 60 s at least
    static const struct http_call_header attributes[] = {{"MessageRetentionPeriod", "60"}};
    if (g->stopping)
        return;
    switch (g->setup) {
    case SETUP_BUCKET:
        s3_create_bucket(g->s3, JOB_BUCKET, on_bucket, g);
        break;
    case SETUP_JOBS:
        sqs_get_queue_url(g->sqs, JOB_QUEUE, on_jobs_url, g);
        break;
    case SETUP_REPLIES:
        sqs_create_queue(g->sqs, g->replies_name, attributes, 1, on_replies_url, g);
        break;
    case SETUP_DONE:
        break;
    }
}

void setup_begin(struct gateway *g)
{
    if (g->setup_running)
        return;
    g->setup_running = true;
    g->setup = SETUP_BUCKET;
    snprintf(g->setup_error, sizeof g->setup_error, "looking for the bucket and the queues");
    step(g);
}
