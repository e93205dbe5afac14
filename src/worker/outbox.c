#include "worker/outbox.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum kind { KIND_DELETE, KIND_VISIBILITY, KIND_SEND };

static const char *const kind_names[] = {"delete", "visibility", "send"};

enum {
    SEND_TRIES_MAX = 3, // whole batches; the client tries each of them several times itself
    KEEP_MS = 2 * WORKER_VISIBILITY_S * 1000, // then the message has been received again
};

struct entry {
    struct entry *next;
    struct buf text; // receipt handle or body
    int visibility_s;
    int64_t due_ms, born_ms;
    int tries;
    void (*done)(void *ctx, bool sent);
    void *ctx;
};

// One queue and kind: a list in order; the first in_flight entries are being sent.
struct lot {
    struct lot *next;
    struct outbox *outbox;
    enum kind kind;
    char *url;
    struct entry *first, **end;
    size_t count, in_flight;
    struct sqs_call *call;
    struct timer timer;
    int failures;
};

struct outbox {
    struct loop *loop;
    struct aws_client *sqs;
    struct outbox_handlers handlers;
    struct lot *lots;
    size_t count;
    uint64_t requests;
    bool flush, closing;
};

static void lot_pump(struct lot *lot);

static void on_timer(void *ctx)
{
    lot_pump(ctx);
}

static void entry_free(struct entry *e)
{
    buf_release(&e->text);
    free(e);
}

static void lot_free(struct lot *lot)
{
    loop_timer_cancel(lot->outbox->loop, &lot->timer);
    free(lot->url);
    free(lot);
}

static struct entry *lot_take_first(struct lot *lot)
{
    struct entry *e = lot->first;
    lot->first = e->next;
    if (lot->first == NULL)
        lot->end = &lot->first;
    lot->count--;
    lot->outbox->count--;
    return e;
}

static void entry_finish(struct entry *e, bool sent)
{
    if (e->done != NULL)
        e->done(e->ctx, sent);
    entry_free(e);
}

static bool entry_hopeless(const struct lot *lot, const struct entry *e, int64_t now)
{
    return lot->kind == KIND_SEND ? e->tries >= SEND_TRIES_MAX : now - e->born_ms > KEEP_MS;
}

static void lot_append(struct lot *lot, struct entry *e)
{
    e->next = NULL;
    *lot->end = e;
    lot->end = &e->next;
    lot->count++;
    lot->outbox->count++;
}

// Puts entries that failed back in front, in their order.
static void lot_put_back(struct lot *lot, struct entry *list, size_t count)
{
    struct entry **end = &list;
    while (*end != NULL)
        end = &(*end)->next;
    *end = lot->first;
    if (lot->first == NULL)
        lot->end = end;
    lot->first = list;
    lot->count += count;
    lot->outbox->count += count;
}

// The batch's outcome: what is done is finished, what may still work goes back. entries NULL: all
// failed.
static void on_batch(void *ctx, const struct aws_result *r, const struct sqs_entry_result *entries,
                     size_t count)
{
    struct lot *lot = ctx;
    struct entry *again = NULL, **again_end = &again;
    size_t again_count = 0, sent = lot->in_flight;
    int64_t now = loop_now_ms(lot->outbox->loop);
    bool gone = r->err == ERR_NOT_FOUND; // the queue
    const struct outbox_handlers *h = &lot->outbox->handlers;
    lot->call = NULL;
    lot->in_flight = 0;
    if (r->err != ERR_CANCELLED && !gone)
        h->on_result(h->ctx, r);
    for (size_t i = 0; i < sent; i++) {
        struct entry *e = lot_take_first(lot);
        bool ok = r->err == OK && i < count && entries[i].ok;
        bool refused = r->err == OK && i < count && entries[i].sender_fault;
        e->tries++;
        if (ok || gone || refused || r->err == ERR_CANCELLED || entry_hopeless(lot, e, now)) {
            if (!ok)
                log_event(LOG_DEBUG, "outbox_dropped", "kind=%s error=%s code=%s",
                          kind_names[lot->kind], err_name(r->err),
                          r->err == OK && i < count ? entries[i].code : r->code);
            if (refused && lot->kind == KIND_VISIBILITY && e->visibility_s > 0)
                h->on_stale(h->ctx, buf_view(&e->text));
            entry_finish(e, ok);
            continue;
        }
        *again_end = e;
        again_end = &e->next;
        e->next = NULL;
        again_count++;
    }
    if (again_count > 0)
        lot_put_back(lot, again, again_count);
    lot->failures = again_count > 0 ? lot->failures + 1 : 0;
    if (lot->failures > 0) {
        int64_t bound = INT64_C(200) << (lot->failures < 7 ? lot->failures : 7);
        bound = bound < WORKER_RETRY_MS_MAX ? bound : WORKER_RETRY_MS_MAX;
        loop_timer_set(lot->outbox->loop, &lot->timer,
                       now + 1 + (int64_t)(random_u64() % (uint64_t)bound), on_timer, lot);
    } else {
        lot_pump(lot);
    }
}

static void lot_send(struct lot *lot)
{
    struct span texts[SQS_BATCH_MAX];
    int visibility_s[SQS_BATCH_MAX];
    size_t n = 0, bytes = 0;
    for (struct entry *e = lot->first; e != NULL && n < SQS_BATCH_MAX; e = e->next, n++) {
        bytes += e->text.len;
        if (lot->kind == KIND_SEND && n > 0 && bytes > SQS_MESSAGE_BYTES_MAX)
            break;
        texts[n] = buf_view(&e->text);
        visibility_s[n] = e->visibility_s;
    }
    struct aws_client *sqs = lot->outbox->sqs;
    lot->in_flight = n;
    lot->outbox->requests++;
    if (lot->kind == KIND_DELETE)
        lot->call = sqs_delete_batch(sqs, lot->url, texts, n, on_batch, lot);
    else if (lot->kind == KIND_VISIBILITY)
        lot->call = sqs_visibility_batch(sqs, lot->url, texts, visibility_s, n, on_batch, lot);
    else
        lot->call = sqs_send_batch(sqs, lot->url, texts, n, on_batch, lot);
}

// Reply queues come and go with their gateways: no lot is kept for one.
static void lot_forget(struct lot *lot)
{
    struct lot **place = &lot->outbox->lots;
    while (*place != lot && *place != NULL)
        place = &(*place)->next;
    CHECK(*place == lot);
    *place = lot->next;
    lot_free(lot);
}

// May free the lot.
static void lot_pump(struct lot *lot)
{
    if (lot->call != NULL || lot->outbox->closing)
        return;
    if (lot->first == NULL) {
        lot_forget(lot);
        return;
    }
    int64_t due = INT64_MAX;
    for (const struct entry *e = lot->first; e != NULL; e = e->next)
        due = e->due_ms < due ? e->due_ms : due;
    int64_t now = loop_now_ms(lot->outbox->loop);
    if (lot->count >= SQS_BATCH_MAX || lot->outbox->flush || due <= now)
        lot_send(lot);
    else
        loop_timer_set(lot->outbox->loop, &lot->timer, due, on_timer, lot);
}

static struct lot *lot_of(struct outbox *o, enum kind kind, const char *url)
{
    for (struct lot *lot = o->lots; lot != NULL; lot = lot->next)
        if (lot->kind == kind && strcmp(lot->url, url) == 0)
            return lot;
    struct lot *lot = calloc(1, sizeof *lot);
    CHECK(lot != NULL);
    *lot = (struct lot){.next = o->lots, .outbox = o, .kind = kind, .url = strdup(url)};
    CHECK(lot->url != NULL);
    lot->end = &lot->first;
    o->lots = lot;
    return lot;
}

static struct entry *add(struct outbox *o, enum kind kind, const char *url, struct span text,
                         int delay_ms)
{
    struct lot *lot = lot_of(o, kind, url);
    struct entry *e = calloc(1, sizeof *e);
    CHECK(e != NULL);
    buf_add_span(&e->text, text);
    e->born_ms = loop_now_ms(o->loop);
    e->due_ms = e->born_ms + delay_ms;
    lot_append(lot, e);
    // in the loop, so that entries made in one turn go together and done never runs inside the call
    if (lot->call == NULL && lot->failures == 0)
        loop_timer_set(o->loop, &lot->timer, e->born_ms, on_timer, lot);
    return e;
}

void outbox_delete(struct outbox *o, const char *queue_url, struct span receipt_handle,
                   int delay_ms)
{
    add(o, KIND_DELETE, queue_url, receipt_handle, delay_ms);
}

void outbox_visibility(struct outbox *o, const char *queue_url, struct span receipt_handle,
                       int visibility_s)
{
    add(o, KIND_VISIBILITY, queue_url, receipt_handle, 0)->visibility_s = visibility_s;
}

void outbox_send(struct outbox *o, const char *queue_url, struct span body, int delay_ms,
                 void (*done)(void *ctx, bool sent), void *ctx)
{
    struct entry *e = add(o, KIND_SEND, queue_url, body, delay_ms);
    e->done = done;
    e->ctx = ctx;
}

struct outbox *outbox_new(struct loop *loop, struct aws_client *sqs,
                          struct outbox_handlers handlers)
{
    struct outbox *o = calloc(1, sizeof *o);
    CHECK(o != NULL);
    o->loop = loop;
    o->sqs = sqs;
    o->handlers = handlers;
    return o;
}

void outbox_free(struct outbox *o)
{
    if (o != NULL)
        o->closing = true;
    while (o != NULL && o->lots != NULL) {
        struct lot *lot = o->lots;
        o->lots = lot->next;
        for (struct entry *e = lot->first; e != NULL; e = e->next)
            e->done = NULL;
        if (lot->call != NULL)
            sqs_call_cancel(lot->call); // on_batch comes inside and drops what is in flight
        while (lot->first != NULL)
            entry_free(lot_take_first(lot));
        lot_free(lot);
    }
    free(o);
}

void outbox_hurry(struct outbox *o)
{
    for (struct lot *lot = o->lots, *next; lot != NULL; lot = next) {
        next = lot->next;
        for (struct entry *e = lot->first; e != NULL; e = e->next)
            e->due_ms = 0;
        if (lot->failures == 0)
            lot_pump(lot);
    }
}

void outbox_flush(struct outbox *o)
{
    o->flush = true;
    outbox_hurry(o);
}

size_t outbox_count(const struct outbox *o)
{
    return o->count;
}

uint64_t outbox_requests(const struct outbox *o)
{
    return o->requests;
}
