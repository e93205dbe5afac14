#include "sqs/reply.h"

#include "base/digest.h"
#include "base/text.h"

#include <string.h>

enum { REPLY_RESERVE_BYTES = 250 }; // the answer to SendMessage fits, and is not moved as it grows

#define NAMESPACE "http://queue.amazonaws.com/doc/2012-11-05/"

static bool has_output(enum sqs_action action)
{
    switch (action) {
    case ACTION_ADD_PERMISSION:
    case ACTION_CHANGE_VISIBILITY:
    case ACTION_DELETE_MESSAGE:
    case ACTION_DELETE_QUEUE:
    case ACTION_PURGE:
    case ACTION_REMOVE_PERMISSION:
    case ACTION_SET_ATTRIBUTES:
    case ACTION_TAG:
    case ACTION_UNTAG:
        return false;
    default:
        return true;
    }
}

void reply_begin(struct reply *r, bool json, enum sqs_action action)
{
    r->json = json;
    r->action = action;
    buf_clear(&r->out);
    buf_reserve(&r->out, REPLY_RESERVE_BYTES);
    if (json && r->wrapped) {
        buf_printf(&r->out, "{\"%sResponse\":{", action_name(action));
        if (has_output(action))
            buf_printf(&r->out, "\"%sResult\":{", action_name(action));
        return;
    }
    if (json) {
        if (has_output(action))
            buf_add_char(&r->out, '{');
        return;
    }
    buf_printf(&r->out, "<?xml version=\"1.0\"?><%sResponse xmlns=\"" NAMESPACE "\">",
               action_name(action));
    if (has_output(action))
        buf_printf(&r->out, "<%sResult>", action_name(action));
}

void reply_release(struct reply *r)
{
    buf_release(&r->out);
}

// JSON: a comma, if something stands before the next value.
static void ready(struct reply *r)
{
    if (!r->json)
        return;
    char last = r->out.data[r->out.len - 1];
    if (last != '{' && last != '[')
        buf_add_char(&r->out, ',');
}

static void json_name(struct reply *r, const char *name)
{
    ready(r);
    buf_add_char(&r->out, '"');
    buf_add_text(&r->out, name);
    buf_add(&r->out, "\":", 2);
}

static void open_tag(struct reply *r, const char *name)
{
    buf_add_char(&r->out, '<');
    buf_add_text(&r->out, name);
    buf_add_char(&r->out, '>');
}

static void close_tag(struct reply *r, const char *name)
{
    buf_add(&r->out, "</", 2);
    buf_add_text(&r->out, name);
    buf_add_char(&r->out, '>');
}

static void element(struct reply *r, const char *name, struct span value)
{
    open_tag(r, name);
    xml_escape(value, &r->out);
    close_tag(r, name);
}

void reply_end(struct reply *r, const char *request_id)
{
    if (r->wrapped) {
        buf_printf(&r->out, "%s\"ResponseMetadata\":{\"RequestId\":\"%s\"}}}",
                   has_output(r->action) ? "}," : "", request_id);
        return;
    }
    if (r->json) {
        if (has_output(r->action))
            buf_add_char(&r->out, '}');
        return;
    }
    if (has_output(r->action))
        buf_printf(&r->out, "</%sResult>", action_name(r->action));
    buf_printf(&r->out,
               "<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>",
               request_id, action_name(r->action));
}

void reply_error(struct reply *r, const struct fault *f, const char *request_id)
{
    const struct sqs_code_info *info = sqs_code_info(f->code);
    buf_clear(&r->out);
    if (r->wrapped && f->code != SQS_UNKNOWN_OPERATION) {
        buf_printf(&r->out, "{\"Error\":{\"Code\":\"%s\",\"Message\":", info->query_code);
        json_escape(span_from(f->message), &r->out);
        buf_printf(&r->out, ",\"Type\":\"%s\"},\"RequestId\":\"%s\"}",
                   info->sender ? "Sender" : "Receiver", request_id);
        return;
    }
    if (r->json && !r->wrapped) {
        buf_printf(&r->out, "{\"__type\":\"%s#%s\",\"message\":", sqs_code_namespace(f->code),
                   info->shape);
        json_escape(span_from(f->message), &r->out);
        buf_add_char(&r->out, '}');
        return;
    }
    if (f->code == SQS_UNKNOWN_OPERATION) {
        buf_add_text(&r->out, "<UnknownOperationException/>");
        return;
    }
    buf_printf(&r->out,
               "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"" NAMESPACE
               "\"><Error><Type>%s</Type><Code>%s</Code><Message>",
               info->sender ? "Sender" : "Receiver", info->query_code);
    xml_escape(span_from(f->message), &r->out);
    buf_printf(&r->out, "</Message><Detail/></Error><RequestId>%s</RequestId></ErrorResponse>",
               request_id);
}

void reply_text(struct reply *r, const char *name, struct span value)
{
    if (r->json) {
        json_name(r, name);
        json_escape(value, &r->out);
    } else {
        ready(r);
        element(r, name, value);
    }
}

void reply_number(struct reply *r, const char *name, int64_t value)
{
    if (r->json) {
        json_name(r, name);
        buf_printf(&r->out, "%lld", (long long)value);
    } else {
        ready(r);
        buf_printf(&r->out, "<%s>%lld</%s>", name, (long long)value, name);
    }
}

void reply_bool(struct reply *r, const char *name, bool value)
{
    const char *text = value ? "true" : "false";
    if (r->json) {
        json_name(r, name);
        buf_add_text(&r->out, text);
    } else {
        ready(r);
        element(r, name, span_from(text));
    }
}

// The third form writes the names of lists its own way.
static const char *list_name(const struct reply *r, const char *name)
{
    return !r->wrapped                      ? name
           : strcmp(name, "Messages") == 0  ? "messages"
           : strcmp(name, "QueueUrls") == 0 ? "queueUrls"
                                            : name;
}

void reply_list_begin(struct reply *r, const char *name)
{
    if (r->json) {
        json_name(r, list_name(r, name));
        buf_add_char(&r->out, '[');
    }
}

void reply_list_end(struct reply *r)
{
    if (r->json)
        buf_add_char(&r->out, ']');
}

void reply_item_begin(struct reply *r, const char *query_name)
{
    ready(r);
    if (r->json)
        buf_add_char(&r->out, '{');
    else
        open_tag(r, query_name);
}

void reply_item_end(struct reply *r, const char *query_name)
{
    if (r->json)
        buf_add_char(&r->out, '}');
    else
        close_tag(r, query_name);
}

void reply_item_text(struct reply *r, const char *query_name, struct span value)
{
    ready(r);
    if (r->json)
        json_escape(value, &r->out);
    else
        element(r, query_name, value);
}

void reply_map_begin(struct reply *r, const char *name)
{
    if (r->json) {
        json_name(r, name);
        buf_add_char(&r->out, r->wrapped ? '[' : '{');
    }
}

void reply_map_end(struct reply *r)
{
    if (r->json)
        buf_add_char(&r->out, r->wrapped ? ']' : '}');
}

static void json_key(struct reply *r, struct span name)
{
    ready(r);
    json_escape(name, &r->out);
    buf_add_char(&r->out, ':');
}

void reply_map_entry(struct reply *r, const char *query_name, const char *key_name,
                     struct span name, struct span value)
{
    if (r->wrapped) {
        ready(r);
        buf_printf(&r->out, "{\"%s\":", key_name);
        json_escape(name, &r->out);
        buf_add_text(&r->out, ",\"Value\":");
        json_escape(value, &r->out);
        buf_add_char(&r->out, '}');
        return;
    }
    if (r->json) {
        json_key(r, name);
        json_escape(value, &r->out);
        return;
    }
    ready(r);
    open_tag(r, query_name);
    element(r, key_name, name);
    element(r, "Value", value);
    close_tag(r, query_name);
}

void reply_message_attribute(struct reply *r, struct span name, struct span type, bool binary,
                             struct span value)
{
    AUTO_BUF struct buf text = {0};
    const char *value_name = binary ? "BinaryValue" : "StringValue";
    if (binary) {
        base64_encode(value, &text);
        value = buf_view(&text);
    }
    if (r->json) {
        if (r->wrapped) {
            ready(r);
            buf_add_text(&r->out, "{\"Name\":");
            json_escape(name, &r->out);
            buf_add_text(&r->out, ",\"Value\":");
        } else {
            json_key(r, name);
        }
        buf_add_text(&r->out, "{\"DataType\":");
        json_escape(type, &r->out);
        buf_printf(&r->out, ",\"%s\":", value_name);
        json_escape(value, &r->out);
        buf_add_text(&r->out, r->wrapped ? "}}" : "}");
        return;
    }
    ready(r);
    buf_add_text(&r->out, "<MessageAttribute>");
    element(r, "Name", name);
    buf_add_text(&r->out, "<Value>");
    element(r, "DataType", type);
    element(r, value_name, value);
    buf_add_text(&r->out, "</Value></MessageAttribute>");
}
