// A program's context: the arena, oneDNN's handles to it, and the run itself.
#include "base/clock.h"
#include "engine/kernels_program.h"
#include "engine/plain.h"
#include "engine/stop.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

void omp_set_num_threads(int threads); // OpenMP's, see kernels.c

// What a step needs at run time, all made beforehand.
struct bound_step {
    dnnl_exec_arg_t *args; // primitives
    int arg_count;
    void *from, *to; // kernels of our own
    size_t bytes;
    struct tensor *tensors; // plain kernels: inputs, then the output
};

struct program_context {
    const struct program *program;
    dnnl_stream_t stream;
    char *arena;
    bool arena_is_ours;
    atomic_int *trace; // the step's number goes there; NULL: nowhere
    struct bound_step *steps;
    dnnl_memory_t *memories; // own ones, to destroy
    size_t memory_count;
    struct pool pool;
};

static char *address(const struct program_context *c, const struct place *place)
{
    const struct program *p = c->program;
    return place->where == IN_ARENA ? c->arena + p->buffers[place->buffer].offset
                                    : p->weights + place->offset;
}

static enum err bind_primitive(struct program_context *c, const struct step *s,
                               struct bound_step *b, struct error *error)
{
    b->args = pool_calloc(&c->pool, (size_t)s->operand_count, sizeof *b->args);
    if (b->args == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for a context of the model");
    for (int i = 0; i < s->operand_count; i++) {
        const struct operand *x = &s->operands[i];
        dnnl_memory_t memory = x->shared;
        if (memory == NULL) {
            DNNL_TRY(
                dnnl_memory_create(&memory, &x->md, c->program->engine, address(c, &x->place)));
            c->memories[c->memory_count++] = memory;
        }
        b->args[b->arg_count++] = (dnnl_exec_arg_t){x->arg, memory};
    }
    return OK;
}

static enum err bind_plain(struct program_context *c, const struct step *s, struct bound_step *b,
                           struct error *error)
{
    size_t bytes = (size_t)s->operand_count * sizeof *b->tensors;
    b->tensors = pool_alloc(&c->pool, bytes);
    if (b->tensors == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for a context of the model");
    memcpy(b->tensors, s->tensors, bytes);
    for (int i = 0; i < s->operand_count; i++)
        if (s->operands[i].place.where != NOWHERE)
            b->tensors[i].data = address(c, &s->operands[i].place);
    return OK;
}

static enum err bind_step(struct program_context *c, const struct step *s, struct bound_step *b,
                          struct error *error)
{
    if (s->primitive != NULL)
        return bind_primitive(c, s, b, error);
    if (s->activate == NULL && s->table == NULL)
        return bind_plain(c, s, b, error);
    b->from = address(c, &s->operands[0].place);
    b->to = address(c, &s->operands[1].place);
    b->bytes = dnnl_memory_desc_get_size(&s->operands[1].md);
    return OK;
}

static enum err bind(struct program_context *c, struct error *error)
{
    const struct program *p = c->program;
    size_t operands = 0;
    for (size_t i = 0; i < p->step_count; i++)
        operands += (size_t)p->steps[i].operand_count;
    c->steps = pool_calloc(&c->pool, p->step_count, sizeof *c->steps);
    c->memories = pool_calloc(&c->pool, operands, sizeof(dnnl_memory_t));
    if (c->arena_is_ours)
        c->arena =
            mmap(NULL, p->arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c->arena == MAP_FAILED)
        c->arena = NULL;
    if (c->steps == NULL || c->memories == NULL || c->arena == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for a context of the model (%zu MiB)",
                    p->arena_bytes >> 20);
    if (c->arena_is_ours)
        madvise(c->arena, p->arena_bytes, MADV_HUGEPAGE); // advice: failure changes nothing
    DNNL_TRY(dnnl_stream_create(&c->stream, p->engine, dnnl_stream_default_flags));
    for (size_t i = 0; i < p->step_count; i++)
        TRY(bind_step(c, &p->steps[i], &c->steps[i], error));
    return OK;
}

enum err program_context_new(const struct program *p, void *arena, struct program_context **out,
                             struct error *error)
{
    *out = NULL;
    omp_set_num_threads(p->threads); // a setting of the calling thread
    struct program_context *c = calloc(1, sizeof *c);
    if (c == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for a context of the model");
    c->program = p;
    c->arena = arena;
    c->arena_is_ours = arena == NULL;
    enum err err = bind(c, error);
    if (err != OK) {
        program_context_free(c);
        return err == ERR_NOMEM ? err : fail_context(error, ERR_INTERNAL, "model context");
    }
    *out = c;
    return OK;
}

void program_context_free(struct program_context *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->memory_count; i++)
        dnnl_memory_destroy(c->memories[i]);
    if (c->stream != NULL)
        dnnl_stream_destroy(c->stream);
    if (c->arena != NULL && c->arena_is_ours)
        munmap(c->arena, c->program->arena_bytes);
    pool_release(&c->pool);
    free(c);
}

void program_context_trace(struct program_context *c, atomic_int *step)
{
    c->trace = step;
}

static enum err run_step(struct program_context *c, size_t i, struct error *error)
{
    const struct step *s = &c->program->steps[i];
    const struct bound_step *b = &c->steps[i];
    if (s->primitive != NULL) {
        dnnl_status_t status =
            dnnl_primitive_execute(s->primitive, c->stream, b->arg_count, b->args);
        return status == dnnl_success ? OK : dnnl_fail(status, s->name, error);
    }
    if (s->activate != NULL) {
        s->activate(b->from, b->to, b->bytes / sizeof(float), &s->activation);
        return OK;
    }
    if (s->table != NULL) {
        activation_of_bytes(b->from, b->to, b->bytes, s->table);
        return OK;
    }
    const struct tensor *out = &b->tensors[s->operand_count - 1];
    s->node->op->plain(s->node, b->tensors, out);
    int64_t count = s->node->activation.kind != UNARY_NONE ? shape_count(&out->shape) : 0;
    for (int64_t k = 0; k < count; k++)
        ((float *)out->data)[k] =
            plain_activate(&s->node->activation, ((const float *)out->data)[k]);
    return OK;
}

enum err program_run(struct program_context *c, const float *input, float *output,
                     const atomic_int *cancel, int64_t deadline_ms, struct error *error)
{
    const struct program *p = c->program;
    const struct stop stop = {cancel, deadline_ms};
    // the caller may be another thread than the one that made the context
    omp_set_num_threads(p->threads);
    memcpy(address(c, &p->input.place), input, p->input_bytes);
    for (size_t i = 0; i < p->step_count; i++) {
        TRY(stop_check(&stop, "the inference", error));
        if (c->trace != NULL)
            atomic_store_explicit(c->trace, (int)i, memory_order_relaxed);
        TRY(run_step(c, i, error));
    }
    memcpy(output, address(c, &p->output.place), p->output_bytes);
    return OK;
}

// Floats, row-major, of what a watch sees; out has room for them.
static enum err look(struct program_context *c, const struct watch *w, float *out,
                     struct error *error)
{
    dnnl_memory_desc_t plain;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t reorder = NULL;
    dnnl_memory_t from = NULL, to = NULL;
    dnnl_engine_t engine = c->program->engine;
    TRY(md_plain(&w->shape, &plain, error));
    struct quant scale = {w->quant.scale, 0}; // oneDNN 2.6 may forget the zero: see kernels.c
    TRY(describe_reorder(engine, &w->operand.md, &plain, scale, &pd, error));
    dnnl_status_t status = dnnl_primitive_create(&reorder, pd);
    dnnl_primitive_desc_destroy(pd);
    if (status == dnnl_success)
        status = dnnl_memory_create(&from, &w->operand.md, engine, address(c, &w->operand.place));
    if (status == dnnl_success)
        status = dnnl_memory_create(&to, &plain, engine, out);
    dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    if (status == dnnl_success)
        status = dnnl_primitive_execute(reorder, c->stream, 2, args);
    dnnl_memory_destroy(from);
    dnnl_memory_destroy(to);
    dnnl_primitive_destroy(reorder);
    DNNL_TRY(status);
    int64_t count = w->operand.md.data_type == dnnl_u8 ? shape_count(&w->shape) : 0;
    for (int64_t i = 0; i < count; i++)
        out[i] -= w->quant.scale * (float)w->quant.zero;
    return OK;
}

static enum err run_watched(struct program_context *c, float *room, engine_watcher *watcher,
                            void *context, struct error *error)
{
    const struct program *p = c->program;
    size_t next = 0;
    for (size_t i = 0; i <= p->step_count; i++) {
        for (; next < p->watch_count && p->watches[next].after <= i; next++) {
            const struct watch *w = &p->watches[next];
            TRY(look(c, w, room, error));
            TRY(watcher(context, w->value, room, (size_t)shape_count(&w->shape), error));
        }
        if (i < p->step_count)
            TRY(run_step(c, i, error));
    }
    return OK;
}

enum err program_watch(struct program_context *c, const float *input, engine_watcher *watcher,
                       void *context, struct error *error)
{
    const struct program *p = c->program;
    size_t largest = 1;
    for (size_t i = 0; i < p->watch_count; i++) {
        size_t count = (size_t)shape_count(&p->watches[i].shape);
        largest = count > largest ? count : largest;
    }
    float *room = malloc(largest * sizeof *room);
    if (room == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory to watch the model");
    omp_set_num_threads(p->threads);
    memcpy(address(c, &p->input.place), input, p->input_bytes);
    enum err err = run_watched(c, room, watcher, context, error);
    free(room);
    return err;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

enum err program_profile(struct program_context *c, const float *input, float *output,
                         struct engine_step *steps, struct error *error)
{
    const struct program *p = c->program;
    omp_set_num_threads(p->threads);
    memcpy(address(c, &p->input.place), input, p->input_bytes);
    for (size_t i = 0; i < p->step_count; i++) {
        int64_t start = now_ns();
        TRY(run_step(c, i, error));
        steps[i] = (struct engine_step){p->steps[i].name, p->steps[i].op, p->steps[i].kernel,
                                        now_ns() - start};
    }
    memcpy(output, address(c, &p->output.place), p->output_bytes);
    return OK;
}
