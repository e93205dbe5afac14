// Reading single records, and segments record by record, while the journal is in use.
#include "journal/journal_internal.h"

#include "base/check.h"

static enum err damaged(const struct journal *j, const struct segment *s, uint32_t at,
                        struct error *error)
{
    return fail(
        error, ERR_CORRUPT, 0,
        "the record at offset %u of '%s/%08x.seg' is damaged: the disk did not keep what was "
        "written",
        at, j->dir, s->id);
}

enum err journal_read(struct journal *j, struct journal_place place, struct buf *buf,
                      struct span *payload, struct error *error)
{
    const struct segment *s = &j->segments[place.segment];
    struct record r;
    uint32_t at = place.at8 * RECORD_ALIGN;
    CHECK(s->exists);
    buf_clear(buf);
    buf_reserve(buf, place.bytes);
    TRY(journal_read_at(j, s->fd, buf->data, place.bytes, at, "journal segment", error));
    buf->len = place.bytes;
    if (record_read(buf->data, place.bytes, s->id, at, &r) != RECORD_GOOD)
        return damaged(j, s, at, error);
    *payload = r.payload;
    return OK;
}

// Bytes at this offset that are not on disk yet; *left as many there are behind it. NULL: they are.
static const char *not_synced(const struct batch *b, int fd, uint32_t at, size_t *left)
{
    for (size_t i = 0; i < b->count; i++) {
        const struct chunk *c = &b->chunks[i];
        if (c->fd != fd || at < c->at || at - c->at >= c->data.len)
            continue;
        *left = c->data.len - (at - c->at);
        return c->data.data + (at - c->at);
    }
    return NULL;
}

// Reads a record whose length only its header tells.
static enum err read_whole(struct journal *j, const struct segment *s, uint32_t at, struct buf *buf,
                           struct error *error)
{
    struct record_header h;
    TRY(journal_read_at(j, s->fd, &h, sizeof h, at, "journal segment", error));
    uint32_t bytes = record_bytes(record_payload_bytes(&h));
    if (bytes > j->segment_bytes - at)
        return damaged(j, s, at, error);
    buf_clear(buf);
    buf_reserve(buf, bytes);
    TRY(journal_read_at(j, s->fd, buf->data, bytes, at, "journal segment", error));
    buf->len = bytes;
    return OK;
}

enum err journal_read_record(struct journal *j, uint16_t segment, uint32_t at8, struct buf *buf,
                             struct journal_record *out, struct error *error)
{
    const struct segment *s = &j->segments[segment];
    struct record r;
    uint32_t at = at8 * RECORD_ALIGN;
    CHECK(s->exists);
    size_t bytes = 0;
    const char *data = not_synced(&j->filling, s->fd, at, &bytes);
    if (data == NULL && j->commit_job.queued)
        data = not_synced(&j->commit_job.batch, s->fd, at, &bytes);
    if (data == NULL) {
        TRY(read_whole(j, s, at, buf, error));
        data = buf->data;
        bytes = buf->len;
    }
    if (record_read(data, bytes, s->id, at, &r) != RECORD_GOOD)
        return damaged(j, s, at, error);
    *out = (struct journal_record){.type = r.type,
                                   .sequence = r.sequence,
                                   .place = {.at8 = at8, .bytes = r.bytes, .segment = segment},
                                   .payload = r.payload};
    return OK;
}

enum err journal_scan(struct journal *j, uint16_t segment, uint32_t *at, size_t max_bytes,
                      journal_record_fn *fn, void *ctx, bool *done, struct error *error)
{
    const struct segment s = j->segments[segment];
    AUTO_BUF struct buf buf = {0};
    if (*at == 0)
        *at = SEGMENT_HEADER_BYTES;
    size_t want = s.used - *at;
    if (want > max_bytes)
        want = max_bytes;
    buf_reserve(&buf, want);
    TRY(journal_read_at(j, s.fd, buf.data, want, *at, "journal segment", error));
    uint32_t start = *at;
    *done = false;
    while (*at < s.used) {
        struct record r;
        size_t have = want - (*at - start);
        enum record_state state = record_read(buf.data + (*at - start), have, s.id, *at, &r);
        if (state != RECORD_GOOD) {
            if (*at > start)
                return OK; // the rest of it comes with the next call
            if (want == s.used - start)
                return fail(error, ERR_CORRUPT, 0,
                            "the record at offset %u of '%s/%08x.seg' is damaged", *at, j->dir,
                            s.id);
            // one record larger than max_bytes
            return journal_scan(j, segment, at, s.used - start, fn, ctx, done, error);
        }
        *at += r.bytes;
        if (r.type == RECORD_END)
            break;
        struct journal_record out = {
            .type = r.type,
            .sequence = r.sequence,
            .place = {.at8 = r.at / RECORD_ALIGN, .bytes = r.bytes, .segment = segment},
            .payload = r.payload};
        TRY(fn(ctx, &out, error));
    }
    *done = *at >= s.used;
    return OK;
}
