#include "engine/keras_zip.h"

#include <string.h>

enum {
    END_BYTES = 22, // end of central directory, without its comment
    ENTRY_BYTES = 46,
    LOCAL_BYTES = 30,
    COMMENT_BYTES_MAX = 65535,
};

static uint32_t le(const char *p, int bytes)
{
    uint32_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

static uint32_t crc32_of(struct span s)
{
    uint32_t table[256], crc = 0xffffffffu;
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] & 1 ? table[i] >> 1 ^ 0xedb88320u : table[i] >> 1;
    }
    for (size_t i = 0; i < s.len; i++)
        crc = table[(crc ^ (uint8_t)s.data[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}

bool zip_is(struct span bytes)
{
    return span_starts(bytes, "PK\3\4") || span_starts(bytes, "PK\5\6");
}

// The central directory: where the end record says, in front of it.
static enum err find_directory(struct span bytes, struct span *directory, uint32_t *entries,
                               struct error *error)
{
    if (bytes.len < END_BYTES)
        return fail(error, ERR_FORMAT, 0, "the archive is cut off at %zu bytes", bytes.len);
    size_t at = bytes.len - END_BYTES;
    size_t lowest = at > COMMENT_BYTES_MAX ? at - COMMENT_BYTES_MAX : 0;
    while (memcmp(bytes.data + at, "PK\5\6", 4) != 0)
        if (at-- == lowest)
            return fail(error, ERR_FORMAT, 0,
                        "the archive has no directory at its end: it is cut off");
    const char *end = bytes.data + at;
    uint32_t size = le(end + 12, 4), start = le(end + 16, 4);
    *entries = le(end + 10, 2);
    if (start == 0xffffffffu || size == 0xffffffffu || *entries == 0xffffu)
        return fail(error, ERR_UNSUPPORTED, 0, "the archive is of the large kind (ZIP64)");
    if (start > at || size > at - start)
        return fail(error, ERR_FORMAT, 0, "the archive's directory lies outside of it");
    *directory = (struct span){bytes.data + start, size};
    return OK;
}

// The bytes of the file that a directory entry describes.
static enum err entry_open(struct span bytes, const char *entry, const char *name, struct span *out,
                           struct error *error)
{
    uint32_t flags = le(entry + 8, 2), method = le(entry + 10, 2), crc = le(entry + 16, 4);
    uint32_t packed = le(entry + 20, 4), size = le(entry + 24, 4), at = le(entry + 42, 4);
    if ((flags & 1) != 0 || method != 0)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "'%s' is %s in the archive; Keras stores it as it is: save the model again",
                    name, (flags & 1) != 0 ? "encrypted" : "compressed");
    if (size == 0xffffffffu || at == 0xffffffffu)
        return fail(error, ERR_UNSUPPORTED, 0, "'%s' is over 4 GiB long", name);
    if (packed != size || bytes.len < LOCAL_BYTES || at > bytes.len - LOCAL_BYTES ||
        memcmp(bytes.data + at, "PK\3\4", 4) != 0)
        return fail(error, ERR_FORMAT, 0, "the archive's entry of '%s' is damaged", name);
    const char *local = bytes.data + at;
    size_t skip = LOCAL_BYTES + (size_t)le(local + 26, 2) + le(local + 28, 2);
    if (skip > bytes.len - at || size > bytes.len - at - skip)
        return fail(error, ERR_FORMAT, 0, "'%s' is cut off in the archive", name);
    *out = (struct span){local + skip, size};
    if (crc32_of(*out) != crc)
        return fail(error, ERR_FORMAT, 0, "'%s' is damaged in the archive: its CRC differs", name);
    return OK;
}

enum err zip_find(struct span bytes, const char *name, struct span *out, struct error *error)
{
    struct span directory = {0};
    uint32_t entries = 0;
    TRY(find_directory(bytes, &directory, &entries, error));
    for (uint32_t i = 0; i < entries; i++) {
        const char *entry = directory.data;
        if (directory.len < ENTRY_BYTES || memcmp(entry, "PK\1\2", 4) != 0)
            return fail(error, ERR_FORMAT, 0, "the archive's directory is damaged at entry %u", i);
        size_t name_len = le(entry + 28, 2);
        size_t len = ENTRY_BYTES + name_len + le(entry + 30, 2) + le(entry + 32, 2);
        if (len > directory.len)
            return fail(error, ERR_FORMAT, 0, "the archive's directory is damaged at entry %u", i);
        if (span_is((struct span){entry + ENTRY_BYTES, name_len}, name))
            return entry_open(bytes, entry, name, out, error);
        directory = (struct span){entry + len, directory.len - len};
    }
    return fail(error, ERR_NOT_FOUND, 0,
                "there is no '%s' in the archive: it is no .keras file of Keras 3", name);
}
