#include "engine/keras_match.h"

#include "base/check.h"
#include "base/limits.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENTS_MAX = KERAS_DEPTH_MAX + 1 };

// Layers whose names are a class and a number, as one layout writes them.
enum order { MADE, ORDERED };
static const struct family {
    const char *prefix;
    const char *layout;
    enum xception_kind kind;
    enum order order;
    bool vars; // "…/prefix_3/vars/0", and counted from 0, which is not written
} families[] = {
    {"convolution2d", "Keras 1", XCEPTION_CONV, MADE, false},
    {"separableconvolution2d", "Keras 1", XCEPTION_SEPARABLE, MADE, false},
    {"batchnormalization", "Keras 1", XCEPTION_NORM, MADE, false},
    {"dense", "Keras 1", XCEPTION_DENSE, MADE, false},
    {"conv2d", "Keras 2", XCEPTION_CONV, MADE, false},
    {"separable_conv2d", "Keras 2", XCEPTION_SEPARABLE, MADE, false},
    {"batch_normalization", "Keras 2", XCEPTION_NORM, MADE, false},
    {"conv2d", "Keras 3", XCEPTION_CONV, ORDERED, true},
    {"separable_conv2d", "Keras 3", XCEPTION_SEPARABLE, ORDERED, true},
    {"batch_normalization", "Keras 3", XCEPTION_NORM, ORDERED, true},
    {"dense", "Keras 3", XCEPTION_DENSE, ORDERED, true},
};
enum { FAMILIES = sizeof families / sizeof families[0], NAMED = FAMILIES };

// What the path of an array says.
struct place {
    bool known, ignored;
    int family; // NAMED: layer is an index of the layers; else it is a number
    int layer, weight;
};

struct matcher {
    struct keras_match *out;
    const struct keras_array *arrays;
    struct place *places; // [count]
    size_t count;
    bool named;         // layers of blocks have names: only the residual ones are numbered
    int base[FAMILIES]; // the number of the family's first layer
    int missing, extra, wrong;
    struct buf *complaints;
    char first[160]; // complaint
};

// ---- reading a path ---------------------------------------------------------------------------

// "conv2d" → 0, "conv2d_12" → 12, anything else → -1.
static int family_number(struct span name, const char *prefix)
{
    uint64_t number;
    size_t len = strlen(prefix);
    if (!span_starts(name, prefix))
        return -1;
    if (name.len == len)
        return 0;
    struct span rest = {name.data + len + 1, name.len - len - 1};
    if (name.data[len] != '_' || !span_to_u64(rest, 1000000, &number) || number == 0)
        return -1;
    return (int)number;
}

// The weight of a layer of this kind that the last part of a path names, or -1.
static int weight_number(enum xception_kind kind, struct span leaf, struct span layer)
{
    static const struct {
        const char *name, *means;
    } others[] = {
        {"W", "kernel"},
        {"b", "bias"},
        {"running_mean", "moving_mean"},
        {"running_std", "moving_variance"}, // the variance in spite of its name
        {"running_var", "moving_variance"},
        {"moving_var", "moving_variance"},
    };
    if (leaf.len > 2 && memcmp(leaf.data + leaf.len - 2, ":0", 2) == 0)
        leaf.len -= 2;
    if (leaf.len > layer.len + 1 && memcmp(leaf.data, layer.data, layer.len) == 0 &&
        leaf.data[layer.len] == '_')
        leaf = (struct span){leaf.data + layer.len + 1, leaf.len - layer.len - 1};
    for (int w = 0; w < xception_weight_count(kind); w++) {
        const char *name = xception_weight_name(kind, w);
        if (span_is(leaf, name))
            return w;
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
            if (span_is(leaf, others[i].name) && strcmp(others[i].means, name) == 0)
                return w;
    }
    return -1;
}

static struct place place_of(int family, int layer, int weight)
{
    return (struct place){.known = weight >= 0, .family = family, .layer = layer, .weight = weight};
}

// part: a group of the path; it may be the layer's.
static struct place read_group(const struct matcher *m, struct span part, struct span leaf)
{
    for (int i = 0; i < XCEPTION_LAYERS; i++) {
        const struct xception_layer *l = &m->out->layers[i];
        if (!l->residual && span_is(part, l->name))
            return place_of(NAMED, i, weight_number(l->kind, leaf, part));
    }
    for (int f = 0; f < FAMILIES; f++) {
        int number = families[f].vars ? -1 : family_number(part, families[f].prefix);
        if (number >= 0)
            return place_of(f, number, weight_number(families[f].kind, leaf, part));
    }
    return (struct place){0};
}

// Keras 3: "…/conv2d_1/vars/0".
static struct place read_vars(struct span part, struct span leaf)
{
    for (int f = 0; f < FAMILIES; f++) {
        int number = families[f].vars ? family_number(part, families[f].prefix) : -1;
        uint64_t weight;
        if (number < 0)
            continue;
        bool good =
            span_to_u64(leaf, (uint64_t)xception_weight_count(families[f].kind) - 1, &weight);
        return place_of(f, number, good ? (int)weight : -1);
    }
    return (struct place){0};
}

static struct place read_path(const struct matcher *m, const char *path)
{
    struct span parts[SEGMENTS_MAX], rest = span_from(path);
    int count = 0;
    while (rest.len > 0 && count < SEGMENTS_MAX)
        parts[count++] = span_cut(rest, '/', &rest);
    if (count > 0 && (span_is(parts[0], "optimizer") || span_is(parts[0], "optimizer_weights")))
        return (struct place){.ignored = true};
    if (count >= 3 && span_is(parts[count - 2], "vars"))
        return read_vars(parts[count - 3], parts[count - 1]);
    for (int i = 0; i + 1 < count; i++) {
        struct place p = read_group(m, parts[i], parts[count - 1]);
        if (p.known)
            return p;
    }
    return (struct place){0};
}

// ---- numbers → layers -------------------------------------------------------------------------

// Whether a layer is one of a family's.
static bool family_has(const struct matcher *m, const struct family *f, int layer)
{
    const struct xception_layer *l = &m->out->layers[layer];
    bool all = f->vars || !m->named || f->kind == XCEPTION_DENSE;
    return l->kind == f->kind && (all || l->residual);
}

// The n-th layer of a family in its order, or -1.
static int family_layer(const struct matcher *m, const struct family *f, int n)
{
    for (int i = 0; i < XCEPTION_LAYERS; i++) {
        if (!family_has(m, f, i))
            continue;
        const struct xception_layer *l = &m->out->layers[i];
        int number = f->order == MADE ? l->made : l->ordered, before = 0;
        for (int k = 0; k < XCEPTION_LAYERS; k++)
            if (family_has(m, f, k))
                before += (f->order == MADE ? m->out->layers[k].made : m->out->layers[k].ordered) <
                          number;
        if (before == n)
            return i;
    }
    return -1;
}

// Numbers count from 0 or 1, or go on from an earlier model's when they are too high for that.
static void find_base(struct matcher *m, int f)
{
    int low = -1, high = -1, size = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct place *p = &m->places[i];
        if (!p->known || p->family != f)
            continue;
        low = low < 0 || p->layer < low ? p->layer : low;
        high = p->layer > high ? p->layer : high;
    }
    for (int i = 0; i < XCEPTION_LAYERS; i++)
        size += family_has(m, &families[f], i);
    int usual = families[f].vars || low == 0 ? 0 : 1;
    m->base[f] = high < usual + size ? usual : low;
}

// The layer a place means, or -1.
static int place_layer(const struct matcher *m, const struct place *p)
{
    if (!p->known)
        return -1;
    if (p->family == NAMED)
        return p->layer;
    return family_layer(m, &families[p->family], p->layer - m->base[p->family]);
}

// ---- complaints -------------------------------------------------------------------------------

static void PRINTF_LIKE(3, 4) complain(struct matcher *m, int *counter, const char *fmt, ...)
{
    char line[600];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (m->first[0] == '\0')
        snprintf(m->first, sizeof m->first, "%.150s", line);
    buf_printf(m->complaints, "%s\n", line);
    ++*counter;
}

// What the file would call this layer.
static void file_name(const struct matcher *m, int layer, char *out, size_t out_size)
{
    for (int f = 0; f < FAMILIES; f++) {
        const struct family *family = &families[f];
        if (strcmp(family->layout, m->out->layout) != 0 || !family_has(m, family, layer))
            continue;
        int n = 0;
        while (family_layer(m, family, n) != layer)
            n++;
        int number = n + m->base[f];
        snprintf(out, out_size, number == 0 ? " ('%s')" : " ('%s_%d')", family->prefix, number);
        return;
    }
    out[0] = '\0';
}

static void shape_text(const int64_t *dims, int rank, struct buf *out)
{
    buf_clear(out);
    buf_add_char(out, '[');
    for (int i = 0; i < rank; i++)
        buf_printf(out, "%s%lld", i == 0 ? "" : ", ", (long long)dims[i]);
    buf_add_text(out, rank < 0 ? "too many axes]" : "]");
}

// ---- matching ---------------------------------------------------------------------------------

// Fills in which array is which weight; what does not fit anywhere, or twice, is extra.
static void assign(struct matcher *m)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct place *p = &m->places[i];
        if (p->ignored)
            continue;
        int layer = place_layer(m, p);
        if (layer < 0) {
            complain(m, &m->extra, "extra: '%s' is no weight of Xception", m->arrays[i].path);
            continue;
        }
        int *slot = &m->out->arrays[layer][p->weight];
        if (*slot >= 0)
            complain(m, &m->extra, "extra: '%s' is %s of %s, as '%s' is", m->arrays[i].path,
                     xception_weight_name(m->out->layers[layer].kind, p->weight),
                     m->out->layers[layer].name, m->arrays[*slot].path);
        else
            *slot = (int)i;
    }
}

static void check_shape(struct matcher *m, int layer, int weight)
{
    const struct xception_layer *l = &m->out->layers[layer];
    const struct keras_array *a = &m->arrays[m->out->arrays[layer][weight]];
    int64_t dims[4] = {0};
    int rank = xception_weight_shape(l, weight, m->out->classes, dims);
    if (a->rank == rank && memcmp(a->dims, dims, (size_t)rank * sizeof *dims) == 0 && a->is_float)
        return;
    AUTO_BUF struct buf has = {0}, needs = {0};
    shape_text(a->dims, a->rank, &has);
    shape_text(dims, rank, &needs);
    if (!a->is_float)
        complain(m, &m->wrong, "wrong: '%s' (%s of %s) holds no floating-point numbers", a->path,
                 xception_weight_name(l->kind, weight), l->name);
    else
        complain(m, &m->wrong, "wrong: '%s' (%s of %s) has the shape %s, %s is needed", a->path,
                 xception_weight_name(l->kind, weight), l->name, has.data, needs.data);
}

static void check_all(struct matcher *m)
{
    for (int i = 0; i < XCEPTION_LAYERS; i++)
        for (int w = 0; w < xception_weight_count(m->out->layers[i].kind); w++) {
            char name[64];
            if (m->out->arrays[i][w] >= 0) {
                check_shape(m, i, w);
                continue;
            }
            file_name(m, i, name, sizeof name);
            complain(m, &m->missing, "missing: %s of %s%s",
                     xception_weight_name(m->out->layers[i].kind, w), m->out->layers[i].name, name);
        }
}

// The classifier's kernel says how many classes there are.
static int64_t find_classes(const struct matcher *m)
{
    int kernel = m->out->arrays[XCEPTION_LAYERS - 1][0];
    const struct keras_array *a = kernel >= 0 ? &m->arrays[kernel] : NULL;
    bool good = a != NULL && a->rank == 2 && a->dims[1] >= 1 && a->dims[1] <= MODEL_LABELS_MAX;
    return good ? a->dims[1] : 1000;
}

// The layout of which the file has most arrays.
static const char *find_layout(const struct matcher *m)
{
    int votes[3] = {0};
    for (size_t i = 0; i < m->count; i++) {
        const struct place *p = &m->places[i];
        if (p->known)
            votes[p->family == NAMED ? 1 : families[p->family].layout[6] - '1']++;
    }
    return votes[1] >= votes[0] && votes[1] >= votes[2] ? "Keras 2"
           : votes[0] >= votes[2]                       ? "Keras 1"
                                                        : "Keras 3";
}

static enum err summary(const struct matcher *m, struct error *error)
{
    const int *top = m->out->arrays[XCEPTION_LAYERS - 1];
    if (m->missing + m->extra + m->wrong == 0)
        return OK;
    if (m->missing == 2 && top[0] < 0 && top[1] < 0 && m->extra + m->wrong == 0)
        return fail(error, ERR_FORMAT, 0,
                    "the file has no classifier (layer 'predictions'): it is one of the files "
                    "without top; take the one with it");
    return fail(error, ERR_FORMAT, 0,
                "the file does not hold Keras' Xception (read as %s): %d weights missing, %d "
                "extra, %d of a wrong shape or type; %s%s",
                m->out->layout, m->missing, m->extra, m->wrong, m->first,
                m->missing + m->extra + m->wrong > 1 ? "; …" : "");
}

enum err keras_match(const struct keras_array *arrays, size_t count,
                     const struct xception_size *size, struct keras_match *out,
                     struct buf *complaints, struct error *error)
{
    struct matcher *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    *m = (struct matcher){.out = out, .arrays = arrays, .count = count, .complaints = complaints};
    m->places = calloc(count + 1, sizeof *m->places);
    CHECK(m->places != NULL);
    memset(out->arrays, -1, sizeof out->arrays);
    xception_layers(size, out->layers);
    for (size_t i = 0; i < count; i++) {
        m->places[i] = read_path(m, arrays[i].path);
        const struct place *p = &m->places[i];
        m->named = m->named || (p->known && p->family == NAMED && p->layer < XCEPTION_LAYERS - 1);
    }
    for (int f = 0; f < FAMILIES; f++)
        find_base(m, f);
    out->layout = find_layout(m);
    assign(m);
    out->classes = find_classes(m);
    check_all(m);
    enum err err = summary(m, error);
    free(m->places);
    free(m);
    return err;
}
