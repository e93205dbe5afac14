// Models that quantizers made, with QuantizeLinear and DequantizeLinear in them: every rounding of
// the file is done, none is added, and what has whole numbers for weights computes in integers.
#include "engine/engine.h"
#include "engine/quantize.h"

#include "onnx_builder.h"
#include "suite.h"

static char what[256];
static float input_step; // of the model's first rounding

// ---- building ---------------------------------------------------------------------------------

struct rounding { // as a file says it
    float scale;
    int zero;
    bool is_signed;
};

static const struct rounding asymmetric = {2.7f / 255, 113, false},
                             positive = {2.0f / 255, 0, false}, symmetric = {2.0f / 255, 0, true},
                             low = {1.7f / 255, -128, true}, other = {0.031f, -5, true};

static Onnx__TensorProto *bytes(const char *name, int rank, const int64_t *dims, bool is_signed)
{
    Onnx__TensorProto *t = tensor(name,
                                  is_signed ? ONNX__TENSOR_PROTO__DATA_TYPE__INT8
                                            : ONNX__TENSOR_PROTO__DATA_TYPE__UINT8,
                                  rank, dims, 1);
    APPEND(graph.initializer, graph.n_initializer, t);
    return t;
}

// The constants NAME_s and NAME_z.
static void rounding_constants(const char *name, struct rounding r)
{
    char text[64];
    snprintf(text, sizeof text, "%s_s", name);
    model_floats(text, 0, NULL, 0, r.scale);
    snprintf(text, sizeof text, "%s_z", name);
    bytes(text, 0, NULL, r.is_signed)->raw_data.data[0] = (uint8_t)r.zero;
}

static void rounding_node(const char *op, const char *in, const char *name, const char *out)
{
    char inputs[128];
    snprintf(inputs, sizeof inputs, "%s %s_s %s_z", in, name, name);
    model_node(op, inputs, out);
}

// in → QuantizeLinear → DequantizeLinear → out
static void round_to(const char *in, struct rounding r, const char *out)
{
    char whole[64];
    if (strcmp(in, "x") == 0)
        input_step = r.scale;
    snprintf(whole, sizeof whole, "%s_q", out);
    rounding_constants(out, r);
    rounding_node("QuantizeLinear", in, out, whole);
    rounding_node("DequantizeLinear", whole, out, out);
}

enum weights { PER_CHANNEL, PER_TENSOR, UNSIGNED, WEIGHTS };

// Weights NAME, dequantized from bytes with a scale for each place along `axis`, or one.
static void weights(const char *name, int rank, const int64_t *dims, int axis, enum weights kind)
{
    char from[64], inputs[256];
    int64_t channels = kind == PER_CHANNEL ? dims[axis] : 1;
    snprintf(from, sizeof from, "%s_b", name);
    Onnx__TensorProto *t = bytes(from, rank, dims, kind != UNSIGNED);
    for (size_t i = 0; i < t->raw_data.len; i++) // not the whole range: scales are not max / 127
        t->raw_data.data[i] = (uint8_t)(pick(-100, 93) + (kind == UNSIGNED ? 128 : 0));
    snprintf(from, sizeof from, "%s_s", name);
    model_floats(from, kind == PER_CHANNEL, &channels, 0.002f, 0.004f);
    snprintf(from, sizeof from, "%s_z", name);
    t = bytes(from, kind == PER_CHANNEL, &channels, kind != UNSIGNED);
    memset(t->raw_data.data, kind == UNSIGNED ? 128 : 0, t->raw_data.len);
    snprintf(inputs, sizeof inputs, "%s_b %s_s %s_z", name, name, name);
    Onnx__NodeProto *n = model_node("DequantizeLinear", inputs, name);
    if (kind == PER_CHANNEL)
        node_int(n, "axis", axis);
}

// A bias as quantizers write it: 32-bit whole numbers.
static void bias(const char *name, int64_t channels)
{
    char from[64], inputs[128];
    snprintf(from, sizeof from, "%s_b", name);
    Onnx__TensorProto *t =
        tensor(from, ONNX__TENSOR_PROTO__DATA_TYPE__INT32, 1, &channels, sizeof(int32_t));
    APPEND(graph.initializer, graph.n_initializer, t);
    for (int64_t i = 0; i < channels; i++) {
        int32_t b = (int32_t)pick(-9000, 9000);
        memcpy(t->raw_data.data + (size_t)i * sizeof b, &b, sizeof b);
    }
    snprintf(from, sizeof from, "%s_s", name);
    model_floats(from, 0, NULL, 0, 4e-5f);
    snprintf(inputs, sizeof inputs, "%s_b %s_s", name, name);
    model_node("DequantizeLinear", inputs, name);
}

// ---- comparing --------------------------------------------------------------------------------

static bool has_vnni(void)
{
#if defined(__x86_64__)
    // oneDNN may be held to less, to try what other processors get
    return __builtin_cpu_supports("avx512vnni") != 0 && getenv("ONEDNN_MAX_CPU_ISA") == NULL;
#else
    return false;
#endif
}

struct answer {
    float *x, *y;
    size_t ins, outs;
    int int8_layers; // with weights
};

static void run_fast(const char *path, struct answer *a)
{
    struct error error = {0};
    struct engine *e;
    struct engine_context *c;
    ck_assert_msg(engine_load(path, &e, &error) == OK, "%s: %s", what, error.msg);
    ck_assert_int_eq(engine_context_new(e, &c, &error), OK);
    a->ins = engine_input_floats(e);
    a->outs = engine_output_floats(e);
    a->x = realloc(a->x, a->ins * sizeof(float));
    a->y = realloc(a->y, a->outs * sizeof(float));
    ck_assert(a->x != NULL && a->y != NULL);
    for (size_t i = 0; i < a->ins; i++) { // none lies in the middle between two bytes
        float steps = 1.3f * noise() / input_step, whole = rintf(steps);
        a->x[i] = input_step * (whole + 0.9f * (steps - whole));
    }
    for (int run = 0; run < 2; run++) // the second on a used arena
        ck_assert_int_eq(engine_run(c, a->x, a->y, NULL, 0, &error), OK);
    struct engine_layer *layers = calloc(engine_step_count(e), sizeof *layers);
    ck_assert_ptr_nonnull(layers);
    engine_layers(e, layers);
    for (size_t i = 0; i < engine_step_count(e); i++)
        a->int8_layers += layers[i].flop > 0 && strcmp(layers[i].precision, "int8") == 0;
    ck_assert_str_eq(engine_precision(e), a->int8_layers > 0 ? "int8" : "fp32");
    free(layers);
    engine_context_free(c);
    engine_free(e);
}

static void answer_release(struct answer *a)
{
    free(a->x);
    free(a->y);
}

// Runs the model built so far.
static struct answer run_model(void)
{
    struct answer a = {0};
    struct buf packed = model_pack();
    const char *path = memory_file(buf_view(&packed));
    run_fast(path, &a);
    close_memory_file(path);
    buf_release(&packed);
    return a;
}

// What the plain kernels, which round in floats where the file says so, make of x.
static float *run_plain(const float *x, size_t outs)
{
    struct error error = {0};
    struct buf packed = model_pack();
    const char *path = memory_file(buf_view(&packed));
    float *y = malloc(outs * sizeof *y);
    ck_assert_ptr_nonnull(y);
    ck_assert_msg(engine_run_reference(path, x, y, &error) == OK, "%s: %s", what, error.msg);
    close_memory_file(path);
    buf_release(&packed);
    return y;
}

// y is one of r's numbers, and the nearest one to what was not rounded yet. Of two that are equally
// near to a thousandth of a step, either.
static void check_rounded(const float *y, const float *exact, size_t count, struct rounding r)
{
    int first = r.is_signed ? -128 : 0;
    for (size_t i = 0; i < count; i++) {
        double lowest = (double)r.scale * (first - r.zero),
               highest = lowest + 255 * (double)r.scale;
        double v = fmin(fmax((double)exact[i], lowest), highest),
               steps = (double)y[i] / (double)r.scale;
        ck_assert_msg(fabs(steps - rint(steps)) < 1e-3, "%s: %g is no multiple of %g", what,
                      (double)y[i], (double)r.scale);
        ck_assert_msg(fabs((double)y[i] - v) <= 0.501 * (double)r.scale, "%s: %zu is %g, not %g",
                      what, i, (double)y[i], v);
    }
}

// ---- one layer ----------------------------------------------------------------------------------

// x → rounded → Conv → activation; rounded again if out != NULL.
static void build_conv(uint32_t seed, struct rounding in, enum weights kind, const char *activation,
                       const struct rounding *out)
{
    builder_noise = seed;
    int64_t ins = pick(1, 40), h = pick(7, 19), w = pick(7, 19), k = pick(1, 3);
    bool depthwise = seed % 3 == 0;
    int64_t outs = depthwise ? ins : pick(1, 40), pad = pick(0, k - 1);
    int64_t dims[4] = {outs, depthwise ? 1 : ins, k, k};
    snprintf(what, sizeof what, "conv %u: %lld→%lld %lldx%lld%s, zero %d, weights %d, %s", seed,
             (long long)ins, (long long)outs, (long long)k, (long long)k,
             depthwise ? " depthwise" : "", in.zero, (int)kind,
             activation != NULL ? activation : "no activation");
    model_begin(14, 4, (int64_t[]){1, ins, h, w});
    round_to("x", in, "a");
    weights("w", 4, dims, 0, kind);
    bias("b", outs);
    Onnx__NodeProto *n = model_node("Conv", "a w b", activation != NULL ? "c" : "real");
    node_ints(n, "pads", 4, (int64_t[]){pad, pad, pad, pad});
    node_int(n, "group", depthwise ? ins : 1);
    if (activation != NULL)
        model_node(activation, "c", "real");
    if (out != NULL)
        round_to("real", *out, "y");
    else
        graph.node[graph.n_node - 1]->output[0] = copy_text("y");
}

START_TEST(convolutions_round_what_is_exact)
{
    static const struct rounding *const ins[] = {&asymmetric, &positive, &symmetric, &low};
    static const struct rounding *const outs[] = {&other, &positive, &symmetric, &low};
    static const char *const activations[] = {NULL, "Relu", "HardSwish", "Sigmoid"};
    for (uint32_t i = 0; i < 48; i++) {
        const struct rounding *in = ins[i % 4], *out = outs[i / 4 % 4];
        const char *activation = activations[i / 3 % 4];
        enum weights kind = (enum weights)(i % WEIGHTS);
        build_conv(i + 1, *in, kind, activation, out);
        struct answer rounded = run_model();
        if (has_vnni())
            ck_assert_msg(rounded.int8_layers == 1, "%s: not in integers", what);
        build_conv(i + 1, *in, kind, activation, NULL);
        float *exact = run_plain(rounded.x, rounded.outs);
        check_rounded(rounded.y, exact, rounded.outs, *out);
        builder_noise = i;
        struct answer real = run_model(); // not rounded at the end: floats of the same sums
        float *same = run_plain(real.x, real.outs);
        ck_assert_msg(difference(real.y, same, real.outs) < 1e-5, "%s: floats are %g apart", what,
                      difference(real.y, same, real.outs));
        answer_release(&rounded);
        answer_release(&real);
        free(exact);
        free(same);
    }
}
END_TEST

// Rows by a matrix, written in three ways; with several axes before the last, as for tokens.
static void build_matrix(int way, int rank, bool rounded)
{
    int64_t dims[3] = {1, rank == 2 ? 37 : 5, 37};
    builder_noise = 5;
    model_begin(13, rank, dims);
    round_to("x", asymmetric, "a");
    bias("b", 21);
    if (way == 0) {
        weights("w", 2, (int64_t[]){37, 21}, 1, PER_CHANNEL);
        model_node("MatMul", "a w", "m");
    } else if (way == 1) { // as PyTorch writes a Linear
        weights("v", 2, (int64_t[]){21, 37}, 0, PER_CHANNEL);
        node_ints(model_node("Transpose", "v", "w"), "perm", 2, (int64_t[]){1, 0});
        model_node("MatMul", "a w", "m");
    } else {
        weights("w", 2, (int64_t[]){21, 37}, 0, PER_CHANNEL);
        node_int(model_node("Gemm", "a w", "m"), "transB", 1);
    }
    model_node("Add", "m b", rounded ? "real" : "y");
    if (rounded)
        round_to("real", other, "y");
}

START_TEST(matrices_round_what_is_exact)
{
    for (int way = 0; way < 3; way++)
        for (int rank = 2; rank <= (way < 2 ? 3 : 2); rank++) {
            snprintf(what, sizeof what, "matrix, way %d, %d axes", way, rank);
            build_matrix(way, rank, true);
            struct answer a = run_model();
            if (has_vnni())
                ck_assert_msg(a.int8_layers == 1, "%s: not in integers", what);
            build_matrix(way, rank, false);
            float *exact = run_plain(a.x, a.outs);
            check_rounded(a.y, exact, a.outs, other);
            answer_release(&a);
            free(exact);
        }
}
END_TEST

// ---- what stands between layers
// ------------------------------------------------------------------

// Runs what was built both ways; results may be `steps` of r apart, where a sum lies between two.
static struct answer compare(struct rounding r, int steps)
{
    struct answer a = run_model();
    float *plain = run_plain(a.x, a.outs);
    size_t apart = 0;
    for (size_t i = 0; i < a.outs; i++) {
        float off = fabsf(a.y[i] - plain[i]);
        ck_assert_msg(off <= ((float)steps + 0.01f) * r.scale, "%s: %zu is %g, not %g", what, i,
                      (double)a.y[i], (double)plain[i]);
        apart += off > 0.01f * r.scale;
    }
    ck_assert_msg(apart <= 1 + a.outs / 100, "%s: %zu of %zu are apart", what, apart, a.outs);
    free(plain);
    return a;
}

START_TEST(a_residual_block_of_bytes)
{
    builder_noise = 9;
    strcpy(what, "residual block");
    model_begin(13, 4, (int64_t[]){1, 24, 11, 13});
    round_to("x", asymmetric, "a");
    weights("w1", 4, (int64_t[]){24, 24, 3, 3}, 0, PER_CHANNEL);
    weights("w2", 4, (int64_t[]){24, 24, 1, 1}, 0, PER_TENSOR);
    node_ints(model_node("Conv", "a w1", "c1"), "pads", 4, (int64_t[]){1, 1, 1, 1});
    model_node("Relu", "c1", "r1");
    round_to("r1", positive, "b");
    model_node("Conv", "b w2", "c2");
    round_to("c2", other, "c");
    model_node("Add", "c a", "s"); // both are rounded: it is not part of the convolution
    model_node("Relu", "s", "r");
    round_to("r", positive, "d");
    Onnx__NodeProto *n = model_node("MaxPool", "d", "p");
    node_ints(n, "kernel_shape", 2, (int64_t[]){3, 3});
    node_ints(n, "strides", 2, (int64_t[]){2, 2});
    model_node("GlobalAveragePool", "p", "g");
    round_to("g", positive, "y");
    struct answer a = compare(positive, 1);
    if (has_vnni())
        ck_assert_int_eq(a.int8_layers, 2);
    answer_release(&a);
}
END_TEST

// A sum inside the convolution, rounded once, where the file rounds only what comes out.
START_TEST(a_sum_that_is_rounded_once)
{
    for (int i = 0; i < 4; i++) {
        builder_noise = (uint32_t)i + 30;
        snprintf(what, sizeof what, "sum %d", i);
        model_begin(13, 4, (int64_t[]){1, 20, 9, 8});
        round_to("x", i % 2 == 0 ? asymmetric : symmetric, "a");
        weights("w", 4, (int64_t[]){20, 20, 1, 1}, 0, PER_CHANNEL);
        model_node("Conv", "a w", "c");
        model_node("Add", i < 2 ? "c a" : "c x", "s");
        round_to("s", other, "y");
        struct answer a = compare(other, 1);
        answer_release(&a);
    }
}
END_TEST

START_TEST(who_reads_the_unrounded_gets_it)
{
    builder_noise = 12;
    strcpy(what, "two readers");
    model_begin(13, 4, (int64_t[]){1, 16, 9, 9});
    model_node("Relu", "x", "r");
    round_to("r", positive, "a");
    input_step = positive.scale;
    weights("w", 4, (int64_t[]){16, 16, 1, 1}, 0, PER_CHANNEL);
    model_node("Conv", "a w", "c");
    model_node("Sub", "r a", "d"); // nothing, if both were the same
    model_node("Mul", "c d", "y");
    struct answer a = run_model();
    float *plain = run_plain(a.x, a.outs);
    float largest = 0;
    for (size_t i = 0; i < a.outs; i++)
        largest = fmaxf(largest, fabsf(plain[i]));
    ck_assert(largest > 1e-3f);
    ck_assert_double_lt(difference(a.y, plain, a.outs), 1e-3);
    answer_release(&a);
    free(plain);
}
END_TEST

// Floats between roundings: each rounding is seen by all who read it, also by floats.
START_TEST(floats_between_roundings)
{
    builder_noise = 14;
    strcpy(what, "swish in pieces");
    model_begin(13, 4, (int64_t[]){1, 16, 9, 9});
    round_to("x", asymmetric, "a");
    model_node("Sigmoid", "a", "s");
    round_to("s", (struct rounding){1.0f / 20, 3, false}, "g"); // coarse: it would be noticed
    model_node("Mul", "a g", "m");
    round_to("m", other, "n");
    round_to("n", symmetric, "y"); // and again, otherwise
    struct answer a = compare(symmetric, 1);
    answer_release(&a);
}
END_TEST

// Activations between two roundings: PyTorch's ReLU6, and the gates of others.
START_TEST(activations_of_bytes)
{
    static const char *const kinds[] = {"Relu", "Clip", "Sigmoid", "HardSwish", "Tanh"};
    for (int i = 0; i < 10; i++) {
        builder_noise = (uint32_t)i + 70;
        snprintf(what, sizeof what, "%s of bytes", kinds[i / 2]);
        model_begin(14, 4, (int64_t[]){1, 13, 9, 9});
        model_floats("low", 0, NULL, 0, 0);
        model_floats("high", 0, NULL, 0, 0.6f);
        round_to("x", asymmetric, "a");
        weights("w", 4, (int64_t[]){13, 13, 1, 1}, 0, PER_CHANNEL);
        model_node("Conv", "a w", "c");
        round_to("c", i % 2 == 0 ? asymmetric : symmetric, "d");
        model_node(kinds[i / 2], i / 2 == 1 ? "d low high" : "d", "e");
        round_to("e", i % 2 == 0 ? other : low, "y");
        struct answer a = compare(i % 2 == 0 ? other : low, 1);
        answer_release(&a);
    }
}
END_TEST

// Some quantizers leave what only moves numbers between Q and DQ.
START_TEST(moves_of_whole_numbers)
{
    builder_noise = 15;
    strcpy(what, "moves");
    model_begin(13, 4, (int64_t[]){1, 20, 8, 6});
    rounding_constants("r", asymmetric);
    input_step = asymmetric.scale;
    rounding_node("QuantizeLinear", "x", "r", "a");
    Onnx__NodeProto *n = model_node("MaxPool", "a", "b");
    node_ints(n, "kernel_shape", 2, (int64_t[]){2, 2});
    node_ints(n, "strides", 2, (int64_t[]){2, 2});
    node_ints(model_node("Transpose", "b", "c"), "perm", 4, (int64_t[]){0, 2, 3, 1});
    model_ints("shape", 2, (int64_t[]){1, 240});
    model_node("Reshape", "c shape", "d");
    rounding_node("DequantizeLinear", "d", "r", "e");
    weights("w", 2, (int64_t[]){240, 7}, 1, PER_CHANNEL);
    model_node("MatMul", "e w", "f");
    round_to("f", other, "y");
    struct answer a = compare(other, 0);
    if (has_vnni())
        ck_assert_int_eq(a.int8_layers, 1);
    answer_release(&a);
}
END_TEST

// Another scale on the way back, one for each channel, weights that are floats: nothing of that is
// bytes, all of it is right.
START_TEST(what_is_no_pair_stays_floats)
{
    int64_t c = 12;
    builder_noise = 16;
    strcpy(what, "no pairs");
    model_begin(13, 4, (int64_t[]){1, c, 7, 6});
    rounding_constants("r", asymmetric);
    input_step = asymmetric.scale;
    rounding_constants("t", positive);
    rounding_node("QuantizeLinear", "x", "r", "a");
    rounding_node("DequantizeLinear", "a", "t", "b");
    model_floats("cs", 1, &c, 0.005f, 0.02f);
    memset(bytes("cz", 1, &c, false)->raw_data.data, 9, (size_t)c);
    model_node("QuantizeLinear", "b cs cz", "d");
    model_node("DequantizeLinear", "d cs cz", "e");
    round_to("e", positive, "f");
    model_floats("w", 4, (int64_t[]){8, c, 1, 1}, 0.3f, 0);
    model_node("Conv", "f w", "y");
    struct answer a = run_model();
    float *plain = run_plain(a.x, a.outs);
    ck_assert_int_eq(a.int8_layers, 0);
    ck_assert_double_lt(difference(a.y, plain, a.outs), 0.02); // one that lay between two bytes
    answer_release(&a);
    free(plain);
}
END_TEST

START_TEST(is_not_quantized_again)
{
    struct quantize_options options = {.quick = true};
    struct quantize_report report = {0};
    struct quantization q = {0};
    struct error error = {0};
    build_conv(1, asymmetric, PER_CHANNEL, NULL, &other);
    struct answer a = run_model();
    struct buf packed = model_pack();
    const char *path = memory_file(buf_view(&packed));
    ck_assert_int_eq(quantize_model(path, a.x, 1, &options, &q, &report, &error), ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.msg, "quantized already"));
    quantize_report_release(&report);
    close_memory_file(path);
    buf_release(&packed);
    answer_release(&a);
}
END_TEST

SUITE_MAIN("quantized_models", convolutions_round_what_is_exact, matrices_round_what_is_exact,
           a_residual_block_of_bytes, a_sum_that_is_rounded_once, who_reads_the_unrounded_gets_it,
           floats_between_roundings, activations_of_bytes, moves_of_whole_numbers,
           what_is_no_pair_stays_floats, is_not_quantized_again)
