#include "engine/quantize.h"

#include "engine/onnx.h"
#include "engine/ops.h"
#include "engine/passes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct work {
    const char *path;
    const float *inputs;
    size_t count, input_floats, output_floats;
    const struct quantize_options *options;
    struct graph *graph;
    struct histogram **histograms; // [value_count]
    float *outputs;                // [count][output_floats] of the fp32 network
    bool *keep;                    // [node_count]
    struct quantize_report *report;
};

static void progress(const struct work *w, const char *what, size_t done, size_t total)
{
    if (w->options->progress != NULL)
        w->options->progress(w->options->context, what, done, total);
}

static enum err no_memory(struct error *error)
{
    return fail(error, ERR_NOMEM, 0, "no memory to quantize the model");
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static enum err see(void *context, int value, const float *data, size_t count, struct error *error)
{
    struct work *w = context;
    struct histogram **h = &w->histograms[value];
    if (*h == NULL && (*h = calloc(1, sizeof **h)) == NULL)
        return no_memory(error);
    histogram_add(*h, data, count);
    return OK;
}

// Runs the fp32 network over the pictures: what its tensors hold, what it answers.
static enum err calibrate(struct work *w, struct engine *e, struct engine_context *c,
                          struct error *error)
{
    w->input_floats = engine_input_floats(e);
    w->output_floats = engine_output_floats(e);
    w->outputs = malloc(w->count * w->output_floats * sizeof *w->outputs);
    if (w->outputs == NULL)
        return no_memory(error);
    for (size_t i = 0; i < w->count; i++) {
        const float *x = w->inputs + i * w->input_floats;
        float *y = w->outputs + i * w->output_floats;
        progress(w, "calibrating", i, w->count);
        TRY(engine_watch(c, x, see, w, error));
        double start = cpu_ms();
        TRY(engine_run(c, x, y, NULL, 0, error));
        double ms = cpu_ms() - start;
        if (i == 0 || ms < w->report->fp32_cpu_ms)
            w->report->fp32_cpu_ms = ms;
        for (size_t k = 0; k < w->output_floats; k++)
            if (!isfinite(y[k]))
                return fail(error, ERR_UNSUPPORTED, 0,
                            "model '%.150s' has no answer to a calibration picture (not a number)",
                            w->path);
    }
    return OK;
}

static size_t highest(const float *x, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static void compare(const struct work *w, const float *y, const float *expected, double sums[2],
                    struct quantize_score *score)
{
    double power = 0, own = 0, product = 0, noise = 0;
    for (size_t k = 0; k < w->output_floats; k++) {
        double a = (double)expected[k], b = (double)y[k];
        power += a * a;
        own += b * b;
        product += a * b;
        noise += (a - b) * (a - b);
    }
    sums[0] += power;
    sums[1] += noise;
    score->cosine += power > 0 && own > 0 ? product / sqrt(power * own) : power == own;
    score->agreement += highest(y, w->output_floats) == highest(expected, w->output_floats);
}

// The int8 network over the pictures.
static enum err run_int8(const struct work *w, struct engine_context *c, float *y,
                         struct quantize_score *score, struct error *error)
{
    enum { RUNS_MIN = 12 }; // for the time
    double sums[2] = {0}, least = 0;
    size_t runs = w->count > RUNS_MIN || w->options->quick ? w->count : RUNS_MIN;
    for (size_t i = 0; i < runs; i++) {
        size_t picture = i % w->count;
        double start = cpu_ms();
        TRY(engine_run(c, w->inputs + picture * w->input_floats, y, NULL, 0, error));
        double ms = cpu_ms() - start;
        least = i == 0 || ms < least ? ms : least;
        if (i < w->count)
            compare(w, y, w->outputs + picture * w->output_floats, sums, score);
    }
    score->noise = sums[0] > 0 ? sums[1] / sums[0] : sums[1];
    score->cosine /= (double)w->count;
    score->agreement /= (double)w->count;
    score->cpu_ms = least;
    return OK;
}

static enum err judge(const struct work *w, const struct quantization *q,
                      struct quantize_score *score, struct error *error)
{
    struct engine *e = NULL;
    struct engine_context *c = NULL;
    *score = (struct quantize_score){0};
    float *y = malloc(w->output_floats * sizeof *y);
    enum err err = y != NULL ? OK : no_memory(error);
    if (err == OK)
        err = engine_load_with(
            w->path, &(struct engine_options){.int8 = q, .open = w->options->open, .logits = true},
            &e, error);
    if (err == OK)
        err = engine_context_new(e, &c, error);
    if (err == OK)
        err = run_int8(w, c, y, score, error);
    engine_context_free(c);
    engine_free(e);
    free(y);
    return err;
}

static enum err make(const struct work *w, const bool *keep, enum clipping clipping,
                     struct quantization *out, struct error *error)
{
    struct selection s;
    TRY(selection_make(w->graph, keep, &s, error));
    selection_quantize(w->graph, &s, w->histograms, clipping, out);
    selection_release(&s);
    if (out->layer_count == 0)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "model '%.150s' has no layer that can compute in int8", w->path);
    return OK;
}

// Tries one way; *best is replaced where the new one is better by `better`.
static enum err attempt(struct work *w, const char *what, const bool *keep, enum clipping clipping,
                        bool (*better)(const struct quantize_score *,
                                       const struct quantize_score *),
                        struct quantization *best, bool *taken, struct error *error)
{
    struct quantization q = {0};
    struct quantize_report *r = w->report;
    struct quantize_trial *t = &r->trials[r->trial_count];
    progress(w, what, 0, 0);
    enum err err = make(w, keep, clipping, &q, error);
    t->what = what;
    if (err == OK)
        err = judge(w, &q, &t->score, error);
    if (err != OK) {
        quantization_release(&q);
        return err;
    }
    *taken = best->layer_count == 0 || better(&t->score, &r->score);
    if (*taken) {
        for (size_t i = 0; i < r->trial_count; i++)
            r->trials[i].taken = false;
        struct quantization old = *best;
        *best = q;
        q = old;
        r->score = t->score;
        t->taken = true;
    }
    r->trial_count++;
    quantization_release(&q);
    return OK;
}

static bool less_noise(const struct quantize_score *a, const struct quantize_score *b)
{
    return a->noise < b->noise;
}

// A layer stays fp32 where that takes away a larger part of the error than it adds to the time.
static bool pays(const struct quantize_score *a, const struct quantize_score *b)
{
    return a->noise * a->cpu_ms < b->noise * b->cpu_ms;
}

static bool computes(const struct node *n)
{
    return !n->dead && (n->op->kind == OP_CONV || n->op->kind == OP_GEMM);
}

// The first and the last layer with weights; -1: none.
static void find_ends(const struct graph *g, int *first, int *last)
{
    *first = *last = -1;
    for (int i = 0; i < g->node_count; i++)
        if (computes(&g->nodes[i])) {
            *first = *first < 0 ? i : *first;
            *last = i;
        }
}

static enum err choose(struct work *w, struct quantization *out, struct error *error)
{
    bool taken;
    int ends[2];
    enum clipping clipping = CLIP_NOTHING;
    static const char *const what[2] = {"the first layer in fp32", "the last layer in fp32"};
    for (int c = 0; c < (w->options->quick ? 1 : (int)CLIPPINGS); c++) {
        TRY(attempt(w, clipping_name((enum clipping)c), w->keep, (enum clipping)c, less_noise, out,
                    &taken, error));
        clipping = taken ? (enum clipping)c : clipping;
    }
    find_ends(w->graph, &ends[0], &ends[1]);
    for (int i = 0; i < 2 && !w->options->quick && ends[0] != ends[1]; i++) {
        w->keep[ends[i]] = true;
        enum err err = attempt(w, what[i], w->keep, clipping, pays, out, &taken, error);
        if (err == ERR_UNSUPPORTED) // then nothing would be left in int8
            taken = false;
        else
            TRY(err);
        w->keep[ends[i]] = taken;
    }
    return OK;
}

static enum err calibrate_all(struct work *w, struct error *error)
{
    struct engine *e = NULL;
    struct engine_context *c = NULL;
    struct engine_options o = {.watched = true, .open = w->options->open, .logits = true};
    enum err err = engine_load_with(w->path, &o, &e, error);
    if (err == OK)
        err = engine_context_new(e, &c, error);
    if (err == OK)
        err = calibrate(w, e, c, error);
    engine_context_free(c);
    engine_free(e);
    return err;
}

static enum err quantize(struct work *w, struct quantization *out, struct error *error)
{
    TRY(onnx_read_file(w->path, w->options->open, &w->graph, error));
    TRY(passes_run(w->graph, error));
    graph_drop_softmax(w->graph);
    w->histograms = calloc((size_t)w->graph->value_count, sizeof(struct histogram *));
    w->keep = calloc((size_t)w->graph->node_count + 1, sizeof *w->keep);
    if (w->histograms == NULL || w->keep == NULL)
        return no_memory(error);
    TRY(calibrate_all(w, error));
    TRY(choose(w, out, error));
    if (w->options->quick)
        return OK;
    progress(w, "comparing layers", 0, 0);
    return quantize_describe(w->path, w->graph, w->histograms, out, w->inputs, w->count, w->report,
                             error);
}

enum err quantize_model(const char *onnx_path, const float *inputs, size_t count,
                        const struct quantize_options *options, struct quantization *out,
                        struct quantize_report *report, struct error *error)
{
    struct work w = {
        .path = onnx_path, .inputs = inputs, .count = count, .options = options, .report = report};
    *out = (struct quantization){0};
    *report = (struct quantize_report){0};
    enum err err = quantize(&w, out, error);
    for (int v = 0; w.histograms != NULL && v < w.graph->value_count; v++)
        free(w.histograms[v]);
    free(w.histograms);
    free(w.keep);
    free(w.outputs);
    graph_free(w.graph);
    return err;
}
