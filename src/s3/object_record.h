// What the catalog stores for an object: one record, little endian, as laid out here. Pure.
//
//     struct record_head | headers | body (only when blob_id is 0)
//
// headers: for each one u16 name bytes, u16 value bytes, name (lower case), value.
// head_crc32c covers the head (with itself as 0) and the headers; body_crc32c the body, wherever it
// is. A change of this layout takes a new RECORD_VERSION; versions above ours are refused.
#pragma once

#include "base/digest.h"
#include "base/limits.h"

enum { RECORD_VERSION = 1 };

enum checksum_kind { // stored: never renumber
    CHECKSUM_NONE = 0,
    CHECKSUM_CRC32 = 1,
    CHECKSUM_CRC32C = 2,
    CHECKSUM_SHA1 = 3,
    CHECKSUM_SHA256 = 4,
    CHECKSUM_CRC64NVME = 5,
};
enum { CHECKSUM_BYTES_MAX = 32 };

struct object_record {
    uint64_t size_bytes;
    int64_t modified_ms; // wall clock
    uint64_t blob_id;    // file of the body; 0: the body is in the record
    uint32_t body_crc32c;
    uint16_t parts; // of a multipart upload: the etag's suffix; 0: none
    uint8_t md5[MD5_BYTES];
    enum checksum_kind checksum_kind; // given by the client, verified
    uint8_t checksum[CHECKSUM_BYTES_MAX];
    struct span headers; // encoded, see record_header_*
    struct span body;    // when blob_id is 0
};

void record_encode(const struct object_record *record, struct buf *out);
// The views in *out point into bytes. ERR_CORRUPT if the bytes are not a record or were changed;
// ERR_UNSUPPORTED if a newer smelt wrote them. The body's checksum is not looked at.
enum err record_decode(struct span bytes, struct object_record *out,
                       struct error *error) MUST_CHECK;
// ERR_CORRUPT if the body is not the one that was stored.
enum err record_check_body(const struct object_record *record, struct span body,
                           struct error *error) MUST_CHECK;

// name and value: at most 65535 bytes
void record_header_add(struct buf *headers, struct span name, struct span value);
// Takes the first header off *headers; false when there is none left.
bool record_header_next(struct span *headers, struct span *name, struct span *value);

enum { ETAG_BYTES = 2 * MD5_BYTES + 2 + 6 + 1 };
void record_etag(const struct object_record *record, char out[ETAG_BYTES]); // in quotes
