// Buckets: create, look, delete, list.
#include "s3/s3_server.h"

#include "base/clock.h"
#include "base/text.h"
#include "s3/bucket_name.h"

#include <stdio.h>

static void on_created(struct s3_request *r, struct commit_op *op)
{
    struct s3_reply reply = {.count = 0};
    char location[S3_BUCKET_NAME_BYTES_MAX + 2];
    if (op->err != OK) {
        s3_send_failure(r, op->err, false, &op->error);
        return;
    }
    snprintf(location, sizeof location, "/%s", r->bucket);
    s3_reply_header(&reply, "Location", span_from(location));
    s3_send(r, 200, &reply, SPAN(""));
}

static enum err bucket_find(struct s3_request *r, struct bucket *bucket, struct error *error)
{
    struct catalog_txn *txn;
    enum err err = store_read_begin(r->server->store, &txn, error);
    if (err == OK)
        err = catalog_bucket_get(txn, r->bucket, bucket, error);
    store_read_end(r->server->store);
    return err;
}

// The body may name a location; there is only one here, so it is not looked at.
void op_create_bucket(struct s3_request *r)
{
    struct span acl = s3_header(r, "x-amz-acl");
    if (!bucket_name_valid(span_from(r->bucket))) {
        s3_send_error(r, S3_INVALID_BUCKET_NAME, NULL);
        return;
    }
    if ((acl.len > 0 && !span_is(acl, "private")) ||
        span_is_nocase(s3_header(r, "x-amz-bucket-object-lock-enabled"), "true")) {
        s3_send_error(r, S3_NOT_IMPLEMENTED, "Buckets are private and without object lock.");
        return;
    }
    // one that is there needs no space: clients that make sure of it start on a full disk, too
    struct bucket bucket;
    if (bucket_find(r, &bucket, NULL) == OK) {
        s3_send_failure(r, ERR_EXISTS, false, NULL);
        return;
    }
    struct commit_op *op =
        commit_op_new(COMMIT_BUCKET_CREATE, span_from(r->bucket), (struct span){NULL, 0});
    op->now_ms = clock_wall_ms();
    s3_submit(r, op, on_created);
}

static void on_bucket_deleted(struct s3_request *r, struct commit_op *op)
{
    struct s3_reply reply = {.count = 0};
    if (op->err != OK)
        s3_send_failure(r, op->err, op->no_bucket, &op->error);
    else
        s3_send(r, 204, &reply, SPAN(""));
}

void op_delete_bucket(struct s3_request *r)
{
    s3_submit(r, commit_op_new(COMMIT_BUCKET_DELETE, span_from(r->bucket), (struct span){NULL, 0}),
              on_bucket_deleted);
}

// True if the bucket is there; else replied.
static bool bucket_check(struct s3_request *r)
{
    struct bucket bucket;
    struct error error;
    enum err err = bucket_find(r, &bucket, &error);
    if (err != OK)
        s3_send_failure(r, err, true, &error);
    return err == OK;
}

void op_head_bucket(struct s3_request *r)
{
    struct s3_reply reply = {.count = 0};
    if (!bucket_check(r))
        return;
    s3_reply_header(&reply, "x-amz-bucket-region", span_from(r->identity.region));
    s3_send(r, 200, &reply, SPAN(""));
}

// Every region is fine here; the empty answer means us-east-1.
void op_bucket_location(struct s3_request *r)
{
    AUTO_BUF struct buf xml = {0};
    if (!bucket_check(r))
        return;
    buf_add_text(&xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint "
                       "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>");
    s3_send_xml(r, 200, &xml);
}

void op_list_buckets(struct s3_request *r)
{
    AUTO_BUF struct buf xml = {0};
    struct catalog_txn *txn;
    struct bucket bucket = {.name = ""};
    struct error error;
    char created[CLOCK_ISO_BYTES];
    buf_add_text(&xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListAllMyBucketsResult "
                       "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>smelt</ID>"
                       "<DisplayName>smelt</DisplayName></Owner><Buckets>");
    enum err err = store_read_begin(r->server->store, &txn, &error);
    while (err == OK && (err = catalog_bucket_next(txn, bucket.name, &bucket, &error)) == OK)
        buf_printf(&xml, "<Bucket><Name>%s</Name><CreationDate>%s</CreationDate></Bucket>",
                   bucket.name, clock_iso8601(bucket.created_ms, created));
    store_read_end(r->server->store);
    if (err != ERR_NOT_FOUND) {
        s3_send_failure(r, err, false, &error);
        return;
    }
    buf_add_text(&xml, "</Buckets></ListAllMyBucketsResult>");
    s3_send_xml(r, 200, &xml);
}
