// Quantization: which tensors of a network are rounded to bytes, how, and which layers compute with
// them. What `smelt model quantize` finds and a package keeps in int8.json (docs/model-package.md).
// Pure: no files are opened.
#pragma once

#include "base/buf.h"
#include "engine/graph.h"

struct quantized_tensor {
    char *name; // as in the ONNX file
    struct quant quant;
};

// Owner of everything in it. {0} is empty.
struct quantization {
    char model_sha256[65]; // of the ONNX file that it belongs to
    struct quantized_tensor *tensors;
    size_t tensor_count;
    char **layers; // names of the tensors whose nodes compute in integers
    size_t layer_count;
};

void quantization_release(struct quantization *q);
void quantization_add_tensor(struct quantization *q, const char *name, struct quant quant);
void quantization_add_layer(struct quantization *q, const char *result);

// ERR_FORMAT: which field, what was wrong, what it may be. *out is {0} before and after a failure.
enum err quantization_parse(struct span text, struct quantization *out,
                            struct error *error) MUST_CHECK;
// The same text again for equal quantizations.
void quantization_write(const struct quantization *q, struct buf *out);

// Marks g's values and nodes, after passes_run. ERR_FORMAT: a tensor that the file does not have or
// that holds no activations. What passes_run took into something else is passed over: then that
// is computed in floats.
enum err quantization_apply(const struct quantization *q, struct graph *g,
                            struct error *error) MUST_CHECK;
