// Names of classes from a file: Keras' imagenet_class_index.json, or text with one name a line.
#pragma once

#include "base/buf.h"

struct label_list {
    struct buf lines; // one label a line, in the order of the classes
    int64_t count;
    bool imagenet; // classes 151 to 268 are ImageNet's breeds of dogs
};

// ERR_FORMAT when it is neither, or its classes are not 0, 1, 2, …
enum err label_list_read(const char *path, struct label_list *out, struct error *error) MUST_CHECK;
void label_list_release(struct label_list *l);
