// What SQS (JSON) and S3 (XML) say when they refuse, as struct aws_result.
#include "aws/aws_client_internal.h"

#include <jansson.h>
#include <libxml/parser.h>
#include <stdio.h>
#include <string.h>

enum { ERROR_BODY_BYTES_MAX = 64 << 10 };

struct told {
    char code[96];
    char message[300];
    char region[64];
};

static const struct {
    const char *code;
    enum err err;
} meanings[] = {
    {"NoSuchKey", ERR_NOT_FOUND},
    {"NoSuchBucket", ERR_NOT_FOUND},
    {"NoSuchUpload", ERR_NOT_FOUND},
    {"NotFound", ERR_NOT_FOUND},
    {"QueueDoesNotExist", ERR_NOT_FOUND},
    {"ResourceNotFoundException", ERR_NOT_FOUND},
    {"PreconditionFailed", ERR_PRECONDITION},
    {"BucketAlreadyExists", ERR_EXISTS},
    {"BucketAlreadyOwnedByYou", ERR_EXISTS},
    {"QueueNameExists", ERR_EXISTS},
    {"AccessDenied", ERR_DENIED},
    {"AccessDeniedException", ERR_DENIED},
    {"InvalidAccessKeyId", ERR_DENIED},
    {"InvalidClientTokenId", ERR_DENIED},
    {"UnrecognizedClientException", ERR_DENIED},
    {"SignatureDoesNotMatch", ERR_DENIED},
    {"InvalidSignatureException", ERR_DENIED},
    {"ExpiredToken", ERR_DENIED},
    {"ExpiredTokenException", ERR_DENIED},
    {"RequestTimeTooSkewed", ERR_DENIED},
    {"RequestThrottled", ERR_THROTTLED},
    {"RequestThrottledException", ERR_THROTTLED},
    {"Throttling", ERR_THROTTLED},
    {"ThrottlingException", ERR_THROTTLED},
    {"ThrottledException", ERR_THROTTLED},
    {"TooManyRequestsException", ERR_THROTTLED},
    {"RequestLimitExceeded", ERR_THROTTLED},
    {"BandwidthLimitExceeded", ERR_THROTTLED},
    {"KmsThrottled", ERR_THROTTLED},
    {"SlowDown", ERR_THROTTLED},
    {"RequestTimeout", ERR_TIMEOUT},
    {"ConditionalRequestConflict", ERR_BUSY},
    {"OperationAborted", ERR_BUSY},
    {"QueueDeletedRecently", ERR_BUSY},
    {"PurgeQueueInProgress", ERR_BUSY},
    {"OverLimit", ERR_LIMIT},
    {"EntityTooLarge", ERR_LIMIT},
};

static void copy_text(struct span from, char *out, size_t out_bytes)
{
    size_t len = from.len < out_bytes - 1 ? from.len : out_bytes - 1;
    for (size_t i = 0; i < len; i++) // it goes into logs and terminals
        out[i] = (unsigned char)from.data[i] < ' ' || from.data[i] == 0x7f ? ' ' : from.data[i];
    out[len] = '\0';
}

// "com.amazonaws.sqs#QueueDoesNotExist", "Code:http://…"
static struct span short_code(struct span s)
{
    struct span behind, head = span_cut(s, '#', &behind), ignored;
    return span_cut(behind.len > 0 ? behind : head, ':', &ignored);
}

static bool read_json(struct span body, struct told *out)
{
    json_t *root = json_loadb(body.data, body.len, 0, NULL);
    const char *type = json_string_value(json_object_get(root, "__type"));
    const char *message = json_string_value(json_object_get(root, "message"));
    if (message == NULL)
        message = json_string_value(json_object_get(root, "Message"));
    if (type != NULL)
        copy_text(short_code(span_from(type)), out->code, sizeof out->code);
    if (message != NULL)
        copy_text(span_from(message), out->message, sizeof out->message);
    json_decref(root);
    return type != NULL;
}

static void take_element(const xmlNode *node, const char *name, char *out, size_t out_bytes)
{
    if (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, name) != 0)
        return;
    for (const xmlNode *text = node->children; text != NULL; text = text->next)
        if (text->type == XML_TEXT_NODE || text->type == XML_CDATA_SECTION_NODE) {
            copy_text(span_from((const char *)text->content), out, out_bytes);
            return;
        }
}

// <Error><Code/><Message/>…</Error>, or the Query protocol's <ErrorResponse><Error>…
static bool read_xml(struct span body, struct told *out)
{
    static const int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
    if (memmem(body.data, body.len, "<!DOCTYPE", 9) != NULL)
        return false;
    xmlDoc *document = xmlReadMemory(body.data, (int)body.len, NULL, NULL, options);
    if (document == NULL)
        return false;
    const xmlNode *root = xmlDocGetRootElement(document);
    if (document->intSubset != NULL)
        root = NULL;
    if (root != NULL && strcmp((const char *)root->name, "ErrorResponse") == 0)
        for (root = root->children; root != NULL; root = root->next)
            if (root->type == XML_ELEMENT_NODE && strcmp((const char *)root->name, "Error") == 0)
                break;
    for (const xmlNode *n = root != NULL ? root->children : NULL; n != NULL; n = n->next) {
        take_element(n, "Code", out->code, sizeof out->code);
        take_element(n, "Message", out->message, sizeof out->message);
        take_element(n, "Region", out->region, sizeof out->region);
    }
    xmlFreeDoc(document);
    return out->code[0] != '\0';
}

static enum err meaning_of(const char *code, int status)
{
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (strcmp(code, meanings[i].code) == 0)
            return meanings[i].err;
    if (status >= 500)
        return status == 501 ? ERR_UNSUPPORTED : ERR_UNAVAILABLE;
    switch (status) {
    case 401:
    case 403:
        return ERR_DENIED;
    case 404:
        return ERR_NOT_FOUND;
    case 409:
        return ERR_EXISTS;
    case 412:
        return ERR_PRECONDITION;
    case 413:
        return ERR_LIMIT;
    case 429:
        return ERR_THROTTLED;
    default:
        return ERR_ARGUMENT;
    }
}

static bool read_body(const struct http_response *response, struct told *told)
{
    struct span body = response->body;
    if (body.len > ERROR_BODY_BYTES_MAX)
        body.len = ERROR_BODY_BYTES_MAX;
    while (body.len > 0 && strchr(" \t\r\n", body.data[0]) != NULL) {
        body.data++;
        body.len--;
    }
    return span_starts(body, "{")   ? read_json(body, told)
           : span_starts(body, "<") ? read_xml(body, told)
                                    : false;
}

void aws_error_read(const char *place, const struct http_response *response,
                    struct aws_result *result)
{
    struct told told = {0};
    if (!read_body(response, &told)) { // HEAD has no body; JSON services name it in a header, too
        struct span type = http_response_header(response, "x-amzn-errortype");
        copy_text(short_code(type), told.code, sizeof told.code);
    }
    *result = (struct aws_result){.status = response->status};
    memcpy(result->code, told.code, sizeof result->code);
    result->err = meaning_of(told.code, response->status);
    fail(&result->error, result->err, 0, "%s answered %d%s%s%s%s", place, response->status,
         told.code[0] != '\0' ? " " : "", told.code, told.message[0] != '\0' ? ": " : "",
         told.message);
}

bool aws_error_is_skew(const struct aws_result *result)
{
    // SQS says SignatureDoesNotMatch or InvalidSignatureException for a signature that is too old
    static const char *const codes[] = {"RequestTimeTooSkewed",
                                        "RequestExpired",
                                        "RequestInTheFuture",
                                        "InvalidSignatureException",
                                        "SignatureDoesNotMatch",
                                        "AccessDenied",
                                        "AuthFailure"};
    if (result->status == 403 && result->code[0] == '\0')
        return true; // a HEAD
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strcmp(result->code, codes[i]) == 0)
            return true;
    return false;
}

bool aws_error_is_key(const struct aws_result *result)
{
    static const char *const codes[] = {"ExpiredToken",         "ExpiredTokenException",
                                        "TokenRefreshRequired", "InvalidToken",
                                        "InvalidClientTokenId", "UnrecognizedClientException",
                                        "InvalidAccessKeyId"};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strcmp(result->code, codes[i]) == 0)
            return true;
    return false;
}

bool aws_error_region(const struct http_response *response, char *out, size_t out_bytes)
{
    struct told told = {0};
    struct span named = http_response_header(response, "x-amz-bucket-region");
    if (response->status != 301 && response->status != 307 && response->status != 400)
        return false;
    read_body(response, &told);
    if (response->status == 400 && told.code[0] != '\0' && // else a HEAD
        strcmp(told.code, "AuthorizationHeaderMalformed") != 0)
        return false;
    if (named.len == 0)
        named = span_from(told.region);
    copy_text(named, out, out_bytes);
    size_t len = strspn(out, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return len > 0 && len == named.len && out[len] == '\0';
}
