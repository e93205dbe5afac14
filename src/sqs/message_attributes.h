// Message attributes: checks, the stored form, MD5, and the filter of a receive. Pure.
#pragma once

#include "base/digest.h"
#include "sqs/sqs_request.h"

enum {
    MESSAGE_ATTRIBUTES_MAX = 10,
    MESSAGE_TRACE_BYTES_MAX = 1024, // AWSTraceHeader; X-Ray's own have under 200
};

struct stored_attribute { // views the stored form
    struct span name, type, value;
    bool binary;
};

// Checks user attributes (or, with system, the one system attribute that can be sent) and appends
// their stored form, sorted by name; *bytes: what counts for the message's size.
enum sqs_code message_attributes_encode(const struct attribute_list *list, bool system,
                                        struct arena *arena, struct buf *out, uint16_t *count,
                                        size_t *bytes, struct fault *f);
// The next one of a stored form; false at its end. Stored forms are ours: a broken one ends early.
bool message_attribute_next(struct span *rest, struct stored_attribute *out);

// MD5 over attributes in the order added, which is by name. Source: Amazon SQS Developer Guide,
// "Calculating the MD5 message digest for message attributes".
struct attributes_md5 {
    struct buf bytes;
};
void attributes_md5_add(struct attributes_md5 *m, const struct stored_attribute *a);
// 32 hex digits and 0; releases m. False: none was added.
bool attributes_md5_finish(struct attributes_md5 *m, char out[2 * MD5_BYTES + 1]);

// Whether a receive that asks for these names gets the attribute: exact, "All", ".*", "*", or
// "prefix.*".
bool message_attribute_wanted(const struct text_list *names, struct span name);
