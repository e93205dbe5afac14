// PeekMessages, an extension of this server: a queue's messages page by page, oldest first,
// whatever their state. It reads only: no receive count, no visibility, no journal record changes.
#include "base/digest.h"
#include "sqs/call.h"
#include "sqs/queue_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    PAGE_DEFAULT = 10,
    PAGE_MAX = 100,           // messages of a page
    PAGE_BYTES_MAX = 4 << 20, // of an answer; then it ends with the message that crosses it
    WALK_MAX = 200000,        // messages passed by in one request: about 10 ms
    TOKEN_BYTES_MAX = 80,
};

struct cursor { // the message looked at last; all zeros: none yet
    uint32_t slot;
    uint64_t id;
    int64_t entered_ms;
};

static bool cursor_read(struct span token, struct cursor *out)
{
    AUTO_BUF struct buf text = {0};
    unsigned long long id;
    long long entered;
    if (token.len > TOKEN_BYTES_MAX || !base64_decode(token, &text) || text.len == 0)
        return false;
    if (sscanf(text.data, "%u.%llu.%lld", &out->slot, &id, &entered) != 3)
        return false;
    out->id = id;
    out->entered_ms = entered;
    return true;
}

static void cursor_write(const struct queues *qs, int32_t slot, struct buf *out)
{
    const struct message *m = message_at(qs, slot);
    char text[TOKEN_BYTES_MAX];
    int len = snprintf(text, sizeof text, "%u.%llu.%lld", (unsigned)slot, (unsigned long long)m->id,
                       (long long)m->entered_ms);
    base64_encode((struct span){text, (size_t)len}, out);
}

// The message behind the one looked at last. When that has gone, so have mostly those before it:
// the walk from the front is short.
static int32_t cursor_next(const struct queues *qs, const struct queue *q, const struct cursor *at,
                           int *walk)
{
    if (at->id == 0)
        return q->age.head;
    const struct message *m = message_find(qs, at->slot, at->id);
    if (m != NULL && m->queue == q->slot && m->entered_ms == at->entered_ms)
        return m->age_next;
    int32_t slot = q->age.head;
    for (; slot != NONE && *walk < WALK_MAX; slot = message_at(qs, slot)->age_next, ++*walk) {
        m = message_at(qs, slot);
        if (m->entered_ms > at->entered_ms || (m->entered_ms == at->entered_ms && m->id > at->id))
            break;
    }
    return slot;
}

static void write_state(struct sqs_call *c, const struct message *m)
{
    bool hidden = m->where == IN_FLIGHT || m->where == DELAYED;
    reply_text(&c->out, "State",
               m->where == IN_FLIGHT ? SPAN("inflight")
               : m->where == DELAYED ? SPAN("delayed")
                                     : SPAN("visible"));
    if (hidden)
        reply_number(&c->out, "VisibleTimestamp", m->visible_ms);
    reply_item_end(&c->out, "Message");
}

static bool write_one(struct sqs_call *c, int32_t slot, struct buf *scratch, bool first)
{
    struct queues *qs = c->queues;
    const struct message *m = message_at(qs, slot);
    struct received r;
    message_describe(qs, slot, c->now_ms, &r);
    if (!call_write_message(c, &r, scratch, first))
        return false;
    write_state(c, m);
    return true;
}

// Everything is shown unless the request names what it wants.
static void want_all(struct sqs_call *c)
{
    struct text_list *lists[] = {&c->in.system_attribute_names, &c->in.message_attribute_names};
    for (size_t i = 0; i < 2; i++)
        if (lists[i]->count == 0)
            text_item(c->arena, lists[i], 0)->text = SPAN("All");
}

enum sqs_code action_peek(struct sqs_call *c)
{
    AUTO_BUF struct buf scratch = {0}, token = {0};
    struct queues *qs = c->queues;
    struct cursor at = {0};
    int64_t max = c->in.max_results.given ? c->in.max_results.value : PAGE_DEFAULT, count = 0;
    int walk = 0;
    enum sqs_code code = call_queue(c);
    if (code != SQS_OK)
        return code;
    if (max < 1 || max > PAGE_MAX)
        return fault(&c->fault, SQS_INVALID_PARAMETER,
                     "Value %lld for parameter MaxResults is invalid. Reason: Must be between 1 "
                     "and %d, if provided.",
                     (long long)max, PAGE_MAX);
    if (c->in.next_token.len > 0 && !cursor_read(c->in.next_token, &at))
        return fault_value(&c->fault, c->in.next_token, "NextToken", "Invalid NextToken.");
    want_all(c);
    int32_t last = NONE, slot = cursor_next(qs, c->queue, &at, &walk);
    for (; slot != NONE && count < max && walk < WALK_MAX && c->out.out.len < PAGE_BYTES_MAX;
         slot = message_at(qs, slot)->age_next, walk++) {
        const struct message *m = message_at(qs, slot);
        last = slot;
        if (m->where == PENDING || message_end_ms(c->queue, m) <= c->now_ms)
            continue; // not there yet, or no more
        if (write_one(c, slot, &scratch, count == 0))
            count++;
    }
    if (count > 0)
        reply_list_end(&c->out);
    if (slot != NONE && last == NONE) // the walk ended before the page began
        return fault(&c->fault, SQS_INVALID_PARAMETER,
                     "The message at which this page begins is gone. Begin again without "
                     "NextToken.");
    if (slot != NONE) {
        cursor_write(qs, last, &token);
        reply_text(&c->out, "NextToken", buf_view(&token));
    }
    return SQS_OK;
}
