// Which nodes compute in integers, and how each of their tensors is rounded.
#include "engine/ops.h"
#include "engine/quantize.h"

#include <stdlib.h>
#include <string.h>

static bool has_weights(const struct graph *g, const struct node *n)
{
    bool rows = n->op->kind == OP_GEMM && node_input(g, n, 0)->shape.rank == 2;
    return (n->op->kind == OP_CONV || rows) && graph_constant(g, n, 1) != NULL;
}

// Its result has the numbers of its inputs: all are rounded alike.
static bool passes_on(const struct node *n)
{
    return n->op->kind == OP_MAX_POOL || n->op->kind == OP_TRANSPOSE || n->op->kind == OP_RESHAPE ||
           strcmp(n->op->name, "Concat") == 0;
}

// Clips at 0 as bytes do.
static bool clips(const struct activation *a)
{
    return a->kind == UNARY_RELU || (a->kind == UNARY_CLIP && a->alpha == 0 && a->beta > 0);
}

// It can work on bytes if its inputs are bytes.
static bool carries(const struct graph *g, const struct node *n)
{
    if (node_output(g, n)->dtype != DTYPE_F32 || node_output(g, n)->shape.rank < 2 || n->sum >= 0)
        return false;
    if (n->op->kind == OP_UNARY)
        return clips(&n->params.unary);
    if (n->op->kind == OP_BINARY)
        return n->params.binary == BINARY_ADD && n->input_count == 2 &&
               shape_equal(&node_input(g, n, 0)->shape, &node_input(g, n, 1)->shape) &&
               (n->activation.kind == UNARY_NONE || clips(&n->activation));
    return passes_on(n) && n->activation.kind == UNARY_NONE;
}

// The inputs of n that are activations: all of a Concat, both of an Add, else the first.
static int activations(const struct node *n)
{
    return n->op->kind == OP_BINARY || strcmp(n->op->name, "Concat") == 0 ? n->input_count : 1;
}

static bool made_in_bytes(const struct graph *g, const struct selection *s, int v)
{
    return g->values[v].producer >= 0 && s->nodes[g->values[v].producer];
}

// A convolution of one number per channel that gets floats, as in a squeeze-excite block: rounding
// would cost more than it gains.
static bool too_small(const struct graph *g, const struct selection *s, const struct node *n)
{
    const struct engine_shape *y = &node_output(g, n)->shape;
    int64_t pixels = 1;
    for (int i = 2; i < y->rank; i++)
        pixels *= y->dims[i];
    return n->op->kind == OP_CONV && pixels == 1 && !made_in_bytes(g, s, n->inputs[0]);
}

// Marks the values that somebody in s reads as bytes.
static void mark_read(const struct graph *g, struct selection *s)
{
    memset(s->values, 0, (size_t)g->value_count * sizeof *s->values);
    for (int i = g->node_count - 1; i >= 0; i--) { // readers come before what they read
        const struct node *n = &g->nodes[i];
        if (n->dead || !s->nodes[i])
            continue;
        for (int k = 0; k < activations(n); k++)
            s->values[n->inputs[k]] = true;
        if (n->sum >= 0 && s->values[n->outputs[0]])
            s->values[n->sum] = true;
    }
    s->values[g->output] = false; // floats leave the network
}

// Takes out what gets floats or gives bytes to nobody. Returns whether anything changed.
static bool prune(const struct graph *g, struct selection *s)
{
    bool changed = false;
    mark_read(g, s);
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        if (!s->nodes[i])
            continue;
        bool good = true;
        if (has_weights(g, n))
            good = !too_small(g, s, n);
        else {
            good = s->values[n->outputs[0]];
            for (int k = 0; k < activations(n); k++)
                good = good && made_in_bytes(g, s, n->inputs[k]);
        }
        s->nodes[i] = good;
        changed = changed || !good;
    }
    return changed;
}

enum err selection_make(const struct graph *g, const bool *keep, struct selection *out,
                        struct error *error)
{
    out->nodes = calloc((size_t)g->node_count + 1, sizeof *out->nodes);
    out->values = calloc((size_t)g->value_count + 1, sizeof *out->values);
    if (out->nodes == NULL || out->values == NULL) {
        selection_release(out);
        return fail(error, ERR_NOMEM, 0, "no memory to quantize the model");
    }
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        out->nodes[i] = !n->dead && !keep[i] && (has_weights(g, n) || carries(g, n));
    }
    while (prune(g, out))
        ;
    mark_read(g, out);
    return OK;
}

void selection_release(struct selection *s)
{
    free(s->nodes);
    free(s->values);
    *s = (struct selection){0};
}

static int group_of(int *groups, int v)
{
    while (groups[v] != v)
        v = groups[v] = groups[groups[v]];
    return v;
}

// Values that have to be rounded alike get the same group.
static void join_groups(const struct graph *g, const struct selection *s, int *groups)
{
    for (int v = 0; v < g->value_count; v++)
        groups[v] = v;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        if (!s->nodes[i] || !passes_on(n))
            continue;
        for (int k = 0; k < activations(n); k++)
            groups[group_of(groups, n->inputs[k])] = group_of(groups, n->outputs[0]);
    }
}

void selection_quantize(const struct graph *g, const struct selection *s,
                        struct histogram *const *histograms, enum clipping clipping,
                        struct quantization *out)
{
    int *groups = calloc((size_t)g->value_count, sizeof *groups);
    struct range *ranges = calloc((size_t)g->value_count, sizeof *ranges);
    if (groups == NULL || ranges == NULL)
        abort();
    join_groups(g, s, groups);
    for (int v = 0; v < g->value_count; v++) {
        if (!s->values[v] || histograms[v] == NULL)
            continue;
        struct range *all = &ranges[group_of(groups, v)];
        struct range r = histogram_range(histograms[v], clipping);
        all->low = r.low < all->low ? r.low : all->low;
        all->high = r.high > all->high ? r.high : all->high;
    }
    for (int v = 0; v < g->value_count; v++)
        if (s->values[v])
            quantization_add_tensor(out, g->values[v].name,
                                    range_quant(ranges[group_of(groups, v)]));
    for (int i = 0; i < g->node_count; i++)
        if (s->nodes[i])
            quantization_add_layer(out, g->values[g->nodes[i].outputs[0]].name);
    free(groups);
    free(ranges);
}
