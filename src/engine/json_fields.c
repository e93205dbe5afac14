#include "engine/json_fields.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/text.h"

#include <string.h>

enum err json_fields_check(json_t *object, const char *where, const char *const *known,
                           struct error *error)
{
    if (!json_is_object(object)) {
        size_t len = strlen(where); // without the dot at its end
        return fail(error, ERR_FORMAT, 0, "%.*s must be an object, as {\"%s\": …}",
                    len == 0 ? 8 : (int)len - 1, len == 0 ? "the file" : where, known[0]);
    }
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        bool found = false;
        for (const char *const *k = known; *k != NULL; k++)
            found = found || strcmp(name, *k) == 0;
        if (found)
            continue;
        const char *near = nearest_name(name, known);
        if (near != NULL)
            return fail(error, ERR_FORMAT, 0, "field '%s%.60s' is unknown, did you mean '%s%s'?",
                        where, name, where, near);
        AUTO_BUF struct buf list = {0};
        for (const char *const *k = known; *k != NULL; k++)
            buf_printf(&list, "%s%s", k == known ? "" : ", ", *k);
        return fail(error, ERR_FORMAT, 0, "field '%s%.60s' is unknown; there are: %s", where, name,
                    list.data);
    }
    return OK;
}

char *json_text_copy(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}
