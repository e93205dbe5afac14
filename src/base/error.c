#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum err fail(struct error *error, enum err code, int sys, const char *fmt, ...)
{
    if (error == NULL)
        return code;
    char text[sizeof error->msg];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    error->code = code;
    error->sys = sys;
    if (sys != 0) {
        char reason[128];
        const char *why = strerror_r(sys, reason, sizeof reason);
        const char *advice =
            sys == ENOSPC || sys == EDQUOT ? "; make room on this disk or use another" : "";
        snprintf(error->msg, sizeof error->msg, "%.370s: %.75s%s", text, why, advice);
    } else {
        memcpy(error->msg, text, sizeof text);
    }
    return code;
}

enum err fail_context(struct error *error, enum err code, const char *fmt, ...)
{
    if (error == NULL)
        return code;
    char context[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(context, sizeof context, fmt, args);
    va_end(args);
    char old[sizeof error->msg];
    memcpy(old, error->msg, sizeof old);
    snprintf(error->msg, sizeof error->msg, "%.190s: %.300s", context, old);
    error->code = code;
    return code;
}

enum err err_from_errno(int sys)
{
    switch (sys) {
    case ENOENT:
    case ENOTDIR:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_FULL;
    case EAGAIN:
    case EADDRINUSE:
    case EBUSY:
        return ERR_BUSY;
    case ENOMEM:
        return ERR_NOMEM;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
        return ERR_NET;
    default:
        return ERR_IO;
    }
}

const char *err_name(enum err code)
{
    static const char *const names[ERR_COUNT] = {
        [OK] = "ok",
        [ERR_ARGUMENT] = "argument",
        [ERR_FORMAT] = "format",
        [ERR_UNSUPPORTED] = "unsupported",
        [ERR_LIMIT] = "limit",
        [ERR_NOT_FOUND] = "not_found",
        [ERR_EXISTS] = "exists",
        [ERR_PRECONDITION] = "precondition",
        [ERR_DENIED] = "denied",
        [ERR_BUSY] = "busy",
        [ERR_FULL] = "full",
        [ERR_IO] = "io",
        [ERR_CORRUPT] = "corrupt",
        [ERR_NET] = "net",
        [ERR_TIMEOUT] = "timeout",
        [ERR_THROTTLED] = "throttled",
        [ERR_UNAVAILABLE] = "unavailable",
        [ERR_CANCELLED] = "cancelled",
        [ERR_NOMEM] = "nomem",
        [ERR_INTERNAL] = "internal",
    };
    return (unsigned)code < ERR_COUNT ? names[code] : "unknown";
}
