// How queues end and are emptied: delete, purge, and the names that cannot be taken again yet.
#include "sqs/dedup.h"
#include "sqs/move_task.h"

#include "base/check.h"

static enum err deletes_append(struct queues *qs, const struct stored_delete *gone, size_t count,
                               struct error *error)
{
    struct span part = {(const char *)gone, count * sizeof gone[0]};
    struct journal_record record;
    if (count == 0)
        return OK;
    TRY(journal_append(qs->journal, JOURNAL_DELETE, STORED_DELETE, &part, 1, &record, error));
    for (size_t i = 0; i < count; i++) {
        journal_tombstone(qs->journal, record.place.segment, gone[i].id, true);
        message_drop(qs, (int32_t)gone[i].slot);
    }
    return OK;
}

// Before all of a queue goes with one record: messages that came to it from elsewhere get a delete
// each. The one record speaks of those whose own record names the queue; where another came from
// may be forgotten by then. *oldest: smallest id in the queue.
static enum err delete_moved(struct queues *qs, struct queue *q, uint64_t *oldest,
                             struct error *error)
{
    enum { AT_ONCE = 64 };
    struct stored_delete gone[AT_ONCE] = {0};
    size_t count = 0;
    for (int32_t i = q->age.head, next; i != NONE; i = next) {
        const struct message *m = message_at(qs, i);
        next = m->age_next;
        if (m->id < *oldest)
            *oldest = m->id;
        if (!m->moved)
            continue;
        gone[count++] = (struct stored_delete){.id = m->id, .slot = (uint32_t)i};
        if (count == AT_ONCE) {
            TRY(deletes_append(qs, gone, count, error));
            count = 0;
        }
    }
    return deletes_append(qs, gone, count, error);
}

void queue_forget_if_unused(struct queues *qs, struct queue *q)
{
    if (!q->gone || q->remembered || q->sourced > 0 || q->age.head != NONE || qs->replaying)
        return;
    // its record now only says that it is gone: needed as long as older records speak of it
    journal_count(qs->journal, q->record.segment, -1, -(int64_t)q->record.bytes);
    journal_tombstone(qs->journal, q->record.segment, q->id, true);
    deadline_cancel(qs, DEADLINE_QUEUE + q->slot);
    queue_free(qs, q);
}

static void forget_first(struct queues *qs)
{
    struct queue *q = qs->deleted_first;
    qs->deleted_first = q->next_deleted;
    if (qs->deleted_first == NULL)
        qs->deleted_last = NULL;
    qs->deleted_count--;
    q->remembered = false;
    queue_forget_if_unused(qs, q);
}

void queue_remember(struct queues *qs, struct queue *q, int64_t now_ms)
{
    if (now_ms >= q->modified_ms + qs->config.cooldown_ms)
        return;
    struct queue **at = &qs->deleted_first;
    if (qs->deleted_last != NULL && qs->deleted_last->modified_ms <= q->modified_ms)
        at = &qs->deleted_last->next_deleted; // as always but while recovering
    while (*at != NULL && (*at)->modified_ms <= q->modified_ms)
        at = &(*at)->next_deleted;
    q->next_deleted = *at;
    *at = q;
    if (q->next_deleted == NULL)
        qs->deleted_last = q;
    q->remembered = true;
    if (++qs->deleted_count > SQS_DELETED_NAMES_MAX)
        forget_first(qs);
}

void queues_forget(struct queues *qs, int64_t now_ms)
{
    while (queues_next_forget_ms(qs) <= now_ms)
        forget_first(qs);
}

int64_t queues_next_forget_ms(const struct queues *qs)
{
    const struct queue *q = qs->deleted_first;
    return q != NULL ? q->modified_ms + qs->config.cooldown_ms : INT64_MAX;
}

enum sqs_code queue_delete(struct queues *qs, struct queue *q, int64_t now_ms, uint64_t *wait_for,
                           struct fault *f)
{
    struct error error;
    int64_t old_modified_ms = q->modified_ms;
    uint64_t oldest = UINT64_MAX;
    q->gone = true;
    q->modified_ms = now_ms;
    if (delete_moved(qs, q, &oldest, &error) != OK ||
        queue_append(qs, q, JOURNAL_DELETE, wait_for, &error) != OK) {
        q->gone = false;
        q->modified_ms = old_modified_ms;
        return fault_of(f, &error);
    }
    while (q->waiters != NULL) {
        struct waiter *w = q->waiters;
        queue_unwait(w);
        (void)w->fn(w, true);
    }
    queue_name_clear(qs, q);
    queue_drop_messages(qs, q);
    dedup_forget(qs, q->slot);
    tasks_release(qs, q);
    deadline_cancel(qs, DEADLINE_QUEUE + q->slot);
    queue_remember(qs, q, now_ms);
    queue_forget_if_unused(qs, q);
    return SQS_OK;
}

// All messages go with one record, but for those that came from elsewhere.
static enum err purge_messages(struct queues *qs, struct queue *q, uint64_t *wait_for,
                               struct error *error)
{
    struct journal_record record;
    uint64_t oldest = UINT64_MAX;
    if (q->age.head == NONE && qs->dedups.count == 0)
        return OK;
    TRY(delete_moved(qs, q, &oldest, error));
    *wait_for = journal_next_sequence(qs->journal) - 1;
    bool empty = q->age.head == NONE; // then this is about deduplication ids alone
    if (empty && !q->attributes.fifo)
        return OK;
    // ids of messages that are long gone are forgotten too
    uint64_t first_id = dedup_first_id(qs, q->slot);
    if (oldest > first_id)
        oldest = first_id;
    if (oldest > journal_next_sequence(qs->journal))
        oldest = journal_next_sequence(qs->journal); // nothing is there
    struct stored_purge purge = {.queue = q->id, .oldest = oldest};
    struct span part = {(const char *)&purge, sizeof purge};
    // the reserve is for messages that are there; without space the ids stay for their five minutes
    enum err err = journal_append(qs->journal, empty ? JOURNAL_STATE : JOURNAL_DELETE, STORED_PURGE,
                                  &part, 1, &record, error);
    if (err != OK)
        return empty && err != ERR_IO ? OK : err;
    journal_tombstone(qs->journal, record.place.segment, oldest, false);
    queue_drop_messages(qs, q);
    dedup_forget(qs, q->slot);
    *wait_for = record.sequence;
    return OK;
}

enum sqs_code queue_purge(struct queues *qs, struct queue *q, int64_t now_ms, uint64_t *wait_for,
                          struct fault *f)
{
    struct error error;
    if (q->purged_ms != 0 && now_ms < q->purged_ms + qs->config.cooldown_ms)
        return fault(f, SQS_PURGE_IN_PROGRESS,
                     "Only one PurgeQueue operation on %s is allowed every %lld seconds.", q->name,
                     (long long)qs->config.cooldown_ms / 1000);
    if (purge_messages(qs, q, wait_for, &error) != OK)
        return fault_of(f, &error);
    if (qs->config.cooldown_ms > 0) {
        q->purged_ms = now_ms;
        // on a full disk only the time of the purge is forgotten by the next restart
        (void)!queue_append(qs, q, JOURNAL_STATE, wait_for, &error);
    }
    return SQS_OK;
}
