// What happens by itself: deadlines that pass, and receives that wait.
#include "sqs/dedup.h"
#include "sqs/fifo.h"
#include "sqs/move_task.h"

// --- time ---

// Removes what is older than its queue's retention period. The list is nearly in order; what stands
// behind a younger one goes when it is asked for, or with that one.
static int expire(struct queues *qs, struct queue *q, int64_t now_ms, int budget)
{
    struct error error;
    while (budget > 0 && q->age.head != NONE) {
        int32_t slot = q->age.head;
        if (message_end_ms(q, message_at(qs, slot)) > now_ms)
            break;
        if (message_append_delete(qs, slot, NULL, &error) != OK) {
            deadline_set(qs, DEADLINE_QUEUE + q->slot, now_ms + 1000); // space may come back
            return budget;
        }
        qs->stats.expired++;
        budget--;
    }
    queue_expiry_update(qs, q);
    return budget;
}

bool queues_tick(struct queues *qs, int64_t now_ms)
{
    int budget = TICK_MAX;
    queues_note_time(qs, now_ms);
    dedup_expire(qs, now_ms);
    queues_forget(qs, now_ms);
    while (qs->heap_len > 0 && qs->heap[0].at_ms <= now_ms) {
        if (budget-- <= 0)
            return true;
        int32_t id = qs->heap[0].id;
        if (id >= DEADLINE_QUEUE) {
            budget = expire(qs, qs->queues[id - DEADLINE_QUEUE], now_ms, budget);
            continue;
        }
        struct message *m = message_at(qs, id);
        bool was_delayed = m->where == DELAYED;
        message_unplace(qs, id);
        message_place(qs, id, was_delayed ? READY : message_place_back(m));
    }
    return tasks_run(qs, now_ms);
}

int64_t queues_next_deadline_ms(const struct queues *qs)
{
    int64_t first_ms = qs->heap_len > 0 ? qs->heap[0].at_ms : INT64_MAX;
    int64_t task_ms = tasks_next_ms(qs), forget_ms = queues_next_forget_ms(qs);
    first_ms = task_ms < first_ms ? task_ms : first_ms;
    return forget_ms < first_ms ? forget_ms : first_ms;
}

// --- waiters ---

void queue_wait(struct queue *q, struct waiter *w)
{
    w->queue = q;
    w->next = NULL;
    w->prev = q->waiters_last;
    if (q->waiters_last != NULL)
        q->waiters_last->next = w;
    else
        q->waiters = w;
    q->waiters_last = w;
    q->waiter_count++;
}

void queue_unwait(struct waiter *w)
{
    struct queue *q = w->queue;
    if (q == NULL)
        return;
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        q->waiters = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        q->waiters_last = w->prev;
    q->waiter_count--;
    w->queue = NULL;
    w->prev = w->next = NULL;
}

void queues_wake(struct queues *qs)
{
    while (qs->ready != NULL) {
        struct queue *q = qs->ready;
        qs->ready = q->next_ready;
        q->ready_flag = false;
        while (q->waiters != NULL && q->visible > 0)
            if (!q->waiters->fn(q->waiters, false))
                break;
    }
}
