// Keras' Xception: a weight file of Keras 1, 2 or 3 (.h5, .keras) becomes an ONNX model. Foreign
// bytes, read by HDF5's library: to be called in a process that may crash. Opens no files.
// keras_file_prepare comes first where a sandbox does.
#pragma once

#include "engine/xception.h"

struct keras_info {
    char layout[32]; // "Keras 2 (.keras)": how the file names its weights
    int64_t classes;
    int64_t parameters;
};

// size: xception_standard, but in tests. Appends the model to onnx. Errors: ERR_FORMAT (damaged, or
// not this network: then complaints has a line for each weight that is missing, extra or wrong),
// ERR_UNSUPPORTED, ERR_LIMIT, ERR_NOMEM.
enum err keras_to_onnx(struct span file, const struct xception_size *size, struct keras_info *info,
                       struct buf *complaints, struct buf *onnx, struct error *error) MUST_CHECK;
