#include "aws/credentials.h"

#include "aws/ini.h"
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

// --- the file ---

static enum err take(const struct ini *ini, struct credentials *c, struct error *error)
{
    struct span name = ini->name, value = ini->value;
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
    struct span section = SPAN("");
    bool more = true;
    enum err err = OK;
    while (err == OK && more) {
        err = ini_next(&ini, &more, error);
        if (err != OK)
            break;
        if (!more || !span_equal(section, ini.section)) {
            err = profile_end(section, &c, path, fn, ctx, error);
            explicit_bzero(&c, sizeof c);
            section = ini.section;
        }
        if (err == OK && more && ini.parent.len == 0)
            err = take(&ini, &c, error);
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
