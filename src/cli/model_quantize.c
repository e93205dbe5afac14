// smelt model quantize: a package that computes in int8, from one that computes in fp32.
#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli/model.h"
#include "cli/options.h"
#include "cli/picture_list.h"
#include "cli/quantize_print.h"
#include "engine/package_draft.h"
#include "engine/package_json.h"
#include "engine/predictor.h"
#include "engine/quantize.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PICTURES_MAX = 4096,
    GENERATED = 32,           // pictures for a bare file
    INPUT_BYTES_MAX = 1 << 30 // of all pictures as tensors; more pictures are left out
};

struct quantizing {
    const char *model, *folder, *search_path;
    long pictures_max;
    bool bare, replace, json; // bare: the model is an ONNX file
    struct predictor *predictor;
    float *inputs;
    size_t input_count;
    struct quantization quantization;
    struct quantize_report report;
};

static enum err make_room(struct quantizing *q, size_t wanted, struct error *error)
{
    size_t bytes = engine_input_floats(predictor_engine(q->predictor)) * sizeof(float);
    size_t most = INPUT_BYTES_MAX / bytes;
    size_t limit = (size_t)q->pictures_max < most ? (size_t)q->pictures_max : most;
    q->input_count = wanted < limit ? wanted : limit;
    q->inputs = q->input_count > 0 ? malloc(q->input_count * bytes) : NULL;
    return q->inputs != NULL ? OK : fail(error, ERR_NOMEM, 0, "no memory for the pictures");
}

// Every n-th picture, so that all kinds have their part. Those that cannot be read are named.
static enum err read_pictures(struct quantizing *q, const struct picture_list *list,
                              struct error *error)
{
    const struct preprocess *pre = &predictor_package(q->predictor)->preprocess;
    size_t floats = engine_input_floats(predictor_engine(q->predictor)), good = 0;
    TRY(make_room(q, list->count, error));
    for (size_t i = 0; i < q->input_count; i++) {
        const char *path = list->paths[i * list->count / q->input_count];
        AUTO_BUF struct buf bytes = {0};
        struct image_info info = {0};
        enum err err = file_read(path, IMAGE_BYTES_MAX, &bytes, error);
        if (err == OK)
            err = image_read_tensor(buf_view(&bytes), pre, NULL, q->inputs + good * floats, &info,
                                    error);
        if (err == OK)
            good++;
        else
            fprintf(stderr, "smelt: left out: %s: %s\n", path, error->msg);
    }
    q->input_count = good;
    return good > 0 ? OK : fail(error, ERR_NOT_FOUND, 0, "no picture could be read");
}

static enum err generate_pictures(struct quantizing *q, struct error *error)
{
    const struct preprocess *pre = &predictor_package(q->predictor)->preprocess;
    size_t floats = engine_input_floats(predictor_engine(q->predictor));
    TRY(make_room(q, GENERATED, error));
    fprintf(stderr, "smelt: no --calibrate: %zu generated pictures stand for real ones\n",
            q->input_count);
    for (size_t i = 0; i < q->input_count; i++)
        TRY(picture_generate((uint32_t)i, pre, q->inputs + i * floats, error));
    return OK;
}

static enum err open_model(struct quantizing *q, struct error *error)
{
    TRY(predictor_open(q->model, q->search_path, &q->predictor, error));
    const struct package *p = predictor_package(q->predictor);
    if (p->int8_path != NULL)
        return fail(error, ERR_ARGUMENT, 0,
                    "'%s' computes in int8 already; quantize the fp32 package it came from",
                    q->model);
    return OK;
}

// ---- the new package --------------------------------------------------------------------------

static enum err read_json(const struct package *p, bool bare, json_t **out, struct error *error)
{
    if (bare) {
        *out = json_object();
        return OK;
    }
    AUTO_BUF struct buf path = {0}, text = {0};
    buf_printf(&path, "%s/smelt.json", p->folder);
    TRY(file_read(path.data, PACKAGE_FILE_BYTES_MAX, &text, error));
    *out = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    return json_is_object(*out) ? OK : fail(error, ERR_FORMAT, 0, "'%s' changed", path.data);
}

static enum err copy_file(const char *path, const char *name, struct package_draft *draft,
                          struct error *error)
{
    AUTO_BUF struct buf bytes = {0};
    TRY(file_read(path, MODEL_FILE_BYTES_MAX, &bytes, error));
    return package_draft_add(draft, name, buf_view(&bytes), error);
}

static enum err copy_files(const struct package *p, json_t *json, struct package_draft *draft,
                           struct error *error)
{
    const char *labels = json_string_value(json_object_get(json, "labels"));
    const char *sample =
        json_string_value(json_object_get(json_object_get(json, "sample"), "picture"));
    if (sample != NULL)
        TRY(copy_file(p->sample_path, sample, draft, error));
    TRY(copy_file(p->model_path, json_string_value(json_object_get(json, "file")), draft, error));
    if (labels == NULL)
        return OK;
    AUTO_BUF struct buf path = {0};
    buf_printf(&path, "%s/%s", p->folder, labels);
    return copy_file(path.data, labels, draft, error);
}

static enum err fill_draft(struct quantizing *q, json_t *json, struct package_draft *draft,
                           struct error *error)
{
    const struct package *p = predictor_package(q->predictor);
    AUTO_BUF struct buf int8 = {0};
    memcpy(q->quantization.model_sha256, p->sha256, sizeof p->sha256);
    quantization_write(&q->quantization, &int8);
    TRY(copy_files(p, json, draft, error));
    TRY(package_draft_add(draft, PACKAGE_INT8_FILE, buf_view(&int8), error));
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
    CHECK(text != NULL);
    enum err err = package_draft_add(draft, "smelt.json", span_from(text), error);
    free(text);
    TRY(err);
    return package_draft_publish(draft, error);
}

static enum err write_package(struct quantizing *q, struct package_draft *draft,
                              struct error *error)
{
    const struct package *p = predictor_package(q->predictor);
    json_t *json = NULL;
    enum err err = read_json(p, q->bare, &json, error);
    if (err == OK) {
        json_object_set_new(json, "name", json_stringn(draft->name, strlen(draft->name)));
        if (q->bare)
            json_object_set_new(json, "file", json_stringn("model.onnx", strlen("model.onnx")));
        json_object_set_new(json, "precision", json_stringn("int8", strlen("int8")));
        err = fill_draft(q, json, draft, error);
    }
    json_decref(json);
    return err;
}

// ---- the command ------------------------------------------------------------------------------

static void show_progress(void *context, const char *what, size_t done, size_t total)
{
    (void)context;
    if (total > 0 && (!isatty(STDERR_FILENO) || done % 8 != 0))
        return;
    if (total > 0)
        fprintf(stderr, "%s: %zu of %zu\r", what, done, total);
    else
        fprintf(stderr, "trying: %-40s\n", what);
}

static enum err quantize(struct quantizing *q, const struct picture_list *list,
                         struct package_draft *draft, struct error *error)
{
    struct quantize_options options = {.progress = show_progress};
    if (list->count == 0 && !q->bare)
        return fail(error, ERR_ARGUMENT, 0,
                    "give pictures as the model will see them: --calibrate FILE or FOLDER");
    TRY(list->count > 0 ? read_pictures(q, list, error) : generate_pictures(q, error));
    const struct package *p = predictor_package(q->predictor);
    options.open = preprocess_size(&p->preprocess);
    TRY(quantize_model(p->model_path, q->inputs, q->input_count, &options, &q->quantization,
                       &q->report, error));
    TRY(write_package(q, draft, error));
    if (q->json)
        quantize_print_json(&q->report, q->folder, q->input_count);
    else
        quantize_print(&q->report, q->folder, q->input_count);
    return OK;
}

static enum err quantize_into(struct quantizing *q, const struct picture_list *list,
                              struct error *error)
{
    struct package_draft draft;
    TRY(package_draft_open(q->folder, q->replace, &draft, error));
    enum err err = quantize(q, list, &draft, error);
    package_draft_release(&draft);
    return err;
}

static const struct option table[] = {
    {"calibrate", "PICTURES", NULL, "a folder of pictures, or files (more may follow the model)"},
    {"output", "DIR", NULL, "the new package's folder, also -o DIR (default: MODEL-int8)"},
    {"pictures", "N", "128", "how many pictures to use at most, evenly chosen"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"json", NULL, NULL, "the report as one JSON object"},
    {"force", NULL, NULL, "replace a package that is there"},
    {0},
};

// MODEL-int8, beside it.
static void default_folder(const struct quantizing *q, struct buf *out)
{
    const char *path = q->bare ? q->model : predictor_package(q->predictor)->folder;
    size_t len = strlen(path) - (q->bare ? strlen(".onnx") : 0);
    while (len > 1 && path[len - 1] == '/')
        len--;
    buf_printf(out, "%.*s-int8", (int)len, path);
}

static enum err run(const struct options *o, long pictures, struct error *error)
{
    AUTO_BUF struct buf search_path = {0}, folder = {0};
    struct picture_list list = {0};
    package_search_path(options_get(o, "models"), &search_path);
    const char *calibrate = options_get(o, "calibrate");
    const char *model = o->arguments[0], *dot = strrchr(model, '.');
    struct quantizing q = {.model = model,
                           .folder = options_get(o, "output"),
                           .search_path = search_path.data,
                           .bare = dot != NULL && strcmp(dot, ".onnx") == 0,
                           .pictures_max = pictures,
                           .replace = options_on(o, "force"),
                           .json = options_on(o, "json")};
    enum err err = calibrate != NULL ? picture_list_add(&list, calibrate, error) : OK;
    for (int i = 1; i < o->argument_count && err == OK; i++)
        err = picture_list_add(&list, o->arguments[i], error);
    if (err == OK)
        err = open_model(&q, error);
    if (err == OK && q.folder == NULL) {
        default_folder(&q, &folder);
        q.folder = folder.data;
    }
    if (err == OK)
        err = quantize_into(&q, &list, error);
    picture_list_release(&list);
    predictor_free(q.predictor);
    quantization_release(&q.quantization);
    quantize_report_release(&q.report);
    free(q.inputs);
    return err;
}

int model_quantize_main(int argc, char **argv)
{
    struct options o;
    struct error error;
    long pictures = 0;
    int status = options_parse(
        &o, table, "smelt model quantize MODEL --calibrate PICTURES… [-o DIR] [options]",
        "Makes a package that computes in int8 from one that computes in fp32, or from an .onnx "
        "file. Runs the pictures through the network to learn what its tensors hold, tries several "
        "ways of rounding, keeps the best, and says where the error comes from.",
        argc, argv);
    if (status >= 0)
        return status;
    enum err err = ERR_ARGUMENT;
    if (!options_int(&o, "pictures", 1, PICTURES_MAX, &pictures)) {
        status = 2;
    } else if (o.argument_count == 0) {
        fprintf(stderr, "smelt: quantize needs a model: smelt model quantize models/demo "
                        "--calibrate samples\n");
        status = 2;
    } else {
        err = run(&o, pictures, &error);
        if (err != OK)
            fprintf(stderr, "smelt: %s\n", error.msg);
        status = err == OK ? 0 : err == ERR_ARGUMENT ? 2 : 1;
    }
    options_release(&o);
    return status;
}
