// smelt model fetch: a known model from the network, checked and imported.
#include "base/check.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli/download.h"
#include "cli/model.h"
#include "cli/options.h"
#include "engine/package.h"
#include "http/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct source {
    const char *folder; // URL
    const char *file, *md5;
    uint64_t bytes_max;
};

// What is fetched for a model; the weights are imported.
static const struct known {
    const char *name;
    struct source weights, labels;
} known[] = {
    {"xception",
     {"https://storage.googleapis.com/tensorflow/keras-applications/xception",
      "xception_weights_tf_dim_ordering_tf_kernels.h5", "0a58e3b7378bc2990ea3b43d5981f1f6",
      KERAS_FILE_BYTES_MAX},
     {"https://storage.googleapis.com/download.tensorflow.org/data", "imagenet_class_index.json",
      "c2c37ea517e94d9795004a39431a14cb", PACKAGE_FILE_BYTES_MAX}},
};
enum { KNOWN_COUNT = sizeof known / sizeof known[0] };

static const struct option table[] = {
    {"output", "DIR", NULL,
     "the package's folder, also -o DIR (default: in the first of --models "
     "that can be written)"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"from", "URL", NULL, "a mirror: a folder that has the files under their own names"},
    {"md5", "HEX", NULL, "MD5 of the mirror's weights, if they are not the official ones"},
    {"labels", "FILE", NULL, "names of the classes from here, instead of fetching them"},
    {"labels-md5", "HEX", NULL, "MD5 of the mirror's class index, likewise"},
    {"resize", "MODE", "keras", "keras (as Keras does), stretch, center_crop or letterbox"},
    {"force", NULL, NULL, "replace a package that is there"},
    {0},
};

// ---- where it goes ----------------------------------------------------------------------------

// NAME in the first folder of the search path that can be written, else in the first.
static void default_folder(const struct options *o, const char *name, struct buf *out)
{
    AUTO_BUF struct buf search_path = {0};
    struct span found = {0};
    package_search_path(options_get(o, "models"), &search_path);
    for (struct span rest = buf_view(&search_path); rest.len > 0;) {
        struct span part = span_cut(rest, ':', &rest);
        AUTO_BUF struct buf folder = {0};
        buf_add_span(&folder, part);
        if (part.len == 0)
            continue;
        bool writable = access(folder.data, W_OK) == 0;
        if (found.len == 0 || writable)
            found = part;
        if (writable)
            break;
    }
    buf_printf(out, "%.*s/%s", (int)found.len, found.data != NULL ? found.data : ".", name);
}

// The hidden folder beside the package, where unfinished downloads wait.
static void cache_folder(const char *folder, struct buf *out)
{
    size_t len = strlen(folder);
    while (len > 1 && folder[len - 1] == '/')
        len--;
    size_t last = len;
    while (last > 0 && folder[last - 1] != '/')
        last--;
    buf_printf(out, "%.*s.%.*s.fetch", (int)last, folder, (int)(len - last), folder + last);
}

// ---- fetching ---------------------------------------------------------------------------------

static enum err check_md5(const struct options *o, const char *option, struct error *error)
{
    uint8_t bytes[MD5_BYTES];
    const char *text = options_get(o, option);
    if (text != NULL && !hex_decode(span_from(text), bytes, sizeof bytes))
        return fail(error, ERR_ARGUMENT, 0, "--%s must be 32 hexadecimal digits, not '%.60s'",
                    option, text);
    return OK;
}

// The mirror's folder, or the official one.
static enum err source_url(const struct options *o, const struct source *s, struct buf *out,
                           struct error *error)
{
    const char *folder = options_get(o, "from");
    struct url url;
    if (folder != NULL && url_parse(folder, &url, error) != OK)
        return fail_context(error, ERR_ARGUMENT, "--from");
    if (folder == NULL)
        folder = s->folder;
    size_t len = strlen(folder);
    while (len > 0 && folder[len - 1] == '/')
        len--;
    buf_printf(out, "%.*s/%s", (int)len, folder, s->file);
    return OK;
}

static enum err fetch_file(const struct options *o, const struct source *s, const char *md5_option,
                           const char *cache, struct error *error)
{
    AUTO_BUF struct buf url = {0}, path = {0};
    const char *md5 = options_get(o, md5_option);
    TRY(source_url(o, s, &url, error));
    buf_printf(&path, "%s/%s", cache, s->file);
    struct download d = {.url = url.data,
                         .path = path.data,
                         .md5 = md5 != NULL ? md5 : s->md5,
                         .bytes_max = s->bytes_max};
    fprintf(stderr, "fetching %s\n", url.data);
    return download_run(&d, error);
}

static void print_way_out(const struct known *k)
{
    fprintf(stderr,
            "smelt: the same command goes on where this one stopped. Without a network, bring %s "
            "(MD5 %s) and %s here and run: smelt model import %s -o models/%s; or name a mirror "
            "with --from URL\n",
            k->weights.file, k->weights.md5, k->labels.file, k->weights.file, k->name);
}

static void clear_cache(const struct known *k, const char *cache)
{
    const char *const files[] = {k->weights.file, k->labels.file};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        AUTO_BUF struct buf path = {0};
        buf_printf(&path, "%s/%s", cache, files[i]);
        unlink(path.data);
        buf_add_text(&path, ".part");
        unlink(path.data);
    }
    rmdir(cache);
}

static enum err fetch(const struct options *o, const struct known *k, const char *folder,
                      struct error *error)
{
    AUTO_BUF struct buf cache = {0}, weights = {0};
    TRY(check_md5(o, "md5", error));
    TRY(check_md5(o, "labels-md5", error));
    cache_folder(folder, &cache);
    TRY(dir_make(cache.data, error));
    enum err err = OK;
    if (options_get(o, "labels") == NULL)
        err = fetch_file(o, &k->labels, "labels-md5", cache.data, error);
    if (err == OK)
        err = fetch_file(o, &k->weights, "md5", cache.data, error);
    if (err != OK) {
        rmdir(cache.data); // if nothing has come
        return err;
    }
    buf_printf(&weights, "%s/%s", cache.data, k->weights.file);
    struct model_import m = {.file = weights.data,
                             .folder = folder,
                             .labels = options_get(o, "labels"),
                             .resize = options_get(o, "resize"),
                             .replace = options_on(o, "force")};
    TRY(model_import_run(&m, error));
    clear_cache(k, cache.data);
    return OK;
}

// ---- the command ------------------------------------------------------------------------------

static const struct known *find_known(const char *name)
{
    const char *names[KNOWN_COUNT + 1] = {0};
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        names[i] = known[i].name;
        if (strcmp(name, known[i].name) == 0)
            return &known[i];
    }
    const char *near = nearest_name(name, names);
    fprintf(stderr, "smelt: no known model '%s'%s%s%s There are: xception\n", name,
            near != NULL ? "; did you mean '" : ".", near != NULL ? near : "",
            near != NULL ? "'?" : "");
    return NULL;
}

static int fetch_known(const struct options *o, const struct known *k)
{
    AUTO_BUF struct buf folder = {0}, json = {0};
    struct error error;
    if (options_get(o, "output") != NULL)
        buf_add_text(&folder, options_get(o, "output"));
    else
        default_folder(o, k->name, &folder);
    buf_printf(&json, "%s/smelt.json", folder.data);
    if (!options_on(o, "force") && access(json.data, F_OK) == 0) {
        printf("%s is there already: %s (--force fetches it again)\n", k->name, folder.data);
        return 0;
    }
    enum err err = fetch(o, k, folder.data, &error);
    if (err != OK)
        fprintf(stderr, "smelt: %s\n", error.msg);
    if (err == ERR_NET || err == ERR_TIMEOUT || err == ERR_UNAVAILABLE)
        print_way_out(k);
    return err == OK ? 0 : err == ERR_ARGUMENT ? 2 : 1;
}

int model_fetch_main(int argc, char **argv)
{
    struct options o;
    int status = options_parse(&o, table, "smelt model fetch NAME [options]",
                               "Downloads a model's official weights, checks and imports them. "
                               "Known: xception (Keras, ImageNet; 92 MB).",
                               argc, argv);
    if (status >= 0)
        return status;
    const struct known *k = NULL;
    if (o.argument_count == 1)
        k = find_known(o.arguments[0]);
    else
        fprintf(stderr, "smelt: fetch needs the name of one model: smelt model fetch xception\n");
    status = k != NULL ? fetch_known(&o, k) : 2;
    options_release(&o);
    return status;
}
