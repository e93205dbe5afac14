// Pictures: JPEG, PNG, WebP → the float tensor that a network wants.
//
// Foreign bytes: call only in a sandboxed child (or in a command the user runs on own files).
// Dimensions are read from the header and refused above limits before anything is allocated.
#pragma once

#include "base/buf.h"

enum image_format { IMAGE_UNKNOWN, IMAGE_JPEG, IMAGE_PNG, IMAGE_WEBP };

struct image_info {
    enum image_format format;
    int width, height; // pixels as stored, before orientation
    int orientation;   // EXIF 1..8; 1 when there is none
};

// Header only. ERR_FORMAT: "not a picture that smelt reads (JPEG, PNG, WebP)…", "empty",
// "truncated"; ERR_LIMIT: "the picture is 50000 x 50000 pixels, the limit is …".
enum err image_probe(struct span bytes, struct image_info *out, struct error *error) MUST_CHECK;

// 8-bit RGB, row by row, no padding. `pixels` is malloc'ed; image_release frees.
struct image {
    int width, height;
    uint8_t *pixels;
};
// Decodes all of it: grey, palette, CMYK, alpha (over white), 16 bit are turned into 8-bit RGB; the
// EXIF orientation is applied when `orient`. A truncated picture is ERR_FORMAT, never half a
// picture.
enum err image_decode(struct span bytes, bool orient, struct image *out,
                      struct error *error) MUST_CHECK;
void image_release(struct image *image);

enum image_resize { IMAGE_STRETCH, IMAGE_CENTER_CROP, IMAGE_LETTERBOX };
enum image_filter { IMAGE_NEAREST, IMAGE_BILINEAR }; // bilinear: antialiased, like Pillow's
enum image_layout { IMAGE_NCHW, IMAGE_NHWC };

// How a picture becomes a tensor: part of a model package (smelt.json, "input").
struct preprocess {
    int width, height; // of the network's input
    enum image_layout layout;
    bool bgr; // channel order; default RGB
    enum image_resize resize;
    enum image_filter filter;
    bool orient;
    float mean[3], std[3]; // y = (v - mean) / std, v in 0..255, in the network's channel order
};

// image → out[3 * width * height] floats in p's layout.
enum err image_to_tensor(const struct image *image, const struct preprocess *p, float *out,
                         struct error *error) MUST_CHECK;

// Both at once, without ever holding the decoded picture: rows are resized as they are decoded.
// What a child does for a job. Obeys p->orient. *info (may be NULL) gets what image_probe says. The
// tensor is that of image_decode and image_to_tensor; with an orientation other than 1 a value may
// differ by one level of 255, as rows and columns are rounded in another order.
enum err image_read_tensor(struct span bytes, const struct preprocess *p, float *out,
                           struct image_info *info, struct error *error) MUST_CHECK;
