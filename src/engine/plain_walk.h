// A way through a tensor's elements that reads another with strides of its own: what broadcasting,
// slices, transposes and reductions have in common. For plain*.c.
#pragma once

#include "engine/graph.h"

// Walks the elements of a tensor in order while offset follows another tensor's strides.
struct walk {
    struct engine_shape shape;
    int64_t stride[ENGINE_RANK_MAX]; // of the other tensor, per axis of shape
    int64_t at[ENGINE_RANK_MAX];
    int64_t offset;
};

static inline void walk_next(struct walk *w)
{
    for (int i = w->shape.rank - 1; i >= 0; i--) {
        w->offset += w->stride[i];
        if (++w->at[i] < w->shape.dims[i])
            return;
        w->offset -= w->stride[i] * w->shape.dims[i];
        w->at[i] = 0;
    }
}

// Element strides of a dense tensor.
static inline void dense_strides(const struct engine_shape *s, int64_t stride[ENGINE_RANK_MAX])
{
    int64_t step = 1;
    for (int i = s->rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= s->dims[i];
    }
}

// A walk over `to` that reads `from` broadcast to it.
static inline struct walk walk_broadcast(const struct engine_shape *from,
                                         const struct engine_shape *to)
{
    struct walk w = {.shape = *to};
    int64_t stride[ENGINE_RANK_MAX];
    dense_strides(from, stride);
    for (int i = 0; i < from->rank; i++)
        w.stride[to->rank - from->rank + i] = from->dims[i] == 1 ? 0 : stride[i];
    return w;
}

// Copies count elements, reading along the walk.
static inline void copy_walk(struct walk *w, const struct tensor *in, const struct tensor *out)
{
    int64_t count = shape_count(&out->shape);
    for (int64_t i = 0; i < count; i++, walk_next(w)) {
        if (in->dtype == DTYPE_F32)
            ((float *)out->data)[i] = ((const float *)in->data)[w->offset];
        else
            ((int64_t *)out->data)[i] = ((const int64_t *)in->data)[w->offset];
    }
}
