#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_monotonic_us(void)
{
    return read_us(CLOCK_BOOTTIME);
}

int64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

int64_t clock_wall_ms(void)
{
    return read_us(CLOCK_REALTIME) / 1000;
}

static struct tm utc(int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm t = {0};
    gmtime_r(&seconds, &t);
    return t;
}

const char *clock_iso8601(int64_t wall_ms, char out[CLOCK_ISO_BYTES])
{
    struct tm t = utc(wall_ms);
    size_t len = strftime(out, CLOCK_ISO_BYTES, "%Y-%m-%dT%H:%M:%S", &t);
    snprintf(out + len, CLOCK_ISO_BYTES - len, ".%03dZ", (int)(wall_ms % 1000));
    return out;
}

const char *clock_amz_date(int64_t wall_ms, char out[CLOCK_ISO_BYTES])
{
    struct tm t = utc(wall_ms);
    strftime(out, CLOCK_ISO_BYTES, "%Y%m%dT%H%M%SZ", &t);
    return out;
}

const char *clock_http_date(int64_t wall_ms, char out[CLOCK_ISO_BYTES])
{
    struct tm t = utc(wall_ms);
    // strftime's names follow the locale; smelt never calls setlocale, so they are English
    strftime(out, CLOCK_ISO_BYTES, "%a, %d %b %Y %H:%M:%S GMT", &t);
    return out;
}

// --- reading ---

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

// The era method, see Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
int64_t clock_days(int year, int month, int day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

bool clock_parse_iso8601(const char *text, int64_t *wall_ms)
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
    int64_t seconds = clock_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *wall_ms = seconds * 1000 + ms;
    return true;
}
