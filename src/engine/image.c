#include "engine/image.h"

#include "base/check.h"
#include "base/limits.h"
#include "engine/image_decoder.h"
#include "engine/image_header.h"
#include "engine/resize.h"

#include <stdlib.h>
#include <string.h>

enum err image_probe(struct span bytes, struct image_info *out, struct error *error)
{
    if (bytes.len == 0)
        return fail(error, ERR_FORMAT, 0, "the file is empty: send a JPEG, PNG or WebP picture");
    if (bytes.len > IMAGE_BYTES_MAX)
        return fail(error, ERR_LIMIT, 0,
                    "the picture has %zu bytes, the limit is %d: send a smaller one", bytes.len,
                    IMAGE_BYTES_MAX);
    TRY(image_header_read(bytes, out, error));
    if (out->width > IMAGE_SIDE_MAX || out->height > IMAGE_SIDE_MAX ||
        (int64_t)out->width * out->height > IMAGE_PIXELS_MAX)
        return fail(
            error, ERR_LIMIT, 0,
            "the picture is %d x %d pixels, the limit is %d on a side and %d million in all: "
            "send a smaller one",
            out->width, out->height, IMAGE_SIDE_MAX, IMAGE_PIXELS_MAX / 1000000);
    return OK;
}

enum err image_check_size(const struct image_info *info, uint64_t width, uint64_t height,
                          struct error *error)
{
    if (width == (uint64_t)info->width && height == (uint64_t)info->height)
        return OK;
    return fail(error, ERR_FORMAT, 0,
                "the %s contradicts itself about its size (%d x %d, %llu x %llu): save it anew",
                image_format_name(info->format), info->width, info->height,
                (unsigned long long)width, (unsigned long long)height);
}

void image_row_over_white(const uint8_t *rgba, int width, uint8_t *out)
{
    for (int x = 0; x < width; x++, rgba += 4, out += 3) {
        uint8_t alpha = rgba[3];
        for (int c = 0; c < 3; c++)
            out[c] = (uint8_t)(255 - image_mul255((uint8_t)(255 - rgba[c]), alpha));
    }
}

static enum err read_rows(struct span bytes, const struct image_info *info,
                          const struct image_sink *sink, struct error *error)
{
    switch (info->format) {
    case IMAGE_JPEG:
        return image_jpeg_rows(bytes, info, sink, error);
    case IMAGE_PNG:
        return image_png_rows(bytes, info, sink, error);
    case IMAGE_WEBP:
        return image_webp_rows(bytes, info, sink, error);
    case IMAGE_UNKNOWN:
        break;
    }
    return fail(error, ERR_INTERNAL, 0, "a picture of an unknown format passed the probe");
}

// ---- a sink that keeps the picture, oriented --------------------------------------------------

struct keeper {
    struct image *image;
    struct image_turn turn;
    int stored_width;
    ptrdiff_t at, along_step, across_step; // stored (x, y) goes to at + y * across + x * along
};

static enum err keeper_begin(void *ctx, int width, int height, struct error *error)
{
    struct keeper *k = ctx;
    struct image *image = k->image;
    image->width = k->turn.turned ? height : width;
    image->height = k->turn.turned ? width : height;
    image->pixels = malloc((size_t)width * (size_t)height * 3);
    if (image->pixels == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for a picture of %d x %d pixels", width,
                    height);
    k->stored_width = width;
    ptrdiff_t line = (ptrdiff_t)image->width * 3;
    k->along_step = k->turn.turned ? line : 3;
    k->across_step = k->turn.turned ? 3 : line;
    if (k->turn.back_along) {
        k->at += k->along_step * (width - 1);
        k->along_step = -k->along_step;
    }
    if (k->turn.back_across) {
        k->at += k->across_step * (height - 1);
        k->across_step = -k->across_step;
    }
    return OK;
}

static void keeper_row(void *ctx, int y, const uint8_t *rgb)
{
    struct keeper *k = ctx;
    uint8_t *to = k->image->pixels + k->at + y * k->across_step;
    if (k->along_step == 3) {
        memcpy(to, rgb, (size_t)k->stored_width * 3);
        return;
    }
    for (int x = 0; x < k->stored_width; x++, rgb += 3, to += k->along_step)
        memcpy(to, rgb, 3);
}

enum err image_decode(struct span bytes, bool orient, struct image *out, struct error *error)
{
    struct image_info info = {0};
    TRY(image_probe(bytes, &info, error));
    struct image image = {0};
    struct keeper k = {.image = &image, .turn = image_turn_of(orient ? info.orientation : 1)};
    struct image_sink sink = {&k, IMAGE_OVER_WHITE, 1, keeper_begin, keeper_row, NULL};
    enum err err = read_rows(bytes, &info, &sink, error);
    if (err != OK) {
        image_release(&image);
        return err;
    }
    *out = image;
    return OK;
}

void image_release(struct image *image)
{
    free(image->pixels);
    *image = (struct image){0};
}

// ---- a sink that resizes ----------------------------------------------------------------------

struct shrinker {
    const struct preprocess *p;
    const struct image_info *info;
    int orientation, reduce;
    float *out;
    struct resize *resize;
};

static enum err shrinker_begin(void *ctx, int width, int height, struct error *error)
{
    struct shrinker *s = ctx;
    const struct image_info *info = s->info;
    int reduce = width == info->width && height == info->height ? 1 : s->reduce;
    CHECK(width == (info->width + reduce - 1) / reduce);
    CHECK(height == (info->height + reduce - 1) / reduce);
    return resize_new(s->p, info->width, info->height, reduce, s->orientation, s->out, &s->resize,
                      error);
}

static void shrinker_row(void *ctx, int y, const uint8_t *rgb)
{
    struct shrinker *s = ctx;
    resize_row(s->resize, y, rgb);
}

enum err image_read_tensor(struct span bytes, const struct preprocess *p, const struct stop *stop,
                           float *out, struct image_info *info, struct error *error)
{
    struct image_info probed = {0};
    TRY(stop_check(stop, IMAGE_STOPPED, error));
    TRY(image_probe(bytes, &probed, error));
    if (info != NULL)
        *info = probed;
    struct shrinker s = {
        .p = p, .info = &probed, .orientation = p->orient ? probed.orientation : 1, .out = out};
    s.reduce = resize_reduction(p, probed.width, probed.height, s.orientation);
    struct image_sink sink = {&s, p->rgb, s.reduce, shrinker_begin, shrinker_row, stop};
    enum err err = read_rows(bytes, &probed, &sink, error);
    resize_free(s.resize);
    return err;
}

enum err image_to_tensor(const struct image *image, const struct preprocess *p, float *out,
                         struct error *error)
{
    struct resize *resize = NULL;
    TRY(resize_new(p, image->width, image->height, 1, 1, out, &resize, error));
    for (int y = 0; y < image->height; y++)
        resize_row(resize, y, image->pixels + (size_t)y * (size_t)image->width * 3);
    resize_free(resize);
    return OK;
}

void preprocess_describe(const struct preprocess *p, struct buf *out)
{
    static const char *const resizes[] = {
        [IMAGE_STRETCH] = "stretch",
        [IMAGE_CENTER_CROP] = "center_crop",
        [IMAGE_LETTERBOX] = "letterbox",
    };
    buf_printf(out, "%s %s%s %s%s%s%s", resizes[p->resize],
               p->filter == IMAGE_NEAREST ? "nearest" : "bilinear", p->orient ? " oriented" : "",
               p->fast ? "fast" : "exact", p->grey ? " grey" : "",
               p->rgb == IMAGE_AS_PILLOW ? " pillow" : "",
               p->scale == IMAGE_DIVIDE_FIRST ? " divide_first" : "");
}
