// Randomness from the kernel (getrandom). Aborts if the kernel has none: nothing sensible can
// follow.
#pragma once

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t len);
uint64_t random_u64(void);
// 36 characters + 0: "xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx" (RFC 9562 version 4)
void random_uuid(char out[37]);
// n characters of [A-Za-z0-9] + 0
void random_text(char *out, size_t n);
