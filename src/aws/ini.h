// The form of ~/.aws/credentials and ~/.aws/config: [sections], "name = value", comments, and one
// level of names below a name without a value. Pure.
#pragma once

#include "base/buf.h"

struct ini {          // set path and rest, the others are ini_next's
    const char *path; // for messages
    struct span rest;
    int line;
    struct span section; // "" before the first; "profile x" is "x"
    struct span parent;  // "" or the name, in a line above, that this one is indented below
    struct span name, value;
    struct span group; // the last name without a value
};

// The next name and value; *more false at the end.
enum err ini_next(struct ini *ini, bool *more, struct error *error) MUST_CHECK;
