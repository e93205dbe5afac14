// smelt queue: the queues of any SQS endpoint, from the command line.
#include "cli/queue.h"

#include "cli/subcommands.h"

#include <stddef.h>
#include <string.h>

static const struct command commands[] = {
    {"list", queue_list_main, "the queues, and how many messages each has"},
    {"stat", queue_stat_main,
     "one queue: counts, age of the oldest, rates, settings, dead letters"},
    {"peek", queue_peek_main, "show messages without receiving them"},
    {"send", queue_send_main, "send messages: a text, a file, or each line of standard input"},
    {"receive", queue_receive_main, "receive messages, and delete them if asked to"},
    {"purge", queue_purge_main, "delete all messages of a queue (asks)"},
    {"redrive", queue_redrive_main, "move dead letters back to where they came from"},
    {NULL, NULL, NULL},
};

int queue_main(int argc, char **argv)
{
    static char count[] = "--max";
    static const struct command_group group = {
        "smelt queue",
        "Looks into queues and moves messages: of smelt, of Amazon SQS, of any server that\n"
        "speaks its protocol. Without options: the `smelt serve` that was started in this folder,\n"
        "else what the AWS environment names.",
        commands, NULL};
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "-n") == 0)
            argv[i] = count;
    return command_group_run(&group, argc, argv);
}
