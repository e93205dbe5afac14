// Reference: runs a graph node by node with the plain kernels, unfused, in the file's own order.
#pragma once

#include "engine/graph.h"

// After graph_infer, before passes_run. Allocates each result for itself.
enum err reference_run(const struct graph *g, const float *input, float *output,
                       struct error *error) MUST_CHECK;
