#include "s3/s3_error.h"

#include "base/check.h"
#include "base/text.h"

static const struct {
    int status;
    const char *name, *text;
} codes[] = {
    [S3_OK] = {200, "OK", ""},
    [S3_ACCESS_DENIED] = {403, "AccessDenied", "Access denied: the request has no signature."},
    [S3_AUTHORIZATION_HEADER_MALFORMED] = {400, "AuthorizationHeaderMalformed",
                                           "The Authorization header cannot be read."},
    [S3_AUTHORIZATION_QUERY_ERROR] = {400, "AuthorizationQueryParametersError",
                                      "The signature's query parameters cannot be read."},
    [S3_BAD_DIGEST] = {400, "BadDigest",
                       "The body does not have the Content-MD5 or checksum that you gave for it."},
    [S3_BUCKET_ALREADY_OWNED_BY_YOU] = {409, "BucketAlreadyOwnedByYou",
                                        "The bucket exists already, and it is yours."},
    [S3_BUCKET_NOT_EMPTY] = {409, "BucketNotEmpty",
                             "The bucket is not empty: delete its objects first."},
    [S3_ENTITY_TOO_LARGE] = {400, "EntityTooLarge", "The body is over the limit."},
    [S3_INCOMPLETE_BODY] = {400, "IncompleteBody",
                            "The body is shorter or longer than its headers say."},
    [S3_INSUFFICIENT_STORAGE] = {507, "InsufficientStorage",
                                 "The server's disk is full. Nothing was stored; delete objects or "
                                 "free space, then try again."},
    [S3_INTERNAL_ERROR] = {500, "InternalError", "The server failed; its log says why."},
    [S3_INVALID_ACCESS_KEY_ID] = {403, "InvalidAccessKeyId",
                                  "This server does not know that access key id."},
    [S3_INVALID_ARGUMENT] = {400, "InvalidArgument", "An argument cannot be."},
    [S3_INVALID_BUCKET_NAME] =
        {400, "InvalidBucketName",
         "A bucket's name has 3 to 63 lower-case letters, digits, '-' and '.', "
         "starts and ends with a letter or digit, and is not an IP address."},
    [S3_INVALID_DIGEST] = {400, "InvalidDigest", "Content-MD5 must be 16 bytes in base64."},
    [S3_INVALID_RANGE] = {416, "InvalidRange", "The object has no bytes in that range."},
    [S3_INVALID_REQUEST] = {400, "InvalidRequest", "The request cannot be."},
    [S3_INVALID_TOKEN] = {400, "InvalidToken", "The security token is not valid."},
    [S3_INVALID_URI] = {400, "InvalidURI", "The path of the request cannot be read."},
    [S3_KEY_TOO_LONG] = {400, "KeyTooLongError", "A key has at most 1024 bytes."},
    [S3_MALFORMED_TRAILER] =
        {400, "MalformedTrailerError",
         "The trailer behind the body cannot be read, or is not the one announced."},
    [S3_MALFORMED_XML] = {400, "MalformedXML", "The XML of the request cannot be read."},
    [S3_METADATA_TOO_LARGE] = {400, "MetadataTooLarge",
                               "User metadata (x-amz-meta-…) has at most 2048 bytes, all stored "
                               "headers 8192."},
    [S3_METHOD_NOT_ALLOWED] = {405, "MethodNotAllowed", "That method does not go with this path."},
    [S3_MISSING_CONTENT_LENGTH] = {411, "MissingContentLength", "Content-Length is missing."},
    [S3_NO_SUCH_BUCKET] = {404, "NoSuchBucket", "There is no such bucket."},
    [S3_NO_SUCH_KEY] = {404, "NoSuchKey", "There is no object with that key."},
    [S3_NOT_IMPLEMENTED] = {501, "NotImplemented", "This server does not do that."},
    [S3_PRECONDITION_FAILED] = {412, "PreconditionFailed",
                                "A condition of the request does not hold."},
    [S3_REQUEST_TIME_TOO_SKEWED] = {403, "RequestTimeTooSkewed",
                                    "The request's time is over 15 minutes from the server's."},
    [S3_SIGNATURE_DOES_NOT_MATCH] = {403, "SignatureDoesNotMatch",
                                     "The signature does not match: check the secret key and what "
                                     "was signed."},
    [S3_TOO_MANY_BUCKETS] = {400, "TooManyBuckets", "There are 1000 buckets, the limit."},
    [S3_SHA256_MISMATCH] = {400, "XAmzContentSHA256Mismatch",
                            "The body does not have the SHA-256 that x-amz-content-sha256 says."},
};
_Static_assert(sizeof codes / sizeof codes[0] == S3_CODE_COUNT, "each code has its line");

int s3_code_status(enum s3_code code)
{
    CHECK((int)code < S3_CODE_COUNT);
    return codes[code].status;
}

const char *s3_code_name(enum s3_code code)
{
    CHECK((int)code < S3_CODE_COUNT);
    return codes[code].name;
}

const char *s3_code_text(enum s3_code code)
{
    CHECK((int)code < S3_CODE_COUNT);
    return codes[code].text;
}

void s3_error_xml(enum s3_code code, const char *message, struct span resource,
                  const char *request_id, struct buf *out)
{
    buf_add_text(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>");
    buf_add_text(out, s3_code_name(code));
    buf_add_text(out, "</Code><Message>");
    xml_escape(span_from(message != NULL ? message : s3_code_text(code)), out);
    buf_add_text(out, "</Message><Resource>");
    xml_escape(resource, out);
    buf_printf(out, "</Resource><RequestId>%s</RequestId><HostId>%s</HostId></Error>", request_id,
               request_id);
}
