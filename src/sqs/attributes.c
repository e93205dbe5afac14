#include "sqs/attributes.h"

#include "base/check.h"
#include "base/text.h"
#include "sqs/policy.h"

#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct queue_attributes, field)
#define INT(name, field, min, max, fallback)                                                       \
    {                                                                                              \
        name, ATTRIBUTE_INT, AT(field), min, max, fallback, {0}, false                             \
    }
#define CHOICE(name, field, zero, one, fallback, fifo_only)                                        \
    {                                                                                              \
        name, ATTRIBUTE_CHOICE, AT(field), 0, 1, fallback, {zero, one}, fifo_only                  \
    }
#define TEXT(name, field)                                                                          \
    {                                                                                              \
        name, ATTRIBUTE_TEXT, AT(field), 0, POLICY_BYTES_MAX, 0, {0}, false                        \
    }

const struct attribute_spec attribute_specs[] = {
    INT("VisibilityTimeout", visibility_s, 0, SQS_VISIBILITY_S_MAX, 30),
    INT("DelaySeconds", delay_s, 0, 900, 0),
    INT("MaximumMessageSize", max_message_bytes, 1024, SQS_MESSAGE_BYTES_MAX,
        SQS_MESSAGE_BYTES_MAX),
    INT("MessageRetentionPeriod", retention_s, 60, 1209600, 345600),
    INT("ReceiveMessageWaitTimeSeconds", wait_s, 0, SQS_WAIT_S_MAX, 0),
    TEXT("Policy", policy),
    TEXT("RedrivePolicy", redrive_policy),
    TEXT("RedriveAllowPolicy", redrive_allow),
    TEXT("KmsMasterKeyId", kms_key),
    INT("KmsDataKeyReusePeriodSeconds", kms_reuse_s, 60, 86400, 300),
    CHOICE("SqsManagedSseEnabled", sse, "false", "true", 1, false),
    CHOICE("FifoQueue", fifo, "false", "true", 0, true),
    CHOICE("ContentBasedDeduplication", content_dedup, "false", "true", 0, true),
    CHOICE("DeduplicationScope", dedup_per_group, "queue", "messageGroup", 0, true),
    CHOICE("FifoThroughputLimit", limit_per_group, "perQueue", "perMessageGroupId", 0, true),
    {0},
};

const struct attribute_spec *attribute_find(struct span name)
{
    for (const struct attribute_spec *spec = attribute_specs; spec->name != NULL; spec++)
        if (span_is(name, spec->name))
            return spec;
    return NULL;
}

static int *int_of(const struct queue_attributes *a, const struct attribute_spec *spec)
{
    return (int *)((uintptr_t)a + spec->offset);
}

static char **text_of(const struct queue_attributes *a, const struct attribute_spec *spec)
{
    return (char **)((uintptr_t)a + spec->offset);
}

void attributes_init(struct queue_attributes *a, bool fifo)
{
    *a = (struct queue_attributes){0};
    for (const struct attribute_spec *spec = attribute_specs; spec->name != NULL; spec++)
        if (spec->kind != ATTRIBUTE_TEXT)
            *int_of(a, spec) = spec->fallback;
    a->fifo = fifo;
}

void attributes_release(struct queue_attributes *a)
{
    for (const struct attribute_spec *spec = attribute_specs; spec->name != NULL; spec++)
        if (spec->kind == ATTRIBUTE_TEXT)
            free(*text_of(a, spec));
    *a = (struct queue_attributes){0};
}

void attributes_copy(struct queue_attributes *to, const struct queue_attributes *from)
{
    *to = *from;
    for (const struct attribute_spec *spec = attribute_specs; spec->name != NULL; spec++)
        if (spec->kind == ATTRIBUTE_TEXT && *text_of(from, spec) != NULL) {
            *text_of(to, spec) = strdup(*text_of(from, spec));
            CHECK(*text_of(to, spec) != NULL);
        }
}

bool arn_queue_name(struct span arn, struct span *name)
{
    struct span rest = arn;
    struct span parts[5];
    for (int i = 0; i < 5; i++)
        parts[i] = span_cut(rest, ':', &rest);
    *name = rest;
    return span_is(parts[0], "arn") && span_starts(parts[1], "aws") && span_is(parts[2], "sqs") &&
           rest.len >= 1 && rest.len <= QUEUE_NAME_MAX && memchr(rest.data, ':', rest.len) == NULL;
}

static enum sqs_code redrive_fault(struct fault *f, struct span value, const char *reason)
{
    return fault_value(f, value, "RedrivePolicy", reason);
}

// {"deadLetterTargetArn": ARN, "maxReceiveCount": 3 | "3"}; kept in this order, the count as a
// number.
static enum sqs_code set_redrive(struct queue_attributes *a, struct span value, struct fault *f)
{
    json_error_t why;
    json_t *root = json_loadb(value.data, value.len, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(root)) {
        json_decref(root);
        return redrive_fault(f, value, "Redrive policy is not a valid JSON map.");
    }
    const char *arn = json_string_value(json_object_get(root, "deadLetterTargetArn"));
    const json_t *count_value = json_object_get(root, "maxReceiveCount");
    struct span name = {0};
    uint64_t count = 0;
    enum sqs_code code = SQS_OK;
    if (arn == NULL || !arn_queue_name(span_from(arn), &name)) {
        code = redrive_fault(f, value,
                             arn == NULL ? "Redrive policy does not contain mandatory attribute: "
                                           "deadLetterTargetArn."
                                         : "Invalid value for deadLetterTargetArn.");
    } else if (count_value == NULL) {
        code = redrive_fault(f, value,
                             "Redrive policy does not contain mandatory attribute: "
                             "maxReceiveCount.");
    } else if (json_is_integer(count_value)) {
        json_int_t n = json_integer_value(count_value);
        count = n > 0 && n <= SQS_RECEIVE_COUNT_MAX ? (uint64_t)n : 0;
    } else if (json_is_string(count_value)) {
        (void)span_to_u64(span_from(json_string_value(count_value)), SQS_RECEIVE_COUNT_MAX, &count);
    }
    if (code == SQS_OK && count == 0) {
        char *shown = json_dumps(count_value, JSON_ENCODE_ANY);
        char reason[160];
        const char *digits = json_is_string(count_value) ? json_string_value(count_value) : shown;
        snprintf(reason, sizeof reason,
                 "Invalid value for maxReceiveCount: %.40s, valid values are from 1 to 1000 both "
                 "inclusive.",
                 digits != NULL ? digits : "");
        free(shown);
        code = redrive_fault(f, value, reason);
    }
    if (code == SQS_OK) {
        json_t *kept = json_pack("{s:s,s:I}", "deadLetterTargetArn", arn, "maxReceiveCount",
                                 (json_int_t)count);
        free(a->redrive_policy);
        a->redrive_policy = json_dumps(kept, JSON_COMPACT | JSON_ENSURE_ASCII);
        json_decref(kept);
        CHECK(a->redrive_policy != NULL);
        snprintf(a->dead_letter_queue, sizeof a->dead_letter_queue, "%.*s", (int)name.len,
                 name.data);
        a->max_receive_count = (int)count;
    }
    json_decref(root);
    return code;
}

static enum sqs_code check_redrive_allow(struct span value, struct fault *f)
{
    json_error_t why;
    json_t *root = json_loadb(value.data, value.len, JSON_REJECT_DUPLICATES, &why);
    const char *permission = json_string_value(json_object_get(root, "redrivePermission"));
    const json_t *sources = json_object_get(root, "sourceQueueArns");
    const char *reason = NULL;
    bool by_queue = permission != NULL && strcmp(permission, "byQueue") == 0;
    size_t i;
    const json_t *source;
    struct span name;
    if (permission == NULL ||
        (!by_queue && strcmp(permission, "allowAll") != 0 && strcmp(permission, "denyAll") != 0))
        reason = "Invalid value for redrivePermission.";
    else if (by_queue && (!json_is_array(sources) || json_array_size(sources) == 0 ||
                          json_array_size(sources) > REDRIVE_SOURCES_MAX))
        reason = "sourceQueueArns must hold 1 to 10 ARNs with redrivePermission byQueue.";
    else if (!by_queue && sources != NULL)
        reason = "sourceQueueArns is only allowed with redrivePermission byQueue.";
    json_array_foreach(sources, i,
                       source) if (reason == NULL &&
                                   (!json_is_string(source) ||
                                    !arn_queue_name(span_from(json_string_value(source)), &name)))
        reason = "sourceQueueArns holds what is not the ARN of a queue.";
    json_decref(root);
    return reason == NULL ? SQS_OK : fault_value(f, value, "RedriveAllowPolicy", reason);
}

static enum sqs_code set_text(struct queue_attributes *a, const struct attribute_spec *spec,
                              struct span value, struct fault *f)
{
    char **text = text_of(a, spec);
    bool is_redrive = spec->offset == AT(redrive_policy);
    if (value.len == 0) { // removes it
        free(*text);
        *text = NULL;
        if (is_redrive) {
            a->dead_letter_queue[0] = '\0';
            a->max_receive_count = 0;
        }
        return SQS_OK;
    }
    if (value.len > POLICY_BYTES_MAX || !utf8_xml_valid(value))
        return fault(f, SQS_INVALID_ATTRIBUTE_VALUE, "Invalid value for the parameter %s.",
                     spec->name);
    enum sqs_code code = SQS_OK;
    if (is_redrive)
        return set_redrive(a, value, f);
    if (spec->offset == AT(policy))
        code = policy_parse(value, NULL, f);
    else if (spec->offset == AT(redrive_allow))
        code = check_redrive_allow(value, f);
    if (code != SQS_OK)
        return code;
    free(*text);
    *text = strndup(value.data, value.len);
    CHECK(*text != NULL);
    return SQS_OK;
}

enum sqs_code attribute_set(struct queue_attributes *a, const struct attribute_spec *spec,
                            struct span value, struct fault *f)
{
    uint64_t number = 0;
    if (spec->kind == ATTRIBUTE_TEXT)
        return set_text(a, spec, value, f);
    if (spec->kind == ATTRIBUTE_INT) {
        if (!span_to_u64(value, (uint64_t)spec->max, &number) || number < (uint64_t)spec->min)
            return fault(f, SQS_INVALID_ATTRIBUTE_VALUE, "Invalid value for the parameter %s.",
                         spec->name);
        *int_of(a, spec) = (int)number;
        return SQS_OK;
    }
    for (int i = 0; i < 2; i++)
        if (span_is_nocase(value, spec->choices[i])) {
            *int_of(a, spec) = i;
            return SQS_OK;
        }
    return fault(f, SQS_INVALID_ATTRIBUTE_VALUE, "Invalid value for the parameter %s.", spec->name);
}

enum sqs_code attribute_restore(struct queue_attributes *a, const struct attribute_spec *spec,
                                struct span value, struct fault *f)
{
    if (spec->offset == AT(redrive_policy))
        return set_redrive(a, value, f);
    if (spec->kind != ATTRIBUTE_TEXT)
        return attribute_set(a, spec, value, f);
    free(*text_of(a, spec));
    *text_of(a, spec) = strndup(value.data, value.len);
    CHECK(*text_of(a, spec) != NULL);
    return SQS_OK;
}

enum sqs_code attributes_check(const struct queue_attributes *a, struct fault *f)
{
    if (a->limit_per_group && !a->dedup_per_group)
        return fault(f, SQS_INVALID_ATTRIBUTE_VALUE,
                     "Invalid value for the parameter FifoThroughputLimit. Reason: "
                     "perMessageGroupId is only allowed when DeduplicationScope is messageGroup.");
    return SQS_OK;
}

bool attribute_get(const struct queue_attributes *a, const struct attribute_spec *spec,
                   struct buf *out)
{
    if (spec->kind == ATTRIBUTE_TEXT) {
        const char *text = *text_of(a, spec);
        if (text != NULL)
            buf_add_text(out, text);
        return text != NULL;
    }
    int value = *int_of(a, spec);
    if (spec->fifo_only && !a->fifo)
        return false;
    if (spec->offset == AT(kms_reuse_s) && value == spec->fallback && a->kms_key == NULL)
        return false;
    if (spec->kind == ATTRIBUTE_CHOICE)
        buf_add_text(out, spec->choices[value]);
    else
        buf_printf(out, "%d", value);
    return true;
}

bool attribute_is_same(const struct queue_attributes *a, const struct queue_attributes *b,
                       const struct attribute_spec *spec)
{
    AUTO_BUF struct buf x = {0}, y = {0};
    attribute_get(a, spec, &x);
    attribute_get(b, spec, &y);
    if (span_equal(buf_view(&x), buf_view(&y)))
        return true;
    if (spec->kind != ATTRIBUTE_TEXT)
        return false;
    json_t *one = json_loadb(x.data, x.len, 0, NULL), *other = json_loadb(y.data, y.len, 0, NULL);
    bool same = json_equal(one, other); // false if one is no JSON
    json_decref(one);
    json_decref(other);
    return same;
}
