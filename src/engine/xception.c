#include "engine/xception.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct xception_size xception_standard = {{32, 64, 128, 256, 728, 1024, 1536, 2048}, 299};

static const struct kind {
    int count;
    const char *weights[XCEPTION_WEIGHTS_MAX];
} kinds[XCEPTION_KINDS] = {
    [XCEPTION_CONV] = {1, {"kernel"}},
    [XCEPTION_SEPARABLE] = {2, {"depthwise_kernel", "pointwise_kernel"}},
    [XCEPTION_NORM] = {4, {"gamma", "beta", "moving_mean", "moving_variance"}},
    [XCEPTION_DENSE] = {2, {"kernel", "bias"}},
};

// ---- the layers -------------------------------------------------------------------------------

struct list {
    struct xception_layer *layers;
    int count;
    int numbers[XCEPTION_KINDS];
};

static struct xception_layer *PRINTF_LIKE(6, 7)
    add(struct list *l, enum xception_kind kind, int kernel, int in, int out, const char *fmt, ...)
{
    CHECK(l->count < XCEPTION_LAYERS);
    struct xception_layer *layer = &l->layers[l->count++];
    *layer = (struct xception_layer){.kind = kind, .kernel = kernel, .in = in, .out = out};
    layer->ordered = layer->made = l->numbers[kind]++;
    va_list args;
    va_start(args, fmt);
    CHECK(vsnprintf(layer->name, sizeof layer->name, fmt, args) < (int)sizeof layer->name);
    va_end(args);
    return layer;
}

// A separable convolution and its norm, which is returned.
static struct xception_layer *add_separable(struct list *l, int block, int number, int in, int out)
{
    add(l, XCEPTION_SEPARABLE, 3, in, out, "block%d_sepconv%d", block, number);
    return add(l, XCEPTION_NORM, 0, out, out, "block%d_sepconv%d_bn", block, number);
}

// A block that halves the picture. Keras makes its residual branch first; in the graph it comes
// last.
static void add_down(struct list *l, int block, int in, int middle, int out)
{
    add_separable(l, block, 1, in, middle)->made++;
    add_separable(l, block, 2, middle, out)->made++;
    add(l, XCEPTION_CONV, 1, in, out, "block%d_residual", block)->residual = true;
    struct xception_layer *norm = add(l, XCEPTION_NORM, 0, out, out, "block%d_residual_bn", block);
    norm->residual = true;
    norm->made -= 2;
}

void xception_layers(const struct xception_size *size, struct xception_layer out[XCEPTION_LAYERS])
{
    const int *w = size->width;
    struct list l = {.layers = out};
    add(&l, XCEPTION_CONV, 3, 3, w[0], "block1_conv1");
    add(&l, XCEPTION_NORM, 0, w[0], w[0], "block1_conv1_bn");
    add(&l, XCEPTION_CONV, 3, w[0], w[1], "block1_conv2");
    add(&l, XCEPTION_NORM, 0, w[1], w[1], "block1_conv2_bn");
    add_down(&l, 2, w[1], w[2], w[2]);
    add_down(&l, 3, w[2], w[3], w[3]);
    add_down(&l, 4, w[3], w[4], w[4]);
    for (int block = 5; block <= 12; block++)
        for (int i = 1; i <= 3; i++)
            add_separable(&l, block, i, w[4], w[4]);
    add_down(&l, 13, w[4], w[4], w[5]);
    add_separable(&l, 14, 1, w[5], w[6]);
    add_separable(&l, 14, 2, w[6], w[7]);
    add(&l, XCEPTION_DENSE, 0, w[7], 0, "predictions");
    CHECK(l.count == XCEPTION_LAYERS);
}

// ---- the weights of a layer -------------------------------------------------------------------

int xception_weight_count(enum xception_kind kind)
{
    return kinds[kind].count;
}

const char *xception_weight_name(enum xception_kind kind, int weight)
{
    CHECK(weight >= 0 && weight < kinds[kind].count);
    return kinds[kind].weights[weight];
}

int xception_weight_shape(const struct xception_layer *layer, int weight, int64_t classes,
                          int64_t dims[4])
{
    int64_t k = layer->kernel, in = layer->in, out = layer->out;
    switch (layer->kind) {
    case XCEPTION_CONV:
        memcpy(dims, (int64_t[]){k, k, in, out}, 4 * sizeof *dims);
        return 4;
    case XCEPTION_SEPARABLE:
        if (weight == 0)
            memcpy(dims, (int64_t[]){k, k, in, 1}, 4 * sizeof *dims);
        else
            memcpy(dims, (int64_t[]){1, 1, in, out}, 4 * sizeof *dims);
        return 4;
    case XCEPTION_NORM:
        dims[0] = out;
        return 1;
    case XCEPTION_DENSE:
        dims[0] = weight == 0 ? in : classes;
        dims[1] = classes;
        return weight == 0 ? 2 : 1;
    }
    CHECK(false);
}

void xception_weight_turn(const struct xception_layer *layer, int weight, const float *keras,
                          float *onnx)
{
    int64_t dims[4];
    int rank = xception_weight_shape(layer, weight, 1, dims);
    CHECK(rank == 4);
    int64_t area = dims[0] * dims[1], in = dims[2], out = dims[3];
    if (layer->kind == XCEPTION_SEPARABLE &&
        weight == 0) { // one kernel per channel: in is ONNX's out
        out = in;
        in = 1;
    }
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t a = 0; a < area; a++)
                onnx[(o * in + i) * area + a] = keras[(a * in + i) * out + o];
}
