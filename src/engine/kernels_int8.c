// What operators become in bytes: activations are u8 with a scale and a zero for each tensor,
// weights s8 with a scale for each channel of the result, sums s32. See docs/engine.md, "int8".
//
// Where a zero is not 0 it is folded into the bias, which is exact; only a window that looks at
// padding needs oneDNN's own zero point. A ReLU costs nothing: with zero 0 the byte's lower end is
// it.
#include "base/check.h"
#include "engine/kernels_program.h"

#include <math.h>
#include <string.h>

static const struct quant *quant_of(const struct lowering *l, int v)
{
    const struct quant *q = &l->graph->values[v].quant;
    return q->scale > 0 ? q : NULL;
}

static const float *floats_of(const struct lowering *l, const struct node *n, int input)
{
    const struct tensor *t = graph_constant(l->graph, n, input);
    return t != NULL ? t->data : NULL;
}

static enum err unsupported(const char *why, struct error *error)
{
    return fail(error, ERR_UNSUPPORTED, 0, "%s", why);
}

static enum err md_of(const struct engine_shape *s, dnnl_data_type_t type, dnnl_memory_desc_t *out,
                      struct error *error)
{
    dnnl_dims_t dims = {0};
    memcpy(dims, s->dims, (size_t)s->rank * sizeof *dims);
    DNNL_TRY(dnnl_memory_desc_init_by_tag(out, s->rank, dims, type, dnnl_format_tag_any));
    return OK;
}

// Bytes clip to 0..255, which is all that this activation does to a tensor rounded like q.
static bool rounding_is(const struct activation *a, const struct quant *q)
{
    if (a->kind == UNARY_RELU)
        return q->zero == 0;
    return a->kind == UNARY_CLIP && q->zero == 0 && a->alpha == 0 &&
           255 * q->scale <= a->beta * 1.0001f;
}

// ---- Conv and Gemm ----------------------------------------------------------------------------

// The largest weight. Without VNNI, pairs of products are added in 16 bits, which 255 x 127 x 2
// would overflow.
static int weight_max(void)
{
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    unsigned with_vnni = dnnl_cpu_isa_avx512_core_vnni, avx2_vnni = dnnl_cpu_isa_avx2_vnni;
    return (isa & with_vnni) == with_vnni || (isa & avx2_vnni) == avx2_vnni ? 127 : 63;
}

// A node's numbers in integers. Arrays: [channels], in the graph's pool.
struct integers {
    int64_t channels, inner; // weights [channels][inner]
    int8_t *weights;         // as the file's weights lie
    float *scales;           // of each channel's weights
    int32_t *sums;           // of each channel's weights
    float *bias, *output_scales;
    const struct quant *in, *out, *sum; // out, sum NULL: floats
    int largest;                        // weight: weight_max(), asked for once
    bool clips;                         // rounding is the activation
    bool general;                       // activation in real units, rounding after it
    bool fold_zero;                     // in->zero is in the bias; else oneDNN's own zero point
};

// Channel c of the weights, first[i * step], as whole numbers; scale 0: chosen here. False: they
// are none, or too large.
static bool round_channel(struct integers *x, int64_t c, const float *first, int8_t *out,
                          int64_t step, float scale)
{
    float max = 0, largest = (float)x->largest;
    bool given = scale != 0;
    for (int64_t i = 0; i < x->inner; i++)
        max = fmaxf(max, fabsf(first[i * step]));
    if (!(max < 1e30f) || (given && !(scale > 1e-30f && max / scale < largest + 1.5f)))
        return false;
    x->scales[c] = given ? scale : max > 1e-30f ? max / largest : 1;
    x->sums[c] = 0;
    for (int64_t i = 0; i < x->inner; i++) {
        float exact = first[i * step] / x->scales[c];
        long q = lrintf(exact);
        if (q < -x->largest - 1 || q > x->largest || (given && fabsf(exact - (float)q) > 1e-3f))
            return false;
        out[i * step] = (int8_t)q;
        x->sums[c] += (int32_t)q;
    }
    return true;
}

// The weights of n. transposed: they lie [inner][channels]. A file that is quantized itself has
// whole numbers there and says their scales.
static enum err round_weights(struct lowering *l, const struct node *n, struct integers *x,
                              bool transposed, struct error *error)
{
    const struct value *v = &l->graph->values[n->inputs[1]];
    const float *weights = v->t.data;
    const struct grid *grid = &v->grid;
    struct pool *pool = &l->graph->pool;
    size_t channels = (size_t)x->channels;
    x->largest = weight_max();
    x->weights = pool_alloc(pool, channels * (size_t)x->inner);
    x->scales = pool_alloc(pool, channels * sizeof(float));
    x->sums = pool_alloc(pool, channels * sizeof(int32_t));
    x->bias = pool_alloc(pool, channels * sizeof(float));
    x->output_scales = pool_alloc(pool, channels * sizeof(float));
    if (x->weights == NULL || x->scales == NULL || x->sums == NULL || x->bias == NULL ||
        x->output_scales == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory to prepare the model");
    if (l->graph->quantized &&
        (grid->scales == NULL || (grid->count > 1 && grid->axis != transposed)))
        return unsupported("its weights are no whole numbers in the file", error);
    int64_t step = transposed ? x->channels : 1;
    for (int64_t c = 0; c < x->channels; c++) {
        int64_t first = transposed ? c : c * x->inner;
        float scale = !l->graph->quantized ? 0 : grid->scales[grid->count > 1 ? c : 0];
        if (!round_channel(x, c, weights + first, x->weights + first, step, scale))
            return unsupported("its weights do not fit into bytes", error);
    }
    return OK;
}

static void round_bias(struct integers *x, const struct node *n, const float *bias)
{
    double unit = x->out != NULL && !x->general ? (double)x->out->scale : 1;
    for (int64_t c = 0; c < x->channels; c++) {
        double scale = (double)x->in->scale * (double)x->scales[c];
        double add = bias != NULL ? (double)bias[c] : 0;
        if (x->sum != NULL)
            add -= x->sum->zero * (double)x->sum->scale;
        if (x->out != NULL && n->activation.kind == UNARY_NONE)
            add += x->out->zero * (double)x->out->scale;
        add /= scale;
        if (x->fold_zero)
            add -= (double)x->in->zero * x->sums[c];
        x->bias[c] = (float)add;
        x->output_scales[c] = (float)(scale / unit);
    }
}

// Decides the types of n's result and how its activation is computed.
static enum err choose(struct lowering *l, const struct node *n, struct integers *x,
                       struct error *error)
{
    x->in = quant_of(l, n->inputs[0]);
    x->out = quant_of(l, n->outputs[0]);
    x->sum = n->sum >= 0 ? quant_of(l, n->sum) : NULL;
    if (x->in == NULL)
        return unsupported("its input is not rounded", error);
    if (n->sum >= 0 && (x->sum == NULL || x->out == NULL))
        x->sum = x->out = NULL;
    x->clips = x->out != NULL && rounding_is(&n->activation, x->out);
    x->general = x->out != NULL && !x->clips && n->activation.kind != UNARY_NONE;
    return OK;
}

// An activation that is linear, and its rounding: oneDNN 2.6 computes wrongly what has two linear
// functions behind a convolution of bytes, so they become one.
static dnnl_status_t append_linear(dnnl_post_ops_t ops, const struct activation *a,
                                   const struct quant *q)
{
    bool negates = a->kind == UNARY_NEG;
    float alpha = negates ? -1 : a->alpha, beta = negates ? 0 : a->beta, zero = (float)q->zero;
    dnnl_status_t status = dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_linear,
                                                        alpha / q->scale, beta / q->scale + zero);
    if (status == dnnl_success && a->kind == UNARY_HARD_SIGMOID)
        status = dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_clip, zero, zero + 1 / q->scale);
    return status;
}

static enum err int8_attributes(const struct node *n, const struct integers *x,
                                dnnl_primitive_attr_t attr, struct error *error)
{
    dnnl_post_ops_t ops;
    CHECK(!x->general || x->out != NULL);
    float unit = x->out != NULL && !x->general ? x->out->scale : 1;
    dnnl_status_t status = dnnl_post_ops_create(&ops);
    DNNL_TRY(status);
    if (n->sum >= 0)
        status = dnnl_post_ops_append_sum(ops, x->sum != NULL ? x->sum->scale / unit : 1);
    enum unary kind = n->activation.kind;
    bool linear = x->general && (kind == UNARY_HARD_SIGMOID || kind == UNARY_NEG);
    if (status == dnnl_success && linear)
        status = append_linear(ops, &n->activation, x->out);
    else if (status == dnnl_success && !x->clips)
        status = activation_append(ops, &n->activation);
    if (status == dnnl_success && x->general && !linear)
        status = dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_linear, 1 / x->out->scale,
                                              (float)x->out->zero);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_output_scales(attr, x->channels, 1 << 1, x->output_scales);
    if (status == dnnl_success && !x->fold_zero)
        status = dnnl_primitive_attr_set_zero_points(attr, DNNL_ARG_SRC, 1, 0, &x->in->zero);
    return status == dnnl_success ? OK : dnnl_fail(status, "attributes", error);
}

static enum err describe_weighted(struct lowering *l, const struct node *n,
                                  const struct integers *x, const_dnnl_op_desc_t desc,
                                  dnnl_primitive_desc_t *out, struct error *error)
{
    dnnl_primitive_attr_t attr;
    DNNL_TRY(dnnl_primitive_attr_create(&attr));
    enum err err = int8_attributes(n, x, attr, error);
    dnnl_status_t status = dnnl_success;
    if (err == OK)
        status = dnnl_primitive_desc_create(out, desc, attr, l->program->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    TRY(err);
    DNNL_TRY(status);
    if (is_reference(*out)) {
        dnnl_primitive_desc_destroy(*out);
        return unsupported("oneDNN has no fast kernel", error);
    }
    return OK;
}

// The place of n's result: a new one, or that of the value which is added (see kernels_ops.c).
static enum err result_of(struct lowering *l, const struct node *n, const struct integers *x,
                          const struct operand *src, const dnnl_memory_desc_t *md,
                          struct operand *out, struct error *error)
{
    if (n->sum < 0)
        return operand_new(l, n->outputs[0], DNNL_ARG_DST, md, out, error);
    struct operand sum;
    if (x->sum != NULL)
        TRY(operand_bytes(l, n->sum, DNNL_ARG_DST, NULL, &sum, error));
    else
        TRY(operand_of(l, n->sum, DNNL_ARG_DST, NULL, &sum, error));
    if (!dnnl_memory_desc_equal(&sum.md, md) || !may_overwrite(l, &sum) || same_place(&sum, src))
        TRY(emit_copy(l, &sum, md, &sum, error));
    *out = sum;
    out->arg = DNNL_ARG_DST;
    value_is(l, n->outputs[0], out, md);
    return OK;
}

// The source, as bytes. Where *want has other axes than the value, such as rows for all axes but
// the last, it is row-major.
static enum err operand_rows(struct lowering *l, int v, const dnnl_memory_desc_t *want,
                             struct operand *out, struct error *error)
{
    const struct engine_shape *s = &l->graph->values[v].t.shape;
    dnnl_memory_desc_t plain;
    if (want->ndims == s->rank)
        return operand_bytes(l, v, DNNL_ARG_SRC, want, out, error);
    TRY(md_plain(s, &plain, error));
    plain.data_type = dnnl_u8;
    TRY(operand_bytes(l, v, DNNL_ARG_SRC, &plain, out, error));
    out->md = *want;
    return OK;
}

// Emits src, weights, bias, dst; takes over pd.
static enum err emit_weighted(struct lowering *l, const struct node *n, const struct integers *x,
                              dnnl_primitive_desc_t pd, const dnnl_memory_desc_t *weights,
                              struct error *error)
{
    struct operand all[4];
    struct engine_shape flat = {1, {x->channels}};
    dnnl_memory_desc_t bias;
    enum err err = operand_rows(l, n->inputs[0], query(pd, dnnl_query_src_md), &all[0], error);
    if (err == OK)
        err = operand_weight(l, x->weights, weights, query(pd, dnnl_query_weights_md),
                             DNNL_ARG_WEIGHTS, &all[1], error);
    if (err == OK)
        err = md_plain(&flat, &bias, error);
    if (err == OK)
        err = operand_weight(l, x->bias, &bias, &bias, DNNL_ARG_BIAS, &all[2], error);
    if (err == OK)
        err = result_of(l, n, x, &all[0], query(pd, dnnl_query_dst_md), &all[3], error);
    return emit_if(err, l, n, pd, all, 4, error);
}

static enum err conv_int8(struct lowering *l, const struct node *n, struct error *error)
{
    const struct engine_shape *in = &node_input(l->graph, n, 0)->shape;
    const struct engine_shape *y = &node_output(l->graph, n)->shape;
    const struct engine_shape *k = &node_input(l->graph, n, 1)->shape;
    struct engine_shape shape = weights_shape(k, n->params.window.groups);
    struct window_dims d = window_dims(&n->params.window, in, y);
    struct integers x = {.channels = k->dims[0], .inner = shape_count(k) / k->dims[0]};
    dnnl_memory_desc_t src, weights, from, bias, dst;
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd = NULL;
    struct engine_shape flat = {1, {x.channels}};
    TRY(choose(l, n, &x, error));
    x.fold_zero = true;
    for (int i = 0; i < n->params.window.rank && x.in->zero != 0; i++)
        x.fold_zero = x.fold_zero && d.before[i] <= 0 && d.after[i] <= 0;
    TRY(round_weights(l, n, &x, false, error));
    round_bias(&x, n, floats_of(l, n, 2));
    TRY(md_of(in, dnnl_u8, &src, error));
    TRY(md_of(&shape, dnnl_s8, &weights, error));
    TRY(md_plain(&flat, &bias, error));
    TRY(md_of(y, x.out != NULL ? dnnl_u8 : dnnl_f32, &dst, error));
    TRY(md_plain(&shape, &from, error));
    from.data_type = dnnl_s8;
    DNNL_TRY(dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_inference, dnnl_convolution_direct, &src, &weights, &bias, &dst,
        d.stride, d.dilation, d.before, d.after));
    TRY(describe_weighted(l, n, &x, &desc, &pd, error));
    return emit_weighted(l, n, &x, pd, &from, error);
}

static enum err gemm_int8(struct lowering *l, const struct node *n, struct error *error)
{
    const struct tensor *b = graph_constant(l->graph, n, 1), *c = graph_constant(l->graph, n, 2);
    const struct engine_shape *in = &node_input(l->graph, n, 0)->shape;
    const struct engine_shape *y = &node_output(l->graph, n)->shape;
    bool biased = n->input_count > 2 && n->inputs[2] >= 0;
    int64_t columns = y->dims[y->rank - 1], inner = in->dims[in->rank - 1];
    if (b == NULL || n->params.gemm.transpose_a || n->params.gemm.alpha != 1 ||
        n->params.gemm.beta != 1 ||
        (biased && (c == NULL || c->shape.rank != 1 || c->shape.dims[0] != columns)) ||
        (n->sum >= 0 && in->rank != 2))
        return unsupported("an unusual Gemm", error);
    struct integers x = {.channels = columns, .inner = inner, .fold_zero = true};
    int64_t rows = shape_count(y) / columns; // all axes but the last
    struct engine_shape x_rows = {2, {rows, inner}}, y_rows = {2, {rows, columns}};
    bool transposed = !n->params.gemm.transpose_b; // weights lie [inner][channels]
    dnnl_dims_t dims = {x.channels, x.inner};
    dnnl_dims_t strides = {transposed ? 1 : x.inner, transposed ? x.channels : 1};
    struct engine_shape flat = {1, {x.channels}};
    dnnl_memory_desc_t src, weights, from, bias, dst;
    dnnl_inner_product_desc_t desc;
    dnnl_primitive_desc_t pd = NULL;
    TRY(choose(l, n, &x, error));
    TRY(round_weights(l, n, &x, transposed, error));
    round_bias(&x, n, floats_of(l, n, 2));
    TRY(md_plain(&x_rows, &src, error));
    src.data_type = dnnl_u8;
    DNNL_TRY(dnnl_memory_desc_init_by_strides(&from, 2, dims, dnnl_s8, strides));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&weights, 2, dims, dnnl_s8, dnnl_format_tag_any));
    TRY(md_plain(&flat, &bias, error));
    TRY(md_plain(&y_rows, &dst, error));
    dst.data_type = x.out != NULL ? dnnl_u8 : dnnl_f32;
    DNNL_TRY(dnnl_inner_product_forward_desc_init(&desc, dnnl_forward_inference, &src, &weights,
                                                  &bias, &dst));
    TRY(describe_weighted(l, n, &x, &desc, &pd, error));
    TRY(emit_weighted(l, n, &x, pd, &from, error));
    TRY(md_plain(y, &l->layouts[n->outputs[0]].md, error));
    l->layouts[n->outputs[0]].md.data_type = dst.data_type;
    return OK;
}

// ---- what keeps bytes as they are -------------------------------------------------------------

static bool same_quant(const struct quant *a, const struct quant *b)
{
    return a != NULL && b != NULL && a->scale == b->scale && a->zero == b->zero;
}

// A primitive without attributes of its own; a slow one is not taken.
static enum err describe_bytes(struct lowering *l, const_dnnl_op_desc_t desc,
                               dnnl_primitive_desc_t *out, struct error *error)
{
    dnnl_primitive_attr_t attr;
    DNNL_TRY(dnnl_primitive_attr_create(&attr));
    dnnl_status_t status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(out, desc, attr, l->program->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    DNNL_TRY(status);
    return OK;
}

static enum err max_pool_int8(struct lowering *l, const struct node *n, struct error *error)
{
    const struct engine_shape *in = &node_input(l->graph, n, 0)->shape;
    const struct engine_shape *y = &node_output(l->graph, n)->shape;
    struct window_dims d = window_dims(&n->params.window, in, y);
    struct operand src;
    dnnl_memory_desc_t dst;
    dnnl_pooling_v2_desc_t desc;
    dnnl_primitive_desc_t pd = NULL;
    if (!same_quant(quant_of(l, n->inputs[0]), quant_of(l, n->outputs[0])))
        return unsupported("its input and result are rounded differently", error);
    TRY(operand_bytes(l, n->inputs[0], DNNL_ARG_SRC, NULL, &src, error));
    TRY(md_of(y, dnnl_u8, &dst, error));
    DNNL_TRY(dnnl_pooling_v2_forward_desc_init(&desc, dnnl_forward_inference, dnnl_pooling_max,
                                               &src.md, &dst, d.stride, d.kernel, d.dilation,
                                               d.before, d.after));
    TRY(describe_bytes(l, &desc, &pd, error));
    return emit_single(l, n, pd, &src, false, error);
}

static bool is_padded(const dnnl_memory_desc_t *md)
{
    return memcmp(md->dims, md->padded_dims, (size_t)md->ndims * sizeof md->dims[0]) != 0;
}

// There are 256 bytes: what each becomes is looked up.
static enum err unary_int8(struct lowering *l, const struct node *n, struct error *error)
{
    const struct quant *in = quant_of(l, n->inputs[0]), *out = quant_of(l, n->outputs[0]);
    struct operand x;
    if (in == NULL || out == NULL)
        return unsupported("no activation of bytes", error);
    TRY(operand_bytes(l, n->inputs[0], DNNL_ARG_SRC, NULL, &x, error));
    if (is_padded(&x.md)) // where 0 must stay 0
        return unsupported("padded bytes", error);
    return emit_table(l, n, &x, *in, *out, error);
}

static enum err add_attributes(const struct quant *const q[2], const struct quant *out,
                               bool activated, dnnl_primitive_attr_t attr, struct error *error)
{
    static const int args[2] = {DNNL_ARG_SRC_0, DNNL_ARG_SRC_1};
    float shift = activated ? 0 : (float)out->zero;
    dnnl_post_ops_t ops;
    dnnl_status_t status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    for (int i = 0; i < 2 && status == dnnl_success; i++) {
        float scale = q[i]->scale / out->scale;
        status = dnnl_primitive_attr_set_scales(attr, args[i], 1, 0, &scale);
        shift -= scale * (float)q[i]->zero;
    }
    if (status == dnnl_success)
        status = dnnl_post_ops_create(&ops);
    DNNL_TRY(status);
    status = dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_linear, 1, shift);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
    DNNL_TRY(status);
    return OK;
}

static enum err add_int8(struct lowering *l, const struct node *n, struct error *error)
{
    const struct quant *q[2] = {quant_of(l, n->inputs[0]), quant_of(l, n->inputs[1])};
    const struct quant *out = quant_of(l, n->outputs[0]);
    bool activated = n->activation.kind != UNARY_NONE;
    struct operand x[3];
    dnnl_binary_desc_t desc;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_attr_t attr;
    if (n->params.binary != BINARY_ADD || q[0] == NULL || q[1] == NULL || out == NULL ||
        n->sum >= 0 ||
        !shape_equal(&node_input(l->graph, n, 0)->shape, &node_input(l->graph, n, 1)->shape) ||
        (activated && !rounding_is(&n->activation, out)))
        return unsupported("no addition of bytes", error);
    TRY(operand_bytes(l, n->inputs[0], DNNL_ARG_SRC_0, NULL, &x[0], error));
    TRY(operand_bytes(l, n->inputs[1], DNNL_ARG_SRC_1, &x[0].md, &x[1], error));
    DNNL_TRY(dnnl_binary_desc_init(&desc, dnnl_binary_add, &x[0].md, &x[1].md, &x[0].md));
    DNNL_TRY(dnnl_primitive_attr_create(&attr));
    enum err err = add_attributes(q, out, activated, attr, error);
    if (err == OK &&
        dnnl_primitive_desc_create(&pd, &desc, attr, l->program->engine, NULL) != dnnl_success)
        err = unsupported("no addition of bytes", error);
    dnnl_primitive_attr_destroy(attr);
    TRY(err);
    err = operand_result(l, n, &x[0], !same_place(&x[0], &x[1]), &x[0].md, &x[2], error);
    return emit_if(err, l, n, pd, x, 3, error);
}

static enum err concat_int8(struct lowering *l, const struct node *n, struct error *error)
{
    enum { INPUTS_MAX = 64 };
    struct operand x[INPUTS_MAX + 1];
    dnnl_memory_desc_t mds[INPUTS_MAX];
    int count = n->input_count;
    if (count > INPUTS_MAX)
        return unsupported("too many inputs", error);
    for (int k = 0; k < count; k++)
        if (!same_quant(quant_of(l, n->inputs[k]), quant_of(l, n->outputs[0])))
            return unsupported("its inputs are rounded differently", error);
    for (int k = 0; k < count; k++) {
        TRY(operand_bytes(l, n->inputs[k], DNNL_ARG_MULTIPLE_SRC + k, NULL, &x[k], error));
        mds[k] = x[k].md;
    }
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t pd = NULL;
    DNNL_TRY(dnnl_primitive_attr_create(&attr));
    dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    dnnl_status_t status = dnnl_concat_primitive_desc_create(&pd, NULL, count, n->params.axis.begin,
                                                             mds, attr, l->program->engine);
    dnnl_primitive_attr_destroy(attr);
    DNNL_TRY(status);
    enum err err =
        operand_new(l, n->outputs[0], DNNL_ARG_DST, query(pd, dnnl_query_dst_md), &x[count], error);
    return emit_if(err, l, n, pd, x, count + 1, error);
}

// Transpose, Reshape and the like: no data move where strides can say it.
static enum err move_int8(struct lowering *l, const struct node *n, struct error *error)
{
    const struct engine_shape *in = &node_input(l->graph, n, 0)->shape;
    const struct engine_shape *s = &node_output(l->graph, n)->shape;
    struct operand x;
    dnnl_dims_t dims = {0};
    dnnl_memory_desc_t md, plain;
    if (!same_quant(quant_of(l, n->inputs[0]), quant_of(l, n->outputs[0])) || s->rank == 0)
        return unsupported("its input and result are rounded differently", error);
    memcpy(dims, s->dims, (size_t)s->rank * sizeof *dims);
    TRY(operand_bytes(l, n->inputs[0], 0, NULL, &x, error));
    if (n->op->kind == OP_TRANSPOSE) {
        int inverse[DNNL_MAX_NDIMS];
        for (int i = 0; i < x.md.ndims; i++)
            inverse[n->params.permutation[i]] = i;
        DNNL_TRY(dnnl_memory_desc_permute_axes(&md, &x.md, inverse));
    } else if (dnnl_memory_desc_reshape(&md, &x.md, s->rank, dims) != dnnl_success) {
        TRY(md_plain(in, &plain, error));
        plain.data_type = dnnl_u8;
        TRY(emit_copy(l, &x, &plain, &x, error));
        TRY(md_plain(s, &md, error));
        md.data_type = dnnl_u8;
    }
    value_is(l, n->outputs[0], &x, &md);
    return OK;
}

enum err lower_int8(struct lowering *l, const struct node *n, struct error *error)
{
    switch (n->op->kind) {
    case OP_CONV:
        return conv_int8(l, n, error);
    case OP_GEMM:
        return gemm_int8(l, n, error);
    case OP_MAX_POOL:
        return max_pool_int8(l, n, error);
    case OP_UNARY:
        return unary_int8(l, n, error);
    case OP_BINARY:
        return add_int8(l, n, error);
    case OP_TRANSPOSE:
    case OP_RESHAPE:
        return move_int8(l, n, error);
    default:
        return strcmp(n->op->name, "Concat") == 0 ? concat_int8(l, n, error)
                                                  : unsupported("not in bytes", error);
    }
}
