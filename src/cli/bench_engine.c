#include "cli/bench_engine.h"

#include "base/clock.h"
#include "base/text.h"
#include "cli/peak.h"
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS_MIN = 5, RUNS_MAX = 4096, SECONDS_MAX = 3600 };

struct bench {
    const char *model;
    double seconds;
    bool layers;
    struct engine *engine;
    struct engine_context *context;
    float *input, *output;
    double load_ms;
    double ms[RUNS_MAX], peak[RUNS_MAX], fraction[RUNS_MAX]; // a peak is measured around each run
    int runs;
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_size);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static enum err prepare(struct bench *b, struct error *error)
{
    int64_t start = clock_monotonic_us();
    TRY(engine_load(b->model, &b->engine, error));
    b->load_ms = (double)(clock_monotonic_us() - start) / 1000;
    TRY(engine_context_new(b->engine, &b->context, error));
    size_t count = engine_input_floats(b->engine);
    b->input = malloc(count * sizeof *b->input);
    b->output = malloc(engine_output_floats(b->engine) * sizeof *b->output);
    if (b->input == NULL || b->output == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for the picture");
    uint32_t noise = 1; // the same picture of noise in -1..1 each time
    for (size_t i = 0; i < count; i++) {
        noise = noise * 1664525 + 1013904223;
        b->input[i] = (float)(noise >> 8) / (float)(1 << 23) - 1;
    }
    return OK;
}

// Runs and peaks take turns, so that both see the same neighbours on the machine.
static enum err measure(struct bench *b, struct error *error)
{
    double gflop = engine_gflop(b->engine);
    int64_t end = clock_monotonic_us() + (int64_t)(b->seconds * 1e6);
    TRY(engine_run(b->context, b->input, b->output, NULL, 0, error)); // touches all pages
    double before = peak_fma_gflops();
    while (b->runs < RUNS_MAX && (b->runs < RUNS_MIN || clock_monotonic_us() < end)) {
        int64_t start = clock_monotonic_us();
        TRY(engine_run(b->context, b->input, b->output, NULL, 0, error));
        double ms = (double)(clock_monotonic_us() - start) / 1000, after = peak_fma_gflops();
        double peak = before > after ? before : after;
        b->ms[b->runs] = ms;
        b->peak[b->runs] = peak;
        b->fraction[b->runs] = peak > 0 ? gflop / ms * 1000 / peak : 0;
        before = after;
        b->runs++;
    }
    return OK;
}

static void report(struct bench *b)
{
    AUTO_BUF struct buf name = {0};
    double ms = median(b->ms, b->runs), peak = median(b->peak, b->runs);
    double fraction = median(b->fraction, b->runs), gflop = engine_gflop(b->engine);
    json_escape(span_from(b->model), &name);
    printf("{\"bench\":\"engine\",\"model\":%s,\"precision\":\"fp32\",\"ms_per_image\":%.3f,"
           "\"ms_min\":%.3f,\"fraction_of_peak\":%.4f,\"peak_gops\":%.1f,\"peak_gops_max\":%.1f,"
           "\"peak_kernel\":\"%s\",\"gflop_per_image\":%.4f,\"arena_bytes\":%zu,"
           "\"weight_bytes\":%zu,\"load_ms\":%.1f,\"runs\":%d}\n",
           name.data, ms, b->ms[0], fraction, peak, b->peak[b->runs - 1], peak_fma_name(), gflop,
           engine_arena_bytes(b->engine), engine_weight_bytes(b->engine), b->load_ms, b->runs);
    fflush(stdout);
    fprintf(stderr,
            "%s\n  fp32      %10.2f ms a picture (fastest %.2f, %d runs)\n"
            "  work      %10.3f GFLOP a picture\n"
            "  speed     %10.1f GFLOP/s, %.1f %% of the core's %.1f (%s)\n"
            "  memory    %10.1f MB weights (shared), %.1f MB arena (per process)\n"
            "  load      %10.0f ms\n",
            b->model, ms, b->ms[0], b->runs, gflop, gflop / ms * 1000, 100 * fraction, peak,
            peak_fma_name(), (double)engine_weight_bytes(b->engine) / 1e6,
            (double)engine_arena_bytes(b->engine) / 1e6, b->load_ms);
}

// Time per step on stderr: the fastest of several runs, step by step.
static enum err report_layers(struct bench *b, struct error *error)
{
    enum { RUNS = 20 };
    size_t count = engine_step_count(b->engine);
    struct engine_step *steps = calloc(count, sizeof *steps), *best = calloc(count, sizeof *best);
    enum err err = steps != NULL && best != NULL ? OK : fail(error, ERR_NOMEM, 0, "no memory");
    for (int run = 0; run < RUNS && err == OK; run++) {
        err = engine_profile(b->context, b->input, b->output, steps, error);
        for (size_t i = 0; i < count && err == OK; i++)
            if (run == 0 || steps[i].ns < best[i].ns)
                best[i] = steps[i];
    }
    for (size_t i = 0; i < count && err == OK; i++)
        fprintf(stderr, "%4zu %10.1f us  %-18s %-26s %s\n", i, (double)best[i].ns / 1000,
                best[i].op, best[i].kernel, best[i].node);
    free(steps);
    free(best);
    return err;
}

static int usage(void)
{
    fprintf(stderr, "usage: smelt bench engine --model FILE.onnx [--seconds S] [--layers]\n"
                    "  tools/make_xception.py writes a model with random weights to measure\n");
    return 2;
}

static bool parse(struct bench *b, int argc, char **argv)
{
    b->seconds = 5;
    for (int i = 1; i < argc; i++) {
        char *end = "";
        if (strcmp(argv[i], "--layers") == 0)
            b->layers = true;
        else if (strcmp(argv[i], "--model") == 0 && i + 1 < argc)
            b->model = argv[++i];
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            b->seconds = strtod(argv[++i], &end);
        else
            return false;
        if (*end != '\0' || !(b->seconds >= 0 && b->seconds <= SECONDS_MAX))
            return false;
    }
    return b->model != NULL;
}

int bench_engine_main(int argc, char **argv)
{
    static struct bench b; // large; one bench a process
    struct error error;
    memset(&b, 0, sizeof b);
    if (!parse(&b, argc, argv))
        return usage();
    enum err err = prepare(&b, &error);
    if (err == OK)
        err = measure(&b, &error);
    if (err == OK)
        report(&b);
    if (err == OK && b.layers)
        err = report_layers(&b, &error);
    if (err != OK)
        fprintf(stderr, "smelt: %s\n", error.msg);
    free(b.input);
    free(b.output);
    engine_context_free(b.context);
    engine_free(b.engine);
    return err == OK ? 0 : 1;
}
