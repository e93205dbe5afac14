// An SQS and an S3 in memory, behind the clients' own functions: for tests of the poller. Linked
// instead of the clients (its symbols come first), in test programs only. What happens is noted in
// order.
#pragma once

#include "aws/s3_client.h"
#include "aws/sqs_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_MESSAGES = 64, FAKE_OBJECTS = 128, FAKE_RECEIVES_MAX = 3 };

struct fake_message {
    char id[16], queue[32], body[512], receipt[40];
    int receives;
    int64_t visible_at_ms;
    bool deleted, dead; // dead: in the dead-letter queue
};

struct fake_object {
    char key[600];
    struct buf bytes;
};

struct aws_call { // of both services
    struct loop *loop;
    struct timer timer;
    void (*step)(struct aws_call *call); // answers (and frees) the call, or leaves it waiting
    bool cancelled;
    void *done, *ctx;
    char text[10][600];
    int numbers[10];
    size_t count;
    struct span body;
    bool if_none_match;
    struct aws_call *next;          // waiting receives
    struct sqs_message claimed[10]; // by a receive whose answer is on its way
    size_t claimed_count;
};

static struct {
    struct loop *loop;
    struct fake_message messages[FAKE_MESSAGES];
    size_t message_count;
    struct fake_object objects[FAKE_OBJECTS];
    size_t object_count;
    struct aws_call *waiting; // long polls
    struct timer tick;
    bool sqs_down, s3_down, queue_missing;
    int visibility_s_seen;
    char log[1 << 16]; // "put results/a.json\nsend smelt-replies-1\ndelete m1\n…"
    int renewals, receive_calls, batches, open_calls, s3_calls;
    int throttles;     // so many calls of S3 are told to slow down
    int answer_ms;     // how long messages are on their way to who receives them
    bool receipts_end; // every receipt is out of date, as after a pause longer than the lease
} fake;

static void fake_note(const char *what, const char *name)
{
    size_t used = strlen(fake.log);
    snprintf(fake.log + used, sizeof fake.log - used, "%s %s\n", what, name);
}

static inline struct fake_object *fake_find(const char *key)
{
    for (size_t i = 0; i < fake.object_count; i++)
        if (strcmp(fake.objects[i].key, key) == 0)
            return &fake.objects[i];
    return NULL;
}

static inline void fake_put(const char *key, struct span bytes)
{
    struct fake_object *o = fake_find(key);
    if (o == NULL)
        o = &fake.objects[fake.object_count++];
    snprintf(o->key, sizeof o->key, "%s", key);
    buf_clear(&o->bytes);
    buf_add_span(&o->bytes, bytes);
}

static void fake_serve_waiting(void *unused);

static inline struct fake_message *fake_send_to(const char *queue, const char *body)
{
    struct fake_message *m = &fake.messages[fake.message_count++];
    snprintf(m->queue, sizeof m->queue, "%s", queue);
    snprintf(m->id, sizeof m->id, "m%zu", fake.message_count);
    snprintf(m->body, sizeof m->body, "%s", body);
    loop_timer_set(fake.loop, &fake.tick, loop_now_ms(fake.loop), fake_serve_waiting, NULL);
    return m;
}

static inline struct fake_message *fake_send(const char *body)
{
    return fake_send_to("smelt-jobs", body);
}

static struct aws_result fake_result(enum err err)
{
    struct aws_result r = {.err = err};
    if (err != OK)
        fail(&r.error, err, 0, "fake: %s", err_name(err));
    return r;
}

static void fake_step(void *ctx)
{
    struct aws_call *call = ctx;
    call->step(call);
}

static struct aws_call *fake_call(void (*step)(struct aws_call *), void *done, void *ctx)
{
    struct aws_call *call = calloc(1, sizeof *call);
    call->loop = fake.loop;
    call->step = step;
    call->done = done;
    call->ctx = ctx;
    fake.open_calls++;
    loop_timer_set(fake.loop, &call->timer, loop_now_ms(fake.loop), fake_step, call);
    return call;
}

static void fake_end(struct aws_call *call)
{
    fake.open_calls--;
    loop_timer_cancel(fake.loop, &call->timer);
    free(call);
}

// ISO C has no conversion between object and function pointers; POSIX guarantees it.
#define FAKE_DONE(type, call) (*(type **)(void *)&(call)->done)

// --- S3 ---

static struct aws_result fake_s3_result(const struct aws_call *call)
{
    fake.s3_calls++;
    if (!call->cancelled && fake.throttles > 0) {
        fake.throttles--;
        struct aws_result r = fake_result(ERR_THROTTLED);
        r.throttles = 1;
        return r;
    }
    return fake_result(call->cancelled ? ERR_CANCELLED : fake.s3_down ? ERR_NET : OK);
}

static void fake_get(struct aws_call *call)
{
    struct aws_result r = fake_s3_result(call);
    struct fake_object *o = fake_find(call->text[0]);
    if (r.err == OK && o == NULL)
        r = fake_result(ERR_NOT_FOUND);
    struct s3_object object = {.body = o != NULL ? buf_view(&o->bytes) : (struct span){0}};
    if (r.err == OK)
        fake_note("get", call->text[0]);
    FAKE_DONE(s3_object_fn, call)(call->ctx, &r, &object);
    fake_end(call);
}

static void fake_put_step(struct aws_call *call)
{
    struct aws_result r = fake_s3_result(call);
    struct s3_object object = {0};
    if (r.err == OK && call->if_none_match && fake_find(call->text[0]) != NULL)
        r = fake_result(ERR_PRECONDITION);
    if (r.err == OK) {
        fake_put(call->text[0], call->body);
        fake_note("put", call->text[0]);
    }
    FAKE_DONE(s3_object_fn, call)(call->ctx, &r, &object);
    fake_end(call);
}

static void fake_s3_done(struct aws_call *call)
{
    struct aws_result r = fake_result(call->cancelled ? ERR_CANCELLED
                                      : fake.s3_down  ? ERR_NET
                                                      : OK);
    FAKE_DONE(s3_done_fn, call)(call->ctx, &r);
    fake_end(call);
}

struct s3_call *s3_get(struct aws_client *c, const char *bucket, const char *key,
                       size_t body_limit_bytes, s3_object_fn *done, void *ctx)
{
    struct aws_call *call = fake_call(fake_get, NULL, ctx);
    (void)c;
    (void)bucket;
    (void)body_limit_bytes;
    FAKE_DONE(s3_object_fn, call) = done;
    snprintf(call->text[0], sizeof call->text[0], "%s", key);
    return (struct s3_call *)(void *)call;
}

struct s3_call *s3_head(struct aws_client *c, const char *bucket, const char *key,
                        s3_object_fn *done, void *ctx)
{
    return s3_get(c, bucket, key, 0, done, ctx);
}

struct s3_call *s3_put(struct aws_client *c, const char *bucket, const char *key, struct span body,
                       const struct s3_put_options *options, s3_object_fn *done, void *ctx)
{
    struct aws_call *call = fake_call(fake_put_step, NULL, ctx);
    (void)c;
    (void)bucket;
    FAKE_DONE(s3_object_fn, call) = done;
    snprintf(call->text[0], sizeof call->text[0], "%s", key);
    call->body = body;
    call->if_none_match = options->if_none_match;
    return (struct s3_call *)(void *)call;
}

struct s3_call *s3_create_bucket(struct aws_client *c, const char *bucket, s3_done_fn *done,
                                 void *ctx)
{
    struct aws_call *call = fake_call(fake_s3_done, NULL, ctx);
    (void)c;
    (void)bucket;
    FAKE_DONE(s3_done_fn, call) = done;
    return (struct s3_call *)(void *)call;
}

static void fake_cancel(struct aws_call *call)
{
    for (struct aws_call **w = &fake.waiting; *w != NULL; w = &(*w)->next)
        if (*w == call) {
            *w = call->next;
            break;
        }
    call->cancelled = true;
    call->step(call);
}

void s3_call_cancel(struct s3_call *call)
{
    fake_cancel((struct aws_call *)(void *)call);
}

// --- SQS ---

static void fake_receive(struct aws_call *call);

static void fake_serve_waiting(void *unused)
{
    struct aws_call *list = fake.waiting;
    (void)unused;
    fake.waiting = NULL;
    while (list != NULL) {
        struct aws_call *call = list;
        list = call->next;
        fake_receive(call);
    }
}

// The earliest time at which a message becomes visible wakes the long polls.
static void fake_wake_later(void)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < fake.message_count; i++) {
        const struct fake_message *m = &fake.messages[i];
        if (!m->deleted && !m->dead && m->visible_at_ms > loop_now_ms(fake.loop) &&
            m->visible_at_ms < next)
            next = m->visible_at_ms;
    }
    if (next != INT64_MAX && fake.waiting != NULL)
        loop_timer_set(fake.loop, &fake.tick, next, fake_serve_waiting, NULL);
}

static size_t fake_claim(struct aws_call *call, struct sqs_message *out)
{
    size_t n = 0;
    int64_t now = loop_now_ms(fake.loop);
    for (size_t i = 0; i < fake.message_count && n < (size_t)call->numbers[0]; i++) {
        struct fake_message *m = &fake.messages[i];
        const char *queue = strrchr(call->text[0], '/');
        if (m->deleted || m->dead || m->visible_at_ms > now || strcmp(m->queue, queue + 1) != 0)
            continue;
        if (m->receives >= FAKE_RECEIVES_MAX) {
            m->dead = true;
            fake_note("dead", m->id);
            continue;
        }
        m->visible_at_ms = now + call->numbers[1] * 1000;
        snprintf(m->receipt, sizeof m->receipt, "r%zu-%d", i + 1, ++m->receives);
        out[n++] = (struct sqs_message){.id = span_from(m->id),
                                        .receipt_handle = span_from(m->receipt),
                                        .body = span_from(m->body),
                                        .receive_count = m->receives,
                                        .sent_ms = 1};
    }
    return n;
}

static void fake_receive(struct aws_call *call)
{
    struct sqs_message messages[10];
    struct aws_result r = fake_result(call->cancelled      ? ERR_CANCELLED
                                      : fake.sqs_down      ? ERR_NET
                                      : fake.queue_missing ? ERR_NOT_FOUND
                                                           : OK);
    size_t n = r.err == OK && call->claimed_count == 0 ? fake_claim(call, messages) : 0;
    if (n > 0 &&
        fake.answer_ms > 0) { // if it is cancelled now, they are hidden and nobody has them
        memcpy(call->claimed, messages, sizeof messages);
        call->claimed_count = n;
        loop_timer_set(fake.loop, &call->timer, loop_now_ms(fake.loop) + fake.answer_ms, fake_step,
                       call);
        return;
    }
    if (r.err == OK && call->claimed_count > 0) {
        memcpy(messages, call->claimed, sizeof messages);
        n = call->claimed_count;
    }
    if (r.err == OK && n == 0 && call->numbers[2] != 0) { // a long poll waits
        call->next = fake.waiting;
        fake.waiting = call;
        fake_wake_later();
        return;
    }
    FAKE_DONE(sqs_receive_fn, call)(call->ctx, &r, messages, n);
    fake_end(call);
}

struct sqs_call *sqs_receive(struct aws_client *c, const char *queue_url, int max_messages,
                             int wait_s, int visibility_s, sqs_receive_fn *done, void *ctx)
{
    struct aws_call *call = fake_call(fake_receive, NULL, ctx);
    (void)c;
    FAKE_DONE(sqs_receive_fn, call) = done;
    snprintf(call->text[0], sizeof call->text[0], "%s", queue_url);
    call->numbers[2] = wait_s;
    call->numbers[0] = max_messages;
    call->numbers[1] = visibility_s;
    fake.visibility_s_seen = visibility_s;
    fake.receive_calls++;
    return (struct sqs_call *)(void *)call;
}

static struct fake_message *fake_by_receipt(const char *receipt)
{
    for (size_t i = 0; i < fake.message_count; i++)
        if (strcmp(fake.messages[i].receipt, receipt) == 0 && !fake.messages[i].deleted)
            return &fake.messages[i];
    return NULL;
}

// One entry of a batch: 'd'elete, 'v'isibility, 's'end.
static bool fake_entry(struct aws_call *call, size_t i)
{
    struct fake_message *m = fake_by_receipt(call->text[i]);
    if (call->numbers[i] == -2) { // send: text is the body
        fake_note("send", call->text[9]);
        return true;
    }
    if (m == NULL || fake.receipts_end)
        return false;
    if (call->numbers[i] == -1) {
        m->deleted = true;
        fake_note("delete", m->id);
        return true;
    }
    m->visible_at_ms = loop_now_ms(fake.loop) + call->numbers[i] * 1000;
    if (call->numbers[i] == 0)
        fake_note("return", m->id);
    else
        fake.renewals++;
    loop_timer_set(fake.loop, &fake.tick, loop_now_ms(fake.loop), fake_serve_waiting, NULL);
    return true;
}

static void fake_batch(struct aws_call *call)
{
    struct sqs_entry_result results[10] = {0};
    struct aws_result r = fake_result(call->cancelled ? ERR_CANCELLED
                                      : fake.sqs_down ? ERR_NET
                                                      : OK);
    fake.batches++;
    for (size_t i = 0; i < call->count && r.err == OK; i++) {
        results[i].ok = fake_entry(call, i);
        results[i].sender_fault = !results[i].ok;
    }
    FAKE_DONE(sqs_batch_fn, call)(call->ctx, &r, results, r.err == OK ? call->count : 0);
    fake_end(call);
}

static struct sqs_call *fake_batch_call(const struct span *texts, size_t count, sqs_batch_fn *done,
                                        void *ctx)
{
    struct aws_call *call = fake_call(fake_batch, NULL, ctx);
    FAKE_DONE(sqs_batch_fn, call) = done;
    call->count = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(call->text[i], sizeof call->text[i], "%.*s", (int)texts[i].len, texts[i].data);
        call->numbers[i] = -1;
    }
    return (struct sqs_call *)(void *)call;
}

struct sqs_call *sqs_send_batch(struct aws_client *c, const char *queue_url,
                                const struct span *bodies, size_t count, sqs_batch_fn *done,
                                void *ctx)
{
    struct sqs_call *result = fake_batch_call(bodies, count, done, ctx);
    struct aws_call *call = (struct aws_call *)(void *)result;
    (void)c;
    for (size_t i = 0; i < count; i++)
        call->numbers[i] = -2;
    snprintf(call->text[9], sizeof call->text[9], "%s", queue_url);
    return result;
}

struct sqs_call *sqs_delete_batch(struct aws_client *c, const char *queue_url,
                                  const struct span *receipt_handles, size_t count,
                                  sqs_batch_fn *done, void *ctx)
{
    (void)c;
    (void)queue_url;
    return fake_batch_call(receipt_handles, count, done, ctx);
}

struct sqs_call *sqs_visibility_batch(struct aws_client *c, const char *queue_url,
                                      const struct span *receipt_handles, const int *visibility_s,
                                      size_t count, sqs_batch_fn *done, void *ctx)
{
    struct sqs_call *result = fake_batch_call(receipt_handles, count, done, ctx);
    (void)c;
    (void)queue_url;
    for (size_t i = 0; i < count; i++)
        ((struct aws_call *)(void *)result)->numbers[i] = visibility_s[i];
    return result;
}

#define FAKE_URL "http://127.0.0.1:9/000000000000/"

static void fake_url(struct aws_call *call)
{
    struct aws_result r = fake_result(call->cancelled                               ? ERR_CANCELLED
                                      : fake.sqs_down                               ? ERR_NET
                                      : call->numbers[0] == 0 && fake.queue_missing ? ERR_NOT_FOUND
                                                                                    : OK);
    if (r.err == OK && call->numbers[0] == 1) {
        fake_note("create", call->text[0]);
        if (strcmp(call->text[0], "smelt-jobs") == 0)
            fake.queue_missing = false;
    }
    char url[700];
    snprintf(url, sizeof url, FAKE_URL "%s", call->text[0]);
    FAKE_DONE(sqs_url_fn, call)(call->ctx, &r, url);
    fake_end(call);
}

struct sqs_call *sqs_get_queue_url(struct aws_client *c, const char *name, sqs_url_fn *done,
                                   void *ctx)
{
    struct aws_call *call = fake_call(fake_url, NULL, ctx);
    (void)c;
    FAKE_DONE(sqs_url_fn, call) = done;
    snprintf(call->text[0], sizeof call->text[0], "%s", name);
    return (struct sqs_call *)(void *)call;
}

struct sqs_call *sqs_create_queue(struct aws_client *c, const char *name,
                                  const struct http_call_header *attributes, size_t attribute_count,
                                  sqs_url_fn *done, void *ctx)
{
    struct sqs_call *result = sqs_get_queue_url(c, name, done, ctx);
    (void)attributes;
    (void)attribute_count;
    ((struct aws_call *)(void *)result)->numbers[0] = 1;
    return result;
}

static void fake_attributes(struct aws_call *call)
{
    static const struct http_call_header all[] = {
        {"QueueArn", "arn:aws:sqs:us-east-1:000000000000:smelt-jobs-dlq"},
        {"RedrivePolicy", "{\"deadLetterTargetArn\":\"arn\",\"maxReceiveCount\":\"3\"}"}};
    struct aws_result r = fake_result(call->cancelled ? ERR_CANCELLED
                                      : fake.sqs_down ? ERR_NET
                                                      : OK);
    FAKE_DONE(sqs_attributes_fn, call)(call->ctx, &r, all, r.err == OK ? 2 : 0);
    fake_end(call);
}

struct sqs_call *sqs_get_attributes(struct aws_client *c, const char *queue_url,
                                    sqs_attributes_fn *done, void *ctx)
{
    struct aws_call *call = fake_call(fake_attributes, NULL, ctx);
    (void)c;
    (void)queue_url;
    FAKE_DONE(sqs_attributes_fn, call) = done;
    return (struct sqs_call *)(void *)call;
}

void sqs_call_cancel(struct sqs_call *call)
{
    fake_cancel((struct aws_call *)(void *)call);
}

void aws_client_trace(struct aws_client *c, const char *trace_id)
{
    (void)c, (void)trace_id;
}
