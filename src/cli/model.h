// smelt model …: its subcommands, and what they share.
#pragma once

#include "base/error.h"

#include <stdbool.h>

int model_list_main(int argc, char **argv);
int model_inspect_main(int argc, char **argv);
int model_import_main(int argc, char **argv);
int model_fetch_main(int argc, char **argv);
int model_quantize_main(int argc, char **argv);

struct model_import {
    const char *file;   // .h5 or .keras
    const char *folder; // of the package
    const char *labels; // NULL: imagenet_class_index.json beside the file, if there
    const char *resize; // "keras", "stretch", "center_crop" or "letterbox"
    bool replace;       // a package that is in folder already
};

// Imports and says so on standard output; complaints about the file go to standard error.
// ERR_ARGUMENT: folder's or resize's name. Leaves nothing behind on failure.
enum err model_import_run(const struct model_import *m, struct error *error) MUST_CHECK;
