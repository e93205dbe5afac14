// Credentials, and the file that smelt's own servers hand out.
#pragma once

#include "base/error.h"

#include <stdint.h>

struct credentials {
    char access_key[132], secret_key[132];
    char session_token[4096]; // "" none
    char account[13];         // aws_account_id: 12 digits; "" not given
    int64_t expires_wall_ms;  // 0: never
};

// Reads [profile] of a shared credentials file.
enum err credentials_read(const char *path, const char *profile, struct credentials *out,
                          struct error *error) MUST_CHECK;
// Calls fn for each profile of the file that has a key; stops at the first that does not return OK.
enum err credentials_each(const char *path,
                          enum err (*fn)(void *ctx, const char *profile,
                                         const struct credentials *credentials,
                                         struct error *error),
                          void *ctx, struct error *error) MUST_CHECK;
// ERR_DENIED if others than the owner may read the file, ERR_NOT_FOUND if it is not there.
enum err credentials_check_private(const char *path, struct error *error) MUST_CHECK;
// Makes DIR/credentials (0600, [default], random keys) if it is not there. Refuses one readable by
// others.
enum err credentials_create(const char *path, struct error *error) MUST_CHECK;
