// Files and descriptors: whole reads and writes, durable replacement, one owner per directory.
#pragma once

#include "base/buf.h"

#include <sys/types.h>

void fd_close(int *fd); // closes if >= 0 and sets -1; for AUTO_FD
#define AUTO_FD __attribute__((cleanup(fd_close)))

// Reads a whole file. ERR_LIMIT above max_bytes. The message names the path.
enum err file_read(const char *path, size_t max_bytes, struct buf *out,
                   struct error *error) MUST_CHECK;
// Writes a new file durably in place of an old one: temp file beside it, fsync, rename, fsync of
// the directory. On failure the old file is as it was.
enum err file_replace(const char *path, struct span data, mode_t mode,
                      struct error *error) MUST_CHECK;
// All bytes or an error; EINTR retried.
enum err fd_write_all(int fd, const void *data, size_t len, const char *what,
                      struct error *error) MUST_CHECK;
// fsync of a directory by path, so that names made in it survive power loss.
enum err dir_sync(const char *path, struct error *error) MUST_CHECK;
// Makes a directory with its parents (0700), durably. One that exists is fine.
enum err dir_make(const char *path, struct error *error) MUST_CHECK;
// Takes DIR/lock for this process; *lock_fd stays open (close = give back; a dead owner's lock is
// free). ERR_BUSY: "data directory 'DIR' is in use by another smelt (pid N); stop it or pass
// another --data".
enum err dir_lock(const char *path, int *lock_fd, struct error *error) MUST_CHECK;
