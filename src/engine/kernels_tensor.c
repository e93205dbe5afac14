// What more operators become in oneDNN: matrices, pieces of tensors, normalizations, resizing.
#include "engine/kernels_program.h"

// A result of its own, row-major unless md says otherwise; then the primitive. x: count operands
// so far and room for one more. Takes over pd.
static enum err emit_new(struct lowering *l, const struct node *n, dnnl_primitive_desc_t pd,
                         const dnnl_memory_desc_t *md, struct operand *x, int count,
                         struct error *error)
{
    enum err err = operand_new(l, n->outputs[0], DNNL_ARG_DST, md, &x[count], error);
    return emit_if(err, l, n, pd, x, count + 1, error);
}

static enum err describe_matmul(struct lowering *l, const struct node *n, bool plain,
                                struct operand x[2], const dnnl_memory_desc_t *dst,
                                dnnl_primitive_desc_t *pd, struct error *error)
{
    dnnl_matmul_desc_t desc;
    int rank = node_output(l->graph, n)->shape.rank;
    for (int k = 0; k < 2; k++) {
        int arg = k == 0 ? DNNL_ARG_SRC : DNNL_ARG_WEIGHTS;
        TRY(plain ? operand_plain(l, n->inputs[k], arg, &x[k], error)
                  : operand_of(l, n->inputs[k], arg, NULL, &x[k], error));
        TRY(with_rank(&x[k], rank, &x[k].md, error));
    }
    DNNL_TRY(dnnl_matmul_desc_init(&desc, &x[0].md, &x[1].md, NULL, dst));
    return describe(l, n, &desc, pd, error);
}

// As the matrices lie (often transposed, or heads apart) if oneDNN is quick with that.
enum err lower_matmul(struct lowering *l, const struct node *n, struct error *error)
{
    struct operand x[3] = {0};
    dnnl_memory_desc_t dst;
    dnnl_primitive_desc_t pd = NULL;
    TRY(md_plain(&node_output(l->graph, n)->shape, &dst, error));
    enum err err = describe_matmul(l, n, false, x, &dst, &pd, error);
    if (err == OK && is_reference(pd)) {
        dnnl_primitive_desc_destroy(pd);
        err = ERR_UNSUPPORTED;
    }
    if (err != OK)
        TRY(describe_matmul(l, n, true, x, &dst, &pd, error));
    return emit_new(l, n, pd, &dst, x, 2, error);
}

// The piece of x that n takes: offset and, where elements are skipped, longer strides.
static enum err piece_of(const struct node *n, const struct operand *x,
                         const struct engine_shape *y, dnnl_memory_desc_t *out, struct error *error)
{
    dnnl_dims_t dims = {0}, offsets = {0};
    bool skips = false;
    for (int i = 0; i < y->rank; i++) {
        int64_t step = n->params.slice.step[i];
        if (step < 1)
            return fail(error, ERR_UNSUPPORTED, 0, "backwards");
        skips = skips || step > 1;
        dims[i] = (y->dims[i] - 1) * step + 1;
        offsets[i] = n->params.slice.start[i];
    }
    if (skips && x->md.format_desc.blocking.inner_nblks > 0)
        return fail(error, ERR_UNSUPPORTED, 0, "skips inside of blocks");
    DNNL_TRY(dnnl_memory_desc_init_submemory(out, &x->md, dims, offsets));
    for (int i = 0; i < y->rank && skips; i++) {
        out->dims[i] = out->padded_dims[i] = y->dims[i];
        out->format_desc.blocking.strides[i] *= n->params.slice.step[i];
    }
    return OK;
}

// Slice, Split: no data move; who reads the piece copies it if need be.
enum err lower_slice(struct lowering *l, const struct node *n, struct error *error)
{
    const struct engine_shape *y = &node_output(l->graph, n)->shape;
    struct operand x;
    dnnl_memory_desc_t md;
    if (y->rank == 0 || node_output(l->graph, n)->dtype != DTYPE_F32)
        return fail(error, ERR_UNSUPPORTED, 0, "a slice of a scalar");
    TRY(operand_of(l, n->inputs[0], 0, NULL, &x, error));
    if (piece_of(n, &x, y, &md, error) != OK) {
        TRY(operand_plain(l, n->inputs[0], 0, &x, error));
        TRY(piece_of(n, &x, y, &md, error));
    }
    value_is(l, n->outputs[0], &x, &md);
    l->layouts[n->outputs[0]].view = true;
    return OK;
}

// Gather of one place is a slice without the axis.
enum err lower_gather(struct lowering *l, const struct node *n, struct error *error)
{
    const struct tensor *index = graph_constant(l->graph, n, 1);
    const struct engine_shape *s = &node_input(l->graph, n, 0)->shape;
    const struct engine_shape *y = &node_output(l->graph, n)->shape;
    int axis = n->params.axis.begin, to = 0;
    if (index == NULL || shape_count(&index->shape) != 1 || index->shape.rank > 1 || y->rank == 0)
        return fail(error, ERR_UNSUPPORTED, 0, "several places");
    int64_t at = *(const int64_t *)index->data;
    struct operand x;
    dnnl_memory_desc_t md;
    dnnl_dims_t dims = {0}, strides = {0};
    TRY(operand_plain(l, n->inputs[0], 0, &x, error));
    const int64_t *from = x.md.format_desc.blocking.strides;
    for (int i = 0; i < s->rank; i++)
        if (i != axis || index->shape.rank == 1) {
            dims[to] = i == axis ? 1 : s->dims[i];
            strides[to++] = from[i];
        }
    DNNL_TRY(dnnl_memory_desc_init_by_strides(&md, to, dims, dnnl_f32, strides));
    md.offset0 = (at < 0 ? at + s->dims[axis] : at) * from[axis];
    value_is(l, n->outputs[0], &x, &md);
    l->layouts[n->outputs[0]].view = true;
    return OK;
}

static enum err operand_numbers(struct lowering *l, const struct node *n, int input, int arg,
                                struct operand *out, struct error *error)
{
    const struct tensor *t = graph_constant(l->graph, n, input);
    struct engine_shape flat = {1, {shape_count(&t->shape)}};
    dnnl_memory_desc_t md;
    TRY(md_plain(&flat, &md, error));
    return operand_weight(l, t->data, &md, &md, arg, out, error);
}

enum err lower_layer_norm(struct lowering *l, const struct node *n, struct error *error)
{
    const struct engine_shape *s = &node_output(l->graph, n)->shape;
    bool shift = graph_constant(l->graph, n, 2) != NULL;
    struct engine_shape rows = {2, {1, 1}};
    struct operand x[4];
    dnnl_memory_desc_t md;
    dnnl_layer_normalization_desc_t desc;
    dnnl_primitive_desc_t pd;
    int count = 1;
    for (int i = 0; i < s->rank; i++)
        rows.dims[i < n->params.norm.axis ? 0 : 1] *= s->dims[i];
    TRY(md_plain(&rows, &md, error));
    TRY(operand_plain(l, n->inputs[0], DNNL_ARG_SRC, &x[0], error));
    x[0].md = md;
    DNNL_TRY(dnnl_layer_normalization_forward_desc_init(
        &desc, dnnl_forward_inference, &md, NULL, n->params.norm.epsilon,
        (unsigned)dnnl_use_scale | (shift ? (unsigned)dnnl_use_shift : 0)));
    TRY(operand_numbers(l, n, 1, DNNL_ARG_SCALE, &x[count++], error));
    if (shift)
        TRY(operand_numbers(l, n, 2, DNNL_ARG_SHIFT, &x[count++], error));
    TRY(describe(l, n, &desc, &pd, error));
    TRY(emit_new(l, n, pd, &md, x, count, error));
    return md_plain(s, &l->layouts[n->outputs[0]].md, error);
}

// With one picture it is a batch norm that takes the statistics of what it sees.
enum err lower_instance_norm(struct lowering *l, const struct node *n, struct error *error)
{
    struct operand x[4];
    dnnl_batch_normalization_desc_t desc;
    dnnl_primitive_desc_t pd;
    if (node_output(l->graph, n)->shape.dims[0] != 1)
        return fail(error, ERR_UNSUPPORTED, 0, "a batch");
    TRY(operand_of(l, n->inputs[0], DNNL_ARG_SRC, NULL, &x[0], error));
    DNNL_TRY(dnnl_batch_normalization_forward_desc_init(
        &desc, dnnl_forward_inference, &x[0].md, n->params.norm.epsilon,
        (unsigned)dnnl_use_scale | (unsigned)dnnl_use_shift));
    TRY(operand_numbers(l, n, 1, DNNL_ARG_SCALE, &x[1], error));
    TRY(operand_numbers(l, n, 2, DNNL_ARG_SHIFT, &x[2], error));
    TRY(describe(l, n, &desc, &pd, error));
    return emit_new(l, n, pd, &x[0].md, x, 3, error);
}

enum err lower_lrn(struct lowering *l, const struct node *n, struct error *error)
{
    struct operand src;
    dnnl_lrn_desc_t desc;
    if (n->params.lrn.size % 2 == 0)
        return fail(error, ERR_UNSUPPORTED, 0, "an even window");
    TRY(operand_of(l, n->inputs[0], DNNL_ARG_SRC, NULL, &src, error));
    DNNL_TRY(dnnl_lrn_forward_desc_init(&desc, dnnl_forward_inference, dnnl_lrn_across_channels,
                                        &src.md, n->params.lrn.size, n->params.lrn.alpha,
                                        n->params.lrn.beta, n->params.lrn.bias));
    return emit_simple(l, n, &desc, &src, false, error);
}

// Whether oneDNN's resampling looks at the same places: half pixels; or whole copies, for which it
// does not matter whether they are counted from the middle or the corner.
static bool resamples_alike(const struct node *n, const struct engine_shape *x,
                            const struct engine_shape *y)
{
    enum resize_place place = n->params.resize.place;
    bool half = place == PLACE_HALF_PIXEL || place == PLACE_HALF_PIXEL_PYTORCH;
    bool nearest = n->params.resize.mode == RESIZE_NEAREST;
    bool corner = place == PLACE_ASYMMETRIC && n->params.resize.round == ROUND_FLOOR;
    bool middle =
        half && n->params.resize.round != ROUND_FLOOR && n->params.resize.round != ROUND_CEIL;
    if (n->params.resize.mode == RESIZE_CUBIC || n->params.resize.exclude_outside ||
        (nearest ? !corner && !middle : !half))
        return false;
    for (int i = 0; i < x->rank; i++) {
        float scale = (float)((double)y->dims[i] / (double)x->dims[i]);
        if (n->params.resize.scale[i] != scale || (i < 2 && x->dims[i] != y->dims[i]) ||
            (nearest && y->dims[i] % x->dims[i] != 0) || (y->dims[i] == 1 && x->dims[i] != 1))
            return false;
    }
    return x->rank >= 3 && x->rank <= 2 + SPATIAL_MAX;
}

enum err lower_resize(struct lowering *l, const struct node *n, struct error *error)
{
    const struct engine_shape *y = &node_output(l->graph, n)->shape;
    struct operand src;
    dnnl_memory_desc_t dst;
    dnnl_resampling_desc_t desc;
    if (!resamples_alike(n, &node_input(l->graph, n, 0)->shape, y))
        return fail(error, ERR_UNSUPPORTED, 0, "places that oneDNN does not look at");
    TRY(operand_of(l, n->inputs[0], DNNL_ARG_SRC, NULL, &src, error));
    TRY(md_any(y, &dst, error));
    DNNL_TRY(dnnl_resampling_forward_desc_init(
        &desc, dnnl_forward_inference,
        n->params.resize.mode == RESIZE_NEAREST ? dnnl_resampling_nearest : dnnl_resampling_linear,
        NULL, &src.md, &dst));
    return emit_simple(l, n, &desc, &src, false, error);
}

enum err lower_variadic(struct lowering *l, const struct node *n, struct error *error)
{
    if (n->input_count != 2)
        return fail(error, ERR_UNSUPPORTED, 0, "not two");
    return lower_binary(l, n, error);
}
