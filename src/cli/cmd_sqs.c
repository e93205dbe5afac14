// smelt sqs: the queue alone.
#include "base/limits.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "sqs/sqs_role.h"

#include <stdio.h>

static const struct option table[] = {
    {"data", "DIR", "smelt-data", "everything that is stored; made if missing"},
    {"sqs-listen", "ADDR:PORT", "127.0.0.1:9324", "where to serve; port 0: any free one"},
    {"credentials", "FILE", NULL, "keys of clients (default DIR/credentials, made if missing)"},
    {"region", "NAME", "us-east-1", "region in ARNs when a request names none"},
    {"sqs-cooldown", "SECONDS", "60",
     "how long a purge refuses the next one, and a deleted queue's name a new queue; 0: never"},
    {"no-signatures", NULL, NULL,
     "accept unsigned requests: anybody who reaches the port may do anything"},
    OPTIONS_OF_A_ROLE,
    {0},
};

static int run(const struct options *o)
{
    int ready_fd, lifeline_fd;
    long cooldown_s;
    struct error error;
    if (!options_start_role(o, "sqs", &ready_fd, &lifeline_fd) ||
        !options_listen(o, "sqs-listen") ||
        !options_int(o, "sqs-cooldown", 0, SQS_COOLDOWN_S, &cooldown_s))
        return 2;
    const struct sqs_role_config config = {
        .data_dir = options_get(o, "data"),
        .listen = options_get(o, "sqs-listen"),
        .credentials = options_get(o, "credentials"),
        .region = options_get(o, "region"),
        .ready_fd = ready_fd,
        .lifeline_fd = lifeline_fd,
        .cooldown_s = (int)cooldown_s,
        .unsigned_requests = options_on(o, "no-signatures"),
    };
    if (sqs_role_run(&config, &error) == OK)
        return 0;
    if (ready_fd < 0) // whoever gave it has heard the sentence there, or reads it in the log
        fprintf(stderr, "smelt sqs: %s\n", error.msg);
    return 1;
}

int sqs_main(int argc, char **argv)
{
    struct options o;
    int code = options_parse(&o, table, "smelt sqs [options]",
                             "Serves the queues: the SQS protocols on one port, their data in "
                             "DIR/sqs.",
                             argc, argv);
    if (code < 0)
        code = run(&o);
    options_release(&o);
    return code;
}
