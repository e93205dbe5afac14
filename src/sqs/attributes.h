// The attributes of a queue that can be set: one table with names, ranges and defaults; parsed
// values; their text. Pure. Source: API model and developer guide of Amazon SQS ("Quotas",
// SetQueueAttributes).
#pragma once

#include "base/limits.h"
#include "sqs/fault.h"

enum { QUEUE_NAME_MAX = 80, POLICY_BYTES_MAX = 8192, REDRIVE_SOURCES_MAX = 10 };

struct queue_attributes {
    int visibility_s, delay_s, max_message_bytes, retention_s, wait_s, kms_reuse_s;
    int sse, fifo, content_dedup; // 0 or 1
    int dedup_per_group;          // DeduplicationScope: 0 queue, 1 messageGroup
    int limit_per_group;          // FifoThroughputLimit: 0 perQueue, 1 perMessageGroupId
    char *policy, *redrive_policy, *redrive_allow, *kms_key; // owned; NULL: not set
    // from redrive_policy
    char dead_letter_queue[QUEUE_NAME_MAX + 1]; // name; "" none
    int max_receive_count;
};

enum attribute_kind { ATTRIBUTE_INT, ATTRIBUTE_CHOICE, ATTRIBUTE_TEXT };

struct attribute_spec {
    const char *name;
    enum attribute_kind kind;
    size_t offset; // in struct queue_attributes
    int min, max, fallback;
    const char *choices[2]; // text of 0 and 1
    bool fifo_only;
};

extern const struct attribute_spec attribute_specs[];          // ends with name NULL
const struct attribute_spec *attribute_find(struct span name); // NULL: not one that can be set

void attributes_init(struct queue_attributes *a, bool fifo); // defaults
void attributes_release(struct queue_attributes *a);
void attributes_copy(struct queue_attributes *to, const struct queue_attributes *from);

// Sets one from its text. Checks the value alone; what depends on others is attributes_check's.
enum sqs_code attribute_set(struct queue_attributes *a, const struct attribute_spec *spec,
                            struct span value, struct fault *f);
// The same from a record: a Policy that was taken once is taken, though the checks may be stricter
// now.
enum sqs_code attribute_restore(struct queue_attributes *a, const struct attribute_spec *spec,
                                struct span value, struct fault *f);
enum sqs_code attributes_check(const struct queue_attributes *a, struct fault *f);
// Appends the text; false: not set (nothing appended).
bool attribute_get(const struct queue_attributes *a, const struct attribute_spec *spec,
                   struct buf *out);
// Policies are the same when they say the same, however they are laid out.
bool attribute_is_same(const struct queue_attributes *a, const struct queue_attributes *b,
                       const struct attribute_spec *spec);
// Last part of an ARN, if it looks like one of a queue.
bool arn_queue_name(struct span arn, struct span *name);
