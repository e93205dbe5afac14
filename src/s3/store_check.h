// An offline look at an object store: reads only, makes nothing. The caller holds DIR/lock. A
// catalog that was damaged may crash LMDB: call this in a process that may die.
#pragma once

#include "base/buf.h"

struct store_check { // zero-initialised but for what is given
    bool deep;       // read every body and compare its checksum
    // where: "s3://bucket/key", "blobs/00/0000…" or "data.mdb"
    void (*on_damage)(void *ctx, const char *where, const char *text);
    void (*on_orphan)(void *ctx, const char *file, uint64_t bytes); // a start removes it
    void *ctx;

    // out
    uint64_t buckets, objects, bytes; // bytes of all bodies
    uint64_t files, orphans;          // body files; those of no object
    uint64_t damages;
};

// ERR_NOT_FOUND: there is no catalog. ERR_UNSUPPORTED: a newer smelt wrote it. Damage is no error.
enum err store_check_run(struct store_check *c, const char *dir, struct error *error) MUST_CHECK;
