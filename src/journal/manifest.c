#include "journal/manifest.h"

#include "base/check.h"
#include "base/digest.h"

#include <stdlib.h>
#include <string.h>

enum { CRC_FROM = 16 }; // the first byte that the checksum covers

_Static_assert(offsetof(struct manifest_header, generation) == CRC_FROM, "crc covers the rest");
_Static_assert(sizeof(struct manifest_header) + 4 * SEGMENTS_MAX <= MANIFEST_SLOT_BYTES, "fits");

void manifest_release(struct manifest *m)
{
    free(m->ids);
    *m = (struct manifest){0};
}

bool manifest_lists(const struct manifest *m, uint32_t id)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->ids[i] == id)
            return true;
    return false;
}

void manifest_write(const struct manifest *m, struct buf *out)
{
    CHECK(m->count <= SEGMENTS_MAX);
    struct manifest_header h = {.magic = {'s', 'm', 'e', 'l', 't', 'm', 'a', 'n'},
                                .version = JOURNAL_VERSION,
                                .generation = m->generation,
                                .next_sequence = m->next_sequence,
                                .segment_bytes = m->segment_bytes,
                                .count = m->count};
    memcpy(h.store, m->store, STORE_ID_BYTES);
    size_t start = out->len;
    buf_add(out, &h, sizeof h);
    buf_add(out, m->ids, m->count * sizeof m->ids[0]);
    uint32_t crc = digest_crc32c(0, out->data + start + CRC_FROM, out->len - start - CRC_FROM);
    memcpy(out->data + start + offsetof(struct manifest_header, crc), &crc, sizeof crc);
}

static enum err slot_check(const char *slot, struct manifest_header *h)
{
    memcpy(h, slot, sizeof *h);
    if (memcmp(h->magic, "smeltman", sizeof h->magic) != 0)
        return ERR_CORRUPT;
    if (h->version > JOURNAL_VERSION)
        return ERR_UNSUPPORTED;
    if (h->count > SEGMENTS_MAX)
        return ERR_CORRUPT;
    size_t len = sizeof *h + h->count * sizeof(uint32_t);
    return digest_crc32c(0, slot + CRC_FROM, len - CRC_FROM) == h->crc ? OK : ERR_CORRUPT;
}

enum err manifest_read(struct span file, struct manifest *out, struct error *error)
{
    struct manifest_header h[2];
    int newest = -1;
    if (file.len != MANIFEST_FILE_BYTES)
        return fail(error, ERR_CORRUPT, 0, "it has %zu bytes instead of %d", file.len,
                    MANIFEST_FILE_BYTES);
    for (int i = 0; i < 2; i++) {
        enum err err = slot_check(file.data + i * MANIFEST_SLOT_BYTES, &h[i]);
        if (err == ERR_UNSUPPORTED)
            return fail(error, err, 0,
                        "it has format version %u, this smelt reads up to %d: use a newer smelt",
                        h[i].version, JOURNAL_VERSION);
        if (err == OK && (newest < 0 || h[i].generation > h[newest].generation))
            newest = i;
    }
    if (newest < 0)
        return fail(error, ERR_CORRUPT, 0, "neither of its two copies has a good checksum");
    const struct manifest_header *best = &h[newest];
    size_t ids_bytes = best->count * sizeof(uint32_t);
    *out = (struct manifest){.generation = best->generation,
                             .next_sequence = best->next_sequence,
                             .segment_bytes = best->segment_bytes,
                             .count = best->count,
                             .ids = malloc(ids_bytes + 1)};
    CHECK(out->ids != NULL);
    memcpy(out->ids, file.data + newest * MANIFEST_SLOT_BYTES + sizeof *best, ids_bytes);
    memcpy(out->store, best->store, STORE_ID_BYTES);
    return OK;
}
