#include "sqs/fault.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

#define SIMPLE "AWS.SimpleQueueService."

static const struct sqs_code_info infos[SQS_CODE_COUNT] = {
    [SQS_OK] = {"OK", "OK", 200, true},
    [SQS_QUEUE_DOES_NOT_EXIST] = {"QueueDoesNotExist", SIMPLE "NonExistentQueue", 400, true},
    [SQS_QUEUE_NAME_EXISTS] = {"QueueNameExists", "QueueAlreadyExists", 400, true},
    [SQS_QUEUE_DELETED_RECENTLY] = {"QueueDeletedRecently", SIMPLE "QueueDeletedRecently", 400,
                                    true},
    [SQS_PURGE_IN_PROGRESS] = {"PurgeQueueInProgress", SIMPLE "PurgeQueueInProgress", 403, true},
    [SQS_OVER_LIMIT] = {"OverLimit", "OverLimit", 403, true},
    [SQS_RECEIPT_HANDLE_INVALID] = {"ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404, true},
    [SQS_RESOURCE_NOT_FOUND] = {"ResourceNotFoundException", "ResourceNotFoundException", 404,
                                true},
    [SQS_INVALID_ADDRESS] = {"InvalidAddress", "InvalidAddress", 404, true},
    [SQS_INVALID_SECURITY] = {"InvalidSecurity", "InvalidSecurity", 403, true},
    [SQS_THROTTLED] = {"RequestThrottled", "RequestThrottled", 403, true},
    [SQS_MESSAGE_NOT_INFLIGHT] = {"MessageNotInflight", SIMPLE "MessageNotInflight", 400, true},
    [SQS_TOO_MANY_ENTRIES] = {"TooManyEntriesInBatchRequest", SIMPLE "TooManyEntriesInBatchRequest",
                              400, true},
    [SQS_EMPTY_BATCH] = {"EmptyBatchRequest", SIMPLE "EmptyBatchRequest", 400, true},
    [SQS_IDS_NOT_DISTINCT] = {"BatchEntryIdsNotDistinct", SIMPLE "BatchEntryIdsNotDistinct", 400,
                              true},
    [SQS_BATCH_TOO_LONG] = {"BatchRequestTooLong", SIMPLE "BatchRequestTooLong", 400, true},
    [SQS_INVALID_ENTRY_ID] = {"InvalidBatchEntryId", SIMPLE "InvalidBatchEntryId", 400, true},
    [SQS_UNSUPPORTED] = {"UnsupportedOperation", SIMPLE "UnsupportedOperation", 400, true},
    [SQS_INVALID_ATTRIBUTE_NAME] = {"InvalidAttributeName", "InvalidAttributeName", 400, true},
    [SQS_INVALID_ATTRIBUTE_VALUE] = {"InvalidAttributeValue", "InvalidAttributeValue", 400, true},
    [SQS_INVALID_CONTENTS] = {"InvalidMessageContents", "InvalidMessageContents", 400, true},
    [SQS_INVALID_PARAMETER] = {"InvalidParameterValueException", "InvalidParameterValue", 400,
                               true},
    [SQS_MISSING_PARAMETER] = {"MissingRequiredParameterException", "MissingParameter", 400, true},
    [SQS_UNKNOWN_OPERATION] = {"UnknownOperationException", "InvalidAction", 404, true},
    [SQS_INVALID_ACTION] = {"InvalidAction", "InvalidAction", 400, true},
    [SQS_MALFORMED] = {"SerializationException", "MalformedInput", 400, true},
    [SQS_MISSING_TOKEN] = {"MissingAuthenticationTokenException", "MissingAuthenticationToken", 403,
                           true},
    [SQS_INCOMPLETE_SIGNATURE] = {"IncompleteSignatureException", "IncompleteSignature", 400, true},
    [SQS_INVALID_TOKEN] = {"UnrecognizedClientException", "InvalidClientTokenId", 403, true},
    [SQS_SIGNATURE_MISMATCH] = {"InvalidSignatureException", "SignatureDoesNotMatch", 403, true},
    [SQS_REQUEST_EXPIRED] = {"RequestExpired", "RequestExpired", 400, true},
    [SQS_ACCESS_DENIED] = {"AccessDeniedException", "AccessDenied", 403, true},
    [SQS_TOO_LARGE] = {"RequestEntityTooLarge", "RequestEntityTooLarge", 413, true},
    [SQS_BAD_HTTP] = {"MalformedHttpRequestException", "MalformedHttpRequest", 400, true},
    [SQS_HEAD_TOO_LARGE] = {"RequestHeaderSectionTooLarge", "RequestHeaderSectionTooLarge", 431,
                            true},
    [SQS_TOO_SLOW] = {"RequestTimeoutException", "RequestTimeout", 408, true},
    [SQS_UNAVAILABLE] = {"ServiceUnavailable", "ServiceUnavailable", 503, false},
    [SQS_INTERNAL] = {"InternalFailure", "InternalFailure", 500, false},
};

const struct sqs_code_info *sqs_code_info(enum sqs_code code)
{
    return &infos[(unsigned)code < SQS_CODE_COUNT ? code : SQS_INTERNAL];
}

const char *sqs_code_namespace(enum sqs_code code)
{
    switch (code) {
    case SQS_MISSING_PARAMETER:
    case SQS_INCOMPLETE_SIGNATURE:
    case SQS_INVALID_TOKEN:
    case SQS_SIGNATURE_MISMATCH:
    case SQS_MISSING_TOKEN:
    case SQS_UNKNOWN_OPERATION:
    case SQS_ACCESS_DENIED:
    case SQS_MALFORMED:
    case SQS_BAD_HTTP:
    case SQS_TOO_SLOW:
        return "com.amazon.coral.service";
    default:
        return "com.amazonaws.sqs";
    }
}

enum sqs_code fault(struct fault *f, enum sqs_code code, const char *fmt, ...)
{
    va_list args;
    f->code = code;
    va_start(args, fmt);
    vsnprintf(f->message, sizeof f->message, fmt, args);
    va_end(args);
    utf8_xml_mend(f->message); // it may quote what no reply in XML can hold, or half a character
    return code;
}

enum sqs_code fault_value(struct fault *f, struct span value, const char *parameter,
                          const char *reason)
{
    int shown = value.len < 300 ? (int)value.len : 300;
    while (shown > 0 && (size_t)shown < value.len && ((uint8_t)value.data[shown] & 0xc0) == 0x80)
        shown--; // not inside a UTF-8 sequence
    return fault(f, SQS_INVALID_PARAMETER, "Value %.*s for parameter %s is invalid. Reason: %s",
                 shown, value.len > 0 ? value.data : "", parameter, reason);
}

enum sqs_code fault_missing(struct fault *f, const char *parameter)
{
    return fault(f, SQS_MISSING_PARAMETER, "The request must contain the parameter %s.", parameter);
}
