#include "sqs/receipt.h"

#include "base/digest.h"

#include <string.h>

// On the wire, base64: 40 bytes and their 8-byte hash.
struct receipt_bytes {
    struct receipt r;
    uint64_t hash;
};
_Static_assert(sizeof(struct receipt) == 40, "no padding: every byte is hashed and compared");
_Static_assert(sizeof(struct receipt_bytes) / 3 * 4 == RECEIPT_TEXT_BYTES, "text size");

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

// SipHash-2-4 (Aumasson, Bernstein 2012) of a whole number of words.
static uint64_t siphash_words(const uint8_t key[16], const void *data, size_t words)
{
    uint64_t k[2], m;
    memcpy(k, key, sizeof k);
    uint64_t v[4] = {k[0] ^ 0x736f6d6570736575, k[1] ^ 0x646f72616e646f6d,
                     k[0] ^ 0x6c7967656e657261, k[1] ^ 0x7465646279746573};
    for (size_t i = 0; i <= words; i++) {
        m = (uint64_t)words * 8 << 56;
        if (i < words)
            memcpy(&m, (const char *)data + i * 8, 8);
        v[3] ^= m;
        sip_round(v);
        sip_round(v);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void receipt_encode(const struct receipt *r, const uint8_t key[RECEIPT_KEY_BYTES], struct buf *out)
{
    struct receipt_bytes b = {*r, siphash_words(key, r, sizeof *r / 8)};
    base64_encode((struct span){(const char *)&b, sizeof b}, out);
}

bool receipt_decode(struct span text, const uint8_t key[RECEIPT_KEY_BYTES], struct receipt *out)
{
    struct receipt_bytes b;
    AUTO_BUF struct buf bytes = {0};
    if (text.len != RECEIPT_TEXT_BYTES || !base64_decode(text, &bytes) || bytes.len != sizeof b)
        return false;
    memcpy(&b, bytes.data, sizeof b);
    uint64_t hash = siphash_words(key, &b.r, sizeof b.r / 8);
    if (!bytes_equal_constant_time(&hash, &b.hash, sizeof hash))
        return false;
    *out = b.r;
    return true;
}
