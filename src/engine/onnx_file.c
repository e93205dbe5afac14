// An ONNX model from a file; all else about its form is onnx.c's.
#include "base/file.h"
#include "base/limits.h"
#include "engine/onnx.h"

#include <sys/stat.h>

enum { FILE_READ_PIECE = 65536 }; // room that file_read wants behind

enum err onnx_read_file(const char *path, struct engine_size open, struct graph **out,
                        struct error *error)
{
    AUTO_BUF struct buf bytes = {0};
    struct stat file;
    if (stat(path, &file) == 0 && file.st_size > 0 &&
        (uint64_t)file.st_size <= MODEL_FILE_BYTES_MAX) {
        buf_reserve(&bytes, (size_t)file.st_size + FILE_READ_PIECE);
        pages_prefer_large(bytes.data, bytes.cap);
    }
    TRY(file_read(path, MODEL_FILE_BYTES_MAX, &bytes, error));
    enum err err =
        onnx_read(buf_view(&bytes), 2 * bytes.len + MODEL_LOAD_EXTRA_BYTES, open, out, error);
    buf_release(&bytes); // now: what comes next needs room
    if (err == OK) {
        err = graph_infer(*out, error);
        if (err != OK) {
            graph_free(*out);
            *out = NULL;
        }
    }
    return err == OK ? OK : fail_context(error, err, "model '%.150s'", path);
}
