// smelt.json: an error with a text, or a package whose every index is in range.
#include "base/check.h"
#include "engine/package_json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { CLASSES = 10 };
    struct engine_shape shape = {4, {1, 3, 96, 128}};
    struct package *p = package_new();
    struct package_files files = {0};
    struct error error = {0};
    enum err err = package_parse((struct span){(const char *)data, size}, p, &files, &error);
    if (err == OK) {
        CHECK(files.model != NULL && strchr(files.model, '/') == NULL);
        err = package_fit(p, &shape, CLASSES, &error);
    }
    if (err == OK) {
        CHECK(p->label_count == CLASSES && p->preprocess.width == 128 && p->top_k >= 1);
        for (size_t g = 0; g < p->group_count; g++)
            CHECK(p->groups[g].member_count == CLASSES);
    } else {
        CHECK(error.msg[0] != '\0');
    }
    free(files.model);
    free(files.labels);
    package_free(p);
    return 0;
}
