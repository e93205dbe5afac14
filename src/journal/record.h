// The bytes of a segment: its header and its records. Format: docs/journal.md. Pure: no I/O.
// Numbers are little-endian, as in memory on every machine that smelt builds for.
#pragma once

#include "base/buf.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the journal's format is little-endian");

enum {
    JOURNAL_VERSION = 1,
    STORE_ID_BYTES = 16,
    SEGMENT_HEADER_BYTES = 64, // the first record's offset
    RECORD_HEADER_BYTES = 24,
    RECORD_ALIGN = 8,              // records start at multiples; the gap is zeros
    RECORD_PAYLOAD_MAX = 16 << 20, // bytes, exclusive; a message has at most ~1.1 MiB
    RECORD_END = 1, // type of the last record of a full segment; others are the user's
};

// On disk, at each multiple of RECORD_ALIGN where a record starts.
struct record_header {
    uint32_t crc;       // CRC-32C of all that follows: header, payload, gap
    uint32_t size_type; // payload bytes | type << 24
    uint64_t sequence;  // +1 with each record of the store, never again the same
    uint32_t segment;   // id of the segment: a record in another file is not one
    uint32_t commit_at; // offset / RECORD_ALIGN where the write that held this record began.
                        // Everything before that offset was synced when this was written.
};
_Static_assert(sizeof(struct record_header) == RECORD_HEADER_BYTES, "on-disk size");

// On disk, at the start of a segment.
struct segment_header {
    char magic[8]; // "smeltseg"
    uint32_t version;
    uint32_t segment;
    uint8_t store[STORE_ID_BYTES];
    uint32_t segment_bytes;
    uint8_t zero[24];
    uint32_t crc; // CRC-32C of all before
};
_Static_assert(sizeof(struct segment_header) == SEGMENT_HEADER_BYTES, "on-disk size");

struct record {
    uint64_t sequence;
    uint32_t segment;
    uint32_t at;        // byte offset in the segment
    uint32_t commit_at; // bytes
    uint32_t bytes;     // with header and gap
    uint8_t type;
    struct span payload;
};

enum record_state {
    RECORD_GOOD,
    RECORD_NONE, // a header of zeros: nothing was written here
    RECORD_BAD,  // something that is not a record of this segment
};

// Bytes of a record with this payload on disk.
static inline uint32_t record_bytes(size_t payload_bytes)
{
    return (uint32_t)((RECORD_HEADER_BYTES + payload_bytes + RECORD_ALIGN - 1) &
                      ~(size_t)(RECORD_ALIGN - 1));
}

static inline uint32_t record_payload_bytes(const struct record_header *h)
{
    return h->size_type & 0xffffff;
}

// Appends a record to out; r: sequence, segment, at, commit_at, type. Sets r->bytes.
void record_write(struct record *r, const struct span *parts, size_t count, struct buf *out);

// Reads the record at offset `at` of a segment of which data holds bytes [at, at + available).
// out->payload views data.
enum record_state record_read(const void *data, size_t available, uint32_t segment, uint32_t at,
                              struct record *out);

void segment_header_write(struct segment_header *h, uint32_t segment,
                          const uint8_t store[STORE_ID_BYTES], uint32_t segment_bytes);
// ERR_CORRUPT: not a header of ours, or of another store or segment; ERR_UNSUPPORTED: newer
// version.
enum err segment_header_check(const struct segment_header *h, uint32_t segment,
                              const uint8_t store[STORE_ID_BYTES], uint32_t segment_bytes,
                              struct error *error) MUST_CHECK;
