// The object store of one data directory: catalog, body files and the threads that make changes
// durable. One owner: the event loop's thread calls everything here.
#pragma once

#include "s3/committer.h"
#include "s3/listing.h"
#include "s3/upload.h"

struct store_config {
    const char *dir; // DIR/s3: made if missing
    struct loop *loop;
    // The disk failed: end the process. Runs in the loop.
    void (*on_fatal)(void *ctx, const struct error *error);
    void *ctx;
    const struct blob_io *io;   // NULL: the system's
    uint64_t catalog_bytes_max; // 0: S3_CATALOG_BYTES_MAX
};
struct store;

// ERR_BUSY: another process has it open. Orphaned body files are removed in the background.
enum err store_open(const struct store_config *config, struct store **out,
                    struct error *error) MUST_CHECK;
// Waits for the changes under way to be durable (their done is not called any more).
void store_close(struct store *s); // NULL allowed

// --- reading: each begin is followed by an end, in the same turn of the loop ---
enum err store_read_begin(struct store *s, struct catalog_txn **txn,
                          struct error *error) MUST_CHECK;
void store_read_end(struct store *s);

struct store_object {
    struct object_record record; // its views are valid until store_read_end
    int body_fd;                 // -1: the body is in the record, or was not wanted
};
// Between begin and end. ERR_NOT_FOUND: no such bucket (*no_bucket) or key. ERR_CORRUPT: damaged.
// The caller closes body_fd.
enum err store_object_open(struct store *s, const char *bucket, struct span key, bool want_body,
                           struct store_object *out, bool *no_bucket,
                           struct error *error) MUST_CHECK;
// Reads the body once and compares its checksum: ERR_CORRUPT if it was changed on disk. Bodies over
// S3_VERIFY_BYTES_MAX are not looked at.
enum err store_object_check(struct store *s, const struct store_object *object,
                            struct error *error) MUST_CHECK;

// --- changing ---
struct upload *store_upload(struct store *s, const struct upload_claims *claims);
void store_submit(struct store *s, struct commit_op *op); // takes op
