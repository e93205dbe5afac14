// PutObject: the head is checked before any byte of the body is taken, the body streams to its
// place with its digests, the reply comes when body and record are durable.
#include "s3/s3_server.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

// --- headers that are stored with the object ---

static const char *const stored_headers[] = {"Content-Type", "Cache-Control", "Content-Disposition",
                                             "Content-Language", "Expires"};

// Headers that ask for something we do not do, with the values that ask for nothing special.
static const struct {
    const char *name, *harmless;
} refused_headers[] = {
    {"x-amz-acl", "private"},
    {"x-amz-grant-full-control", NULL},
    {"x-amz-grant-read", NULL},
    {"x-amz-grant-read-acp", NULL},
    {"x-amz-grant-write-acp", NULL},
    {"x-amz-server-side-encryption", NULL},
    {"x-amz-server-side-encryption-customer-algorithm", NULL},
    {"x-amz-storage-class", "STANDARD"},
    {"x-amz-tagging", NULL},
    {"x-amz-website-redirect-location", NULL},
    {"x-amz-object-lock-mode", NULL},
    {"x-amz-object-lock-legal-hold", NULL},
    {"x-amz-write-offset-bytes", NULL},
};

static bool refuse_unknown(struct s3_request *r)
{
    for (size_t i = 0; i < sizeof refused_headers / sizeof refused_headers[0]; i++) {
        struct span value = s3_header(r, refused_headers[i].name);
        const char *harmless = refused_headers[i].harmless;
        if (value.len == 0 || (harmless != NULL && span_is(value, harmless)))
            continue;
        s3_send_error(r, S3_NOT_IMPLEMENTED,
                      arena_printf(&r->http->arena, "This server does not do %s: %.*s.",
                                   refused_headers[i].name,
                                   (int)(value.len < 100 ? value.len : 100), value.data));
        return false;
    }
    return true;
}

// Content-Encoding without aws-chunked, which is of the transfer only: "gzip,aws-chunked" → "gzip".
static void add_encoding(struct s3_request *r, struct buf *headers)
{
    struct span rest = s3_header(r, "Content-Encoding");
    AUTO_BUF struct buf kept = {0};
    while (rest.len > 0) {
        struct span one = span_trim(span_cut(rest, ',', &rest));
        if (one.len == 0 || span_is_nocase(one, "aws-chunked"))
            continue;
        if (kept.len > 0)
            buf_add_text(&kept, ", ");
        buf_add_span(&kept, one);
    }
    if (kept.len > 0)
        record_header_add(headers, SPAN("content-encoding"), buf_view(&kept));
}

// False: replied.
static bool collect_headers(struct s3_request *r, struct buf *headers)
{
    size_t metadata_bytes = 0;
    for (size_t i = 0; i < sizeof stored_headers / sizeof stored_headers[0]; i++) {
        struct span value = s3_header(r, stored_headers[i]);
        if (value.len > 0)
            record_header_add(headers, span_from(stored_headers[i]), value);
        else if (i == 0)
            record_header_add(headers, SPAN("content-type"), SPAN("binary/octet-stream"));
    }
    add_encoding(r, headers);
    for (size_t i = 0; i < r->http->header_count; i++) {
        const struct http_header *h = &r->http->headers[i];
        if (h->name.len <= 11 || strncasecmp(h->name.data, "x-amz-meta-", 11) != 0)
            continue;
        struct span value = span_trim(h->value);
        metadata_bytes += h->name.len - 11 + value.len;
        record_header_add(headers, h->name, value);
    }
    if (metadata_bytes <= S3_METADATA_BYTES_MAX && headers->len <= S3_HEADER_BYTES_MAX)
        return true;
    s3_send_error(r, S3_METADATA_TOO_LARGE, NULL);
    return false;
}

// --- what the client says about its body ---

static bool is_checksum_setting(struct span name)
{
    return span_is_nocase(name, "x-amz-checksum-algorithm") ||
           span_is_nocase(name, "x-amz-checksum-type") ||
           span_is_nocase(name, "x-amz-checksum-mode");
}

// The x-amz-checksum-* header, or the one that x-amz-trailer announces. False: replied.
static bool claims_checksum(struct s3_request *r, struct upload_claims *claims)
{
    struct span trailer = s3_header(r, "x-amz-trailer");
    for (size_t i = 0; i < r->http->header_count; i++) {
        const struct http_header *h = &r->http->headers[i];
        if (h->name.len <= 15 || strncasecmp(h->name.data, "x-amz-checksum-", 15) != 0 ||
            is_checksum_setting(h->name))
            continue;
        enum checksum_kind kind = checksum_kind_from_header(h->name);
        const char *fault = NULL;
        if (kind == CHECKSUM_NONE) {
            s3_send_error(r, S3_NOT_IMPLEMENTED,
                          "Checksums are CRC32, CRC32C, CRC64NVME, SHA1 or SHA256.");
            return false;
        }
        if (claims->checksum_kind != CHECKSUM_NONE || trailer.len > 0)
            fault = "A request has at most one x-amz-checksum- header or trailer.";
        else if (!checksum_decode(kind, span_trim(h->value), claims->checksum))
            fault =
                arena_printf(&r->http->arena, "The value of %s is not valid base64 of %zu bytes.",
                             checksum_header(kind), checksum_bytes(kind));
        if (fault != NULL) {
            s3_send_error(r, S3_INVALID_REQUEST, fault);
            return false;
        }
        claims->checksum_kind = kind;
        claims->has_checksum = true;
    }
    if (trailer.len > 0) {
        claims->checksum_kind = checksum_kind_from_header(trailer);
        if (claims->checksum_kind == CHECKSUM_NONE || r->chunked == NULL ||
            !r->chunked->config.with_trailer) {
            s3_send_error(
                r, S3_INVALID_REQUEST,
                "x-amz-trailer can announce one x-amz-checksum- header of a body sent with "
                "a STREAMING-…-TRAILER payload.");
            return false;
        }
    }
    return true;
}

// False: replied.
static bool claims_read(struct s3_request *r, struct upload_claims *claims)
{
    AUTO_BUF struct buf md5 = {0};
    struct span given = s3_header(r, "Content-MD5");
    claims->has_sha256 = hex_decode(r->payload_hash, claims->sha256, sizeof claims->sha256);
    if (given.len > 0) {
        if (given.len > 64 || !base64_decode(given, &md5) || md5.len != MD5_BYTES) {
            s3_send_error(r, S3_INVALID_DIGEST, NULL);
            return false;
        }
        claims->has_md5 = true;
        memcpy(claims->md5, md5.data, MD5_BYTES);
    }
    return claims_checksum(r, claims);
}

// --- how the body is sent ---

// Sets r->chunked if the body is in aws-chunked coding. False: replied.
static bool coding_read(struct s3_request *r)
{
    struct span hash = r->payload_hash;
    struct aws_chunked_config config = {0};
    if (!span_starts(hash, "STREAMING-"))
        return true;
    if (span_is(hash, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")) {
        config.with_trailer = true;
    } else if (span_is(hash, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")) {
        config.with_signature = true;
    } else if (span_is(hash, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")) {
        config.with_signature = config.with_trailer = true;
    } else {
        s3_send_error(r, S3_NOT_IMPLEMENTED,
                      "Of the STREAMING-… payloads this server knows UNSIGNED-PAYLOAD-TRAILER and "
                      "AWS4-HMAC-SHA256-PAYLOAD with and without -TRAILER.");
        return false;
    }
    memcpy(config.signing_key, r->identity.signing_key, sizeof config.signing_key);
    memcpy(config.signature, r->identity.signature, sizeof config.signature);
    snprintf(config.amz_date, sizeof config.amz_date, "%s", r->identity.amz_date);
    snprintf(config.scope, sizeof config.scope, "%.8s/%s/s3/aws4_request", r->identity.amz_date,
             r->identity.region);
    r->chunked = arena_alloc(&r->http->arena, sizeof *r->chunked);
    aws_chunked_init(r->chunked, &config);
    return true;
}

// The body's length is known or the framing shows its end, and it is within the limit. False:
// replied.
static bool length_check(struct s3_request *r)
{
    struct span decoded = s3_header(r, "x-amz-decoded-content-length");
    uint64_t bytes = 0;
    if (r->http->content_length < 0 && s3_header(r, "Transfer-Encoding").len == 0) {
        s3_send_error(r, S3_MISSING_CONTENT_LENGTH, NULL);
        return false;
    }
    if (r->chunked != NULL && decoded.len > 0) {
        if (!span_to_u64(decoded, UINT64_MAX, &bytes)) {
            s3_send_error(r, S3_INVALID_ARGUMENT, "x-amz-decoded-content-length is not a number.");
            return false;
        }
    } else if (r->chunked == NULL && r->http->content_length > 0) {
        bytes = (uint64_t)r->http->content_length;
    }
    if (bytes <= S3_OBJECT_BYTES_MAX)
        return true;
    s3_send_error(r, S3_ENTITY_TOO_LARGE,
                  arena_printf(&r->http->arena,
                               "An object put in one piece has at most %llu bytes.",
                               (unsigned long long)S3_OBJECT_BYTES_MAX));
    return false;
}

// Is there a bucket, and may the object be written as things stand? The commit decides; this saves
// sending a body in vain. False: replied.
static bool target_check(struct s3_request *r)
{
    struct store_object object;
    struct error error;
    bool no_bucket = false;
    enum err err = store_read_begin(r->server->store, NULL, &error);
    if (err == OK)
        err = store_object_open(r->server->store, r->bucket, r->key, false, &object, &no_bucket,
                                &error);
    store_read_end(r->server->store);
    if (err == ERR_NOT_FOUND && !no_bucket)
        return true;
    if (err == OK && r->put->if_none_match)
        err = ERR_PRECONDITION;
    if (err == OK || err == ERR_CORRUPT) // a damaged object may be overwritten
        return true;
    s3_send_failure(r, err, no_bucket, &error);
    return false;
}

void op_put_head(struct s3_request *r)
{
    struct upload_claims claims = {0};
    r->put = commit_op_new(COMMIT_PUT, span_from(r->bucket), r->key);
    if (coding_read(r) && length_check(r) && refuse_unknown(r) && claims_read(r, &claims) &&
        collect_headers(r, &r->put->headers) && s3_write_conditions(r, r->put) && target_check(r))
        r->upload = store_upload(r->server->store, &claims);
}

// --- the body ---

static enum err sink(void *ctx, struct span piece, struct error *error)
{
    return upload_write(((struct s3_request *)ctx)->upload, piece, error);
}

void op_put_body(struct s3_request *r, struct span piece)
{
    struct error error;
    enum err err;
    if (r->chunked != NULL)
        err = aws_chunked_feed(r->chunked, piece, sink, r, &error);
    else
        err = upload_write(r->upload, piece, &error);
    if (err == OK)
        return;
    if (err == ERR_DENIED)
        s3_send_error(r, S3_SIGNATURE_DOES_NOT_MATCH,
                      arena_copy(&r->http->arena, span_from(error.msg)));
    else if (err == ERR_FORMAT)
        s3_send_error(r, S3_INVALID_REQUEST, arena_copy(&r->http->arena, span_from(error.msg)));
    else
        s3_send_failure(r, err, false, &error);
    upload_free(r->upload); // its file goes now, not when the client has sent the rest
    r->upload = NULL;
}

// The end of an aws-chunked body: all there, and the announced trailer with it. False: replied.
static bool chunked_finish(struct s3_request *r)
{
    struct span decoded = s3_header(r, "x-amz-decoded-content-length");
    struct span trailer = s3_header(r, "x-amz-trailer");
    uint8_t checksum[CHECKSUM_BYTES_MAX];
    uint64_t bytes;
    if (!aws_chunked_done(r->chunked) ||
        (decoded.len > 0 && span_to_u64(decoded, UINT64_MAX, &bytes) &&
         bytes != upload_bytes(r->upload))) {
        s3_send_error(r, S3_INCOMPLETE_BODY, NULL);
        return false;
    }
    if (trailer.len == 0)
        return true;
    enum checksum_kind kind = checksum_kind_from_header(trailer);
    if (!checksum_decode(kind, aws_chunked_trailer(r->chunked, checksum_header(kind)), checksum)) {
        s3_send_error(r, S3_MALFORMED_TRAILER, NULL);
        return false;
    }
    upload_claim_checksum(r->upload, checksum);
    return true;
}

// --- the end ---

static void on_committed(struct s3_request *r, struct commit_op *op)
{
    struct object_record record;
    struct s3_reply reply = {.count = 0};
    AUTO_BUF struct buf checksum = {0};
    char etag[ETAG_BYTES];
    if (op->err != OK) {
        s3_send_failure(r, op->err, op->no_bucket, &op->error);
        return;
    }
    CHECK(record_decode(buf_view(&op->record), &record, NULL) == OK); // encoded by us, in memory
    record_etag(&record, etag);
    s3_reply_header(&reply, "ETag", span_from(etag));
    s3_reply_checksum(&reply, &record, &checksum);
    s3_send(r, 200, &reply, SPAN(""));
}

void op_put(struct s3_request *r)
{
    struct object_record record = {0};
    struct commit_op *op = r->put;
    if (r->chunked != NULL && !chunked_finish(r))
        return;
    switch (upload_finish(r->upload, &record)) {
    case UPLOAD_GOOD:
        break;
    case UPLOAD_WRONG_SHA256:
        s3_send_error(r, S3_SHA256_MISMATCH, NULL);
        return;
    case UPLOAD_WRONG_MD5:
    case UPLOAD_WRONG_CHECKSUM:
        s3_send_error(r, S3_BAD_DIGEST, NULL);
        return;
    }
    record.modified_ms = clock_wall_ms();
    record.headers = buf_view(&op->headers);
    record_encode(&record, &op->record);
    op->file = upload_take(r->upload);
    r->put = NULL;
    s3_submit(r, op, on_committed);
}
