// The table of actions, and those on queues.
#include "base/check.h"
#include "base/digest.h"
#include "base/text.h"
#include "sqs/call.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static action_fn *const table[ACTION_COUNT] = {
    [ACTION_CREATE_QUEUE] = action_create_queue,
    [ACTION_DELETE_QUEUE] = action_delete_queue,
    [ACTION_GET_URL] = action_get_url,
    [ACTION_LIST_QUEUES] = action_list_queues,
    [ACTION_GET_ATTRIBUTES] = action_get_attributes,
    [ACTION_SET_ATTRIBUTES] = action_set_attributes,
    [ACTION_PURGE] = action_purge,
    [ACTION_PEEK] = action_peek,
    [ACTION_SEND] = action_send,
    [ACTION_SEND_BATCH] = action_send_batch,
    [ACTION_RECEIVE] = action_receive,
    [ACTION_DELETE_MESSAGE] = action_delete_message,
    [ACTION_DELETE_MESSAGE_BATCH] = action_delete_message_batch,
    [ACTION_CHANGE_VISIBILITY] = action_change_visibility,
    [ACTION_CHANGE_VISIBILITY_BATCH] = action_change_visibility_batch,
    [ACTION_TAG] = action_tag,
    [ACTION_UNTAG] = action_untag,
    [ACTION_LIST_TAGS] = action_list_tags,
    [ACTION_ADD_PERMISSION] = action_add_permission,
    [ACTION_REMOVE_PERMISSION] = action_remove_permission,
    [ACTION_LIST_SOURCES] = action_list_sources,
    [ACTION_START_MOVE_TASK] = action_start_move_task,
    [ACTION_CANCEL_MOVE_TASK] = action_cancel_move_task,
    [ACTION_LIST_MOVE_TASKS] = action_list_move_tasks,
};

enum sqs_code sqs_call_run(struct sqs_call *c)
{
    action_fn *fn = table[c->in.action];
    CHECK(fn != NULL);
    c->out.wrapped = c->accept_json;
    reply_begin(&c->out, c->json || c->accept_json, c->in.action);
    c->fault.code = SQS_OK;
    enum sqs_code code = call_authorize_account(c);
    return code == SQS_OK ? fn(c) : code;
}

void sqs_call_end(struct sqs_call *c, const char *request_id)
{
    if (c->rest != NULL)
        c->rest(c);
    c->rest = NULL;
    reply_end(&c->out, request_id);
}

// --- shared ---

void call_wait_for(struct sqs_call *c, uint64_t sequence)
{
    if (sequence > c->wait_for)
        c->wait_for = sequence;
}

static void call_queue_url(struct sqs_call *c, const char *name, struct buf *out)
{
    buf_add_text(out, "http://");
    buf_add_span(out, c->host);
    buf_printf(out, "/" SQS_ACCOUNT "/%s", name);
}

void call_queue_arn(struct sqs_call *c, const char *name, struct buf *out)
{
    buf_printf(out, "arn:aws:sqs:%s:" SQS_ACCOUNT ":%s", c->region, name);
}

static enum sqs_code no_such_queue(struct sqs_call *c)
{
    return fault(&c->fault, SQS_QUEUE_DOES_NOT_EXIST,
                 c->json ? "The specified queue does not exist."
                         : "The specified queue does not exist for this wsdl version.");
}

enum sqs_code call_queue(struct sqs_call *c)
{
    struct span name = c->in.queue_url;
    if (name.len == 0)
        name = c->path_queue;
    if (name.len == 0)
        return fault_missing(&c->fault, "QueueUrl");
    for (size_t i = name.len; i > 0; i--) // a URL ends with the name, and a bare name will do
        if (name.data[i - 1] == '/') {
            name = (struct span){name.data + i, name.len - i};
            break;
        }
    c->queue = queue_find(c->queues, name);
    return c->queue != NULL ? call_authorize(c, c->queue) : no_such_queue(c);
}

// --- names and attributes ---

bool call_is_name(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char ch = name.data[i];
        if (!((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
              ch == '-' || ch == '_'))
            return false;
    }
    return name.len > 0;
}

static enum sqs_code check_queue_name(struct sqs_call *c, struct span name, bool fifo)
{
    struct span stem = name;
    bool suffix = name.len > 5 && memcmp(name.data + name.len - 5, ".fifo", 5) == 0;
    if (suffix)
        stem.len -= 5;
    if (fifo && (!suffix || name.len > QUEUE_NAME_MAX || !call_is_name(stem)))
        return fault(
            &c->fault, SQS_INVALID_PARAMETER,
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or "
            "underscores, must end with .fifo suffix and be 1 to 80 in length");
    if (!fifo && (name.len > QUEUE_NAME_MAX || !call_is_name(name)))
        return fault(
            &c->fault, SQS_INVALID_PARAMETER,
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in "
            "length");
    return SQS_OK;
}

static enum sqs_code unknown_attribute(struct sqs_call *c, struct span name)
{
    return fault(&c->fault, SQS_INVALID_ATTRIBUTE_NAME, "Unknown Attribute %.*s.",
                 (int)(name.len < 200 ? name.len : 200), name.len > 0 ? name.data : "");
}

static bool is_text(const struct named_value *item, const char *name)
{
    return span_is(item->name, name) && item->value.len > 0;
}

// Sets the attributes given in *a, which holds defaults or the present ones.
static enum sqs_code set_attributes(struct sqs_call *c, const struct named_list *given,
                                    struct queue_attributes *a, bool creating)
{
    bool kms = false, sse = false;
    for (size_t i = 0; i < given->count; i++) {
        const struct named_value *item = &given->items[i];
        const struct attribute_spec *spec = attribute_find(item->name);
        if (spec == NULL)
            return unknown_attribute(c, item->name);
        if (spec->fifo_only && !a->fifo) {
            if (span_is(item->name, "DeduplicationScope") ||
                span_is(item->name, "FifoThroughputLimit"))
                return fault(&c->fault, SQS_INVALID_ATTRIBUTE_NAME,
                             "You can specify the %s only when FifoQueue is set to true.",
                             spec->name);
            return unknown_attribute(c, item->name);
        }
        if (span_is(item->name, "FifoQueue") && !span_is_nocase(item->value, "true"))
            return creating ? unknown_attribute(c, item->name)
                            : fault(&c->fault, SQS_INVALID_ATTRIBUTE_VALUE,
                                    "Invalid value for the parameter FifoQueue. Reason: Modifying "
                                    "queue type is not supported.");
        enum sqs_code code = attribute_set(a, spec, item->value, &c->fault);
        if (code != SQS_OK)
            return code;
        kms = kms || is_text(item, "KmsMasterKeyId");
        sse = sse || (span_is(item->name, "SqsManagedSseEnabled") && a->sse);
    }
    if (sse && a->kms_key != NULL)
        return fault(
            &c->fault, SQS_INVALID_ATTRIBUTE_NAME,
            "You can use one type of server-side encryption (SSE) at one time. You can either "
            "enable KMS SSE or SQS SSE.");
    if (kms)
        a->sse = 0;
    return attributes_check(a, &c->fault);
}

// Whether a dead-letter queue's RedriveAllowPolicy (checked when it was set) lets this queue use
// it.
static bool redrive_allowed(const char *policy, struct span source)
{
    json_t *root = policy != NULL ? json_loads(policy, 0, NULL) : NULL;
    if (root == NULL)
        return true;
    const char *permission = json_string_value(json_object_get(root, "redrivePermission"));
    bool allowed = permission != NULL && strcmp(permission, "allowAll") == 0;
    if (permission != NULL && strcmp(permission, "byQueue") == 0) {
        const json_t *arns = json_object_get(root, "sourceQueueArns"), *arn;
        size_t i;
        json_array_foreach(arns, i, arn)
        {
            struct span name;
            allowed = allowed || (json_is_string(arn) &&
                                  arn_queue_name(span_from(json_string_value(arn)), &name) &&
                                  span_equal(name, source));
        }
    }
    json_decref(root);
    return allowed;
}

// The dead-letter queue named must be there, of the same type, and another queue.
static enum sqs_code check_dead_letter_queue(struct sqs_call *c, const struct queue_attributes *a,
                                             struct span own_name)
{
    if (a->dead_letter_queue[0] == '\0')
        return SQS_OK;
    struct span value = span_from(a->redrive_policy), name = span_from(a->dead_letter_queue);
    struct queue *target = queue_find(c->queues, name);
    struct queue_info info;
    if (target == NULL && !span_equal(name, own_name))
        return fault_value(&c->fault, value, "RedrivePolicy", "Dead letter target does not exist.");
    if (target == NULL)
        return SQS_OK;
    queue_info(c->queues, target, &info);
    if (!redrive_allowed(info.attributes->redrive_allow, own_name))
        return fault_value(&c->fault, value, "RedrivePolicy",
                           "The RedriveAllowPolicy of the dead-letter queue does not allow this "
                           "source queue.");
    if (info.attributes->fifo != a->fifo)
        return fault_value(&c->fault, value, "RedrivePolicy",
                           a->fifo ? "Dead-letter queue must be same type of queue as the source. "
                                     "The target of a FIFO queue must be a FIFO queue."
                                   : "Dead-letter queue must be same type of queue as the source. "
                                     "The target of a standard queue must be a standard queue.");
    return SQS_OK;
}

// --- CreateQueue ---

static enum sqs_code existing_queue(struct sqs_call *c, struct queue *q)
{
    struct queue_info info;
    struct queue_attributes wanted;
    queue_info(c->queues, q, &info);
    attributes_copy(&wanted, info.attributes);
    enum sqs_code code = set_attributes(c, &c->in.attributes, &wanted, true);
    for (size_t i = 0; code == SQS_OK && i < c->in.attributes.count; i++) {
        const struct attribute_spec *spec = attribute_find(c->in.attributes.items[i].name);
        if (!attribute_is_same(info.attributes, &wanted, spec))
            code = fault(&c->fault, SQS_QUEUE_NAME_EXISTS,
                         "A queue already exists with the same name and a different value for "
                         "attribute %s",
                         spec->name);
    }
    attributes_release(&wanted);
    return code;
}

enum sqs_code call_check_tags(struct sqs_call *c, const struct named_list *given)
{
    static const char reserved[] = "aws:";
    for (size_t i = 0; i < given->count; i++) {
        struct span key = given->items[i].name, value = given->items[i].value;
        if (key.len == 0 || utf8_length(key) > TAG_KEY_MAX || utf8_length(value) > TAG_VALUE_MAX)
            return fault(&c->fault, SQS_INVALID_PARAMETER,
                         "Tag keys must be between 1 and 128 characters in length, tag values at "
                         "most 256.");
        if (!utf8_xml_valid(key) || !utf8_xml_valid(value))
            return fault(&c->fault, SQS_INVALID_PARAMETER,
                         "Tag keys and values cannot have control characters.");
        struct span start = {key.data, key.len < 4 ? key.len : 4};
        if (span_is_nocase(start, reserved))
            return fault(&c->fault, SQS_INVALID_PARAMETER,
                         "Tag keys that begin with aws: are reserved for the service's own use.");
    }
    return SQS_OK;
}

void call_make_tags(const struct named_list *from, struct tag **tags, size_t *count)
{
    *tags = calloc(from->count + 1, sizeof **tags);
    CHECK(*tags != NULL);
    for (size_t i = 0; i < from->count; i++) {
        struct span key = from->items[i].name, value = from->items[i].value;
        (*tags)[i].key = strndup(key.data, key.len);
        (*tags)[i].value = value.len > 0 ? strndup(value.data, value.len) : strdup("");
        CHECK((*tags)[i].key != NULL && (*tags)[i].value != NULL);
    }
    *count = from->count;
}

static enum sqs_code new_queue(struct sqs_call *c, bool fifo)
{
    struct queue_attributes a;
    struct tag *tags = NULL;
    size_t tag_count = 0;
    uint64_t wait_for = 0;
    attributes_init(&a, fifo);
    enum sqs_code code = set_attributes(c, &c->in.attributes, &a, true);
    if (code == SQS_OK)
        code = check_dead_letter_queue(c, &a, c->in.queue_name);
    if (code == SQS_OK)
        code = call_check_tags(c, &c->in.tags);
    if (code == SQS_OK && c->in.tags.count > QUEUE_TAGS_MAX)
        code = fault(&c->fault, SQS_INVALID_PARAMETER,
                     "Too many tags added for queue: %zu, the limit is %d.", c->in.tags.count,
                     QUEUE_TAGS_MAX);
    if (code == SQS_OK) {
        call_make_tags(&c->in.tags, &tags, &tag_count);
        code = queue_create(c->queues, c->now_ms, c->in.queue_name, &a, tags, tag_count, &c->queue,
                            &wait_for, &c->fault);
    }
    if (code == SQS_OK) {
        call_wait_for(c, wait_for);
        return SQS_OK;
    }
    attributes_release(&a);
    tags_free(tags, tag_count);
    return code;
}

static void write_queue_url(struct sqs_call *c, const char *name)
{
    AUTO_BUF struct buf url = {0};
    call_queue_url(c, name, &url);
    reply_text(&c->out, "QueueUrl", buf_view(&url));
}

static enum sqs_code not_on_a_queue(struct sqs_call *c)
{
    return fault(&c->fault, SQS_INVALID_ACTION, "The action %s is not valid for this endpoint.",
                 action_name(c->in.action));
}

enum sqs_code action_create_queue(struct sqs_call *c)
{
    bool fifo = false;
    if (!c->json && c->path_queue.len > 0)
        return not_on_a_queue(c);
    if (c->in.queue_name.data == NULL)
        return fault_missing(&c->fault, "QueueName");
    for (size_t i = 0; i < c->in.attributes.count; i++) {
        const struct named_value *item = &c->in.attributes.items[i];
        if (span_is(item->name, "FifoQueue"))
            fifo = span_is_nocase(item->value, "true");
    }
    struct queue *q = queue_find(c->queues, c->in.queue_name);
    enum sqs_code code = SQS_OK;
    if (q == NULL || fifo)
        code = check_queue_name(c, c->in.queue_name, fifo);
    if (code == SQS_OK)
        code = q != NULL ? existing_queue(c, q) : new_queue(c, fifo);
    if (code != SQS_OK)
        return code;
    write_queue_url(c, arena_copy(c->arena, c->in.queue_name));
    return SQS_OK;
}

// --- the others ---

enum sqs_code action_get_url(struct sqs_call *c)
{
    if (c->in.queue_name.data == NULL)
        return fault_missing(&c->fault, "QueueName");
    struct queue *q = queue_find(c->queues, c->in.queue_name);
    if (q == NULL)
        return no_such_queue(c);
    enum sqs_code code = call_authorize(c, q);
    if (code != SQS_OK)
        return code;
    struct queue_info info;
    queue_info(c->queues, q, &info);
    write_queue_url(c, info.name);
    return SQS_OK;
}

enum sqs_code action_delete_queue(struct sqs_call *c)
{
    uint64_t wait_for = 0;
    enum sqs_code code = call_queue(c);
    if (code == SQS_OK)
        code = queue_delete(c->queues, c->queue, c->now_ms, &wait_for, &c->fault);
    c->queue = NULL;
    call_wait_for(c, wait_for);
    return code;
}

enum sqs_code action_purge(struct sqs_call *c)
{
    uint64_t wait_for = 0;
    enum sqs_code code = call_queue(c);
    if (code == SQS_OK)
        code = queue_purge(c->queues, c->queue, c->now_ms, &wait_for, &c->fault);
    call_wait_for(c, wait_for);
    return code;
}

enum { LIST_PAGE_MAX = 1000 };

struct listing {
    struct sqs_call *c;
    const char *list_name;
    bool (*wanted)(void *ctx, const struct queue_info *info);
    void *ctx;
    size_t max, count;
    struct span after; // names up to this one were on earlier pages
    bool more;
    char last[QUEUE_NAME_MAX + 1];
};

static bool is_after(const char *name, struct span after)
{
    size_t len = strlen(name), common = len < after.len ? len : after.len;
    int order = common > 0 ? memcmp(name, after.data, common) : 0;
    return order > 0 || (order == 0 && len > after.len);
}

static bool list_one(void *ctx, struct queue *q)
{
    struct listing *l = ctx;
    struct queue_info info;
    queue_info(l->c->queues, q, &info);
    if (!is_after(info.name, l->after) || (l->wanted != NULL && !l->wanted(l->ctx, &info)))
        return true;
    if (l->count == l->max) {
        l->more = true;
        return false;
    }
    if (l->count++ == 0)
        reply_list_begin(&l->c->out, l->list_name);
    AUTO_BUF struct buf url = {0};
    call_queue_url(l->c, info.name, &url);
    reply_item_text(&l->c->out, "QueueUrl", buf_view(&url));
    memcpy(l->last, info.name, strlen(info.name) + 1);
    return true;
}

enum sqs_code call_page(struct sqs_call *c, const char *list_name,
                        bool (*wanted)(void *ctx, const struct queue_info *info), void *ctx,
                        bool always)
{
    struct listing l = {
        .c = c, .list_name = list_name, .wanted = wanted, .ctx = ctx, .max = LIST_PAGE_MAX};
    AUTO_BUF struct buf after = {0}, token = {0};
    if (c->in.max_results.given) {
        if (c->in.max_results.value < 1 || c->in.max_results.value > LIST_PAGE_MAX)
            return fault(
                &c->fault, SQS_INVALID_PARAMETER,
                "Value %lld for parameter MaxResults is invalid. Reason: Must be between 1 "
                "and 1000, if provided.",
                (long long)c->in.max_results.value);
        l.max = (size_t)c->in.max_results.value;
    }
    if (c->in.next_token.len > 0) {
        if (!base64_decode(c->in.next_token, &after))
            return fault_value(&c->fault, c->in.next_token, "NextToken", "Invalid NextToken.");
        l.after = buf_view(&after);
    }
    queues_each(c->queues, c->in.prefix, list_one, &l);
    if (l.count == 0 && always)
        reply_list_begin(&c->out, list_name);
    if (l.count > 0 || always)
        reply_list_end(&c->out);
    if (l.more && c->in.max_results.given) {
        base64_encode(span_from(l.last), &token);
        reply_text(&c->out, "NextToken", buf_view(&token));
    }
    return SQS_OK;
}

enum sqs_code action_list_queues(struct sqs_call *c)
{
    if (!c->json && c->path_queue.len > 0)
        return not_on_a_queue(c);
    return call_page(c, "QueueUrls", NULL, NULL, false);
}

// --- GetQueueAttributes, SetQueueAttributes ---

static const char *const computed[] = {
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
};
enum { COMPUTED_COUNT = sizeof computed / sizeof computed[0] };

static void computed_text(struct sqs_call *c, const struct queue_info *info, int which,
                          struct buf *out)
{
    switch (which) {
    case 0:
        buf_printf(out, "%llu", (unsigned long long)info->visible);
        break;
    case 1:
        buf_printf(out, "%llu", (unsigned long long)info->in_flight);
        break;
    case 2:
        buf_printf(out, "%llu", (unsigned long long)info->delayed);
        break;
    case 3:
        buf_printf(out, "%lld", (long long)(info->created_ms / 1000));
        break;
    case 4:
        buf_printf(out, "%lld", (long long)(info->modified_ms / 1000));
        break;
    default:
        call_queue_arn(c, info->name, out);
    }
}

static bool asked(const struct text_list *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (span_is(names->items[i].text, "All") || span_is(names->items[i].text, name))
            return true;
    return false;
}

static bool is_attribute(struct span name)
{
    for (int i = 0; i < COMPUTED_COUNT; i++)
        if (span_is(name, computed[i]))
            return true;
    return span_is(name, "All") || attribute_find(name) != NULL;
}

static void write_attribute(struct sqs_call *c, bool *any, const char *name, struct span value)
{
    if (!*any)
        reply_map_begin(&c->out, "Attributes");
    *any = true;
    reply_map_entry(&c->out, "Attribute", "Name", span_from(name), value);
}

enum sqs_code action_get_attributes(struct sqs_call *c)
{
    const struct text_list *names = &c->in.attribute_names;
    struct queue_info info;
    AUTO_BUF struct buf text = {0};
    bool any = false;
    enum sqs_code code = call_queue(c);
    if (code != SQS_OK)
        return code;
    for (size_t i = 0; i < names->count; i++)
        if (!is_attribute(names->items[i].text))
            return unknown_attribute(c, names->items[i].text);
    queue_info(c->queues, c->queue, &info);
    for (int i = 0; i < COMPUTED_COUNT; i++) {
        if (!asked(names, computed[i]))
            continue;
        buf_clear(&text);
        computed_text(c, &info, i, &text);
        write_attribute(c, &any, computed[i], buf_view(&text));
    }
    for (const struct attribute_spec *spec = attribute_specs; spec->name != NULL; spec++) {
        buf_clear(&text);
        if (asked(names, spec->name) && attribute_get(info.attributes, spec, &text))
            write_attribute(c, &any, spec->name, buf_view(&text));
    }
    if (any)
        reply_map_end(&c->out);
    return SQS_OK;
}

enum sqs_code call_set_attributes(struct sqs_call *c, const struct named_list *given)
{
    struct queue_info info;
    struct queue_attributes a;
    uint64_t wait_for = 0;
    queue_info(c->queues, c->queue, &info);
    attributes_copy(&a, info.attributes);
    enum sqs_code code = set_attributes(c, given, &a, false);
    if (code == SQS_OK)
        code = check_dead_letter_queue(c, &a, span_from(info.name));
    if (code == SQS_OK)
        code = queue_set_attributes(c->queues, c->queue, c->now_ms, &a, &wait_for, &c->fault);
    if (code != SQS_OK)
        attributes_release(&a);
    call_wait_for(c, wait_for);
    return code;
}

enum sqs_code action_set_attributes(struct sqs_call *c)
{
    enum sqs_code code = call_queue(c);
    if (code != SQS_OK)
        return code;
    if (c->in.attributes.count == 0)
        return fault_missing(&c->fault, c->json ? "Attributes" : "Attribute.Name");
    return call_set_attributes(c, &c->in.attributes);
}
