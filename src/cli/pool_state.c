#include "cli/pool_state.h"

#include "base/file.h"
#include "worker/crew.h"

#include <jansson.h>
#include <string.h>

enum { STATE_BYTES_MAX = 64 << 10 };

static const char *text_of(struct arena *arena, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return arena_copy(arena, span_from(text != NULL ? text : ""));
}

static void read_fields(const json_t *root, struct arena *arena, struct pool_state *out)
{
    size_t i;
    json_t *model;
    out->model = text_of(arena, root, "model");
    out->refused = text_of(arena, root, "refused");
    out->refused_at = text_of(arena, root, "refused_at");
    out->generation = (int)json_integer_value(json_object_get(root, "generation"));
    json_array_foreach(json_object_get(root, "serving"), i,
                       model) if (out->count < WORKER_MODELS_MAX) out->serving[out->count++] =
        (struct pool_model){text_of(arena, model, "name"), text_of(arena, model, "precision"),
                            text_of(arena, model, "sha256")};
}

enum err pool_state_read(const char *data, struct arena *arena, struct pool_state *out,
                         struct error *error)
{
    AUTO_BUF struct buf path = {0}, text = {0};
    json_error_t why;
    *out = (struct pool_state){0};
    buf_printf(&path, "%s/" CREW_STATE_FILE, data);
    TRY(file_read(path.data, STATE_BYTES_MAX, &text, error));
    json_t *root = json_loadb(text.data != NULL ? text.data : "", text.len, 0, &why);
    if (json_integer_value(json_object_get(root, "v")) != 1) {
        json_decref(root);
        return fail(error, ERR_FORMAT, 0, "'%s' is not a pool's state of this version", path.data);
    }
    struct span rest;
    out->json = arena_copy(arena, span_cut(buf_view(&text), '\n', &rest));
    read_fields(root, arena, out);
    json_decref(root);
    return OK;
}
