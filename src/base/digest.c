#include "base/digest.h"

#include "base/check.h"
#include "base/text.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

struct digest {
    EVP_MD_CTX *ctx;
};

static const EVP_MD *md_of(enum digest_kind kind)
{
    // fetched once: EVP_md5() would look its implementation up at each use
    static const EVP_MD *md5, *sha256;
    const EVP_MD **slot = kind == DIGEST_MD5 ? &md5 : &sha256;
    const EVP_MD *md = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    if (md == NULL) {
        md = EVP_MD_fetch(NULL, kind == DIGEST_MD5 ? "MD5" : "SHA256", NULL);
        CHECK(md != NULL);
        __atomic_store_n(slot, md, __ATOMIC_RELEASE);
    }
    return md;
}

static void digest_once(enum digest_kind kind, struct span data, uint8_t *out)
{
    unsigned len = 0;
    CHECK(EVP_Digest(data.data, data.len, out, &len, md_of(kind), NULL) == 1);
}

void digest_md5(struct span data, uint8_t out[MD5_BYTES])
{
    digest_once(DIGEST_MD5, data, out);
}

void digest_sha256(struct span data, uint8_t out[SHA256_BYTES])
{
    digest_once(DIGEST_SHA256, data, out);
}

void digest_hmac_sha256(struct span key, struct span data, uint8_t out[SHA256_BYTES])
{
    // RFC 2104 over plain digests: OpenSSL 3's HMAC() costs several allocations and look-ups a call
    uint8_t block[64] = {0}, inner[SHA256_BYTES];
    if (key.len > sizeof block)
        digest_sha256(key, block);
    else if (key.len > 0)
        memcpy(block, key.data, key.len);
    struct digest *d = digest_new(DIGEST_SHA256);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36;
    digest_update(d, block, sizeof block);
    digest_update(d, data.data, data.len);
    digest_finish(d, inner);
    CHECK(EVP_DigestInit_ex2(d->ctx, md_of(DIGEST_SHA256), NULL) == 1);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36 ^ 0x5c;
    digest_update(d, block, sizeof block);
    digest_update(d, inner, sizeof inner);
    digest_finish(d, out);
    digest_free(d);
    OPENSSL_cleanse(block, sizeof block);
}

struct digest *digest_new(enum digest_kind kind)
{
    struct digest *d = malloc(sizeof *d);
    CHECK(d != NULL);
    d->ctx = EVP_MD_CTX_new();
    CHECK(d->ctx != NULL);
    CHECK(EVP_DigestInit_ex2(d->ctx, md_of(kind), NULL) == 1);
    return d;
}

void digest_update(struct digest *d, const void *data, size_t len)
{
    if (len > 0)
        CHECK(EVP_DigestUpdate(d->ctx, data, len) == 1);
}

size_t digest_finish(struct digest *d, uint8_t out[SHA256_BYTES])
{
    unsigned len = 0;
    CHECK(EVP_DigestFinal_ex(d->ctx, out, &len) == 1);
    return len;
}

void digest_free(struct digest *d)
{
    if (d == NULL)
        return;
    EVP_MD_CTX_free(d->ctx);
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

void hex_encode(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = '\0';
}

bool hex_decode(struct span text, void *out, size_t out_len)
{
    uint8_t *p = out;
    if (text.len != 2 * out_len)
        return false;
    for (size_t i = 0; i < out_len; i++) {
        int high = hex_digit(text.data[2 * i]), low = hex_digit(text.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        p[i] = (uint8_t)(high << 4 | low);
    }
    return true;
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
