#include "s3/upload.h"

#include "base/check.h"
#include "base/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

enum {
    WRITEBACK_BYTES = 8 << 20
}; // the kernel starts writing after each of these: a short last sync

struct upload {
    struct blob_dir *blobs;
    struct upload_claims claims;
    struct buf small; // until it grows over S3_INLINE_BYTES_MAX
    uint64_t bytes, writeback_at;
    struct blob_file file; // id 0: none yet
    struct digest *md5, *sha256;
    struct checksum *checksum;
    uint32_t crc32c;
};

struct upload *upload_new(struct blob_dir *blobs, const struct upload_claims *claims)
{
    struct upload *u = calloc(1, sizeof *u);
    CHECK(u != NULL);
    *u = (struct upload){.blobs = blobs, .claims = *claims, .file = {.fd = -1}};
    u->md5 = digest_new(DIGEST_MD5);
    if (claims->has_sha256)
        u->sha256 = digest_new(DIGEST_SHA256);
    if (claims->checksum_kind != CHECKSUM_NONE)
        u->checksum = checksum_new(claims->checksum_kind);
    return u;
}

void upload_free(struct upload *u)
{
    if (u == NULL)
        return;
    fd_close(&u->file.fd);
    if (u->file.id != 0)
        blob_remove(u->blobs, u->file.id);
    buf_release(&u->small);
    digest_free(u->md5);
    digest_free(u->sha256);
    checksum_free(u->checksum);
    free(u);
}

static enum err store_piece(struct upload *u, struct span piece, struct error *error)
{
    if (u->file.id == 0 && u->bytes + piece.len <= S3_INLINE_BYTES_MAX) {
        buf_add_span(&u->small, piece);
        return OK;
    }
    if (u->file.id == 0) {
        TRY(blob_create(u->blobs, &u->file, error));
        TRY(blob_append(u->blobs, u->file.fd, buf_view(&u->small), error));
        buf_release(&u->small);
    }
    TRY(blob_append(u->blobs, u->file.fd, piece, error));
    if (u->bytes + piece.len >= u->writeback_at + WRITEBACK_BYTES) {
        sync_file_range(u->file.fd, (off_t)u->writeback_at, WRITEBACK_BYTES, SYNC_FILE_RANGE_WRITE);
        u->writeback_at += WRITEBACK_BYTES;
    }
    return OK;
}

enum err upload_write(struct upload *u, struct span piece, struct error *error)
{
    if (piece.len > S3_OBJECT_BYTES_MAX - u->bytes)
        return fail(error, ERR_LIMIT, 0, "a body has at most %llu bytes",
                    (unsigned long long)S3_OBJECT_BYTES_MAX);
    TRY(store_piece(u, piece, error));
    u->bytes += piece.len;
    u->crc32c = digest_crc32c(u->crc32c, piece.data, piece.len);
    if (u->sha256 != NULL)
        digest_update_both(u->md5, u->sha256, piece.data, piece.len);
    else
        digest_update(u->md5, piece.data, piece.len);
    if (u->checksum != NULL)
        checksum_update(u->checksum, piece);
    return OK;
}

uint64_t upload_bytes(const struct upload *u)
{
    return u->bytes;
}

void upload_claim_checksum(struct upload *u, const uint8_t checksum[CHECKSUM_BYTES_MAX])
{
    CHECK(u->checksum != NULL);
    memcpy(u->claims.checksum, checksum, CHECKSUM_BYTES_MAX);
    u->claims.has_checksum = true;
}

enum upload_verdict upload_finish(struct upload *u, struct object_record *record)
{
    const struct upload_claims *claims = &u->claims;
    uint8_t md5[SHA256_BYTES], sha256[SHA256_BYTES], checksum[CHECKSUM_BYTES_MAX] = {0};
    if (u->sha256 != NULL) {
        digest_finish(u->sha256, sha256);
        if (memcmp(sha256, claims->sha256, SHA256_BYTES) != 0)
            return UPLOAD_WRONG_SHA256;
    }
    digest_finish(u->md5, md5);
    if (claims->has_md5 && memcmp(md5, claims->md5, MD5_BYTES) != 0)
        return UPLOAD_WRONG_MD5;
    if (u->checksum != NULL) {
        checksum_finish(u->checksum, checksum);
        if (!claims->has_checksum || memcmp(checksum, claims->checksum, sizeof checksum) != 0)
            return UPLOAD_WRONG_CHECKSUM;
    }
    record->size_bytes = u->bytes;
    record->body_crc32c = u->crc32c;
    record->blob_id = u->file.id;
    record->body = buf_view(&u->small);
    record->checksum_kind = claims->checksum_kind;
    memcpy(record->md5, md5, MD5_BYTES);
    memcpy(record->checksum, checksum, sizeof checksum);
    return UPLOAD_GOOD;
}

struct blob_file upload_take(struct upload *u)
{
    struct blob_file file = u->file;
    u->file = (struct blob_file){.fd = -1};
    return file;
}
