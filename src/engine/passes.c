#include "engine/passes.h"

#include "engine/kernels.h"
#include "engine/ops.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct walk {
    struct graph *g;
    int *same_as; // [value_cap] the value to read instead; itself: none
    enum err err; // of a rule that could not do its work
};

static int same_as(struct walk *w, int v)
{
    while (w->same_as[v] != v)
        v = w->same_as[v] = w->same_as[w->same_as[v]];
    return v;
}

// v has taken in what n does to it: it is now what the file calls n's result. What the file calls v
// is computed no more.
static void rename_to(struct walk *w, const struct node *n, int v)
{
    struct value *now = &w->g->values[v], *gone = &w->g->values[n->outputs[0]];
    const char *name = now->name;
    now->name = gone->name;
    gone->name = name;
    now->quant = gone->quant;
    now->rounded = gone->rounded;
}

// Readers of n's result read value v from now on; n is gone.
static void replace_by(struct walk *w, struct node *n, int v)
{
    struct value *values = w->g->values;
    w->same_as[n->outputs[0]] = v;
    values[v].readers += values[n->outputs[0]].readers;
    n->dead = true;
    for (int k = 0; k < n->input_count; k++)
        if (n->inputs[k] >= 0)
            values[n->inputs[k]].readers--;
}

// n takes over an input instead of the one that it has.
static void set_input(struct walk *w, struct node *n, int k, int v)
{
    if (n->inputs[k] >= 0)
        w->g->values[n->inputs[k]].readers--;
    n->inputs[k] = v;
    w->g->values[v].readers++;
}

static struct node *producer(struct walk *w, int v, int kind)
{
    return graph_producer(w->g, v, kind);
}

// The node that makes value v, if it can still be changed: nobody else reads it, nothing comes
// after the operator itself.
static struct node *open_producer(struct walk *w, int v, int kind)
{
    struct node *p = producer(w, v, kind);
    if (p == NULL || w->g->values[v].readers != 1 || p->sum >= 0 ||
        p->activation.kind != UNARY_NONE)
        return NULL;
    return p;
}

static bool drop_identity(struct walk *w, struct node *n)
{
    const struct tensor *x = node_input(w->g, n, 0), *y = node_output(w->g, n);
    bool nothing = n->op->kind == OP_IDENTITY ||
                   (n->op->kind == OP_RESHAPE && shape_equal(&x->shape, &y->shape));
    if (n->op->kind == OP_TRANSPOSE) {
        nothing = true;
        for (int i = 0; i < y->shape.rank; i++)
            nothing = nothing && n->params.permutation[i] == i;
    }
    nothing = nothing && !w->g->values[n->outputs[0]].rounded;
    if (nothing)
        replace_by(w, n, n->inputs[0]);
    return nothing;
}

// Transpose of a Transpose: one of both; Reshape of a Reshape: the last.
static bool merge_moves(struct walk *w, struct node *n)
{
    if (n->op->kind != OP_TRANSPOSE && n->op->kind != OP_RESHAPE)
        return false;
    struct node *p = producer(w, n->inputs[0], (int)n->op->kind);
    if (p == NULL)
        return false;
    if (n->op->kind == OP_TRANSPOSE)
        for (int i = 0; i < node_output(w->g, n)->shape.rank; i++)
            n->params.permutation[i] = p->params.permutation[n->params.permutation[i]];
    set_input(w, n, 0, p->inputs[0]);
    drop_identity(w, n); // they may have cancelled out
    return n->dead;
}

// Pad before a window: with 0 before a Conv or an AveragePool that counts padding, with the lowest
// number before a MaxPool.
static bool take_pad(struct walk *w, struct node *n)
{
    struct window *window = &n->params.window;
    enum op_kind kind = n->op->kind;
    if (kind != OP_CONV && kind != OP_AVERAGE_POOL && kind != OP_MAX_POOL)
        return false;
    struct node *pad = producer(w, n->inputs[0], OP_PAD);
    if (pad == NULL || pad->params.pad.mode != PAD_CONSTANT ||
        (kind == OP_MAX_POOL ? pad->params.pad.value > -FLT_MAX : pad->params.pad.value != 0))
        return false;
    for (int i = 0; i < 2 + window->rank; i++) {
        int64_t before = pad->params.pad.before[i], after = pad->params.pad.after[i];
        if (before < 0 || after < 0 || (i < 2 && (before != 0 || after != 0)))
            return false;
        if (i < 2 || kind == OP_CONV)
            continue;
        bool padded = window->before[i - 2] != 0 || window->after[i - 2] != 0;
        // an AveragePool's own padding may not be counted while the Pad's is
        if (kind == OP_AVERAGE_POOL && !window->count_pads && padded)
            return false;
        if (window->before[i - 2] + before >= window->kernel[i - 2] ||
            window->after[i - 2] + after >= window->kernel[i - 2])
            return false;
    }
    for (int i = 0; i < window->rank; i++) {
        window->before[i] += pad->params.pad.before[2 + i];
        window->after[i] += pad->params.pad.after[2 + i];
    }
    window->count_pads = kind == OP_AVERAGE_POOL;
    set_input(w, n, 0, pad->inputs[0]);
    return false; // other rules may follow
}

// MatMul of rows by a constant matrix is a Gemm; the rows may have several axes.
static bool matmul_to_gemm(struct walk *w, struct node *n)
{
    const struct tensor *b = graph_constant(w->g, n, 1);
    if (n->op->kind != OP_MATMUL || b == NULL || b->shape.rank != 2)
        return false;
    n->op = op_find("Gemm", w->g->opset);
    memset(&n->params, 0, sizeof n->params);
    n->params.gemm.alpha = n->params.gemm.beta = 1;
    return false;
}

// A constant that has one number, or one for each place along axis `channels` of s.
static bool per_channel(const struct tensor *t, const struct engine_shape *s, int channels)
{
    int64_t count = shape_count(&t->shape);
    if (count == 1)
        return t->shape.rank <= s->rank;
    int axis = channels - (s->rank - t->shape.rank); // of t, aligned at the end
    return axis >= 0 && axis < t->shape.rank && t->shape.dims[axis] == s->dims[channels] &&
           count == s->dims[channels];
}

static float channel(const struct tensor *t, int64_t c)
{
    return ((const float *)t->data)[shape_count(&t->shape) == 1 ? 0 : c];
}

// The constant input k of n, for n alone to change; copied if others read it too.
static float *own_constant(struct walk *w, struct node *n, int k)
{
    struct graph *g = w->g;
    struct value *old = &g->values[n->inputs[k]], *copy;
    int v;
    if (old->readers == 1) {
        old->grid = (struct grid){0};
        return old->t.data;
    }
    copy = graph_constant_add(g, old->name, &old->t.shape, &v);
    if (copy == NULL)
        return NULL;
    old = &g->values[n->inputs[k]];
    memcpy(copy->t.data, old->t.data, (size_t)shape_count(&old->t.shape) * sizeof(float));
    w->same_as[v] = v;
    set_input(w, n, k, v);
    return copy->t.data;
}

// The bias of a Conv or Gemm, made of zeros if it has none.
static float *own_bias(struct walk *w, struct node *n, int64_t channels)
{
    struct engine_shape s = {1, {channels}};
    int v;
    if (n->input_count > 2 && n->inputs[2] >= 0)
        return own_constant(w, n, 2);
    struct value *bias = graph_constant_add(w->g, n->name, &s, &v);
    if (bias == NULL)
        return NULL;
    memset(bias->t.data, 0, (size_t)channels * sizeof(float));
    w->same_as[v] = v;
    n->inputs[2] = -1; // there is room: see onnx.c
    n->input_count = 3;
    set_input(w, n, 2, v);
    return bias->t.data;
}

// y = x * scale[c] + shift[c] behind the Conv or Gemm p, into its weights and bias.
static bool scale_into(struct walk *w, struct node *p, const double *scale, const double *shift,
                       int64_t channels)
{
    const struct engine_shape *s = &node_input(w->g, p, 1)->shape;
    bool rows = p->op->kind == OP_CONV || p->params.gemm.transpose_b; // weights [channel][…]
    int64_t count = shape_count(s), inner = count / channels;
    bool scales = false; // whole numbers that are only shifted stay whole numbers
    for (int64_t c = 0; c < channels; c++)
        scales = scales || scale[c] != 1;
    float *bias = own_bias(w, p, channels), *weights = scales ? own_constant(w, p, 1) : NULL;
    if (bias == NULL || (weights == NULL && scales)) {
        w->err = w->g->pool.over_limit ? ERR_LIMIT : ERR_NOMEM;
        return false;
    }
    for (int64_t row = 0; scales && row < (rows ? channels : inner); row++)
        for (int64_t i = 0; i < (rows ? inner : channels); i++, weights++)
            *weights = (float)((double)*weights * scale[rows ? row : i]);
    for (int64_t c = 0; c < channels; c++)
        bias[c] = (float)((double)bias[c] * scale[c] + shift[c]);
    return true;
}

static int64_t last_axis(const struct tensor *t)
{
    return t->shape.dims[t->shape.rank - 1];
}

// A Conv, or a Gemm whose numbers are plain, that makes v and may be scaled.
static struct node *scalable_producer(struct walk *w, int v)
{
    struct node *p = open_producer(w, v, OP_CONV);
    if (p != NULL)
        return p;
    p = open_producer(w, v, OP_GEMM);
    if (p == NULL || p->params.gemm.alpha != 1 || p->params.gemm.beta != 1 ||
        graph_constant(w->g, p, 1) == NULL)
        return NULL;
    const struct tensor *bias = graph_constant(w->g, p, 2);
    bool has_bias = p->input_count > 2 && p->inputs[2] >= 0;
    if (has_bias && (bias == NULL || bias->shape.rank != 1 ||
                     bias->shape.dims[0] != last_axis(node_output(w->g, p))))
        return NULL;
    return p;
}

// Which axis of p's result the rows (or columns) of its weights make.
static int channel_axis(const struct graph *g, const struct node *p)
{
    return p->op->kind == OP_GEMM ? node_output(g, p)->shape.rank - 1 : 1;
}

// scale and shift of n per channel, if that is all it does to its input x. *x: which input.
static bool read_affine(struct walk *w, const struct node *n, int *x, double *scale, double *shift,
                        int64_t channels, int axis)
{
    struct graph *g = w->g;
    *x = 0;
    if (n->op->kind == OP_BATCH_NORM && axis != 1)
        return false;
    if (n->op->kind == OP_BATCH_NORM) {
        const struct tensor *t[5];
        for (int k = 1; k < 5; k++)
            t[k] = graph_constant(g, n, k);
        for (int64_t c = 0; c < channels; c++) {
            scale[c] = (double)channel(t[1], c) /
                       sqrt((double)channel(t[4], c) + (double)n->params.epsilon);
            shift[c] = (double)channel(t[2], c) - (double)channel(t[3], c) * scale[c];
        }
        return true;
    }
    *x = graph_constant(g, n, 0) != NULL ? 1 : 0;
    const struct tensor *t = graph_constant(g, n, 1 - *x);
    enum binary kind = n->params.binary;
    if (t == NULL || kind > BINARY_DIV || !per_channel(t, &node_output(g, n)->shape, axis) ||
        !shape_equal(&node_input(g, n, *x)->shape, &node_output(g, n)->shape) ||
        (*x == 1 && kind == BINARY_DIV))
        return false;
    for (int64_t c = 0; c < channels; c++) {
        double k = (double)channel(t, c);
        scale[c] = kind == BINARY_MUL ? k : kind == BINARY_DIV ? 1 / k : 1;
        shift[c] = kind == BINARY_ADD ? k : kind == BINARY_SUB ? -k : 0;
        if (kind == BINARY_SUB && *x == 1) { // constant - x
            scale[c] = -1;
            shift[c] = k;
        }
    }
    return true;
}

static bool fold_affine(struct walk *w, struct node *n)
{
    if (n->op->kind != OP_BATCH_NORM && n->op->kind != OP_BINARY)
        return false;
    const struct engine_shape *s = &node_output(w->g, n)->shape;
    if (s->rank < 2 || node_output(w->g, n)->dtype != DTYPE_F32)
        return false;
    int x = graph_constant(w->g, n, 0) != NULL ? 1 : 0;
    struct node *p = scalable_producer(w, n->inputs[x]);
    if (p == NULL || !shape_equal(s, &node_output(w->g, p)->shape))
        return false;
    int axis = channel_axis(w->g, p);
    int64_t channels = s->dims[axis];
    double *scale = pool_alloc(&w->g->pool, 2 * (size_t)channels * sizeof *scale);
    if (scale == NULL) {
        w->err = ERR_NOMEM;
        return false;
    }
    if (!read_affine(w, n, &x, scale, scale + channels, channels, axis) ||
        !scale_into(w, p, scale, scale + channels, channels))
        return false;
    rename_to(w, n, n->inputs[x]);
    replace_by(w, n, n->inputs[x]);
    return true;
}

// What may take a sum: nobody else reads it, oneDNN will compute it.
static struct node *summing_producer(struct walk *w, int v)
{
    struct node *p = scalable_producer(w, v);
    return p != NULL && p->op->kind == OP_GEMM && p->params.gemm.transpose_a ? NULL : p;
}

// Add of two results, one of a Conv (or Gemm) that nobody else reads: it moves here and adds.
static bool fold_sum(struct walk *w, struct node *n)
{
    struct graph *g = w->g;
    if (n->op->kind != OP_BINARY || n->params.binary != BINARY_ADD ||
        n->inputs[0] == n->inputs[1] ||
        !shape_equal(&node_input(g, n, 0)->shape, &node_input(g, n, 1)->shape))
        return false;
    // the later one, so that it moves the shorter way
    struct node *a = summing_producer(w, n->inputs[0]);
    struct node *b = summing_producer(w, n->inputs[1]);
    struct node *conv = a != NULL && (b == NULL || a > b) ? a : b;
    if (conv == NULL)
        return false;
    int other = n->inputs[conv == a ? 1 : 0], output = n->outputs[0];
    if (g->values[other].t.data != NULL)
        return false;
    conv->dead = true;
    struct node moved = *conv;
    moved.dead = false;
    moved.sum = other;
    moved.outputs = n->outputs;
    moved.output_count = n->output_count;
    *n = moved;
    g->values[output].producer = (int)(n - g->nodes);
    return true;
}

static bool fold_activation(struct walk *w, struct node *n)
{
    static const enum op_kind takers[] = {OP_CONV, OP_GEMM, OP_BATCH_NORM, OP_BINARY};
    int x = n->inputs[0];
    if (n->op->kind != OP_UNARY || !activation_fuses(&n->params.unary))
        return false;
    for (size_t i = 0; i < sizeof takers / sizeof takers[0]; i++) {
        struct node *p = producer(w, x, (int)takers[i]);
        if (p == NULL || w->g->values[x].readers != 1 || p->activation.kind != UNARY_NONE)
            continue;
        if (p->op->lower == NULL || node_output(w->g, p)->dtype != DTYPE_F32)
            continue;
        if (takers[i] == OP_BATCH_NORM && n->params.unary.kind != UNARY_RELU)
            continue; // oneDNN's takes no other
        p->activation = n->params.unary;
        rename_to(w, n, x);
        replace_by(w, n, x);
        return true;
    }
    return false;
}

static void visit(struct walk *w, struct node *n)
{
    static bool (*const rules[])(struct walk *, struct node *) = {
        drop_identity, merge_moves, take_pad,        matmul_to_gemm,
        fold_affine,   fold_sum,    fold_activation,
    };
    for (int k = 0; k < n->input_count; k++)
        if (n->inputs[k] >= 0)
            n->inputs[k] = same_as(w, n->inputs[k]);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (rules[i](w, n))
            return;
}

enum err passes_run(struct graph *g, struct error *error)
{
    struct walk w = {.g = g};
    TRY(passes_take_quantization(g, error));
    passes_fuse(g);
    w.same_as = pool_alloc(&g->pool, (size_t)g->value_cap * sizeof *w.same_as);
    if (w.same_as == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory to simplify the model");
    for (int i = 0; i < g->value_cap; i++)
        w.same_as[i] = i;
    for (int i = 0; i < g->node_count; i++)
        if (!g->nodes[i].dead)
            visit(&w, &g->nodes[i]);
    if (w.err != OK)
        return fail(error, w.err, 0, "no memory to simplify the model");
    g->output = same_as(&w, g->output);
    graph_count_readers(g);
    if (g->quantized)
        passes_mark_int8(g);
    return OK;
}
