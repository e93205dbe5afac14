// Pieces, patterns, matrices, normalizations, resizing: oneDNN against the plain kernels, what is
// folded and fused, and what is refused.
#include "engine/activations.h"
#include "engine/engine.h"

#include "onnx_builder.h"
#include "suite.h"

// A 1x1 convolution, so that what follows finds a blocked layout.
static void conv(const char *in, const char *out, int64_t ins, int64_t outs)
{
    char w[32], inputs[64];
    snprintf(w, sizeof w, "w_%s", out);
    model_floats(w, 4, (int64_t[]){outs, ins, 1, 1}, 0.4f, 0);
    snprintf(inputs, sizeof inputs, "%s %s", in, w);
    model_node("Conv", inputs, out);
}

START_TEST(pieces_of_images)
{
    static const struct {
        int64_t start[4], end[4], step[4];
    } cases[] = {
        {{0, 16, 0, 0}, {1, 32, 99, 99}, {1, 1, 1, 1}},   // whole blocks of channels
        {{0, 3, 0, 0}, {1, 20, 99, 99}, {1, 1, 1, 1}},    // across blocks
        {{0, 0, 1, 2}, {1, 48, -1, -2}, {1, 1, 1, 1}},    // the middle of a picture
        {{0, 0, 0, 1}, {1, 48, 99, 99}, {1, 1, 2, 3}},    // with gaps
        {{0, -1, 0, 0}, {1, -99, 99, 99}, {1, -1, 1, 1}}, // backwards
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int again = 0; again < 2; again++) {
            model_begin(13, 4, (int64_t[]){1, 5, 7, 9});
            conv("x", "a", 5, 48);
            model_ints("start", 4, cases[i].start);
            model_ints("end", 4, cases[i].end);
            model_ints("axes", 4, (int64_t[]){0, 1, 2, 3});
            model_ints("step", 4, cases[i].step);
            model_node("Slice", "a start end axes step", "b");
            model_node("Relu", "b", again != 0 ? "c" : "y"); // may not write over its neighbours
            if (again != 0) {
                model_node("ReduceMean", "a", "m"); // a is still read
                model_node("Add", "c m", "y");
            }
            model_compare(1e-5, "slice");
        }
}
END_TEST

START_TEST(splits)
{
    for (int opset = 12; opset <= 18; opset += 3)
        for (int64_t c = 6; c <= 96; c *= 4) {
            model_begin(opset, 4, (int64_t[]){1, 4, 6, 5});
            conv("x", "a", 4, c);
            int64_t sizes[3] = {c / 2, c / 3, c - c / 2 - c / 3};
            Onnx__NodeProto *n;
            if (opset >= 13) {
                model_ints("sizes", 3, sizes);
                n = model_node("Split", "a sizes", "b d e");
            } else {
                n = model_node("Split", "a", "b d e");
                node_ints(n, "split", 3, sizes);
            }
            node_int(n, "axis", 1);
            model_node("Sigmoid", "d", "f");
            node_int(model_node("Concat", "e b f", "g"), "axis", 1);
            conv("g", "y", c, 7);
            model_compare(1e-5, "split");
        }
}
END_TEST

START_TEST(splits_that_do_not_fit)
{
    static const int64_t sizes[][2] = {{3, 4}, {-1, 7}, {7, -1}, {INT64_MAX, INT64_MAX}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        model_begin(13, 2, (int64_t[]){1, 6});
        model_ints("sizes", 2, sizes[i]);
        node_int(model_node("Split", "x sizes", "y z"), "axis", 1);
        ck_assert_int_eq(model_refused().code, ERR_FORMAT);
    }
    model_begin(13, 2, (int64_t[]){1, 7});
    node_int(model_node("Split", "x", "y z"), "axis", 1);
    ck_assert_int_eq(model_refused().code, ERR_FORMAT);
    model_begin(18, 2, (int64_t[]){1, 7}); // since opset 18 the last part may be smaller
    Onnx__NodeProto *n = model_node("Split", "x", "z y");
    node_int(n, "axis", 1);
    node_int(n, "num_outputs", 2);
    model_compare(0, "an uneven split");
}
END_TEST

START_TEST(gathers_of_one_place)
{
    for (int rank = 0; rank < 2; rank++)
        for (int64_t axis = 1; axis < 3; axis++) {
            model_begin(13, 3, (int64_t[]){1, 6, 7});
            Onnx__TensorProto *t = model_ints("at", 1, (int64_t[]){-2});
            t->n_dims = (size_t)rank;
            node_int(model_node("Gather", "x at", "a"), "axis", axis);
            model_node("Tanh", "a", "y");
            model_compare(1e-5, "gather");
        }
}
END_TEST

// What exporters write as several nodes is one step.
static void pattern(int which, const char *x)
{
    char text[64];
    model_floats("three", 0, NULL, 0, 3);
    model_floats("six", 0, NULL, 0, 6);
    model_floats("zero", 0, NULL, 0, 0);
    model_floats("one", 0, NULL, 0, 1);
    model_floats("half", 0, NULL, 0, 0.5f);
    model_floats("root", 0, NULL, 0, 1.41421354f);
    if (which == 0) { // swish
        model_node("Sigmoid", x, "s");
        snprintf(text, sizeof text, "s %s", x);
        model_node("Mul", text, "y");
    } else if (which < 3) { // hard swish, in two orders
        snprintf(text, sizeof text, "%s three", x);
        model_node("Add", text, "s");
        model_node("Clip", "s zero six", "t");
        snprintf(text, sizeof text, "%s %s", x, which == 1 ? "t" : "u");
        if (which == 2)
            model_node("Div", "t six", "u");
        model_node("Mul", text, which == 1 ? "m" : "y");
        if (which == 1)
            model_node("Div", "m six", "y");
    } else { // Gelu, in three
        snprintf(text, sizeof text, "%s root", x);
        model_node("Div", text, "d");
        model_node("Erf", "d", "e");
        model_node("Add", "e one", "f");
        snprintf(text, sizeof text, "%s half", x);
        if (which == 4)
            model_node("Mul", text, "h");
        if (which == 5)
            model_node("Mul", "f half", "g");
        snprintf(text, sizeof text, "%s %s", which == 4 ? "h" : x, which == 5 ? "g" : "f");
        model_node("Mul", text, which == 3 ? "m" : "y");
        if (which == 3)
            model_node("Mul", "m half", "y");
    }
}

START_TEST(activations_of_several_nodes)
{
    static const struct activation swish = {UNARY_SWISH, 1, 0};
    for (int which = 0; which < 6; which++) {
        model_begin(13, 4, (int64_t[]){1, 16, 6, 7});
        conv("x", "a", 16, 32);
        pattern(which, "a");
        // convolution between two reorders; a swish of ours behind it
        bool own = which == 0 && activation_kernel_best(&swish) != NULL;
        ck_assert_uint_le(model_compare(2e-5, "fused"), own ? 4 : 3);
        model_begin(13, 2, (int64_t[]){1, 50});
        pattern(which, "x");
        ck_assert_uint_eq(model_compare(2e-5, "alone"), 1);
    }
}
END_TEST

static void layer_norm(float exponent, const char *minuend)
{
    int64_t c = 12;
    model_floats("two", 0, NULL, 0, exponent);
    model_floats("eps", 0, NULL, 0, 1e-4f);
    model_floats("scale", 1, &c, 0.4f, 1);
    model_floats("shift", 1, &c, 0.4f, 0);
    Onnx__NodeProto *n = model_node("ReduceMean", "x", "mean");
    node_ints(n, "axes", 1, (int64_t[]){-1});
    char text[32];
    snprintf(text, sizeof text, "%s mean", minuend);
    model_node("Sub", text, "d");
    model_node("Pow", "d two", "square");
    n = model_node("ReduceMean", "square", "variance");
    node_ints(n, "axes", 1, (int64_t[]){-1});
    model_node("Add", "variance eps", "v");
    model_node("Sqrt", "v", "root");
    model_node("Div", "d root", "z");
    model_node("Mul", "z scale", "s");
    model_node("Add", "s shift", "y");
}

START_TEST(layer_norms_of_several_nodes)
{
    model_begin(13, 3, (int64_t[]){1, 5, 12});
    layer_norm(2, "x");
    ck_assert_uint_eq(model_compare(1e-5, "layer norm"), 1);
    model_begin(13, 3, (int64_t[]){1, 5, 12});
    layer_norm(4, "x"); // looks like one
    ck_assert_uint_gt(model_compare(1e-4, "no layer norm"), 1);
    model_begin(13, 3, (int64_t[]){1, 5, 12});
    model_node("Exp", "x", "e");
    layer_norm(2, "e"); // the mean of something else
    ck_assert_uint_gt(model_compare(1e-4, "no layer norm either"), 1);
}
END_TEST

START_TEST(normalizations)
{
    for (int64_t axis = 1; axis < 4; axis++) {
        int64_t dims[3] = {7, 5, 12};
        model_begin(17, 4, (int64_t[]){1, 7, 5, 12});
        model_floats("scale", (int)(4 - axis), dims + axis - 1, 0.4f, 1);
        model_floats("shift", (int)(4 - axis), dims + axis - 1, 0.4f, 0);
        node_int(model_node("LayerNormalization", axis == 2 ? "x scale" : "x scale shift", "y"),
                 "axis", axis);
        ck_assert_uint_eq(model_compare(1e-5, "layer norm"), 1);
    }
    for (int64_t c = 7; c <= 32; c += 25) {
        model_begin(13, 4, (int64_t[]){1, 4, 9, 8});
        conv("x", "a", 4, c);
        model_floats("scale", 1, &c, 0.4f, 1);
        model_floats("shift", 1, &c, 0.4f, 0);
        model_node("InstanceNormalization", "a scale shift", "y");
        model_compare(1e-5, "instance norm");
        model_begin(13, 4, (int64_t[]){1, 4, 9, 8});
        conv("x", "a", 4, c);
        Onnx__NodeProto *n = model_node("LRN", "a", "y");
        node_int(n, "size", c == 7 ? 4 : 5);
        node_float(n, "alpha", 0.3f);
        model_compare(1e-5, "lrn");
    }
}
END_TEST

START_TEST(matrices_of_tokens)
{
    model_begin(13, 3, (int64_t[]){1, 9, 10});
    model_floats("w", 2, (int64_t[]){10, 30}, 0.4f, 0);
    model_floats("b", 1, (int64_t[]){30}, 0.4f, 0);
    model_floats("v", 2, (int64_t[]){30, 10}, 0.3f, 0);
    model_node("MatMul", "x w", "a");
    model_node("Add", "b a", "c"); // the bias
    model_node("Relu", "c", "d");
    model_node("MatMul", "d v", "e");
    model_node("Add", "x e", "y"); // the residual
    ck_assert_uint_le(model_compare(1e-5, "a block of a transformer"), 3);
}
END_TEST

// Heads apart and keys transposed, by strides.
START_TEST(attention)
{
    model_begin(13, 3, (int64_t[]){1, 9, 24});
    model_ints("heads", 4, (int64_t[]){0, 0, 3, 8});
    model_ints("flat", 3, (int64_t[]){0, 0, -1});
    model_node("Reshape", "x heads", "h");
    node_ints(model_node("Transpose", "h", "q"), "perm", 4, (int64_t[]){0, 2, 1, 3});
    node_ints(model_node("Transpose", "h", "k"), "perm", 4, (int64_t[]){0, 2, 3, 1});
    model_node("MatMul", "q k", "s");
    node_int(model_node("Softmax", "s", "p"), "axis", -1);
    model_node("MatMul", "p q", "r");
    node_ints(model_node("Transpose", "r", "t"), "perm", 4, (int64_t[]){0, 2, 1, 3});
    model_node("Reshape", "t flat", "y");
    model_compare(1e-5, "attention");
}
END_TEST

START_TEST(winograd)
{
    builder_noise = (uint32_t)_i + 700;
    int64_t ins = 16 * pick(4, 6), outs = 16 * pick(4, 6), h = pick(3, 19), w = pick(3, 19);
    model_begin(13, 4, (int64_t[]){1, 3, h, w});
    conv("x", "a", 3, ins);
    model_floats("w", 4, (int64_t[]){outs, ins, 3, 3}, 0.1f, 0);
    model_floats("bias", 1, &outs, 0.1f, 0);
    Onnx__NodeProto *n = model_node("Conv", "a w bias", "b");
    node_ints(n, "pads", 4, (int64_t[]){1, 1, pick(0, 1), 1});
    model_node("Relu", "b", "y");
    model_compare(5e-5, "3x3");
}
END_TEST

START_TEST(gates)
{
    for (int64_t c = 5; c <= 32; c += 27)
        for (int constant = 0; constant < 2; constant++) {
            model_begin(13, 4, (int64_t[]){1, 4, 8, 9});
            conv("x", "a", 4, c);
            model_node("GlobalAveragePool", "a", "p");
            conv("p", "g", c, c);
            model_node("HardSigmoid", "g", "s");
            model_floats("k", 3, (int64_t[]){c, 1, 1}, 1, 0);
            model_floats("m", 3, (int64_t[]){1, 8, 9}, 1, 0);
            model_node("Mul", constant != 0 ? "k a" : "a s", "t");
            model_node("Max", "t m", "y");
            model_compare(1e-5, "gate");
        }
}
END_TEST

// What is broadcast to one channel that lies in a block of 16, 15 of them not its own.
START_TEST(broadcasts_to_one_channel)
{
    static const char *const ops[] = {"Add", "Mul", "Max"};
    static const int64_t shapes[][4] = {
        {1, 1, 1, 1}, {1, 1, 1, 6}, {1, 1, 8, 1}, {1, 1, 8, 6}, {0}}; // 0: one number, computed
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 5; k++) {
            bool computed = shapes[k][0] == 0;
            model_begin(13, 4, (int64_t[]){1, 32, 8, 6});
            model_floats("w", 4, (int64_t[]){16, 32, 1, 1}, 0.3f, 0);
            if (!computed)
                model_floats("k", 4, shapes[k], 0.3f, 1);
            model_ints("sizes", 2, (int64_t[]){1, 15});
            model_node("Conv", "x w", "a");
            node_int(model_node("Split", "a sizes", "s u"), "axis", 1);
            if (computed)
                model_node("GlobalAveragePool", "s", "k");
            model_node(ops[i], "k s", "y");
            model_compare(1e-5, ops[i]);
        }
}
END_TEST

// The first channels lie as a tensor of their own would, but for the step to the next picture.
START_TEST(a_slice_meets_itself)
{
    static const char *const ops[] = {"Add", "Sub", "Max"};
    for (int i = 0; i < 3; i++) {
        model_begin(13, 4, (int64_t[]){1, 4, 15, 8});
        model_ints("zero", 1, (int64_t[]){0});
        model_ints("three", 1, (int64_t[]){3});
        model_ints("axis", 1, (int64_t[]){1});
        model_node("Softplus", "x", "a");
        model_node("Slice", "a zero three axis", "s");
        model_node(ops[i], "s s", "y");
        model_compare(1e-5, ops[i]);
    }
}
END_TEST

START_TEST(resizing)
{
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const places[] = {"half_pixel", "pytorch_half_pixel", "align_corners",
                                         "asymmetric"};
    static const char *const rounds[] = {"round_prefer_floor", "floor"};
    for (int i = 0; i < 3 * 4 * 2 * 3; i++) {
        model_begin(13, 4, (int64_t[]){1, 5, 6, 7});
        conv("x", "a", 5, 16);
        int64_t sizes[3][4] = {{1, 16, 12, 21}, {1, 16, 9, 5}, {1, 16, 1, 14}};
        model_ints("sizes", 4, sizes[i % 3]);
        Onnx__NodeProto *n = model_node("Resize", "a - - sizes", "y");
        node_text(n, "mode", modes[i / 3 % 3]);
        node_text(n, "coordinate_transformation_mode", places[i / 9 % 4]);
        node_text(n, "nearest_mode", rounds[i / 36]);
        model_compare(1e-5, modes[i / 3 % 3]);
    }
}
END_TEST

// Shapes that are computed in the model: only what depends on the picture is left to run.
START_TEST(shapes_fold)
{
    model_begin(13, 4, (int64_t[]){1, 3, 4, 6});
    model_node("Shape", "x", "s");
    model_ints("two", 1, (int64_t[]){2});
    model_ints("three", 1, (int64_t[]){3});
    model_ints("minus", 1, (int64_t[]){-1});
    model_ints("start", 1, (int64_t[]){1});
    node_int(model_node("Gather", "s two", "h"), "axis", 0);
    model_node("Mul", "h two", "h2");
    model_node("Equal", "h2 minus", "e");
    model_node("Where", "e h2 three", "pick");
    model_node("Slice", "s start two", "c");
    node_int(model_node("Concat", "c pick minus", "shape"), "axis", 0);
    model_node("Reshape", "x shape", "r");
    model_node("ConstantOfShape", "pick", "zeros");
    model_node("Tile", "zeros two", "t"); // 6 zeros
    model_node("Relu", "r", "y");
    ck_assert_uint_eq(model_compare(0, "shapes"), 1);
}
END_TEST

START_TEST(hostile_ranges_and_repeats)
{
    static const int64_t ranges[][3] = {
        {0, INT64_MAX, 1}, {0, 1, 0}, {INT64_MIN, INT64_MAX, 1}, {0, (int64_t)1 << 40, 1}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        model_begin(13, 2, (int64_t[]){1, 4});
        model_ints("a", 1, &ranges[i][0]);
        model_ints("b", 1, &ranges[i][1]);
        model_ints("c", 1, &ranges[i][2]);
        model_node("Range", "a b c", "r");
        node_int(model_node("Cast", "r", "f"), "to", 1);
        model_node("Add", "f x", "y");
        enum err code = model_refused().code;
        ck_assert(code == ERR_FORMAT || code == ERR_LIMIT);
    }
    model_begin(13, 2, (int64_t[]){1, 4});
    model_ints("many", 2, (int64_t[]){1 << 20, 1 << 20});
    model_node("Tile", "x many", "y");
    ck_assert_int_eq(model_refused().code, ERR_LIMIT);
    model_begin(13, 4, (int64_t[]){1, 4, 5, 5});
    model_floats("scales", 1, (int64_t[]){4}, 0, INFINITY);
    model_node("Resize", "x - scales", "y");
    ck_assert_int_eq(model_refused().code, ERR_FORMAT);
}
END_TEST

static void check_layer(const struct engine_layer *y)
{
    ck_assert_ptr_nonnull(y->node);
    ck_assert_str_eq(y->precision, "fp32");
    ck_assert_int_gt(y->output.rank, 0);
    ck_assert_uint_gt(y->data_bytes, 0);
    ck_assert_int_ge(y->arena_offset, 0);
}

START_TEST(layers_are_listed)
{
    model_begin(13, 4, (int64_t[]){1, 16, 6, 7});
    conv("x", "a", 16, 32);
    model_node("Erf", "a", "b");
    model_node("GlobalAveragePool", "b", "y");
    struct buf bytes = model_pack();
    struct engine *e;
    struct error error;
    const char *path = memory_file(buf_view(&bytes));
    ck_assert_msg(engine_load(path, &e, &error) == OK, "%s", error.msg);
    struct engine_layer layers[16];
    ck_assert_uint_le(engine_step_count(e), 16);
    engine_layers(e, layers);
    double flop = 0;
    bool plain = false;
    for (size_t i = 0; i < engine_step_count(e); i++) {
        check_layer(&layers[i]);
        flop += layers[i].flop;
        plain =
            plain || (strcmp(layers[i].op, "Erf") == 0 && strcmp(layers[i].kernel, "plain") == 0);
        if (strcmp(layers[i].op, "Conv") == 0) {
            ck_assert_int_eq(layers[i].output.dims[1], 32);
            ck_assert_uint_ge(layers[i].weight_bytes, 16 * 32 * sizeof(float));
            ck_assert_double_eq(layers[i].flop, 2.0 * 16 * 32 * 6 * 7);
        }
    }
    ck_assert(plain);
    ck_assert_double_eq_tol(flop * 1e-9, engine_gflop(e), 1e-12);
    engine_free(e);
    close_memory_file(path);
    buf_release(&bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operators");
    TCase *c = tcase_create("operators");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, pieces_of_images);
    tcase_add_test(c, splits);
    tcase_add_test(c, splits_that_do_not_fit);
    tcase_add_test(c, gathers_of_one_place);
    tcase_add_test(c, activations_of_several_nodes);
    tcase_add_test(c, layer_norms_of_several_nodes);
    tcase_add_test(c, normalizations);
    tcase_add_test(c, matrices_of_tokens);
    tcase_add_test(c, attention);
    tcase_add_loop_test(c, winograd, 0, 8);
    tcase_add_test(c, gates);
    tcase_add_test(c, broadcasts_to_one_channel);
    tcase_add_test(c, a_slice_meets_itself);
    tcase_add_test(c, resizing);
    tcase_add_test(c, shapes_fold);
    tcase_add_test(c, hostile_ranges_and_repeats);
    tcase_add_test(c, layers_are_listed);
    suite_add_tcase(suite, c);
    SRunner *runner = srunner_create(suite);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
