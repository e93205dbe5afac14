// Weight files: whatever the bytes, an error with a text, or a model that the engine's reader
// takes. HDF5's own library is in here, and it is what smelt keeps in a process of its own: a crash
// inside of it is not ours to fix. Seeds: make_keras_corpus.py.
#include "base/check.h"
#include "base/limits.h"
#include "engine/keras.h"
#include "engine/onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__asan_default_options(void);

// HDF5 asks for what a damaged file says and takes a refusal as it should.
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct xception_size tiny = {{2, 3, 4, 5, 6, 7, 8, 9}, 71};
    AUTO_BUF struct buf onnx = {0}, complaints = {0};
    struct span file = {(const char *)data, size};
    struct keras_info info;
    struct error error = {0};
    struct graph *graph;
    if (keras_to_onnx(file, &tiny, &info, &complaints, &onnx, &error) != OK) {
        CHECK(error.msg[0] != '\0' && onnx.len == 0);
        return 0;
    }
    CHECK(complaints.len == 0 && info.classes > 0 && info.classes <= MODEL_LABELS_MAX);
    CHECK(onnx_read(buf_view(&onnx), MIB(256), (struct engine_size){0}, &graph, &error) == OK);
    graph_free(graph);
    return 0;
}
