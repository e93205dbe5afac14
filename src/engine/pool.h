// Pool: memory of one model while it is loaded, with a limit, freed at once. Unlike base/arena.h it
// says no instead of aborting: a hostile file chooses these sizes.
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct pool_block;
struct pool {
    struct pool_block *blocks;
    size_t used_bytes;
    size_t limit_bytes; // 0: none
    bool over_limit;    // the last refusal came from the limit, not from the system
};

// Not zeroed; 16-byte aligned, 64-byte from 1 KiB on. NULL: over the limit, or out of memory.
void *pool_alloc(struct pool *p, size_t size);
void *pool_calloc(struct pool *p, size_t count, size_t size); // zeroed; checks the product
char *pool_copy(struct pool *p, const char *text);            // NULL text gives ""; NULL: out
void pool_release(struct pool *p);                            // frees everything

// Advice: large pages for what of these bytes will be walked through soon. Filling small ones for
// the first time takes four times as long.
void pages_prefer_large(void *data, size_t bytes);
