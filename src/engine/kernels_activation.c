// Activations: inside another primitive, as one of their own, or by a kernel of ours.
#include "engine/activations.h"
#include "engine/kernels_program.h"
#include "engine/plain.h"

#include <float.h>
#include <math.h>

static dnnl_alg_kind_t activation_kind(const struct activation *a)
{
    switch (a->kind) {
    case UNARY_RELU:
    case UNARY_LEAKY_RELU:
        return dnnl_eltwise_relu;
    case UNARY_CLIP:
        return dnnl_eltwise_clip;
    case UNARY_SIGMOID:
        return dnnl_eltwise_logistic;
    case UNARY_HARD_SWISH:
        return dnnl_eltwise_hardswish;
    case UNARY_TANH:
        return dnnl_eltwise_tanh;
    case UNARY_EXP:
        return dnnl_eltwise_exp;
    case UNARY_SQRT:
        return dnnl_eltwise_sqrt;
    case UNARY_NEG:
        return dnnl_eltwise_linear;
    case UNARY_SWISH:
        return dnnl_eltwise_swish;
    case UNARY_GELU:
        return dnnl_eltwise_gelu_erf;
    case UNARY_GELU_TANH:
        return dnnl_eltwise_gelu_tanh;
    case UNARY_ELU:
        return dnnl_eltwise_elu;
    case UNARY_SOFTPLUS:
        return dnnl_eltwise_soft_relu;
    case UNARY_MISH:
        return dnnl_eltwise_mish;
    case UNARY_ABS:
        return dnnl_eltwise_abs;
    case UNARY_LOG:
        return dnnl_eltwise_log;
    case UNARY_POW:
    case UNARY_RECIPROCAL:
        return dnnl_eltwise_pow;
    case UNARY_ROUND:
        return dnnl_eltwise_round;
    case UNARY_HARD_SIGMOID: // and a clip to 0 … 1 behind it
        return dnnl_eltwise_linear;
    default:
        return dnnl_alg_kind_undef;
    }
}

bool activation_fuses(const struct activation *a)
{
    return activation_kind(a) != dnnl_alg_kind_undef;
}

static void activation_numbers(const struct activation *a, float *alpha, float *beta)
{
    *alpha = a->kind == UNARY_NEG ? -1 : a->kind == UNARY_RELU ? 0 : a->alpha;
    *beta = a->kind == UNARY_RECIPROCAL ? -1 : a->beta;
    if (a->kind == UNARY_POW || a->kind == UNARY_RECIPROCAL)
        *alpha = 1;
    if (a->kind == UNARY_CLIP) {
        *alpha = fmaxf(a->alpha, -FLT_MAX);
        *beta = fminf(a->beta, FLT_MAX);
    }
}

dnnl_status_t activation_append(dnnl_post_ops_t ops, const struct activation *a)
{
    float alpha, beta;
    if (a->kind == UNARY_NONE)
        return dnnl_success;
    activation_numbers(a, &alpha, &beta);
    dnnl_status_t status = dnnl_post_ops_append_eltwise(ops, 1, activation_kind(a), alpha, beta);
    if (status == dnnl_success && a->kind == UNARY_HARD_SIGMOID)
        status = dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_clip, 0, 1);
    return status;
}

bool activation_apart(const struct activation *a)
{
    return activation_kernel_best(a) != NULL;
}

// A step of ours from one operand to another; s says what it computes.
static enum err emit_own(struct lowering *l, const struct node *n, struct step s,
                         const struct operand *from, const struct operand *to, struct error *error)
{
    struct program *p = l->program;
    s.name = pool_copy(&p->pool, n->name);
    s.kernel = "own";
    s.shape = node_output(l->graph, n)->shape;
    s.operands = pool_calloc(&p->pool, 2, sizeof *s.operands);
    if (s.name == NULL || s.operands == NULL ||
        !grow(&p->steps, p->step_count, &p->step_cap, sizeof *p->steps))
        return no_memory(error);
    s.operand_count = 2;
    s.operands[0] = *from;
    s.operands[1] = *to;
    s.operands[0].arg = DNNL_ARG_SRC;
    s.operands[1].arg = DNNL_ARG_DST;
    buffer_used(l, &from->place);
    buffer_used(l, &to->place);
    p->steps[p->step_count++] = s;
    return OK;
}

static enum err emit_kernel(struct lowering *l, const struct node *n, const struct activation *a,
                            const struct operand *from, const struct operand *to,
                            struct error *error)
{
    struct step s = {.op = "Swish", .activate = activation_kernel_best(a), .activation = *a};
    return emit_own(l, n, s, from, to, error);
}

enum err emit_activation(struct lowering *l, const struct node *n, struct error *error)
{
    const struct layout *lies = &l->layouts[n->outputs[0]];
    struct operand x = {DNNL_ARG_SRC, lies->place, lies->md, NULL};
    return emit_kernel(l, n, &n->activation, &x, &x, error);
}

enum err emit_table(struct lowering *l, const struct node *n, const struct operand *x,
                    struct quant in, struct quant out, struct error *error)
{
    struct operand to;
    uint8_t *table = pool_alloc(&l->program->pool, 256);
    if (table == NULL)
        return no_memory(error);
    for (int i = 0; i < 256; i++) {
        float y = plain_activate(&n->params.unary, in.scale * (float)(i - in.zero));
        table[i] = (uint8_t)fminf(fmaxf(rintf(y / out.scale) + (float)out.zero, 0), 255);
    }
    TRY(operand_result(l, n, x, true, &x->md, &to, error));
    return emit_own(l, n, (struct step){.op = n->op->name, .table = table}, x, &to, error);
}

enum err lower_unary(struct lowering *l, const struct node *n, struct error *error)
{
    struct operand src, result;
    dnnl_eltwise_desc_t desc;
    float alpha, beta;
    if (!activation_fuses(&n->params.unary))
        return fail(error, ERR_UNSUPPORTED, 0, "no such eltwise");
    activation_numbers(&n->params.unary, &alpha, &beta);
    TRY(operand_of(l, n->inputs[0], DNNL_ARG_SRC, NULL, &src, error));
    if (activation_apart(&n->params.unary)) {
        TRY(operand_result(l, n, &src, true, &src.md, &result, error));
        return emit_kernel(l, n, &n->params.unary, &src, &result, error);
    }
    DNNL_TRY(dnnl_eltwise_forward_desc_init(
        &desc, dnnl_forward_inference, activation_kind(&n->params.unary), &src.md, alpha, beta));
    TRY(emit_simple(l, n, &desc, &src, true, error));
    if (n->params.unary.kind != UNARY_HARD_SIGMOID)
        return OK;
    TRY(operand_of(l, n->outputs[0], DNNL_ARG_SRC, NULL, &src, error));
    DNNL_TRY(dnnl_eltwise_forward_desc_init(&desc, dnnl_forward_inference, dnnl_eltwise_clip,
                                            &src.md, 0, 1));
    return emit_simple(l, n, &desc, &src, true, error);
}
