// Passes: simplify a graph after graph_infer, before it is lowered. What they do keeps the result
// (up to rounding). The oracle runs without them. Pure.
#pragma once

#include "engine/graph.h"

// Before that passes_fuse finds what exporters write as several nodes: x sigmoid(x), hard sigmoid
// and swish, Gelu by Erf, LayerNormalization, constant powers.
//
// One walk from input to output; at each node the rules in passes.c, in order:
//   nothing to do      Identity, Dropout, Reshape to the same shape, Transpose back → gone
//   Pad                into the padding of a Conv, or of an AveragePool that counts it
//   BatchNormalization, Mul or Add of constants per channel
//                      into weights and bias of the Conv or Gemm before them
//   MatMul by a constant matrix → Gemm
//   Add of two results into the Conv or Gemm that makes one of them
//   activations        into Conv, Gemm, Add, BatchNormalization before them
// ERR_NOMEM, ERR_LIMIT.
enum err passes_run(struct graph *g, struct error *error) MUST_CHECK;
void passes_fuse(struct graph *g);

// Models that quantizers made (passes_quantized.c): QuantizeLinear and the DequantizeLinear that
// read its result become a property of the tensor between them, which is then `rounded`. Before all
// else. ERR_NOMEM, ERR_LIMIT.
enum err passes_take_quantization(struct graph *g, struct error *error) MUST_CHECK;
// Behind all else: tensors that hold a rounded one's numbers are marked like it, nodes may compute
// in integers.
void passes_mark_int8(struct graph *g);
