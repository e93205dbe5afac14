// An S3 store and an SQS queue in memory, behind the clients' interface: linked in place of libaws,
// so that tests decide when and how each call ends.
#pragma once

#include "aws/s3_client.h"
#include "aws/sqs_client.h"
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_OBJECTS_MAX = 64, FAKE_SENT_MAX = 64 };

struct fake_object {
    char key[200], content_type[128], gateway[96];
    struct buf body;
};

static struct {
    struct loop *loop;
    struct fake_object objects[FAKE_OBJECTS_MAX];
    size_t object_count;
    struct buf sent[FAKE_SENT_MAX]; // bodies of messages that were sent, and where
    char sent_to[FAKE_SENT_MAX][300];
    size_t sent_count;
    enum err s3_err, sqs_err;   // not OK: calls end with it
    bool hold_puts, hold_sends; // calls wait for fake_release
    bool no_queue;              // the jobs queue is not there
    int reply_queues_made, reply_queues_deleted, deletes, buckets_made;
    int calls_running;
    bool stop_at_send; // a message in the queue stops the loop
    struct sqs_call *receiver;
} fake;

struct fake_call {
    struct timer timer;
    void (*finish)(struct fake_call *call, enum err err);
    bool held;
    struct fake_call *next_held;
    char text[300], content_type[128], gateway[96];
    struct buf body;
    bool if_none_match;
    void (*done)(void);
    void *ctx;
};
struct s3_call {
    struct fake_call c;
};
struct sqs_call {
    struct fake_call c;
};

static struct fake_call *fake_held;

static void fake_result(struct aws_result *r, enum err err)
{
    bool answered = err != ERR_TIMEOUT && err != ERR_NET;
    *r = (struct aws_result){.err = err, .status = err == OK ? 200 : answered ? 500 : 0};
    r->error.code = err;
    snprintf(r->error.msg, sizeof r->error.msg, "the fake says %s", err_name(err));
}

static struct fake_object *fake_find(const char *key)
{
    for (size_t i = 0; i < fake.object_count; i++)
        if (strcmp(fake.objects[i].key, key) == 0)
            return &fake.objects[i];
    return NULL;
}

static void fake_put(const char *key, const char *content_type, struct span body)
{
    struct fake_object *o = fake_find(key);
    if (o == NULL) {
        ck_assert_uint_lt(fake.object_count, FAKE_OBJECTS_MAX);
        o = &fake.objects[fake.object_count++];
    }
    snprintf(o->key, sizeof o->key, "%s", key);
    snprintf(o->content_type, sizeof o->content_type, "%s", content_type);
    buf_clear(&o->body);
    buf_add_span(&o->body, body);
}

static void fake_end(struct fake_call *call, enum err err)
{
    loop_timer_cancel(fake.loop, &call->timer);
    for (struct fake_call **c = &fake_held; *c != NULL; c = &(*c)->next_held)
        if (*c == call) {
            *c = call->next_held;
            break;
        }
    fake.calls_running--;
    call->finish(call, err);
    buf_release(&call->body);
    free(call);
}

static void fake_due(void *ctx)
{
    fake_end(ctx, OK);
}

static void *fake_start(void (*finish)(struct fake_call *, enum err), const char *text,
                        void (*done)(void), void *ctx, bool hold)
{
    struct fake_call *call = calloc(1, sizeof *call);
    CHECK(call != NULL);
    call->finish = finish;
    call->done = done;
    call->ctx = ctx;
    snprintf(call->text, sizeof call->text, "%s", text);
    fake.calls_running++;
    if (hold) {
        call->held = true;
        call->next_held = fake_held;
        fake_held = call;
    } else {
        loop_timer_set(fake.loop, &call->timer, loop_now_ms(fake.loop), fake_due, call);
    }
    return call;
}

// Lets everything go that is held.
static inline void fake_release(void)
{
    while (fake_held != NULL)
        fake_end(fake_held, OK);
}

// --- S3 ---

static void finish_put(struct fake_call *call, enum err err)
{
    struct aws_result r;
    struct s3_object o = {0};
    if (err == OK)
        err = fake.s3_err;
    if (err == OK && call->if_none_match && fake_find(call->text) != NULL)
        err = ERR_PRECONDITION;
    if (err == OK)
        fake_put(call->text, call->content_type, buf_view(&call->body));
    if (err == OK)
        memcpy(fake_find(call->text)->gateway, call->gateway, sizeof call->gateway);
    fake_result(&r, err);
    ((s3_object_fn *)call->done)(call->ctx, &r, &o);
}

// Lets the last PUT go that is held.
static inline void fake_release_put(void)
{
    struct fake_call *call = fake_held;
    while (call != NULL && call->finish != finish_put)
        call = call->next_held;
    CHECK(call != NULL);
    fake_end(call, OK);
}

static void finish_get(struct fake_call *call, enum err err)
{
    struct aws_result r;
    struct s3_object o = {0};
    struct fake_object *found = fake_find(call->text);
    if (err == OK)
        err = fake.s3_err;
    if (err == OK && found == NULL)
        err = ERR_NOT_FOUND;
    if (err == OK) {
        o.body = buf_view(&found->body);
        snprintf(o.content_type, sizeof o.content_type, "%s", found->content_type);
        memcpy(o.gateway, found->gateway, sizeof o.gateway);
    }
    fake_result(&r, err);
    ((s3_object_fn *)call->done)(call->ctx, &r, &o);
}

static void finish_s3(struct fake_call *call, enum err err)
{
    struct aws_result r;
    fake_result(&r, err == OK ? fake.s3_err : err);
    ((s3_done_fn *)call->done)(call->ctx, &r);
}

struct s3_call *s3_put(struct aws_client *c, const char *bucket, const char *key, struct span body,
                       const struct s3_put_options *options, s3_object_fn *done, void *ctx)
{
    (void)c, (void)bucket;
    struct s3_call *call = fake_start(finish_put, key, (void (*)(void))done, ctx, fake.hold_puts);
    call->c.if_none_match = options->if_none_match;
    snprintf(call->c.content_type, sizeof call->c.content_type, "%s", options->content_type);
    for (size_t i = 0; i < options->metadata_count; i++)
        if (strcmp(options->metadata[i].name, "gateway") == 0)
            snprintf(call->c.gateway, sizeof call->c.gateway, "%s", options->metadata[i].value);
    buf_add_span(&call->c.body, body);
    return call;
}

struct s3_call *s3_get(struct aws_client *c, const char *bucket, const char *key, size_t limit,
                       s3_object_fn *done, void *ctx)
{
    (void)c, (void)bucket, (void)limit;
    return fake_start(finish_get, key, (void (*)(void))done, ctx, false);
}

struct s3_call *s3_head(struct aws_client *c, const char *bucket, const char *key,
                        s3_object_fn *done, void *ctx)
{
    return s3_get(c, bucket, key, 0, done, ctx);
}

struct s3_call *s3_delete(struct aws_client *c, const char *bucket, const char *key,
                          s3_done_fn *done, void *ctx)
{
    (void)c, (void)bucket;
    fake.deletes++;
    return fake_start(finish_s3, key, (void (*)(void))done, ctx, false);
}

struct s3_call *s3_create_bucket(struct aws_client *c, const char *bucket, s3_done_fn *done,
                                 void *ctx)
{
    (void)c;
    fake.buckets_made++;
    return fake_start(finish_s3, bucket, (void (*)(void))done, ctx, false);
}

void s3_call_cancel(struct s3_call *call)
{
    fake_end(&call->c, ERR_CANCELLED);
}

// --- SQS ---

static void finish_url(struct fake_call *call, enum err err)
{
    struct aws_result r;
    if (err == OK)
        err = fake.sqs_err;
    if (err == OK && fake.no_queue)
        err = ERR_NOT_FOUND;
    fake_result(&r, err);
    char url[400];
    snprintf(url, sizeof url, "http://queues/0/%s", call->text);
    ((sqs_url_fn *)call->done)(call->ctx, &r, url);
}

static void finish_send(struct fake_call *call, enum err err)
{
    struct aws_result r;
    fake_result(&r, err == OK ? fake.sqs_err : err);
    ((sqs_url_fn *)call->done)(call->ctx, &r, "message-id");
}

static void finish_receive(struct fake_call *call, enum err err)
{
    struct aws_result r;
    struct sqs_message message = {.receipt_handle = SPAN("handle"), .body = buf_view(&call->body)};
    fake.receiver = NULL;
    fake_result(&r, err);
    ((sqs_receive_fn *)call->done)(call->ctx, &r, &message,
                                   err == OK && call->body.len > 0 ? 1 : 0);
}

static void finish_batch(struct fake_call *call, enum err err)
{
    struct aws_result r;
    fake_result(&r, err);
    ((sqs_batch_fn *)call->done)(call->ctx, &r, NULL, 0);
}

static void finish_done(struct fake_call *call, enum err err)
{
    struct aws_result r;
    fake_result(&r, err);
    ((sqs_done_fn *)call->done)(call->ctx, &r);
}

struct sqs_call *sqs_get_queue_url(struct aws_client *c, const char *name, sqs_url_fn *done,
                                   void *ctx)
{
    (void)c;
    return fake_start(finish_url, name, (void (*)(void))done, ctx, false);
}

struct sqs_call *sqs_create_queue(struct aws_client *c, const char *name,
                                  const struct http_call_header *attributes, size_t attribute_count,
                                  sqs_url_fn *done, void *ctx)
{
    (void)attributes, (void)attribute_count;
    fake.reply_queues_made++;
    return sqs_get_queue_url(c, name, done, ctx);
}

struct sqs_call *sqs_send(struct aws_client *c, const char *url, struct span body, int delay_s,
                          sqs_url_fn *done, void *ctx)
{
    (void)c, (void)delay_s;
    struct sqs_call *call =
        fake_start(finish_send, url, (void (*)(void))done, ctx, fake.hold_sends);
    if (fake.sqs_err == OK) { // in the queue at once, though the sender hears of it later
        ck_assert_uint_lt(fake.sent_count, FAKE_SENT_MAX);
        snprintf(fake.sent_to[fake.sent_count], sizeof fake.sent_to[0], "%s", url);
        buf_add_span(&fake.sent[fake.sent_count++], body);
        if (fake.stop_at_send)
            loop_stop(fake.loop);
    }
    return call;
}

struct sqs_call *sqs_receive(struct aws_client *c, const char *url, int max_messages, int wait_s,
                             int visibility_s, sqs_receive_fn *done, void *ctx)
{
    (void)c, (void)max_messages, (void)wait_s, (void)visibility_s;
    ck_assert_ptr_null(fake.receiver);
    fake.receiver = fake_start(finish_receive, url, (void (*)(void))done, ctx, true);
    return fake.receiver;
}

struct sqs_call *sqs_delete_batch(struct aws_client *c, const char *url, const struct span *handles,
                                  size_t count, sqs_batch_fn *done, void *ctx)
{
    (void)c, (void)handles, (void)count;
    return fake_start(finish_batch, url, (void (*)(void))done, ctx, false);
}

struct sqs_call *sqs_delete_queue(struct aws_client *c, const char *url, sqs_done_fn *done,
                                  void *ctx)
{
    (void)c;
    fake.reply_queues_deleted++;
    return fake_start(finish_done, url, (void (*)(void))done, ctx, false);
}

void sqs_call_cancel(struct sqs_call *call)
{
    fake_end(&call->c, ERR_CANCELLED);
}

// A worker sends a result into the reply queue.
static inline void fake_reply(const char *json)
{
    ck_assert_ptr_nonnull(fake.receiver);
    buf_add_text(&fake.receiver->c.body, json);
    fake_end(&fake.receiver->c, OK);
}

static inline void fake_end_receive(enum err err)
{
    ck_assert_ptr_nonnull(fake.receiver);
    fake_end(&fake.receiver->c, err);
}

static inline void fake_forget(void)
{
    for (size_t i = 0; i < fake.object_count; i++)
        buf_release(&fake.objects[i].body);
    for (size_t i = 0; i < fake.sent_count; i++)
        buf_release(&fake.sent[i]);
}

static void finish_attributes(struct fake_call *call, enum err err)
{
    static const struct http_call_header all[] = {
        {"QueueArn", "arn:aws:sqs:us-east-1:000000000000:smelt-jobs-dlq"},
        {"RedrivePolicy",
         "{\"deadLetterTargetArn\":\"arn:x:smelt-jobs-dlq\",\"maxReceiveCount\":3}"}};
    struct aws_result r;
    fake_result(&r, err == OK ? fake.sqs_err : err);
    ((sqs_attributes_fn *)call->done)(call->ctx, &r, all, r.err == OK ? 2 : 0);
}

struct sqs_call *sqs_get_attributes(struct aws_client *c, const char *url, sqs_attributes_fn *done,
                                    void *ctx)
{
    (void)c;
    return fake_start(finish_attributes, url, (void (*)(void))done, ctx, false);
}

// --- clients ---

enum err aws_client_new(const struct aws_client_config *config, struct aws_client **out,
                        struct error *error)
{
    (void)config, (void)error;
    *out = NULL;
    return OK;
}

void aws_client_free(struct aws_client *c)
{
    (void)c;
}

void aws_client_trace(struct aws_client *c, const char *trace_id)
{
    (void)c, (void)trace_id;
}
