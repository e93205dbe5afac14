#include "http/url.h"

#include "suite.h"

#include <string.h>

START_TEST(urls_are_split)
{
    struct url u;
    AUTO_BUF struct buf host = {0};
    ck_assert_int_eq(url_parse("http://127.0.0.1:9324/000000000000/q?a=%20b", &u, NULL), OK);
    ck_assert(!u.https && u.port == 9324 && u.port_given);
    ck_assert_str_eq(u.host, "127.0.0.1");
    ck_assert(span_is(u.path, "/000000000000/q") && span_is(u.query, "a=%20b"));
    url_host_header(&u, &host);
    ck_assert_str_eq(host.data, "127.0.0.1:9324");

    ck_assert_int_eq(url_parse("https://sqs.us-east-1.amazonaws.com", &u, NULL), OK);
    ck_assert(u.https && u.port == 443 && !u.port_given && span_is(u.path, "/") &&
              u.query.len == 0);
    buf_clear(&host);
    url_host_header(&u, &host);
    ck_assert_str_eq(host.data, "sqs.us-east-1.amazonaws.com");

    ck_assert_int_eq(url_parse("http://[::1]:80?x=1", &u, NULL), OK);
    ck_assert(span_is(u.path, "/") && span_is(u.query, "x=1"));
    ck_assert_str_eq(u.host, "::1");
    buf_clear(&host);
    url_host_header(&u, &host);
    ck_assert_str_eq(host.data, "[::1]");
    ck_assert_int_eq(url_parse("http://h:443/", &u, NULL), OK);
    buf_clear(&host);
    url_host_header(&u, &host);
    ck_assert_str_eq(host.data, "h:443");
}
END_TEST

START_TEST(bad_urls_are_explained)
{
    static const struct {
        const char *url, *says;
    } cases[] = {
        {"", "does not start with"},
        {"ftp://h/", "does not start with"},
        {"HTTP//h", "does not start with"},
        {"http://", "no host name"},
        {"http://:80/", "no host name"},
        {"http://h:/", "port"},
        {"http://h:0/", "port"},
        {"http://h:65536/", "port"},
        {"http://h:8o/", "port"},
        {"http://u:secret@h/", "user name"},
        {"http://h/a b", "blank"},
        {"http://h/\r\nX: y", "blank"},
        {"http://h/#x", "'#'"},
        {"http://[::1/", "not closed"},
        {"http://[::1]x/", "not closed"},
        {"http://a:b:c/", "port"},
        {"http://h\"x/", "cannot have"},
        {"http://h%41/", "cannot have"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct url u;
        struct error error = {0};
        ck_assert_msg(url_parse(cases[i].url, &u, &error) == ERR_ARGUMENT, "%s", cases[i].url);
        ck_assert_msg(strstr(error.msg, cases[i].says) != NULL, "%s: %s", cases[i].url, error.msg);
        ck_assert_ptr_null(strstr(error.msg, "secret"));
    }
    char long_host[400] = "http://";
    memset(long_host + 7, 'a', 300);
    struct url u;
    ck_assert_int_eq(url_parse(long_host, &u, NULL), ERR_ARGUMENT);
}
END_TEST

SUITE_MAIN("url", urls_are_split, bad_urls_are_explained)
