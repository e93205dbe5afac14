// The aws-chunked decoder: fed whole and fed byte by byte it says the same, and what it passes on
// is never longer than what came in. Input: one byte of settings, then the body.
#include "base/check.h"
#include "s3/aws_chunked.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err collect(void *ctx, struct span piece, struct error *error)
{
    (void)error;
    buf_add_span(ctx, piece);
    return OK;
}

static enum err run(uint8_t settings, struct span text, size_t step, struct buf *out, bool *done)
{
    struct aws_chunked_config config = {.with_signature = (settings & 1) != 0,
                                        .with_trailer = (settings & 2) != 0,
                                        .amz_date = "20130524T000000Z",
                                        .scope = "20130524/us-east-1/s3/aws4_request"};
    struct aws_chunked c;
    enum err err = OK;
    aws_chunked_init(&c, &config);
    for (size_t at = 0; at < text.len && err == OK; at += step) {
        size_t len = text.len - at < step ? text.len - at : step;
        err = aws_chunked_feed(&c, (struct span){text.data + at, len}, collect, out, NULL);
    }
    *done = err == OK && aws_chunked_done(&c);
    (void)aws_chunked_trailer(&c, "x-amz-checksum-crc32");
    aws_chunked_release(&c);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF struct buf whole = {0}, pieces = {0};
    bool whole_done, pieces_done;
    if (size < 1)
        return 0;
    struct span text = {(const char *)data + 1, size - 1};
    enum err a = run(data[0], text, text.len + 1, &whole, &whole_done);
    enum err b = run(data[0], text, 1, &pieces, &pieces_done);
    CHECK(a == b && whole_done == pieces_done);
    CHECK(whole.len <= text.len);
    CHECK(a != OK || span_equal(buf_view(&whole), buf_view(&pieces)));
    return 0;
}
