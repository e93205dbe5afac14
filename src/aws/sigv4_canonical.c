// The canonical form of a request, path, query and headers, and the keys made from its date and
// scope: what signing and verifying must agree on.
#include "aws/sigv4_internal.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

// --- path ---

// Like RFC 3986, 5.2.4, and empty segments go as well.
static void remove_dot_segments(struct span path, struct buf *out)
{
    struct span rest = path;
    while (rest.len > 0) {
        struct span segment = span_cut(rest, '/', &rest);
        if (segment.len == 0 || span_is(segment, "."))
            continue;
        if (span_is(segment, "..")) {
            while (out->len > 0 && out->data[--out->len] != '/')
                ;
            continue;
        }
        buf_add_char(out, '/');
        buf_add_span(out, segment);
    }
    if (out->len == 0 || path.data[path.len - 1] == '/')
        buf_add_char(out, '/');
}

static void canonical_path(struct span path, enum path_form form, struct buf *out)
{
    AUTO_BUF struct buf plain = {0};
    if (path.len == 0)
        path = SPAN("/");
    switch (form) {
    case PATH_AS_IS:
        buf_add_span(out, path);
        return;
    case PATH_REENCODED:
        if (url_decode(path, false, &plain))
            url_encode(buf_view(&plain), true, out);
        else
            buf_add_span(out, path);
        return;
    case PATH_NORMALIZED:
        if (span_is(path, "/")) {
            buf_add_char(out, '/');
            return;
        }
        remove_dot_segments(path, &plain);
        url_encode(buf_view(&plain), true, out);
        return;
    }
}

// --- query ---

struct parameter {
    struct span name, value; // encoded
};

static int parameter_order(const void *x, const void *y)
{
    const struct parameter *a = x, *b = y;
    int order = span_order(a->name, b->name);
    return order != 0 ? order : span_order(a->value, b->value);
}

static bool is_canonical(struct span s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool word = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!word && c != '-' && c != '_' && c != '.' && c != '~')
            return false;
    }
    return true;
}

// Escapes as AWS does, whatever form the client chose ("%7e", "/", "=" in values).
static bool reencode(struct span raw, struct arena *arena, struct span *out)
{
    AUTO_BUF struct buf plain = {0}, encoded = {0};
    *out = raw;
    if (is_canonical(raw))
        return true;
    if (!url_decode(raw, false, &plain))
        return false;
    url_encode(buf_view(&plain), false, &encoded);
    *out = arena_copy_span(arena, buf_view(&encoded));
    return true;
}

static bool canonical_query(struct span query, struct arena *arena, struct buf *out)
{
    size_t count = 0, max = 1;
    if (query.len == 0)
        return true;
    for (size_t i = 0; i < query.len; i++)
        max += query.data[i] == '&';
    if (max > QUERY_PARAMETERS_MAX)
        return false;
    struct parameter *list = arena_alloc(arena, max * sizeof *list);
    for (struct span rest = query; rest.len > 0;) {
        struct span value, name = span_cut(span_cut(rest, '&', &rest), '=', &value);
        struct parameter *p = &list[count];
        if (name.len == 0 && value.len == 0)
            continue;
        if (!reencode(name, arena, &p->name) || !reencode(value, arena, &p->value))
            return false;
        if (!span_is(p->name, "X-Amz-Signature"))
            count++;
    }
    qsort(list, count, sizeof *list, parameter_order);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_add_char(out, '&');
        buf_add_span(out, list[i].name);
        buf_add_char(out, '=');
        buf_add_span(out, list[i].value);
    }
    return true;
}

// --- headers ---

static bool name_is(struct span name, struct span lower)
{
    if (name.len != lower.len)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if ((c >= 'A' && c <= 'Z' ? (char)(c + 32) : c) != lower.data[i])
            return false;
    }
    return true;
}

// Without blanks at the ends, runs of them as one.
static void add_value(struct span value, struct buf *out)
{
    bool blank = false, any = false;
    size_t from = 0, i = 0;
    while (i < value.len && (uint8_t)value.data[i] > ' ')
        i++;
    if (i == value.len) { // mostly
        buf_add_span(out, value);
        return;
    }
    for (i = 0; i <= value.len; i++) {
        if (i < value.len && value.data[i] != ' ' &&
            (value.data[i] < '\t' || value.data[i] > '\r')) {
            if (blank || !any)
                from = i;
            if (blank && any)
                buf_add_char(out, ' ');
            blank = false;
            any = true;
            continue;
        }
        if (!blank && any)
            buf_add(out, value.data + from, i - from);
        blank = true;
    }
}

static void canonical_headers(const struct sigv4_request *request, struct span signed_headers,
                              struct buf *out)
{
    for (struct span rest = signed_headers; rest.len > 0;) {
        struct span name = span_cut(rest, ';', &rest);
        bool first = true;
        buf_add_span(out, name);
        buf_add_char(out, ':');
        for (size_t i = 0; i < request->header_count; i++) {
            if (!name_is(request->headers[i].name, name))
                continue;
            if (!first)
                buf_add_char(out, ',');
            first = false;
            add_value(request->headers[i].value, out);
        }
        buf_add_char(out, '\n');
    }
}

bool canonical_request(const struct sigv4_request *request, enum path_form form,
                       struct span signed_headers, struct arena *arena, struct buf *out)
{
    buf_add_span(out, request->method);
    buf_add_char(out, '\n');
    canonical_path(request->path, form, out);
    buf_add_char(out, '\n');
    if (!canonical_query(request->query, arena, out))
        return false;
    buf_add_char(out, '\n');
    canonical_headers(request, signed_headers, out);
    buf_add_char(out, '\n');
    buf_add_span(out, signed_headers);
    buf_add_char(out, '\n');
    buf_add_span(out, request->payload_hash);
    return true;
}

// --- keys and signatures ---

static struct span bytes32(const uint8_t *key)
{
    return (struct span){(const char *)key, SHA256_BYTES};
}

void signing_key_derive(const char *secret_key, const struct signing_key_id *id,
                        uint8_t out[SHA256_BYTES])
{
    AUTO_BUF struct buf secret = {0};
    uint8_t key[SHA256_BYTES], next[SHA256_BYTES];
    buf_reserve(&secret, 4 + strlen(secret_key)); // at once: no copy stays behind
    buf_add_text(&secret, "AWS4");
    buf_add_text(&secret, secret_key);
    digest_hmac_sha256(buf_view(&secret), span_from(id->date), key);
    digest_hmac_sha256(bytes32(key), span_from(id->region), next);
    digest_hmac_sha256(bytes32(next), span_from(id->service), key);
    digest_hmac_sha256(bytes32(key), SPAN("aws4_request"), out);
    explicit_bzero(secret.data, secret.len);
    explicit_bzero(key, sizeof key);
    explicit_bzero(next, sizeof next);
}

void signature_of(struct span canonical, const char *amz_date, const struct signing_key_id *id,
                  const uint8_t signing_key[SHA256_BYTES], char out[SIGNATURE_BYTES])
{
    uint8_t hash[SHA256_BYTES];
    char hash_hex[SIGNATURE_BYTES], text[320];
    digest_sha256(canonical, hash);
    hex_encode(hash, sizeof hash, hash_hex);
    char *end = text; // has room: all parts are bounded
    const char *const parts[] = {
        SIGV4_ALGORITHM, "\n", amz_date, "\n", id->date, "/", id->region, "/", id->service,
        "/aws4_request", "\n", hash_hex};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        end = stpcpy(end, parts[i]);
    digest_hmac_sha256(bytes32(signing_key), (struct span){text, (size_t)(end - text)}, hash);
    hex_encode(hash, sizeof hash, out);
}
