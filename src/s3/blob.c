#include "s3/blob.h"

#include "base/check.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FOLDERS = BLOB_FOLDERS,
    FOLDER_SHIFT = 12, // 4096 ids in a row share a folder: a batch syncs one or two folders
    COUNTER_BITS = 40,
    NAME_BYTES = 16 + 1,
    READY_MAX = 64, // files kept ready
    READY_LOW = 32, // made ready again below this
};

struct blob_dir {
    int folders[FOLDERS];
    uint64_t run;
    const struct blob_io *io;
    pthread_mutex_t lock; // for what follows
    uint64_t counter;
    struct blob_file ready[READY_MAX];
    size_t ready_count;
    bool making; // a thread makes files ready
};

static ssize_t system_write(int fd, const void *data, size_t len)
{
    return write(fd, data, len);
}

const struct blob_io blob_io_system = {system_write, fdatasync, fsync};

static int folder_of(const struct blob_dir *dir, uint64_t id)
{
    return dir->folders[(id >> FOLDER_SHIFT) % FOLDERS];
}

static void name_of(uint64_t id, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "%016llx", (unsigned long long)id);
}

void blob_path(const char *store_dir, uint64_t id, char out[4096])
{
    snprintf(out, 4096, "%s/blobs/%02x/%016llx", store_dir,
             (unsigned)((id >> FOLDER_SHIFT) % FOLDERS), (unsigned long long)id);
}

bool blob_id_of(const char *name, uint64_t *id)
{
    uint8_t big[8];
    *id = 0;
    if (!hex_decode(span_from(name), big, sizeof big))
        return false;
    for (size_t i = 0; i < sizeof big; i++)
        *id = *id << 8 | big[i];
    return true;
}

static enum err folders_open(struct blob_dir *dir, int parent, const char *path,
                             struct error *error)
{
    bool made = false;
    for (int i = 0; i < FOLDERS; i++) {
        char name[8];
        snprintf(name, sizeof name, "%02x", (unsigned)i);
        if (mkdirat(parent, name, 0700) == 0)
            made = true;
        else if (errno != EEXIST)
            return fail(error, err_from_errno(errno), errno, "make folder '%s/%s'", path, name);
        dir->folders[i] = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir->folders[i] < 0)
            return fail(error, err_from_errno(errno), errno, "open folder '%s/%s'", path, name);
    }
    if (made && fsync(parent) != 0)
        return fail(error, ERR_IO, errno, "sync folder '%s'", path);
    return OK;
}

enum err blob_dir_open(const char *path, uint64_t run, const struct blob_io *io,
                       struct blob_dir **out, struct error *error)
{
    CHECK(run > 0);
    if (run >> (64 - COUNTER_BITS) != 0)
        return fail(error, ERR_LIMIT, 0, "'%s' was opened 2^%d times, the limit", path,
                    64 - COUNTER_BITS);
    TRY(dir_make(path, error));
    AUTO_FD int parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return fail(error, err_from_errno(errno), errno, "open folder '%s'", path);
    struct blob_dir *dir = calloc(1, sizeof *dir);
    CHECK(dir != NULL);
    dir->run = run;
    dir->io = io;
    pthread_mutex_init(&dir->lock, NULL);
    for (int i = 0; i < FOLDERS; i++)
        dir->folders[i] = -1;
    enum err err = folders_open(dir, parent, path, error);
    if (err != OK) {
        blob_dir_close(dir);
        return err;
    }
    *out = dir;
    return OK;
}

void blob_dir_close(struct blob_dir *dir)
{
    if (dir == NULL)
        return;
    for (size_t i = 0; i < dir->ready_count; i++) {
        fd_close(&dir->ready[i].fd);
        blob_remove(dir, dir->ready[i].id);
    }
    for (int i = 0; i < FOLDERS; i++)
        fd_close(&dir->folders[i]);
    pthread_mutex_destroy(&dir->lock);
    free(dir);
}

static enum err file_make(struct blob_dir *dir, struct blob_file *out, struct error *error)
{
    char name[NAME_BYTES];
    pthread_mutex_lock(&dir->lock);
    CHECK(dir->counter >> COUNTER_BITS == 0);
    uint64_t id = dir->run << COUNTER_BITS | dir->counter++;
    pthread_mutex_unlock(&dir->lock);
    name_of(id, name);
    int fd = openat(folder_of(dir, id), name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "create body file %s", name);
    *out = (struct blob_file){.id = id, .fd = fd};
    return OK;
}

enum err blob_create(struct blob_dir *dir, struct blob_file *out, struct error *error)
{
    pthread_mutex_lock(&dir->lock);
    bool ready = dir->ready_count > 0;
    if (ready)
        *out = dir->ready[--dir->ready_count];
    pthread_mutex_unlock(&dir->lock);
    return ready ? OK : file_make(dir, out, error);
}

static enum err names_sync(struct blob_dir *dir, struct blob_file *files, size_t count,
                           struct error *error)
{
    int last = -1;
    for (size_t i = 0; i < count; i++) { // ids come nearly in order: few folders
        int folder = folder_of(dir, files[i].id);
        if (files[i].name_durable)
            continue;
        if (folder != last && dir->io->fsync(folder) != 0)
            return fail(error, ERR_IO, errno, "sync a folder of body files");
        last = folder;
        files[i].name_durable = true;
    }
    return OK;
}

enum err blob_make_ready(struct blob_dir *dir, struct error *error)
{
    struct blob_file files[READY_MAX] = {{.id = 0}};
    size_t count = 0, wanted = 0;
    pthread_mutex_lock(&dir->lock);
    if (!dir->making && dir->ready_count < READY_LOW) {
        wanted = READY_MAX - dir->ready_count;
        dir->making = true;
    }
    pthread_mutex_unlock(&dir->lock);
    if (wanted == 0)
        return OK;
    while (count < wanted && file_make(dir, &files[count], NULL) == OK)
        count++;
    enum err err = names_sync(dir, files, count, error);
    pthread_mutex_lock(&dir->lock);
    dir->making = false;
    for (size_t i = 0; i < count && err == OK; i++) // nobody else adds: they fit
        dir->ready[dir->ready_count++] = files[i];
    pthread_mutex_unlock(&dir->lock);
    for (size_t i = 0; i < count && err != OK; i++)
        fd_close(&files[i].fd);
    return err;
}

enum err blob_append(struct blob_dir *dir, int fd, struct span data, struct error *error)
{
    while (data.len > 0) {
        ssize_t done = dir->io->write(fd, data.data, data.len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail(error, err_from_errno(errno), errno, "write a body file");
        data.data += done;
        data.len -= (size_t)done;
    }
    return OK;
}

enum err blob_sync(struct blob_dir *dir, struct blob_file *file, struct error *error)
{
    if (dir->io->fdatasync(file->fd) != 0)
        return fail(error, ERR_IO, errno, "sync a body file");
    return names_sync(dir, file, 1, error);
}

enum err blob_open(struct blob_dir *dir, uint64_t id, int *fd, struct error *error)
{
    char name[NAME_BYTES];
    name_of(id, name);
    int new_fd = openat(folder_of(dir, id), name, O_RDONLY | O_CLOEXEC);
    if (new_fd < 0)
        return fail(error, err_from_errno(errno), errno, "open body file %s", name);
    *fd = new_fd;
    return OK;
}

void blob_remove(struct blob_dir *dir, uint64_t id)
{
    char name[NAME_BYTES];
    name_of(id, name);
    if (unlinkat(folder_of(dir, id), name, 0) != 0 && errno != ENOENT)
        log_event(LOG_WARN, "blob_remove_failed", "file=%s errno=%d", name, errno);
}

static enum err sweep_folder(struct blob_dir *dir, int folder,
                             enum err (*live)(void *ctx, uint64_t id, bool *is_live), void *ctx,
                             const bool *stop, uint64_t *removed, struct error *error)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    if (list == NULL) {
        fd_close(&fd);
        return fail(error, ERR_IO, errno, "list a folder of body files");
    }
    enum err err = OK;
    struct dirent *entry;
    while (err == OK && !__atomic_load_n(stop, __ATOMIC_RELAXED) &&
           (entry = readdir(list)) != NULL) {
        uint64_t id;
        bool is_live = true;
        if (!blob_id_of(entry->d_name, &id))
            continue; // not ours
        if (id >> COUNTER_BITS >= dir->run)
            continue; // of this opening: may belong to an upload under way
        err = live(ctx, id, &is_live);
        if (err == OK && !is_live) {
            blob_remove(dir, id);
            (*removed)++;
        }
    }
    closedir(list);
    return err != OK ? fail(error, err, 0, "the catalog cannot be read") : OK;
}

enum err blob_sweep(struct blob_dir *dir, enum err (*live)(void *ctx, uint64_t id, bool *is_live),
                    void *ctx, const bool *stop, uint64_t *removed, struct error *error)
{
    *removed = 0;
    for (int i = 0; i < FOLDERS; i++)
        TRY(sweep_folder(dir, dir->folders[i], live, ctx, stop, removed, error));
    return OK;
}
