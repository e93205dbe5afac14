// A look at a store that changes nothing: every segment is read and every record checked, damage is
// reported and not an end. What recovery refuses is damage here and the other way round.
//
// Given in journal_config: journal_open then reads the store like recovery does, hands its records
// to `replay` and returns a journal that can be read (journal_read) and counts what matters, but
// that takes no record. Nothing is written, created or removed.
#pragma once

#include "journal/record.h"

struct journal_damage {
    char file[32];      // "manifest", "00000002.seg"
    uint64_t at, bytes; // where, and how far; bytes 0: all of it, or a place
    char text[400];     // what is wrong, what was expected, what to do
};

struct journal_segment_look {
    uint32_t id;
    uint32_t bytes;            // of its records, header and END included
    uint32_t records;          // good ones, END included
    uint32_t bad_bytes;        // of damage
    uint32_t torn_bytes;       // of a torn tail, which a start cuts off: no damage
    bool missing, full, spare; // spare: nothing in it yet
    uint64_t first_sequence, last_sequence;
};

struct journal_inspection { // zero-initialised but for what is given
    bool skip_bad; // replay what follows damage, too: some of it may be there again that had gone
    void (*on_damage)(void *ctx, const struct journal_damage *damage);
    void *ctx;

    // out; free(segments)
    struct journal_segment_look *segments; // by id
    size_t segment_count;
    size_t damages;
    size_t leftovers; // files that a start would remove
};
