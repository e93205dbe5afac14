// Xception as an ONNX model.
#include "base/arena.h"
#include "base/check.h"
#include "engine/xception.h"
#include "onnx.pb-c.h"

#include <string.h>

enum { NODES_MAX = 256, INPUTS_MAX = 5, ATTRIBUTES_MAX = 6 };

struct builder {
    struct arena arena;
    struct xception_layer layers[XCEPTION_LAYERS];
    float *(*weights)[XCEPTION_WEIGHTS_MAX];
    int64_t classes;
    int at;   // the next layer of the graph
    int side; // of the value that the nodes have reached
    size_t node_count, tensor_count;
    Onnx__NodeProto *nodes[NODES_MAX];
    Onnx__TensorProto *tensors[XCEPTION_LAYERS * XCEPTION_WEIGHTS_MAX];
};

// A new message of protobuf-c, as its _init function leaves it.
static void *message_new(struct builder *b, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *m = arena_alloc(&b->arena, type->sizeof_message);
    protobuf_c_message_init(type, m);
    return m;
}

static char *text(struct builder *b, const char *s)
{
    return arena_copy(&b->arena, span_from(s));
}

static void *copy_of(struct builder *b, const void *data, size_t size)
{
    void *copy = arena_alloc(&b->arena, size);
    memcpy(copy, data, size);
    return copy;
}

static void *pointers(struct builder *b, size_t count)
{
    return arena_alloc(&b->arena, count * sizeof(void *));
}

// ---- nodes ------------------------------------------------------------------------------------

// Returns the node's output, which has the node's name. Inputs: name, name, …, NULL.
static char *node(struct builder *b, const char *op, const char *name, const char *const *inputs)
{
    Onnx__NodeProto *n = message_new(b, &onnx__node_proto__descriptor);
    CHECK(b->node_count < NODES_MAX);
    b->nodes[b->node_count++] = n;
    n->op_type = text(b, op);
    n->name = text(b, name);
    n->input = pointers(b, INPUTS_MAX);
    for (; inputs[n->n_input] != NULL; n->n_input++) {
        CHECK(n->n_input < INPUTS_MAX);
        n->input[n->n_input] = text(b, inputs[n->n_input]);
    }
    n->output = pointers(b, 1);
    n->output[0] = n->name;
    n->n_output = 1;
    n->attribute = pointers(b, ATTRIBUTES_MAX);
    return n->name;
}

// Attributes belong to the newest node.
static Onnx__AttributeProto *attribute(struct builder *b, const char *name, int type)
{
    Onnx__NodeProto *n = b->nodes[b->node_count - 1];
    Onnx__AttributeProto *a = message_new(b, &onnx__attribute_proto__descriptor);
    CHECK(n->n_attribute < ATTRIBUTES_MAX);
    n->attribute[n->n_attribute++] = a;
    a->name = text(b, name);
    a->has_type = 1;
    a->type = (Onnx__AttributeProto__AttributeType)type;
    return a;
}

static void attribute_int(struct builder *b, const char *name, int64_t value)
{
    Onnx__AttributeProto *a = attribute(b, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = 1;
    a->i = value;
}

static void attribute_float(struct builder *b, const char *name, float value)
{
    Onnx__AttributeProto *a = attribute(b, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    a->has_f = 1;
    a->f = value;
}

static void attribute_ints(struct builder *b, const char *name, const int64_t *values, size_t count)
{
    Onnx__AttributeProto *a = attribute(b, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    a->ints = copy_of(b, values, count * sizeof *values);
    a->n_ints = count;
}

static void attribute_window(struct builder *b, int kernel, int stride, int before, int after)
{
    attribute_ints(b, "kernel_shape", (int64_t[]){kernel, kernel}, 2);
    attribute_ints(b, "strides", (int64_t[]){stride, stride}, 2);
    attribute_ints(b, "pads", (int64_t[]){before, before, after, after}, 4);
}

// A weight of the layer as an initializer; returns its name. dims: ONNX's.
static char *weight(struct builder *b, int layer, int number, const int64_t *dims, size_t rank)
{
    const struct xception_layer *l = &b->layers[layer];
    Onnx__TensorProto *t = message_new(b, &onnx__tensor_proto__descriptor);
    size_t count = 1;
    for (size_t i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    t->name = arena_printf(&b->arena, "%s/%s", l->name, xception_weight_name(l->kind, number));
    t->has_data_type = 1;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    t->dims = copy_of(b, dims, rank * sizeof *dims);
    t->n_dims = rank;
    t->has_raw_data = 1;
    t->raw_data.data = (uint8_t *)b->weights[layer][number];
    t->raw_data.len = count * sizeof(float);
    b->tensors[b->tensor_count++] = t;
    return t->name;
}

// ---- the network ------------------------------------------------------------------------------

// The next layer of the graph, which must be of this kind.
static int next(struct builder *b, enum xception_kind kind)
{
    CHECK(b->at < XCEPTION_LAYERS && b->layers[b->at].kind == kind);
    return b->at++;
}

static char *relu(struct builder *b, const char *x)
{
    return node(b, "Relu", arena_printf(&b->arena, "%s/relu", x), (const char *[]){x, NULL});
}

static char *norm(struct builder *b, int layer, const char *x)
{
    char *w[XCEPTION_WEIGHTS_MAX];
    for (int i = 0; i < XCEPTION_WEIGHTS_MAX; i++)
        w[i] = weight(b, layer, i, (int64_t[]){b->layers[layer].out}, 1);
    char *y = node(b, "BatchNormalization", b->layers[layer].name,
                   (const char *[]){x, w[0], w[1], w[2], w[3], NULL});
    attribute_float(b, "epsilon", 1e-3f); // Keras' default
    return y;
}

// A convolution without padding, and its norm.
static char *conv(struct builder *b, const char *x, int stride)
{
    const struct xception_layer *l = &b->layers[next(b, XCEPTION_CONV)];
    int number = (int)(l - b->layers);
    char *w = weight(b, number, 0, (int64_t[]){l->out, l->in, l->kernel, l->kernel}, 4);
    char *y = node(b, "Conv", l->name, (const char *[]){x, w, NULL});
    attribute_window(b, l->kernel, stride, 0, 0);
    return norm(b, next(b, XCEPTION_NORM), y);
}

// Depthwise, then pointwise, nothing in between; and the norm.
static char *separable(struct builder *b, const char *x)
{
    const struct xception_layer *l = &b->layers[next(b, XCEPTION_SEPARABLE)];
    int number = (int)(l - b->layers);
    char *w = weight(b, number, 0, (int64_t[]){l->in, 1, l->kernel, l->kernel}, 4);
    char *y = node(b, "Conv", arena_printf(&b->arena, "%s/depthwise", l->name),
                   (const char *[]){x, w, NULL});
    attribute_window(b, l->kernel, 1, l->kernel / 2, l->kernel / 2);
    attribute_int(b, "group", l->in);
    w = weight(b, number, 1, (int64_t[]){l->out, l->in, 1, 1}, 4);
    y = node(b, "Conv", arena_printf(&b->arena, "%s/pointwise", l->name),
             (const char *[]){y, w, NULL});
    attribute_window(b, 1, 1, 0, 0);
    return norm(b, next(b, XCEPTION_NORM), y);
}

// Two separable convolutions and a pool, beside a convolution 1x1/2; 3x3/2 pooling with
// TensorFlow's SAME padding, which is uneven where the side is even.
static char *down(struct builder *b, int block, const char *x, bool relu_first)
{
    int half = (b->side + 1) / 2, total = (half - 1) * 2 + 3 - b->side;
    char *y = separable(b, relu_first ? relu(b, x) : x);
    y = separable(b, relu(b, y));
    y = node(b, "MaxPool", arena_printf(&b->arena, "block%d_pool", block),
             (const char *[]){y, NULL});
    attribute_window(b, 3, 2, total / 2, total - total / 2);
    b->side = half;
    char *residual = conv(b, x, 2);
    return node(b, "Add", arena_printf(&b->arena, "block%d_add", block),
                (const char *[]){y, residual, NULL});
}

static void network(struct builder *b)
{
    b->side = (b->side - 3) / 2 + 1;
    char *x = relu(b, conv(b, "input", 2));
    b->side -= 2;
    x = relu(b, conv(b, x, 1));
    for (int block = 2; block <= 4; block++)
        x = down(b, block, x, block > 2);
    for (int block = 5; block <= 12; block++) {
        char *y = x;
        for (int i = 0; i < 3; i++)
            y = separable(b, relu(b, y));
        x = node(b, "Add", arena_printf(&b->arena, "block%d_add", block),
                 (const char *[]){y, x, NULL});
    }
    x = down(b, 13, x, true);
    for (int i = 0; i < 2; i++)
        x = relu(b, separable(b, x));
    x = node(b, "GlobalAveragePool", "avg_pool", (const char *[]){x, NULL});
    x = node(b, "Flatten", "avg_pool/flat", (const char *[]){x, NULL});
    int dense = next(b, XCEPTION_DENSE);
    char *w = weight(b, dense, 0, (int64_t[]){b->layers[dense].in, b->classes}, 2);
    char *bias = weight(b, dense, 1, (int64_t[]){b->classes}, 1);
    x = node(b, "Gemm", "predictions/logits", (const char *[]){x, w, bias, NULL});
    node(b, "Softmax", "predictions", (const char *[]){x, NULL});
    attribute_int(b, "axis", 1);
    CHECK(b->at == XCEPTION_LAYERS);
}

// ---- the model --------------------------------------------------------------------------------

// An input or output of the network, as a list of one.
static Onnx__ValueInfoProto **value(struct builder *b, const char *name, const int64_t *dims,
                                    size_t rank)
{
    Onnx__ValueInfoProto *v = message_new(b, &onnx__value_info_proto__descriptor);
    Onnx__TypeProto *type = message_new(b, &onnx__type_proto__descriptor);
    Onnx__TypeProto__Tensor *tensor = message_new(b, &onnx__type_proto__tensor__descriptor);
    Onnx__TensorShapeProto *shape = message_new(b, &onnx__tensor_shape_proto__descriptor);
    shape->dim = pointers(b, rank);
    for (; shape->n_dim < rank; shape->n_dim++) {
        Onnx__TensorShapeProto__Dimension *d =
            message_new(b, &onnx__tensor_shape_proto__dimension__descriptor);
        d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        d->dim_value = dims[shape->n_dim];
        shape->dim[shape->n_dim] = d;
    }
    tensor->has_elem_type = 1;
    tensor->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    v->name = text(b, name);
    v->type = type;
    Onnx__ValueInfoProto **list = pointers(b, 1);
    list[0] = v;
    return list;
}

static void pack(struct builder *b, Onnx__GraphProto *graph, struct buf *out)
{
    Onnx__ModelProto *model = message_new(b, &onnx__model_proto__descriptor);
    Onnx__OperatorSetIdProto *opset = message_new(b, &onnx__operator_set_id_proto__descriptor);
    opset->domain = text(b, "");
    opset->has_version = 1;
    opset->version = 13;
    model->has_ir_version = 1;
    model->ir_version = 7; // of the release that brought opset 13
    model->producer_name = text(b, "smelt");
    model->opset_import = pointers(b, 1);
    model->opset_import[0] = opset;
    model->n_opset_import = 1;
    model->graph = graph;
    size_t size = onnx__model_proto__get_packed_size(model);
    buf_reserve(out, size);
    out->len += onnx__model_proto__pack(model, (uint8_t *)out->data + out->len);
    out->data[out->len] = '\0';
}

void xception_write(const struct xception_size *size, int64_t classes,
                    float *weights[XCEPTION_LAYERS][XCEPTION_WEIGHTS_MAX], struct buf *out)
{
    struct builder b = {.weights = weights, .classes = classes, .side = size->side};
    xception_layers(size, b.layers);
    Onnx__GraphProto *graph = message_new(&b, &onnx__graph_proto__descriptor);
    network(&b);
    graph->name = text(&b, "xception");
    graph->node = b.nodes;
    graph->n_node = b.node_count;
    graph->initializer = b.tensors;
    graph->n_initializer = b.tensor_count;
    graph->input = value(&b, "input", (int64_t[]){1, 3, size->side, size->side}, 4);
    graph->output = value(&b, "predictions", (int64_t[]){1, classes}, 2);
    graph->n_input = graph->n_output = 1;
    pack(&b, graph, out);
    arena_release(&b.arena);
}
