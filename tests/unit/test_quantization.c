// int8.json: what it says comes back; what is wrong is named. Ranges from histograms.
#include "engine/calibrate.h"
#include "engine/quantization.h"

#include "base/text.h"
#include "engine/engine.h"
#include "onnx_builder.h"
#include "suite.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HEAD "{\"format\": 1, \"model_sha256\": \"" DIGEST "\", "

START_TEST(it_comes_back)
{
    struct quantization q = {0}, again;
    struct error error = {0};
    AUTO_BUF struct buf text = {0}, second = {0};
    strcpy(q.model_sha256, DIGEST);
    quantization_add_tensor(&q, "a/b \"c\" é", (struct quant){1.0f / 3, 128});
    quantization_add_tensor(&q, "", (struct quant){1e-20f * 2, 0});
    quantization_add_tensor(&q, "z", (struct quant){0.02345678f, 255});
    quantization_add_layer(&q, "z");
    quantization_write(&q, &text);
    ck_assert_msg(quantization_parse(buf_view(&text), &again, &error) == OK, "%s", error.msg);
    ck_assert_uint_eq(again.tensor_count, 3);
    ck_assert_uint_eq(again.layer_count, 1);
    ck_assert_str_eq(again.model_sha256, DIGEST);
    for (size_t i = 0; i < 3; i++) {
        ck_assert_str_eq(again.tensors[i].name, q.tensors[i].name);
        ck_assert(again.tensors[i].quant.scale == q.tensors[i].quant.scale);
        ck_assert_int_eq(again.tensors[i].quant.zero, q.tensors[i].quant.zero);
    }
    quantization_write(&again, &second);
    ck_assert_str_eq(text.data, second.data);
    quantization_release(&q);
    quantization_release(&again);
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "no valid JSON"},
        {"{\"format\": 1", "no valid JSON"},
        {"[]", "must be an object"},
        {"{}", "field 'format' must be 1"},
        {"{\"format\": 2}", "quantize the model again"},
        {"{\"format\": 1.0}", "field 'format'"},
        {"{\"format\": 1, \"format\": 1}", "duplicate"},
        {"{\"formt\": 1}", "did you mean 'format'?"},
        {"{\"format\": 1}", "model_sha256"},
        {"{\"format\": 1, \"model_sha256\": \"abc\"}", "64 hexadecimal digits"},
        {HEAD "\"layers\": []}", "field 'tensors'"},
        {HEAD "\"tensors\": []}", "field 'tensors'"},
        {HEAD "\"tensors\": {}}", "field 'layers'"},
        {HEAD "\"tensors\": {}, \"layers\": [1]}", "entry 1"},
        {HEAD "\"tensors\": {\"x\": 1}, \"layers\": []}", "tensors.x must be an object"},
        {HEAD "\"tensors\": {\"x\": {\"scale\": 1, \"zer\": 0}}, \"layers\": []}",
         "'tensors.x.zero'?"},
        {HEAD "\"tensors\": {\"x\": {\"zero\": 0}}, \"layers\": []}",
         "'tensors.x.scale' must be a number"},
        {HEAD "\"tensors\": {\"x\": {\"scale\": 0, \"zero\": 0}}, \"layers\": []}", "x.scale'"},
        {HEAD "\"tensors\": {\"x\": {\"scale\": -1, \"zero\": 0}}, \"layers\": []}", "x.scale'"},
        {HEAD "\"tensors\": {\"x\": {\"scale\": 1e30, \"zero\": 0}}, \"layers\": []}", "x.scale'"},
        {HEAD "\"tensors\": {\"x\": {\"scale\": \"1\", \"zero\": 0}}, \"layers\": []}", "x.scale'"},
        {HEAD "\"tensors\": {\"x\": {\"scale\": 1, \"zero\": 256}}, \"layers\": []}", "x.zero'"},
        {HEAD "\"tensors\": {\"x\": {\"scale\": 1, \"zero\": -1}}, \"layers\": []}", "x.zero'"},
        {HEAD "\"tensors\": {\"x\": {\"scale\": 1, \"zero\": 0.5}}, \"layers\": []}", "x.zero'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct quantization q;
        struct error error = {0};
        enum err err = quantization_parse(span_from(cases[i].text), &q, &error);
        ck_assert_msg(err == ERR_FORMAT, "case %zu: %d", i, err);
        ck_assert_msg(strstr(error.msg, cases[i].says) != NULL, "case %zu: %s", i, error.msg);
        ck_assert(q.tensors == NULL && q.layers == NULL);
    }
}
END_TEST

static enum err load(const struct quantization *q, struct error *error)
{
    struct buf bytes;
    struct engine *e;
    model_begin(13, 4, (int64_t[]){1, 3, 9, 9});
    model_floats("w", 4, (int64_t[]){8, 3, 3, 3}, 0.5f, 0);
    model_node("Conv", "x w", "c");
    model_node("Relu", "c", "y");
    bytes = model_pack();
    const char *path = memory_file(buf_view(&bytes));
    enum err err = engine_load_with(path, &(struct engine_options){.int8 = q}, &e, error);
    if (err == OK)
        engine_free(e);
    close_memory_file(path);
    buf_release(&bytes);
    return err;
}

START_TEST(it_must_fit_the_network)
{
    static const struct {
        const char *tensor, *layer, *says; // says NULL: fine
    } cases[] = {
        {"x", "y", NULL},
        {"x", "c", NULL}, // taken into y: its layer is computed in floats
        {"nowhere", "y", "no tensor 'nowhere'"},
        {"x", "nowhere", "no layer that makes 'nowhere'"},
        {"w", "y", "holds no activations"},
        {"x", "x", NULL}, // nothing makes it
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct quantization q = {0};
        struct error error = {0};
        quantization_add_tensor(&q, cases[i].tensor, (struct quant){0.01f, 100});
        quantization_add_layer(&q, cases[i].layer);
        enum err err = load(&q, &error);
        ck_assert_msg(err == (cases[i].says == NULL ? OK : ERR_FORMAT), "case %zu: %s", i,
                      error.msg);
        ck_assert(cases[i].says == NULL || strstr(error.msg, cases[i].says) != NULL);
        quantization_release(&q);
    }
}
END_TEST

// ---- ranges -----------------------------------------------------------------------------------

static struct histogram h;

START_TEST(a_histogram_grows_and_forgets_nothing)
{
    float small[1000], large[10];
    for (int i = 0; i < 1000; i++)
        small[i] = (float)i / 1000;
    for (int i = 0; i < 10; i++)
        large[i] = -100;
    histogram_add(&h, small, 1000);
    histogram_add(&h, large, 10);
    histogram_add(&h, &(float){NAN}, 1);
    histogram_add(&h, &(float){INFINITY}, 1);
    uint64_t sum = 0;
    for (int i = 0; i < HISTOGRAM_BINS; i++)
        sum += h.bins[i];
    ck_assert_uint_eq(sum, 1010);
    ck_assert_uint_eq(h.count, 1010);
    ck_assert(h.min == -100.0f && h.max == 0.999f && h.reach == 128.0f);
    struct range r = histogram_range(&h, CLIP_NOTHING);
    ck_assert(r.low == -100.0 && fabs(r.high - 0.999) < 1e-6);
}
END_TEST

START_TEST(clipping_gives_up_what_is_rare)
{
    enum { COUNT = 200000 };
    float *x = malloc(COUNT * sizeof *x);
    ck_assert_ptr_nonnull(x);
    for (int i = 0; i < COUNT; i++) { // a bell, and one number far away
        x[i] = 0;
        for (int k = 0; k < 12; k++)
            x[i] += noise();
    }
    x[7] = 500;
    histogram_add(&h, x, COUNT);
    double signal, whole, clipped;
    struct range all = histogram_range(&h, CLIP_NOTHING);
    struct range most = histogram_range(&h, CLIP_PERCENTILE);
    struct range best = histogram_range(&h, CLIP_ERROR);
    ck_assert(all.high == 500.0 && most.high < 20 && most.low > -20);
    ck_assert(best.low >= all.low && best.high <= all.high);
    histogram_noise(&h, range_quant(all), &signal, &whole);
    histogram_noise(&h, range_quant(best), &signal, &clipped);
    ck_assert_double_le(clipped, whole);
    free(x);
}
END_TEST

START_TEST(zero_is_a_byte)
{
    static const struct range ranges[] = {{0, 1},     {-1, 0}, {-1, 1},  {-3, 0.001},
                                          {-1e-3, 7}, {0, 0},  {0, 1e30}};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        struct quant q = range_quant(ranges[i]);
        ck_assert(q.scale > 0 && q.zero >= 0 && q.zero <= 255);
        if (ranges[i].high > ranges[i].low && ranges[i].high < 1e18) {
            double low = (double)q.scale * -q.zero, high = (double)q.scale * (255 - q.zero);
            ck_assert(fabs(low - ranges[i].low) <= (double)q.scale);
            ck_assert(fabs(high - ranges[i].high) <= (double)q.scale);
        }
        ck_assert(ranges[i].low < 0 || q.zero == 0);
    }
}
END_TEST

SUITE_MAIN("quantization", it_comes_back, what_is_wrong_is_named, it_must_fit_the_network,
           a_histogram_grows_and_forgets_nothing, clipping_gives_up_what_is_rare, zero_is_a_byte)
