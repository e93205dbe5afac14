#include "engine/package_json.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/text.h"
#include "engine/json_fields.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- fields of an object ----------------------------------------------------------------------

// One object of the file. where: "", "input.", "output.": stands in front of its fields in
// messages.
struct fields {
    json_t *object;
    const char *where;
    struct error *error;
};

static enum err fields_open(struct fields *f, json_t *object, const char *where,
                            const char *const *known, struct error *error)
{
    *f = (struct fields){object, where, error};
    return json_fields_check(object, where, known, error);
}

// All of these leave *out as it is when the field is absent.

static enum err get_text(const struct fields *f, const char *name, size_t max_bytes, char **out)
{
    json_t *value = json_object_get(f->object, name);
    if (value == NULL)
        return OK;
    if (!json_is_string(value) || json_string_length(value) > max_bytes)
        return fail(f->error, ERR_FORMAT, 0, "field '%s%s' must be text of at most %zu bytes",
                    f->where, name, max_bytes);
    free(*out);
    *out = json_text_copy(json_string_value(value));
    return OK;
}

static enum err get_integer(const struct fields *f, const char *name, int low, int high, int *out)
{
    json_t *value = json_object_get(f->object, name);
    if (value == NULL)
        return OK;
    if (!json_is_integer(value) || json_integer_value(value) < low ||
        json_integer_value(value) > high)
        return fail(f->error, ERR_FORMAT, 0, "field '%s%s' must be a whole number from %d to %d",
                    f->where, name, low, high);
    *out = (int)json_integer_value(value);
    return OK;
}

static enum err get_bool(const struct fields *f, const char *name, bool *out)
{
    json_t *value = json_object_get(f->object, name);
    if (value == NULL)
        return OK;
    if (!json_is_boolean(value))
        return fail(f->error, ERR_FORMAT, 0, "field '%s%s' must be true or false", f->where, name);
    *out = json_is_true(value);
    return OK;
}

// choices: NULL-terminated; *out is the index of the one given.
static enum err get_choice(const struct fields *f, const char *name, const char *const *choices,
                           int *out)
{
    json_t *value = json_object_get(f->object, name);
    if (value == NULL)
        return OK;
    const char *text = json_string_value(value);
    for (int i = 0; text != NULL && choices[i] != NULL; i++)
        if (strcmp(text, choices[i]) == 0) {
            *out = i;
            return OK;
        }
    AUTO_BUF struct buf list = {0};
    for (int i = 0; choices[i] != NULL; i++)
        buf_printf(&list, "%s\"%s\"", i == 0 ? "" : ", ", choices[i]);
    return fail(f->error, ERR_FORMAT, 0, "field '%s%s' must be one of %s, not '%.40s'", f->where,
                name, list.data, text != NULL ? text : "something else than text");
}

static enum err get_three(const struct fields *f, const char *name, double low, double high,
                          float out[3])
{
    json_t *value = json_object_get(f->object, name);
    if (value == NULL)
        return OK;
    bool good = json_array_size(value) == 3;
    for (size_t i = 0; good && i < 3; i++) {
        double number = json_number_value(json_array_get(value, i));
        good = json_is_number(json_array_get(value, i)) && number >= low && number <= high;
        if (good)
            out[i] = (float)number;
    }
    if (!good)
        return fail(f->error, ERR_FORMAT, 0,
                    "field '%s%s' must be three numbers from %g to %g, one per channel", f->where,
                    name, low, high);
    return OK;
}

// ---- smelt.json -------------------------------------------------------------------------------

struct package *package_new(void)
{
    struct package *p = calloc(1, sizeof *p);
    CHECK(p != NULL);
    p->name = json_text_copy("");
    p->version = json_text_copy("");
    p->description = json_text_copy("");
    p->group_threshold = 0.5f;
    p->top_k = 5;
    p->preprocess.orient = true;
    p->preprocess.filter = IMAGE_BILINEAR;
    p->preprocess.fast = true;
    for (int c = 0; c < 3; c++)
        p->preprocess.mean[c] = p->preprocess.std[c] = 127.5f;
    return p;
}

// The fields that say how true to the picture its decoding is. Fast where nobody asked for the very
// pixels that another program takes.
static enum err parse_fidelity(const struct fields *f, struct preprocess *p)
{
    static const char *const rgbs[] = {"over_white", "pillow", NULL};
    static const char *const scales[] = {"subtract_first", "divide_first", NULL};
    static const char *const decodes[] = {"exact", "fast", NULL};
    int rgb = (int)p->rgb, scale = (int)p->scale, decode = -1;
    TRY(get_choice(f, "rgb", rgbs, &rgb));
    TRY(get_choice(f, "scale", scales, &scale));
    TRY(get_choice(f, "decode", decodes, &decode));
    p->rgb = (enum image_rgb)rgb;
    p->scale = (enum image_scale)scale;
    bool may = p->filter == IMAGE_BILINEAR && p->rgb == IMAGE_OVER_WHITE;
    if (decode == 1 && !may)
        return fail(f->error, ERR_FORMAT, 0,
                    "field 'input.decode' cannot be \"fast\" with %s, which promises the pixels of "
                    "an exact decode: say \"exact\"",
                    p->filter == IMAGE_NEAREST ? "input.filter \"nearest\""
                                               : "input.rgb \"pillow\"");
    p->fast = may && decode != 0;
    return OK;
}

static enum err parse_input(json_t *object, struct preprocess *p, struct error *error)
{
    static const char *const known[] = {"width",  "height", "layout", "color", "resize",
                                        "filter", "orient", "rgb",    "scale", "decode",
                                        "mean",   "std",    NULL};
    static const char *const layouts[] = {"nchw", "nhwc", NULL}, *const colors[] = {"rgb", "bgr",
                                                                                    NULL};
    static const char *const resizes[] = {"stretch", "center_crop", "letterbox", NULL};
    static const char *const filters[] = {"nearest", "bilinear", NULL};
    int layout = (int)p->layout, color = p->bgr, resize = (int)p->resize, filter = (int)p->filter;
    struct fields f;
    TRY(fields_open(&f, object, "input.", known, error));
    TRY(get_integer(&f, "width", 1, IMAGE_TENSOR_SIDE_MAX, &p->width));
    TRY(get_integer(&f, "height", 1, IMAGE_TENSOR_SIDE_MAX, &p->height));
    TRY(get_choice(&f, "layout", layouts, &layout));
    TRY(get_choice(&f, "color", colors, &color));
    TRY(get_choice(&f, "resize", resizes, &resize));
    TRY(get_choice(&f, "filter", filters, &filter));
    TRY(get_bool(&f, "orient", &p->orient));
    TRY(get_three(&f, "mean", -1e6, 1e6, p->mean));
    TRY(get_three(&f, "std", 1e-6, 1e6, p->std));
    if ((p->width == 0) != (p->height == 0))
        return fail(
            error, ERR_FORMAT, 0,
            "fields 'input.width' and 'input.height' belong together: give both, or none to "
            "take them from the model");
    p->layout = layout == 0 ? IMAGE_NCHW : IMAGE_NHWC;
    p->bgr = color == 1;
    p->resize = (enum image_resize)resize; // the lists above are in the order of the enums
    p->filter = (enum image_filter)filter;
    return parse_fidelity(&f, p);
}

static enum err parse_output(json_t *object, struct package *p, struct error *error)
{
    static const char *const known[] = {"kind", "top_k", NULL};
    static const char *const kinds[] = {"probabilities", "logits", NULL};
    struct fields f;
    int kind = -1;
    TRY(fields_open(&f, object, "output.", known, error));
    TRY(get_choice(&f, "kind", kinds, &kind));
    TRY(get_integer(&f, "top_k", 1, TOP_K_MAX, &p->top_k));
    p->output_known = kind >= 0;
    p->softmax = kind == 1;
    return OK;
}

// "7-9" or a number → first and last class.
static bool parse_range(json_t *value, uint64_t *first, uint64_t *last)
{
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *first = *last = (uint64_t)json_integer_value(value);
        return *last < MODEL_LABELS_MAX;
    }
    struct span text = span_from(json_string_value(value)), end, start = span_cut(text, '-', &end);
    return span_to_u64(start, MODEL_LABELS_MAX - 1, first) &&
           span_to_u64(end, MODEL_LABELS_MAX - 1, last) && *first <= *last;
}

static enum err parse_group(struct package_group *g, json_t *list, struct error *error)
{
    enum { ENTRIES_MAX = 10000 };
    if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > ENTRIES_MAX)
        return fail(
            error, ERR_FORMAT, 0,
            "group '%s' must be a list of 1 to %d class numbers and ranges, as [3, 4, \"7-9\"]",
            g->name, ENTRIES_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        uint64_t first, last;
        if (!parse_range(json_array_get(list, i), &first, &last))
            return fail(
                error, ERR_FORMAT, 0,
                "group '%s': entry %zu must be a class number or a range as \"7-9\", below %d",
                g->name, i + 1, MODEL_LABELS_MAX);
        if (last >= g->member_count) {
            uint8_t *members = realloc(g->members, last + 1);
            CHECK(members != NULL);
            memset(members + g->member_count, 0, last + 1 - g->member_count);
            g->members = members;
            g->member_count = last + 1;
        }
        memset(g->members + first, 1, last - first + 1);
    }
    return OK;
}

static enum err parse_groups(json_t *object, struct package *p, struct error *error)
{
    size_t count = json_object_size(object);
    if (!json_is_object(object) || count > PACKAGE_GROUPS_MAX)
        return fail(
            error, ERR_FORMAT, 0,
            "field 'groups' must be an object of at most %d groups, as {\"dog\": [3, \"7-9\"]}",
            PACKAGE_GROUPS_MAX);
    p->groups = calloc(count + 1, sizeof *p->groups);
    CHECK(p->groups != NULL);
    const char *name;
    json_t *list;
    json_object_foreach(object, name, list)
    {
        if (name[0] == '\0' || strlen(name) > 100)
            return fail(error, ERR_FORMAT, 0, "a group's name must have 1 to 100 bytes");
        struct package_group *g = &p->groups[p->group_count++];
        g->name = json_text_copy(name);
        TRY(parse_group(g, list, error));
    }
    return OK;
}

// Letters, digits and . _ - after a letter or digit: also good for a folder and in a message.
static bool is_plain_name(const char *name)
{
    for (const char *c = name; *c != '\0'; c++) {
        bool alnum =
            (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');
        if (!alnum && (c == name || strchr("._-", *c) == NULL))
            return false;
    }
    return name[0] != '\0';
}

static enum err parse_sample(json_t *object, struct package *p, struct package_files *files,
                             struct error *error)
{
    static const char *const known[] = {"picture", "label", NULL};
    struct fields f;
    TRY(fields_open(&f, object, "sample.", known, error));
    TRY(get_text(&f, "picture", 200, &files->sample));
    TRY(get_text(&f, "label", 1000, &p->sample_label));
    if (files->sample == NULL || !is_plain_name(files->sample))
        return fail(error, ERR_FORMAT, 0,
                    "field 'sample.picture' must name a picture in the package's own folder");
    return OK;
}

static enum err parse_top(json_t *object, struct package *p, struct package_files *files,
                          struct error *error)
{
    static const char *const known[] = {"name",   "version",         "description", "file",
                                        "labels", "precision",       "input",       "output",
                                        "groups", "group_threshold", "sample",      NULL};
    static const char *const precisions[] = {"fp32", "int8", NULL};
    struct fields f;
    int precision = 0;
    TRY(fields_open(&f, object, "", known, error));
    TRY(get_text(&f, "name", 100, &p->name));
    TRY(get_text(&f, "version", 100, &p->version));
    TRY(get_text(&f, "description", 10000, &p->description));
    TRY(get_text(&f, "file", 200, &files->model));
    TRY(get_text(&f, "labels", 200, &files->labels));
    TRY(get_choice(&f, "precision", precisions, &precision));
    files->int8 = precision == 1;
    if (!is_plain_name(p->name))
        return fail(error, ERR_FORMAT, 0,
                    "field 'name' must be there and of letters, digits and . _ - (\"%.100s\")",
                    p->name);
    if (files->model == NULL || !is_plain_name(files->model))
        return fail(error, ERR_FORMAT, 0,
                    "field 'file' must name the ONNX file in the package's own folder");
    if (files->labels != NULL && !is_plain_name(files->labels))
        return fail(error, ERR_FORMAT, 0,
                    "field 'labels' must name a text file in the package's own folder");
    json_t *input = json_object_get(object, "input"), *output = json_object_get(object, "output");
    json_t *groups = json_object_get(object, "groups");
    json_t *sample = json_object_get(object, "sample");
    json_t *threshold = json_object_get(object, "group_threshold");
    if (input != NULL)
        TRY(parse_input(input, &p->preprocess, error));
    if (output != NULL)
        TRY(parse_output(output, p, error));
    if (sample != NULL)
        TRY(parse_sample(sample, p, files, error));
    if (groups != NULL)
        TRY(parse_groups(groups, p, error));
    if (threshold != NULL) {
        double value = json_number_value(threshold);
        if (!json_is_number(threshold) || value < 0 || value > 1)
            return fail(error, ERR_FORMAT, 0,
                        "field 'group_threshold' must be a number from 0 to 1");
        p->group_threshold = (float)value;
    }
    return OK;
}

enum err package_parse(struct span text, struct package *p, struct package_files *files,
                       struct error *error)
{
    json_error_t reason;
    json_t *top = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &reason);
    if (top == NULL)
        return fail(error, ERR_FORMAT, 0, "no valid JSON, line %d column %d: %s", reason.line,
                    reason.column, reason.text);
    enum err err = parse_top(top, p, files, error);
    json_decref(top);
    return err;
}
