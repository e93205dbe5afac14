// Shapes of operators that compare, choose, repeat, cut and normalize.
#include "engine/shapes.h"

#include "base/limits.h"

#include <string.h>

enum err shape_compare(struct graph *g, struct node *n, struct error *error)
{
    static const struct {
        const char *name;
        enum binary kind;
    } names[] = {{"Equal", BINARY_EQUAL},
                 {"Less", BINARY_LESS},
                 {"LessOrEqual", BINARY_LESS_EQUAL},
                 {"Greater", BINARY_GREATER},
                 {"GreaterOrEqual", BINARY_GREATER_EQUAL},
                 {"And", BINARY_AND},
                 {"Or", BINARY_OR}};
    const struct tensor *a = node_input(g, n, 0), *b = node_input(g, n, 1);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(n->op->name, names[i].name) == 0)
            n->params.binary = names[i].kind;
    if (a->dtype != b->dtype)
        return node_fail(n, ERR_FORMAT, error, "its inputs have different types");
    struct engine_shape s;
    TRY(shapes_broadcast(n, &a->shape, &b->shape, &s, error));
    *node_output(g, n) = (struct tensor){.dtype = DTYPE_I64, .shape = s};
    return OK;
}

enum err shape_not(struct graph *g, struct node *n, struct error *error)
{
    if (node_input(g, n, 0)->dtype != DTYPE_I64)
        return node_fail(n, ERR_FORMAT, error, "its input is not of truth values");
    return shapes_same(g, n, DTYPE_I64);
}

enum err shape_where(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *c = node_input(g, n, 0), *a = node_input(g, n, 1),
                        *b = node_input(g, n, 2);
    struct engine_shape s;
    if (c->dtype != DTYPE_I64 || a->dtype != b->dtype)
        return node_fail(n, ERR_FORMAT, error, "its inputs have different types");
    TRY(shapes_broadcast(n, &a->shape, &b->shape, &s, error));
    TRY(shapes_broadcast(n, &c->shape, &s, &s, error));
    *node_output(g, n) = (struct tensor){.dtype = a->dtype, .shape = s};
    return OK;
}

// Max, Min, Sum of one or more.
enum err shape_variadic(struct graph *g, struct node *n, struct error *error)
{
    struct engine_shape s = node_input(g, n, 0)->shape;
    enum dtype dtype = node_input(g, n, 0)->dtype;
    n->params.binary = strcmp(n->op->name, "Max") == 0   ? BINARY_MAX
                       : strcmp(n->op->name, "Min") == 0 ? BINARY_MIN
                                                         : BINARY_ADD;
    for (int k = 1; k < n->input_count; k++) {
        if (n->inputs[k] < 0 || node_input(g, n, k)->dtype != dtype)
            return node_fail(n, ERR_FORMAT, error, "its inputs have different types");
        TRY(shapes_broadcast(n, &s, &node_input(g, n, k)->shape, &s, error));
    }
    *node_output(g, n) = (struct tensor){.dtype = dtype, .shape = s};
    return OK;
}

enum err shape_tile(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    const int64_t *repeats = NULL;
    size_t count = 0;
    TRY(shapes_read_ints(g, n, "repeats", 1, &repeats, &count, error));
    if (count != (size_t)x->shape.rank)
        return node_fail(n, ERR_FORMAT, error, "has %zu repeats for %d axes", count, x->shape.rank);
    struct engine_shape s = x->shape;
    for (int i = 0; i < s.rank; i++) {
        if (repeats[i] < 0 || repeats[i] > MODEL_ELEMENTS_MAX)
            return node_fail(n, ERR_FORMAT, error, "repeats %lld times", (long long)repeats[i]);
        s.dims[i] *= repeats[i];
    }
    *node_output(g, n) = (struct tensor){.dtype = x->dtype, .shape = s};
    return OK;
}

enum err shape_range(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *t[3];
    for (int k = 0; k < 3; k++) {
        t[k] = graph_constant(g, n, k);
        if (t[k] == NULL || t[k]->dtype != DTYPE_I64 || shape_count(&t[k]->shape) != 1)
            return node_fail(n, ERR_UNSUPPORTED, error, "its bounds are not constant integers");
    }
    int64_t start = *(int64_t *)t[0]->data, limit = *(int64_t *)t[1]->data;
    int64_t step = *(int64_t *)t[2]->data, most = (int64_t)1 << 48;
    if (step == 0 || start < -most || start > most || limit < -most || limit > most ||
        step < -most || step > most)
        return node_fail(n, ERR_FORMAT, error, "from %lld to %lld in steps of %lld",
                         (long long)start, (long long)limit, (long long)step);
    int64_t span = step > 0 ? limit - start : start - limit, stride = step > 0 ? step : -step;
    struct engine_shape s = {1, {span > 0 ? (span + stride - 1) / stride : 0}};
    *node_output(g, n) = (struct tensor){.dtype = DTYPE_I64, .shape = s};
    return OK;
}

// One part of a Split: a slice along one axis.
enum err shape_split(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    const int64_t *sizes = NULL;
    size_t count = 0;
    int axis = 0;
    TRY(shapes_read_axis(n, attr_int(n, "axis", 0), x->shape.rank, &axis, error));
    TRY(shapes_read_ints(g, n, "split", 1, &sizes, &count, error));
    int64_t size = x->shape.dims[axis], each = (size + n->parts - 1) / n->parts, start = 0, sum = 0;
    if (sizes != NULL && count != (size_t)n->parts)
        return node_fail(n, ERR_FORMAT, error, "has %zu sizes for %d results", count, n->parts);
    if (sizes == NULL && size % n->parts != 0 && g->opset < 18)
        return node_fail(n, ERR_FORMAT, error, "cannot split %lld in %d", (long long)size,
                         n->parts);
    int64_t mine = 0;
    for (int i = 0; i < n->parts; i++) {
        int64_t part = sizes != NULL ? sizes[i] : sum + each <= size ? each : size - sum;
        if (part < 0 || part > size)
            return node_fail(n, ERR_FORMAT, error, "a part of %lld of %lld", (long long)part,
                             (long long)size);
        start = i == n->part ? sum : start;
        mine = i == n->part ? part : mine;
        sum += part;
    }
    if (sum != size)
        return node_fail(n, ERR_FORMAT, error, "its parts make %lld of %lld", (long long)sum,
                         (long long)size);
    for (int i = 0; i < x->shape.rank; i++) {
        n->params.slice.start[i] = i == axis ? start : 0;
        n->params.slice.step[i] = 1;
    }
    struct tensor *y = node_output(g, n);
    *y = (struct tensor){.dtype = x->dtype, .shape = x->shape};
    y->shape.dims[axis] = mine;
    return OK;
}

// DepthToSpace, SpaceToDepth
enum err shape_depth(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    struct tensor *y = node_output(g, n);
    const char *mode = attr_string(n, "mode", "DCR");
    int64_t block = attr_int(n, "blocksize", 0), c, h, w;
    TRY(shapes_need_floats(g, n, error));
    if (x->shape.rank != 4 || block < 1 || block > 1 << 14)
        return node_fail(n, ERR_FORMAT, error, "a block of %lld in %d axes", (long long)block,
                         x->shape.rank);
    c = x->shape.dims[1], h = x->shape.dims[2], w = x->shape.dims[3];
    *y = (struct tensor){.dtype = DTYPE_F32, .shape = x->shape};
    n->params.depth.block = block;
    n->params.depth.columns_first = strcmp(mode, "CRD") != 0;
    bool to_space = n->op->name[0] == 'D';
    if (to_space ? c % (block * block) != 0 : h % block != 0 || w % block != 0)
        return node_fail(n, ERR_FORMAT, error, "its block does not divide its input");
    y->shape.dims[1] = to_space ? c / (block * block) : c * block * block;
    y->shape.dims[2] = to_space ? h * block : h / block;
    y->shape.dims[3] = to_space ? w * block : w / block;
    return OK;
}

enum err shape_layer_norm(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    int64_t inner = 1;
    TRY(shapes_need_floats(g, n, error));
    n->params.norm.epsilon = attr_float(n, "epsilon", 1e-5f);
    TRY(shapes_read_axis(n, attr_int(n, "axis", -1), x->shape.rank, &n->params.norm.axis, error));
    for (int i = n->params.norm.axis; i < x->shape.rank; i++)
        inner *= x->shape.dims[i];
    for (int k = 1; k < n->input_count; k++) {
        const struct tensor *t = graph_constant(g, n, k);
        if (n->inputs[k] >= 0 &&
            (t == NULL || t->dtype != DTYPE_F32 || shape_count(&t->shape) != inner))
            return node_fail(n, ERR_UNSUPPORTED, error, "its input %d is not %lld constant floats",
                             k, (long long)inner);
    }
    return shapes_same(g, n, DTYPE_F32);
}

enum err shape_instance_norm(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    if (x->dtype != DTYPE_F32 || x->shape.rank < 3 || shape_count(&x->shape) <= 0)
        return node_fail(n, ERR_UNSUPPORTED, error, "its input is not a batch of float images");
    n->params.norm.epsilon = attr_float(n, "epsilon", 1e-5f);
    for (int k = 1; k < 3; k++) {
        const struct tensor *t = graph_constant(g, n, k);
        if (t == NULL || t->dtype != DTYPE_F32 || t->shape.rank != 1 ||
            t->shape.dims[0] != x->shape.dims[1])
            return node_fail(n, ERR_FORMAT, error, "its input %d is not %lld constant floats", k,
                             (long long)x->shape.dims[1]);
    }
    return shapes_same(g, n, DTYPE_F32);
}

enum err shape_lrn(struct graph *g, struct node *n, struct error *error)
{
    n->params.lrn.size = attr_int(n, "size", 0);
    n->params.lrn.alpha = attr_float(n, "alpha", 1e-4f);
    n->params.lrn.beta = attr_float(n, "beta", 0.75f);
    n->params.lrn.bias = attr_float(n, "bias", 1);
    if (n->params.lrn.size < 1 || n->params.lrn.size > 1 << 16 ||
        node_input(g, n, 0)->shape.rank < 3)
        return node_fail(n, ERR_FORMAT, error, "over %lld channels", (long long)n->params.lrn.size);
    TRY(shapes_need_floats(g, n, error));
    return shapes_same(g, n, DTYPE_F32);
}

// Scale and zero point: constants, one number each or one for each place along the axis.
static enum err read_quantization(const struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0), *scale = graph_constant(g, n, 1);
    const struct tensor *zero = graph_constant(g, n, 2);
    if (scale == NULL || scale->dtype != DTYPE_F32 ||
        (n->input_count > 2 && n->inputs[2] >= 0 && zero == NULL))
        return node_fail(n, ERR_UNSUPPORTED, error, "its scale and zero point are not constants");
    int64_t count = shape_count(&scale->shape);
    int axis = 0;
    if (count != 1) {
        TRY(shapes_read_axis(n, attr_int(n, "axis", 1), x->shape.rank, &axis, error));
        if (count != x->shape.dims[axis] || scale->shape.rank != 1)
            return node_fail(n, ERR_FORMAT, error, "has %lld scales for %lld", (long long)count,
                             (long long)x->shape.dims[axis]);
    }
    if (zero != NULL && (shape_count(&zero->shape) != count || zero->dtype != DTYPE_I64))
        return node_fail(n, ERR_FORMAT, error, "has another number of zero points than of scales");
    if (zero != NULL && zero->stored == STORED_WIDE && n->op->name[0] == 'Q')
        return node_fail(n, ERR_UNSUPPORTED, error, "quantizes to more than 8 bits");
    n->params.quantize.axis = axis;
    n->params.quantize.low = zero != NULL && zero->stored == STORED_INT8 ? -128 : 0;
    n->params.quantize.high = n->params.quantize.low + 255;
    return OK;
}

// What is quantized stays in floats, as the whole numbers that it would be.
enum err shape_quantize(struct graph *g, struct node *n, struct error *error)
{
    TRY(shapes_need_floats(g, n, error));
    TRY(read_quantization(g, n, error));
    TRY(shapes_same(g, n, DTYPE_F32));
    node_output(g, n)->stored = n->params.quantize.low < 0 ? STORED_INT8 : STORED_UINT8;
    return OK;
}

enum err shape_dequantize(struct graph *g, struct node *n, struct error *error)
{
    TRY(read_quantization(g, n, error));
    return shapes_same(g, n, DTYPE_F32);
}
