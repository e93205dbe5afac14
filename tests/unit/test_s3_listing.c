// Pages of ListObjectsV2 as stores write them; what is no listing is refused.
#include "aws/s3_listing.h"

#include "suite.h"

#include <string.h>

static enum err read_page(const char *xml, struct arena *arena, struct s3_listing *out,
                          struct error *error)
{
    return s3_listing_read(span_from(xml), arena, out, error);
}

START_TEST(a_page_with_more_behind_it)
{
    static const char xml[] =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>smelt</Name>"
        "<Prefix>inbox/</Prefix><KeyCount>2</KeyCount><MaxKeys>2</MaxKeys>"
        "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
        "<Contents><Key>inbox/a%2Bb+c%20d%C3%BC</Key><LastModified>2026-01-31T12:00:00.000Z"
        "</LastModified><ETag>&quot;x&quot;</ETag><Size>18755</Size><Owner><ID>Key</ID></Owner>"
        "</Contents><Contents><Size>0</Size><Key>inbox/zero%00</Key></Contents>"
        "<NextContinuationToken>a&amp;b=</NextContinuationToken></ListBucketResult>";
    AUTO_ARENA struct arena arena = {0};
    struct s3_listing page;
    struct error error;
    ck_assert_int_eq(read_page(xml, &arena, &page, &error), OK);
    ck_assert_uint_eq(page.count, 2);
    ck_assert(span_is(page.objects[0].key, "inbox/a+b c d\xc3\xbc"));
    ck_assert_uint_eq(page.objects[0].bytes, 18755);
    ck_assert_str_eq(page.objects[0].modified, "2026-01-31T12:00:00.000Z");
    ck_assert_uint_eq(page.objects[1].key.len, strlen("inbox/zero") + 1);
    ck_assert_str_eq(page.objects[1].modified, "");
    ck_assert_str_eq(page.next_token, "a&b=");
}
END_TEST

START_TEST(the_last_page_and_an_empty_one)
{
    AUTO_ARENA struct arena arena = {0};
    struct s3_listing page;
    struct error error;
    // a store that does not know encoding-type
    ck_assert_int_eq(read_page("<ListBucketResult><IsTruncated>false</IsTruncated>"
                               "<NextContinuationToken>x</NextContinuationToken>"
                               "<Contents><Key>a%20b</Key></Contents></ListBucketResult>",
                               &arena, &page, &error),
                     OK);
    ck_assert_uint_eq(page.count, 1);
    ck_assert(span_is(page.objects[0].key, "a%20b"));
    ck_assert_ptr_null(page.next_token);
    ck_assert_int_eq(read_page("<ListBucketResult/>", &arena, &page, &error), OK);
    ck_assert_uint_eq(page.count, 0);
}
END_TEST

START_TEST(what_is_no_listing_is_refused)
{
    static const char *const cases[] = {
        "",
        "hello",
        "{}",
        "<html><body>proxy</body></html>",
        "<ListBucketResult><Contents><Key>a</Key></Contents>",
        "<!DOCTYPE x [<!ENTITY e \"y\">]><ListBucketResult/>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%2</Key></Contents>"
        "</ListBucketResult>",
    };
    struct s3_listing page;
    struct error error;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_ARENA struct arena arena = {0};
        ck_assert_msg(read_page(cases[i], &arena, &page, &error) == ERR_FORMAT, "%s", cases[i]);
    }
    AUTO_BUF struct buf many = {0};
    AUTO_ARENA struct arena arena = {0};
    buf_add_text(&many, "<ListBucketResult>");
    for (int i = 0; i < 1001; i++)
        buf_add_text(&many, "<Contents><Key>a</Key></Contents>");
    buf_add_text(&many, "</ListBucketResult>");
    ck_assert_int_eq(s3_listing_read(buf_view(&many), &arena, &page, &error), ERR_FORMAT);
}
END_TEST

SUITE_MAIN("s3_listing", a_page_with_more_behind_it, the_last_page_and_an_empty_one,
           what_is_no_listing_is_refused)
