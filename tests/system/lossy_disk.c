// Loaded into the real process (LD_PRELOAD): notes what each write to the queue's files replaced, and which
// files were synced after it, so that after a kill -9 the test can take back what a power loss would have
// taken (lossy_disk.py). SMELT_LOSSY names the file of notes. While the file SMELT_LOSSY.fail exists, a sync
// fails; while SMELT_LOSSY.hold-write or .hold-sync does, a write or a sync waits; while SMELT_LOSSY.no-space
// does, nothing can be allocated. SMELT_LOSSY_SLOW_US: so long each write takes, so that a kill comes before it
// more often.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

struct note { // followed by the path, and for a write by what was there before
    uint32_t kind, path_bytes; // 1 write, 2 sync, 3 sync that failed
    uint64_t at, bytes;
};

static int notes_fd = -1;
static useconds_t slow_us;

__attribute__((constructor)) static void start(void)
{
    const char *name = getenv("SMELT_LOSSY"), *slow = getenv("SMELT_LOSSY_SLOW_US");
    slow_us = slow != NULL ? (useconds_t)atoi(slow) : 0;
    if (name != NULL)
        notes_fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int told(const char *what) // whether the file SMELT_LOSSY.WHAT exists
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", getenv("SMELT_LOSSY"), what);
    return access(path, F_OK) == 0;
}

static void hold(const char *what)
{
    while (told(what))
        usleep(1000);
}

// The path of a file of the queue; 0: another one.
static size_t path_of(int fd, char out[4096])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = notes_fd >= 0 ? readlink(link, out, 4095) : -1;
    if (len <= 0)
        return 0;
    out[len] = '\0';
    return strstr(out, "/sqs/") != NULL ? (size_t)len : 0;
}

static void add(struct note note, const char *path, void *before)
{
    struct iovec parts[] = {{&note, sizeof note}, {(void *)path, note.path_bytes}, {before, note.bytes}};
    if (writev(notes_fd, parts, note.kind == 1 ? 3 : 2) < 0)
        abort();
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off_t);
    char path[4096];
    if (real == NULL)
        real = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    size_t path_bytes = path_of(fd, path);
    if (path_bytes > 0) {
        usleep(slow_us);
        hold("hold-write");
        char *before = calloc(1, len + 1);
        if (before == NULL || pread(fd, before, len, at) < 0)
            abort();
        add((struct note){1, (uint32_t)path_bytes, (uint64_t)at, len}, path, before);
        free(before);
    }
    return real(fd, data, len, at);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    return pwrite(fd, data, len, at);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    static int (*real)(int, int, off_t, off_t);
    char path[4096];
    if (real == NULL)
        real = (int (*)(int, int, off_t, off_t))dlsym(RTLD_NEXT, "fallocate");
    if (path_of(fd, path) > 0 && told("no-space")) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, mode, at, len);
}

int fallocate64(int fd, int mode, off_t at, off_t len)
{
    return fallocate(fd, mode, at, len);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    char path[4096];
    if (real == NULL)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    size_t path_bytes = path_of(fd, path);
    if (path_bytes == 0)
        return real(fd);
    hold("hold-sync");
    if (told("fail")) {
        add((struct note){.kind = 3, .path_bytes = (uint32_t)path_bytes}, path, NULL);
        errno = EIO;
        return -1;
    }
    int result = real(fd), sys = errno;
    if (result == 0)
        add((struct note){.kind = 2, .path_bytes = (uint32_t)path_bytes}, path, NULL);
    errno = sys;
    return result;
}
