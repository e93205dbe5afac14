#include "s3/byte_range.h"

#include "suite.h"

static const struct {
    const char *header;
    uint64_t size;
    enum range_verdict verdict;
    uint64_t first, last;
} cases[] = {
    {"bytes=0-0", 10, RANGE_PART, 0, 0},
    {"bytes=0-9", 10, RANGE_PART, 0, 9},
    {"bytes=2-4", 10, RANGE_PART, 2, 4},
    {"Bytes= 2 - 4 ", 10, RANGE_PART, 2, 4},
    {"bytes=9-", 10, RANGE_PART, 9, 9},
    {"bytes=0-", 10, RANGE_PART, 0, 9},
    {"bytes=5-99999999999", 10, RANGE_PART, 5, 9},
    {"bytes=5-18446744073709551615", 10, RANGE_PART, 5, 9},
    {"bytes=-3", 10, RANGE_PART, 7, 9},
    {"bytes=-10", 10, RANGE_PART, 0, 9},
    {"bytes=-100", 10, RANGE_PART, 0, 9},
    {"bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=10-12", 10, RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=0-0", 0, RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=-1", 0, RANGE_UNSATISFIABLE, 0, 0},
    {"bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0},
    {"", 10, RANGE_NONE, 0, 0},
    {"bytes=", 10, RANGE_NONE, 0, 0},
    {"bytes=-", 10, RANGE_NONE, 0, 0},
    {"bytes=5", 10, RANGE_NONE, 0, 0},
    {"bytes=4-2", 10, RANGE_NONE, 0, 0},
    {"bytes=a-b", 10, RANGE_NONE, 0, 0},
    {"bytes=+1-2", 10, RANGE_NONE, 0, 0},
    {"bytes=--5", 10, RANGE_NONE, 0, 0},
    {"bytes=0-1,4-5", 10, RANGE_NONE, 0, 0},
    {"bytes=18446744073709551616-", 10, RANGE_NONE, 0, 0},
    {"lines=0-1", 10, RANGE_NONE, 0, 0},
    {"bytes 0-1", 10, RANGE_NONE, 0, 0},
};

START_TEST(each_form)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t first = 77, last = 77;
        enum range_verdict v =
            byte_range_parse(span_from(cases[i].header), cases[i].size, &first, &last);
        ck_assert_msg(v == cases[i].verdict, "'%s' of %lu: %d", cases[i].header,
                      (unsigned long)cases[i].size, (int)v);
        if (v == RANGE_PART) {
            ck_assert_uint_eq(first, cases[i].first);
            ck_assert_uint_eq(last, cases[i].last);
        }
    }
}
END_TEST

SUITE_MAIN("byte_range", each_form)
