#include "engine/pool.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 64, SMALL_ALIGN = 16, CHUNK_BYTES = 256 << 10, BIG_BYTES = 16 << 10 };

struct pool_block {
    struct pool_block *next;
    size_t used, cap; // of data
    char pad[ALIGN - 2 * sizeof(size_t) - sizeof(void *)];
    char data[];
};

_Static_assert(sizeof(struct pool_block) == ALIGN, "data must stay aligned");

void pages_prefer_large(void *data, size_t bytes)
{
    enum { PAGE = 4096, WORTH_IT = 1 << 20 };
    uintptr_t start = ((uintptr_t)data + PAGE - 1) / PAGE * PAGE, end = (uintptr_t)data + bytes;
    if (bytes >= WORTH_IT)
        madvise((void *)start, end - start, MADV_HUGEPAGE);
}

static struct pool_block *block_new(size_t cap)
{
    struct pool_block *block = aligned_alloc(ALIGN, sizeof *block + cap);
    if (block != NULL) {
        pages_prefer_large(block, sizeof *block + cap);
        block->next = NULL;
        block->used = 0;
        block->cap = cap;
    }
    return block;
}

// The first block is the one with room; big pieces get their own block behind it.
static struct pool_block *block_for(struct pool *p, size_t need)
{
    struct pool_block *first = p->blocks;
    if (first != NULL && first->cap - first->used >= need)
        return first;
    struct pool_block *block = block_new(need > BIG_BYTES ? need : CHUNK_BYTES);
    if (block == NULL)
        return NULL;
    if (need > BIG_BYTES && first != NULL) {
        block->next = first->next;
        first->next = block;
    } else {
        block->next = first;
        p->blocks = block;
    }
    return block;
}

void *pool_alloc(struct pool *p, size_t size)
{
    size_t align = size < 1024 ? SMALL_ALIGN : ALIGN;
    p->over_limit = size > SIZE_MAX / 4;
    if (p->over_limit)
        return NULL;
    size_t need = (size + align) / align * align; // never 0; blocks' sizes stay multiples
    p->over_limit = p->limit_bytes > 0 &&
                    (p->used_bytes > p->limit_bytes || need > p->limit_bytes - p->used_bytes);
    if (p->over_limit)
        return NULL;
    struct pool_block *block = block_for(p, (need + 2 * ALIGN - 1) / ALIGN * ALIGN);
    if (block == NULL)
        return NULL;
    block->used = (block->used + align - 1) / align * align;
    void *out = block->data + block->used;
    block->used += need;
    p->used_bytes += need;
    return out;
}

void *pool_calloc(struct pool *p, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        p->over_limit = true;
        return NULL;
    }
    void *out = pool_alloc(p, count * size);
    if (out != NULL)
        memset(out, 0, count * size);
    return out;
}

char *pool_copy(struct pool *p, const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;
    char *out = pool_alloc(p, len + 1);
    if (out == NULL)
        return NULL;
    if (len > 0)
        memcpy(out, text, len);
    out[len] = '\0';
    return out;
}

void pool_release(struct pool *p)
{
    while (p->blocks != NULL) {
        struct pool_block *next = p->blocks->next;
        free(p->blocks);
        p->blocks = next;
    }
    p->used_bytes = 0;
}
