// The Query protocol: form-encoded parameters into a struct sqs_request. Lists are flattened
// ("AttributeName.1"), and old clients leave the number out where there is one item.
#include "base/digest.h"
#include "base/text.h"
#include "sqs/sqs_request.h"

#include <string.h>

enum { PARAMETERS_MAX = 4000 }; // ten entries with ten attributes of four parameters each, and room

struct parameter {
    struct span name; // what is left of it
    struct span value;
    struct fault *f;
    struct arena *arena;
};

static enum sqs_code unknown(const struct parameter *p)
{
    (void)p; // parameters that no action knows are ignored, as the service does
    return SQS_OK;
}

static enum sqs_code too_many(const struct parameter *p)
{
    return fault(p->f, SQS_MALFORMED, "A list holds more than %d items.", REQUEST_LIST_MAX);
}

static struct span cut_part(struct parameter *p)
{
    return span_cut(p->name, '.', &p->name);
}

// The number that may come next; 1 when it was left out.
static uint64_t cut_index(struct parameter *p)
{
    uint64_t index;
    struct parameter ahead = *p;
    if (!span_to_u64(cut_part(&ahead), UINT32_MAX, &index) || index == 0)
        return 1;
    p->name = ahead.name;
    return index;
}

static enum sqs_code put_int(struct parameter *p, const char *name, struct given_int *out)
{
    struct span digits = p->value;
    uint64_t value;
    bool negative = digits.len > 1 && digits.data[0] == '-';
    if (negative)
        digits = (struct span){digits.data + 1, digits.len - 1};
    if (p->value.len == 0)
        return SQS_OK;
    if (!span_to_u64(digits, INT64_MAX, &value))
        return fault(p->f, SQS_INVALID_PARAMETER,
                     "Value %.*s for parameter %s is invalid. Reason: Must be an integer.",
                     (int)(p->value.len < 100 ? p->value.len : 100), p->value.data, name);
    out->given = true;
    out->value = negative ? -(int64_t)value : (int64_t)value;
    return SQS_OK;
}

static enum sqs_code put_text_item(struct parameter *p, struct text_list *list)
{
    struct text_item *item = text_item(p->arena, list, cut_index(p));
    if (item == NULL)
        return too_many(p);
    item->text = p->value;
    return SQS_OK;
}

static enum sqs_code put_pair(struct parameter *p, struct named_list *list)
{
    struct named_value *item = named_item(p->arena, list, cut_index(p));
    if (item == NULL)
        return too_many(p);
    struct span part = cut_part(p);
    if (span_is(part, "Name") || span_is(part, "Key"))
        item->name = p->value;
    else if (span_is(part, "Value"))
        item->value = p->value;
    else
        return unknown(p);
    return SQS_OK;
}

static enum sqs_code put_attribute(struct parameter *p, struct attribute_list *list)
{
    struct attribute_in *item = attribute_item(p->arena, list, cut_index(p));
    if (item == NULL)
        return too_many(p);
    struct span part = cut_part(p);
    if (span_is(part, "Name")) {
        item->name = p->value;
        return SQS_OK;
    }
    if (!span_is(part, "Value"))
        return unknown(p);
    part = cut_part(p);
    if (span_is(part, "DataType")) {
        item->type = p->value;
    } else if (span_is(part, "StringValue")) {
        item->text = p->value;
    } else if (span_is(part, "BinaryValue")) {
        AUTO_BUF struct buf bytes = {0};
        if (!base64_decode(p->value, &bytes))
            return fault(p->f, SQS_INVALID_PARAMETER, "A BinaryValue is not base64.");
        item->binary = arena_copy_span(p->arena, buf_view(&bytes));
    } else {
        item->listed = item->listed || span_starts(part, "StringListValue") ||
                       span_starts(part, "BinaryListValue");
    }
    return SQS_OK;
}

static const struct request_field *find(const struct request_field *fields, struct span name)
{
    for (; fields->query != NULL; fields++)
        if (span_is(name, fields->query))
            return fields;
    return NULL;
}

static enum sqs_code put(struct parameter *p, const struct request_field *field, void *base)
{
    void *at = (char *)base + field->offset;
    struct span *text = at;
    switch (field->kind) {
    case FIELD_TEXT:
        *text = p->value;
        return SQS_OK;
    case FIELD_INT:
        return put_int(p, field->query, at);
    case FIELD_TEXTS:
        return put_text_item(p, at);
    case FIELD_MAP:
        return put_pair(p, at);
    case FIELD_ATTRIBUTES:
        return put_attribute(p, at);
    case FIELD_ENTRIES:
        break;
    }
    struct request_entry *entry = entry_item(p->arena, at, cut_index(p));
    if (entry == NULL)
        return too_many(p);
    const struct request_field *inner = find(entry_fields, cut_part(p));
    return inner != NULL ? put(p, inner, entry) : unknown(p); // entry fields hold no entries
}

static enum sqs_code put_parameter(struct sqs_request *r, struct parameter *p,
                                   struct span *action_given)
{
    struct span first = cut_part(p);
    if (span_is(first, "Action")) {
        *action_given = p->value;
        r->action = action_find(p->value);
        return SQS_OK;
    }
    const struct request_field *field = find(request_fields, first);
    if (field != NULL)
        return put(p, field, r);
    field = find(entry_fields, first);
    return field != NULL ? put(p, field, &r->single) : unknown(p);
}

static bool decode(struct arena *arena, struct span text, struct span *out)
{
    AUTO_BUF struct buf bytes = {0};
    bool plain = text.len == 0 || (memchr(text.data, '%', text.len) == NULL &&
                                   memchr(text.data, '+', text.len) == NULL);
    if (!plain) {
        if (!url_decode(text, true, &bytes))
            return false;
        *out = arena_copy_span(arena, buf_view(&bytes));
    } else {
        *out = (struct span){text.data != NULL ? text.data : "", text.len};
    }
    return utf8_valid(*out);
}

static enum sqs_code put_all(struct span text, struct sqs_request *r, struct span *action_given,
                             struct fault *f)
{
    int count = 0;
    while (text.len > 0) {
        struct parameter p = {.f = f, .arena = r->arena};
        struct span raw_value, raw_name = span_cut(span_cut(text, '&', &text), '=', &raw_value);
        if (raw_name.len == 0)
            continue;
        if (++count > PARAMETERS_MAX)
            return fault(f, SQS_MALFORMED, "The request has more than %d parameters.",
                         PARAMETERS_MAX);
        if (!decode(r->arena, raw_name, &p.name) || !decode(r->arena, raw_value, &p.value))
            return fault(f, SQS_MALFORMED,
                         "Parameter %d is not well-formed UTF-8 and "
                         "percent-encoding.",
                         count);
        enum sqs_code code = put_parameter(r, &p, action_given);
        if (code != SQS_OK)
            return code;
    }
    return SQS_OK;
}

enum sqs_code request_from_query(struct span body, struct span query, struct sqs_request *r,
                                 struct span *action_given, struct fault *f)
{
    *action_given = (struct span){0};
    enum sqs_code code = put_all(query, r, action_given, f);
    return code == SQS_OK ? put_all(body, r, action_given, f) : code;
}
