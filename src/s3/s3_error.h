// The errors of the S3 protocol: one table of codes, status and default message, and the XML body.
#pragma once

#include "base/buf.h"

enum s3_code {
    S3_OK = 0,
    S3_ACCESS_DENIED,
    S3_AUTHORIZATION_HEADER_MALFORMED,
    S3_AUTHORIZATION_QUERY_ERROR,
    S3_BAD_DIGEST,
    S3_BUCKET_ALREADY_OWNED_BY_YOU,
    S3_BUCKET_NOT_EMPTY,
    S3_ENTITY_TOO_LARGE,
    S3_INCOMPLETE_BODY,
    S3_INSUFFICIENT_STORAGE,
    S3_INTERNAL_ERROR,
    S3_INVALID_ACCESS_KEY_ID,
    S3_INVALID_ARGUMENT,
    S3_INVALID_BUCKET_NAME,
    S3_INVALID_DIGEST,
    S3_INVALID_RANGE,
    S3_INVALID_REQUEST,
    S3_INVALID_TOKEN,
    S3_INVALID_URI,
    S3_KEY_TOO_LONG,
    S3_MALFORMED_TRAILER,
    S3_MALFORMED_XML,
    S3_METADATA_TOO_LARGE,
    S3_METHOD_NOT_ALLOWED,
    S3_MISSING_CONTENT_LENGTH,
    S3_NO_SUCH_BUCKET,
    S3_NO_SUCH_KEY,
    S3_NOT_IMPLEMENTED,
    S3_PRECONDITION_FAILED,
    S3_REQUEST_TIME_TOO_SKEWED,
    S3_SIGNATURE_DOES_NOT_MATCH,
    S3_TOO_MANY_BUCKETS,
    S3_SHA256_MISMATCH,
    S3_CODE_COUNT
};

int s3_code_status(enum s3_code code);       // 404
const char *s3_code_name(enum s3_code code); // "NoSuchKey"
const char *s3_code_text(enum s3_code code); // a sentence
// The XML body. message NULL: the default one.
void s3_error_xml(enum s3_code code, const char *message, struct span resource,
                  const char *request_id, struct buf *out);
