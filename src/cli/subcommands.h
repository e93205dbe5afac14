// A command that has commands of its own, like `smelt model`: help, and the nearest name for one
// that is unknown.
#pragma once

#include "cli/commands.h"

struct command_group {
    const char *name;               // "smelt model"
    const char *about;              // what all of them are about, for --help
    const struct command *commands; // ends with name NULL; summary NULL: not shown
    const char *begin;              // last line of the help; NULL: none
};

// Runs the command that argv[1] names, with argv + 1. Returns its exit code; 0 after --help, 2
// (said on standard error) if there is no such command.
int command_group_run(const struct command_group *group, int argc, char **argv);
