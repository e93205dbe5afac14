#include "engine/resize.h"

#include "pictures.h"

#include <math.h>

static const struct preprocess plain = {
    .layout = IMAGE_NHWC, .orient = true, .filter = IMAGE_BILINEAR, .std = {1, 1, 1}};

static float *tensor_new(const struct preprocess *p)
{
    float *out = malloc(sizeof *out * 3 * (size_t)p->width * (size_t)p->height);
    ck_assert_ptr_nonnull(out);
    for (int i = 0; i < 3 * p->width * p->height; i++)
        out[i] = NAN; // so that a place left out is seen
    return out;
}

// The largest difference of an unscaled NHWC tensor and a picture; places with 0 in the tensor are
// bars when `bar` is given: there the picture must have its colour.
static int tensor_difference(const float *tensor, const struct image *wanted, const uint8_t *bar)
{
    int worst = 0;
    for (int i = 0; i < wanted->width * wanted->height; i++) {
        const float *got = tensor + 3 * i;
        const uint8_t *want = wanted->pixels + 3 * i;
        if (bar != NULL && memcmp(want, bar, 3) == 0 && got[0] + got[1] + got[2] == 0.0f)
            continue;
        for (int c = 0; c < 3; c++) {
            ck_assert(!isnan(got[c]));
            int difference = abs((int)got[c] - want[c]);
            worst = difference > worst ? difference : worst;
        }
    }
    return worst;
}

static const char *const resize_names[] = {"stretch", "center_crop", "letterbox"};

// Bit for bit what Pillow's resize, ImageOps.fit and ImageOps.pad give.
START_TEST(resizing_equals_pillows)
{
    static const struct {
        enum image_resize resize;
        int width, height;
    } cases[] = {
        {IMAGE_STRETCH, 24, 16},     {IMAGE_STRETCH, 16, 30},     {IMAGE_STRETCH, 61, 47},
        {IMAGE_STRETCH, 70, 50},     {IMAGE_STRETCH, 1, 1},       {IMAGE_STRETCH, 5, 47},
        {IMAGE_CENTER_CROP, 20, 20}, {IMAGE_CENTER_CROP, 33, 10}, {IMAGE_CENTER_CROP, 9, 31},
        {IMAGE_LETTERBOX, 20, 20},   {IMAGE_LETTERBOX, 33, 10},   {IMAGE_LETTERBOX, 9, 31},
    };
    static const uint8_t bar[3] = {9, 8, 7};
    struct image source = picture_expected("resize/source");
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        struct preprocess p = plain;
        p.width = cases[i / 2].width;
        p.height = cases[i / 2].height;
        p.resize = cases[i / 2].resize;
        p.filter = i % 2 ? IMAGE_BILINEAR : IMAGE_NEAREST;
        char name[80];
        snprintf(name, sizeof name, "resize/%s-%s-%dx%d", resize_names[p.resize],
                 i % 2 ? "bilinear" : "nearest", p.width, p.height);
        struct image wanted = picture_expected(name);
        float *out = tensor_new(&p);
        ck_assert_int_eq(image_to_tensor(&source, &p, out, NULL), OK);
        int difference = tensor_difference(out, &wanted, p.resize == IMAGE_LETTERBOX ? bar : NULL);
        ck_assert_msg(difference == 0, "%s differs by %d", name, difference);
        free(out);
        image_release(&wanted);
    }
    image_release(&source);
}
END_TEST

START_TEST(nearest_takes_the_samples_that_pillow_takes)
{
    AUTO_BUF struct buf file = {0};
    picture_load("resize/nearest.txt", &file);
    int lines = 0;
    char *at = file.data;
    while (*at != '\0') {
        int in = (int)strtol(at, &at, 10), out = (int)strtol(at, &at, 10);
        struct resize_axis a, mirrored;
        ck_assert_int_eq(resize_axis_init(&a, in, 0, (float)in, out, IMAGE_NEAREST, false, NULL),
                         OK);
        ck_assert_int_eq(
            resize_axis_init(&mirrored, in, 0, (float)in, out, IMAGE_NEAREST, true, NULL), OK);
        for (int i = 0; i < out; i++) {
            ck_assert_int_eq(a.first[i], strtol(at, &at, 10));
            ck_assert_int_eq(mirrored.first[out - 1 - i], in - 1 - a.first[i]);
        }
        resize_axis_release(&a);
        resize_axis_release(&mirrored);
        at += strspn(at, "\n");
        lines++;
    }
    ck_assert_int_eq(lines, 8);
}
END_TEST

static void fill(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(rand() >> 5);
}

// Rows in blocks of their exact size, so that a sanitizer sees a read behind them.
START_TEST(fast_kernels_equal_the_plain_ones_on_odd_shapes)
{
    static const int sizes[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 100, 299, 1001};
    enum { SIZES = sizeof sizes / sizeof sizes[0], ROWS = 9 };
    const struct resize_kernels *fast = resize_kernels_best(), *slow = resize_kernels_plain();
    srand(5);
    for (int i = 0; i < SIZES * SIZES; i++) {
        int in = sizes[i / SIZES], out = sizes[i % SIZES];
        struct resize_axis a;
        ck_assert_int_eq(resize_axis_init(&a, in, 0, (float)in, out, IMAGE_BILINEAR, i % 2, NULL),
                         OK);
        uint8_t *row = malloc((size_t)in * 3), *x = malloc((size_t)out * 3 + 1),
                *y = malloc((size_t)out * 3 + 1);
        fill(row, (size_t)in * 3);
        fast->narrow(&a, row, x);
        slow->narrow(&a, row, y);
        ck_assert_mem_eq(x, y, (size_t)out * 3);
        const uint8_t *rows[ROWS];
        int32_t weights[ROWS];
        int count = 1 + i % ROWS;
        for (int t = 0; t < count; t++) {
            uint8_t *fresh = malloc((size_t)in * 3);
            fill(fresh, (size_t)in * 3);
            rows[t] = fresh;
            weights[t] = (1 << RESIZE_WEIGHT_BITS) / count;
        }
        uint8_t *mixed = malloc((size_t)in * 3);
        fast->mix(rows, weights, count, in * 3, row);
        slow->mix(rows, weights, count, in * 3, mixed);
        ck_assert_mem_eq(row, mixed, (size_t)in * 3);
        for (int t = 0; t < count; t++)
            free((void *)(uintptr_t)rows[t]);
        free(mixed);
        free(row);
        free(x);
        free(y);
        resize_axis_release(&a);
    }
}
END_TEST

// White stays white and black stays black: weights sum to 1 within the rounding, at any ratio.
START_TEST(weights_sum_to_one)
{
    for (int in = 1; in < 5000; in = in * 5 / 3 + 1)
        for (int out = 1; out < 700; out = out * 2 + 1) {
            struct resize_axis a;
            ck_assert_int_eq(
                resize_axis_init(&a, in, 0, (float)in, out, IMAGE_BILINEAR, false, NULL), OK);
            for (int i = 0; i < out; i++) {
                int32_t sum = 0;
                for (int t = 0; t < a.taps; t++) {
                    int32_t w = a.weights[i * a.taps + t];
                    ck_assert(w >= 0 && (t < a.count[i] || w == 0));
                    ck_assert_int_eq(w, a.high[i * a.taps + t] * 2048 + a.low[i * a.taps + t]);
                    sum += w;
                }
                ck_assert_int_lt(abs(sum - (1 << RESIZE_WEIGHT_BITS)), 8192);
                ck_assert(a.first[i] >= 0 && a.count[i] >= 1 && a.first[i] + a.count[i] <= in);
            }
            resize_axis_release(&a);
        }
}
END_TEST

START_TEST(layout_order_and_scaling_are_as_the_package_says)
{
    uint8_t pixels[] = {10, 20, 30, 40, 50, 60}; // two pixels in a row
    struct image image = {2, 1, pixels};
    struct preprocess p = plain;
    float out[6];
    p.width = 2;
    p.height = 1;
    p.filter = IMAGE_NEAREST;
    ck_assert_int_eq(image_to_tensor(&image, &p, out, NULL), OK);
    for (int i = 0; i < 6; i++)
        ck_assert_float_eq(out[i], (float)pixels[i]);
    p.layout = IMAGE_NCHW;
    p.bgr = true;
    for (int c = 0; c < 3; c++) {
        p.mean[c] = (float)c + 1;
        p.std[c] = (float)c + 2;
    }
    ck_assert_int_eq(image_to_tensor(&image, &p, out, NULL), OK);
    for (int c = 0; c < 3; c++)
        for (int x = 0; x < 2; x++)
            ck_assert_float_eq(out[2 * c + x],
                               ((float)pixels[3 * x + 2 - c] - p.mean[c]) / p.std[c]);
}
END_TEST

// As Pillow's convert("L"), in either layout; nothing is written behind the one channel.
START_TEST(a_grey_network_is_shown_luma)
{
    uint8_t pixels[] = {255, 0,  0,  0,   255, 0,   0, 0, 255, 10,  200, 30,
                        77,  77, 77, 255, 255, 255, 1, 2, 3,   250, 128, 3};
    static const float luma[] = {76, 150, 29, 124, 77, 255, 2, 150};
    struct image image = {8, 1, pixels};
    for (int layout = 0; layout < 2; layout++) {
        struct preprocess p = plain;
        p.grey = true;
        p.layout = layout == 0 ? IMAGE_NCHW : IMAGE_NHWC;
        p.resize = IMAGE_LETTERBOX;
        p.width = 8;
        p.height = 3;
        p.mean[0] = 2;
        p.std[0] = 4;
        float out[25];
        for (int i = 0; i < 25; i++)
            out[i] = -99;
        ck_assert_int_eq(image_to_tensor(&image, &p, out, NULL), OK);
        for (int i = 0; i < 24; i++)
            ck_assert_float_eq(out[i], i / 8 == 1 ? (luma[i % 8] - 2) / 4 : 0);
        ck_assert_float_eq(out[24], -99);
    }
}
END_TEST

// Straight from the file, or decoded first: the same tensor; one level apart when it is turned.
START_TEST(reading_row_by_row_gives_the_same_tensor)
{
    for (int i = 0; i < GOOD_PICTURES * 6; i++) {
        const struct good_picture *good = &good_pictures[i / 6];
        AUTO_BUF struct buf file = {0};
        struct image image;
        struct image_info info;
        struct preprocess p = plain;
        p.width = 11;
        p.height = 9;
        p.resize = (enum image_resize)(i % 3);
        p.filter = i % 6 < 3 ? IMAGE_BILINEAR : IMAGE_NEAREST;
        float *direct = tensor_new(&p), *twice = tensor_new(&p);
        picture_load(good->name, &file);
        ck_assert_int_eq(image_read_tensor(buf_view(&file), &p, NULL, direct, &info, NULL), OK);
        ck_assert_int_eq(info.orientation, good->orientation);
        ck_assert_int_eq(image_decode(buf_view(&file), true, &image, NULL), OK);
        ck_assert_int_eq(image_to_tensor(&image, &p, twice, NULL), OK);
        bool exact = good->orientation == 1 || p.filter == IMAGE_NEAREST;
        for (int k = 0; k < 3 * 9 * 11; k++)
            ck_assert_msg(fabsf(direct[k] - twice[k]) <= (exact ? 0.0f : 1.0f), "%s at %d: %g, %g",
                          good->name, k, (double)direct[k], (double)twice[k]);
        image_release(&image);
        free(direct);
        free(twice);
    }
}
END_TEST

static void expect_keras(const char *name)
{
    // as `smelt model import` writes it
    struct preprocess p = {.width = 13,
                           .height = 11,
                           .layout = IMAGE_NHWC,
                           .filter = IMAGE_NEAREST,
                           .rgb = IMAGE_AS_PILLOW,
                           .scale = IMAGE_DIVIDE_FIRST,
                           .mean = {127.5f, 127.5f, 127.5f},
                           .std = {127.5f, 127.5f, 127.5f}};
    AUTO_BUF struct buf file = {0}, wanted = {0};
    float got[13 * 11 * 3];
    char path[100];
    struct error error;
    snprintf(path, sizeof path, "keras/%s.f32", name);
    picture_load(name, &file);
    picture_load(path, &wanted);
    ck_assert_uint_eq(wanted.len, sizeof got);
    ck_assert_msg(image_read_tensor(buf_view(&file), &p, NULL, got, NULL, &error) == OK, "%s: %s",
                  name, error.msg);
    ck_assert_msg(memcmp(got, wanted.data, sizeof got) == 0, "%s differs", name);
}

// load_img, img_to_array and preprocess_input, bit for bit: every kind of picture that we read.
START_TEST(reference_mode_equals_keras_bit_for_bit)
{
    for (int i = 0; i < GOOD_PICTURES; i++)
        expect_keras(good_pictures[i].name);
    for (int i = 0; i < LARGE_PICTURES; i++)
        expect_keras(large_pictures[i]);
}
END_TEST

// NAME with an EXIF block of this orientation.
static void load_oriented(const char *name, int orientation, struct buf *out)
{
    static const char app1[] = "\xff\xe1\0\x22"
                               "Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0";
    AUTO_BUF struct buf file = {0};
    picture_load(name, &file);
    buf_add(out, file.data, 2);
    buf_add(out, app1, 36);
    out->data[2 + 4 + 6 + 18] = (char)orientation;
    buf_add(out, file.data + 2, file.len - 2);
}

// In levels of 255: the mean within 0.2 + 0.15 * reduction, the worst (at hard edges) within 24. A
// picture that is out of place by the fraction of a pixel that odd sides make has twice that mean.
static void compare_fast(const char *name, int orientation, struct preprocess p)
{
    AUTO_BUF struct buf file = {0};
    struct image_info info;
    float *exact = tensor_new(&p), *fast = tensor_new(&p);
    load_oriented(name, orientation, &file);
    ck_assert_int_eq(image_read_tensor(buf_view(&file), &p, NULL, exact, &info, NULL), OK);
    ck_assert_int_eq(info.orientation, orientation);
    p.fast = true;
    int reduce = resize_reduction(&p, info.width, info.height, orientation);
    ck_assert_int_gt(reduce, 1);
    ck_assert_int_eq(image_read_tensor(buf_view(&file), &p, NULL, fast, NULL, NULL), OK);
    double sum = 0, worst = 0;
    size_t count = (size_t)p.width * (size_t)p.height * 3;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)exact[i] - (double)fast[i]);
        sum += difference;
        worst = fmax(worst, difference);
    }
    ck_assert_msg(sum / (double)count < 0.2 + 0.15 * reduce && worst <= 24.0,
                  "%s orientation %d, %d x %d mode %d, at 1/%d: mean %.3f, worst %.0f", name,
                  orientation, p.width, p.height, (int)p.resize, reduce, sum / (double)count,
                  worst);
    free(exact);
    free(fast);
}

START_TEST(fast_decode_is_near_the_exact_one_at_odd_sizes_and_every_orientation)
{
    static const int sizes[][2] = {{11, 9}, {15, 15}, {19, 31}, {40, 30}, {60, 37}};
    for (int i = 0; i < LARGE_PICTURES; i++)
        for (int orientation = 1; orientation <= 8; orientation++)
            for (int k = 0; k < 15; k++) {
                struct preprocess p = plain;
                p.width = sizes[k / 3][0];
                p.height = sizes[k / 3][1];
                p.resize = (enum image_resize)(k % 3);
                compare_fast(large_pictures[i], orientation, p);
            }
}
END_TEST

START_TEST(reduction_leaves_twice_the_pixels_that_are_needed)
{
    struct preprocess p = plain;
    p.width = p.height = 299;
    ck_assert_int_eq(resize_reduction(&p, 4032, 3024, 1), 1); // not asked for
    p.fast = true;
    ck_assert_int_eq(resize_reduction(&p, 4032, 3024, 1), 4);
    ck_assert_int_eq(resize_reduction(&p, 4032, 299 * 16, 6), 4);
    ck_assert_int_eq(resize_reduction(&p, 299 * 16, 299 * 16, 1), 8);
    ck_assert_int_eq(resize_reduction(&p, 299 * 16, 299 * 16 - 1, 1), 4);
    ck_assert_int_eq(resize_reduction(&p, 299 * 4, 299 * 4, 1), 2);
    ck_assert_int_eq(resize_reduction(&p, 299 * 4 - 1, 3000, 1), 1);
    p.width = 598; // half of a square is shown, or bars are
    ck_assert_int_eq(resize_reduction(&p, 598 * 4, 598 * 4, 1), 2);
    p.resize = IMAGE_CENTER_CROP;
    ck_assert_int_eq(resize_reduction(&p, 299 * 8, 299 * 8, 1), 2);
    p.resize = IMAGE_LETTERBOX;
    ck_assert_int_eq(resize_reduction(&p, 299 * 8, 299 * 8, 1), 4);
}
END_TEST

START_TEST(slivers_are_shown_in_every_mode)
{
    for (int i = 0; i < 12; i++) {
        struct image image = {i % 2 ? 1 : 3000, i % 2 ? 3000 : 1, calloc(3000, 3)};
        struct preprocess p = plain;
        p.width = 20;
        p.height = 12;
        p.resize = (enum image_resize)(i / 2 % 3);
        p.filter = i < 6 ? IMAGE_BILINEAR : IMAGE_NEAREST;
        memset(image.pixels, 200, 9000);
        float *out = tensor_new(&p);
        ck_assert_int_eq(image_to_tensor(&image, &p, out, NULL), OK);
        int shown = 0;
        for (int k = 0; k < 3 * 20 * 12; k++) {
            ck_assert(out[k] == 200.0f || (p.resize == IMAGE_LETTERBOX && out[k] == 0.0f));
            shown += out[k] == 200.0f;
        }
        ck_assert_int_ge(shown, 3 * 12);
        free(out);
        image_release(&image);
    }
}
END_TEST

SUITE_MAIN("resize", reference_mode_equals_keras_bit_for_bit,
           fast_decode_is_near_the_exact_one_at_odd_sizes_and_every_orientation,
           reduction_leaves_twice_the_pixels_that_are_needed, resizing_equals_pillows,
           nearest_takes_the_samples_that_pillow_takes,
           fast_kernels_equal_the_plain_ones_on_odd_shapes, weights_sum_to_one,
           layout_order_and_scaling_are_as_the_package_says, a_grey_network_is_shown_luma,
           reading_row_by_row_gives_the_same_tensor, slivers_are_shown_in_every_mode)
