// Shapes of operators that rename axes or make small constants: Reshape, Flatten, Squeeze,
// Unsqueeze, Shape, Constant, ConstantOfShape.
#include "base/limits.h"
#include "engine/shapes.h"

static void set_output(const struct graph *g, const struct node *n, enum dtype dtype,
                       const struct engine_shape *s)
{
    g->values[n->outputs[0]].t = (struct tensor){.dtype = dtype, .shape = *s};
}

// The axes of Squeeze and Unsqueeze: an attribute, or since opset 13 an input. *given: were there
// any.
static enum err read_axes(const struct graph *g, const struct node *n, int rank,
                          bool marked[ENGINE_RANK_MAX], int *count, struct error *error)
{
    const struct attribute *a = attr_find(n, "axes");
    const struct tensor *t = graph_constant(g, n, 1);
    if (a == NULL && n->input_count > 1 && n->inputs[1] >= 0 &&
        (t == NULL || t->dtype != DTYPE_I64 || t->shape.rank != 1))
        return node_fail(n, ERR_UNSUPPORTED, error, "its axes are not constant integers");
    const int64_t *axes = a != NULL ? a->ints : t != NULL ? t->data : NULL;
    size_t listed = a != NULL ? a->count : t != NULL ? (size_t)shape_count(&t->shape) : 0;
    *count = 0;
    for (int i = 0; i < ENGINE_RANK_MAX; i++)
        marked[i] = false;
    for (size_t i = 0; i < listed; i++) {
        int64_t axis = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (axis < 0 || axis >= rank || marked[axis])
            return node_fail(n, ERR_FORMAT, error, "axis %lld of %d, or listed twice",
                             (long long)axes[i], rank);
        marked[axis] = true;
        (*count)++;
    }
    return OK;
}

enum err shape_squeeze(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    bool marked[ENGINE_RANK_MAX] = {0};
    int count = 0;
    TRY(read_axes(g, n, x->shape.rank, marked, &count, error));
    struct engine_shape s = {0};
    for (int i = 0; i < x->shape.rank; i++) {
        bool drop = count > 0 ? marked[i] : x->shape.dims[i] == 1;
        if (drop && x->shape.dims[i] != 1)
            return node_fail(n, ERR_FORMAT, error, "drops axis %d, which has %lld elements", i,
                             (long long)x->shape.dims[i]);
        if (!drop)
            s.dims[s.rank++] = x->shape.dims[i];
    }
    set_output(g, n, x->dtype, &s);
    return OK;
}

enum err shape_unsqueeze(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    const struct attribute *a = attr_find(n, "axes");
    const struct tensor *t = graph_constant(g, n, 1);
    bool marked[ENGINE_RANK_MAX] = {0};
    int count = 0;
    size_t listed = a != NULL ? a->count : t != NULL ? (size_t)shape_count(&t->shape) : 0;
    if (listed > (size_t)(ENGINE_RANK_MAX - x->shape.rank))
        return node_fail(n, ERR_LIMIT, error, "its result has over %d axes", ENGINE_RANK_MAX);
    int rank = x->shape.rank + (int)listed;
    TRY(read_axes(g, n, rank, marked, &count, error));
    struct engine_shape s = {.rank = rank};
    for (int i = 0, from = 0; i < rank; i++)
        s.dims[i] = marked[i] ? 1 : x->shape.dims[from++];
    set_output(g, n, x->dtype, &s);
    return OK;
}

enum err shape_flatten(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0);
    int64_t axis = attr_int(n, "axis", 1);
    if (axis < -x->shape.rank || axis > x->shape.rank)
        return node_fail(n, ERR_FORMAT, error, "axis %lld of %d", (long long)axis, x->shape.rank);
    axis = axis < 0 ? axis + x->shape.rank : axis;
    struct engine_shape s = {2, {1, 1}};
    for (int i = 0; i < x->shape.rank; i++)
        s.dims[i < axis ? 0 : 1] *= x->shape.dims[i];
    set_output(g, n, x->dtype, &s);
    return OK;
}

enum err shape_reshape(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *x = node_input(g, n, 0), *to = graph_constant(g, n, 1);
    char from_text[128];
    if (to == NULL || to->dtype != DTYPE_I64 || to->shape.rank != 1)
        return node_fail(
            n, ERR_UNSUPPORTED, error,
            "its shape is computed from the picture; only constant ones are supported");
    int64_t rank = shape_count(&to->shape), total = shape_count(&x->shape), known = 1;
    if (rank > ENGINE_RANK_MAX)
        return node_fail(n, ERR_LIMIT, error, "its result has over %d axes", ENGINE_RANK_MAX);
    struct engine_shape s = {.rank = (int)rank};
    bool zero_is_zero = attr_int(n, "allowzero", 0) != 0;
    int open = -1;
    for (int i = 0; i < s.rank; i++) {
        int64_t d = ((const int64_t *)to->data)[i];
        if (d == 0 && !zero_is_zero)
            d = i < x->shape.rank ? x->shape.dims[i] : -2;
        if (d < -1 || d > MODEL_ELEMENTS_MAX || (d == -1 && open >= 0))
            return node_fail(n, ERR_FORMAT, error, "its shape cannot be: %lld at axis %d",
                             (long long)((const int64_t *)to->data)[i], i);
        if (d == -1)
            open = i;
        else if ((known *= d) > MODEL_ELEMENTS_MAX)
            return node_fail(n, ERR_FORMAT, error, "its shape has more elements than its input");
        s.dims[i] = d;
    }
    if (open >= 0)
        s.dims[open] = known > 0 && total % known == 0 ? total / known : 0;
    if (shape_count(&s) != total)
        return node_fail(n, ERR_FORMAT, error, "cannot reshape %s to %lld elements",
                         shape_text(&x->shape, from_text), (long long)known);
    set_output(g, n, x->dtype, &s);
    return OK;
}

enum err shape_shape(struct graph *g, struct node *n, struct error *error)
{
    int rank = node_input(g, n, 0)->shape.rank;
    int64_t start = attr_int(n, "start", 0), end = attr_int(n, "end", rank);
    start = start < -rank ? 0 : start < 0 ? start + rank : start > rank ? rank : start;
    end = end < -rank ? 0 : end < 0 ? end + rank : end > rank ? rank : end;
    n->params.axis.begin = (int)start;
    n->params.axis.end = (int)(end > start ? end : start);
    struct engine_shape s = {1, {n->params.axis.end - n->params.axis.begin}};
    (void)error;
    set_output(g, n, DTYPE_I64, &s);
    return OK;
}

enum err shape_constant(struct graph *g, struct node *n, struct error *error)
{
    if (n->attribute_count != 1)
        return node_fail(n, ERR_FORMAT, error, "has %d values, needs one", n->attribute_count);
    const struct attribute *a = &n->attributes[0];
    bool list = a->kind == ATTR_INTS || a->kind == ATTR_FLOATS;
    struct engine_shape s = {list ? 1 : 0, {(int64_t)a->count}};
    if (a->kind == ATTR_TENSOR)
        s = a->t.shape;
    n->params.constant = a;
    enum dtype dtype = a->kind == ATTR_TENSOR                        ? a->t.dtype
                       : a->kind == ATTR_INT || a->kind == ATTR_INTS ? DTYPE_I64
                                                                     : DTYPE_F32;
    set_output(g, n, dtype, &s);
    node_output(g, n)->stored = a->kind == ATTR_TENSOR ? a->t.stored : STORED_WIDE;
    return OK;
}

enum err shape_constant_of_shape(struct graph *g, struct node *n, struct error *error)
{
    const struct tensor *dims = graph_constant(g, n, 0);
    const struct attribute *value = attr_find(n, "value");
    if (dims == NULL || dims->dtype != DTYPE_I64 || dims->shape.rank != 1 ||
        shape_count(&dims->shape) > ENGINE_RANK_MAX)
        return node_fail(n, ERR_UNSUPPORTED, error, "its shape is not a constant list");
    if (value != NULL && shape_count(&value->t.shape) != 1)
        return node_fail(n, ERR_FORMAT, error, "its value is not one number");
    struct engine_shape s = {.rank = (int)shape_count(&dims->shape)};
    for (int i = 0; i < s.rank; i++)
        s.dims[i] = ((const int64_t *)dims->data)[i];
    n->params.constant = value;
    set_output(g, n, value != NULL ? value->t.dtype : DTYPE_F32, &s);
    return OK;
}
