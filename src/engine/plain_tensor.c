// Plain kernels that compare, choose, repeat and rearrange.
#include "engine/plain.h"

#include "engine/plain_walk.h"

#include <math.h>
#include <string.h>

static bool holds(enum binary kind, int order, bool ordered)
{
    switch (kind) { // order: a < b: -1, a == b: 0, a > b: 1
    case BINARY_EQUAL:
        return ordered && order == 0;
    case BINARY_LESS:
        return ordered && order < 0;
    case BINARY_LESS_EQUAL:
        return ordered && order <= 0;
    case BINARY_GREATER:
        return ordered && order > 0;
    default:
        return ordered && order >= 0;
    }
}

void plain_compare(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    struct walk a = walk_broadcast(&in[0].shape, &out->shape);
    struct walk b = walk_broadcast(&in[1].shape, &out->shape);
    enum binary kind = n->params.binary;
    int64_t count = shape_count(&out->shape);
    for (int64_t i = 0; i < count; i++, walk_next(&a), walk_next(&b)) {
        int64_t *y = (int64_t *)out->data + i;
        if (in[0].dtype == DTYPE_F32) {
            float x = ((const float *)in[0].data)[a.offset], z = ((float *)in[1].data)[b.offset];
            *y = holds(kind, (x > z) - (x < z), !isnan(x) && !isnan(z));
            continue;
        }
        int64_t x = ((const int64_t *)in[0].data)[a.offset], z = ((int64_t *)in[1].data)[b.offset];
        *y = kind == BINARY_AND  ? x != 0 && z != 0
             : kind == BINARY_OR ? x != 0 || z != 0
                                 : holds(kind, (x > z) - (x < z), true);
    }
}

void plain_not(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int64_t count = shape_count(&out->shape);
    (void)n;
    for (int64_t i = 0; i < count; i++)
        ((int64_t *)out->data)[i] = ((const int64_t *)in->data)[i] == 0;
}

void plain_where(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    struct walk w[3];
    size_t bytes = dtype_bytes(out->dtype);
    int64_t count = shape_count(&out->shape);
    (void)n;
    for (int k = 0; k < 3; k++)
        w[k] = walk_broadcast(&in[k].shape, &out->shape);
    for (int64_t i = 0; i < count; i++) {
        int from = ((const int64_t *)in[0].data)[w[0].offset] != 0 ? 1 : 2;
        memcpy((char *)out->data + (size_t)i * bytes,
               (const char *)in[from].data + (size_t)w[from].offset * bytes, bytes);
        for (int k = 0; k < 3; k++)
            walk_next(&w[k]);
    }
}

static double element(const struct tensor *t, int64_t offset)
{
    return t->dtype == DTYPE_F32 ? (double)((const float *)t->data)[offset]
                                 : (double)((const int64_t *)t->data)[offset];
}

// The type is that of the base.
void plain_pow(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    struct walk a = walk_broadcast(&in[0].shape, &out->shape);
    struct walk b = walk_broadcast(&in[1].shape, &out->shape);
    int64_t count = shape_count(&out->shape);
    (void)n;
    for (int64_t i = 0; i < count; i++, walk_next(&a), walk_next(&b)) {
        double y = pow(element(&in[0], a.offset), element(&in[1], b.offset));
        if (out->dtype == DTYPE_F32)
            ((float *)out->data)[i] = (float)y;
        else
            ((int64_t *)out->data)[i] = !(fabs(y) < 0x1p63) ? 0 : (int64_t)y;
    }
}

// Max, Min, Sum: the first input, then each other one onto it.
void plain_variadic(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    plain_expand(n, in, out);
    for (int k = 1; k < n->input_count; k++) {
        struct tensor both[2] = {*out, in[k]};
        plain_binary(n, both, out);
    }
}

void plain_tile(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int64_t stride[ENGINE_RANK_MAX] = {0}, count = shape_count(&out->shape);
    size_t bytes = dtype_bytes(out->dtype);
    struct walk w = {.shape = out->shape};
    (void)n;
    dense_strides(&in->shape, stride);
    for (int64_t i = 0; i < count; i++, walk_next(&w)) {
        int64_t offset = 0;
        for (int k = 0; k < out->shape.rank; k++)
            offset += w.at[k] % in->shape.dims[k] * stride[k];
        memcpy((char *)out->data + (size_t)i * bytes,
               (const char *)in->data + (size_t)offset * bytes, bytes);
    }
}

void plain_range(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    int64_t count = shape_count(&out->shape), at = *(const int64_t *)in[0].data;
    (void)n;
    for (int64_t i = 0; i < count; i++, at += *(const int64_t *)in[2].data)
        ((int64_t *)out->data)[i] = at;
}

// DepthToSpace and SpaceToDepth: small[N][C][b][b] planes of H x W against large[N][C][H b][W b].
void plain_depth(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    bool to_space = n->op->name[0] == 'D';
    const struct engine_shape *large = to_space ? &out->shape : &in->shape;
    int64_t b = n->params.depth.block, c = large->dims[1], h = large->dims[2], w = large->dims[3];
    const float *x = in->data;
    float *y = out->data;
    for (int64_t p = 0; p < large->dims[0] * c; p++)
        for (int64_t i = 0; i < h * w; i++) {
            int64_t row = i / w, column = i % w, tile = row % b * b + column % b;
            int64_t plane = n->params.depth.columns_first ? tile * c + p % c : p % c * b * b + tile;
            int64_t small =
                ((p / c * c * b * b + plane) * (h / b) + row / b) * (w / b) + column / b;
            if (to_space)
                y[p * h * w + i] = x[small];
            else
                y[small] = x[p * h * w + i];
        }
}
