// Options of a command, from one table: defaults < config file (INI) < environment < flags.
// In the file, lines under [serve] are for `smelt serve` alone, those before any section or under
// [smelt] for every command that reads it.
//
// Flags: --name VALUE or --name=VALUE; --name alone for switches; "--" ends them. An unknown option
// is an error that names the nearest. --help and --config FILE are understood everywhere.
#pragma once

#include "base/buf.h"

struct option {
    const char
        *name; // "sqs-listen": --sqs-listen, SMELT_SQS_LISTEN, and `sqs-listen = …` in the file
    const char
        *value; // what the help calls the value, "ADDR:PORT"; NULL: a switch (value "1" when given)
    const char *fallback; // default, may be NULL; shown in the help
    const char *help;     // one line; NULL: internal, not shown
};

enum { OPTIONS_MAX = 48, OPTION_ARGUMENTS_MAX = 4096 };

struct options {
    const struct option *table; // ends with name NULL
    const char *values[OPTIONS_MAX];
    const char *sources[OPTIONS_MAX]; // "default", "config", "environment", "flag"
    char **arguments;                 // what is not an option; points into argv
    int argument_count;
    struct buf config; // the file's text: values point into it
};

// usage: "smelt predict [options] FILE…"; about: a sentence or more, for --help.
// Returns -1 to go on, else the exit code (0 after --help, 2 after a usage error; both were
// printed).
int options_parse(struct options *o, const struct option *table, const char *usage,
                  const char *about, int argc, char **argv);
void options_release(struct options *o);

// name must be in the table (CHECK). NULL if not given and without default.
const char *options_get(const struct options *o, const char *name);
bool options_on(const struct options *o, const char *name);    // switch: "1", "true", "yes", "on"
bool options_given(const struct options *o, const char *name); // not from the default
// A whole number in [min, max]; else prints "--workers must be a number from 1 to 1024, not 'x'"
// and returns false.
bool options_int(const struct options *o, const char *name, long min, long max, long *out);

// False, and said so: the command takes no argument and there is one.
bool options_no_argument(const struct options *o, const char *command);
// --NAME is ADDRESS:PORT, or is not given; else it says what is wrong and returns false.
bool options_listen(const struct options *o, const char *name);
// --workers: "4", "1:12", or "2:" up to `usable`, the number of processors; not given: 1 to that.
bool options_workers(const struct options *o, int usable, int *min, int *max);

// Which keys a role signs with that is a client of queue and store.
// clang-format off
#define OPTIONS_OF_A_CLIENT                                                                        \
    {"region", "NAME", NULL,                                                                       \
     "default: AWS_REGION, AWS_DEFAULT_REGION, the profile's, us-east-1"},                         \
    {"credentials", "FILE", NULL,                                                                  \
     "the keys' file (default: AWS_ACCESS_KEY_ID …, web identity, AWS_PROFILE, DIR/credentials of\n"\
     "--data, container, EC2 instance role; docs/aws.md)"},                                        \
    {"data", "DIR", NULL,                                                                          \
     "of a `smelt serve` on this machine: for its keys, and what its pool serves"}
// clang-format on

// What each role gets from its supervisor, beside its own options.
#define OPTIONS_OF_A_ROLE                                                                          \
    {"log-level", "LEVEL", "info", "debug, info, warn or error"}, {"ready-fd", "FD", NULL, NULL},  \
    {                                                                                              \
        "lifeline-fd", "FD", NULL, NULL                                                            \
    }
// Starts the log in the role's name, at --log-level. False: a usage error, which was said; so is an
// argument that is no option.
bool options_start_log(const struct options *o, const char *role);
// The same, and reads the two descriptors (-1: not given). ready_fd is closed in programs that the
// role starts.
bool options_start_role(const struct options *o, const char *role, int *ready_fd, int *lifeline_fd);
