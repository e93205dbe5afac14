// Hostile models: read, checked, shapes inferred, constants folded, fused. No kernels are made: the
// limits that hold before that are what is tried here.
#include "engine/onnx.h"

#include "engine/graph.h"
#include "engine/passes.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct graph *g = NULL;
    struct error error = {0};
    enum err err = onnx_read((struct span){(const char *)data, size}, (size_t)16 << 20,
                             (struct engine_size){0}, &g, &error);
    if (err == OK)
        err = graph_infer(g, &error);
    if (err == OK)
        err = passes_run(g, &error);
    // a refusal says why; what is accepted has an input and an output of a known size
    if (err != OK && error.msg[0] == '\0')
        abort();
    if (err == OK && (shape_count(&g->values[g->input].t.shape) <= 0 ||
                      shape_count(&g->values[g->output].t.shape) <= 0))
        abort();
    graph_free(g);
    return 0;
}
