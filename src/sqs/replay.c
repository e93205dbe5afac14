// From records to state: recovery, and compaction, which asks of each record whether it still
// matters.
#include "sqs/dedup.h"
#include "sqs/fair.h"
#include "sqs/move_task.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum err take_pair(struct span *rest, struct span *name, struct span *value,
                          struct error *error)
{
    uint16_t name_bytes = 0;
    uint32_t value_bytes = 0;
    TRY(take(rest, &name_bytes, sizeof name_bytes, error));
    TRY(take(rest, &value_bytes, sizeof value_bytes, error));
    TRY(take_span(rest, name, name_bytes, error));
    return take_span(rest, value, value_bytes, error);
}

// A time that this program may have written: so that nothing computed from it overflows.
static enum err check_time(int64_t ms, struct error *error)
{
    const int64_t max_ms = (int64_t)1 << 50; // year 37,000
    return ms >= 0 && ms < max_ms
               ? OK
               : fail(error, ERR_CORRUPT, 0, "the record holds time %lld", (long long)ms);
}

// The queue with this id; one that is not known yet is told about by a later record (compaction
// moves them).
static enum err queue_meet(struct queues *qs, uint64_t id, struct queue **out, struct error *error)
{
    if (id == 0) {
        (void)!fail(error, ERR_CORRUPT, 0, "the record speaks of a queue with number 0");
        return ERR_CORRUPT; // said here, so that analyzers see that *out was not set
    }
    *out = queue_by_id(qs, id);
    if (*out == NULL)
        *out = queue_add(qs, id);
    if (*out != NULL)
        return OK;
    (void)!fail(error, ERR_LIMIT, 0, "too many queues");
    return ERR_LIMIT;
}

// --- queues ---

static enum err replay_pairs(struct queue *q, const struct stored_queue *fixed, struct span rest,
                             struct error *error)
{
    struct span name = {0}, value = {0};
    struct fault f;
    struct queue_attributes a;
    attributes_init(&a, false);
    attributes_release(&q->attributes);
    q->attributes = a;
    for (int i = 0; i < fixed->attribute_count; i++) {
        TRY(take_pair(&rest, &name, &value, error));
        const struct attribute_spec *spec = attribute_find(name);
        if (spec == NULL)
            return fail(error, ERR_UNSUPPORTED, 0,
                        "queue '%s' has attribute '%.*s', unknown to this smelt: use a newer one",
                        q->name, (int)name.len, name.data);
        if (attribute_restore(&q->attributes, spec, value, &f) != SQS_OK)
            return fail(error, ERR_CORRUPT, 0, "queue '%s': %.300s", q->name, f.message);
    }
    for (size_t i = 0; i < q->tag_count; i++) {
        free(q->tags[i].key);
        free(q->tags[i].value);
    }
    free(q->tags);
    q->tag_count = 0;
    q->tags = calloc((size_t)fixed->tag_count + 1, sizeof q->tags[0]);
    CHECK(q->tags != NULL);
    for (int i = 0; i < fixed->tag_count; i++) {
        TRY(take_pair(&rest, &name, &value, error));
        struct tag *tag = &q->tags[q->tag_count++];
        tag->key = strndup(name.data, name.len);
        tag->value = strndup(value.data, value.len);
        CHECK(tag->key != NULL && tag->value != NULL);
    }
    q->purged_ms = 0;
    if ((fixed->flags & STORED_QUEUE_PURGED) != 0) {
        TRY(take(&rest, &q->purged_ms, sizeof q->purged_ms, error));
        TRY(check_time(q->purged_ms, error));
    }
    return OK;
}

static enum err replay_queue(struct queues *qs, const struct journal_record *record,
                             struct error *error)
{
    struct stored_queue fixed;
    struct span rest = record->payload, name;
    struct queue *q;
    TRY(take(&rest, &fixed, sizeof fixed, error));
    TRY(take_span(&rest, &name, fixed.name_bytes, error));
    if (name.len == 0 || name.len > QUEUE_NAME_MAX)
        return fail(error, ERR_CORRUPT, 0, "a queue's name has %zu bytes", name.len);
    TRY(queue_meet(qs, fixed.id != 0 ? fixed.id : record->sequence, &q, error));
    if (!q->known)
        queue_name_set(qs, q, name);
    q->known = true;
    q->dedup_per_group = (fixed.flags & STORED_DEDUP_GROUP) != 0;
    TRY(check_time(fixed.created_ms, error));
    TRY(check_time(fixed.modified_ms, error));
    q->created_ms = fixed.created_ms;
    q->modified_ms = fixed.modified_ms;
    TRY(replay_pairs(q, &fixed, rest, error));
    if (q->record_sequence != 0)
        journal_count(qs->journal, q->record.segment, -1, -(int64_t)q->record.bytes);
    journal_count(qs->journal, record->place.segment, 1, record->place.bytes);
    q->record = record->place;
    q->record_sequence = record->sequence;
    if ((fixed.flags & STORED_QUEUE_GONE) != 0 && !q->gone) {
        q->gone = true;
        queue_name_clear(qs, q);
    }
    if (q->gone) {
        queue_doom_messages(qs, q);
        dedup_forget(qs, q->slot);
    }
    return OK;
}

// --- messages ---

static enum err apply_state(struct queues *qs, int32_t slot, const struct stored_state *s,
                            struct error *error)
{
    struct queue *q, *source = NULL;
    struct message *m = message_at(qs, slot);
    TRY(check_time(s->entered_ms, error));
    TRY(check_time(s->visible_ms, error));
    TRY(check_time(s->first_received_ms, error));
    if (s->entered_ms > qs->latest_ms)
        qs->latest_ms = s->entered_ms;
    if (s->first_received_ms > qs->latest_ms)
        qs->latest_ms = s->first_received_ms;
    TRY(queue_meet(qs, s->queue, &q, error));
    if (s->source_queue != 0)
        TRY(queue_meet(qs, s->source_queue, &source, error));
    if (m->queue != q->slot) {
        uint32_t group = m->group;
        m->group = group != 0 ? group_use(qs, q, group_name(qs, group)) : 0;
        if (group != 0)
            group_drop(qs, group);
        age_remove(qs, qs->queues[m->queue], slot);
        m->queue = q->slot;
        m->entered_ms = s->entered_ms;
        age_insert(qs, q, slot);
    }
    m->entered_ms = s->entered_ms;
    m->visible_ms = s->visible_ms;
    m->first_received_ms = s->first_received_ms;
    m->receive_count = s->receive_count;
    m->moved = (s->flags & STORED_MOVED) != 0;
    m->doomed = q->gone;
    message_source_set(qs, m, source != NULL ? source->slot : NO_QUEUE);
    return OK;
}

// The ids that must not be sent again, as of a message's own first record.
static void replay_dedup(struct queues *qs, const struct journal_record *record,
                         const struct stored_message *fixed, struct span group, struct span id)
{
    struct queue *q = queue_by_id(qs, fixed->state.queue);
    struct dedup entry = {.id = record->sequence,
                          .expires_ms = fixed->sent_ms + DEDUP_MS,
                          .queue = q->slot,
                          .segment = record->place.segment,
                          .at8 = record->place.at8};
    if (id.len == 0 || fixed->id != 0 || q->gone)
        return;
    dedup_expire(qs, fixed->sent_ms); // it is that late already
    dedup_key(q->id, (fixed->flags & STORED_BY_GROUP) != 0, group, id, entry.key);
    dedup_add(qs, &entry);
}

static enum err replay_dedup_record(struct queues *qs, const struct journal_record *record,
                                    struct error *error)
{
    struct stored_dedup fixed;
    struct span rest = record->payload;
    struct queue *q;
    TRY(take(&rest, &fixed, sizeof fixed, error));
    TRY(check_time(fixed.expires_ms, error));
    TRY(queue_meet(qs, fixed.queue, &q, error));
    struct dedup entry = {.id = fixed.id,
                          .expires_ms = fixed.expires_ms,
                          .queue = q->slot,
                          .segment = record->place.segment,
                          .at8 = record->place.at8};
    memcpy(entry.key, fixed.key, sizeof entry.key);
    if (!q->gone)
        dedup_add(qs, &entry);
    return OK;
}

static enum err replay_message(struct queues *qs, const struct journal_record *record,
                               struct error *error)
{
    struct stored_message fixed;
    struct span rest = record->payload;
    struct queue *q;
    TRY(take(&rest, &fixed, sizeof fixed, error));
    TRY(check_time(fixed.sent_ms, error));
    uint64_t id = fixed.id != 0 ? fixed.id : record->sequence;
    struct span sender, group, dedup;
    TRY(take_span(&rest, &sender, fixed.sender_bytes, error));
    TRY(take_span(&rest, &group, fixed.group_bytes, error));
    TRY(take_span(&rest, &dedup, fixed.dedup_bytes, error));
    struct message *m = message_find(qs, fixed.slot, id);
    if (m == NULL) {
        TRY(queue_meet(qs, fixed.state.queue, &q, error));
        // whoever held the place is dead: the note of that was moved and comes later
        struct message *before = message_in_slot(qs, fixed.slot);
        if (before != NULL && before->id < id)
            message_drop(qs, (int32_t)fixed.slot);
        TRY(message_new_at(qs, fixed.slot, error));
        m = message_at(qs, (int32_t)fixed.slot);
        m->id = id;
        m->queue = q->slot;
        m->entered_ms = fixed.state.entered_ms;
        m->where = PENDING; // until queues_settle
        if (group.len > 0)
            m->group = group_use(qs, q, group);
        age_insert(qs, q, (int32_t)fixed.slot);
    } else {
        message_pin(qs, m, -1); // moved by compaction: this copy counts now
    }
    m->at8 = record->place.at8;
    m->bytes = record->place.bytes;
    m->body_segment = m->state_segment = record->place.segment;
    message_pin(qs, m, 1);
    TRY(apply_state(qs, (int32_t)fixed.slot, &fixed.state, error));
    replay_dedup(qs, record, &fixed, group, dedup);
    return OK;
}

static enum err replay_change(struct queues *qs, const struct journal_record *record,
                              struct error *error)
{
    struct stored_change change;
    struct span rest = record->payload;
    TRY(take(&rest, &change, sizeof change, error));
    struct message *m = message_find(qs, change.slot, change.id);
    if (m == NULL) // dead, or its record was moved behind this one and holds its state
        return OK;
    message_pin(qs, m, -1);
    m->state_segment = record->place.segment;
    message_pin(qs, m, 1);
    return apply_state(qs, (int32_t)change.slot, &change.state, error);
}

static enum err replay_delete(struct queues *qs, const struct journal_record *record,
                              struct error *error)
{
    struct stored_delete gone = {0};
    struct span rest = record->payload;
    do {
        TRY(take(&rest, &gone, sizeof gone, error));
        if (message_find(qs, gone.slot, gone.id) != NULL)
            message_drop(qs, (int32_t)gone.slot);
        journal_tombstone(qs->journal, record->place.segment, gone.id, true);
    } while (rest.len > 0);
    return OK;
}

static enum err replay_purge(struct queues *qs, const struct journal_record *record,
                             struct error *error)
{
    struct stored_purge purge;
    struct span rest = record->payload;
    TRY(take(&rest, &purge, sizeof purge, error));
    struct queue *q = queue_by_id(qs, purge.queue);
    if (q != NULL) {
        queue_doom_messages(qs, q);
        dedup_forget(qs, q->slot);
    }
    journal_tombstone(qs->journal, record->place.segment, purge.oldest, false);
    return OK;
}

static enum err replay_task(struct queues *qs, const struct journal_record *record,
                            struct error *error)
{
    struct stored_task fixed;
    struct span rest = record->payload;
    struct queue *q;
    TRY(take(&rest, &fixed, sizeof fixed, error));
    TRY(check_time(fixed.started_ms, error));
    TRY(queue_meet(qs, fixed.queue, &q, error));
    return q->gone ? OK : task_replay(qs, q, record, error);
}

static enum err replay_boot(struct queues *qs, const struct journal_record *record,
                            struct error *error)
{
    struct span rest = record->payload;
    TRY(take(&rest, &qs->last_boot, sizeof qs->last_boot, error));
    TRY(check_time(qs->last_boot.store_ms, error));
    TRY(check_time(qs->last_boot.wall_ms, error));
    TRY(check_time(qs->last_boot.monotonic_ms, error));
    if (qs->booted)
        journal_count(qs->journal, qs->boot_record.segment, -1, -(int64_t)qs->boot_record.bytes);
    qs->boot_record = record->place;
    qs->booted = true;
    journal_count(qs->journal, record->place.segment, 1, record->place.bytes);
    return OK;
}

enum err queues_replay(void *ctx, const struct journal_record *record, struct error *error)
{
    struct queues *qs = ctx;
    switch (record->type) {
    case STORED_BOOT:
        return replay_boot(qs, record, error);
    case STORED_QUEUE:
        return replay_queue(qs, record, error);
    case STORED_MESSAGE:
        return replay_message(qs, record, error);
    case STORED_STATE:
        return replay_change(qs, record, error);
    case STORED_DELETE:
        return replay_delete(qs, record, error);
    case STORED_PURGE:
        return replay_purge(qs, record, error);
    case STORED_DEDUP:
        return replay_dedup_record(qs, record, error);
    case STORED_TASK:
        return replay_task(qs, record, error);
    default:
        return fail(error, ERR_UNSUPPORTED, 0,
                    "the record has type %u, unknown to this smelt: use a newer one", record->type);
    }
}

// --- after the last record ---

struct ordered {
    int64_t entered_ms;
    uint64_t id;
    int32_t slot;
};

static int by_age(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    if (x->entered_ms != y->entered_ms)
        return x->entered_ms < y->entered_ms ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

// Purges are over: what was not shown to be elsewhere is gone.
static void settle_doomed(struct queues *qs, struct queue *q)
{
    for (int32_t i = q->age.head, next; i != NONE; i = next) {
        next = message_at(qs, i)->age_next;
        if (message_at(qs, i)->doomed)
            message_drop(qs, i);
    }
}

// Its place in its group: groups are met before it is known what kind of queue it is.
static void settle_group(struct queues *qs, const struct queue *q, int32_t slot)
{
    struct message *m = message_at(qs, slot);
    if (m->group == 0)
        return;
    if (!q->attributes.fifo) {
        struct group *g = &qs->groups[m->group - 1];
        g->last_sent_ms = g->last_sent_ms > m->entered_ms ? g->last_sent_ms : m->entered_ms;
        return;
    }
    group_enter(qs, slot);
    if (m->receive_count == 0 && m->visible_ms != 0) // the delay as it is now
        m->visible_ms = m->entered_ms + (int64_t)q->attributes.delay_s * 1000;
}

// Puts a queue's messages where they belong, in the order in which they entered it.
static void settle_queue(struct queues *qs, struct queue *q, int64_t now_ms)
{
    size_t count = 0;
    for (int32_t i = q->age.head; i != NONE; i = message_at(qs, i)->age_next)
        count++;
    struct ordered *all = malloc((count + 1) * sizeof all[0]);
    CHECK(all != NULL);
    bool sorted = true;
    size_t n = 0;
    for (int32_t i = q->age.head; i != NONE; i = message_at(qs, i)->age_next, n++) {
        const struct message *m = message_at(qs, i);
        all[n] = (struct ordered){m->entered_ms, m->id, i};
        sorted = sorted && (n == 0 || by_age(&all[n - 1], &all[n]) <= 0);
    }
    if (!sorted)
        qsort(all, count, sizeof all[0], by_age);
    q->age = (struct mlist){NONE, NONE};
    for (size_t i = 0; i < count; i++) {
        struct message *m = message_at(qs, all[i].slot);
        settle_group(qs, q, all[i].slot);
        bool hidden = m->visible_ms > now_ms;
        age_insert(qs, q, all[i].slot);
        if (m->receive_count == 0)
            message_place(qs, all[i].slot, hidden ? DELAYED : READY);
        else
            message_place(qs, all[i].slot,
                          hidden                               ? IN_FLIGHT
                          : m->receive_count < RETURNS_TO_BACK ? RETURNED
                                                               : READY);
    }
    free(all);
    for (int32_t i = q->age.head; i != NONE && !q->attributes.fifo; i = message_at(qs, i)->age_next)
        if (message_at(qs, i)->group != 0)
            fair_judge(qs, q, message_at(qs, i)->group, now_ms);
    queue_expiry_update(qs, q);
}

// The lists of free places, lowest first.
static void settle_index(struct queues *qs)
{
    for (uint32_t i = 0; i < qs->chunk_count; i++) {
        struct index_chunk *c = qs->chunks[i];
        if (c == NULL)
            continue;
        c->free = NONE;
        for (int32_t k = INDEX_CHUNK - 1; k >= 0; k--)
            if (c->messages[k].where == FREE) {
                c->messages[k].next = c->free;
                c->free = (int32_t)(i * INDEX_CHUNK) + k;
            }
        if (c->used == 0 && i > 0) {
            free(c);
            qs->chunks[i] = NULL;
        }
    }
}

// Only looking: what is left of a queue is shown under another name.
static void settle_lost_queue(struct queues *qs, struct queue *q)
{
    struct journal_inspection *in = qs->config.inspection;
    char name[QUEUE_NAME_MAX + 1];
    if (in->damages == 0) {
        struct journal_damage d = {.file = "manifest"};
        snprintf(d.text, sizeof d.text, "there are messages of queue %llu, but no record of it",
                 (unsigned long long)q->id);
        in->damages++;
        if (in->on_damage != NULL)
            in->on_damage(in->ctx, &d);
    }
    snprintf(name, sizeof name, "lost-%llu", (unsigned long long)q->id);
    queue_name_set(qs, q, span_from(name));
    q->known = true;
}

enum err queues_settle(struct queues *qs, int64_t now_ms, struct error *error)
{
    for (uint32_t i = 0; i < qs->queue_slots; i++)
        if (qs->queues[i] != NULL)
            settle_doomed(qs, qs->queues[i]);
    settle_index(qs);
    qs->replaying = false;
    dedup_expire(qs, now_ms);
    tasks_settle(qs, now_ms);
    for (uint32_t i = 0; i < qs->queue_slots; i++) {
        struct queue *q = qs->queues[i];
        if (q == NULL)
            continue;
        bool lost = !q->known && (q->age.head != NONE || q->sourced > 0);
        if (lost && qs->config.inspection != NULL)
            settle_lost_queue(qs, q);
        else if (lost)
            return fail(
                error, ERR_CORRUPT, 0,
                "the journal in '%s' has messages of queue %llu, but no record of that queue",
                qs->config.dir, (unsigned long long)q->id);
        if (!q->known) { // deleted, and its record went with the last thing that it was needed for
            dedup_forget(qs, q->slot);
            queue_free(qs, q);
            continue;
        }
        settle_queue(qs, q, now_ms);
        if (q->gone)
            queue_remember(qs, q, now_ms);
        queue_forget_if_unused(qs, q);
    }
    return OK;
}
