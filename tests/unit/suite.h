// A unit test program in one line: SUITE_MAIN("loop", test_a, test_b). Each test is forked by
// check, with a limit of 60 s; the output is TAP, for prove.
#pragma once

#include <check.h>
#include <stdlib.h>
#include <string.h>

static inline int suite_run(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, 60);
    const char *only = getenv("SMELT_ONLY"); // tests whose name begins with it
    for (size_t i = 0; i < count; i++)
        if (only == NULL || strncmp(tests[i]->name, only, strlen(only)) == 0)
            tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define SUITE_MAIN(name, ...)                                                                      \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const tests[] = {__VA_ARGS__};                                                \
        return suite_run(name, tests, sizeof tests / sizeof tests[0]);                             \
    }
