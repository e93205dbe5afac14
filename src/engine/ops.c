#include "engine/ops.h"

#include "engine/kernels.h"
#include "engine/plain.h"
#include "engine/shapes.h"

#include <string.h>

enum { ANY = 1 << 16 }; // inputs, or the last opset that we read

#define WINDOW "auto_pad:s dilations:I kernel_shape:I pads:I strides:I "
#define RESIZE                                                                                     \
    "antialias:i axes:I coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i "       \
    "extrapolation_value:f keep_aspect_ratio_policy:s mode:s nearest_mode:s "

static const struct op ops[] = {
    // name, kind, since, until, inputs min, max, attributes, shape, plain, lower
    {"Abs", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Add", OP_BINARY, 7, ANY, 2, 2, "", shape_binary, plain_binary, lower_binary},
    {"And", OP_OTHER, 7, ANY, 2, 2, "", shape_compare, plain_compare, NULL},
    {"AveragePool", OP_AVERAGE_POOL, 7, ANY, 1, 1, WINDOW "ceil_mode:i count_include_pad:i ",
     shape_pool, plain_average_pool, lower_pool},
    {"BatchNormalization", OP_BATCH_NORM, 7, ANY, 5, 5,
     "epsilon:f momentum:f spatial:i training_mode:i ", shape_batch_norm, plain_batch_norm,
     lower_batch_norm},
    {"Cast", OP_OTHER, 6, ANY, 1, 1, "to:i saturate:i ", shape_cast, plain_cast, NULL},
    {"Ceil", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, NULL},
    {"Clip", OP_UNARY, 6, 10, 1, 1, "min:f max:f ", shape_clip, plain_unary, lower_unary},
    {"Clip", OP_UNARY, 11, ANY, 1, 3, "", shape_clip, plain_unary, lower_unary},
    {"Concat", OP_OTHER, 4, ANY, 1, ANY, "axis:i ", shape_concat, plain_concat, lower_concat},
    {"Constant", OP_OTHER, 1, ANY, 0, 0,
     "value:t value_float:f value_floats:F value_int:i value_ints:I ", shape_constant,
     plain_constant, NULL},
    {"ConstantOfShape", OP_OTHER, 9, ANY, 1, 1, "value:t ", shape_constant_of_shape,
     plain_constant_of_shape, NULL},
    {"Conv", OP_CONV, 1, ANY, 2, 3, WINDOW "group:i ", shape_conv, plain_conv, lower_conv},
    {"DepthToSpace", OP_OTHER, 1, ANY, 1, 1, "blocksize:i mode:s ", shape_depth, plain_depth, NULL},
    {"DequantizeLinear", OP_DEQUANTIZE, 10, ANY, 2, 3, "axis:i ", shape_dequantize,
     plain_dequantize, NULL},
    {"Div", OP_BINARY, 7, ANY, 2, 2, "", shape_binary, plain_binary, lower_binary},
    {"Dropout", OP_IDENTITY, 7, ANY, 1, 3, "ratio:f seed:i ", shape_dropout, plain_copy, NULL},
    {"Elu", OP_UNARY, 6, ANY, 1, 1, "alpha:f ", shape_unary, plain_unary, lower_unary},
    {"Equal", OP_OTHER, 7, ANY, 2, 2, "", shape_compare, plain_compare, NULL},
    {"Erf", OP_UNARY, 9, ANY, 1, 1, "", shape_unary, plain_unary, NULL},
    {"Exp", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Expand", OP_OTHER, 8, ANY, 2, 2, "", shape_expand, plain_expand, NULL},
    {"Flatten", OP_RESHAPE, 1, ANY, 1, 1, "axis:i ", shape_flatten, plain_copy, lower_reshape},
    {"Floor", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, NULL},
    {"Gather", OP_OTHER, 1, ANY, 2, 2, "axis:i ", shape_gather, plain_gather, lower_gather},
    {"Gelu", OP_UNARY, 20, ANY, 1, 1, "approximate:s ", shape_unary, plain_unary, lower_unary},
    {"Gemm", OP_GEMM, 7, ANY, 2, 3, "alpha:f beta:f transA:i transB:i ", shape_gemm, plain_gemm,
     lower_gemm},
    {"GlobalAveragePool", OP_AVERAGE_POOL, 1, ANY, 1, 1, "", shape_global_pool, plain_average_pool,
     lower_pool},
    {"GlobalMaxPool", OP_MAX_POOL, 1, ANY, 1, 1, "", shape_global_pool, plain_max_pool, lower_pool},
    {"Greater", OP_OTHER, 7, ANY, 2, 2, "", shape_compare, plain_compare, NULL},
    {"GreaterOrEqual", OP_OTHER, 12, ANY, 2, 2, "", shape_compare, plain_compare, NULL},
    {"HardSigmoid", OP_UNARY, 6, ANY, 1, 1, "alpha:f beta:f ", shape_unary, plain_unary,
     lower_unary},
    {"HardSwish", OP_UNARY, 14, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Identity", OP_IDENTITY, 1, ANY, 1, 1, "", shape_identity, plain_copy, NULL},
    {"InstanceNormalization", OP_OTHER, 6, ANY, 3, 3, "epsilon:f ", shape_instance_norm,
     plain_instance_norm, lower_instance_norm},
    {"LRN", OP_OTHER, 1, ANY, 1, 1, "alpha:f beta:f bias:f size:i ", shape_lrn, plain_lrn,
     lower_lrn},
    {"LayerNormalization", OP_OTHER, 17, ANY, 2, 3, "axis:i epsilon:f stash_type:i ",
     shape_layer_norm, plain_layer_norm, lower_layer_norm},
    {"LeakyRelu", OP_UNARY, 6, ANY, 1, 1, "alpha:f ", shape_unary, plain_unary, lower_unary},
    {"Less", OP_OTHER, 7, ANY, 2, 2, "", shape_compare, plain_compare, NULL},
    {"LessOrEqual", OP_OTHER, 12, ANY, 2, 2, "", shape_compare, plain_compare, NULL},
    {"Log", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"LogSoftmax", OP_OTHER, 1, ANY, 1, 1, "axis:i ", shape_softmax, plain_softmax, lower_softmax},
    {"MatMul", OP_MATMUL, 1, ANY, 2, 2, "", shape_matmul, plain_matmul, lower_matmul},
    {"Max", OP_OTHER, 8, ANY, 1, ANY, "", shape_variadic, plain_variadic, lower_variadic},
    {"MaxPool", OP_MAX_POOL, 1, ANY, 1, 1, WINDOW "ceil_mode:i storage_order:i ", shape_pool,
     plain_max_pool, lower_pool},
    {"Min", OP_OTHER, 8, ANY, 1, ANY, "", shape_variadic, plain_variadic, lower_variadic},
    {"Mish", OP_UNARY, 18, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Mul", OP_BINARY, 7, ANY, 2, 2, "", shape_binary, plain_binary, lower_binary},
    {"Neg", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Not", OP_OTHER, 1, ANY, 1, 1, "", shape_not, plain_not, NULL},
    {"Or", OP_OTHER, 7, ANY, 2, 2, "", shape_compare, plain_compare, NULL},
    {"PRelu", OP_BINARY, 7, ANY, 2, 2, "", shape_binary, plain_binary, lower_binary},
    {"Pad", OP_PAD, 2, 10, 1, 1, "mode:s pads:I value:f ", shape_pad, plain_pad, NULL},
    {"Pad", OP_PAD, 11, ANY, 2, 4, "mode:s ", shape_pad, plain_pad, NULL},
    {"Pow", OP_BINARY, 7, ANY, 2, 2, "", shape_binary, plain_pow, NULL},
    {"QuantizeLinear", OP_QUANTIZE, 10, ANY, 2, 3, "axis:i saturate:i ", shape_quantize,
     plain_quantize, NULL},
    {"Range", OP_OTHER, 11, ANY, 3, 3, "", shape_range, plain_range, NULL},
    {"Reciprocal", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"ReduceL1", OP_OTHER, 1, 17, 1, 1, "axes:I keepdims:i ", shape_reduce, plain_reduce,
     lower_reduce},
    {"ReduceL1", OP_OTHER, 18, ANY, 1, 2, "keepdims:i noop_with_empty_axes:i ", shape_reduce,
     plain_reduce, lower_reduce},
    {"ReduceL2", OP_OTHER, 1, 17, 1, 1, "axes:I keepdims:i ", shape_reduce, plain_reduce,
     lower_reduce},
    {"ReduceL2", OP_OTHER, 18, ANY, 1, 2, "keepdims:i noop_with_empty_axes:i ", shape_reduce,
     plain_reduce, lower_reduce},
    {"ReduceMax", OP_OTHER, 1, 17, 1, 1, "axes:I keepdims:i ", shape_reduce, plain_reduce,
     lower_reduce},
    {"ReduceMax", OP_OTHER, 18, ANY, 1, 2, "keepdims:i noop_with_empty_axes:i ", shape_reduce,
     plain_reduce, lower_reduce},
    {"ReduceMean", OP_REDUCE_MEAN, 1, 17, 1, 1, "axes:I keepdims:i ", shape_reduce, plain_reduce,
     lower_reduce},
    {"ReduceMean", OP_REDUCE_MEAN, 18, ANY, 1, 2, "keepdims:i noop_with_empty_axes:i ",
     shape_reduce, plain_reduce, lower_reduce},
    {"ReduceMin", OP_OTHER, 1, 17, 1, 1, "axes:I keepdims:i ", shape_reduce, plain_reduce,
     lower_reduce},
    {"ReduceMin", OP_OTHER, 18, ANY, 1, 2, "keepdims:i noop_with_empty_axes:i ", shape_reduce,
     plain_reduce, lower_reduce},
    {"ReduceProd", OP_OTHER, 1, 17, 1, 1, "axes:I keepdims:i ", shape_reduce, plain_reduce,
     lower_reduce},
    {"ReduceProd", OP_OTHER, 18, ANY, 1, 2, "keepdims:i noop_with_empty_axes:i ", shape_reduce,
     plain_reduce, lower_reduce},
    {"ReduceSum", OP_OTHER, 1, 12, 1, 1, "axes:I keepdims:i ", shape_reduce, plain_reduce,
     lower_reduce},
    {"ReduceSum", OP_OTHER, 13, ANY, 1, 2, "keepdims:i noop_with_empty_axes:i ", shape_reduce,
     plain_reduce, lower_reduce},
    {"Relu", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Reshape", OP_RESHAPE, 5, ANY, 2, 2, "allowzero:i ", shape_reshape, plain_copy, lower_reshape},
    {"Resize", OP_OTHER, 10, 10, 2, 2, "mode:s ", shape_resize, plain_resize, lower_resize},
    {"Resize", OP_OTHER, 11, ANY, 1, 4, RESIZE, shape_resize, plain_resize, lower_resize},
    {"Round", OP_UNARY, 11, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Selu", OP_UNARY, 6, ANY, 1, 1, "alpha:f gamma:f ", shape_unary, plain_unary, NULL},
    {"Shape", OP_OTHER, 1, ANY, 1, 1, "start:i end:i ", shape_shape, plain_shape, NULL},
    {"Sigmoid", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Sign", OP_UNARY, 9, ANY, 1, 1, "", shape_unary, plain_unary, NULL},
    {"Slice", OP_OTHER, 1, 9, 1, 1, "axes:I ends:I starts:I ", shape_slice, plain_slice,
     lower_slice},
    {"Slice", OP_OTHER, 10, ANY, 3, 5, "", shape_slice, plain_slice, lower_slice},
    {"Softmax", OP_OTHER, 1, ANY, 1, 1, "axis:i ", shape_softmax, plain_softmax, lower_softmax},
    {"Softplus", OP_UNARY, 1, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Softsign", OP_UNARY, 1, ANY, 1, 1, "", shape_unary, plain_unary, NULL},
    {"SpaceToDepth", OP_OTHER, 1, ANY, 1, 1, "blocksize:i ", shape_depth, plain_depth, NULL},
    {"Split", OP_OTHER, 2, 12, 1, 1, "axis:i split:I ", shape_split, plain_slice, lower_slice},
    {"Split", OP_OTHER, 13, ANY, 1, 2, "axis:i num_outputs:i ", shape_split, plain_slice,
     lower_slice},
    {"Sqrt", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Squeeze", OP_RESHAPE, 1, 12, 1, 1, "axes:I ", shape_squeeze, plain_copy, lower_reshape},
    {"Squeeze", OP_RESHAPE, 13, ANY, 1, 2, "", shape_squeeze, plain_copy, lower_reshape},
    {"Sub", OP_BINARY, 7, ANY, 2, 2, "", shape_binary, plain_binary, lower_binary},
    {"Sum", OP_OTHER, 8, ANY, 1, ANY, "", shape_variadic, plain_variadic, lower_variadic},
    {"Tanh", OP_UNARY, 6, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Tile", OP_OTHER, 6, ANY, 2, 2, "", shape_tile, plain_tile, NULL},
    {"Transpose", OP_TRANSPOSE, 1, ANY, 1, 1, "perm:I ", shape_transpose, plain_transpose,
     lower_transpose},
    {"Unsqueeze", OP_RESHAPE, 1, 12, 1, 1, "axes:I ", shape_unsqueeze, plain_copy, lower_reshape},
    {"Unsqueeze", OP_RESHAPE, 13, ANY, 2, 2, "", shape_unsqueeze, plain_copy, lower_reshape},
    {"Upsample", OP_OTHER, 7, 8, 1, 1, "mode:s scales:F ", shape_upsample, plain_resize,
     lower_resize},
    {"Upsample", OP_OTHER, 9, 9, 2, 2, "mode:s ", shape_upsample, plain_resize, lower_resize},
    {"Where", OP_OTHER, 9, ANY, 3, 3, "", shape_where, plain_where, NULL},
};

// What passes make of several nodes.
static const struct op fused[] = {
    {"Gelu", OP_UNARY, 1, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"HardSigmoid", OP_UNARY, 1, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"HardSwish", OP_UNARY, 1, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"LayerNormalization", OP_OTHER, 1, ANY, 2, 3, "", shape_layer_norm, plain_layer_norm,
     lower_layer_norm},
    {"Pow", OP_UNARY, 1, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
    {"Quantize", OP_OTHER, 1, ANY, 1, 1, "", shape_identity, plain_copy, lower_reshape},
    {"Swish", OP_UNARY, 1, ANY, 1, 1, "", shape_unary, plain_unary, lower_unary},
};

const struct op *op_table(size_t *count)
{
    *count = sizeof ops / sizeof ops[0];
    return ops;
}

const struct op *op_find(const char *name, int opset)
{
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (strcmp(ops[i].name, name) == 0 && opset >= ops[i].since && opset <= ops[i].until)
            return &ops[i];
    return NULL;
}

const struct op *op_fused(const char *name)
{
    for (size_t i = 0; i < sizeof fused / sizeof fused[0]; i++)
        if (strcmp(fused[i].name, name) == 0)
            return &fused[i];
    return NULL;
}

const struct attribute *attr_find(const struct node *n, const char *name)
{
    for (int i = 0; i < n->attribute_count; i++)
        if (strcmp(n->attributes[i].name, name) == 0)
            return &n->attributes[i];
    return NULL;
}

int64_t attr_int(const struct node *n, const char *name, int64_t otherwise)
{
    const struct attribute *a = attr_find(n, name);
    return a != NULL ? a->i : otherwise;
}

float attr_float(const struct node *n, const char *name, float otherwise)
{
    const struct attribute *a = attr_find(n, name);
    return a != NULL ? a->f : otherwise;
}

const char *attr_string(const struct node *n, const char *name, const char *otherwise)
{
    const struct attribute *a = attr_find(n, name);
    return a != NULL ? a->s : otherwise;
}

// The kind that the list gives to a name; 0: not in the list.
static char attribute_kind(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = list; len > 0 && (p = strstr(p, name)) != NULL; p += len)
        if ((p == list || p[-1] == ' ') && p[len] == ':')
            return p[len + 1];
    return 0;
}

enum err op_check(const struct op *op, const struct node *n, struct error *error)
{
    if (n->input_count < op->inputs_min || n->input_count > op->inputs_max)
        return node_fail(n, ERR_FORMAT, error, "has %d inputs, needs %d to %d", n->input_count,
                         op->inputs_min, op->inputs_max);
    for (int k = 0; k < op->inputs_min; k++)
        if (n->inputs[k] < 0)
            return node_fail(n, ERR_FORMAT, error, "its input %d is left out", k);
    if (n->output_count < 1 || n->outputs[0] < 0)
        return node_fail(n, ERR_FORMAT, error, "has no output");
    for (int i = 0; i < n->attribute_count; i++) {
        const struct attribute *a = &n->attributes[i];
        char kind = attribute_kind(op->attributes, a->name);
        if (kind == 0)
            return node_fail(n, ERR_UNSUPPORTED, error, "attribute '%.60s' is not supported",
                             a->name);
        if (kind != (char)a->kind)
            return node_fail(n, ERR_FORMAT, error, "attribute '%.60s' has the wrong type", a->name);
    }
    return OK;
}
