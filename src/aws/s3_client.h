// S3 client: against any S3 endpoint (path style). Same rules as sqs_client.h.
#pragma once

#include "aws/aws_client.h"
#include "aws/s3_listing.h"

struct s3_call;

struct s3_object {        // what came back
    struct span body;     // get only; valid during the callback
    struct buf *body_buf; // its memory, may be moved out; NULL: it has to be copied
    uint64_t content_length;
    char etag[80]; // with its quotes
    char content_type[128];
    char gateway[96]; // x-amz-meta-gateway
};

typedef void s3_object_fn(void *ctx, const struct aws_result *r, const struct s3_object *object);
typedef void s3_done_fn(void *ctx, const struct aws_result *r);

// body_limit_bytes: larger objects end with ERR_LIMIT.
struct s3_call *s3_get(struct aws_client *c, const char *bucket, const char *key,
                       size_t body_limit_bytes, s3_object_fn *done, void *ctx);
struct s3_call *s3_head(struct aws_client *c, const char *bucket, const char *key,
                        s3_object_fn *done, void *ctx);

struct s3_put_options {
    const char *content_type; // NULL: application/octet-stream
    bool if_none_match;       // If-None-Match: *; existing object: ERR_PRECONDITION
    const char
        *if_match; // an ETag with its quotes: only in place of that one; else ERR_PRECONDITION
    const uint8_t *body_sha256; // SHA256_BYTES that the caller knows; NULL: made here when needed
    const struct http_call_header *metadata; // names without x-amz-meta-
    size_t metadata_count;
};
// body is borrowed until done. With if_none_match, ERR_PRECONDITION can also mean that an earlier
// attempt of this very call got through and only its answer was lost.
struct s3_call *s3_put(struct aws_client *c, const char *bucket, const char *key, struct span body,
                       const struct s3_put_options *options, s3_object_fn *done, void *ctx);
struct s3_call *s3_delete(struct aws_client *c, const char *bucket, const char *key,
                          s3_done_fn *done, void *ctx);
struct s3_call *s3_create_bucket(struct aws_client *c, const char *bucket, s3_done_fn *done,
                                 void *ctx); // exists: OK
// A page of at most 1000 keys that begin with prefix. token: next_token of the page before; NULL:
// the first one. What done gets is valid during the callback.
typedef void s3_list_fn(void *ctx, const struct aws_result *r, const struct s3_listing *listing);
struct s3_call *s3_list(struct aws_client *c, const char *bucket, const char *prefix,
                        const char *token, s3_list_fn *done, void *ctx);
void s3_call_cancel(struct s3_call *call);
