// AWS Signature Version 4: one canonicalizer, used to sign (clients) and to verify (servers). Pure.
// Source: AWS General Reference "Signature Version 4", and "Authenticating Requests" of the S3 API.
#pragma once

#include "base/arena.h"
#include "http/server.h" // struct http_header

struct sigv4_key { // borrowed strings
    const char *access_key, *secret_key;
    const char *session_token; // NULL: none
};

struct sigv4_scope {
    const char *region, *service; // "us-east-1", "sqs" | "s3"
};

// A request as on the wire. path and query are raw (percent-encoded). S3 signs the path as it is;
// other services encode it once more (scope.service decides).
struct sigv4_request {
    struct span method, path, query;
    const struct http_header *headers;
    size_t header_count;
    // Hex SHA-256 of the body, or what stands in x-amz-content-sha256 ("UNSIGNED-PAYLOAD",
    // "STREAMING-…"). Empty: verifying takes x-amz-content-sha256, without one UNSIGNED-PAYLOAD for
    // a presigned S3 URL; in all other cases it is the hash of an empty body.
    struct span payload_hash;
};

// --- signing ---
struct sigv4_signed { // strings in the arena, to be sent as headers
    const char *authorization, *amz_date;
    const char *content_sha256; // S3 only, else NULL
    const char *security_token; // NULL: none
};
// headers must hold Host; those given are all signed. wall_ms: now.
void sigv4_sign(const struct sigv4_key *key, const struct sigv4_scope *scope,
                const struct sigv4_request *request, int64_t wall_ms, struct arena *arena,
                struct sigv4_signed *out);
// The whole presigned URL for method and url (query form, UNSIGNED-PAYLOAD).
enum err sigv4_presign(const struct sigv4_key *key, const struct sigv4_scope *scope,
                       const char *method, const char *url, int64_t wall_ms, int expires_s,
                       struct arena *arena, const char **out, struct error *error) MUST_CHECK;

// --- verifying ---
enum sigv4_verdict {
    SIGV4_OK,
    SIGV4_MISSING,     // no signature at all
    SIGV4_MALFORMED,   // Authorization or X-Amz-* cannot be read, wrong algorithm, missing signed
                       // header
    SIGV4_UNKNOWN_KEY, // access key id not ours (the signature is computed all the same: same time)
    SIGV4_MISMATCH,    // signature does not match
    SIGV4_WRONG_SCOPE, // date, service or terminator of the credential scope
    SIGV4_SKEWED,      // date over 15 minutes from now
    SIGV4_EXPIRED,     // presigned, too old
    SIGV4_BAD_TOKEN,   // session token differs
};

struct sigv4_identity {
    // Of the keyring; NULL unless SIGV4_OK. account: 12 digits. user: the profile, "" for the
    // account's root
    const char *access_key, *account, *user;
    bool presigned;
    char region[64];         // of the credential scope (any is accepted)
    uint8_t signing_key[32]; // and what chunked uploads need to verify their pieces
    char amz_date[20];
    char signature[65];
    struct span signed_headers; // "host;x-amz-date", view into the request
};

#define AWS_ACCOUNT "000000000000" // to which all that a server keeps belongs

// Known access keys and secrets: one of each profile of the file. [default] is AWS_ACCOUNT's root,
// other profiles are users with their name; aws_account_id makes one a user of another account.
struct keyring;
enum err keyring_open(const char *credentials_file, struct keyring **out,
                      struct error *error) MUST_CHECK;
struct keyring *keyring_new_single(const char *access_key, const char *secret_key);
void keyring_free(struct keyring *k);

// What can be said before the body is there: the form of the signature, its date, scope and
// headers, and whether the access key is known. For bodies that are too large to be taken in from
// anybody.
enum sigv4_verdict sigv4_check_head(struct keyring *keyring, const char *service,
                                    const struct sigv4_request *request, int64_t wall_ms,
                                    struct arena *arena, const char **message);
// Verifies header and query (presigned) form. Constant-time comparison. The caller checks that the
// body has the payload hash. message: one line for the client, without secrets.
enum sigv4_verdict sigv4_verify(struct keyring *keyring, const char *service,
                                const struct sigv4_request *request, int64_t wall_ms,
                                struct arena *arena, struct sigv4_identity *out,
                                const char **message);
