// A user's profile in the two files that all AWS tools share: ~/.aws/credentials and ~/.aws/config
// (AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE; AWS_PROFILE, AWS_DEFAULT_PROFILE, else "default").
#pragma once

#include "base/arena.h"
#include "base/error.h"

struct profile {
    const char *name;
    bool named;           // by the environment: it must be there
    const char *paths[2]; // credentials, config; "" if there is no home
    struct buf texts[2];  // empty if the file is not there
    struct arena arena;   // of what is handed out
};

// A file that is not there is an empty one. ERR_FORMAT names file and line; ERR_NOT_FOUND: the
// environment names a profile that is in neither. Release it in any case.
enum err profile_open(struct profile *p, struct error *error) MUST_CHECK;
void profile_release(struct profile *p); // secrets are wiped; zeroed is fine
#define AUTO_PROFILE __attribute__((cleanup(profile_release)))

// The value in [section], of the credentials file before the config file's; NULL: none, or empty.
// In the arena.
const char *profile_value(struct profile *p, const char *section, const char *name);
// The value of `name` indented below `parent =` in [section].
const char *profile_value_below(struct profile *p, const char *section, const char *parent,
                                const char *name);

// The variable's value, NULL if it is not set or empty.
const char *environment_value(const char *name);
bool environment_is_true(const char *name); // "true", any case
