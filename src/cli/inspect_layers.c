#include "cli/inspect_layers.h"

#include <stdlib.h>

struct inspection {
    size_t count;
    struct engine_layer *layers;
    struct engine_step *steps, *best;
    float *input, *output;
    struct engine_context *context;
};

static enum err measure(struct inspection *i, int runs, struct error *error)
{
    for (int run = 0; run < runs; run++) {
        TRY(engine_profile(i->context, i->input, i->output, i->steps, error));
        for (size_t k = 0; k < i->count; k++)
            if (run == 0 || i->steps[k].ns < i->best[k].ns)
                i->best[k] = i->steps[k];
    }
    return OK;
}

static enum err prepare(struct inspection *i, const struct engine *e, struct error *error)
{
    size_t floats = engine_input_floats(e);
    i->count = engine_step_count(e);
    i->layers = calloc(i->count + 1, sizeof *i->layers);
    i->steps = calloc(i->count + 1, sizeof *i->steps);
    i->best = calloc(i->count + 1, sizeof *i->best);
    i->input = malloc(floats * sizeof *i->input);
    i->output = malloc(engine_output_floats(e) * sizeof *i->output);
    if (i->layers == NULL || i->steps == NULL || i->best == NULL || i->input == NULL ||
        i->output == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory to list the layers");
    uint32_t noise = 1; // the same picture of noise in -1..1 each time
    for (size_t k = 0; k < floats; k++) {
        noise = noise * 1664525 + 1013904223;
        i->input[k] = (float)(noise >> 8) / (float)(1 << 23) - 1;
    }
    engine_layers(e, i->layers);
    return engine_context_new(e, &i->context, error);
}

static void release(struct inspection *i)
{
    engine_context_free(i->context);
    free(i->layers);
    free(i->steps);
    free(i->best);
    free(i->input);
    free(i->output);
}

static void print_shape(FILE *out, const struct engine_shape *s)
{
    char text[128] = "";
    int len = 0;
    for (int k = 0; k < s->rank && len < 100; k++)
        len += snprintf(text + len, sizeof text - (size_t)len, "%s%lld", k > 0 ? "x" : "",
                        (long long)s->dims[k]);
    fprintf(out, " %-16s", text);
}

static void print(const struct inspection *i, bool timed, FILE *out)
{
    double total_ns = 0;
    fprintf(out, "%4s %-18s %-16s %8s %10s %10s %10s %-5s %-29s", "", "operator", "result", "MFLOP",
            "weights kB", "data kB", "at kB", "", "kernel");
    if (timed)
        fprintf(out, " %10s %9s", "us", "GFLOP/s");
    fprintf(out, "  node\n");
    for (size_t k = 0; k < i->count; k++) {
        const struct engine_layer *y = &i->layers[k];
        double ns = (double)i->best[k].ns;
        total_ns += ns;
        fprintf(out, "%4zu %-18s", k, y->op);
        print_shape(out, &y->output);
        fprintf(out, " %8.2f %10.1f %10.1f %10.1f %-5s %-29s", y->flop * 1e-6,
                (double)y->weight_bytes * 1e-3, (double)y->data_bytes * 1e-3,
                (double)y->arena_offset * 1e-3, y->precision, y->kernel);
        if (timed)
            fprintf(out, " %10.1f %9.1f", ns * 1e-3, ns > 0 ? y->flop / ns : 0);
        fprintf(out, "  %s\n", y->node);
    }
    if (timed)
        fprintf(out, "%zu steps, %.3f ms: the fastest time of each, summed\n", i->count,
                total_ns * 1e-6);
}

enum err inspect_layers(const struct engine *e, int runs, FILE *out, struct error *error)
{
    struct inspection i = {0};
    enum err err = prepare(&i, e, error);
    if (err == OK && runs > 0)
        err = measure(&i, runs, error);
    if (err == OK)
        print(&i, runs > 0, out);
    release(&i);
    return err;
}
