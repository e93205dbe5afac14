#include "base/arena.h"
#include "base/buf.h"

#include "suite.h"

#include <string.h>

START_TEST(buffer_grows_and_stays_terminated)
{
    AUTO_BUF struct buf b = {0};
    for (int i = 0; i < 10000; i++)
        buf_printf(&b, "%d,", i % 10);
    ck_assert_uint_eq(b.len, 20000);
    ck_assert_int_eq(b.data[b.len], 0);
    buf_consume(&b, 19998);
    ck_assert(span_is(buf_view(&b), "9,"));
}
END_TEST

START_TEST(buffer_over_its_limit_says_so_and_keeps_what_fits)
{
    AUTO_BUF struct buf b = {.limit_bytes = 5};
    buf_add_text(&b, "abc");
    buf_add_text(&b, "def");
    ck_assert(b.full);
    ck_assert_uint_eq(b.len, 3);
    buf_add_text(&b, "x"); // would fit, but bytes before it are missing
    ck_assert_uint_eq(b.len, 3);
    buf_clear(&b);
    buf_add_text(&b, "abcde");
    ck_assert(!b.full);
}
END_TEST

START_TEST(long_formatted_text_is_whole)
{
    AUTO_BUF struct buf b = {0};
    char long_text[3000];
    memset(long_text, 'x', sizeof long_text);
    long_text[sizeof long_text - 1] = '\0';
    buf_printf(&b, "<%s>", long_text);
    ck_assert_uint_eq(b.len, sizeof long_text + 1);
    ck_assert_int_eq(b.data[b.len - 1], '>');
}
END_TEST

START_TEST(spans_cut_trim_and_compare)
{
    struct span rest, first = span_cut(SPAN("a=b=c"), '=', &rest);
    ck_assert(span_is(first, "a") && span_is(rest, "b=c"));
    first = span_cut(SPAN("none"), '=', &rest);
    ck_assert(span_is(first, "none") && rest.len == 0);
    first = span_cut((struct span){NULL, 0}, '=', &rest);
    ck_assert(first.len == 0 && rest.len == 0);
    ck_assert(span_is(span_trim(SPAN(" \t x y\t")), "x y"));
    ck_assert(span_is_nocase(SPAN("Content-TYPE"), "content-type"));
    ck_assert(!span_is_nocase(SPAN("Content"), "content-type"));
    ck_assert(span_starts(SPAN("inbox/1"), "inbox/") && !span_starts(SPAN("in"), "inbox/"));
    ck_assert(span_starts_nocase(SPAN("INBOX/1"), "inbox/") &&
              !span_starts_nocase(SPAN("IN"), "inbox/"));
    ck_assert_int_lt(span_order(SPAN("a"), SPAN("ab")), 0);
    ck_assert_int_gt(span_order(SPAN("b"), SPAN("ab")), 0);
    ck_assert_int_gt(span_order(SPAN("\xff"), SPAN("a")), 0);
    ck_assert_int_eq(span_order(SPAN(""), (struct span){NULL, 0}), 0);
}
END_TEST

START_TEST(numbers_are_strict)
{
    uint64_t v = 7;
    ck_assert(span_to_u64(SPAN("0"), 10, &v) && v == 0);
    ck_assert(span_to_u64(SPAN("18446744073709551615"), UINT64_MAX, &v) && v == UINT64_MAX);
    static const char *const bad[] = {
        "",  "-1", "+1", " 1", "1 ", "0x10", "1e3", "18446744073709551616", "99999999999999999999",
        "11"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!span_to_u64(span_from(bad[i]), i == 9 ? 10 : UINT64_MAX, &v), "%s", bad[i]);
}
END_TEST

START_TEST(an_arena_that_is_reset_gives_zeroed_memory_again)
{
    AUTO_ARENA struct arena a = {0};
    char *first = NULL;
    for (int round = 0; round < 3; round++) {
        char *p = arena_alloc(&a, 1000);
        if (round == 0)
            first = p;
        ck_assert_ptr_eq(p, first); // of the block that stays
        for (int i = 0; i < 1000; i++)
            ck_assert_int_eq(p[i], 0);
        memset(p, 'x', 1000);
        memset(arena_alloc(&a, 100000), 'x', 100000);
        arena_reset(&a);
        ck_assert_uint_eq(a.total_bytes, 0);
    }
    arena_reset(&a);
    ck_assert_ptr_nonnull(arena_copy(&a, SPAN("text")));
}
END_TEST

SUITE_MAIN("buf", buffer_grows_and_stays_terminated,
           buffer_over_its_limit_says_so_and_keeps_what_fits, long_formatted_text_is_whole,
           spans_cut_trim_and_compare, numbers_are_strict,
           an_arena_that_is_reset_gives_zeroed_memory_again)
