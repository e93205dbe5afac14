// Keys over HTTP from the host: the container's agent (ECS, EKS Pod Identity) and EC2's instance
// metadata.
#include "aws/keys_internal.h"
#include "aws/profile.h"
#include "base/clock.h"
#include "base/file.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum {
    CONNECT_MS = 1000, // an agent on this host
    CALL_MS = 2000,
    ANSWER_BYTES_MAX = 64 << 10,
    TOKEN_BYTES_MAX = 16 << 10,
    ROLE_BYTES_MAX = 64,
};

#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"

// --- what all of them answer ---

enum err keys_take(const char *where, const char *name, struct span value, bool needed, char *out,
                   size_t out_bytes, struct error *error)
{
    if (needed && value.len == 0)
        return fail(error, ERR_FORMAT, 0, "%s has no %s", where, name);
    if (value.len >= out_bytes)
        return fail(error, ERR_LIMIT, 0, "%s: %s is longer than %zu characters", where, name,
                    out_bytes - 1);
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] <= ' ' || value.data[i] > '~')
            return fail(error, ERR_FORMAT, 0, "%s: %s has a character that no key has", where,
                        name);
    memcpy(out, value.data != NULL ? value.data : "", value.len);
    out[value.len] = '\0';
    return OK;
}

static struct span text_of(const json_t *root, const char *name)
{
    const json_t *value = json_object_get(root, name);
    return (struct span){json_string_value(value), json_string_length(value)};
}

static enum err take_json(const json_t *root, const char *where, struct credentials *out,
                          struct error *error)
{
    *out = (struct credentials){0};
    const char *code = json_string_value(json_object_get(root, "Code"));
    if (!json_is_object(root))
        return fail(error, ERR_FORMAT, 0, "%s is no JSON object", where);
    if (code != NULL && strcmp(code, "Success") != 0)
        return fail(error, ERR_UNAVAILABLE, 0, "%s says %.80s", where, code);
    struct span token = text_of(root, "Token");
    if (token.len == 0)
        token = text_of(root, "SessionToken"); // a process says it so
    TRY(keys_take(where, "AccessKeyId", text_of(root, "AccessKeyId"), true, out->access_key,
                  sizeof out->access_key, error));
    TRY(keys_take(where, "SecretAccessKey", text_of(root, "SecretAccessKey"), true, out->secret_key,
                  sizeof out->secret_key, error));
    TRY(keys_take(where, "session token", token, false, out->session_token,
                  sizeof out->session_token, error));
    const char *expires = json_string_value(json_object_get(root, "Expiration"));
    if (expires != NULL && !clock_parse_iso8601(expires, &out->expires_wall_ms))
        return fail(error, ERR_FORMAT, 0, "%s: Expiration '%.40s' is not like 2026-01-31T12:00:00Z",
                    where, expires);
    return OK;
}

enum err keys_read_json(struct span body, const char *where, struct credentials *out,
                        struct error *error)
{
    json_error_t why;
    json_t *root = json_loadb(body.data != NULL ? body.data : "", body.len, 0, &why);
    enum err err = root == NULL ? fail(error, ERR_FORMAT, 0, "%s is not JSON: line %d: %s", where,
                                       why.line, why.text)
                                : take_json(root, where, out, error);
    json_decref(root);
    if (err != OK)
        explicit_bzero(out, sizeof *out);
    return err;
}

static void finish_json(struct keys *k, struct span body)
{
    struct credentials got;
    struct error error;
    enum err err = keys_read_json(body, "its answer", &got, &error);
    keys_fetched(k, err, &got, &error);
    explicit_bzero(&got, sizeof got);
}

// --- container ---

// What an agent says of its refusal; nothing else of the answer: it might be keys.
static enum err container_refusal(const struct http_response *r, struct error *error)
{
    json_t *root = json_loadb(r->body.data != NULL ? r->body.data : "", r->body.len, 0, NULL);
    const char *message = json_string_value(json_object_get(root, "message"));
    bool ours = r->status / 100 == 4 && r->status != 429; // else it restarts, or is busy
    enum err err = fail(error, ours ? ERR_DENIED : ERR_UNAVAILABLE, 0, "status %d%s%.200s",
                        r->status, message != NULL ? ": " : "", message != NULL ? message : "");
    json_decref(root);
    return err;
}

static void on_container(void *ctx, const struct http_response *r)
{
    struct keys *k = ctx;
    struct error error;
    k->http = NULL;
    if (r->err == OK && r->status == 200) {
        finish_json(k, r->body);
        return;
    }
    enum err err = r->err;
    if (err != OK)
        error = r->error;
    else
        err = container_refusal(r, &error);
    keys_fetched(k, err, NULL, &error);
}

// The token for the agent, read anew each time: EKS changes it. Empty: none is wanted.
static enum err container_token(struct buf *out, struct error *error)
{
    const char *file = environment_value("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *token = environment_value("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (file != NULL)
        TRY(file_read(file, TOKEN_BYTES_MAX, out, error));
    else if (token != NULL)
        buf_add_text(out, token);
    while (out->len > 0 && strchr("\r\n", out->data[out->len - 1]) != NULL)
        out->data[--out->len] = '\0';
    for (size_t i = 0; i < out->len; i++) // it goes into a header
        if (out->data[i] < ' ' || out->data[i] > '~')
            return fail(error, ERR_FORMAT, 0,
                        "AWS_CONTAINER_AUTHORIZATION_TOKEN%s has a character that no token has",
                        file != NULL ? "_FILE" : "");
    return OK;
}

void keys_fetch_container(struct keys *k)
{
    AUTO_BUF struct buf token = {0};
    struct error error;
    enum err err = container_token(&token, &error);
    if (err != OK) {
        keys_fetched(k, err, NULL, &error);
        return;
    }
    const struct http_call_header headers[] = {{"Accept", "application/json"},
                                               {"Authorization", token.data}};
    const struct http_call_spec spec = {.method = "GET",
                                        .url = k->container_url,
                                        .headers = headers,
                                        .header_count = token.len > 0 ? 2 : 1,
                                        .body_fd = -1,
                                        .connect_timeout_ms = CONNECT_MS,
                                        .timeout_ms = CALL_MS,
                                        .response_limit_bytes = ANSWER_BYTES_MAX};
    k->http = http_client_start(k->config.http, &spec, on_container, k);
}

// --- instance metadata ---

static void on_keys(void *ctx, enum err err, struct span body, const struct error *error)
{
    struct keys *k = ctx;
    k->imds_call = NULL;
    if (err == OK)
        finish_json(k, body);
    else
        keys_fetched(k, err, NULL, error);
}

static void on_role(void *ctx, enum err err, struct span body, const struct error *error)
{
    struct keys *k = ctx;
    struct error why;
    struct span rest, line = span_trim(span_cut(body, '\n', &rest));
    char role[ROLE_BYTES_MAX + 1], path[sizeof ROLES_PATH + ROLE_BYTES_MAX];
    k->imds_call = NULL;
    if (err == OK)
        err = keys_take("its list", "role", line, true, role, sizeof role, &why);
    else if (err == ERR_NOT_FOUND)
        fail(&why, err, 0, "this instance has no role; attach an instance profile");
    else
        why = *error;
    if (err != OK) {
        keys_fetched(k, err, NULL, &why);
        return;
    }
    snprintf(path, sizeof path, "%s%s", ROLES_PATH, role);
    k->imds_call = imds_get(k->imds, path, on_keys, k);
}

void keys_fetch_imds(struct keys *k)
{
    k->imds_call = imds_get(k->imds, ROLES_PATH, on_role, k);
}
