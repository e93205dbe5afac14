// What models are called and what they say of themselves, for the commands that only name them.
#pragma once

#include "base/arena.h"

// Looks up a model as --model gives it (name, folder, ONNX file), without loading it: its name in
// jobs and its description ("" if it has none; NULL: not wanted), both in the arena. folders: value
// of --models, may be NULL. Errors are package_open's.
enum err model_name_find(const char *name_or_path, const char *folders, struct arena *arena,
                         const char **name, const char **description,
                         struct error *error) MUST_CHECK;
