// Queues: opening the store, the registry by name, and the record of each queue.
#include "sqs/dedup.h"
#include "sqs/fifo.h"
#include "sqs/move_task.h"
#include "sqs/policy.h"

#include "base/check.h"
#include "base/digest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- life ---

static void on_durable(void *ctx, uint64_t sequence)
{
    struct queues *qs = ctx;
    while (qs->pending.head != NONE) {
        int32_t slot = qs->pending.head;
        if (message_at(qs, slot)->id > sequence)
            break;
        message_durable(qs, slot);
    }
    if (qs->config.on_durable != NULL)
        qs->config.on_durable(qs->config.ctx, sequence);
}

static void on_written(void *ctx, uint64_t sequence)
{
    struct queues *qs = ctx;
    if (qs->config.on_written != NULL)
        qs->config.on_written(qs->config.ctx, sequence);
}

static void on_failed(void *ctx, const struct error *error)
{
    struct queues *qs = ctx;
    if (qs->config.on_failed != NULL)
        qs->config.on_failed(qs->config.ctx, error);
}

// Store time goes on where it was. On the same boot of the kernel its monotonic clock says how long
// we were away; otherwise the wall clock does, as far as it did not go back.
static void time_anchor(struct queues *qs)
{
    static const uint8_t unknown[BOOT_ID_BYTES];
    const struct queues_config *c = &qs->config;
    int64_t now_ms = c->wall_ms;
    if (qs->booted) {
        const struct stored_boot *last = &qs->last_boot;
        bool same = memcmp(last->boot_id, c->boot_id, BOOT_ID_BYTES) == 0 &&
                    memcmp(unknown, c->boot_id, BOOT_ID_BYTES) != 0 &&
                    c->monotonic_ms >= last->monotonic_ms;
        int64_t away_ms = same ? c->monotonic_ms - last->monotonic_ms : c->wall_ms - last->wall_ms;
        now_ms = last->store_ms + (away_ms > 0 ? away_ms : 0);
        if (now_ms < qs->latest_ms) // the wall clock was set back while we ran
            now_ms = qs->latest_ms;
    }
    qs->time_offset_ms = now_ms - c->monotonic_ms;
}

static enum err time_append(struct queues *qs, enum journal_class class,
                            const struct stored_boot *boot, uint64_t *sequence, struct error *error)
{
    struct journal_record record;
    struct span part = {(const char *)boot, sizeof *boot};
    TRY(journal_append(qs->journal, class, STORED_BOOT, &part, 1, &record, error));
    if (qs->booted)
        journal_count(qs->journal, qs->boot_record.segment, -1, -(int64_t)qs->boot_record.bytes);
    qs->boot_record = record.place;
    qs->last_boot = *boot;
    qs->booted = true;
    journal_count(qs->journal, record.place.segment, 1, record.place.bytes);
    *sequence = record.sequence;
    return OK;
}

static enum err boot_append(struct queues *qs, struct error *error)
{
    struct stored_boot boot = {.store_ms = queues_time(qs, qs->config.monotonic_ms),
                               .wall_ms = qs->config.wall_ms,
                               .monotonic_ms = qs->config.monotonic_ms};
    memcpy(boot.boot_id, qs->config.boot_id, BOOT_ID_BYTES);
    qs->wall_ms = boot.wall_ms;
    return time_append(qs, JOURNAL_DELETE, &boot, &qs->boot, error);
}

void queues_wall(struct queues *qs, int64_t wall_ms)
{
    qs->wall_ms = wall_ms;
}

void queues_note_time(struct queues *qs, int64_t now_ms)
{
    uint64_t sequence;
    struct stored_boot boot = qs->last_boot;
    if (now_ms < boot.store_ms + TIME_RECORD_MS)
        return;
    boot.store_ms = now_ms;
    boot.wall_ms = qs->wall_ms;
    boot.monotonic_ms = now_ms - qs->time_offset_ms;
    (void)!time_append(qs, JOURNAL_STATE, &boot, &sequence, &qs->error); // or with space again
}

enum err queues_open(const struct queues_config *config, struct queues **out, struct error *error)
{
    struct queues *qs = calloc(1, sizeof *qs);
    CHECK(qs != NULL);
    qs->config = *config;
    qs->pending = (struct mlist){NONE, NONE};
    qs->replaying = true;
    struct journal_config jc = {.dir = config->dir,
                                .io = config->io,
                                .segment_bytes = config->segment_bytes,
                                .loop = config->loop,
                                .ctx = qs,
                                .replay = queues_replay,
                                .on_written = on_written,
                                .on_durable = on_durable,
                                .on_failed = on_failed,
                                .inspection = config->inspection};
    memcpy(jc.store, config->store_id, STORE_ID_BYTES);
    enum err err = journal_open(&jc, &qs->journal, error);
    if (err == OK) {
        time_anchor(qs);
        err = queues_settle(qs, queues_time(qs, config->monotonic_ms), error);
    }
    if (err == OK && config->inspection == NULL)
        err = boot_append(qs, error);
    if (err != OK) {
        queues_close(qs);
        return err;
    }
    *out = qs;
    return OK;
}

void queues_close(struct queues *qs)
{
    if (qs == NULL)
        return;
    qs->closing = true;
    journal_close(qs->journal);
    for (uint32_t i = 0; i < qs->queue_slots; i++)
        if (qs->queues[i] != NULL)
            queue_free(qs, qs->queues[i]);
    free(qs->queues);
    groups_release(qs);
    dedups_release(qs);
    index_release(qs);
    free(qs);
}

int64_t queues_time(const struct queues *qs, int64_t monotonic_ms)
{
    return monotonic_ms + qs->time_offset_ms;
}

struct journal *queues_journal(struct queues *qs)
{
    return qs->journal;
}

uint64_t queues_written(const struct queues *qs)
{
    return journal_written(qs->journal);
}

uint64_t queues_durable(const struct queues *qs)
{
    return journal_durable(qs->journal);
}

void queues_reserve(struct queues *qs)
{
    journal_reserve(qs->journal, qs->messages * DELETE_RESERVE_BYTES +
                                     qs->queue_count * (uint64_t)QUEUE_RESERVE_BYTES +
                                     FIXED_RESERVE_BYTES);
}

void queues_commit(struct queues *qs)
{
    queues_reserve(qs);
    journal_flush(qs->journal);
}

void queues_stats(const struct queues *qs, struct queues_stats *out)
{
    *out = qs->stats;
    out->messages = qs->messages;
    out->index_bytes = index_bytes(qs);
}

enum sqs_code fault_of(struct fault *f, const struct error *error)
{
    return fault(f, SQS_UNAVAILABLE, "%s", error->msg);
}

// --- registry ---

static uint32_t bucket_of(struct span name)
{
    return digest_crc32c(0, name.data, name.len) % QUEUE_BUCKETS;
}

struct queue *queue_find(struct queues *qs, struct span name)
{
    if (name.len == 0 || name.len > QUEUE_NAME_MAX)
        return NULL;
    for (struct queue *q = qs->buckets[bucket_of(name)]; q != NULL; q = q->next_in_bucket)
        if (span_is(name, q->name))
            return q;
    return NULL;
}

struct queue *queue_by_id(struct queues *qs, uint64_t id)
{
    struct queue *q = qs->by_id[id % QUEUE_BUCKETS];
    while (q != NULL && q->id != id)
        q = q->next_by_id;
    return q;
}

static void id_set(struct queues *qs, struct queue *q, uint64_t id)
{
    struct queue **bucket = &qs->by_id[id % QUEUE_BUCKETS];
    q->id = id;
    q->next_by_id = *bucket;
    *bucket = q;
}

static void id_clear(struct queues *qs, struct queue *q)
{
    for (struct queue **at = &qs->by_id[q->id % QUEUE_BUCKETS]; *at != NULL;
         at = &(*at)->next_by_id)
        if (*at == q) {
            *at = q->next_by_id;
            return;
        }
}

struct queue *queue_add(struct queues *qs, uint64_t id)
{
    uint32_t slot = 0;
    while (slot < qs->queue_slots && qs->queues[slot] != NULL)
        slot++;
    if (slot >= NO_QUEUE)
        return NULL;
    if (slot == qs->queue_slots) {
        uint32_t count = qs->queue_slots == 0 ? 16 : qs->queue_slots * 2;
        qs->queues = realloc(qs->queues, count * sizeof(void *));
        CHECK(qs->queues != NULL);
        memset(qs->queues + qs->queue_slots, 0, (count - qs->queue_slots) * sizeof(void *));
        qs->queue_slots = count;
    }
    struct queue *q = calloc(1, sizeof *q);
    CHECK(q != NULL);
    q->owner = qs;
    if (id != 0)
        id_set(qs, q, id);
    q->slot = (uint16_t)slot;
    q->ready = q->returned = q->age = (struct mlist){NONE, NONE};
    q->ready_groups = q->noisy = (struct mlist){NONE, NONE};
    attributes_init(&q->attributes, false);
    qs->queues[slot] = q;
    return q;
}

void queue_name_set(struct queues *qs, struct queue *q, struct span name)
{
    snprintf(q->name, sizeof q->name, "%.*s", (int)name.len, name.data);
    struct queue **bucket = &qs->buckets[bucket_of(span_from(q->name))];
    q->next_in_bucket = *bucket;
    *bucket = q;
    qs->queue_count++;
}

void queue_name_clear(struct queues *qs, struct queue *q)
{
    for (struct queue **at = &qs->buckets[bucket_of(span_from(q->name))]; *at != NULL;
         at = &(*at)->next_in_bucket)
        if (*at == q) {
            *at = q->next_in_bucket;
            qs->queue_count--;
            return;
        }
}

void tags_free(struct tag *tags, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(tags[i].key);
        free(tags[i].value);
    }
    free(tags);
}

void queue_free(struct queues *qs, struct queue *q)
{
    if (q->ready_flag)
        for (struct queue **at = &qs->ready; *at != NULL; at = &(*at)->next_ready)
            if (*at == q) {
                *at = q->next_ready;
                break;
            }
    id_clear(qs, q);
    qs->queues[q->slot] = NULL;
    attributes_release(&q->attributes);
    json_decref(q->policy);
    tags_free(q->tags, q->tag_count);
    attempts_release(q);
    tasks_release(qs, q);
    free(q);
}

const struct queue_stats *queue_stats(const struct queue *q)
{
    return &q->stats;
}

void queue_note_empty_receive(struct queue *q)
{
    q->stats.empty_receives++;
}

const struct json_t *queue_policy(struct queue *q)
{
    struct fault f;
    if (q->policy == NULL && q->attributes.policy != NULL &&
        policy_parse(span_from(q->attributes.policy), &q->policy, &f) != SQS_OK)
        q->policy = NULL; // an old one that says nothing that we know: it allows nobody else
    return q->policy;
}

size_t queues_count(const struct queues *qs)
{
    return qs->queue_count;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct queue *const *)a)->name, (*(struct queue *const *)b)->name);
}

void queues_each(struct queues *qs, struct span prefix, bool (*fn)(void *ctx, struct queue *q),
                 void *ctx)
{
    struct queue **sorted = malloc((qs->queue_count + 1) * sizeof(void *));
    size_t count = 0;
    CHECK(sorted != NULL);
    for (uint32_t i = 0; i < qs->queue_slots; i++) {
        struct queue *q = qs->queues[i];
        if (q != NULL && q->known && !q->gone && strlen(q->name) >= prefix.len &&
            (prefix.len == 0 || memcmp(q->name, prefix.data, prefix.len) == 0))
            sorted[count++] = q;
    }
    qsort(sorted, count, sizeof(void *), by_name);
    for (size_t i = 0; i < count && fn(ctx, sorted[i]); i++) {
    }
    free(sorted);
}

void queue_info(struct queues *qs, const struct queue *q, struct queue_info *out)
{
    *out = (struct queue_info){
        .name = q->name,
        .attributes = &q->attributes,
        .created_ms = q->created_ms,
        .modified_ms = q->modified_ms,
        .visible = q->visible,
        .in_flight = q->in_flight,
        .delayed = q->delayed + q->pending,
        .tags = q->tags,
        .tag_count = q->tag_count,
        .oldest_ms = q->age.head != NONE ? message_at(qs, q->age.head)->entered_ms : 0,
        .waiters = q->waiter_count,
    };
}

// --- the record of a queue ---

static void add_pair(struct buf *out, struct span name, struct span value)
{
    uint16_t name_bytes = (uint16_t)name.len;
    uint32_t value_bytes = (uint32_t)value.len;
    buf_add(out, &name_bytes, sizeof name_bytes);
    buf_add(out, &value_bytes, sizeof value_bytes);
    buf_add_span(out, name);
    buf_add_span(out, value);
}

enum err queue_append(struct queues *qs, struct queue *q, enum journal_class class,
                      uint64_t *sequence, struct error *error)
{
    AUTO_BUF struct buf pairs = {0}, text = {0};
    struct stored_queue fixed = {.id = q->id,
                                 .created_ms = q->created_ms,
                                 .modified_ms = q->modified_ms,
                                 .flags = (q->gone ? STORED_QUEUE_GONE : 0u) |
                                          (q->dedup_per_group ? STORED_DEDUP_GROUP : 0u) |
                                          (q->purged_ms != 0 ? STORED_QUEUE_PURGED : 0u),
                                 .name_bytes = (uint16_t)strlen(q->name),
                                 .tag_count = q->gone ? 0 : (uint16_t)q->tag_count};
    // of a deleted one only the name is needed: its record must fit QUEUE_RESERVE_BYTES
    for (const struct attribute_spec *spec = attribute_specs; spec->name != NULL && !q->gone;
         spec++) {
        buf_clear(&text);
        if (!attribute_get(&q->attributes, spec, &text))
            continue;
        add_pair(&pairs, span_from(spec->name), buf_view(&text));
        fixed.attribute_count++;
    }
    for (size_t i = 0; i < fixed.tag_count; i++)
        add_pair(&pairs, span_from(q->tags[i].key), span_from(q->tags[i].value));
    if (q->purged_ms != 0)
        buf_add(&pairs, &q->purged_ms, sizeof q->purged_ms);
    struct span parts[] = {
        {(const char *)&fixed, sizeof fixed}, span_from(q->name), buf_view(&pairs)};
    struct journal_record record;
    TRY(journal_append(qs->journal, class, STORED_QUEUE, parts, 3, &record, error));
    if (q->record_sequence != 0)
        journal_count(qs->journal, q->record.segment, -1, -(int64_t)q->record.bytes);
    journal_count(qs->journal, record.place.segment, 1, record.place.bytes);
    q->record = record.place;
    q->record_sequence = record.sequence;
    if (q->id == 0)
        id_set(qs, q, record.sequence);
    if (sequence != NULL)
        *sequence = record.sequence;
    return OK;
}

enum sqs_code queue_create(struct queues *qs, int64_t now_ms, struct span name,
                           struct queue_attributes *attributes, struct tag *tags, size_t tag_count,
                           struct queue **out, uint64_t *wait_for, struct fault *f)
{
    struct error error;
    CHECK(queue_find(qs, name) == NULL);
    for (const struct queue *old = qs->deleted_first; old != NULL; old = old->next_deleted)
        if (span_is(name, old->name) && now_ms < old->modified_ms + qs->config.cooldown_ms)
            return fault(f, SQS_QUEUE_DELETED_RECENTLY,
                         "You must wait %lld seconds after deleting a queue before you can create "
                         "another with the same name.",
                         (long long)qs->config.cooldown_ms / 1000);
    struct queue *q = qs->queue_count < SQS_QUEUES_MAX ? queue_add(qs, 0) : NULL;
    if (q == NULL)
        return fault(f, SQS_OVER_LIMIT, "There are %u queues already, which is the limit.",
                     qs->queue_count);
    q->known = true;
    q->created_ms = q->modified_ms = now_ms;
    attributes_release(&q->attributes);
    q->attributes = *attributes;
    q->dedup_per_group = attributes->dedup_per_group;
    q->tags = tags;
    q->tag_count = tag_count;
    queue_name_set(qs, q, name);
    if (queue_append(qs, q, JOURNAL_NEW, wait_for, &error) != OK) {
        queue_name_clear(qs, q);
        q->attributes = (struct queue_attributes){0}; // still the caller's
        q->tags = NULL;
        q->tag_count = 0;
        queue_free(qs, q);
        return fault_of(f, &error);
    }
    *attributes = (struct queue_attributes){0};
    *out = q;
    return SQS_OK;
}

// The delay of a FIFO queue holds for the messages that are delayed already.
static void redelay(struct queues *qs, struct queue *q)
{
    for (int32_t i = q->age.head; i != NONE; i = message_at(qs, i)->age_next) {
        struct message *m = message_at(qs, i);
        if (m->where != DELAYED)
            continue;
        message_unplace(qs, i);
        m->visible_ms = m->entered_ms + (int64_t)q->attributes.delay_s * 1000;
        message_place(qs, i, DELAYED); // one whose time has come is ready with the next tick
    }
}

enum sqs_code queue_set_attributes(struct queues *qs, struct queue *q, int64_t now_ms,
                                   struct queue_attributes *attributes, uint64_t *wait_for,
                                   struct fault *f)
{
    struct error error;
    struct queue_attributes old = q->attributes;
    int64_t old_modified_ms = q->modified_ms;
    q->attributes = *attributes;
    q->modified_ms = now_ms;
    if (queue_append(qs, q, JOURNAL_STATE, wait_for, &error) != OK) {
        q->attributes = old;
        q->modified_ms = old_modified_ms;
        return fault_of(f, &error);
    }
    if (q->attributes.fifo && q->attributes.delay_s != old.delay_s)
        redelay(qs, q);
    attributes_release(&old);
    json_decref(q->policy);
    q->policy = NULL;
    *attributes = (struct queue_attributes){0};
    queue_expiry_update(qs, q);
    return SQS_OK;
}

enum sqs_code queue_set_tags(struct queues *qs, struct queue *q, struct tag *tags, size_t tag_count,
                             uint64_t *wait_for, struct fault *f)
{
    struct error error;
    struct tag *old = q->tags;
    size_t old_count = q->tag_count;
    q->tags = tags;
    q->tag_count = tag_count;
    if (queue_append(qs, q, JOURNAL_STATE, wait_for, &error) != OK) {
        q->tags = old;
        q->tag_count = old_count;
        return fault_of(f, &error);
    }
    tags_free(old, old_count);
    return SQS_OK;
}

void queue_drop_messages(struct queues *qs, struct queue *q)
{
    while (q->age.head != NONE)
        message_drop(qs, q->age.head);
}

void queue_doom_messages(struct queues *qs, struct queue *q)
{
    for (int32_t i = q->age.head; i != NONE; i = message_at(qs, i)->age_next)
        message_at(qs, i)->doomed = 1;
}

// One record for many deletes; the messages go from the index with it.
