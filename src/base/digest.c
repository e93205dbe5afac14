#define OPENSSL_SUPPRESS_DEPRECATED // SHA256_*, MD5_*
#include "base/digest.h"

#include "base/check.h"
#include "base/text.h"

#include <openssl/crypto.h>
#include <openssl/md5.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

// The plain functions, not EVP: for the kilobyte of a request EVP's objects, look-ups and copies
// took as long as the digest itself. Both are in every OpenSSL 3, and of the same assembly.
struct digest {
    enum digest_kind kind;
    union {
        MD5_CTX md5;
        SHA256_CTX sha256;
    } state;
};

void digest_md5(struct span data, uint8_t out[MD5_BYTES])
{
    MD5_CTX c;
    MD5_Init(&c);
    MD5_Update(&c, data.data, data.len);
    MD5_Final(out, &c);
}

void digest_sha256(struct span data, uint8_t out[SHA256_BYTES])
{
    SHA256_CTX c;
    SHA256_Init(&c);
    SHA256_Update(&c, data.data, data.len);
    SHA256_Final(out, &c);
}

void digest_hmac_sha256(struct span key, struct span data, uint8_t out[SHA256_BYTES])
{
    // RFC 2104
    uint8_t block[64] = {0};
    SHA256_CTX c;
    if (key.len > sizeof block)
        digest_sha256(key, block);
    else if (key.len > 0)
        memcpy(block, key.data, key.len);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36;
    SHA256_Init(&c);
    SHA256_Update(&c, block, sizeof block);
    SHA256_Update(&c, data.data, data.len);
    SHA256_Final(out, &c);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36 ^ 0x5c;
    SHA256_Init(&c);
    SHA256_Update(&c, block, sizeof block);
    SHA256_Update(&c, out, SHA256_BYTES);
    SHA256_Final(out, &c);
    OPENSSL_cleanse(block, sizeof block);
}

struct digest *digest_new(enum digest_kind kind)
{
    struct digest *d = malloc(sizeof *d);
    CHECK(d != NULL);
    d->kind = kind;
    if (kind == DIGEST_MD5)
        MD5_Init(&d->state.md5);
    else
        SHA256_Init(&d->state.sha256);
    return d;
}

void digest_update(struct digest *d, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (d->kind == DIGEST_MD5)
        MD5_Update(&d->state.md5, data, len);
    else
        SHA256_Update(&d->state.sha256, data, len);
}

void digest_update_both(struct digest *md5, struct digest *sha256, const void *data, size_t len)
{
    enum { BLOCK = 64 }; // of both; the processor looks ahead about as far as one of each
    const char *at = data;
    CHECK(md5->kind == DIGEST_MD5 && sha256->kind == DIGEST_SHA256 &&
          md5->state.md5.num == sha256->state.sha256.num);
    for (size_t step = BLOCK - md5->state.md5.num; len > 0; step = BLOCK) {
        step = step < len ? step : len;
        MD5_Update(&md5->state.md5, at, step);
        SHA256_Update(&sha256->state.sha256, at, step);
        at += step;
        len -= step;
    }
}

size_t digest_finish(struct digest *d, uint8_t out[SHA256_BYTES])
{
    if (d->kind == DIGEST_MD5) {
        MD5_Final(out, &d->state.md5);
        return MD5_BYTES;
    }
    SHA256_Final(out, &d->state.sha256);
    return SHA256_BYTES;
}

void digest_free(struct digest *d)
{
    free(d);
}

static uint32_t crc32c_table[256];

__attribute__((constructor)) static void crc32c_table_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
        crc32c_table[i] = crc;
    }
}

static uint32_t crc32c_plain(uint32_t crc, const uint8_t *p, size_t len)
{
    for (; len > 0; len--)
        crc = crc32c_table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *p,
                                                               size_t len)
{
    uint64_t crc64 = crc;
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        crc64 = __builtin_ia32_crc32di(crc64, word);
    }
    crc = (uint32_t)crc64;
    for (; len > 0; len--)
        crc = __builtin_ia32_crc32qi(crc, *p++);
    return crc;
}
#endif

uint32_t digest_crc32c(uint32_t crc, const void *data, size_t len)
{
    crc = ~crc;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc32c_sse42(crc, data, len);
#endif
    return ~crc32c_plain(crc, data, len);
}

#define HEX_ROW(h)                                                                                 \
    h "0" h "1" h "2" h "3" h "4" h "5" h "6" h "7" h "8" h "9" h "a" h "b" h "c" h "d" h "e" h "f"
static const char hex_pairs[] = HEX_ROW("0") HEX_ROW("1") HEX_ROW("2") HEX_ROW("3") HEX_ROW("4")
    HEX_ROW("5") HEX_ROW("6") HEX_ROW("7") HEX_ROW("8") HEX_ROW("9") HEX_ROW("a") HEX_ROW("b")
        HEX_ROW("c") HEX_ROW("d") HEX_ROW("e") HEX_ROW("f");

void hex_encode(const void *data, size_t len, char *out)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++)
        memcpy(out + 2 * i, hex_pairs + 2 * p[i], 2);
    out[2 * len] = '\0';
}

bool hex_decode(struct span text, void *out, size_t out_len)
{
    // a table: nobody can predict branches over random digits
    enum { GOOD = 0x10 };
    static const uint8_t values[256] = {
        ['0'] = GOOD,      ['1'] = GOOD | 1,  ['2'] = GOOD | 2,  ['3'] = GOOD | 3,
        ['4'] = GOOD | 4,  ['5'] = GOOD | 5,  ['6'] = GOOD | 6,  ['7'] = GOOD | 7,
        ['8'] = GOOD | 8,  ['9'] = GOOD | 9,  ['a'] = GOOD | 10, ['b'] = GOOD | 11,
        ['c'] = GOOD | 12, ['d'] = GOOD | 13, ['e'] = GOOD | 14, ['f'] = GOOD | 15,
        ['A'] = GOOD | 10, ['B'] = GOOD | 11, ['C'] = GOOD | 12, ['D'] = GOOD | 13,
        ['E'] = GOOD | 14, ['F'] = GOOD | 15};
    uint8_t *p = out, good = GOOD;
    if (text.len != 2 * out_len)
        return false;
    for (size_t i = 0; i < out_len; i++) {
        uint8_t high = values[(uint8_t)text.data[2 * i]];
        uint8_t low = values[(uint8_t)text.data[2 * i + 1]];
        good &= high & low;
        p[i] = (uint8_t)(high << 4 | (low & 15));
    }
    return good != 0;
}

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct span data, struct buf *out)
{
    const uint8_t *p = (const uint8_t *)data.data;
    buf_reserve(out, data.len / 3 * 4 + 4);
    for (size_t i = 0; i < data.len; i += 3) {
        size_t left = data.len - i;
        uint32_t v = (uint32_t)p[i] << 16;
        if (left > 1)
            v |= (uint32_t)p[i + 1] << 8;
        if (left > 2)
            v |= p[i + 2];
        char quad[4] = {base64_alphabet[v >> 18], base64_alphabet[v >> 12 & 63],
                        left > 1 ? base64_alphabet[v >> 6 & 63] : '=',
                        left > 2 ? base64_alphabet[v & 63] : '='};
        buf_add(out, quad, 4);
    }
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct span text, struct buf *out)
{
    if (text.len % 4 != 0)
        return false;
    buf_reserve(out, text.len / 4 * 3);
    for (size_t i = 0; i < text.len; i += 4) {
        bool last = i + 4 == text.len;
        int pad = last && text.data[i + 3] == '=' ? (text.data[i + 2] == '=' ? 2 : 1) : 0;
        uint32_t v = 0;
        for (int k = 0; k < 4; k++) {
            int value = k >= 4 - pad ? 0 : base64_value(text.data[i + (size_t)k]);
            if (value < 0)
                return false;
            v = v << 6 | (uint32_t)value;
        }
        char bytes[3] = {(char)(v >> 16), (char)(v >> 8), (char)v};
        buf_add(out, bytes, (size_t)(3 - pad));
    }
    return true;
}

bool bytes_equal_constant_time(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
