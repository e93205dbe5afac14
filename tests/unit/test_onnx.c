// Model files that lie, are cut off, or ask for what we do not do: refused with the reason.
#include "engine/onnx.h"

#include "engine/graph.h"
#include "onnx_builder.h"
#include "suite.h"

// A small valid model: Conv, Reshape by constants, MatMul.
static void build(void)
{
    model_begin(13, 4, (int64_t[]){1, 3, 6, 5});
    model_floats("w", 4, (int64_t[]){4, 3, 3, 3}, 0.5f, 0);
    node_ints(model_node("Conv", "x w", "a"), "strides", 2, (int64_t[]){1, 1});
    model_ints("shape", 2, (int64_t[]){1, -1});
    model_node("Reshape", "a shape", "b");
    model_floats("m", 2, (int64_t[]){48, 2}, 0.5f, 0);
    model_node("MatMul", "b m", "y");
}

static void expect(const char *part, enum err code)
{
    struct error error = model_refused();
    ck_assert_msg(strstr(error.msg, part) != NULL && error.code == code, "%s: '%s'",
                  err_name(error.code), error.msg);
}

// Reads and infers; never crashes. True if it was accepted.
static bool accepts(struct span bytes)
{
    struct graph *g = NULL;
    struct error error = {0};
    enum err err = onnx_read(bytes, (size_t)1 << 24, (struct engine_size){0}, &g, &error);
    if (err == OK)
        err = graph_infer(g, &error);
    ck_assert(err == OK || error.msg[0] != '\0');
    graph_free(g);
    return err == OK;
}

// A copy of exactly this length, so that a sanitizer sees a read behind it.
static bool accepts_copy(const char *data, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, data, len);
    bool accepted = accepts((struct span){copy, len});
    free(copy);
    return accepted;
}

START_TEST(a_valid_model)
{
    build();
    model_compare(1e-5, "valid");
    build();
    graph.input[0]->type->tensor_type->shape->dim[0]->dim_value = 0; // an open batch is 1
    model_compare(1e-5, "open batch");
}
END_TEST

START_TEST(every_cut)
{
    build();
    AUTO_BUF struct buf bytes = model_pack();
    for (size_t len = 0; len < bytes.len; len++)
        accepts_copy(bytes.data, len);
    ck_assert(accepts_copy(bytes.data, bytes.len));
    ck_assert(!accepts_copy(bytes.data, bytes.len - 1));
    ck_assert(!accepts_copy(bytes.data, 0));
}
END_TEST

START_TEST(every_byte_changed)
{
    build();
    AUTO_BUF struct buf bytes = model_pack();
    static const char values[] = {0, 1, 0x7f, (char)0x80, (char)0xff};
    for (size_t i = 0; i < bytes.len; i++) {
        char old = bytes.data[i];
        for (size_t k = 0; k < sizeof values; k++) {
            bytes.data[i] = (char)(old ^ values[k]);
            accepts_copy(bytes.data, bytes.len);
        }
        bytes.data[i] = old;
    }
}
END_TEST

START_TEST(not_a_model)
{
    struct error error;
    struct engine *e;
    const char *path = memory_file(SPAN("\x89PNG not a model at all"));
    ck_assert_int_eq(engine_load(path, &e, &error), ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(error.msg, "not an ONNX model"));
    path = memory_file(SPAN(""));
    ck_assert_int_eq(engine_load(path, &e, &error), ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(error.msg, "empty"));
}
END_TEST

START_TEST(nesting)
{
    // AttributeProto.g (6) → GraphProto.node (1) → NodeProto.attribute (5) → …, inside out
    AUTO_BUF struct buf inside = {0}, outside = {0};
    static const unsigned char fields[] = {6 << 3 | 2, 5 << 3 | 2, 1 << 3 | 2};
    for (int depth = 0; depth < 3000; depth++) {
        size_t len = inside.len;
        buf_clear(&outside);
        buf_add_char(&outside, (char)fields[depth % 3]);
        for (; len >= 0x80; len >>= 7)
            buf_add_char(&outside, (char)(len | 0x80));
        buf_add_char(&outside, (char)len);
        buf_add_span(&outside, buf_view(&inside));
        struct buf swap = inside;
        inside = outside;
        outside = swap;
    }
    buf_clear(&outside); // inside is a GraphProto's field now
    buf_add_char(&outside, 7 << 3 | 2);
    for (size_t len = inside.len; len > 0; len >>= 7)
        buf_add_char(&outside, (char)(len >= 0x80 ? len | 0x80 : len));
    buf_add_span(&outside, buf_view(&inside));
    struct graph *g;
    struct error error;
    ck_assert_int_eq(onnx_read(buf_view(&outside), 1 << 24, (struct engine_size){0}, &g, &error),
                     ERR_LIMIT);
    ck_assert_ptr_nonnull(strstr(error.msg, "nests"));
}
END_TEST

START_TEST(memory_is_bounded)
{
    // two bytes of file become a whole NodeProto each
    AUTO_BUF struct buf bytes = {0}, nodes = {0};
    for (int i = 0; i < 400000; i++)
        buf_add(&nodes, "\x0a\x00", 2);
    buf_add_char(&bytes, 7 << 3 | 2);
    for (size_t len = nodes.len; len > 0; len >>= 7)
        buf_add_char(&bytes, (char)(len >= 0x80 ? len | 0x80 : len));
    buf_add_span(&bytes, buf_view(&nodes));
    struct graph *g;
    struct error error;
    ck_assert_int_eq(onnx_read(buf_view(&bytes), 1 << 24, (struct engine_size){0}, &g, &error),
                     ERR_LIMIT);
}
END_TEST

START_TEST(tensors_that_lie)
{
    build();
    graph.initializer[0]->raw_data.len -= 4;
    expect("tensor 'w' says 108 elements", ERR_FORMAT);
    build();
    graph.initializer[0]->raw_data.len -= 1;
    expect("tensor 'w'", ERR_FORMAT);
    build();
    graph.initializer[0]->dims[0] = INT64_MAX / 2;
    expect("tensor 'w' has over", ERR_LIMIT);
    build();
    graph.initializer[0]->dims[0] = -4;
    expect("tensor 'w' has an axis of -4", ERR_FORMAT);
    build();
    graph.initializer[0]->data_type = 77;
    expect("data type 77", ERR_UNSUPPORTED);
    build();
    graph.initializer[0]->has_data_location = 1;
    graph.initializer[0]->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    expect("another file", ERR_UNSUPPORTED);
    build();
    graph.initializer[0]->n_dims = 3;
    expect("tensor 'w' says", ERR_FORMAT);
}
END_TEST

START_TEST(graphs_that_lie)
{
    build();
    graph.node[0]->input[0] = copy_text("y");
    expect("reads 'y', which nothing before it makes", ERR_FORMAT); // a loop
    build();
    graph.node[0]->input[1] = copy_text("gone");
    expect("reads 'gone'", ERR_FORMAT);
    build();
    graph.node[1]->output[0] = copy_text("a");
    expect("called 'a'", ERR_FORMAT);
    build();
    graph.output[0]->name = copy_text("z");
    expect("output 'z'", ERR_FORMAT);
    build();
    model.opset_import[0]->version = 99;
    expect("opset 99", ERR_UNSUPPORTED);
    build();
    model.n_opset_import = 0;
    expect("opset", ERR_FORMAT);
    build();
    graph.n_input = 0;
    expect("has no input", ERR_FORMAT);
}
END_TEST

START_TEST(inputs_that_cannot_be)
{
    build();
    graph.input[0]->type->tensor_type->shape->dim[2]->dim_value = 0;
    expect("axis 2 of the model's input 'x'", ERR_UNSUPPORTED);
    build();
    graph.input[0]->type->tensor_type->shape->dim[0]->dim_value = 8;
    expect("batch 1", ERR_UNSUPPORTED);
    build();
    graph.input[0]->type->tensor_type->shape->dim[2]->dim_value = INT64_MAX;
    expect("too large", ERR_LIMIT);
    build();
    graph.input[0]->type->tensor_type->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__UINT8;
    expect("not of floats", ERR_UNSUPPORTED);
    build();
    graph.input[0]->type->tensor_type->shape->dim[1]->dim_value = 4;
    expect("do not fit the input 1x4x6x5", ERR_FORMAT);
    build();
    graph.input[0]->type->tensor_type->shape->dim[2]->dim_value = 2;
    expect("window of 3", ERR_FORMAT);
}
END_TEST

// Height and width may be open where somebody says them: in both layouts.
START_TEST(inputs_with_open_sides)
{
    for (int nhwc = 0; nhwc < 2; nhwc++) {
        if (nhwc) {
            model_begin(13, 4, (int64_t[]){1, 6, 5, 3});
            model_node("GlobalAveragePool", "x", "y");
        } else {
            build();
        }
        for (int i = 2 - nhwc; i < 4 - nhwc; i++) {
            Onnx__TensorShapeProto__Dimension *d = graph.input[0]->type->tensor_type->shape->dim[i];
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            d->dim_param = copy_text("side");
        }
        expect("is open: export it with a fixed size, or say it", ERR_UNSUPPORTED);
        AUTO_BUF struct buf bytes = model_pack();
        struct error error = {0};
        struct engine *e = NULL;
        const char *path = memory_file(buf_view(&bytes));
        struct engine_options options = {.open = {.height = 6, .width = 5}};
        ck_assert_msg(engine_load_with(path, &options, &e, &error) == OK, "%s", error.msg);
        const int64_t *dims = engine_input_shape(e)->dims;
        ck_assert_int_eq(dims[2 - nhwc], 6);
        ck_assert_int_eq(dims[3 - nhwc], 5);
        ck_assert_int_eq(dims[nhwc ? 3 : 1], 3);
        engine_free(e);
        close_memory_file(path);
    }
}
END_TEST

START_TEST(operators_that_we_lack)
{
    build();
    graph.node[1]->op_type = copy_text("NonMaxSuppression");
    graph.node[1]->name = copy_text("boxes");
    expect("operator 'NonMaxSuppression' of node 'boxes' is not supported (opset 13)",
           ERR_UNSUPPORTED);
    build();
    graph.node[1]->domain = copy_text("com.example");
    expect("operator 'com.example.Reshape'", ERR_UNSUPPORTED);
    build();
    node_int(graph.node[0], "strange", 1);
    expect("attribute 'strange'", ERR_UNSUPPORTED);
    build();
    node_int(graph.node[0], "pads", 1);
    expect("attribute 'pads' has the wrong type", ERR_FORMAT);
    build();
    model_node("NonMaxSuppression", "a", "unused"); // nobody needs its result
    model_compare(1e-5, "an operator that is not needed");
}
END_TEST

START_TEST(attributes_out_of_range)
{
    static const char *const names[] = {"dilations", "kernel_shape", "pads"};
    static const int64_t bad[] = {0, -1, INT64_MIN, INT64_MAX, 1 << 20};
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 5; k++) {
            if (i == 2 && k == 0)
                continue; // no padding is fine
            build();
            int count = i == 2 ? 4 : 2;
            node_ints(graph.node[0], names[i], count, (int64_t[]){bad[k], bad[k], bad[k], bad[k]});
            model_refused();
        }
    build();
    node_int(graph.node[0], "group", INT64_MAX);
    expect("groups", ERR_FORMAT);
    build();
    node_int(graph.node[0], "group", 0);
    expect("groups", ERR_FORMAT);
}
END_TEST

START_TEST(work_is_bounded)
{
    // a constant of 2^28 zeros from a few bytes
    build();
    model_ints("huge", 2, (int64_t[]){1 << 14, 1 << 14});
    model_node("ConstantOfShape", "huge", "zeros");
    node_int(model_node("ReduceMean", "zeros", "mean"), "keepdims", 0);
    graph.node[2]->output[0] = copy_text("logits");
    model_node("Add", "logits mean", "y");
    expect("", ERR_LIMIT);
}
END_TEST

START_TEST(widened_types)
{
    // half floats: 1, -2, 65504, 2^-24, infinity
    static const uint16_t halves[] = {0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00};
    static const float values[] = {1, -2, 65504, 0x1p-24f, INFINITY};
    build();
    int64_t dims[1] = {5};
    Onnx__TensorProto *t = tensor("half", ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16, 1, dims, 2);
    memcpy(t->raw_data.data, halves, sizeof halves);
    APPEND(graph.initializer, graph.n_initializer, t);
    t = tensor("byte", ONNX__TENSOR_PROTO__DATA_TYPE__INT8, 1, dims, 1);
    t->raw_data.data[4] = 0xfe;
    APPEND(graph.initializer, graph.n_initializer, t);
    AUTO_BUF struct buf bytes = model_pack();
    struct graph *g;
    struct error error;
    ck_assert_int_eq(onnx_read(buf_view(&bytes), 1 << 24, (struct engine_size){0}, &g, &error), OK);
    int found = 0;
    for (int v = 0; v < g->value_count; v++) {
        const struct tensor *read = &g->values[v].t;
        if (strcmp(g->values[v].name, "half") == 0 && ++found)
            ck_assert_mem_eq(read->data, values, sizeof values);
        if (strcmp(g->values[v].name, "byte") == 0 && ++found)
            ck_assert_int_eq(((int64_t *)read->data)[4], -2);
    }
    ck_assert_int_eq(found, 2);
    graph_free(g);
}
END_TEST

// All in half or double precision, or with casts to it at the ends: computed in floats.
START_TEST(networks_of_other_floats)
{
    static const int types[] = {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16,
                                ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16,
                                ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        build();
        graph.input[0]->type->tensor_type->elem_type = types[i];
        model_compare(1e-5, "an input of other floats");
        build();
        node_int(model_node("Cast", "x", "narrow"), "to", types[i]);
        graph.node[0]->input[0] = copy_text("narrow");
        Onnx__NodeProto *cast = graph.node[graph.n_node - 1];
        memmove(graph.node + 1, graph.node, (graph.n_node - 1) * sizeof *graph.node);
        graph.node[0] = cast;
        model_compare(1e-5, "a cast to other floats");
    }
}
END_TEST

// Before opset 14 a batch norm that gives more than its result normalizes by what it is shown.
START_TEST(norms_in_training)
{
    static const int64_t image[] = {1, 3, 6, 5}, three[] = {3};
    static const char *const outputs[] = {"y", "y - -", "y mean variance"};
    for (int i = 0; i < 3; i++) {
        model_begin(9, 4, image);
        for (int k = 0; k < 4; k++)
            model_floats((const char *[]){"s", "b", "m", "v"}[k], 1, three, 0.1f, 1);
        Onnx__NodeProto *norm = model_node("BatchNormalization", "x s b m v", outputs[i]);
        for (size_t k = 1; k < norm->n_output; k++)
            if (strcmp(norm->output[k], "-") == 0)
                norm->output[k] = copy_text("");
        if (i < 2)
            model_compare(1e-5, "a batch norm");
        else
            expect("is in training mode", ERR_UNSUPPORTED);
    }
}
END_TEST

// What the last nodes make of two numbers of each picture.
static enum engine_scores scores_of(const char *nodes[])
{
    static const int64_t image[] = {1, 2, 1, 1}, square[] = {2, 2}, two[] = {2};
    model_begin(13, 4, image);
    model_floats("w", 2, square, 1, 0);
    model_floats("b", 1, two, 1, 0);
    node_int(model_node("Flatten", "x", "0"), "axis", 1);
    for (int i = 0; nodes[i] != NULL; i++) {
        char in[20], out[4];
        bool pair = strcmp(nodes[i], "MatMul") == 0 || strcmp(nodes[i], "Add") == 0;
        snprintf(in, sizeof in, "%d %s", i, !pair ? "" : nodes[i][0] == 'A' ? "b" : "w");
        snprintf(out, sizeof out, "%d", i + 1);
        Onnx__NodeProto *n = model_node(nodes[i], in, nodes[i + 1] != NULL ? out : "y");
        if (strstr(nodes[i], "Softmax") != NULL && graph.n_node == 2)
            node_int(n, "axis", 0); // each number alone
    }
    AUTO_BUF struct buf bytes = model_pack();
    struct error error = {0};
    struct engine *e = NULL;
    const char *path = memory_file(buf_view(&bytes));
    ck_assert_msg(engine_load(path, &e, &error) == OK, "%s", error.msg);
    enum engine_scores scores = engine_scores(e);
    engine_free(e);
    close_memory_file(path);
    return scores;
}

START_TEST(ends_of_networks)
{
    static const struct {
        const char *nodes[5];
        enum engine_scores scores;
    } cases[] = {
        {{"MatMul"}, ENGINE_SCORES_LOGITS},
        {{"MatMul", "Add", "Identity"}, ENGINE_SCORES_LOGITS},
        {{"MatMul", "LogSoftmax"}, ENGINE_SCORES_LOGITS},
        {{"MatMul", "Softmax"}, ENGINE_SCORES_PROBABILITIES},
        {{"MatMul", "Softmax", "Identity"}, ENGINE_SCORES_PROBABILITIES},
        {{"MatMul", "Add", "Sigmoid"}, ENGINE_SCORES_PROBABILITIES},
        {{"Softmax"}, ENGINE_SCORES_UNKNOWN},
        {{"MatMul", "Sigmoid", "Add"}, ENGINE_SCORES_UNKNOWN},
        {{"MatMul", "Relu"}, ENGINE_SCORES_UNKNOWN},
        {{"Identity"}, ENGINE_SCORES_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *nodes[5];
        memcpy(nodes, cases[i].nodes, sizeof nodes);
        ck_assert_msg(scores_of(nodes) == cases[i].scores, "case %zu", i);
    }
}
END_TEST

SUITE_MAIN("onnx", a_valid_model, every_cut, every_byte_changed, not_a_model, nesting,
           memory_is_bounded, tensors_that_lie, graphs_that_lie, inputs_that_cannot_be,
           inputs_with_open_sides, operators_that_we_lack, attributes_out_of_range, work_is_bounded,
           widened_types, networks_of_other_floats, norms_in_training, ends_of_networks)
