#include "cli/model_names.h"

#include "engine/package.h"

enum err model_name_find(const char *name_or_path, const char *folders, struct arena *arena,
                         const char **name, const char **description, struct error *error)
{
    AUTO_BUF struct buf search_path = {0};
    struct package *package;
    package_search_path(folders, &search_path);
    TRY(package_open(name_or_path, search_path.data, &package, error));
    *name = arena_copy(arena, span_from(package->name));
    if (description != NULL)
        *description = arena_copy(arena, span_from(package->description));
    package_free(package);
    return OK;
}
