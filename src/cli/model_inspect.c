// smelt model inspect: what a package says, and what its network is.
#include "cli/inspect_layers.h"
#include "cli/model.h"
#include "cli/options.h"
#include "engine/package_default.h"
#include "engine/predictor.h"

#include <stdio.h>

static void print_shape(const char *what, const struct engine_shape *s)
{
    printf("%-13s [", what);
    for (int i = 0; i < s->rank; i++)
        printf("%s%lld", i == 0 ? "" : ", ", (long long)s->dims[i]);
    printf("]\n");
}

static void print_preprocess(const struct preprocess *p)
{
    static const char *const layouts[] = {[IMAGE_NCHW] = "nchw", [IMAGE_NHWC] = "nhwc"};
    AUTO_BUF struct buf way = {0};
    preprocess_describe(p, &way);
    printf("%-13s %d x %d %s %s, %s\n", "pictures", p->width, p->height, layouts[p->layout],
           p->grey  ? "one channel"
           : p->bgr ? "bgr"
                    : "rgb",
           way.data);
    printf("%-13s (%g, %g, %g) / (%g, %g, %g)\n", "mean / std", (double)p->mean[0],
           (double)p->mean[1], (double)p->mean[2], (double)p->std[0], (double)p->std[1],
           (double)p->std[2]);
}

static void print_package(const struct package *p)
{
    printf("%-13s %s\n", "name", p->name);
    if (p->version[0] != '\0')
        printf("%-13s %s\n", "version", p->version);
    if (p->description[0] != '\0')
        printf("%-13s %s\n", "description", p->description);
    printf("%-13s %s\n%-13s %s\n", "file", p->model_path, "sha256", p->sha256);
    print_preprocess(&p->preprocess);
    printf("%-13s %zu: %s … %s\n", "classes", p->label_count, p->labels[0],
           p->labels[p->label_count - 1]);
    for (size_t g = 0; g < p->group_count; g++) {
        size_t members = 0;
        for (size_t i = 0; i < p->groups[g].member_count; i++)
            members += p->groups[g].members[i];
        printf("%-13s %s: %zu classes, present from %g\n", "group", p->groups[g].name, members,
               (double)p->group_threshold);
    }
}

enum { PROFILE_RUNS = 20 };

// layers: list them; runs: and measure them so often.
static int inspect(const char *model, const char *folders, bool layers, int runs)
{
    AUTO_BUF struct buf search_path = {0};
    struct predictor *p;
    struct error error;
    package_search_path(folders, &search_path);
    if (model == NULL)
        model = package_default_name(search_path.data);
    if (predictor_open(model, search_path.data, &p, &error) != OK) {
        fprintf(stderr, "smelt: %s\n", error.msg);
        return 1;
    }
    const struct engine *e = predictor_engine(p);
    print_package(predictor_package(p));
    print_shape("input", engine_input_shape(e));
    print_shape("output", engine_output_shape(e));
    printf("%-13s %.3f GFLOP a picture\n", "work", engine_gflop(e));
    printf("%-13s %.1f MB, shared by all processes\n", "weights",
           (double)engine_weight_bytes(e) / 1e6);
    printf("%-13s %.1f MB for each process\n", "memory", (double)engine_arena_bytes(e) / 1e6);
    if (layers)
        printf("\n");
    enum err err = layers ? inspect_layers(e, runs, stdout, &error) : OK;
    if (err != OK)
        fprintf(stderr, "smelt: %s\n", error.msg);
    predictor_free(p);
    return err == OK ? 0 : 1;
}

static const struct option table[] = {
    {"layers", NULL, NULL,
     "also the layers: result, work, bytes, kernel, precision, place in memory"},
    {"profile", NULL, NULL, "the layers with the fastest time of each in 20 runs"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {0},
};

int model_inspect_main(int argc, char **argv)
{
    struct options o;
    int status = options_parse(&o, table, "smelt model inspect [M] [options]",
                               "Shows a model package (name, folder or .onnx file; without: the "
                               "one used when none is named) and its network.",
                               argc, argv);
    if (status >= 0)
        return status;
    if (o.argument_count > 1) {
        fprintf(stderr, "smelt: inspect takes one model\n");
        status = 2;
    } else {
        bool profile = options_on(&o, "profile"), layers = profile || options_on(&o, "layers");
        status = inspect(o.argument_count > 0 ? o.arguments[0] : NULL, options_get(&o, "models"),
                         layers, profile ? PROFILE_RUNS : 0);
    }
    options_release(&o);
    return status;
}
