// The models of one zygote: several predictors, one scratch memory. A process runs one picture at a
// time, so it needs the arena of its largest model, not the sum.
#pragma once

#include "engine/predictor.h"

struct model_set;

// list: names, folders or .onnx files with commas between them, as --model takes them. Loads and
// packs all, and runs each once. Two of the same name are an error.
enum err model_set_open(const char *list, const char *search_path, struct model_set **out,
                        struct error *error) MUST_CHECK;
void model_set_free(struct model_set *m);
size_t model_set_count(const struct model_set *m);
struct predictor *model_set_predictor(const struct model_set *m, size_t i);

// Gives back what the runs touched: children begin with no page of it.
void model_set_cool(struct model_set *m);

// A digest of everything that the packages say: equal ones answer equally.
void model_set_fingerprint(const struct model_set *m, char out[65]);
// The same of packages as they are on disk, without loading them.
enum err model_set_fingerprint_of(const char *list, const char *search_path, char out[65],
                                  struct error *error) MUST_CHECK;
