// One axis of a resize: which samples each result is made of, with which weights.
#include "base/check.h"
#include "engine/resize.h"

#include <math.h>
#include <stdlib.h>

void resize_axis_release(struct resize_axis *a)
{
    free(a->first);
    free(a->count);
    free(a->weights);
    free(a->high);
    free(a->low);
    *a = (struct resize_axis){0};
}

static bool axis_allocate(struct resize_axis *a, int in, int out, int taps)
{
    a->in = in;
    a->out = out;
    a->taps = (taps + 3) / 4 * 4;
    size_t cells = (size_t)out * (size_t)a->taps;
    a->first = calloc((size_t)out, sizeof *a->first);
    a->count = calloc((size_t)out, sizeof *a->count);
    a->weights = calloc(cells, sizeof *a->weights);
    a->high = calloc(cells, sizeof *a->high);
    a->low = calloc(cells, sizeof *a->low);
    return a->first != NULL && a->count != NULL && a->weights != NULL && a->high != NULL &&
           a->low != NULL;
}

// The position is summed up step by step, in double, because Pillow does so: on long axes the
// product (i + 0.5) * step can fall into the neighbouring sample.
static void axis_nearest(struct resize_axis *a, float in0, float in1)
{
    double step = (double)(in1 - in0) / a->out;
    double at = in0 + step * 0.5;
    for (int i = 0; i < a->out; i++, at += step) {
        int sample = (int)at;
        a->first[i] = sample < a->in ? sample : a->in - 1;
        a->count[i] = 1;
        a->weights[(size_t)i * (size_t)a->taps] = 1 << RESIZE_WEIGHT_BITS;
    }
}

// Window and weights of one output sample. weight: room for taps.
static void axis_triangle(struct resize_axis *a, int i, float in0, double step, double *weight)
{
    double scale = step < 1.0 ? 1.0 : step; // the triangle reaches this far to both sides
    double centre = in0 + (i + 0.5) * step;
    int first = (int)(centre - scale + 0.5), end = (int)(centre + scale + 0.5);
    if (centre - scale + 0.5 < 0)
        first = 0;
    if (end > a->in)
        end = a->in;
    double sum = 0;
    for (int x = first; x < end; x++) {
        double distance = fabs((x - centre + 0.5) * (1.0 / scale));
        weight[x - first] = distance < 1.0 ? 1.0 - distance : 0.0;
        sum += weight[x - first];
    }
    int32_t *out = a->weights + (size_t)i * (size_t)a->taps;
    for (int x = 0; x < end - first; x++) {
        double share = sum != 0.0 ? weight[x] / sum : weight[x];
        out[x] = (int32_t)(0.5 + share * (1 << RESIZE_WEIGHT_BITS));
    }
    a->first[i] = first;
    a->count[i] = end - first;
}

static void axis_mirror(struct resize_axis *a)
{
    size_t taps = (size_t)a->taps;
    int32_t *mirrored = calloc((size_t)a->out * taps, sizeof *mirrored);
    CHECK(mirrored != NULL);
    for (int i = 0; i < a->out; i++) {
        int from = a->out - 1 - i, count = a->count[from];
        for (int t = 0; t < count; t++)
            mirrored[(size_t)i * taps + (size_t)t] =
                a->weights[(size_t)from * taps + (size_t)(count - 1 - t)];
    }
    free(a->weights);
    a->weights = mirrored;
    for (int i = 0, j = a->out - 1; i <= j; i++, j--) {
        int first_i = a->in - a->first[i] - a->count[i],
            first_j = a->in - a->first[j] - a->count[j];
        int count_i = a->count[i];
        a->first[i] = first_j;
        a->count[i] = a->count[j];
        a->first[j] = first_i;
        a->count[j] = count_i;
    }
}

enum err resize_axis_init(struct resize_axis *a, int in, float in0, float in1, int out,
                          enum image_filter filter, bool mirrored, struct error *error)
{
    CHECK(in > 0 && out > 0 && in0 >= 0 && in0 < in1 && in1 <= (float)in);
    *a = (struct resize_axis){0};
    double step = (double)(in1 - in0) / out;
    int reach = (int)ceil(step < 1.0 ? 1.0 : step);
    int taps = filter == IMAGE_NEAREST ? 1 : reach * 2 + 1;
    double *weight = malloc((size_t)taps * sizeof *weight);
    if (weight == NULL || !axis_allocate(a, in, out, taps)) {
        free(weight);
        resize_axis_release(a);
        return fail(error, ERR_NOMEM, 0, "no memory for the tables of a resize from %d to %d", in,
                    out);
    }
    if (filter == IMAGE_NEAREST)
        axis_nearest(a, in0, in1);
    else
        for (int i = 0; i < out; i++)
            axis_triangle(a, i, in0, step, weight);
    free(weight);
    if (mirrored)
        axis_mirror(a);
    for (size_t i = 0; i < (size_t)out * (size_t)a->taps; i++) {
        a->high[i] = (int16_t)(a->weights[i] >> RESIZE_LOW_BITS);
        a->low[i] = (int16_t)(a->weights[i] & ((1 << RESIZE_LOW_BITS) - 1));
    }
    return OK;
}
