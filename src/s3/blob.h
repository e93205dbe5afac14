// Body files: DIR/XX/ID, ID = 16 hex digits, XX = one of 256 fixed folders. No client's text ever
// becomes part of a path. An id is used once and never again: number of this opening (24 bits) and
// a counter (40 bits). A file that no record of the catalog names is an orphan: an upload that did
// not finish, or a deletion whose unlink did not happen; the sweep removes those of earlier
// openings.
//
// A few empty files are kept ready, with their names durable, so that a new body costs one sync
// less. Any thread may call anything here, but files are made ready by one thread only.
#pragma once

#include "base/buf.h"

#include <sys/types.h>

enum { BLOB_FOLDERS = 256 };

// For who only looks: DIR is the store's; the id in a file's name, false if it is not one.
void blob_path(const char *store_dir, uint64_t id, char out[4096]);
bool blob_id_of(const char *name, uint64_t *id);

// The calls whose failure matters, so that tests can make each of them fail.
struct blob_io {
    ssize_t (*write)(int fd, const void *data, size_t len);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
};
extern const struct blob_io blob_io_system;

struct blob_dir;

// Opens or makes the folders, durably. run: 1 .. 2^24-1, higher than at every opening before.
enum err blob_dir_open(const char *path, uint64_t run, const struct blob_io *io,
                       struct blob_dir **out, struct error *error) MUST_CHECK;
void blob_dir_close(struct blob_dir *dir); // NULL allowed

struct blob_file { // open for writing
    uint64_t id;   // 0: none
    int fd;        // -1: none
    bool name_durable;
};

// An empty file. Not durable before blob_sync.
enum err blob_create(struct blob_dir *dir, struct blob_file *out, struct error *error) MUST_CHECK;
enum err blob_append(struct blob_dir *dir, int fd, struct span data,
                     struct error *error) MUST_CHECK;
// Makes a file durable, its name too. ERR_IO: a sync failed, and nothing that was written may be
// trusted from now on: stop. (ERR_FULL never comes from here: that, too, is ERR_IO.)
enum err blob_sync(struct blob_dir *dir, struct blob_file *file, struct error *error) MUST_CHECK;
// Makes files ready when few are left. ERR_IO as blob_sync; no space or descriptors is fine: none
// are made then.
enum err blob_make_ready(struct blob_dir *dir, struct error *error) MUST_CHECK;
// For reading. ERR_NOT_FOUND if it was removed.
enum err blob_open(struct blob_dir *dir, uint64_t id, int *fd, struct error *error) MUST_CHECK;
// Missing is fine. Failure is logged only: the sweep will come past.
void blob_remove(struct blob_dir *dir, uint64_t id);

// Removes each file of an earlier opening that `live` does not know. Ends early when *stop becomes
// true.
enum err blob_sweep(struct blob_dir *dir, enum err (*live)(void *ctx, uint64_t id, bool *is_live),
                    void *ctx, const bool *stop, uint64_t *removed, struct error *error) MUST_CHECK;
