// oneDNN against the plain kernels, on shapes that are not round.
#include "engine/engine.h"

#include "onnx_builder.h"
#include "suite.h"

static char what[256];

// A convolution with random everything from "in" (channels) to "out".
static int64_t random_conv(const char *in, const char *out, int64_t channels, int kind,
                           const char *suffix)
{
    char w[32], b[32], inputs[96];
    int64_t groups = kind == 1 ? channels : kind == 2 && channels % 2 == 0 ? 2 : 1;
    int64_t outs = kind == 1 ? channels : groups * pick(1, 24);
    int64_t kh = pick(1, 4), kw = pick(1, 4);
    snprintf(w, sizeof w, "w%s", suffix);
    snprintf(b, sizeof b, "bias%s", suffix);
    model_floats(w, 4, (int64_t[]){outs, channels / groups, kh, kw}, 0.5f, 0);
    bool bias = pick(0, 1) == 1;
    if (bias)
        model_floats(b, 1, (int64_t[]){outs}, 0.5f, 0);
    snprintf(inputs, sizeof inputs, "%s %s %s", in, w, bias ? b : "");
    Onnx__NodeProto *n = model_node("Conv", inputs, out);
    node_int(n, "group", groups);
    int64_t strides[2] = {pick(1, 2), pick(1, 2)}, dilations[2] = {pick(1, 2), 1};
    node_ints(n, "strides", 2, strides);
    int64_t style = pick(0, 3);
    if (style == 0) {
        node_text(n, "auto_pad", pick(0, 1) == 0 ? "SAME_UPPER" : "SAME_LOWER");
    } else {
        int64_t pads[4] = {pick(0, kh - 1), pick(0, kw - 1), pick(0, kh - 1), pick(0, kw - 1)};
        node_ints(n, "pads", 4, pads);
        node_ints(n, "dilations", 2, dilations);
    }
    snprintf(what, sizeof what, "conv %lld in %lld out %lldx%lld groups %lld", (long long)channels,
             (long long)outs, (long long)kh, (long long)kw, (long long)groups);
    return outs;
}

START_TEST(convolutions)
{
    builder_noise = (uint32_t)_i + 100;
    for (int i = 0; i < 25; i++) {
        int64_t channels = pick(1, 40);
        model_begin(13, 4, (int64_t[]){1, channels, pick(8, 23), pick(8, 23)});
        random_conv("x", "y", channels, (int)pick(0, 2), "");
        model_compare(1e-5, what);
    }
}
END_TEST

static void batch_norm(const char *in, const char *out, int64_t channels, const char *suffix)
{
    char inputs[128];
    const char *names[4] = {"scale", "shift", "mean", "var"};
    size_t len = (size_t)snprintf(inputs, sizeof inputs, "%s", in);
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s%s", names[i], suffix);
        model_floats(name, 1, &channels, 0.4f, i == 0 || i == 3 ? 1 : 0);
        len += (size_t)snprintf(inputs + len, sizeof inputs - len, " %s", name);
    }
    node_float(model_node("BatchNormalization", inputs, out), "epsilon", 1e-3f);
}

START_TEST(convolutions_with_what_follows_them)
{
    builder_noise = (uint32_t)_i + 200;
    for (int i = 0; i < 15; i++) {
        int64_t channels = pick(1, 40);
        model_begin(13, 4, (int64_t[]){1, channels, pick(8, 17), pick(8, 17)});
        int64_t outs = random_conv("x", "a", channels, (int)pick(0, 2), "");
        batch_norm("a", "b", outs, "");
        model_node("Relu", "b", "y");
        ck_assert_uint_le(model_compare(1e-5, what), 3); // reorder, convolution, reorder
    }
}
END_TEST

// Nothing before it to go into: it stays, with the activation behind it.
START_TEST(batch_norms_alone)
{
    for (int64_t c = 3; c <= 32; c += 29) {
        model_begin(13, 4, (int64_t[]){1, c, 9, 11});
        batch_norm("x", "a", c, "");
        model_node("Relu", "a", "b");
        model_floats("w", 4, (int64_t[]){c, c, 1, 1}, 0.3f, 0);
        model_node("Conv", "b w", "y");
        ck_assert_uint_le(model_compare(1e-5, "batch norm"), 4);
    }
    model_begin(13, 4, (int64_t[]){1, 5, 9, 11});
    batch_norm("x", "a", 5, "");
    model_node("Sigmoid", "a", "y");
    model_compare(1e-5, "batch norm and sigmoid");
}
END_TEST

START_TEST(residual_adds)
{
    builder_noise = (uint32_t)_i + 300;
    // x -> a -> b, b + a; a is read again where keep: then the sum may not overwrite it
    for (int keep = 0; keep < 2; keep++)
        for (int relu = 0; relu < 2; relu++) {
            int64_t c = pick(1, 40);
            model_begin(13, 4, (int64_t[]){1, c, 9, 7});
            model_floats("w1", 4, (int64_t[]){c, c, 1, 1}, 0.3f, 0);
            model_floats("w2", 4, (int64_t[]){c, c, 3, 3}, 0.3f, 0);
            model_node("Conv", "x w1", "a");
            node_ints(model_node("Conv", "a w2", "b"), "pads", 4, (int64_t[]){1, 1, 1, 1});
            model_node("Add", relu != 0 ? "b a" : "a b", "s");
            model_node(relu != 0 ? "Relu" : "Identity", "s", "t");
            if (keep != 0)
                model_node("Mul", "t a", "y");
            else
                model_node("Tanh", "t", "y");
            model_compare(1e-5, "residual");
        }
}
END_TEST

START_TEST(an_xception_block)
{
    builder_noise = (uint32_t)_i + 400;
    int64_t c = pick(3, 40), d = pick(3, 40), size = pick(7, 20);
    model_begin(13, 4, (int64_t[]){1, c, size, size});
    model_node("Relu", "x", "r"); // x itself is read by the residual
    model_floats("dw", 4, (int64_t[]){c, 1, 3, 3}, 0.5f, 0);
    model_floats("pw", 4, (int64_t[]){d, c, 1, 1}, 0.3f, 0);
    Onnx__NodeProto *n = model_node("Conv", "r dw", "a");
    node_int(n, "group", c);
    node_text(n, "auto_pad", "SAME_UPPER");
    model_node("Conv", "a pw", "b");
    batch_norm("b", "e", d, "1");
    n = model_node("MaxPool", "e", "p");
    node_ints(n, "kernel_shape", 2, (int64_t[]){3, 3});
    node_ints(n, "strides", 2, (int64_t[]){2, 2});
    node_text(n, "auto_pad", "SAME_UPPER");
    model_floats("rw", 4, (int64_t[]){d, c, 1, 1}, 0.3f, 0);
    n = model_node("Conv", "x rw", "f");
    node_ints(n, "strides", 2, (int64_t[]){2, 2});
    node_text(n, "auto_pad", "SAME_UPPER");
    batch_norm("f", "g", d, "2");
    model_node("Add", "p g", "s");
    model_node("Relu", "s", "t");
    model_node("GlobalAveragePool", "t", "u");
    model_node("Flatten", "u", "v");
    model_floats("fw", 2, (int64_t[]){d, 5}, 0.3f, 0);
    model_floats("fb", 1, (int64_t[]){5}, 0.3f, 0);
    model_node("MatMul", "v fw", "m");
    model_node("Add", "m fb", "l");
    model_node("Softmax", "l", "y");
    model_compare(1e-5, "block");
}
END_TEST

START_TEST(pools)
{
    builder_noise = (uint32_t)_i + 500;
    for (int i = 0; i < 30; i++) {
        int64_t c = pick(1, 35), kh = pick(1, 4), kw = pick(1, 4);
        bool max = pick(0, 1) == 0;
        model_begin(13, 4, (int64_t[]){1, c, pick(6, 15), pick(6, 15)});
        Onnx__NodeProto *n = model_node(max ? "MaxPool" : "AveragePool", "x", "y");
        node_ints(n, "kernel_shape", 2, (int64_t[]){kh, kw});
        node_ints(n, "strides", 2, (int64_t[]){pick(1, 3), pick(1, 3)});
        node_ints(n, "pads", 4,
                  (int64_t[]){pick(0, kh - 1), pick(0, kw - 1), pick(0, kh - 1), pick(0, kw - 1)});
        node_int(n, "ceil_mode", pick(0, 1));
        if (!max)
            node_int(n, "count_include_pad", pick(0, 1));
        snprintf(what, sizeof what, "%s %lldx%lld, %lld channels", max ? "max" : "average",
                 (long long)kh, (long long)kw, (long long)c);
        model_compare(1e-5, what);
    }
}
END_TEST

START_TEST(padding_moves_into_windows)
{
    static const struct {
        const char *op;
        float value;
        size_t steps;
    } cases[] = {{"Conv", 0, 3}, {"MaxPool", -INFINITY, 1}, {"AveragePool", 0, 2}};
    for (size_t i = 0; i < 3; i++) {
        model_begin(13, 4, (int64_t[]){1, 5, 10, 11});
        model_ints("pads", 8, (int64_t[]){0, 0, 0, 1, 0, 0, 2, 1});
        Onnx__TensorProto *value = model_floats("value", 0, NULL, 0, 0);
        memcpy(value->raw_data.data, &cases[i].value, sizeof(float));
        model_node("Pad", "x pads value", "a");
        Onnx__NodeProto *n;
        if (i == 0) {
            model_floats("w", 4, (int64_t[]){7, 5, 3, 3}, 0.5f, 0);
            n = model_node("Conv", "a w", "y");
        } else {
            n = model_node(cases[i].op, "a", "y");
            node_ints(n, "kernel_shape", 2, (int64_t[]){3, 3});
            if (i == 2)
                node_int(n, "count_include_pad", 1);
        }
        ck_assert_uint_le(model_compare(1e-5, cases[i].op), cases[i].steps);
    }
}
END_TEST

// Padding that is not what the window would do by itself stays a step of its own.
START_TEST(padding_that_must_not_move)
{
    model_begin(13, 4, (int64_t[]){1, 5, 10, 11});
    model_ints("pads", 8, (int64_t[]){0, 0, 1, 1, 0, 0, 1, 1});
    model_node("Pad", "x pads", "a"); // zeros: not the lowest number
    node_ints(model_node("MaxPool", "a", "y"), "kernel_shape", 2, (int64_t[]){3, 3});
    model_compare(1e-5, "zeros before a MaxPool");
    model_begin(13, 4, (int64_t[]){1, 3, 10, 11});
    model_ints("pads", 8, (int64_t[]){0, 1, 0, 0, 0, 0, 0, 0});
    model_node("Pad", "x pads", "a"); // a channel of zeros
    model_floats("w", 4, (int64_t[]){7, 4, 3, 3}, 0.5f, 0);
    model_node("Conv", "a w", "y");
    model_compare(1e-5, "padded channels");
}
END_TEST

START_TEST(broadcasting)
{
    static const struct {
        int rank;
        int64_t dims[4];
    } shapes[] = {{0, {0}},          {1, {7}},          {3, {6, 1, 1}},
                  {4, {1, 1, 5, 7}}, {4, {1, 6, 5, 7}}, {1, {1}}};
    static const char *const ops[] = {"Add", "Sub", "Mul", "Div"};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (size_t k = 0; k < 4; k++)
            for (int side = 0; side < 2; side++) {
                model_begin(13, 4, (int64_t[]){1, 6, 5, 7});
                model_floats("c", shapes[i].rank, shapes[i].dims, 0.5f, 1.5f);
                model_node("Exp", "x", "e"); // no zeros to divide by
                model_node(ops[k], side != 0 ? "c e" : "e c", "y");
                snprintf(what, sizeof what, "%s, shape %zu, side %d", ops[k], i, side);
                model_compare(1e-5, what);
            }
}
END_TEST

START_TEST(constants_after_a_convolution_fold)
{
    static const char *const ops[] = {"Add", "Sub", "Mul", "Div"};
    for (size_t k = 0; k < 4; k++)
        for (int side = 0; side < 2; side++) {
            model_begin(13, 4, (int64_t[]){1, 6, 9, 7});
            model_floats("w", 4, (int64_t[]){18, 6, 3, 3}, 0.5f, 0);
            model_floats("c", 3, (int64_t[]){18, 1, 1}, 0.5f, 1.5f);
            model_node("Conv", "x w", "a");
            model_node(ops[k], side != 0 ? "c a" : "a c", "y");
            size_t steps = model_compare(k == 3 && side == 1 ? 1e-3 : 1e-5, ops[k]);
            if (k != 3 || side == 0)
                ck_assert_uint_le(steps, 3);
        }
}
END_TEST

START_TEST(weights_that_two_convolutions_share)
{
    model_begin(13, 4, (int64_t[]){1, 6, 9, 7});
    model_floats("w", 4, (int64_t[]){6, 6, 1, 1}, 0.5f, 0);
    model_floats("c", 3, (int64_t[]){6, 1, 1}, 0.5f, 1.5f);
    model_node("Conv", "x w", "a");
    model_node("Mul", "a c", "b"); // goes into w, but only for the first
    model_node("Conv", "b w", "y");
    model_compare(1e-5, "shared weights");
}
END_TEST

START_TEST(moves_and_views)
{
    for (int64_t c = 5; c <= 32; c += 27) {
        model_begin(13, 4, (int64_t[]){1, 6, 7, c}); // channels last, as from TensorFlow
        node_ints(model_node("Transpose", "x", "t"), "perm", 4, (int64_t[]){0, 3, 1, 2});
        model_floats("w", 4, (int64_t[]){c, c, 3, 3}, 0.3f, 0);
        model_node("Conv", "t w", "a");
        model_node("Relu", "a", "b");
        node_ints(model_node("Transpose", "b", "u"), "perm", 4, (int64_t[]){0, 2, 3, 1});
        model_ints("shape", 2, (int64_t[]){0, -1});
        model_node("Reshape", "u shape", "r");
        model_floats("fw", 2, (int64_t[]){20 * c, 3}, 0.1f, 0);
        model_node("MatMul", "r fw", "y");
        model_compare(1e-5, "channels last");
        model_begin(13, 4, (int64_t[]){1, 6, 7, c});
        node_ints(model_node("Transpose", "x", "t"), "perm", 4, (int64_t[]){0, 3, 1, 2});
        node_ints(model_node("Transpose", "t", "u"), "perm", 4, (int64_t[]){0, 2, 3, 1});
        model_node("Relu", "u", "y");
        ck_assert_uint_eq(model_compare(0, "transposes cancel"), 1);
        model_begin(13, 4, (int64_t[]){1, c, 6, 7});
        Onnx__NodeProto *n = model_node("ReduceMean", "x", "m");
        node_ints(n, "axes", 2, (int64_t[]){-1, 2});
        node_int(n, "keepdims", c == 5);
        model_node("Flatten", "m", "y");
        model_compare(1e-5, "mean");
    }
}
END_TEST

START_TEST(concat_of_branches)
{
    for (int64_t c = 3; c <= 16; c += 13) {
        model_begin(13, 4, (int64_t[]){1, c, 8, 9});
        model_floats("w1", 4, (int64_t[]){c, c, 1, 1}, 0.3f, 0);
        model_floats("w2", 4, (int64_t[]){2 * c, c, 3, 3}, 0.3f, 0);
        model_node("Conv", "x w1", "a");
        node_ints(model_node("Conv", "x w2", "b"), "pads", 4, (int64_t[]){1, 1, 1, 1});
        node_int(model_node("Concat", "a x b", "d"), "axis", 1);
        model_floats("w3", 4, (int64_t[]){7, 4 * c, 1, 1}, 0.3f, 0);
        model_node("Conv", "d w3", "y");
        model_compare(1e-5, "concat");
    }
}
END_TEST

START_TEST(activations)
{
    static const char *const ops[] = {"Relu",      "LeakyRelu", "Sigmoid", "HardSigmoid",
                                      "HardSwish", "Tanh",      "Exp",     "Neg"};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        for (int fused = 0; fused < 2; fused++) {
            model_begin(14, 4, (int64_t[]){1, 5, 6, 7});
            model_floats("w", 4, (int64_t[]){9, 5, 1, 1}, 1, 0);
            model_node("Conv", "x w", "a");
            model_node(ops[i], fused != 0 ? "a" : "x", "y");
            model_compare(2e-5, ops[i]);
        }
    model_begin(13, 4, (int64_t[]){1, 5, 6, 7});
    model_floats("w", 4, (int64_t[]){9, 5, 1, 1}, 3, 0);
    Onnx__TensorProto *six = model_floats("six", 0, NULL, 0, 0.6f);
    ck_assert_ptr_nonnull(six);
    model_floats("low", 0, NULL, 0, -0.2f);
    model_node("Conv", "x w", "a");
    model_node("Clip", "a low six", "b");
    model_node("Clip", "b - six", "y");
    model_compare(1e-5, "Clip");
}
END_TEST

START_TEST(matrix_products)
{
    for (int rank = 2; rank <= 4; rank++) {
        int64_t dims[4] = {1, 3, 4, 5};
        if (rank == 2)
            dims[1] = 5;
        if (rank == 3)
            dims[2] = 5;
        model_begin(13, rank, dims);
        model_floats("w", 2, (int64_t[]){5, 6}, 0.5f, 0);
        model_floats("b", 1, (int64_t[]){6}, 0.5f, 0);
        model_node("MatMul", "x w", "a");
        model_node("Add", "a b", "y");
        model_compare(1e-5, "MatMul");
    }
    for (int style = 0; style < 4; style++) {
        model_begin(13, 2, (int64_t[]){1, 37});
        bool transposed = (style & 1) != 0;
        model_floats("w", 2, transposed ? (int64_t[]){11, 37} : (int64_t[]){37, 11}, 0.5f, 0);
        model_floats("b", 1, (int64_t[]){11}, 0.5f, 0);
        Onnx__NodeProto *n = model_node("Gemm", "x w b", "a");
        node_int(n, "transB", transposed);
        if (style >= 2)
            node_float(n, "alpha", 0.5f);
        model_node("Relu", "a", "y");
        model_compare(1e-5, "Gemm");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels");
    TCase *random = tcase_create("random"), *fixed = tcase_create("fixed");
    tcase_set_timeout(random, 60);
    tcase_set_timeout(fixed, 60);
    tcase_add_loop_test(random, convolutions, 0, 4);
    tcase_add_loop_test(random, convolutions_with_what_follows_them, 0, 4);
    tcase_add_loop_test(random, residual_adds, 0, 4);
    tcase_add_loop_test(random, an_xception_block, 0, 10);
    tcase_add_loop_test(random, pools, 0, 4);
    tcase_add_test(fixed, batch_norms_alone);
    tcase_add_test(fixed, padding_moves_into_windows);
    tcase_add_test(fixed, padding_that_must_not_move);
    tcase_add_test(fixed, broadcasting);
    tcase_add_test(fixed, constants_after_a_convolution_fold);
    tcase_add_test(fixed, weights_that_two_convolutions_share);
    tcase_add_test(fixed, moves_and_views);
    tcase_add_test(fixed, concat_of_branches);
    tcase_add_test(fixed, activations);
    tcase_add_test(fixed, matrix_products);
    suite_add_tcase(suite, random);
    suite_add_tcase(suite, fixed);
    SRunner *runner = srunner_create(suite);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
