#include "engine/package.h"

#include "base/check.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "engine/package_json.h"
#include "engine/quantization.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void package_free(struct package *p)
{
    if (p == NULL)
        return;
    for (size_t i = 0; p->labels != NULL && i < p->label_count; i++)
        free(p->labels[i]);
    for (size_t i = 0; i < p->group_count; i++) {
        free(p->groups[i].name);
        free(p->groups[i].members);
    }
    free(p->name);
    free(p->version);
    free(p->description);
    free(p->folder);
    free(p->model_path);
    free(p->int8_path);
    free(p->sample_path);
    free(p->sample_label);
    free(p->labels);
    free(p->groups);
    free(p);
}

const char *package_place(const struct package *p)
{
    return p->is_file ? p->model_path : p->folder;
}

static char *copy_span(struct span s)
{
    char *copy = strndup(s.data, s.len);
    CHECK(copy != NULL);
    return copy;
}

static char *join(const char *folder, const char *name)
{
    AUTO_BUF struct buf path = {0};
    buf_printf(&path, "%s/%s", folder, name);
    return buf_take(&path, NULL);
}

// ---- files of a package -----------------------------------------------------------------------

// One label a line.
static enum err labels_read(const char *path, struct package *p, struct error *error)
{
    AUTO_BUF struct buf file = {0};
    TRY(file_read(path, PACKAGE_FILE_BYTES_MAX, &file, error));
    struct span rest = buf_view(&file);
    if (span_starts(rest, "\xef\xbb\xbf"))
        rest = (struct span){rest.data + 3, rest.len - 3};
    if (!utf8_valid(rest) || memchr(rest.data, '\0', rest.len) != NULL)
        return fail(error, ERR_FORMAT, 0, "'%s' is no UTF-8 text", path);
    size_t lines = 1;
    for (size_t i = 0; i < rest.len; i++)
        lines += rest.data[i] == '\n';
    p->labels = calloc(lines, sizeof *p->labels);
    CHECK(p->labels != NULL);
    while (rest.len > 0) {
        struct span line = span_cut(rest, '\n', &rest);
        if (line.len > 0 && line.data[line.len - 1] == '\r')
            line.len--;
        line = span_trim(line);
        if (line.len == 0)
            return fail(error, ERR_FORMAT, 0, "'%s' line %zu is empty: one label per line", path,
                        p->label_count + 1);
        if (p->label_count == MODEL_LABELS_MAX)
            return fail(error, ERR_LIMIT, 0, "'%s' has more than %d labels", path,
                        MODEL_LABELS_MAX);
        p->labels[p->label_count++] = copy_span(line);
    }
    if (p->label_count == 0)
        return fail(error, ERR_FORMAT, 0, "'%s' is empty: one label per line", path);
    return OK;
}

static enum err model_digest(const char *path, char out[65], struct error *error)
{
    enum { PIECE_BYTES = 1 << 18 };
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "open model file '%s'", path);
    AUTO_BUF struct buf piece = {0};
    buf_reserve(&piece, PIECE_BYTES);
    struct digest *digest = digest_new(DIGEST_SHA256);
    ssize_t got;
    do {
        got = read(fd, piece.data, PIECE_BYTES);
        if (got > 0)
            digest_update(digest, piece.data, (size_t)got);
    } while (got > 0 || (got < 0 && errno == EINTR));
    int sys = errno;
    uint8_t bytes[SHA256_BYTES];
    digest_finish(digest, bytes);
    digest_free(digest);
    if (got < 0)
        return fail(error, err_from_errno(sys), sys, "read model file '%s'", path);
    hex_encode(bytes, sizeof bytes, out);
    return OK;
}

static enum err folder_read(struct package *p, struct package_files *files, struct error *error)
{
    AUTO_BUF struct buf text = {0};
    char *path = join(p->folder, "smelt.json");
    enum err err = file_read(path, PACKAGE_FILE_BYTES_MAX, &text, error);
    if (err == OK && package_parse(buf_view(&text), p, files, error) != OK)
        err = fail_context(error, ERR_FORMAT, "%s", path);
    free(path);
    TRY(err);
    p->model_path = join(p->folder, files->model);
    if (files->int8)
        p->int8_path = join(p->folder, PACKAGE_INT8_FILE);
    if (files->sample != NULL)
        p->sample_path = join(p->folder, files->sample);
    if (files->labels != NULL) {
        path = join(p->folder, files->labels);
        err = labels_read(path, p, error);
        free(path);
    }
    return err;
}

enum err package_quantization(const struct package *p, struct quantization *out,
                              struct error *error)
{
    AUTO_BUF struct buf text = {0};
    *out = (struct quantization){0};
    TRY(file_read(p->int8_path, PACKAGE_FILE_BYTES_MAX, &text, error));
    enum err err = quantization_parse(buf_view(&text), out, error);
    if (err != OK)
        return fail_context(error, err, "%s", p->int8_path);
    if (strcmp(out->model_sha256, p->sha256) == 0)
        return OK;
    quantization_release(out);
    return fail(error, ERR_FORMAT, 0,
                "%s was made for another model file than %s: quantize the model again",
                p->int8_path, p->model_path);
}

enum { NAMES_MAX = 50 }; // packages that an error message looks at

// ---- finding it -------------------------------------------------------------------------------

static bool has_package(const char *folder)
{
    char *path = join(folder, "smelt.json");
    bool found = access(path, F_OK) == 0;
    free(path);
    return found;
}

static bool is_model_file(const char *name)
{
    size_t len = strlen(name);
    return len > 5 && strcmp(name + len - 5, ".onnx") == 0;
}

static bool names_have(const struct buf *names, size_t count, const char *name)
{
    const char *at = names->data;
    for (size_t i = 0; i < count; i++, at += strlen(at) + 1)
        if (strcmp(at, name) == 0)
            return true;
    return false;
}

// Appends the names of the packages in a folder that are not there yet, each with its 0 byte.
static void names_add(const char *folder, struct buf *names, size_t *count)
{
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return;
    for (struct dirent *entry; *count < NAMES_MAX && (entry = readdir(dir)) != NULL;) {
        char *path = join(folder, entry->d_name);
        const char *name = entry->d_name;
        if (name[0] != '.' && !names_have(names, *count, name) && has_package(path)) {
            buf_add(names, name, strlen(name) + 1);
            ++*count;
        }
        free(path);
    }
    closedir(dir);
}

static enum err not_found(const char *name, const char *search_path, struct error *error)
{
    AUTO_BUF struct buf names = {0}, list = {0};
    size_t count = 0;
    for (struct span rest = span_from(search_path); rest.len > 0;) {
        char *folder = copy_span(span_cut(rest, ':', &rest));
        names_add(folder, &names, &count);
        free(folder);
    }
    const char *candidates[NAMES_MAX + 1] = {0};
    const char *at = names.data;
    for (size_t i = 0; i < count; i++, at += strlen(at) + 1) {
        candidates[i] = at;
        buf_printf(&list, "%s%s", i == 0 ? "" : ", ", at);
    }
    const char *near = nearest_name(name, candidates);
    if (near != NULL)
        return fail(error, ERR_NOT_FOUND, 0,
                    "no model '%.80s', did you mean '%s'? There are: %.150s", name, near,
                    list.data);
    return fail(
        error, ERR_NOT_FOUND, 0,
        "no model '%.80s' (there are: %.150s). Give a package's name, its folder or an .onnx "
        "file; looked in %.200s",
        name, count > 0 ? list.data : "none", search_path);
}

// The folder of a package by its name; NULL when there is none.
static char *folder_find(const char *name, const char *search_path)
{
    for (struct span rest = span_from(search_path); rest.len > 0;) {
        struct span part = span_cut(rest, ':', &rest);
        AUTO_BUF struct buf folder = {0};
        buf_printf(&folder, "%.*s/%s", (int)part.len, part.data, name);
        if (part.len > 0 && has_package(folder.data))
            return buf_take(&folder, NULL);
    }
    return NULL;
}

static enum err bare_file(const char *path, struct package *p, struct error *error)
{
    if (access(path, F_OK) != 0)
        return fail(error, err_from_errno(errno), errno, "model file '%s'", path);
    const char *slash = strrchr(path, '/');
    struct span base = span_from(slash != NULL ? slash + 1 : path);
    free(p->name);
    p->name = copy_span((struct span){base.data, base.len - strlen(".onnx")});
    p->folder = slash != NULL ? copy_span((struct span){path, (size_t)(slash - path)})
                              : copy_span(SPAN("."));
    p->model_path = copy_span(span_from(path));
    p->is_file = true;
    return OK;
}

static enum err package_read(const char *name, const char *search_path, struct package *p,
                             struct error *error)
{
    if (name[0] == '\0')
        return fail(error, ERR_ARGUMENT, 0, "the model's name is empty");
    if (is_model_file(name)) {
        TRY(bare_file(name, p, error));
    } else {
        if (strchr(name, '/') == NULL)
            p->folder = folder_find(name, search_path);
        if (p->folder == NULL && !has_package(name)) {
            if (access(name, F_OK) == 0)
                return fail(error, ERR_NOT_FOUND, 0,
                            "'%.200s' is neither a folder with a smelt.json nor an .onnx file",
                            name);
            return not_found(name, search_path, error);
        }
        if (p->folder == NULL)
            p->folder = copy_span(span_from(name));
        struct package_files files = {0};
        enum err err = folder_read(p, &files, error);
        free(files.model);
        free(files.labels);
        free(files.sample);
        TRY(err);
    }
    return model_digest(p->model_path, p->sha256, error);
}

static enum err add_file(struct digest *d, const char *path, struct error *error)
{
    AUTO_BUF struct buf text = {0};
    TRY(file_read(path, PACKAGE_FILE_BYTES_MAX, &text, error));
    digest_update(d, text.data, text.len);
    digest_update(d, "", 1);
    return OK;
}

// The model file by its digest, the rest by its bytes; each with its 0 byte, so that nothing runs
// into the next.
static enum err add_all(struct digest *d, const struct package *p, struct error *error)
{
    digest_update(d, p->name, strlen(p->name) + 1);
    digest_update(d, p->sha256, strlen(p->sha256) + 1);
    for (size_t i = 0; i < p->label_count; i++)
        digest_update(d, p->labels[i], strlen(p->labels[i]) + 1);
    if (!p->is_file) {
        char *json = join(p->folder, "smelt.json");
        enum err err = add_file(d, json, error);
        free(json);
        TRY(err);
    }
    // one that is missing is package_quantization's to say
    bool has_int8 = p->int8_path != NULL && access(p->int8_path, F_OK) == 0;
    return has_int8 ? add_file(d, p->int8_path, error) : OK;
}

static enum err fingerprint(struct package *p, struct error *error)
{
    struct digest *d = digest_new(DIGEST_SHA256);
    uint8_t bytes[SHA256_BYTES];
    enum err err = add_all(d, p, error);
    digest_finish(d, bytes);
    digest_free(d);
    hex_encode(bytes, sizeof bytes, p->fingerprint);
    return err;
}

// "demo@int8": the precision that is asked for, whatever the package says of itself.
static enum err choose_precision(struct package *p, const char *precision, struct error *error)
{
    AUTO_BUF struct buf name = {0};
    buf_printf(&name, "%s%s", p->name, precision);
    free(p->name);
    p->name = buf_take(&name, NULL);
    if (strcmp(precision, "@fp32") == 0) {
        free(p->int8_path);
        p->int8_path = NULL;
    } else if (p->int8_path == NULL) {
        p->int8_path = join(p->folder, PACKAGE_INT8_FILE);
        if (access(p->int8_path, F_OK) != 0)
            return fail(error, ERR_NOT_FOUND, 0,
                        "model '%s': there is no '%s'; `smelt model quantize` makes one", p->name,
                        p->int8_path);
    }
    return OK;
}

enum err package_open(const char *name_or_path, const char *search_path, struct package **out,
                      struct error *error)
{
    struct package *p = package_new();
    const char *at = strrchr(name_or_path, '@');
    if (at != NULL && strcmp(at, "@fp32") != 0 && strcmp(at, "@int8") != 0)
        at = NULL;
    char *plain = copy_span((struct span){name_or_path, at != NULL ? (size_t)(at - name_or_path)
                                                                   : strlen(name_or_path)});
    enum err err = package_read(plain, search_path, p, error);
    free(plain);
    if (err == OK && at != NULL)
        err = choose_precision(p, at, error);
    if (err == OK)
        err = fingerprint(p, error);
    if (err != OK) {
        package_free(p);
        return err;
    }
    *out = p;
    return OK;
}

void package_search_path(const char *smelt_models, struct buf *out)
{
    if (smelt_models != NULL && smelt_models[0] != '\0') {
        buf_add_text(out, smelt_models);
        return;
    }
    buf_add_text(out, "models:/usr/local/share/smelt/models:/usr/share/smelt/models");
    char exe[4096];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (len <= 0 || memchr(exe, ':', (size_t)len) != NULL)
        return;
    exe[len] = '\0';
    *strrchr(exe, '/') = '\0';
    buf_printf(out, ":%s/models:%s/../share/smelt/models", exe, exe);
    buf_printf(out, ":%s/../../models", exe); // ./smelt is a link to build/release/smelt
}

// ---- package and network ----------------------------------------------------------------------

static void shape_print(const struct engine_shape *s, struct buf *out)
{
    buf_add_char(out, '[');
    for (int i = 0; i < s->rank; i++)
        buf_printf(out, "%s%lld", i == 0 ? "" : ", ", (long long)s->dims[i]);
    buf_add_char(out, ']');
}

static enum err fit_input(struct preprocess *p, const struct engine_shape *s, struct error *error)
{
    AUTO_BUF struct buf text = {0};
    shape_print(s, &text);
    bool one = s->rank == 4 && s->dims[0] == 1;
    bool nchw = one && s->dims[1] == 3, nhwc = one && s->dims[3] == 3;
    p->grey = !nchw && !nhwc && one && (s->dims[1] == 1 || s->dims[3] == 1);
    nchw = nchw || (p->grey && s->dims[1] == 1);
    nhwc = nhwc || (p->grey && s->dims[3] == 1);
    if (!nchw && !nhwc)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "the model's input has the shape %s; a picture is [1, 3, height, width] or "
                    "[1, height, width, 3], with 1 instead of 3 where it is grey",
                    text.data);
    if (p->width == 0) {
        p->layout = nchw ? IMAGE_NCHW : IMAGE_NHWC;
        int64_t height = s->dims[nchw ? 2 : 1], width = s->dims[nchw ? 3 : 2];
        if (height < 1 || width < 1 || height > IMAGE_TENSOR_SIDE_MAX ||
            width > IMAGE_TENSOR_SIDE_MAX)
            return fail(error, ERR_LIMIT, 0,
                        "the model's input %s is larger than %d pixels on a side", text.data,
                        IMAGE_TENSOR_SIDE_MAX);
        p->height = (int)height;
        p->width = (int)width;
    }
    bool first = p->layout == IMAGE_NCHW;
    if (s->dims[first ? 1 : 3] != preprocess_channels(p) || s->dims[first ? 2 : 1] != p->height ||
        s->dims[first ? 3 : 2] != p->width)
        return fail(
            error, ERR_FORMAT, 0,
            "smelt.json says a picture of %d x %d pixels in layout %s, but the model takes %s: "
            "correct input.width, input.height or input.layout",
            p->width, p->height, first ? "nchw" : "nhwc", text.data);
    return OK;
}

static enum err fit_classes(struct package *p, size_t count, struct error *error)
{
    if (count == 0 || count > MODEL_LABELS_MAX)
        return fail(
            error, ERR_UNSUPPORTED, 0,
            "the model gives %zu numbers for a picture; smelt takes models with 1 to %d classes",
            count, MODEL_LABELS_MAX);
    if (p->labels != NULL && p->label_count != count)
        return fail(
            error, ERR_FORMAT, 0,
            "the package has %zu labels, but the model gives %zu scores: each class needs one "
            "label, in the model's order",
            p->label_count, count);
    if (p->labels == NULL) {
        p->labels = calloc(count, sizeof *p->labels);
        CHECK(p->labels != NULL);
        for (p->label_count = 0; p->label_count < count; p->label_count++) {
            AUTO_BUF struct buf label = {0};
            buf_printf(&label, "class %zu", p->label_count);
            p->labels[p->label_count] = buf_take(&label, NULL);
        }
    }
    for (size_t i = 0; i < p->group_count; i++) {
        struct package_group *g = &p->groups[i];
        if (g->member_count > count)
            return fail(error, ERR_FORMAT, 0,
                        "group '%s' names class %zu, but the model has the classes 0 to %zu",
                        g->name, g->member_count - 1, count - 1);
        g->members = realloc(g->members, count);
        CHECK(g->members != NULL);
        memset(g->members + g->member_count, 0, count - g->member_count);
        g->member_count = count;
    }
    return OK;
}

enum err package_fit(struct package *p, const struct engine_shape *input, size_t class_count,
                     struct error *error)
{
    TRY(fit_input(&p->preprocess, input, error));
    return fit_classes(p, class_count, error);
}
