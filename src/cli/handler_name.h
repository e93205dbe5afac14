// What a program handler is called in jobs and results.
#pragma once

#include "base/arena.h"

// given (--exec-name; NULL: none), else made from the command line: the file name of the first word
// that is no interpreter, option or assignment, without its ending ("python3 -u lib/count.py" is
// "count"). In the arena. ERR_ARGUMENT: not a name.
enum err handler_name_find(const char *command, const char *given, struct arena *arena,
                           const char **name, struct error *error) MUST_CHECK;
