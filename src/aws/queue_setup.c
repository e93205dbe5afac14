#include "aws/queue_setup.h"

#include "aws/redrive_policy.h"
#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URL_BYTES_MAX = 600, ARN_BYTES_MAX = 300 };

struct setup {
    struct setup_config config;
    void (*done)(void *ctx, const struct setup_result *result);
    void (*progress)(void *ctx, bool is_s3, const struct aws_result *r);
    void *ctx;
    struct sqs_call *sqs_call;
    struct s3_call *s3_call;
    struct timer retry;
    int failures;
    char queue_url[URL_BYTES_MAX], dlq_url[URL_BYTES_MAX], dlq_arn[ARN_BYTES_MAX],
        dlq_name[QUEUE_NAME_SIZE];
    struct setup_result result;
};

static void find_queue(void *ctx);

static void try_later(struct setup *s)
{
    int64_t bound = INT64_C(200) << (s->failures < 7 ? s->failures : 7);
    s->failures++;
    if (bound > WORKER_RETRY_MS_MAX)
        bound = WORKER_RETRY_MS_MAX;
    loop_timer_set(s->config.loop, &s->retry,
                   loop_now_ms(s->config.loop) + 1 + (int64_t)(random_u64() % (uint64_t)bound),
                   find_queue, s);
}

// Notes the answer; false: it failed and all is tried again later (or it was cancelled).
static bool went_well(struct setup *s, bool is_s3, const struct aws_result *r)
{
    s->sqs_call = NULL;
    s->s3_call = NULL;
    if (r->err == ERR_CANCELLED)
        return false;
    s->progress(s->ctx, is_s3, r);
    if (r->err != OK)
        try_later(s);
    return r->err == OK;
}

static void keep(char *out, size_t out_size, const char *text)
{
    if (strlen(text) < out_size)
        memcpy(out, text, strlen(text) + 1);
}

static const char *attribute(const struct http_call_header *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return list[i].value;
    return NULL;
}

static void on_bucket(void *ctx, const struct aws_result *r)
{
    struct setup *s = ctx;
    struct aws_result seen = *r;
    if (r->err == ERR_DENIED || r->err == ERR_EXISTS) // may be allowed to use, not to make it
        seen.err = OK;
    if (!went_well(s, true, &seen))
        return;
    s->failures = 0;
    s->result.queue_url = s->queue_url;
    s->done(s->ctx, &s->result);
}

static void on_attributes(void *ctx, const struct aws_result *r,
                          const struct http_call_header *attributes, size_t count)
{
    struct setup *s = ctx;
    if (!went_well(s, false, r))
        return;
    int receives;
    char name[QUEUE_NAME_SIZE];
    redrive_policy_read(attribute(attributes, count, "RedrivePolicy"), name, &receives);
    s->result.has_dlq = receives > 0;
    if (receives > 0)
        keep(s->dlq_name, sizeof s->dlq_name, name);
    s->result.dlq_name = s->dlq_name;
    s->result.max_receive_count = receives > 0 ? receives : s->config.max_receive_count;
    if (s->config.create)
        s->s3_call = s3_create_bucket(s->config.s3, s->config.bucket, on_bucket, s);
    else
        on_bucket(s, &(struct aws_result){.err = OK});
}

static void read_attributes(struct setup *s)
{
    s->sqs_call = sqs_get_attributes(s->config.sqs, s->queue_url, on_attributes, s);
}

static void on_queue_made(void *ctx, const struct aws_result *r, const char *queue_url)
{
    struct setup *s = ctx;
    if (!went_well(s, false, r))
        return;
    log_event(LOG_INFO, "queue_created", "queue=%s", s->config.queue);
    keep(s->queue_url, sizeof s->queue_url, queue_url);
    read_attributes(s);
}

static void on_dlq_attributes(void *ctx, const struct aws_result *r,
                              const struct http_call_header *attributes, size_t count)
{
    struct setup *s = ctx;
    if (!went_well(s, false, r))
        return;
    const char *arn = attribute(attributes, count, "QueueArn");
    keep(s->dlq_arn, sizeof s->dlq_arn, arn != NULL ? arn : "");
    char policy[ARN_BYTES_MAX + 100], visibility[16];
    snprintf(policy, sizeof policy, "{\"deadLetterTargetArn\":\"%s\",\"maxReceiveCount\":\"%d\"}",
             s->dlq_arn, s->config.max_receive_count);
    snprintf(visibility, sizeof visibility, "%d", s->config.visibility_s);
    const struct http_call_header wanted[] = {{"RedrivePolicy", policy},
                                              {"VisibilityTimeout", visibility}};
    s->sqs_call = sqs_create_queue(s->config.sqs, s->config.queue, wanted, 2, on_queue_made, s);
}

static void on_dlq_made(void *ctx, const struct aws_result *r, const char *queue_url)
{
    struct setup *s = ctx;
    if (!went_well(s, false, r))
        return;
    keep(s->dlq_url, sizeof s->dlq_url, queue_url);
    s->sqs_call = sqs_get_attributes(s->config.sqs, s->dlq_url, on_dlq_attributes, s);
}

static void on_queue_found(void *ctx, const struct aws_result *r, const char *queue_url)
{
    struct setup *s = ctx;
    if (r->err == ERR_NOT_FOUND && s->config.create) {
        char name[100];
        const struct http_call_header longest = {"MessageRetentionPeriod", "1209600"};
        snprintf(name, sizeof name, "%.80s-dlq", s->config.queue);
        s->sqs_call = sqs_create_queue(s->config.sqs, name, &longest, 1, on_dlq_made, s);
        return;
    }
    if (!went_well(s, false, r))
        return;
    keep(s->queue_url, sizeof s->queue_url, queue_url);
    read_attributes(s);
}

static void find_queue(void *ctx)
{
    struct setup *s = ctx;
    if (strncmp(s->config.queue, "http://", 7) == 0 ||
        strncmp(s->config.queue, "https://", 8) == 0) {
        keep(s->queue_url, sizeof s->queue_url, s->config.queue);
        read_attributes(s);
        return;
    }
    s->sqs_call = sqs_get_queue_url(s->config.sqs, s->config.queue, on_queue_found, s);
}

struct setup *setup_new(const struct setup_config *config,
                        void (*done)(void *ctx, const struct setup_result *result),
                        void (*progress)(void *ctx, bool is_s3, const struct aws_result *r),
                        void *ctx)
{
    struct setup *s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->config = *config;
    s->done = done;
    s->progress = progress;
    s->ctx = ctx;
    find_queue(s);
    return s;
}

void setup_again(struct setup *s)
{
    if (s->sqs_call == NULL && s->s3_call == NULL && s->retry.heap_place == 0)
        try_later(s);
}

void setup_free(struct setup *s)
{
    if (s == NULL)
        return;
    loop_timer_cancel(s->config.loop, &s->retry);
    if (s->sqs_call != NULL)
        sqs_call_cancel(s->sqs_call);
    if (s->s3_call != NULL)
        s3_call_cancel(s->s3_call);
    free(s);
}
