// What the holder of a receipt may do: delete its message, and say for how long it stays hidden.
#include "sqs/fair.h"

void receipt_text(const struct queues *qs, const struct receipt *r, struct buf *out)
{
    receipt_encode(r, journal_store_id(qs->journal), out);
}

enum holding { NOT_A_RECEIPT, GONE, OUTDATED, HELD };

// HELD: the handle is the latest of the message; *slot is where it is.
static enum holding receipt_check(struct queues *qs, const struct queue *q, struct span handle,
                                  struct receipt *r, int32_t *slot)
{
    if (!receipt_decode(handle, journal_store_id(qs->journal), r) || r->queue != q->id)
        return NOT_A_RECEIPT;
    const struct message *m = message_find(qs, r->slot, r->message);
    if (m == NULL || m->queue != q->slot)
        return GONE;
    *slot = (int32_t)r->slot;
    if (r->received_at_ms < m->entered_ms) // of a time before it came (back) to this queue
        return OUTDATED;
    if (m->received_now)
        return r->count == m->receive_count && r->boot == qs->boot ? HELD : OUTDATED;
    // not received since the start; a crash may have forgotten the latest receives
    return r->count >= m->receive_count ? HELD : OUTDATED;
}

static enum sqs_code not_a_receipt(struct span handle, struct fault *f)
{
    int shown = handle.len < 400 ? (int)handle.len : 400;
    return fault(f, SQS_RECEIPT_HANDLE_INVALID,
                 "The input receipt handle \"%.*s\" is not a valid receipt handle.", shown,
                 handle.len > 0 ? handle.data : "");
}

enum sqs_code queue_delete_message(struct queues *qs, struct queue *q, int64_t now_ms,
                                   struct span handle, uint64_t *wait_for, struct fault *f)
{
    struct receipt r;
    int32_t slot = NONE;
    switch (receipt_check(qs, q, handle, &r, &slot)) {
    case NOT_A_RECEIPT:
        return not_a_receipt(handle, f);
    case OUTDATED:
        if (q->attributes.fifo)
            return fault_value(f, handle, "ReceiptHandle", "The receipt handle has expired.");
        // fall through
    case GONE:
        // whoever deletes twice must not hear of it before the first one is durable
        q->stats.deleted++;
        *wait_for = journal_next_sequence(qs->journal) - 1;
        return SQS_OK;
    case HELD:
        break;
    }
    if (q->attributes.fifo && message_at(qs, slot)->where != IN_FLIGHT)
        return fault_value(f, handle, "ReceiptHandle", "The receipt handle has expired.");
    const struct message *m = message_at(qs, slot);
    if (!q->attributes.fifo && m->where == IN_FLIGHT)
        fair_processed(qs, q, m->group, now_ms, now_ms - r.received_at_ms);
    if (message_append_delete(qs, slot, wait_for, &qs->error) != OK)
        return fault_of(f, &qs->error);
    qs->stats.deleted++;
    q->stats.deleted++;
    return SQS_OK;
}

enum sqs_code queue_change_visibility(struct queues *qs, struct queue *q, int64_t now_ms,
                                      struct span handle, int visibility_s, uint64_t *wait_for,
                                      struct fault *f)
{
    struct receipt r;
    int32_t slot = NONE;
    enum holding holding = receipt_check(qs, q, handle, &r, &slot);
    if (holding == NOT_A_RECEIPT)
        return not_a_receipt(handle, f);
    if (holding != HELD)
        return fault_value(f, handle, "ReceiptHandle",
                           "Message does not exist or is not available for visibility timeout "
                           "change.");
    struct message *m = message_at(qs, slot);
    if (m->where != IN_FLIGHT)
        return SQS_OK; // its time has passed: it can be received, and stays so
    int64_t visible_ms = now_ms + (int64_t)visibility_s * 1000;
    if (visible_ms > r.received_at_ms + SQS_VISIBILITY_S_MAX * 1000LL)
        return fault(f, SQS_INVALID_PARAMETER,
                     "Value %d for parameter VisibilityTimeout is invalid. Reason: Total "
                     "VisibilityTimeout for the message is beyond the limit [43200 seconds].",
                     visibility_s);
    int64_t old_ms = m->visible_ms;
    m->visible_ms = visible_ms;
    if (message_append_state(qs, slot, wait_for, &qs->error) != OK) {
        m->visible_ms = old_ms;
        return fault_of(f, &qs->error);
    }
    message_unplace(qs, slot);
    message_place(qs, slot, visibility_s > 0 ? IN_FLIGHT : message_place_back(m));
    return SQS_OK;
}
