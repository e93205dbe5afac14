#include "engine/calibrate.h"

#include <math.h>
#include <string.h>

enum { HALF = HISTOGRAM_BINS / 2 };

// Doubles the reach: two bins become one.
static void widen(struct histogram *h)
{
    for (int i = 0; i < HALF / 2; i++) { // outwards from the middle
        h->bins[HALF + i] = h->bins[HALF + 2 * i] + h->bins[HALF + 2 * i + 1];
        h->bins[HALF - 1 - i] = h->bins[HALF - 1 - 2 * i] + h->bins[HALF - 2 - 2 * i];
    }
    memset(&h->bins[HALF + HALF / 2], 0, HALF / 2 * sizeof *h->bins);
    memset(&h->bins[0], 0, HALF / 2 * sizeof *h->bins);
    h->reach *= 2;
}

void histogram_add(struct histogram *h, const float *data, size_t count)
{
    float low = h->min, high = h->max;
    for (size_t i = 0; i < count; i++)
        if (isfinite(data[i])) {
            low = fminf(low, data[i]);
            high = fmaxf(high, data[i]);
        }
    float most = fmaxf(-low, high);
    if (most > 1e30f || most == 0) // no network lives there; all zeros need no bins
        most = 0;
    if (h->reach == 0 && most > 0)
        h->reach = exp2f(ceilf(log2f(most)));
    while (h->reach > 0 && h->reach < most)
        widen(h);
    h->min = low;
    h->max = high;
    float step = h->reach > 0 ? (float)HALF / h->reach : 0;
    for (size_t i = 0; i < count; i++) {
        float at = floorf(data[i] * step) + HALF;
        if (!(at >= 0 && isfinite(data[i])))
            continue; // no number, or too large
        h->bins[at < HISTOGRAM_BINS ? (int)at : HISTOGRAM_BINS - 1]++;
        h->count++;
    }
}

const char *clipping_name(enum clipping c)
{
    static const char *const names[] = {"whole range", "percentile", "least error"};
    return c < CLIPPINGS ? names[c] : "?";
}

static double bin_middle(const struct histogram *h, int bin)
{
    return (bin - HALF + 0.5) * (double)h->reach / HALF;
}

struct quant range_quant(struct range r)
{
    double scale = (r.high - r.low) / 255;
    if (!(scale > 1e-18 && scale < 1e18))
        return (struct quant){1, 0};
    return (struct quant){(float)scale, (int)lrint(-r.low / scale)};
}

void histogram_noise(const struct histogram *h, struct quant q, double *signal, double *noise)
{
    double power = 0, lost = 0, scale = (double)q.scale, width = (double)h->reach / HALF;
    double count = h->count > 0 ? (double)h->count : 1;
    // Rounding within a bin: where bins are finer than bytes, the middle stands for all; the rest
    // is spread evenly.
    for (int i = 0; i < HISTOGRAM_BINS; i++) {
        if (h->bins[i] == 0)
            continue;
        double x = bin_middle(h, i), byte = rint(x / scale) + q.zero;
        byte = byte < 0 ? 0 : byte > 255 ? 255 : byte;
        double off = x - scale * (byte - q.zero);
        bool inside = fabs(off) <= scale / 2 + width;
        power += (double)h->bins[i] * x * x;
        lost += (double)h->bins[i] * (inside ? scale * scale / 12 : off * off);
    }
    *signal = power / count;
    *noise = lost / count;
}

static struct range percentile(const struct histogram *h, struct range whole)
{
    uint64_t tail = h->count / 20000, seen = 0;
    double width = (double)h->reach / HALF;
    struct range r = whole;
    int i = 0;
    for (; i < HISTOGRAM_BINS && (seen += h->bins[i]) <= tail; i++)
        ;
    if (i < HISTOGRAM_BINS)
        r.low = fmin(0, fmax(whole.low, bin_middle(h, i) - width / 2));
    seen = 0;
    for (i = HISTOGRAM_BINS - 1; i >= 0 && (seen += h->bins[i]) <= tail; i--)
        ;
    if (i >= 0)
        r.high = fmax(0, fmin(whole.high, bin_middle(h, i) + width / 2));
    return r;
}

// Moves one end inwards in small steps as long as that loses less. Returns whether it moved.
static bool search_end(const struct histogram *h, struct range *r, bool low, double *least)
{
    enum { STEPS = 96 };
    struct range best = *r, whole = *r;
    bool moved = false;
    for (int i = 1; i < STEPS; i++) {
        struct range t = whole;
        double keep = 1 - (double)i / STEPS, signal, noise;
        if (low)
            t.low *= keep;
        else
            t.high *= keep;
        histogram_noise(h, range_quant(t), &signal, &noise);
        if (noise < *least) {
            *least = noise;
            best = t;
            moved = true;
        } else if (noise > 4 * *least) {
            break;
        }
    }
    *r = best;
    return moved;
}

static struct range least_error(const struct histogram *h, struct range whole)
{
    struct range r = whole;
    double signal, least;
    histogram_noise(h, range_quant(r), &signal, &least);
    for (int round = 0; round < 2; round++) {
        bool moved = r.high > 0 && search_end(h, &r, false, &least);
        if (r.low < 0)
            moved = search_end(h, &r, true, &least) || moved;
        if (!moved)
            break;
    }
    return r;
}

struct range histogram_range(const struct histogram *h, enum clipping clipping)
{
    struct range whole = {fmin(0, (double)h->min), fmax(0, (double)h->max)};
    if (h->count == 0 || h->reach == 0)
        return (struct range){0, 0};
    if (clipping == CLIP_PERCENTILE)
        return percentile(h, whole);
    return clipping == CLIP_ERROR ? least_error(h, whole) : whole;
}
