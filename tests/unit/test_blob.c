#include "s3/blob.h"

#include "base/file.h"
#include "suite.h"
#include "temp_dir.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

static char dir_path[64];

// Files in all folders.
static int count_files(void)
{
    int count = 0;
    for (int i = 0; i < 256; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%02x", dir_path, (unsigned)i);
        DIR *list = opendir(path);
        struct dirent *entry;
        while (list != NULL && (entry = readdir(list)) != NULL)
            count += entry->d_name[0] != '.';
        if (list != NULL)
            closedir(list);
    }
    return count;
}

static struct blob_dir *open_dir(uint64_t run, const struct blob_io *io)
{
    struct blob_dir *dir;
    ck_assert_int_eq(blob_dir_open(dir_path, run, io, &dir, NULL), OK);
    return dir;
}

START_TEST(written_synced_read_removed)
{
    struct blob_file file;
    int fd;
    char text[16] = "";
    temp_dir_make(dir_path);
    struct blob_dir *dir = open_dir(1, &blob_io_system);
    ck_assert_int_eq(blob_create(dir, &file, NULL), OK);
    ck_assert(!file.name_durable);
    ck_assert_int_eq(blob_append(dir, file.fd, SPAN("hello, "), NULL), OK);
    ck_assert_int_eq(blob_append(dir, file.fd, SPAN("world"), NULL), OK);
    ck_assert_int_eq(blob_sync(dir, &file, NULL), OK);
    ck_assert(file.name_durable);
    fd_close(&file.fd);
    ck_assert_int_eq(blob_open(dir, file.id, &fd, NULL), OK);
    ck_assert_int_eq(read(fd, text, sizeof text), 12);
    ck_assert_str_eq(text, "hello, world");
    blob_remove(dir, file.id);
    blob_remove(dir, file.id);                             // missing is fine
    ck_assert_int_eq(pread(fd, text, sizeof text, 0), 12); // who has it open reads on
    fd_close(&fd);
    ck_assert_int_eq(blob_open(dir, file.id, &fd, NULL), ERR_NOT_FOUND);
    blob_dir_close(dir);
    temp_dir_remove(dir_path);
}
END_TEST

START_TEST(ids_are_never_used_twice)
{
    struct blob_file a, b;
    uint64_t last = 0;
    temp_dir_make(dir_path);
    for (uint64_t run = 1; run < 4; run++) {
        struct blob_dir *dir = open_dir(run, &blob_io_system);
        for (int i = 0; i < 100; i++) {
            if (i == 50)
                ck_assert_int_eq(blob_make_ready(dir, NULL), OK);
            ck_assert_int_eq(blob_create(dir, &a, NULL), OK);
            ck_assert_int_eq(a.name_durable, i >= 50 && i < 114);
            fd_close(&a.fd);
            if (a.id > last)
                last = a.id;
        }
        ck_assert_int_eq(blob_create(dir, &b, NULL), OK);
        fd_close(&b.fd);
        blob_dir_close(dir);
        ck_assert_uint_lt(last >> 40, run + 1);
    }
    ck_assert_int_eq(count_files(), 303); // those ready and not taken went at each close
    struct blob_dir *dir;
    ck_assert_int_eq(blob_dir_open(dir_path, 1u << 24, &blob_io_system, &dir, NULL), ERR_LIMIT);
    temp_dir_remove(dir_path);
}
END_TEST

static enum err odd_is_live(void *ctx, uint64_t id, bool *is_live)
{
    (void)ctx;
    *is_live = id & 1;
    return OK;
}

static enum err cannot_tell(void *ctx, uint64_t id, bool *is_live)
{
    (void)ctx;
    (void)id;
    (void)is_live;
    return ERR_CORRUPT;
}

START_TEST(sweep_removes_orphans_of_earlier_openings_only)
{
    struct blob_file file;
    uint64_t removed;
    bool stop = false;
    temp_dir_make(dir_path);
    struct blob_dir *dir = open_dir(1, &blob_io_system);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(blob_create(dir, &file, NULL), OK);
        fd_close(&file.fd);
    }
    blob_dir_close(dir);
    dir = open_dir(2, &blob_io_system);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(blob_create(dir, &file, NULL), OK);
        fd_close(&file.fd);
    }
    char foreign[128];
    snprintf(foreign, sizeof foreign, "%s/00/README", dir_path);
    ck_assert_int_eq(file_replace(foreign, SPAN("x"), 0600, NULL), OK);
    ck_assert_int_eq(blob_sweep(dir, cannot_tell, NULL, &stop, &removed, NULL), ERR_CORRUPT);
    ck_assert_int_eq(count_files(), 21);
    ck_assert_int_eq(blob_sweep(dir, odd_is_live, NULL, &stop, &removed, NULL), OK);
    ck_assert_uint_eq(removed, 5);
    ck_assert_int_eq(count_files(), 16);
    blob_dir_close(dir);
    temp_dir_remove(dir_path);
}
END_TEST

// --- faults ---

static int fail_at, calls; // the call that fails, counted over all kinds

static bool failing(void)
{
    return ++calls == fail_at;
}

static ssize_t faulty_write(int fd, const void *data, size_t len)
{
    if (failing()) {
        errno = ENOSPC;
        return -1;
    }
    return write(fd, data, len > 3 ? 3 : len); // short writes all the time
}

static int faulty_sync(int fd)
{
    (void)fd;
    if (failing()) {
        errno = EIO;
        return -1;
    }
    return 0;
}

static const struct blob_io faulty = {faulty_write, faulty_sync, faulty_sync};

static enum err whole_life(struct blob_dir *dir, struct blob_file *file, struct error *error)
{
    TRY(blob_make_ready(dir, error));
    TRY(blob_create(dir, file, error));
    TRY(blob_append(dir, file->fd, SPAN("0123456789"), error));
    file->name_durable = false;
    return blob_sync(dir, file, error);
}

START_TEST(each_failing_call_is_reported)
{
    enum err err = ERR_IO;
    temp_dir_make(dir_path);
    for (fail_at = 1; err != OK; fail_at++) {
        struct blob_dir *dir = open_dir((uint64_t)fail_at, &faulty);
        struct blob_file file = {.fd = -1};
        struct error error = {.code = OK};
        calls = 0;
        err = whole_life(dir, &file, &error);
        ck_assert_int_eq(error.code, err);
        ck_assert(err == OK || error.sys == EIO || error.sys == ENOSPC);
        ck_assert(err == OK || err == (error.sys == EIO ? ERR_IO : ERR_FULL));
        if (file.fd >= 0) {
            fd_close(&file.fd);
            blob_remove(dir, file.id);
        }
        blob_dir_close(dir);
    }
    ck_assert_int_ge(fail_at, 8); // folders, 4 writes, 2 syncs, and the one that went through
    temp_dir_remove(dir_path);
}
END_TEST

SUITE_MAIN("blob", written_synced_read_removed, ids_are_never_used_twice,
           sweep_removes_orphans_of_earlier_openings_only, each_failing_call_is_reported)
