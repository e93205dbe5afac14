#include "base/arena.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t cap;
    size_t pad; // keeps data 16-byte aligned
    char data[];
};

_Static_assert(sizeof(struct arena_block) % 16 == 0, "data must stay aligned");

enum { BLOCK_BYTES = 4096 - (int)sizeof(struct arena_block) };

void *arena_alloc(struct arena *a, size_t size)
{
    CHECK(size < SIZE_MAX / 4);
    size_t need = (size + 15) & ~(size_t)15;
    struct arena_block *block = a->blocks;
    if (block == NULL || block->cap - block->used < need) {
        size_t cap = need > BLOCK_BYTES ? need : BLOCK_BYTES;
        block = malloc(sizeof *block + cap);
        CHECK(block != NULL);
        *block = (struct arena_block){.next = a->blocks, .cap = cap};
        a->blocks = block;
    }
    void *p = block->data + block->used;
    block->used += need;
    a->total_bytes += need;
    memset(p, 0, size);
    return p;
}

char *arena_copy(struct arena *a, struct span s)
{
    char *p = arena_alloc(a, s.len + 1);
    if (s.len > 0)
        memcpy(p, s.data, s.len);
    return p;
}

struct span arena_copy_span(struct arena *a, struct span s)
{
    return (struct span){arena_copy(a, s), s.len};
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    CHECK(len >= 0);
    char *p = arena_alloc(a, (size_t)len + 1);
    vsnprintf(p, (size_t)len + 1, fmt, again);
    va_end(again);
    return p;
}

void arena_reset(struct arena *a)
{
    struct arena_block *kept = NULL;
    while (a->blocks != NULL) {
        struct arena_block *next = a->blocks->next;
        if (kept == NULL && a->blocks->cap == BLOCK_BYTES)
            kept = a->blocks;
        else
            free(a->blocks);
        a->blocks = next;
    }
    if (kept != NULL) {
        kept->next = NULL;
        kept->used = 0;
    }
    *a = (struct arena){.blocks = kept};
}

void arena_release(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
    a->total_bytes = 0;
}
