#include "s3/catalog.h"

#include "base/check.h"
#include "base/file.h"
#include "base/log.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TABLES_MAX = 16,
    READERS_MAX = 16,             // the loop, the sweep, offline tools
    FREE_PAGES_WANTED = 4096,     // free pages in a file that cannot grow that make it usable again
    RESERVE_STEP_BYTES = 4 << 20, // preallocate in steps of this
};

struct catalog {
    MDB_env *env;
    MDB_dbi meta, buckets, objects, blobs;
    uint64_t map_bytes;
    uint64_t page_bytes;
    uint64_t reserved_bytes; // of the file, allocated from the start up to here
    bool cannot_reserve;     // the file system knows no fallocate
    uint64_t next_node;      // as of the last commit
    char data_path[PATH_MAX];
};

struct catalog_txn {
    struct catalog *catalog;
    MDB_txn *txn;
    bool write;
    uint64_t next_node;
};

struct bucket_value { // on disk, little endian
    uint64_t root;
    int64_t created_ms;
};
_Static_assert(sizeof(struct bucket_value) == 16, "the layout on disk");

static MDB_val val_of(const void *data, size_t len)
{
    return (MDB_val){len, (void *)(uintptr_t)data};
}

// --- meta: named numbers ---

static enum err meta_get(struct catalog_txn *t, const char *name, uint64_t *out,
                         struct error *error)
{
    MDB_val key = val_of(name, strlen(name)), value;
    int rc = mdb_get(t->txn, t->catalog->meta, &key, &value);
    if (rc != 0)
        return lmdb_fail(error, rc, name);
    if (value.mv_size != sizeof *out)
        return fail(error, ERR_CORRUPT, 0, "catalog: '%s' has %zu bytes", name, value.mv_size);
    memcpy(out, value.mv_data, sizeof *out);
    return OK;
}

static enum err meta_put(struct catalog_txn *t, const char *name, uint64_t number,
                         struct error *error)
{
    MDB_val key = val_of(name, strlen(name)), value = val_of(&number, sizeof number);
    int rc = mdb_put(t->txn, t->catalog->meta, &key, &value, 0);
    return rc == 0 ? OK : lmdb_fail(error, rc, name);
}

// --- opening ---

static enum err tables_open(struct catalog_txn *t, unsigned flags, struct error *error)
{
    struct catalog *catalog = t->catalog;
    const struct {
        const char *name;
        MDB_dbi *dbi;
    } tables[] = {{"meta", &catalog->meta},
                  {"buckets", &catalog->buckets},
                  {"objects", &catalog->objects},
                  {"blobs", &catalog->blobs}};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        int rc = mdb_dbi_open(t->txn, tables[i].name, flags, tables[i].dbi);
        if (rc != 0)
            return lmdb_fail(error, rc, tables[i].name);
    }
    return OK;
}

static enum err format_check(struct catalog_txn *t, uint64_t *run, struct error *error)
{
    uint64_t format = 0;
    enum err err = meta_get(t, "format", &format, error);
    if (err == ERR_NOT_FOUND) {
        *run = 1;
        t->next_node = 1;
        TRY(meta_put(t, "format", CATALOG_FORMAT, error));
        TRY(meta_put(t, "next_node", t->next_node, error));
        return meta_put(t, "run", *run, error);
    }
    TRY(err);
    if (format > CATALOG_FORMAT)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "the object store has format %llu, this smelt knows up to %d: use the smelt "
                    "that wrote it, or a newer one",
                    (unsigned long long)format, CATALOG_FORMAT);
    TRY(meta_get(t, "run", run, error));
    TRY(meta_get(t, "next_node", &t->next_node, error));
    (*run)++;
    return meta_put(t, "run", *run, error);
}

static enum err setup(struct catalog *catalog, uint64_t *run, struct error *error)
{
    struct catalog_txn *t = NULL;
    int dead;
    enum err err = catalog_reserve(catalog, error);
    if (err != OK && err != ERR_FULL) // on a full disk what was reserved before is still there
        return err;
    mdb_reader_check(catalog->env, &dead);
    TRY(catalog_begin(catalog, true, &t, error));
    CHECK(t != NULL);
    err = tables_open(t, MDB_CREATE, error);
    if (err == OK)
        err = format_check(t, run, error);
    if (err != OK) {
        catalog_abort(t);
        return err;
    }
    return catalog_commit(t, error);
}

static enum err environment_open(const char *dir, uint64_t map_bytes, unsigned flags,
                                 struct catalog **out, struct error *error)
{
    struct catalog *catalog = calloc(1, sizeof *catalog);
    CHECK(catalog != NULL);
    *out = catalog;
    catalog->map_bytes = map_bytes != 0 ? map_bytes : S3_CATALOG_BYTES_MAX;
    int len = snprintf(catalog->data_path, sizeof catalog->data_path, "%s/data.mdb", dir);
    if (len >= (int)sizeof catalog->data_path)
        return fail(error, ERR_ARGUMENT, 0, "path '%.100s…' is too long", dir);
    int rc = mdb_env_create(&catalog->env);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(catalog->env, TABLES_MAX);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(catalog->env, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_set_mapsize(catalog->env, (size_t)catalog->map_bytes);
    if (rc == 0)
        rc = mdb_env_open(catalog->env, dir, MDB_NOTLS | flags, 0600);
    if (rc != 0) {
        enum err err = lmdb_fail(error, rc, "open");
        return fail_context(error, err, "%s", catalog->data_path);
    }
    MDB_stat stat;
    mdb_env_stat(catalog->env, &stat);
    catalog->page_bytes = stat.ms_psize;
    return OK;
}

enum err catalog_open(const char *dir, uint64_t map_bytes, struct catalog **out, uint64_t *run,
                      struct error *error)
{
    struct catalog *catalog;
    enum err err = environment_open(dir, map_bytes, 0, &catalog, error);
    if (err == OK)
        err = setup(catalog, run, error);
    if (err != OK) {
        catalog_close(catalog);
        return err;
    }
    *out = catalog;
    return OK;
}

static enum err setup_to_look(struct catalog *catalog, struct error *error)
{
    struct catalog_txn *t = NULL;
    uint64_t format = 0;
    TRY(catalog_begin(catalog, false, &t, error));
    CHECK(t != NULL);
    enum err err = tables_open(t, 0, error);
    if (err == OK)
        err = meta_get(t, "format", &format, error);
    int rc = mdb_txn_commit(t->txn); // an abort would close the tables again
    free(t);
    if (err == OK && rc != 0)
        return lmdb_fail(error, rc, "commit");
    if (err == ERR_NOT_FOUND) // of a table; of the file is another matter
        return fail(error, ERR_CORRUPT, 0, "a table of the catalog is missing");
    TRY(err);
    return format <= CATALOG_FORMAT
               ? OK
               : fail(error, ERR_UNSUPPORTED, 0,
                      "the object store has format %llu, this smelt knows up to %d",
                      (unsigned long long)format, CATALOG_FORMAT);
}

enum err catalog_open_to_look(const char *dir, struct catalog **out, struct error *error)
{
    struct catalog *catalog;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    if (access(path, F_OK) != 0)
        return fail(error, ERR_NOT_FOUND, 0, "there is no catalog '%s'", path);
    enum err err = environment_open(dir, 0, MDB_RDONLY | MDB_NOLOCK, &catalog, error);
    if (err == OK)
        err = setup_to_look(catalog, error);
    if (err != OK) {
        catalog_close(catalog);
        return err;
    }
    *out = catalog;
    return OK;
}

void catalog_close(struct catalog *catalog)
{
    if (catalog == NULL)
        return;
    if (catalog->env != NULL)
        mdb_env_close(catalog->env);
    free(catalog);
}

// --- transactions ---

enum err catalog_begin(struct catalog *catalog, bool write, struct catalog_txn **out,
                       struct error *error)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(catalog->env, NULL, write ? 0 : MDB_RDONLY, &txn);
    if (rc != 0)
        return lmdb_fail(error, rc, "begin");
    struct catalog_txn *t = calloc(1, sizeof *t);
    CHECK(t != NULL);
    *t = (struct catalog_txn){.catalog = catalog,
                              .txn = txn,
                              .write = write,
                              .next_node = write ? catalog->next_node : 0};
    *out = t;
    return OK;
}

enum err catalog_commit(struct catalog_txn *t, struct error *error)
{
    CHECK(t->write);
    struct catalog *catalog = t->catalog;
    enum err err = OK;
    if (t->next_node != catalog->next_node)
        err = meta_put(t, "next_node", t->next_node, error);
    if (err != OK) {
        catalog_abort(t);
        return err;
    }
    int rc = mdb_txn_commit(t->txn);
    if (rc == 0)
        catalog->next_node = t->next_node;
    free(t);
    return rc == 0 ? OK : lmdb_fail(error, rc, "commit");
}

void catalog_abort(struct catalog_txn *t)
{
    if (t == NULL)
        return;
    mdb_txn_abort(t->txn);
    free(t);
}

void catalog_park(struct catalog_txn *t)
{
    CHECK(!t->write);
    mdb_txn_reset(t->txn);
}

enum err catalog_renew(struct catalog_txn *t, struct error *error)
{
    int rc = mdb_txn_renew(t->txn);
    return rc == 0 ? OK : lmdb_fail(error, rc, "renew");
}

// --- the reserve ---

// Are there free pages inside the file (LMDB's table 0: each value is a list of pages, its length
// first)? They are overwritten in place, so they need no space.
static enum err free_pages_check(struct catalog *catalog, struct error *error)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    uint64_t pages = 0;
    int rc = mdb_txn_begin(catalog->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return lmdb_fail(error, rc, "begin");
    rc = mdb_cursor_open(txn, 0, &cursor);
    if (rc == 0) {
        MDB_val key, value;
        while (pages < FREE_PAGES_WANTED &&
               (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
            size_t count = 0;
            if (value.mv_size >= sizeof count)
                memcpy(&count, value.mv_data, sizeof count);
            pages += count;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return lmdb_fail(error, rc, "read the free list");
    if (pages < FREE_PAGES_WANTED)
        return fail(error, ERR_FULL, 0, "there is no space to let the catalog grow");
    return OK;
}

enum err catalog_reserve(struct catalog *catalog, struct error *error)
{
    MDB_envinfo info;
    mdb_env_info(catalog->env, &info);
    uint64_t want = (info.me_last_pgno + 1) * catalog->page_bytes + S3_CATALOG_RESERVE_BYTES;
    if (want > catalog->map_bytes)
        return free_pages_check(catalog, error);
    if (want <= catalog->reserved_bytes || catalog->cannot_reserve)
        return OK;
    want += RESERVE_STEP_BYTES;
    AUTO_FD int fd = open(catalog->data_path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "open '%s'", catalog->data_path);
    while (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)want) != 0) {
        if (errno == EINTR)
            continue;
        if (err_from_errno(errno) == ERR_FULL)
            return free_pages_check(catalog, error);
        if (errno != EOPNOTSUPP && errno != ENOSYS)
            return fail(error, ERR_IO, errno, "reserve space for the catalog");
        catalog->cannot_reserve = true;
        log_event(LOG_WARN, "catalog_no_reserve",
                  "reason=\"the file system cannot preallocate; deletes may fail on a full disk\"");
        return OK;
    }
    catalog->reserved_bytes = want;
    return OK;
}

// --- buckets ---

enum err catalog_bucket_get(struct catalog_txn *t, const char *name, struct bucket *out,
                            struct error *error)
{
    struct bucket_value disk;
    MDB_val key = val_of(name, strlen(name)), value;
    if (key.mv_size == 0 || key.mv_size > S3_BUCKET_NAME_BYTES_MAX)
        return fail(error, ERR_NOT_FOUND, 0, "no bucket can have the name '%.80s'", name);
    int rc = mdb_get(t->txn, t->catalog->buckets, &key, &value);
    if (rc != 0)
        return lmdb_fail(error, rc, "look a bucket up");
    if (value.mv_size < sizeof disk)
        return fail(error, ERR_CORRUPT, 0, "catalog: bucket record has %zu bytes", value.mv_size);
    memcpy(&disk, value.mv_data, sizeof disk);
    *out = (struct bucket){.root = disk.root, .created_ms = disk.created_ms};
    memcpy(out->name, name, key.mv_size);
    return OK;
}

enum err catalog_bucket_create(struct catalog_txn *t, const char *name, int64_t created_ms,
                               struct error *error)
{
    struct bucket_value disk = {.root = t->next_node, .created_ms = created_ms};
    MDB_val key = val_of(name, strlen(name)), value;
    MDB_stat stat;
    CHECK(key.mv_size > 0 && key.mv_size <= S3_BUCKET_NAME_BYTES_MAX);
    int rc = mdb_get(t->txn, t->catalog->buckets, &key, &value);
    if (rc == 0)
        return fail(error, ERR_EXISTS, 0, "bucket '%s' exists", name);
    if (rc == MDB_NOTFOUND)
        rc = mdb_stat(t->txn, t->catalog->buckets, &stat);
    if (rc != 0)
        return lmdb_fail(error, rc, "look a bucket up");
    if (stat.ms_entries >= S3_BUCKETS_MAX)
        return fail(error, ERR_LIMIT, 0, "there are %d buckets, the limit", S3_BUCKETS_MAX);
    value = val_of(&disk, sizeof disk);
    rc = mdb_put(t->txn, t->catalog->buckets, &key, &value, 0);
    if (rc != 0)
        return lmdb_fail(error, rc, "store a bucket");
    t->next_node++;
    return OK;
}

enum err catalog_bucket_delete(struct catalog_txn *t, const char *name, struct error *error)
{
    struct bucket bucket = {.root = 0};
    bool empty = false;
    TRY(catalog_bucket_get(t, name, &bucket, error));
    TRY(keytree_empty(t->txn, t->catalog->objects, bucket.root, &empty, error));
    if (!empty)
        return fail(error, ERR_BUSY, 0, "bucket '%s' is not empty", name);
    MDB_val key = val_of(name, strlen(name));
    int rc = mdb_del(t->txn, t->catalog->buckets, &key, NULL);
    return rc == 0 ? OK : lmdb_fail(error, rc, "delete a bucket");
}

enum err catalog_bucket_next(struct catalog_txn *t, const char *after, struct bucket *out,
                             struct error *error)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(t->txn, t->catalog->buckets, &cursor);
    if (rc != 0)
        return lmdb_fail(error, rc, "open a cursor");
    char from[S3_BUCKET_NAME_BYTES_MAX + 2];
    int len = snprintf(from, sizeof from, "%s", after);
    CHECK(len < (int)sizeof from);
    MDB_val key = val_of(from, (size_t)len + 1), value; // with its 0: the next name possible
    rc = mdb_cursor_get(cursor, &key, &value, after[0] == '\0' ? MDB_FIRST : MDB_SET_RANGE);
    struct bucket_value disk;
    enum err err = OK;
    if (rc != 0) {
        err = lmdb_fail(error, rc, "list buckets");
    } else if (value.mv_size < sizeof disk || key.mv_size > S3_BUCKET_NAME_BYTES_MAX) {
        err = fail(error, ERR_CORRUPT, 0, "catalog: bucket record has %zu bytes", value.mv_size);
    } else {
        memcpy(&disk, value.mv_data, sizeof disk);
        *out = (struct bucket){.root = disk.root, .created_ms = disk.created_ms};
        memcpy(out->name, key.mv_data, key.mv_size);
    }
    mdb_cursor_close(cursor);
    return err;
}

// --- objects ---

enum err catalog_object_get(struct catalog_txn *t, uint64_t root, struct span key,
                            struct span *record, struct error *error)
{
    return keytree_get(t->txn, t->catalog->objects, root, key, record, error);
}

enum err catalog_object_put(struct catalog_txn *t, uint64_t root, struct span key,
                            struct span record, struct error *error)
{
    return keytree_put(t->txn, t->catalog->objects, root, key, record, &t->next_node, error);
}

enum err catalog_object_delete(struct catalog_txn *t, uint64_t root, struct span key,
                               struct error *error)
{
    return keytree_delete(t->txn, t->catalog->objects, root, key, error);
}

void catalog_cursor_init(struct keytree_cursor *c, struct catalog_txn *t)
{
    keytree_cursor_init(c, t->txn, t->catalog->objects);
}

// --- body files ---

enum err catalog_blob_add(struct catalog_txn *t, uint64_t id, struct error *error)
{
    uint64_t big = htobe64(id);
    uint32_t uses = 1;
    MDB_val key = val_of(&big, sizeof big), value = val_of(&uses, sizeof uses);
    int rc = mdb_put(t->txn, t->catalog->blobs, &key, &value, MDB_NOOVERWRITE);
    return rc == 0 ? OK : lmdb_fail(error, rc, "add a body file");
}

enum err catalog_blob_drop(struct catalog_txn *t, uint64_t id, struct error *error)
{
    uint64_t big = htobe64(id);
    MDB_val key = val_of(&big, sizeof big);
    int rc = mdb_del(t->txn, t->catalog->blobs, &key, NULL);
    return rc == 0 ? OK : lmdb_fail(error, rc, "drop a body file");
}

enum err catalog_blob_exists(struct catalog_txn *t, uint64_t id, bool *exists, struct error *error)
{
    uint64_t big = htobe64(id);
    MDB_val key = val_of(&big, sizeof big), value;
    int rc = mdb_get(t->txn, t->catalog->blobs, &key, &value);
    *exists = rc == 0;
    return rc == 0 || rc == MDB_NOTFOUND ? OK : lmdb_fail(error, rc, "look a body file up");
}
