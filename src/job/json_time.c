#include "job/json_time.h"

#include "base/clock.h"

// 9999-12-31T23:59:59.999Z: what four digits of a year can say
#define WALL_MS_MAX 253402300799999

// Fixed-width decimal at *text; false if a character is not a digit.
static bool take_digits(const char **text, int width, int *out)
{
    *out = 0;
    for (int i = 0; i < width; i++, ++*text) {
        if (**text < '0' || **text > '9')
            return false;
        *out = *out * 10 + (**text - '0');
    }
    return true;
}

static bool take_char(const char **text, char c)
{
    return *(*text)++ == c;
}

// Days from 1970-01-01 in the proleptic Gregorian calendar: the era method, see Howard Hinnant,
// "chrono-Compatible Low-Level Date Algorithms".
static int64_t days_from_date(int year, int month, int day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static bool time_parse(const char *text, int64_t *wall_ms)
{
    int year, month, day, hour, minute, second, ms = 0;
    const char *p = text;
    if (!take_digits(&p, 4, &year) || !take_char(&p, '-') || !take_digits(&p, 2, &month) ||
        !take_char(&p, '-') || !take_digits(&p, 2, &day) || !take_char(&p, 'T') ||
        !take_digits(&p, 2, &hour) || !take_char(&p, ':') || !take_digits(&p, 2, &minute) ||
        !take_char(&p, ':') || !take_digits(&p, 2, &second))
        return false;
    if (*p == '.') {
        int place = 100;
        for (p++; *p >= '0' && *p <= '9'; p++, place /= 10)
            ms += (*p - '0') * place;
    }
    if (*p != 'Z' || p[1] != '\0' || year < 1970 || month < 1 || month > 12 || day < 1 ||
        day > 31 || hour > 23 || minute > 59 || second > 60)
        return false;
    int64_t seconds = days_from_date(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *wall_ms = seconds * 1000 + ms;
    return true;
}

enum err json_time_member(const json_t *object, const char *name, int64_t *wall_ms,
                          struct error *error)
{
    const json_t *value = json_object_get(object, name);
    *wall_ms = 0;
    if (value == NULL || json_is_null(value))
        return OK;
    if (json_is_string(value) && time_parse(json_string_value(value), wall_ms))
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
