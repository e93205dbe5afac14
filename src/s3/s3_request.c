// One S3 request's way: which bucket, key and operation are asked for, the signature, who handles
// it; and the replies.
#include "s3/s3_server.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/trace.h"
#include "s3/bucket_name.h"

#include <stdio.h>
#include <string.h>

enum { SMALL_BODY_BYTES_MAX = 64 << 10 }; // bodies that only configure: CreateBucket

// --- replies ---

void s3_reply_header(struct s3_reply *reply, const char *name, struct span value)
{
    if (reply->count < S3_REPLY_HEADERS_MAX)
        reply->headers[reply->count++] = (struct http_header){span_from(name), value};
}

void s3_reply_ids(struct s3_request *r, struct s3_reply *reply)
{
    s3_reply_header(reply, "x-amz-request-id", span_from(r->http->id));
    s3_reply_header(reply, "x-amz-id-2", span_from(r->http->id));
}

void s3_reply_checksum(struct s3_reply *reply, const struct object_record *record,
                       struct buf *value)
{
    if (record->checksum_kind == CHECKSUM_NONE)
        return;
    base64_encode(
        (struct span){(const char *)record->checksum, checksum_bytes(record->checksum_kind)},
        value);
    s3_reply_header(reply, checksum_header(record->checksum_kind), buf_view(value));
    s3_reply_header(reply, "x-amz-checksum-type", SPAN("FULL_OBJECT"));
}

static void log_trace(const struct s3_request *r, int status)
{
    char trace[TRACE_ID_BYTES], path[300], quoted[700];
    struct span target = r->http->target_path;
    if (!trace_from_amazon(http_request_header(r->http, "X-Amzn-Trace-Id"), trace))
        return;
    snprintf(path, sizeof path, "%.*s", (int)(target.len < 299 ? target.len : 299), target.data);
    log_event(LOG_DEBUG, "request", "trace=%s method=%s path=%s status=%d request=%s", trace,
              r->http->method, log_quote(path, quoted, sizeof quoted), status, r->http->id);
}

void s3_count_reply(struct s3_request *r, int status, uint64_t body_bytes)
{
    struct s3_metrics *m = &r->server->metrics;
    metric_add(m->operations[r->operation], 1);
    metric_add(m->status[status / 100 <= 5 ? status / 100 : 5], 1);
    metric_add(m->sent_bytes, (double)body_bytes);
    metric_observe(m->request_seconds, (double)(clock_monotonic_us() - r->http->started_us) / 1e6);
    if (log_shows(LOG_DEBUG))
        log_trace(r, status);
}

void s3_send(struct s3_request *r, int status, struct s3_reply *reply, struct span body)
{
    s3_reply_ids(r, reply);
    s3_count_reply(r, status, body.len);
    http_reply(r->http, status, reply->headers, reply->count, body);
}

void s3_send_xml(struct s3_request *r, int status, struct buf *xml)
{
    struct s3_reply reply = {.count = 0};
    s3_reply_header(&reply, "Content-Type", SPAN("application/xml"));
    s3_reply_ids(r, &reply);
    s3_count_reply(r, status, xml->len);
    http_reply_buf(r->http, status, reply.headers, reply.count, xml);
}

void s3_send_error(struct s3_request *r, enum s3_code code, const char *message)
{
    AUTO_BUF struct buf xml = {0};
    int status = s3_code_status(code);
    if (status >= 500 && code != S3_NOT_IMPLEMENTED)
        log_event(LOG_WARN, "request_failed", "request=%s code=%s", r->http->id,
                  s3_code_name(code));
    if (strcmp(r->http->method, "HEAD") == 0) {
        struct s3_reply reply = {.count = 0};
        s3_send(r, status, &reply, SPAN(""));
        return;
    }
    s3_error_xml(code, message, r->http->target_path, r->http->id, &xml);
    s3_send_xml(r, status, &xml);
}

void s3_send_failure(struct s3_request *r, enum err err, bool no_bucket, const struct error *error)
{
    switch (err) {
    case ERR_NOT_FOUND:
        s3_send_error(r, no_bucket ? S3_NO_SUCH_BUCKET : S3_NO_SUCH_KEY, NULL);
        return;
    case ERR_EXISTS:
        s3_send_error(r, S3_BUCKET_ALREADY_OWNED_BY_YOU, NULL);
        return;
    case ERR_BUSY:
        s3_send_error(r, S3_BUCKET_NOT_EMPTY, NULL);
        return;
    case ERR_PRECONDITION:
        s3_send_error(r, S3_PRECONDITION_FAILED, NULL);
        return;
    case ERR_FULL:
        log_event(LOG_WARN, "disk_full", "request=%s reason=\"%s\"", r->http->id, error->msg);
        s3_send_error(r, S3_INSUFFICIENT_STORAGE, NULL);
        return;
    case ERR_LIMIT:
        s3_send_error(
            r, r->operation == S3_OP_CREATE_BUCKET ? S3_TOO_MANY_BUCKETS : S3_ENTITY_TOO_LARGE,
            NULL);
        return;
    case ERR_CORRUPT:
        metric_add(r->server->metrics.damaged, 1);
        log_event(LOG_ERROR, "object_damaged", "request=%s reason=\"%s\"", r->http->id, error->msg);
        s3_send_error(r, S3_INTERNAL_ERROR,
                      "The stored object is damaged on the server's disk; it is not sent. Store it "
                      "again.");
        return;
    default:
        log_event(LOG_ERROR, "store_failed", "request=%s reason=\"%s\"", r->http->id, error->msg);
        s3_send_error(r, S3_INTERNAL_ERROR, NULL);
    }
}

// --- changes ---

static void on_durable(struct commit_op *op)
{
    struct s3_request *r = op->ctx;
    if (r != NULL) {
        struct s3_metrics *m = &r->server->metrics;
        if (op->batch_count > 0) {
            metric_add(m->commits, 1);
            metric_observe(m->commit_seconds, (double)op->commit_us / 1e6);
        }
        metric_add(m->changes, 1);
        r->pending = NULL;
        op->reply(r, op);
    }
    commit_op_free(op);
}

void s3_submit(struct s3_request *r, struct commit_op *op,
               void (*done)(struct s3_request *r, struct commit_op *op))
{
    op->done = on_durable;
    op->reply = done;
    op->ctx = r;
    CHECK(r->pending == NULL);
    r->pending = op;
    store_submit(r->server->store, op);
}

bool s3_write_conditions(struct s3_request *r, struct commit_op *op)
{
    struct span none = s3_header(r, "If-None-Match"), match = s3_header(r, "If-Match");
    if (none.len > 0 && !span_is(none, "*")) {
        s3_send_error(r, S3_NOT_IMPLEMENTED, "If-None-Match of a change can only be *.");
        return false;
    }
    op->if_none_match = none.len > 0;
    op->if_match_any = span_is(match, "*");
    if (match.len == 0 || op->if_match_any)
        return true;
    bool quoted = match.len > 2 && match.data[0] == '"';
    int len = snprintf(op->if_match, sizeof op->if_match, quoted ? "%.*s" : "\"%.*s\"",
                       (int)(match.len < 200 ? match.len : 200), match.data);
    if (len >= (int)sizeof op->if_match) // longer than any etag: it matches none
        snprintf(op->if_match, sizeof op->if_match, "-");
    return true;
}

// --- the path: what is asked for ---

struct span s3_header(const struct s3_request *r, const char *name)
{
    return span_trim(http_request_header(r->http, name));
}

// Subresources of the S3 API that are not served. Other unknown parameters (such as x-id) are
// ignored, as Amazon does.
static const char *const not_served[] = {
    "accelerate",        "acl",        "analytics",    "append",
    "attributes",        "cors",       "encryption",   "intelligent-tiering",
    "inventory",         "legal-hold", "lifecycle",    "logging",
    "metadataTable",     "metrics",    "notification", "object-lock",
    "ownershipControls", "partNumber", "policy",       "policyStatus",
    "publicAccessBlock", "rename",     "replication",  "requestPayment",
    "restore",           "retention",  "select",       "session",
    "tagging",           "torrent",    "uploadId",     "uploads",
    "versioning",        "versions",   "website",      "writeOffsetBytes"};

static bool query_has(struct s3_request *r, const char *name)
{
    struct span value;
    return http_request_query(r->http, name, &value);
}

// "bucket.localhost:9000": the bucket in front; empty if the host is not of that form.
static struct span host_bucket(const struct s3_request *r)
{
    static const char suffix[] = ".localhost";
    struct span port, host = span_cut(s3_header(r, "Host"), ':', &port);
    size_t suffix_len = sizeof suffix - 1;
    if (host.len <= suffix_len)
        return (struct span){NULL, 0};
    struct span tail = {host.data + host.len - suffix_len, suffix_len};
    if (!span_is_nocase(tail, suffix))
        return (struct span){NULL, 0};
    return (struct span){host.data, host.len - suffix_len};
}

// Fills bucket and key from the path. False: replied.
static bool path_read(struct s3_request *r)
{
    struct span path = r->http->target_path, raw_key, bucket = host_bucket(r);
    AUTO_BUF struct buf decoded = {0};
    if (path.len > 0)
        path = (struct span){path.data + 1, path.len - 1};
    raw_key = path;
    if (bucket.len == 0) {
        bucket = span_cut(path, '/', &raw_key);
        if (!url_decode(bucket, false, &decoded)) {
            s3_send_error(r, S3_INVALID_URI, NULL);
            return false;
        }
        bucket = arena_copy_span(&r->http->arena, buf_view(&decoded));
        buf_clear(&decoded);
    }
    if (bucket.len == 0)
        return true;
    if (bucket.len > S3_BUCKET_NAME_BYTES_MAX || memchr(bucket.data, '\0', bucket.len) != NULL) {
        s3_send_error(r, S3_INVALID_BUCKET_NAME, NULL);
        return false;
    }
    memcpy(r->bucket, bucket.data, bucket.len);
    if (!url_decode(raw_key, false, &decoded) || !utf8_valid(buf_view(&decoded)) ||
        (decoded.len > 0 && memchr(decoded.data, '\0', decoded.len) != NULL)) {
        s3_send_error(r, S3_INVALID_URI,
                      "A key must be UTF-8 without zero bytes, and well escaped.");
        return false;
    }
    if (decoded.len > S3_KEY_BYTES_MAX) {
        s3_send_error(r, S3_KEY_TOO_LONG, NULL);
        return false;
    }
    r->key = arena_copy_span(&r->http->arena, buf_view(&decoded));
    return true;
}

static enum s3_operation bucket_operation(struct s3_request *r, const char *method)
{
    struct span type;
    if (strcmp(method, "PUT") == 0)
        return S3_OP_CREATE_BUCKET;
    if (strcmp(method, "HEAD") == 0)
        return S3_OP_HEAD_BUCKET;
    if (strcmp(method, "DELETE") == 0)
        return S3_OP_DELETE_BUCKET;
    if (strcmp(method, "POST") == 0)
        return query_has(r, "delete") ? S3_OP_DELETE_OBJECTS : S3_OP_NONE;
    if (strcmp(method, "GET") == 0 && query_has(r, "location"))
        return S3_OP_GET_BUCKET_LOCATION;
    if (strcmp(method, "GET") == 0 && http_request_query(r->http, "list-type", &type) &&
        span_is(type, "2"))
        return S3_OP_LIST_OBJECTS_V2;
    return S3_OP_NONE;
}

static enum s3_operation object_operation(const struct s3_request *r, const char *method)
{
    if (strcmp(method, "PUT") == 0 && s3_header(r, "x-amz-copy-source").len == 0)
        return S3_OP_PUT_OBJECT;
    if (strcmp(method, "GET") == 0)
        return S3_OP_GET_OBJECT;
    if (strcmp(method, "HEAD") == 0)
        return S3_OP_HEAD_OBJECT;
    return strcmp(method, "DELETE") == 0 ? S3_OP_DELETE_OBJECT : S3_OP_NONE;
}

// False: replied.
static bool operation_find(struct s3_request *r)
{
    struct span version;
    const char *method = r->http->method, *unknown = NULL;
    for (size_t i = 0; i < sizeof not_served / sizeof not_served[0] && r->http->query.len > 0; i++)
        if (query_has(r, not_served[i]))
            unknown = not_served[i];
    if (http_request_query(r->http, "versionId", &version) && !span_is(version, "null"))
        unknown = "versionId";
    if (r->bucket[0] == '\0')
        r->operation = strcmp(method, "GET") == 0 ? S3_OP_LIST_BUCKETS : S3_OP_NONE;
    else
        r->operation = r->key.len == 0 ? bucket_operation(r, method) : object_operation(r, method);
    if (unknown != NULL || (r->operation == S3_OP_NONE && r->bucket[0] != '\0')) {
        r->operation = S3_OP_NONE;
        s3_send_error(r, S3_NOT_IMPLEMENTED,
                      unknown == NULL ? "This server does not do that operation."
                                      : arena_printf(&r->http->arena,
                                                     "This server does not do '%s'.", unknown));
        return false;
    }
    if (r->operation == S3_OP_NONE)
        s3_send_error(r, S3_METHOD_NOT_ALLOWED, NULL);
    return r->operation != S3_OP_NONE;
}

// --- the signature ---

static bool hex_sha256(struct span s)
{
    uint8_t bytes[SHA256_BYTES];
    return hex_decode(s, bytes, sizeof bytes);
}

// Fills payload_hash. False: replied.
static bool payload_hash_read(struct s3_request *r)
{
    r->payload_hash = s3_header(r, "x-amz-content-sha256");
    if (s3_header(r, "Authorization").len == 0 && r->payload_hash.len == 0) {
        r->payload_hash = SPAN("UNSIGNED-PAYLOAD"); // presigned
        return true;
    }
    if (r->payload_hash.len == 0) {
        s3_send_error(r, S3_INVALID_REQUEST,
                      "Missing required header for this request: x-amz-content-sha256");
        return false;
    }
    if (!hex_sha256(r->payload_hash) && !span_is(r->payload_hash, "UNSIGNED-PAYLOAD") &&
        !span_starts(r->payload_hash, "STREAMING-")) {
        s3_send_error(
            r, S3_INVALID_ARGUMENT,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-… or 64 hex digits.");
        return false;
    }
    return true;
}

static enum s3_code code_of_verdict(enum sigv4_verdict verdict, bool presigned)
{
    switch (verdict) {
    case SIGV4_OK:
        return S3_OK;
    case SIGV4_MALFORMED:
    case SIGV4_WRONG_SCOPE:
        return presigned ? S3_AUTHORIZATION_QUERY_ERROR : S3_AUTHORIZATION_HEADER_MALFORMED;
    case SIGV4_UNKNOWN_KEY:
        return S3_INVALID_ACCESS_KEY_ID;
    case SIGV4_MISMATCH:
        return S3_SIGNATURE_DOES_NOT_MATCH;
    case SIGV4_SKEWED:
        return S3_REQUEST_TIME_TOO_SKEWED;
    case SIGV4_BAD_TOKEN:
        return S3_INVALID_TOKEN;
    case SIGV4_MISSING:
    case SIGV4_EXPIRED:
        break;
    }
    return S3_ACCESS_DENIED;
}

// False: replied.
static bool signature_check(struct s3_request *r)
{
    const char *message = NULL;
    if (!payload_hash_read(r))
        return false;
    const struct sigv4_request request = {
        .method = span_from(r->http->method),
        .path = r->http->target_path,
        .query = r->http->query,
        .headers = r->http->headers,
        .header_count = r->http->header_count,
        .payload_hash = r->payload_hash,
    };
    enum sigv4_verdict verdict = sigv4_verify(r->server->keyring, "s3", &request, clock_wall_ms(),
                                              &r->http->arena, &r->identity, &message);
    bool presigned = s3_header(r, "Authorization").len == 0;
    if (verdict != SIGV4_OK) {
        s3_send_error(r, code_of_verdict(verdict, presigned), message);
        return false;
    }
    if (strcmp(r->identity.account, AWS_ACCOUNT) != 0) {
        s3_send_error(r, S3_ACCESS_DENIED,
                      "Access denied: this key is another account's, and there "
                      "are no policies of buckets here that could allow it.");
        return false;
    }
    return true;
}

// --- the request's way ---

static void reply_text(struct s3_request *r, int status, struct span body)
{
    struct s3_reply reply = {.count = 0};
    s3_reply_header(&reply, "Content-Type", SPAN("text/plain; charset=utf-8"));
    http_reply(r->http, status, reply.headers, reply.count, body);
}

// /-/livez, /-/readyz and /-/metrics: no bucket can be named "-". False: not one of them.
static bool answer_probe(struct s3_request *r)
{
    struct span path = r->http->target_path;
    if (!span_starts(path, "/-/"))
        return false;
    if (strcmp(r->http->method, "GET") != 0 && strcmp(r->http->method, "HEAD") != 0)
        reply_text(r, 405, SPAN("use GET\n"));
    else if (span_is(path, "/-/livez"))
        reply_text(r, 200, SPAN("ok\n"));
    else if (span_is(path, "/-/readyz"))
        reply_text(r, r->server->draining ? 503 : 200,
                   r->server->draining ? SPAN("draining\n") : SPAN("ok\n"));
    else if (span_is(path, "/-/metrics")) {
        AUTO_BUF struct buf text = {0};
        metrics_write(&r->server->metrics.registry, &text);
        reply_text(r, 200, buf_view(&text));
    } else
        reply_text(r, 404, SPAN("there is /-/livez, /-/readyz and /-/metrics\n"));
    return true;
}

static enum http_body on_head(void *ctx, struct http_request *http)
{
    struct s3_server *server = ctx;
    struct s3_request *r = arena_alloc(&http->arena, sizeof *r);
    r->server = server;
    r->http = http;
    http->user = r;
    http->body_limit_bytes = SMALL_BODY_BYTES_MAX;
    server->requests++;
    if (answer_probe(r) || !path_read(r) || !signature_check(r) || !operation_find(r))
        return HTTP_BODY_BUFFER;
    if (r->operation == S3_OP_DELETE_OBJECTS)
        http->body_limit_bytes = S3_DELETE_REQUEST_BYTES_MAX;
    if (r->operation != S3_OP_PUT_OBJECT)
        return HTTP_BODY_BUFFER;
    op_put_head(r);
    return HTTP_BODY_STREAM;
}

static void on_body(void *ctx, struct http_request *http, struct span piece)
{
    struct s3_server *server = ctx;
    metric_add(server->metrics.received_bytes, (double)piece.len);
    op_put_body(http->user, piece);
}

// A buffered body against x-amz-content-sha256. False: replied.
static bool body_hash_check(struct s3_request *r)
{
    uint8_t claimed[SHA256_BYTES], real[SHA256_BYTES];
    if (r->operation == S3_OP_PUT_OBJECT || !hex_decode(r->payload_hash, claimed, sizeof claimed)) {
        if (r->operation == S3_OP_PUT_OBJECT || !span_starts(r->payload_hash, "STREAMING-"))
            return true;
        s3_send_error(r, S3_NOT_IMPLEMENTED, "Only PutObject takes a body in aws-chunked coding.");
        return false;
    }
    digest_sha256(r->http->body, real);
    if (memcmp(claimed, real, sizeof real) == 0)
        return true;
    s3_send_error(r, S3_SHA256_MISMATCH, NULL);
    return false;
}

static void on_request(void *ctx, struct http_request *http)
{
    static void (*const handlers[S3_OP_COUNT])(struct s3_request * r) = {
        [S3_OP_LIST_BUCKETS] = op_list_buckets,
        [S3_OP_CREATE_BUCKET] = op_create_bucket,
        [S3_OP_HEAD_BUCKET] = op_head_bucket,
        [S3_OP_DELETE_BUCKET] = op_delete_bucket,
        [S3_OP_GET_BUCKET_LOCATION] = op_bucket_location,
        [S3_OP_LIST_OBJECTS_V2] = op_list_objects,
        [S3_OP_DELETE_OBJECTS] = op_delete_many,
        [S3_OP_PUT_OBJECT] = op_put,
        [S3_OP_GET_OBJECT] = op_get,
        [S3_OP_HEAD_OBJECT] = op_get,
        [S3_OP_DELETE_OBJECT] = op_delete,
    };
    struct s3_request *r = http->user;
    (void)ctx;
    CHECK(r->operation != S3_OP_NONE);
    if (body_hash_check(r))
        handlers[r->operation](r);
}

static void on_too_large(void *ctx, struct http_request *http)
{
    (void)ctx;
    s3_send_error(http->user, S3_ENTITY_TOO_LARGE, NULL);
}

static void on_done(void *ctx, struct http_request *http)
{
    struct s3_server *server = ctx;
    struct s3_request *r = http->user;
    if (r->pending != NULL)
        r->pending->ctx = NULL; // it becomes durable without us
    op_delete_many_release(r);
    commit_op_free(r->put);
    upload_free(r->upload);
    if (r->chunked != NULL)
        aws_chunked_release(r->chunked);
    http->user = NULL;
    server->requests--;
}

const struct http_handlers s3_handlers = {
    .on_head = on_head,
    .on_body = on_body,
    .on_request = on_request,
    .on_too_large = on_too_large,
    .on_done = on_done,
};
