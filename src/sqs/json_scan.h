// A pull scanner for JSON (RFC 8259): reads values where they are expected, skips others, allocates
// only for strings with escapes. Strict; its input must be valid UTF-8. After the first error `bad`
// stays set and every call returns false.
#pragma once

#include "base/arena.h"

struct json_scan {
    const char *at, *end;
    struct arena *arena;
    int depth, depth_max;
    bool bad;
};

enum json_type {
    JSON_TYPE_BAD,
    JSON_TYPE_OBJECT,
    JSON_TYPE_ARRAY,
    JSON_TYPE_STRING,
    JSON_TYPE_NUMBER,
    JSON_TYPE_TRUE,
    JSON_TYPE_FALSE,
    JSON_TYPE_NULL
};

void scan_init(struct json_scan *s, struct span text, struct arena *arena, int depth_max);
enum json_type scan_peek(struct json_scan *s); // of the value that comes next
// Object: begin, then next until it returns false (the end, or bad); each time the value must be
// read or skipped.
bool scan_object_begin(struct json_scan *s);
bool scan_object_next(struct json_scan *s, bool *first, struct span *key);
bool scan_array_begin(struct json_scan *s);
bool scan_array_next(struct json_scan *s, bool *first);
bool scan_string(struct json_scan *s, struct span *out); // views the text, or the arena
bool scan_integer(struct json_scan *s, int64_t *out);    // whole numbers within int64
bool scan_null(struct json_scan *s);
bool scan_skip(struct json_scan *s); // a value of any type
bool scan_end(struct json_scan *s);  // nothing but white space is left
