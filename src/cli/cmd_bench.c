// smelt bench: measures. One JSON line per case on stdout, a table for people on stderr.
#include "base/text.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static const struct command benches[] = {
    {"engine", bench_engine_main, "the model alone: ms per picture, share of the core's peak"},
    {"pipeline", bench_pipeline_main,
     "the whole system beside the bare engine; idle latency; memory"},
};

enum { BENCH_COUNT = sizeof benches / sizeof benches[0] };

static void print_help(FILE *out)
{
    fprintf(out, "usage: smelt bench WHAT [options]\n\n");
    for (size_t i = 0; i < BENCH_COUNT; i++)
        fprintf(out, "  %-10s %s\n", benches[i].name, benches[i].summary);
    fprintf(out, "\n`smelt bench WHAT --help` shows the options of one.\n");
}

int bench_main(int argc, char **argv)
{
    const char *names[BENCH_COUNT + 1] = {NULL};
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return 0;
    }
    for (size_t i = 0; i < BENCH_COUNT; i++) {
        if (strcmp(benches[i].name, argv[1]) == 0)
            return benches[i].main(argc - 1, argv + 1);
        names[i] = benches[i].name;
    }
    const char *near = nearest_name(argv[1], names);
    fprintf(stderr, "smelt: there is no bench '%s'; %s%s%s\n", argv[1],
            near != NULL ? "did you mean '" : "`smelt bench --help` lists them",
            near != NULL ? near : "", near != NULL ? "'?" : "");
    return 2;
}
