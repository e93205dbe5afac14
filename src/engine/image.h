// Pictures: JPEG, PNG, WebP → the float tensor that a network wants.
//
// Foreign bytes: call only in a sandboxed child (or in a command the user runs on own files).
// Dimensions are read from the header and refused above limits before anything is allocated.
#pragma once

#include "base/buf.h"
#include "engine/stop.h"

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
// What becomes RGB how. Over white: transparent pixels are laid over white, 16 bits lose the lower
// eight. As Pillow's convert("RGB"): transparency is dropped and the colour below it shown, grey of
// 16 bits is not divided but ends at 255.
enum image_rgb { IMAGE_OVER_WHITE, IMAGE_AS_PILLOW };
// SUBTRACT_FIRST: y = (v - mean) / std. DIVIDE_FIRST: y = v / std - mean / std, as Keras'
// preprocess_input; the two differ in the last bits.
enum image_scale { IMAGE_SUBTRACT_FIRST, IMAGE_DIVIDE_FIRST };

// How a picture becomes a tensor: part of a model package (smelt.json, "input").
struct preprocess {
    int width, height; // of the network's input
    enum image_layout layout;
    bool bgr;  // channel order; default RGB
    bool grey; // the network has one channel: what Pillow's convert("L") makes of red, green, blue
    enum image_resize resize;
    enum image_filter filter;
    enum image_rgb rgb;
    enum image_scale scale;
    bool orient;
    bool fast;             // a JPEG may be decoded at 1/2, 1/4, 1/8 of its size: see resize.h
    float mean[3], std[3]; // y is made of v in 0..255 by them; in the network's channel order
};

static inline int preprocess_channels(const struct preprocess *p)
{
    return p->grey ? 1 : 3;
}

// "stretch bilinear oriented fast": the way in words, for results. Words: resize, filter,
// "oriented" where EXIF is obeyed, "exact" or "fast", "grey", "pillow" and "divide_first" where
// they hold.
void preprocess_describe(const struct preprocess *p, struct buf *out);

// image → out[channels * width * height] floats in p's layout.
enum err image_to_tensor(const struct image *image, const struct preprocess *p, float *out,
                         struct error *error) MUST_CHECK;

// Both at once, without ever holding the decoded picture: rows are resized as they are decoded.
// What a child does for a job. Obeys p->orient. *info (may be NULL) gets what image_probe says. The
// tensor is that of image_decode and image_to_tensor if not p->fast and p->rgb is IMAGE_OVER_WHITE;
// with an orientation other than 1 a value may differ by one level of 255, as rows and columns are
// rounded in another order. The same bytes and the same p give the same bits in every process.
// ERR_CANCELLED, ERR_TIMEOUT: as stop says (NULL: nothing); looked at before and at each row, but
// inside libwebp, which decodes a picture in one call.
enum err image_read_tensor(struct span bytes, const struct preprocess *p, const struct stop *stop,
                           float *out, struct image_info *info, struct error *error) MUST_CHECK;
