// Which array of a Keras file is which weight of Xception, from names and numbers. Pure.
//
//   Keras 1 (the official file)  convolution2d_3/convolution2d_3_W:0        numbered as made
//   Keras 2, and .h5 of Keras 3  [model_weights/]block3_sepconv1/block3_sepconv1/pointwise_kernel:0
//                                conv2d_1/conv2d_1/kernel:0                 the residual ones
//   Keras 3 (.keras)             layers/separable_conv2d_2/vars/1           numbered as in the
//   graph
//
// Numbers may start anywhere (a session that made other models before counts on); the order of the
// arrays means nothing.
#pragma once

#include "engine/keras_file.h"
#include "engine/xception.h"

struct keras_match {
    struct xception_layer layers[XCEPTION_LAYERS];
    int arrays[XCEPTION_LAYERS][XCEPTION_WEIGHTS_MAX]; // index, or -1: the layer has no such weight
    int64_t classes;
    const char *layout; // "Keras 1", "Keras 2" or "Keras 3"
};

// ERR_FORMAT unless every weight is there once, of the right shape, and nothing else is. Then
// complaints gets a line for each thing missing, extra or of a wrong shape, and error a summary.
enum err keras_match(const struct keras_array *arrays, size_t count,
                     const struct xception_size *size, struct keras_match *out,
                     struct buf *complaints, struct error *error) MUST_CHECK;
