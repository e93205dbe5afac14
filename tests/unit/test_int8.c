// Layers in int8 against the same in plain integers, on shapes that are not round; and what a
// network in int8 promises as a whole.
#include "engine/calibrate.h"
#include "engine/engine.h"
#include "engine/quantize.h"

#include "onnx_builder.h"
#include "suite.h"

static const char *file; // of the model built last, in memory
static struct buf file_bytes;
static char what[256];

// A model in int8 as q says, run on x. Returns the number of steps.
static size_t run_int8(const struct quantization *q, const float *x, float *y)
{
    struct error error = {0};
    struct engine *e;
    struct engine_context *c;
    struct engine_options options = {.int8 = q};
    file_bytes = model_pack();
    file = memory_file(buf_view(&file_bytes));
    ck_assert_msg(engine_load_with(file, &options, &e, &error) == OK, "%s: %s", what, error.msg);
    ck_assert_str_eq(engine_precision(e), "int8");
    ck_assert_int_eq(engine_context_new(e, &c, &error), OK);
    for (int run = 0; run < 2; run++) // the second on a used arena
        ck_assert_int_eq(engine_run(c, x, y, NULL, 0, &error), OK);
    size_t steps = engine_step_count(e);
    engine_context_free(c);
    engine_free(e);
    close_memory_file(file);
    buf_release(&file_bytes);
    return steps;
}

static int byte_of(float x, struct quant q)
{
    long b = lrintf(x / q.scale) + q.zero;
    return b < 0 ? 0 : b > 255 ? 255 : (int)b;
}

static float rounded(float x, struct quant q)
{
    return q.scale * (float)(byte_of(x, q) - q.zero);
}

// Values of bytes may be one byte apart where a sum lies between two; few are.
static void check_bytes(const float *y, const float *expected, size_t count, struct quant q)
{
    size_t apart = 0;
    for (size_t i = 0; i < count; i++) {
        float off = fabsf(y[i] - expected[i]);
        ck_assert_msg(off <= 1.01f * q.scale, "%s: result %zu is %g, not %g (byte %g)", what, i,
                      (double)y[i], (double)expected[i], (double)q.scale);
        apart += off > 0.5f * q.scale;
    }
    ck_assert_msg(apart <= 1 + count / 100, "%s: %zu of %zu are a byte apart", what, apart, count);
}

// ---- convolutions -----------------------------------------------------------------------------

struct shape { // of a convolution
    int64_t ins, outs, groups, h, w, kh, kw, stride_h, stride_w, dilation, pads[4];
};

static struct shape random_shape(int kind)
{
    struct shape s = {.ins = pick(1, 40), .h = pick(7, 19), .w = pick(7, 19)};
    s.groups = kind == 1 ? s.ins : kind == 2 && s.ins % 2 == 0 ? 2 : 1;
    s.outs = kind == 1 ? s.ins : s.groups * pick(1, 24);
    s.kh = kind == 3 ? 1 : pick(1, 4);
    s.kw = kind == 3 ? 1 : pick(1, 4);
    s.stride_h = pick(1, 2);
    s.stride_w = pick(1, 2);
    s.dilation = pick(1, 2);
    for (int i = 0; i < 4; i++)
        s.pads[i] = pick(0, (i % 2 == 0 ? s.kh : s.kw) - 1);
    snprintf(what, sizeof what, "conv %lld→%lld groups %lld %lldx%lld on %lldx%lld",
             (long long)s.ins, (long long)s.outs, (long long)s.groups, (long long)s.kh,
             (long long)s.kw, (long long)s.h, (long long)s.w);
    return s;
}

static int64_t out_size(int64_t in, int64_t k, int64_t stride, int64_t dilation, int64_t pads)
{
    return (in + pads - (k - 1) * dilation - 1) / stride + 1;
}

static const float *floats(const Onnx__TensorProto *t)
{
    return (const float *)(const void *)t->raw_data.data;
}

static Onnx__TensorProto *conv(const struct shape *s, const char *in, const char *out,
                               Onnx__TensorProto **bias)
{
    char inputs[64];
    Onnx__TensorProto *w =
        model_floats("w", 4, (int64_t[]){s->outs, s->ins / s->groups, s->kh, s->kw}, 0.5f, 0.02f);
    *bias = model_floats("bias", 1, &s->outs, 0.5f, 0);
    snprintf(inputs, sizeof inputs, "%s w bias", in);
    Onnx__NodeProto *n = model_node("Conv", inputs, out);
    node_int(n, "group", s->groups);
    node_ints(n, "pads", 4, s->pads);
    node_ints(n, "strides", 2, (int64_t[]){s->stride_h, s->stride_w});
    node_ints(n, "dilations", 2, (int64_t[]){s->dilation, s->dilation});
    return w;
}

// One sum of products in integers: x bytes, weights rounded by the channel's largest.
static int64_t dot(const struct shape *s, const float *x, struct quant in, const float *w,
                   float scale, int64_t o, int64_t oy, int64_t ox)
{
    int64_t sum = 0, ins = s->ins / s->groups, first = o / (s->outs / s->groups) * ins;
    for (int64_t c = 0; c < ins; c++)
        for (int64_t ky = 0; ky < s->kh; ky++)
            for (int64_t kx = 0; kx < s->kw; kx++) {
                int64_t iy = oy * s->stride_h - s->pads[0] + ky * s->dilation;
                int64_t ix = ox * s->stride_w - s->pads[1] + kx * s->dilation;
                if (iy < 0 || iy >= s->h || ix < 0 || ix >= s->w)
                    continue;
                long weight = lrintf(w[((o * ins + c) * s->kh + ky) * s->kw + kx] / scale);
                sum += weight * (byte_of(x[((first + c) * s->h + iy) * s->w + ix], in) - in.zero);
            }
    return sum;
}

static float weight_scale(const struct shape *s, const float *w, int64_t o)
{
    int64_t inner = s->ins / s->groups * s->kh * s->kw;
    float most = 0;
    for (int64_t i = 0; i < inner; i++)
        most = fmaxf(most, fabsf(w[o * inner + i]));
    return most / 127;
}

typedef float activate(float x);
static float identity(float x)
{
    return x;
}
static float relu(float x)
{
    return fmaxf(x, 0);
}
static float hard_swish(float x)
{
    return x * fminf(fmaxf(x / 6 + 0.5f, 0), 1);
}

static float hard_sigmoid(float x)
{
    return fminf(fmaxf(0.2f * x + 0.5f, 0), 1);
}
static float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}
static float negated(float x)
{
    return -x;
}

// add: NULL, or what is added before the activation. out.scale 0: floats.
static float *plain_conv_int8(const struct shape *s, const float *x, struct quant in,
                              const float *w, const float *bias, const float *add,
                              activate *activation, struct quant out, size_t *count)
{
    int64_t oh = out_size(s->h, s->kh, s->stride_h, s->dilation, s->pads[0] + s->pads[2]);
    int64_t ow = out_size(s->w, s->kw, s->stride_w, s->dilation, s->pads[1] + s->pads[3]);
    *count = (size_t)(s->outs * oh * ow);
    float *y = malloc(*count * sizeof *y);
    ck_assert_ptr_nonnull(y);
    for (int64_t o = 0, i = 0; o < s->outs; o++) {
        float scale = weight_scale(s, w, o);
        for (int64_t p = 0; p < oh * ow; p++, i++) {
            double sum = (double)dot(s, x, in, w, scale, o, p / ow, p % ow) * (double)in.scale *
                         (double)scale;
            float v = activation((float)(sum + (double)bias[o] + (add ? (double)add[i] : 0)));
            y[i] = out.scale > 0 ? rounded(v, out) : v;
        }
    }
    return y;
}

static float *random_input(size_t count, float low, float high)
{
    float *x = malloc(count * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < count; i++)
        x[i] = low + (high - low) * (noise() + 1) / 2;
    return x;
}

// Numbers that are plainly one byte or another.
static float *random_bytes(size_t count, struct quant q)
{
    float *x = malloc(count * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (size_t i = 0; i < count; i++)
        x[i] = q.scale * ((float)(pick(-9, 264) - q.zero) + 0.3f * noise());
    return x;
}

static bool has_vnni(void)
{
    return __builtin_cpu_supports("avx512vnni") && getenv("DNNL_MAX_CPU_ISA") == NULL;
}

// One convolution: x in bytes, y in bytes or floats, with an activation.
static void compare_conv(const struct shape *s, struct quant in, struct quant out, const char *op,
                         activate *activation)
{
    struct quantization q = {0};
    Onnx__TensorProto *bias;
    size_t count;
    model_begin(14, 4, (int64_t[]){1, s->ins, s->h, s->w});
    Onnx__TensorProto *w = conv(s, "x", op != NULL ? "a" : "y", &bias);
    if (op != NULL)
        model_node(op, "a", "y");
    quantization_add_tensor(&q, "x", in);
    if (out.scale > 0)
        quantization_add_tensor(&q, "y", out);
    quantization_add_layer(&q, "y");
    float *x = random_bytes((size_t)(s->ins * s->h * s->w), in);
    float *expected =
        plain_conv_int8(s, x, in, floats(w), floats(bias), NULL, activation, out, &count);
    float *y = malloc(count * sizeof *y);
    ck_assert_ptr_nonnull(y);
    run_int8(&q, x, y);
    if (out.scale > 0)
        check_bytes(y, expected, count, out);
    else
        ck_assert_msg(difference(y, expected, count) < 1e-5, "%s: floats are %g apart", what,
                      difference(y, expected, count));
    free(x);
    free(y);
    free(expected);
    quantization_release(&q);
}

static const struct quant signed_in = {2.7f / 255, 113}, unsigned_in = {1.5f / 255, 0};

START_TEST(convolutions_are_those_of_plain_integers)
{
    if (!has_vnni())
        return; // weights have 7 bits there
    for (int kind = 0; kind < 4; kind++)
        for (int i = 0; i < 12; i++) {
            builder_noise = (uint32_t)(100 * kind + i);
            struct shape s = random_shape(kind);
            struct quant in = i % 2 == 0 ? signed_in : unsigned_in;
            struct quant bytes = {0.03f, 101}, positive = {0.02f, 0}, none = {0};
            compare_conv(&s, in, none, NULL, identity);
            compare_conv(&s, in, bytes, NULL, identity);
            compare_conv(&s, in, positive, "Relu", relu);
            compare_conv(&s, in, bytes, "Relu", relu);
            compare_conv(&s, in, bytes, "HardSwish", hard_swish);
            compare_conv(&s, in, none, "Relu", relu);
        }
}
END_TEST

// Those that oneDNN has no function of its own for, and one that it has.
START_TEST(activations_behind_convolutions)
{
    if (!has_vnni())
        return;
    for (int kind = 0; kind < 4; kind++)
        for (int i = 0; i < 4; i++) {
            builder_noise = (uint32_t)(100 * kind + i);
            struct shape s = random_shape(kind);
            struct quant whole = {1.0f / 255, 0}, part = {0.7f / 255, 0}; // 1 is no tie in them
            struct quant raised = {2.0f / 250, 60}, bytes = {0.03f, 101}, none = {0};
            compare_conv(&s, unsigned_in, whole, "HardSigmoid", hard_sigmoid);
            compare_conv(&s, signed_in, part, "HardSigmoid", hard_sigmoid);
            compare_conv(&s, signed_in, raised, "HardSigmoid", hard_sigmoid);
            compare_conv(&s, signed_in, none, "HardSigmoid", hard_sigmoid);
            compare_conv(&s, unsigned_in, bytes, "Neg", negated);
            compare_conv(&s, unsigned_in, whole, "Sigmoid", sigmoid);
        }
}
END_TEST

// y = relu(conv(a) + b), a and b made of x; b is read again where keep.
START_TEST(residual_adds_are_those_of_plain_integers)
{
    if (!has_vnni())
        return;
    for (int i = 0; i < 16; i++) {
        builder_noise = (uint32_t)i + 900;
        struct shape s = random_shape(3);
        bool signed_out = i % 2 == 0, keep = i % 4 < 2;
        struct quant b = {1.0f / 255, 0}, out = {0.02f, signed_out ? 77 : 0};
        struct quantization q = {0};
        Onnx__TensorProto *bias;
        size_t count;
        s.stride_h = s.stride_w = 1;
        s.outs = s.ins;
        model_begin(14, 4, (int64_t[]){1, s.ins, s.h, s.w});
        model_node("Relu", "x", "b");
        Onnx__TensorProto *w = conv(&s, "x", "a", &bias);
        model_node("Add", "a b", "t");
        if (!signed_out)
            model_node("Relu", "t", "u");
        model_node("Mul", keep ? "u b" : "u u", "y"); // floats, of the network's end
        if (signed_out)
            graph.node[graph.n_node - 1]->input[0] = copy_text("t");
        if (signed_out && !keep)
            graph.node[graph.n_node - 1]->input[1] = copy_text("t");
        const char *sum = signed_out ? "t" : "u";
        quantization_add_tensor(&q, "x", signed_in);
        quantization_add_tensor(&q, "b", b);
        quantization_add_tensor(&q, sum, out);
        quantization_add_layer(&q, "b");
        quantization_add_layer(&q, sum);
        count = (size_t)(s.ins * s.h * s.w);
        float *x = random_bytes(count, signed_in), *y = malloc(count * sizeof *y);
        float *add = malloc(count * sizeof *add);
        ck_assert(y != NULL && add != NULL);
        for (size_t k = 0; k < count; k++)
            add[k] = rounded(relu(rounded(x[k], signed_in)), b);
        float *expected = plain_conv_int8(&s, x, signed_in, floats(w), floats(bias), add,
                                          signed_out ? identity : relu, out, &count);
        run_int8(&q, x, y);
        for (size_t k = 0; k < count; k++) { // one byte may be off
            float other = keep ? add[k] : expected[k];
            float room = 1.02f * out.scale * (fabsf(other) + fabsf(expected[k])) +
                         1.01f * out.scale * out.scale;
            room += keep ? 1.01f * b.scale * fabsf(expected[k]) + b.scale * out.scale : 0;
            ck_assert_msg(fabsf(y[k] - expected[k] * other) <= room, "%s: sum %zu is %g, not %g",
                          what, k, (double)y[k], (double)(expected[k] * other));
        }
        free(x);
        free(y);
        free(add);
        free(expected);
        quantization_release(&q);
    }
}
END_TEST

// ---- what has no weights ----------------------------------------------------------------------

START_TEST(additions_relus_and_pools)
{
    for (int i = 0; i < 12; i++) {
        builder_noise = (uint32_t)i + 40;
        int64_t c = pick(1, 40), h = pick(5, 11), w = pick(5, 11);
        size_t count = (size_t)(c * h * w);
        struct quant a = {1.1f / 255, 0}, b = signed_in, sum = {3.9f / 255, i % 2 == 0 ? 97 : 0};
        struct quantization q = {0};
        snprintf(what, sizeof what, "add of %lldx%lldx%lld", (long long)c, (long long)h,
                 (long long)w);
        model_begin(14, 4, (int64_t[]){1, c, h, w});
        model_node("Relu", "x", "a");
        Onnx__NodeProto *pool = model_node("MaxPool", "x", "b");
        node_ints(pool, "kernel_shape", 2, (int64_t[]){3, 3});
        node_ints(pool, "pads", 4, (int64_t[]){1, 1, 1, 1});
        model_node("Add", "a b", i % 2 == 0 ? "y" : "t");
        if (i % 2 != 0)
            model_node("Relu", "t", "y");
        quantization_add_tensor(&q, "x", b);
        quantization_add_tensor(&q, "a", a);
        quantization_add_tensor(&q, "b", b);
        quantization_add_tensor(&q, "y", sum);
        quantization_add_layer(&q, "a");
        quantization_add_layer(&q, "b");
        quantization_add_layer(&q, "y");
        float *x = random_bytes(count, signed_in), *y = malloc(count * sizeof *y);
        float *expected = malloc(count * sizeof *expected);
        ck_assert(y != NULL && expected != NULL);
        for (size_t k = 0; k < count; k++) {
            int64_t plane = (int64_t)k / (h * w), py = (int64_t)k / w % h, px = (int64_t)k % w;
            float most = -INFINITY;
            for (int64_t yy = py - 1; yy <= py + 1; yy++)
                for (int64_t xx = px - 1; xx <= px + 1; xx++)
                    if (yy >= 0 && yy < h && xx >= 0 && xx < w)
                        most = fmaxf(most, rounded(x[(plane * h + yy) * w + xx], b));
            expected[k] = rounded(rounded(relu(rounded(x[k], b)), a) + most, sum);
        }
        run_int8(&q, x, y);
        check_bytes(y, expected, count, sum);
        free(x);
        free(y);
        free(expected);
        quantization_release(&q);
    }
}
END_TEST

// Reshapes, transposes and concatenations of bytes: what a ShuffleNet does.
static void check_moves(int64_t h, int64_t w)
{
    struct quantization q = {0};
    const char *bytes[] = {"x", "a", "b", "c", "y"};
    int64_t split[5] = {1, 2, 10, h, w}, joined[4] = {1, 20, h, w};
    size_t plane = (size_t)(h * w), count = 20 * plane;
    snprintf(what, sizeof what, "moves of %lldx%lld", (long long)h, (long long)w);
    model_begin(14, 4, (int64_t[]){1, 20, h, w});
    model_ints("split", 5, split);
    model_ints("joined", 4, joined);
    model_node("Reshape", "x split", "a");
    node_ints(model_node("Transpose", "a", "b"), "perm", 5, (int64_t[]){0, 2, 1, 3, 4});
    model_node("Reshape", "b joined", "c");
    node_int(model_node("Concat", "c x", "y"), "axis", 1);
    for (int i = 0; i < 5; i++) {
        quantization_add_tensor(&q, bytes[i], signed_in);
        if (i > 0)
            quantization_add_layer(&q, bytes[i]);
    }
    float *x = random_bytes(count, signed_in), *y = malloc(2 * count * sizeof *y);
    float *expected = malloc(2 * count * sizeof *expected);
    ck_assert(y != NULL && expected != NULL);
    for (size_t i = 0; i < count; i++) {
        size_t c = i / plane; // channels take turns from the halves
        expected[count + i] = rounded(x[i], signed_in);
        expected[i] = rounded(x[(c % 2 * 10 + c / 2) * plane + i % plane], signed_in);
    }
    run_int8(&q, x, y);
    check_bytes(y, expected, 2 * count, signed_in);
    free(x);
    free(y);
    free(expected);
    quantization_release(&q);
}

START_TEST(moves_do_not_change_bytes)
{
    check_moves(5, 7);
    check_moves(1, 1);
    check_moves(8, 16);
}
END_TEST

// oneDNN 2.6 forgets the zero when it changes nchw to nhwc with 64 pixels or a multiple.
START_TEST(the_zero_survives_a_transposition)
{
    struct shape s = {.ins = 21,
                      .outs = 8,
                      .groups = 1,
                      .h = 8,
                      .w = 16,
                      .kh = 1,
                      .kw = 1,
                      .stride_h = 1,
                      .stride_w = 1,
                      .dilation = 1};
    if (!has_vnni())
        return;
    strcpy(what, "64 pixels");
    compare_conv(&s, signed_in, (struct quant){0}, NULL, identity);
    s.ins = 17;
    compare_conv(&s, signed_in, (struct quant){0.05f, 99}, NULL, identity);
}
END_TEST

// ---- a network --------------------------------------------------------------------------------

// Convolutions, a depthwise one, a residual, a pool, a matrix, Softmax.
static void build_network(void)
{
    model_begin(14, 4, (int64_t[]){1, 3, 33, 29});
    model_floats("w1", 4, (int64_t[]){24, 3, 3, 3}, 0.4f, 0);
    model_floats("w2", 4, (int64_t[]){24, 1, 3, 3}, 0.5f, 0);
    model_floats("w3", 4, (int64_t[]){24, 24, 1, 1}, 0.3f, 0);
    model_floats("w4", 4, (int64_t[]){40, 24, 1, 1}, 0.3f, 0);
    model_floats("w5", 2, (int64_t[]){40, 11}, 0.5f, 0);
    node_ints(model_node("Conv", "x w1", "c1"), "strides", 2, (int64_t[]){2, 2});
    model_node("Relu", "c1", "r1");
    Onnx__NodeProto *n = model_node("Conv", "r1 w2", "c2");
    node_ints(n, "pads", 4, (int64_t[]){1, 1, 1, 1});
    node_int(n, "group", 24);
    model_node("Conv", "c2 w3", "c3");
    model_node("Add", "c3 r1", "s");
    n = model_node("MaxPool", "s", "p");
    node_ints(n, "kernel_shape", 2, (int64_t[]){2, 2});
    node_ints(n, "strides", 2, (int64_t[]){2, 2});
    model_node("Conv", "p w4", "c4");
    model_node("Relu", "c4", "r4");
    model_node("GlobalAveragePool", "r4", "g");
    model_node("Flatten", "g", "f");
    model_node("MatMul", "f w5", "l");
    model_node("Softmax", "l", "y");
}

START_TEST(a_network_is_quantized)
{
    enum { PICTURES = 6, IN = 3 * 33 * 29, OUT = 11 };
    static const char *const fp32_kinds[] = {"x", "y"};
    struct quantize_options options = {0};
    struct quantize_report report, again;
    struct quantization q, same;
    struct error error = {0};
    builder_noise = 5;
    build_network();
    file_bytes = model_pack();
    file = memory_file(buf_view(&file_bytes));
    float *x = random_input(PICTURES * IN, -1, 1);
    ck_assert_msg(quantize_model(file, x, PICTURES, &options, &q, &report, &error) == OK, "%s",
                  error.msg);
    ck_assert_double_gt(report.score.cosine, 0.999);
    ck_assert_double_lt(report.score.noise, 0.003);
    ck_assert_uint_eq(report.trial_count, 5);
    ck_assert_uint_ge(q.layer_count, 4);
    for (size_t i = 0; i < q.layer_count; i++) // neither the input nor Softmax is a layer
        for (size_t k = 0; k < 2; k++)
            ck_assert_str_ne(q.layers[i], fp32_kinds[k]);
    for (size_t i = 0; i < report.layer_count; i++) {
        const struct quantize_layer *l = &report.layers[i];
        ck_assert_msg(l->cosine > 0.99, "%s: cosine %g", l->result, l->cosine);
        ck_assert(!l->int8 || isnan(l->weights_db) || l->weights_db > 30);
    }
    // the same scales each time; which ends stay fp32 is also a matter of time measured
    options.quick = true;
    quantization_release(&q);
    quantize_report_release(&report);
    ck_assert_int_eq(quantize_model(file, x, PICTURES, &options, &q, &report, &error), OK);
    ck_assert_int_eq(quantize_model(file, x, PICTURES, &options, &same, &again, &error), OK);
    AUTO_BUF struct buf a = {0}, b = {0};
    quantization_write(&q, &a);
    quantization_write(&same, &b);
    ck_assert_str_eq(a.data, b.data);
    quantization_release(&q);
    quantization_release(&same);
    quantize_report_release(&report);
    quantize_report_release(&again);
    close_memory_file(file);
    buf_release(&file_bytes);
    free(x);
}
END_TEST

static void run_one(const char *path, const struct quantization *q, const float *x, float *y)
{
    struct error error = {0};
    struct engine *e;
    struct engine_context *c;
    ck_assert_int_eq(engine_load_with(path, &(struct engine_options){.int8 = q}, &e, &error), OK);
    ck_assert_int_eq(engine_context_new(e, &c, &error), OK);
    ck_assert_int_eq(engine_run(c, x, y, NULL, 0, &error), OK);
    engine_context_free(c);
    engine_free(e);
}

// fp32 and int8 in one process, taking turns: each gives the bits that it gives alone.
START_TEST(both_precisions_side_by_side)
{
    enum { IN = 3 * 33 * 29, OUT = 11 };
    struct quantize_options options = {.quick = true};
    struct quantize_report report;
    struct quantization q;
    struct error error = {0};
    struct engine *e[2];
    struct engine_context *c[2];
    float alone[2][OUT], y[2][OUT];
    builder_noise = 6;
    build_network();
    file_bytes = model_pack();
    file = memory_file(buf_view(&file_bytes));
    float *x = random_input(IN, -1, 1);
    ck_assert_int_eq(quantize_model(file, x, 1, &options, &q, &report, &error), OK);
    for (int i = 0; i < 2; i++)
        run_one(file, i == 1 ? &q : NULL, x, alone[i]);
    ck_assert_int_ne(memcmp(alone[0], alone[1], sizeof alone[0]), 0);
    for (int i = 0; i < 2; i++) {
        struct engine_options o = {.int8 = i == 1 ? &q : NULL};
        ck_assert_int_eq(engine_load_with(file, &o, &e[i], &error), OK);
        ck_assert_int_eq(engine_context_new(e[i], &c[i], &error), OK);
    }
    ck_assert_uint_lt(engine_weight_bytes(e[1]), engine_weight_bytes(e[0]));
    for (int run = 0; run < 6; run++) {
        ck_assert_int_eq(engine_run(c[run % 2], x, y[run % 2], NULL, 0, &error), OK);
        ck_assert_int_eq(memcmp(y[run % 2], alone[run % 2], sizeof alone[0]), 0);
    }
    for (int i = 0; i < 2; i++) {
        engine_context_free(c[i]);
        engine_free(e[i]);
    }
    quantization_release(&q);
    quantize_report_release(&report);
    close_memory_file(file);
    buf_release(&file_bytes);
    free(x);
}
END_TEST

// Where int8 needs the first or the last layer, trying them in fp32 is no failure.
START_TEST(a_small_network_is_quantized)
{
    static const char path[] = "tests/golden/squeeze_excite.onnx";
    struct quantize_report report;
    struct quantization q;
    struct engine *e;
    struct error error = {0};
    ck_assert_msg(engine_load(path, &e, &error) == OK, "%s", error.msg);
    float *x = random_input(engine_input_floats(e), -1, 1);
    engine_free(e);
    ck_assert_msg(quantize_model(path, x, 1, &(struct quantize_options){0}, &q, &report, &error) ==
                      OK,
                  "%s", error.msg);
    ck_assert_uint_ge(q.layer_count, 1);
    ck_assert_double_gt(report.score.cosine, 0.99);
    quantization_release(&q);
    quantize_report_release(&report);
    free(x);
}
END_TEST

SUITE_MAIN("int8", convolutions_are_those_of_plain_integers, activations_behind_convolutions,
           residual_adds_are_those_of_plain_integers, additions_relus_and_pools,
           moves_do_not_change_bytes, the_zero_survives_a_transposition, a_network_is_quantized,
           a_small_network_is_quantized, both_precisions_side_by_side)
