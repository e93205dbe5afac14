// Model package: a folder with smelt.json (model file, labels, preprocessing, groups), or a bare
// ONNX file with defaults. Owner of everything it points to; read-only after package_open.
#pragma once

#include "engine/engine.h"
#include "engine/image.h"

struct package_group {
    char *name;          // "dog"
    uint8_t *members;    // [label_count], 1 = the class belongs to the group
    size_t member_count; // length of members: before package_fit only as long as the file asks
};

struct package {
    char *name;                   // "demo"
    char *version, *description;  // free text, "" where the package has none
    char *folder;                 // where it was found
    bool is_file;                 // a bare ONNX file
    char *model_path;             // the ONNX file
    char *int8_path;              // how to compute in int8; NULL: in fp32
    char sha256[65];              // of the model file: names the model in results
    char fingerprint[65];         // of all that package_open read: equal ones answer equally
    struct preprocess preprocess; // width 0: the package does not say; package_fit sets it
    char **labels;                // [label_count]; "class 17" where the package has none
    size_t label_count;
    struct package_group *groups;
    size_t group_count;
    float group_threshold; // group present when the sum of its scores reaches this
    bool softmax;          // output.kind "logits": scores are softmax(output)
    bool output_known;     // the package says so; else the predictor looks at an output
    int top_k;
    char *sample_path;  // a picture that proves the package; NULL: none
    char *sample_label; // what the best prediction for it must be called; NULL: anything
};

// name_or_path: a package's name (looked up in the folders of search_path, colon-separated), a
// package folder, or a .onnx file; with "@fp32" or "@int8" behind it, the package in this
// precision, which then stands in its name too. ERR_NOT_FOUND lists where it looked and which names
// exist. Each field of smelt.json is checked; an unknown one is an error that names the nearest.
//
// A bare file is shown RGB stretched to the size and layout of the network's input, bilinear,
// oriented, as (v - 127.5) / 127.5; its labels are "class N"; scores that are no probabilities are
// softmaxed.
enum err package_open(const char *name_or_path, const char *search_path, struct package **out,
                      struct error *error) MUST_CHECK;
void package_free(struct package *p);
// The folder where it was found; of a bare file the file.
const char *package_place(const struct package *p);

// Height and width that the package says, for a network that leaves them open.
static inline struct engine_size preprocess_size(const struct preprocess *p)
{
    return (struct engine_size){p->height, p->width};
}

// Fits package and network together, once: whether it is grey, width, height and layout where the
// package does not give them, "class N" where it has no labels. ERR_FORMAT, naming both sides,
// where they contradict: input shape, number of labels, a group's index.
enum err package_fit(struct package *p, const struct engine_shape *input, size_t class_count,
                     struct error *error) MUST_CHECK;

// Reads p->int8_path, which must be there. ERR_FORMAT: what is wrong, or that it was made for
// another model file.
struct quantization;
enum err package_quantization(const struct package *p, struct quantization *out,
                              struct error *error) MUST_CHECK;

// The search path: the value of $SMELT_MODELS where given (not NULL, not ""), else models, the
// folders of an installed smelt, and those beside this program.
void package_search_path(const char *smelt_models, struct buf *out);
