#include "aws/credentials.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/file.h"
#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CREDENTIALS_FILE_BYTES_MAX = 1 << 20,
    PROFILE_BYTES_MAX = 128,
};

// --- the file: INI with [sections], "name = value", comments ---

struct ini {
    const char *path;
    struct span rest;
    int line;
    struct span section; // "" before the first
    bool nested;         // the last name had no value: blank-led lines below belong to it
};

static struct span without_comment(struct span s)
{
    if (s.len > 0 && (s.data[0] == '#' || s.data[0] == ';'))
        return SPAN("");
    for (size_t i = 1; i < s.len; i++)
        if ((s.data[i] == '#' || s.data[i] == ';') &&
            (s.data[i - 1] == ' ' || s.data[i - 1] == '\t'))
            return span_trim((struct span){s.data, i});
    return s;
}

// The next name and value; *more false at the end.
static enum err ini_next(struct ini *ini, struct span *name, struct span *value, bool *more,
                         struct error *error)
{
    while (ini->rest.len > 0) {
        struct span raw = span_cut(ini->rest, '\n', &ini->rest), ignored;
        ini->line++;
        if (raw.len > 0 && raw.data[raw.len - 1] == '\r')
            raw.len--;
        struct span line = without_comment(span_trim(raw));
        if (line.len == 0 || (ini->nested && (raw.data[0] == ' ' || raw.data[0] == '\t')))
            continue;
        if (line.data[0] == '[') {
            if (line.data[line.len - 1] != ']')
                return fail(error, ERR_FORMAT, 0, "%s:%d: the [section] is not closed", ini->path,
                            ini->line);
            ini->section = span_trim((struct span){line.data + 1, line.len - 2});
            if (span_starts(ini->section, "profile ")) { // the config file's form
                span_cut(ini->section, ' ', &ignored);
                ini->section = span_trim(ignored);
            }
            ini->nested = false;
            continue;
        }
        *name = span_trim(span_cut(line, '=', value));
        if (name->len == line.len)
            return fail(error, ERR_FORMAT, 0, "%s:%d: there is no '=' in the line", ini->path,
                        ini->line);
        *value = span_trim(*value);
        ini->nested = value->len == 0;
        *more = true;
        return OK;
    }
    *more = false;
    return OK;
}

static enum err take(const struct ini *ini, struct span name, struct span value,
                     struct credentials *c, struct error *error)
{
    struct {
        const char *name;
        char *at;
        size_t size;
    } fields[] = {{"aws_access_key_id", c->access_key, sizeof c->access_key},
                  {"aws_secret_access_key", c->secret_key, sizeof c->secret_key},
                  {"aws_session_token", c->session_token, sizeof c->session_token},
                  {"aws_account_id", c->account, sizeof c->account}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (!span_is_nocase(name, fields[i].name))
            continue;
        if (value.len >= fields[i].size || memchr(value.data, '\0', value.len) != NULL)
            return fail(error, ERR_FORMAT, 0, "%s:%d: %s is longer than %zu characters", ini->path,
                        ini->line, fields[i].name, fields[i].size - 1);
        memcpy(fields[i].at, value.data, value.len);
        fields[i].at[value.len] = '\0';
    }
    return OK; // other names (region, output …) are not for us
}

typedef enum err each_fn(void *ctx, const char *profile, const struct credentials *credentials,
                         struct error *error);

static enum err profile_end(struct span section, const struct credentials *c, const char *path,
                            each_fn *fn, void *ctx, struct error *error)
{
    char profile[PROFILE_BYTES_MAX];
    if (c->access_key[0] == '\0' && c->secret_key[0] == '\0')
        return OK;
    snprintf(profile, sizeof profile, "%.*s", (int)section.len,
             section.len > 0 ? section.data : "");
    if (c->access_key[0] == '\0' || c->secret_key[0] == '\0')
        return fail(error, ERR_FORMAT, 0,
                    "%s: [%s] has only one of aws_access_key_id and "
                    "aws_secret_access_key",
                    path, profile);
    return fn(ctx, profile, c, error);
}

static enum err each_of(struct span text, const char *path, each_fn *fn, void *ctx,
                        struct error *error)
{
    struct ini ini = {.path = path, .rest = text, .section = SPAN("")};
    struct credentials c = {0};
    struct span name, value, section = SPAN("");
    bool more = true;
    enum err err = OK;
    while (err == OK && more) {
        err = ini_next(&ini, &name, &value, &more, error);
        if (err != OK)
            break;
        if (!more || !span_equal(section, ini.section)) {
            err = profile_end(section, &c, path, fn, ctx, error);
            explicit_bzero(&c, sizeof c);
            section = ini.section;
        }
        if (err == OK && more)
            err = take(&ini, name, value, &c, error);
    }
    explicit_bzero(&c, sizeof c);
    return err;
}

enum err credentials_each(const char *path, each_fn *fn, void *ctx, struct error *error)
{
    AUTO_BUF struct buf text = {0};
    TRY(file_read(path, CREDENTIALS_FILE_BYTES_MAX, &text, error));
    enum err err = each_of(buf_view(&text), path, fn, ctx, error);
    if (text.data != NULL)
        explicit_bzero(text.data, text.cap);
    return err;
}

struct wanted {
    const char *profile;
    struct credentials *out;
    bool found;
};

static enum err take_wanted(void *ctx, const char *profile, const struct credentials *credentials,
                            struct error *error)
{
    struct wanted *w = ctx;
    (void)error;
    if (strcmp(profile, w->profile) == 0) {
        *w->out = *credentials; // of several sections with one name the last counts
        w->found = true;
    }
    return OK;
}

enum err credentials_read(const char *path, const char *profile, struct credentials *out,
                          struct error *error)
{
    struct wanted w = {.profile = profile, .out = out};
    TRY(credentials_each(path, take_wanted, &w, error));
    if (!w.found)
        return fail(error, ERR_NOT_FOUND, 0, "'%s' has no keys in [%s]", path, profile);
    return OK;
}

// --- where a client looks ---

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static enum err read_environment(struct credentials *out, bool *found, struct error *error)
{
    const char *access = from_environment("AWS_ACCESS_KEY_ID");
    const char *secret = from_environment("AWS_SECRET_ACCESS_KEY");
    const char *token = from_environment("AWS_SESSION_TOKEN");
    *found = access != NULL && secret != NULL;
    if (!*found && (access != NULL || secret != NULL))
        return fail(error, ERR_ARGUMENT, 0,
                    "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set; set both or "
                    "none");
    if (!*found)
        return OK;
    *out = (struct credentials){0};
    if (strlen(access) >= sizeof out->access_key || strlen(secret) >= sizeof out->secret_key ||
        (token != NULL && strlen(token) >= sizeof out->session_token))
        return fail(error, ERR_LIMIT, 0, "the AWS keys in the environment are too long to be keys");
    strcpy(out->access_key, access);
    strcpy(out->secret_key, secret);
    if (token != NULL)
        strcpy(out->session_token, token);
    return OK;
}

// File named by a variable, or ~/.aws/NAME. False if there is no home either.
static bool user_file(const char *variable, const char *name, char *path, size_t path_bytes)
{
    const char *given = from_environment(variable), *home = from_environment("HOME");
    int len = given != NULL  ? snprintf(path, path_bytes, "%s", given)
              : home != NULL ? snprintf(path, path_bytes, "%s/.aws/%s", home, name)
                             : -1;
    return len > 0 && (size_t)len < path_bytes;
}

// OK with *found; a file that is not there, or lacks the profile, is no error but noted.
static enum err try_file(const char *path, const char *profile, struct credentials *out,
                         bool *found, struct buf *looked_at, struct error *error)
{
    struct error local = {0};
    enum err err = credentials_read(path, profile, out, &local);
    *found = err == OK;
    if (err != OK && err != ERR_NOT_FOUND) {
        if (error != NULL)
            *error = local;
        return err;
    }
    if (err != OK)
        buf_printf(looked_at, ", [%s] of %s", profile, path);
    return OK;
}

enum err credentials_find(const char *fallback_file, struct credentials *out, struct error *error)
{
    static const struct {
        const char *variable, *name;
    } files[] = {{"AWS_SHARED_CREDENTIALS_FILE", "credentials"}, {"AWS_CONFIG_FILE", "config"}};
    AUTO_BUF struct buf looked_at = {0};
    char path[4096];
    bool found;
    const char *profile = from_environment("AWS_PROFILE");
    TRY(read_environment(out, &found, error));
    for (size_t i = 0; !found && i < sizeof files / sizeof files[0]; i++)
        if (user_file(files[i].variable, files[i].name, path, sizeof path))
            TRY(try_file(path, profile != NULL ? profile : "default", out, &found, &looked_at,
                         error));
    if (!found && fallback_file != NULL) {
        enum err err = credentials_check_private(fallback_file, error);
        if (err != OK && err != ERR_NOT_FOUND)
            return err;
        TRY(try_file(fallback_file, "default", out, &found, &looked_at, error));
    }
    if (found)
        return OK;
    return fail(error, ERR_NOT_FOUND, 0,
                "no AWS keys found; looked at AWS_ACCESS_KEY_ID in the environment%s",
                looked_at.len > 0 ? looked_at.data : "");
}

// --- the file that our own servers hand out ---

enum err credentials_check_private(const char *path, struct error *error)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return fail(error, err_from_errno(errno), errno, "read '%s'", path);
    if ((st.st_mode & 077) != 0)
        return fail(
            error, ERR_DENIED, 0,
            "'%s' holds secret keys and others may read it (mode %03o): run chmod 600 on it", path,
            st.st_mode & 0777);
    return OK;
}

static void key_make(char access[21], char secret[41])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    uint8_t bytes[15];
    random_bytes(bytes, sizeof bytes);
    strcpy(access, "SMELT");
    for (size_t i = 0; i < sizeof bytes; i++)
        access[5 + i] = alphabet[bytes[i] & 31];
    access[20] = '\0';
    random_text(secret, 40);
}

// A new file under a name of its own, then linked to path: of several processes one wins, and what
// path names is always whole.
static enum err write_linked(const char *path, struct span text, struct error *error)
{
    char temp[4096], suffix[9], directory[4096];
    random_text(suffix, 8);
    const char *slash = strrchr(path, '/');
    snprintf(directory, sizeof directory, "%.*s", slash != NULL ? (int)(slash - path) + 1 : 1,
             slash != NULL ? path : ".");
    if (snprintf(temp, sizeof temp, "%s.%s", path, suffix) >= (int)sizeof temp)
        return fail(error, ERR_LIMIT, 0, "the path '%.100s…' is too long", path);
    AUTO_FD int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "create '%s'", temp);
    enum err err = fd_write_all(fd, text.data, text.len, temp, error);
    if (err == OK && fsync(fd) != 0)
        err = fail(error, ERR_IO, errno, "sync '%s'", temp);
    if (err == OK && link(temp, path) != 0 && errno != EEXIST)
        err = fail(error, err_from_errno(errno), errno, "create '%s'", path);
    unlink(temp);
    if (err == OK)
        err = dir_sync(directory, error);
    return err;
}

enum err credentials_create(const char *path, struct error *error)
{
    char key_id[21], secret[41], text[200];
    if (access(path, F_OK) == 0)
        return credentials_check_private(path, error);
    key_make(key_id, secret);
    int len =
        snprintf(text, sizeof text,
                 "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key_id, secret);
    enum err err = write_linked(path, (struct span){text, (size_t)len}, error);
    explicit_bzero(text, sizeof text);
    explicit_bzero(secret, sizeof secret);
    return err;
}
