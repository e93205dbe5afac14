// Stop: what ends the work on a picture before it is done. Looked at while its rows are decoded and
// between the network's layers.
#pragma once

#include "base/error.h"

#include <stdatomic.h>
#include <stdint.h>

struct stop {
    const atomic_int *cancel; // not 0: ERR_CANCELLED; NULL: never
    int64_t deadline_ms;      // of the monotonic clock (base/clock.h), ERR_TIMEOUT; 0: none
};

// doing: "the inference", for the error's text. s NULL: nothing stops it.
enum err stop_check(const struct stop *s, const char *doing, struct error *error) MUST_CHECK;
