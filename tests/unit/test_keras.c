#include "base/file.h"
#include "base/limits.h"
#include "engine/engine.h"
#include "engine/keras.h"
#include "engine/keras_match.h"
#include "engine/keras_zip.h"

#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// As in fuzz/make_keras_corpus.py, which wrote these files.
static const struct xception_size tiny = {{2, 3, 4, 5, 6, 7, 8, 9}, 71};
#define CORPUS "fuzz/corpus/keras/"

static void load(const char *name, struct buf *out)
{
    char path[200];
    struct error error = {0};
    snprintf(path, sizeof path, CORPUS "%s", name);
    ck_assert_msg(file_read(path, MIB(1), out, &error) == OK, "%s", error.msg);
}

static enum err convert(struct span file, struct keras_info *info, struct buf *onnx,
                        struct error *error)
{
    AUTO_BUF struct buf complaints = {0};
    return keras_to_onnx(file, &tiny, info, &complaints, onnx, error);
}

// ---- whole files ------------------------------------------------------------------------------

START_TEST(test_layouts_give_the_same_model)
{
    static const struct {
        const char *file, *layout;
    } cases[] = {{"good-keras1.h5", "Keras 1"},
                 {"good-keras2.h5", "Keras 2"},
                 {"good-keras3.keras", "Keras 3 (.keras)"}};
    AUTO_BUF struct buf first = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF struct buf file = {0}, onnx = {0};
        struct keras_info info = {0};
        struct error error = {0};
        load(cases[i].file, &file);
        ck_assert_msg(convert(buf_view(&file), &info, &onnx, &error) == OK, "%s", error.msg);
        ck_assert_str_eq(info.layout, cases[i].layout);
        ck_assert_int_eq(info.classes, 3);
        ck_assert_int_eq(info.parameters, 4157);
        if (i == 0)
            buf_add_span(&first, buf_view(&onnx));
        ck_assert(span_equal(buf_view(&first), buf_view(&onnx)));
    }
}
END_TEST

// The engine's fused run and its plain oracle agree on the imported network.
START_TEST(test_the_model_runs)
{
    AUTO_BUF struct buf file = {0}, onnx = {0};
    struct keras_info info;
    struct error error = {0};
    char path[] = "/tmp/smelt-keras-XXXXXX";
    struct engine *e;
    struct engine_context *c;
    float out[3], plain[3], sum = 0;
    load("good-keras1.h5", &file);
    ck_assert_int_eq(convert(buf_view(&file), &info, &onnx, &error), OK);
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fd_write_all(fd, onnx.data, onnx.len, path, &error), OK);
    close(fd);
    ck_assert_msg(engine_load(path, &e, &error) == OK, "%s", error.msg);
    const struct engine_shape *in = engine_input_shape(e);
    ck_assert(in->rank == 4 && in->dims[1] == 3 && in->dims[2] == 71 && in->dims[3] == 71);
    ck_assert_uint_eq(engine_output_floats(e), 3);
    static float picture[3 * 71 * 71];
    for (int i = 0; i < 3 * 71 * 71; i++)
        picture[i] = sinf((float)i);
    ck_assert_int_eq(engine_context_new(e, &c, &error), OK);
    ck_assert_int_eq(engine_run(c, picture, out, NULL, 0, &error), OK);
    ck_assert_int_eq(engine_run_reference(path, picture, plain, &error), OK);
    for (int i = 0; i < 3; i++) {
        ck_assert_float_eq_tol(out[i], plain[i], 1e-5f);
        sum += out[i];
    }
    ck_assert_float_eq_tol(sum, 1.0f, 1e-5f);
    engine_context_free(c);
    engine_free(e);
    unlink(path);
}
END_TEST

START_TEST(test_bad_files_are_refused_with_the_reason)
{
    static const struct {
        const char *file;
        enum err err;
        const char *text;
    } cases[] = {
        {"bad-soft-link.h5", ERR_UNSUPPORTED, "'kernel:0' is a link to another place"},
        {"bad-external-link.h5", ERR_UNSUPPORTED, "'block1_conv1' is a link to another place"},
        {"bad-loop.h5", ERR_LIMIT, "is nested too deep"},
        {"bad-external-data.h5", ERR_UNSUPPORTED, "'predictions/bias:0' keeps its data in another"},
        {"bad-huge.h5", ERR_LIMIT, "says it has an axis of 1152921504606846976 elements"},
        {"bad-huge-chunk.h5", ERR_LIMIT, "'predictions/kernel:0' is in pieces of over"},
        {"bad-filter.h5", ERR_UNSUPPORTED, "is packed by filter 32000"},
        {"bad-types.h5", ERR_FORMAT, "232 weights missing"},
        {"bad-few.h5", ERR_FORMAT, "233 weights missing, 2 extra, 2 of a wrong shape"},
        {"bad-few.keras", ERR_FORMAT, "232 weights missing"},
        {"bad-cut.h5", ERR_FORMAT, "truncated file"},
        {"bad-head-only.h5", ERR_FORMAT, "damaged or cut off"},
        {"bad-empty", ERR_FORMAT, "0 bytes that start with ''"},
        {"bad-html", ERR_FORMAT, "33 bytes that start with '<!DOCTYPE html><titl'"},
        {"bad-compressed.keras", ERR_UNSUPPORTED, "'model.weights.h5' is compressed"},
        {"bad-member.keras", ERR_NOT_FOUND, "no 'model.weights.h5' in the archive"},
        {"bad-cut.keras", ERR_FORMAT, "no directory at its end"},
        {"bad-crc.keras", ERR_FORMAT, "its CRC differs"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF struct buf file = {0}, onnx = {0};
        struct keras_info info;
        struct error error = {0};
        load(cases[i].file, &file);
        enum err err = convert(buf_view(&file), &info, &onnx, &error);
        ck_assert_msg(err == cases[i].err && strstr(error.msg, cases[i].text) != NULL,
                      "%s: %s '%s' lacks '%s'", cases[i].file, err_name(err), error.msg,
                      cases[i].text);
        ck_assert_uint_eq(onnx.len, 0);
    }
}
END_TEST

START_TEST(test_a_file_cut_anywhere_is_refused)
{
    static const char *const names[] = {"good-keras1.h5", "good-keras2.h5", "good-keras3.keras"};
    for (size_t n = 0; n < 3; n++) {
        AUTO_BUF struct buf file = {0};
        load(names[n], &file);
        for (size_t len = 0; len < file.len; len += len < 4000 ? 97 : 20011) {
            AUTO_BUF struct buf onnx = {0}, part = {0}; // a copy, so that a sanitizer sees its end
            struct keras_info info;
            struct error error = {0};
            buf_add(&part, file.data, len);
            ck_assert_msg(convert(buf_view(&part), &info, &onnx, &error) != OK, "%zu bytes", len);
            ck_assert(error.msg[0] != '\0');
        }
    }
}
END_TEST

// Where the model has the data of a weight: behind its name, tag and length (below 128).
static const char *onnx_data(const struct buf *onnx, const char *name)
{
    const char *at = memmem(onnx->data, onnx->len, name, strlen(name));
    ck_assert_ptr_nonnull(at); // the first is the node's input: look for the tensor's
    for (const char *next = at; next != NULL;) {
        at = next;
        next = memmem(at + 1, onnx->len - (size_t)(at + 1 - onnx->data), name, strlen(name));
    }
    return at + strlen(name) + 2;
}

static void expect_bad_value(const char *weight, size_t floats, float value, const char *text)
{
    AUTO_BUF struct buf file = {0}, onnx = {0}, again = {0};
    struct keras_info info;
    struct error error = {0};
    load("good-keras2.h5", &file);
    ck_assert_int_eq(convert(buf_view(&file), &info, &onnx, &error), OK);
    char *at = memmem(file.data, file.len, onnx_data(&onnx, weight), floats * sizeof(float));
    ck_assert_ptr_nonnull(at);
    memcpy(at + (floats - 1) * sizeof value, &value, sizeof value);
    ck_assert_int_eq(convert(buf_view(&file), &info, &again, &error), ERR_FORMAT);
    ck_assert_msg(strstr(error.msg, text) != NULL, "%s", error.msg);
}

START_TEST(test_values_that_are_no_weights)
{
    expect_bad_value(
        "predictions/bias", 3, NAN,
        "'predictions/predictions/bias:0' holds a value that is no number (element 2)");
    expect_bad_value("predictions/bias", 3, -INFINITY, "is no number");
    expect_bad_value("block1_conv2_bn/moving_variance", 3, -1.0f,
                     "holds a negative variance (element 2)");
}
END_TEST

// ---- matching ---------------------------------------------------------------------------------

enum { WEIGHTS = 236 };

struct list {
    struct keras_array arrays[WEIGHTS + 8];
    char paths[WEIGHTS + 8][100];
    size_t count;
};

static struct keras_array *add(struct list *l, int rank, const int64_t *dims)
{
    struct keras_array *a = &l->arrays[l->count];
    *a = (struct keras_array){.path = l->paths[l->count++], .rank = rank, .is_float = true};
    memcpy(a->dims, dims, (size_t)rank * sizeof *dims);
    return a;
}

// Numbered layers of Keras 1, from `first` on; the residual ones in the order of making.
static void fill_keras1(struct list *l, int first)
{
    static const char *const classes[] = {"convolution2d", "separableconvolution2d",
                                          "batchnormalization", "dense"};
    struct xception_layer layers[XCEPTION_LAYERS];
    l->count = 0;
    xception_layers(&tiny, layers);
    for (int i = 0; i < XCEPTION_LAYERS; i++)
        for (int w = 0; w < xception_weight_count(layers[i].kind); w++) {
            int64_t dims[4];
            int rank = xception_weight_shape(&layers[i], w, 5, dims);
            struct keras_array *a = add(l, rank, dims);
            const char *class = classes[layers[i].kind];
            int n = layers[i].made + first;
            snprintf(a->path, 100, "%s_%d/%s_%d_%s:0", class, n, class, n,
                     xception_weight_name(layers[i].kind, w));
        }
    ck_assert_uint_eq(l->count, WEIGHTS);
}

static struct keras_array *find(struct list *l, const char *path)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->paths[i], path) == 0)
            return &l->arrays[i];
    ck_abort_msg("no %s", path);
}

static enum err match(const struct list *l, struct keras_match *m, struct buf *complaints,
                      struct error *error)
{
    buf_clear(complaints);
    return keras_match(l->arrays, l->count, &tiny, m, complaints, error);
}

START_TEST(test_numbers_may_start_anywhere)
{
    struct list *l = calloc(1, sizeof *l);
    AUTO_BUF struct buf complaints = {0};
    struct keras_match m;
    struct error error = {0};
    for (int first = 1; first < 3000; first = first * 7 + 2) {
        fill_keras1(l, first);
        for (int i = 0; i < WEIGHTS / 2; i++) { // backwards
            struct keras_array other = l->arrays[i];
            l->arrays[i] = l->arrays[WEIGHTS - 1 - i];
            l->arrays[WEIGHTS - 1 - i] = other;
        }
        ck_assert_msg(match(l, &m, &complaints, &error) == OK, "%s", error.msg);
        ck_assert_str_eq(m.layout, "Keras 1");
        ck_assert_int_eq(m.classes, 5);
        int at = WEIGHTS;
        for (int i = 0; i < XCEPTION_LAYERS; i++)
            for (int w = 0; w < xception_weight_count(m.layers[i].kind); w++)
                ck_assert_int_eq(m.arrays[i][w], --at);
    }
    free(l);
}
END_TEST

// The numbers of the norms beside the pools, as the official file has them.
START_TEST(test_residual_norms_are_numbered_as_made)
{
    static const struct {
        const char *layer;
        int made, ordered;
    } cases[] = {{"block1_conv2_bn", 2, 2},       {"block2_residual_bn", 3, 5},
                 {"block2_sepconv1_bn", 4, 3},    {"block3_residual_bn", 6, 8},
                 {"block4_residual_bn", 9, 11},   {"block4_sepconv2_bn", 11, 10},
                 {"block5_sepconv1_bn", 12, 12},  {"block13_residual_bn", 36, 38},
                 {"block13_sepconv2_bn", 38, 37}, {"block14_sepconv2_bn", 40, 40},
                 {"block13_residual", 6, 6},      {"block14_sepconv2", 34, 34}};
    struct xception_layer layers[XCEPTION_LAYERS];
    xception_layers(&xception_standard, layers);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        int i = 0;
        while (strcmp(layers[i].name, cases[c].layer) != 0)
            ck_assert_int_lt(++i, XCEPTION_LAYERS);
        ck_assert_int_eq(layers[i].made + 1, cases[c].made);
        ck_assert_int_eq(layers[i].ordered + 1, cases[c].ordered);
    }
}
END_TEST

START_TEST(test_missing_extra_and_wrong_are_named)
{
    struct list *l = calloc(1, sizeof *l);
    AUTO_BUF struct buf complaints = {0};
    struct keras_match m;
    struct error error = {0};
    fill_keras1(l, 1);
    strcpy(find(l, "convolution2d_3/convolution2d_3_kernel:0")->path, "lstm_1/kernel:0");
    find(l, "batchnormalization_3/batchnormalization_3_gamma:0")->dims[0] = 99;
    find(l, "dense_1/dense_1_bias:0")->is_float = false;
    ck_assert_int_eq(match(l, &m, &complaints, &error), ERR_FORMAT);
    ck_assert_msg(strstr(error.msg, "(read as Keras 1): 1 weights missing, 1 extra, 2 of a wrong "
                                    "shape or type") != NULL,
                  "%s", error.msg);
    ck_assert_str_eq(complaints.data,
                     "extra: 'lstm_1/kernel:0' is no weight of Xception\n"
                     "missing: kernel of block2_residual ('convolution2d_3')\n"
                     "wrong: 'batchnormalization_3/batchnormalization_3_gamma:0' (gamma of "
                     "block2_residual_bn) has the shape [99], [4] is needed\n"
                     "wrong: 'dense_1/dense_1_bias:0' (bias of predictions) holds no "
                     "floating-point numbers\n");
    fill_keras1(l, 1);
    strcpy(add(l, 1, (int64_t[]){2})->path, "x/convolution2d_1/kernel");
    ck_assert_int_eq(match(l, &m, &complaints, &error), ERR_FORMAT);
    ck_assert_str_eq(complaints.data,
                     "extra: 'x/convolution2d_1/kernel' is kernel of block1_conv1, as "
                     "'convolution2d_1/convolution2d_1_kernel:0' is\n");
    free(l);
}
END_TEST

START_TEST(test_a_file_without_top_is_told_so)
{
    struct list *l = calloc(1, sizeof *l);
    AUTO_BUF struct buf complaints = {0};
    struct keras_match m;
    struct error error = {0};
    fill_keras1(l, 1);
    l->count -= 2;
    ck_assert_int_eq(match(l, &m, &complaints, &error), ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(error.msg, "no classifier"));
    free(l);
}
END_TEST

// ---- archives ---------------------------------------------------------------------------------

START_TEST(test_archives_cut_or_changed)
{
    AUTO_BUF struct buf file = {0};
    struct span out;
    struct error error = {0};
    load("bad-member.keras", &file);
    ck_assert(zip_is(buf_view(&file)));
    ck_assert_int_eq(zip_find(buf_view(&file), "other.h5", &out, &error), OK);
    ck_assert_uint_eq(out.len, 12704);
    for (size_t len = 0; len < file.len; len++) {
        AUTO_BUF struct buf part = {0};
        buf_add(&part, file.data, len);
        ck_assert_int_ne(zip_find(buf_view(&part), "other.h5", &out, &error), OK);
    }
    for (size_t i = file.len - 80; i < file.len; i++) { // the directory and its end
        char old = file.data[i];
        for (int bit = 0; bit < 8; bit++) {
            file.data[i] = (char)(old ^ 1 << bit);
            if (zip_find(buf_view(&file), "other.h5", &out, &error) == OK)
                ck_assert_uint_eq(out.len, 12704);
        }
        file.data[i] = old;
    }
}
END_TEST

SUITE_MAIN("keras", test_layouts_give_the_same_model, test_the_model_runs,
           test_bad_files_are_refused_with_the_reason, test_a_file_cut_anywhere_is_refused,
           test_values_that_are_no_weights, test_numbers_may_start_anywhere,
           test_residual_norms_are_numbered_as_made, test_missing_extra_and_wrong_are_named,
           test_a_file_without_top_is_told_so, test_archives_cut_or_changed)
