// ONNX tensors: TensorProto → struct tensor. And the look at a message before it is unpacked.
#pragma once

#include "base/buf.h"
#include "engine/graph.h"

#include <onnx.pb-c.h>

// Checks that `bytes` are messages inside messages as the schema of `type` says, at most
// MODEL_DEPTH_MAX deep: protobuf-c unpacks recursively. Without recursion itself.
enum err onnx_check_nesting(struct span bytes, const ProtobufCMessageDescriptor *type,
                            struct error *error) MUST_CHECK;

// Data may stay in `proto`, which lives in the pool as long as the graph.
enum err onnx_read_tensor(struct graph *g, const Onnx__TensorProto *proto, struct tensor *out,
                          struct error *error) MUST_CHECK;
