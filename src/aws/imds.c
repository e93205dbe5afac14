#include "aws/imds.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOKEN_TTL_S = 21600, // the longest there is
    CONNECT_MS = 1000,   // it is on the same host
    CALL_MS = 2000,
    BODY_BYTES_MAX = 64 << 10,
    TOKEN_BYTES_MAX = 256,
};

struct imds {
    struct loop *loop;
    struct http_client *http;
    char endpoint[256];
    char token[TOKEN_BYTES_MAX + 1]; // "" none
    int64_t token_until_ms;
};

struct imds_call {
    struct imds *imds;
    struct http_call *http;
    char *path;
    bool renewed; // the token was refused once
    imds_done_fn *done;
    void *ctx;
};

static bool is_true(const char *text)
{
    return text != NULL && (strcmp(text, "true") == 0 || strcmp(text, "True") == 0);
}

enum err imds_new(struct loop *loop, struct http_client *http, const char *endpoint,
                  struct imds **out, struct error *error)
{
    const char *mode = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    if (is_true(getenv("AWS_EC2_METADATA_DISABLED")))
        return fail(error, ERR_UNSUPPORTED, 0, "AWS_EC2_METADATA_DISABLED is true");
    if (endpoint == NULL)
        endpoint = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (endpoint == NULL || endpoint[0] == '\0')
        endpoint = span_is_nocase(span_from(mode), "ipv6") ? "http://[fd00:ec2::254]"
                                                           : "http://169.254.169.254";
    size_t len = strlen(endpoint);
    while (len > 0 && endpoint[len - 1] == '/')
        len--;
    if (!span_starts(span_from(endpoint), "http://") || len >= sizeof((struct imds *)0)->endpoint)
        return fail(error, ERR_ARGUMENT, 0,
                    "AWS_EC2_METADATA_SERVICE_ENDPOINT is '%.100s', not http://HOST", endpoint);
    struct imds *i = calloc(1, sizeof *i);
    CHECK(i != NULL);
    *i = (struct imds){.loop = loop, .http = http};
    memcpy(i->endpoint, endpoint, len);
    *out = i;
    return OK;
}

void imds_free(struct imds *i)
{
    if (i != NULL)
        explicit_bzero(i->token, sizeof i->token);
    free(i);
}

static void finish(struct imds_call *c, enum err err, struct span body, const struct error *error)
{
    imds_done_fn *done = c->done;
    void *ctx = c->ctx;
    free(c->path);
    free(c);
    done(ctx, err, body, error);
}

static void finish_badly(struct imds_call *c, const struct http_response *r)
{
    struct error error;
    enum err err = r->err;
    if (r->err == ERR_TIMEOUT)
        err = fail(&error, ERR_TIMEOUT, 0,
                   "the metadata service does not answer within %d ms; in a container on EC2 its "
                   "hop limit must be 2 or more",
                   CALL_MS);
    else if (r->err != OK)
        fail(&error, r->err, 0, "the metadata service: %.300s", r->error.msg);
    else if (r->status == 404)
        err = fail(&error, ERR_NOT_FOUND, 0, "the metadata service has no '%.100s'", c->path);
    else if (r->status == 401 || r->status == 403)
        err = fail(&error, ERR_DENIED, 0, "the metadata service refuses us (status %d)", r->status);
    else
        err = fail(&error, ERR_UNAVAILABLE, 0, "the metadata service answers status %d", r->status);
    finish(c, err, (struct span){0}, &error);
}

static void ask(struct imds_call *c);

static void on_token(void *ctx, const struct http_response *r)
{
    struct imds_call *c = ctx;
    struct imds *i = c->imds;
    c->http = NULL;
    struct span token = span_trim(r->body);
    bool good = r->err == OK && r->status == 200 && token.len > 0 && token.len <= TOKEN_BYTES_MAX;
    for (size_t k = 0; good && k < token.len; k++) // it goes into a header
        good = token.data[k] > ' ' && token.data[k] <= '~';
    if (!good) {
        finish_badly(c, r);
        return;
    }
    memcpy(i->token, token.data, token.len);
    i->token[token.len] = '\0';
    i->token_until_ms = loop_now_ms(i->loop) + (TOKEN_TTL_S - 60) * INT64_C(1000);
    ask(c);
}

static void on_answer(void *ctx, const struct http_response *r)
{
    struct imds_call *c = ctx;
    c->http = NULL;
    if (r->err == OK && r->status == 200) {
        finish(c, OK, r->body, NULL);
    } else if (r->err == OK && r->status == 401 && !c->renewed) {
        c->renewed = true;
        c->imds->token[0] = '\0';
        ask(c);
    } else {
        finish_badly(c, r);
    }
}

static void ask(struct imds_call *c)
{
    struct imds *i = c->imds;
    bool has_token = i->token[0] != '\0' && loop_now_ms(i->loop) < i->token_until_ms;
    char url[1024], ttl[16];
    snprintf(ttl, sizeof ttl, "%d", TOKEN_TTL_S);
    snprintf(url, sizeof url, "%s%s", i->endpoint, has_token ? c->path : "/latest/api/token");
    const struct http_call_header header =
        has_token ? (struct http_call_header){"X-aws-ec2-metadata-token", i->token}
                  : (struct http_call_header){"X-aws-ec2-metadata-token-ttl-seconds", ttl};
    const struct http_call_spec spec = {.method = has_token ? "GET" : "PUT",
                                        .url = url,
                                        .headers = &header,
                                        .header_count = 1,
                                        .body_fd = -1,
                                        .connect_timeout_ms = CONNECT_MS,
                                        .timeout_ms = CALL_MS,
                                        .response_limit_bytes = BODY_BYTES_MAX};
    c->http = http_client_start(i->http, &spec, has_token ? on_answer : on_token, c);
}

struct imds_call *imds_get(struct imds *i, const char *path, imds_done_fn *done, void *ctx)
{
    struct imds_call *c = calloc(1, sizeof *c);
    CHECK(c != NULL && path[0] == '/' && strlen(path) < 512);
    *c = (struct imds_call){.imds = i, .path = strdup(path), .done = done, .ctx = ctx};
    CHECK(c->path != NULL);
    ask(c);
    return c;
}

void imds_call_cancel(struct imds_call *call)
{
    http_call_cancel(call->http); // its callback finishes the call
}
