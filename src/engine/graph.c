#include "engine/graph.h"

#include "base/limits.h"
#include "engine/ops.h"
#include "engine/plain.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert((int)ENGINE_RANK_MAX == (int)MODEL_RANK_MAX, "one limit, two names");

struct graph *graph_new(size_t limit_bytes)
{
    struct graph *g = calloc(1, sizeof *g);
    if (g != NULL) {
        g->pool.limit_bytes = limit_bytes;
        g->input = g->output = -1;
    }
    return g;
}

void graph_free(struct graph *g)
{
    if (g == NULL)
        return;
    pool_release(&g->pool);
    free(g);
}

int64_t shape_count(const struct engine_shape *s)
{
    int64_t count = 1;
    for (int i = 0; i < s->rank; i++) {
        if (s->dims[i] < 0 || s->dims[i] > MODEL_ELEMENTS_MAX)
            return -1;
        count *= s->dims[i];
        if (count > MODEL_ELEMENTS_MAX)
            return -1;
    }
    return count;
}

bool shape_equal(const struct engine_shape *a, const struct engine_shape *b)
{
    return a->rank == b->rank && memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims) == 0;
}

const char *shape_text(const struct engine_shape *s, char out[128])
{
    size_t len = 0;
    snprintf(out, 128, "%s", s->rank == 0 ? "scalar" : "");
    for (int i = 0; i < s->rank && len < 100; i++)
        len += (size_t)snprintf(out + len, 128 - len, "%s%lld", i > 0 ? "x" : "",
                                (long long)s->dims[i]);
    return out;
}

size_t dtype_bytes(enum dtype t)
{
    return t == DTYPE_F32 ? sizeof(float) : sizeof(int64_t);
}

int graph_value_add(struct graph *g, const char *name)
{
    if (g->value_count == g->value_cap)
        return -1;
    g->values[g->value_count] = (struct value){.name = name, .producer = -1};
    return g->value_count++;
}

struct value *graph_constant_add(struct graph *g, const char *name, const struct engine_shape *s,
                                 int *index)
{
    *index = graph_value_add(g, name);
    if (*index < 0)
        return NULL;
    struct value *v = &g->values[*index];
    v->t.shape = *s;
    v->shaped = true;
    v->t.data = pool_alloc(&g->pool, (size_t)shape_count(s) * sizeof(float));
    return v->t.data != NULL ? v : NULL;
}

const struct tensor *graph_constant(const struct graph *g, const struct node *n, int input)
{
    if (input >= n->input_count || n->inputs[input] < 0)
        return NULL;
    const struct tensor *t = &g->values[n->inputs[input]].t;
    return t->data != NULL ? t : NULL;
}

struct node *graph_producer(struct graph *g, int v, int kind)
{
    int i = g->values[v].producer;
    if (i < 0 || g->values[v].rounded || g->nodes[i].dead || (int)g->nodes[i].op->kind != kind)
        return NULL;
    return &g->nodes[i];
}

enum err node_fail(const struct node *n, enum err code, struct error *error, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return fail(error, code, 0, "node '%.60s' (%.40s): %s", n->name, n->op_type, text);
}

void graph_count_readers(struct graph *g)
{
    for (int i = 0; i < g->value_count; i++)
        g->values[i].readers = 0;
    g->values[g->output].readers = 1;
    for (int i = g->node_count - 1; i >= 0; i--) {
        struct node *n = &g->nodes[i];
        bool needed = false;
        for (int o = 0; o < n->output_count; o++)
            needed = needed || (n->outputs[o] >= 0 && g->values[n->outputs[o]].readers > 0);
        n->dead = n->dead || !needed;
        for (int k = 0; k < n->input_count && !n->dead; k++)
            if (n->inputs[k] >= 0)
                g->values[n->inputs[k]].readers++;
        if (!n->dead && n->sum >= 0)
            g->values[n->sum].readers++;
    }
}

void graph_drop_softmax(struct graph *g)
{
    int i = g->values[g->output].producer;
    if (i < 0 || strcmp(g->nodes[i].op->name, "Softmax") != 0)
        return;
    g->output = g->nodes[i].inputs[0];
    graph_count_readers(g);
}

// All numbers of n's result are one distribution.
static bool spans_all(const struct graph *g, const struct node *n)
{
    const struct engine_shape *s = &node_output(g, n)->shape;
    int64_t along = 1;
    for (int i = n->params.axis.begin; i < n->params.axis.end; i++)
        along *= s->dims[i];
    return along == shape_count(s);
}

enum engine_scores graph_scores(const struct graph *g)
{
    bool biased = false;
    int v = g->output;
    for (int i; (i = g->values[v].producer) >= 0 && g->values[v].t.data == NULL;) {
        const struct node *n = &g->nodes[i];
        const char *name = n->op->name;
        if (n->op->kind == OP_CONV || n->op->kind == OP_GEMM || n->op->kind == OP_MATMUL ||
            (strcmp(name, "LogSoftmax") == 0 && spans_all(g, n)))
            return ENGINE_SCORES_LOGITS;
        if (strcmp(name, "Sigmoid") == 0 || (strcmp(name, "Softmax") == 0 && spans_all(g, n)))
            return biased ? ENGINE_SCORES_UNKNOWN : ENGINE_SCORES_PROBABILITIES;
        int from = 0;
        if (n->op->kind == OP_BINARY && n->params.binary == BINARY_ADD) {
            from = graph_constant(g, n, 0) != NULL;
            biased = true;
            if (graph_constant(g, n, 1 - from) == NULL)
                break;
        } else if (n->op->kind != OP_IDENTITY && n->op->kind != OP_RESHAPE &&
                   n->op->kind != OP_QUANTIZE && n->op->kind != OP_DEQUANTIZE &&
                   strcmp(name, "Cast") != 0) {
            break;
        }
        v = n->inputs[from];
    }
    return ENGINE_SCORES_UNKNOWN;
}

static bool domain_is_onnx(const char *domain)
{
    return domain[0] == '\0' || strcmp(domain, "ai.onnx") == 0;
}

static enum err find_ops(struct graph *g, struct error *error)
{
    for (int i = 0; i < g->node_count; i++) {
        struct node *n = &g->nodes[i];
        if (n->dead)
            continue;
        n->op = domain_is_onnx(n->domain) ? op_find(n->op_type, g->opset) : NULL;
        if (n->op == NULL) {
            fail(error, ERR_UNSUPPORTED, 0,
                 "operator '%.60s%s%.60s' of node '%.60s' is not supported (opset %d); see "
                 "docs/engine.md for those that are",
                 n->domain, domain_is_onnx(n->domain) ? "" : ".", n->op_type, n->name, g->opset);
            return ERR_UNSUPPORTED;
        }
    }
    return OK;
}

// What is known of a constant result's scales, n's inputs being constants.
static struct grid grid_of(const struct graph *g, const struct node *n)
{
    struct grid grid = g->values[n->inputs[0]].grid;
    const struct tensor *scale = graph_constant(g, n, 1);
    switch (n->op->kind) {
    case OP_DEQUANTIZE:
        return (struct grid){scale->data, shape_count(&scale->shape), n->params.quantize.axis};
    case OP_IDENTITY:
        return grid;
    case OP_RESHAPE:
        return grid.count == 1 ? grid : (struct grid){0};
    case OP_TRANSPOSE:
        for (int i = 0; i < node_output(g, n)->shape.rank && grid.count > 1; i++)
            if (n->params.permutation[i] == grid.axis) {
                grid.axis = i;
                break;
            }
        return grid;
    default:
        return (struct grid){0};
    }
}

// Turns the node's output into a constant where its inputs are. The work is bounded by the pool's
// limit: a hostile file may hold many nodes that each read a large constant.
static enum err fold(struct graph *g, struct node *n, double flop, struct error *error)
{
    enum { INPUTS_MAX = 64 };
    struct tensor in[INPUTS_MAX] = {0};
    size_t work = (size_t)flop;
    if (n->input_count > INPUTS_MAX || n->op->plain == NULL)
        return OK;
    for (int k = 0; k < n->input_count; k++) {
        if (n->inputs[k] < 0)
            continue;
        in[k] = g->values[n->inputs[k]].t;
        if (in[k].data == NULL && n->op->plain != plain_shape)
            return OK;
        work += (size_t)shape_count(&in[k].shape);
    }
    struct value *out = &g->values[n->outputs[0]];
    size_t count = (size_t)shape_count(&out->t.shape);
    g->fold_work += work + count;
    if (g->pool.limit_bytes > 0 && g->fold_work > g->pool.limit_bytes)
        return node_fail(n, ERR_LIMIT, error, "the model computes too much from constants");
    struct tensor t = out->t;
    t.data = pool_alloc(&g->pool, count * dtype_bytes(t.dtype));
    if (t.data == NULL)
        return node_fail(n, g->pool.over_limit ? ERR_LIMIT : ERR_NOMEM, error,
                         "no room for its constant result");
    n->op->plain(n, in, &t);
    out->t.data = t.data;
    if (n->input_count > 0 && n->inputs[0] >= 0)
        out->grid = grid_of(g, n);
    out->producer = -1;
    n->dead = true;
    return OK;
}

double graph_node_flop(const struct graph *g, const struct node *n)
{
    double count = (double)shape_count(&g->values[n->outputs[0]].t.shape);
    if (n->op->kind == OP_CONV) {
        const struct engine_shape *w = &g->values[n->inputs[1]].t.shape;
        return 2 * count * (double)shape_count(w) / (double)(w->dims[0] > 0 ? w->dims[0] : 1);
    }
    if (n->op->kind == OP_GEMM || n->op->kind == OP_MATMUL) {
        const struct engine_shape *a = &g->values[n->inputs[0]].t.shape;
        bool transposed = n->op->kind == OP_GEMM && n->params.gemm.transpose_a;
        return 2 * count * (double)a->dims[transposed ? 0 : a->rank - 1];
    }
    return 0;
}

static enum err infer_node(struct graph *g, struct node *n, struct error *error)
{
    TRY(op_check(n->op, n, error));
    for (int k = 0; k < n->input_count; k++)
        if (n->inputs[k] >= 0 && !g->values[n->inputs[k]].shaped)
            return node_fail(n, ERR_UNSUPPORTED, error,
                             "reads '%.60s', an optional result that is not computed",
                             g->values[n->inputs[k]].name);
    TRY(n->op->shape(g, n, error));
    struct value *out = &g->values[n->outputs[0]];
    out->shaped = true;
    char text[128];
    if (shape_count(&out->t.shape) < 0)
        return node_fail(n, ERR_LIMIT, error, "its result (%s) has over %d elements",
                         shape_text(&out->t.shape, text), MODEL_ELEMENTS_MAX);
    double flop = graph_node_flop(g, n);
    TRY(fold(g, n, flop, error));
    if (!n->dead)
        g->flop += flop;
    if (g->flop > MODEL_GFLOP_MAX * 1e9)
        return node_fail(n, ERR_LIMIT, error, "the model needs over %.0f GFLOP a picture",
                         MODEL_GFLOP_MAX);
    return OK;
}

enum err graph_infer(struct graph *g, struct error *error)
{
    graph_count_readers(g);
    TRY(find_ops(g, error));
    for (int i = 0; i < g->node_count; i++)
        if (!g->nodes[i].dead)
            TRY(infer_node(g, &g->nodes[i], error));
    graph_count_readers(g);
    const struct value *out = &g->values[g->output];
    if (out->t.data != NULL || out->t.dtype != DTYPE_F32 || shape_count(&out->t.shape) == 0)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "the model's output '%.60s' is %s; smelt needs floats that depend on the input",
                    out->name,
                    out->t.data != NULL         ? "a constant"
                    : out->t.dtype != DTYPE_F32 ? "integer"
                                                : "empty");
    return OK;
}
