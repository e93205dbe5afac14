// Where the error of an int8 network comes from, layer by layer.
#include "engine/ops.h"
#include "engine/quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PICTURES = 4 }; // that both networks are run on

// What a layer's result holds in both networks.
struct sums {
    double power, own, product, noise;
};

struct comparison {
    bool *wanted;      // [value_count]
    float **fp32;      // [value_count] of the picture
    struct sums *sums; // [value_count]
};

void quantize_report_release(struct quantize_report *r)
{
    for (size_t i = 0; i < r->layer_count; i++) {
        free(r->layers[i].result);
        free(r->layers[i].op);
    }
    free(r->layers);
    *r = (struct quantize_report){0};
}

static enum err keep_fp32(void *context, int value, const float *data, size_t count,
                          struct error *error)
{
    struct comparison *c = context;
    if (!c->wanted[value])
        return OK;
    if (c->fp32[value] == NULL)
        c->fp32[value] = malloc((count + 1) * sizeof(float));
    if (c->fp32[value] == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory to compare the layers");
    memcpy(c->fp32[value], data, count * sizeof *data);
    return OK;
}

static enum err compare_int8(void *context, int value, const float *data, size_t count,
                             struct error *error)
{
    struct comparison *c = context;
    const float *expected = c->fp32[value];
    struct sums *s = &c->sums[value];
    (void)error;
    for (size_t i = 0; expected != NULL && i < count; i++) {
        double a = (double)expected[i], b = (double)data[i];
        s->power += a * a;
        s->own += b * b;
        s->product += a * b;
        s->noise += (a - b) * (a - b);
    }
    return OK;
}

// Height and width of g's input, if it is a picture.
static struct engine_size picture_size(const struct graph *g)
{
    const struct engine_shape *s = &g->values[g->input].t.shape;
    int at = s->rank == 4 && (s->dims[1] == 3 || s->dims[1] == 1) ? 2 : 1;
    return s->rank == 4 ? (struct engine_size){(int)s->dims[at], (int)s->dims[at + 1]}
                        : (struct engine_size){0};
}

static enum err run_both(const char *path, const struct graph *g, const struct quantization *q,
                         const float *inputs, size_t count, struct comparison *compared,
                         struct error *error)
{
    struct engine *e[2] = {NULL, NULL};
    struct engine_context *c[2] = {NULL, NULL};
    enum err err = OK;
    for (int i = 0; i < 2 && err == OK; i++) {
        struct engine_options o = {
            .int8 = i == 1 ? q : NULL, .watched = true, .open = picture_size(g), .logits = true};
        err = engine_load_with(path, &o, &e[i], error);
        if (err == OK)
            err = engine_context_new(e[i], &c[i], error);
    }
    for (size_t k = 0; k < count && k < PICTURES && err == OK; k++) {
        const float *x = inputs + k * engine_input_floats(e[0]);
        err = engine_watch(c[0], x, keep_fp32, compared, error);
        if (err == OK)
            err = engine_watch(c[1], x, compare_int8, compared, error);
    }
    for (int i = 0; i < 2; i++) {
        engine_context_free(c[i]);
        engine_free(e[i]);
    }
    return err;
}

static double decibels(double signal, double noise)
{
    return noise > 0 && signal > 0 ? 10 * log10(signal / noise) : (double)NAN;
}

// Of weights rounded per channel of the result.
static double weights_db(const struct graph *g, const struct node *n)
{
    const struct tensor *t = graph_constant(g, n, 1);
    const float *w = t->data;
    bool rows = n->op->kind == OP_CONV || n->params.gemm.transpose_b;
    int64_t count = shape_count(&t->shape), channels = t->shape.dims[rows ? 0 : 1];
    int64_t inner = count / channels, step = rows ? 1 : channels;
    double signal = 0, noise = 0;
    for (int64_t c = 0; c < channels; c++) {
        const float *row = w + (rows ? c * inner : c);
        double max = 0;
        for (int64_t i = 0; i < inner; i++)
            max = fmax(max, fabs((double)row[i * step]));
        for (int64_t i = 0; i < inner && max > 0; i++) {
            double x = (double)row[i * step], off = x - rint(x * 127 / max) * max / 127;
            signal += x * x;
            noise += off * off;
        }
    }
    return decibels(signal, noise);
}

static bool has_layer(const struct quantization *q, const char *result)
{
    for (size_t i = 0; i < q->layer_count; i++)
        if (strcmp(q->layers[i], result) == 0)
            return true;
    return false;
}

static const struct quant *find_quant(const struct quantization *q, const char *name)
{
    for (size_t i = 0; i < q->tensor_count; i++)
        if (strcmp(q->tensors[i].name, name) == 0)
            return &q->tensors[i].quant;
    return NULL;
}

static void describe(const struct graph *g, const struct node *n, const struct histogram *h,
                     const struct quantization *q, const struct sums *s, struct quantize_layer *l)
{
    const char *name = g->values[n->outputs[0]].name;
    const struct quant *quant = find_quant(q, name);
    double signal, noise;
    bool weighted = n->op->kind == OP_CONV || n->op->kind == OP_GEMM;
    *l = (struct quantize_layer){.result = strdup(name), .op = strdup(n->op->name)};
    l->int8 = has_layer(q, name);
    l->gflop = weighted ? graph_node_flop(g, n) * 1e-9 : 0;
    l->weights_db = weighted && l->int8 ? weights_db(g, n) : (double)NAN;
    l->rounding_db = (double)NAN;
    if (quant != NULL && h != NULL) {
        histogram_noise(h, *quant, &signal, &noise);
        l->rounding_db = decibels(signal, noise);
    }
    l->running_db = decibels(s->power, s->noise);
    l->cosine = s->power > 0 && s->own > 0 ? s->product / sqrt(s->power * s->own) : 1;
}

static bool shown(const struct node *n, const struct quantization *q, const struct graph *g)
{
    return !n->dead && (n->op->kind == OP_CONV || n->op->kind == OP_GEMM ||
                        has_layer(q, g->values[n->outputs[0]].name));
}

static enum err describe_all(const char *path, const struct graph *g,
                             struct histogram *const *histograms, const struct quantization *q,
                             const float *inputs, size_t count, struct comparison *c,
                             struct quantize_report *report, struct error *error)
{
    for (int i = 0; i < g->node_count; i++)
        if (shown(&g->nodes[i], q, g))
            c->wanted[g->nodes[i].outputs[0]] = true;
    TRY(run_both(path, g, q, inputs, count, c, error));
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        if (shown(n, q, g))
            describe(g, n, histograms[n->outputs[0]], q, &c->sums[n->outputs[0]],
                     &report->layers[report->layer_count++]);
    }
    return OK;
}

enum err quantize_describe(const char *onnx_path, const struct graph *g,
                           struct histogram *const *histograms, const struct quantization *q,
                           const float *inputs, size_t count, struct quantize_report *report,
                           struct error *error)
{
    size_t values = (size_t)g->value_count;
    struct comparison c = {.wanted = calloc(values, sizeof *c.wanted),
                           .fp32 = calloc(values, sizeof(float *)),
                           .sums = calloc(values, sizeof *c.sums)};
    report->layers = calloc((size_t)g->node_count + 1, sizeof *report->layers);
    enum err err = ERR_NOMEM;
    if (c.wanted != NULL && c.fp32 != NULL && c.sums != NULL && report->layers != NULL)
        err = describe_all(onnx_path, g, histograms, q, inputs, count, &c, report, error);
    else
        fail(error, ERR_NOMEM, 0, "no memory to compare the layers");
    for (size_t v = 0; v < values && c.fp32 != NULL; v++)
        free(c.fp32[v]);
    free(c.wanted);
    free(c.fp32);
    free(c.sums);
    return err;
}
