#include "sqs/move_task.h"

#include "base/check.h"
#include "sqs/fair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    AT_ONCE = 1000, // messages moved before others get their turn, and a record says how far it is
    PACE_MS = 100,  // with a rate: so often
};

static enum err task_append(struct queues *qs, struct move_task *t, uint64_t *sequence,
                            struct error *error)
{
    struct stored_task fixed = {.queue = t->queue->id,
                                .destination = t->destination,
                                .started_ms = t->started_ms,
                                .moved = t->moved,
                                .to_move = t->to_move,
                                .rate = t->rate,
                                .status = t->status,
                                .failure = t->destination_gone};
    struct journal_record record;
    memcpy(fixed.id, t->id, sizeof fixed.id);
    struct span parts[] = {{(const char *)&fixed, sizeof fixed}, span_from(t->destination_name)};
    TRY(journal_append(qs->journal, JOURNAL_STATE, STORED_TASK, parts, 2, &record, error));
    if (t->recorded)
        journal_count(qs->journal, t->record.segment, -1, -(int64_t)t->record.bytes);
    journal_count(qs->journal, record.place.segment, 1, record.place.bytes);
    t->record = record.place;
    t->recorded = true;
    if (sequence != NULL)
        *sequence = record.sequence;
    return OK;
}

static void task_free(struct queues *qs, struct move_task *t)
{
    for (struct move_task **at = &qs->running; *at != NULL; at = &(*at)->next_running)
        if (*at == t) {
            *at = t->next_running;
            break;
        }
    if (t->recorded)
        journal_count(qs->journal, t->record.segment, -1, -(int64_t)t->record.bytes);
    free(t);
}

// Keeps the newest of a queue. A forgotten one's record may be met again at a restart, and is
// forgotten again.
static void trim(struct queues *qs, struct queue *q)
{
    struct move_task **at = &q->tasks;
    for (int i = 0; i < TASKS_KEPT && *at != NULL; i++)
        at = &(*at)->next;
    while (*at != NULL) {
        struct move_task *old = *at;
        *at = old->next;
        task_free(qs, old);
    }
}

void tasks_release(struct queues *qs, struct queue *q)
{
    while (q->tasks != NULL) {
        struct move_task *next = q->tasks->next;
        if (qs->closing)
            free(q->tasks);
        else
            task_free(qs, q->tasks);
        q->tasks = next;
    }
}

static void task_run(struct queues *qs, struct move_task *t, int64_t now_ms)
{
    t->next_running = qs->running;
    qs->running = t;
    t->next_ms = t->paced_from_ms = now_ms;
    t->budget_from = t->moved;
}

enum sqs_code task_start(struct queues *qs, struct queue *source, struct queue *destination,
                         uint32_t rate, const char *id, int64_t now_ms, uint64_t *wait_for,
                         struct fault *f)
{
    struct error error;
    for (const struct move_task *t = source->tasks; t != NULL; t = t->next)
        if (t->status == TASK_RUNNING)
            return fault(f, SQS_INVALID_PARAMETER,
                         "There is already a task running. Only one active task is allowed for a "
                         "source queue arn at a given time.");
    struct move_task *t = calloc(1, sizeof *t);
    CHECK(t != NULL);
    t->queue = source;
    t->destination = destination != NULL ? destination->id : 0;
    if (destination != NULL)
        memcpy(t->destination_name, destination->name, sizeof t->destination_name);
    t->started_ms = now_ms;
    t->to_move = source->visible;
    t->rate = rate;
    snprintf(t->id, sizeof t->id, "%s", id);
    if (task_append(qs, t, wait_for, &error) != OK) {
        free(t);
        return fault_of(f, &error);
    }
    t->next = source->tasks;
    source->tasks = t;
    task_run(qs, t, now_ms);
    trim(qs, source);
    return SQS_OK;
}

struct move_task *task_find(struct queue *q, struct span id)
{
    struct move_task *t = q->tasks;
    while (t != NULL && !span_is(id, t->id))
        t = t->next;
    return t;
}

const struct move_task *tasks_of(const struct queue *q)
{
    return q->tasks;
}

static enum err task_end(struct queues *qs, struct move_task *t, enum task_status status,
                         uint64_t *sequence, struct error *error)
{
    enum task_status before = t->status;
    t->status = status;
    enum err err = task_append(qs, t, sequence, error);
    if (err != OK) {
        t->status = before;
        return err;
    }
    for (struct move_task **at = &qs->running; *at != NULL; at = &(*at)->next_running)
        if (*at == t) {
            *at = t->next_running;
            break;
        }
    return OK;
}

enum sqs_code task_cancel(struct queues *qs, struct move_task *t, uint64_t *wait_for,
                          struct fault *f)
{
    struct error error;
    return task_end(qs, t, TASK_CANCELLED, wait_for, &error) == OK ? SQS_OK : fault_of(f, &error);
}

// --- running ---

// The next message that can be moved: one that could be received.
static int32_t next_slot(const struct queues *qs, const struct queue *q)
{
    if (q->attributes.fifo)
        return q->ready_groups.head != NONE ? qs->groups[q->ready_groups.head].messages.head : NONE;
    return fair_next(qs, q);
}

// A redriven message is a new one in its queue: received never, its time begins.
static enum err redrive(struct queues *qs, int32_t slot, struct queue *target, int64_t now_ms,
                        struct error *error)
{
    struct message *m = message_at(qs, slot);
    struct message before = *m;
    m->receive_count = 0;
    m->first_received_ms = 0;
    m->visible_ms = 0;
    enum err err = message_move(qs, slot, target, NO_QUEUE, now_ms, error);
    if (err != OK) {
        m->receive_count = before.receive_count;
        m->first_received_ms = before.first_received_ms;
        m->visible_ms = before.visible_ms;
    }
    return err;
}

// Where a message goes; NULL or gone: nowhere. A source that was deleted and made again counts.
static struct queue *target_of(struct queues *qs, const struct move_task *t,
                               const struct message *m)
{
    if (t->destination != 0)
        return queue_by_id(qs, t->destination);
    struct queue *source = m->source != NO_QUEUE ? qs->queues[m->source] : NULL;
    struct queue *again =
        source != NULL && source->gone ? queue_find(qs, span_from(source->name)) : NULL;
    return again != NULL && again->attributes.fifo == t->queue->attributes.fifo ? again : source;
}

// Moves up to `budget` messages. *ended: the task is over, or failed.
static void task_step(struct queues *qs, struct move_task *t, uint64_t budget, int64_t now_ms,
                      bool *ended)
{
    struct error error;
    enum task_status status = TASK_COMPLETED;
    *ended = true;
    for (; budget > 0 && t->moved < t->to_move; budget--) {
        int32_t slot = next_slot(qs, t->queue);
        if (slot == NONE)
            break;
        const struct message *m = message_at(qs, slot);
        struct queue *target = target_of(qs, t, m);
        if (target == NULL || target->gone) {
            t->destination_gone = t->destination != 0 || m->source != NO_QUEUE;
            status = TASK_FAILED;
            break;
        }
        if (redrive(qs, slot, target, now_ms, &error) != OK) { // no space: later
            t->next_ms = now_ms + 1000;
            *ended = false;
            return;
        }
        t->moved++;
    }
    if (budget == 0 && t->moved < t->to_move) {
        *ended = false;
        (void)!task_append(qs, t, NULL, &error); // without space a restart moves some more
    } else if (task_end(qs, t, status, NULL, &error) != OK) {
        t->next_ms = now_ms + 1000;
        *ended = false;
    }
}

bool tasks_run(struct queues *qs, int64_t now_ms)
{
    bool more = false;
    for (struct move_task *t = qs->running, *next; t != NULL; t = next) {
        next = t->next_running;
        if (t->next_ms > now_ms)
            continue;
        bool ended = false;
        if (t->rate == 0) {
            task_step(qs, t, AT_ONCE, now_ms, &ended);
            more = more || (!ended && t->next_ms <= now_ms);
            continue;
        }
        t->next_ms = now_ms + PACE_MS;
        // what the rate allows since the start of the task, or of the process
        uint64_t allowed = (uint64_t)(now_ms - t->paced_from_ms + PACE_MS) * t->rate / 1000;
        uint64_t done = t->moved - t->budget_from;
        if (allowed > done)
            task_step(qs, t, allowed - done < AT_ONCE ? allowed - done : AT_ONCE, now_ms, &ended);
    }
    return more;
}

int64_t tasks_next_ms(const struct queues *qs)
{
    int64_t next_ms = INT64_MAX;
    for (const struct move_task *t = qs->running; t != NULL; t = t->next_running)
        if (t->next_ms < next_ms)
            next_ms = t->next_ms;
    return next_ms;
}

// --- recovery and compaction ---

enum err task_replay(struct queues *qs, struct queue *q, const struct journal_record *record,
                     struct error *error)
{
    struct stored_task fixed;
    if (record->payload.len < sizeof fixed)
        return fail(error, ERR_CORRUPT, 0, "the record is too short");
    memcpy(&fixed, record->payload.data, sizeof fixed);
    if (fixed.status > TASK_FAILED || memchr(fixed.id, '\0', sizeof fixed.id) == NULL)
        return fail(error, ERR_CORRUPT, 0, "the record of a move task cannot be");
    struct span name = {record->payload.data + sizeof fixed, record->payload.len - sizeof fixed};
    if (name.len > QUEUE_NAME_MAX)
        return fail(error, ERR_CORRUPT, 0, "the name in the record of a move task is too long");
    struct move_task *t = task_find(q, span_from(fixed.id));
    if (t == NULL) {
        t = calloc(1, sizeof *t);
        CHECK(t != NULL);
        struct move_task **at = &q->tasks; // newest first
        while (*at != NULL && (*at)->started_ms > fixed.started_ms)
            at = &(*at)->next;
        t->next = *at;
        *at = t;
    } else {
        journal_count(qs->journal, t->record.segment, -1, -(int64_t)t->record.bytes);
    }
    t->queue = q;
    t->destination = fixed.destination;
    snprintf(t->destination_name, sizeof t->destination_name, "%.*s", (int)name.len, name.data);
    t->started_ms = fixed.started_ms;
    t->moved = fixed.moved;
    t->to_move = fixed.to_move;
    t->rate = fixed.rate;
    t->status = (enum task_status)fixed.status;
    t->destination_gone = fixed.failure != 0;
    memcpy(t->id, fixed.id, sizeof t->id);
    t->record = record->place;
    t->recorded = true;
    journal_count(qs->journal, record->place.segment, 1, record->place.bytes);
    return OK;
}

void tasks_settle(struct queues *qs, int64_t now_ms)
{
    for (uint32_t i = 0; i < qs->queue_slots; i++) {
        struct queue *q = qs->queues[i];
        if (q == NULL)
            continue;
        if (q->gone)
            tasks_release(qs, q);
        trim(qs, q);
        for (struct move_task *t = q->tasks; t != NULL; t = t->next)
            if (t->status == TASK_RUNNING)
                task_run(qs, t, now_ms);
    }
}

enum err task_move_record(struct queues *qs, struct queue *q, const struct journal_record *record,
                          struct error *error)
{
    struct stored_task fixed;
    if (record->payload.len < sizeof fixed)
        return OK;
    memcpy(&fixed, record->payload.data, sizeof fixed);
    fixed.id[sizeof fixed.id - 1] = '\0';
    struct move_task *t = task_find(q, span_from(fixed.id));
    if (t == NULL || t->record.segment != record->place.segment ||
        t->record.at8 != record->place.at8)
        return OK;
    return task_append(qs, t, NULL, error);
}
