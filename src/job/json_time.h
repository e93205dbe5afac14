// Times in messages and results: written as "2026-01-31T12:00:00.123Z"; read in that form (any
// number of decimals) or as whole milliseconds since 1970. Pure.
#pragma once

#include "base/buf.h"

#include <jansson.h>

// Absent or null: 0.
enum err json_time_member(const json_t *object, const char *name, int64_t *wall_ms,
                          struct error *error) MUST_CHECK;
// Appends ,"name":"…"; nothing when wall_ms is 0.
void json_time_write(const char *name, int64_t wall_ms, struct buf *out);
