// smelt model: packages on this machine.
#include "cli/model.h"

#include "cli/subcommands.h"

#include <stddef.h>
#include <string.h>

static const struct command commands[] = {
    {"list", model_list_main, "the packages that --model finds by name"},
    {"inspect", model_inspect_main, "what a package says, and its network's shapes and sizes"},
    {"import", model_import_main, "make a package from Keras' Xception (.h5, .keras)"},
    {"fetch", model_fetch_main, "download a known model and import it: xception"},
    {"quantize", model_quantize_main, "make a package that computes in int8, from pictures"},
    {NULL, NULL, NULL},
};

int model_main(int argc, char **argv)
{
    static char output[] = "--output";
    static const struct command_group group = {
        "smelt model", "Model packages: a network, its labels, and how pictures are shown to it.",
        commands, NULL};
    for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "-o") == 0)
            argv[i] = output;
    return command_group_run(&group, argc, argv);
}
