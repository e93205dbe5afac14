#include "cli/label_file.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { DOG_FIRST = 151, DOG_LAST = 268 };

static bool is_plain(struct span label)
{
    for (size_t i = 0; i < label.len; i++)
        if ((unsigned char)label.data[i] < ' ')
            return false;
    return label.len > 0 && utf8_valid(label);
}

static enum err add(struct label_list *l, const char *path, struct span label, struct error *error)
{
    if (l->count == MODEL_LABELS_MAX)
        return fail(error, ERR_LIMIT, 0, "'%s' has over %d classes", path, MODEL_LABELS_MAX);
    if (!is_plain(label))
        return fail(error, ERR_FORMAT, 0, "'%s': the name of class %lld is empty or no plain text",
                    path, (long long)l->count);
    if (l->count == DOG_FIRST)
        l->imagenet = span_is(label, "Chihuahua");
    if (l->count == DOG_LAST)
        l->imagenet = l->imagenet &&
                      (span_is(label, "Mexican_hairless") || span_is(label, "Mexican hairless"));
    buf_add_span(&l->lines, label);
    buf_add_char(&l->lines, '\n');
    l->count++;
    return OK;
}

// {"0": ["n01440764", "tench"], …}
static enum err read_index(json_t *object, const char *path, struct label_list *l,
                           struct error *error)
{
    size_t count = json_object_size(object);
    for (size_t i = 0; i < count; i++) {
        char key[24];
        snprintf(key, sizeof key, "%zu", i);
        json_t *name = json_array_get(json_object_get(object, key), 1);
        if (!json_is_string(name))
            return fail(error, ERR_FORMAT, 0,
                        "'%s' has no class \"%s\": [\"id\", \"name\"] among its %zu entries", path,
                        key, count);
        TRY(add(l, path, (struct span){json_string_value(name), json_string_length(name)}, error));
    }
    return OK;
}

static enum err read_lines(struct span rest, const char *path, struct label_list *l,
                           struct error *error)
{
    if (span_starts(rest, "\xef\xbb\xbf"))
        rest = (struct span){rest.data + 3, rest.len - 3};
    while (rest.len > 0) {
        struct span line = span_cut(rest, '\n', &rest);
        if (line.len > 0 && line.data[line.len - 1] == '\r')
            line.len--;
        TRY(add(l, path, span_trim(line), error));
    }
    return OK;
}

enum err label_list_read(const char *path, struct label_list *out, struct error *error)
{
    AUTO_BUF struct buf file = {0};
    struct label_list l = {0};
    json_error_t why;
    TRY(file_read(path, PACKAGE_FILE_BYTES_MAX, &file, error));
    enum err err;
    if (file.len > 0 && span_trim(buf_view(&file)).data[0] == '{') {
        json_t *object = json_loadb(file.data, file.len, JSON_REJECT_DUPLICATES, &why);
        err = object != NULL
                  ? read_index(object, path, &l, error)
                  : fail(error, ERR_FORMAT, 0, "'%s' line %d: %s", path, why.line, why.text);
        json_decref(object);
    } else {
        err = read_lines(buf_view(&file), path, &l, error);
    }
    if (err == OK && l.count == 0)
        err = fail(error, ERR_FORMAT, 0, "'%s' names no class", path);
    l.imagenet = l.imagenet && l.count == 1000;
    if (err != OK) {
        label_list_release(&l);
        return err;
    }
    *out = l;
    return OK;
}

void label_list_release(struct label_list *l)
{
    buf_release(&l->lines);
    *l = (struct label_list){0};
}
