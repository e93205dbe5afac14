// Operands: where values lie, and how a step gets one in the layout and type that it wants. The
// steps that only move or convert data are made here too.
#include "base/check.h"
#include "engine/kernels_program.h"

#include <stdlib.h>
#include <string.h>

enum err dnnl_fail(dnnl_status_t status, const char *what, struct error *error)
{
    enum err code = status == dnnl_unimplemented   ? ERR_UNSUPPORTED
                    : status == dnnl_out_of_memory ? ERR_NOMEM
                                                   : ERR_INTERNAL;
    return fail(error, code, 0, "oneDNN status %d from %.100s", (int)status, what);
}

enum err no_memory(struct error *error)
{
    return fail(error, ERR_NOMEM, 0, "no memory to prepare the model");
}

// Makes room for one more entry of `size` bytes.
bool grow(void *array, size_t count, size_t *cap, size_t size)
{
    void **p = array;
    if (count < *cap)
        return true;
    size_t more = *cap == 0 ? 64 : 2 * *cap;
    void *bigger = realloc(*p, more * size);
    if (bigger == NULL)
        return false;
    *p = bigger;
    *cap = more;
    return true;
}
enum err md_plain(const struct engine_shape *s, dnnl_memory_desc_t *out, struct error *error)
{
    dnnl_dims_t dims = {1}, strides;
    int rank = s->rank > 0 ? s->rank : 1;
    int64_t step = 1;
    for (int i = 0; i < s->rank; i++)
        dims[i] = s->dims[i];
    for (int i = rank - 1; i >= 0; i--) {
        strides[i] = step;
        step *= dims[i];
    }
    DNNL_TRY(dnnl_memory_desc_init_by_strides(out, rank, dims, dnnl_f32, strides));
    return OK;
}

static enum err buffer_new(struct lowering *l, size_t bytes, int *out, struct error *error)
{
    struct program *p = l->program;
    size_t cap = p->buffer_cap;
    if (!grow(&p->buffers, p->buffer_count, &p->buffer_cap, sizeof *p->buffers))
        return no_memory(error);
    if (cap != p->buffer_cap || l->buffer_until == NULL) {
        int *until = realloc(l->buffer_until, p->buffer_cap * sizeof *until);
        if (until == NULL)
            return no_memory(error);
        l->buffer_until = until;
    }
    int step = (int)p->step_count;
    *out = (int)p->buffer_count++;
    p->buffers[*out] = (struct plan_buffer){.bytes = bytes, .first = step, .last = step};
    l->buffer_until[*out] = -1;
    return OK;
}

void buffer_used(struct lowering *l, const struct place *place)
{
    if (place->where == IN_ARENA)
        l->program->buffers[place->buffer].last = (int)l->program->step_count;
}

void value_is(struct lowering *l, int v, const struct operand *x, const dnnl_memory_desc_t *md)
{
    l->layouts[v] = (struct layout){*md, x->place, false};
    if (x->place.where == IN_ARENA && l->buffer_until[x->place.buffer] < l->last_reader[v])
        l->buffer_until[x->place.buffer] = l->last_reader[v];
}

bool may_overwrite(const struct lowering *l, const struct operand *x)
{
    return x->place.where == IN_ARENA && l->buffer_until[x->place.buffer] <= l->node;
}

enum err operand_new(struct lowering *l, int v, int arg, const dnnl_memory_desc_t *md,
                     struct operand *out, struct error *error)
{
    int buffer;
    TRY(buffer_new(l, dnnl_memory_desc_get_size(md), &buffer, error));
    *out = (struct operand){arg, {IN_ARENA, buffer, 0}, *md, NULL};
    if (v >= 0)
        value_is(l, v, out, md);
    return OK;
}

enum err operand_result(struct lowering *l, const struct node *n, const struct operand *x,
                        bool in_place, const dnnl_memory_desc_t *md, struct operand *out,
                        struct error *error)
{
    if (!in_place || !may_overwrite(l, x) || !dnnl_memory_desc_equal(md, &x->md))
        return operand_new(l, n->outputs[0], DNNL_ARG_DST, md, out, error);
    *out = *x;
    out->arg = DNNL_ARG_DST;
    value_is(l, n->outputs[0], out, md);
    return OK;
}

enum err operand_weight(struct lowering *l, const void *data, const dnnl_memory_desc_t *from,
                        const dnnl_memory_desc_t *to, int arg, struct operand *out,
                        struct error *error)
{
    if (!grow(&l->weights, l->weight_count, &l->weight_cap, sizeof *l->weights))
        return no_memory(error);
    size_t offset = l->program->weight_bytes;
    l->weights[l->weight_count++] = (struct weight){data, *from, *to, offset};
    l->program->weight_bytes +=
        (dnnl_memory_desc_get_size(to) + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
    *out = (struct operand){arg, {IN_WEIGHTS, -1, offset}, *to, NULL};
    return OK;
}

static enum err emit(struct lowering *l, const struct node *n, dnnl_primitive_desc_t pd,
                     const struct operand *operands, int count, struct error *error)
{
    struct program *p = l->program;
    struct operand scratch = {.arg = DNNL_ARG_SCRATCHPAD};
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    size_t scratch_bytes = md != NULL ? dnnl_memory_desc_get_size(md) : 0;
    enum err err = OK;
    if (scratch_bytes > 0)
        err = operand_new(l, -1, DNNL_ARG_SCRATCHPAD, md, &scratch, error);
    struct step s = {.name = pool_copy(&p->pool, n != NULL ? n->name : ""),
                     .op = n != NULL ? n->op->name : "reorder"};
    const char *kernel = NULL;
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&kernel);
    s.kernel = pool_copy(&p->pool, kernel);
    s.operands = pool_calloc(&p->pool, (size_t)count + 1, sizeof *s.operands);
    if (err == OK && (s.name == NULL || s.kernel == NULL || s.operands == NULL ||
                      !grow(&p->steps, p->step_count, &p->step_cap, sizeof *p->steps)))
        err = no_memory(error);
    dnnl_status_t status = dnnl_success;
    if (err == OK)
        status = dnnl_primitive_create(&s.primitive, pd);
    dnnl_primitive_desc_destroy(pd);
    TRY(err);
    if (status != dnnl_success)
        return dnnl_fail(status, "dnnl_primitive_create", error);
    if (n != NULL) {
        s.shape = node_output(l->graph, n)->shape;
        s.flop = graph_node_flop(l->graph, n);
    } else {
        s.shape.rank = operands[count - 1].md.ndims < ENGINE_RANK_MAX ? operands[count - 1].md.ndims
                                                                      : ENGINE_RANK_MAX;
        for (int i = 0; i < s.shape.rank; i++)
            s.shape.dims[i] = operands[count - 1].md.dims[i];
    }
    memcpy(s.operands, operands, (size_t)count * sizeof *operands);
    s.operand_count = count;
    if (scratch_bytes > 0)
        s.operands[s.operand_count++] = scratch;
    for (int i = 0; i < s.operand_count; i++)
        buffer_used(l, &s.operands[i].place);
    p->steps[p->step_count++] = s;
    return OK;
}

enum err emit_if(enum err so_far, struct lowering *l, const struct node *n,
                 dnnl_primitive_desc_t pd, const struct operand *operands, int count,
                 struct error *error)
{
    if (so_far == OK)
        return emit(l, n, pd, operands, count, error);
    dnnl_primitive_desc_destroy(pd);
    return so_far;
}

enum err describe_reorder(dnnl_engine_t engine, const dnnl_memory_desc_t *from,
                          const dnnl_memory_desc_t *to, struct quant q, dnnl_primitive_desc_t *out,
                          struct error *error)
{
    dnnl_primitive_attr_t attr;
    bool rounds = to->data_type == dnnl_u8;
    float scale = rounds ? 1 / q.scale : q.scale;
    DNNL_TRY(dnnl_primitive_attr_create(&attr));
    dnnl_status_t status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && from->data_type != to->data_type) {
        status = dnnl_primitive_attr_set_output_scales(attr, 1, 0, &scale);
        if (status == dnnl_success && q.zero != 0)
            status = dnnl_primitive_attr_set_zero_points(attr, rounds ? DNNL_ARG_DST : DNNL_ARG_SRC,
                                                         1, 0, &q.zero);
    }
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(out, from, engine, to, engine, attr);
    dnnl_primitive_attr_destroy(attr);
    DNNL_TRY(status);
    return OK;
}

// Copies x into a new buffer with layout md; q says how bytes stand for floats where the type
// changes.
static enum err emit_reorder(struct lowering *l, const struct operand *x,
                             const dnnl_memory_desc_t *md, struct quant q, struct operand *out,
                             struct error *error)
{
    dnnl_primitive_desc_t pd = NULL;
    TRY(describe_reorder(l->program->engine, &x->md, md, q, &pd, error));
    struct operand both[2] = {*x};
    both[0].arg = DNNL_ARG_FROM;
    enum err err = operand_new(l, -1, DNNL_ARG_TO, md, &both[1], error);
    if (err != OK) {
        dnnl_primitive_desc_destroy(pd);
        return err;
    }
    *out = both[1];
    return emit(l, NULL, pd, both, 2, error);
}

static bool transposes(const dnnl_memory_desc_t *a, const dnnl_memory_desc_t *b)
{
    const dnnl_blocking_desc_t *x = &a->format_desc.blocking, *y = &b->format_desc.blocking;
    return x->inner_nblks == 0 && y->inner_nblks == 0 &&
           memcmp(x->strides, y->strides, (size_t)a->ndims * sizeof *x->strides) != 0;
}

// The same. oneDNN 2.6 forgets the zero where it also transposes, as from nchw to nhwc with 64
// pixels: then bytes are moved by a step of their own.
static enum err emit_convert(struct lowering *l, const struct operand *x,
                             const dnnl_memory_desc_t *md, struct quant q, struct operand *out,
                             struct error *error)
{
    if (x->md.data_type == md->data_type || q.zero == 0 || !transposes(&x->md, md))
        return emit_reorder(l, x, md, q, out, error);
    bool rounds = md->data_type == dnnl_u8;
    dnnl_memory_desc_t bytes = rounds ? md_like(&x->md, x->md.dims) : *md;
    struct operand moved;
    bytes.data_type = dnnl_u8;
    TRY(emit_reorder(l, x, &bytes, q, &moved, error));
    return emit_reorder(l, &moved, md, q, out, error);
}

enum err emit_copy(struct lowering *l, const struct operand *x, const dnnl_memory_desc_t *md,
                   struct operand *out, struct error *error)
{
    CHECK(x->md.data_type == md->data_type);
    return emit_convert(l, x, md, (struct quant){1, 0}, out, error);
}

// A constant that is not a weight of its reader: packed as it is.
static enum err place_constant(struct lowering *l, int v, struct error *error)
{
    const struct value *value = &l->graph->values[v];
    dnnl_memory_desc_t md;
    struct operand x;
    if (value->t.dtype != DTYPE_F32)
        return fail(error, ERR_UNSUPPORTED, 0, "integers '%.60s' are read while computing",
                    value->name);
    TRY(md_plain(&value->t.shape, &md, error));
    TRY(operand_weight(l, value->t.data, &md, &md, 0, &x, error));
    l->layouts[v] = (struct layout){md, x.place, false};
    return OK;
}

dnnl_memory_desc_t md_like(const dnnl_memory_desc_t *other, const dnnl_dims_t dims)
{
    dnnl_memory_desc_t md = *other;
    dnnl_blocking_desc_t *b = &md.format_desc.blocking;
    int order[DNNL_MAX_NDIMS] = {0};
    int64_t step = 1, block[DNNL_MAX_NDIMS];
    for (int i = 0; i < DNNL_MAX_NDIMS; i++)
        block[i] = 1;
    for (int i = 0; i < md.ndims; i++) {
        int k = i; // by stride, the smallest first; of equal ones the last axis
        for (; k > 0 && b->strides[order[k - 1]] >= b->strides[i]; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    for (int i = 0; i < b->inner_nblks; i++) {
        block[b->inner_idxs[i]] *= b->inner_blks[i];
        step *= b->inner_blks[i];
    }
    for (int i = 0; i < md.ndims; i++) {
        md.dims[i] = dims[i];
        md.padded_dims[i] = (dims[i] + block[i] - 1) / block[i] * block[i];
    }
    for (int i = 0; i < md.ndims; i++) {
        b->strides[order[i]] = step;
        step *= md.padded_dims[order[i]] / block[order[i]];
    }
    md.offset0 = 0;
    return md;
}

// Value v as type, as it lies but without gaps (want NULL), or as *want.
static enum err operand_typed(struct lowering *l, int v, int arg, const dnnl_memory_desc_t *want,
                              dnnl_data_type_t type, struct operand *out, struct error *error)
{
    struct layout *layout = &l->layouts[v], *copy = &l->copies[v];
    dnnl_memory_desc_t converted;
    if (layout->place.where == NOWHERE && l->graph->values[v].t.data != NULL)
        TRY(place_constant(l, v, error));
    CHECK(layout->place.where != NOWHERE);
    *out = (struct operand){arg, layout->place, layout->md, NULL};
    if (want == NULL ? layout->md.data_type == type && !layout->view
                     : dnnl_memory_desc_equal(&layout->md, want)) {
        if (want != NULL) // equal but for steps along axes of size 1, which some kernels compare
            out->md = *want;
        return OK;
    }
    if (copy->place.where != NOWHERE &&
        (want == NULL ? copy->md.data_type == type : dnnl_memory_desc_equal(&copy->md, want))) {
        *out = (struct operand){arg, copy->place, copy->md, NULL};
        return OK;
    }
    if (want == NULL) {
        converted = md_like(&layout->md, layout->md.dims);
        converted.data_type = type;
        want = &converted;
    }
    TRY(emit_convert(l, out, want, l->graph->values[v].quant, out, error));
    out->arg = arg;
    *copy = (struct layout){*want, out->place, false};
    l->buffer_until[out->place.buffer] = l->last_reader[v];
    return OK;
}

enum err operand_of(struct lowering *l, int v, int arg, const dnnl_memory_desc_t *want,
                    struct operand *out, struct error *error)
{
    return operand_typed(l, v, arg, want, dnnl_f32, out, error);
}

enum err operand_bytes(struct lowering *l, int v, int arg, const dnnl_memory_desc_t *want,
                       struct operand *out, struct error *error)
{
    CHECK(l->graph->values[v].quant.scale > 0);
    return operand_typed(l, v, arg, want, dnnl_u8, out, error);
}

enum err operand_plain(struct lowering *l, int v, int arg, struct operand *out, struct error *error)
{
    dnnl_memory_desc_t md;
    TRY(md_plain(&l->graph->values[v].t.shape, &md, error));
    return operand_of(l, v, arg, &md, out, error);
}

enum err operand_as(struct lowering *l, int v, int arg, const dnnl_memory_desc_t *want,
                    struct operand *out, struct error *error)
{
    int rank = l->graph->values[v].t.shape.rank;
    if (want->ndims == (rank > 0 ? rank : 1))
        return operand_of(l, v, arg, want, out, error);
    TRY(operand_plain(l, v, arg, out, error));
    out->md = *want;
    return OK;
}
