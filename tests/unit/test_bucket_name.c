#include "s3/bucket_name.h"

#include "suite.h"

START_TEST(amazons_rules)
{
    static const char *const good[] = {"abc",   "a-b",  "a.b.c", "0-9",       "123",
                                       "smelt", "a--b", "1.2.3", "1.2.3.4.5", "1.2.3.a"};
    static const char *const bad[] = {"",
                                      "ab",
                                      "Abc",
                                      "a_b",
                                      "-abc",
                                      "abc-",
                                      ".abc",
                                      "abc.",
                                      "a..b",
                                      "a.-b",
                                      "a-.b",
                                      "a b",
                                      "192.168.5.4",
                                      "a/b",
                                      "\xc3\xa4"
                                      "bc"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(bucket_name_valid(span_from(good[i])), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!bucket_name_valid(span_from(bad[i])), "%s", bad[i]);
    char longest[65] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    ck_assert(bucket_name_valid((struct span){longest, 63}));
    ck_assert(!bucket_name_valid((struct span){longest, 64}));
}
END_TEST

SUITE_MAIN("bucket_name", amazons_rules)
