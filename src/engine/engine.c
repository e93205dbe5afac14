#include "engine/engine.h"

#include "engine/kernels.h"
#include "engine/onnx.h"
#include "engine/passes.h"
#include "engine/quantization.h"
#include "engine/reference.h"

#include <stdlib.h>

struct engine {
    struct program *program;
    struct engine_shape input, output;
    double gflop;
    enum engine_scores scores;
    bool int8;
};

struct engine_context {
    struct program_context *program;
};

static enum err compile(struct engine *e, struct graph *g, const struct engine_options *o,
                        struct error *error)
{
    e->input = g->values[g->input].t.shape;
    e->gflop = g->flop * 1e-9;
    e->scores = graph_scores(g);
    TRY(passes_run(g, error));
    if (o->logits)
        graph_drop_softmax(g);
    e->output = g->values[g->output].t.shape;
    g->watched = o->watched;
    g->threads = o->threads;
    if (g->quantized && (o->int8 != NULL || o->watched))
        return fail(error, ERR_UNSUPPORTED, 0,
                    "it is quantized already (QuantizeLinear) and computes in integers as it is");
    if (o->int8 != NULL)
        TRY(quantization_apply(o->int8, g, error));
    TRY(program_compile(g, &e->program, error));
    e->int8 = o->int8 != NULL || program_has_int8(e->program);
    return OK;
}

enum err engine_load(const char *onnx_path, struct engine **out, struct error *error)
{
    return engine_load_with(onnx_path, &(struct engine_options){0}, out, error);
}

enum err engine_load_with(const char *onnx_path, const struct engine_options *options,
                          struct engine **out, struct error *error)
{
    struct graph *g = NULL;
    *out = NULL;
    TRY(onnx_read_file(onnx_path, options->open, &g, error));
    struct engine *e = calloc(1, sizeof *e);
    enum err err = ERR_NOMEM;
    if (e != NULL && g != NULL)
        err = compile(e, g, options, error);
    else
        fail(error, ERR_NOMEM, 0, "no memory to load the model");
    graph_free(g);
    if (err != OK) {
        engine_free(e);
        return fail_context(error, err, "model '%.150s'", onnx_path);
    }
    *out = e;
    return OK;
}

void engine_free(struct engine *e)
{
    if (e == NULL)
        return;
    program_free(e->program);
    free(e);
}

const struct engine_shape *engine_input_shape(const struct engine *e)
{
    return &e->input;
}

const struct engine_shape *engine_output_shape(const struct engine *e)
{
    return &e->output;
}

size_t engine_input_floats(const struct engine *e)
{
    return (size_t)shape_count(&e->input);
}

size_t engine_output_floats(const struct engine *e)
{
    return (size_t)shape_count(&e->output);
}

double engine_gflop(const struct engine *e)
{
    return e->gflop;
}

enum engine_scores engine_scores(const struct engine *e)
{
    return e->scores;
}

const char *engine_precision(const struct engine *e)
{
    return e->int8 ? "int8" : "fp32";
}

size_t engine_weight_bytes(const struct engine *e)
{
    return program_weight_bytes(e->program);
}

size_t engine_arena_bytes(const struct engine *e)
{
    return program_arena_bytes(e->program);
}

size_t engine_step_count(const struct engine *e)
{
    return program_step_count(e->program);
}

void engine_layers(const struct engine *e, struct engine_layer *layers)
{
    program_layers(e->program, layers);
}

enum err engine_context_new(const struct engine *e, struct engine_context **out,
                            struct error *error)
{
    return engine_context_new_in(e, NULL, out, error);
}

void engine_context_trace(struct engine_context *c, atomic_int *step)
{
    program_context_trace(c->program, step);
}

enum err engine_context_new_in(const struct engine *e, void *arena, struct engine_context **out,
                               struct error *error)
{
    struct engine_context *c = calloc(1, sizeof *c);
    *out = NULL;
    if (c == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for a context of the model");
    enum err err = program_context_new(e->program, arena, &c->program, error);
    if (err != OK) {
        free(c);
        return err;
    }
    *out = c;
    return OK;
}

void engine_context_free(struct engine_context *c)
{
    if (c == NULL)
        return;
    program_context_free(c->program);
    free(c);
}

enum err engine_run(struct engine_context *c, const float *input, float *output,
                    const atomic_int *cancel, int64_t deadline_ms, struct error *error)
{
    return program_run(c->program, input, output, cancel, deadline_ms, error);
}

enum err engine_watch(struct engine_context *c, const float *input, engine_watcher *watcher,
                      void *context, struct error *error)
{
    return program_watch(c->program, input, watcher, context, error);
}

enum err engine_profile(struct engine_context *c, const float *input, float *output,
                        struct engine_step *steps, struct error *error)
{
    return program_profile(c->program, input, output, steps, error);
}

enum err engine_run_reference(const char *onnx_path, const float *input, float *output,
                              struct error *error)
{
    struct graph *g;
    TRY(onnx_read_file(onnx_path, (struct engine_size){0}, &g, error));
    enum err err = reference_run(g, input, output, error);
    graph_free(g);
    return err;
}
