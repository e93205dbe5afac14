// What the tests of the queues share: a store on a disk in memory, synchronous, with a simulated
// clock.
#pragma once

#include "base/check.h"
#include "fake_disk.h"
#include "sqs/message_attributes.h"
#include "sqs/queue.h"

struct rig {
    struct fake_disk disk;
    struct queues *queues;
    int64_t now_ms; // store time
    int64_t wall_ms, monotonic_ms;
    uint8_t boot; // of the kernel
    uint32_t segment_bytes;
    int64_t cooldown_ms; // 0, unless the test is about it
    uint64_t ids;        // message ids are numbers here
    uint64_t written;    // sequence up to which all is said to outlive a kill
    const char *tenant;  // group of messages sent to standard queues; NULL: none
    struct error error;
};

static inline void rig_on_written(void *ctx, uint64_t sequence)
{
    ((struct rig *)ctx)->written = sequence;
}

static inline enum err rig_open(struct rig *r)
{
    r->written = 0;
    struct queues_config c = {.dir = "/store",
                              .io = &r->disk.io,
                              .segment_bytes = r->segment_bytes,
                              .cooldown_ms = r->cooldown_ms,
                              .wall_ms = r->wall_ms,
                              .monotonic_ms = r->monotonic_ms,
                              .ctx = r,
                              .on_written = rig_on_written};
    memset(c.store_id, 5, sizeof c.store_id);
    memset(c.boot_id, r->boot, sizeof c.boot_id);
    enum err err = queues_open(&c, &r->queues, &r->error);
    if (err == OK)
        r->now_ms = queues_time(r->queues, r->monotonic_ms);
    else
        r->queues = NULL;
    return err;
}

static inline void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    fake_disk_init(&r->disk);
    r->wall_ms = 1700000000000;
    r->monotonic_ms = 5000000;
    r->boot = 6;
    r->segment_bytes = 4096;
    r->ids = 1;
}

static inline void rig_close(struct rig *r)
{
    queues_close(r->queues);
    r->queues = NULL;
}

static inline void rig_release(struct rig *r)
{
    rig_close(r);
    fake_disk_release(&r->disk);
}

static inline void rig_advance(struct rig *r, int64_t ms)
{
    r->now_ms += ms;
    r->wall_ms += ms;
    r->monotonic_ms += ms;
    while (queues_tick(r->queues, r->now_ms)) {
    }
}

// What the role does at the end of a turn.
static inline void rig_turn(struct rig *r)
{
    queues_wall(r->queues, r->wall_ms);
    while (queues_tick(r->queues, r->now_ms)) {
    }
    queues_wake(r->queues);
    queues_compact(r->queues);
    queues_commit(r->queues);
    struct journal_stats stats;
    journal_stats(queues_journal(r->queues), &stats);
    if (stats.full)
        journal_retry_space(queues_journal(r->queues));
}

// attributes: "Name=value" strings, NULL-terminated; may be NULL.
static inline struct queue *rig_queue(struct rig *r, const char *name,
                                      const char *const *attributes)
{
    struct queue_attributes a;
    struct fault f;
    struct queue *q = NULL;
    uint64_t wait_for;
    size_t len = strlen(name);
    attributes_init(&a, len > 5 && strcmp(name + len - 5, ".fifo") == 0);
    for (; attributes != NULL && *attributes != NULL; attributes++) {
        struct span value, text = span_cut(span_from(*attributes), '=', &value);
        const struct attribute_spec *spec = attribute_find(text);
        CHECK(spec != NULL);
        CHECK(attribute_set(&a, spec, value, &f) == SQS_OK);
    }
    if (queue_create(r->queues, r->now_ms, span_from(name), &a, NULL, 0, &q, &wait_for, &f) !=
        SQS_OK) {
        attributes_release(&a);
        return NULL;
    }
    return q;
}

// *number: the sequence number.
static inline enum sqs_code rig_send_id(struct rig *r, struct queue *q, const char *body,
                                        int delay_s, uint64_t *number)
{
    struct fault f;
    uint64_t id = r->ids++;
    struct sent sent;
    struct message_in in = {.body = span_from(body),
                            .delay_s = delay_s,
                            .sender = SPAN("me"),
                            .group = span_from(r->tenant)};
    memcpy(in.message_id, &id, sizeof id);
    enum sqs_code code = queue_send(r->queues, q, r->now_ms, &in, &sent, &f);
    *number = sent.id;
    return code;
}

static inline enum sqs_code rig_send(struct rig *r, struct queue *q, const char *body, int delay_s)
{
    uint64_t number;
    return rig_send_id(r, q, body, delay_s, &number);
}

// FIFO; *id gets the number by which the message is known (message ids are numbers here).
static inline enum sqs_code rig_send_fifo(struct rig *r, struct queue *q, const char *body,
                                          const char *group, const char *dedup, struct sent *sent)
{
    struct fault f;
    uint64_t id = r->ids++;
    struct message_in in = {.body = span_from(body),
                            .delay_s = -1,
                            .sender = SPAN("me"),
                            .group = span_from(group),
                            .dedup = span_from(dedup)};
    memcpy(in.message_id, &id, sizeof id);
    return queue_send(r->queues, q, r->now_ms, &in, sent, &f);
}

struct rig_message {
    char body[4096];
    uint64_t id;
    int64_t first_received_ms;
    char handle[RECEIPT_TEXT_BYTES + 1];
    uint32_t receive_count;
    const char *source;
};

static inline size_t rig_receive(struct rig *r, struct queue *q, size_t max, int visibility_s,
                                 struct rig_message *out)
{
    struct received got[10];
    struct fault f;
    size_t count = 0;
    uint64_t wait_for;
    struct receive_in in = {.max = max, .visibility_s = visibility_s, .over_limit_is_error = true};
    CHECK(queue_receive(r->queues, q, r->now_ms, &in, got, &count, &wait_for, &f) == SQS_OK);
    for (size_t i = 0; i < count; i++) {
        AUTO_BUF struct buf scratch = {0}, handle = {0};
        struct message_out m;
        struct error error;
        out[i].body[0] = '\0'; // stays so if it cannot be read
        if (message_read(r->queues, got[i].place, &scratch, &m, &error) == OK)
            snprintf(out[i].body, sizeof out[i].body, "%.*s", (int)m.body.len, m.body.data);
        receipt_text(r->queues, &got[i].receipt, &handle);
        memcpy(out[i].handle, handle.data, RECEIPT_TEXT_BYTES + 1);
        out[i].receive_count = got[i].receive_count;
        out[i].source = got[i].source_queue;
        out[i].id = got[i].receipt.message;
        out[i].first_received_ms = got[i].first_received_ms;
    }
    return count;
}

static inline enum sqs_code rig_delete(struct rig *r, struct queue *q, const char *handle)
{
    struct fault f;
    uint64_t wait_for;
    return queue_delete_message(r->queues, q, r->now_ms, span_from(handle), &wait_for, &f);
}

static inline enum sqs_code rig_visibility(struct rig *r, struct queue *q, const char *handle,
                                           int s)
{
    struct fault f;
    uint64_t wait_for;
    return queue_change_visibility(r->queues, q, r->now_ms, span_from(handle), s, &wait_for, &f);
}

static inline struct queue_info rig_info(struct rig *r, struct queue *q)
{
    struct queue_info info;
    queue_info(r->queues, q, &info);
    return info;
}
