// smelt.json, the description of a model package: docs/model-package.md. Pure: no files are opened.
#pragma once

#include "engine/package.h"

// Names inside the package's folder; freed by the caller.
struct package_files {
    char *model;  // never NULL after success
    char *labels; // NULL: none
    char *sample; // NULL: none
    bool int8;    // the network is to compute as PACKAGE_INT8_FILE says
};
#define PACKAGE_INT8_FILE "int8.json"

// What a package is without a smelt.json. Aborts when memory is out, never fails.
struct package *package_new(void);

// Fills *p (made by package_new) from the text. ERR_FORMAT: which field, what was wrong, what it
// may be.
enum err package_parse(struct span text, struct package *p, struct package_files *files,
                       struct error *error) MUST_CHECK;
