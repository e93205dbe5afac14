#include "s3/checksum.h"

#include "suite.h"

#include <string.h>

static const char *base64_of(enum checksum_kind kind, struct span data, size_t cut)
{
    static struct buf out;
    uint8_t sum[CHECKSUM_BYTES_MAX];
    struct checksum *c = checksum_new(kind);
    checksum_update(c, (struct span){data.data, cut});
    checksum_update(c, (struct span){data.data + cut, data.len - cut});
    checksum_finish(c, sum);
    checksum_free(c);
    buf_clear(&out);
    base64_encode((struct span){(const char *)sum, checksum_bytes(kind)}, &out);
    return out.data;
}

START_TEST(known_values_in_any_pieces)
{
    struct span check = SPAN("123456789"); // the check value of each CRC's catalogue entry
    for (size_t cut = 0; cut <= check.len; cut++) {
        ck_assert_str_eq(base64_of(CHECKSUM_CRC32, check, cut), "y/Q5Jg==");  // cbf43926
        ck_assert_str_eq(base64_of(CHECKSUM_CRC32C, check, cut), "4waSgw=="); // e3069283
        ck_assert_str_eq(base64_of(CHECKSUM_CRC64NVME, check, cut),
                         "rosUhgp5mIg="); // ae8b14860a799888
        ck_assert_str_eq(base64_of(CHECKSUM_SHA1, check, cut), "98O8HYCOBHMq32eZZczDTKeuNEE=");
        ck_assert_str_eq(base64_of(CHECKSUM_SHA256, check, cut),
                         "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=");
    }
    struct span nothing = SPAN("");
    ck_assert_str_eq(base64_of(CHECKSUM_CRC32, nothing, 0), "AAAAAA==");
    ck_assert_str_eq(base64_of(CHECKSUM_CRC64NVME, nothing, 0), "AAAAAAAAAAA=");
}
END_TEST

// The same bit by bit, for lengths around the eight bytes that are taken at a time.
START_TEST(fast_crcs_equal_plain_ones)
{
    char data[100];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 37 + 11);
    for (size_t len = 0; len <= sizeof data; len++) {
        uint64_t crc64 = UINT64_MAX, crc32 = UINT32_MAX;
        for (size_t i = 0; i < len; i++) {
            crc64 ^= (uint8_t)data[i];
            crc32 ^= (uint8_t)data[i];
            for (int bit = 0; bit < 8; bit++) {
                crc64 = crc64 & 1 ? (crc64 >> 1) ^ 0x9a6c9329ac4bc9b5u : crc64 >> 1;
                crc32 = crc32 & 1 ? (crc32 >> 1) ^ 0xedb88320u : crc32 >> 1;
            }
        }
        crc64 = ~crc64;
        crc32 = (uint32_t)~crc32;
        uint8_t sum[CHECKSUM_BYTES_MAX], expected[8];
        for (int i = 0; i < 8; i++)
            expected[i] = (uint8_t)(crc64 >> (56 - 8 * i));
        struct checksum *c = checksum_new(CHECKSUM_CRC64NVME);
        checksum_update(c, (struct span){data, len});
        checksum_finish(c, sum);
        checksum_free(c);
        ck_assert_mem_eq(sum, expected, 8);
        for (int i = 0; i < 4; i++)
            expected[i] = (uint8_t)(crc32 >> (24 - 8 * i));
        c = checksum_new(CHECKSUM_CRC32);
        checksum_update(c, (struct span){data, len});
        checksum_finish(c, sum);
        checksum_free(c);
        ck_assert_mem_eq(sum, expected, 4);
    }
}
END_TEST

START_TEST(names_and_values_are_read_strictly)
{
    uint8_t out[CHECKSUM_BYTES_MAX];
    ck_assert_int_eq(checksum_kind_from_header(SPAN("X-Amz-Checksum-Crc32")), CHECKSUM_CRC32);
    ck_assert_int_eq(checksum_kind_from_header(SPAN("x-amz-checksum-crc64nvme")),
                     CHECKSUM_CRC64NVME);
    ck_assert_int_eq(checksum_kind_from_header(SPAN("x-amz-checksum-sha512")), CHECKSUM_NONE);
    ck_assert_int_eq(checksum_kind_from_header(SPAN("")), CHECKSUM_NONE);
    ck_assert(checksum_decode(CHECKSUM_CRC32, SPAN("y/Q5Jg=="), out));
    ck_assert_uint_eq(out[0], 0xcb);
    ck_assert(!checksum_decode(CHECKSUM_CRC32, SPAN("y/Q5"), out));   // 3 bytes
    ck_assert(!checksum_decode(CHECKSUM_CRC32, SPAN("y/Q5Jg"), out)); // no padding
    ck_assert(!checksum_decode(CHECKSUM_CRC32, SPAN("y/Q5Jg==x"), out));
    ck_assert(!checksum_decode(CHECKSUM_SHA256, SPAN("y/Q5Jg=="), out));
    ck_assert(!checksum_decode(CHECKSUM_CRC32, SPAN(""), out));
}
END_TEST

SUITE_MAIN("checksum", known_values_in_any_pieces, fast_crcs_equal_plain_ones,
           names_and_values_are_read_strictly)
