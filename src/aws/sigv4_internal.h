// Inside of Signature Version 4: the canonical request and the keys, shared by signing and
// verifying.
#pragma once

#include "aws/sigv4.h"
#include "base/digest.h"

enum {
    AMZ_DATE_BYTES = 17,         // "20260131T120000Z" + 0
    SIGNATURE_BYTES = 65,        // 64 hex digits + 0
    SIGNED_HEADERS_MAX = 100,    // = HTTP_HEADERS_MAX
    QUERY_PARAMETERS_MAX = 2000, // = HTTP_QUERY_PARAMETERS_MAX
};

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"
#define SIGV4_EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct signing_key_id { // what a signing key is derived for
    char date[9], region[64], service[16];
};

enum path_form {
    PATH_AS_IS,      // S3: what is on the wire is encoded once already
    PATH_REENCODED,  // S3, clients that send less escaped than they sign: decoded and encoded anew
    PATH_NORMALIZED, // other services: dot segments and double slashes removed, then encoded once
                     // more
};

// Appends the canonical request. signed_headers: names, lower case, as in SignedHeaders; a name
// that the request does not have counts as an empty value. Without X-Amz-Signature of the query.
// False: the query has a bad escape or too many parameters.
bool canonical_request(const struct sigv4_request *request, enum path_form form,
                       struct span signed_headers, struct arena *arena, struct buf *out);
// Signature of a canonical request, in hex.
void signature_of(struct span canonical, const char *amz_date, const struct signing_key_id *id,
                  const uint8_t signing_key[SHA256_BYTES], char out[SIGNATURE_BYTES]);
void signing_key_derive(const char *secret_key, const struct signing_key_id *id,
                        uint8_t out[SHA256_BYTES]);

// --- keyring.c ---
struct keyring_entry;
// The entry of an access key; an entry with a random secret (known false) if there is none, so that
// both take the same time.
struct keyring_entry *keyring_find(struct keyring *k, struct span access_key, bool *known);
const uint8_t *keyring_signing_key(struct keyring_entry *e, const struct signing_key_id *id);
const char *keyring_access_key(const struct keyring_entry *e);
const char *keyring_account(const struct keyring_entry *e);
const char *keyring_user(const struct keyring_entry *e);
const char *keyring_session_token(const struct keyring_entry *e); // "" if none
struct buf *keyring_scratch(struct keyring *k); // memory for canonical requests, kept
