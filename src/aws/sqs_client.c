#include "aws/sqs_client.h"

#include "aws/aws_client_internal.h"
#include "base/check.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LONG_POLL_EXTRA_MS = 10000, // over the wait itself, before the connection counts as dead
    ATTRIBUTES_MAX = 64,
};

struct sqs_call {
    struct aws_call base; // first
    void *ctx;
    size_t entry_count;    // of a batch
    const char *url_field; // "QueueUrl" | "MessageId"
    sqs_receive_fn *on_receive;
    sqs_batch_fn *on_batch;
    sqs_url_fn *on_url;
    sqs_done_fn *on_done;
    sqs_attributes_fn *on_attributes;
    sqs_answer_fn *on_answer;
};

static struct sqs_call *sqs_call_of(struct aws_call *call)
{
    return (struct sqs_call *)(void *)call;
}

// --- answers ---

static enum err answer_parse(const struct http_response *response, json_t **root,
                             struct aws_result *result)
{
    json_error_t where;
    *root = response->body.len > 0 ? json_loadb(response->body.data, response->body.len, 0, &where)
                                   : json_object();
    if (json_is_object(*root))
        return OK;
    result->err = fail(&result->error, ERR_FORMAT, 0, "the queue service's answer is not JSON: %s",
                       *root == NULL ? where.text : "no object");
    return result->err;
}

static struct span text_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return (struct span){json_string_value(value), json_string_length(value)};
}

static int64_t number_of(const json_t *object, const char *name)
{
    uint64_t value;
    return span_to_u64(text_of(object, name), INT64_MAX, &value) ? (int64_t)value : 0;
}

static bool md5_matches(struct span body, struct span md5_hex)
{
    uint8_t ours[MD5_BYTES], theirs[MD5_BYTES];
    digest_md5(body, ours);
    return md5_hex.len == 0 ||
           (hex_decode(md5_hex, theirs, sizeof theirs) && memcmp(ours, theirs, sizeof ours) == 0);
}

static void finish_receive(struct aws_call *base, const struct aws_result *result,
                           const struct http_response *response)
{
    struct sqs_call *call = sqs_call_of(base);
    struct aws_result local = *result;
    struct sqs_message messages[SQS_BATCH_MAX] = {0};
    size_t count = 0;
    json_t *root = NULL;
    if (local.err == OK && answer_parse(response, &root, &local) == OK) {
        const json_t *list = json_object_get(root, "Messages"), *item;
        size_t index;
        json_array_foreach(list, index, item)
        {
            const json_t *attributes = json_object_get(item, "Attributes");
            if (count == SQS_BATCH_MAX)
                break;
            struct sqs_message *m = &messages[count++];
            *m = (struct sqs_message){.id = text_of(item, "MessageId"),
                                      .receipt_handle = text_of(item, "ReceiptHandle"),
                                      .body = text_of(item, "Body"),
                                      .receive_count =
                                          (int)number_of(attributes, "ApproximateReceiveCount"),
                                      .sent_ms = number_of(attributes, "SentTimestamp"),
                                      .trace_header = text_of(attributes, "AWSTraceHeader")};
            if (m->receipt_handle.len > 0 && md5_matches(m->body, text_of(item, "MD5OfBody")))
                continue;
            local.err = fail(&local.error, ERR_FORMAT, 0,
                             "a message came without its receipt handle or was damaged on its way");
            count = 0;
            break;
        }
    }
    call->on_receive(call->ctx, &local, messages, count);
    json_decref(root);
}

static size_t entry_place(const json_t *item, size_t count)
{
    uint64_t place;
    return span_to_u64(text_of(item, "Id"), count - 1, &place) ? (size_t)place : count;
}

static void copy_field(const json_t *item, const char *name, char *out, size_t out_bytes)
{
    struct span s = text_of(item, name);
    snprintf(out, out_bytes, "%.*s", (int)s.len, s.len > 0 ? s.data : "");
}

static void finish_batch(struct aws_call *base, const struct aws_result *result,
                         const struct http_response *response)
{
    struct sqs_call *call = sqs_call_of(base);
    struct aws_result local = *result;
    struct sqs_entry_result entries[SQS_BATCH_MAX] = {0};
    size_t count = call->entry_count, place, index;
    json_t *root = NULL, *item;
    for (size_t i = 0; i < count; i++)
        snprintf(entries[i].message, sizeof entries[i].message, "not named in the answer");
    if (local.err == OK && answer_parse(response, &root, &local) == OK) {
        json_array_foreach(json_object_get(root, "Successful"), index, item)
        {
            if ((place = entry_place(item, count)) == count)
                continue;
            entries[place].ok = true;
            entries[place].message[0] = '\0';
            copy_field(item, "MessageId", entries[place].message_id,
                       sizeof entries[place].message_id);
        }
        json_array_foreach(json_object_get(root, "Failed"), index, item)
        {
            if ((place = entry_place(item, count)) == count)
                continue;
            entries[place].ok = false;
            entries[place].sender_fault = json_is_true(json_object_get(item, "SenderFault"));
            copy_field(item, "Code", entries[place].code, sizeof entries[place].code);
            copy_field(item, "Message", entries[place].message, sizeof entries[place].message);
        }
    }
    call->on_batch(call->ctx, &local, entries, local.err == OK ? count : 0);
    json_decref(root);
}

static void finish_url(struct aws_call *base, const struct aws_result *result,
                       const struct http_response *response)
{
    struct sqs_call *call = sqs_call_of(base);
    struct aws_result local = *result;
    const char *url = "";
    json_t *root = NULL;
    if (local.err == OK && answer_parse(response, &root, &local) == OK) {
        url = json_string_value(json_object_get(root, call->url_field));
        if (url == NULL) {
            url = "";
            local.err = fail(&local.error, ERR_FORMAT, 0, "the queue service's answer has no %s",
                             call->url_field);
        }
    }
    call->on_url(call->ctx, &local, url);
    json_decref(root);
}

static void finish_done(struct aws_call *base, const struct aws_result *result,
                        const struct http_response *response)
{
    struct sqs_call *call = sqs_call_of(base);
    (void)response;
    call->on_done(call->ctx, result);
}

static void finish_attributes(struct aws_call *base, const struct aws_result *result,
                              const struct http_response *response)
{
    struct sqs_call *call = sqs_call_of(base);
    struct aws_result local = *result;
    struct http_call_header attributes[ATTRIBUTES_MAX] = {0};
    size_t count = 0;
    json_t *root = NULL, *value;
    const char *name;
    if (local.err == OK && answer_parse(response, &root, &local) == OK)
        json_object_foreach(json_object_get(root, "Attributes"), name, value)
        {
            if (json_is_string(value) && count < ATTRIBUTES_MAX)
                attributes[count++] = (struct http_call_header){name, json_string_value(value)};
        }
    call->on_attributes(call->ctx, &local, attributes, count);
    json_decref(root);
}

static void finish_answer(struct aws_call *base, const struct aws_result *result,
                          const struct http_response *response)
{
    struct sqs_call *call = sqs_call_of(base);
    struct aws_result local = *result;
    json_t *root = NULL;
    if (local.err == OK && answer_parse(response, &root, &local) != OK) {
        json_decref(root);
        root = NULL;
    }
    call->on_answer(call->ctx, &local, root);
    json_decref(root);
}

// --- requests: JSON written field by field ---

static struct sqs_call *call_new(const char *target,
                                 void (*finish)(struct aws_call *, const struct aws_result *,
                                                const struct http_response *),
                                 void *ctx)
{
    char action[64];
    struct sqs_call *call = calloc(1, sizeof *call);
    CHECK(call != NULL);
    call->ctx = ctx;
    call->base.method = "POST";
    call->base.finish = finish;
    buf_add_text(&call->base.path, "/");
    snprintf(action, sizeof action, "AmazonSQS.%s", target);
    aws_call_header(&call->base, "Content-Type", "application/x-amz-json-1.0");
    aws_call_header(&call->base, "X-Amz-Target", action);
    buf_add_char(&call->base.body_owned, '{');
    return call;
}

static void add_name(struct sqs_call *call, const char *name)
{
    struct buf *b = &call->base.body_owned;
    char last = b->data[b->len - 1];
    if (last != '{' && last != '[')
        buf_add_char(b, ',');
    json_escape(span_from(name), b);
    buf_add_char(b, ':');
}

static void add_text(struct sqs_call *call, const char *name, struct span value)
{
    add_name(call, name);
    json_escape(value, &call->base.body_owned);
    if (!utf8_valid(value))
        fail(&call->base.refused, ERR_ARGUMENT, 0, "%s is not valid UTF-8", name);
}

static void add_number(struct sqs_call *call, const char *name, int value)
{
    add_name(call, name);
    buf_printf(&call->base.body_owned, "%d", value);
}

static struct sqs_call *call_send_off(struct sqs_call *call, struct aws_client *c)
{
    buf_add_char(&call->base.body_owned, '}');
    call->base.body = buf_view(&call->base.body_owned);
    aws_call_start(c, &call->base);
    return call;
}

struct sqs_call *sqs_receive(struct aws_client *c, const char *queue_url, int max_messages,
                             int wait_s, int visibility_s, sqs_receive_fn *done, void *ctx)
{
    static const char wanted[] =
        "[\"ApproximateReceiveCount\",\"SentTimestamp\",\"AWSTraceHeader\"]";
    struct sqs_call *call = call_new("ReceiveMessage", finish_receive, ctx);
    call->on_receive = done;
    add_text(call, "QueueUrl", span_from(queue_url));
    add_number(call, "MaxNumberOfMessages", max_messages);
    if (wait_s >= 0)
        add_number(call, "WaitTimeSeconds", wait_s);
    if (visibility_s >= 0)
        add_number(call, "VisibilityTimeout", visibility_s);
    add_name(call, "AttributeNames"); // the older name of the next: some services know only one
    buf_add_text(&call->base.body_owned, wanted);
    add_name(call, "MessageSystemAttributeNames");
    buf_add_text(&call->base.body_owned, wanted);
    call->base.long_poll = wait_s != 0;
    call->base.timeout_ms = (wait_s >= 0 ? wait_s : SQS_WAIT_S_MAX) * 1000 + LONG_POLL_EXTRA_MS;
    return call_send_off(call, c);
}

struct sqs_call *sqs_send(struct aws_client *c, const char *queue_url, struct span body,
                          int delay_s, sqs_url_fn *done_with_message_id, void *ctx)
{
    struct sqs_call *call = call_new("SendMessage", finish_url, ctx);
    call->on_url = done_with_message_id;
    call->url_field = "MessageId";
    add_text(call, "QueueUrl", span_from(queue_url));
    add_text(call, "MessageBody", body);
    if (delay_s > 0)
        add_number(call, "DelaySeconds", delay_s);
    return call_send_off(call, c);
}

static struct sqs_call *batch_new(const char *target, const char *queue_url, size_t count,
                                  sqs_batch_fn *done, void *ctx)
{
    CHECK(count >= 1 && count <= SQS_BATCH_MAX);
    struct sqs_call *call = call_new(target, finish_batch, ctx);
    call->on_batch = done;
    call->entry_count = count;
    add_text(call, "QueueUrl", span_from(queue_url));
    add_name(call, "Entries");
    buf_add_char(&call->base.body_owned, '[');
    return call;
}

// Begins the object of entry i; its id is its place.
static void entry_begin(struct sqs_call *call, size_t i)
{
    buf_printf(&call->base.body_owned, "%s{\"Id\":\"%zu\"", i > 0 ? "," : "", i);
}

static void entry_end(struct sqs_call *call)
{
    buf_add_char(&call->base.body_owned, '}');
}

static struct sqs_call *batch_send_off(struct sqs_call *call, struct aws_client *c)
{
    buf_add_char(&call->base.body_owned, ']');
    return call_send_off(call, c);
}

struct sqs_call *sqs_send_batch(struct aws_client *c, const char *queue_url,
                                const struct span *bodies, size_t count, sqs_batch_fn *done,
                                void *ctx)
{
    struct sqs_call *call = batch_new("SendMessageBatch", queue_url, count, done, ctx);
    for (size_t i = 0; i < count; i++) {
        entry_begin(call, i);
        add_text(call, "MessageBody", bodies[i]);
        entry_end(call);
    }
    return batch_send_off(call, c);
}

struct sqs_call *sqs_delete_batch(struct aws_client *c, const char *queue_url,
                                  const struct span *receipt_handles, size_t count,
                                  sqs_batch_fn *done, void *ctx)
{
    struct sqs_call *call = batch_new("DeleteMessageBatch", queue_url, count, done, ctx);
    for (size_t i = 0; i < count; i++) {
        entry_begin(call, i);
        add_text(call, "ReceiptHandle", receipt_handles[i]);
        entry_end(call);
    }
    return batch_send_off(call, c);
}

struct sqs_call *sqs_visibility_batch(struct aws_client *c, const char *queue_url,
                                      const struct span *receipt_handles, const int *visibility_s,
                                      size_t count, sqs_batch_fn *done, void *ctx)
{
    struct sqs_call *call = batch_new("ChangeMessageVisibilityBatch", queue_url, count, done, ctx);
    for (size_t i = 0; i < count; i++) {
        entry_begin(call, i);
        add_text(call, "ReceiptHandle", receipt_handles[i]);
        add_number(call, "VisibilityTimeout", visibility_s[i]);
        entry_end(call);
    }
    return batch_send_off(call, c);
}

struct sqs_call *sqs_create_queue(struct aws_client *c, const char *name,
                                  const struct http_call_header *attributes, size_t attribute_count,
                                  sqs_url_fn *done, void *ctx)
{
    struct sqs_call *call = call_new("CreateQueue", finish_url, ctx);
    call->on_url = done;
    call->url_field = "QueueUrl";
    add_text(call, "QueueName", span_from(name));
    if (attribute_count > 0) {
        add_name(call, "Attributes");
        buf_add_char(&call->base.body_owned, '{');
        for (size_t i = 0; i < attribute_count; i++)
            add_text(call, attributes[i].name, span_from(attributes[i].value));
        buf_add_char(&call->base.body_owned, '}');
    }
    return call_send_off(call, c);
}

struct sqs_call *sqs_get_queue_url(struct aws_client *c, const char *name, sqs_url_fn *done,
                                   void *ctx)
{
    struct sqs_call *call = call_new("GetQueueUrl", finish_url, ctx);
    call->on_url = done;
    call->url_field = "QueueUrl";
    add_text(call, "QueueName", span_from(name));
    return call_send_off(call, c);
}

struct sqs_call *sqs_delete_queue(struct aws_client *c, const char *queue_url, sqs_done_fn *done,
                                  void *ctx)
{
    struct sqs_call *call = call_new("DeleteQueue", finish_done, ctx);
    call->on_done = done;
    add_text(call, "QueueUrl", span_from(queue_url));
    return call_send_off(call, c);
}

struct sqs_call *sqs_get_attributes(struct aws_client *c, const char *queue_url,
                                    sqs_attributes_fn *done, void *ctx)
{
    struct sqs_call *call = call_new("GetQueueAttributes", finish_attributes, ctx);
    call->on_attributes = done;
    add_text(call, "QueueUrl", span_from(queue_url));
    add_name(call, "AttributeNames");
    buf_add_text(&call->base.body_owned, "[\"All\"]");
    return call_send_off(call, c);
}

struct sqs_call *sqs_ask(struct aws_client *c, const char *action, const json_t *request,
                         int wait_s, sqs_answer_fn *done, void *ctx)
{
    struct sqs_call *call = call_new(action, finish_answer, ctx);
    char *text = json_dumps(request, JSON_COMPACT);
    call->on_answer = done;
    if (text != NULL && json_is_object(request)) { // whole, with its braces
        size_t len = strlen(text);
        buf_add(&call->base.body_owned, text + 1, len - 2);
    } else {
        fail(&call->base.refused, ERR_ARGUMENT, 0, "the parameters of %s are not JSON", action);
    }
    free(text);
    call->base.long_poll = wait_s > 0;
    if (wait_s > 0)
        call->base.timeout_ms = wait_s * 1000 + LONG_POLL_EXTRA_MS;
    return call_send_off(call, c);
}

void sqs_call_cancel(struct sqs_call *call)
{
    aws_call_cancel(&call->base);
}
