#include "base/text.h"

#include "base/log.h"

#include "suite.h"

#include <string.h>

static bool valid(const char *s)
{
    return utf8_valid(span_from(s));
}
static bool xml_valid(const char *s)
{
    return utf8_xml_valid(span_from(s));
}

START_TEST(utf8_accepts_only_well_formed)
{
    ck_assert(valid("plain, \xc3\xa9, \xe2\x82\xac, \xf0\x9f\x90\xb6"));
    ck_assert(!valid("\xc0\x80") && !valid("\xe0\x80\x80"));            // overlong
    ck_assert(!valid("\xed\xa0\x80"));                                  // surrogate
    ck_assert(!valid("\xf4\x90\x80\x80") && !valid("\xff"));            // above U+10FFFF
    ck_assert(!valid("\xe2\x82") && !valid("\x80") && !valid("\xc3x")); // torn
}
END_TEST

START_TEST(xml_characters_are_those_of_sqs)
{
    ck_assert(xml_valid("tab\t nl\n cr\r \xef\xbf\xbd \xf0\x90\x80\x80"));
    ck_assert(!xml_valid("\x01") && !xml_valid("\x1f") && !xml_valid("\x0b"));
    ck_assert(!xml_valid("\xef\xbf\xbe") && !xml_valid("\xef\xbf\xbf"));
}
END_TEST

START_TEST(urls_encode_and_decode)
{
    AUTO_BUF struct buf b = {0};
    url_encode(SPAN("a b/\xc3\xa9~-_.+"), true, &b);
    ck_assert_str_eq(b.data, "a%20b/%C3%A9~-_.%2B");
    buf_clear(&b);
    url_encode(SPAN("a/b"), false, &b);
    ck_assert_str_eq(b.data, "a%2Fb");
    buf_clear(&b);
    ck_assert(url_decode(SPAN("a+b%20%c3%A9"), true, &b));
    ck_assert_str_eq(b.data, "a b \xc3\xa9");
    buf_clear(&b);
    ck_assert(url_decode(SPAN("a+b"), false, &b));
    ck_assert_str_eq(b.data, "a+b");
    ck_assert(!url_decode(SPAN("%"), false, &b) && !url_decode(SPAN("%4"), false, &b) &&
              !url_decode(SPAN("%zz"), false, &b));
}
END_TEST

START_TEST(xml_and_json_are_escaped)
{
    AUTO_BUF struct buf b = {0};
    xml_escape(SPAN("<a b=\"c\">&\r\n\x01"), &b);
    ck_assert_str_eq(b.data, "&lt;a b=&quot;c&quot;&gt;&amp;&#13;\n&#1;");
    buf_clear(&b);
    json_escape(SPAN("q\" b\\ \n\r\t\x01 \xc3\xa9"), &b);
    ck_assert_str_eq(b.data, "\"q\\\" b\\\\ \\n\\r\\t\\u0001 \xc3\xa9\"");
}
END_TEST

// Each byte value at each place of a string, among bytes that are plain.
START_TEST(a_plain_run_ends_where_json_needs_an_escape)
{
    static const char fills[] = {'x', '!', '#', '[', ']', ' ', '\x7f', '\xc3', '\xff'};
    char text[35];
    for (size_t f = 0; f < sizeof fills; f++)
        for (int c = 0; c < 256; c++)
            for (size_t at = 0; at < sizeof text; at++) {
                memset(text, fills[f], sizeof text);
                text[at] = (char)c;
                bool plain = c >= 0x20 && c != '"' && c != '\\';
                ck_assert_uint_eq(json_plain_run(text, sizeof text), plain ? sizeof text : at);
            }
    ck_assert_uint_eq(json_plain_run(text, 0), 0);
}
END_TEST

START_TEST(text_is_mended_in_its_place)
{
    char text[] =
        "a\t\x01\x7f\xc3\xa9\xc3(\xef\xbf\xbe\xef\xbf\xbd\xf0\x9f\x98\x80\xed\xa0\x80\xe2\x82";
    utf8_xml_mend(text);
    ck_assert_str_eq(text, "a\t?\x7f\xc3\xa9?(???\xef\xbf\xbd\xf0\x9f\x98\x80?????");
}
END_TEST

START_TEST(nearest_name_finds_slips_and_nothing_else)
{
    static const char *const names[] = {"workers", "model", "data", NULL};
    ck_assert_str_eq(nearest_name("worker", names), "workers");
    ck_assert_str_eq(nearest_name("modle", names), "model");
    ck_assert_ptr_null(nearest_name("completely-else", names));
    ck_assert_ptr_null(nearest_name("x", names));
    ck_assert_ptr_null(nearest_name("jobs", names)); // 3 of 4 letters differ from data
}
END_TEST

START_TEST(the_log_quotes_what_could_harm_it)
{
    char out[200];
    ck_assert_str_eq(log_quote("caf\xc3\xa9 \"x\"\n", out, sizeof out),
                     "\"caf\xc3\xa9 \\\"x\\\"\\x0a\"");
    ck_assert_str_eq(log_quote("a\xff\xc3\xa9", out, sizeof out), "\"a\\xff\\xc3\\xa9\"");
    ck_assert_str_eq(log_quote("\xc2\x9b"
                               "2J\xc2\xa0",
                               out, sizeof out), // C1: CSI
                     "\"\\xc2\\x9b"
                     "2J\xc2\xa0\"");
}
END_TEST

SUITE_MAIN("text", the_log_quotes_what_could_harm_it, utf8_accepts_only_well_formed,
           xml_characters_are_those_of_sqs, urls_encode_and_decode, xml_and_json_are_escaped,
           a_plain_run_ends_where_json_needs_an_escape, text_is_mended_in_its_place,
           nearest_name_finds_slips_and_nothing_else)
