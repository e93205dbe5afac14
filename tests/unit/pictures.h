// The pictures of tests/pictures (made by make_pictures.py) and what must come out of them.
#pragma once

#include "base/file.h"
#include "engine/image.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>

static inline void picture_load(const char *name, struct buf *out)
{
    char path[256];
    struct error error;
    snprintf(path, sizeof path, "tests/pictures/%s", name);
    ck_assert_msg(file_read(path, 1 << 24, out, &error) == OK, "%s", error.msg);
}

// NAME.ppm, as an image; release it.
static inline struct image picture_expected(const char *name)
{
    char path[128];
    AUTO_BUF struct buf file = {0};
    struct image image = {0};
    int at = 0;
    snprintf(path, sizeof path, "%s.ppm", name);
    picture_load(path, &file);
    ck_assert_int_eq(sscanf(file.data, "P6 %d %d 255%n", &image.width, &image.height, &at), 2);
    size_t bytes = (size_t)image.width * (size_t)image.height * 3;
    ck_assert_uint_eq(file.len, (size_t)at + 1 + bytes);
    image.pixels = malloc(bytes);
    ck_assert_ptr_nonnull(image.pixels);
    memcpy(image.pixels, file.data + at + 1, bytes);
    return image;
}

// The largest difference of two pictures of the same size; 256 when the sizes differ.
static inline int picture_difference(const struct image *a, const struct image *b)
{
    int worst = 0;
    if (a->width != b->width || a->height != b->height)
        return 256;
    for (size_t i = 0; i < (size_t)a->width * (size_t)a->height * 3; i++) {
        int difference = abs(a->pixels[i] - b->pixels[i]);
        worst = difference > worst ? difference : worst;
    }
    return worst;
}

// All good pictures: how much each may differ (lossless 0; alpha 1 for rounding; JPEG 1, so that
// another release of the library may pass), and its orientation.
static const struct good_picture {
    const char *name;
    enum image_format format;
    int orientation, tolerance;
} good_pictures[] = {
    {"jpeg-420.jpg", IMAGE_JPEG, 1, 1},         {"jpeg-444.jpg", IMAGE_JPEG, 1, 1},
    {"jpeg-progressive.jpg", IMAGE_JPEG, 1, 1}, {"jpeg-grey.jpg", IMAGE_JPEG, 1, 1},
    {"jpeg-cmyk.jpg", IMAGE_JPEG, 1, 1},        {"jpeg-ycck.jpg", IMAGE_JPEG, 1, 1},
    {"jpeg-restart.jpg", IMAGE_JPEG, 1, 1},     {"jpeg-exif-1.jpg", IMAGE_JPEG, 1, 1},
    {"jpeg-exif-2.jpg", IMAGE_JPEG, 2, 1},      {"jpeg-exif-3.jpg", IMAGE_JPEG, 3, 1},
    {"jpeg-exif-4.jpg", IMAGE_JPEG, 4, 1},      {"jpeg-exif-5.jpg", IMAGE_JPEG, 5, 1},
    {"jpeg-exif-6.jpg", IMAGE_JPEG, 6, 1},      {"jpeg-exif-7.jpg", IMAGE_JPEG, 7, 1},
    {"jpeg-exif-8.jpg", IMAGE_JPEG, 8, 1},      {"png-rgb.png", IMAGE_PNG, 1, 0},
    {"png-rgb16.png", IMAGE_PNG, 1, 0},         {"png-grey.png", IMAGE_PNG, 1, 0},
    {"png-grey1.png", IMAGE_PNG, 1, 0},         {"png-grey4.png", IMAGE_PNG, 1, 0},
    {"png-grey16.png", IMAGE_PNG, 1, 0},        {"png-grey-alpha.png", IMAGE_PNG, 1, 1},
    {"png-rgba.png", IMAGE_PNG, 1, 1},          {"png-rgba16.png", IMAGE_PNG, 1, 1},
    {"png-interlaced.png", IMAGE_PNG, 1, 0},    {"png-interlaced-rgba.png", IMAGE_PNG, 1, 1},
    {"png-palette.png", IMAGE_PNG, 1, 0},       {"png-palette4-interlaced.png", IMAGE_PNG, 1, 0},
    {"png-palette-trns.png", IMAGE_PNG, 1, 1},  {"png-rgb-trns.png", IMAGE_PNG, 1, 0},
    {"png-exif-6.png", IMAGE_PNG, 6, 0},        {"webp-lossy.webp", IMAGE_WEBP, 1, 1},
    {"webp-lossless.webp", IMAGE_WEBP, 1, 0},   {"webp-alpha.webp", IMAGE_WEBP, 1, 1},
    {"webp-exif-8.webp", IMAGE_WEBP, 8, 0},     {"jpeg-422.jpg", IMAGE_JPEG, 1, 1},
    {"png-grey-trns.png", IMAGE_PNG, 1, 0},     {"png-grey16-low.png", IMAGE_PNG, 1, 0},
    {"png-grey16-alpha.png", IMAGE_PNG, 1, 1},  {"webp-alpha-lossy.webp", IMAGE_WEBP, 1, 1},
};
// Larger than the tensors of the tests, of odd sides; without .ppm.
static const char *const large_pictures[] = {"jpeg-large-420.jpg", "jpeg-large-444.jpg",
                                             "jpeg-large-422.jpg"};
enum { LARGE_PICTURES = sizeof large_pictures / sizeof large_pictures[0] };
enum { GOOD_PICTURES = sizeof good_pictures / sizeof good_pictures[0] };
