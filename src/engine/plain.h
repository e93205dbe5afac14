// Plain: each operator in simple C, as its specification reads. The oracle of the tests, what folds
// constants, and what runs where oneDNN has nothing. Each is an op_plain (ops.h): dense row-major
// tensors whose shapes the shape functions have checked. Pure; allocates nothing.
#pragma once

#include "engine/ops.h"

op_plain plain_conv, plain_max_pool, plain_average_pool, plain_batch_norm;
op_plain plain_gemm, plain_matmul, plain_softmax, plain_reduce_mean;
op_plain plain_unary, plain_binary, plain_cast;
op_plain plain_copy, plain_concat, plain_constant, plain_constant_of_shape, plain_expand,
    plain_gather, plain_pad, plain_shape, plain_slice, plain_transpose;

float plain_activate(const struct activation *a, float x);
