#include "sqs/sqs_request.h"

#include <stddef.h>
#include <string.h>

#define AT(field) offsetof(struct sqs_request, field)
#define IN(field) offsetof(struct request_entry, field)

const struct request_field request_fields[] = {
    {"QueueUrl", "QueueUrl", FIELD_TEXT, AT(queue_url)},
    {"QueueName", "QueueName", FIELD_TEXT, AT(queue_name)},
    {"QueueNamePrefix", "QueueNamePrefix", FIELD_TEXT, AT(prefix)},
    {"QueueOwnerAWSAccountId", "QueueOwnerAWSAccountId", FIELD_TEXT, AT(owner)},
    {"NextToken", "NextToken", FIELD_TEXT, AT(next_token)},
    {"ReceiveRequestAttemptId", "ReceiveRequestAttemptId", FIELD_TEXT, AT(attempt_id)},
    {"Label", "Label", FIELD_TEXT, AT(label)},
    {"SourceArn", "SourceArn", FIELD_TEXT, AT(source_arn)},
    {"DestinationArn", "DestinationArn", FIELD_TEXT, AT(destination_arn)},
    {"TaskHandle", "TaskHandle", FIELD_TEXT, AT(task_handle)},
    {"MaxResults", "MaxResults", FIELD_INT, AT(max_results)},
    {"MaxNumberOfMessages", "MaxNumberOfMessages", FIELD_INT, AT(max_messages)},
    {"WaitTimeSeconds", "WaitTimeSeconds", FIELD_INT, AT(wait_s)},
    {"MaxNumberOfMessagesPerSecond", "MaxNumberOfMessagesPerSecond", FIELD_INT, AT(rate)},
    {"Attributes", "Attribute", FIELD_MAP, AT(attributes)},
    {"tags", "Tag", FIELD_MAP, AT(tags)},
    {"Tags", "Tags", FIELD_MAP, AT(tags)},
    {"AttributeNames", "AttributeName", FIELD_TEXTS, AT(attribute_names)},
    {"MessageAttributeNames", "MessageAttributeName", FIELD_TEXTS, AT(message_attribute_names)},
    {"MessageSystemAttributeNames", "MessageSystemAttributeName", FIELD_TEXTS,
     AT(system_attribute_names)},
    {"AWSAccountIds", "AWSAccountId", FIELD_TEXTS, AT(account_ids)},
    {"Actions", "ActionName", FIELD_TEXTS, AT(actions)},
    {"TagKeys", "TagKey", FIELD_TEXTS, AT(tag_keys)},
    {"Entries", "SendMessageBatchRequestEntry", FIELD_ENTRIES, AT(entries)},
    {"", "DeleteMessageBatchRequestEntry", FIELD_ENTRIES, AT(entries)},
    {"", "ChangeMessageVisibilityBatchRequestEntry", FIELD_ENTRIES, AT(entries)},
    {0},
};

const struct request_field entry_fields[] = {
    {"Id", "Id", FIELD_TEXT, IN(id)},
    {"MessageBody", "MessageBody", FIELD_TEXT, IN(body)},
    {"DelaySeconds", "DelaySeconds", FIELD_INT, IN(delay_s)},
    {"MessageAttributes", "MessageAttribute", FIELD_ATTRIBUTES, IN(attributes)},
    {"MessageSystemAttributes", "MessageSystemAttribute", FIELD_ATTRIBUTES, IN(system_attributes)},
    {"MessageDeduplicationId", "MessageDeduplicationId", FIELD_TEXT, IN(dedup)},
    {"MessageGroupId", "MessageGroupId", FIELD_TEXT, IN(group)},
    {"ReceiptHandle", "ReceiptHandle", FIELD_TEXT, IN(handle)},
    {"VisibilityTimeout", "VisibilityTimeout", FIELD_INT, IN(visibility_s)},
    {0},
};

static const char *const action_names[ACTION_COUNT] = {
    [ACTION_NONE] = "",
    [ACTION_ADD_PERMISSION] = "AddPermission",
    [ACTION_CANCEL_MOVE_TASK] = "CancelMessageMoveTask",
    [ACTION_CHANGE_VISIBILITY] = "ChangeMessageVisibility",
    [ACTION_CHANGE_VISIBILITY_BATCH] = "ChangeMessageVisibilityBatch",
    [ACTION_CREATE_QUEUE] = "CreateQueue",
    [ACTION_DELETE_MESSAGE] = "DeleteMessage",
    [ACTION_DELETE_MESSAGE_BATCH] = "DeleteMessageBatch",
    [ACTION_DELETE_QUEUE] = "DeleteQueue",
    [ACTION_GET_ATTRIBUTES] = "GetQueueAttributes",
    [ACTION_GET_URL] = "GetQueueUrl",
    [ACTION_LIST_SOURCES] = "ListDeadLetterSourceQueues",
    [ACTION_LIST_MOVE_TASKS] = "ListMessageMoveTasks",
    [ACTION_LIST_TAGS] = "ListQueueTags",
    [ACTION_LIST_QUEUES] = "ListQueues",
    [ACTION_PEEK] = "PeekMessages",
    [ACTION_PURGE] = "PurgeQueue",
    [ACTION_RECEIVE] = "ReceiveMessage",
    [ACTION_REMOVE_PERMISSION] = "RemovePermission",
    [ACTION_SEND] = "SendMessage",
    [ACTION_SEND_BATCH] = "SendMessageBatch",
    [ACTION_SET_ATTRIBUTES] = "SetQueueAttributes",
    [ACTION_START_MOVE_TASK] = "StartMessageMoveTask",
    [ACTION_TAG] = "TagQueue",
    [ACTION_UNTAG] = "UntagQueue",
};

const char *action_name(enum sqs_action action)
{
    return action_names[action];
}

enum sqs_action action_find(struct span name)
{
    for (int i = ACTION_NONE + 1; name.len > 0 && i < ACTION_COUNT; i++)
        if (action_names[i][0] == name.data[0] && span_is(name, action_names[i]))
            return (enum sqs_action)i;
    return ACTION_NONE;
}

// One growing list, whatever its items: each item begins with its index.
static void *list_item(struct arena *arena, void **items, size_t *count, size_t *cap, size_t size,
                       uint64_t index)
{
    size_t place = *count;
    if (index > 0) {
        while (place > 0 && *(uint64_t *)((char *)*items + (place - 1) * size) > index)
            place--;
        if (place > 0 && *(uint64_t *)((char *)*items + (place - 1) * size) == index)
            return (char *)*items + (place - 1) * size;
    }
    if (*count == REQUEST_LIST_MAX)
        return NULL;
    if (*count == *cap) {
        size_t more = *cap == 0 ? 4 : *cap * 2;
        void *grown = arena_alloc(arena, more * size);
        if (*count > 0)
            memcpy(grown, *items, *count * size);
        *items = grown;
        *cap = more;
    }
    char *at = (char *)*items + place * size;
    memmove(at + size, at, (*count - place) * size);
    memset(at, 0, size);
    *(uint64_t *)at = index;
    ++*count;
    return at;
}

#define ITEM(name, type, list)                                                                     \
    type *name(struct arena *arena, list *l, uint64_t index)                                       \
    {                                                                                              \
        _Static_assert(offsetof(type, index) == 0, "list_item reads it");                          \
        void *items = l->items;                                                                    \
        type *item = list_item(arena, &items, &l->count, &l->cap, sizeof(type), index);            \
        l->items = items;                                                                          \
        return item;                                                                               \
    }

ITEM(named_item, struct named_value, struct named_list)
ITEM(text_item, struct text_item, struct text_list)
ITEM(attribute_item, struct attribute_in, struct attribute_list)
ITEM(entry_item, struct request_entry, struct entry_list)
