// Messages: sent, received, dead-lettered, expired.
#include "sqs/dedup.h"
#include "sqs/fair.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

// --- where a message is ---

// What the journal must keep for a message: its record, and the record with its latest state.
void message_pin(struct queues *qs, const struct message *m, int sign)
{
    journal_count(qs->journal, m->body_segment, sign, sign * (int64_t)m->bytes);
    if (m->state_segment != m->body_segment)
        journal_count(qs->journal, m->state_segment, sign,
                      sign * (int64_t)record_bytes(sizeof(struct stored_change)));
}

void queue_flag(struct queues *qs, struct queue *q)
{
    if (q->ready_flag)
        return;
    q->ready_flag = true;
    q->next_ready = qs->ready;
    qs->ready = q;
}

static uint64_t *counter_of(struct queue *q, enum where where)
{
    switch (where) {
    case PENDING:
        return &q->pending;
    case DELAYED:
        return &q->delayed;
    case IN_FLIGHT:
        return &q->in_flight;
    default:
        return &q->visible;
    }
}

static void count(struct queues *qs, const struct message *m, enum where where, int sign)
{
    *counter_of(qs->queues[m->queue], where) += (uint64_t)(int64_t)sign;
    if (m->group != 0)
        group_count(qs, m->group, where, sign);
}

// FIFO messages stay in their group's list whatever happens to them; only the first one decides.
static void place_in_group(struct queues *qs, int32_t slot, enum where where)
{
    struct message *m = message_at(qs, slot);
    if (where == IN_FLIGHT || where == DELAYED)
        deadline_set(qs, slot, m->visible_ms);
    group_update(qs, m->group);
}

void message_place(struct queues *qs, int32_t slot, enum where where)
{
    struct message *m = message_at(qs, slot);
    struct queue *q = qs->queues[m->queue];
    bool fifo = q->attributes.fifo && m->group != 0;
    if (fifo && where == RETURNED)
        where = READY;
    m->where = (uint8_t)where;
    count(qs, m, where, 1);
    if (fifo && where != PENDING) {
        place_in_group(qs, slot, where);
        return;
    }
    switch (where) {
    case PENDING:
        list_push(qs, &qs->pending, slot);
        break;
    case READY:
    case RETURNED:
        if (m->group != 0)
            fair_enter(qs, slot, where == RETURNED);
        else
            list_push(qs, where == READY ? &q->ready : &q->returned, slot);
        queue_flag(qs, q);
        break;
    case DELAYED:
    case IN_FLIGHT:
        deadline_set(qs, slot, m->visible_ms);
        break;
    case FREE:
        CHECK(false);
    }
}

void message_unplace(struct queues *qs, int32_t slot)
{
    struct message *m = message_at(qs, slot);
    struct queue *q = qs->queues[m->queue];
    enum where where = (enum where)m->where;
    count(qs, m, where, -1);
    if (where == PENDING)
        list_remove(qs, &qs->pending, slot);
    else if (where == DELAYED || where == IN_FLIGHT)
        deadline_cancel(qs, slot);
    else if (m->group == 0)
        list_remove(qs, where == READY ? &q->ready : &q->returned, slot);
    else if (!q->attributes.fifo)
        fair_leave(qs, slot);
}

void message_durable(struct queues *qs, int32_t slot)
{
    struct message *m = message_at(qs, slot);
    message_unplace(qs, slot);
    if (m->group != 0 && qs->queues[m->queue]->attributes.fifo)
        group_enter(qs, slot);
    message_place(qs, slot, m->visible_ms != 0 ? DELAYED : READY);
}

// Where a message goes that can be received again.
enum where message_place_back(const struct message *m)
{
    return m->receive_count > 0 && m->receive_count < RETURNS_TO_BACK ? RETURNED : READY;
}

void message_source_set(struct queues *qs, struct message *m, uint16_t source)
{
    uint16_t old = m->source;
    if (old == source)
        return;
    m->source = source;
    if (source != NO_QUEUE)
        qs->queues[source]->sourced++;
    if (old != NO_QUEUE) {
        qs->queues[old]->sourced--;
        queue_forget_if_unused(qs, qs->queues[old]);
    }
}

// Out of its group, if it has one; the group may go with it.
static void ungroup(struct queues *qs, int32_t slot, bool pending)
{
    struct message *m = message_at(qs, slot);
    uint32_t group = m->group;
    if (group == 0)
        return;
    if (!pending && qs->queues[m->queue]->attributes.fifo) {
        group_leave(qs, slot);
        group_update(qs, group);
    }
    m->group = 0;
    group_drop(qs, group);
}

void message_drop(struct queues *qs, int32_t slot)
{
    struct message *m = message_at(qs, slot);
    struct queue *q = qs->queues[m->queue];
    bool pending = m->where == PENDING; // during recovery all are, and in no list
    if (!qs->replaying)
        message_unplace(qs, slot);
    ungroup(qs, slot, pending);
    age_remove(qs, q, slot);
    message_pin(qs, m, -1);
    message_source_set(qs, m, NO_QUEUE);
    message_free(qs, slot);
}

void message_state(const struct queues *qs, const struct message *m, struct stored_state *out)
{
    *out = (struct stored_state){
        .queue = qs->queues[m->queue]->id,
        .source_queue = m->source != NO_QUEUE ? qs->queues[m->source]->id : 0,
        .entered_ms = m->entered_ms,
        .visible_ms = m->visible_ms,
        .first_received_ms = m->first_received_ms,
        .receive_count = m->receive_count,
        .flags = m->moved ? STORED_MOVED : 0,
    };
}

// --- records ---

enum err message_append_state(struct queues *qs, int32_t slot, uint64_t *wait_for,
                              struct error *error)
{
    struct message *m = message_at(qs, slot);
    struct stored_change change = {.id = m->id, .slot = (uint32_t)slot};
    struct journal_record record;
    message_state(qs, m, &change.state);
    struct span part = {(const char *)&change, sizeof change};
    TRY(journal_append(qs->journal, JOURNAL_STATE, STORED_STATE, &part, 1, &record, error));
    message_pin(qs, m, -1);
    m->state_segment = record.place.segment;
    message_pin(qs, m, 1);
    if (wait_for != NULL)
        *wait_for = record.sequence;
    return OK;
}

enum err message_append_delete(struct queues *qs, int32_t slot, uint64_t *wait_for,
                               struct error *error)
{
    const struct message *m = message_at(qs, slot);
    struct stored_delete gone = {.id = m->id, .slot = (uint32_t)slot};
    struct journal_record record;
    struct span part = {(const char *)&gone, sizeof gone};
    TRY(journal_append(qs->journal, JOURNAL_DELETE, STORED_DELETE, &part, 1, &record, error));
    journal_tombstone(qs->journal, record.place.segment, m->id, true);
    message_drop(qs, slot);
    if (wait_for != NULL)
        *wait_for = record.sequence;
    return OK;
}

// --- send ---

int64_t message_end_ms(const struct queue *q, const struct message *m)
{
    return m->entered_ms + (int64_t)q->attributes.retention_s * 1000;
}

void queue_expiry_update(struct queues *qs, struct queue *q)
{
    if (q->age.head == NONE)
        deadline_cancel(qs, DEADLINE_QUEUE + q->slot);
    else
        deadline_set(qs, DEADLINE_QUEUE + q->slot, message_end_ms(q, message_at(qs, q->age.head)));
}

static void enter(struct queues *qs, struct queue *q, int32_t slot)
{
    age_insert(qs, q, slot);
    if (q->deadline == 0)
        queue_expiry_update(qs, q);
}

static void stored_of(const struct queues *qs, int32_t slot, int64_t now_ms,
                      const struct message_in *in, struct stored_message *out)
{
    *out = (struct stored_message){.sent_ms = now_ms,
                                   .slot = (uint32_t)slot,
                                   .body_bytes = (uint32_t)in->body.len,
                                   .attributes_bytes = (uint32_t)in->attributes.len,
                                   .attribute_count = in->attribute_count,
                                   .sender_bytes = (uint16_t)in->sender.len,
                                   .group_bytes = (uint16_t)in->group.len,
                                   .dedup_bytes = (uint16_t)in->dedup.len,
                                   .trace_bytes = (uint16_t)in->trace.len};
    const struct queue *q = qs->queues[message_at(qs, slot)->queue];
    out->flags = q->dedup_per_group ? STORED_BY_GROUP : 0;
    memcpy(out->message_id, in->message_id, MESSAGE_ID_BYTES);
    message_state(qs, message_at(qs, slot), &out->state);
}

static enum sqs_code send_new(struct queues *qs, struct queue *q, int64_t now_ms,
                              const struct message_in *in, struct sent *out, struct fault *f)
{
    int delay_s = in->delay_s >= 0 && !q->attributes.fifo ? in->delay_s : q->attributes.delay_s;
    int32_t slot = message_new(qs);
    if (slot == NONE)
        return fault(f, SQS_UNAVAILABLE, "There are %llu messages already, which is the limit.",
                     (unsigned long long)qs->messages);
    struct message *m = message_at(qs, slot);
    struct stored_message fixed;
    struct journal_record record;
    m->queue = q->slot;
    m->entered_ms = now_ms;
    m->visible_ms = delay_s > 0 ? now_ms + (int64_t)delay_s * 1000 : 0;
    stored_of(qs, slot, now_ms, in, &fixed);
    struct span parts[] = {{(const char *)&fixed, sizeof fixed},
                           in->sender,
                           in->group,
                           in->dedup,
                           in->trace,
                           in->attributes,
                           in->body};
    if (journal_append(qs->journal, JOURNAL_NEW, STORED_MESSAGE, parts, 7, &record, &qs->error) !=
        OK) {
        message_free(qs, slot);
        return fault_of(f, &qs->error);
    }
    m->id = record.sequence;
    m->at8 = record.place.at8;
    m->bytes = record.place.bytes;
    m->body_segment = m->state_segment = record.place.segment;
    if (in->group.len > 0)
        m->group = group_join(qs, q, in->group, now_ms);
    message_pin(qs, m, 1);
    enter(qs, q, slot);
    message_place(qs, slot, PENDING);
    queues_reserve(qs);
    qs->stats.sent++;
    q->stats.sent++;
    q->stats.sent_bytes += in->bytes;
    out->id = record.sequence;
    return SQS_OK;
}

enum sqs_code queue_send(struct queues *qs, struct queue *q, int64_t now_ms,
                         const struct message_in *in, struct sent *out, struct fault *f)
{
    struct dedup id;
    *out = (struct sent){0};
    memcpy(out->message_id, in->message_id, MESSAGE_ID_BYTES);
    if (!q->attributes.fifo)
        return send_new(qs, q, now_ms, in, out, f);
    dedup_expire(qs, now_ms);
    dedup_key(q->id, q->dedup_per_group, in->group, in->dedup, id.key);
    // after a restart an older one may stand behind a younger one in the list
    if (dedup_find(qs, id.key, &id) && id.expires_ms > now_ms) { // accepted, and nothing happens
        if (dedup_read(qs, &id, &out->id, out->message_id, &qs->error) != OK)
            return fault_of(f, &qs->error);
        out->duplicate = true;
        q->stats.deduplicated++;
        return SQS_OK;
    }
    enum sqs_code code = send_new(qs, q, now_ms, in, out, f);
    if (code == SQS_OK) {
        const struct message *m = message_at(qs, qs->pending.tail);
        id.id = m->id;
        id.expires_ms = now_ms + DEDUP_MS;
        id.queue = q->slot;
        id.segment = m->body_segment;
        id.at8 = m->at8;
        dedup_add(qs, &id);
    }
    return code;
}

// --- receive ---

enum err message_move(struct queues *qs, int32_t slot, struct queue *target, uint16_t source,
                      int64_t entered_ms, struct error *error)
{
    struct message *m = message_at(qs, slot);
    struct queue *from = qs->queues[m->queue];
    struct message before = *m;
    uint32_t group = 0;
    if (m->group != 0)
        group = group_join(qs, target, group_name(qs, m->group), entered_ms);
    m->queue = target->slot;
    m->moved = 1;
    m->entered_ms = entered_ms;
    m->source = source;
    if (message_append_state(qs, slot, NULL, error) != OK) {
        uint16_t body = m->body_segment, state = m->state_segment;
        *m = before;
        m->body_segment = body;
        m->state_segment = state;
        if (group != 0)
            group_drop(qs, group);
        return error->code;
    }
    // the record is made: now the index follows
    m->queue = from->slot;
    m->source = before.source;
    message_unplace(qs, slot);
    ungroup(qs, slot, false);
    age_remove(qs, from, slot);
    m->queue = target->slot;
    m->group = group;
    message_source_set(qs, m, source);
    enter(qs, target, slot);
    if (group != 0 && target->attributes.fifo)
        group_enter(qs, slot);
    message_place(qs, slot, READY);
    return OK;
}

// A message that has been received too often goes to the dead-letter queue. False: there is none,
// or no space for the record; then it is received once more.
static bool dead_letter(struct queues *qs, struct queue *q, int32_t slot, int64_t now_ms)
{
    struct message *m = message_at(qs, slot);
    struct queue *target = queue_find(qs, span_from(q->attributes.dead_letter_queue));
    if (target == NULL || target == q || target->attributes.fifo != q->attributes.fifo)
        return false;
    // standard queues keep the time of sending
    int64_t entered_ms = target->attributes.fifo ? now_ms : m->entered_ms,
            visible_ms = m->visible_ms;
    m->visible_ms = 0;
    if (message_move(qs, slot, target, q->slot, entered_ms, &qs->error) != OK) {
        m->visible_ms = visible_ms;
        return false;
    }
    qs->stats.dead_lettered++;
    return true;
}

bool message_take_out(struct queues *qs, struct queue *q, int32_t slot, int64_t now_ms)
{
    const struct queue_attributes *a = &q->attributes;
    const struct message *m = message_at(qs, slot);
    if (message_end_ms(q, m) <= now_ms && message_append_delete(qs, slot, NULL, &qs->error) == OK) {
        qs->stats.expired++;
        return true;
    }
    return a->max_receive_count > 0 && m->receive_count >= (uint32_t)a->max_receive_count &&
           dead_letter(qs, q, slot, now_ms);
}

void message_describe(const struct queues *qs, int32_t slot, int64_t now_ms, struct received *out)
{
    const struct message *m = message_at(qs, slot);
    *out = (struct received){
        .receipt = {.queue = qs->queues[m->queue]->id,
                    .message = m->id,
                    .boot = qs->boot,
                    .received_at_ms = now_ms,
                    .slot = (uint32_t)slot,
                    .count = m->receive_count},
        .place = {.at8 = m->at8, .bytes = m->bytes, .segment = m->body_segment},
        .first_received_ms = m->first_received_ms,
        .entered_ms = m->entered_ms,
        .receive_count = m->receive_count,
        .moved = m->moved != 0,
        .source_queue = m->source != NO_QUEUE ? qs->queues[m->source]->name : NULL,
    };
}

void message_claim(struct queues *qs, struct queue *q, int32_t slot, int64_t now_ms,
                   int visibility_s, struct received *out)
{
    struct message *m = message_at(qs, slot);
    message_unplace(qs, slot);
    m->receive_count++;
    m->received_now = 1;
    if (m->first_received_ms == 0)
        m->first_received_ms = now_ms;
    m->visible_ms = now_ms + (int64_t)visibility_s * 1000;
    // Without space for the record the message is handed out all the same: what a full disk needs
    // is deletes. If the process ends then, this receive is forgotten.
    (void)!message_append_state(qs, slot, NULL, &qs->error);
    message_describe(qs, slot, now_ms, out);
    qs->stats.received++;
    q->stats.received++;
}

static enum sqs_code standard_receive(struct queues *qs, struct queue *q, int64_t now_ms,
                                      const struct receive_in *in, int visibility_s,
                                      struct received *out, size_t *count, struct fault *f)
{
    if (q->noisy.head != NONE)
        fair_review(qs, q, now_ms);
    while (*count < in->max) {
        int32_t slot = fair_next(qs, q);
        if (slot == NONE)
            break;
        if (message_take_out(qs, q, slot, now_ms))
            continue;
        if (q->in_flight + (visibility_s > 0 ? 0 : *count) >= SQS_INFLIGHT_MAX) {
            if (in->over_limit_is_error && *count == 0)
                return fault(f, SQS_OVER_LIMIT,
                             "The queue has %d messages in flight, which is the limit: delete some "
                             "first.",
                             SQS_INFLIGHT_MAX);
            break;
        }
        message_claim(qs, q, slot, now_ms, visibility_s, &out[*count]);
        ++*count;
        if (visibility_s > 0) {
            message_place(qs, slot, IN_FLIGHT);
            if (message_at(qs, slot)->group != 0)
                fair_judge(qs, q, message_at(qs, slot)->group, now_ms);
        }
    }
    // with a visibility timeout of 0 placed at the end, so that none is claimed twice
    for (size_t i = 0; visibility_s == 0 && i < *count; i++) {
        int32_t slot = (int32_t)out[i].receipt.slot;
        message_place(qs, slot, message_place_back(message_at(qs, slot)));
    }
    return SQS_OK;
}

// The same receive asked for again: the same messages and handles, hidden anew.
static size_t repeat_attempt(struct queues *qs, struct attempt *a, int64_t now_ms, int visibility_s,
                             struct received *out)
{
    for (size_t i = 0; i < a->count; i++) {
        int32_t slot = (int32_t)a->got[i].receipt.slot;
        struct message *m = message_at(qs, slot);
        message_unplace(qs, slot);
        m->visible_ms = now_ms + (int64_t)visibility_s * 1000;
        a->visible_ms[i] = m->visible_ms;
        (void)!message_append_state(qs, slot, NULL, &qs->error);
        message_place(qs, slot, visibility_s > 0 ? IN_FLIGHT : READY);
        out[i] = a->got[i];
    }
    return a->count;
}

static size_t fifo_receive_attempt(struct queues *qs, struct queue *q, int64_t now_ms,
                                   const struct receive_in *in, int visibility_s,
                                   struct received *out)
{
    struct attempt *again = in->attempt.len > 0 ? attempt_find(qs, q, in->attempt, now_ms) : NULL;
    if (again != NULL)
        return repeat_attempt(qs, again, now_ms, visibility_s, out);
    size_t count = fifo_receive(qs, q, now_ms, in->max, visibility_s, out);
    if (in->attempt.len > 0 && count > 0)
        attempt_note(q, in->attempt, now_ms, out, count, qs);
    return count;
}

enum sqs_code queue_receive(struct queues *qs, struct queue *q, int64_t now_ms,
                            const struct receive_in *in, struct received *out, size_t *count,
                            uint64_t *wait_for, struct fault *f)
{
    int visibility_s = in->visibility_s >= 0 ? in->visibility_s : q->attributes.visibility_s;
    enum sqs_code code = SQS_OK;
    *count = 0;
    *wait_for = 0;
    if (q->attributes.fifo)
        *count = fifo_receive_attempt(qs, q, now_ms, in, visibility_s, out);
    else
        code = standard_receive(qs, q, now_ms, in, visibility_s, out, count, f);
    if (*count > 0) {
        *wait_for = journal_next_sequence(qs->journal) - 1;
        journal_await_written(qs->journal);
    }
    return code;
}

enum err message_read(struct queues *qs, struct journal_place place, struct buf *buf,
                      struct message_out *out, struct error *error)
{
    struct span payload;
    TRY(journal_read(qs->journal, place, buf, &payload, error));
    struct stored_message fixed;
    if (payload.len < sizeof fixed)
        return fail(error, ERR_CORRUPT, 0, "the record of a message is too short");
    memcpy(&fixed, payload.data, sizeof fixed);
    struct span *spans[] = {&out->sender, &out->group,      &out->dedup,
                            &out->trace,  &out->attributes, &out->body};
    size_t lens[] = {fixed.sender_bytes, fixed.group_bytes,      fixed.dedup_bytes,
                     fixed.trace_bytes,  fixed.attributes_bytes, fixed.body_bytes};
    size_t at = sizeof fixed;
    for (int i = 0; i < 6; i++) {
        if (lens[i] > payload.len - at)
            return fail(error, ERR_CORRUPT, 0, "the lengths in the record of a message are wrong");
        *spans[i] = (struct span){payload.data + at, lens[i]};
        at += lens[i];
    }
    out->id = fixed.id;
    out->sent_ms = fixed.sent_ms;
    out->attribute_count = fixed.attribute_count;
    memcpy(out->message_id, fixed.message_id, MESSAGE_ID_BYTES);
    return OK;
}
