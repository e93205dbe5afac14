// The checksums that S3 clients give for a body (x-amz-checksum-*), running, and their names. Pure.
#pragma once

#include "s3/object_record.h"

struct checksum;

// "x-amz-checksum-crc32" …, any case; CHECKSUM_NONE if it is not one of ours.
enum checksum_kind checksum_kind_from_header(struct span header);
const char *checksum_name(enum checksum_kind kind);   // "CRC32"
const char *checksum_header(enum checksum_kind kind); // "x-amz-checksum-crc32"
size_t checksum_bytes(enum checksum_kind kind);       // 4, 4, 20, 32, 8; NONE: 0
// Decodes base64 into exactly the bytes of kind; false if it is not that.
bool checksum_decode(enum checksum_kind kind, struct span base64, uint8_t out[CHECKSUM_BYTES_MAX]);

struct checksum *checksum_new(enum checksum_kind kind);
void checksum_update(struct checksum *c, struct span data);
void checksum_finish(struct checksum *c,
                     uint8_t out[CHECKSUM_BYTES_MAX]); // big endian; then only free
void checksum_free(struct checksum *c);                // NULL allowed
