// Shapes: what each operator makes of the shapes (and, where a shape depends on them, the constant
// values) of its inputs. Each is an op_shape (ops.h): checks attributes, fills n->params, sets type
// and shape of the node's output. ERR_FORMAT: the file contradicts itself; ERR_UNSUPPORTED: it does
// not, but we do not do this.
#pragma once

#include "engine/ops.h"

op_shape shape_binary, shape_unary, shape_clip, shape_cast, shape_identity, shape_dropout;
op_shape shape_conv, shape_pool, shape_global_pool, shape_batch_norm;
op_shape shape_gemm, shape_matmul, shape_softmax, shape_reduce;
op_shape shape_concat, shape_constant, shape_constant_of_shape, shape_expand, shape_flatten,
    shape_gather, shape_pad, shape_reshape, shape_shape, shape_slice, shape_squeeze,
    shape_transpose, shape_unsqueeze;
op_shape shape_compare, shape_not, shape_where, shape_tile, shape_range, shape_depth, shape_split,
    shape_variadic, shape_layer_norm, shape_instance_norm, shape_lrn, shape_quantize,
    shape_dequantize;
op_shape shape_resize, shape_upsample;

// For shapes*.c.
// The output is like input 0, of this type.
enum err shapes_same(struct graph *g, struct node *n, enum dtype dtype);
enum err shapes_need_floats(const struct graph *g, const struct node *n,
                            struct error *error) MUST_CHECK;
// A negative axis counts from the end. limit: one more than the largest.
enum err shapes_read_axis(const struct node *n, int64_t axis, int limit, int *out,
                          struct error *error) MUST_CHECK;
// Integers from an attribute or, since some opset, from a constant input. NULL, count 0: neither.
enum err shapes_read_ints(const struct graph *g, const struct node *n, const char *attribute,
                          int input_index, const int64_t **out, size_t *count,
                          struct error *error) MUST_CHECK;
// NumPy's broadcasting: sizes are aligned at the end; 1 stretches.
enum err shapes_broadcast(const struct node *n, const struct engine_shape *a,
                          const struct engine_shape *b, struct engine_shape *out,
                          struct error *error) MUST_CHECK;
