#include "cli/text_table.h"
#include "suite.h"

#include <string.h>

START_TEST(columns_line_up)
{
    static const char *const heads[] = {"NAME", ">COUNT", "LAST", NULL};
    struct text_table t;
    AUTO_BUF struct buf out = {0};
    text_table_init(&t, heads);
    text_table_add(&t, "longer name");
    text_table_add_number(&t, 7);
    text_table_add(&t, "x");
    text_table_add(&t, "é");
    text_table_add_number(&t, 123456);
    text_table_add(&t, "");
    text_table_write(&t, 0, &out);
    ck_assert_str_eq(out.data, "NAME          COUNT  LAST\n"
                               "longer name       7  x\n"
                               "é            123456\n");
    buf_clear(&out);
    text_table_write(&t, 8, &out);
    ck_assert_str_eq(out.data, "NAME   …\nlonger …\né      …\n");
    text_table_release(&t);
}
END_TEST

START_TEST(ages)
{
    static const struct {
        int64_t s;
        const char *text;
    } cases[] = {{-5, "0 s"},       {59, "59 s"},       {60, "1 m 0 s"},      {3599, "59 m 59 s"},
                 {7500, "2 h 5 m"}, {86400, "1 d 0 h"}, {1209600, "14 d 0 h"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        text_age(cases[i].s, text);
        ck_assert_str_eq(text, cases[i].text);
    }
}
END_TEST

START_TEST(a_line_holds_nothing_that_a_terminal_obeys)
{
    static const struct {
        const char *text, *line;
        size_t max;
    } cases[] = {{"plain", "plain", 10},
                 {"abcdef", "abc…", 3},
                 {"a\tb\nc\x1b[31m", "a b c [31m", 99},
                 {"déjà", "déj…", 3},
                 {"a\xc2\x9b"
                  "b",
                  "a?b", 99},
                 {"\xff\xfe ok", "?? ok", 99},
                 {"", "", 5}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF struct buf out = {0};
        buf_reserve(&out, 1);
        text_line(span_from(cases[i].text), cases[i].max, &out);
        ck_assert_str_eq(out.len > 0 ? out.data : "", cases[i].line);
    }
}
END_TEST

SUITE_MAIN("text_table", columns_line_up, ages, a_line_holds_nothing_that_a_terminal_obeys)
