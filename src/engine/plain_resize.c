// Resize as ONNX specifies it: nearest, linear and cubic along any axes.
#include "engine/plain.h"

#include "engine/plain_walk.h"

#include <math.h>

enum { TAPS_MAX = 4 };

// What one output position reads along one axis.
struct taps {
    int count;
    int64_t offset[TAPS_MAX]; // elements from the tensor's start
    double weight[TAPS_MAX];
};

// Sizes count as the product of input and scale, which may not be whole.
static double place(const struct node *n, int axis, int64_t o, int64_t in, int64_t out)
{
    double scale = (double)n->params.resize.scale[axis];
    switch (n->params.resize.place) {
    case PLACE_HALF_PIXEL:
        return ((double)o + 0.5) / scale - 0.5;
    case PLACE_HALF_PIXEL_PYTORCH:
        return out > 1 ? ((double)o + 0.5) / scale - 0.5 : 0;
    case PLACE_ALIGN_CORNERS: {
        double size = (double)in * scale;
        size = fabs(size - (double)out) < 1e-3 ? (double)out : size;
        return out > 1 ? (double)o * (double)(in - 1) / (size - 1) : 0;
    }
    case PLACE_HALF_PIXEL_NEAREST:
        return ((double)o + 0.5) / scale;
    case PLACE_ASYMMETRIC:
        break;
    }
    return (double)o / scale;
}

static int64_t clamp(double x, int64_t size)
{
    return x <= 0 ? 0 : x >= (double)(size - 1) ? size - 1 : (int64_t)x;
}

static double nearest(enum resize_round round, double x)
{
    switch (round) {
    case ROUND_PREFER_FLOOR:
        return ceil(x - 0.5);
    case ROUND_PREFER_CEIL:
        return floor(x + 0.5);
    case ROUND_FLOOR:
        return floor(x);
    case ROUND_CEIL:
        break;
    }
    return ceil(x);
}

// Keys' cubic convolution at distance d.
static double cubic(double a, double d)
{
    d = fabs(d);
    if (d <= 1)
        return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

static struct taps axis_taps(const struct node *n, int axis, int64_t o, int64_t in, int64_t out,
                             int64_t stride)
{
    struct taps t = {1, {o * stride}, {1}};
    enum resize_mode mode = n->params.resize.mode;
    if (in == out && n->params.resize.scale[axis] == 1)
        return t;
    double x = place(n, axis, o, in, out), base = floor(x), sum = 0;
    if (mode == RESIZE_NEAREST) {
        t.offset[0] = clamp(nearest(n->params.resize.round, x), in) * stride;
        return t;
    }
    t.count = mode == RESIZE_LINEAR ? 2 : 4;
    for (int k = 0; k < t.count; k++) {
        double at = mode == RESIZE_LINEAR ? base + k : base + k - 1;
        bool outside = at < 0 || at > (double)(in - 1);
        t.offset[k] = clamp(at, in) * stride;
        t.weight[k] = mode == RESIZE_LINEAR ? 1 - fabs(x - at)
                                            : cubic((double)n->params.resize.cubic, x - at);
        if (outside && n->params.resize.exclude_outside)
            t.weight[k] = 0;
        sum += t.weight[k];
    }
    for (int k = 0; k < t.count && n->params.resize.exclude_outside; k++)
        t.weight[k] /= sum;
    return t;
}

// The weighted sum over all combinations of the axes' taps, counted like an odometer.
static double combine(const struct taps *axes, int rank, const float *x)
{
    int at[ENGINE_RANK_MAX] = {0};
    double sum = 0;
    for (;;) {
        int64_t offset = 0;
        double weight = 1;
        for (int i = 0; i < rank; i++) {
            offset += axes[i].offset[at[i]];
            weight *= axes[i].weight[at[i]];
        }
        sum += weight * (double)x[offset];
        int i = rank - 1;
        while (i >= 0 && ++at[i] == axes[i].count)
            at[i--] = 0;
        if (i < 0)
            return sum;
    }
}

void plain_resize(const struct node *n, const struct tensor *in, const struct tensor *out)
{
    struct taps taps[ENGINE_RANK_MAX] = {0};
    struct walk w = {.shape = out->shape};
    int64_t stride[ENGINE_RANK_MAX] = {0}, seen[ENGINE_RANK_MAX] = {0},
            count = shape_count(&out->shape);
    int rank = out->shape.rank;
    dense_strides(&in->shape, stride);
    for (int i = 0; i < rank; i++)
        seen[i] = -1;
    for (int64_t k = 0; k < count; k++, walk_next(&w)) {
        for (int i = 0; i < rank; i++)
            if (seen[i] != w.at[i]) {
                taps[i] =
                    axis_taps(n, i, w.at[i], in->shape.dims[i], out->shape.dims[i], stride[i]);
                seen[i] = w.at[i];
            }
        ((float *)out->data)[k] = (float)combine(taps, rank, in->data);
    }
}
