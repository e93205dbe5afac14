#include "engine/stop.h"

#include "base/clock.h"

#include <stddef.h>

enum err stop_check(const struct stop *s, const char *doing, struct error *error)
{
    if (s == NULL)
        return OK;
    if (s->cancel != NULL && atomic_load_explicit(s->cancel, memory_order_relaxed) != 0)
        return fail(error, ERR_CANCELLED, 0, "%s was cancelled", doing);
    if (s->deadline_ms > 0 && clock_monotonic_ms() >= s->deadline_ms)
        return fail(error, ERR_TIMEOUT, 0, "%s passed its deadline", doing);
    return OK;
}
