#include "s3/store_check.h"

#include "base/check.h"
#include "base/file.h"
#include "s3/blob.h"
#include "s3/catalog.h"
#include "s3/object_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 256 << 10, WHERE_BYTES_MAX = S3_KEY_BYTES_MAX + S3_BUCKET_NAME_BYTES_MAX + 16 };

struct walk {
    struct store_check *c;
    const char *dir;
    struct catalog_txn *txn;
    uint64_t *ids; // of the body files that objects name
    size_t id_count, id_cap;
    char *scratch;
};

PRINTF_LIKE(3, 4)
static void damage(struct store_check *c, const char *where, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    c->damages++;
    if (c->on_damage != NULL)
        c->on_damage(c->ctx, where, text);
}

// --- objects ---

static void note_id(struct walk *w, uint64_t id)
{
    if (w->id_count == w->id_cap) {
        w->id_cap = w->id_cap == 0 ? 1024 : w->id_cap * 2;
        w->ids = realloc(w->ids, w->id_cap * sizeof w->ids[0]);
        CHECK(w->ids != NULL);
    }
    w->ids[w->id_count++] = id;
}

static void check_bytes(struct walk *w, const char *where, const struct object_record *record,
                        int fd)
{
    uint32_t crc = 0;
    ssize_t got;
    while ((got = read(fd, w->scratch, READ_BYTES)) > 0 || (got < 0 && errno == EINTR))
        if (got > 0)
            crc = digest_crc32c(crc, w->scratch, (size_t)got);
    if (got < 0)
        damage(w->c, where, "its body cannot be read: %s", strerror(errno));
    else if (crc != record->body_crc32c)
        damage(w->c, where, "its body was changed on disk: the checksum is %08x instead of %08x",
               crc, record->body_crc32c);
}

static void check_file(struct walk *w, const char *where, const struct object_record *record)
{
    char path[PATH_MAX];
    struct stat st;
    bool listed = false;
    struct error error;
    note_id(w, record->blob_id);
    if (catalog_blob_exists(w->txn, record->blob_id, &listed, &error) != OK || !listed)
        damage(w->c, where,
               "its body file is not in the catalog's list: the next start removes it");
    blob_path(w->dir, record->blob_id, path);
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        damage(w->c, where, "its body file '%s': %s", path, strerror(errno));
    else if ((uint64_t)st.st_size != record->size_bytes)
        damage(w->c, where, "its body file '%s' has %lld bytes instead of %llu", path,
               (long long)st.st_size, (unsigned long long)record->size_bytes);
    else if (w->c->deep)
        check_bytes(w, where, record, fd);
}

static void check_object(struct walk *w, const struct bucket *bucket, struct span key,
                         struct span bytes)
{
    char where[WHERE_BYTES_MAX];
    struct object_record record;
    struct error error;
    snprintf(where, sizeof where, "s3://%s/%.*s", bucket->name, (int)key.len, key.data);
    w->c->objects++;
    if (record_decode(bytes, &record, &error) != OK) {
        damage(w->c, where, "%s", error.msg);
        return;
    }
    w->c->bytes += record.size_bytes;
    if (record.blob_id != 0)
        check_file(w, where, &record);
    else if (record_check_body(&record, record.body, &error) != OK)
        damage(w->c, where, "%s", error.msg);
}

static enum err check_bucket(struct walk *w, const struct bucket *bucket, struct error *error)
{
    struct keytree_cursor *cursor = calloc(1, sizeof *cursor);
    CHECK(cursor != NULL);
    catalog_cursor_init(cursor, w->txn);
    enum err err = keytree_cursor_seek(cursor, bucket->root, (struct span){NULL, 0}, error);
    while (err == OK && cursor->valid) {
        check_object(w, bucket, (struct span){cursor->key, cursor->key_len}, cursor->value);
        err = keytree_cursor_next(cursor, error);
    }
    keytree_cursor_release(cursor);
    free(cursor);
    return err;
}

static void check_catalog(struct walk *w)
{
    struct bucket bucket = {.name = ""};
    struct error error;
    enum err err;
    while ((err = catalog_bucket_next(w->txn, bucket.name, &bucket, &error)) == OK) {
        w->c->buckets++;
        if (check_bucket(w, &bucket, &error) != OK)
            damage(w->c, "data.mdb", "bucket %s: %s", bucket.name, error.msg);
    }
    if (err != ERR_NOT_FOUND)
        damage(w->c, "data.mdb", "the list of buckets: %s", error.msg);
}

// --- files ---

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void look_at_file(struct walk *w, int folder, int number, const char *name)
{
    char file[64];
    struct stat st = {.st_size = 0};
    struct error error;
    bool listed = false;
    uint64_t id;
    if (!blob_id_of(name, &id))
        return; // not ours
    w->c->files++;
    if (bsearch(&id, w->ids, w->id_count, sizeof id, by_id) != NULL)
        return;
    snprintf(file, sizeof file, "blobs/%02x/%.16s", (unsigned)number, name);
    fstatat(folder, name, &st, 0);
    if (catalog_blob_exists(w->txn, id, &listed, &error) != OK || listed) {
        damage(w->c, file, "the catalog keeps this body file, but no object has it");
        return;
    }
    w->c->orphans++;
    if (w->c->on_orphan != NULL)
        w->c->on_orphan(w->c->ctx, file, (uint64_t)st.st_size);
}

static void check_files(struct walk *w)
{
    if (w->id_count > 0)
        qsort(w->ids, w->id_count, sizeof w->ids[0], by_id);
    for (int i = 0; i < BLOB_FOLDERS; i++) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof path, "%s/blobs/%02x", w->dir, (unsigned)i) >= (int)sizeof path)
            return;
        DIR *list = opendir(path);
        if (list == NULL) // what is missing in it was said with its objects
            continue;
        for (struct dirent *entry; (entry = readdir(list)) != NULL;)
            look_at_file(w, dirfd(list), i, entry->d_name);
        closedir(list);
    }
}

enum err store_check_run(struct store_check *c, const char *dir, struct error *error)
{
    struct catalog *catalog = NULL;
    struct walk w = {.c = c, .dir = dir};
    enum err err = catalog_open_to_look(dir, &catalog, error);
    if (err == ERR_NOT_FOUND || err == ERR_UNSUPPORTED)
        return err;
    if (err == OK)
        err = catalog_begin(catalog, false, &w.txn, error);
    if (err != OK) {
        damage(c, "data.mdb", "%s", error->msg);
        catalog_close(catalog);
        return OK;
    }
    w.scratch = malloc(READ_BYTES);
    CHECK(w.scratch != NULL);
    check_catalog(&w);
    check_files(&w);
    catalog_abort(w.txn);
    catalog_close(catalog);
    free(w.scratch);
    free(w.ids);
    return OK;
}
