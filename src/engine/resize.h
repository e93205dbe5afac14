// Resize: rows of a picture come in from the top, the network's tensor comes out. Streams: it keeps
// only the rows that the next row of the result needs, already narrowed.
//
// Separable, as Pillow's Image.resize and with its arithmetic: per axis a table of windows (first
// sample, weights), weights in fixed point with 22 bits, first along the rows, then across them,
// each result rounded to 8 bits. "Bilinear" is a triangle filter as wide as the reduction, so that
// each sample of the picture counts; "nearest" is a window of one sample. Orientation costs
// nothing: the tables are mirrored and the pixels put where they belong.
//
// Fast: the picture may come at 1/2, 1/4 or 1/8 of its size, the smallest at which the shown part
// still has twice the pixels of its place in the tensor on both sides. The decoder's reduction is a
// box filter of low quality, but its faults are finer than a pixel of the result; the antialiased
// resize does the rest, in fractions of a pixel, so that odd sizes stay in place.
#pragma once

#include "engine/image.h"

enum { RESIZE_WEIGHT_BITS = 22, RESIZE_LOW_BITS = 11 };

struct resize_axis {
    int in, out;
    int taps;            // samples of the widest window, rounded up to a multiple of 4
    int *first;          // [out] first sample of the window, never falling
    int *count;          // [out] samples in the window, >= 1; first + count never falls
    int32_t *weights;    // [out][taps], sum 2^22; behind count: 0
    int16_t *high, *low; // the same, weight = high * 2^11 + low
};

// in0..in1: the part of the axis that is shown, in samples; mirrored: out 0 shows its end.
// ERR_NOMEM.
enum err resize_axis_init(struct resize_axis *a, int in, float in0, float in1, int out,
                          enum image_filter filter, bool mirrored, struct error *error) MUST_CHECK;
void resize_axis_release(struct resize_axis *a);

// The inner loops. All give the same bits.
struct resize_kernels {
    // row [in * 3] -> out [a->out * 3]; writes one byte behind.
    void (*narrow)(const struct resize_axis *a, const uint8_t *row, uint8_t *out);
    // out[i] = sum over t of weights[t] * rows[t][i], i < len.
    void (*mix)(const uint8_t *const *rows, const int32_t *weights, int count, int len,
                uint8_t *out);
};
const struct resize_kernels *resize_kernels_plain(void);
const struct resize_kernels *resize_kernels_best(void); // that this processor has

// What one picture is resized with. width, height and orientation are the picture's as stored; its
// rows come reduced by `reduce` (1, 2, 4, 8): ceil(height / reduce) rows of ceil(width / reduce).
struct resize;
enum err resize_new(const struct preprocess *p, int width, int height, int reduce, int orientation,
                    float *out, struct resize **resize, struct error *error) MUST_CHECK;
// How much smaller the picture may come: 1 when p is not fast.
int resize_reduction(const struct preprocess *p, int width, int height, int orientation);
// Each row 0 …, in order. After the last the tensor is whole.
void resize_row(struct resize *r, int y, const uint8_t *rgb);
void resize_free(struct resize *r); // NULL allowed
