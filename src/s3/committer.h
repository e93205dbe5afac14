// Makes changes durable, off the event loop. Threads in a row:
//
//     loop ─(body in a file)─► 4 syncers, a file each ─► writer: one LMDB transaction ─► loop
//         └─(body in the catalog)──────────────────────►
//
// All changes that wait share one transaction (group commit), whatever their number up to
// S3_COMMIT_BATCH_MAX. A change that cannot be made (condition, no bucket) fails alone. When the
// disk is full those that need space fail with ERR_FULL and deletions go on. When a sync fails,
// nothing is answered any more: on_fatal runs in the loop, and the process must end.
#pragma once

#include "base/loop.h"
#include "s3/blob.h"
#include "s3/catalog.h"
#include "s3/object_record.h"

enum commit_kind {
    COMMIT_PUT,
    COMMIT_DELETE, // of an object; one that is not there: OK
    COMMIT_BUCKET_CREATE,
    COMMIT_BUCKET_DELETE,
};

struct s3_request;

struct commit_op {
    enum commit_kind kind;
    char bucket[S3_BUCKET_NAME_BYTES_MAX + 1];
    struct buf key;
    // put
    struct buf headers;        // encoded, to become part of the record
    struct buf record;         // encoded object_record
    struct blob_file file;     // the body; its fd is closed by the committer
    bool if_none_match;        // only if there is no such object
    bool if_match_any;         // only if there is one
    char if_match[ETAG_BYTES]; // only if it has this etag (in quotes); "" no condition
    int64_t now_ms;            // bucket create
    // result, when done is called
    enum err err;   // OK, ERR_NOT_FOUND (no such bucket; if_match: no such object), ERR_EXISTS,
                    // ERR_BUSY, ERR_PRECONDITION, ERR_FULL, ERR_LIMIT, ERR_CORRUPT
    bool no_bucket; // ERR_NOT_FOUND is about the bucket
    struct error error;
    int64_t commit_us;  // the batch's transaction
    size_t batch_count; // of the batch, in its first change; else 0
    // Called in the loop's thread, once. Owns op from then on.
    void (*done)(struct commit_op *op);
    void *ctx;
    void (*reply)(struct s3_request *r, struct commit_op *op); // for who submits
    // inner
    struct commit_op *next;
    uint64_t freed_blob; // to remove after the commit
};

struct commit_op *commit_op_new(enum commit_kind kind, struct span bucket, struct span key);
void commit_op_free(struct commit_op *op); // NULL allowed; closes its file

struct committer_config {
    struct loop *loop;
    struct catalog *catalog;
    struct blob_dir *blobs;
    void (*on_fatal)(void *ctx, const struct error *error);
    void *ctx;
};
struct committer;

enum err committer_start(const struct committer_config *config, struct committer **out,
                         struct error *error) MUST_CHECK;
void committer_submit(struct committer *c, struct commit_op *op); // takes op
// Waits until all changes are durable, then ends the threads; calls no done any more.
void committer_stop(struct committer *c); // NULL allowed
