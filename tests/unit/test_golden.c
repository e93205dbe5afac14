// The networks of tests/golden: what PyTorch computed, by oneDNN and by the plain kernels.
#include "base/file.h"
#include "engine/engine.h"

#include "suite.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static float *read_floats(const char *stem, const char *suffix, size_t count)
{
    char path[512];
    struct buf bytes = {0};
    struct error error = {0};
    snprintf(path, sizeof path, "%s%s", stem, suffix);
    ck_assert_msg(file_read(path, 1 << 24, &bytes, &error) == OK, "%s", error.msg);
    ck_assert_msg(bytes.len == count * sizeof(float), "%s has %zu bytes", path, bytes.len);
    return (float *)(void *)buf_take(&bytes, NULL);
}

static void compare(const char *name, const float *got, const float *expected, size_t count)
{
    float largest = 0, apart = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmaxf(largest, fabsf(expected[i]));
        apart = fmaxf(apart, isfinite(got[i]) ? fabsf(got[i] - expected[i]) : INFINITY);
    }
    ck_assert_msg(apart <= 1e-5f * largest, "%s: %g apart, largest %g", name, (double)apart,
                  (double)largest);
}

static void check_network(const char *path)
{
    struct error error = {0};
    struct engine *e;
    struct engine_context *c;
    char stem[400];
    snprintf(stem, sizeof stem, "%.*s", (int)(strlen(path) - strlen(".onnx")), path);
    ck_assert_msg(engine_load(path, &e, &error) == OK, "%s", error.msg);
    float *in = read_floats(stem, ".in.f32", engine_input_floats(e));
    float *expected = read_floats(stem, ".out.f32", engine_output_floats(e));
    float *out = calloc(engine_output_floats(e), sizeof *out);
    ck_assert_int_eq(engine_context_new(e, &c, &error), OK);
    ck_assert_int_eq(engine_run(c, in, out, NULL, 0, &error), OK);
    compare(path, out, expected, engine_output_floats(e));
    ck_assert_msg(engine_run_reference(path, in, out, &error) == OK, "%s", error.msg);
    compare(path, out, expected, engine_output_floats(e));
    free(in);
    free(out);
    free(expected);
    engine_context_free(c);
    engine_free(e);
}

START_TEST(networks)
{
    glob_t found;
    ck_assert_int_eq(glob("tests/golden/*.onnx", 0, NULL, &found), 0);
    ck_assert_uint_ge(found.gl_pathc, 11);
    for (size_t i = 0; i < found.gl_pathc; i++)
        check_network(found.gl_pathv[i]);
    globfree(&found);
}
END_TEST

SUITE_MAIN("golden", networks)
