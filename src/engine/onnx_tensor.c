#include "engine/onnx_tensor.h"

#include "base/limits.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "raw_data is little-endian");

struct cursor {
    const uint8_t *at, *end;
};

// False: cut off, or over 64 bits.
static bool read_varint(struct cursor *c, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (c->at == c->end)
            return false;
        uint8_t byte = *c->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type,
                                                  uint64_t number)
{
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].id == number)
            return &type->fields[i];
    return NULL;
}

// Skips a field's value, or for a message inside returns it in *inside. False: broken.
static bool next_field(struct cursor *c, const ProtobufCMessageDescriptor *type,
                       const ProtobufCMessageDescriptor **inside_type, struct cursor *inside)
{
    uint64_t key, len = 0, ignored;
    *inside_type = NULL;
    if (!read_varint(c, &key) || key >> 3 == 0 || key >> 32 != 0)
        return false;
    switch (key & 7) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return read_varint(c, &ignored);
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        len = 8;
        break;
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        len = 4;
        break;
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        if (!read_varint(c, &len))
            return false;
        break;
    default:
        return false;
    }
    if (len > (uint64_t)(c->end - c->at))
        return false;
    const ProtobufCFieldDescriptor *field = find_field(type, key >> 3);
    if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE &&
        (key & 7) == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
        *inside_type = field->descriptor;
        *inside = (struct cursor){c->at, c->at + len};
    }
    c->at += len;
    return true;
}

enum err onnx_check_nesting(struct span bytes, const ProtobufCMessageDescriptor *type,
                            struct error *error)
{
    const uint8_t *start = (const uint8_t *)bytes.data;
    struct {
        struct cursor cursor;
        const ProtobufCMessageDescriptor *type;
    } stack[MODEL_DEPTH_MAX];
    int depth = 0;
    stack[0].cursor = (struct cursor){start, start + bytes.len};
    stack[0].type = type;
    while (depth >= 0) {
        struct cursor *c = &stack[depth].cursor, inside;
        const ProtobufCMessageDescriptor *inside_type;
        if (c->at == c->end) {
            depth--;
            continue;
        }
        size_t at = (size_t)(c->at - start);
        if (!next_field(c, stack[depth].type, &inside_type, &inside))
            return fail(error, ERR_FORMAT, 0,
                        "not an ONNX model, or cut off: no valid field at byte %zu of %zu", at,
                        bytes.len);
        if (inside_type == NULL)
            continue;
        if (++depth == MODEL_DEPTH_MAX)
            return fail(error, ERR_LIMIT, 0, "the ONNX model nests over %d levels at byte %zu",
                        MODEL_DEPTH_MAX, at);
        stack[depth].cursor = inside;
        stack[depth].type = inside_type;
    }
    return OK;
}

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = (h >> 10) & 31, fraction = h & 0x3ff;
    uint32_t bits;
    float out;
    if (exponent == 0) { // zero or subnormal: fraction times 2^-24
        out = (float)fraction * 0x1p-24f;
        return sign != 0 ? -out : out;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    memcpy(&out, &bits, sizeof out);
    return out;
}

static float bfloat_to_float(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

// What the file holds, element by element; where says which of TensorProto's arrays it is in when
// it is not in raw_data.
enum where { IN_FLOATS, IN_INT32S, IN_INT64S, IN_DOUBLES, IN_UINT64S };
static const struct storage {
    int type; // TensorProto.DataType
    size_t bytes;
    enum dtype dtype;
    enum where where;
} storages[] = {
    {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, 4, DTYPE_F32, IN_FLOATS},
    {ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE, 8, DTYPE_F32, IN_DOUBLES},
    {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16, 2, DTYPE_F32, IN_INT32S},
    {ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16, 2, DTYPE_F32, IN_INT32S},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 8, DTYPE_I64, IN_INT64S},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT32, 4, DTYPE_I64, IN_INT32S},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT16, 2, DTYPE_I64, IN_INT32S},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT8, 1, DTYPE_I64, IN_INT32S},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT16, 2, DTYPE_I64, IN_INT32S},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT8, 1, DTYPE_I64, IN_INT32S},
    {ONNX__TENSOR_PROTO__DATA_TYPE__BOOL, 1, DTYPE_I64, IN_INT32S},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT32, 4, DTYPE_I64, IN_UINT64S},
};

// Element i of raw_data, or of int32_data where narrow types are stored in ints.
static void widen(const struct storage *s, const uint8_t *raw, const int32_t *ints, size_t i,
                  const struct tensor *out)
{
    uint64_t bits = 0;
    if (raw != NULL)
        memcpy(&bits, raw + i * s->bytes, s->bytes);
    else
        bits = (uint32_t)ints[i];
    switch (s->type) {
    case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16:
        ((float *)out->data)[i] = half_to_float((uint16_t)bits);
        return;
    case ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16:
        ((float *)out->data)[i] = bfloat_to_float((uint16_t)bits);
        return;
    case ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE: {
        double d;
        memcpy(&d, &bits, sizeof d);
        ((float *)out->data)[i] = (float)d;
        return;
    }
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT32:
        ((int64_t *)out->data)[i] = (int32_t)bits;
        return;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT16:
        ((int64_t *)out->data)[i] = (int16_t)bits;
        return;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT8:
        ((int64_t *)out->data)[i] = (int8_t)bits;
        return;
    default: // unsigned
        ((int64_t *)out->data)[i] = (int64_t)bits;
        return;
    }
}

static enum err tensor_shape(const Onnx__TensorProto *p, struct tensor *out, struct error *error)
{
    const char *name = p->name != NULL ? p->name : "";
    if (p->n_dims > ENGINE_RANK_MAX)
        return fail(error, ERR_LIMIT, 0, "tensor '%.60s' has %zu axes, the limit is %d", name,
                    p->n_dims, ENGINE_RANK_MAX);
    out->shape = (struct engine_shape){.rank = (int)p->n_dims};
    for (size_t i = 0; i < p->n_dims; i++) {
        if (p->dims[i] < 0)
            return fail(error, ERR_FORMAT, 0, "tensor '%.60s' has an axis of %lld elements", name,
                        (long long)p->dims[i]);
        out->shape.dims[i] = p->dims[i];
    }
    if (shape_count(&out->shape) < 0)
        return fail(error, ERR_LIMIT, 0, "tensor '%.60s' has over %d elements", name,
                    MODEL_ELEMENTS_MAX);
    return OK;
}

// The tensor's data in the pool's copy of the file if it can be used as it stands.
static void *borrow(const struct storage *s, const Onnx__TensorProto *p)
{
    void *data = NULL;
    if (s->type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT)
        data = p->has_raw_data ? (void *)p->raw_data.data : (void *)p->float_data;
    else if (s->type == ONNX__TENSOR_PROTO__DATA_TYPE__INT64)
        data = p->has_raw_data ? (void *)p->raw_data.data : (void *)p->int64_data;
    return data;
}

enum err onnx_read_tensor(struct graph *g, const Onnx__TensorProto *p, struct tensor *out,
                          struct error *error)
{
    const char *name = p->name != NULL ? p->name : "";
    const struct storage *s = NULL;
    for (size_t i = 0; i < sizeof storages / sizeof storages[0]; i++)
        if (p->has_data_type && storages[i].type == p->data_type)
            s = &storages[i];
    if (s == NULL)
        return fail(error, ERR_UNSUPPORTED, 0, "tensor '%.60s' has data type %d, not supported",
                    name, (int)p->data_type);
    if (p->n_external_data > 0 || p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "tensor '%.60s' keeps its data in another file; save the model as one file "
                    "(PyTorch: external_data=False)",
                    name);
    TRY(tensor_shape(p, out, error));
    out->dtype = s->dtype;
    out->stored = s->type == ONNX__TENSOR_PROTO__DATA_TYPE__INT8    ? STORED_INT8
                  : s->type == ONNX__TENSOR_PROTO__DATA_TYPE__UINT8 ? STORED_UINT8
                                                                    : STORED_WIDE;
    size_t count = (size_t)shape_count(&out->shape), there;
    if (p->has_raw_data && p->raw_data.len % s->bytes == 0)
        there = p->raw_data.len / s->bytes;
    else if (p->has_raw_data)
        there = SIZE_MAX;
    else
        there = s->where == IN_FLOATS    ? p->n_float_data
                : s->where == IN_INT32S  ? p->n_int32_data
                : s->where == IN_INT64S  ? p->n_int64_data
                : s->where == IN_DOUBLES ? p->n_double_data
                                         : p->n_uint64_data;
    if (there != count)
        return fail(error, ERR_FORMAT, 0,
                    "tensor '%.60s' says %zu elements, its data do not hold that many", name,
                    count);
    out->data = borrow(s, p);
    if (out->data != NULL && (uintptr_t)out->data % dtype_bytes(s->dtype) == 0)
        return OK;
    out->data = pool_alloc(&g->pool, count * dtype_bytes(s->dtype));
    if (out->data == NULL)
        return fail(error, g->pool.over_limit ? ERR_LIMIT : ERR_NOMEM, 0,
                    "no room for tensor '%.60s'", name);
    for (size_t i = 0; i < count; i++) {
        if (!p->has_raw_data && s->where == IN_DOUBLES)
            ((float *)out->data)[i] = (float)p->double_data[i];
        else if (!p->has_raw_data && s->where == IN_UINT64S)
            ((int64_t *)out->data)[i] = (int64_t)(uint32_t)p->uint64_data[i];
        else
            widen(s, p->has_raw_data ? p->raw_data.data : NULL, p->int32_data, i, out);
    }
    return OK;
}
