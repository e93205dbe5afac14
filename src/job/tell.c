#include "job/tell.h"

#include "base/text.h"
#include "job/job.h"
#include "job/json_time.h"

void tell_encode(const struct tell *tell, struct buf *out)
{
    buf_add_text(out, "{\"v\":1,\"tell\":");
    json_escape(span_from(tell->id), out);
    buf_add_text(out, ",\"reply_to\":");
    json_escape(span_from(tell->reply_to), out);
    json_time_write("expires_at", tell->expires_ms, out);
    buf_add_char(out, '}');
}

static enum err read_tell(const json_t *root, struct arena *arena, struct tell *out,
                          struct error *error)
{
    const char *id = json_string_value(json_object_get(root, "tell"));
    const char *reply_to = json_string_value(json_object_get(root, "reply_to"));
    if (json_integer_value(json_object_get(root, "v")) != 1 || id == NULL ||
        !job_id_valid(span_from(id)) || reply_to == NULL)
        return fail(error, ERR_FORMAT, 0, "not {\"v\":1,\"tell\":\"ID\",\"reply_to\":\"QUEUE\"}");
    out->id = arena_copy(arena, span_from(id));
    out->reply_to = arena_copy(arena, span_from(reply_to));
    return json_time_member(root, "expires_at", &out->expires_ms, error);
}

enum err tell_decode(struct span text, struct arena *arena, struct tell *out, struct error *error)
{
    *out = (struct tell){0};
    json_t *root =
        json_loadb(text.data != NULL ? text.data : "", text.len, JSON_REJECT_DUPLICATES, NULL);
    enum err err = read_tell(root, arena, out, error);
    json_decref(root);
    return err;
}
