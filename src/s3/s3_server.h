// Inside of the S3 front: one request on its way from its head to its reply, and who handles it.
//
//     s3_request.c   head: path, operation, signature; reply helpers
//     op_put.c       PutObject            op_get.c     GetObject, HeadObject
//     op_delete.c    DeleteObject(s)      op_bucket.c  buckets
//     op_list.c      ListObjectsV2
#pragma once

#include "aws/sigv4.h"
#include "base/metrics.h"
#include "http/server.h"
#include "s3/aws_chunked.h"
#include "s3/s3_error.h"
#include "s3/store.h"

enum s3_operation {
    S3_OP_NONE,
    S3_OP_LIST_BUCKETS,
    S3_OP_CREATE_BUCKET,
    S3_OP_HEAD_BUCKET,
    S3_OP_DELETE_BUCKET,
    S3_OP_GET_BUCKET_LOCATION,
    S3_OP_LIST_OBJECTS_V2,
    S3_OP_DELETE_OBJECTS,
    S3_OP_PUT_OBJECT,
    S3_OP_GET_OBJECT,
    S3_OP_HEAD_OBJECT,
    S3_OP_DELETE_OBJECT,
    S3_OP_COUNT
};

struct s3_metrics {
    struct metrics registry;
    struct metric *operations[S3_OP_COUNT];
    struct metric *status[6]; // by class: [2] 2xx …
    struct metric *received_bytes, *sent_bytes;
    struct metric *commits, *changes, *commit_seconds, *request_seconds;
    struct metric *damaged;
};

struct s3_server {
    struct loop *loop;
    struct store *store;
    struct keyring *keyring;
    struct http_server *http;
    struct s3_metrics metrics;
    int requests; // between on_head and on_done
    bool draining;
};

struct delete_many; // op_delete.c

struct s3_request { // in the request's arena
    struct s3_server *server;
    struct http_request *http;
    enum s3_operation operation;
    char bucket[S3_BUCKET_NAME_BYTES_MAX + 1];
    struct span key;          // decoded
    struct span payload_hash; // x-amz-content-sha256, or what stands for it
    struct sigv4_identity identity;
    // PutObject
    struct upload *upload;
    struct aws_chunked *chunked; // NULL: the body is sent as it is
    struct commit_op *put;       // prepared; NULL once submitted
    // A submitted change points here by its ctx; when the client goes away first, it is cut off.
    struct commit_op *pending;
    struct delete_many *many;
};

extern const struct http_handlers s3_handlers; // ctx: struct s3_server

// --- replies: exactly one; the common headers are added ---
enum { S3_REPLY_HEADERS_MAX = HTTP_HEADERS_MAX + 32 };
struct s3_reply {
    struct http_header headers[S3_REPLY_HEADERS_MAX];
    size_t count;
};
// name and value must live until the reply is made. Over the maximum: dropped.
void s3_reply_header(struct s3_reply *reply, const char *name, struct span value);
// http: x-amz-request-id and x-amz-id-2 are added.
void s3_send(struct s3_request *r, int status, struct s3_reply *reply, struct span body);
void s3_send_xml(struct s3_request *r, int status, struct buf *xml); // takes xml's memory
void s3_send_error(struct s3_request *r, enum s3_code code, const char *message); // NULL: default
// The reply for an error of the store: full disk, damage …; never for OK.
void s3_send_failure(struct s3_request *r, enum err err, bool no_bucket, const struct error *error);
// Counts the reply in the metrics; called by the helpers, and by those that reply by themselves.
void s3_count_reply(struct s3_request *r, int status, uint64_t body_bytes);
void s3_reply_ids(struct s3_request *r, struct s3_reply *reply);

// x-amz-checksum-… of a record, if it has one. value holds the text until the reply is made.
void s3_reply_checksum(struct s3_reply *reply, const struct object_record *record,
                       struct buf *value);

// Submits op; done(r, op) is called in the loop when it is durable, unless the client has gone.
void s3_submit(struct s3_request *r, struct commit_op *op,
               void (*done)(struct s3_request *r, struct commit_op *op));

// Header of the request, trimmed; empty if absent.
struct span s3_header(const struct s3_request *r, const char *name);
// If-Match and If-None-Match of a change. False: replied.
bool s3_write_conditions(struct s3_request *r, struct commit_op *op);

// --- operations ---
void op_put_head(struct s3_request *r); // checks the head, makes r->upload; may reply
void op_put_body(struct s3_request *r, struct span piece);
void op_put(struct s3_request *r);
void op_get(struct s3_request *r); // and HEAD
void op_delete(struct s3_request *r);
void op_delete_many(struct s3_request *r);
void op_delete_many_release(struct s3_request *r);
void op_list_buckets(struct s3_request *r);
void op_create_bucket(struct s3_request *r);
void op_head_bucket(struct s3_request *r);
void op_delete_bucket(struct s3_request *r);
void op_bucket_location(struct s3_request *r);
void op_list_objects(struct s3_request *r);
