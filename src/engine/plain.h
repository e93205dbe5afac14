// Plain: each operator in simple C, as its specification reads. The oracle of the tests, what folds
// constants, and what runs where oneDNN has nothing. Each is an op_plain (ops.h): dense row-major
// tensors whose shapes the shape functions have checked. Pure; allocates nothing.
#pragma once

#include "engine/ops.h"

op_plain plain_conv, plain_max_pool, plain_average_pool, plain_batch_norm;
op_plain plain_gemm, plain_matmul, plain_softmax, plain_reduce;
op_plain plain_unary, plain_binary, plain_cast, plain_variadic, plain_pow;
op_plain plain_copy, plain_concat, plain_constant, plain_constant_of_shape, plain_expand,
    plain_gather, plain_pad, plain_shape, plain_slice, plain_transpose;
op_plain plain_compare, plain_not, plain_where, plain_tile, plain_range, plain_depth;
op_plain plain_layer_norm, plain_instance_norm, plain_lrn, plain_quantize, plain_dequantize;
op_plain plain_resize;

float plain_activate(const struct activation *a, float x);
