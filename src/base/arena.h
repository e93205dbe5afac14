// Arena: memory of one request, freed at once. Small bounded allocations; aborts when memory is
// out. Not for sizes that a peer chooses freely: check them against a limit first.
#pragma once

#include "base/buf.h"

struct arena_block;
struct arena {
    struct arena_block *blocks;
    size_t total_bytes; // handed out since the last release
};

void *arena_alloc(struct arena *a, size_t size);  // zeroed, 16-byte aligned
char *arena_copy(struct arena *a, struct span s); // terminated copy
struct span arena_copy_span(struct arena *a, struct span s);
char *arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
void arena_reset(struct arena *a);   // forgets everything, and keeps 4 KiB for what comes next
void arena_release(struct arena *a); // frees everything; the arena can be used again

#define AUTO_ARENA __attribute__((cleanup(arena_release)))
