#include "engine/keras.h"

#include "engine/keras_file.h"
#include "engine/keras_match.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef float *weight_table[XCEPTION_LAYERS][XCEPTION_WEIGHTS_MAX];

static size_t element_count(const struct keras_array *a)
{
    size_t count = 1;
    for (int i = 0; i < a->rank; i++)
        count *= (size_t)a->dims[i];
    return count;
}

static enum err check_values(const struct keras_array *a, bool variance, const float *values,
                             struct error *error)
{
    size_t count = element_count(a);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            return fail(error, ERR_FORMAT, 0, "'%s' holds a value that is no number (element %zu)",
                        a->path, i);
        if (variance && values[i] < 0.0f)
            return fail(error, ERR_FORMAT, 0, "'%s' holds a negative variance (element %zu)",
                        a->path, i);
    }
    return OK;
}

// Shapes have been checked: an array is as large as the network needs it.
static enum err read_weight(struct keras_file *f, const struct xception_layer *layer, int weight,
                            const struct keras_array *a, float **out, struct error *error)
{
    size_t bytes = element_count(a) * sizeof(float);
    float *values = malloc(bytes), *turned = NULL;
    if (values == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory for '%s'", a->path);
    enum err err = keras_file_read(f, a, values, error);
    if (err == OK)
        err = check_values(a, layer->kind == XCEPTION_NORM && weight == 3, values, error);
    if (err == OK && a->rank == 4) {
        turned = malloc(bytes);
        if (turned != NULL)
            xception_weight_turn(layer, weight, values, turned);
        else
            err = fail(error, ERR_NOMEM, 0, "no memory for '%s'", a->path);
        free(values);
        values = turned;
    }
    if (err != OK) {
        free(values);
        return err;
    }
    *out = values;
    return OK;
}

static enum err read_all(struct keras_file *f, const struct keras_match *match,
                         weight_table weights, struct keras_info *info, struct error *error)
{
    size_t count;
    const struct keras_array *arrays = keras_file_arrays(f, &count);
    info->parameters = 0;
    for (int i = 0; i < XCEPTION_LAYERS; i++)
        for (int w = 0; w < xception_weight_count(match->layers[i].kind); w++) {
            const struct keras_array *a = &arrays[match->arrays[i][w]];
            TRY(read_weight(f, &match->layers[i], w, a, &weights[i][w], error));
            info->parameters += (int64_t)element_count(a);
        }
    return OK;
}

static enum err convert(struct keras_file *f, const struct xception_size *size,
                        struct keras_info *info, struct buf *complaints, struct buf *onnx,
                        struct error *error)
{
    size_t count;
    const struct keras_array *arrays = keras_file_arrays(f, &count);
    struct keras_match match;
    weight_table weights = {0};
    TRY(keras_match(arrays, count, size, &match, complaints, error));
    snprintf(info->layout, sizeof info->layout, "%s%s", match.layout,
             keras_file_archived(f) ? " (.keras)" : "");
    info->classes = match.classes;
    enum err err = read_all(f, &match, weights, info, error);
    if (err == OK)
        xception_write(size, match.classes, weights, onnx);
    for (int i = 0; i < XCEPTION_LAYERS; i++)
        for (int w = 0; w < XCEPTION_WEIGHTS_MAX; w++)
            free(weights[i][w]);
    return err;
}

enum err keras_to_onnx(struct span file, const struct xception_size *size, struct keras_info *info,
                       struct buf *complaints, struct buf *onnx, struct error *error)
{
    struct keras_file *f;
    TRY(keras_file_open(file, &f, error));
    enum err err = convert(f, size, info, complaints, onnx, error);
    keras_file_close(f);
    return err;
}
