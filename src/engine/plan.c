#include "engine/plan.h"

#include <stdint.h>
#include <stdlib.h>

static int larger_first(const void *a, const void *b)
{
    const struct plan_buffer *x = *(struct plan_buffer *const *)a;
    const struct plan_buffer *y = *(struct plan_buffer *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->first != y->first ? x->first - y->first : x < y ? -1 : 1;
}

static size_t aligned(size_t bytes)
{
    return (bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

// The lowest offset where b does not meet one of the placed, which are sorted by offset.
static size_t lowest_place(const struct plan_buffer *b, struct plan_buffer *const *placed,
                           size_t count)
{
    size_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        const struct plan_buffer *p = placed[i];
        if (p->last < b->first || p->first > b->last)
            continue;
        if (offset + b->bytes <= p->offset)
            break;
        size_t behind = p->offset + aligned(p->bytes);
        offset = behind > offset ? behind : offset;
    }
    return offset;
}

size_t plan_place(struct plan_buffer *buffers, size_t count)
{
    if (count == 0)
        return 0;
    struct plan_buffer **order = malloc(2 * count * sizeof(struct plan_buffer *));
    if (order == NULL)
        return SIZE_MAX;
    struct plan_buffer **placed = order + count;
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        order[i] = &buffers[i];
    qsort(order, count, sizeof(struct plan_buffer *), larger_first);
    for (size_t i = 0; i < count; i++) {
        struct plan_buffer *b = order[i];
        b->offset = lowest_place(b, placed, i);
        size_t end = b->offset + aligned(b->bytes), k = i;
        for (; k > 0 && placed[k - 1]->offset > b->offset; k--)
            placed[k] = placed[k - 1];
        placed[k] = b;
        total = end > total ? end : total;
    }
    free(order);
    return total;
}
