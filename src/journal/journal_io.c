#include "journal/journal_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int posix_open(void *ctx, const char *path, int flags, mode_t mode)
{
    (void)ctx;
    return open(path, flags | O_CLOEXEC, mode);
}

static int posix_close(void *ctx, int fd)
{
    (void)ctx;
    return close(fd);
}

static ssize_t posix_pread(void *ctx, int fd, void *data, size_t len, off_t at)
{
    (void)ctx;
    return pread(fd, data, len, at);
}

static ssize_t posix_pwrite(void *ctx, int fd, const void *data, size_t len, off_t at)
{
    (void)ctx;
    return pwrite(fd, data, len, at);
}

static int posix_fdatasync(void *ctx, int fd)
{
    (void)ctx;
    return fdatasync(fd);
}

static int posix_fallocate_zero(void *ctx, int fd, off_t len)
{
    (void)ctx;
    if (fallocate(fd, 0, 0, len) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return -1;
    // a file system without fallocate: write the zeros
    static const char zeros[65536];
    for (off_t at = 0; at < len;) {
        size_t part = len - at < (off_t)sizeof zeros ? (size_t)(len - at) : sizeof zeros;
        ssize_t done = pwrite(fd, zeros, part, at);
        if (done < 0 && errno != EINTR)
            return -1;
        at += done > 0 ? done : 0;
    }
    return 0;
}

static int posix_size(void *ctx, int fd, off_t *bytes)
{
    (void)ctx;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -1;
    *bytes = st.st_size;
    return 0;
}

static int posix_next_data(void *ctx, int fd, off_t from, off_t *start, off_t *end)
{
    (void)ctx;
    *start = lseek(fd, from, SEEK_DATA);
    if (*start < 0)
        return errno == ENXIO ? 0 : -1;
    *end = lseek(fd, *start, SEEK_HOLE);
    return *end < 0 ? -1 : 1;
}

static int posix_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return rename(from, to);
}

static int posix_unlink(void *ctx, const char *path)
{
    (void)ctx;
    return unlink(path);
}

static int posix_sync_dir(void *ctx, const char *path)
{
    (void)ctx;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = fsync(fd), sys = errno;
    close(fd);
    errno = sys;
    return result;
}

static int posix_list(void *ctx, const char *path, void (*fn)(void *fn_ctx, const char *name),
                      void *fn_ctx)
{
    (void)ctx;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return -1;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        fn(fn_ctx, entry->d_name);
    int sys = errno;
    closedir(dir);
    errno = sys;
    return sys == 0 ? 0 : -1;
}

const struct journal_io journal_io_posix = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwrite = posix_pwrite,
    .fdatasync = posix_fdatasync,
    .fallocate = posix_fallocate_zero,
    .size = posix_size,
    .next_data = posix_next_data,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
};
