// ONNX: the bytes of a model file become a graph. Foreign bytes: everything is checked, memory is
// bounded. onnx.c is pure: no I/O; data that lies in other files is refused.
#pragma once

#include "base/buf.h"
#include "engine/graph.h"

// A graph whose nodes are in order, each reading only what is made before it; shapes and operators
// are graph_infer's work. bytes may be freed afterwards. limit_bytes: memory of the graph with its
// constants. Errors: ERR_FORMAT, ERR_UNSUPPORTED, ERR_LIMIT, ERR_NOMEM.
enum err onnx_read(struct span bytes, size_t limit_bytes, struct engine_size open,
                   struct graph **out, struct error *error) MUST_CHECK;

// The same from a file, with shapes and operators (graph_infer), in onnx_file.c. Errors name it.
enum err onnx_read_file(const char *path, struct engine_size open, struct graph **out,
                        struct error *error) MUST_CHECK;
