// The index of the object store: an LMDB environment in DIR with buckets, objects and the ids of live
// body files. Thread rules: one thread writes, any may read; a read transaction belongs to one thread
// at a time.
//
// Tables: "meta" (format, run, next_node), "buckets" (name → root, created), "objects" (a keytree per
// bucket: key → object_record), "blobs" (blob id → number of records that use it).
// Room is kept for more tables (events, uploads, bucket settings): TABLES_MAX.
#pragma once

#include "base/buf.h"
#include "s3/keytree.h"

enum { INDEX_FORMAT = 1 };

struct index;
struct index_txn; // a read or write transaction

struct bucket {
    char name[S3_BUCKET_NAME_BYTES_MAX + 1];
    uint64_t root; // of its keytree; never reused
    int64_t created_ms;
};

// Opens or makes the index. ERR_UNSUPPORTED: a newer smelt wrote it. *run: number of this opening,
// unique for this index and rising (1 .. 2^24-1).
// map_bytes 0: S3_INDEX_BYTES_MAX.
enum err index_open(const char *dir, uint64_t map_bytes, struct index **out, uint64_t *run,
                    struct error *error) MUST_CHECK;
void index_close(struct index *index); // NULL allowed; no transaction may be open

enum err index_begin(struct index *index, bool write, struct index_txn **out,
                     struct error *error) MUST_CHECK;
// Durable when it returns OK. On failure nothing of it happened: ERR_FULL (no space; the index goes on
// working), anything else means the disk failed: stop. Ends the transaction either way.
enum err index_commit(struct index_txn *txn, struct error *error) MUST_CHECK;
void index_abort(struct index_txn *txn); // also ends read transactions; NULL allowed
// A read transaction at rest, for cheap reuse: _park gives the snapshot back, _renew takes a new one.
void index_park(struct index_txn *txn);
enum err index_renew(struct index_txn *txn, struct error *error) MUST_CHECK;

// Makes sure that the index file has S3_INDEX_RESERVE_BYTES of allocated space ahead of what is used, so that
// deletes still work when the disk is full. ERR_FULL: there is no space; then only delete.
enum err index_reserve(struct index *index, struct error *error) MUST_CHECK;

// Buckets. ERR_NOT_FOUND, ERR_EXISTS, ERR_LIMIT (too many), ERR_BUSY (not empty).
enum err index_bucket_get(struct index_txn *txn, const char *name, struct bucket *out,
                          struct error *error) MUST_CHECK;
enum err index_bucket_create(struct index_txn *txn, const char *name, int64_t created_ms,
                             struct error *error) MUST_CHECK;
enum err index_bucket_delete(struct index_txn *txn, const char *name,
                             struct error *error) MUST_CHECK;
// The first bucket whose name is greater than after (""). ERR_NOT_FOUND: none.
enum err index_bucket_next(struct index_txn *txn, const char *after, struct bucket *out,
                           struct error *error) MUST_CHECK;

// Objects: records as opaque bytes. Views are valid until the transaction ends or writes.
enum err index_object_get(struct index_txn *txn, uint64_t root, struct span key,
                          struct span *record, struct error *error) MUST_CHECK;
enum err index_object_put(struct index_txn *txn, uint64_t root, struct span key,
                          struct span record, struct error *error) MUST_CHECK;
enum err index_object_delete(struct index_txn *txn, uint64_t root, struct span key,
                             struct error *error) MUST_CHECK;
void index_cursor_init(struct keytree_cursor *c, struct index_txn *txn); // over objects

// Live body files.
enum err index_blob_add(struct index_txn *txn, uint64_t id, struct error *error) MUST_CHECK;
enum err index_blob_drop(struct index_txn *txn, uint64_t id, struct error *error) MUST_CHECK;
enum err index_blob_exists(struct index_txn *txn, uint64_t id, bool *exists,
                           struct error *error) MUST_CHECK;
