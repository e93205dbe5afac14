// Patterns: several nodes that an exporter writes for one operator become that operator. The node
// at the end of a pattern changes and reads its beginning; what is then read by nobody is dead.
#include "engine/passes.h"

#include "engine/kernels.h"
#include "engine/ops.h"

#include <math.h>
#include <string.h>

static bool near(float x, double y)
{
    return fabs((double)x - y) <= 1e-4 * fabs(y);
}

// The one number that value v is; false: not a constant of one float.
static bool number(const struct graph *g, int v, float *out)
{
    const struct tensor *t = v >= 0 ? &g->values[v].t : NULL;
    if (t == NULL || t->data == NULL || t->dtype != DTYPE_F32 || shape_count(&t->shape) != 1)
        return false;
    *out = *(const float *)t->data;
    return true;
}

static struct node *binary(struct graph *g, int v, enum binary kind)
{
    struct node *n = v >= 0 ? graph_producer(g, v, OP_BINARY) : NULL;
    return n != NULL && n->params.binary == kind && n->sum < 0 ? n : NULL;
}

static struct node *unary(struct graph *g, int v, enum unary kind)
{
    struct node *n = v >= 0 ? graph_producer(g, v, OP_UNARY) : NULL;
    return n != NULL && n->params.unary.kind == kind ? n : NULL;
}

// If v is some value plus (times, …) the number c: that value; else -1. Division by 1/c is
// multiplication by c.
static int with_number(struct graph *g, int v, enum binary kind, double c)
{
    struct node *n = binary(g, v, kind);
    float x;
    for (int k = 0; k < 2 && n != NULL; k++)
        if (number(g, n->inputs[1 - k], &x) && near(x, c))
            return n->inputs[k];
    n = kind == BINARY_MUL ? binary(g, v, BINARY_DIV) : NULL;
    if (n != NULL && number(g, n->inputs[1], &x) && near(1 / x, c))
        return n->inputs[0];
    return -1;
}

static bool become_unary(struct graph *g, struct node *n, const char *op, int x,
                         struct activation activation)
{
    if (!shape_equal(&g->values[x].t.shape, &node_output(g, n)->shape))
        return false;
    n->op = op_fused(op);
    n->inputs[0] = x;
    n->input_count = 1;
    memset(&n->params, 0, sizeof n->params);
    n->params.unary = activation;
    return true;
}

// x to a constant power.
static bool fuse_power(struct graph *g, struct node *n)
{
    float c;
    const struct tensor *t = graph_constant(g, n, 1);
    if (n->params.binary != BINARY_POW || t == NULL)
        return false;
    if (t->dtype == DTYPE_I64 && shape_count(&t->shape) == 1)
        c = (float)*(const int64_t *)t->data;
    else if (!number(g, n->inputs[1], &c))
        return false;
    return become_unary(g, n, "Pow", n->inputs[0], (struct activation){UNARY_POW, 1, c});
}

// min(max(x + 3, 0), 6): x; else -1.
static int clipped_sum(struct graph *g, int v)
{
    struct node *clip = unary(g, v, UNARY_CLIP);
    if (clip == NULL || clip->params.unary.alpha != 0 || !near(clip->params.unary.beta, 6))
        return -1;
    return with_number(g, clip->inputs[0], BINARY_ADD, 3);
}

// min(max(x + 3, 0), 6) / 6
static bool fuse_hard_sigmoid(struct graph *g, struct node *n)
{
    int x = clipped_sum(g, with_number(g, n->outputs[0], BINARY_MUL, 1.0 / 6));
    struct activation a = {UNARY_HARD_SIGMOID, 1.0f / 6, 0.5f};
    return x >= 0 && become_unary(g, n, "HardSigmoid", x, a);
}

static bool is_hard_sigmoid_of(struct graph *g, int v, int x)
{
    struct node *n = unary(g, v, UNARY_HARD_SIGMOID);
    return n != NULL && n->inputs[0] == x && near(n->params.unary.alpha, 1.0 / 6) &&
           near(n->params.unary.beta, 0.5);
}

// x sigmoid(x); x hard_sigmoid(x)
static bool fuse_swish(struct graph *g, struct node *n)
{
    for (int k = 0; k < 2 && n->params.binary == BINARY_MUL; k++) {
        int x = n->inputs[k], gate = n->inputs[1 - k];
        struct node *sigmoid = unary(g, gate, UNARY_SIGMOID);
        if (sigmoid != NULL && sigmoid->inputs[0] == x)
            return become_unary(g, n, "Swish", x, (struct activation){UNARY_SWISH, 1, 0});
        if (is_hard_sigmoid_of(g, gate, x))
            return become_unary(g, n, "HardSwish", x, (struct activation){UNARY_HARD_SWISH, 0, 0});
    }
    return false;
}

// x min(max(x + 3, 0), 6) / 6
static bool fuse_hard_swish(struct graph *g, struct node *n)
{
    struct node *m = binary(g, with_number(g, n->outputs[0], BINARY_MUL, 1.0 / 6), BINARY_MUL);
    for (int k = 0; k < 2 && m != NULL; k++)
        if (clipped_sum(g, m->inputs[1 - k]) == m->inputs[k])
            return become_unary(g, n, "HardSwish", m->inputs[k],
                                (struct activation){UNARY_HARD_SWISH, 0, 0});
    return false;
}

// 1 + erf(x / sqrt 2): x; else -1.
static int erf_sum(struct graph *g, int v)
{
    struct node *erf = unary(g, with_number(g, v, BINARY_ADD, 1), UNARY_ERF);
    return erf != NULL ? with_number(g, erf->inputs[0], BINARY_MUL, sqrt(0.5)) : -1;
}

// x (1 + erf(x / sqrt 2)) / 2, multiplied in whatever order
static bool fuse_gelu(struct graph *g, struct node *n)
{
    struct activation a = {UNARY_GELU, 0, 0};
    struct node *m = binary(g, with_number(g, n->outputs[0], BINARY_MUL, 0.5), BINARY_MUL);
    for (int k = 0; k < 2 && m != NULL; k++)
        if (erf_sum(g, m->inputs[1 - k]) == m->inputs[k])
            return become_unary(g, n, "Gelu", m->inputs[k], a);
    for (int k = 0; k < 2 && n->params.binary == BINARY_MUL; k++) {
        int one = n->inputs[k], other = n->inputs[1 - k], x = erf_sum(g, other);
        if (x >= 0 && with_number(g, one, BINARY_MUL, 0.5) == x)
            return become_unary(g, n, "Gelu", x, a); // (x / 2) (1 + erf)
        x = erf_sum(g, with_number(g, other, BINARY_MUL, 0.5));
        if (x >= 0 && x == one)
            return become_unary(g, n, "Gelu", x, a); // x ((1 + erf) / 2)
    }
    return false;
}

// v is the mean over the last axis, which is kept, of: the result; else -1.
static int last_mean(struct graph *g, int v)
{
    struct node *n = v >= 0 ? graph_producer(g, v, OP_REDUCE_MEAN) : NULL;
    if (n == NULL)
        return -1;
    const struct engine_shape *x = &node_input(g, n, 0)->shape, *y = &node_output(g, n)->shape;
    for (int i = 0; i < x->rank; i++)
        if (n->params.reduce.axes[i] != (i == x->rank - 1))
            return -1;
    return x->rank == y->rank ? n->inputs[0] : -1;
}

// v is d squared
static bool is_square_of(struct graph *g, int v, int d)
{
    struct node *n = binary(g, v, BINARY_MUL);
    if (n != NULL)
        return n->inputs[0] == d && n->inputs[1] == d;
    n = unary(g, v, UNARY_POW);
    return n != NULL && n->inputs[0] == d && n->params.unary.beta == 2;
}

// (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) over the last axis: x; else -1.
static int normalized(struct graph *g, int v, float *epsilon)
{
    struct node *div = binary(g, v, BINARY_DIV);
    struct node *root = div != NULL ? unary(g, div->inputs[1], UNARY_SQRT) : NULL;
    struct node *add = root != NULL ? binary(g, root->inputs[0], BINARY_ADD) : NULL;
    struct node *sub = div != NULL ? binary(g, div->inputs[0], BINARY_SUB) : NULL;
    if (add == NULL || sub == NULL)
        return -1;
    int variance = number(g, add->inputs[1], epsilon)   ? add->inputs[0]
                   : number(g, add->inputs[0], epsilon) ? add->inputs[1]
                                                        : -1;
    int square = last_mean(g, variance), x = sub->inputs[0];
    return square >= 0 && is_square_of(g, square, div->inputs[0]) &&
                   last_mean(g, sub->inputs[1]) == x
               ? x
               : -1;
}

// The input of n that is a constant with a number for each place of the last axis; else -1.
static int per_place(struct graph *g, const struct node *n, int *other)
{
    const struct engine_shape *y = &node_output(g, n)->shape;
    for (int k = 0; k < 2; k++) {
        const struct tensor *t = graph_constant(g, n, k);
        *other = n->inputs[1 - k];
        if (t != NULL && y->rank > 0 && t->shape.rank == 1 &&
            t->shape.dims[0] == y->dims[y->rank - 1] && t->dtype == DTYPE_F32)
            return n->inputs[k];
    }
    return -1;
}

// scale normalized(x) + shift
static bool fuse_layer_norm(struct graph *g, struct node *n)
{
    int product = -1, normal = -1, shift, scale;
    float epsilon = 0;
    if (n->params.binary != BINARY_ADD || (shift = per_place(g, n, &product)) < 0)
        return false;
    struct node *mul = binary(g, product, BINARY_MUL);
    if (mul == NULL || (scale = per_place(g, mul, &normal)) < 0)
        return false;
    int x = normalized(g, normal, &epsilon);
    if (x < 0 || !shape_equal(&g->values[x].t.shape, &node_output(g, n)->shape))
        return false;
    n->op = op_fused("LayerNormalization");
    n->inputs[0] = x;
    n->inputs[1] = scale;
    n->inputs[2] = shift; // there is room: see onnx.c
    n->input_count = 3;
    memset(&n->params, 0, sizeof n->params);
    n->params.norm.axis = g->values[x].t.shape.rank - 1;
    n->params.norm.epsilon = epsilon;
    return true;
}

void passes_fuse(struct graph *g)
{
    static bool (*const rules[])(struct graph *, struct node *) = {
        fuse_power, fuse_hard_sigmoid, fuse_swish, fuse_hard_swish, fuse_gelu, fuse_layer_norm,
    };
    for (int i = 0; i < g->node_count; i++) {
        struct node *n = &g->nodes[i];
        if (n->dead || n->op->kind != OP_BINARY || node_output(g, n)->dtype != DTYPE_F32)
            continue;
        for (size_t k = 0; k < sizeof rules / sizeof rules[0]; k++)
            if (rules[k](g, n))
                break;
    }
    graph_count_readers(g);
}
