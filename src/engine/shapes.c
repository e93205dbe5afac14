#include "engine/shapes.h"

#include "base/limits.h"
#include "engine/ops.h"

#include <math.h>
#include <string.h>

enum err shapes_same(struct graph *g, struct node *n, enum dtype dtype)
{
    const struct tensor *x = node_input(g, n, 0);
    *node_output(g, n) =
        (struct tensor){.dtype = dtype,
                        .stored = dtype == DTYPE_I64 && x->dtype == dtype ? x->stored : STORED_WIDE,
                        .shape = x->shape};
    return OK;
}

enum err shapes_need_floats(const struct graph *g, const struct node *n, struct error *error)
{
    if (node_input(g, n, 0)->dtype != DTYPE_F32)
        return node_fail(n, ERR_UNSUPPORTED, error, "its input is not of floats");
    return OK;
}

enum err shapes_read_axis(const struct node *n, int64_t axis, int limit, int *out,
                          struct error *error)
{
    if (axis < -limit || axis >= limit)
        return node_fail(n, ERR_FORMAT, error, "axis %lld of %d", (long long)axis, limit);
    *out = (int)(axis < 0 ? axis + limit : axis);
    return OK;
}

enum err shapes_read_ints(const struct graph *g, const struct node *n, const char *attribute,
                          int input_index, const int64_t **out, size_t *count, struct error *error)
{
    *out = NULL;
    *count = 0;
    const struct attribute *a = attr_find(n, attribute);
    if (a != NULL) {
        *out = a->ints;
        *count = a->count;
        return OK;
    }
    if (input_index < 0 || input_index >= n->input_count || n->inputs[input_index] < 0)
        return OK;
    const struct tensor *t = graph_constant(g, n, input_index);
    if (t == NULL)
        return node_fail(n, ERR_UNSUPPORTED, error,
                         "'%s' is computed from the picture; only constant ones are supported",
                         attribute);
    if (t->dtype != DTYPE_I64 || t->shape.rank > 1)
        return node_fail(n, ERR_FORMAT, error, "'%s' is not a list of integers", attribute);
    *out = t->data;
    *count = (size_t)shape_count(&t->shape);
    return OK;
}

// Marks the axes listed; an axis listed twice is an error.
static enum err read_axes(const struct node *n, const int64_t *axes, size_t count, int rank,
                          bool marked[ENGINE_RANK_MAX], struct error *error)
{
    memset(marked, 0, ENGINE_RANK_MAX * sizeof *marked);
    for (size_t i = 0; i < count; i++) {
        int axis = 0;
        TRY(shapes_read_axis(n, axes[i], rank, &axis, error));
        if (marked[axis])
            return node_fail(n, ERR_FORMAT, error, "axis %d is listed twice", axis);
        marked[axis] = true;
    }
    return OK;
}

enum err shapes_broadcast(const struct node *n, const struct engine_shape *a,
                          const struct engine_shape *b, struct engine_shape *out,
                          struct error *error)
{
    char at[128], bt[128];
    int rank = a->rank > b->rank ? a->rank : b->rank;
    struct engine_shape s = {.rank = rank};
    for (int i = 0; i < rank; i++) {
        int ia = i - (rank - a->rank), ib = i - (rank - b->rank);
        int64_t da = ia < 0 ? 1 : a->dims[ia], db = ib < 0 ? 1 : b->dims[ib];
        if (da != db && da != 1 && db != 1)
            return node_fail(n, ERR_FORMAT, error, "shapes %s and %s do not fit together",
                             shape_text(a, at), shape_text(b, bt));
        s.dims[i] = da == 1 ? db : da;
    }
    *out = s;
    return OK;
}

enum err shape_binary(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *a = node_input(g, n, 0), *b = node_input(g, n, 1);
    static const struct {
        const char *name;
        enum binary kind;
    } names[] = {{"Add", BINARY_ADD}, {"Sub", BINARY_SUB}, {"Mul", BINARY_MUL},
                 {"Div", BINARY_DIV}, {"Pow", BINARY_POW}, {"PRelu", BINARY_PRELU}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(n->op->name, names[i].name) == 0)
            n->params.binary = names[i].kind;
    if (a->dtype != b->dtype && n->params.binary != BINARY_POW)
        return node_fail(n, ERR_FORMAT, error, "its inputs have different types");
    if (n->params.binary == BINARY_PRELU && a->dtype != DTYPE_F32)
        return node_fail(n, ERR_UNSUPPORTED, error, "its inputs are not floats");
    struct tensor *y = node_output(g, n);
    y->dtype = a->dtype;
    return shapes_broadcast(n, &a->shape, &b->shape, &y->shape, error);
}

enum err shape_unary(struct graph *g, struct node *n, struct error *error)
{
    static const struct {
        const char *name;
        struct activation act; // with the defaults of the specification
    } names[] = {{"Relu", {UNARY_RELU, 0, 0}},
                 {"LeakyRelu", {UNARY_LEAKY_RELU, 0.01f, 0}},
                 {"Sigmoid", {UNARY_SIGMOID, 0, 0}},
                 {"HardSigmoid", {UNARY_HARD_SIGMOID, 0.2f, 0.5f}},
                 {"HardSwish", {UNARY_HARD_SWISH, 0, 0}},
                 {"Tanh", {UNARY_TANH, 0, 0}},
                 {"Exp", {UNARY_EXP, 0, 0}},
                 {"Sqrt", {UNARY_SQRT, 0, 0}},
                 {"Neg", {UNARY_NEG, 0, 0}},
                 {"Gelu", {UNARY_GELU, 0, 0}},
                 {"Erf", {UNARY_ERF, 0, 0}},
                 {"Elu", {UNARY_ELU, 1, 0}},
                 {"Selu", {UNARY_SELU, 1.67326319217681884765625f, 1.05070102214813232421875f}},
                 {"Softplus", {UNARY_SOFTPLUS, 0, 0}},
                 {"Softsign", {UNARY_SOFTSIGN, 0, 0}},
                 {"Mish", {UNARY_MISH, 0, 0}},
                 {"Abs", {UNARY_ABS, 0, 0}},
                 {"Log", {UNARY_LOG, 0, 0}},
                 {"Reciprocal", {UNARY_RECIPROCAL, 0, 0}},
                 {"Floor", {UNARY_FLOOR, 0, 0}},
                 {"Ceil", {UNARY_CEIL, 0, 0}},
                 {"Round", {UNARY_ROUND, 0, 0}},
                 {"Sign", {UNARY_SIGN, 0, 0}}};
    TRY(shapes_need_floats(g, n, error));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(n->op->name, names[i].name) == 0)
            n->params.unary = names[i].act;
    n->params.unary.alpha = attr_float(n, "alpha", n->params.unary.alpha);
    n->params.unary.beta = attr_float(n, "beta", attr_float(n, "gamma", n->params.unary.beta));
    if (strcmp(attr_string(n, "approximate", "none"), "tanh") == 0)
        n->params.unary.kind = UNARY_GELU_TANH;
    return shapes_same(g, n, DTYPE_F32);
}

enum err shape_clip(struct graph *g, struct node *n, struct error *error)
{
    float bounds[2] = {attr_float(n, "min", -INFINITY), attr_float(n, "max", INFINITY)};
    TRY(shapes_need_floats(g, n, error));
    for (int k = 1; k < n->input_count; k++) {
        const struct tensor *t = graph_constant(g, n, k);
        if (n->inputs[k] < 0)
            continue;
        if (t == NULL || t->dtype != DTYPE_F32 || shape_count(&t->shape) != 1)
            return node_fail(n, ERR_UNSUPPORTED, error, "its bounds are not constant numbers");
        bounds[k - 1] = *(const float *)t->data;
    }
    n->params.unary = (struct activation){UNARY_CLIP, bounds[0], bounds[1]};
    if (bounds[0] == 0 && isinf(bounds[1]))
        n->params.unary = (struct activation){UNARY_RELU, 0, 0};
    return shapes_same(g, n, DTYPE_F32);
}

enum err shape_cast(struct graph *g, struct node *n, struct error *error)
{
    // TensorProto.DataType: 1 float, 10 float16, 11 double, 16 bfloat16; 2 to 7, 12, 13 integers
    int64_t to = attr_int(n, "to", 0);
    n->params.cast.to_bool = to == 9;
    n->params.cast.stored = to == 2 ? STORED_UINT8 : to == 3 ? STORED_INT8 : STORED_WIDE;
    if (n->params.cast.stored != STORED_WIDE && node_input(g, n, 0)->dtype == DTYPE_F32 &&
        node_input(g, n, 0)->stored == n->params.cast.stored) {
        n->op = op_find("Identity", g->opset); // PyTorch writes it behind each QuantizeLinear
        return shape_identity(g, n, error);
    }
    if (to == 1 || to == 10 || to == 11 || to == 16)
        return shapes_same(g, n, DTYPE_F32);
    if (to == 2 || to == 3 || to == 6 || to == 7 || to == 9) {
        TRY(shapes_same(g, n, DTYPE_I64));
        node_output(g, n)->stored = n->params.cast.stored;
        return OK;
    }
    return node_fail(n, ERR_UNSUPPORTED, error, "casts to data type %lld", (long long)to);
}

enum err shape_identity(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    (void)error;
    *node_output(g, n) = (struct tensor){.dtype = x->dtype, .stored = x->stored, .shape = x->shape};
    return OK;
}

enum err shape_dropout(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *training = graph_constant(g, n, 2);
    if (n->input_count > 2 && n->inputs[2] >= 0 &&
        (training == NULL || training->dtype != DTYPE_I64 || shape_count(&training->shape) != 1 ||
         *(const int64_t *)training->data != 0))
        return node_fail(n, ERR_UNSUPPORTED, error, "is in training mode; export for inference");
    return shape_identity(g, n, error);
}

enum err shape_gemm(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *a = node_input(g, n, 0), *b = node_input(g, n, 1);
    char at[128], bt[128];
    bool ta = attr_int(n, "transA", 0) != 0, tb = attr_int(n, "transB", 0) != 0;
    n->params.gemm.alpha = attr_float(n, "alpha", 1);
    n->params.gemm.beta = attr_float(n, "beta", 1);
    n->params.gemm.transpose_a = ta;
    n->params.gemm.transpose_b = tb;
    if (a->dtype != DTYPE_F32 || b->dtype != DTYPE_F32 || a->shape.rank != 2 ||
        b->shape.rank != 2 || a->shape.dims[ta ? 0 : 1] != b->shape.dims[tb ? 1 : 0])
        return node_fail(n, ERR_FORMAT, error, "matrices %s and %s do not fit together",
                         shape_text(&a->shape, at), shape_text(&b->shape, bt));
    struct tensor *y = node_output(g, n);
    y->dtype = DTYPE_F32;
    y->shape = (struct engine_shape){2, {a->shape.dims[ta ? 1 : 0], b->shape.dims[tb ? 0 : 1]}};
    if (n->input_count > 2 && n->inputs[2] >= 0) {
        struct engine_shape sum;
        const struct tensor *c = node_input(g, n, 2);
        TRY(shapes_broadcast(n, &y->shape, &c->shape, &sum, error));
        if (!shape_equal(&sum, &y->shape) || c->dtype != DTYPE_F32)
            return node_fail(n, ERR_FORMAT, error, "its addend does not fit the product");
    }
    return OK;
}

enum err shape_matmul(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *a = node_input(g, n, 0), *b = node_input(g, n, 1);
    char at[128], bt[128];
    int ra = a->shape.rank, rb = b->shape.rank;
    if (a->dtype != DTYPE_F32 || b->dtype != DTYPE_F32 || ra < 2 || rb < 2)
        return node_fail(n, ERR_UNSUPPORTED, error, "multiplies %s by %s; only float matrices",
                         shape_text(&a->shape, at), shape_text(&b->shape, bt));
    if (a->shape.dims[ra - 1] != b->shape.dims[rb - 2])
        return node_fail(n, ERR_FORMAT, error, "matrices %s and %s do not fit together",
                         shape_text(&a->shape, at), shape_text(&b->shape, bt));
    struct engine_shape batch_a = a->shape, batch_b = b->shape;
    batch_a.rank -= 2;
    batch_b.rank -= 2;
    struct tensor *y = node_output(g, n);
    y->dtype = DTYPE_F32;
    TRY(shapes_broadcast(n, &batch_a, &batch_b, &y->shape, error));
    y->shape.dims[y->shape.rank++] = a->shape.dims[ra - 2];
    y->shape.dims[y->shape.rank++] = b->shape.dims[rb - 1];
    return OK;
}

enum err shape_softmax(struct graph *g, struct node *n, struct error *error)
{
    int rank = node_input(g, n, 0)->shape.rank, axis = 0;
    TRY(shapes_need_floats(g, n, error));
    TRY(shapes_read_axis(n, attr_int(n, "axis", g->opset < 13 ? 1 : -1), rank, &axis, error));
    // before opset 13 the axis and all behind it are taken as one
    n->params.axis.begin = axis;
    n->params.axis.end = g->opset < 13 ? rank : axis + 1;
    return shapes_same(g, n, DTYPE_F32);
}

enum err shape_reduce(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    struct tensor *y = node_output(g, n);
    const int64_t *axes = NULL;
    size_t count = 0;
    static const char *const kinds[] = {
        [REDUCE_MEAN] = "ReduceMean", [REDUCE_SUM] = "ReduceSum",   [REDUCE_MAX] = "ReduceMax",
        [REDUCE_MIN] = "ReduceMin",   [REDUCE_PROD] = "ReduceProd", [REDUCE_L1] = "ReduceL1",
        [REDUCE_L2] = "ReduceL2"};
    TRY(shapes_need_floats(g, n, error));
    TRY(shapes_read_ints(g, n, "axes", 1, &axes, &count, error));
    TRY(read_axes(n, axes, count, x->shape.rank, n->params.reduce.axes, error));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(n->op->name, kinds[i]) == 0)
            n->params.reduce.kind = (enum reduce)i;
    bool all = count == 0 && attr_int(n, "noop_with_empty_axes", 0) == 0;
    bool keep = attr_int(n, "keepdims", 1) != 0;
    *y = (struct tensor){.dtype = DTYPE_F32};
    for (int i = 0; i < x->shape.rank; i++) {
        n->params.reduce.axes[i] = n->params.reduce.axes[i] || all;
        if (!n->params.reduce.axes[i])
            y->shape.dims[y->shape.rank++] = x->shape.dims[i];
        else if (keep)
            y->shape.dims[y->shape.rank++] = 1;
    }
    if (shape_count(&x->shape) <= 0)
        return node_fail(n, ERR_FORMAT, error, "reduces nothing");
    return OK;
}

enum err shape_concat(struct graph *g, struct node *n, struct error *error)
{
    struct tensor y = *node_input(g, n, 0);
    char a[128], b[128];
    int axis = 0;
    if (attr_find(n, "axis") == NULL || y.shape.rank == 0)
        return node_fail(n, ERR_FORMAT, error, "has no axis");
    TRY(shapes_read_axis(n, attr_int(n, "axis", 0), y.shape.rank, &axis, error));
    y.data = NULL;
    for (int k = 1; k < n->input_count; k++) {
        if (n->inputs[k] < 0)
            return node_fail(n, ERR_FORMAT, error, "its input %d is left out", k);
        struct engine_shape s = node_input(g, n, k)->shape;
        int64_t size = s.rank == y.shape.rank ? s.dims[axis] : 0;
        s.dims[axis] = y.shape.dims[axis];
        if (!shape_equal(&s, &y.shape) || node_input(g, n, k)->dtype != y.dtype)
            return node_fail(n, ERR_FORMAT, error, "shapes %s and %s do not fit together",
                             shape_text(&node_input(g, n, k)->shape, a),
                             shape_text(&node_input(g, n, 0)->shape, b));
        y.shape.dims[axis] += size;
        if (y.shape.dims[axis] > MODEL_ELEMENTS_MAX)
            return node_fail(n, ERR_LIMIT, error, "its result is too long");
    }
    n->params.axis.begin = axis;
    *node_output(g, n) = y;
    return OK;
}

enum err shape_transpose(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    struct tensor *y = node_output(g, n);
    const struct attribute *a = attr_find(n, "perm");
    int rank = x->shape.rank;
    bool seen[ENGINE_RANK_MAX] = {0};
    if (a != NULL && a->count != (size_t)rank)
        return node_fail(n, ERR_FORMAT, error, "perm has %zu axes, the input %d", a->count, rank);
    if (a != NULL)
        TRY(read_axes(n, a->ints, a->count, rank, seen, error));
    *y = (struct tensor){.dtype = x->dtype, .shape.rank = rank};
    for (int i = 0; i < rank; i++) {
        int64_t from = a != NULL ? a->ints[i] : rank - 1 - i;
        n->params.permutation[i] = (int)(from < 0 ? from + rank : from);
        y->shape.dims[i] = x->shape.dims[n->params.permutation[i]];
    }
    return OK;
}

enum err shape_pad(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0), *value = graph_constant(g, n, 2);
    struct tensor *y = node_output(g, n);
    const int64_t *pads = NULL, *axes = NULL;
    size_t count = 0, axis_count = 0, rank = (size_t)x->shape.rank;
    const char *mode = attr_string(n, "mode", "constant");
    bool constant = strcmp(mode, "constant") == 0, reflect = strcmp(mode, "reflect") == 0;
    if (!constant && !reflect && strcmp(mode, "edge") != 0)
        return node_fail(n, ERR_UNSUPPORTED, error, "mode '%.20s'", mode);
    TRY(shapes_need_floats(g, n, error));
    TRY(shapes_read_ints(g, n, "pads", 1, &pads, &count, error));
    TRY(shapes_read_ints(g, n, "axes", 3, &axes, &axis_count, error));
    bool seen[ENGINE_RANK_MAX] = {0};
    TRY(read_axes(n, axes, axis_count, x->shape.rank, seen, error));
    size_t padded = axes != NULL ? axis_count : rank;
    if (count != 2 * padded)
        return node_fail(n, ERR_FORMAT, error, "has %zu pads, needs %zu", count, 2 * padded);
    memset(&n->params.pad, 0, sizeof n->params.pad);
    n->params.pad.mode = constant ? PAD_CONSTANT : reflect ? PAD_REFLECT : PAD_EDGE;
    n->params.pad.value = attr_float(n, "value", 0);
    if (value != NULL && value->dtype == DTYPE_F32 && shape_count(&value->shape) == 1)
        n->params.pad.value = *(const float *)value->data;
    else if (n->input_count > 2 && n->inputs[2] >= 0)
        return node_fail(n, ERR_UNSUPPORTED, error, "its value is not a constant number");
    *y = (struct tensor){.dtype = DTYPE_F32, .shape = x->shape};
    for (size_t i = 0; i < padded; i++) {
        int axis = (int)i;
        if (axes != NULL)
            TRY(shapes_read_axis(n, axes[i], x->shape.rank, &axis, error));
        int64_t before = pads[i], after = pads[padded + i];
        if (before < -MODEL_ELEMENTS_MAX || before > MODEL_ELEMENTS_MAX ||
            after < -MODEL_ELEMENTS_MAX || after > MODEL_ELEMENTS_MAX ||
            x->shape.dims[axis] + before + after < 0)
            return node_fail(n, ERR_FORMAT, error, "pads an axis of %lld by %lld and %lld",
                             (long long)x->shape.dims[axis], (long long)before, (long long)after);
        int64_t reach = reflect ? x->shape.dims[axis] - 1 : x->shape.dims[axis] > 0 ? 1 << 28 : 0;
        if (!constant && (before < 0 || after < 0 || before > reach || after > reach))
            return node_fail(n, ERR_UNSUPPORTED, error, "repeats more than there is");
        n->params.pad.before[axis] = before;
        n->params.pad.after[axis] = after;
        y->shape.dims[axis] += before + after;
    }
    return OK;
}

enum err shape_gather(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0), *indices = graph_constant(g, n, 1);
    struct tensor *y = node_output(g, n);
    int axis = 0;
    TRY(shapes_read_axis(n, attr_int(n, "axis", 0), x->shape.rank, &axis, error));
    if (indices == NULL || indices->dtype != DTYPE_I64)
        return node_fail(n, ERR_UNSUPPORTED, error, "its indices are not constant integers");
    int64_t size = x->shape.dims[axis], count = shape_count(&indices->shape);
    for (int64_t i = 0; i < count; i++) {
        int64_t at = ((const int64_t *)indices->data)[i];
        if (at < -size || at >= size)
            return node_fail(n, ERR_FORMAT, error, "index %lld of %lld", (long long)at,
                             (long long)size);
    }
    if (x->shape.rank - 1 + indices->shape.rank > ENGINE_RANK_MAX)
        return node_fail(n, ERR_LIMIT, error, "its result has over %d axes", ENGINE_RANK_MAX);
    n->params.axis.begin = axis;
    struct engine_shape s = {0};
    for (int i = 0; i < axis; i++)
        s.dims[s.rank++] = x->shape.dims[i];
    for (int i = 0; i < indices->shape.rank; i++)
        s.dims[s.rank++] = indices->shape.dims[i];
    for (int i = axis + 1; i < x->shape.rank; i++)
        s.dims[s.rank++] = x->shape.dims[i];
    *y = (struct tensor){.dtype = x->dtype, .shape = s};
    return OK;
}

// A Slice's list for the axes it names: starts, ends, steps.
struct slice_lists {
    const int64_t *starts, *ends, *axes, *steps;
    size_t count, end_count, axis_count, step_count;
};

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

static enum err slice_axis(struct node *n, const struct slice_lists *l, size_t i, int axis,
                           struct engine_shape *s, struct error *error)
{
    int64_t size = s->dims[axis], start = l->starts[i], end = l->ends[i];
    int64_t step = l->steps != NULL ? l->steps[i] : 1;
    if (step == 0 || step < -MODEL_ELEMENTS_MAX || step > MODEL_ELEMENTS_MAX)
        return node_fail(n, ERR_FORMAT, error, "step %lld", (long long)step);
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
    start = clamp(start < 0 ? start + size : start, 0, high);
    end = clamp(end < 0 ? end + size : end, low, high);
    int64_t span = step > 0 ? end - start : start - end, stride = step > 0 ? step : -step;
    s->dims[axis] = span > 0 ? (span + stride - 1) / stride : 0;
    n->params.slice.start[axis] = start;
    n->params.slice.step[axis] = step;
    return OK;
}

enum err shape_slice(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    struct slice_lists l = {0};
    bool seen[ENGINE_RANK_MAX] = {0};
    int rank = x->shape.rank;
    TRY(shapes_read_ints(g, n, "starts", 1, &l.starts, &l.count, error));
    TRY(shapes_read_ints(g, n, "ends", 2, &l.ends, &l.end_count, error));
    TRY(shapes_read_ints(g, n, "axes", 3, &l.axes, &l.axis_count, error));
    TRY(shapes_read_ints(g, n, "steps", 4, &l.steps, &l.step_count, error));
    TRY(read_axes(n, l.axes, l.axis_count, rank, seen, error));
    if (l.count != l.end_count || (l.axes != NULL && l.axis_count != l.count) ||
        (l.steps != NULL && l.step_count != l.count) || l.count > (size_t)rank)
        return node_fail(n, ERR_FORMAT, error, "its starts, ends, axes and steps do not match");
    struct engine_shape s = x->shape;
    for (int i = 0; i < rank; i++) {
        n->params.slice.start[i] = 0;
        n->params.slice.step[i] = 1;
    }
    for (size_t i = 0; i < l.count; i++) {
        int axis = (int)i;
        if (l.axes != NULL)
            TRY(shapes_read_axis(n, l.axes[i], rank, &axis, error));
        TRY(slice_axis(n, &l, i, axis, &s, error));
    }
    *node_output(g, n) = (struct tensor){.dtype = x->dtype, .shape = s};
    return OK;
}

enum err shape_expand(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    const int64_t *dims = NULL;
    size_t count = 0;
    TRY(shapes_read_ints(g, n, "shape", 1, &dims, &count, error));
    if (count > ENGINE_RANK_MAX)
        return node_fail(n, ERR_LIMIT, error, "its result has %zu axes", count);
    struct engine_shape to = {.rank = (int)count};
    for (size_t i = 0; i < count; i++)
        to.dims[i] = dims[i];
    if (shape_count(&to) < 0)
        return node_fail(n, ERR_LIMIT, error, "its result is too large");
    struct tensor *y = node_output(g, n);
    y->dtype = x->dtype;
    return shapes_broadcast(n, &x->shape, &to, &y->shape, error);
}
