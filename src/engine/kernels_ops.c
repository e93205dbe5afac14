// What each operator becomes in oneDNN. See kernels_program.h for the tools.
#include "engine/kernels_program.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Attributes of n's primitive: own scratchpad, the sum, the activation.
static enum err attributes(const struct node *n, dnnl_primitive_attr_t *out, struct error *error)
{
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(out);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user);
    if (status == dnnl_success)
        status = dnnl_post_ops_create(&ops);
    if (status == dnnl_success && n->sum >= 0)
        status = dnnl_post_ops_append_sum(ops, 1);
    if (status == dnnl_success && !activation_apart(&n->activation))
        status = activation_append(ops, &n->activation);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(*out, ops);
    if (ops != NULL)
        dnnl_post_ops_destroy(ops);
    return status == dnnl_success ? OK : dnnl_fail(status, "attributes", error);
}

enum err describe(struct lowering *l, const struct node *n, const_dnnl_op_desc_t desc,
                  dnnl_primitive_desc_t *out, struct error *error)
{
    dnnl_primitive_attr_t attr;
    TRY(attributes(n, &attr, error));
    dnnl_status_t status = dnnl_primitive_desc_create(out, desc, attr, l->program->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    DNNL_TRY(status);
    return OK;
}

const dnnl_memory_desc_t *query(const_dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

bool same_place(const struct operand *a, const struct operand *b)
{
    return a->place.where == b->place.where && a->place.buffer == b->place.buffer &&
           a->place.offset == b->place.offset;
}

// The place of n's result, whose layout the primitive has chosen: a new one, or that of the value
// which is added, copied first if it lies otherwise or is still read: later, or as the source.
static enum err result_of(struct lowering *l, const struct node *n, const struct operand *src,
                          const dnnl_memory_desc_t *md, struct operand *out, struct error *error)
{
    if (n->sum < 0)
        return operand_new(l, n->outputs[0], DNNL_ARG_DST, md, out, error);
    struct operand sum;
    bool same_axes = md->ndims == l->graph->values[n->sum].t.shape.rank;
    TRY(same_axes ? operand_of(l, n->sum, DNNL_ARG_DST, NULL, &sum, error)
                  : operand_as(l, n->sum, DNNL_ARG_DST, md, &sum, error));
    if (!dnnl_memory_desc_equal(&sum.md, md) || !may_overwrite(l, &sum) || same_place(&sum, src))
        TRY(emit_copy(l, &sum, md, &sum, error));
    *out = sum;
    out->arg = DNNL_ARG_DST;
    value_is(l, n->outputs[0], out, md);
    return OK;
}

static const float *constant_data(const struct lowering *l, const struct node *n, int input)
{
    const struct tensor *t = graph_constant(l->graph, n, input);
    return t != NULL ? t->data : NULL;
}

enum err md_any(const struct engine_shape *s, dnnl_memory_desc_t *out, struct error *error)
{
    dnnl_dims_t dims = {0};
    memcpy(dims, s->dims, (size_t)s->rank * sizeof *dims);
    DNNL_TRY(dnnl_memory_desc_init_by_tag(out, s->rank, dims, dnnl_f32, dnnl_format_tag_any));
    return OK;
}

// Emits a convolution-like primitive: src, weights, bias, dst.
static enum err emit_weighted(struct lowering *l, const struct node *n, dnnl_primitive_desc_t pd,
                              const dnnl_memory_desc_t *weights, struct error *error)
{
    struct operand x[4];
    int count = 3;
    struct engine_shape s = {1, {0}};
    const float *bias = constant_data(l, n, 2);
    enum err err =
        operand_as(l, n->inputs[0], DNNL_ARG_SRC, query(pd, dnnl_query_src_md), &x[0], error);
    if (err == OK)
        err = operand_weight(l, constant_data(l, n, 1), weights, query(pd, dnnl_query_weights_md),
                             DNNL_ARG_WEIGHTS, &x[1], error);
    if (err == OK)
        err = result_of(l, n, &x[0], query(pd, dnnl_query_dst_md), &x[2], error);
    if (err == OK && bias != NULL) {
        dnnl_memory_desc_t md;
        s.dims[0] = graph_constant(l->graph, n, 2)->shape.dims[0];
        err = md_plain(&s, &md, error);
        if (err == OK)
            err = operand_weight(l, bias, &md, &md, DNNL_ARG_BIAS, &x[count++], error);
    }
    return emit_if(err, l, n, pd, x, count, error);
}

struct window_dims window_dims(const struct window *w, const struct engine_shape *x,
                               const struct engine_shape *y)
{
    struct window_dims d = {0};
    for (int i = 0; i < w->rank; i++) {
        int64_t reach = (w->kernel[i] - 1) * w->dilation[i] + 1;
        d.kernel[i] = w->kernel[i];
        d.stride[i] = w->stride[i];
        d.dilation[i] = w->dilation[i] - 1;
        d.before[i] = w->before[i];
        d.after[i] = (y->dims[2 + i] - 1) * w->stride[i] + reach - x->dims[2 + i] - w->before[i];
    }
    return d;
}

// The layout of an image tensor that convolutions like best: channels in blocks of a vector.
static enum err md_blocked(const struct lowering *l, const struct engine_shape *s,
                           dnnl_memory_desc_t *out, struct error *error)
{
    static const dnnl_format_tag_t tags[2][SPATIAL_MAX] = {
        {dnnl_nCw8c, dnnl_nChw8c, dnnl_nCdhw8c}, {dnnl_nCw16c, dnnl_nChw16c, dnnl_nCdhw16c}};
    dnnl_dims_t dims = {0};
    if (l->channel_block == 0 || s->dims[1] < l->channel_block)
        return md_any(s, out, error);
    memcpy(dims, s->dims, (size_t)s->rank * sizeof *dims);
    DNNL_TRY(dnnl_memory_desc_init_by_tag(out, s->rank, dims, dnnl_f32,
                                          tags[l->channel_block == 16][s->rank - 3]));
    return OK;
}

bool is_reference(const_dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name);
    return name == NULL || strncmp(name, "ref", 3) == 0;
}

static enum err describe_conv(struct lowering *l, const struct node *n, dnnl_alg_kind_t algorithm,
                              bool blocked, const struct engine_shape *shape,
                              dnnl_primitive_desc_t *out, struct error *error)
{
    const struct engine_shape *x = &node_input(l->graph, n, 0)->shape;
    const struct engine_shape *y = &node_output(l->graph, n)->shape;
    struct window_dims d = window_dims(&n->params.window, x, y);
    struct engine_shape flat = {1, {y->dims[1]}};
    dnnl_memory_desc_t src, weights, bias, dst;
    dnnl_convolution_desc_t desc;
    TRY(blocked ? md_blocked(l, x, &src, error) : md_any(x, &src, error));
    TRY(blocked ? md_blocked(l, y, &dst, error) : md_any(y, &dst, error));
    TRY(md_any(shape, &weights, error));
    TRY(md_plain(&flat, &bias, error));
    DNNL_TRY(dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_inference, algorithm, &src, &weights,
        constant_data(l, n, 2) != NULL ? &bias : NULL, &dst, d.stride, d.dilation, d.before,
        d.after));
    return describe(l, n, &desc, out, error);
}

struct engine_shape weights_shape(const struct engine_shape *k, int64_t groups)
{
    if (groups <= 1)
        return *k;
    struct engine_shape s = {k->rank + 1, {groups, k->dims[0] / groups}};
    for (int i = 1; i < k->rank; i++)
        s.dims[1 + i] = k->dims[i];
    return s;
}

// Winograd's algorithm needs 2.25 or 4 times fewer multiplications for a 3x3 window, and work
// around them for each channel: measured 1.3 to 2.9 times faster from this many channels on, slower
// below. The choice may not be measured when loading: results would differ between processes.
static bool winograd_pays(const struct lowering *l, const struct node *n)
{
    enum { CHANNELS_MIN = 64 * 64 }; // inputs times outputs
    const struct window *w = &n->params.window;
    const struct engine_shape *k = &node_input(l->graph, n, 1)->shape;
    bool pays = l->channel_block == 16 && w->rank == 2 && w->groups == 1 &&
                k->dims[0] * k->dims[1] >= CHANNELS_MIN;
    for (int i = 0; i < w->rank; i++)
        pays = pays && w->kernel[i] == 3 && w->stride[i] == 1 && w->dilation[i] == 1;
    return pays;
}

enum err lower_conv(struct lowering *l, const struct node *n, struct error *error)
{
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    struct engine_shape weights =
        weights_shape(&node_input(l->graph, n, 1)->shape, n->params.window.groups);
    dnnl_memory_desc_t from;
    dnnl_primitive_desc_t pd = NULL;
    TRY(md_plain(&weights, &from, error));
    enum err err = ERR_UNSUPPORTED;
    if (winograd_pays(l, n))
        err = describe_conv(l, n, dnnl_convolution_winograd, true, &weights, &pd, error);
    if (err == ERR_UNSUPPORTED)
        err = describe_conv(l, n, direct, true, &weights, &pd, error);
    if (err == OK && is_reference(pd)) {
        dnnl_primitive_desc_destroy(pd);
        err = ERR_UNSUPPORTED;
    }
    if (err == ERR_UNSUPPORTED)
        err = describe_conv(l, n, direct, false, &weights, &pd, error);
    TRY(err);
    return emit_weighted(l, n, pd, &from, error);
}

enum err lower_gemm(struct lowering *l, const struct node *n, struct error *error)
{
    const struct tensor *b = graph_constant(l->graph, n, 1), *c = graph_constant(l->graph, n, 2);
    const struct engine_shape *x = &node_input(l->graph, n, 0)->shape;
    const struct engine_shape *y = &node_output(l->graph, n)->shape;
    int64_t columns = y->dims[y->rank - 1], inner = x->dims[x->rank - 1];
    bool bias = n->input_count > 2 && n->inputs[2] >= 0;
    if (b == NULL || n->params.gemm.transpose_a || n->params.gemm.alpha != 1 ||
        n->params.gemm.beta != 1 ||
        (bias && (c == NULL || c->shape.rank != 1 || c->shape.dims[0] != columns)))
        return fail(error, ERR_UNSUPPORTED, 0, "an unusual Gemm");
    int64_t rows = shape_count(y) / columns; // all axes but the last
    struct engine_shape x_rows = {2, {rows, inner}}, y_rows = {2, {rows, columns}};
    dnnl_dims_t dims = {columns, inner}, strides = {inner, 1};
    dnnl_memory_desc_t src, weights, from, bias_md, dst;
    if (!n->params.gemm.transpose_b) {
        strides[0] = 1;
        strides[1] = columns;
    }
    struct engine_shape flat = {1, {columns}};
    TRY(md_plain(&x_rows, &src, error));
    DNNL_TRY(dnnl_memory_desc_init_by_strides(&from, 2, dims, dnnl_f32, strides));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&weights, 2, dims, dnnl_f32, dnnl_format_tag_any));
    TRY(md_plain(&flat, &bias_md, error));
    TRY(md_plain(&y_rows, &dst, error));
    dnnl_inner_product_desc_t desc;
    DNNL_TRY(dnnl_inner_product_forward_desc_init(&desc, dnnl_forward_inference, &src, &weights,
                                                  bias ? &bias_md : NULL, &dst));
    dnnl_primitive_desc_t pd;
    TRY(describe(l, n, &desc, &pd, error));
    TRY(emit_weighted(l, n, pd, &from, error));
    return md_plain(y, &l->layouts[n->outputs[0]].md, error);
}

// Value v is x seen in v's own shape. A blocked layout may pass as it is; else row-major does.
static enum err view_as(struct lowering *l, struct operand *x, int v, struct error *error)
{
    const struct engine_shape *s = &l->graph->values[v].t.shape;
    dnnl_dims_t dims = {1};
    dnnl_memory_desc_t md;
    int rank = s->rank > 0 ? s->rank : 1;
    for (int i = 0; i < s->rank; i++)
        dims[i] = s->dims[i];
    if (dnnl_memory_desc_reshape(&md, &x->md, rank, dims) != dnnl_success) {
        struct engine_shape old = {.rank = x->md.ndims};
        for (int i = 0; i < old.rank; i++)
            old.dims[i] = x->md.dims[i];
        TRY(md_plain(&old, &md, error));
        TRY(emit_copy(l, x, &md, x, error));
        TRY(md_plain(s, &md, error));
    }
    value_is(l, v, x, &md);
    return OK;
}

enum err emit_single(struct lowering *l, const struct node *n, dnnl_primitive_desc_t pd,
                     const struct operand *src, bool in_place, struct error *error)
{
    struct operand x[2] = {*src};
    enum err err = operand_result(l, n, src, in_place, query(pd, dnnl_query_dst_md), &x[1], error);
    return emit_if(err, l, n, pd, x, 2, error);
}

enum err emit_simple(struct lowering *l, const struct node *n, const_dnnl_op_desc_t desc,
                     const struct operand *src, bool in_place, struct error *error)
{
    dnnl_primitive_desc_t pd;
    TRY(describe(l, n, desc, &pd, error));
    return emit_single(l, n, pd, src, in_place, error);
}

enum err lower_pool(struct lowering *l, const struct node *n, struct error *error)
{
    const struct window *w = &n->params.window;
    const struct engine_shape *x = &node_input(l->graph, n, 0)->shape;
    const struct engine_shape *y = &node_output(l->graph, n)->shape;
    struct window_dims d = window_dims(w, x, y);
    struct operand src;
    dnnl_memory_desc_t dst;
    for (int i = 0; i < w->rank; i++)
        if (w->count_pads && d.after[i] > w->after[i])
            return fail(error, ERR_UNSUPPORTED, 0, "counts padding beyond its own");
    dnnl_alg_kind_t kind = n->op->kind == OP_MAX_POOL ? dnnl_pooling_max
                           : w->count_pads            ? dnnl_pooling_avg_include_padding
                                                      : dnnl_pooling_avg_exclude_padding;
    TRY(operand_of(l, n->inputs[0], DNNL_ARG_SRC, NULL, &src, error));
    TRY(md_any(y, &dst, error));
    dnnl_pooling_v2_desc_t desc;
    DNNL_TRY(dnnl_pooling_v2_forward_desc_init(&desc, dnnl_forward_inference, kind, &src.md, &dst,
                                               d.stride, d.kernel, d.dilation, d.before, d.after));
    return emit_simple(l, n, &desc, &src, false, error);
}

// The mean over all axes behind the channels: a pool whose result loses (or keeps) axes of 1.
static enum err lower_spatial_mean(struct lowering *l, const struct node *n, struct error *error)
{
    const struct engine_shape *x = &node_input(l->graph, n, 0)->shape;
    struct engine_shape y = *x;
    dnnl_dims_t ones = {0}, zeros = {0}, kernel = {0};
    for (int i = 2; i < x->rank; i++) {
        kernel[i - 2] = x->dims[i];
        ones[i - 2] = y.dims[i] = 1;
    }
    struct operand src, pooled;
    dnnl_memory_desc_t dst;
    TRY(operand_of(l, n->inputs[0], DNNL_ARG_SRC, NULL, &src, error));
    TRY(md_any(&y, &dst, error));
    dnnl_pooling_v2_desc_t desc;
    DNNL_TRY(dnnl_pooling_v2_forward_desc_init(&desc, dnnl_forward_inference,
                                               dnnl_pooling_avg_exclude_padding, &src.md, &dst,
                                               ones, kernel, zeros, zeros, zeros));
    TRY(emit_simple(l, n, &desc, &src, false, error));
    TRY(operand_of(l, n->outputs[0], 0, NULL, &pooled, error));
    return view_as(l, &pooled, n->outputs[0], error);
}

enum err lower_reduce(struct lowering *l, const struct node *n, struct error *error)
{
    static const dnnl_alg_kind_t kinds[] = {
        [REDUCE_MEAN] = dnnl_reduction_mean,      [REDUCE_SUM] = dnnl_reduction_sum,
        [REDUCE_MAX] = dnnl_reduction_max,        [REDUCE_MIN] = dnnl_reduction_min,
        [REDUCE_PROD] = dnnl_reduction_mul,       [REDUCE_L1] = dnnl_reduction_norm_lp_power_p_sum,
        [REDUCE_L2] = dnnl_reduction_norm_lp_sum,
    };
    const struct engine_shape *x = &node_input(l->graph, n, 0)->shape;
    struct engine_shape kept = *x;
    enum reduce kind = n->params.reduce.kind;
    bool spatial = kind == REDUCE_MEAN && x->rank >= 3 && x->rank <= 2 + SPATIAL_MAX;
    for (int i = 0; i < x->rank; i++) {
        spatial = spatial && n->params.reduce.axes[i] == (i >= 2);
        kept.dims[i] = n->params.reduce.axes[i] ? 1 : x->dims[i];
    }
    if (spatial)
        return lower_spatial_mean(l, n, error);
    if (x->rank == 0 || shape_equal(x, &kept))
        return fail(error, ERR_UNSUPPORTED, 0, "reduces nothing");
    struct operand src, reduced;
    dnnl_memory_desc_t dst;
    dnnl_reduction_desc_t desc;
    TRY(operand_plain(l, n->inputs[0], DNNL_ARG_SRC, &src, error));
    TRY(md_plain(&kept, &dst, error));
    DNNL_TRY(dnnl_reduction_desc_init(&desc, kinds[kind], &src.md, &dst,
                                      kind == REDUCE_L2 ? 2.0f : 1.0f, 0));
    TRY(emit_simple(l, n, &desc, &src, false, error));
    TRY(operand_of(l, n->outputs[0], 0, NULL, &reduced, error));
    return view_as(l, &reduced, n->outputs[0], error);
}

enum err lower_batch_norm(struct lowering *l, const struct node *n, struct error *error)
{
    int64_t channels = node_input(l->graph, n, 0)->shape.dims[1];
    struct engine_shape flat = {1, {channels}};
    struct operand x[6];
    dnnl_memory_desc_t md;
    dnnl_batch_normalization_desc_t desc;
    dnnl_primitive_desc_t pd;
    static const int args[] = {DNNL_ARG_SCALE, DNNL_ARG_SHIFT, DNNL_ARG_MEAN, DNNL_ARG_VARIANCE};
    TRY(md_plain(&flat, &md, error));
    TRY(operand_of(l, n->inputs[0], DNNL_ARG_SRC, NULL, &x[0], error));
    DNNL_TRY(dnnl_batch_normalization_forward_desc_init(
        &desc, dnnl_forward_inference, &x[0].md, n->params.epsilon,
        (unsigned)dnnl_use_global_stats | (unsigned)dnnl_use_scale | (unsigned)dnnl_use_shift));
    TRY(describe(l, n, &desc, &pd, error));
    enum err err = OK;
    for (int i = 0; i < 4 && err == OK; i++)
        err = operand_weight(l, constant_data(l, n, 1 + i), &md, &md, args[i], &x[1 + i], error);
    if (err == OK)
        err = operand_result(l, n, &x[0], true, &x[0].md, &x[5], error);
    return emit_if(err, l, n, pd, x, 6, error);
}

enum err with_rank(const struct operand *x, int rank, dnnl_memory_desc_t *out, struct error *error)
{
    dnnl_dims_t dims;
    int missing = rank - x->md.ndims;
    for (int i = 0; i < rank; i++)
        dims[i] = i < missing ? 1 : x->md.dims[i - missing];
    DNNL_TRY(dnnl_memory_desc_reshape(out, &x->md, rank, dims));
    return OK;
}

// Value v, broadcast to x: in x's layout if it has the axes that x keeps in blocks, else row-major.
// Also where these have a size of 1: oneDNN 2.6 broadcasts wrongly in blocks of one and padding.
static enum err operand_broadcast(struct lowering *l, int v, const struct operand *x, int arg,
                                  struct operand *out, struct error *error)
{
    const struct value *value = &l->graph->values[v];
    const dnnl_blocking_desc_t *blocks = &x->md.format_desc.blocking;
    int missing = x->md.ndims - value->t.shape.rank;
    dnnl_dims_t dims;
    dnnl_memory_desc_t plain, md;
    bool whole = true, same_blocks = true;
    struct engine_shape s = {.rank = x->md.ndims};
    for (int i = 0; i < s.rank; i++) {
        s.dims[i] = dims[i] = i < missing ? 1 : value->t.shape.dims[i - missing];
        whole = whole && dims[i] == x->md.dims[i];
    }
    for (int i = 0; i < blocks->inner_nblks; i++) {
        int64_t axis = blocks->inner_idxs[i];
        same_blocks = same_blocks && dims[axis] == x->md.dims[axis] && (whole || dims[axis] > 1);
    }
    TRY(md_plain(&s, &plain, error));
    md = same_blocks ? md_like(&x->md, dims) : plain;
    if (value->t.data != NULL)
        return operand_weight(l, value->t.data, &plain, &md, arg, out, error);
    if (missing == 0)
        return operand_of(l, v, arg, &md, out, error);
    TRY(operand_plain(l, v, arg, out, error));
    TRY(with_rank(out, x->md.ndims, &out->md, error));
    if (!dnnl_memory_desc_equal(&out->md, &md))
        TRY(emit_copy(l, out, &md, out, error));
    out->arg = arg;
    return OK;
}

enum err lower_binary(struct lowering *l, const struct node *n, struct error *error)
{
    static const dnnl_alg_kind_t kinds[] = {
        [BINARY_ADD] = dnnl_binary_add, [BINARY_SUB] = dnnl_binary_sub,
        [BINARY_MUL] = dnnl_binary_mul, [BINARY_DIV] = dnnl_binary_div,
        [BINARY_MAX] = dnnl_binary_max, [BINARY_MIN] = dnnl_binary_min};
    const struct graph *g = l->graph;
    const struct engine_shape *y = &node_output(g, n)->shape;
    if (n->params.binary > BINARY_MIN)
        return fail(error, ERR_UNSUPPORTED, 0, "an operation that oneDNN lacks");
    bool commutes = n->params.binary != BINARY_SUB && n->params.binary != BINARY_DIV;
    bool full[2] = {shape_equal(&node_input(g, n, 0)->shape, y),
                    shape_equal(&node_input(g, n, 1)->shape, y)};
    // the first source has the shape of the result and is not a constant where there is a choice
    bool swap = commutes && full[1] && (!full[0] || graph_constant(g, n, 0) != NULL);
    if ((!full[0] && !swap) || y->rank == 0 || node_output(g, n)->dtype != DTYPE_F32)
        return fail(error, ERR_UNSUPPORTED, 0, "a broadcast that oneDNN lacks");
    struct operand x[3];
    dnnl_binary_desc_t desc;
    dnnl_primitive_desc_t pd;
    TRY(operand_of(l, n->inputs[swap ? 1 : 0], DNNL_ARG_SRC_0, NULL, &x[0], error));
    TRY(operand_broadcast(l, n->inputs[swap ? 0 : 1], &x[0], DNNL_ARG_SRC_1, &x[1], error));
    DNNL_TRY(dnnl_binary_desc_init(&desc, kinds[n->params.binary], &x[0].md, &x[1].md, &x[0].md));
    TRY(describe(l, n, &desc, &pd, error));
    enum err err = operand_result(l, n, &x[0], !same_place(&x[0], &x[1]), &x[0].md, &x[2], error);
    return emit_if(err, l, n, pd, x, 3, error);
}

// x: room for all inputs and the result; mds: for all inputs.
static enum err emit_concat(struct lowering *l, const struct node *n, struct operand *x,
                            dnnl_memory_desc_t *mds, struct error *error)
{
    int count = n->input_count;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    for (int k = 0; k < count; k++) {
        const struct layout *lies = &l->layouts[n->inputs[k]]; // pieces are read where they are
        dnnl_memory_desc_t md = lies->md;
        TRY(operand_of(l, n->inputs[k], DNNL_ARG_MULTIPLE_SRC + k, lies->view ? &md : NULL, &x[k],
                       error));
        mds[k] = x[k].md;
    }
    TRY(attributes(n, &attr, error));
    dnnl_status_t status = dnnl_concat_primitive_desc_create(&pd, NULL, count, n->params.axis.begin,
                                                             mds, attr, l->program->engine);
    dnnl_primitive_attr_destroy(attr);
    DNNL_TRY(status);
    enum err err =
        operand_new(l, n->outputs[0], DNNL_ARG_DST, query(pd, dnnl_query_dst_md), &x[count], error);
    return emit_if(err, l, n, pd, x, count + 1, error);
}

enum err lower_concat(struct lowering *l, const struct node *n, struct error *error)
{
    struct operand *x = calloc((size_t)n->input_count + 1, sizeof *x);
    dnnl_memory_desc_t *mds = calloc((size_t)n->input_count, sizeof *mds);
    enum err err = ERR_NOMEM;
    if (x != NULL && mds != NULL)
        err = emit_concat(l, n, x, mds, error);
    else
        fail(error, ERR_NOMEM, 0, "no memory to prepare the model");
    free(x);
    free(mds);
    return err;
}

enum err lower_softmax(struct lowering *l, const struct node *n, struct error *error)
{
    const struct engine_shape *s = &node_output(l->graph, n)->shape;
    dnnl_dims_t dims = {1, 1, 1}; // before, along and behind the axis
    for (int i = 0; i < s->rank; i++)
        dims[i < n->params.axis.begin ? 0 : i < n->params.axis.end ? 1 : 2] *= s->dims[i];
    struct operand src, result;
    dnnl_memory_desc_t md;
    dnnl_softmax_v2_desc_t desc;
    TRY(operand_plain(l, n->inputs[0], DNNL_ARG_SRC, &src, error));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&md, 3, dims, dnnl_f32, dnnl_abc));
    src.md = md;
    DNNL_TRY(dnnl_softmax_v2_forward_desc_init(
        &desc, dnnl_forward_inference,
        n->op->name[0] == 'L' ? dnnl_softmax_log : dnnl_softmax_accurate, &md, &md, 1));
    TRY(emit_simple(l, n, &desc, &src, true, error));
    TRY(operand_of(l, n->outputs[0], 0, NULL, &result, error));
    return view_as(l, &result, n->outputs[0], error);
}

enum err lower_reshape(struct lowering *l, const struct node *n, struct error *error)
{
    struct operand x;
    TRY(operand_of(l, n->inputs[0], 0, NULL, &x, error));
    return view_as(l, &x, n->outputs[0], error);
}

// No data move: the axes' strides do. Who needs another layout reorders.
enum err lower_transpose(struct lowering *l, const struct node *n, struct error *error)
{
    struct operand x;
    dnnl_memory_desc_t md;
    int inverse[DNNL_MAX_NDIMS];
    TRY(operand_of(l, n->inputs[0], 0, NULL, &x, error));
    for (int i = 0; i < x.md.ndims; i++)
        inverse[n->params.permutation[i]] = i;
    DNNL_TRY(dnnl_memory_desc_permute_axes(&md, &x.md, inverse));
    value_is(l, n->outputs[0], &x, &md);
    return OK;
}
