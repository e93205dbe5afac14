// Shapes of operators that look through a window: Conv, the pools. And BatchNormalization.
#include "base/limits.h"
#include "engine/shapes.h"

#include <string.h>

enum { WINDOW_SIDE_MAX = 1 << 16 }; // kernel, stride, dilation, padding: keeps products in range

// Attribute `name`: count numbers in [min, WINDOW_SIDE_MAX]; left alone where there is none.
static enum err read_sides(const struct node *n, const char *name, size_t count, int64_t min,
                           int64_t *out, struct error *error)
{
    const struct attribute *a = attr_find(n, name);
    if (a == NULL)
        return OK;
    if (a->count != count)
        return node_fail(n, ERR_FORMAT, error, "attribute '%s' has %zu numbers, needs %zu", name,
                         a->count, count);
    for (size_t i = 0; i < count; i++) {
        if (a->ints[i] < min || a->ints[i] > WINDOW_SIDE_MAX)
            return node_fail(n, ERR_FORMAT, error, "attribute '%s' holds %lld, not in %lld to %d",
                             name, (long long)a->ints[i], (long long)min, WINDOW_SIDE_MAX);
        out[i] = a->ints[i];
    }
    return OK;
}

// Output size along one axis; fills the padding where auto_pad decides it.
static int64_t window_out(struct window *w, int i, int64_t in, const char *auto_pad, bool ceil_mode)
{
    int64_t reach = (w->kernel[i] - 1) * w->dilation[i] + 1, stride = w->stride[i];
    if (strncmp(auto_pad, "SAME_", 5) == 0) {
        int64_t out = (in + stride - 1) / stride;
        int64_t total = (out - 1) * stride + reach - in;
        total = total > 0 ? total : 0;
        w->before[i] = strcmp(auto_pad, "SAME_LOWER") == 0 ? (total + 1) / 2 : total / 2;
        w->after[i] = total - w->before[i];
        return out;
    }
    int64_t room = in + w->before[i] + w->after[i] - reach;
    if (room < 0)
        return 0;
    int64_t out = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
    // a last window that would begin in the padding behind the input is left out
    if (ceil_mode && (out - 1) * stride >= in + w->before[i])
        out--;
    return out;
}

// Everything but the kernel's size, which is in w already. Writes the spatial part of out.
static enum err read_window(struct node *n, const struct engine_shape *in, struct window *w,
                            struct engine_shape *out, struct error *error)
{
    size_t rank = (size_t)w->rank;
    int64_t pads[2 * SPATIAL_MAX] = {0};
    const char *auto_pad = attr_string(n, "auto_pad", "NOTSET");
    if (strcmp(auto_pad, "NOTSET") != 0 && strcmp(auto_pad, "VALID") != 0 &&
        strcmp(auto_pad, "SAME_UPPER") != 0 && strcmp(auto_pad, "SAME_LOWER") != 0)
        return node_fail(n, ERR_FORMAT, error, "auto_pad '%.20s' is unknown", auto_pad);
    for (size_t i = 0; i < rank; i++)
        w->stride[i] = w->dilation[i] = 1;
    TRY(read_sides(n, "strides", rank, 1, w->stride, error));
    TRY(read_sides(n, "dilations", rank, 1, w->dilation, error));
    TRY(read_sides(n, "pads", 2 * rank, 0, pads, error));
    for (size_t i = 0; i < rank && strcmp(auto_pad, "NOTSET") == 0; i++) {
        w->before[i] = pads[i];
        w->after[i] = pads[rank + i];
    }
    bool ceil_mode = attr_int(n, "ceil_mode", 0) != 0;
    for (int i = 0; i < w->rank; i++) {
        int64_t size = window_out(w, i, in->dims[2 + i], auto_pad, ceil_mode);
        if (size <= 0)
            return node_fail(n, ERR_FORMAT, error,
                             "its window of %lld is larger than the input, %lld and padding",
                             (long long)w->kernel[i], (long long)in->dims[2 + i]);
        out->dims[2 + i] = size;
    }
    return OK;
}

static enum err check_image(const struct node *n, const struct tensor *x, struct error *error)
{
    char text[128];
    if (x->dtype != DTYPE_F32 || x->shape.rank < 3 || x->shape.rank > 2 + SPATIAL_MAX ||
        shape_count(&x->shape) <= 0)
        return node_fail(n, ERR_UNSUPPORTED, error, "its input (%s) is not a batch of float images",
                         shape_text(&x->shape, text));
    return OK;
}

enum err shape_conv(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0), *k = node_input(g, n, 1);
    struct tensor *y = node_output(g, n);
    struct window *w = &n->params.window;
    char a[128], b[128];
    TRY(check_image(n, x, error));
    if (k->data == NULL || k->dtype != DTYPE_F32)
        return node_fail(n, ERR_UNSUPPORTED, error, "its weights are not constant floats");
    int64_t groups = attr_int(n, "group", 1);
    if (k->shape.rank != x->shape.rank || shape_count(&k->shape) <= 0 || groups < 1 ||
        groups > k->shape.dims[0] || k->shape.dims[0] % groups != 0 ||
        x->shape.dims[1] % groups != 0 || x->shape.dims[1] / groups != k->shape.dims[1])
        return node_fail(n, ERR_FORMAT, error, "weights %s in %lld groups do not fit the input %s",
                         shape_text(&k->shape, a), (long long)groups, shape_text(&x->shape, b));
    *w = (struct window){.rank = x->shape.rank - 2, .groups = groups};
    for (int i = 0; i < w->rank; i++)
        w->kernel[i] = k->shape.dims[2 + i];
    int64_t said[SPATIAL_MAX];
    memcpy(said, w->kernel, sizeof said);
    TRY(read_sides(n, "kernel_shape", (size_t)w->rank, 1, said, error));
    if (memcmp(said, w->kernel, sizeof said) != 0)
        return node_fail(n, ERR_FORMAT, error, "kernel_shape differs from the weights, %s",
                         shape_text(&k->shape, a));
    for (int i = 0; i < w->rank; i++)
        if (w->kernel[i] > WINDOW_SIDE_MAX)
            return node_fail(n, ERR_LIMIT, error, "its window is over %d", WINDOW_SIDE_MAX);
    if (n->input_count > 2 && n->inputs[2] >= 0) {
        const struct tensor *bias = graph_constant(g, n, 2);
        if (bias == NULL || bias->dtype != DTYPE_F32 || bias->shape.rank != 1 ||
            bias->shape.dims[0] != k->shape.dims[0])
            return node_fail(n, ERR_FORMAT, error, "its bias is not %lld constant floats",
                             (long long)k->shape.dims[0]);
    }
    y->dtype = DTYPE_F32;
    y->shape.rank = x->shape.rank;
    y->shape.dims[0] = x->shape.dims[0];
    y->shape.dims[1] = k->shape.dims[0];
    return read_window(n, &x->shape, w, &y->shape, error);
}

enum err shape_pool(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    struct tensor *y = node_output(g, n);
    struct window *w = &n->params.window;
    TRY(check_image(n, x, error));
    *w = (struct window){.rank = x->shape.rank - 2, .groups = 1};
    if (attr_find(n, "kernel_shape") == NULL)
        return node_fail(n, ERR_FORMAT, error, "has no kernel_shape");
    TRY(read_sides(n, "kernel_shape", (size_t)w->rank, 1, w->kernel, error));
    w->count_pads = attr_int(n, "count_include_pad", 0) != 0;
    y->dtype = DTYPE_F32;
    y->shape.rank = x->shape.rank;
    y->shape.dims[0] = x->shape.dims[0];
    y->shape.dims[1] = x->shape.dims[1];
    TRY(read_window(n, &x->shape, w, &y->shape, error));
    for (int i = 0; i < w->rank; i++) {
        int64_t reach = (w->kernel[i] - 1) * w->dilation[i] + 1;
        if (w->before[i] >= reach || w->after[i] >= reach)
            return node_fail(n, ERR_UNSUPPORTED, error, "its padding is as wide as its window");
    }
    return OK;
}

enum err shape_global_pool(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    struct tensor *y = node_output(g, n);
    struct window *w = &n->params.window;
    TRY(check_image(n, x, error));
    *w = (struct window){.rank = x->shape.rank - 2, .groups = 1};
    *y = (struct tensor){.dtype = DTYPE_F32, .shape = x->shape};
    for (int i = 0; i < w->rank; i++) {
        w->kernel[i] = x->shape.dims[2 + i];
        w->stride[i] = w->dilation[i] = 1;
        y->shape.dims[2 + i] = 1;
    }
    return OK;
}

enum err shape_batch_norm(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    struct tensor *y = node_output(g, n);
    bool training = attr_int(n, "training_mode", 0) != 0;
    for (int o = 1; o < n->output_count; o++) // before opset 14 nothing else says so
        training = training || n->outputs[o] >= 0;
    if (training || attr_int(n, "spatial", 1) != 1)
        return node_fail(n, ERR_UNSUPPORTED, error, "is in training mode; export for inference");
    if (x->dtype != DTYPE_F32 || x->shape.rank < 2 || shape_count(&x->shape) <= 0)
        return node_fail(n, ERR_UNSUPPORTED, error, "its input is not a batch of floats");
    for (int k = 1; k < 5; k++) {
        const struct tensor *t = graph_constant(g, n, k);
        if (t == NULL || t->dtype != DTYPE_F32 || t->shape.rank != 1 ||
            t->shape.dims[0] != x->shape.dims[1])
            return node_fail(n, ERR_FORMAT, error, "its input %d is not %lld constant floats", k,
                             (long long)x->shape.dims[1]);
    }
    n->params.epsilon = attr_float(n, "epsilon", 1e-5f);
    *y = (struct tensor){.dtype = DTYPE_F32, .shape = x->shape};
    return OK;
}
