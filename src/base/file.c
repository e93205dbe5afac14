#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

enum err file_read(const char *path, size_t max_bytes, struct buf *out, struct error *error)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "open '%s'", path);
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fail(error, ERR_IO, errno, "stat '%s'", path);
    if (S_ISDIR(st.st_mode))
        return fail(error, ERR_ARGUMENT, 0, "'%s' is a directory, a file is needed", path);
    if (st.st_size > 0 && (uint64_t)st.st_size > max_bytes)
        return fail(error, ERR_LIMIT, 0, "'%s' has %lld bytes, the limit is %zu", path,
                    (long long)st.st_size, max_bytes);
    if (st.st_size > 0)
        buf_reserve(out, (size_t)st.st_size);
    for (;;) {
        buf_reserve(out, 65536);
        ssize_t got = read(fd, out->data + out->len, 65536);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(error, ERR_IO, errno, "read '%s'", path);
        if (got == 0)
            break;
        if (out->len + (size_t)got > max_bytes)
            return fail(error, ERR_LIMIT, 0, "'%s' has over %zu bytes, the limit", path, max_bytes);
        out->len += (size_t)got;
        out->data[out->len] = '\0';
    }
    return OK;
}

enum err fd_write_all(int fd, const void *data, size_t len, const char *what, struct error *error)
{
    const char *p = data;
    while (len > 0) {
        ssize_t done = write(fd, p, len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail(error, err_from_errno(errno), errno, "write '%s'", what);
        p += done;
        len -= (size_t)done;
    }
    return OK;
}

// The directory part of path, "." if there is none.
static void parent_of(const char *path, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s", path);
    char *slash = strrchr(out, '/');
    if (slash == NULL)
        snprintf(out, PATH_MAX, ".");
    else if (slash == out)
        out[1] = '\0';
    else
        *slash = '\0';
}

enum err dir_sync(const char *path, struct error *error)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "open directory '%s'", path);
    if (fsync(fd) != 0)
        return fail(error, ERR_IO, errno, "sync directory '%s'", path);
    return OK;
}

enum err file_replace(const char *path, struct span data, mode_t mode, struct error *error)
{
    char temp[PATH_MAX], parent[PATH_MAX];
    if (snprintf(temp, sizeof temp, "%s.tmp", path) >= (int)sizeof temp)
        return fail(error, ERR_ARGUMENT, 0, "path '%.100s…' is too long", path);
    AUTO_FD int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "create '%s'", temp);
    enum err err = fd_write_all(fd, data.data, data.len, temp, error);
    if (err == OK && fsync(fd) != 0)
        err = fail(error, err_from_errno(errno), errno, "sync '%s'", temp);
    if (err == OK && rename(temp, path) != 0)
        err = fail(error, err_from_errno(errno), errno, "rename '%s' to '%s'", temp, path);
    if (err != OK) {
        unlink(temp);
        return err;
    }
    parent_of(path, parent);
    return dir_sync(parent, error);
}

// What a person can do about it, behind what went wrong.
static enum err dir_failed(struct error *error, int sys, const char *what, const char *path)
{
    const char *advice = "";
    switch (err_from_errno(sys)) {
    case ERR_DENIED:
        advice =
            "; choose another directory, or give this one to the user who starts smelt (chown)";
        break;
    case ERR_FULL:
        advice = "; make room on this disk or use another";
        break;
    case ERR_NOT_FOUND:
        advice = "; choose another directory";
        break;
    default:
        break;
    }
    char reason[128];
    return fail(error, err_from_errno(sys), 0, "cannot %s '%.250s': %.60s%s", what, path,
                strerror_r(sys, reason, sizeof reason), advice);
}

enum err dir_make(const char *path, struct error *error)
{
    char part[PATH_MAX], parent[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof part)
        return fail(error, ERR_ARGUMENT, 0, "bad directory name '%.100s'", path);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) == 0) {
            parent_of(part, parent);
            TRY(dir_sync(parent, error));
        } else if (errno != EEXIST) {
            return dir_failed(error, errno, "make directory", part);
        }
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return fail(error, ERR_ARGUMENT, 0, "'%.300s' is not a directory; choose another name",
                    path);
    if (faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) != 0)
        return dir_failed(error, errno, "write in directory", path);
    return OK;
}

enum err dir_lock(const char *path, int *lock_fd, struct error *error)
{
    char name[PATH_MAX];
    if (snprintf(name, sizeof name, "%s/lock", path) >= (int)sizeof name)
        return fail(error, ERR_ARGUMENT, 0, "path '%.100s…' is too long", path);
    AUTO_FD int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return dir_failed(error, errno, "open", name);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        char pid[16] = "";
        ssize_t got = pread(fd, pid, sizeof pid - 1, 0);
        pid[got > 0 ? got : 0] = '\0';
        return fail(error, ERR_BUSY, 0,
                    "data directory '%s' is in use by another smelt (pid %s); stop it or pass "
                    "another --data",
                    path, pid[0] != '\0' ? pid : "unknown");
    }
    char pid[16];
    int len = snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len)
        return dir_failed(error, errno, "write", name);
    *lock_fd = fd;
    fd = -1;
    return OK;
}
