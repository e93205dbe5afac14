// What goes wrong in an SQS request, as its client sees it: one table from our code to the names
// and status of both protocols. Pure. Source: the service's API model (awsQueryError) and published
// validated tests of the real service.
#pragma once

#include "base/buf.h"

enum sqs_code {
    SQS_OK = 0,
    SQS_QUEUE_DOES_NOT_EXIST,
    SQS_QUEUE_NAME_EXISTS,
    SQS_QUEUE_DELETED_RECENTLY,
    SQS_PURGE_IN_PROGRESS,
    SQS_OVER_LIMIT,
    SQS_RECEIPT_HANDLE_INVALID,
    SQS_RESOURCE_NOT_FOUND,
    SQS_INVALID_ADDRESS,
    SQS_INVALID_SECURITY,
    SQS_THROTTLED,
    SQS_MESSAGE_NOT_INFLIGHT,
    SQS_TOO_MANY_ENTRIES,
    SQS_EMPTY_BATCH,
    SQS_IDS_NOT_DISTINCT,
    SQS_BATCH_TOO_LONG,
    SQS_INVALID_ENTRY_ID,
    SQS_UNSUPPORTED,
    SQS_INVALID_ATTRIBUTE_NAME,
    SQS_INVALID_ATTRIBUTE_VALUE,
    SQS_INVALID_CONTENTS,
    SQS_INVALID_PARAMETER,
    SQS_MISSING_PARAMETER,
    SQS_UNKNOWN_OPERATION, // nothing that names an action
    SQS_INVALID_ACTION,
    SQS_MALFORMED,     // the body cannot be read
    SQS_MISSING_TOKEN, // no signature
    SQS_INCOMPLETE_SIGNATURE,
    SQS_INVALID_TOKEN, // access key unknown
    SQS_SIGNATURE_MISMATCH,
    SQS_REQUEST_EXPIRED,
    SQS_ACCESS_DENIED,
    SQS_TOO_LARGE,
    SQS_BAD_HTTP, // and these two: what the HTTP server refuses by itself
    SQS_HEAD_TOO_LARGE,
    SQS_TOO_SLOW,
    SQS_UNAVAILABLE, // disk full, or ending
    SQS_INTERNAL,
    SQS_CODE_COUNT
};

struct sqs_code_info {
    const char *shape;      // JSON __type, without namespace
    const char *query_code; // Query <Code>, and x-amzn-query-error
    int status;
    bool sender; // whose fault: the sender's or ours
};

const struct sqs_code_info *sqs_code_info(enum sqs_code code);
const char *sqs_code_namespace(enum sqs_code code); // of __type: "com.amazonaws.sqs"

struct fault {
    enum sqs_code code;
    char message[600];
};

// Fills *f and returns code: `return fault(f, SQS_…, "…");`
enum sqs_code fault(struct fault *f, enum sqs_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
// "Value V for parameter P is invalid. Reason: R" (InvalidParameterValue)
enum sqs_code fault_value(struct fault *f, struct span value, const char *parameter,
                          const char *reason);
// "The request must contain the parameter P." (MissingParameter)
enum sqs_code fault_missing(struct fault *f, const char *parameter);
