// Verifying: which parts a request claims to be signed with, then whether the signature is theirs.
#include "aws/sigv4_internal.h"
#include "base/clock.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    SKEW_MS = 15 * 60 * 1000,
    PRESIGNED_S_MAX = 604800,
};

// What a request says about its signature; views, or copies in the arena.
struct claim {
    bool presigned;
    struct span access_key, date, region, service, terminator;
    struct span amz_date, signed_headers, signature, token;
    uint64_t expires_s;
};

#define MALFORMED(text) (*message = (text), SIGV4_MALFORMED)

static struct span header_of(const struct sigv4_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (span_is_nocase(request->headers[i].name, name))
            return request->headers[i].value;
    return (struct span){NULL, 0};
}

// ACCESSKEY/DATE/REGION/SERVICE/aws4_request; an access key may hold slashes.
static bool read_credential(struct span s, struct claim *claim)
{
    struct span *const parts[] = {&claim->terminator, &claim->service, &claim->region,
                                  &claim->date};
    for (size_t i = 0; i < 4; i++) {
        const char *slash = s.len > 0 ? memrchr(s.data, '/', s.len) : NULL;
        if (slash == NULL)
            return false;
        size_t before = (size_t)(slash - s.data);
        *parts[i] = (struct span){slash + 1, s.len - before - 1};
        s.len = before;
    }
    claim->access_key = s;
    return s.len > 0;
}

static enum sigv4_verdict read_authorization(const struct sigv4_request *request,
                                             struct span header, struct claim *claim,
                                             const char **message)
{
    struct span rest, scheme = span_cut(header, ' ', &rest), credential = {NULL, 0};
    if (!span_is(scheme, SIGV4_ALGORITHM))
        return MALFORMED("The authorization mechanism is not supported: use " SIGV4_ALGORITHM ".");
    while (rest.len > 0) {
        struct span value, part = span_trim(span_cut(rest, ',', &rest));
        struct span name = span_cut(part, '=', &value);
        if (span_is(name, "Credential"))
            credential = value;
        else if (span_is(name, "SignedHeaders"))
            claim->signed_headers = value;
        else if (span_is(name, "Signature"))
            claim->signature = value;
        else
            return MALFORMED("The Authorization header has a part that is not Credential, "
                             "SignedHeaders or Signature.");
    }
    if (!read_credential(credential, claim))
        return MALFORMED("The Credential is not KEY/DATE/REGION/SERVICE/aws4_request.");
    claim->amz_date = header_of(request, "x-amz-date");
    claim->token = header_of(request, "x-amz-security-token");
    return SIGV4_OK;
}

static bool query_of(const struct sigv4_request *request, const char *name, struct arena *arena,
                     struct span *out)
{
    for (struct span rest = request->query; rest.len > 0;) {
        struct span value, raw = span_cut(span_cut(rest, '&', &rest), '=', &value);
        if (!span_is_nocase(raw, name))
            continue;
        AUTO_BUF struct buf plain = {0};
        if (!url_decode(value, false, &plain))
            return false;
        *out = arena_copy_span(arena, buf_view(&plain));
        return true;
    }
    return false;
}

static enum sigv4_verdict read_presigned(const struct sigv4_request *request, struct arena *arena,
                                         struct claim *claim, const char **message)
{
    struct span algorithm = {NULL, 0}, credential = {NULL, 0}, expires = {NULL, 0};
    claim->presigned = true;
    query_of(request, "X-Amz-Algorithm", arena, &algorithm);
    if (!span_is(algorithm, SIGV4_ALGORITHM))
        return MALFORMED("X-Amz-Algorithm only supports " SIGV4_ALGORITHM ".");
    if (!query_of(request, "X-Amz-Credential", arena, &credential) ||
        !read_credential(credential, claim))
        return MALFORMED("X-Amz-Credential is not KEY/DATE/REGION/SERVICE/aws4_request.");
    if (!query_of(request, "X-Amz-Date", arena, &claim->amz_date) ||
        !query_of(request, "X-Amz-SignedHeaders", arena, &claim->signed_headers) ||
        !query_of(request, "X-Amz-Signature", arena, &claim->signature))
        return MALFORMED("A presigned URL needs X-Amz-Algorithm, X-Amz-Credential, X-Amz-Date, "
                         "X-Amz-Expires, X-Amz-SignedHeaders and X-Amz-Signature.");
    if (!query_of(request, "X-Amz-Expires", arena, &expires) ||
        !span_to_u64(expires, PRESIGNED_S_MAX, &claim->expires_s) || claim->expires_s == 0)
        return MALFORMED("X-Amz-Expires must be a number of seconds from 1 to 604800.");
    query_of(request, "X-Amz-Security-Token", arena, &claim->token);
    return SIGV4_OK;
}

// --- date ---

static bool read_amz_date(struct span s, int64_t *wall_ms)
{
    uint64_t date, clock;
    if (s.len != 16 || s.data[8] != 'T' || s.data[15] != 'Z' ||
        !span_to_u64((struct span){s.data, 8}, 99999999, &date) ||
        !span_to_u64((struct span){s.data + 9, 6}, 235960, &clock))
        return false;
    int month = (int)(date / 100 % 100), day = (int)(date % 100);
    int minute = (int)(clock / 100 % 100), second = (int)(clock % 100);
    if (month < 1 || month > 12 || day < 1 || day > 31 || minute > 59 || second > 60)
        return false;
    int64_t days = clock_days((int)(date / 10000), month, day);
    *wall_ms = (((days * 24 + (int)(clock / 10000)) * 60 + minute) * 60 + second) * 1000;
    return true;
}

// Without X-Amz-Date the Date header counts, which may have the form of RFC 9110.
static bool date_from_header(const struct sigv4_request *request, struct arena *arena,
                             struct claim *claim)
{
    struct span date = header_of(request, "date");
    int64_t ignored;
    if (read_amz_date(date, &ignored)) {
        claim->amz_date = date;
        return true;
    }
    struct tm t = {0};
    char *text =
        arena_alloc(arena, AMZ_DATE_BYTES + 15); // room for any year that strptime may read
    const char *end = date.len > 40 || date.len == 0
                          ? NULL
                          : strptime(arena_copy(arena, date), "%a, %d %b %Y %H:%M:%S GMT", &t);
    if (end == NULL || *end != '\0')
        return false;
    size_t len = strftime(text, AMZ_DATE_BYTES + 15, "%Y%m%dT%H%M%SZ", &t);
    claim->amz_date = (struct span){text, len};
    return true;
}

static enum sigv4_verdict check_date(const struct claim *claim, int64_t wall_ms,
                                     const char **message)
{
    int64_t at_ms;
    if (!read_amz_date(claim->amz_date, &at_ms))
        return MALFORMED("The signature's date must be in the form 20260131T120000Z, in "
                         "X-Amz-Date.");
    if (claim->date.len != 8 || memcmp(claim->date.data, claim->amz_date.data, 8) != 0) {
        *message = "The date in the credential scope differs from the signature's date.";
        return SIGV4_WRONG_SCOPE;
    }
    if (at_ms > wall_ms + SKEW_MS || (!claim->presigned && at_ms < wall_ms - SKEW_MS)) {
        *message = "The difference between the request time and the current time is too large: "
                   "check the clocks.";
        return SIGV4_SKEWED;
    }
    if (claim->presigned && wall_ms > at_ms + (int64_t)claim->expires_s * 1000) {
        *message = "Request has expired";
        return SIGV4_EXPIRED;
    }
    return SIGV4_OK;
}

// --- scope and headers ---

// It becomes part of ARNs.
static bool is_region(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '_' || c == '.'))
            return false;
    }
    return s.len > 0;
}

static enum sigv4_verdict check_scope(const struct claim *claim, const char *service,
                                      struct signing_key_id *id, const char **message)
{
    if (!span_is(claim->terminator, "aws4_request") || !span_is(claim->service, service)) {
        *message = "The credential scope must end with this service's name and aws4_request.";
        return SIGV4_WRONG_SCOPE;
    }
    if (!is_region(claim->region) || claim->region.len >= sizeof id->region) {
        *message = "The credential scope has no region, or one too long, or not of letters, "
                   "digits, hyphens, underscores and periods.";
        return SIGV4_WRONG_SCOPE;
    }
    *id = (struct signing_key_id){0};
    memcpy(id->date, claim->date.data, 8);
    memcpy(id->region, claim->region.data, claim->region.len);
    memcpy(id->service, claim->service.data, claim->service.len);
    return SIGV4_OK;
}

static bool is_signed(struct span signed_headers, struct span name)
{
    for (struct span rest = signed_headers; rest.len > 0;) {
        struct span one = span_cut(rest, ';', &rest);
        if (one.len == name.len && strncasecmp(one.data, name.data, name.len) == 0)
            return true;
    }
    return false;
}

// Host and all of x-amz-* must be under the signature, or somebody between could change them.
static enum sigv4_verdict check_headers(const struct sigv4_request *request,
                                        const struct claim *claim, struct arena *arena,
                                        const char **message)
{
    size_t count = 1;
    for (size_t i = 0; i < claim->signed_headers.len; i++) {
        char c = claim->signed_headers.data[i];
        count += c == ';';
        if (c <= ' ' || c >= 0x7f || (c >= 'A' && c <= 'Z'))
            return MALFORMED("SignedHeaders must be names in lower case with ';' between.");
    }
    if (count > SIGNED_HEADERS_MAX)
        return MALFORMED("SignedHeaders has too many names.");
    if (!is_signed(claim->signed_headers, SPAN("host")))
        return MALFORMED("The host header must be signed.");
    for (size_t i = 0; i < request->header_count; i++) {
        struct span name = request->headers[i].name;
        if (name.len < 6 || strncasecmp(name.data, "x-amz-", 6) != 0 ||
            is_signed(claim->signed_headers, name))
            continue;
        *message = arena_printf(arena,
                                "There were headers present in the request which were not "
                                "signed: %.*s",
                                (int)(name.len < 100 ? name.len : 100), name.data);
        return SIGV4_MALFORMED;
    }
    uint8_t binary[SHA256_BYTES];
    if (!hex_decode(claim->signature, binary, sizeof binary))
        return MALFORMED("The signature is not 64 hexadecimal digits.");
    return SIGV4_OK;
}

static enum sigv4_verdict read_claim(const struct sigv4_request *request, struct arena *arena,
                                     struct claim *claim, const char **message)
{
    struct span header = header_of(request, "authorization"), found;
    if (header.len > 0) {
        enum sigv4_verdict verdict = read_authorization(request, header, claim, message);
        if (verdict == SIGV4_OK && claim->amz_date.len == 0 &&
            !date_from_header(request, arena, claim))
            return MALFORMED("The request has no readable X-Amz-Date or Date header.");
        return verdict;
    }
    if (query_of(request, "X-Amz-Algorithm", arena, &found) ||
        query_of(request, "X-Amz-Signature", arena, &found) ||
        query_of(request, "X-Amz-Credential", arena, &found))
        return read_presigned(request, arena, claim, message);
    if (query_of(request, "AWSAccessKeyId", arena, &found))
        return MALFORMED("Signature Version 2 is not supported: use " SIGV4_ALGORITHM ".");
    *message = "The request is not signed: it needs an Authorization header or a presigned URL.";
    return SIGV4_MISSING;
}

// --- the signature ---

static bool matches(struct keyring *keyring, const struct sigv4_request *request,
                    enum path_form form, const struct claim *claim, const struct signing_key_id *id,
                    struct arena *arena, struct sigv4_identity *out)
{
    char computed[SIGNATURE_BYTES];
    struct buf *canonical = keyring_scratch(keyring);
    if (!canonical_request(request, form, claim->signed_headers, arena, canonical))
        return false;
    signature_of(buf_view(canonical), out->amz_date, id, out->signing_key, computed);
    memcpy(out->signature, claim->signature.data, SIGNATURE_BYTES - 1);
    return bytes_equal_constant_time(computed, claim->signature.data, SIGNATURE_BYTES - 1);
}

static struct span payload_hash(const struct sigv4_request *request, const struct claim *claim,
                                const char *service)
{
    if (request->payload_hash.len > 0)
        return request->payload_hash;
    struct span header = header_of(request, "x-amz-content-sha256");
    if (header.len > 0)
        return header;
    return claim->presigned && strcmp(service, "s3") == 0 ? SPAN("UNSIGNED-PAYLOAD")
                                                          : SPAN(SIGV4_EMPTY_HASH);
}

static bool token_matches(const struct keyring_entry *entry, struct span token)
{
    struct span ours = span_from(keyring_session_token(entry));
    return ours.len == token.len &&
           (ours.len == 0 || bytes_equal_constant_time(ours.data, token.data, ours.len));
}

static enum sigv4_verdict check_claim(const char *service, const struct sigv4_request *request,
                                      int64_t wall_ms, struct arena *arena, struct claim *claim,
                                      struct signing_key_id *id, const char **message)
{
    enum sigv4_verdict verdict;
    *claim = (struct claim){0};
    if ((verdict = read_claim(request, arena, claim, message)) == SIGV4_OK &&
        (verdict = check_date(claim, wall_ms, message)) == SIGV4_OK &&
        (verdict = check_scope(claim, service, id, message)) == SIGV4_OK)
        verdict = check_headers(request, claim, arena, message);
    return verdict;
}

static enum sigv4_verdict unknown_key(const char **message)
{
    *message = "The AWS access key Id you provided does not exist in our records.";
    return SIGV4_UNKNOWN_KEY;
}

enum sigv4_verdict sigv4_check_head(struct keyring *keyring, const char *service,
                                    const struct sigv4_request *request, int64_t wall_ms,
                                    struct arena *arena, const char **message)
{
    struct claim claim;
    struct signing_key_id id;
    bool known;
    enum sigv4_verdict verdict =
        check_claim(service, request, wall_ms, arena, &claim, &id, message);
    if (verdict != SIGV4_OK)
        return verdict;
    keyring_find(keyring, claim.access_key, &known);
    return known ? SIGV4_OK : unknown_key(message);
}

enum sigv4_verdict sigv4_verify(struct keyring *keyring, const char *service,
                                const struct sigv4_request *request, int64_t wall_ms,
                                struct arena *arena, struct sigv4_identity *out,
                                const char **message)
{
    struct claim claim;
    struct signing_key_id id;
    *out = (struct sigv4_identity){0};
    enum sigv4_verdict verdict =
        check_claim(service, request, wall_ms, arena, &claim, &id, message);
    if (verdict != SIGV4_OK)
        return verdict;

    bool known;
    struct keyring_entry *entry = keyring_find(keyring, claim.access_key, &known);
    struct sigv4_request full = *request;
    full.payload_hash = payload_hash(request, &claim, service);
    memcpy(out->signing_key, keyring_signing_key(entry, &id), sizeof out->signing_key);
    memcpy(out->amz_date, claim.amz_date.data, AMZ_DATE_BYTES - 1);
    memcpy(out->region, id.region, sizeof out->region);
    out->presigned = claim.presigned;
    out->signed_headers = claim.signed_headers;
    bool s3 = strcmp(service, "s3") == 0;
    bool good = matches(keyring, &full, s3 ? PATH_AS_IS : PATH_NORMALIZED, &claim, &id, arena, out);
    if (!good && s3)
        good = matches(keyring, &full, PATH_REENCODED, &claim, &id, arena, out);

    if (known && good && token_matches(entry, claim.token)) {
        out->access_key = keyring_access_key(entry);
        out->account = keyring_account(entry);
        out->user = keyring_user(entry);
        return SIGV4_OK;
    }
    explicit_bzero(out->signing_key, sizeof out->signing_key);
    if (!known)
        return unknown_key(message);
    if (good) {
        *message = "The provided token is malformed or otherwise invalid.";
        return SIGV4_BAD_TOKEN;
    }
    *message = "The request signature we calculated does not match the signature you provided. "
               "Check your key and signing method.";
    return SIGV4_MISMATCH;
}
