#include "engine/activations.h"

#include "suite.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static const struct activation swish = {UNARY_SWISH, 1, 0}, steep = {UNARY_SWISH, 1.702f, 0};

static void compare(const struct activation *a, const float *x, const float *y, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        double v = (double)x[i], exact = v / (1 + exp(-(double)a->alpha * v));
        // far below zero 2^126 stands for what would overflow
        double room = 2e-7 * (1 + fabs(v)) * fabs(exact) + fabs(v) * 0x1p-126;
        ck_assert_msg(fabs((double)y[i] - exact) <= room, "swish(%g) is %g, not %g", v,
                      (double)y[i], exact);
    }
}

// Every count of a vector's rest, in place and apart; nothing behind the end is touched.
START_TEST(swish_is_exact_to_single_precision)
{
    enum { COUNT = 5000 };
    activation_kernel *kernel = activation_kernel_best(&swish);
    float *x = malloc(COUNT * sizeof *x), *y = malloc((COUNT + 1) * sizeof *y);
    ck_assert(x != NULL && y != NULL);
    if (kernel == NULL)
        return; // not on this processor
    for (size_t i = 0; i < COUNT; i++)
        x[i] = ((float)i / COUNT * 2 - 1) * (i % 3 == 0 ? 200.0f : i % 3 == 1 ? 10.0f : 0.01f);
    for (size_t count = COUNT - 40; count <= COUNT; count++) {
        y[count] = 77;
        kernel(x, y, count, &swish);
        compare(&swish, x, y, count);
        ck_assert(y[count] == 77.0f);
    }
    kernel(x, y, COUNT, &steep);
    compare(&steep, x, y, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        y[i] = x[i];
    kernel(y, y, COUNT, &swish);
    compare(&swish, x, y, COUNT);
    free(x);
    free(y);
}
END_TEST

START_TEST(ends_of_the_range)
{
    const float x[] = {0, -0.0f, FLT_MAX, -1e30f, INFINITY, NAN, FLT_MIN, 1e-40f};
    float y[8];
    activation_kernel *kernel = activation_kernel_best(&swish);
    if (kernel == NULL)
        return;
    kernel(x, y, 8, &swish);
    ck_assert(y[0] == 0.0f && y[1] == 0.0f);
    ck_assert(y[2] == FLT_MAX && y[3] <= 0 && y[3] > -1e-7f && y[4] == INFINITY && isnan(y[5]));
    ck_assert(y[6] > 0 && y[7] >= 0);
}
END_TEST

START_TEST(others_are_left_to_onednn)
{
    struct activation relu = {UNARY_RELU, 0, 0};
    ck_assert(activation_kernel_best(&relu) == NULL);
}
END_TEST

START_TEST(bytes_are_looked_up)
{
    uint8_t table[256], x[700], y[701];
    for (int i = 0; i < 256; i++)
        table[i] = (uint8_t)(i * 37 + 11);
    for (int i = 0; i < 700; i++)
        x[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t count = 0; count <= 700; count += count < 140 ? 1 : 56) {
        y[count] = 3;
        activation_of_bytes(x, y, count, table);
        for (size_t i = 0; i < count; i++)
            ck_assert_int_eq(y[i], table[x[i]]);
        ck_assert_int_eq(y[count], 3);
    }
}
END_TEST

SUITE_MAIN("activations", swish_is_exact_to_single_precision, ends_of_the_range,
           others_are_left_to_onednn, bytes_are_looked_up)
