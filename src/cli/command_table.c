#include "cli/command_table.h"

#include "cli/subcommands.h"

#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
    {"serve", serve_main, "start everything on this machine: queue, store, workers, page"},
    {"submit", submit_main, "send pictures through a gateway, and wait for the answers"},
    {"result", result_main, "show a job, and wait until it is done"},
    {"cancel", cancel_main, "cancel jobs that are not done yet"},
    {"predict", predict_main, "run a model on files, without queue and store"},
    {"model", model_main, "model packages: list, inspect, import, quantize, fetch"},
    {"queue", queue_main, "look into the queues of any SQS endpoint: list, stat, peek, redrive"},
    {"check", check_main, "examine a data directory that no server is using"},
    {"audit", audit_main, "count every job of store and queue, and name any that has no home"},
    {"bench", bench_main, "measure: engine, sqs, pipeline"},
    {"experiment", experiment_main, "threads against processes, measured on this machine"},
    {"gateway", gateway_main, "one role: REST interface and page"},
    {"worker", worker_main, "one role: the pool of processes that infer"},
    {"sqs", sqs_main, "one role: the queue service (Amazon SQS protocol)"},
    {"s3", s3_main, "one role: the object store (Amazon S3 protocol)"},
    {"zygote", zygote_main, NULL},
    {"experiment-case", experiment_case_main, NULL},
    {NULL, NULL, NULL},
};

int command_run(int argc, char **argv)
{
    static const struct command_group group = {
        "smelt",
        "smelt queues machine-learning requests so that none is lost, and answers them with\n"
        "every CPU core. It speaks the Amazon SQS and S3 protocols.",
        commands, "To begin: smelt serve"};
    if (argc >= 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0)) {
        printf("smelt " SMELT_VERSION "\n");
        return 0;
    }
    return command_group_run(&group, argc, argv);
}
