// Models that are quantized already: quantizers write QuantizeLinear and DequantizeLinear around
// what shall be computed in integers. Here both vanish; the tensor between them is marked as
// rounded. Each rounding of the file is kept and none is added: a marked tensor is rounded once,
// whoever makes it and whoever reads it (kernels.c), and nothing is merged across it
// (graph_producer).
#include "engine/passes.h"

#include "engine/ops.h"

#include <math.h>
#include <string.h>

struct quantized {
    struct graph *g;
    struct quant *as; // [value_count] the value is the whole numbers of a tensor rounded like that
    bool *taken;      // [value_count] and everybody who reads it can read that tensor instead
    int *same_as;     // [value_count] the value to read instead; itself: none
};

// What a Quantize- or DequantizeLinear does, as unsigned bytes: signed ones are 128 lower. Scale 0:
// another scale for each channel, or none that makes sense.
static struct quant quant_of(const struct graph *g, const struct node *n)
{
    const struct tensor *scale = graph_constant(g, n, 1), *zero = graph_constant(g, n, 2);
    struct quant q = {0};
    float s = *(const float *)scale->data;
    bool is_signed = zero != NULL && zero->stored == STORED_INT8;
    int64_t z = zero != NULL ? *(const int64_t *)zero->data : 0;
    if (shape_count(&scale->shape) != 1 || !(s >= 1e-20f && s <= 1e20f) ||
        (zero != NULL && zero->stored == STORED_WIDE))
        return q;
    q.scale = s;
    q.zero = (int)z + (is_signed ? 128 : 0);
    return q.zero >= 0 && q.zero <= 255 ? q : (struct quant){0};
}

static bool same_quant(struct quant a, struct quant b)
{
    return a.scale > 0 && a.scale == b.scale && a.zero == b.zero;
}

// Its result is some of its input's numbers, whatever they mean.
static bool moves(const struct node *n)
{
    return n->op->kind == OP_TRANSPOSE || n->op->kind == OP_RESHAPE || n->op->kind == OP_IDENTITY ||
           n->op->kind == OP_MAX_POOL;
}

// Which values are whole numbers, and of which of these all readers turn back to a rounded tensor.
static void find(struct quantized *z)
{
    struct graph *g = z->g;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        if (n->dead)
            continue;
        if (n->op->kind == OP_QUANTIZE)
            z->as[n->outputs[0]] = quant_of(g, n);
        else if (moves(n))
            z->as[n->outputs[0]] = z->as[n->inputs[0]];
        z->taken[n->outputs[0]] = z->as[n->outputs[0]].scale > 0 && n->outputs[0] != g->output;
    }
    for (int i = g->node_count - 1; i >= 0; i--) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->input_count && !n->dead; k++) {
            int v = n->inputs[k];
            if (v < 0 || !z->taken[v])
                continue;
            bool back = n->op->kind == OP_DEQUANTIZE && same_quant(quant_of(g, n), z->as[v]);
            z->taken[v] = k == 0 && (back || (moves(n) && z->taken[n->outputs[0]]));
        }
    }
}

// Q: its input is rounded from now on; a node of its own where others read that as it is.
static void take_quantize(struct quantized *z, struct node *n)
{
    struct graph *g = z->g;
    int x = n->inputs[0], y = n->outputs[0];
    struct value *in = &g->values[x];
    if (in->rounded && same_quant(in->quant, z->as[y])) {
        z->same_as[y] = x;
        n->dead = true;
    } else if (in->readers == 1 && !in->rounded && in->t.data == NULL) {
        in->quant = z->as[y];
        in->rounded = true;
        z->same_as[y] = x;
        n->dead = true;
    } else {
        n->op = op_fused("Quantize");
        n->input_count = 1;
        g->values[y].quant = z->as[y];
        g->values[y].rounded = true;
    }
}

static void take(struct quantized *z)
{
    struct graph *g = z->g;
    for (int i = 0; i < g->node_count; i++) {
        struct node *n = &g->nodes[i];
        if (n->dead)
            continue;
        int y = n->outputs[0];
        bool back = n->op->kind == OP_DEQUANTIZE && z->taken[n->inputs[0]];
        for (int k = 0; k < n->input_count; k++)
            if (n->inputs[k] >= 0)
                n->inputs[k] = z->same_as[n->inputs[k]];
        if (n->op->kind == OP_QUANTIZE && z->taken[y]) {
            take_quantize(z, n);
            g->quantized = true;
        } else if (back) {
            z->same_as[y] = n->inputs[0];
            n->dead = true;
        } else if (moves(n) && z->taken[y]) {
            g->values[y].quant = z->as[y];
        }
    }
    g->output = z->same_as[g->output];
}

enum err passes_take_quantization(struct graph *g, struct error *error)
{
    size_t count = (size_t)g->value_count;
    struct quantized z = {.g = g};
    bool any = false;
    for (int i = 0; i < g->node_count; i++)
        any = any || (!g->nodes[i].dead && g->nodes[i].op->kind == OP_QUANTIZE);
    if (!any)
        return OK;
    z.as = pool_calloc(&g->pool, count, sizeof *z.as);
    z.taken = pool_calloc(&g->pool, count, sizeof *z.taken);
    z.same_as = pool_alloc(&g->pool, count * sizeof *z.same_as);
    if (z.as == NULL || z.taken == NULL || z.same_as == NULL)
        return fail(error, g->pool.over_limit ? ERR_LIMIT : ERR_NOMEM, 0,
                    "no memory to simplify the model");
    for (int v = 0; v < g->value_count; v++)
        z.same_as[v] = v;
    find(&z);
    take(&z);
    graph_count_readers(g);
    return OK;
}

void passes_mark_int8(struct graph *g)
{
    for (int i = 0; i < g->node_count; i++) {
        struct node *n = &g->nodes[i];
        if (n->dead)
            continue;
        struct value *y = &g->values[n->outputs[0]];
        if (moves(n) && y->quant.scale == 0)
            y->quant = g->values[n->inputs[0]].quant;
        n->int8 = true; // what has no kernel of bytes, or no bytes to read, is computed in floats
    }
}
