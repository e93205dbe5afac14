// CHECK: assertions that stay on in release builds. For programmer errors only: never for input
// from users, disks or peers. Prints file:line and aborts.
#pragma once

_Noreturn void check_failed(const char *file, int line, const char *expression);

#define CHECK(expression)                                                                          \
    do {                                                                                           \
        if (__builtin_expect(!(expression), 0))                                                    \
            check_failed(__FILE__, __LINE__, #expression);                                         \
    } while (0)
