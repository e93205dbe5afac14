// Opening a store: which segments there must be, reading their records, cutting a torn tail.
#include "journal/journal_internal.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum err journal_read_at(struct journal *j, int fd, void *data, size_t len, uint64_t at,
                         const char *what, struct error *error)
{
    char *p = data;
    while (len > 0) {
        ssize_t got = j->io->pread(j->io->ctx, fd, p, len, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(error, ERR_IO, errno, "read %zu bytes at offset %llu of '%s'", len,
                        (unsigned long long)at, what);
        if (got == 0)
            return fail(error, ERR_CORRUPT, 0, "'%s' ends before offset %llu", what,
                        (unsigned long long)(at + len));
        p += got;
        at += (uint64_t)got;
        len -= (size_t)got;
    }
    return OK;
}

// --- the manifest ---

static void manifest_path(const struct journal *j, const char *suffix, char out[PATH_MAX])
{
    CHECK(snprintf(out, PATH_MAX, "%s/manifest%s", j->dir, suffix) < PATH_MAX);
}

// A new store: manifest with one segment, both durable, before anything is in it.
static enum err store_create(struct journal *j, struct error *error)
{
    char path[PATH_MAX], temp[PATH_MAX];
    int fd = -1;
    AUTO_BUF struct buf bytes = {0};
    memcpy(j->store, j->config.store, STORE_ID_BYTES);
    j->next_sequence = 1;
    j->next_id = 2;
    TRY(segment_create(j, 1, &fd, error));
    j->current = journal_slot_add(j, 1, fd);
    j->segments[j->current].spare = false;
    journal_order_rebuild(j);

    manifest_path(j, ".new", temp);
    manifest_path(j, "", path);
    j->manifest_fd = j->io->open(j->io->ctx, temp, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (j->manifest_fd < 0)
        return fail(error, err_from_errno(errno), errno, "create '%s'", temp);
    if (j->io->fallocate(j->io->ctx, j->manifest_fd, MANIFEST_FILE_BYTES) != 0)
        return fail(error, err_from_errno(errno), errno, "allocate '%s'", temp);
    // both slots, so that updates never write to blocks that have yet to be found
    for (j->generation = 0; j->generation < 2; j->generation++) {
        static const char zeros[MANIFEST_SLOT_BYTES];
        uint64_t at = j->generation % 2 * MANIFEST_SLOT_BYTES;
        TRY(journal_write(j, j->manifest_fd, zeros, sizeof zeros, at, temp, error));
        journal_manifest(j, 0, 0, j->generation, &bytes);
        TRY(manifest_store(j, buf_view(&bytes), j->generation, error));
    }
    j->generation--;
    if (j->io->rename(j->io->ctx, temp, path) != 0)
        return fail(error, err_from_errno(errno), errno, "rename '%s' to '%s'", temp, path);
    if (j->io->sync_dir(j->io->ctx, j->dir) != 0)
        return fail(error, err_from_errno(errno), errno, "sync directory '%s'", j->dir);
    return OK;
}

static void note_file(void *ctx, const char *name)
{
    struct journal_files *f = ctx;
    uint32_t id = 0;
    if (strlen(name) != 12 || strcmp(name + 8, ".seg") != 0)
        return;
    for (int i = 0; i < 8; i++) {
        const char *digits = "0123456789abcdef", *digit = strchr(digits, name[i]);
        if (digit == NULL)
            return;
        id = id << 4 | (uint32_t)(digit - digits);
    }
    if (f->count == f->cap) {
        f->cap = f->cap == 0 ? 64 : f->cap * 2;
        f->ids = realloc(f->ids, f->cap * sizeof f->ids[0]);
        CHECK(f->ids != NULL);
    }
    f->ids[f->count++] = id;
}

int journal_list_files(struct journal *j, struct journal_files *out)
{
    return j->io->list(j->io->ctx, j->dir, note_file, out);
}

static bool all_zeros(const char *data, size_t len)
{
    return len == 0 || (data[0] == 0 && memcmp(data, data + 1, len - 1) == 0);
}

// Whether anything stands where a segment's first record would be.
bool journal_segment_used(struct journal *j, const char *path)
{
    char first[RECORD_HEADER_BYTES];
    int fd = j->io->open(j->io->ctx, path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    ssize_t got = j->io->pread(j->io->ctx, fd, first, sizeof first, SEGMENT_HEADER_BYTES);
    j->io->close(j->io->ctx, fd);
    return got > 0 && !all_zeros(first, (size_t)got);
}

// A segment that the manifest does not list: left by a removal (older than the newest) or by a
// creation that did not finish (newer, and empty).
static enum err unlisted_remove(struct journal *j, const struct manifest *m, uint32_t id,
                                struct error *error)
{
    char path[PATH_MAX];
    journal_path(j, id, path);
    uint32_t newest = m->count > 0 ? m->ids[m->count - 1] : 0;
    if (id > newest && journal_segment_used(j, path))
        return fail(error, ERR_CORRUPT, 0,
                    "'%s' holds records, but the manifest beside it does not know it; nothing was "
                    "changed: restore the manifest from a backup, or move the file away",
                    path);
    if (j->io->unlink(j->io->ctx, path) != 0)
        return fail(error, err_from_errno(errno), errno, "remove '%s'", path);
    return OK;
}

static enum err segment_open(struct journal *j, uint32_t id, struct error *error)
{
    char path[PATH_MAX];
    journal_path(j, id, path);
    int fd = j->io->open(j->io->ctx, path, O_RDWR, 0);
    if (fd < 0 && errno == ENOENT)
        return fail(error, ERR_CORRUPT, 0,
                    "segment '%s' is missing: the manifest lists it. Restore it from a backup",
                    path);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "open '%s'", path);
    uint16_t slot = journal_slot_add(j, id, fd); // owns fd from here on
    (void)slot;
    off_t bytes;
    if (j->io->size(j->io->ctx, fd, &bytes) != 0)
        return fail(error, ERR_IO, errno, "stat '%s'", path);
    if (bytes != (off_t)j->segment_bytes)
        return fail(error, ERR_CORRUPT, 0,
                    "'%s' has %lld bytes instead of %u: it was cut or changed", path,
                    (long long)bytes, j->segment_bytes);
    struct segment_header h;
    TRY(journal_read_at(j, fd, &h, sizeof h, 0, path, error));
    enum err err = segment_header_check(&h, id, j->store, j->segment_bytes, error);
    return err == OK ? OK : fail_context(error, err, "'%s'", path);
}

static enum err store_open(struct journal *j, const struct manifest *m,
                           const struct journal_files *found, struct error *error)
{
    memcpy(j->store, m->store, STORE_ID_BYTES);
    j->segment_bytes = m->segment_bytes;
    j->generation = m->generation;
    j->next_sequence = m->next_sequence;
    j->next_id = m->count > 0 ? m->ids[m->count - 1] + 1 : 1;
    for (uint32_t i = 0; i < m->count; i++) {
        if (i > 0 && m->ids[i] <= m->ids[i - 1])
            return fail(error, ERR_CORRUPT, 0, "the manifest in '%s' is out of order", j->dir);
        TRY(segment_open(j, m->ids[i], error));
    }
    if (m->count == 0)
        return fail(error, ERR_CORRUPT, 0, "the manifest in '%s' lists no segment", j->dir);
    for (size_t i = 0; i < found->count; i++)
        if (!manifest_lists(m, found->ids[i]))
            TRY(unlisted_remove(j, m, found->ids[i], error));
    journal_order_rebuild(j);
    return OK;
}

// --- records ---

static enum err out_of_sequence(const struct segment_scan *c, const struct record *r,
                                struct error *error)
{
    return fail(
        error, ERR_CORRUPT, 0,
        "'%s': the record at offset %u has number %llu, expected %llu: records are missing. "
        "Nothing was changed; restore the file from a backup",
        c->path, r->at, (unsigned long long)r->sequence, (unsigned long long)c->expected);
}

// Replays the records of one segment up to its end or to the first place that is not a record.
static enum err replay_segment(struct segment_scan *c, struct error *error)
{
    struct journal *j = c->j;
    c->at = SEGMENT_HEADER_BYTES;
    while (c->at + RECORD_HEADER_BYTES <= j->segment_bytes) {
        struct record r;
        size_t left = j->segment_bytes - c->at;
        if (record_read(c->data + c->at, left, c->s->id, c->at, &r) != RECORD_GOOD)
            break;
        if (r.sequence != c->expected && (c->expected != 0 || r.sequence == 0))
            return out_of_sequence(c, &r, error);
        c->expected = r.sequence + 1;
        if (c->s->first_sequence == 0)
            c->s->first_sequence = r.sequence;
        c->s->last_sequence = r.sequence;
        c->at += r.bytes;
        c->s->used = c->at;
        if (r.type == RECORD_END) {
            c->s->full = true;
            c->s->dead_at = r.sequence;
            break;
        }
        struct journal_record out = {
            .type = r.type,
            .sequence = r.sequence,
            .place = {.at8 = r.at / RECORD_ALIGN, .bytes = r.bytes, .segment = c->slot},
            .payload = r.payload};
        enum err err = j->config.replay(j->config.ctx, &out, error);
        if (err != OK)
            return fail_context(error, err, "'%s', record at offset %u", c->path, r.at);
    }
    return OK;
}

// Where the last byte that is not zero ends, c->at if there is none behind that.
uint32_t segment_scan_end(const struct segment_scan *c)
{
    enum { STEP = 4096 };
    uint32_t end = c->filled > c->at ? c->filled : c->at;
    while (end >= c->at + STEP && all_zeros(c->data + end - STEP, STEP))
        end -= STEP;
    while (end > c->at && c->data[end - 1] == 0)
        end--;
    return end;
}

// The scan stopped at c->at. That is a torn tail, which may be cut, unless a record behind it
// proves that this place had been synced: one whose own write began behind it.
static enum err check_torn(const struct segment_scan *c, struct error *error)
{
    uint32_t end = segment_scan_end(c);
    for (uint32_t at = c->at + RECORD_ALIGN; at + RECORD_HEADER_BYTES <= end; at += RECORD_ALIGN) {
        struct record r;
        size_t left = c->j->segment_bytes - at;
        if (record_read(c->data + at, left, c->s->id, at, &r) != RECORD_GOOD)
            continue;
        if (r.commit_at > c->at)
            return fail(
                error, ERR_CORRUPT, 0,
                "'%s': the record at offset %u is damaged, and good ones follow (at offset "
                "%u). Nothing was changed; `smelt check` tells more, or restore the file from a "
                "backup",
                c->path, c->at, at);
    }
    return OK;
}

static enum err cut_tail(struct segment_scan *c, struct error *error)
{
    struct journal *j = c->j;
    uint32_t end = segment_scan_end(c);
    if (end > c->at) {
        size_t len = end - c->at;
        memset(c->data + c->at, 0, len);
        TRY(journal_write(j, c->s->fd, c->data + c->at, len, c->at, c->path, error));
        j->cut_bytes = len;
    }
    return OK;
}

// What was replayed may come from a commit that was never synced, when only the process was killed.
// It is made durable before anything follows it: the last segment with records, and the one before
// it, which that commit may have ended.
static enum err sync_replayed(struct journal *j, uint32_t last, struct error *error)
{
    char path[PATH_MAX];
    for (uint32_t i = last > 0 ? last - 1 : 0; i <= last; i++) {
        const struct segment *s = &j->segments[j->order[i]];
        journal_path(j, s->id, path);
        if (j->io->fdatasync(j->io->ctx, s->fd) != 0)
            return fail(error, ERR_IO, errno, "sync '%s'", path);
    }
    return OK;
}

enum err segment_scan_load(struct segment_scan *c, uint32_t i, struct error *error)
{
    struct journal *j = c->j;
    c->slot = j->order[i];
    c->s = &j->segments[c->slot];
    journal_path(j, c->s->id, c->path);
    c->filled = 0;
    // what was allocated and never written need not be read
    for (off_t at = 0, size = (off_t)j->segment_bytes; at < size;) {
        off_t start = size, end = size;
        int found = j->io->next_data(j->io->ctx, c->s->fd, at, &start, &end);
        if (found < 0)
            return fail(error, ERR_IO, errno, "look for data in '%s'", c->path);
        if (found == 0 || start > size)
            start = end = size;
        if (at < c->dirty) // else it is zeros, and stays untouched memory
            memset(c->data + at, 0, (size_t)((start < c->dirty ? start : c->dirty) - at));
        end = end > size ? size : end;
        TRY(journal_read_at(j, c->s->fd, c->data + start, (size_t)(end - start), (uint64_t)start,
                            c->path, error));
        at = end;
        if (end > start)
            c->filled = (uint32_t)end;
        if (c->filled > c->dirty)
            c->dirty = c->filled;
    }
    return OK;
}

// The segments behind the tail must never have been used: what is in them would prove that the tail
// was whole.
static enum err check_unused(struct segment_scan *c, const struct segment_scan *tail, uint32_t from,
                             struct error *error)
{
    for (uint32_t i = from; i < c->j->order_len; i++) {
        TRY(segment_scan_load(c, i, error));
        if (c->filled > SEGMENT_HEADER_BYTES &&
            !all_zeros(c->data + SEGMENT_HEADER_BYTES, c->filled - SEGMENT_HEADER_BYTES))
            return fail(
                error, ERR_CORRUPT, 0,
                "'%s' is damaged or incomplete from offset %u on, and '%s' goes on after it. "
                "Nothing was changed; restore the file from a backup",
                tail->path, tail->at, c->path);
    }
    return OK;
}

static enum err replay_all(struct segment_scan *c, struct error *error)
{
    struct journal *j = c->j;
    uint32_t i = 0, previous_id = 0;
    uint64_t first_possible = 1;
    for (; i < j->order_len; i++) {
        TRY(segment_scan_load(c, i, error));
        if (previous_id == 0 || c->s->id != previous_id + 1)
            c->expected = 0; // segments between were removed
        previous_id = c->s->id;
        c->s->spare = false;
        TRY(replay_segment(c, error));
        if (c->s->first_sequence != 0 && c->s->first_sequence < first_possible)
            return fail(error, ERR_CORRUPT, 0,
                        "'%s' begins with record %llu, before the end of "
                        "the segment before it",
                        c->path, (unsigned long long)c->s->first_sequence);
        if (c->s->last_sequence != 0)
            first_possible = c->s->last_sequence + 1;
        if (!c->s->full)
            break;
    }
    if (first_possible > j->next_sequence)
        j->next_sequence = first_possible;
    j->written_sequence = j->durable_sequence = j->next_sequence - 1;
    if (i == j->order_len) { // ended exactly with a full one: the next spare was not made yet
        j->current = j->order[i - 1];
        return sync_replayed(j, i - 1, error);
    }
    j->current = j->order[i];
    TRY(check_torn(c, error));
    struct segment_scan tail = *c;
    struct segment_scan rest = {.j = j, .data = calloc(1, j->segment_bytes)};
    CHECK(rest.data != NULL);
    enum err err = check_unused(&rest, &tail, i + 1, error);
    free(rest.data);
    TRY(err);
    TRY(cut_tail(c, error));
    return sync_replayed(j, i, error);
}

static enum err open_existing(struct journal *j, const struct journal_files *found,
                              struct error *error)
{
    AUTO_MANIFEST struct manifest m = {0};
    AUTO_BUF struct buf bytes = {0};
    char path[PATH_MAX];
    off_t size = 0;
    manifest_path(j, "", path);
    if (j->io->size(j->io->ctx, j->manifest_fd, &size) != 0)
        return fail(error, ERR_IO, errno, "stat '%s'", path);
    if (size > MANIFEST_FILE_BYTES)
        size = MANIFEST_FILE_BYTES + 1; // refused below
    buf_reserve(&bytes, (size_t)size);
    TRY(journal_read_at(j, j->manifest_fd, bytes.data, (size_t)size, 0, path, error));
    bytes.len = (size_t)size;
    enum err err = manifest_read(buf_view(&bytes), &m, error);
    if (err != OK)
        return fail_context(error, err, "'%s'", path);
    // a killed process may not have come to this: nothing may build on what a power loss takes back
    if (j->io->fdatasync(j->io->ctx, j->manifest_fd) != 0)
        return fail(error, ERR_IO, errno, "sync '%s'", path);
    if (j->io->sync_dir(j->io->ctx, j->dir) != 0)
        return fail(error, ERR_IO, errno, "sync directory '%s'", j->dir);
    TRY(store_open(j, &m, found, error));
    struct segment_scan c = {.j = j, .data = calloc(1, j->segment_bytes)};
    CHECK(c.data != NULL);
    err = replay_all(&c, error);
    free(c.data);
    journal_order_rebuild(j);
    j->check_dead = true;
    return err;
}

enum err journal_recover(struct journal *j, struct error *error)
{
    char path[PATH_MAX], first[PATH_MAX];
    struct journal_files found = {0};
    if (journal_list_files(j, &found) != 0) {
        free(found.ids);
        return fail(error, err_from_errno(errno), errno, "list directory '%s'", j->dir);
    }
    manifest_path(j, "", path);
    journal_path(j, 1, first);
    enum err err;
    j->manifest_fd = j->io->open(j->io->ctx, path, O_RDWR, 0);
    if (j->manifest_fd >= 0)
        err = open_existing(j, &found, error);
    else if (errno != ENOENT)
        err = fail(error, err_from_errno(errno), errno, "open '%s'", path);
    else if (found.count > 1 ||
             (found.count == 1 && (found.ids[0] != 1 || journal_segment_used(j, first))))
        err = fail(error, ERR_CORRUPT, 0,
                   "'%s' is missing, and there are segments beside it: restore it from a backup",
                   path);
    else
        err = store_create(j, error);
    free(found.ids);
    return err;
}
