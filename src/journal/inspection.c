#include "journal/inspection.h"

#include "base/check.h"
#include "journal/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct look {
    struct journal *j;
    struct journal_inspection *in;
    struct segment_scan scan;
    uint64_t expected; // number of the next record; 0: any
    uint64_t least;    // no record may have a smaller number
    uint32_t previous_id;
    bool replaying;
};

PRINTF_LIKE(5, 6)
static void damage(struct journal_inspection *in, const char *file, uint64_t at, uint64_t bytes,
                   const char *fmt, ...)
{
    struct journal_damage d = {.at = at, .bytes = bytes};
    const char *slash = strrchr(file, '/');
    va_list args;
    snprintf(d.file, sizeof d.file, "%s", slash != NULL ? slash + 1 : file);
    va_start(args, fmt);
    vsnprintf(d.text, sizeof d.text, fmt, args);
    va_end(args);
    in->damages++;
    if (in->on_damage != NULL)
        in->on_damage(in->ctx, &d);
}

// --- which segments ---

static int id_order(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

// Without a manifest the files that are there stand for it.
static void manifest_make_up(struct journal *j, const struct journal_files *files,
                             struct manifest *m)
{
    *m = (struct manifest){.ids = malloc((files->count + 1) * sizeof m->ids[0])};
    CHECK(m->ids != NULL);
    for (size_t i = 0; i < files->count && i < SEGMENTS_MAX; i++) {
        char path[PATH_MAX];
        struct segment_header h;
        journal_path(j, files->ids[i], path);
        m->ids[m->count++] = files->ids[i];
        int fd = j->io->open(j->io->ctx, path, O_RDONLY, 0);
        if (fd < 0)
            continue;
        bool read = j->io->pread(j->io->ctx, fd, &h, sizeof h, 0) == (ssize_t)sizeof h;
        j->io->close(j->io->ctx, fd);
        if (m->segment_bytes == 0 && read && h.segment_bytes >= 4096 &&
            h.segment_bytes % RECORD_ALIGN == 0 && h.segment_bytes <= JOURNAL_SEGMENT_BYTES &&
            segment_header_check(&h, h.segment, h.store, h.segment_bytes, NULL) == OK) {
            m->segment_bytes = h.segment_bytes;
            memcpy(m->store, h.store, STORE_ID_BYTES);
        }
    }
    if (m->segment_bytes == 0)
        m->segment_bytes = JOURNAL_SEGMENT_BYTES;
    qsort(m->ids, m->count, sizeof m->ids[0], id_order);
}

static enum err manifest_load(struct journal *j, struct manifest *m, struct error *error)
{
    AUTO_BUF struct buf bytes = {0};
    char path[PATH_MAX];
    off_t size = 0;
    CHECK(snprintf(path, sizeof path, "%s/manifest", j->dir) < (int)sizeof path);
    int fd = j->io->open(j->io->ctx, path, O_RDONLY, 0);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "it cannot be opened");
    enum err err = OK;
    if (j->io->size(j->io->ctx, fd, &size) != 0)
        err = fail(error, ERR_IO, errno, "stat");
    size = size > MANIFEST_FILE_BYTES ? MANIFEST_FILE_BYTES + 1 : size; // refused below
    buf_reserve(&bytes, (size_t)size);
    if (err == OK)
        err = journal_read_at(j, fd, bytes.data, (size_t)size, 0, path, error);
    j->io->close(j->io->ctx, fd);
    TRY(err);
    bytes.len = (size_t)size;
    TRY(manifest_read(buf_view(&bytes), m, error));
    for (uint32_t i = 1; i < m->count; i++)
        if (m->ids[i] <= m->ids[i - 1])
            return fail(error, ERR_CORRUPT, 0, "its segments are out of order");
    return m->count > 0 ? OK : fail(error, ERR_CORRUPT, 0, "it lists no segment");
}

// Opens a listed segment. One that stands under another's name is taken for what it is, so that
// what was swapped can be read.
static void segment_look(struct journal *j, struct journal_inspection *in, uint32_t id,
                         const struct manifest *m)
{
    char path[PATH_MAX];
    struct segment_header h;
    struct error error;
    off_t bytes = 0;
    journal_path(j, id, path);
    int fd = j->io->open(j->io->ctx, path, O_RDONLY, 0);
    if (fd < 0) {
        damage(in, path, 0, j->segment_bytes,
               "the segment is missing, and the manifest lists it: %s; restore it from a backup",
               strerror(errno));
        return;
    }
    if (j->io->size(j->io->ctx, fd, &bytes) != 0 || bytes != (off_t)j->segment_bytes)
        damage(in, path, (uint64_t)bytes, 0,
               "it has %lld bytes instead of %u: it was cut or changed", (long long)bytes,
               j->segment_bytes);
    if (journal_read_at(j, fd, &h, sizeof h, 0, path, &error) != OK) {
        damage(in, path, 0, SEGMENT_HEADER_BYTES, "its header cannot be read: %s", error.msg);
    } else if (segment_header_check(&h, id, j->store, j->segment_bytes, &error) != OK) {
        damage(in, path, 0, SEGMENT_HEADER_BYTES, "%s", error.msg);
        if (segment_header_check(&h, h.segment, j->store, j->segment_bytes, NULL) == OK &&
            manifest_lists(m, h.segment))
            id = h.segment;
    }
    for (uint16_t slot = 0; slot < j->slot_count; slot++)
        if (j->segments[slot].exists && j->segments[slot].id == id) { // a copy of one seen already
            j->io->close(j->io->ctx, fd);
            return;
        }
    (void)journal_slot_add(j, id, fd); // owns fd from here on
}

static void look_at_unlisted(struct journal *j, struct journal_inspection *in,
                             const struct journal_files *files, const struct manifest *m)
{
    uint32_t newest = m->count > 0 ? m->ids[m->count - 1] : 0;
    for (size_t i = 0; i < files->count; i++) {
        char path[PATH_MAX];
        journal_path(j, files->ids[i], path);
        if (manifest_lists(m, files->ids[i]))
            continue;
        if (files->ids[i] > newest && journal_segment_used(j, path))
            damage(in, path, 0, 0,
                   "it holds records, but the manifest does not know it: restore the manifest from "
                   "a backup, or move the file away");
        else
            in->leftovers++;
    }
}

// --- records ---

// The first good record behind `at`; the segment's end if there is none. *synced: one whose write
// began behind `at` is there, which proves that all before it had been synced.
static uint32_t next_good(const struct segment_scan *c, uint32_t at, bool *synced)
{
    uint32_t end = segment_scan_end(c), first = 0;
    *synced = false;
    for (uint32_t p = at + RECORD_ALIGN; p + RECORD_HEADER_BYTES <= end && !*synced;) {
        struct record r;
        if (record_read(c->data + p, c->j->segment_bytes - p, c->s->id, p, &r) != RECORD_GOOD) {
            p += RECORD_ALIGN;
            continue;
        }
        first = first == 0 ? p : first;
        *synced = r.commit_at > at;
        p += r.bytes;
    }
    return first != 0 ? first : end;
}

static bool later_used(struct look *l, uint32_t i)
{
    struct segment_scan rest = {.j = l->j, .data = calloc(1, l->j->segment_bytes)};
    bool used = false;
    CHECK(rest.data != NULL);
    for (uint32_t k = i + 1; k < l->j->order_len && !used; k++) {
        used = segment_scan_load(&rest, k, NULL) == OK;
        rest.at = SEGMENT_HEADER_BYTES;
        used = used && segment_scan_end(&rest) > SEGMENT_HEADER_BYTES;
    }
    free(rest.data);
    return used;
}

// No record at scan.at: a torn tail ends the segment, damage is passed over. False: the segment
// ends.
static bool pass_gap(struct look *l, uint32_t i, struct journal_segment_look *out)
{
    struct segment_scan *c = &l->scan;
    bool synced;
    uint32_t end = segment_scan_end(c), next = next_good(c, c->at, &synced);
    bool later = !synced && later_used(l, i);
    if (!synced && !later) {
        out->torn_bytes = end - c->at;
        return false;
    }
    uint32_t bytes = next > c->at ? next - c->at : 0;
    if (synced)
        damage(l->in, c->path, c->at, bytes,
               "the record here is damaged, and good ones follow at offset %u: it had been written "
               "whole. Restore the file from a backup",
               next);
    else
        damage(l->in, c->path, c->at, bytes,
               "it is damaged or incomplete from here on, and later segments go on after it. "
               "Restore the file from a backup");
    out->bad_bytes += bytes;
    l->expected = 0;
    l->replaying = l->in->skip_bad;
    c->at = next;
    return next < end;
}

static void check_number(struct look *l, const struct record *r)
{
    struct segment_scan *c = &l->scan;
    if (r->sequence >= l->least && r->sequence != 0 &&
        (l->expected == 0 || r->sequence == l->expected))
        return;
    uint64_t wanted = l->expected != 0 ? l->expected : l->least;
    damage(l->in, c->path, r->at, r->bytes,
           "the record here has number %llu, expected %llu: %s. Restore the file from a backup",
           (unsigned long long)r->sequence, (unsigned long long)wanted,
           r->sequence > wanted ? "records are missing" : "it does not belong here");
    l->replaying = l->in->skip_bad && r->sequence >= l->least;
}

static void take_record(struct look *l, const struct record *r, struct journal_segment_look *out)
{
    struct segment_scan *c = &l->scan;
    struct error error;
    check_number(l, r);
    l->expected = r->sequence + 1;
    if (r->sequence >= l->least)
        l->least = r->sequence + 1;
    out->first_sequence = out->first_sequence == 0 ? r->sequence : out->first_sequence;
    out->last_sequence = r->sequence;
    out->records++;
    out->bytes += r->bytes;
    c->s->first_sequence = out->first_sequence;
    c->s->last_sequence = r->sequence;
    c->s->used = c->at = r->at + r->bytes;
    c->s->full = r->type == RECORD_END;
    if (c->s->full || !l->replaying)
        return;
    const struct journal_record record = {
        .type = r->type,
        .sequence = r->sequence,
        .place = {.at8 = r->at / RECORD_ALIGN, .bytes = r->bytes, .segment = c->slot},
        .payload = r->payload};
    if (l->j->config.replay(l->j->config.ctx, &record, &error) == OK)
        return;
    damage(l->in, c->path, r->at, r->bytes, "the record here is not what its checksum promises: %s",
           error.msg);
    l->replaying = l->in->skip_bad;
}

static bool look_at_segment(struct look *l, uint32_t i, struct journal_segment_look *out)
{
    struct segment_scan *c = &l->scan;
    struct error error;
    if (segment_scan_load(c, i, &error) != OK) {
        damage(l->in, c->path, 0, l->j->segment_bytes, "it cannot be read: %s", error.msg);
        l->replaying = l->in->skip_bad;
        return true;
    }
    *out = (struct journal_segment_look){.id = c->s->id, .bytes = SEGMENT_HEADER_BYTES};
    if (l->previous_id == 0 || c->s->id != l->previous_id + 1)
        l->expected = 0; // segments between were removed
    l->previous_id = c->s->id;
    c->s->spare = false;
    c->at = SEGMENT_HEADER_BYTES;
    while (!c->s->full && c->at + RECORD_HEADER_BYTES <= l->j->segment_bytes) {
        struct record r;
        if (record_read(c->data + c->at, l->j->segment_bytes - c->at, c->s->id, c->at, &r) ==
            RECORD_GOOD)
            take_record(l, &r, out);
        else if (!pass_gap(l, i, out))
            break;
    }
    out->full = c->s->full;
    out->spare = out->records == 0 && out->bad_bytes == 0 && out->torn_bytes == 0;
    return c->s->full || out->bad_bytes > 0;
}

// Slots of missing segments stay out of the order; their looks say so.
static void look_at_all(struct journal *j, struct journal_inspection *in, const struct manifest *m)
{
    struct look l = {.j = j, .in = in, .least = 1};
    l.scan = (struct segment_scan){.j = j, .data = calloc(1, j->segment_bytes)};
    CHECK(l.scan.data != NULL);
    l.replaying = in->damages == 0 || in->skip_bad;
    bool ended = false;
    uint32_t k = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        struct journal_segment_look *out = &in->segments[in->segment_count++];
        *out = (struct journal_segment_look){.id = m->ids[i], .missing = true};
        while (k < j->order_len && j->segments[j->order[k]].id < m->ids[i])
            k++;
        if (k == j->order_len || j->segments[j->order[k]].id != m->ids[i])
            continue;
        if (ended) // behind the last one used there is nothing: pass_gap looked
            *out = (struct journal_segment_look){
                .id = m->ids[i], .bytes = SEGMENT_HEADER_BYTES, .spare = true};
        else
            ended = !look_at_segment(&l, k, out);
    }
    if (l.least > j->next_sequence)
        j->next_sequence = l.least;
    j->written_sequence = j->durable_sequence = j->next_sequence - 1;
    free(l.scan.data);
}

// What recovery takes for a store whose making was cut short.
static bool is_new(struct journal *j, const struct journal_files *files)
{
    char first[PATH_MAX];
    journal_path(j, 1, first);
    return files->count == 0 ||
           (files->count == 1 && files->ids[0] == 1 && !journal_segment_used(j, first));
}

enum err journal_inspect(struct journal *j, struct error *error)
{
    struct journal_inspection *in = j->config.inspection;
    AUTO_MANIFEST struct manifest m = {0};
    struct journal_files files = {0};
    struct error why;
    if (journal_list_files(j, &files) != 0) {
        free(files.ids);
        return fail(error, err_from_errno(errno), errno, "list directory '%s'", j->dir);
    }
    enum err err = manifest_load(j, &m, &why);
    if (err == ERR_NOT_FOUND && is_new(j, &files)) {
        m.segment_bytes = j->segment_bytes; // nothing was ever in it
    } else if (err != OK) {
        damage(in, "manifest", 0, 0, "%s: restore it from a backup", why.msg);
        manifest_release(&m);
        manifest_make_up(j, &files, &m);
    }
    memcpy(j->store, m.store, STORE_ID_BYTES);
    j->segment_bytes = m.segment_bytes;
    j->next_sequence = m.next_sequence > 0 ? m.next_sequence : 1;
    for (uint32_t i = 0; i < m.count; i++)
        segment_look(j, in, m.ids[i], &m);
    journal_order_rebuild(j);
    look_at_unlisted(j, in, &files, &m);
    in->segments = calloc((size_t)m.count + 1, sizeof in->segments[0]);
    CHECK(in->segments != NULL);
    look_at_all(j, in, &m);
    if (j->order_len > 0)
        j->current = j->order[j->order_len - 1];
    journal_order_rebuild(j);
    free(files.ids);
    j->failed = true; // takes no record
    fail(&j->why, ERR_UNSUPPORTED, 0, "it was opened for a look only");
    return OK;
}
