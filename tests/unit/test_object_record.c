#include "s3/object_record.h"

#include "suite.h"

#include <string.h>

static void sample(struct object_record *r, struct buf *headers, struct buf *out)
{
    *r = (struct object_record){
        .size_bytes = 5,
        .modified_ms = 1769860800123,
        .body_crc32c = digest_crc32c(0, "hello", 5),
        .checksum_kind = CHECKSUM_CRC32,
        .body = SPAN("hello"),
    };
    digest_md5(r->body, r->md5);
    memset(r->checksum, 9, sizeof r->checksum);
    record_header_add(headers, SPAN("Content-Type"), SPAN("text/plain"));
    record_header_add(headers, SPAN("x-amz-meta-empty"), SPAN(""));
    r->headers = buf_view(headers);
    record_encode(r, out);
}

START_TEST(what_goes_in_comes_out)
{
    AUTO_BUF struct buf headers = {0}, bytes = {0};
    struct object_record in, out;
    struct span rest, name, value;
    char etag[ETAG_BYTES];
    sample(&in, &headers, &bytes);
    ck_assert_int_eq(record_decode(buf_view(&bytes), &out, NULL), OK);
    ck_assert_uint_eq(out.size_bytes, 5);
    ck_assert_int_eq(out.modified_ms, 1769860800123);
    ck_assert_int_eq(out.checksum_kind, CHECKSUM_CRC32);
    ck_assert_mem_eq(out.checksum, in.checksum, sizeof in.checksum);
    ck_assert(span_equal(out.body, SPAN("hello")));
    ck_assert_int_eq(record_check_body(&out, out.body, NULL), OK);
    rest = out.headers;
    ck_assert(record_header_next(&rest, &name, &value));
    ck_assert(span_is(name, "content-type") && span_is(value, "text/plain"));
    ck_assert(record_header_next(&rest, &name, &value));
    ck_assert(span_is(name, "x-amz-meta-empty") && value.len == 0);
    ck_assert(!record_header_next(&rest, &name, &value));
    record_etag(&out, etag);
    ck_assert_str_eq(etag, "\"5d41402abc4b2a76b9719d911017c592\"");
    out.parts = 10000;
    record_etag(&out, etag);
    ck_assert_str_eq(etag, "\"5d41402abc4b2a76b9719d911017c592-10000\"");
}
END_TEST

START_TEST(every_flipped_bit_and_every_cut_is_seen)
{
    AUTO_BUF struct buf headers = {0}, bytes = {0};
    struct object_record in, out;
    sample(&in, &headers, &bytes);
    for (size_t i = 0; i < bytes.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes.data[i] = (char)(bytes.data[i] ^ 1 << bit);
            enum err err = record_decode(buf_view(&bytes), &out, NULL);
            if (err == OK) // then it was the body
                err = record_check_body(&out, out.body, NULL);
            ck_assert_msg(err == ERR_CORRUPT || (i == 0 && err == ERR_UNSUPPORTED),
                          "byte %zu bit %d", i, bit);
            bytes.data[i] = (char)(bytes.data[i] ^ 1 << bit);
        }
    for (size_t len = 0; len < bytes.len; len++) {
        char *exact = malloc(len > 0 ? len : 1); // so that a sanitizer sees a read past the end
        ck_assert_ptr_nonnull(exact);
        memcpy(exact, bytes.data, len);
        ck_assert_int_eq(record_decode((struct span){exact, len}, &out, NULL), ERR_CORRUPT);
        free(exact);
    }
}
END_TEST

START_TEST(body_in_a_file_is_not_in_the_record)
{
    AUTO_BUF struct buf bytes = {0};
    struct object_record in = {.size_bytes = 1000000, .blob_id = 77}, out;
    record_encode(&in, &bytes);
    ck_assert_uint_eq(bytes.len, 88);
    ck_assert_int_eq(record_decode(buf_view(&bytes), &out, NULL), OK);
    ck_assert_uint_eq(out.blob_id, 77);
    ck_assert_uint_eq(out.body.len, 0);
    ck_assert_int_eq(record_check_body(&out, SPAN("short"), NULL), ERR_CORRUPT);
}
END_TEST

SUITE_MAIN("object_record", what_goes_in_comes_out, every_flipped_bit_and_every_cut_is_seen,
           body_in_a_file_is_not_in_the_record)
