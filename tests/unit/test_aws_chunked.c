#include "s3/aws_chunked.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>

static struct buf got;

static enum err collect(void *ctx, struct span piece, struct error *error)
{
    (void)ctx;
    (void)error;
    buf_add_span(&got, piece);
    return OK;
}

// Feeds text in pieces of `step` bytes.
static enum err feed(struct aws_chunked *c, struct span text, size_t step, struct error *error)
{
    enum err err = OK;
    buf_clear(&got);
    for (size_t at = 0; at < text.len && err == OK; at += step) {
        size_t len = text.len - at < step ? text.len - at : step;
        err = aws_chunked_feed(c, (struct span){text.data + at, len}, collect, NULL, error);
    }
    return err;
}

static enum err decode(const char *text, bool with_trailer, struct aws_chunked *c)
{
    struct aws_chunked_config config = {.with_trailer = with_trailer};
    aws_chunked_init(c, &config);
    enum err err = feed(c, span_from(text), strlen(text) + 1, NULL);
    if (err != OK)
        aws_chunked_release(c);
    return err;
}

START_TEST(plain_chunks_cut_anywhere)
{
    const char *text = "5\r\nhello\r\nA;x=y\r\n, chunked!\r\n0\r\n"
                       "X-Amz-Checksum-Crc32: AAAAAA== \r\n\r\n";
    for (size_t step = 1; step <= strlen(text); step++) {
        struct aws_chunked c;
        struct aws_chunked_config config = {.with_trailer = true};
        aws_chunked_init(&c, &config);
        ck_assert_int_eq(feed(&c, span_from(text), step, NULL), OK);
        ck_assert(aws_chunked_done(&c));
        ck_assert_str_eq(got.data, "hello, chunked!");
        ck_assert(span_is(aws_chunked_trailer(&c, "x-amz-checksum-crc32"), "AAAAAA=="));
        ck_assert_uint_eq(aws_chunked_trailer(&c, "x-amz-checksum").len, 0);
        aws_chunked_release(&c);
    }
}
END_TEST

START_TEST(nothing_but_the_whole_body_is_done)
{
    const char *text = "5\r\nhello\r\n0\r\n\r\n";
    for (size_t len = 0; len <= strlen(text); len++) {
        struct aws_chunked c;
        struct aws_chunked_config config = {.with_trailer = false};
        aws_chunked_init(&c, &config);
        ck_assert_int_eq(feed(&c, (struct span){text, len}, 3, NULL), OK);
        ck_assert_int_eq(aws_chunked_done(&c), len == strlen(text));
        aws_chunked_release(&c);
    }
}
END_TEST

START_TEST(malformed_bodies_are_refused)
{
    static const char *const bad[] = {
        "x\r\n",
        "\r\n",
        " 5\r\nhello",
        "-1\r\n",
        "0x5\r\nhello",
        "5\nhello",
        "5\r\nhelloo\r\n",
        "5\r\nhello\n0\r\n",
        "ffffffffffffffffff\r\n",
        "fffffffffffff\r\n",
        "0\r\n\r\nmore",
        "0\r\nname:value\r\n\r\n", // a trailer that was not announced
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct aws_chunked c;
        ck_assert_msg(decode(bad[i], false, &c) == ERR_FORMAT, "%s", bad[i]);
    }
    struct aws_chunked c;
    ck_assert_int_eq(decode("0\r\nno colon\r\n\r\n", true, &c), ERR_FORMAT);
    ck_assert_int_eq(decode("0\r\n:value\r\n\r\n", true, &c), ERR_FORMAT);
    char line[3000];
    memset(line, '0', sizeof line);
    line[sizeof line - 1] = '\0';
    ck_assert_int_eq(decode(line, false, &c), ERR_LIMIT);
    AUTO_BUF struct buf many = {0};
    buf_add_text(&many, "0\r\n");
    for (int i = 0; i < 9; i++)
        buf_add_text(&many, "a:b\r\n");
    ck_assert_int_eq(decode(many.data, true, &c), ERR_LIMIT);
}
END_TEST

// --- Amazon's worked examples: 65536 + 1024 times 'a', with and without a trailer ---

static void derive_key(uint8_t key[32])
{
    struct span secret = SPAN("AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    static const char *const parts[] = {"20130524", "us-east-1", "s3", "aws4_request"};
    digest_hmac_sha256(secret, span_from(parts[0]), key);
    for (int i = 1; i < 4; i++) {
        uint8_t next[32];
        digest_hmac_sha256((struct span){(const char *)key, 32}, span_from(parts[i]), next);
        memcpy(key, next, 32);
    }
}

static void example(bool trailer, struct aws_chunked_config *config, struct buf *text)
{
    static const char *const signatures[2][4] = {
        {"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
         "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
         "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
         "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"},
        {"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
         "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
         "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
         "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"},
    };
    *config = (struct aws_chunked_config){.with_signature = true, .with_trailer = trailer};
    derive_key(config->signing_key);
    snprintf(config->amz_date, sizeof config->amz_date, "20130524T000000Z");
    snprintf(config->scope, sizeof config->scope, "20130524/us-east-1/s3/aws4_request");
    snprintf(config->signature, sizeof config->signature, "%s", signatures[trailer][0]);
    static char data[65536];
    memset(data, 'a', sizeof data);
    buf_printf(text, "10000;chunk-signature=%s\r\n", signatures[trailer][1]);
    buf_add(text, data, 65536);
    buf_printf(text, "\r\n400;chunk-signature=%s\r\n", signatures[trailer][2]);
    buf_add(text, data, 1024);
    buf_printf(text, "\r\n0;chunk-signature=%s\r\n", signatures[trailer][3]);
    if (trailer)
        buf_add_text(text, "x-amz-checksum-crc32c:sOO8/Q==\r\n"
                           "x-amz-trailer-signature:"
                           "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n");
    buf_add_text(text, "\r\n");
}

START_TEST(amazons_signed_examples)
{
    for (int trailer = 0; trailer < 2; trailer++)
        for (size_t step = 1; step < 100000; step = step * 7 + 1) {
            struct aws_chunked_config config;
            struct aws_chunked c;
            struct error error = {.msg = ""};
            AUTO_BUF struct buf text = {0};
            example(trailer == 1, &config, &text);
            aws_chunked_init(&c, &config);
            ck_assert_msg(feed(&c, buf_view(&text), step, &error) == OK, "%s", error.msg);
            ck_assert(aws_chunked_done(&c));
            ck_assert_uint_eq(got.len, 65536 + 1024);
            aws_chunked_release(&c);
        }
}
END_TEST

START_TEST(a_changed_byte_anywhere_breaks_the_chain)
{
    for (int trailer = 0; trailer < 2; trailer++) {
        struct aws_chunked_config config;
        AUTO_BUF struct buf text = {0};
        example(trailer == 1, &config, &text);
        for (size_t i = 0; i<text.len; i += i> 70 && i < 65600 ? 8191 : 1) {
            struct aws_chunked c;
            text.data[i] = (char)(text.data[i] ^ 1);
            aws_chunked_init(&c, &config);
            enum err err = feed(&c, buf_view(&text), text.len, NULL);
            // a flipped bit may also make a line longer or shorter: then it is not done
            ck_assert_msg(err != OK || !aws_chunked_done(&c), "byte %zu", i);
            aws_chunked_release(&c);
            text.data[i] = (char)(text.data[i] ^ 1);
        }
    }
}
END_TEST

START_TEST(a_signed_trailer_must_be_signed)
{
    struct aws_chunked_config config;
    struct aws_chunked c;
    AUTO_BUF struct buf text = {0};
    example(true, &config, &text);
    char *signature = strstr(text.data + 66000, "x-amz-trailer-signature");
    ck_assert_ptr_nonnull(signature);
    size_t keep = (size_t)(signature - text.data);
    text.len = keep;
    buf_add_text(&text, "\r\n");
    aws_chunked_init(&c, &config);
    ck_assert_int_eq(feed(&c, buf_view(&text), 1000, NULL), ERR_DENIED);
    aws_chunked_release(&c);
}
END_TEST

SUITE_MAIN("aws_chunked", plain_chunks_cut_anywhere, nothing_but_the_whole_body_is_done,
           malformed_bodies_are_refused, amazons_signed_examples,
           a_changed_byte_anywhere_breaks_the_chain, a_signed_trailer_must_be_signed)
