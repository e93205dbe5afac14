#include "s3/object_record.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

struct record_head {
    uint8_t version;
    uint8_t checksum_kind;
    uint16_t parts;
    uint32_t body_crc32c;
    uint64_t size_bytes;
    int64_t modified_ms;
    uint64_t blob_id;
    uint8_t md5[MD5_BYTES];
    uint8_t checksum[CHECKSUM_BYTES_MAX];
    uint32_t headers_bytes;
    uint32_t head_crc32c;
};
_Static_assert(sizeof(struct record_head) == 88, "the layout on disk");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the layout on disk is little endian");

static uint32_t head_crc32c(const struct record_head *head, struct span headers)
{
    struct record_head plain = *head;
    plain.head_crc32c = 0;
    return digest_crc32c(digest_crc32c(0, &plain, sizeof plain), headers.data, headers.len);
}

void record_encode(const struct object_record *record, struct buf *out)
{
    CHECK(record->headers.len <= UINT32_MAX);
    CHECK(record->blob_id != 0 || record->body.len == record->size_bytes);
    struct record_head head = {
        .version = RECORD_VERSION,
        .checksum_kind = (uint8_t)record->checksum_kind,
        .parts = record->parts,
        .body_crc32c = record->body_crc32c,
        .size_bytes = record->size_bytes,
        .modified_ms = record->modified_ms,
        .blob_id = record->blob_id,
        .headers_bytes = (uint32_t)record->headers.len,
    };
    memcpy(head.md5, record->md5, sizeof head.md5);
    memcpy(head.checksum, record->checksum, sizeof head.checksum);
    head.head_crc32c = head_crc32c(&head, record->headers);
    buf_add(out, &head, sizeof head);
    buf_add_span(out, record->headers);
    if (record->blob_id == 0)
        buf_add_span(out, record->body);
}

enum err record_decode(struct span bytes, struct object_record *out, struct error *error)
{
    struct record_head head;
    if (bytes.len < sizeof head)
        return fail(error, ERR_CORRUPT, 0, "object record of %zu bytes is too short", bytes.len);
    memcpy(&head, bytes.data, sizeof head);
    if (head.version > RECORD_VERSION)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "object record has version %u, this smelt knows up to %d", head.version,
                    RECORD_VERSION);
    if (head.headers_bytes > bytes.len - sizeof head)
        return fail(error, ERR_CORRUPT, 0, "object record is cut in its headers");
    struct span headers = {bytes.data + sizeof head, head.headers_bytes};
    if (head_crc32c(&head, headers) != head.head_crc32c)
        return fail(error, ERR_CORRUPT, 0, "object record does not have its checksum");
    struct span body = {headers.data + headers.len, bytes.len - sizeof head - headers.len};
    if (body.len != (head.blob_id == 0 ? head.size_bytes : 0))
        return fail(error, ERR_CORRUPT, 0, "object record holds %zu bytes of body", body.len);
    *out = (struct object_record){
        .size_bytes = head.size_bytes,
        .modified_ms = head.modified_ms,
        .blob_id = head.blob_id,
        .body_crc32c = head.body_crc32c,
        .parts = head.parts,
        .checksum_kind = (enum checksum_kind)head.checksum_kind,
        .headers = headers,
        .body = body,
    };
    memcpy(out->md5, head.md5, sizeof head.md5);
    memcpy(out->checksum, head.checksum, sizeof head.checksum);
    return OK;
}

enum err record_check_body(const struct object_record *record, struct span body,
                           struct error *error)
{
    if (body.len != record->size_bytes)
        return fail(error, ERR_CORRUPT, 0, "body has %zu bytes, %llu were stored", body.len,
                    (unsigned long long)record->size_bytes);
    if (digest_crc32c(0, body.data, body.len) != record->body_crc32c)
        return fail(error, ERR_CORRUPT, 0, "body of %zu bytes was changed on disk", body.len);
    return OK;
}

void record_header_add(struct buf *headers, struct span name, struct span value)
{
    CHECK(name.len <= UINT16_MAX && value.len <= UINT16_MAX);
    uint16_t lens[2] = {(uint16_t)name.len, (uint16_t)value.len};
    buf_add(headers, lens, sizeof lens);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        buf_add_char(headers, c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c);
    }
    buf_add_span(headers, value);
}

bool record_header_next(struct span *headers, struct span *name, struct span *value)
{
    uint16_t lens[2];
    if (headers->len < sizeof lens)
        return false;
    memcpy(lens, headers->data, sizeof lens);
    size_t bytes = sizeof lens + lens[0] + lens[1];
    if (headers->len < bytes)
        return false;
    *name = (struct span){headers->data + sizeof lens, lens[0]};
    *value = (struct span){name->data + name->len, lens[1]};
    *headers = (struct span){headers->data + bytes, headers->len - bytes};
    return true;
}

void record_etag(const struct object_record *record, char out[ETAG_BYTES])
{
    out[0] = '"';
    hex_encode(record->md5, MD5_BYTES, out + 1);
    size_t len = 1 + 2 * MD5_BYTES;
    if (record->parts > 0)
        len += (size_t)snprintf(out + len, ETAG_BYTES - len, "-%u", record->parts);
    out[len] = '"';
    out[len + 1] = '\0';
}
