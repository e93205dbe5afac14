#include "s3/preconditions.h"

#include "suite.h"

#define ETAG "\"5d41402abc4b2a76b9719d911017c592\""
enum { MODIFIED_S = 1769860800 }; // Sat, 31 Jan 2026 12:00:00 GMT

static enum precondition_verdict check(const char *match, const char *none, const char *since,
                                       const char *unmodified)
{
    const struct preconditions p = {span_from(match), span_from(none), span_from(since),
                                    span_from(unmodified)};
    return preconditions_check(&p, ETAG, (int64_t)MODIFIED_S * 1000 + 999);
}

START_TEST(dates_in_three_forms)
{
    static const char *const good[] = {"Sat, 31 Jan 2026 12:00:00 GMT",
                                       "Saturday, 31-Jan-26 12:00:00 GMT",
                                       "Sat Jan 31 12:00:00 2026"};
    static const char *const bad[] = {"", "yesterday", "2026-01-31",
                                      "Sat, 31 Jan 2026 12:00:00 GMT+1",
                                      "Sat, 31 Jan 2026 12:00:00"};
    int64_t s;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ck_assert_msg(http_date_parse(span_from(good[i]), &s), "%s", good[i]);
        ck_assert_int_eq(s, MODIFIED_S);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!http_date_parse(span_from(bad[i]), &s), "%s", bad[i]);
}
END_TEST

START_TEST(etags_in_lists)
{
    ck_assert(etag_list_has(SPAN("*"), ETAG));
    ck_assert(etag_list_has(SPAN(ETAG), ETAG));
    ck_assert(etag_list_has(SPAN("5d41402abc4b2a76b9719d911017c592"), ETAG));
    ck_assert(etag_list_has(SPAN("\"x\", W/" ETAG " ,\"y\""), ETAG));
    ck_assert(!etag_list_has(SPAN("\"x\""), ETAG));
    ck_assert(!etag_list_has(SPAN(""), ETAG));
    ck_assert(!etag_list_has(SPAN(",,"), ETAG));
}
END_TEST

START_TEST(each_condition_and_their_precedence)
{
    const char *before = "Sat, 31 Jan 2026 11:59:59 GMT", *same = "Sat, 31 Jan 2026 12:00:00 GMT";
    ck_assert_int_eq(check(NULL, NULL, NULL, NULL), CONDITION_HOLDS);
    ck_assert_int_eq(check(ETAG, NULL, NULL, NULL), CONDITION_HOLDS);
    ck_assert_int_eq(check("\"x\"", NULL, NULL, NULL), CONDITION_FAILED);
    ck_assert_int_eq(check(NULL, ETAG, NULL, NULL), CONDITION_NOT_MODIFIED);
    ck_assert_int_eq(check(NULL, "*", NULL, NULL), CONDITION_NOT_MODIFIED);
    ck_assert_int_eq(check(NULL, "\"x\"", NULL, NULL), CONDITION_HOLDS);
    ck_assert_int_eq(check(NULL, NULL, same, NULL), CONDITION_NOT_MODIFIED);
    ck_assert_int_eq(check(NULL, NULL, before, NULL), CONDITION_HOLDS);
    ck_assert_int_eq(check(NULL, NULL, NULL, same), CONDITION_HOLDS);
    ck_assert_int_eq(check(NULL, NULL, NULL, before), CONDITION_FAILED);
    ck_assert_int_eq(check(NULL, NULL, "nonsense", "nonsense"), CONDITION_HOLDS);
    // If-Match stands above If-Unmodified-Since, If-None-Match above If-Modified-Since
    ck_assert_int_eq(check(ETAG, NULL, NULL, before), CONDITION_HOLDS);
    ck_assert_int_eq(check(NULL, "\"x\"", same, NULL), CONDITION_HOLDS);
    ck_assert_int_eq(check("\"x\"", ETAG, NULL, NULL), CONDITION_FAILED);
    ck_assert_int_eq(check(ETAG, ETAG, NULL, NULL), CONDITION_NOT_MODIFIED);
}
END_TEST

SUITE_MAIN("preconditions", dates_in_three_forms, etags_in_lists,
           each_condition_and_their_precedence)
