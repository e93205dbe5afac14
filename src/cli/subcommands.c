#include "cli/subcommands.h"

#include "base/check.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

enum { COMMANDS_MAX = 32 };

static void print_help(const struct command_group *g, FILE *out)
{
    fprintf(out, "usage: %s COMMAND [options]\n\n%s\n\ncommands:\n", g->name, g->about);
    for (const struct command *c = g->commands; c->name != NULL; c++)
        if (c->summary != NULL)
            fprintf(out, "  %-10s %s\n", c->name, c->summary);
    fprintf(out, "\n`%s COMMAND --help` shows a command's options.%s%s\n", g->name,
            g->begin != NULL ? " " : "", g->begin != NULL ? g->begin : "");
}

static int unknown(const struct command_group *g, const char *name)
{
    const char *names[COMMANDS_MAX + 1];
    size_t count = 0;
    for (const struct command *c = g->commands; c->name != NULL; c++) {
        CHECK(count < COMMANDS_MAX);
        if (c->summary != NULL)
            names[count++] = c->name;
    }
    names[count] = NULL;
    const char *near = nearest_name(name, names);
    const char *group = strncmp(g->name, "smelt ", 6) == 0 ? g->name + 6 : "";
    const char *space = group[0] != '\0' ? " " : "";
    if (near != NULL)
        fprintf(stderr, "smelt: unknown command '%s%s%s'; did you mean '%s%s%s'?\n", group, space,
                name, group, space, near);
    else
        fprintf(stderr, "smelt: unknown command '%s%s%s'; `%s --help` lists the commands\n", group,
                space, name, g->name);
    return 2;
}

int command_group_run(const struct command_group *g, int argc, char **argv)
{
    if (argc < 2) {
        print_help(g, stderr);
        return 2;
    }
    static char help[] = "--help";
    if (argc > 2 && strcmp(argv[1], "help") == 0) { // `help COMMAND` is `COMMAND --help`
        memmove(argv + 1, argv + 2, (size_t)(argc - 2) * sizeof *argv);
        argv[argc - 1] = help;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(g, stdout);
        return 0;
    }
    for (const struct command *c = g->commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c->main(argc - 1, argv + 1);
    return unknown(g, name);
}
