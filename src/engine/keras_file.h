// The arrays in a file of Keras: HDF5, bare or inside a `.keras` archive (ZIP). Foreign bytes: what
// is listed is bounded and checked; HDF5's own library reads them, so this belongs into a process
// that may crash. Pure: opens no files, follows no links to others, loads no plugins.
//
// HDF5's library keeps state of its own in the process; not for several threads.
#pragma once

#include "base/buf.h"

enum { KERAS_RANK_MAX = 4 };

struct keras_array {
    char *path;    // "model_weights/block1_conv1/block1_conv1/kernel:0", no '/' in front
    int rank;      // -1: over KERAS_RANK_MAX
    bool is_float; // 16, 32 or 64 bits
    int64_t dims[KERAS_RANK_MAX];
};

struct keras_file;

// Starts the library: what it needs of the system for that, a sandbox may not give.
enum err keras_file_prepare(struct error *error) MUST_CHECK;
// bytes must stay until keras_file_close. Errors: ERR_FORMAT (not HDF5, damaged), ERR_UNSUPPORTED,
// ERR_LIMIT.
enum err keras_file_open(struct span bytes, struct keras_file **out,
                         struct error *error) MUST_CHECK;
void keras_file_close(struct keras_file *f); // NULL allowed

bool keras_file_archived(const struct keras_file *f); // from a .keras archive
// In no order that means anything. Until keras_file_close.
const struct keras_array *keras_file_arrays(const struct keras_file *f, size_t *count);
// Elements, converted to float, last axis fastest. out has room for the product of dims.
enum err keras_file_read(struct keras_file *f, const struct keras_array *array, float *out,
                         struct error *error) MUST_CHECK;
