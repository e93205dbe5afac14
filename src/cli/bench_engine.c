// smelt bench engine: how near a model comes to the core's own limit.
#include "base/text.h"
#include "cli/commands.h"
#include "cli/inspect_layers.h"
#include "cli/options.h"
#include "cli/peak.h"
#include "engine/engine.h"
#include "engine/package.h"
#include "engine/quantize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
struct subject { // the model in one precision
    struct engine *engine;
    struct engine_context *context;
    float *output;
    double (*peak_of)(void);
    const char *peak_name;
    bool int8;
    double load_ms;
    double ms[RUNS_MAX], cpu_ms[RUNS_MAX], peak[RUNS_MAX], fraction[RUNS_MAX];
    int runs;
};

enum { FP32, INT8, SUBJECTS };

struct bench {
    struct package *package;
    float *input;
    struct subject subjects[SUBJECTS];
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

// Noise in -1..1, the same each time.
static void generate(float *x, size_t count, uint32_t noise)
{
    for (size_t i = 0; i < count; i++) {
        noise = noise * 1664525 + 1013904223;
        x[i] = (float)(noise >> 8) / (float)(1 << 23) - 1;
    }
}

// The package's own scales; for a model without, those that generated pictures give.
static enum err quantize(const struct bench *b, struct quantization *q, struct error *error)
{
    enum { PICTURES = 4 };
    if (b->package->int8_path != NULL)
        return package_quantization(b->package, q, error);
    struct quantize_options options = {.quick = true,
                                       .open = preprocess_size(&b->package->preprocess)};
    struct quantize_report report = {0};
    size_t count = engine_input_floats(b->subjects[FP32].engine);
    float *inputs = malloc(PICTURES * count * sizeof *inputs);
    if (inputs == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for the pictures");
    for (uint32_t i = 0; i < PICTURES; i++)
        generate(inputs + i * count, count, i + 1);
    enum err err =
        quantize_model(b->package->model_path, inputs, PICTURES, &options, q, &report, error);
    quantize_report_release(&report);
    free(inputs);
    return err;
}

static enum err load(struct bench *b, struct subject *s, const struct quantization *q,
                     struct error *error)
{
    double start = clock_ms(CLOCK_MONOTONIC);
    struct engine_options options = {.int8 = q, .open = preprocess_size(&b->package->preprocess)};
    TRY(engine_load_with(b->package->model_path, &options, &s->engine, error));
    s->load_ms = clock_ms(CLOCK_MONOTONIC) - start;
    s->int8 = strcmp(engine_precision(s->engine), "int8") == 0; // also by the file itself
    s->peak_of = s->int8 ? peak_int8_gops : peak_fma_gflops;
    s->peak_name = s->int8 ? peak_int8_name() : peak_fma_name();
    TRY(engine_context_new(s->engine, &s->context, error));
    s->output = malloc(engine_output_floats(s->engine) * sizeof *s->output);
    return s->output != NULL ? OK : fail(error, ERR_NOMEM, 0, "no memory for the result");
}

// A model that cannot compute in int8 is measured in fp32 alone.
static enum err prepare_int8(struct bench *b, struct error *error)
{
    struct quantization q = {0};
    enum err err = quantize(b, &q, error);
    if (err == OK)
        err = load(b, &b->subjects[INT8], &q, error);
    quantization_release(&q);
    if (err != ERR_UNSUPPORTED)
        return err;
    fprintf(stderr, "not measured in int8: %s\n", error->msg);
    return OK;
}

static enum err prepare(struct bench *b, const char *model, const char *folders,
                        struct error *error)
{
    AUTO_BUF struct buf search = {0};
    package_search_path(folders, &search);
    TRY(package_open(model, search.data, &b->package, error));
    TRY(load(b, &b->subjects[FP32], NULL, error));
    size_t count = engine_input_floats(b->subjects[FP32].engine);
    b->input = malloc(count * sizeof *b->input);
    if (b->input == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for the picture");
    generate(b->input, count, 1);
    return prepare_int8(b, error);
}

static enum err run(const struct bench *b, struct subject *s, struct error *error)
{
    int i = s->runs++;
    double before = s->peak_of(), gflop = engine_gflop(s->engine);
    double wall = clock_ms(CLOCK_MONOTONIC), cpu = clock_ms(CLOCK_THREAD_CPUTIME_ID);
    TRY(engine_run(s->context, b->input, s->output, NULL, 0, error));
    s->cpu_ms[i] = clock_ms(CLOCK_THREAD_CPUTIME_ID) - cpu;
    s->ms[i] = clock_ms(CLOCK_MONOTONIC) - wall;
    s->peak[i] = (before + s->peak_of()) / 2;
    s->fraction[i] = s->peak[i] > 0 ? gflop / s->cpu_ms[i] * 1000 / s->peak[i] : 0;
    return OK;
}

// The precisions take turns.
static enum err measure(struct bench *b, double seconds, struct error *error)
{
    double end = 0;
    for (int i = -1; i < RUNS_MIN || (i < RUNS_MAX && clock_ms(CLOCK_MONOTONIC) < end); i++) {
        for (int k = 0; k < SUBJECTS; k++)
            if (b->subjects[k].context != NULL)
                TRY(run(b, &b->subjects[k], error));
        if (i >= 0)
            continue;
        end = clock_ms(CLOCK_MONOTONIC) + seconds * 1e3; // that was to touch all pages
        for (int k = 0; k < SUBJECTS; k++)
            b->subjects[k].runs = 0;
    }
    return OK;
}

static void report(const struct bench *b, struct subject *s)
{
    AUTO_BUF struct buf name = {0};
    double ms = median(s->ms, s->runs), cpu_ms = median(s->cpu_ms, s->runs);
    double peak = median(s->peak, s->runs), fraction = median(s->fraction, s->runs);
    double gflop = engine_gflop(s->engine), arena = (double)engine_arena_bytes(s->engine);
    double weights = (double)engine_weight_bytes(s->engine);
    const char *precision = engine_precision(s->engine), *unit = s->int8 ? "" : "FL";
    json_escape(span_from(b->package->name), &name);
    printf("{\"bench\":\"engine\",\"model\":%s,\"precision\":\"%s\",\"ms_per_image\":%.3f,"
           "\"ms_min\":%.3f,\"cpu_ms\":%.3f,\"cpu_ms_min\":%.3f,\"fraction_of_peak\":%.4f,"
           "\"peak_gops\":%.1f,\"peak_kernel\":\"%s\",\"gflop_per_image\":%.4f,"
           "\"arena_bytes\":%.0f,\"weight_bytes\":%.0f,\"load_ms\":%.1f,\"runs\":%d}\n",
           name.data, precision, ms, s->ms[0], cpu_ms, s->cpu_ms[0], fraction, peak, s->peak_name,
           gflop, arena, weights, s->load_ms, s->runs);
    fflush(stdout);
    fprintf(stderr, "%s, %s, one thread, %d runs\n", b->package->name, precision, s->runs);
    fprintf(stderr, "  a picture   %10.2f ms (median; fastest %.2f; processor time %.2f)\n", ms,
            s->ms[0], cpu_ms);
    fprintf(stderr, "  work        %10.3f G%sOP\n", gflop, unit);
    fprintf(stderr, "  speed       %10.1f %% of the core's %.1f G%sOP/s (%s)\n", 100 * fraction,
            peak, unit, s->peak_name);
    fprintf(stderr, "  weights     %10.1f MB, shared by all processes\n", weights * 1e-6);
    fprintf(stderr, "  arena       %10.1f MB, for each process\n", arena * 1e-6);
    fprintf(stderr, "  load        %10.0f ms\n", s->load_ms);
}

static enum err bench(struct bench *b, const struct options *o, long seconds, struct error *error)
{
    TRY(prepare(b, options_get(o, "model"), options_get(o, "models"), error));
    TRY(measure(b, (double)seconds, error));
    for (int k = 0; k < SUBJECTS; k++) {
        struct subject *s = &b->subjects[k];
        if (s->context == NULL)
            continue;
        report(b, s);
        if (options_on(o, "layers"))
            TRY(inspect_layers(s->engine, LAYER_RUNS, stderr, error));
    }
    return OK;
}

int bench_engine_main(int argc, char **argv)
{
    struct options o;
    int code = options_parse(
        &o, table, "smelt bench engine [options]",
        "Runs a model on one core, in fp32 and int8, and compares it with the "
        "core's own limit, measured in the same run. A model without int8 scales "
        "gets them from generated pictures. tools/make_xception.py writes a model with "
        "random weights to measure.",
        argc, argv);
    if (code >= 0)
        return code;
    long seconds;
    struct error error = {0};
    struct bench *b = calloc(1, sizeof *b);
    enum err err = ERR_ARGUMENT;
    if (!options_no_argument(&o, "bench engine") ||
        !options_int(&o, "seconds", 0, SECONDS_MAX, &seconds))
        code = 2;
    else if (b == NULL)
        err = fail(&error, ERR_NOMEM, 0, "no memory");
    else
        err = bench(b, &o, seconds, &error);
    if (err != OK && code != 2)
        fprintf(stderr, "smelt: %s\n", error.msg);
    if (b != NULL) {
        free(b->input);
        for (int k = 0; k < SUBJECTS; k++) {
            free(b->subjects[k].output);
            engine_context_free(b->subjects[k].context);
            engine_free(b->subjects[k].engine);
        }
        package_free(b->package);
        free(b);
    }
    options_release(&o);
    return code == 2 ? 2 : err == OK ? 0 : 1;
}
