// The body of an object on its way in: digests run along, small bodies stay in memory, larger ones
// go to a body file piece by piece. Nothing is visible before its record is committed; a body file
// that is not taken is removed.
#pragma once

#include "s3/blob.h"
#include "s3/checksum.h"

struct upload_claims { // what the client says about its body
    bool has_sha256, has_md5;
    uint8_t sha256[SHA256_BYTES];
    uint8_t md5[MD5_BYTES];
    enum checksum_kind checksum_kind;
    bool has_checksum; // false with a kind: its value comes after the body (upload_claim_checksum)
    uint8_t checksum[CHECKSUM_BYTES_MAX];
};

enum upload_verdict {
    UPLOAD_GOOD,
    UPLOAD_WRONG_SHA256,
    UPLOAD_WRONG_MD5,
    UPLOAD_WRONG_CHECKSUM,
};

struct upload;

struct upload *upload_new(struct blob_dir *blobs, const struct upload_claims *claims);
void upload_free(struct upload *u); // NULL allowed; removes a body file that was not taken
// ERR_FULL (disk), ERR_LIMIT (over S3_OBJECT_BYTES_MAX), ERR_IO. After a failure only free.
enum err upload_write(struct upload *u, struct span piece, struct error *error) MUST_CHECK;
uint64_t upload_bytes(const struct upload *u);
void upload_claim_checksum(struct upload *u, const uint8_t checksum[CHECKSUM_BYTES_MAX]);
// All is there: compares with the claims and, when good, fills what the record says of the body.
// The view record->body is valid until upload_free. Once.
enum upload_verdict upload_finish(struct upload *u, struct object_record *record);
// Hands the body file over, after upload_finish; id 0 and fd -1 if the body is small.
struct blob_file upload_take(struct upload *u);
