// A request in our terms: both wire protocols are decoded into this. Spans view the HTTP body or
// the request's arena; data NULL: not given (an empty value has data).
#pragma once

#include "base/arena.h"
#include "base/limits.h"
#include "sqs/fault.h"

enum {
    REQUEST_LIST_MAX = 1000, // items of any list: more than any action allows
    REQUEST_JSON_DEPTH_MAX = 32,
};

enum sqs_action {
    ACTION_NONE,
    ACTION_ADD_PERMISSION,
    ACTION_CANCEL_MOVE_TASK,
    ACTION_CHANGE_VISIBILITY,
    ACTION_CHANGE_VISIBILITY_BATCH,
    ACTION_CREATE_QUEUE,
    ACTION_DELETE_MESSAGE,
    ACTION_DELETE_MESSAGE_BATCH,
    ACTION_DELETE_QUEUE,
    ACTION_GET_ATTRIBUTES,
    ACTION_GET_URL,
    ACTION_LIST_SOURCES,
    ACTION_LIST_MOVE_TASKS,
    ACTION_LIST_TAGS,
    ACTION_LIST_QUEUES,
    ACTION_PEEK, // an extension: no AWS client sends it
    ACTION_PURGE,
    ACTION_RECEIVE,
    ACTION_REMOVE_PERMISSION,
    ACTION_SEND,
    ACTION_SEND_BATCH,
    ACTION_SET_ATTRIBUTES,
    ACTION_START_MOVE_TASK,
    ACTION_TAG,
    ACTION_UNTAG,
    ACTION_COUNT
};

struct given_int {
    bool given;
    int64_t value;
};

// Lists grow in the arena. index: number in the Query protocol, which orders them.
struct named_value { // attributes, tags
    uint64_t index;
    struct span name, value;
};
struct named_list {
    struct named_value *items;
    size_t count, cap;
};

struct text_item {
    uint64_t index;
    struct span text;
};
struct text_list {
    struct text_item *items;
    size_t count, cap;
};

struct attribute_in { // a message attribute
    uint64_t index;
    struct span name, type;
    struct span text;   // StringValue
    struct span binary; // BinaryValue, decoded
    bool listed;        // StringListValues or BinaryListValues were given: reserved, refused
};
struct attribute_list {
    struct attribute_in *items;
    size_t count, cap;
};

struct request_entry { // of a batch; entry 0 also holds the fields of a single action
    uint64_t index;
    struct span id, body, dedup, group, handle;
    struct given_int delay_s, visibility_s;
    struct attribute_list attributes, system_attributes;
};
struct entry_list {
    struct request_entry *items;
    size_t count, cap;
};

struct sqs_request {
    enum sqs_action action;
    struct arena *arena;
    struct span queue_url, queue_name, prefix, owner, next_token, attempt_id, label;
    struct span source_arn, destination_arn, task_handle;
    struct given_int max_results, max_messages, wait_s, rate;
    struct named_list attributes, tags;
    struct text_list attribute_names, message_attribute_names, system_attribute_names;
    struct text_list account_ids, actions, tag_keys;
    struct request_entry single; // fields of an action on one message
    struct entry_list entries;   // of a batch
};

enum field_kind {
    FIELD_TEXT,
    FIELD_INT,
    FIELD_TEXTS,      // list of strings
    FIELD_MAP,        // name to value
    FIELD_ATTRIBUTES, // message attributes
    FIELD_ENTRIES,
};

struct request_field {
    const char *json, *query; // name in each protocol
    enum field_kind kind;
    size_t offset; // in struct sqs_request, or in struct request_entry
};

extern const struct request_field request_fields[]; // ends with kind of name NULL
extern const struct request_field entry_fields[];

const char *action_name(enum sqs_action action);
enum sqs_action action_find(struct span name); // ACTION_NONE: unknown

// A new item at the end (or, with index > 0, the item of that index, made in its place). NULL: over
// REQUEST_LIST_MAX.
struct named_value *named_item(struct arena *arena, struct named_list *l, uint64_t index);
struct text_item *text_item(struct arena *arena, struct text_list *l, uint64_t index);
struct attribute_in *attribute_item(struct arena *arena, struct attribute_list *l, uint64_t index);
struct request_entry *entry_item(struct arena *arena, struct entry_list *l, uint64_t index);

// Decoders. body and parameters must stay as long as the request. SQS_MALFORMED and others with
// text in *f.
enum sqs_code request_from_json(struct span body, struct sqs_request *r, struct fault *f);
// Form-encoded parameters of body and URL; sets r->action too (ACTION_NONE: *action_given has the
// name, or no data).
enum sqs_code request_from_query(struct span body, struct span query, struct sqs_request *r,
                                 struct span *action_given, struct fault *f);
