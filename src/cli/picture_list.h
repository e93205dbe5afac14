// Picture list: the pictures that arguments name, files and folders; and pictures made of nothing.
#pragma once

#include "engine/image.h"

struct picture_list { // {0} is empty
    char **paths;
    size_t count, cap;
};
// A file, or each .jpg, .jpeg, .png and .webp in a folder, by name. ERR_NOT_FOUND: there is none.
enum err picture_list_add(struct picture_list *list, const char *path,
                          struct error *error) MUST_CHECK;
void picture_list_release(struct picture_list *list);

// Waves of colour and noise as a network's input; the same for the same number.
enum err picture_generate(uint32_t number, const struct preprocess *pre, float *out,
                          struct error *error) MUST_CHECK;
