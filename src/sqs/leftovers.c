// Compaction: of each record of a segment that is mostly garbage it is asked whether it still
// matters; what does is appended anew.
#include "sqs/dedup.h"
#include "sqs/move_task.h"

#include <string.h>

static enum err move(struct queues *qs, const struct journal_record *record,
                     const struct span *parts, size_t count, struct journal_record *out,
                     struct error *error)
{
    return journal_append(qs->journal, JOURNAL_STATE, record->type, parts, count, out, error);
}

// The deduplication id of this key, if this record is the one that tells of it.
static bool tells_of(const struct queues *qs, const struct journal_record *record,
                     const uint8_t key[DEDUP_KEY_BYTES], struct dedup *d)
{
    return dedup_find(qs, key, d) && d->segment == record->place.segment &&
           d->at8 == record->place.at8;
}

static enum err move_dedup(struct queues *qs, const struct stored_dedup *dedup, struct error *error)
{
    struct journal_record moved;
    struct span part = {(const char *)dedup, sizeof *dedup};
    TRY(journal_append(qs->journal, JOURNAL_STATE, STORED_DEDUP, &part, 1, &moved, error));
    dedup_move(qs, dedup->key, moved.place);
    return OK;
}

// What a message's first record says of its deduplication id must outlive the record.
static enum err move_dedup_of_message(struct queues *qs, const struct journal_record *record,
                                      const struct stored_message *fixed, struct span rest,
                                      struct error *error)
{
    struct span sender, group, id;
    struct stored_dedup dedup = {.queue = fixed->state.queue, .id = record->sequence};
    struct dedup d;
    TRY(take_span(&rest, &sender, fixed->sender_bytes, error));
    TRY(take_span(&rest, &group, fixed->group_bytes, error));
    TRY(take_span(&rest, &id, fixed->dedup_bytes, error));
    if (id.len == 0 || fixed->id != 0)
        return OK;
    dedup_key(dedup.queue, (fixed->flags & STORED_BY_GROUP) != 0, group, id, dedup.key);
    if (!tells_of(qs, record, dedup.key, &d))
        return OK;
    dedup.expires_ms = d.expires_ms;
    memcpy(dedup.message_id, fixed->message_id, sizeof dedup.message_id);
    return move_dedup(qs, &dedup, error);
}

static enum err move_dedup_record(struct queues *qs, const struct journal_record *record,
                                  struct error *error)
{
    struct stored_dedup dedup;
    struct span rest = record->payload;
    struct dedup d;
    TRY(take(&rest, &dedup, sizeof dedup, error));
    return tells_of(qs, record, dedup.key, &d) ? move_dedup(qs, &dedup, error) : OK;
}

static enum err move_message(struct queues *qs, const struct journal_record *record,
                             struct error *error)
{
    struct stored_message fixed;
    struct span rest = record->payload;
    TRY(take(&rest, &fixed, sizeof fixed, error));
    TRY(move_dedup_of_message(qs, record, &fixed, rest, error));
    uint64_t id = fixed.id != 0 ? fixed.id : record->sequence;
    struct message *m = message_find(qs, fixed.slot, id);
    if (m == NULL || m->body_segment != record->place.segment || m->at8 != record->place.at8)
        return OK;
    struct journal_record moved;
    fixed.id = id;
    message_state(qs, m, &fixed.state);
    struct span parts[] = {{(const char *)&fixed, sizeof fixed}, rest};
    TRY(move(qs, record, parts, 2, &moved, error));
    message_pin(qs, m, -1);
    m->at8 = moved.place.at8;
    m->bytes = moved.place.bytes;
    m->body_segment = m->state_segment = moved.place.segment;
    message_pin(qs, m, 1);
    return OK;
}

static enum err move_change(struct queues *qs, const struct journal_record *record,
                            struct error *error)
{
    struct stored_change change;
    struct span rest = record->payload;
    TRY(take(&rest, &change, sizeof change, error));
    struct message *m = message_find(qs, change.slot, change.id);
    if (m == NULL || m->state_segment != record->place.segment ||
        m->body_segment == record->place.segment)
        return OK;
    struct journal_record moved;
    message_state(qs, m, &change.state);
    struct span part = {(const char *)&change, sizeof change};
    TRY(move(qs, record, &part, 1, &moved, error));
    message_pin(qs, m, -1);
    m->state_segment = moved.place.segment;
    message_pin(qs, m, 1);
    return OK;
}

static enum err move_delete(struct queues *qs, const struct journal_record *record,
                            struct error *error)
{
    struct stored_delete gone;
    struct span rest = record->payload;
    struct journal_record moved;
    uint64_t oldest = UINT64_MAX;
    do {
        TRY(take(&rest, &gone, sizeof gone, error));
        oldest = gone.id < oldest ? gone.id : oldest;
    } while (rest.len > 0);
    if (!journal_tombstone_needed(qs->journal, record->place.segment, oldest))
        return OK;
    TRY(move(qs, record, &record->payload, 1, &moved, error));
    journal_tombstone(qs->journal, moved.place.segment, oldest, true);
    return OK;
}

static enum err move_queue(struct queues *qs, const struct journal_record *record,
                           struct error *error)
{
    struct stored_queue fixed;
    struct span rest = record->payload;
    struct journal_record moved;
    TRY(take(&rest, &fixed, sizeof fixed, error));
    uint64_t id = fixed.id != 0 ? fixed.id : record->sequence;
    struct queue *q = queue_by_id(qs, id);
    if (q != NULL) {
        if (q->record_sequence != record->sequence)
            return OK;
        return queue_append(qs, q, JOURNAL_STATE, NULL, error);
    }
    if ((fixed.flags & STORED_QUEUE_GONE) == 0 ||
        !journal_tombstone_needed(qs->journal, record->place.segment, id))
        return OK;
    TRY(move(qs, record, &record->payload, 1, &moved, error));
    journal_tombstone(qs->journal, moved.place.segment, id, true);
    return OK;
}

static enum err move_task_record(struct queues *qs, const struct journal_record *record,
                                 struct error *error)
{
    struct stored_task fixed;
    struct span rest = record->payload;
    TRY(take(&rest, &fixed, sizeof fixed, error));
    struct queue *q = queue_by_id(qs, fixed.queue);
    return q != NULL ? task_move_record(qs, q, record, error) : OK;
}

static enum err move_boot(struct queues *qs, const struct journal_record *record,
                          struct error *error)
{
    struct journal_record moved;
    if (qs->boot_record.segment != record->place.segment ||
        qs->boot_record.at8 != record->place.at8)
        return OK;
    TRY(move(qs, record, &record->payload, 1, &moved, error));
    journal_count(qs->journal, qs->boot_record.segment, -1, -(int64_t)qs->boot_record.bytes);
    qs->boot_record = moved.place;
    journal_count(qs->journal, moved.place.segment, 1, moved.place.bytes);
    return OK;
}

static enum err move_record(void *ctx, const struct journal_record *record, struct error *error)
{
    struct queues *qs = ctx;
    switch (record->type) {
    case STORED_BOOT:
        return move_boot(qs, record, error);
    case STORED_QUEUE:
        return move_queue(qs, record, error);
    case STORED_MESSAGE:
        return move_message(qs, record, error);
    case STORED_STATE:
        return move_change(qs, record, error);
    case STORED_DELETE:
        return move_delete(qs, record, error);
    case STORED_DEDUP:
        return move_dedup_record(qs, record, error);
    case STORED_TASK:
        return move_task_record(qs, record, error);
    default: // a purge: its segment is chosen only when nothing older is left
        return OK;
    }
}

bool queues_compact(struct queues *qs)
{
    struct error error;
    bool done = false;
    if (!qs->compacting) {
        if (!journal_victim(qs->journal, &qs->victim))
            return false;
        qs->compacting = true;
        qs->victim_at = 0;
    }
    enum err err = journal_scan(qs->journal, qs->victim, &qs->victim_at, COMPACT_SLICE_BYTES,
                                move_record, qs, &done, &error);
    // on an error the segment stays as it is; another attempt may come with the next victim
    if (err != OK || done) {
        journal_moved(qs->journal, qs->victim, err == OK);
        qs->compacting = false;
    }
    return err == OK;
}
