#include "engine/package_draft.h"

#include "base/check.h"
#include "base/file.h"
#include "engine/predictor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// The path without slashes behind it, and where its last part begins.
static struct span trimmed(const char *folder, size_t *last)
{
    struct span path = span_from(folder);
    while (path.len > 1 && path.data[path.len - 1] == '/')
        path.len--;
    for (*last = path.len; *last > 0 && path.data[*last - 1] != '/';)
        --*last;
    return path;
}

char *package_name_of(const char *folder)
{
    size_t last;
    struct span path = trimmed(folder, &last);
    struct span name = {path.data + last, path.len - last};
    if (name.len == 0 || name.len > 100 || name.data[0] == '.')
        return NULL;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            return NULL;
    }
    char *copy = strndup(name.data, name.len);
    CHECK(copy != NULL);
    return copy;
}

// Removes a folder of plain files.
static enum err remove_folder(const char *path, struct error *error)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return errno == ENOENT ? OK : fail(error, err_from_errno(errno), errno, "open '%s'", path);
    enum err err = OK;
    for (struct dirent *entry; err == OK && (entry = readdir(dir)) != NULL;) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (unlinkat(dirfd(dir), name, 0) != 0)
            err = fail(error, err_from_errno(errno), errno, "remove '%s/%s'", path, name);
    }
    closedir(dir);
    if (err == OK && rmdir(path) != 0)
        err = fail(error, err_from_errno(errno), errno, "remove '%s'", path);
    return err;
}

static enum err parent_sync(const char *folder, struct error *error)
{
    size_t last;
    trimmed(folder, &last);
    AUTO_BUF struct buf parent = {0};
    buf_printf(&parent, "%.*s", (int)last, folder);
    return dir_sync(last > 0 ? parent.data : ".", error);
}

// The hidden folder, empty, and locked against another of us.
static enum err make_temp(struct package_draft *d, struct error *error)
{
    TRY(dir_make(d->temp, error));
    d->temp_fd = open(d->temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->temp_fd < 0)
        return fail(error, err_from_errno(errno), errno, "open '%s'", d->temp);
    if (flock(d->temp_fd, LOCK_EX | LOCK_NB) != 0)
        return fail(error, ERR_BUSY, 0, "another smelt is writing '%s' at the moment", d->folder);
    struct stat ours, there;
    if (fstat(d->temp_fd, &ours) != 0 || stat(d->temp, &there) != 0 ||
        ours.st_ino != there.st_ino) // it was renamed between open and lock
        return fail(error, ERR_BUSY, 0, "another smelt has just written '%s'", d->folder);
    DIR *dir = opendir(d->temp);
    if (dir == NULL)
        return fail(error, err_from_errno(errno), errno, "open '%s'", d->temp);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(dir), entry->d_name, 0); // of a predecessor that was killed
    closedir(dir);
    if (fchmod(d->temp_fd, 0755) != 0)
        return fail(error, err_from_errno(errno), errno, "change the mode of '%s'", d->temp);
    return OK;
}

static void free_texts(struct package_draft *d)
{
    free(d->name);
    free(d->folder);
    free(d->temp);
}

static enum err exists(const char *folder, struct error *error)
{
    return fail(error, ERR_EXISTS, 0, "'%s' is there already: remove it, or pass --force", folder);
}

enum err package_draft_open(const char *folder, bool replace, struct package_draft *out,
                            struct error *error)
{
    struct package_draft d = {.temp_fd = -1, .replace = replace};
    AUTO_BUF struct buf temp = {0}, whole = {0};
    struct stat st;
    size_t last;
    struct span path = trimmed(folder, &last);
    buf_printf(&whole, "%.*s", (int)path.len, path.data);
    buf_printf(&temp, "%.*s.%.*s.new", (int)last, path.data, (int)(path.len - last),
               path.data + last);
    d.name = package_name_of(folder);
    if (d.name == NULL)
        return fail(error, ERR_ARGUMENT, 0,
                    "'%s' cannot be a package: its name must be of letters, digits and . _ -",
                    folder);
    if (lstat(whole.data, &st) == 0 && (!replace || !S_ISDIR(st.st_mode))) {
        free_texts(&d);
        return exists(whole.data, error);
    }
    d.folder = buf_take(&whole, NULL);
    d.temp = buf_take(&temp, NULL);
    enum err err = make_temp(&d, error);
    if (err != OK) {
        fd_close(&d.temp_fd);
        free_texts(&d);
        return err;
    }
    *out = d;
    return OK;
}

enum err package_draft_add(struct package_draft *d, const char *name, struct span data,
                           struct error *error)
{
    AUTO_BUF struct buf path = {0};
    buf_printf(&path, "%s/%s", d->temp, name);
    return file_replace(path.data, data, 0644, error);
}

enum err package_draft_commit(struct package_draft *d, struct error *error)
{
    struct stat st;
    bool there = d->replace && lstat(d->folder, &st) == 0;
    // into an empty folder rename goes too: nothing is lost by that
    if (there ? renameat2(AT_FDCWD, d->temp, AT_FDCWD, d->folder, RENAME_EXCHANGE) != 0
              : rename(d->temp, d->folder) != 0) {
        if (errno == ENOTEMPTY || errno == EEXIST)
            return exists(d->folder, error);
        return fail(error, err_from_errno(errno), errno, "rename '%s' to '%s'", d->temp, d->folder);
    }
    TRY(parent_sync(d->folder, error));
    fd_close(&d->temp_fd);
    return there ? remove_folder(d->temp, error) : OK;
}

enum err package_draft_publish(struct package_draft *d, struct error *error)
{
    struct predictor *p;
    TRY(predictor_open(d->temp, "", &p, error));
    enum err err = predictor_prepare(p, error);
    predictor_free(p);
    return err == OK ? package_draft_commit(d, error) : err;
}

void package_draft_release(struct package_draft *d)
{
    struct error ignored;
    if (d->temp != NULL && d->temp_fd >= 0) {
        (void)!remove_folder(d->temp, &ignored);
        fd_close(&d->temp_fd);
    }
    free_texts(d);
    *d = (struct package_draft){.temp_fd = -1};
}
