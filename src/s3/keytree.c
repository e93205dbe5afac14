#include "s3/keytree.h"

#include "base/check.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

_Static_assert(KEYTREE_LMDB_KEY_BYTES <= 511, "LMDB's compiled-in limit in Debian");

enum err lmdb_fail(struct error *error, int rc, const char *doing)
{
    enum err code = ERR_IO;
    switch (rc) {
    case MDB_NOTFOUND:
        code = ERR_NOT_FOUND;
        break;
    case MDB_KEYEXIST:
        code = ERR_EXISTS;
        break;
    case MDB_MAP_FULL:
        code = ERR_FULL;
        break;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
        code = ERR_CORRUPT;
        break;
    default:
        if (rc > 0 && err_from_errno(rc) == ERR_FULL)
            code = ERR_FULL;
    }
    return fail(error, code, 0, "catalog: %s: %s", doing, mdb_strerror(rc));
}

// --- LMDB keys ---

struct tree_key {
    size_t len;
    char bytes[KEYTREE_LMDB_KEY_BYTES];
};

// The LMDB key of `rest` in node: whole if it fits, else its first segment with the mark of going
// on.
static MDB_val key_make(struct tree_key *k, uint64_t node, struct span rest)
{
    uint64_t big = htobe64(node);
    size_t take = rest.len < KEYTREE_SEGMENT_BYTES ? rest.len : KEYTREE_SEGMENT_BYTES;
    memcpy(k->bytes, &big, sizeof big);
    if (take > 0)
        memcpy(k->bytes + 8, rest.data, take);
    k->len = 8 + take;
    if (rest.len > KEYTREE_SEGMENT_BYTES)
        k->bytes[k->len++] = '\0';
    return (MDB_val){k->len, k->bytes};
}

static bool key_in_node(MDB_val key, uint64_t node)
{
    uint64_t big = htobe64(node);
    return key.mv_size >= 8 && memcmp(key.mv_data, &big, 8) == 0;
}

static bool key_goes_on(MDB_val key)
{
    return key.mv_size == KEYTREE_LMDB_KEY_BYTES;
}

static enum err child_decode(MDB_val value, uint64_t *node, struct error *error)
{
    if (value.mv_size != 8)
        return fail(error, ERR_CORRUPT, 0, "catalog: a branch entry has %zu bytes, not 8",
                    value.mv_size);
    memcpy(node, value.mv_data, 8);
    *node = le64toh(*node);
    return OK;
}

static struct span span_after(struct span s, size_t n)
{
    return (struct span){s.data + n, s.len - n};
}

// Walks down to the node that holds the last segment of *key, and cuts *key to that segment. path
// (may be NULL) gets the nodes on the way, *levels their number. ERR_NOT_FOUND if the way is not
// there.
static enum err descend(MDB_txn *txn, MDB_dbi dbi, uint64_t *node, struct span *key, uint64_t *path,
                        int *levels, struct error *error)
{
    *levels = 0;
    while (key->len > KEYTREE_SEGMENT_BYTES) {
        struct tree_key k;
        MDB_val at = key_make(&k, *node, *key), value;
        int rc = mdb_get(txn, dbi, &at, &value);
        if (rc != 0)
            return lmdb_fail(error, rc, "look a branch up");
        if (path != NULL)
            path[*levels] = *node;
        (*levels)++;
        TRY(child_decode(value, node, error));
        *key = span_after(*key, KEYTREE_SEGMENT_BYTES);
    }
    return OK;
}

enum err keytree_get(MDB_txn *txn, MDB_dbi dbi, uint64_t root, struct span key, struct span *value,
                     struct error *error)
{
    struct tree_key k;
    uint64_t node = root;
    int levels;
    if (key.len > S3_KEY_BYTES_MAX)
        return fail(error, ERR_NOT_FOUND, 0, "no key has over %d bytes", S3_KEY_BYTES_MAX);
    TRY(descend(txn, dbi, &node, &key, NULL, &levels, error));
    MDB_val at = key_make(&k, node, key), found;
    int rc = mdb_get(txn, dbi, &at, &found);
    if (rc != 0)
        return lmdb_fail(error, rc, "look a key up");
    *value = (struct span){found.mv_data, found.mv_size};
    return OK;
}

enum err keytree_put(MDB_txn *txn, MDB_dbi dbi, uint64_t root, struct span key, struct span value,
                     uint64_t *next_node, struct error *error)
{
    struct tree_key k;
    uint64_t node = root;
    CHECK(key.len <= S3_KEY_BYTES_MAX);
    while (key.len > KEYTREE_SEGMENT_BYTES) {
        uint64_t child = htole64(*next_node);
        MDB_val at = key_make(&k, node, key), data = {8, &child};
        int rc = mdb_put(txn, dbi, &at, &data, MDB_NOOVERWRITE);
        if (rc == 0)
            node = (*next_node)++;
        else if (rc == MDB_KEYEXIST)
            TRY(child_decode(data, &node, error));
        else
            return lmdb_fail(error, rc, "store a branch");
        key = span_after(key, KEYTREE_SEGMENT_BYTES);
    }
    MDB_val at = key_make(&k, node, key), data = {value.len, (void *)(uintptr_t)value.data};
    int rc = mdb_put(txn, dbi, &at, &data, 0);
    return rc == 0 ? OK : lmdb_fail(error, rc, "store a key");
}

enum err keytree_empty(MDB_txn *txn, MDB_dbi dbi, uint64_t root, bool *empty, struct error *error)
{
    struct tree_key k;
    MDB_cursor *cursor;
    MDB_val at = key_make(&k, root, (struct span){NULL, 0}), value;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return lmdb_fail(error, rc, "open a cursor");
    rc = mdb_cursor_get(cursor, &at, &value, MDB_SET_RANGE);
    *empty = rc == MDB_NOTFOUND || (rc == 0 && !key_in_node(at, root));
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? OK : lmdb_fail(error, rc, "look for entries");
}

enum err keytree_delete(MDB_txn *txn, MDB_dbi dbi, uint64_t root, struct span key,
                        struct error *error)
{
    struct tree_key k;
    struct span rest = key;
    uint64_t node = root, path[KEYTREE_DEPTH_MAX];
    int levels;
    if (key.len > S3_KEY_BYTES_MAX)
        return fail(error, ERR_NOT_FOUND, 0, "no key has over %d bytes", S3_KEY_BYTES_MAX);
    TRY(descend(txn, dbi, &node, &rest, path, &levels, error));
    MDB_val at = key_make(&k, node, rest);
    int rc = mdb_del(txn, dbi, &at, NULL);
    if (rc != 0)
        return lmdb_fail(error, rc, "delete a key");
    while (levels > 0) { // a node that became empty goes, and its branch in the parent with it
        bool empty = false;
        TRY(keytree_empty(txn, dbi, node, &empty, error));
        if (!empty)
            break;
        levels--;
        node = path[levels];
        at = key_make(&k, node, span_after(key, (size_t)levels * KEYTREE_SEGMENT_BYTES));
        rc = mdb_del(txn, dbi, &at, NULL);
        if (rc != 0)
            return lmdb_fail(error, rc, "delete a branch");
    }
    return OK;
}

// --- the cursor ---

void keytree_cursor_init(struct keytree_cursor *c, MDB_txn *txn, MDB_dbi dbi)
{
    memset(c, 0, sizeof *c);
    c->txn = txn;
    c->dbi = dbi;
}

void keytree_cursor_release(struct keytree_cursor *c)
{
    for (int i = 0; i < KEYTREE_DEPTH_MAX; i++)
        if (c->levels[i].cursor != NULL)
            mdb_cursor_close(c->levels[i].cursor);
    memset(c, 0, sizeof *c);
}

// Enters node at the first entry >= rest. *inside: there is one, in *at and *value.
static enum err level_enter(struct keytree_cursor *c, uint64_t node, struct span rest, MDB_val *at,
                            MDB_val *value, bool *inside, struct error *error)
{
    struct tree_key k;
    if (c->depth == KEYTREE_DEPTH_MAX)
        return fail(error, ERR_CORRUPT, 0, "catalog: a key has over %d levels", KEYTREE_DEPTH_MAX);
    int i = c->depth++;
    c->levels[i].node = node;
    c->levels[i].key_len = c->key_len;
    if (c->levels[i].cursor == NULL) {
        int rc = mdb_cursor_open(c->txn, c->dbi, &c->levels[i].cursor);
        if (rc != 0)
            return lmdb_fail(error, rc, "open a cursor");
    }
    *at = key_make(&k, node, rest);
    int rc = mdb_cursor_get(c->levels[i].cursor, at, value, MDB_SET_RANGE);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return lmdb_fail(error, rc, "seek");
    *inside = rc == 0 && key_in_node(*at, node);
    return OK;
}

static enum err segment_append(struct keytree_cursor *c, MDB_val at, struct error *error)
{
    size_t len = at.mv_size - 8 - (key_goes_on(at) ? 1 : 0);
    c->key_len = c->levels[c->depth - 1].key_len;
    if (len > sizeof c->key - c->key_len)
        return fail(error, ERR_CORRUPT, 0, "catalog: a key has over %d bytes", S3_KEY_BYTES_MAX);
    memcpy(c->key + c->key_len, (const char *)at.mv_data + 8, len);
    c->key_len += len;
    return OK;
}

// The deepest level stands on an entry: follows branches to their first entry.
static enum err settle(struct keytree_cursor *c, MDB_val at, MDB_val value, struct error *error)
{
    for (;;) {
        TRY(segment_append(c, at, error));
        if (!key_goes_on(at)) {
            c->valid = true;
            c->value = (struct span){value.mv_data, value.mv_size};
            return OK;
        }
        uint64_t child = 0;
        bool inside = false;
        TRY(child_decode(value, &child, error));
        TRY(level_enter(c, child, (struct span){NULL, 0}, &at, &value, &inside, error));
        if (!inside)
            return fail(error, ERR_CORRUPT, 0, "catalog: a branch leads to an empty node");
    }
}

// The deepest level has no further entry: goes on in the levels above.
static enum err climb(struct keytree_cursor *c, struct error *error)
{
    while (--c->depth > 0) {
        MDB_val at, value;
        int rc = mdb_cursor_get(c->levels[c->depth - 1].cursor, &at, &value, MDB_NEXT);
        if (rc != 0 && rc != MDB_NOTFOUND)
            return lmdb_fail(error, rc, "step");
        if (rc == 0 && key_in_node(at, c->levels[c->depth - 1].node))
            return settle(c, at, value, error);
    }
    return OK;
}

enum err keytree_cursor_seek(struct keytree_cursor *c, uint64_t root, struct span from,
                             struct error *error)
{
    uint64_t node = root;
    if (from.len > S3_KEY_BYTES_MAX + 1) // longer ones sort just the same
        from.len = S3_KEY_BYTES_MAX + 1;
    c->valid = false;
    c->depth = 0;
    c->key_len = 0;
    for (;;) {
        MDB_val at, value;
        bool inside = false;
        struct tree_key k;
        TRY(level_enter(c, node, from, &at, &value, &inside, error));
        if (!inside)
            return climb(c, error);
        MDB_val wanted = key_make(&k, node, from);
        if (from.len <= KEYTREE_SEGMENT_BYTES || at.mv_size != wanted.mv_size ||
            memcmp(at.mv_data, wanted.mv_data, wanted.mv_size) != 0 ||
            c->depth == KEYTREE_DEPTH_MAX)
            return settle(c, at, value, error);
        TRY(segment_append(c, at, error));
        TRY(child_decode(value, &node, error));
        from = span_after(from, KEYTREE_SEGMENT_BYTES);
    }
}

enum err keytree_cursor_next(struct keytree_cursor *c, struct error *error)
{
    MDB_val at, value;
    CHECK(c->valid && c->depth > 0);
    c->valid = false;
    int rc = mdb_cursor_get(c->levels[c->depth - 1].cursor, &at, &value, MDB_NEXT);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return lmdb_fail(error, rc, "step");
    if (rc == 0 && key_in_node(at, c->levels[c->depth - 1].node))
        return settle(c, at, value, error);
    return climb(c, error);
}
