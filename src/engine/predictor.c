#include "engine/predictor.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/text.h"
#include "engine/quantization.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct predictor {
    struct package *package;
    struct engine *engine;
    // of this process, made by predictor_prepare
    struct engine_context *context;
    char *scratch; // arena, then input and output
    bool scratch_is_ours;
    atomic_int *trace;               // NULL: none
    float *input, *output;           // of scratch
    struct prediction *top;          // [package top_k]
    struct prediction_group *groups; // [package group_count]
};

static void unprepare(struct predictor *p)
{
    engine_context_free(p->context);
    if (p->scratch != NULL && p->scratch_is_ours)
        munmap(p->scratch, predictor_scratch_bytes(p));
    free(p->top);
    free(p->groups);
    p->context = NULL;
    p->scratch = NULL;
    p->input = p->output = NULL;
    p->top = NULL;
    p->groups = NULL;
}

void predictor_free(struct predictor *p)
{
    if (p == NULL)
        return;
    unprepare(p);
    engine_free(p->engine);
    package_free(p->package);
    free(p);
}

const struct package *predictor_package(const struct predictor *p)
{
    return p->package;
}

const struct engine *predictor_engine(const struct predictor *p)
{
    return p->engine;
}

const char *predictor_precision(const struct predictor *p)
{
    return engine_precision(p->engine);
}

// Each part begins on a cache line.
static size_t line_up(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

size_t predictor_scratch_bytes(const struct predictor *p)
{
    return line_up(engine_arena_bytes(p->engine)) +
           line_up(engine_input_floats(p->engine) * sizeof(float)) +
           line_up(engine_output_floats(p->engine) * sizeof(float));
}

static enum err make_scratch(struct predictor *p, struct error *error)
{
    size_t bytes = predictor_scratch_bytes(p);
    p->scratch = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->scratch == MAP_FAILED) {
        p->scratch = NULL;
        return fail(error, ERR_NOMEM, 0, "no memory for the tensors of model '%s' (%zu MiB)",
                    p->package->name, bytes >> 20);
    }
    p->scratch_is_ours = true;
    madvise(p->scratch, bytes, MADV_HUGEPAGE); // advice: failure changes nothing
    return OK;
}

static enum err make_context(struct predictor *p, void *scratch, struct error *error)
{
    p->scratch = scratch;
    p->scratch_is_ours = false;
    if (scratch == NULL)
        TRY(make_scratch(p, error));
    p->input = (float *)(void *)(p->scratch + line_up(engine_arena_bytes(p->engine)));
    p->output = (float *)(void *)((char *)p->input +
                                  line_up(engine_input_floats(p->engine) * sizeof(float)));
    p->top = calloc((size_t)p->package->top_k, sizeof *p->top);
    p->groups = calloc(p->package->group_count + 1, sizeof *p->groups);
    if (p->top == NULL || p->groups == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for the scores of model '%s'",
                    p->package->name);
    return engine_context_new_in(p->engine, p->scratch, &p->context, error);
}

static enum err have_context(struct predictor *p, void *scratch, struct error *error)
{
    enum err err = p->context == NULL ? make_context(p, scratch, error) : OK;
    if (err != OK)
        unprepare(p);
    return err;
}

enum err predictor_begin(struct predictor *p, struct error *error)
{
    return have_context(p, NULL, error);
}

enum err predictor_prepare_in(struct predictor *p, void *scratch, struct error *error)
{
    TRY(have_context(p, scratch, error));
    uint8_t grey[3] = {127, 127, 127};
    struct image image = {1, 1, grey};
    TRY(image_to_tensor(&image, &p->package->preprocess, p->input, error));
    return engine_run(p->context, p->input, p->output, NULL, 0, error);
}

enum err predictor_prepare(struct predictor *p, struct error *error)
{
    return predictor_prepare_in(p, NULL, error);
}

// ---- where a run is ---------------------------------------------------------------------------

void predictor_trace(struct predictor *p, atomic_int *where)
{
    p->trace = where;
    engine_context_trace(p->context, where);
}

static void trace(const struct predictor *p, int where)
{
    if (p->trace != NULL)
        atomic_store_explicit(p->trace, where, memory_order_relaxed);
}

void predictor_where(const struct predictor *p, int where, struct buf *out)
{
    size_t count = engine_step_count(p->engine);
    if (where == PREDICTOR_DECODES)
        buf_add_text(out, "decode");
    if (where < 0 || (size_t)where >= count)
        return;
    struct engine_layer *layers = calloc(count, sizeof *layers);
    CHECK(layers != NULL);
    engine_layers(p->engine, layers);
    buf_printf(out, "layer %d of %zu (%s '%s')", where + 1, count, layers[where].op,
               layers[where].node);
    free(layers);
}

// Numbers in 0..1 with the sum 1.
static bool are_probabilities(const float *scores, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (!(scores[i] >= 0.0f && scores[i] <= 1.0f))
            return false;
        sum += (double)scores[i];
    }
    return fabs(sum - 1.0) < 1e-3;
}

// Where the package does not say what the numbers are, the network's end tells, or else those for a
// grey picture.
static enum err output_guess(struct predictor *p, struct error *error)
{
    enum engine_scores scores = engine_scores(p->engine);
    p->package->softmax = scores == ENGINE_SCORES_LOGITS;
    p->package->output_known = scores != ENGINE_SCORES_UNKNOWN;
    if (p->package->output_known)
        return OK;
    enum err err = predictor_prepare(p, error);
    if (err == OK && p->output != NULL) {
        p->package->softmax = !are_probabilities(p->output, p->package->label_count);
        p->package->output_known = true;
    }
    unprepare(p); // each process makes its own after the fork
    return err;
}

static enum err load(struct predictor *p, struct error *error)
{
    const struct package *package = p->package;
    struct quantization q = {0};
    struct engine_options options = {.open = preprocess_size(&package->preprocess)};
    if (package->int8_path != NULL) {
        TRY(package_quantization(package, &q, error));
        options.int8 = &q;
    }
    enum err err = engine_load_with(package->model_path, &options, &p->engine, error);
    quantization_release(&q);
    return err;
}

enum err predictor_open(const char *name_or_path, const char *search_path, struct predictor **out,
                        struct error *error)
{
    struct predictor *p = calloc(1, sizeof *p);
    CHECK(p != NULL);
    enum err err = package_open(name_or_path, search_path, &p->package, error);
    if (err == OK)
        err = load(p, error);
    if (err == OK) {
        err = package_fit(p->package, engine_input_shape(p->engine),
                          engine_output_floats(p->engine), error);
        if (err != OK)
            err = fail_context(error, err, "model '%s'", p->package->name);
    }
    if (err == OK && !p->package->output_known)
        err = output_guess(p, error);
    if (err != OK) {
        predictor_free(p);
        return err;
    }
    *out = p;
    return OK;
}

enum err predictor_fingerprint(const char *name_or_path, const char *search_path, char out[65],
                               struct error *error)
{
    struct package *p;
    memset(out, '0', 64);
    out[64] = '\0';
    TRY(package_open(name_or_path, search_path, &p, error));
    memcpy(out, p->fingerprint, sizeof p->fingerprint);
    package_free(p);
    return OK;
}

// ---- scores -----------------------------------------------------------------------------------

static void softmax(float *scores, size_t count)
{
    double sum = 0, highest = (double)scores[0];
    for (size_t i = 1; i < count; i++)
        highest = fmax(highest, (double)scores[i]);
    for (size_t i = 0; i < count; i++)
        sum += exp((double)scores[i] - highest);
    for (size_t i = 0; i < count; i++)
        scores[i] = (float)(exp((double)scores[i] - highest) / sum);
}

// The best first; of equal ones the lower index.
static size_t choose_top(const float *scores, size_t count, struct prediction *top, size_t top_k)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (used == top_k && scores[i] <= top[used - 1].score)
            continue;
        size_t at = used < top_k ? used++ : used - 1;
        for (; at > 0 && top[at - 1].score < scores[i]; at--)
            top[at] = top[at - 1];
        top[at] = (struct prediction){(int)i, scores[i]};
    }
    return used;
}

static void sum_groups(const struct package *p, const float *scores, struct prediction_group *out)
{
    for (size_t g = 0; g < p->group_count; g++) {
        double sum = 0;
        for (size_t i = 0; i < p->label_count; i++)
            if (p->groups[g].members[i])
                sum += (double)scores[i];
        out[g].score = (float)sum;
        out[g].present = out[g].score >= p->group_threshold;
    }
}

enum err predictor_run(struct predictor *p, struct span picture, const atomic_int *cancel,
                       int64_t deadline_ms, struct prediction_result *out, struct error *error)
{
    CHECK(p->context != NULL);
    const struct package *package = p->package;
    const struct stop stop = {cancel, deadline_ms};
    struct image_info info = {0};
    int64_t begun_us = clock_monotonic_us();
    trace(p, PREDICTOR_DECODES);
    TRY(image_read_tensor(picture, &package->preprocess, &stop, p->input, &info, error));
    int64_t decoded_us = clock_monotonic_us();
    TRY(engine_run(p->context, p->input, p->output, cancel, deadline_ms, error));
    trace(p, PREDICTOR_IDLE);
    for (size_t i = 0; i < package->label_count; i++)
        if (!isfinite(p->output[i]))
            return fail(
                error, ERR_UNSUPPORTED, 0,
                "model '%s' has no answer to this picture (the score of '%s' is not a number)",
                package->name, package->labels[i]);
    if (package->softmax)
        softmax(p->output, package->label_count);
    sum_groups(package, p->output, p->groups);
    bool turned = package->preprocess.orient && info.orientation >= 5;
    *out = (struct prediction_result){
        .top = p->top,
        .top_count = choose_top(p->output, package->label_count, p->top, (size_t)package->top_k),
        .groups = p->groups,
        .width = turned ? info.height : info.width,
        .height = turned ? info.width : info.height,
        .decode_us = decoded_us - begun_us,
        .infer_us = clock_monotonic_us() - decoded_us,
    };
    return OK;
}

void predictor_write_json(const struct predictor *p, const struct prediction_result *r,
                          struct buf *out)
{
    const struct package *package = p->package;
    buf_add_text(out, "{\"predictions\":[");
    for (size_t i = 0; i < r->top_count; i++) {
        buf_add_text(out, i == 0 ? "{\"label\":" : ",{\"label\":");
        json_escape(span_from(package->labels[r->top[i].index]), out);
        buf_printf(out, ",\"index\":%d,\"score\":%.6g}", r->top[i].index, (double)r->top[i].score);
    }
    buf_add_text(out, "],\"groups\":{");
    for (size_t g = 0; g < package->group_count; g++) {
        if (g > 0)
            buf_add_char(out, ',');
        json_escape(span_from(package->groups[g].name), out);
        buf_printf(out, ":{\"present\":%s,\"score\":%.6g}", r->groups[g].present ? "true" : "false",
                   (double)r->groups[g].score);
    }
    buf_add_text(out, "}}");
}
