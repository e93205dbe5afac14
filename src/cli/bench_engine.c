// smelt bench engine: how near a model comes to the core's own limit.
#include "base/text.h"
#include "cli/commands.h"
#include "cli/inspect_layers.h"
#include "cli/options.h"
#include "cli/peak.h"
#include "engine/engine.h"
#include "engine/package.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RUNS_MIN = 5, RUNS_MAX = 4096, SECONDS_MAX = 3600, LAYER_RUNS = 20 };

static const struct option table[] = {
    {"model", "M", "demo", "a package's name, its folder, or an .onnx file"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"seconds", "S", "5", "how long to measure; at least 5 pictures are run"},
    {"layers", NULL, NULL, "also the time of each layer, on stderr"},
    {0},
};

// Per run: time that passed, and the share of the core's peak while the core was ours. The share is
// of processor time, with a peak measured before and after each run, so that what else runs on the
// machine spoils it little.
struct bench {
    struct package *package;
    struct engine *engine;
    struct engine_context *context;
    float *input, *output;
    double load_ms;
    double ms[RUNS_MAX], cpu_ms[RUNS_MAX], peak[RUNS_MAX], fraction[RUNS_MAX];
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

static double clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static enum err prepare(struct bench *b, const char *model, const char *folders,
                        struct error *error)
{
    AUTO_BUF struct buf search = {0};
    package_search_path(folders, &search);
    TRY(package_open(model, search.data, &b->package, error));
    double start = clock_ms(CLOCK_MONOTONIC);
    TRY(engine_load(b->package->model_path, &b->engine, error));
    b->load_ms = clock_ms(CLOCK_MONOTONIC) - start;
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

static enum err measure(struct bench *b, double seconds, struct error *error)
{
    double gflop = engine_gflop(b->engine), end = clock_ms(CLOCK_MONOTONIC) + seconds * 1e3;
    TRY(engine_run(b->context, b->input, b->output, NULL, 0, error)); // touches all pages
    double before = peak_fma_gflops();
    for (int i = 0; i < RUNS_MAX && (i < RUNS_MIN || clock_ms(CLOCK_MONOTONIC) < end); i++) {
        double wall = clock_ms(CLOCK_MONOTONIC), cpu = clock_ms(CLOCK_THREAD_CPUTIME_ID);
        TRY(engine_run(b->context, b->input, b->output, NULL, 0, error));
        b->cpu_ms[i] = clock_ms(CLOCK_THREAD_CPUTIME_ID) - cpu;
        b->ms[i] = clock_ms(CLOCK_MONOTONIC) - wall;
        double after = peak_fma_gflops();
        b->peak[i] = (before + after) / 2;
        b->fraction[i] = b->peak[i] > 0 ? gflop / b->cpu_ms[i] * 1000 / b->peak[i] : 0;
        before = after;
        b->runs = i + 1;
    }
    return OK;
}

static void report(struct bench *b)
{
    AUTO_BUF struct buf name = {0};
    double ms = median(b->ms, b->runs), cpu_ms = median(b->cpu_ms, b->runs);
    double peak = median(b->peak, b->runs), fraction = median(b->fraction, b->runs);
    double gflop = engine_gflop(b->engine), arena = (double)engine_arena_bytes(b->engine);
    double weights = (double)engine_weight_bytes(b->engine);
    json_escape(span_from(b->package->name), &name);
    printf("{\"bench\":\"engine\",\"model\":%s,\"precision\":\"fp32\",\"ms_per_image\":%.3f,"
           "\"ms_min\":%.3f,\"cpu_ms\":%.3f,\"fraction_of_peak\":%.4f,\"peak_gops\":%.1f,"
           "\"peak_kernel\":\"%s\",\"gflop_per_image\":%.4f,\"arena_bytes\":%.0f,"
           "\"weight_bytes\":%.0f,\"load_ms\":%.1f,\"runs\":%d}\n",
           name.data, ms, b->ms[0], cpu_ms, fraction, peak, peak_fma_name(), gflop, arena, weights,
           b->load_ms, b->runs);
    fflush(stdout);
    fprintf(stderr, "%s, fp32, one thread, %d runs\n", b->package->name, b->runs);
    fprintf(stderr, "  a picture   %10.2f ms (median; fastest %.2f; processor time %.2f)\n", ms,
            b->ms[0], cpu_ms);
    fprintf(stderr, "  work        %10.3f GFLOP\n", gflop);
    fprintf(stderr, "  speed       %10.1f %% of the core's %.1f GFLOP/s (%s)\n", 100 * fraction,
            peak, peak_fma_name());
    fprintf(stderr, "  weights     %10.1f MB, shared by all processes\n", weights * 1e-6);
    fprintf(stderr, "  arena       %10.1f MB, for each process\n", arena * 1e-6);
    fprintf(stderr, "  load        %10.0f ms\n", b->load_ms);
}

static enum err bench(struct bench *b, const struct options *o, long seconds, struct error *error)
{
    TRY(prepare(b, options_get(o, "model"), options_get(o, "models"), error));
    TRY(measure(b, (double)seconds, error));
    report(b);
    return options_on(o, "layers") ? inspect_layers(b->engine, LAYER_RUNS, stderr, error) : OK;
}

int bench_engine_main(int argc, char **argv)
{
    struct options o;
    int code = options_parse(&o, table, "smelt bench engine [options]",
                             "Runs a model on one core and compares it with the core's own limit, "
                             "measured in the same run. tools/make_xception.py writes a model with "
                             "random weights to measure.",
                             argc, argv);
    if (code >= 0)
        return code;
    long seconds;
    struct error error = {0};
    struct bench *b = calloc(1, sizeof *b);
    enum err err = ERR_ARGUMENT;
    if (!options_int(&o, "seconds", 0, SECONDS_MAX, &seconds))
        code = 2;
    else if (b == NULL)
        err = fail(&error, ERR_NOMEM, 0, "no memory");
    else
        err = bench(b, &o, seconds, &error);
    if (err != OK && code != 2)
        fprintf(stderr, "smelt: %s\n", error.msg);
    if (b != NULL) {
        free(b->input);
        free(b->output);
        engine_context_free(b->context);
        engine_free(b->engine);
        package_free(b->package);
        free(b);
    }
    options_release(&o);
    return code == 2 ? 2 : err == OK ? 0 : 1;
}
