// Keys of a role: STS AssumeRoleWithWebIdentity (a token is the proof, nothing is signed) and
// AssumeRole (signed with the keys of another place). Query protocol, XML answers.
#include "aws/aws_client_internal.h"
#include "aws/endpoint.h"
#include "aws/keys_internal.h"
#include "aws/sigv4.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/text.h"

#include <libxml/parser.h>
#include <stdio.h>
#include <string.h>

enum { CALL_MS = 10000, ANSWER_BYTES_MAX = 64 << 10, TOKEN_BYTES_MAX = 64 << 10 };

// --- the answer ---

static const xmlNode *child_of(const xmlNode *node, const char *name)
{
    for (node = node != NULL ? node->children : NULL; node != NULL; node = node->next)
        if (node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0)
            return node;
    return NULL;
}

static struct span text_of(const xmlNode *parent, const char *name)
{
    const xmlNode *node = child_of(parent, name);
    for (node = node != NULL ? node->children : NULL; node != NULL; node = node->next)
        if (node->type == XML_TEXT_NODE || node->type == XML_CDATA_SECTION_NODE)
            return span_trim(span_from((const char *)node->content));
    return SPAN("");
}

static enum err take_document(const xmlDoc *document, struct credentials *out, struct error *error)
{
    static const char where[] = "the answer of STS";
    char expires[CLOCK_ISO_BYTES];
    const xmlNode *root = xmlDocGetRootElement(document), *result = NULL, *c;
    *out = (struct credentials){0};
    if (document->intSubset != NULL)
        return fail(error, ERR_FORMAT, 0, "%s has a DOCTYPE", where);
    for (result = root != NULL ? root->children : NULL; result != NULL; result = result->next)
        if ((c = child_of(result, "Credentials")) != NULL)
            break;
    if (result == NULL)
        return fail(error, ERR_FORMAT, 0, "%s has no Credentials", where);
    TRY(keys_take(where, "AccessKeyId", text_of(c, "AccessKeyId"), true, out->access_key,
                  sizeof out->access_key, error));
    TRY(keys_take(where, "SecretAccessKey", text_of(c, "SecretAccessKey"), true, out->secret_key,
                  sizeof out->secret_key, error));
    TRY(keys_take(where, "SessionToken", text_of(c, "SessionToken"), true, out->session_token,
                  sizeof out->session_token, error));
    TRY(keys_take(where, "Expiration", text_of(c, "Expiration"), true, expires, sizeof expires,
                  error));
    if (!clock_parse_iso8601(expires, &out->expires_wall_ms))
        return fail(error, ERR_FORMAT, 0, "%s: Expiration '%s' is not like 2026-01-31T12:00:00Z",
                    where, expires);
    return OK;
}

enum err keys_read_sts(struct span body, struct credentials *out, struct error *error)
{
    static const int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
    *out = (struct credentials){0};
    if (memmem(body.data, body.len, "<!DOCTYPE", 9) != NULL)
        return fail(error, ERR_FORMAT, 0, "the answer of STS has a DOCTYPE");
    xmlDoc *document = xmlReadMemory(body.data, (int)body.len, NULL, NULL, options);
    if (document == NULL)
        return fail(error, ERR_FORMAT, 0, "the answer of STS is not XML");
    enum err err = take_document(document, out, error);
    xmlFreeDoc(document);
    if (err != OK)
        explicit_bzero(out, sizeof *out);
    return err;
}

// --- the call ---

static void on_answer(void *ctx, const struct http_response *r)
{
    struct keys *k = ctx;
    struct credentials got = {0};
    struct error error;
    enum err err = r->err;
    k->http = NULL;
    if (err != OK) {
        error = r->error;
    } else if (r->status == 200) {
        err = keys_read_sts(r->body, &got, &error);
    } else {
        struct aws_result refusal;
        aws_error_read("STS", r, &refusal);
        err = refusal.err;
        error = refusal.error;
        if (err == ERR_DENIED && k->base != NULL) // its keys may be the ones that expired
            keys_refused(k->base, keys_generation(k->base));
    }
    keys_fetched(k, err, &got, &error);
    explicit_bzero(&got, sizeof got);
}

static void add_field(struct buf *body, const char *name, struct span value)
{
    buf_printf(body, "&%s=", name);
    url_encode(value, false, body);
}

static void add_common(const struct keys *k, const char *action, struct buf *body)
{
    char session[32];
    snprintf(session, sizeof session, "smelt-%lld", (long long)clock_wall_ms());
    buf_printf(body, "Action=%s&Version=2011-06-15", action);
    add_field(body, "RoleArn", span_from(k->role_arn));
    add_field(body, "RoleSessionName",
              span_from(k->session_name != NULL ? k->session_name : session));
    if (k->duration_s > 0)
        buf_printf(body, "&DurationSeconds=%d", k->duration_s);
    if (k->external_id != NULL)
        add_field(body, "ExternalId", span_from(k->external_id));
}

// signer NULL: unsigned.
static enum err post(struct keys *k, const struct credentials *signer, struct span body,
                     struct error *error)
{
    AUTO_BUF struct buf region = {0}, endpoint = {0}, host = {0};
    AUTO_ARENA struct arena arena = {0};
    struct url url;
    struct sigv4_signed made;
    uint8_t hash[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    TRY(aws_region_find(k->config.region, &region, error));
    TRY(aws_endpoint_find("sts", NULL, region.data, &endpoint, NULL, error));
    if (endpoint.data[endpoint.len - 1] != '/')
        buf_add_char(&endpoint, '/');
    TRY(url_parse(endpoint.data, &url, error));
    url_host_header(&url, &host);
    static const char type[] = "application/x-www-form-urlencoded; charset=utf-8";
    struct http_call_header headers[5] = {{"Content-Type", type}};
    size_t count = 1;
    if (signer != NULL) {
        const struct sigv4_key key = {signer->access_key, signer->secret_key,
                                      signer->session_token};
        const struct sigv4_scope scope = {region.data, "sts"};
        const struct http_header to_sign[] = {{SPAN("content-type"), span_from(type)},
                                              {SPAN("host"), buf_view(&host)}};
        digest_sha256(body, hash);
        hex_encode(hash, sizeof hash, hex);
        const struct sigv4_request request = {.method = SPAN("POST"),
                                              .path = url.path,
                                              .query = SPAN(""),
                                              .headers = to_sign,
                                              .header_count = 2,
                                              .payload_hash = span_from(hex)};
        sigv4_sign(&key, &scope, &request, clock_wall_ms(), &arena, &made);
        headers[count++] = (struct http_call_header){"Authorization", made.authorization};
        headers[count++] = (struct http_call_header){"X-Amz-Date", made.amz_date};
        if (made.security_token != NULL)
            headers[count++] =
                (struct http_call_header){"X-Amz-Security-Token", made.security_token};
    }
    const struct http_call_spec spec = {.method = "POST",
                                        .url = endpoint.data,
                                        .headers = headers,
                                        .header_count = count,
                                        .body = arena_copy_span(&k->request, body),
                                        .body_fd = -1,
                                        .timeout_ms = CALL_MS,
                                        .response_limit_bytes = ANSWER_BYTES_MAX};
    k->http = http_client_start(k->config.http, &spec, on_answer, k);
    return OK;
}

// --- web identity ---

static enum err start_web_identity(struct keys *k, struct error *error)
{
    AUTO_BUF struct buf token = {0}, body = {0};
    TRY(file_read(k->token_file, TOKEN_BYTES_MAX, &token, error)); // anew each time: it is changed
    while (token.len > 0 && strchr(" \t\r\n", token.data[token.len - 1]) != NULL)
        token.len--;
    if (token.len == 0)
        return fail(error, ERR_FORMAT, 0, "the token file '%.200s' is empty", k->token_file);
    add_common(k, "AssumeRoleWithWebIdentity", &body);
    add_field(&body, "WebIdentityToken", buf_view(&token));
    return post(k, NULL, buf_view(&body), error);
}

void keys_fetch_web_identity(struct keys *k)
{
    struct error error;
    arena_release(&k->request);
    enum err err = start_web_identity(k, &error);
    if (err != OK)
        keys_fetched(k, err, NULL, &error);
}

// --- role ---

static void on_base(void *ctx, const struct error *error)
{
    struct keys *k = ctx;
    if (error != NULL)
        keys_fetched(k, error->code, NULL, error);
    else
        keys_fetch_role(k);
}

void keys_fetch_role(struct keys *k)
{
    AUTO_BUF struct buf body = {0};
    struct error error;
    const struct credentials *signer = keys_now(k->base);
    if (signer == NULL) {
        keys_wait(k->base, &k->base_wait, on_base, k);
        return;
    }
    arena_release(&k->request);
    add_common(k, "AssumeRole", &body);
    enum err err = post(k, signer, buf_view(&body), &error);
    if (err != OK)
        keys_fetched(k, err, NULL, &error);
}
