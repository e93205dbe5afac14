#include "journal/record.h"

#include "base/check.h"
#include "base/digest.h"

#include <string.h>

void record_write(struct record *r, const struct span *parts, size_t count, struct buf *out)
{
    static const char gap[RECORD_ALIGN];
    size_t start = out->len, payload = 0;
    struct record_header h = {
        .sequence = r->sequence, .segment = r->segment, .commit_at = r->commit_at / RECORD_ALIGN};
    for (size_t i = 0; i < count; i++)
        payload += parts[i].len;
    CHECK(payload < RECORD_PAYLOAD_MAX);
    r->bytes = record_bytes(payload);
    h.size_type = (uint32_t)payload | (uint32_t)r->type << 24;
    buf_reserve(out, r->bytes);
    buf_add(out, &h, sizeof h);
    for (size_t i = 0; i < count; i++)
        buf_add_span(out, parts[i]);
    buf_add(out, gap, r->bytes - sizeof h - payload);
    h.crc = digest_crc32c(0, out->data + start + sizeof h.crc, r->bytes - sizeof h.crc);
    memcpy(out->data + start, &h.crc, sizeof h.crc);
}

enum record_state record_read(const void *data, size_t available, uint32_t segment, uint32_t at,
                              struct record *out)
{
    static const struct record_header none;
    struct record_header h;
    if (available < sizeof h)
        return RECORD_BAD;
    memcpy(&h, data, sizeof h);
    if (memcmp(&h, &none, sizeof h) == 0)
        return RECORD_NONE;
    uint32_t payload = record_payload_bytes(&h);
    uint32_t bytes = record_bytes(payload);
    if (h.segment != segment || bytes > available || (uint64_t)h.commit_at * RECORD_ALIGN > at)
        return RECORD_BAD;
    if (digest_crc32c(0, (const char *)data + sizeof h.crc, bytes - sizeof h.crc) != h.crc)
        return RECORD_BAD;
    *out = (struct record){.sequence = h.sequence,
                           .segment = h.segment,
                           .at = at,
                           .commit_at = h.commit_at * RECORD_ALIGN,
                           .bytes = bytes,
                           .type = (uint8_t)(h.size_type >> 24),
                           .payload = {(const char *)data + sizeof h, payload}};
    return RECORD_GOOD;
}

static uint32_t header_crc(const struct segment_header *h)
{
    return digest_crc32c(0, h, offsetof(struct segment_header, crc));
}

void segment_header_write(struct segment_header *h, uint32_t segment,
                          const uint8_t store[STORE_ID_BYTES], uint32_t segment_bytes)
{
    *h = (struct segment_header){.magic = {'s', 'm', 'e', 'l', 't', 's', 'e', 'g'},
                                 .version = JOURNAL_VERSION,
                                 .segment = segment,
                                 .segment_bytes = segment_bytes};
    memcpy(h->store, store, STORE_ID_BYTES);
    h->crc = header_crc(h);
}

enum err segment_header_check(const struct segment_header *h, uint32_t segment,
                              const uint8_t store[STORE_ID_BYTES], uint32_t segment_bytes,
                              struct error *error)
{
    if (memcmp(h->magic, "smeltseg", sizeof h->magic) != 0)
        return fail(error, ERR_CORRUPT, 0, "its header is not one of a journal segment");
    if (h->version > JOURNAL_VERSION)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "it has format version %u, this smelt reads up to %d: use a newer smelt",
                    h->version, JOURNAL_VERSION);
    if (header_crc(h) != h->crc)
        return fail(error, ERR_CORRUPT, 0, "the checksum of its header is wrong");
    if (memcmp(h->store, store, STORE_ID_BYTES) != 0)
        return fail(error, ERR_CORRUPT, 0, "it belongs to another data directory");
    if (h->segment != segment)
        return fail(error, ERR_CORRUPT, 0, "it is segment %u under the name of another",
                    h->segment);
    if (h->segment_bytes != segment_bytes)
        return fail(error, ERR_CORRUPT, 0, "its header says %u bytes, the manifest %u",
                    h->segment_bytes, segment_bytes);
    return OK;
}
