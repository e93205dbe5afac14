// Resize and Upsample: scales or sizes, and the way from an output position to the input.
#include "engine/shapes.h"

#include "base/limits.h"

#include <math.h>
#include <string.h>

// The index of text among names; -1: none.
static int find_name(const char *text, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    return -1;
}

static enum err read_modes(const struct graph *g, struct node *n, struct error *error)
{
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const places[] = {"half_pixel", "pytorch_half_pixel", "align_corners",
                                         "asymmetric", "tf_half_pixel_for_nn"};
    static const char *const rounds[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                         "ceil"};
    bool old = g->opset < 11; // Resize 10 and Upsample say neither place nor rounding
    const char *mode = attr_string(n, "mode", "nearest");
    const char *place =
        attr_string(n, "coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
    const char *round = attr_string(n, "nearest_mode", old ? "floor" : "round_prefer_floor");
    int m = find_name(mode, modes, 3), p = find_name(place, places, 5);
    int r = find_name(round, rounds, 4);
    if (m < 0 || p < 0 || r < 0)
        return node_fail(n, ERR_UNSUPPORTED, error, "mode '%.20s' with '%.30s' and '%.30s'", mode,
                         place, round);
    if (attr_int(n, "antialias", 0) != 0 ||
        strcmp(attr_string(n, "keep_aspect_ratio_policy", "stretch"), "stretch") != 0)
        return node_fail(n, ERR_UNSUPPORTED, error, "antialias or an aspect ratio to keep");
    n->params.resize.mode = (enum resize_mode)m;
    n->params.resize.place = (enum resize_place)p;
    n->params.resize.round = (enum resize_round)r;
    n->params.resize.cubic = attr_float(n, "cubic_coeff_a", -0.75f);
    n->params.resize.exclude_outside = attr_int(n, "exclude_outside", 0) != 0;
    return OK;
}

static enum err set_axis(const struct node *n, struct tensor *y, int axis, float scale,
                         int64_t size, struct error *error)
{
    int64_t in = y->shape.dims[axis];
    if (size < 0) { // by scale
        double out = floor((double)in * (double)scale);
        if (!(scale > 0) || !(out <= MODEL_ELEMENTS_MAX))
            return node_fail(n, ERR_FORMAT, error, "scale %g", (double)scale);
        size = (int64_t)out;
    }
    if (in < 1 || size < 1 || size > MODEL_ELEMENTS_MAX)
        return node_fail(n, ERR_FORMAT, error, "makes %lld of %lld", (long long)size,
                         (long long)in);
    y->shape.dims[axis] = size;
    return OK;
}

// scales: constant floats, or NULL; sizes: constant integers, or NULL.
static enum err resize(struct graph *g, struct node *n, const struct tensor *scales,
                       const struct tensor *sizes, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0), *given = scales != NULL ? scales : sizes;
    const struct attribute *axes = attr_find(n, "axes");
    struct tensor *y = node_output(g, n);
    size_t listed = axes != NULL ? axes->count : (size_t)x->shape.rank;
    TRY(shapes_need_floats(g, n, error));
    TRY(read_modes(g, n, error));
    if (given == NULL || given->dtype != (scales != NULL ? DTYPE_F32 : DTYPE_I64) ||
        (size_t)shape_count(&given->shape) != listed || listed > (size_t)x->shape.rank)
        return node_fail(n, ERR_UNSUPPORTED, error,
                         "its scales or sizes are not %zu constant numbers", listed);
    *y = (struct tensor){.dtype = DTYPE_F32, .shape = x->shape};
    for (int i = 0; i < ENGINE_RANK_MAX; i++)
        n->params.resize.scale[i] = 1;
    for (size_t i = 0; i < listed; i++) {
        int axis = 0;
        TRY(shapes_read_axis(n, axes != NULL ? axes->ints[i] : (int64_t)i, x->shape.rank, &axis,
                             error));
        float scale = scales != NULL ? ((const float *)scales->data)[i] : 0;
        int64_t size = scales != NULL ? -1 : ((const int64_t *)sizes->data)[i];
        if (scales == NULL && size < 0)
            return node_fail(n, ERR_FORMAT, error, "size %lld", (long long)size);
        TRY(set_axis(n, y, axis, scale, size, error));
        n->params.resize.scale[axis] =
            scales != NULL ? scale : (float)((double)size / (double)x->shape.dims[axis]);
    }
    return OK;
}

// A constant input that holds something.
static const struct tensor *given(const struct graph *g, const struct node *n, int input)
{
    const struct tensor *t = graph_constant(g, n, input);
    return t != NULL && shape_count(&t->shape) > 0 ? t : NULL;
}

enum err shape_resize(struct graph *g, struct node *n, struct error *error)
{
    if (g->opset < 11)
        return resize(g, n, given(g, n, 1), NULL, error);
    return resize(g, n, given(g, n, 2), given(g, n, 3), error);
}

enum err shape_upsample(struct graph *g, struct node *n, struct error *error)
{
    const struct attribute *a = attr_find(n, "scales");
    if (a == NULL)
        return resize(g, n, given(g, n, 1), NULL, error);
    union { // a tensor's data are not const; these are only read
        const float *in;
        void *out;
    } data = {.in = a->floats};
    struct tensor scales = {.dtype = DTYPE_F32, .shape = {1, {(int64_t)a->count}}};
    scales.data = data.out;
    return resize(g, n, &scales, NULL, error);
}
