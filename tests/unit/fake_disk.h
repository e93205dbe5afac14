// A disk in memory behind struct journal_io: any single call can be made to fail, tear or end
// everything, and a power loss keeps of what was not synced only what chance (a seed) lets through:
// single sectors, in any order.
#pragma once

#include "journal/journal_io.h"

#pragma GCC diagnostic ignored "-Wunused-function" // each test uses a part

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAKE_FILES = 256, FAKE_SECTOR = 512, FAKE_FD = 1000 };

struct fake_write {
    size_t at, len;
    char *data;
};

struct fake_file {
    char name[64];
    char *data, *durable; // as read now, and as after a power loss
    size_t size, durable_size;
    bool there, durable_there; // in the directory
    bool was_there;            // there at the last sync of the directory
    char durable_name[64];
    struct fake_write *writes; // since its last sync
    size_t write_count, write_cap;
};

enum fake_fault {
    FAKE_NONE,
    FAKE_FAIL,  // the n-th call fails once, without effect
    FAKE_REST,  // from the n-th call on each fails, or finds no space, but reads do not
    FAKE_SHORT, // the n-th call, if a write or a read, does half of what was asked, and says so
    FAKE_TEAR,  // the n-th call, if a write, is done to its half; then everything stops
    FAKE_STOP,  // from the n-th call on nothing works: the process was killed
};

struct fake_disk {
    struct journal_io io;
    struct fake_file files[FAKE_FILES];
    size_t file_count;
    long calls;
    long fault_at; // the n-th call, from 1
    enum fake_fault fault;
    int fault_errno;
    bool stopped;
    size_t space; // bytes that may be allocated; 0: no limit
    long syncs;
    // deliberate bugs of the disk, to see that tests notice
    bool lie_sync, lie_dir;
};

static uint64_t fake_random(uint64_t *seed)
{
    uint64_t z = (*seed += 0x9e3779b97f4a7c15u); // SplitMix64
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// Counts a call. 0: go on; -1: fails with errno; 1: half of it.
static int fake_call(struct fake_disk *d, bool read)
{
    d->calls++;
    if (d->stopped) {
        errno = EIO;
        return -1;
    }
    bool rest = d->fault == FAKE_REST && d->calls > d->fault_at && !read;
    if (d->fault == FAKE_NONE || (d->calls != d->fault_at && !rest))
        return 0;
    errno = EIO;
    if (d->fault == FAKE_TEAR || d->fault == FAKE_SHORT)
        return 1;
    if (d->fault == FAKE_STOP)
        d->stopped = true;
    errno = d->fault_errno;
    return -1;
}

// The same for a call that cannot be done to its half.
static int fake_simple(struct fake_disk *d, bool read)
{
    int fault = fake_call(d, read);
    return fault > 0 ? (d->fault == FAKE_TEAR ? -1 : 0) : fault;
}

static struct fake_file *fake_find(struct fake_disk *d, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    for (size_t i = 0; i < d->file_count; i++)
        if (d->files[i].there && strcmp(d->files[i].name, name) == 0)
            return &d->files[i];
    return NULL;
}

static int fake_open(void *ctx, const char *path, int flags, mode_t mode)
{
    struct fake_disk *d = ctx;
    (void)mode;
    if (fake_simple(d, false) != 0)
        return -1;
    struct fake_file *f = fake_find(d, path);
    if (f == NULL && (flags & O_CREAT) == 0) {
        errno = ENOENT;
        return -1;
    }
    if (f == NULL) {
        size_t i = 0;
        while (i < d->file_count && (d->files[i].there || d->files[i].durable_there))
            i++;
        if (i == FAKE_FILES)
            abort();
        f = &d->files[i];
        if (i == d->file_count)
            d->file_count++;
        free(f->data);
        free(f->durable);
        for (size_t k = 0; k < f->write_count; k++)
            free(f->writes[k].data);
        free(f->writes);
        *f = (struct fake_file){.there = true};
        snprintf(f->name, sizeof f->name, "%s", strrchr(path, '/') + 1);
    }
    if ((flags & O_TRUNC) != 0)
        f->size = 0;
    return FAKE_FD + (int)(f - d->files);
}

static int fake_close(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return 0;
}

static struct fake_file *fake_fd(struct fake_disk *d, int fd)
{
    return &d->files[fd - FAKE_FD];
}

static ssize_t fake_pread(void *ctx, int fd, void *data, size_t len, off_t at)
{
    struct fake_disk *d = ctx;
    int fault = fake_call(d, true);
    if (fault < 0 || (fault > 0 && d->fault == FAKE_TEAR))
        return -1;
    struct fake_file *f = fake_fd(d, fd);
    if ((size_t)at >= f->size)
        return 0;
    if (len > f->size - (size_t)at)
        len = f->size - (size_t)at;
    if (fault > 0 && len > 1)
        len /= 2;
    memcpy(data, f->data + at, len);
    return (ssize_t)len;
}

static void fake_grow(struct fake_file *f, size_t size)
{
    if (size <= f->size)
        return;
    f->data = realloc(f->data, size);
    memset(f->data + f->size, 0, size - f->size);
    f->size = size;
}

static ssize_t fake_pwrite(void *ctx, int fd, const void *data, size_t len, off_t at)
{
    struct fake_disk *d = ctx;
    int fault = fake_call(d, false);
    if (fault < 0)
        return -1;
    bool torn = fault > 0 && d->fault == FAKE_TEAR;
    if (fault > 0 && (torn || len > 1))
        len /= 2;
    if (torn)
        d->stopped = true;
    struct fake_file *f = fake_fd(d, fd);
    fake_grow(f, (size_t)at + len);
    memcpy(f->data + at, data, len);
    if (f->write_count == f->write_cap) {
        f->write_cap = f->write_cap == 0 ? 8 : f->write_cap * 2;
        f->writes = realloc(f->writes, f->write_cap * sizeof f->writes[0]);
    }
    struct fake_write *w = &f->writes[f->write_count++];
    *w = (struct fake_write){.at = (size_t)at, .len = len, .data = malloc(len + 1)};
    memcpy(w->data, data, len);
    if (torn) {
        errno = EIO;
        return -1;
    }
    return (ssize_t)len;
}

static void fake_make_durable(struct fake_file *f)
{
    f->durable = realloc(f->durable, f->size + 1);
    if (f->size > 0)
        memcpy(f->durable, f->data, f->size);
    f->durable_size = f->size;
    for (size_t i = 0; i < f->write_count; i++)
        free(f->writes[i].data);
    f->write_count = 0;
}

static int fake_fdatasync(void *ctx, int fd)
{
    struct fake_disk *d = ctx;
    if (fake_simple(d, false) != 0)
        return -1;
    d->syncs++;
    if (!d->lie_sync)
        fake_make_durable(fake_fd(d, fd));
    return 0;
}

static size_t fake_used(const struct fake_disk *d)
{
    size_t used = 0;
    for (size_t i = 0; i < d->file_count; i++)
        used += d->files[i].there ? d->files[i].size : 0;
    return used;
}

static int fake_fallocate(void *ctx, int fd, off_t len)
{
    struct fake_disk *d = ctx;
    if (fake_simple(d, false) != 0)
        return -1;
    struct fake_file *f = fake_fd(d, fd);
    if (d->space != 0 && fake_used(d) - f->size + (size_t)len > d->space) {
        errno = ENOSPC;
        return -1;
    }
    fake_grow(f, (size_t)len);
    return 0;
}

static int fake_size(void *ctx, int fd, off_t *bytes)
{
    struct fake_disk *d = ctx;
    if (fake_simple(d, true) != 0)
        return -1;
    *bytes = (off_t)fake_fd(d, fd)->size;
    return 0;
}

static int fake_next_data(void *ctx, int fd, off_t from, off_t *start, off_t *end)
{
    struct fake_disk *d = ctx;
    if (fake_simple(d, true) != 0)
        return -1;
    const struct fake_file *f = fake_fd(d, fd);
    size_t at = (size_t)from;
    while (at < f->size && f->data[at] == 0)
        at++;
    if (at >= f->size)
        return 0;
    *start = (off_t)(at / FAKE_SECTOR * FAKE_SECTOR);
    *start = *start < from ? from : *start;
    *end = (off_t)f->size;
    return 1;
}

static int fake_rename(void *ctx, const char *from, const char *to)
{
    struct fake_disk *d = ctx;
    if (fake_simple(d, false) != 0)
        return -1;
    struct fake_file *f = fake_find(d, from), *old = fake_find(d, to);
    if (f == NULL) {
        errno = ENOENT;
        return -1;
    }
    if (old != NULL)
        old->there = false;
    snprintf(f->name, sizeof f->name, "%s", strrchr(to, '/') + 1);
    return 0;
}

static int fake_unlink(void *ctx, const char *path)
{
    struct fake_disk *d = ctx;
    if (fake_simple(d, false) != 0)
        return -1;
    struct fake_file *f = fake_find(d, path);
    if (f == NULL) {
        errno = ENOENT;
        return -1;
    }
    f->there = false;
    return 0;
}

static int fake_sync_dir(void *ctx, const char *path)
{
    struct fake_disk *d = ctx;
    (void)path;
    if (fake_simple(d, false) != 0)
        return -1;
    for (size_t i = 0; i < d->file_count && !d->lie_dir; i++) {
        struct fake_file *f = &d->files[i];
        f->durable_there = f->there;
        memcpy(f->durable_name, f->name, sizeof f->name);
    }
    return 0;
}

static int fake_list(void *ctx, const char *path, void (*fn)(void *fn_ctx, const char *name),
                     void *fn_ctx)
{
    struct fake_disk *d = ctx;
    (void)path;
    if (fake_simple(d, true) != 0)
        return -1;
    for (size_t i = 0; i < d->file_count; i++)
        if (d->files[i].there)
            fn(fn_ctx, d->files[i].name);
    return 0;
}

static void fake_disk_init(struct fake_disk *d)
{
    *d = (struct fake_disk){.fault_errno = EIO};
    d->io = (struct journal_io){.ctx = d,
                                .open = fake_open,
                                .close = fake_close,
                                .pread = fake_pread,
                                .pwrite = fake_pwrite,
                                .fdatasync = fake_fdatasync,
                                .fallocate = fake_fallocate,
                                .size = fake_size,
                                .next_data = fake_next_data,
                                .rename = fake_rename,
                                .unlink = fake_unlink,
                                .sync_dir = fake_sync_dir,
                                .list = fake_list};
}

static void fake_disk_release(struct fake_disk *d)
{
    for (size_t i = 0; i < d->file_count; i++) {
        struct fake_file *f = &d->files[i];
        for (size_t k = 0; k < f->write_count; k++)
            free(f->writes[k].data);
        free(f->writes);
        free(f->data);
        free(f->durable);
    }
    d->file_count = 0;
}

// What lies on the disk, whole: to look into a store without changing it. The copy is released by
// its owner; descriptors mean the same there.
static void fake_disk_copy(const struct fake_disk *from, struct fake_disk *to)
{
    *to = *from;
    to->io.ctx = to;
    for (size_t i = 0; i < from->file_count; i++) {
        const struct fake_file *a = &from->files[i];
        struct fake_file *b = &to->files[i];
        b->data = malloc(a->size + 1);
        b->durable = malloc(a->durable_size + 1);
        memcpy(b->data, a->data != NULL ? a->data : "", a->size);
        memcpy(b->durable, a->durable != NULL ? a->durable : "", a->durable_size);
        b->writes = a->write_cap > 0 ? calloc(a->write_cap, sizeof b->writes[0]) : NULL;
        for (size_t k = 0; k < a->write_count; k++) {
            b->writes[k] = a->writes[k];
            b->writes[k].data = malloc(a->writes[k].len + 1);
            memcpy(b->writes[k].data, a->writes[k].data, a->writes[k].len);
        }
    }
}

// kill -9: the files stay as they are, and the machine works again.
static void fake_disk_restart(struct fake_disk *d)
{
    d->stopped = false;
    d->fault = FAKE_NONE;
    d->calls = 0;
}

// Power loss: of each write that was not synced each sector may have reached the disk or not; names
// made, changed and removed since the directory's last sync may have or not.
static void fake_disk_power_loss(struct fake_disk *d, uint64_t seed)
{
    for (size_t i = 0; i < d->file_count; i++) {
        struct fake_file *f = &d->files[i];
        size_t size = f->size > f->durable_size ? f->size : f->durable_size;
        char *now = calloc(1, size + 1);
        if (f->durable_size > 0)
            memcpy(now, f->durable, f->durable_size);
        for (size_t k = 0; k < f->write_count; k++) {
            const struct fake_write *w = &f->writes[k];
            for (size_t at = w->at; at < w->at + w->len;) {
                size_t end = (at / FAKE_SECTOR + 1) * FAKE_SECTOR;
                if (end > w->at + w->len)
                    end = w->at + w->len;
                if (fake_random(&seed) % 2 == 0)
                    memcpy(now + at, w->data + (at - w->at), end - at);
                at = end;
            }
        }
        // a file that was never synced may also have lost its length
        if (f->durable_size == 0 && fake_random(&seed) % 2 == 0)
            size = 0;
        free(f->data);
        f->data = now;
        f->size = size;
        bool renamed = strcmp(f->name, f->durable_name) != 0;
        if (f->there != f->durable_there || renamed) {
            if (fake_random(&seed) % 2 == 0) {
                f->there = f->durable_there;
                if (f->durable_there)
                    memcpy(f->name, f->durable_name, sizeof f->name);
            }
        }
        fake_make_durable(f);
        f->durable_there = f->there;
        memcpy(f->durable_name, f->name, sizeof f->name);
    }
    // of two files of one name (a rename that reached the disk) the newer one stays
    for (size_t i = 0; i < d->file_count; i++)
        for (size_t k = 0; k < i; k++)
            if (d->files[i].there && d->files[k].there &&
                strcmp(d->files[i].name, d->files[k].name) == 0)
                d->files[k].there = d->files[k].durable_there = false;
    fake_disk_restart(d);
}
