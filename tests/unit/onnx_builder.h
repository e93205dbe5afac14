// Builds small ONNX models for tests through the schema, and runs them. One model at a time.
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "engine/engine.h"

#include <check.h>
#include <math.h>
#include <onnx.pb-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
static Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
static uint32_t builder_noise = 1;
static struct arena builder_memory; // of the current model

static inline void *zalloc(size_t size)
{
    return arena_alloc(&builder_memory, size);
}

static inline char *copy_text(const char *s)
{
    return arena_copy(&builder_memory, span_from(s));
}

// Appends to one of protobuf-c's arrays of pointers.
#define APPEND(array, count, item)                                                                 \
    do {                                                                                           \
        void *bigger_ = zalloc(((count) + 1) * sizeof *(array));                                   \
        if ((count) > 0)                                                                           \
            memcpy(bigger_, (array), (count) * sizeof *(array));                                   \
        (array) = bigger_;                                                                         \
        (array)[(count)++] = (item);                                                               \
    } while (0)

static inline float noise(void) // in -1..1
{
    builder_noise = builder_noise * 1664525u + 1013904223u;
    return (float)(builder_noise >> 8) / (float)(1 << 23) - 1;
}

static inline int64_t pick(int64_t low, int64_t high) // both included
{
    builder_noise = builder_noise * 1664525u + 1013904223u;
    return low + (int64_t)(builder_noise >> 8) % (high - low + 1);
}

static inline Onnx__ValueInfoProto *value_info(const char *name, int rank, const int64_t *dims)
{
    Onnx__ValueInfoProto *v = zalloc(sizeof *v);
    Onnx__TypeProto *type = zalloc(sizeof *type);
    onnx__value_info_proto__init(v);
    onnx__type_proto__init(type);
    v->name = copy_text(name);
    v->type = type;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = zalloc(sizeof *type->tensor_type);
    onnx__type_proto__tensor__init(type->tensor_type);
    type->tensor_type->has_elem_type = 1;
    type->tensor_type->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    Onnx__TensorShapeProto *shape = type->tensor_type->shape = zalloc(sizeof *shape);
    onnx__tensor_shape_proto__init(shape);
    for (int i = 0; i < rank; i++) {
        Onnx__TensorShapeProto__Dimension *d = zalloc(sizeof *d);
        onnx__tensor_shape_proto__dimension__init(d);
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        d->dim_value = dims[i];
        APPEND(shape->dim, shape->n_dim, d);
    }
    return v;
}

// A new model with input "x" of this shape and output "y".
static inline void model_begin(int opset, int rank, const int64_t *dims)
{
    arena_release(&builder_memory);
    onnx__model_proto__init(&model);
    onnx__graph_proto__init(&graph);
    Onnx__OperatorSetIdProto *o = zalloc(sizeof *o);
    onnx__operator_set_id_proto__init(o);
    o->has_version = 1;
    o->version = opset;
    APPEND(model.opset_import, model.n_opset_import, o);
    model.has_ir_version = 1;
    model.ir_version = 7;
    model.graph = &graph;
    APPEND(graph.input, graph.n_input, value_info("x", rank, dims));
    APPEND(graph.output, graph.n_output, value_info("y", 0, NULL));
}

static inline Onnx__TensorProto *tensor(const char *name, int type, int rank, const int64_t *dims,
                                        size_t element_bytes)
{
    Onnx__TensorProto *t = zalloc(sizeof *t);
    onnx__tensor_proto__init(t);
    t->name = copy_text(name);
    t->has_data_type = 1;
    t->data_type = type;
    t->n_dims = (size_t)rank;
    t->dims = zalloc((size_t)rank * sizeof *t->dims);
    size_t count = 1;
    for (int i = 0; i < rank; i++) {
        t->dims[i] = dims[i];
        count *= (size_t)dims[i];
    }
    t->has_raw_data = 1;
    t->raw_data.len = count * element_bytes;
    t->raw_data.data = zalloc(t->raw_data.len);
    return t;
}

// Constant floats: noise times scale plus offset.
static inline Onnx__TensorProto *model_floats(const char *name, int rank, const int64_t *dims,
                                              float scale, float offset)
{
    Onnx__TensorProto *t =
        tensor(name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, rank, dims, sizeof(float));
    for (size_t i = 0; i < t->raw_data.len / sizeof(float); i++) {
        float f = noise() * scale + offset;
        memcpy(t->raw_data.data + i * sizeof f, &f, sizeof f);
    }
    APPEND(graph.initializer, graph.n_initializer, t);
    return t;
}

static inline Onnx__TensorProto *model_ints(const char *name, int count, const int64_t *values)
{
    int64_t dims[1] = {count};
    Onnx__TensorProto *t =
        tensor(name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1, dims, sizeof(int64_t));
    if (count > 0)
        memcpy(t->raw_data.data, values, t->raw_data.len);
    APPEND(graph.initializer, graph.n_initializer, t);
    return t;
}

// inputs, outputs: names with spaces between them; "-" is an input left out.
static inline Onnx__NodeProto *model_node(const char *op, const char *inputs, const char *outputs)
{
    Onnx__NodeProto *n = zalloc(sizeof *n);
    char *saved = NULL;
    onnx__node_proto__init(n);
    n->op_type = copy_text(op);
    n->name = copy_text(outputs);
    for (char *s = strtok_r(copy_text(inputs), " ", &saved); s != NULL;
         s = strtok_r(NULL, " ", &saved))
        APPEND(n->input, n->n_input, strcmp(s, "-") == 0 ? copy_text("") : s);
    for (char *s = strtok_r(copy_text(outputs), " ", &saved); s != NULL;
         s = strtok_r(NULL, " ", &saved))
        APPEND(n->output, n->n_output, s);
    APPEND(graph.node, graph.n_node, n);
    return n;
}

static inline Onnx__AttributeProto *attribute(Onnx__NodeProto *n, const char *name, int type)
{
    Onnx__AttributeProto *a = zalloc(sizeof *a);
    onnx__attribute_proto__init(a);
    a->name = copy_text(name);
    a->has_type = 1;
    a->type = (Onnx__AttributeProto__AttributeType)type;
    APPEND(n->attribute, n->n_attribute, a);
    return a;
}

static inline void node_int(Onnx__NodeProto *n, const char *name, int64_t value)
{
    Onnx__AttributeProto *a = attribute(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = 1;
    a->i = value;
}

static inline void node_float(Onnx__NodeProto *n, const char *name, float value)
{
    Onnx__AttributeProto *a = attribute(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    a->has_f = 1;
    a->f = value;
}

static inline void node_text(Onnx__NodeProto *n, const char *name, const char *value)
{
    Onnx__AttributeProto *a = attribute(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    a->has_s = 1;
    a->s.data = (uint8_t *)copy_text(value);
    a->s.len = strlen(value);
}

static inline void node_ints(Onnx__NodeProto *n, const char *name, int count, const int64_t *values)
{
    Onnx__AttributeProto *a = attribute(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    a->n_ints = (size_t)count;
    a->ints = zalloc((size_t)count * sizeof *values);
    for (int i = 0; i < count; i++)
        a->ints[i] = values[i];
}

static inline struct buf model_pack(void)
{
    struct buf out = {0};
    size_t len = onnx__model_proto__get_packed_size(&model);
    buf_reserve(&out, len + 1);
    out.len = onnx__model_proto__pack(&model, (uint8_t *)out.data);
    ck_assert_uint_eq(out.len, len);
    return out;
}

// A file in memory with these bytes; its name.
static inline const char *memory_file(struct span bytes)
{
    static char path[64];
    int fd = memfd_create("model", 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes.data, bytes.len), (ssize_t)bytes.len);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

static inline void close_memory_file(const char *path)
{
    close(atoi(strrchr(path, '/') + 1));
}

// The largest difference of a and b, relative to the largest of b (at least 1e-3).
static inline double difference(const float *a, const float *b, size_t count)
{
    double largest = 1e-3, apart = 0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= apart)) // also not-a-number
            apart = a[i] == b[i] ? apart : d;
        if (fabs((double)b[i]) > largest)
            largest = fabs((double)b[i]);
        if (isnan(a[i]) != isnan(b[i]))
            return INFINITY;
    }
    return apart / largest;
}

// Runs the model built so far both ways on noise; the fast result must be near the plain one.
// Returns the fast path's number of steps.
static inline size_t model_compare(double tolerance, const char *what)
{
    struct buf bytes = model_pack();
    struct error error = {0};
    struct engine *e;
    struct engine_context *c;
    const char *path = memory_file(buf_view(&bytes));
    ck_assert_msg(engine_load(path, &e, &error) == OK, "%s: %s", what, error.msg);
    ck_assert_int_eq(engine_context_new(e, &c, &error), OK);
    size_t ins = engine_input_floats(e), outs = engine_output_floats(e),
           steps = engine_step_count(e);
    float *x = malloc(ins * sizeof *x), *fast = malloc(outs * sizeof *x);
    float *plain = malloc(outs * sizeof *x);
    ck_assert(x != NULL && fast != NULL && plain != NULL);
    for (size_t i = 0; i < ins; i++)
        x[i] = noise();
    for (int run = 0; run < 2; run++) // the second on a used arena
        ck_assert_int_eq(engine_run(c, x, fast, NULL, 0, &error), OK);
    ck_assert_msg(engine_run_reference(path, x, plain, &error) == OK, "%s: %s", what, error.msg);
    double apart = difference(fast, plain, outs);
    ck_assert_msg(apart <= tolerance, "%s: fast and plain are %g apart", what, apart);
    engine_context_free(c);
    engine_free(e);
    close_memory_file(path);
    buf_release(&bytes);
    free(x);
    free(fast);
    free(plain);
    return steps;
}

// The error of loading the model built so far.
static inline struct error model_refused(void)
{
    struct buf bytes = model_pack();
    struct error error = {0};
    struct engine *e = NULL;
    const char *path = memory_file(buf_view(&bytes));
    ck_assert_int_ne(engine_load(path, &e, &error), OK);
    ck_assert_ptr_null(e);
    close_memory_file(path);
    buf_release(&bytes);
    return error;
}
