// The manifest: which segments make up a store. Two slots in one preallocated file, written in
// turn, so that an update needs no space and the one before it stays whole. Format:
// docs/journal.md. Pure: no I/O.
#pragma once

#include "journal/record.h"

enum {
    MANIFEST_SLOT_BYTES = 64 << 10,
    MANIFEST_FILE_BYTES = 2 * MANIFEST_SLOT_BYTES,
    SEGMENTS_MAX = 16000, // 500 GiB of 32 MiB segments; their ids fit a slot
};

struct manifest_header { // on disk, followed by `count` segment ids (uint32_t), ascending
    char magic[8];       // "smeltman"
    uint32_t version;
    uint32_t crc;           // CRC-32C of all that follows, ids included
    uint64_t generation;    // +1 with each update; slot = generation % 2
    uint64_t next_sequence; // no record of a removed segment had this sequence or a later one
    uint8_t store[STORE_ID_BYTES];
    uint32_t segment_bytes;
    uint32_t count;
};
_Static_assert(sizeof(struct manifest_header) == 56, "on-disk size");

struct manifest {
    uint64_t generation, next_sequence;
    uint8_t store[STORE_ID_BYTES];
    uint32_t segment_bytes, count;
    uint32_t *ids; // owned
};

bool manifest_lists(const struct manifest *m, uint32_t id);
void manifest_release(struct manifest *m);
void manifest_write(const struct manifest *m, struct buf *out); // at most MANIFEST_SLOT_BYTES
// The newer good slot of a whole manifest file. ERR_CORRUPT: neither is good.
enum err manifest_read(struct span file, struct manifest *out, struct error *error) MUST_CHECK;

#define AUTO_MANIFEST __attribute__((cleanup(manifest_release)))
