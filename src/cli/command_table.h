// The table of commands: `smelt COMMAND …`, `smelt --help`, `smelt --version`.
#pragma once

#define SMELT_VERSION "0.1.0"

// Runs the command that argv[1] names, with argv + 1. Returns the exit code: 0 done, 1 failed, 2
// usage.
int command_run(int argc, char **argv);
