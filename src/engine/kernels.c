#include "engine/kernels.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "engine/kernels_program.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

// OpenMP's, in libgomp, which oneDNN brings; clang has no omp.h.
void omp_set_num_threads(int threads);

// Constant integers, such as indices, for a plain kernel.
static void *keep_integers(struct program *p, const struct tensor *t)
{
    size_t bytes = (size_t)shape_count(&t->shape) * sizeof(int64_t);
    void *copy = pool_alloc(&p->pool, bytes);
    if (copy != NULL && bytes > 0)
        memcpy(copy, t->data, bytes);
    return copy;
}

// A step that runs the operator's plain kernel.
static enum err lower_plain(struct lowering *l, const struct node *n, struct error *error)
{
    struct program *p = l->program;
    size_t count = (size_t)n->input_count + 1;
    struct step s = {.name = pool_copy(&p->pool, n->name), .op = n->op->name, .kernel = "plain"};
    s.operands = pool_calloc(&p->pool, count, sizeof *s.operands);
    s.tensors = pool_calloc(&p->pool, count, sizeof *s.tensors);
    s.node = pool_alloc(&p->pool, sizeof *s.node);
    if (s.name == NULL || s.operands == NULL || s.tensors == NULL || s.node == NULL ||
        !grow(&p->steps, p->step_count, &p->step_cap, sizeof *p->steps))
        return no_memory(error);
    if (n->op->plain == NULL || n->sum >= 0 || node_output(l->graph, n)->dtype != DTYPE_F32)
        return node_fail(n, ERR_UNSUPPORTED, error, "computes integers from the picture");
    *s.node = *n;
    s.shape = node_output(l->graph, n)->shape;
    s.flop = graph_node_flop(l->graph, n);
    s.node->name = s.name;
    s.operand_count = (int)count;
    for (int k = 0; k < n->input_count; k++) {
        if (n->inputs[k] < 0)
            continue;
        const struct tensor *t = node_input(l->graph, n, k);
        s.tensors[k] = (struct tensor){.dtype = t->dtype, .shape = t->shape};
        if (t->dtype == DTYPE_F32)
            TRY(operand_plain(l, n->inputs[k], k, &s.operands[k], error));
        else if ((s.tensors[k].data = keep_integers(p, t)) == NULL)
            return no_memory(error);
    }
    dnnl_memory_desc_t md;
    s.tensors[n->input_count].shape = node_output(l->graph, n)->shape;
    TRY(md_plain(&s.tensors[n->input_count].shape, &md, error));
    TRY(operand_new(l, n->outputs[0], -1, &md, &s.operands[n->input_count], error));
    for (int i = 0; i < s.operand_count; i++)
        buffer_used(l, &s.operands[i].place);
    p->steps[p->step_count++] = s;
    return OK;
}

// Value v has been made; where the file rounds it, it is bytes from now on.
static enum err round_result(struct lowering *l, int v, struct error *error)
{
    struct operand x;
    if (!l->graph->values[v].rounded || l->layouts[v].md.data_type != dnnl_f32)
        return OK;
    TRY(operand_bytes(l, v, 0, NULL, &x, error));
    l->copies[v].place.where = NOWHERE; // that was it
    value_is(l, v, &x, &x.md);
    return OK;
}

static enum err lower_node(struct lowering *l, const struct node *n, struct error *error)
{
    struct error why;
    enum err err = ERR_UNSUPPORTED;
    if (shape_count(&node_output(l->graph, n)->shape) <= 0)
        return node_fail(n, ERR_UNSUPPORTED, error, "its result is empty");
    if (n->int8)
        err = lower_int8(l, n, &why);
    bool in_bytes = err == OK;
    if (err == ERR_UNSUPPORTED && n->op->lower != NULL)
        err = n->op->lower(l, n, &why);
    if (err != OK && err != ERR_UNSUPPORTED)
        return node_fail(n, err, error, "%.300s", why.msg);
    if (err == ERR_UNSUPPORTED)
        TRY(lower_plain(l, n, error));
    else if (!in_bytes && activation_apart(&n->activation))
        TRY(emit_activation(l, n, error));
    TRY(round_result(l, n->outputs[0], error));
    if (l->program->step_count > MODEL_STEPS_MAX)
        return fail(error, ERR_LIMIT, 0, "the model needs over %d steps", MODEL_STEPS_MAX);
    return OK;
}

static void note_last_readers(struct lowering *l)
{
    const struct graph *g = l->graph;
    for (int v = 0; v < g->value_count; v++)
        l->last_reader[v] = -1;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        for (int k = 0; k < n->input_count && !n->dead; k++)
            if (n->inputs[k] >= 0)
                l->last_reader[n->inputs[k]] = i;
        if (!n->dead && n->sum >= 0)
            l->last_reader[n->sum] = i;
    }
    l->last_reader[g->output] = INT_MAX;
}

// Blocks of channels as wide as a vector beat oneDNN's own choice (channels last) by 5 to 15 %
// where an image is larger than the cache, and tie elsewhere; but channels are then computed in
// whole blocks. Where that would waste more than it gains, the choice is oneDNN's.
static int choose_channel_block(const struct graph *g)
{
    const double WASTE_MAX = 1.06;
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(), wide = dnnl_cpu_isa_avx512_core;
    int block = (isa & wide) == wide ? 16 : 8;
    double work = 0, padded_work = 0;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        if (n->dead || n->op->kind != OP_CONV || n->params.window.groups > 1)
            continue;
        const struct engine_shape *k = &node_input(g, n, 1)->shape;
        const struct engine_shape *y = &node_output(g, n)->shape;
        double ins = (double)k->dims[1], outs = (double)k->dims[0];
        double each = (double)shape_count(k) / ins / outs * (double)shape_count(y) / outs;
        double padded_outs = ceil(outs / block) * block;
        work += each * ins * outs;
        padded_work += each * padded_outs * (ins < block ? ins : ceil(ins / block) * block);
    }
    return padded_work <= WASTE_MAX * work ? block : 0;
}

// The value just lowered can be seen now.
static enum err note_watch(struct lowering *l, int v, struct error *error)
{
    struct program *p = l->program;
    const struct value *value = &l->graph->values[v];
    if (!grow(&p->watches, p->watch_count, &p->watch_cap, sizeof *p->watches))
        return no_memory(error);
    p->watches[p->watch_count++] = (struct watch){
        .value = v,
        .after = p->step_count,
        .operand = {0, l->layouts[v].place, l->layouts[v].md, NULL},
        .quant = value->quant,
        .shape = value->t.shape,
    };
    return OK;
}

static enum err lower_all(struct lowering *l, struct error *error)
{
    struct graph *g = l->graph;
    struct program *p = l->program;
    dnnl_memory_desc_t md;
    note_last_readers(l);
    l->channel_block = choose_channel_block(g);
    TRY(md_plain(&g->values[g->input].t.shape, &md, error));
    TRY(operand_new(l, g->input, 0, &md, &p->input, error));
    TRY(round_result(l, g->input, error));
    if (g->watched)
        TRY(note_watch(l, g->input, error));
    for (int i = 0; i < g->node_count; i++) {
        l->node = i;
        if (!g->nodes[i].dead)
            TRY(lower_node(l, &g->nodes[i], error));
        if (!g->nodes[i].dead && g->watched)
            TRY(note_watch(l, g->nodes[i].outputs[0], error));
    }
    TRY(operand_plain(l, g->output, 0, &p->output, error));
    buffer_used(l, &p->output.place);
    p->input_bytes = (size_t)shape_count(&g->values[g->input].t.shape) * sizeof(float);
    p->output_bytes = (size_t)shape_count(&g->values[g->output].t.shape) * sizeof(float);
    p->arena_bytes = plan_place(p->buffers, p->buffer_count);
    return p->arena_bytes == SIZE_MAX ? no_memory(error) : OK;
}

// Zeroed pages; huge ones where the system has them: weights and activations are walked through.
static char *map_pages(size_t bytes)
{
    char *p = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, bytes + 1, MADV_HUGEPAGE); // advice: failure changes nothing
    return p;
}

static enum err pack_weight(struct program *p, dnnl_stream_t stream, const struct weight *w,
                            struct error *error)
{
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_memory_t from = NULL, to = NULL;
    union { // oneDNN's interface takes no const, a reorder does not write its source
        const void *in;
        void *out;
    } data = {.in = w->data};
    dnnl_status_t status =
        dnnl_reorder_primitive_desc_create(&pd, &w->from, p->engine, &w->to, p->engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&reorder, pd);
    if (status == dnnl_success)
        status = dnnl_memory_create(&from, &w->from, p->engine, data.out);
    if (status == dnnl_success)
        status = dnnl_memory_create(&to, &w->to, p->engine, p->weights + w->offset);
    dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    if (status == dnnl_success)
        status = dnnl_primitive_execute(reorder, stream, 2, args);
    dnnl_memory_destroy(from);
    dnnl_memory_destroy(to);
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(pd);
    return status == dnnl_success ? OK : dnnl_fail(status, "packing weights", error);
}

static enum err pack_weights(struct lowering *l, struct error *error)
{
    struct program *p = l->program;
    dnnl_stream_t stream;
    p->weights = map_pages(p->weight_bytes);
    if (p->weights == NULL)
        return no_memory(error);
    DNNL_TRY(dnnl_stream_create(&stream, p->engine, dnnl_stream_default_flags));
    enum err err = OK;
    for (size_t i = 0; i < l->weight_count && err == OK; i++)
        err = pack_weight(p, stream, &l->weights[i], error);
    dnnl_stream_destroy(stream);
    TRY(err);
    for (size_t i = 0; i < p->step_count; i++)
        for (int k = 0; k < p->steps[i].operand_count; k++) {
            struct operand *x = &p->steps[i].operands[k];
            if (x->place.where == IN_WEIGHTS)
                DNNL_TRY(dnnl_memory_create(&x->shared, &x->md, p->engine,
                                            p->weights + x->place.offset));
        }
    return OK;
}

static enum err compile(struct lowering *l, struct error *error)
{
    size_t values = (size_t)l->graph->value_count;
    l->layouts = calloc(values, sizeof *l->layouts);
    l->copies = calloc(values, sizeof *l->copies);
    l->last_reader = calloc(values, sizeof *l->last_reader);
    if (l->layouts == NULL || l->copies == NULL || l->last_reader == NULL)
        return no_memory(error);
    DNNL_TRY(dnnl_engine_create(&l->program->engine, dnnl_cpu, 0));
    TRY(lower_all(l, error));
    return pack_weights(l, error);
}

enum err program_compile(struct graph *g, struct program **out, struct error *error)
{
    *out = NULL;
    struct lowering l = {.graph = g, .program = calloc(1, sizeof(struct program))};
    if (l.program == NULL)
        return no_memory(error);
    l.program->threads = g->threads > 0 ? g->threads : 1;
    omp_set_num_threads(l.program->threads);
    enum err err = compile(&l, error);
    free(l.layouts);
    free(l.copies);
    free(l.last_reader);
    free(l.buffer_until);
    free(l.weights);
    if (err != OK) {
        program_free(l.program);
        return err;
    }
    *out = l.program;
    return OK;
}

void program_free(struct program *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->step_count; i++) {
        for (int k = 0; k < p->steps[i].operand_count; k++)
            if (p->steps[i].operands[k].shared != NULL)
                dnnl_memory_destroy(p->steps[i].operands[k].shared);
        if (p->steps[i].primitive != NULL)
            dnnl_primitive_destroy(p->steps[i].primitive);
    }
    if (p->weights != NULL)
        munmap(p->weights, p->weight_bytes + 1);
    if (p->engine != NULL)
        dnnl_engine_destroy(p->engine);
    free(p->steps);
    free(p->buffers);
    free(p->watches);
    pool_release(&p->pool);
    free(p);
}

size_t program_weight_bytes(const struct program *p)
{
    return p->weight_bytes;
}

size_t program_arena_bytes(const struct program *p)
{
    return p->arena_bytes;
}

bool program_has_int8(const struct program *p)
{
    for (size_t i = 0; i < p->step_count; i++)
        for (int k = 0; k < p->steps[i].operand_count; k++)
            if (p->steps[i].operands[k].md.data_type == dnnl_s8)
                return true;
    return false;
}

size_t program_step_count(const struct program *p)
{
    return p->step_count;
}

static struct engine_layer describe_step(const struct program *p, const struct step *s)
{
    struct engine_layer y = {.node = s->name, .op = s->op, .kernel = s->kernel};
    y.precision = "fp32";
    y.output = s->shape;
    y.flop = s->flop;
    y.arena_offset = -1;
    for (int i = 0; i < s->operand_count; i++) {
        const struct operand *x = &s->operands[i];
        if (x->place.where == NOWHERE || x->arg == DNNL_ARG_SCRATCHPAD)
            continue;
        size_t bytes = dnnl_memory_desc_get_size(&x->md);
        if (x->place.where == IN_WEIGHTS)
            y.weight_bytes += bytes;
        else
            y.data_bytes += bytes;
        if (x->md.data_type == dnnl_s8 || x->md.data_type == dnnl_u8)
            y.precision = "int8";
        if (x->place.where == IN_ARENA &&
            (x->arg == (s->node == NULL ? DNNL_ARG_DST : -1) || x->arg == DNNL_ARG_TO))
            y.arena_offset = (int64_t)p->buffers[x->place.buffer].offset;
    }
    return y;
}

void program_layers(const struct program *p, struct engine_layer *layers)
{
    for (size_t i = 0; i < p->step_count; i++)
        layers[i] = describe_step(p, &p->steps[i]);
}
