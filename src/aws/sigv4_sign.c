// Signing: the Authorization header, and presigned URLs.
#include "aws/sigv4_internal.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/text.h"
#include "http/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void scope_set(struct signing_key_id *id, const struct sigv4_scope *scope,
                      const char *amz_date)
{
    CHECK(strlen(scope->region) < sizeof id->region && strlen(scope->service) < sizeof id->service);
    *id = (struct signing_key_id){0};
    memcpy(id->date, amz_date, 8);
    strcpy(id->region, scope->region);
    strcpy(id->service, scope->service);
}

static enum path_form form_of(const char *service)
{
    return strcmp(service, "s3") == 0 ? PATH_AS_IS : PATH_NORMALIZED;
}

static int by_name(const void *x, const void *y)
{
    const struct http_header *a = x, *b = y;
    return span_order(a->name, b->name);
}

static struct http_header lower(const struct http_header *h, struct arena *arena)
{
    char *name = arena_copy(arena, h->name);
    for (char *c = name; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
    return (struct http_header){{name, h->name.len}, h->value};
}

static void finish(const struct sigv4_key *key, const struct signing_key_id *id,
                   const struct sigv4_request *request, struct span signed_headers,
                   const char *amz_date, struct arena *arena, char signature[SIGNATURE_BYTES])
{
    AUTO_BUF struct buf canonical = {0};
    uint8_t signing_key[SHA256_BYTES];
    CHECK(canonical_request(request, form_of(id->service), signed_headers, arena, &canonical));
    signing_key_derive(key->secret_key, id, signing_key);
    signature_of(buf_view(&canonical), amz_date, id, signing_key, signature);
    explicit_bzero(signing_key, sizeof signing_key);
}

void sigv4_sign(const struct sigv4_key *key, const struct sigv4_scope *scope,
                const struct sigv4_request *request, int64_t wall_ms, struct arena *arena,
                struct sigv4_signed *out)
{
    char amz_date[CLOCK_ISO_BYTES], signature[SIGNATURE_BYTES];
    AUTO_BUF struct buf names = {0};
    struct signing_key_id id;
    struct sigv4_request full = *request;
    if (full.payload_hash.len == 0)
        full.payload_hash = SPAN(SIGV4_EMPTY_HASH);
    struct http_header *headers = arena_alloc(arena, (request->header_count + 3) * sizeof *headers);
    clock_amz_date(wall_ms, amz_date);
    scope_set(&id, scope, amz_date);
    *out = (struct sigv4_signed){.amz_date = arena_copy(arena, span_from(amz_date))};
    size_t n = 0;
    for (size_t i = 0; i < request->header_count; i++)
        headers[n++] = lower(&request->headers[i], arena);
    headers[n++] = (struct http_header){SPAN("x-amz-date"), span_from(out->amz_date)};
    if (strcmp(scope->service, "s3") == 0) {
        out->content_sha256 = arena_copy(arena, full.payload_hash);
        headers[n++] = (struct http_header){SPAN("x-amz-content-sha256"), full.payload_hash};
    }
    if (key->session_token != NULL && key->session_token[0] != '\0') {
        out->security_token = arena_copy(arena, span_from(key->session_token));
        headers[n++] =
            (struct http_header){SPAN("x-amz-security-token"), span_from(out->security_token)};
    }
    qsort(headers, n, sizeof *headers, by_name);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && by_name(&headers[i - 1], &headers[i]) == 0)
            continue; // several of one name are one entry
        if (i > 0)
            buf_add_char(&names, ';');
        buf_add_span(&names, headers[i].name);
    }
    full.headers = headers;
    full.header_count = n;
    finish(key, &id, &full, buf_view(&names), amz_date, arena, signature);
    out->authorization = arena_printf(
        arena,
        SIGV4_ALGORITHM " Credential=%s/%s/%s/%s/aws4_request, SignedHeaders=%s, Signature=%s",
        key->access_key, id.date, id.region, id.service, names.data, signature);
}

static void add_parameter(struct buf *query, const char *name, const char *value)
{
    if (query->len > 0)
        buf_add_char(query, '&');
    buf_add_text(query, name);
    buf_add_char(query, '=');
    url_encode(span_from(value), false, query);
}

enum err sigv4_presign(const struct sigv4_key *key, const struct sigv4_scope *scope,
                       const char *method, const char *url, int64_t wall_ms, int expires_s,
                       struct arena *arena, const char **out, struct error *error)
{
    char amz_date[CLOCK_ISO_BYTES], signature[SIGNATURE_BYTES], seconds[16];
    AUTO_BUF struct buf query = {0}, host = {0};
    struct signing_key_id id;
    struct url parts;
    if (expires_s < 1 || expires_s > 604800)
        return fail(error, ERR_ARGUMENT, 0,
                    "a presigned URL lives from 1 to 604800 seconds, not %d", expires_s);
    TRY(url_parse(url, &parts, error));
    url_host_header(&parts, &host);
    clock_amz_date(wall_ms, amz_date);
    scope_set(&id, scope, amz_date);
    snprintf(seconds, sizeof seconds, "%d", expires_s);
    buf_add_span(&query, parts.query);
    add_parameter(&query, "X-Amz-Algorithm", SIGV4_ALGORITHM);
    add_parameter(&query, "X-Amz-Credential",
                  arena_printf(arena, "%s/%s/%s/%s/aws4_request", key->access_key, id.date,
                               id.region, id.service));
    add_parameter(&query, "X-Amz-Date", amz_date);
    add_parameter(&query, "X-Amz-Expires", seconds);
    add_parameter(&query, "X-Amz-SignedHeaders", "host");
    if (key->session_token != NULL && key->session_token[0] != '\0')
        add_parameter(&query, "X-Amz-Security-Token", key->session_token);
    struct http_header host_header = {SPAN("host"), buf_view(&host)};
    bool s3 = strcmp(scope->service, "s3") == 0;
    struct sigv4_request request = {.method = span_from(method),
                                    .path = parts.path,
                                    .query = buf_view(&query),
                                    .headers = &host_header,
                                    .header_count = 1,
                                    .payload_hash =
                                        s3 ? SPAN("UNSIGNED-PAYLOAD") : SPAN(SIGV4_EMPTY_HASH)};
    AUTO_BUF struct buf probe = {0};
    if (!canonical_request(&request, form_of(scope->service), SPAN("host"), arena, &probe))
        return fail(error, ERR_ARGUMENT, 0, "the query of '%.200s' has a bad escape", url);
    finish(key, &id, &request, SPAN("host"), amz_date, arena, signature);
    *out = arena_printf(arena, "%s://%s%.*s?%s&X-Amz-Signature=%s", parts.https ? "https" : "http",
                        host.data, (int)parts.path.len, parts.path.data, query.data, signature);
    return OK;
}
