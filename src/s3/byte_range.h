// The Range header (RFC 9110, 14.2), for one range. Pure.
#pragma once

#include "base/buf.h"

enum range_verdict {
    RANGE_NONE, // no range, several, another unit or not well-formed: send the whole (as S3 does)
    RANGE_PART, // send bytes first … last
    RANGE_UNSATISFIABLE, // 416
};

// header: its value; empty if there is none. RANGE_PART: *first <= *last < size_bytes.
enum range_verdict byte_range_parse(struct span header, uint64_t size_bytes, uint64_t *first,
                                    uint64_t *last);
