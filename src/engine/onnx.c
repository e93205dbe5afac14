#include "engine/onnx.h"

#include "base/limits.h"
#include "engine/onnx_tensor.h"

#include <string.h>

// Names of values → their index, by open addressing. Names are borrowed.
struct names {
    int *slots; // 1 + index of the value; 0: free
    size_t cap; // power of two
};

static uint32_t name_hash(const char *name)
{
    uint32_t h = 2166136261u; // FNV-1a
    for (; *name != '\0'; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return h;
}

// The slot where name is or would be.
static int *names_slot(const struct names *names, const struct graph *g, const char *name)
{
    size_t i = name_hash(name) & (names->cap - 1);
    while (names->slots[i] != 0 && strcmp(g->values[names->slots[i] - 1].name, name) != 0)
        i = (i + 1) & (names->cap - 1);
    return &names->slots[i];
}

static enum err no_room(const struct graph *g, struct error *error)
{
    if (g->pool.over_limit)
        return fail(error, ERR_LIMIT, 0, "the model needs over %zu MiB of memory while loading",
                    g->pool.limit_bytes >> 20);
    return fail(error, ERR_NOMEM, 0, "no memory to load the model");
}

// A value with a new name. ERR_FORMAT if the name is there already.
static enum err name_value(struct graph *g, struct names *names, const char *name, int *out,
                           struct error *error)
{
    int *slot = names_slot(names, g, name);
    if (*slot != 0)
        return fail(error, ERR_FORMAT, 0, "two values of the model are called '%.60s'", name);
    *out = graph_value_add(g, name);
    if (*out < 0)
        return no_room(g, error);
    *slot = *out + 1;
    return OK;
}

static void *proto_alloc(void *pool, size_t size)
{
    return pool_alloc(pool, size);
}

static void proto_free(void *pool, void *p)
{
    (void)pool, (void)p; // goes with the pool
}

static enum err read_opset(const Onnx__ModelProto *m, struct graph *g, struct error *error)
{
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *o = m->opset_import[i];
        const char *domain = o->domain != NULL ? o->domain : "";
        if (domain[0] != '\0' && strcmp(domain, "ai.onnx") != 0)
            continue;
        if (o->version < MODEL_OPSET_MIN || o->version > MODEL_OPSET_MAX)
            return fail(error, ERR_UNSUPPORTED, 0,
                        "the model uses opset %lld; smelt reads %d to %d: export it again",
                        (long long)o->version, MODEL_OPSET_MIN, MODEL_OPSET_MAX);
        g->opset = (int)o->version;
    }
    if (g->opset == 0)
        return fail(error, ERR_FORMAT, 0, "the model does not say which opset it uses");
    return OK;
}

static enum err read_initializers(const Onnx__GraphProto *p, struct graph *g, struct names *names,
                                  struct error *error)
{
    if (p->n_sparse_initializer > 0)
        return fail(error, ERR_UNSUPPORTED, 0, "the model has sparse tensors, not supported");
    for (size_t i = 0; i < p->n_initializer; i++) {
        int v = -1;
        const char *name = p->initializer[i]->name;
        TRY(name_value(g, names, name != NULL ? name : "", &v, error));
        TRY(onnx_read_tensor(g, p->initializer[i], &g->values[v].t, error));
        g->values[v].shaped = true;
    }
    return OK;
}

// Floats of any width are computed as floats.
static bool are_floats(int type)
{
    return type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT ||
           type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16 ||
           type == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16 ||
           type == ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE;
}

// 0: open.
static int64_t axis_of(const Onnx__TensorShapeProto *shape, size_t i)
{
    const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
    bool known = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    return known && d->dim_value > 0 ? d->dim_value : 0;
}

// Axis i of an input of pictures, where the file leaves it open; 0: nobody says. Three colours (or
// one) before them tell where height and width are.
static int64_t open_axis(const Onnx__TensorShapeProto *shape, size_t i, struct engine_size open)
{
    if (i == 0)
        return 1;
    if (shape->n_dim != 4)
        return 0;
    size_t height_at = axis_of(shape, 1) == 3 || axis_of(shape, 1) == 1 ? 2 : 1;
    return i == height_at ? open.height : i == height_at + 1 ? open.width : 0;
}

// The model's input: floats, all axes known but the batch, which becomes 1, and what open says.
static enum err read_input(const Onnx__ValueInfoProto *p, struct engine_size open, struct graph *g,
                           int v, struct error *error)
{
    struct tensor *t = &g->values[v].t;
    const Onnx__TypeProto *type = p->type;
    if (type == NULL || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ||
        type->tensor_type->shape == NULL)
        return fail(error, ERR_UNSUPPORTED, 0, "the model's input '%.60s' has no shape", p->name);
    if (!are_floats(type->tensor_type->elem_type))
        return fail(error, ERR_UNSUPPORTED, 0, "the model's input '%.60s' is not of floats",
                    p->name);
    const Onnx__TensorShapeProto *shape = type->tensor_type->shape;
    if (shape->n_dim < 1 || shape->n_dim > ENGINE_RANK_MAX)
        return fail(error, ERR_UNSUPPORTED, 0, "the model's input '%.60s' has %zu axes", p->name,
                    shape->n_dim);
    t->dtype = DTYPE_F32;
    t->shape.rank = (int)shape->n_dim;
    for (size_t i = 0; i < shape->n_dim; i++) {
        int64_t size = axis_of(shape, i);
        t->shape.dims[i] = size > 0 ? size : open_axis(shape, i, open);
        if (i == 0 && t->shape.dims[0] != 1)
            return fail(error, ERR_UNSUPPORTED, 0,
                        "the model's input '%.60s' holds %lld pictures: export it with batch 1 or "
                        "an open batch",
                        p->name, (long long)t->shape.dims[0]);
        if (t->shape.dims[i] <= 0)
            return fail(error, ERR_UNSUPPORTED, 0,
                        "axis %zu of the model's input '%.60s' is open: export it with a fixed "
                        "size, or say it in smelt.json (input.width and input.height)",
                        i, p->name);
    }
    if (shape_count(&t->shape) < 0)
        return fail(error, ERR_LIMIT, 0, "the model's input '%.60s' is too large", p->name);
    g->values[v].shaped = true;
    return OK;
}

static enum err read_inputs(const Onnx__GraphProto *p, struct engine_size open, struct graph *g,
                            struct names *names, struct error *error)
{
    for (size_t i = 0; i < p->n_input; i++) {
        const char *name = p->input[i]->name;
        if (name == NULL || name[0] == '\0')
            return fail(error, ERR_FORMAT, 0, "an input of the model has no name");
        if (*names_slot(names, g, name) != 0)
            continue; // an initializer: old files list them here too
        if (g->input >= 0)
            return fail(error, ERR_UNSUPPORTED, 0,
                        "the model has several inputs ('%.60s', '%.60s')", g->values[g->input].name,
                        name);
        TRY(name_value(g, names, name, &g->input, error));
        TRY(read_input(p->input[i], open, g, g->input, error));
    }
    if (g->input < 0)
        return fail(error, ERR_FORMAT, 0, "the model has no input");
    return OK;
}

static enum err read_attribute(struct graph *g, const Onnx__AttributeProto *p,
                               struct attribute *out, struct error *error)
{
    *out = (struct attribute){.name = p->name != NULL ? p->name : "", .kind = ATTR_OTHER};
    switch ((int)p->type) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
        out->kind = ATTR_INT;
        out->i = p->i;
        break;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
        out->kind = ATTR_FLOAT;
        out->f = p->f;
        break;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING: {
        char *text = pool_alloc(&g->pool, p->s.len + 1);
        if (text == NULL)
            return no_room(g, error);
        if (p->s.len > 0)
            memcpy(text, p->s.data, p->s.len);
        text[p->s.len] = '\0';
        out->kind = ATTR_STRING;
        out->s = text;
        break;
    }
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
        out->kind = ATTR_INTS;
        out->ints = p->ints;
        out->count = p->n_ints;
        break;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
        out->kind = ATTR_FLOATS;
        out->floats = p->floats;
        out->count = p->n_floats;
        break;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
        if (p->t == NULL)
            return fail(error, ERR_FORMAT, 0, "attribute '%.60s' has no tensor", out->name);
        out->kind = ATTR_TENSOR;
        return onnx_read_tensor(g, p->t, &out->t, error);
    default:
        break;
    }
    return OK;
}

static enum err read_node(struct graph *g, struct names *names, const Onnx__NodeProto *p, int index,
                          struct error *error)
{
    struct node *n = &g->nodes[index];
    n->op_type = p->op_type != NULL ? p->op_type : "";
    n->domain = p->domain != NULL ? p->domain : "";
    n->name = p->name != NULL && p->name[0] != '\0' ? p->name : p->n_output > 0 ? p->output[0] : "";
    n->sum = -1;
    n->attributes = pool_calloc(&g->pool, p->n_attribute, sizeof *n->attributes);
    n->inputs = pool_calloc(&g->pool, p->n_input + 2, sizeof *n->inputs); // passes add up to two
    n->outputs = pool_calloc(&g->pool, p->n_output, sizeof *n->outputs);
    if (n->attributes == NULL || n->inputs == NULL || n->outputs == NULL)
        return no_room(g, error);
    for (size_t i = 0; i < p->n_attribute; i++)
        TRY(read_attribute(g, p->attribute[i], &n->attributes[n->attribute_count++], error));
    for (size_t i = 0; i < p->n_input; i++) {
        int v = p->input[i][0] == '\0' ? 0 : *names_slot(names, g, p->input[i]);
        if (p->input[i][0] != '\0' && v == 0)
            return node_fail(n, ERR_FORMAT, error,
                             "reads '%.60s', which nothing before it makes (a loop, or missing)",
                             p->input[i]);
        n->inputs[n->input_count++] = v - 1;
    }
    for (size_t i = 0; i < p->n_output; i++) {
        int v = -1;
        if (p->output[i][0] != '\0') {
            TRY(name_value(g, names, p->output[i], &v, error));
            g->values[v].producer = index;
        }
        n->outputs[n->output_count++] = v;
    }
    return OK;
}

// A Split becomes one node for each result that it makes: all others make one that counts.
static enum err read_split(struct graph *g, struct names *names, const Onnx__NodeProto *p,
                           struct error *error)
{
    Onnx__NodeProto one = *p;
    one.n_output = 1;
    for (size_t i = 0; i < p->n_output; i++) {
        one.output = &p->output[i];
        TRY(read_node(g, names, &one, g->node_count, error));
        g->nodes[g->node_count].part = (int)i;
        g->nodes[g->node_count++].parts = (int)p->n_output;
    }
    return OK;
}

static bool is_split(const Onnx__NodeProto *p)
{
    return p->op_type != NULL && strcmp(p->op_type, "Split") == 0 && p->n_output > 0;
}

static enum err read_graph(const Onnx__GraphProto *p, struct engine_size open, struct graph *g,
                           struct error *error)
{
    size_t values = p->n_initializer + p->n_input, nodes = 0;
    struct names names = {.cap = 16};
    for (size_t i = 0; i < p->n_node; i++) {
        values += p->node[i]->n_output + 2; // passes.c adds up to two constants a node
        nodes += is_split(p->node[i]) ? p->node[i]->n_output : 1;
    }
    if (nodes > MODEL_NODES_MAX)
        return fail(error, ERR_LIMIT, 0, "the model has %zu nodes, the limit is %d", nodes,
                    MODEL_NODES_MAX);
    if (values > INT32_MAX / 4)
        return fail(error, ERR_LIMIT, 0, "the model has %zu values", values);
    while (names.cap < 2 * values)
        names.cap *= 2;
    g->value_cap = (int)values;
    g->values = pool_calloc(&g->pool, values, sizeof *g->values);
    g->nodes = pool_calloc(&g->pool, nodes, sizeof *g->nodes);
    names.slots = pool_calloc(&g->pool, names.cap, sizeof *names.slots);
    if (g->values == NULL || g->nodes == NULL || names.slots == NULL)
        return no_room(g, error);
    TRY(read_initializers(p, g, &names, error));
    TRY(read_inputs(p, open, g, &names, error));
    for (size_t i = 0; i < p->n_node; i++) {
        if (is_split(p->node[i])) {
            TRY(read_split(g, &names, p->node[i], error));
            continue;
        }
        TRY(read_node(g, &names, p->node[i], g->node_count, error));
        g->node_count++;
    }
    const char *name = p->n_output > 0 && p->output[0]->name != NULL ? p->output[0]->name : "";
    g->output = *names_slot(&names, g, name) - 1;
    if (g->output < 0)
        return fail(error, ERR_FORMAT, 0, "no node makes the model's output '%.60s'", name);
    return OK;
}

static enum err read_model(struct span bytes, struct engine_size open, struct graph *g,
                           struct error *error)
{
    ProtobufCAllocator allocator = {proto_alloc, proto_free, &g->pool};
    TRY(onnx_check_nesting(bytes, &onnx__model_proto__descriptor, error));
    Onnx__ModelProto *m =
        onnx__model_proto__unpack(&allocator, bytes.len, (const uint8_t *)bytes.data);
    if (m == NULL)
        return g->pool.over_limit
                   ? no_room(g, error)
                   : fail(error, ERR_FORMAT, 0, "not an ONNX model: it does not decode");
    if (m->graph == NULL)
        return fail(error, ERR_FORMAT, 0, "not an ONNX model: it holds no graph");
    TRY(read_opset(m, g, error));
    return read_graph(m->graph, open, g, error);
}

enum err onnx_read(struct span bytes, size_t limit_bytes, struct engine_size open,
                   struct graph **out, struct error *error)
{
    *out = NULL;
    if (bytes.len == 0)
        return fail(error, ERR_FORMAT, 0, "not an ONNX model: the file is empty");
    struct graph *g = graph_new(limit_bytes);
    if (g == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory to load the model");
    enum err err = read_model(bytes, open, g, error);
    if (err != OK) {
        graph_free(g);
        return err;
    }
    *out = g;
    return OK;
}
