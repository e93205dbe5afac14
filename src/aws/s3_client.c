#include "aws/s3_client.h"

#include "aws/aws_client_internal.h"
#include "base/check.h"
#include "base/digest.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRANSFER_TIMEOUT_MS = 120000, // of one attempt: 32 MiB at 300 kB/s
    LIST_BYTES_MAX = 8 << 20,     // a page: 1000 keys of 1024 bytes as %XX, and what stands around
};

struct s3_call {
    struct aws_call base; // first
    s3_object_fn *on_object;
    s3_done_fn *on_done;
    s3_list_fn *on_list;
    void *ctx;
};

static struct s3_call *s3_call_of(struct aws_call *call)
{
    return (struct s3_call *)(void *)call;
}

static void copy_header(const struct http_response *response, const char *name, char *out,
                        size_t out_bytes)
{
    struct span s = http_response_header(response, name);
    snprintf(out, out_bytes, "%.*s", (int)s.len, s.len > 0 ? s.data : "");
}

static void finish_object(struct aws_call *base, const struct aws_result *result,
                          const struct http_response *response)
{
    struct s3_call *call = s3_call_of(base);
    struct s3_object object = {.body = SPAN("")};
    if (result->err == OK) {
        object.body = response->body;
        object.body_buf = response->body_buf;
        span_to_u64(http_response_header(response, "content-length"), UINT64_MAX,
                    &object.content_length);
        copy_header(response, "etag", object.etag, sizeof object.etag);
        copy_header(response, "content-type", object.content_type, sizeof object.content_type);
        copy_header(response, "x-amz-meta-gateway", object.gateway, sizeof object.gateway);
    }
    call->on_object(call->ctx, result, &object);
}

static void finish_done(struct aws_call *base, const struct aws_result *result,
                        const struct http_response *response)
{
    struct s3_call *call = s3_call_of(base);
    struct aws_result fine = {.status = result->status};
    (void)response;
    // creating what we own already, deleting what is gone: as wanted
    bool done = strcmp(result->code, "BucketAlreadyOwnedByYou") == 0 ||
                strcmp(result->code, "NoSuchKey") == 0;
    call->on_done(call->ctx, done ? &fine : result);
}

static struct s3_call *call_new(const char *method, const char *bucket, const char *key, void *ctx)
{
    struct s3_call *call = calloc(1, sizeof *call);
    CHECK(call != NULL);
    call->ctx = ctx;
    call->base.method = method;
    call->base.finish = finish_object;
    buf_add_char(&call->base.path, '/');
    url_encode(span_from(bucket), false, &call->base.path);
    if (key != NULL) {
        buf_add_char(&call->base.path, '/');
        url_encode(span_from(key), true, &call->base.path);
        if (key[0] == '\0')
            fail(&call->base.refused, ERR_ARGUMENT, 0, "an object's key is empty");
    }
    if (bucket[0] == '\0' || strchr(bucket, '/') != NULL)
        fail(&call->base.refused, ERR_ARGUMENT, 0, "'%.100s' is not a bucket's name", bucket);
    return call;
}

struct s3_call *s3_get(struct aws_client *c, const char *bucket, const char *key,
                       size_t body_limit_bytes, s3_object_fn *done, void *ctx)
{
    struct s3_call *call = call_new("GET", bucket, key, ctx);
    call->on_object = done;
    call->base.response_limit_bytes = body_limit_bytes;
    call->base.timeout_ms = TRANSFER_TIMEOUT_MS;
    aws_call_start(c, &call->base);
    return call;
}

struct s3_call *s3_head(struct aws_client *c, const char *bucket, const char *key,
                        s3_object_fn *done, void *ctx)
{
    struct s3_call *call = call_new("HEAD", bucket, key, ctx);
    call->on_object = done;
    aws_call_start(c, &call->base);
    return call;
}

static void add_metadata(struct s3_call *call, const struct s3_put_options *options)
{
    for (size_t i = 0; i < options->metadata_count; i++) {
        if (call->base.header_count == AWS_CALL_HEADERS_MAX) {
            fail(&call->base.refused, ERR_LIMIT, 0, "an object has over %d metadata entries",
                 AWS_CALL_HEADERS_MAX);
            return;
        }
        const char *name =
            arena_printf(&call->base.arena, "x-amz-meta-%s", options->metadata[i].name);
        aws_call_header(&call->base, name, options->metadata[i].value);
    }
}

struct s3_call *s3_put(struct aws_client *c, const char *bucket, const char *key, struct span body,
                       const struct s3_put_options *options, s3_object_fn *done, void *ctx)
{
    static const struct s3_put_options none = {0};
    struct s3_call *call = call_new("PUT", bucket, key, ctx);
    const struct s3_put_options *o = options != NULL ? options : &none;
    call->on_object = done;
    call->base.body = body;
    call->base.timeout_ms = TRANSFER_TIMEOUT_MS;
    aws_call_header(&call->base, "Content-Type",
                    o->content_type != NULL ? o->content_type : "application/octet-stream");
    if (o->body_sha256 != NULL)
        hex_encode(o->body_sha256, SHA256_BYTES, call->base.payload_hash);
    if (o->if_none_match)
        aws_call_header(&call->base, "If-None-Match", "*");
    if (o->if_match != NULL)
        aws_call_header(&call->base, "If-Match", o->if_match);
    add_metadata(call, o);
    aws_call_start(c, &call->base);
    return call;
}

struct s3_call *s3_delete(struct aws_client *c, const char *bucket, const char *key,
                          s3_done_fn *done, void *ctx)
{
    struct s3_call *call = call_new("DELETE", bucket, key, ctx);
    call->base.finish = finish_done;
    call->on_done = done;
    aws_call_start(c, &call->base);
    return call;
}

struct s3_call *s3_create_bucket(struct aws_client *c, const char *bucket, s3_done_fn *done,
                                 void *ctx)
{
    struct s3_call *call = call_new("PUT", bucket, NULL, ctx);
    call->base.finish = finish_done;
    call->on_done = done;
    if (strcmp(aws_client_region(c), "us-east-1") != 0) { // Amazon's other regions want their name
        buf_printf(&call->base.body_owned,
                   "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                   "<LocationConstraint>%s</LocationConstraint></CreateBucketConfiguration>",
                   aws_client_region(c));
        call->base.body = buf_view(&call->base.body_owned);
        aws_call_header(&call->base, "Content-Type", "application/xml");
    }
    aws_call_start(c, &call->base);
    return call;
}

static void finish_list(struct aws_call *base, const struct aws_result *result,
                        const struct http_response *response)
{
    struct s3_call *call = s3_call_of(base);
    struct s3_listing listing = {0};
    struct aws_result read = *result;
    AUTO_ARENA struct arena arena = {0};
    if (result->err == OK)
        read.err = s3_listing_read(response->body, &arena, &listing, &read.error);
    call->on_list(call->ctx, &read, &listing);
}

struct s3_call *s3_list(struct aws_client *c, const char *bucket, const char *prefix,
                        const char *token, s3_list_fn *done, void *ctx)
{
    struct s3_call *call = call_new("GET", bucket, NULL, ctx);
    struct buf *query = &call->base.query;
    call->base.finish = finish_list;
    call->base.response_limit_bytes = LIST_BYTES_MAX;
    call->on_list = done;
    if (token != NULL) {
        buf_add_text(query, "continuation-token=");
        url_encode(span_from(token), false, query);
        buf_add_char(query, '&');
    }
    buf_add_text(query, "encoding-type=url&list-type=2&prefix=");
    url_encode(span_from(prefix), false, query);
    aws_call_start(c, &call->base);
    return call;
}

void s3_call_cancel(struct s3_call *call)
{
    aws_call_cancel(&call->base);
}
