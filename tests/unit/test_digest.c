#include "base/digest.h"

#include "suite.h"

#include <string.h>

static const char *hex(const void *data, size_t len)
{
    static char out[65];
    hex_encode(data, len, out);
    return out;
}

START_TEST(known_digests)
{
    uint8_t out[SHA256_BYTES];
    digest_md5(SPAN(""), out); // RFC 1321
    ck_assert_str_eq(hex(out, MD5_BYTES), "d41d8cd98f00b204e9800998ecf8427e");
    digest_sha256(SPAN("abc"), out); // FIPS 180-2
    ck_assert_str_eq(hex(out, SHA256_BYTES),
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_hmac_sha256(SPAN("Jefe"), SPAN("what do ya want for nothing?"), out); // RFC 4231, 2
    ck_assert_str_eq(hex(out, SHA256_BYTES),
                     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    char key[131]; // RFC 4231, 6: a key longer than the block
    memset(key, 0xaa, sizeof key);
    digest_hmac_sha256((struct span){key, sizeof key},
                       SPAN("Test Using Larger Than Block-Size Key - Hash Key First"), out);
    ck_assert_str_eq(hex(out, SHA256_BYTES),
                     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    digest_hmac_sha256((struct span){NULL, 0}, SPAN(""), out);
    ck_assert_str_eq(hex(out, SHA256_BYTES),
                     "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}
END_TEST

START_TEST(crc32c_of_rfc_3720_and_in_pieces)
{
    uint8_t data[32];
    memset(data, 0, sizeof data);
    ck_assert_uint_eq(digest_crc32c(0, data, 32), 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    ck_assert_uint_eq(digest_crc32c(0, data, 32), 0x62a8ab43);
    ck_assert_uint_eq(digest_crc32c(0, "123456789", 9), 0xe3069283);
    for (size_t cut = 0; cut <= 9; cut++)
        ck_assert_uint_eq(
            digest_crc32c(digest_crc32c(0, "123456789", cut), "123456789" + cut, 9 - cut),
            0xe3069283);
}
END_TEST

START_TEST(running_digest_equals_the_whole)
{
    uint8_t whole[SHA256_BYTES], parts[SHA256_BYTES];
    digest_sha256(SPAN("hello, world"), whole);
    struct digest *d = digest_new(DIGEST_SHA256);
    digest_update(d, "hello", 5);
    digest_update(d, NULL, 0);
    digest_update(d, ", world", 7);
    ck_assert_uint_eq(digest_finish(d, parts), SHA256_BYTES);
    digest_free(d);
    ck_assert_mem_eq(whole, parts, SHA256_BYTES);
}
END_TEST

START_TEST(both_digests_of_the_same_bytes)
{
    enum { BYTES = 1000 };
    static const size_t cuts[][2] = {{0, 0}, {1, 63}, {64, 64}, {63, 66}, {65, 700}, {128, 1000}};
    uint8_t data[BYTES], md5[SHA256_BYTES], sha256[SHA256_BYTES], whole[SHA256_BYTES];
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (uint8_t)(i * 37);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        struct digest *a = digest_new(DIGEST_MD5), *b = digest_new(DIGEST_SHA256);
        size_t first = cuts[i][0], second = cuts[i][1] > first ? cuts[i][1] : first;
        digest_update_both(a, b, data, first);
        digest_update_both(a, b, data + first, second - first);
        digest_update_both(a, b, data + second, BYTES - second);
        digest_finish(a, md5);
        digest_finish(b, sha256);
        digest_free(a);
        digest_free(b);
        digest_md5((struct span){(char *)data, BYTES}, whole);
        ck_assert_mem_eq(whole, md5, MD5_BYTES);
        digest_sha256((struct span){(char *)data, BYTES}, whole);
        ck_assert_mem_eq(whole, sha256, SHA256_BYTES);
    }
}
END_TEST

START_TEST(base64_both_ways_and_strict)
{
    static const char *const pairs[][2] = {
        {"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
        {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfd", "//79"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        AUTO_BUF struct buf text = {0}, back = {0};
        base64_encode(span_from(pairs[i][0]), &text);
        ck_assert(span_is(buf_view(&text), pairs[i][1]));
        ck_assert(base64_decode(buf_view(&text), &back));
        ck_assert(span_is(buf_view(&back), pairs[i][0]));
    }
    static const char *const bad[] = {
        "Zg", "Zg=", "Z===", "Zg==Zg==", "Zm9v\n", "Zm 9", "Zm9-", "===="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        AUTO_BUF struct buf back = {0};
        ck_assert_msg(!base64_decode(span_from(bad[i]), &back), "%s", bad[i]);
    }
}
END_TEST

START_TEST(hex_is_strict)
{
    uint8_t out[2];
    ck_assert(hex_decode(SPAN("00fF"), out, 2) && out[0] == 0 && out[1] == 0xff);
    ck_assert(!hex_decode(SPAN("00f"), out, 2) && !hex_decode(SPAN("00fg"), out, 2));
}
END_TEST

SUITE_MAIN("digest", known_digests, crc32c_of_rfc_3720_and_in_pieces,
           running_digest_equals_the_whole, both_digests_of_the_same_bytes,
           base64_both_ways_and_strict, hex_is_strict)
