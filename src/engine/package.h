// Model package: a folder with smelt.json (model file, labels, preprocessing, groups), or a bare ONNX
// file with defaults. Owner of everything it points to; read-only after package_open.
#pragma once

#include "engine/image.h"

struct package_group {
    char *name;       // "dog"
    uint8_t *members; // [label_count], 1 = the class belongs to the group
};

struct package {
    char *name;        // "demo"
    char *folder;      // where it was found
    char *model_path;  // the ONNX file
    char sha256[65];   // of the model file: names the model in results
    struct preprocess preprocess;
    char **labels; // [label_count]; "class 17" where the package has none
    size_t label_count;
    struct package_group *groups;
    size_t group_count;
    float group_threshold; // group present when the sum of its scores reaches this
    bool softmax;          // output.kind "logits": scores are softmax(output)
    int top_k;
};

// name_or_path: a package's name (looked up in the folders of search_path, colon-separated), a
// package folder, or a .onnx file. ERR_NOT_FOUND lists where it looked and which names exist.
// Each field of smelt.json is checked; an unknown one is an error that names the nearest.
enum err package_open(const char *name_or_path, const char *search_path, struct package **out,
                      struct error *error) MUST_CHECK;
void package_free(struct package *p);
