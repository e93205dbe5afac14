// Runs a model on floats from a file: run_onnx MODEL IN.f32 OUT.f32 [--reference | --profile]
// run_onnx --ops lists the operators with the first and the last opset that we read. Built and used
// by tools/parity.sh.
#include "base/file.h"
#include "engine/engine.h"
#include "engine/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum err profile(const struct engine *e, struct engine_context *c, const float *in,
                        float *out, struct error *error)
{
    size_t count = engine_step_count(e);
    struct engine_step *steps = calloc(count + 1, sizeof *steps);
    struct engine_step *best = calloc(count + 1, sizeof *best);
    enum err err = steps != NULL && best != NULL ? OK : ERR_NOMEM;
    int64_t total = 0;
    for (int run = 0; run < 30 && err == OK; run++) {
        err = engine_profile(c, in, out, steps, error);
        for (size_t i = 0; i < count && err == OK; i++)
            if (run == 0 || steps[i].ns < best[i].ns)
                best[i] = steps[i];
    }
    for (size_t i = 0; i < count && err == OK; i++) {
        printf("%4zu %9.3f us  %-18s %-28s %s\n", i, (double)best[i].ns * 1e-3, best[i].op,
               best[i].kernel, best[i].node);
        total += best[i].ns;
    }
    printf("%zu steps, %.3f ms\n", count, (double)total * 1e-6);
    free(steps);
    free(best);
    return err;
}

static enum err run(int argc, char **argv, struct error *error)
{
    AUTO_BUF struct buf in = {0};
    bool reference = argc > 4 && strcmp(argv[4], "--reference") == 0;
    struct engine *e;
    struct engine_context *c;
    TRY(file_read(argv[2], (size_t)1 << 30, &in, error));
    TRY(engine_load(argv[1], &e, error));
    if (in.len != engine_input_floats(e) * sizeof(float))
        return fail(error, ERR_ARGUMENT, 0, "'%s' has %zu bytes, the model reads %zu floats",
                    argv[2], in.len, engine_input_floats(e));
    size_t out_bytes = engine_output_floats(e) * sizeof(float);
    float *out = malloc(out_bytes);
    if (out == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory");
    fprintf(stderr, "%.3f GFLOP, weights %zu, arena %zu bytes, %zu steps\n", engine_gflop(e),
            engine_weight_bytes(e), engine_arena_bytes(e), engine_step_count(e));
    const float *x = (const float *)(const void *)in.data;
    TRY(engine_context_new(e, &c, error));
    if (argc > 4 && strcmp(argv[4], "--profile") == 0)
        TRY(profile(e, c, x, out, error));
    TRY(reference ? engine_run_reference(argv[1], x, out, error)
                  : engine_run(c, x, out, NULL, 0, error));
    engine_context_free(c);
    engine_free(e);
    enum err err = file_replace(argv[3], (struct span){(const char *)out, out_bytes}, 0644, error);
    free(out);
    return err;
}

int main(int argc, char **argv)
{
    struct error error = {0};
    if (argc == 2 && strcmp(argv[1], "--ops") == 0) {
        size_t count;
        const struct op *ops = op_table(&count);
        for (size_t i = 0; i < count; i++)
            printf("%s %d %d\n", ops[i].name, ops[i].since, ops[i].until);
        return 0;
    }
    if (argc < 4) {
        fprintf(stderr, "usage: run_onnx MODEL IN.f32 OUT.f32 [--reference | --profile]\n");
        return 2;
    }
    if (run(argc, argv, &error) != OK) {
        fprintf(stderr, "run_onnx: %s: %s\n", err_name(error.code), error.msg);
        return 1;
    }
    return 0;
}
