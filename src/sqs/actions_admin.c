// Tags, permissions, and which queues use a dead-letter queue.
#include "base/check.h"
#include "sqs/call.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- tags ---

static struct named_value *find_tag(const struct named_list *l, struct span key)
{
    for (size_t i = 0; i < l->count; i++)
        if (span_equal(l->items[i].name, key))
            return &l->items[i];
    return NULL;
}

static enum sqs_code replace_tags(struct sqs_call *c, const struct named_list *all)
{
    struct tag *tags = NULL;
    size_t count = 0;
    uint64_t wait_for = 0;
    if (all->count > QUEUE_TAGS_MAX)
        return fault(&c->fault, SQS_INVALID_PARAMETER,
                     "Too many tags added for queue: %zu, the limit is %d.", all->count,
                     QUEUE_TAGS_MAX);
    call_make_tags(all, &tags, &count);
    enum sqs_code code = queue_set_tags(c->queues, c->queue, tags, count, &wait_for, &c->fault);
    if (code != SQS_OK)
        tags_free(tags, count);
    call_wait_for(c, wait_for);
    return code;
}

// The queue's tags as a list that can be changed; the texts are views.
static void present_tags(struct sqs_call *c, struct named_list *out)
{
    struct queue_info info;
    queue_info(c->queues, c->queue, &info);
    for (size_t i = 0; i < info.tag_count; i++) {
        struct named_value *item = named_item(c->arena, out, 0);
        item->name = arena_copy_span(c->arena, span_from(info.tags[i].key));
        item->value = arena_copy_span(c->arena, span_from(info.tags[i].value));
    }
}

enum sqs_code action_tag(struct sqs_call *c)
{
    struct named_list all = {0};
    enum sqs_code code = call_queue(c);
    if (code != SQS_OK)
        return code;
    if (c->in.tags.count == 0)
        return fault_missing(&c->fault, c->json ? "Tags" : "Tag.1.Key");
    code = call_check_tags(c, &c->in.tags);
    if (code != SQS_OK)
        return code;
    present_tags(c, &all);
    for (size_t i = 0; i < c->in.tags.count; i++) {
        const struct named_value *given = &c->in.tags.items[i];
        struct named_value *item = find_tag(&all, given->name);
        if (item == NULL)
            item = named_item(c->arena, &all, 0);
        if (item == NULL)
            break; // far over the limit: refused below
        item->name = given->name;
        item->value = given->value;
    }
    return replace_tags(c, &all);
}

enum sqs_code action_untag(struct sqs_call *c)
{
    struct named_list all = {0}, left = {0};
    enum sqs_code code = call_queue(c);
    if (code != SQS_OK)
        return code;
    if (c->in.tag_keys.count == 0)
        return fault_missing(&c->fault, c->json ? "TagKeys" : "TagKey.1");
    present_tags(c, &all);
    for (size_t i = 0; i < all.count; i++) {
        bool gone = false;
        for (size_t k = 0; k < c->in.tag_keys.count; k++)
            gone = gone || span_equal(all.items[i].name, c->in.tag_keys.items[k].text);
        if (!gone) {
            struct named_value *item = named_item(c->arena, &left, 0);
            item->name = all.items[i].name;
            item->value = all.items[i].value;
        }
    }
    return replace_tags(c, &left);
}

enum sqs_code action_list_tags(struct sqs_call *c)
{
    struct queue_info info;
    enum sqs_code code = call_queue(c);
    if (code != SQS_OK)
        return code;
    queue_info(c->queues, c->queue, &info);
    if (info.tag_count == 0)
        return SQS_OK;
    reply_map_begin(&c->out, "Tags");
    for (size_t i = 0; i < info.tag_count; i++)
        reply_map_entry(&c->out, "Tag", "Key", span_from(info.tags[i].key),
                        span_from(info.tags[i].value));
    reply_map_end(&c->out);
    return SQS_OK;
}

// --- permissions: statements of the queue's policy ---

static const char *const permitted[] = {"*",
                                        "SendMessage",
                                        "ReceiveMessage",
                                        "DeleteMessage",
                                        "GetQueueUrl",
                                        "ChangeMessageVisibility",
                                        "GetQueueAttributes",
                                        "PurgeQueue",
                                        "ListDeadLetterSourceQueues",
                                        "DeleteQueue",
                                        "SetQueueAttributes",
                                        NULL};

enum { ACTIONS_PER_STATEMENT = 7 };

static bool is_permitted(struct span action)
{
    for (int i = 0; permitted[i] != NULL; i++)
        if (span_is(action, permitted[i]))
            return true;
    return false;
}

static json_t *load_policy(struct sqs_call *c, const struct queue_info *info)
{
    if (info->attributes->policy != NULL)
        return json_loads(info->attributes->policy, 0, NULL);
    AUTO_BUF struct buf id = {0};
    call_queue_arn(c, info->name, &id);
    buf_add_text(&id, "/SQSDefaultPolicy");
    return json_pack("{s:s,s:s,s:[]}", "Version", "2008-10-17", "Id", id.data, "Statement");
}

// The policy's statements as a list; a single one is made one of a list.
static json_t *statement_list(json_t *policy)
{
    json_t *statements = json_object_get(policy, "Statement");
    if (json_is_object(statements)) {
        json_object_set_new(policy, "Statement", json_pack("[O]", statements));
        statements = json_object_get(policy, "Statement");
    }
    return statements;
}

static int find_statement(json_t *statements, struct span label)
{
    for (size_t i = 0; i < json_array_size(statements); i++) {
        const char *sid = json_string_value(json_object_get(json_array_get(statements, i), "Sid"));
        if (sid != NULL && span_is(label, sid))
            return (int)i;
    }
    return -1;
}

// One is a scalar, several are an array.
static json_t *scalar_or_array(const struct text_list *l, const char *before, const char *after)
{
    json_t *array = json_array();
    AUTO_BUF struct buf text = {0};
    for (size_t i = 0; i < l->count; i++) {
        buf_clear(&text);
        buf_add_text(&text, before);
        buf_add_span(&text, l->items[i].text);
        buf_add_text(&text, after);
        json_array_append_new(array, json_stringn(text.data, text.len));
    }
    if (l->count != 1)
        return array;
    json_t *only = json_incref(json_array_get(array, 0));
    json_decref(array);
    return only;
}

static enum sqs_code check_permission(struct sqs_call *c)
{
    struct fault *f = &c->fault;
    if (c->in.label.len == 0)
        return fault_missing(f, "Label");
    if (c->in.account_ids.count == 0)
        return fault_missing(f, c->json ? "AWSAccountIds" : "AWSAccountId.1");
    if (c->in.actions.count == 0)
        return fault_missing(f, c->json ? "Actions" : "ActionName.1");
    if (c->in.label.len > 80 || !call_is_name(c->in.label))
        return fault_value(f, c->in.label, "Label",
                           "Can only include alphanumeric characters, hyphens, or underscores. 1 "
                           "to 80 in length");
    for (size_t i = 0; i < c->in.account_ids.count; i++) {
        uint64_t number;
        struct span id = c->in.account_ids.items[i].text;
        if (id.len != 12 || !span_to_u64(id, 999999999999u, &number))
            return fault_value(f, id, "PrincipalId", "Unable to verify.");
    }
    for (size_t i = 0; i < c->in.actions.count; i++) {
        struct span action = c->in.actions.items[i].text;
        if (!is_permitted(action))
            return fault_value(
                f, span_from(arena_printf(c->arena, "SQS:%.*s", (int)action.len, action.data)),
                "ActionName", "Please refer to the appropriate WSDL for a list of valid actions. ");
    }
    if (c->in.actions.count > ACTIONS_PER_STATEMENT)
        return fault(f, SQS_OVER_LIMIT, "%zu Actions were found, maximum allowed is %d.",
                     c->in.actions.count, ACTIONS_PER_STATEMENT);
    return SQS_OK;
}

static enum sqs_code store_policy(struct sqs_call *c, json_t *policy)
{
    char *text = policy != NULL ? json_dumps(policy, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    struct named_list change = {0};
    struct named_value *item = named_item(c->arena, &change, 0);
    item->name = SPAN("Policy");
    item->value = text != NULL ? arena_copy_span(c->arena, span_from(text)) : SPAN("");
    free(text);
    return call_set_attributes(c, &change);
}

enum sqs_code action_add_permission(struct sqs_call *c)
{
    struct queue_info info;
    AUTO_BUF struct buf arn = {0};
    enum sqs_code code = call_queue(c);
    if (code == SQS_OK)
        code = check_permission(c);
    if (code != SQS_OK)
        return code;
    queue_info(c->queues, c->queue, &info);
    json_t *policy = load_policy(c, &info), *statements = statement_list(policy);
    if (!json_is_array(statements)) {
        json_decref(policy);
        return fault(&c->fault, SQS_INVALID_PARAMETER,
                     "The queue's Policy has no list of statements to add one to.");
    }
    if (find_statement(statements, c->in.label) >= 0) {
        json_decref(policy);
        return fault_value(&c->fault, c->in.label, "Label", "Already exists.");
    }
    call_queue_arn(c, info.name, &arn);
    json_array_append_new(statements,
                          json_pack("{s:s%,s:s,s:{s:o},s:o,s:s}", "Sid", c->in.label.data,
                                    c->in.label.len, "Effect", "Allow", "Principal", "AWS",
                                    scalar_or_array(&c->in.account_ids, "arn:aws:iam::", ":root"),
                                    "Action", scalar_or_array(&c->in.actions, "SQS:", ""),
                                    "Resource", arn.data));
    code = store_policy(c, policy);
    json_decref(policy);
    return code;
}

enum sqs_code action_remove_permission(struct sqs_call *c)
{
    struct queue_info info;
    enum sqs_code code = call_queue(c);
    if (code != SQS_OK)
        return code;
    if (c->in.label.len == 0)
        return fault_missing(&c->fault, "Label");
    queue_info(c->queues, c->queue, &info);
    json_t *policy = load_policy(c, &info), *statements = statement_list(policy);
    int at = find_statement(statements, c->in.label);
    if (at < 0) {
        json_decref(policy);
        return fault_value(&c->fault, c->in.label, "Label", "can't find label.");
    }
    json_array_remove(statements, (size_t)at);
    code = store_policy(c, json_array_size(statements) > 0 ? policy : NULL);
    json_decref(policy);
    return code;
}

// --- ListDeadLetterSourceQueues ---

static bool uses(void *ctx, const struct queue_info *info)
{
    return strcmp(info->attributes->dead_letter_queue, ctx) == 0;
}

enum sqs_code action_list_sources(struct sqs_call *c)
{
    struct queue_info info;
    enum sqs_code code = call_queue(c);
    if (code != SQS_OK)
        return code;
    queue_info(c->queues, c->queue, &info);
    return call_page(c, "queueUrls", uses, arena_copy(c->arena, span_from(info.name)), true);
}
