#include "s3/checksum.h"

#include "base/check.h"

#include <endian.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct checksum {
    enum checksum_kind kind;
    uint64_t crc;
    struct digest *sha256;
    EVP_MD_CTX *sha1;
};

static const struct {
    const char *name, *header;
    size_t bytes;
} kinds[] = {
    [CHECKSUM_NONE] = {"", "", 0},
    [CHECKSUM_CRC32] = {"CRC32", "x-amz-checksum-crc32", 4},
    [CHECKSUM_CRC32C] = {"CRC32C", "x-amz-checksum-crc32c", 4},
    [CHECKSUM_SHA1] = {"SHA1", "x-amz-checksum-sha1", 20},
    [CHECKSUM_SHA256] = {"SHA256", "x-amz-checksum-sha256", 32},
    [CHECKSUM_CRC64NVME] = {"CRC64NVME", "x-amz-checksum-crc64nvme", 8},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

// Tables for eight bytes at a time ("slicing by 8"): tables[k][b] is the CRC of byte b followed by
// k zero bytes.
static uint64_t crc32_tables[8][256], crc64_tables[8][256];

static void tables_fill(uint64_t tables[8][256], uint64_t polynomial)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? (crc >> 1) ^ polynomial : crc >> 1;
        tables[0][i] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (unsigned i = 0; i < 256; i++) {
            uint64_t crc = tables[k - 1][i];
            tables[k][i] = tables[0][crc & 0xff] ^ (crc >> 8);
        }
}

__attribute__((constructor)) static void tables_init(void)
{
    tables_fill(crc32_tables, 0xedb88320u);         // ISO-HDLC, reflected (zlib's)
    tables_fill(crc64_tables, 0x9a6c9329ac4bc9b5u); // NVMe, reflected
}

// Works for both widths: a reflected CRC of 32 bits is one of 64 whose upper half stays 0.
static uint64_t crc_update(uint64_t tables[8][256], uint64_t crc, struct span data)
{
    const uint8_t *p = (const uint8_t *)data.data;
    size_t len = data.len;
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        crc ^= le64toh(word);
        uint64_t next = 0;
        for (int k = 0; k < 8; k++)
            next ^= tables[7 - k][crc >> (8 * k) & 0xff];
        crc = next;
    }
    for (; len > 0; len--)
        crc = tables[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
    return crc;
}

enum checksum_kind checksum_kind_from_header(struct span header)
{
    for (int i = 1; i < KINDS; i++)
        if (span_is_nocase(header, kinds[i].header))
            return (enum checksum_kind)i;
    return CHECKSUM_NONE;
}

const char *checksum_name(enum checksum_kind kind)
{
    return (int)kind < KINDS ? kinds[kind].name : "";
}

const char *checksum_header(enum checksum_kind kind)
{
    return (int)kind < KINDS ? kinds[kind].header : "";
}

size_t checksum_bytes(enum checksum_kind kind)
{
    return (int)kind < KINDS ? kinds[kind].bytes : 0;
}

bool checksum_decode(enum checksum_kind kind, struct span base64, uint8_t out[CHECKSUM_BYTES_MAX])
{
    AUTO_BUF struct buf raw = {0};
    if (base64.len > 64 || !base64_decode(base64, &raw) || raw.len != checksum_bytes(kind))
        return false;
    memset(out, 0, CHECKSUM_BYTES_MAX);
    memcpy(out, raw.data, raw.len);
    return true;
}

struct checksum *checksum_new(enum checksum_kind kind)
{
    struct checksum *c = calloc(1, sizeof *c);
    CHECK(c != NULL && kind != CHECKSUM_NONE);
    c->kind = kind;
    if (kind == CHECKSUM_CRC32)
        c->crc = UINT32_MAX;
    else if (kind == CHECKSUM_CRC64NVME)
        c->crc = UINT64_MAX;
    else if (kind == CHECKSUM_SHA256)
        c->sha256 = digest_new(DIGEST_SHA256);
    else if (kind == CHECKSUM_SHA1) {
        c->sha1 = EVP_MD_CTX_new();
        CHECK(c->sha1 != NULL && EVP_DigestInit_ex2(c->sha1, EVP_sha1(), NULL) == 1);
    }
    return c;
}

void checksum_update(struct checksum *c, struct span data)
{
    if (data.len == 0)
        return;
    if (c->kind == CHECKSUM_CRC32)
        c->crc = crc_update(crc32_tables, c->crc, data);
    else if (c->kind == CHECKSUM_CRC64NVME)
        c->crc = crc_update(crc64_tables, c->crc, data);
    else if (c->kind == CHECKSUM_CRC32C)
        c->crc = digest_crc32c((uint32_t)c->crc, data.data, data.len);
    else if (c->kind == CHECKSUM_SHA256)
        digest_update(c->sha256, data.data, data.len);
    else
        CHECK(EVP_DigestUpdate(c->sha1, data.data, data.len) == 1);
}

void checksum_finish(struct checksum *c, uint8_t out[CHECKSUM_BYTES_MAX])
{
    memset(out, 0, CHECKSUM_BYTES_MAX);
    if (c->kind == CHECKSUM_SHA256) {
        digest_finish(c->sha256, out);
    } else if (c->kind == CHECKSUM_SHA1) {
        CHECK(EVP_DigestFinal_ex(c->sha1, out, NULL) == 1);
    } else if (c->kind == CHECKSUM_CRC64NVME) {
        uint64_t big = htobe64(~c->crc);
        memcpy(out, &big, sizeof big);
    } else {
        uint32_t crc = c->kind == CHECKSUM_CRC32 ? ~(uint32_t)c->crc : (uint32_t)c->crc;
        uint32_t big = htobe32(crc);
        memcpy(out, &big, sizeof big);
    }
}

void checksum_free(struct checksum *c)
{
    if (c == NULL)
        return;
    digest_free(c->sha256);
    EVP_MD_CTX_free(c->sha1);
    free(c);
}
