// Requests as lines: service, method, path, query, payload hash, then "name: value" headers.
// Properties: verifying never crashes; what sigv4_sign makes of the same request is accepted, and
// refused with one digit of the signature changed.
#include "aws/sigv4.h"
#include "base/check.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADERS_MAX = 40 };

static struct keyring *keyring;
static const int64_t now_ms = 1769860800000; // 2026-01-31T12:00:00Z, the date of the corpus

static size_t read_headers(struct span rest, struct http_header *headers, bool ours)
{
    static const char *const made[] = {"authorization", "x-amz-date", "x-amz-content-sha256",
                                       "x-amz-security-token", NULL};
    size_t n = 0;
    while (rest.len > 0 && n < HEADERS_MAX) {
        struct span value, name = span_cut(span_cut(rest, '\n', &rest), ':', &value);
        bool skip = name.len == 0 || (ours && memchr(name.data, ';', name.len) != NULL);
        for (size_t i = 0; ours && made[i] != NULL; i++)
            skip = skip || span_is_nocase(name, made[i]);
        for (size_t i = 0; ours && !skip && i < name.len; i++)
            skip = name.data[i] <= ' ' || name.data[i] >= 0x7f || name.data[i] == ',';
        if (!skip)
            headers[n++] = (struct http_header){name, span_trim(value)};
    }
    return n;
}

static void sign_and_verify(struct sigv4_request *request, const char *service)
{
    static struct http_header headers[HEADERS_MAX + 5];
    AUTO_ARENA struct arena arena = {0};
    struct sigv4_key key = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL};
    struct sigv4_scope scope = {"us-east-1", service};
    struct sigv4_signed made;
    struct sigv4_identity identity;
    const char *message;
    size_t n = request->header_count;
    memcpy(headers, request->headers, n * sizeof headers[0]);
    headers[n++] = (struct http_header){SPAN("host"), SPAN("h")};
    request->headers = headers;
    request->header_count = n;
    // sigv4_sign takes queries that can be read: presigning asks first
    const char *url = arena_printf(&arena, "http://h/?%.*s", (int)request->query.len,
                                   request->query.len > 0 ? request->query.data : "");
    const char *presigned;
    if (sigv4_presign(&key, &scope, "GET", url, now_ms, 60, &arena, &presigned, NULL) != OK)
        return;
    sigv4_sign(&key, &scope, request, now_ms, &arena, &made);
    char *authorization = arena_copy(&arena, span_from(made.authorization));
    headers[n++] = (struct http_header){SPAN("Authorization"), span_from(authorization)};
    headers[n++] = (struct http_header){SPAN("X-Amz-Date"), span_from(made.amz_date)};
    if (made.content_sha256 != NULL)
        headers[n++] =
            (struct http_header){SPAN("X-Amz-Content-Sha256"), span_from(made.content_sha256)};
    request->header_count = n;
    CHECK(sigv4_verify(keyring, service, request, now_ms, &arena, &identity, &message) == SIGV4_OK);
    char *last = authorization + strlen(authorization) - 1;
    *last = *last == '0' ? '1' : '0';
    CHECK(sigv4_verify(keyring, service, request, now_ms, &arena, &identity, &message) ==
          SIGV4_MISMATCH);
}

static bool span_has(struct span s, const char *bytes, size_t len)
{
    return s.len > 0 && memmem(s.data, s.len, bytes, len) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_header headers[HEADERS_MAX];
    AUTO_ARENA struct arena arena = {0};
    struct sigv4_identity identity;
    const char *message = NULL;
    if (keyring == NULL)
        keyring = keyring_new_single("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    struct span rest = {(const char *)data, size};
    struct span service = span_cut(rest, '\n', &rest);
    struct sigv4_request request = {.headers = headers};
    request.method = span_cut(rest, '\n', &rest);
    request.path = span_cut(rest, '\n', &rest);
    request.query = span_cut(rest, '\n', &rest);
    request.payload_hash = span_cut(rest, '\n', &rest);
    const char *name = span_is(service, "s3") ? "s3" : "sqs";
    request.header_count = read_headers(rest, headers, false);
    enum sigv4_verdict v =
        sigv4_verify(keyring, name, &request, now_ms, &arena, &identity, &message);
    CHECK((v == SIGV4_OK) == (identity.access_key != NULL));
    CHECK((v == SIGV4_OK) == (message == NULL));
    request.header_count = read_headers(rest, headers, true);
    // strings for signing end at a 0; a query that is presigned already means something else
    if (!span_has(request.query, "\0", 1) && !span_has(request.payload_hash, "\0", 1) &&
        !span_has(request.query, "X-Amz-", 6))
        sign_and_verify(&request, name);
    return 0;
}
