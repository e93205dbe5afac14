#include "cli/command_table.h"

#include "base/text.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
    {"serve", serve_main, "start everything on this machine: queue, store, workers, page"},
    {"submit", submit_main, "send pictures through a gateway, and wait for the answers"},
    {"result", result_main, "show a job, and wait until it is done"},
    {"predict", predict_main, "run a model on files, without queue and store"},
    {"model", model_main, "model packages: list, inspect, import, fetch"},
    {"bench", bench_main, "measure: engine, pipeline"},
    {"experiment", experiment_main, "threads against processes, measured on this machine"},
    {"gateway", gateway_main, "one role: REST interface and page"},
    {"worker", worker_main, "one role: the pool of processes that infer"},
    {"sqs", sqs_main, "one role: the queue service (Amazon SQS protocol)"},
    {"s3", s3_main, "one role: the object store (Amazon S3 protocol)"},
    {"zygote", zygote_main, NULL},
    {"experiment-case", experiment_case_main, NULL},
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_help(FILE *out)
{
    fprintf(out,
            "usage: smelt COMMAND [options]\n\n"
            "smelt queues machine-learning requests so that none is lost, and answers them with\n"
            "every CPU core. It speaks the Amazon SQS and S3 protocols.\n\ncommands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (commands[i].summary != NULL)
            fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n`smelt COMMAND --help` shows a command's options. To begin: smelt serve\n");
}

static int unknown_command(const char *name)
{
    const char *names[COMMAND_COUNT + 1];
    size_t count = 0;
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (commands[i].summary != NULL)
            names[count++] = commands[i].name;
    names[count] = NULL;
    const char *near = nearest_name(name, names);
    if (near != NULL)
        fprintf(stderr, "smelt: unknown command '%s'; did you mean '%s'?\n", name, near);
    else
        fprintf(stderr, "smelt: unknown command '%s'; `smelt --help` lists the commands\n", name);
    return 2;
}

int command_run(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("smelt " SMELT_VERSION "\n");
        return 0;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return commands[i].main(argc - 1, argv + 1);
    return unknown_command(name);
}
