// smelt model: packages on this machine.
#include "cli/model.h"

#include "base/text.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
    {"list", model_list_main, "the packages that --model finds by name"},
    {"inspect", model_inspect_main, "what a package says, and its network's shapes and sizes"},
    {"import", model_import_main, "make a package from Keras' Xception (.h5, .keras)"},
    {"fetch", model_fetch_main, "download a known model and import it: xception"},
    {"quantize", model_quantize_main, "make a package that computes in int8, from pictures"},
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_help(FILE *out)
{
    fprintf(out, "usage: smelt model COMMAND [options]\n\n"
                 "Model packages: a network, its labels, and how pictures are shown to it.\n\n"
                 "commands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n`smelt model COMMAND --help` shows a command's options.\n");
}

static int unknown(const char *name)
{
    const char *names[COMMAND_COUNT + 1] = {0};
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    const char *near = nearest_name(name, names);
    if (near != NULL)
        fprintf(stderr, "smelt: unknown command 'model %s'; did you mean 'model %s'?\n", name,
                near);
    else
        fprintf(stderr, "smelt: unknown command 'model %s'; `smelt model --help` lists them\n",
                name);
    return 2;
}

int model_main(int argc, char **argv)
{
    static char output[] = "--output";
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return 0;
    }
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "-o") == 0)
            argv[i] = output;
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].main(argc - 1, argv + 1);
    return unknown(argv[1]);
}
