#include "gateway/page.h"

#include "base/digest.h"

#include <string.h>

struct asset {
    const char *path, *content_type;
    const char *begin, *end;
};

#define ASSET(symbol) extern const char symbol##_begin[], symbol##_end[]
ASSET(page_index);
ASSET(page_script);
ASSET(page_style);
ASSET(page_icon);

static const struct asset assets[] = {
    {"/", "text/html; charset=utf-8", page_index_begin, page_index_end},
    {"/app.js", "text/javascript; charset=utf-8", page_script_begin, page_script_end},
    {"/style.css", "text/css; charset=utf-8", page_style_begin, page_style_end},
    {"/icon.svg", "image/svg+xml", page_icon_begin, page_icon_end},
};

// No script, style or picture but ours; pictures of the user are shown from memory (blob:).
#define POLICY                                                                                     \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "        \
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

static void reply_asset(struct http_request *r, const struct asset *asset)
{
    struct span body = {asset->begin, (size_t)(asset->end - asset->begin)};
    uint8_t digest[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    digest_sha256(body, digest);
    hex_encode(digest, 8, hex);
    struct span etag = span_from(arena_printf(&r->arena, "\"%s\"", hex));
    const struct http_header headers[] = {
        {SPAN("Content-Type"), span_from(asset->content_type)},
        {SPAN("ETag"), etag},
        {SPAN("Cache-Control"), SPAN("no-cache")}, // ask each time; the answer is 304 mostly
        {SPAN("Content-Security-Policy"), SPAN(POLICY)},
        {SPAN("X-Content-Type-Options"), SPAN("nosniff")},
        {SPAN("Referrer-Policy"), SPAN("no-referrer")},
        {SPAN("Cross-Origin-Opener-Policy"), SPAN("same-origin")},
        {SPAN("Cross-Origin-Resource-Policy"), SPAN("same-origin")},
    };
    size_t count = sizeof headers / sizeof headers[0];
    if (span_equal(http_request_header(r, "If-None-Match"), etag))
        http_reply(r, 304, headers, count, (struct span){0});
    else
        http_reply(r, 200, headers, count, body);
}

bool page_reply(struct http_request *r)
{
    for (size_t i = 0; i < sizeof assets / sizeof assets[0]; i++)
        if (span_is(r->target_path, assets[i].path)) {
            reply_asset(r, &assets[i]);
            return true;
        }
    return false;
}
