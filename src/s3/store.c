#include "s3/store.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct store {
    int lock_fd;
    struct catalog *catalog;
    struct blob_dir *blobs;
    struct committer *committer;
    struct catalog_txn *reader; // parked when not reading
    bool reading;
    pthread_t sweeper;
    bool sweeper_started, sweeper_stop;
    char scratch[256 << 10]; // for reading through bodies; the loop's thread only
};

// --- the sweep: one thread, once ---

static enum err blob_is_live(void *ctx, uint64_t id, bool *is_live)
{
    struct catalog *catalog = ctx;
    struct catalog_txn *txn;
    // a short transaction for each: a long one would keep deleted pages from being used again
    TRY(catalog_begin(catalog, false, &txn, NULL));
    enum err err = catalog_blob_exists(txn, id, is_live, NULL);
    catalog_abort(txn);
    return err;
}

static void *sweeper_main(void *arg)
{
    struct store *s = arg;
    struct error error;
    uint64_t removed;
    if (blob_sweep(s->blobs, blob_is_live, s->catalog, &s->sweeper_stop, &removed, &error) != OK)
        log_event(LOG_WARN, "sweep_failed", "reason=\"%s\"", error.msg);
    else if (removed > 0)
        log_event(LOG_INFO, "orphans_removed", "files=%llu", (unsigned long long)removed);
    return NULL;
}

// --- opening ---

static enum err parts_open(struct store *s, const struct store_config *config, struct error *error)
{
    char path[PATH_MAX];
    uint64_t run;
    if (snprintf(path, sizeof path, "%s/blobs", config->dir) >= (int)sizeof path)
        return fail(error, ERR_ARGUMENT, 0, "path '%.100s…' is too long", config->dir);
    TRY(dir_make(config->dir, error));
    TRY(dir_lock(config->dir, &s->lock_fd, error));
    TRY(catalog_open(config->dir, config->catalog_bytes_max, &s->catalog, &run, error));
    TRY(dir_sync(config->dir, error));
    const struct blob_io *io = config->io != NULL ? config->io : &blob_io_system;
    TRY(blob_dir_open(path, run, io, &s->blobs, error));
    TRY(catalog_begin(s->catalog, false, &s->reader, error));
    catalog_park(s->reader);
    const struct committer_config committer = {.loop = config->loop,
                                               .catalog = s->catalog,
                                               .blobs = s->blobs,
                                               .on_fatal = config->on_fatal,
                                               .ctx = config->ctx};
    TRY(committer_start(&committer, &s->committer, error));
    int rc = pthread_create(&s->sweeper, NULL, sweeper_main, s);
    if (rc != 0)
        return fail(error, ERR_IO, rc, "start a thread");
    s->sweeper_started = true;
    return OK;
}

enum err store_open(const struct store_config *config, struct store **out, struct error *error)
{
    struct store *s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->lock_fd = -1;
    enum err err = parts_open(s, config, error);
    if (err != OK) {
        store_close(s);
        return err;
    }
    *out = s;
    return OK;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    CHECK(!s->reading);
    __atomic_store_n(&s->sweeper_stop, true, __ATOMIC_RELAXED);
    if (s->sweeper_started)
        pthread_join(s->sweeper, NULL);
    committer_stop(s->committer);
    catalog_abort(s->reader);
    catalog_close(s->catalog);
    blob_dir_close(s->blobs);
    fd_close(&s->lock_fd);
    free(s);
}

// --- reading ---

enum err store_read_begin(struct store *s, struct catalog_txn **txn, struct error *error)
{
    CHECK(!s->reading);
    TRY(catalog_renew(s->reader, error));
    s->reading = true;
    if (txn != NULL)
        *txn = s->reader;
    return OK;
}

void store_read_end(struct store *s)
{
    if (!s->reading) // a new snapshot could not be had in between
        return;
    catalog_park(s->reader);
    s->reading = false;
}

static enum err record_find(struct store *s, const char *bucket_name, struct span key,
                            struct object_record *out, bool *no_bucket, struct error *error)
{
    struct bucket bucket;
    struct span bytes;
    *no_bucket = false;
    enum err err = catalog_bucket_get(s->reader, bucket_name, &bucket, error);
    *no_bucket = err == ERR_NOT_FOUND;
    TRY(err);
    TRY(catalog_object_get(s->reader, bucket.root, key, &bytes, error));
    return record_decode(bytes, out, error);
}

enum err store_object_open(struct store *s, const char *bucket, struct span key, bool want_body,
                           struct store_object *out, bool *no_bucket, struct error *error)
{
    CHECK(s->reading);
    uint64_t tried = 0;
    out->body_fd = -1;
    for (;;) {
        TRY(record_find(s, bucket, key, &out->record, no_bucket, error));
        if (!want_body || out->record.blob_id == 0)
            return OK;
        enum err err = blob_open(s->blobs, out->record.blob_id, &out->body_fd, error);
        if (err != ERR_NOT_FOUND)
            return err;
        // overwritten or deleted since our snapshot: look again; but the same file missing twice is
        // damage
        if (tried == out->record.blob_id)
            return fail(error, ERR_CORRUPT, 0, "the body file %016llx is missing",
                        (unsigned long long)tried);
        tried = out->record.blob_id;
        catalog_park(s->reader);
        s->reading = false;
        TRY(store_read_begin(s, NULL, error));
    }
}

enum err store_object_check(struct store *s, const struct store_object *object, struct error *error)
{
    const struct object_record *record = &object->record;
    uint64_t at = 0;
    uint32_t crc32c = 0;
    if (object->body_fd < 0)
        return record_check_body(record, record->body, error);
    if (record->size_bytes > S3_VERIFY_BYTES_MAX)
        return OK;
    for (;;) {
        ssize_t got = pread(object->body_fd, s->scratch, sizeof s->scratch, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(error, ERR_IO, errno, "read a body file");
        if (got == 0)
            break;
        crc32c = digest_crc32c(crc32c, s->scratch, (size_t)got);
        at += (uint64_t)got;
    }
    if (at != record->size_bytes || crc32c != record->body_crc32c)
        return fail(error, ERR_CORRUPT, 0, "the body file %016llx was changed on disk",
                    (unsigned long long)record->blob_id);
    return OK;
}

// --- changing ---

struct upload *store_upload(struct store *s, const struct upload_claims *claims)
{
    return upload_new(s->blobs, claims);
}

void store_submit(struct store *s, struct commit_op *op)
{
    committer_submit(s->committer, op);
}
