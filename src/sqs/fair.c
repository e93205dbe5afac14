#include "sqs/fair.h"

// --- processing time of the last minutes ---

static void busy_turn(struct busy *b, int64_t now_ms)
{
    int64_t windows = (now_ms - b->from_ms) / BUSY_WINDOW_MS;
    if (windows <= 0)
        return;
    b->before_ms = windows == 1 ? b->current_ms : 0;
    b->current_ms = 0;
    b->from_ms += windows * BUSY_WINDOW_MS;
}

static uint64_t busy_total(struct busy *b, int64_t now_ms)
{
    busy_turn(b, now_ms);
    return b->before_ms + b->current_ms;
}

static void busy_add(struct busy *b, int64_t now_ms, int64_t took_ms)
{
    busy_turn(b, now_ms);
    b->current_ms += (uint64_t)took_ms;
}

void fair_processed(struct queues *qs, struct queue *q, uint32_t group, int64_t now_ms,
                    int64_t took_ms)
{
    if (took_ms <= 0)
        return;
    busy_add(&q->busy, now_ms, took_ms);
    if (group != 0)
        busy_add(&qs->groups[group - 1].busy, now_ms, took_ms);
}

// --- turns ---

void fair_enter(struct queues *qs, int32_t slot, bool front)
{
    const struct message *m = message_at(qs, slot);
    struct group *g = &qs->groups[m->group - 1];
    if (front)
        list_push_front(qs, &g->messages, slot);
    else
        list_push(qs, &g->messages, slot);
    if (!g->noisy && !g->ready) {
        group_ready_push(qs, (int32_t)m->group - 1);
        g->turn = m->id;
    }
    queue_flag(qs, qs->queues[m->queue]);
}

void fair_leave(struct queues *qs, int32_t slot)
{
    uint32_t group = message_at(qs, slot)->group;
    struct group *g = &qs->groups[group - 1];
    list_remove(qs, &g->messages, slot);
    if (g->noisy)
        return;
    group_ready_remove(qs, g);
    if (g->messages.head != NONE) { // the others first
        group_ready_push(qs, (int32_t)group - 1);
        g->turn = journal_next_sequence(qs->journal);
    }
}

// Of the noisy ones the one with the fewest messages in flight.
static int32_t noisy_next(const struct queues *qs, const struct queue *q)
{
    const struct group *best = NULL;
    for (int32_t i = q->noisy.head; i != NONE; i = qs->groups[i].ready_next) {
        const struct group *g = &qs->groups[i];
        if (g->messages.head != NONE && (best == NULL || g->in_flight < best->in_flight))
            best = g;
    }
    return best != NULL ? best->messages.head : NONE;
}

int32_t fair_next(const struct queues *qs, const struct queue *q)
{
    // messages without a group are each a tenant of their own; ids say who came first
    int32_t single = q->returned.head != NONE ? q->returned.head : q->ready.head;
    if (q->ready_groups.head == NONE)
        return single != NONE || q->noisy.head == NONE ? single : noisy_next(qs, q);
    const struct group *g = &qs->groups[q->ready_groups.head];
    return single != NONE && message_at(qs, single)->id < g->turn ? single : g->messages.head;
}

// --- noisy or quiet ---

static bool is_loud(struct queue *q, struct group *g)
{
    return g->in_flight >= NOISY_IN_FLIGHT_MIN && g->in_flight * NOISY_SHARE > q->in_flight;
}

static bool is_busy(struct queue *q, struct group *g, int64_t now_ms)
{
    uint64_t all_ms = busy_total(&q->busy, now_ms);
    return all_ms >= BUSY_MIN_MS && busy_total(&g->busy, now_ms) * NOISY_SHARE > all_ms;
}

static bool is_noisy(struct queue *q, struct group *g, int64_t now_ms)
{
    return now_ms - g->last_sent_ms < QUIET_AFTER_MS && (is_loud(q, g) || is_busy(q, g, now_ms));
}

void fair_judge(struct queues *qs, struct queue *q, uint32_t group, int64_t now_ms)
{
    struct group *g = &qs->groups[group - 1];
    if (g->noisy || q->noisy_count >= NOISY_GROUPS_MAX || !is_noisy(q, g, now_ms))
        return;
    group_ready_remove(qs, g);
    group_noisy_push(qs, (int32_t)group - 1);
}

void fair_review(struct queues *qs, struct queue *q, int64_t now_ms)
{
    for (int32_t i = q->noisy.head, next; i != NONE; i = next) {
        struct group *g = &qs->groups[i];
        next = g->ready_next;
        bool drained = g->messages.head == NONE;
        if (!drained && now_ms - g->last_sent_ms < QUIET_AFTER_MS)
            continue;
        if (drained && is_noisy(q, g, now_ms))
            continue;
        group_noisy_remove(qs, g);
        if (!drained) {
            group_ready_push(qs, i);
            g->turn = journal_next_sequence(qs->journal);
        }
    }
}

void queue_fairness(struct queues *qs, struct queue *q, int64_t now_ms, struct queue_fairness *out)
{
    fair_review(qs, q, now_ms);
    *out = (struct queue_fairness){.groups_in_flight = q->groups_in_flight,
                                   .noisy_groups = q->noisy_count,
                                   .visible = q->visible,
                                   .in_flight = q->in_flight,
                                   .delayed = q->delayed + q->pending};
    for (int32_t i = q->noisy.head; i != NONE; i = qs->groups[i].ready_next) {
        const struct group *g = &qs->groups[i];
        out->visible -= g->visible;
        out->in_flight -= g->in_flight;
        out->delayed -= g->delayed;
    }
    if (out->visible + out->in_flight + out->delayed == 0)
        return;
    int looked = 0;
    for (int32_t i = q->age.head; i != NONE; i = message_at(qs, i)->age_next) {
        const struct message *m = message_at(qs, i);
        out->oldest_ms = m->entered_ms;
        if (m->group == 0 || !qs->groups[m->group - 1].noisy || ++looked == QUIET_AGE_LOOK_MAX)
            break;
    }
}
