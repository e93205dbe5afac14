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
