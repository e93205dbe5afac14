// smelt: one program, several roles. Everything is behind the command table.
#include "cli/command_table.h"

int main(int argc, char **argv)
{
    return command_run(argc, argv);
}
