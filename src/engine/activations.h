// Activations: kernels of our own for those that oneDNN computes slowly. Inside a convolution
// oneDNN 2.6 has no registers left for x sigmoid(x) and takes 30 cycles for a vector of it; on its
// own, over what the convolution has just left in the caches, it takes 10. Pure.
#pragma once

#include "engine/graph.h"

// y[i] = activation(x[i]), relatively within 2e-7 (1 + |x|) of the exact result. y may be x.
// 0 stays 0 (layouts are padded with it), not-a-number stays what it is.
typedef void activation_kernel(const float *x, float *y, size_t count, const struct activation *a);

// y[i] = table[x[i]]: any activation of bytes that become bytes. y may be x.
void activation_of_bytes(const uint8_t *x, uint8_t *y, size_t count, const uint8_t table[256]);

// NULL: there is none for this activation on this processor; oneDNN's is to be used.
activation_kernel *activation_kernel_best(const struct activation *a);
