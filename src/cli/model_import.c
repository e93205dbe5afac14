// smelt model import: Keras' Xception becomes a package.
#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli/label_file.h"
#include "cli/model.h"
#include "cli/options.h"
#include "cli/quarantine.h"
#include "engine/keras.h"
#include "engine/keras_file.h"
#include "engine/package_draft.h"
#include "engine/predictor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    COMPLAINT_BYTES_MAX = 64 << 10, // of them are shown; all of Xception's weights missing: 20 KiB
    READ_CPU_S = 60,        // processor time for reading a file; the largest takes a few seconds
    READ_BYTES = 256 << 20, // memory, beyond three times the file's size
};

static const char *const resizes[] = {"keras", "stretch", "center_crop", "letterbox", NULL};

// ---- reading the file, in a process of its own ------------------------------------------------

static enum err read_file(void *ctx, struct buf *out, struct error *error)
{
    const struct span *file = ctx;
    struct keras_info info = {0};
    AUTO_BUF struct buf complaints = {0};
    size_t start = out->len;
    buf_add(out, &info, sizeof info);
    enum err err = keras_to_onnx(*file, &xception_standard, &info, &complaints, out, error);
    if (err == OK) {
        memcpy(out->data + start, &info, sizeof info);
    } else {
        buf_clear(out);
        buf_add_span(out, buf_view(&complaints));
    }
    return err;
}

// Names from the file, on their way to a terminal.
static void print_complaints(struct buf *lines)
{
    size_t len = lines->len < COMPLAINT_BYTES_MAX ? lines->len : COMPLAINT_BYTES_MAX;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)lines->data[i] < ' ' && lines->data[i] != '\n')
            lines->data[i] = '?';
    if (len > 0)
        fwrite(lines->data, 1, len, stderr);
}

// What a reader that foreign bytes may have taken over says of them.
static bool info_plausible(const struct buf *out)
{
    struct keras_info info;
    if (out->len <= sizeof info)
        return false;
    memcpy(&info, out->data, sizeof info);
    bool good = info.classes >= 1 && info.classes <= MODEL_LABELS_MAX && info.parameters > 0 &&
                memchr(info.layout, '\0', sizeof info.layout) != NULL;
    for (const char *at = info.layout; good && *at != '\0'; at++)
        good = *at >= ' ' && *at < 127 && *at != '"' && *at != '\\';
    return good;
}

// *out gets the ONNX model, with a struct keras_info in front.
static enum err convert(const char *path, struct buf *out, struct error *error)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "open '%s'", path);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return fail(error, ERR_ARGUMENT, 0, "'%s' is no file with anything in it", path);
    if (st.st_size > KERAS_FILE_BYTES_MAX)
        return fail(error, ERR_LIMIT, 0, "'%s' has %lld bytes, the limit is %d", path,
                    (long long)st.st_size, KERAS_FILE_BYTES_MAX);
    struct span file = {.len = (size_t)st.st_size};
    void *map = mmap(NULL, file.len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return fail(error, ERR_IO, errno, "map '%s'", path);
    file.data = map;
    struct quarantine q = {.work = read_file,
                           .ctx = &file,
                           .memory_bytes = 3 * file.len + READ_BYTES,
                           .cpu_s = READ_CPU_S,
                           .out_bytes_max = KERAS_FILE_BYTES_MAX + MIB(1)};
    enum err err = keras_file_prepare(error);
    if (err == OK)
        err = quarantine_run(&q, out, error);
    munmap(map, file.len);
    if (err == OK && !info_plausible(out))
        err = fail(error, ERR_FORMAT, 0, "the process that reads the file answered nonsense");
    else if (err != OK)
        print_complaints(out);
    return err == OK ? OK : fail_context(error, err, "%s", path);
}

// ---- the package ------------------------------------------------------------------------------

// Labels as asked for, or those beside the file if they are for this many classes.
static enum err find_labels(const struct model_import *m, int64_t classes, struct label_list *out,
                            struct error *error)
{
    if (m->labels != NULL) {
        TRY(label_list_read(m->labels, out, error));
        if (out->count == classes)
            return OK;
        return fail(error, ERR_FORMAT, 0, "'%s' names %lld classes, the model has %lld", m->labels,
                    (long long)out->count, (long long)classes);
    }
    const char *slash = strrchr(m->file, '/');
    AUTO_BUF struct buf path = {0};
    buf_printf(&path, "%.*simagenet_class_index.json",
               slash != NULL ? (int)(slash - m->file + 1) : 0, m->file);
    if (access(path.data, F_OK) != 0)
        return OK;
    TRY(label_list_read(path.data, out, error));
    if (out->count != classes)
        label_list_release(out);
    return OK;
}

static void write_json(const struct model_import *m, const char *name,
                       const struct keras_info *info, const struct label_list *labels,
                       struct buf *out)
{
    bool keras = strcmp(m->resize, "keras") == 0;
    bool imagenet = labels->count > 0 ? labels->imagenet : info->classes == 1000;
    buf_printf(out,
               "{\n  \"name\": \"%s\",\n  \"version\": \"1\",\n"
               "  \"description\": \"Xception, %lld classes, imported from a file of %s.\",\n"
               "  \"file\": \"model.onnx\",\n",
               name, (long long)info->classes, info->layout);
    if (labels->count > 0)
        buf_add_text(out, "  \"labels\": \"labels.txt\",\n");
    buf_printf(out,
               "  \"input\": {\n    \"width\": %d,\n    \"height\": %d,\n"
               "    \"layout\": \"nchw\",\n    \"color\": \"rgb\",\n    \"resize\": \"%s\",\n"
               "    \"filter\": \"%s\",\n    \"orient\": %s,\n"
               "    \"rgb\": \"%s\",\n    \"scale\": \"divide_first\",\n"
               "    \"mean\": [127.5, 127.5, 127.5],\n    \"std\": [127.5, 127.5, 127.5]\n  },\n"
               "  \"output\": { \"kind\": \"probabilities\", \"top_k\": 5 }",
               xception_standard.side, xception_standard.side, keras ? "stretch" : m->resize,
               keras ? "nearest" : "bilinear", keras ? "false" : "true",
               keras ? "pillow" : "over_white");
    if (imagenet)
        buf_add_text(out, ",\n  \"groups\": { \"dog\": [\"151-268\"] },\n"
                          "  \"group_threshold\": 0.5");
    buf_add_text(out, "\n}\n");
}

static enum err write_package(const struct model_import *m, const struct buf *model,
                              struct package_draft *draft, struct error *error)
{
    struct keras_info info;
    struct label_list labels = {0};
    AUTO_BUF struct buf json = {0};
    struct span onnx = {model->data + sizeof info, model->len - sizeof info};
    memcpy(&info, model->data, sizeof info);
    TRY(find_labels(m, info.classes, &labels, error));
    write_json(m, draft->name, &info, &labels, &json);
    enum err err = package_draft_add(draft, "model.onnx", onnx, error);
    if (err == OK && labels.count > 0)
        err = package_draft_add(draft, "labels.txt", buf_view(&labels.lines), error);
    label_list_release(&labels);
    if (err == OK)
        err = package_draft_add(draft, "smelt.json", buf_view(&json), error);
    if (err == OK)
        err = package_draft_publish(draft, error);
    if (err == OK)
        printf("imported %s (%s, %lld parameters, %lld classes) into %s\n", m->file, info.layout,
               (long long)info.parameters, (long long)info.classes, m->folder);
    return err;
}

enum err model_import_run(const struct model_import *m, struct error *error)
{
    struct package_draft draft;
    AUTO_BUF struct buf model = {0};
    bool known = false;
    for (size_t i = 0; resizes[i] != NULL; i++)
        known = known || strcmp(m->resize, resizes[i]) == 0;
    if (!known)
        return fail(error, ERR_ARGUMENT, 0,
                    "--resize must be keras, stretch, center_crop or letterbox, not '%s'",
                    m->resize);
    TRY(package_draft_open(m->folder, m->replace, &draft, error));
    enum err err = convert(m->file, &model, error);
    if (err == OK)
        err = write_package(m, &model, &draft, error);
    package_draft_release(&draft);
    return err;
}

// ---- the command ------------------------------------------------------------------------------

static const struct option table[] = {
    {"output", "DIR", NULL, "the package's folder, also -o DIR; its last part is the name"},
    {"labels", "FILE", NULL, "names of the classes: imagenet_class_index.json, or one a line"},
    {"resize", "MODE", "keras", "keras (as Keras does), stretch, center_crop or letterbox"},
    {"force", NULL, NULL, "replace a package that is there"},
    {0},
};

int model_import_main(int argc, char **argv)
{
    struct options o;
    struct error error;
    int status = options_parse(&o, table, "smelt model import FILE -o DIR [options]",
                               "Makes a model package from a weight file of Keras' Xception: .h5 "
                               "of Keras 1, 2 or 3, or .keras.",
                               argc, argv);
    if (status >= 0)
        return status;
    if (o.argument_count != 1 || options_get(&o, "output") == NULL) {
        fprintf(stderr, "smelt: import needs one file and a folder: smelt model import "
                        "weights.h5 -o models/xception\n");
        options_release(&o);
        return 2;
    }
    struct model_import m = {.file = o.arguments[0],
                             .folder = options_get(&o, "output"),
                             .labels = options_get(&o, "labels"),
                             .resize = options_get(&o, "resize"),
                             .replace = options_on(&o, "force")};
    enum err err = model_import_run(&m, &error);
    if (err != OK)
        fprintf(stderr, "smelt: %s\n", error.msg);
    options_release(&o);
    return err == OK ? 0 : err == ERR_ARGUMENT ? 2 : 1;
}
