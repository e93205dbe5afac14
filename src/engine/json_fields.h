// What the readers of our own JSON files (smelt.json, int8.json) share. Pure.
#pragma once

#include "base/error.h"

#include <jansson.h>

// ERR_FORMAT: not an object, or a field that is not in `known` (NULL at its end). where: "",
// "input.": stands in front of its fields in messages.
enum err json_fields_check(json_t *object, const char *where, const char *const *known,
                           struct error *error) MUST_CHECK;
// A copy of text; aborts when memory is out.
char *json_text_copy(const char *text);
