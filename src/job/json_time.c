#include "job/json_time.h"

#include "base/clock.h"

// 9999-12-31T23:59:59.999Z: what four digits of a year can say
#define WALL_MS_MAX 253402300799999

enum err json_time_member(const json_t *object, const char *name, int64_t *wall_ms,
                          struct error *error)
{
    const json_t *value = json_object_get(object, name);
    *wall_ms = 0;
    if (value == NULL || json_is_null(value))
        return OK;
    if (json_is_string(value) && clock_parse_iso8601(json_string_value(value), wall_ms))
        return OK;
    if (json_is_integer(value) && json_integer_value(value) >= 0 &&
        json_integer_value(value) <= WALL_MS_MAX) {
        *wall_ms = json_integer_value(value);
        return OK;
    }
    return fail(
        error, ERR_FORMAT, 0,
        "\"%s\" must be a time like \"2026-01-31T12:00:00.000Z\" or milliseconds since 1970", name);
}

void json_time_write(const char *name, int64_t wall_ms, struct buf *out)
{
    char when[CLOCK_ISO_BYTES];
    if (wall_ms > 0)
        buf_printf(out, ",\"%s\":\"%s\"", name, clock_iso8601(wall_ms, when));
}
