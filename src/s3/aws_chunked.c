#include "s3/aws_chunked.h"

#include "base/text.h"

#include <string.h>

#define CHUNK_BYTES_MAX ((uint64_t)1 << 40) // so that no sum overflows; the body has its own limit

void aws_chunked_init(struct aws_chunked *c, const struct aws_chunked_config *config)
{
    memset(c, 0, sizeof *c);
    c->config = *config;
    c->trailers.limit_bytes = CHUNK_TRAILERS_MAX * CHUNK_LINE_BYTES_MAX;
}

void aws_chunked_release(struct aws_chunked *c)
{
    digest_free(c->sha256);
    c->sha256 = NULL;
    buf_release(&c->trailers);
}

bool aws_chunked_done(const struct aws_chunked *c)
{
    return c->state == CHUNKED_END;
}

struct span aws_chunked_trailer(const struct aws_chunked *c, const char *name)
{
    struct span rest = buf_view(&c->trailers), value;
    while (rest.len > 0) {
        struct span key = span_cut(span_cut(rest, '\n', &rest), ':', &value);
        if (span_is(key, name))
            return value;
    }
    return (struct span){NULL, 0};
}

// --- signatures ---

// Checks one link of the chain: what (its string to sign has two or one digest) and goes on from
// it.
static enum err link_check(struct aws_chunked *c, const char *algorithm, bool empty_hash,
                           struct span payload_sha256, const char *claimed, struct error *error)
{
    static const char empty_sha256[] =
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";
    AUTO_BUF struct buf text = {0};
    uint8_t mac[SHA256_BYTES];
    char hash[2 * SHA256_BYTES + 1], expected[2 * SHA256_BYTES + 1];
    hex_encode(payload_sha256.data, payload_sha256.len, hash);
    buf_printf(&text, "%s\n%s\n%s\n%s\n%s%s", algorithm, c->config.amz_date, c->config.scope,
               c->config.signature, empty_hash ? empty_sha256 : "", hash);
    struct span key = {(const char *)c->config.signing_key, sizeof c->config.signing_key};
    digest_hmac_sha256(key, buf_view(&text), mac);
    hex_encode(mac, sizeof mac, expected);
    if (!bytes_equal_constant_time(expected, claimed, sizeof expected - 1))
        return fail(error, ERR_DENIED, 0, "the signature of a chunk does not match");
    memcpy(c->config.signature, expected, sizeof expected);
    return OK;
}

static enum err chunk_check(struct aws_chunked *c, struct error *error)
{
    uint8_t sha256[SHA256_BYTES];
    if (!c->config.with_signature)
        return OK;
    if (c->sha256 == NULL)
        c->sha256 = digest_new(DIGEST_SHA256);
    digest_finish(c->sha256, sha256);
    digest_free(c->sha256);
    c->sha256 = NULL;
    return link_check(c, "AWS4-HMAC-SHA256-PAYLOAD", true,
                      (struct span){(const char *)sha256, sizeof sha256}, c->claimed, error);
}

static enum err signature_read(struct span text, char out[65], struct error *error)
{
    uint8_t bytes[SHA256_BYTES];
    if (!hex_decode(text, bytes, sizeof bytes))
        return fail(error, ERR_FORMAT, 0, "a chunk's signature must be 64 hex digits");
    memcpy(out, text.data, 64);
    out[64] = '\0';
    return OK;
}

// --- lines ---

static enum err size_line(struct aws_chunked *c, struct span line, struct error *error)
{
    struct span extension;
    struct span size = span_cut(line, ';', &extension);
    uint64_t value = 0;
    bool good = size.len > 0;
    for (size_t i = 0; good && i < size.len; i++) {
        int digit = hex_digit(size.data[i]);
        good = digit >= 0 && value <= CHUNK_BYTES_MAX / 16;
        value = value * 16 + (uint64_t)(digit > 0 ? digit : 0);
    }
    if (!good)
        return fail(error, ERR_FORMAT, 0, "a chunk's size must be a hexadecimal number");
    if (c->config.with_signature) {
        struct span signature;
        if (!span_is(span_cut(extension, '=', &signature), "chunk-signature"))
            return fail(error, ERR_FORMAT, 0, "a chunk has no chunk-signature");
        TRY(signature_read(signature, c->claimed, error));
    }
    c->left = value;
    if (value > 0) {
        c->state = CHUNKED_DATA;
        return OK;
    }
    TRY(chunk_check(c, error)); // the last chunk: its line is all of it
    c->state = CHUNKED_TRAILER;
    return OK;
}

static enum err trailer_end(struct aws_chunked *c, struct error *error)
{
    if (c->config.with_signature && c->config.with_trailer && !c->trailer_signature_seen)
        return fail(error, ERR_DENIED, 0, "the trailer has no x-amz-trailer-signature");
    c->state = CHUNKED_END;
    return OK;
}

static enum err trailer_line(struct aws_chunked *c, struct span line, struct error *error)
{
    struct span value;
    if (line.len == 0)
        return trailer_end(c, error);
    struct span name = span_trim(span_cut(line, ':', &value));
    value = span_trim(value);
    if (!c->config.with_trailer || c->trailer_signature_seen)
        return fail(error, ERR_FORMAT, 0, "there is a trailer that was not announced");
    if (name.len == 0 || value.len == 0)
        return fail(error, ERR_FORMAT, 0, "a trailer must read NAME:VALUE");
    if (span_is_nocase(name, "x-amz-trailer-signature")) {
        char claimed[65];
        uint8_t sha256[SHA256_BYTES];
        c->trailer_signature_seen = true;
        TRY(signature_read(value, claimed, error));
        if (!c->config.with_signature)
            return OK;
        digest_sha256(buf_view(&c->trailers), sha256);
        return link_check(c, "AWS4-HMAC-SHA256-TRAILER", false,
                          (struct span){(const char *)sha256, sizeof sha256}, claimed, error);
    }
    if (++c->trailer_count > CHUNK_TRAILERS_MAX)
        return fail(error, ERR_LIMIT, 0, "there are over %d trailers", CHUNK_TRAILERS_MAX);
    for (size_t i = 0; i < name.len; i++) {
        char ch = name.data[i];
        buf_add_char(&c->trailers, ch >= 'A' && ch <= 'Z' ? (char)(ch - 'A' + 'a') : ch);
    }
    buf_add_char(&c->trailers, ':');
    buf_add_span(&c->trailers, value);
    buf_add_char(&c->trailers, '\n');
    return OK;
}

// Takes bytes up to a line's end; *whole when it is there.
static enum err line_take(struct aws_chunked *c, struct span *piece, bool *whole,
                          struct error *error)
{
    const char *end = memchr(piece->data, '\n', piece->len);
    size_t len = end != NULL ? (size_t)(end - piece->data) : piece->len;
    if (len > sizeof c->line - c->line_len)
        return fail(error, ERR_LIMIT, 0, "a line between chunks has over %d bytes",
                    CHUNK_LINE_BYTES_MAX);
    memcpy(c->line + c->line_len, piece->data, len);
    c->line_len += len;
    *whole = end != NULL;
    len += *whole ? 1 : 0;
    *piece = (struct span){piece->data + len, piece->len - len};
    // an empty line without CR is a line, too: some SDKs end their trailer so
    if (*whole && c->line_len > 0 && c->line[--c->line_len] != '\r') {
        c->line_len++;
        if (c->state == CHUNKED_SIZE)
            return fail(error, ERR_FORMAT, 0, "a chunk's size line must end with CR LF");
    }
    return OK;
}

// --- feeding ---

static enum err data_take(struct aws_chunked *c, struct span *piece, aws_chunked_sink *sink,
                          void *ctx, struct error *error)
{
    size_t len = piece->len < c->left ? piece->len : (size_t)c->left;
    struct span data = {piece->data, len};
    if (c->config.with_signature) {
        if (c->sha256 == NULL)
            c->sha256 = digest_new(DIGEST_SHA256);
        digest_update(c->sha256, data.data, data.len);
    }
    TRY(sink(ctx, data, error));
    *piece = (struct span){piece->data + len, piece->len - len};
    c->left -= len;
    if (c->left > 0)
        return OK;
    c->state = CHUNKED_DATA_CR;
    return chunk_check(c, error);
}

static enum err expect(struct aws_chunked *c, struct span *piece, char wanted,
                       enum chunked_state next, struct error *error)
{
    if (piece->data[0] != wanted)
        return fail(error, ERR_FORMAT, 0, "a chunk is longer than its size says");
    *piece = (struct span){piece->data + 1, piece->len - 1};
    c->state = next;
    return OK;
}

enum err aws_chunked_feed(struct aws_chunked *c, struct span piece, aws_chunked_sink *sink,
                          void *ctx, struct error *error)
{
    while (piece.len > 0) {
        bool whole = false;
        switch (c->state) {
        case CHUNKED_DATA:
            TRY(data_take(c, &piece, sink, ctx, error));
            break;
        case CHUNKED_DATA_CR:
            TRY(expect(c, &piece, '\r', CHUNKED_DATA_LF, error));
            break;
        case CHUNKED_DATA_LF:
            TRY(expect(c, &piece, '\n', CHUNKED_SIZE, error));
            break;
        case CHUNKED_SIZE:
        case CHUNKED_TRAILER:
            TRY(line_take(c, &piece, &whole, error));
            if (whole) {
                struct span line = {c->line, c->line_len};
                c->line_len = 0;
                TRY(c->state == CHUNKED_SIZE ? size_line(c, line, error)
                                             : trailer_line(c, line, error));
            }
            break;
        case CHUNKED_END:
            return fail(error, ERR_FORMAT, 0, "there are bytes behind the end of the body");
        }
    }
    return OK;
}
