// The actions on messages.
#include "base/digest.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"
#include "sqs/call.h"
#include "sqs/message_attributes.h"

#include <stdio.h>
#include <string.h>

// --- texts ---

static struct span hex_md5(struct span data, char out[2 * MD5_BYTES + 1])
{
    uint8_t md5[MD5_BYTES];
    digest_md5(data, md5);
    hex_encode(md5, sizeof md5, out);
    return (struct span){out, 2 * MD5_BYTES};
}

// RFC 9562 text of 16 bytes
static struct span uuid_text(const uint8_t id[MESSAGE_ID_BYTES], char out[37])
{
    static const size_t groups[] = {4, 2, 2, 2, 6}; // bytes
    char *to = out;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        hex_encode(id, groups[i], to);
        id += groups[i];
        to += 2 * groups[i];
        *to++ = '-';
    }
    to[-1] = '\0';
    return (struct span){out, 36};
}

// 20 digits that grow with the message's id
static struct span sequence_text(uint64_t id, char out[37])
{
    snprintf(out, 37, "%llu", (unsigned long long)(18000000000000000000u + id));
    return (struct span){out, 20};
}

static enum sqs_code check_range(struct sqs_call *c, const struct given_int *v, const char *name,
                                 int min, int max, const char *reason)
{
    if (!v->given || (v->value >= min && v->value <= max))
        return SQS_OK;
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)v->value);
    return fault_value(&c->fault, span_from(number), name, reason);
}

// --- SendMessage ---

// 1 to 128 alphanumeric and punctuation characters.
static enum sqs_code check_id(struct fault *f, struct span id, const char *name)
{
    bool good = id.len >= 1 && id.len <= 128;
    for (size_t i = 0; good && i < id.len; i++)
        good = id.data[i] > 0x20 && id.data[i] < 0x7f;
    if (good)
        return SQS_OK;
    char reason[160];
    snprintf(reason, sizeof reason,
             "%s can only include alphanumeric and punctuation characters. 1 to 128 in length.",
             name);
    return fault_value(f, id, name, reason);
}

struct sending { // one message, checked
    struct message_in in;
    struct sent sent;
    struct span attributes_text, trace_text;
    size_t bytes; // body and attributes
};

static enum sqs_code check_delay(struct sqs_call *c, const struct queue_attributes *a,
                                 const struct request_entry *e, struct sending *s)
{
    if (a->fifo && e->delay_s.given && e->delay_s.value != 0) {
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)e->delay_s.value);
        return fault_value(&c->fault, span_from(number), "DelaySeconds",
                           "The request include parameter that is not valid for this queue type.");
    }
    enum sqs_code code = check_range(c, &e->delay_s, "DelaySeconds", 0, 900,
                                     "DelaySeconds must be >= 0 and <= 900.");
    s->in.delay_s = e->delay_s.given ? (int)e->delay_s.value : -1;
    return code;
}

// Group and deduplication id. single: what is missing is said in another way in a batch, and fails
// all of it.
static enum sqs_code check_fifo(struct sqs_call *c, const struct queue_attributes *a,
                                const struct request_entry *e, struct sending *s)
{
    struct fault *f = &c->fault;
    enum sqs_code code = SQS_OK;
    bool single = c->in.action == ACTION_SEND;
    if (a->fifo && e->group.data == NULL)
        return fault(f, single ? SQS_MISSING_PARAMETER : SQS_INVALID_PARAMETER,
                     "The request must contain the parameter MessageGroupId.");
    if (e->group.data != NULL)
        code = check_id(f, e->group, "MessageGroupId");
    s->in.group = e->group;
    if (code != SQS_OK)
        return code;
    if (!a->fifo)
        return e->dedup.data == NULL
                   ? SQS_OK
                   : fault_value(
                         f, e->dedup, "MessageDeduplicationId",
                         "The request includes a parameter that is not valid for this queue "
                         "type.");
    if (e->dedup.data != NULL) {
        s->in.dedup = e->dedup;
        return check_id(f, e->dedup, "MessageDeduplicationId");
    }
    if (!a->content_dedup)
        return fault(f, SQS_INVALID_PARAMETER,
                     "The queue should either have ContentBasedDeduplication enabled or "
                     "MessageDeduplicationId provided explicitly");
    uint8_t sha256[SHA256_BYTES];
    char *hex = arena_alloc(c->arena, 2 * SHA256_BYTES + 1);
    digest_sha256(e->body, sha256);
    hex_encode(sha256, sizeof sha256, hex);
    s->in.dedup = (struct span){hex, 2 * SHA256_BYTES};
    return SQS_OK;
}

// What can be said of a message alone; its size is checked by the caller.
static enum sqs_code check_message(struct sqs_call *c, const struct request_entry *e,
                                   struct sending *s)
{
    struct fault *f = &c->fault;
    AUTO_BUF struct buf attributes = {0}, system = {0};
    struct queue_info info;
    uint16_t system_count;
    size_t attribute_bytes, system_bytes;
    if (e->body.len == 0)
        return fault_missing(f, "MessageBody");
    if (!utf8_xml_valid(e->body))
        return fault(
            f, SQS_INVALID_CONTENTS,
            "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to "
            "#xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.");
    queue_info(c->queues, c->queue, &info);
    enum sqs_code code = check_delay(c, info.attributes, e, s);
    if (code == SQS_OK)
        code = check_fifo(c, info.attributes, e, s);
    if (code == SQS_OK)
        code = message_attributes_encode(&e->attributes, false, c->arena, &attributes,
                                         &s->in.attribute_count, &attribute_bytes, f);
    if (code == SQS_OK)
        code = message_attributes_encode(&e->system_attributes, true, c->arena, &system,
                                         &system_count, &system_bytes, f);
    if (code != SQS_OK)
        return code;
    s->bytes = s->in.bytes = e->body.len + attribute_bytes;
    s->in.body = e->body;
    s->in.sender = span_from(c->sender);
    if (attributes.len > 0)
        s->in.attributes = arena_copy_span(c->arena, buf_view(&attributes));
    s->in.trace = system_count > 0 ? e->system_attributes.items[0].text : c->trace;
    return SQS_OK;
}

static enum sqs_code check_size(struct sqs_call *c, const struct sending *s, const char *what)
{
    struct queue_info info;
    queue_info(c->queues, c->queue, &info);
    if (s->bytes <= (size_t)info.attributes->max_message_bytes)
        return SQS_OK;
    return fault(&c->fault, SQS_INVALID_PARAMETER,
                 "One or more parameters %s. Reason: Message must be shorter than %d bytes.", what,
                 info.attributes->max_message_bytes);
}

static void new_message_id(struct id_pool *pool, uint8_t out[MESSAGE_ID_BYTES])
{
    if (pool == NULL) {
        random_bytes(out, MESSAGE_ID_BYTES);
        return;
    }
    if (pool->left < MESSAGE_ID_BYTES) {
        random_bytes(pool->bytes, sizeof pool->bytes);
        pool->left = sizeof pool->bytes;
    }
    pool->left -= MESSAGE_ID_BYTES;
    memcpy(out, pool->bytes + pool->left, MESSAGE_ID_BYTES);
}

static enum sqs_code send_one(struct sqs_call *c, struct sending *s)
{
    new_message_id(c->ids, s->in.message_id);
    s->in.message_id[6] = (uint8_t)((s->in.message_id[6] & 0x0f) | 0x40);
    s->in.message_id[8] = (uint8_t)((s->in.message_id[8] & 0x3f) | 0x80);
    enum sqs_code code = queue_send(c->queues, c->queue, c->now_ms, &s->in, &s->sent, &c->fault);
    call_wait_for(c, s->sent.id);
    return code;
}

static void write_attributes_md5(struct sqs_call *c, const char *name, struct span stored)
{
    struct attributes_md5 md5 = {0};
    struct stored_attribute a;
    char text[2 * MD5_BYTES + 1];
    while (message_attribute_next(&stored, &a))
        attributes_md5_add(&md5, &a);
    if (attributes_md5_finish(&md5, text))
        reply_text(&c->out, name, span_from(text));
}

static void write_sent(struct sqs_call *c, const struct request_entry *e, const struct sending *s)
{
    char id[37], md5[2 * MD5_BYTES + 1];
    reply_text(&c->out, "MessageId", uuid_text(s->sent.message_id, id));
    reply_text(&c->out, "MD5OfMessageBody", hex_md5(s->in.body, md5));
    write_attributes_md5(c, "MD5OfMessageAttributes", s->in.attributes);
    if (e->system_attributes.count > 0) {
        struct attributes_md5 system = {0};
        const struct attribute_in *a = &e->system_attributes.items[0];
        struct stored_attribute stored = {.name = a->name, .type = a->type, .value = a->text};
        attributes_md5_add(&system, &stored);
        if (attributes_md5_finish(&system, md5))
            reply_text(&c->out, "MD5OfMessageSystemAttributes", span_from(md5));
    }
    if (s->in.dedup.len > 0)
        reply_text(&c->out, "SequenceNumber", sequence_text(s->sent.id, id));
}

static void write_single(struct sqs_call *c)
{
    write_sent(c, &c->in.single, c->sent);
}

enum sqs_code action_send(struct sqs_call *c)
{
    struct sending *s = arena_alloc(c->arena, sizeof *s);
    enum sqs_code code = call_queue(c);
    if (code == SQS_OK)
        code = check_message(c, &c->in.single, s);
    if (code == SQS_OK)
        code = check_size(c, s, "are invalid");
    if (code == SQS_OK)
        code = send_one(c, s);
    c->rest = write_single;
    c->sent = s;
    return code;
}

// --- batches ---

static bool entry_id_good(struct span id)
{
    bool good = id.len >= 1 && id.len <= 80;
    for (size_t i = 0; good && i < id.len; i++) {
        char ch = id.data[i];
        good = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
               ch == '-' || ch == '_';
    }
    return good;
}

static enum sqs_code check_entries(struct sqs_call *c, const char *query_name)
{
    const struct entry_list *l = &c->in.entries;
    if (l->count == 0)
        return fault(&c->fault, SQS_EMPTY_BATCH, "There should be at least one %s in the request.",
                     query_name);
    if (l->count > SQS_BATCH_MAX)
        return fault(&c->fault, SQS_TOO_MANY_ENTRIES,
                     "Maximum number of entries per request are %d. You have sent %zu.",
                     SQS_BATCH_MAX, l->count);
    for (size_t i = 0; i < l->count; i++) {
        if (!entry_id_good(l->items[i].id))
            return fault(&c->fault, SQS_INVALID_ENTRY_ID,
                         "A batch entry id can only contain alphanumeric characters, hyphens and "
                         "underscores. It can be at most 80 letters long.");
        for (size_t k = 0; k < i; k++)
            if (span_equal(l->items[i].id, l->items[k].id))
                return fault(&c->fault, SQS_IDS_NOT_DISTINCT, "Id %.*s repeated.",
                             (int)l->items[i].id.len, l->items[i].id.data);
    }
    return SQS_OK;
}

static void write_failures(struct sqs_call *c, const struct fault *faults)
{
    bool any = false;
    for (size_t i = 0; i < c->in.entries.count; i++) {
        if (faults[i].code == SQS_OK)
            continue;
        const struct sqs_code_info *info = sqs_code_info(faults[i].code);
        if (!any)
            reply_list_begin(&c->out, "Failed");
        any = true;
        reply_item_begin(&c->out, "BatchResultErrorEntry");
        reply_text(&c->out, "Id", c->in.entries.items[i].id);
        reply_bool(&c->out, "SenderFault", info->sender);
        reply_text(&c->out, "Code", span_from(info->query_code));
        reply_text(&c->out, "Message", span_from(faults[i].message));
        reply_item_end(&c->out, "BatchResultErrorEntry");
    }
    if (any)
        reply_list_end(&c->out);
}

struct sending_batch {
    struct sending entries[SQS_BATCH_MAX];
    struct fault faults[SQS_BATCH_MAX];
};

static void write_batch(struct sqs_call *c)
{
    static const char item[] = "SendMessageBatchResultEntry";
    const struct sending_batch *b = c->sent;
    bool any = false;
    for (size_t i = 0; i < c->in.entries.count; i++) {
        const struct request_entry *e = &c->in.entries.items[i];
        if (b->faults[i].code != SQS_OK)
            continue;
        if (!any)
            reply_list_begin(&c->out, "Successful");
        any = true;
        reply_item_begin(&c->out, item);
        reply_text(&c->out, "Id", e->id);
        write_sent(c, e, &b->entries[i]);
        reply_item_end(&c->out, item);
    }
    if (any)
        reply_list_end(&c->out);
    write_failures(c, b->faults);
}

enum sqs_code action_send_batch(struct sqs_call *c)
{
    struct sending_batch *b = arena_alloc(c->arena, sizeof *b);
    struct sending *s = b->entries;
    struct queue_info info;
    size_t total = 0;
    enum sqs_code code = call_queue(c);
    if (code == SQS_OK)
        code = check_entries(c, "SendMessageBatchRequestEntry");
    if (code != SQS_OK)
        return code;
    queue_info(c->queues, c->queue, &info);
    for (size_t i = 0; i < c->in.entries.count; i++) {
        const struct request_entry *e = &c->in.entries.items[i];
        if (info.attributes->fifo && check_fifo(c, info.attributes, e, &s[i]) != SQS_OK)
            return c->fault.code;
        if (check_message(c, e, &s[i]) != SQS_OK ||
            check_size(c, &s[i], "cannot be validated") != SQS_OK)
            b->faults[i] = c->fault;
        total += s[i].bytes > 0 ? s[i].bytes : c->in.entries.items[i].body.len;
    }
    if (total > SQS_MESSAGE_BYTES_MAX)
        return fault(&c->fault, SQS_BATCH_TOO_LONG,
                     "Batch requests cannot be longer than %d bytes. You have sent %zu bytes.",
                     SQS_MESSAGE_BYTES_MAX, total);
    for (size_t i = 0; i < c->in.entries.count; i++)
        if (b->faults[i].code == SQS_OK && send_one(c, &s[i]) != SQS_OK)
            b->faults[i] = c->fault;
    c->rest = write_batch;
    c->sent = b;
    return SQS_OK;
}

// --- ReceiveMessage ---

static bool system_wanted(const struct sqs_call *c, const char *name)
{
    const struct text_list *l = c->in.system_attribute_names.count > 0
                                    ? &c->in.system_attribute_names
                                    : &c->in.attribute_names;
    for (size_t i = 0; i < l->count; i++)
        if (span_is(l->items[i].text, "All") || span_is(l->items[i].text, name))
            return true;
    return false;
}

struct system_writer {
    struct sqs_call *c;
    bool any;
};

static void write_system(struct system_writer *w, const char *name, struct span value)
{
    if (value.len == 0 || !system_wanted(w->c, name))
        return;
    if (!w->any)
        reply_map_begin(&w->c->out, "Attributes");
    w->any = true;
    reply_map_entry(&w->c->out, "Attribute", "Name", span_from(name), value);
}

static void write_system_number(struct system_writer *w, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    write_system(w, name, span_from(text));
}

static void write_system_attributes(struct sqs_call *c, const struct received *r,
                                    const struct message_out *m)
{
    struct system_writer w = {.c = c};
    AUTO_BUF struct buf source = {0};
    if (c->in.system_attribute_names.count == 0 && c->in.attribute_names.count == 0)
        return;
    write_system(&w, "SenderId", m->sender);
    // a redriven message is a new one in its queue, a dead letter is not
    write_system_number(&w, "SentTimestamp", r->source_queue != NULL ? m->sent_ms : r->entered_ms);
    write_system_number(&w, "ApproximateReceiveCount", r->receive_count);
    if (r->first_received_ms > 0) // peeked at before anybody received it
        write_system_number(&w, "ApproximateFirstReceiveTimestamp", r->first_received_ms);
    write_system(&w, "MessageGroupId", m->group);
    if (m->dedup.len > 0) {
        char text[37];
        // in a dead-letter queue, and from there on, the message's own id stands for it
        write_system(&w, "MessageDeduplicationId",
                     r->moved ? uuid_text(m->message_id, text) : m->dedup);
        write_system(&w, "SequenceNumber", sequence_text(r->receipt.message, text));
    }
    write_system(&w, "AWSTraceHeader", m->trace);
    if (r->source_queue != NULL) {
        call_queue_arn(c, r->source_queue, &source);
        write_system(&w, "DeadLetterQueueSourceArn", buf_view(&source));
    }
    if (w.any)
        reply_map_end(&c->out);
}

// The attributes asked for, and the MD5 of just these.
static void write_user_attributes(struct sqs_call *c, struct span stored)
{
    struct attributes_md5 md5 = {0};
    struct stored_attribute a;
    char text[2 * MD5_BYTES + 1];
    struct span rest = stored;
    if (c->in.message_attribute_names.count == 0)
        return;
    while (message_attribute_next(&rest, &a))
        if (message_attribute_wanted(&c->in.message_attribute_names, a.name))
            attributes_md5_add(&md5, &a);
    if (!attributes_md5_finish(&md5, text))
        return;
    reply_text(&c->out, "MD5OfMessageAttributes", span_from(text));
    reply_map_begin(&c->out, "MessageAttributes");
    rest = stored;
    while (message_attribute_next(&rest, &a))
        if (message_attribute_wanted(&c->in.message_attribute_names, a.name))
            reply_message_attribute(&c->out, a.name, a.type, a.binary, a.value);
    reply_map_end(&c->out);
}

bool call_write_message(struct sqs_call *c, const struct received *r, struct buf *scratch,
                        bool first)
{
    struct message_out m;
    struct error error;
    char id[37], md5[2 * MD5_BYTES + 1];
    if (message_read(c->queues, r->place, scratch, &m, &error) != OK) {
        // it stays hidden for its visibility timeout and is counted as received: in the end, a dead
        // letter
        char text[600];
        log_event(LOG_ERROR, "message_unreadable", "error=%s",
                  log_quote(error.msg, text, sizeof text));
        return false;
    }
    if (first)
        reply_list_begin(&c->out, "Messages");
    reply_item_begin(&c->out, "Message");
    reply_text(&c->out, "MessageId", uuid_text(m.message_id, id));
    if (c->in.action == ACTION_RECEIVE) {
        AUTO_BUF struct buf handle = {0};
        receipt_text(c->queues, &r->receipt, &handle);
        reply_text(&c->out, "ReceiptHandle", buf_view(&handle));
    }
    reply_text(&c->out, "MD5OfBody", hex_md5(m.body, md5));
    reply_text(&c->out, "Body", m.body);
    write_system_attributes(c, r, &m);
    write_user_attributes(c, m.attributes);
    return true;
}

enum sqs_code sqs_call_receive_again(struct sqs_call *c, size_t *count)
{
    struct received got[SQS_BATCH_MAX];
    struct receive_in in = {.max = c->receive_max,
                            .visibility_s = c->receive_visibility_s,
                            .over_limit_is_error = c->wait_s == 0,
                            .attempt = c->in.attempt_id};
    AUTO_BUF struct buf scratch = {0};
    size_t claimed = 0;
    *count = 0;
    enum sqs_code code = queue_receive(c->queues, c->queue, c->now_ms, &in, got, &claimed,
                                       &c->wait_written, &c->fault);
    if (code != SQS_OK)
        return code;
    for (size_t i = 0; i < claimed; i++)
        if (call_write_message(c, &got[i], &scratch, *count == 0)) {
            reply_item_end(&c->out, "Message");
            ++*count;
        }
    if (*count > 0)
        reply_list_end(&c->out);
    return SQS_OK;
}

enum sqs_code action_receive(struct sqs_call *c)
{
    const struct sqs_request *in = &c->in;
    struct queue_info info;
    size_t count;
    enum sqs_code code = call_queue(c);
    if (code == SQS_OK)
        code = check_range(c, &in->max_messages, "MaxNumberOfMessages", 1, SQS_BATCH_MAX,
                           "Must be between 1 and 10, if provided.");
    if (code == SQS_OK)
        code = check_range(c, &in->wait_s, "WaitTimeSeconds", 0, SQS_WAIT_S_MAX,
                           "Must be >= 0 and <= 20, if provided.");
    if (code == SQS_OK)
        code = check_range(c, &in->single.visibility_s, "VisibilityTimeout", 0,
                           SQS_VISIBILITY_S_MAX, "Must be >= 0 and <= 43200, if provided.");
    if (code != SQS_OK)
        return code;
    queue_info(c->queues, c->queue, &info);
    if (info.attributes->fifo && in->attempt_id.data != NULL)
        code = check_id(&c->fault, in->attempt_id, "ReceiveRequestAttemptId");
    if (code != SQS_OK)
        return code;
    c->receive_max = in->max_messages.given ? (size_t)in->max_messages.value : 1;
    c->receive_visibility_s =
        in->single.visibility_s.given ? (int)in->single.visibility_s.value : -1;
    c->wait_s = in->wait_s.given ? (int)in->wait_s.value : info.attributes->wait_s;
    code = sqs_call_receive_again(c, &count);
    if (code != SQS_OK || count > 0)
        c->wait_s = 0;
    else if (c->wait_s == 0)
        queue_note_empty_receive(c->queue);
    return code;
}

// --- DeleteMessage, ChangeMessageVisibility ---

static enum sqs_code delete_one(struct sqs_call *c, const struct request_entry *e)
{
    uint64_t wait_for = 0;
    if (e->handle.len == 0)
        return fault_missing(&c->fault, "ReceiptHandle");
    enum sqs_code code =
        queue_delete_message(c->queues, c->queue, c->now_ms, e->handle, &wait_for, &c->fault);
    call_wait_for(c, wait_for);
    return code;
}

static enum sqs_code change_one(struct sqs_call *c, const struct request_entry *e)
{
    uint64_t wait_for = 0;
    if (e->handle.len == 0)
        return fault_missing(&c->fault, "ReceiptHandle");
    if (!e->visibility_s.given)
        return fault_missing(&c->fault, "VisibilityTimeout");
    enum sqs_code code =
        check_range(c, &e->visibility_s, "VisibilityTimeout", 0, SQS_VISIBILITY_S_MAX,
                    "VisibilityTimeout must be an integer between 0 and 43200");
    if (code == SQS_OK)
        code = queue_change_visibility(c->queues, c->queue, c->now_ms, e->handle,
                                       (int)e->visibility_s.value, &wait_for, &c->fault);
    call_wait_for(c, wait_for);
    return code;
}

static enum sqs_code each_entry(struct sqs_call *c, const char *query_name, const char *result_name,
                                enum sqs_code (*fn)(struct sqs_call *c,
                                                    const struct request_entry *e))
{
    struct fault *faults = arena_alloc(c->arena, SQS_BATCH_MAX * sizeof faults[0]);
    bool any = false;
    enum sqs_code code = call_queue(c);
    if (code == SQS_OK)
        code = check_entries(c, query_name);
    if (code != SQS_OK)
        return code;
    for (size_t i = 0; i < c->in.entries.count; i++) {
        const struct request_entry *e = &c->in.entries.items[i];
        if (fn(c, e) != SQS_OK) {
            faults[i] = c->fault;
            continue;
        }
        if (!any)
            reply_list_begin(&c->out, "Successful");
        any = true;
        reply_item_begin(&c->out, result_name);
        reply_text(&c->out, "Id", e->id);
        reply_item_end(&c->out, result_name);
    }
    if (any)
        reply_list_end(&c->out);
    write_failures(c, faults);
    return SQS_OK;
}

enum sqs_code action_delete_message(struct sqs_call *c)
{
    enum sqs_code code = call_queue(c);
    return code == SQS_OK ? delete_one(c, &c->in.single) : code;
}

enum sqs_code action_delete_message_batch(struct sqs_call *c)
{
    return each_entry(c, "DeleteMessageBatchRequestEntry", "DeleteMessageBatchResultEntry",
                      delete_one);
}

enum sqs_code action_change_visibility(struct sqs_call *c)
{
    enum sqs_code code = call_queue(c);
    return code == SQS_OK ? change_one(c, &c->in.single) : code;
}

enum sqs_code action_change_visibility_batch(struct sqs_call *c)
{
    return each_entry(c, "ChangeMessageVisibilityBatchRequestEntry",
                      "ChangeMessageVisibilityBatchResultEntry", change_one);
}
