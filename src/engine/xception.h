// Xception as Keras builds it: the layers that have weights, their names, numbers and shapes, and
// the network written as ONNX. Pure.
//
// Source: F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions" (2016), in
// the form of keras.applications.Xception.
#pragma once

#include "base/buf.h"

enum xception_kind { XCEPTION_CONV, XCEPTION_SEPARABLE, XCEPTION_NORM, XCEPTION_DENSE };

enum {
    XCEPTION_KINDS = 4,
    XCEPTION_LAYERS = 81,
    XCEPTION_WEIGHTS_MAX = 4, // of one layer
    XCEPTION_WIDTHS = 8,
};

struct xception_size {
    int width[XCEPTION_WIDTHS]; // channels: 32, 64, 128, 256, 728, 1024, 1536, 2048
    int side;                   // pixels of the input: 299
};
extern const struct xception_size xception_standard;

// A layer with weights. Every layer has a number among those of its kind; the four convolutions
// beside the pools ("residual") and their norms stand at another place in the order of making,
// which Keras 1 numbers by, than in the order of the graph, which Keras 3 numbers by.
struct xception_layer {
    char name[24]; // Keras' own: "block3_sepconv1_bn"; of the residual ones: "block3_residual"
    enum xception_kind kind;
    bool residual;
    int kernel;  // side of a convolution's kernel
    int in, out; // channels; of the classifier, out is 0: any number of classes
    int made;    // 0, 1, …: number among its kind in the order of making
    int ordered; // … in the order of the graph
};

// The layers in the order of the graph.
void xception_layers(const struct xception_size *size, struct xception_layer out[XCEPTION_LAYERS]);

// How many weights a layer of the kind has, and their Keras 2 names ("depthwise_kernel").
int xception_weight_count(enum xception_kind kind);
const char *xception_weight_name(enum xception_kind kind, int weight);
// Keras' shape of a weight: (height, width, in, out) of kernels. Returns the rank, 1 to 4.
int xception_weight_shape(const struct xception_layer *layer, int weight, int64_t classes,
                          int64_t dims[4]);

// A convolution's kernel (a weight of rank 4) from Keras' order of the elements to ONNX's: (out,
// in, height, width). The other weights are the same in both.
void xception_weight_turn(const struct xception_layer *layer, int weight, const float *keras,
                          float *onnx);

// Appends the network as an ONNX model (opset 13, NCHW): "input" [1, 3, side, side] →
// "predictions" [1, classes], softmax included. Norms stay norms (epsilon 1e-3); TensorFlow's SAME
// padding is written out. weights: in ONNX's order, by layer and weight.
void xception_write(const struct xception_size *size, int64_t classes,
                    float *weights[XCEPTION_LAYERS][XCEPTION_WEIGHTS_MAX], struct buf *out);
