// An ordered map of byte strings up to S3_KEY_BYTES_MAX inside one LMDB table, which itself takes
// keys of at most 511 bytes. Many maps share the table: each has a root number.
//
// A key is cut into segments of KEYTREE_SEGMENT_BYTES. Each LMDB key is
//
//     node (8 bytes, big endian) | segment                the key ends here: value = the caller's
//     node (8 bytes, big endian) | full segment | 0       the key goes on: value = child node (8
//     bytes)
//
// Only a key that goes on has a segment of one byte more than KEYTREE_SEGMENT_BYTES, so the two
// cannot be mixed up, and the order of LMDB keys is the byte order of the whole keys. 1024 bytes
// make at most KEYTREE_DEPTH_MAX levels; ordinary keys make one. Nodes without entries do not
// exist.
#pragma once

#include "base/buf.h"
#include "base/limits.h"

#include <lmdb.h>

enum {
    KEYTREE_SEGMENT_BYTES = 500,
    KEYTREE_LMDB_KEY_BYTES = 8 + KEYTREE_SEGMENT_BYTES + 1,
    KEYTREE_DEPTH_MAX = (S3_KEY_BYTES_MAX + KEYTREE_SEGMENT_BYTES - 1) / KEYTREE_SEGMENT_BYTES,
};

// Turns an LMDB return code (or errno) into ours: MDB_NOTFOUND -> ERR_NOT_FOUND, MDB_MAP_FULL and
// ENOSPC -> ERR_FULL, damage -> ERR_CORRUPT, the rest ERR_IO.
enum err lmdb_fail(struct error *error, int rc, const char *doing);

// value: a view into the database, valid until the transaction ends or changes something.
// ERR_NOT_FOUND if there is no such key.
enum err keytree_get(MDB_txn *txn, MDB_dbi dbi, uint64_t root, struct span key, struct span *value,
                     struct error *error) MUST_CHECK;
// Sets key to value. next_node: the counter that new nodes are numbered from; may be advanced.
enum err keytree_put(MDB_txn *txn, MDB_dbi dbi, uint64_t root, struct span key, struct span value,
                     uint64_t *next_node, struct error *error) MUST_CHECK;
// ERR_NOT_FOUND if there is no such key.
enum err keytree_delete(MDB_txn *txn, MDB_dbi dbi, uint64_t root, struct span key,
                        struct error *error) MUST_CHECK;
enum err keytree_empty(MDB_txn *txn, MDB_dbi dbi, uint64_t root, bool *empty,
                       struct error *error) MUST_CHECK;

// Walks a map in byte order. Caller's storage; release before the transaction ends.
struct keytree_cursor {
    bool valid;        // key and value are those of an entry; false: past the end
    struct span value; // as with keytree_get
    size_t key_len;
    char key[S3_KEY_BYTES_MAX];
    // inner
    MDB_txn *txn;
    MDB_dbi dbi;
    int depth; // levels in use
    struct {
        MDB_cursor *cursor;
        uint64_t node;
        size_t key_len; // of the key before this level's segment
    } levels[KEYTREE_DEPTH_MAX];
};
void keytree_cursor_init(struct keytree_cursor *c, MDB_txn *txn, MDB_dbi dbi);
void keytree_cursor_release(struct keytree_cursor *c);
// To the first entry whose key is >= from. from may be longer than a key can be.
enum err keytree_cursor_seek(struct keytree_cursor *c, uint64_t root, struct span from,
                             struct error *error) MUST_CHECK;
// To the next entry. c must be valid.
enum err keytree_cursor_next(struct keytree_cursor *c, struct error *error) MUST_CHECK;
