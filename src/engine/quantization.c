#include "engine/quantization.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/text.h"
#include "engine/json_fields.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1 };
static const float SCALE_MIN = 1e-20f, SCALE_MAX = 1e20f;

void quantization_release(struct quantization *q)
{
    for (size_t i = 0; i < q->tensor_count; i++)
        free(q->tensors[i].name);
    for (size_t i = 0; i < q->layer_count; i++)
        free(q->layers[i]);
    free(q->tensors);
    free(q->layers);
    *q = (struct quantization){0};
}

// Room for one more, in steps of powers of two.
static void *grown(void *array, size_t count, size_t size)
{
    if (count != 0 && (count & (count - 1)) != 0)
        return array;
    void *bigger = realloc(array, (count == 0 ? 1 : 2 * count) * size);
    CHECK(bigger != NULL);
    return bigger;
}

void quantization_add_tensor(struct quantization *q, const char *name, struct quant quant)
{
    q->tensors = grown(q->tensors, q->tensor_count, sizeof *q->tensors);
    q->tensors[q->tensor_count++] = (struct quantized_tensor){json_text_copy(name), quant};
}

void quantization_add_layer(struct quantization *q, const char *result)
{
    q->layers = grown(q->layers, q->layer_count, sizeof *q->layers);
    q->layers[q->layer_count++] = json_text_copy(result);
}

// ---- int8.json --------------------------------------------------------------------------------

static enum err parse_tensor(const char *name, json_t *object, struct quantization *q,
                             struct error *error)
{
    static const char *const known[] = {"scale", "zero", NULL};
    char where[100];
    snprintf(where, sizeof where, "tensors.%.60s.", name);
    TRY(json_fields_check(object, where, known, error));
    json_t *scale = json_object_get(object, "scale"), *zero = json_object_get(object, "zero");
    float s = (float)json_number_value(scale);
    if (!json_is_number(scale) || !(s >= SCALE_MIN && s <= SCALE_MAX))
        return fail(error, ERR_FORMAT, 0, "field '%sscale' must be a number from 1e-20 to 1e20",
                    where);
    json_int_t z = json_integer_value(zero);
    if (!json_is_integer(zero) || z < 0 || z > 255)
        return fail(error, ERR_FORMAT, 0, "field '%szero' must be a whole number from 0 to 255",
                    where);
    quantization_add_tensor(q, name, (struct quant){s, (int)z});
    return OK;
}

static enum err parse_layers(json_t *list, struct quantization *q, struct error *error)
{
    if (!json_is_array(list) || json_array_size(list) > MODEL_NODES_MAX)
        return fail(error, ERR_FORMAT, 0, "field 'layers' must be a list of at most %d names",
                    MODEL_NODES_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name == NULL)
            return fail(error, ERR_FORMAT, 0, "field 'layers': entry %zu must be a name", i + 1);
        quantization_add_layer(q, name);
    }
    return OK;
}

static bool is_digest(const char *text)
{
    return text != NULL && strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static enum err parse_top(json_t *top, struct quantization *q, struct error *error)
{
    static const char *const known[] = {"format", "model_sha256", "tensors", "layers", NULL};
    TRY(json_fields_check(top, "", known, error));
    json_t *format = json_object_get(top, "format"), *tensors = json_object_get(top, "tensors");
    const char *digest = json_string_value(json_object_get(top, "model_sha256"));
    if (!json_is_integer(format) || json_integer_value(format) != FORMAT)
        return fail(error, ERR_FORMAT, 0,
                    "field 'format' must be %d: quantize the model again with this version",
                    FORMAT);
    if (!is_digest(digest))
        return fail(error, ERR_FORMAT, 0,
                    "field 'model_sha256' must be 64 hexadecimal digits in lower case");
    memcpy(q->model_sha256, digest, sizeof q->model_sha256);
    if (!json_is_object(tensors) || json_object_size(tensors) > MODEL_NODES_MAX)
        return fail(error, ERR_FORMAT, 0, "field 'tensors' must be an object of at most %d tensors",
                    MODEL_NODES_MAX);
    const char *name;
    json_t *value;
    json_object_foreach(tensors, name, value) TRY(parse_tensor(name, value, q, error));
    return parse_layers(json_object_get(top, "layers"), q, error);
}

enum err quantization_parse(struct span text, struct quantization *out, struct error *error)
{
    json_error_t reason;
    *out = (struct quantization){0};
    json_t *top = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &reason);
    if (top == NULL)
        return fail(error, ERR_FORMAT, 0, "no valid JSON, line %d column %d: %s", reason.line,
                    reason.column, reason.text);
    enum err err = parse_top(top, out, error);
    json_decref(top);
    if (err != OK)
        quantization_release(out);
    return err;
}

void quantization_write(const struct quantization *q, struct buf *out)
{
    buf_printf(out, "{\n\"format\": %d,\n\"model_sha256\": \"%s\",\n\"tensors\": {", FORMAT,
               q->model_sha256);
    for (size_t i = 0; i < q->tensor_count; i++) {
        const struct quantized_tensor *t = &q->tensors[i];
        buf_add_text(out, i == 0 ? "\n  " : ",\n  ");
        json_escape(span_from(t->name), out);
        // nine digits: the same float when it is read
        buf_printf(out, ": {\"scale\": %.9g, \"zero\": %d}", (double)t->quant.scale, t->quant.zero);
    }
    buf_add_text(out, "\n},\n\"layers\": [");
    for (size_t i = 0; i < q->layer_count; i++) {
        buf_add_text(out, i == 0 ? "\n  " : ",\n  ");
        json_escape(span_from(q->layers[i]), out);
    }
    buf_add_text(out, "\n]\n}\n");
}

// ---- on a graph -------------------------------------------------------------------------------

struct entry {
    const char *name;
    int value;
};

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : x->value - y->value;
}

// The first entry of this name; NULL: none.
static const struct entry *find(const struct entry *entries, size_t count, const char *name)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(entries[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && strcmp(entries[low].name, name) == 0 ? &entries[low] : NULL;
}

// Several constants may have a name (copies), so several values.
static enum err apply(const struct quantization *q, struct graph *g, const struct entry *entries,
                      size_t count, struct error *error)
{
    const struct entry *end = entries + count;
    for (size_t i = 0; i < q->tensor_count; i++) {
        const char *name = q->tensors[i].name;
        const struct entry *e = find(entries, count, name);
        if (e == NULL)
            return fail(error, ERR_FORMAT, 0, "int8: the model has no tensor '%.80s'", name);
        for (; e < end && strcmp(e->name, name) == 0; e++) {
            struct value *v = &g->values[e->value];
            if (!v->shaped || v->t.data != NULL || v->t.dtype != DTYPE_F32)
                return fail(error, ERR_FORMAT, 0, "int8: tensor '%.80s' holds no activations",
                            name);
            v->quant = q->tensors[i].quant;
        }
    }
    for (size_t i = 0; i < q->layer_count; i++) {
        const char *name = q->layers[i];
        const struct entry *e = find(entries, count, name);
        if (e == NULL)
            return fail(error, ERR_FORMAT, 0, "int8: the model has no layer that makes '%.80s'",
                        name);
        for (; e < end && strcmp(e->name, name) == 0; e++)
            if (g->values[e->value].producer >= 0)
                g->nodes[g->values[e->value].producer].int8 = true;
    }
    return OK;
}

enum err quantization_apply(const struct quantization *q, struct graph *g, struct error *error)
{
    size_t count = 0;
    struct entry *entries = calloc((size_t)g->value_count + 1, sizeof *entries);
    if (entries == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory to prepare the model");
    for (int v = 0; v < g->value_count; v++)
        if (g->values[v].name != NULL)
            entries[count++] = (struct entry){g->values[v].name, v};
    qsort(entries, count, sizeof *entries, by_name);
    enum err err = apply(q, g, entries, count, error);
    free(entries);
    return err;
}
