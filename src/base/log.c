#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum log_level current_level = LOG_INFO;
static char role_name[24] = "smelt";

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_init(const char *role, enum log_level level)
{
    snprintf(role_name, sizeof role_name, "%s", role);
    current_level = level;
}

int log_level_parse(const char *name)
{
    for (int i = 0; i < 4; i++)
        if (strcmp(name, level_names[i]) == 0)
            return i;
    return -1;
}

bool log_shows(enum log_level level)
{
    return level >= current_level;
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    if (level < current_level)
        return;
    char line[2048], when[CLOCK_ISO_BYTES];
    int len = snprintf(line, sizeof line, "%s level=%s role=%s event=%s ",
                       clock_iso8601(clock_wall_ms(), when), level_names[level], role_name, event);
    va_list args;
    va_start(args, fmt);
    int more = vsnprintf(line + len, sizeof line - (size_t)len - 1, fmt, args);
    va_end(args);
    len = more < (int)sizeof line - len - 1 ? len + more : (int)sizeof line - 2;
    line[len++] = '\n';
    // one write, so that lines of several processes do not mix
    ssize_t written = write(STDERR_FILENO, line, (size_t)len);
    (void)written; // nowhere to report it
}

const char *log_quote(const char *text, char *out, size_t out_size)
{
    size_t n = 0;
    bool utf8 = utf8_valid((struct span){text, strlen(text)});
    out[n++] = '"';
    for (const char *c = text; *c != '\0' && n + 6 < out_size; c++) {
        unsigned char byte = (unsigned char)*c, next = (unsigned char)c[1];
        if (byte == '"' || byte == '\\') {
            out[n++] = '\\';
            out[n++] = *c;
        } else if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !utf8) ||
                   (byte == 0xc2 && next < 0xa0) || // C1: controls of a terminal, too
                   (byte < 0xa0 && byte >= 0x80 && c > text && (unsigned char)c[-1] == 0xc2)) {
            n += (size_t)snprintf(out + n, out_size - n, "\\x%02x", byte);
        } else {
            out[n++] = *c;
        }
    }
    out[n++] = '"';
    out[n] = '\0';
    return out;
}
