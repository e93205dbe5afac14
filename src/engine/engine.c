#include "engine/engine.h"

#include "base/file.h"
#include "base/limits.h"
#include "engine/kernels.h"
#include "engine/onnx.h"
#include "engine/passes.h"
#include "engine/reference.h"

#include <stdlib.h>

struct engine {
    struct program *program;
    struct engine_shape input, output;
    double gflop;
};

struct engine_context {
    struct program_context *program;
};

// Reads the file and makes a checked graph of it. The file's bytes are given back.
static enum err read_graph(const char *path, struct graph **out, struct error *error)
{
    AUTO_BUF struct buf bytes = {0};
    TRY(file_read(path, MODEL_FILE_BYTES_MAX, &bytes, error));
    enum err err = onnx_read(buf_view(&bytes), 2 * bytes.len + MODEL_LOAD_EXTRA_BYTES, out, error);
    buf_release(&bytes);
    if (err == OK) {
        err = graph_infer(*out, error);
        if (err != OK) {
            graph_free(*out);
            *out = NULL;
        }
    }
    return err == OK ? OK : fail_context(error, err, "model '%.150s'", path);
}

static enum err compile(struct engine *e, struct graph *g, struct error *error)
{
    e->input = g->values[g->input].t.shape;
    e->output = g->values[g->output].t.shape;
    e->gflop = g->flop * 1e-9;
    TRY(passes_run(g, error));
    return program_compile(g, &e->program, error);
}

enum err engine_load(const char *onnx_path, struct engine **out, struct error *error)
{
    struct graph *g = NULL;
    *out = NULL;
    TRY(read_graph(onnx_path, &g, error));
    struct engine *e = calloc(1, sizeof *e);
    enum err err = ERR_NOMEM;
    if (e != NULL && g != NULL)
        err = compile(e, g, error);
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

const char *engine_precision(const struct engine *e)
{
    (void)e;
    return "fp32"; // all that the kernels compute
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
    struct engine_context *c = calloc(1, sizeof *c);
    *out = NULL;
    if (c == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for a context of the model");
    enum err err = program_context_new(e->program, &c->program, error);
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

enum err engine_profile(struct engine_context *c, const float *input, float *output,
                        struct engine_step *steps, struct error *error)
{
    return program_profile(c->program, input, output, steps, error);
}

enum err engine_run_reference(const char *onnx_path, const float *input, float *output,
                              struct error *error)
{
    struct graph *g;
    TRY(read_graph(onnx_path, &g, error));
    enum err err = reference_run(g, input, output, error);
    graph_free(g);
    return err;
}
