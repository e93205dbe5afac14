// smelt s3: the object store alone.
#include "cli/commands.h"
#include "cli/options.h"
#include "s3/s3_role.h"

#include <stdio.h>

static const struct option table[] = {
    {"data", "DIR", "smelt-data", "everything that is stored; made if missing"},
    {"s3-listen", "ADDR:PORT", "127.0.0.1:9000", "where to serve; port 0: any free one"},
    {"credentials", "FILE", NULL, "keys of clients (default DIR/credentials, made if missing)"},
    OPTIONS_OF_A_ROLE,
    {0},
};

static int run(const struct options *o)
{
    int ready_fd, lifeline_fd;
    struct error error;
    if (!options_start_role(o, "s3", &ready_fd, &lifeline_fd) || !options_listen(o, "s3-listen"))
        return 2;
    const struct s3_role_config config = {
        .data_dir = options_get(o, "data"),
        .listen = options_get(o, "s3-listen"),
        .credentials = options_get(o, "credentials"),
        .ready_fd = ready_fd,
        .lifeline_fd = lifeline_fd,
    };
    if (s3_role_run(&config, &error) == OK)
        return 0;
    if (ready_fd < 0) // whoever gave it has heard the sentence there, or reads it in the log
        fprintf(stderr, "smelt s3: %s\n", error.msg);
    return 1;
}

int s3_main(int argc, char **argv)
{
    struct options o;
    int code = options_parse(&o, table, "smelt s3 [options]",
                             "Serves the object store: the S3 protocol on one port, its data in "
                             "DIR/s3.",
                             argc, argv);
    if (code < 0)
        code = run(&o);
    options_release(&o);
    return code;
}
