// AWS JSON 1.0: the body into a struct sqs_request.
#include "base/digest.h"
#include "base/text.h"
#include "sqs/json_scan.h"
#include "sqs/sqs_request.h"

struct decoder {
    struct json_scan s;
    struct sqs_request *r;
    struct fault *f;
};

static enum sqs_code wrong(struct decoder *d, const char *field, const char *wanted)
{
    if (d->f->code == SQS_OK)
        fault(d->f, SQS_MALFORMED, "The value of %s must be %s.", field, wanted);
    return d->f->code;
}

static enum sqs_code too_many(struct decoder *d, const char *field)
{
    return fault(d->f, SQS_MALFORMED, "%s holds more than %d items.", field, REQUEST_LIST_MAX);
}

static enum sqs_code take_text(struct decoder *d, const char *field, struct span *out)
{
    return scan_peek(&d->s) == JSON_TYPE_STRING && scan_string(&d->s, out)
               ? SQS_OK
               : wrong(d, field, "a string");
}

static enum sqs_code take_int(struct decoder *d, const char *field, struct given_int *out)
{
    out->given = scan_integer(&d->s, &out->value);
    return out->given ? SQS_OK : wrong(d, field, "a whole number");
}

static enum sqs_code take_texts(struct decoder *d, const char *field, struct text_list *list)
{
    bool first = true;
    if (!scan_array_begin(&d->s))
        return wrong(d, field, "an array of strings");
    while (scan_array_next(&d->s, &first)) {
        struct text_item *item = text_item(d->r->arena, list, 0);
        if (item == NULL)
            return too_many(d, field);
        if (take_text(d, field, &item->text) != SQS_OK)
            return d->f->code;
    }
    return d->s.bad ? wrong(d, field, "an array of strings") : SQS_OK;
}

static enum sqs_code take_map(struct decoder *d, const char *field, struct named_list *list)
{
    struct span name;
    bool first = true;
    if (!scan_object_begin(&d->s))
        return wrong(d, field, "an object");
    while (scan_object_next(&d->s, &first, &name)) {
        struct named_value *item = named_item(d->r->arena, list, 0);
        if (item == NULL)
            return too_many(d, field);
        item->name = name;
        if (take_text(d, field, &item->value) != SQS_OK)
            return d->f->code;
    }
    return d->s.bad ? wrong(d, field, "an object") : SQS_OK;
}

static enum sqs_code take_binary(struct decoder *d, struct span *out)
{
    struct span text = {0};
    AUTO_BUF struct buf bytes = {0};
    if (take_text(d, "BinaryValue", &text) != SQS_OK)
        return d->f->code;
    if (!base64_decode(text, &bytes))
        return wrong(d, "BinaryValue", "base64");
    *out = arena_copy_span(d->r->arena, buf_view(&bytes));
    return SQS_OK;
}

// True if something is in it.
static bool skip_list(struct json_scan *s)
{
    bool first = true, any = false;
    if (scan_array_begin(s))
        for (; scan_array_next(s, &first); any = true)
            scan_skip(s);
    return any;
}

static enum sqs_code take_attribute(struct decoder *d, struct attribute_in *a)
{
    struct span key;
    bool first = true;
    enum sqs_code code = SQS_OK;
    if (!scan_object_begin(&d->s))
        return wrong(d, "MessageAttributes", "an object of objects");
    while (code == SQS_OK && scan_object_next(&d->s, &first, &key)) {
        if (scan_peek(&d->s) == JSON_TYPE_NULL)
            scan_null(&d->s);
        else if (span_is(key, "DataType"))
            code = take_text(d, "DataType", &a->type);
        else if (span_is(key, "StringValue"))
            code = take_text(d, "StringValue", &a->text);
        else if (span_is(key, "BinaryValue"))
            code = take_binary(d, &a->binary);
        else if (span_is(key, "StringListValues") || span_is(key, "BinaryListValues"))
            a->listed = skip_list(&d->s) || a->listed;
        else
            scan_skip(&d->s);
    }
    return d->s.bad ? wrong(d, "MessageAttributes", "an object of objects") : code;
}

static enum sqs_code take_attributes(struct decoder *d, const char *field,
                                     struct attribute_list *list)
{
    struct span name;
    bool first = true;
    if (!scan_object_begin(&d->s))
        return wrong(d, field, "an object");
    while (scan_object_next(&d->s, &first, &name)) {
        struct attribute_in *item = attribute_item(d->r->arena, list, 0);
        if (item == NULL)
            return too_many(d, field);
        item->name = name;
        if (take_attribute(d, item) != SQS_OK)
            return d->f->code;
    }
    return d->s.bad ? wrong(d, field, "an object") : SQS_OK;
}

static enum sqs_code take_entries(struct decoder *d, struct entry_list *list);

static enum sqs_code take_field(struct decoder *d, const struct request_field *field, void *base)
{
    void *at = (char *)base + field->offset;
    if (scan_peek(&d->s) == JSON_TYPE_NULL) // as good as absent
        return scan_null(&d->s) ? SQS_OK : wrong(d, field->json, "a value");
    switch (field->kind) {
    case FIELD_TEXT:
        return take_text(d, field->json, at);
    case FIELD_INT:
        return take_int(d, field->json, at);
    case FIELD_TEXTS:
        return take_texts(d, field->json, at);
    case FIELD_MAP:
        return take_map(d, field->json, at);
    case FIELD_ATTRIBUTES:
        return take_attributes(d, field->json, at);
    case FIELD_ENTRIES:
        return take_entries(d, at);
    }
    return SQS_OK;
}

static const struct request_field *find(const struct request_field *fields, struct span name)
{
    if (name.len == 0)
        return NULL;
    for (; fields->json != NULL; fields++)
        if (fields->json[0] == name.data[0] && span_is(name, fields->json))
            return fields;
    return NULL;
}

static enum sqs_code take_entries(struct decoder *d, struct entry_list *list)
{
    bool first = true;
    if (!scan_array_begin(&d->s))
        return wrong(d, "Entries", "an array of objects");
    while (scan_array_next(&d->s, &first)) {
        struct request_entry *entry = entry_item(d->r->arena, list, 0);
        struct span key;
        bool first_field = true;
        if (entry == NULL)
            return too_many(d, "Entries");
        if (!scan_object_begin(&d->s))
            return wrong(d, "Entries", "an array of objects");
        while (scan_object_next(&d->s, &first_field, &key)) {
            const struct request_field *field = find(entry_fields, key);
            if (field == NULL)
                scan_skip(&d->s);
            else if (take_field(d, field, entry) != SQS_OK)
                return d->f->code;
        }
    }
    return d->s.bad ? wrong(d, "Entries", "an array of objects") : SQS_OK;
}

enum sqs_code request_from_json(struct span body, struct sqs_request *r, struct fault *f)
{
    struct decoder d = {.r = r, .f = f};
    struct span key;
    bool first = true;
    f->code = SQS_OK;
    if (body.len == 0) // some clients send no body where there are no parameters
        return SQS_OK;
    if (!utf8_valid(body))
        return fault(f, SQS_MALFORMED, "The request's body is not valid UTF-8.");
    scan_init(&d.s, body, r->arena, REQUEST_JSON_DEPTH_MAX);
    if (!scan_object_begin(&d.s))
        return fault(f, SQS_MALFORMED, "The request's body must be a JSON object.");
    while (scan_object_next(&d.s, &first, &key)) {
        const struct request_field *field = find(request_fields, key);
        void *base = r;
        if (field == NULL) {
            field = find(entry_fields, key);
            base = &r->single;
        }
        if (field == NULL)
            scan_skip(&d.s);
        else if (take_field(&d, field, base) != SQS_OK)
            return f->code;
    }
    if (!scan_end(&d.s))
        return fault(f, SQS_MALFORMED, "The request's body is not valid JSON.");
    return SQS_OK;
}
