// Conditional reads: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since in the order
// of precedence of RFC 9110, 13.2.2. Pure.
#pragma once

#include "base/buf.h"

struct preconditions { // header values; empty: not given
    struct span if_match, if_none_match, if_modified_since, if_unmodified_since;
};

enum precondition_verdict {
    CONDITION_HOLDS,
    CONDITION_NOT_MODIFIED /* 304 */,
    CONDITION_FAILED /* 412 */
};

// etag: in quotes. Dates that cannot be read are ignored, as the RFC wants.
enum precondition_verdict preconditions_check(const struct preconditions *p, const char *etag,
                                              int64_t modified_ms);
// Is etag (in quotes) in a list such as `"a", W/"b"` or `*`? Quotes may be missing, as S3 allows.
bool etag_list_has(struct span list, const char *etag);
// "Sat, 31 Jan 2026 12:00:00 GMT" and the two old forms of RFC 9110; false if it is none.
bool http_date_parse(struct span text, int64_t *wall_s);
