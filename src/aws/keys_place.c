// Where keys come from: the first place that has anything.
#include "aws/endpoint.h"
#include "aws/keys_internal.h"
#include "aws/profile.h"
#include "base/check.h"
#include "http/url.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// One place: *found, or a few words in `looked` of what it lacks. Errors end the search.
typedef enum err look_fn(struct keys *k, struct buf *looked, bool *found, struct error *error);

static enum err find_in_profile(struct keys *k, struct profile *p, const char *name, int depth,
                                bool *found, struct error *error);

static const char *keep(struct keys *k, const char *text)
{
    return text != NULL ? arena_copy(&k->arena, span_from(text)) : NULL;
}

static enum err take_file(struct keys *k, const char *path, const char *profile,
                          struct error *error)
{
    k->place = KEYS_FILE;
    k->path = keep(k, path);
    k->profile = keep(k, profile);
    k->name = arena_printf(&k->arena, "[%s] of %s", profile, path);
    TRY(credentials_read(path, profile, &k->now, error));
    k->has = true;
    k->until_ms = INT64_MAX;
    k->fetched_ms = loop_now_ms(k->config.loop);
    return OK;
}

// --- the places, in their order ---

static enum err look_environment(struct keys *k, struct buf *looked, bool *found,
                                 struct error *error)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN"};
    char *const to[] = {k->now.access_key, k->now.secret_key, k->now.session_token};
    const size_t sizes[] = {sizeof k->now.access_key, sizeof k->now.secret_key,
                            sizeof k->now.session_token};
    bool key = environment_value(names[0]) != NULL, secret = environment_value(names[1]) != NULL;
    if (key != secret)
        return fail(error, ERR_ARGUMENT, 0,
                    "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set; set both or "
                    "none");
    *found = key;
    if (!key) {
        buf_add_text(looked, "AWS_ACCESS_KEY_ID (not set)");
        return OK;
    }
    for (size_t i = 0; i < 3; i++)
        TRY(keys_take("the environment", names[i], span_from(environment_value(names[i])), i < 2,
                      to[i], sizes[i], error));
    k->place = KEYS_FIXED;
    k->name = "the environment";
    k->has = true;
    k->until_ms = INT64_MAX;
    return OK;
}

static enum err look_web_identity(struct keys *k, struct buf *looked, bool *found,
                                  struct error *error)
{
    const char *file = environment_value("AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *role = environment_value("AWS_ROLE_ARN");
    *found = file != NULL;
    if (file == NULL) {
        buf_add_text(looked, ", AWS_WEB_IDENTITY_TOKEN_FILE (not set)");
        return OK;
    }
    if (role == NULL)
        return fail(error, ERR_ARGUMENT, 0,
                    "AWS_WEB_IDENTITY_TOKEN_FILE is set, but not AWS_ROLE_ARN: which role?");
    k->place = KEYS_WEB_IDENTITY;
    k->token_file = keep(k, file);
    k->role_arn = keep(k, role);
    k->session_name = keep(k, environment_value("AWS_ROLE_SESSION_NAME"));
    k->name = arena_printf(&k->arena, "web identity (%s)", file);
    return OK;
}

static enum err look_container(struct keys *k, struct buf *looked, bool *found, struct error *error)
{
    const char *relative = environment_value("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = environment_value("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    AUTO_BUF struct buf url = {0};
    *found = relative != NULL || full != NULL;
    if (!*found) {
        buf_add_text(looked, ", AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI (not set)");
        return OK;
    }
    TRY(keys_container_url(relative, full, &url, error));
    k->place = KEYS_CONTAINER;
    k->container_url = keep(k, url.data);
    k->name = "the container's credentials";
    return OK;
}

static enum err look_imds(struct keys *k, struct buf *looked, bool *found, struct error *error)
{
    struct error why;
    enum err err = imds_new(k->config.loop, k->config.http, NULL, &k->imds, &why);
    *found = err == OK;
    if (err == ERR_UNSUPPORTED) {
        buf_printf(looked, ", instance metadata (%s)", why.msg);
        return OK;
    }
    if (err != OK)
        return fail(error, err, 0, "%s", why.msg);
    k->place = KEYS_IMDS;
    k->name = "instance metadata";
    return OK;
}

static enum err look_profile(struct keys *k, struct buf *looked, bool *found, struct error *error)
{
    AUTO_PROFILE struct profile profile = {0};
    TRY(profile_open(&profile, error));
    TRY(find_in_profile(k, &profile, profile.name, 0, found, error));
    if (!*found)
        buf_printf(looked, ", [%.60s] of %.100s and %.100s", profile.name, profile.paths[0],
                   profile.paths[1]);
    return OK;
}

static enum err look_data(struct keys *k, struct buf *looked, bool *found, struct error *error)
{
    const char *path = k->config.data_file;
    struct error why;
    if (path == NULL)
        return OK;
    enum err err = credentials_check_private(path, &why);
    *found = err == OK;
    if (err == ERR_NOT_FOUND) {
        buf_printf(looked, ", %.100s (not there)", path);
        return OK;
    }
    if (err != OK)
        return fail(error, err, 0, "%s", why.msg);
    return take_file(k, path, "default", error);
}

// --- a profile ---

// The role's keys are got with those of another place, which has keys of its own.
static enum err take_base(struct keys *k, struct profile *p, const char *name, int depth,
                          struct error *error)
{
    const char *source = profile_value(p, name, "source_profile");
    const char *other = profile_value(p, name, "credential_source");
    AUTO_BUF struct buf looked = {0};
    bool found = false;
    k->base = keys_new(&k->config);
    if (source != NULL) {
        if (depth + 1 == KEYS_DEPTH_MAX)
            return fail(error, ERR_LIMIT, 0,
                        "[%s]: over %d profiles name a source_profile in a row", name,
                        KEYS_DEPTH_MAX);
        TRY(find_in_profile(k->base, p, source, depth + 1, &found, error));
        if (!found)
            return fail(error, ERR_NOT_FOUND, 0, "[%s]: source_profile '%s' has no keys", name,
                        source);
        return OK;
    }
    look_fn *look = other == NULL                               ? NULL
                    : strcmp(other, "Environment") == 0         ? look_environment
                    : strcmp(other, "EcsContainer") == 0        ? look_container
                    : strcmp(other, "Ec2InstanceMetadata") == 0 ? look_imds
                                                                : NULL;
    if (look == NULL)
        return fail(error, ERR_FORMAT, 0,
                    "[%s] has a role_arn: it needs source_profile, web_identity_token_file, or "
                    "credential_source = Environment, EcsContainer or Ec2InstanceMetadata",
                    name);
    TRY(look(k->base, &looked, &found, error));
    const char *places = looked.data != NULL ? looked.data : "";
    return found ? OK
                 : fail(error, ERR_NOT_FOUND, 0, "[%s]: credential_source %s: looked at%s%s", name,
                        other, places[0] == ',' ? "" : " ", places + (places[0] == ','));
}

static enum err take_role(struct keys *k, struct profile *p, const char *name, int depth,
                          struct error *error)
{
    const char *duration = profile_value(p, name, "duration_seconds");
    uint64_t seconds = 0;
    if (profile_value(p, name, "mfa_serial") != NULL)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "[%s] wants a code from a person (mfa_serial): a service cannot give it", name);
    if (duration != NULL && (!span_to_u64(span_from(duration), 43200, &seconds) || seconds < 900))
        return fail(error, ERR_FORMAT, 0, "[%s]: duration_seconds is '%.40s', not 900 to 43200",
                    name, duration);
    k->duration_s = (int)seconds;
    k->role_arn = keep(k, profile_value(p, name, "role_arn"));
    k->session_name = keep(k, profile_value(p, name, "role_session_name"));
    k->external_id = keep(k, profile_value(p, name, "external_id"));
    k->token_file = keep(k, profile_value(p, name, "web_identity_token_file"));
    k->name = arena_printf(&k->arena, "the role of [%s]", name);
    k->place = k->token_file != NULL ? KEYS_WEB_IDENTITY : KEYS_ROLE;
    return k->place == KEYS_ROLE ? take_base(k, p, name, depth, error) : OK;
}

static enum err take_profile_keys(struct keys *k, const struct profile *p, const char *name,
                                  struct error *error)
{
    struct error why;
    enum err err = take_file(k, p->paths[0], name, &why);
    if (err == ERR_NOT_FOUND)
        err = take_file(k, p->paths[1], name, &why);
    return err == OK ? OK : fail(error, err, 0, "%s", why.msg);
}

static enum err find_in_profile(struct keys *k, struct profile *p, const char *name, int depth,
                                bool *found, struct error *error) // NOLINT(misc-no-recursion)
{
    bool keys = profile_value(p, name, "aws_access_key_id") != NULL ||
                profile_value(p, name, "aws_secret_access_key") != NULL;
    const char *command = profile_value(p, name, "credential_process");
    const char *source = profile_value(p, name, "source_profile");
    *found = true;
    // a profile that is its own source has the keys itself: here it is asked for the second time
    bool itself = keys && depth > 0 && source != NULL && strcmp(source, name) == 0;
    if (profile_value(p, name, "role_arn") != NULL && !itself)
        return take_role(k, p, name, depth, error);
    if (keys)
        return take_profile_keys(k, p, name, error);
    if (command != NULL) {
        k->place = KEYS_PROCESS;
        k->command = keep(k, command);
        k->name = arena_printf(&k->arena, "credential_process of [%s]", name);
        return OK;
    }
    if (profile_value(p, name, "sso_session") != NULL ||
        profile_value(p, name, "sso_start_url") != NULL)
        return fail(error, ERR_UNSUPPORTED, 0,
                    "[%s] has keys by single sign-on only; let the AWS tools get them: "
                    "credential_process = aws configure export-credentials --profile %s",
                    name, name);
    *found = false;
    return OK;
}

// --- all ---

struct keys *keys_new(const struct keys_config *config)
{
    struct keys *k = calloc(1, sizeof *k);
    CHECK(k != NULL);
    k->config = *config;
    k->waiting.prev = k->waiting.next = &k->waiting;
    return k;
}

static enum err find(struct keys *k, struct error *error)
{
    static look_fn *const places[] = {look_environment, look_web_identity, look_profile,
                                      look_data,        look_container,    look_imds};
    AUTO_BUF struct buf looked = {0};
    bool found = false;
    if (k->config.file != NULL) {
        TRY(credentials_check_private(k->config.file, error));
        return take_file(k, k->config.file, "default", error);
    }
    for (size_t i = 0; !found && i < sizeof places / sizeof places[0]; i++)
        TRY(places[i](k, &looked, &found, error));
    k->config.file = k->config.data_file = NULL; // were borrowed for this only
    k->looked = keep(k, looked.len > 0 ? looked.data : "");
    return found ? OK : fail(error, ERR_NOT_FOUND, 0, "no AWS keys found; looked at %s", k->looked);
}

enum err keys_open(const struct keys_config *config, struct keys **out, struct error *error)
{
    struct keys *k = keys_new(config);
    enum err err = find(k, error);
    if (err != OK) {
        keys_close(k);
        return err;
    }
    *out = k;
    return OK;
}

// --- the container's address ---

static bool may_go_plain(const char *host)
{
    static const char *const hosts[] = {"localhost", "::1", "169.254.170.2", "169.254.170.23",
                                        "fd00:ec2::23"}; // ECS, EKS
    const char *number = host;
    uint64_t part;
    struct span rest = span_from(number), first = span_cut(rest, '.', &rest);
    if (span_is(first, "127")) { // all of 127.0.0.0/8, but no name like 127.example.com
        bool address = true;
        for (int i = 0; i < 3; i++)
            address = address && span_to_u64(span_cut(rest, '.', &rest), 255, &part);
        return address && rest.len == 0;
    }
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++)
        if (span_is_nocase(span_from(host), hosts[i]))
            return true;
    return false;
}

enum err keys_container_url(const char *relative, const char *full, struct buf *out,
                            struct error *error)
{
    struct url url;
    if (relative != NULL) {
        if (relative[0] != '/')
            return fail(error, ERR_ARGUMENT, 0,
                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is '%.100s': it must begin with /",
                        relative);
        buf_printf(out, "http://169.254.170.2%s", relative);
        return url_parse(out->data, &url, error);
    }
    TRY(url_parse(full, &url, error));
    if (!url.https && !may_go_plain(url.host))
        return fail(error, ERR_DENIED, 0,
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI: keys do not come over plain HTTP from "
                    "'%.100s', only from this host, 169.254.170.2, 169.254.170.23 and "
                    "fd00:ec2::23; use https://",
                    url.host);
    buf_add_text(out, full);
    return OK;
}
