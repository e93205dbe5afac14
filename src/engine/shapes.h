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
