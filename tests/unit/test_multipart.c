#include "gateway/multipart.h"

#include "suite.h"

#include <string.h>

#define TYPE SPAN("multipart/form-data; boundary=XYZ")

static struct multipart m;
static struct multipart_part part;
static struct error error;

static void begin(struct span type, struct span body)
{
    ck_assert_int_eq(multipart_begin(&m, type, body, &error), OK);
}

static bool next(void)
{
    bool found;
    ck_assert_msg(multipart_next(&m, &part, &found, &error) == OK, "%s", error.msg);
    return found;
}

static enum err next_err(void)
{
    bool found;
    return multipart_next(&m, &part, &found, &error);
}

START_TEST(reads_what_curl_and_browsers_send)
{
    begin(SPAN("multipart/form-data; charset=x; boundary=\"XYZ\""),
          SPAN("--XYZ\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ndemo\r\n"
               "--XYZ\r\ncontent-disposition:form-data; name=\"file\"; filename=\"a "
               "\\\"b\\\".jpg\"\r\n"
               "Content-Type: image/jpeg\r\n\r\n\xff\xd8\r\n--XY\r\n\r\n--XYZ--\r\n"));
    ck_assert(next());
    ck_assert(span_is(part.name, "model") && span_is(part.data, "demo") && !part.has_filename);
    ck_assert(next());
    ck_assert(span_is(part.name, "file") && part.has_filename);
    ck_assert(span_is(part.filename, "a \\\"b\\\".jpg"));
    ck_assert(span_is(part.content_type, "image/jpeg"));
    ck_assert(span_is(part.data, "\xff\xd8\r\n--XY\r\n")); // nearly a boundary
    ck_assert(!next());
    ck_assert(!next()); // and stays at the end
}
END_TEST

START_TEST(empty_parts)
{
    // the delimiter's line break may be the empty line's own
    begin(TYPE, SPAN("--XYZ\r\nContent-Disposition: form-data; name=a\r\n\r\n--XYZ\r\n"
                     "Content-Disposition: form-data; name=b\r\n\r\n\r\n--XYZ--"));
    ck_assert(next());
    ck_assert(span_is(part.name, "a") && part.data.len == 0);
    ck_assert(next());
    ck_assert(span_is(part.name, "b") && part.data.len == 0);
    ck_assert(!next());
}
END_TEST

START_TEST(a_body_cut_anywhere_is_an_error_never_half_a_part)
{
    static const char whole[] = "--XYZ\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n"
                                "picture\r\n--XYZ--";
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        // its own memory, so that reading behind the end shows under a sanitizer
        char *cut = malloc(len + 1);
        memcpy(cut, whole, len);
        enum err err = multipart_begin(&m, TYPE, (struct span){cut, len}, &error);
        bool found = true;
        while (err == OK && found)
            err = multipart_next(&m, &part, &found, &error);
        // without its last dashes the closing delimiter is one of another part
        ck_assert_msg(err == ERR_FORMAT, "cut at %zu", len);
        free(cut);
    }
}
END_TEST

START_TEST(what_is_malformed_is_refused)
{
    static const char *const types[] = {
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"XYZ",
        "multipart/form-data; "
        "boundary=01234567890123456789012345678901234567890123456789012345678901234567890",
    };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        ck_assert_int_eq(multipart_begin(&m, span_from(types[i]), SPAN("--XYZ--"), &error),
                         ERR_FORMAT);
    ck_assert_int_eq(multipart_begin(&m, TYPE, SPAN("preamble\r\n--XYZ--"), &error), ERR_FORMAT);
    begin(TYPE, SPAN("--XYZtail\r\n\r\nx\r\n--XYZ--"));
    ck_assert_int_eq(next_err(), ERR_FORMAT);
    begin(TYPE, SPAN("--XYZ\r\nno colon\r\n\r\nx\r\n--XYZ--"));
    ck_assert_int_eq(next_err(), ERR_FORMAT);
    begin(TYPE, SPAN("--XYZ\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\nx\r\n--XYZ--"));
    ck_assert_int_eq(next_err(), ERR_FORMAT);
    begin(TYPE, SPAN("--XYZ\r\nContent-Disposition: form-data; name=\"a\r\n\r\nx\r\n--XYZ--"));
    ck_assert_int_eq(next_err(), ERR_FORMAT);
}
END_TEST

START_TEST(limits)
{
    AUTO_BUF struct buf body = {0};
    for (int i = 0; i <= MULTIPART_PARTS_MAX; i++)
        buf_add_text(&body, "--XYZ\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n");
    buf_add_text(&body, "--XYZ--");
    begin(TYPE, buf_view(&body));
    for (int i = 0; i < MULTIPART_PARTS_MAX; i++)
        ck_assert(next());
    ck_assert_int_eq(next_err(), ERR_LIMIT);

    buf_clear(&body);
    buf_add_text(&body, "--XYZ\r\nX: ");
    for (int i = 0; i < MULTIPART_HEADER_BYTES_MAX; i++)
        buf_add_char(&body, 'x');
    buf_add_text(&body, "\r\n\r\nx\r\n--XYZ--");
    begin(TYPE, buf_view(&body));
    ck_assert_int_eq(next_err(), ERR_FORMAT);
}
END_TEST

START_TEST(header_parameters)
{
    struct span value;
    ck_assert(header_parameter(SPAN("form-data; a=1; NAME=\"x; y\" ; b=2"), "name", &value));
    ck_assert(span_is(value, "x; y"));
    ck_assert(header_parameter(SPAN("form-data; a=1; name=\"x\"; b=2"), "b", &value));
    ck_assert(span_is(value, "2"));
    ck_assert(!header_parameter(SPAN("form-data"), "a", &value));
    ck_assert(!header_parameter(SPAN("form-data; a"), "a", &value));
    ck_assert(!header_parameter(SPAN("form-data; a=\"x\\\""), "a", &value));
}
END_TEST

SUITE_MAIN("multipart", reads_what_curl_and_browsers_send, empty_parts,
           a_body_cut_anywhere_is_an_error_never_half_a_part, what_is_malformed_is_refused, limits,
           header_parameters)
