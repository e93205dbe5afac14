// Calibrate: what numbers a tensor held, and which range of them is best rounded to bytes. Pure.
#pragma once

#include "engine/graph.h"

enum { HISTOGRAM_BINS = 4096 };

// How often which numbers came. {0} is empty. The bins reach from -reach to reach; reach is a power
// of two that grows with what comes.
struct histogram {
    float min, max, reach;
    uint64_t count, bins[HISTOGRAM_BINS];
};
void histogram_add(struct histogram *h, const float *data, size_t count); // what is not finite: not

enum clipping {
    CLIP_NOTHING,    // the whole range
    CLIP_PERCENTILE, // all but one number in 20,000 at each end
    CLIP_ERROR,      // the range whose mean squared rounding error is least
    CLIPPINGS
};
const char *clipping_name(enum clipping c);

// 0 is always inside: low <= 0 <= high.
struct range {
    double low, high;
};
struct range histogram_range(const struct histogram *h, enum clipping clipping);
// The bytes for a range: its ends are 0 and 255, and 0 is a byte.
struct quant range_quant(struct range r);
// Power of the numbers, and of what is lost when they are rounded like q; per number.
void histogram_noise(const struct histogram *h, struct quant q, double *signal, double *noise);
