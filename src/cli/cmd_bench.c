// smelt bench: measures. One JSON line per case on stdout, a table for people on stderr.
#include "cli/subcommands.h"

#include <stddef.h>

int bench_main(int argc, char **argv)
{
    static const struct command benches[] = {
        {"engine", bench_engine_main, "the model alone: ms per picture, share of the core's peak"},
        {"pipeline", bench_pipeline_main,
         "the whole system beside the bare engine; idle latency; memory"},
        {"sqs", bench_sqs_main,
         "the queue alone: rates, latency, memory, restart; beside its peers"},
        {NULL, NULL, NULL},
    };
    static const struct command_group group = {
        "smelt bench", "Measures. One JSON line per case on stdout, a table on stderr.", benches,
        NULL};
    return command_group_run(&group, argc, argv);
}
