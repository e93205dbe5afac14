// Digests (OpenSSL libcrypto; CRC32C our own) and their text forms. Pure.
#pragma once

#include "base/buf.h"

enum { MD5_BYTES = 16, SHA256_BYTES = 32 };

void digest_md5(struct span data, uint8_t out[MD5_BYTES]);
void digest_sha256(struct span data, uint8_t out[SHA256_BYTES]);
void digest_hmac_sha256(struct span key, struct span data, uint8_t out[SHA256_BYTES]);
// CRC-32C (Castagnoli), reflected, as in RFC 3720. Start with crc 0; chain by passing the result.
uint32_t digest_crc32c(uint32_t crc, const void *data, size_t len);

// Running digest for streams. _new never fails (aborts when memory is out).
enum digest_kind { DIGEST_MD5, DIGEST_SHA256 };
struct digest;
struct digest *digest_new(enum digest_kind kind);
void digest_update(struct digest *d, const void *data, size_t len);
// The same bytes into an MD5 and a SHA-256 digest that have had the same so far: less than the sum
// of both, for each waits for its own last step most of the time.
void digest_update_both(struct digest *md5, struct digest *sha256, const void *data, size_t len);
size_t digest_finish(struct digest *d, uint8_t out[SHA256_BYTES]); // bytes written; then only free
void digest_free(struct digest *d);                                // NULL allowed

void hex_encode(const void *data, size_t len, char *out);     // 2 * len characters + 0, lower case
bool hex_decode(struct span text, void *out, size_t out_len); // text.len must be 2 * out_len
void base64_encode(struct span data, struct buf *out);
// Strict: standard alphabet, padding required, no white space.
bool base64_decode(struct span text, struct buf *out);
// Compares in constant time.
bool bytes_equal_constant_time(const void *a, const void *b, size_t len);
