// The system calls of the journal, in one table: tests replace it to fail, tear or stop any single
// call. Each function behaves like the call of its name: -1 and errno on failure.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct journal_io {
    void *ctx; // first argument of each call
    int (*open)(void *ctx, const char *path, int flags, mode_t mode);
    int (*close)(void *ctx, int fd);
    ssize_t (*pread)(void *ctx, int fd, void *data, size_t len, off_t at);
    ssize_t (*pwrite)(void *ctx, int fd, const void *data, size_t len, off_t at);
    int (*fdatasync)(void *ctx, int fd);
    int (*fallocate)(void *ctx, int fd, off_t len); // whole file, zero-filled
    int (*size)(void *ctx, int fd, off_t *bytes);
    // The next part at or after `from` that may hold anything but zeros: 1, or 0 if there is none.
    int (*next_data)(void *ctx, int fd, off_t from, off_t *start, off_t *end);
    int (*rename)(void *ctx, const char *from, const char *to);
    int (*unlink)(void *ctx, const char *path);
    int (*sync_dir)(void *ctx, const char *path);
    // Calls fn with each name in the directory.
    int (*list)(void *ctx, const char *path, void (*fn)(void *fn_ctx, const char *name),
                void *fn_ctx);
};

extern const struct journal_io journal_io_posix;
