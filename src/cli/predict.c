// smelt predict: a model on files, without a queue.
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/picture_list.h"
#include "engine/predictor.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct option table[] = {
    {"model", "M", "demo", "a package's name, its folder, or an .onnx file"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"json", NULL, NULL, "one JSON line per file"},
    {0},
};

static double ms(int64_t us)
{
    return (double)us / 1000.0;
}

static void print_table(const struct predictor *p, const char *file,
                        const struct prediction_result *r)
{
    const struct package *package = predictor_package(p);
    printf("%s: %d x %d, decoded in %.1f ms, inferred in %.1f ms\n", file, r->width, r->height,
           ms(r->decode_us), ms(r->infer_us));
    for (size_t i = 0; i < r->top_count; i++)
        printf("  %6.2f %%  %s\n", 100.0 * (double)r->top[i].score,
               package->labels[r->top[i].index]);
    for (size_t g = 0; g < package->group_count; g++)
        printf("  %s: %s (%.2f %%)\n", package->groups[g].name, r->groups[g].present ? "yes" : "no",
               100.0 * (double)r->groups[g].score);
}

static void json_begin(const struct predictor *p, const char *file, struct buf *line)
{
    AUTO_BUF struct buf escaped = {0};
    struct span name = span_from(file);
    if (!utf8_valid(name)) { // JSON cannot hold it
        url_encode(name, true, &escaped);
        name = buf_view(&escaped);
    }
    buf_add_text(line, "{\"file\":");
    json_escape(name, line);
    buf_add_text(line, ",\"model\":");
    json_escape(span_from(predictor_package(p)->name), line);
    buf_printf(line, ",\"model_sha256\":\"%s\",\"precision\":\"%s\",\"preprocessing\":\"",
               predictor_package(p)->sha256, predictor_precision(p));
    preprocess_describe(&predictor_package(p)->preprocess, line);
    buf_add_char(line, '"');
}

static void print_json(const struct predictor *p, const char *file,
                       const struct prediction_result *r)
{
    AUTO_BUF struct buf line = {0};
    json_begin(p, file, &line);
    buf_printf(&line, ",\"width\":%d,\"height\":%d,\"result\":", r->width, r->height);
    predictor_write_json(p, r, &line);
    buf_printf(&line, ",\"timing_ms\":{\"decoded\":%.3f,\"inferred\":%.3f}}", ms(r->decode_us),
               ms(r->infer_us));
    puts(line.data);
}

static void print_failure(const struct predictor *p, const char *file, bool json,
                          const struct error *error)
{
    if (json) {
        AUTO_BUF struct buf line = {0};
        struct span message = span_from(error->msg);
        json_begin(p, file, &line);
        buf_printf(&line, ",\"error\":{\"code\":\"%s\",\"message\":", err_name(error->code));
        json_escape(utf8_valid(message) ? message : SPAN("unprintable"), &line);
        buf_add_text(&line, "}}");
        puts(line.data);
    }
    fflush(stdout);
    fprintf(stderr, "smelt: %s: %s\n", file, error->msg);
}

static enum err predict_file(struct predictor *p, const char *file, bool json)
{
    AUTO_BUF struct buf bytes = {0};
    struct prediction_result result;
    struct error error;
    const char *path = strcmp(file, "-") == 0 ? "/dev/stdin" : file;
    enum err err = file_read(path, IMAGE_BYTES_MAX, &bytes, &error);
    if (err == OK)
        err = predictor_run(p, buf_view(&bytes), NULL, 0, &result, &error);
    if (err != OK)
        print_failure(p, file, json, &error);
    else if (json)
        print_json(p, file, &result);
    else
        print_table(p, file, &result);
    return err;
}

// A file, standard input, or the pictures of a folder. Returns how many failed.
static int predict_argument(struct predictor *p, const char *argument, bool json)
{
    struct picture_list list = {0};
    struct error error;
    struct stat st;
    int failed = 0;
    if (stat(argument, &st) != 0 || !S_ISDIR(st.st_mode))
        return predict_file(p, argument, json) != OK;
    if (picture_list_add(&list, argument, &error) != OK) {
        print_failure(p, argument, json, &error);
        failed = 1;
    }
    for (size_t i = 0; i < list.count; i++)
        failed += predict_file(p, list.paths[i], json) != OK;
    picture_list_release(&list);
    return failed;
}

static int predict_files(const struct options *o)
{
    AUTO_BUF struct buf search_path = {0};
    struct predictor *p;
    struct error error;
    package_search_path(options_get(o, "models"), &search_path);
    enum err err = predictor_open(options_get(o, "model"), search_path.data, &p, &error);
    if (err != OK) {
        fprintf(stderr, "smelt: %s\n", error.msg);
        return 1;
    }
    int failed = 0;
    if (predictor_begin(p, &error) == OK) {
        for (int i = 0; i < o->argument_count; i++)
            failed += predict_argument(p, o->arguments[i], options_on(o, "json"));
    } else {
        fprintf(stderr, "smelt: %s\n", error.msg);
        failed = 1;
    }
    predictor_free(p);
    return failed == 0 ? 0 : 1;
}

int predict_main(int argc, char **argv)
{
    struct options o;
    int status = options_parse(
        &o, table, "smelt predict [options] FILE|DIR…",
        "Says what is in pictures (JPEG, PNG, WebP; a folder's by name; - is standard "
        "input), by a model on this machine.",
        argc, argv);
    if (status >= 0)
        return status;
    if (o.argument_count == 0) {
        fprintf(stderr,
                "smelt: predict needs at least one picture: smelt predict samples/dog-1.jpg\n");
        status = 2;
    } else {
        status = predict_files(&o);
    }
    options_release(&o);
    return status;
}
