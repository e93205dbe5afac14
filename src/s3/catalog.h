// The catalog of the object store: an LMDB environment in DIR with buckets, objects and the ids of
// live body files. Thread rules: one thread writes, any may read; a read transaction belongs to one
// thread at a time.
//
// Tables: "meta" (format, run, next_node), "buckets" (name → root, created), "objects" (a keytree
// per bucket: key → object_record), "blobs" (blob id → number of records that use it). Room is kept
// for more tables (events, uploads, bucket settings): TABLES_MAX.
#pragma once

#include "base/buf.h"
#include "s3/keytree.h"

enum { CATALOG_FORMAT = 1 };

struct catalog;
struct catalog_txn; // a read or write transaction

struct bucket {
    char name[S3_BUCKET_NAME_BYTES_MAX + 1];
    uint64_t root; // of its keytree; never reused
    int64_t created_ms;
};

// Opens or makes the catalog. ERR_UNSUPPORTED: a newer smelt wrote it. *run: number of this
// opening, unique for this catalog and rising (1 .. 2^24-1). map_bytes 0: S3_CATALOG_BYTES_MAX.
enum err catalog_open(const char *dir, uint64_t map_bytes, struct catalog **out, uint64_t *run,
                      struct error *error) MUST_CHECK;
// For reading only, of a catalog that nobody has open: nothing is written. ERR_NOT_FOUND: there is
// none. Damage that LMDB does not see can crash this process.
enum err catalog_open_to_look(const char *dir, struct catalog **out,
                              struct error *error) MUST_CHECK;
void catalog_close(struct catalog *catalog); // NULL allowed; no transaction may be open

enum err catalog_begin(struct catalog *catalog, bool write, struct catalog_txn **out,
                       struct error *error) MUST_CHECK;
// Durable when it returns OK. On failure nothing of it happened: ERR_FULL (no space; the catalog
// goes on working), anything else means the disk failed: stop. Ends the transaction either way.
enum err catalog_commit(struct catalog_txn *txn, struct error *error) MUST_CHECK;
void catalog_abort(struct catalog_txn *txn); // also ends read transactions; NULL allowed
// A read transaction at rest, for cheap reuse: _park gives the snapshot back, _renew takes a new
// one.
void catalog_park(struct catalog_txn *txn);
enum err catalog_renew(struct catalog_txn *txn, struct error *error) MUST_CHECK;

// Makes sure that the catalog file has S3_CATALOG_RESERVE_BYTES of allocated space ahead of what is
// used, so that deletes still work when the disk is full. ERR_FULL: there is no space; then only
// delete.
enum err catalog_reserve(struct catalog *catalog, struct error *error) MUST_CHECK;

// Buckets. ERR_NOT_FOUND, ERR_EXISTS, ERR_LIMIT (too many), ERR_BUSY (not empty).
enum err catalog_bucket_get(struct catalog_txn *txn, const char *name, struct bucket *out,
                            struct error *error) MUST_CHECK;
enum err catalog_bucket_create(struct catalog_txn *txn, const char *name, int64_t created_ms,
                               struct error *error) MUST_CHECK;
enum err catalog_bucket_delete(struct catalog_txn *txn, const char *name,
                               struct error *error) MUST_CHECK;
// The first bucket whose name is greater than after (""). ERR_NOT_FOUND: none.
enum err catalog_bucket_next(struct catalog_txn *txn, const char *after, struct bucket *out,
                             struct error *error) MUST_CHECK;

// Objects: records as opaque bytes. Views are valid until the transaction ends or writes.
enum err catalog_object_get(struct catalog_txn *txn, uint64_t root, struct span key,
                            struct span *record, struct error *error) MUST_CHECK;
enum err catalog_object_put(struct catalog_txn *txn, uint64_t root, struct span key,
                            struct span record, struct error *error) MUST_CHECK;
enum err catalog_object_delete(struct catalog_txn *txn, uint64_t root, struct span key,
                               struct error *error) MUST_CHECK;
void catalog_cursor_init(struct keytree_cursor *c, struct catalog_txn *txn); // over objects

// Live body files.
enum err catalog_blob_add(struct catalog_txn *txn, uint64_t id, struct error *error) MUST_CHECK;
enum err catalog_blob_drop(struct catalog_txn *txn, uint64_t id, struct error *error) MUST_CHECK;
enum err catalog_blob_exists(struct catalog_txn *txn, uint64_t id, bool *exists,
                             struct error *error) MUST_CHECK;
