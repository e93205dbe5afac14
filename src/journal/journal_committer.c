// The half of the journal that touches the disk: commits, new segments, removals. Runs in a thread
// of its own, or inside journal_committer_submit when the journal is synchronous.
#include "journal/journal_internal.h"

#include "base/check.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { ZEROED_AHEAD_BYTES = 1 << 20 }; // of the current segment, for the commits to come

enum err journal_write(struct journal *j, int fd, const void *data, size_t len, uint64_t at,
                       const char *what, struct error *error)
{
    const char *p = data;
    while (len > 0) {
        ssize_t done = j->io->pwrite(j->io->ctx, fd, p, len, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail(error, err_from_errno(done < 0 ? errno : EIO), done < 0 ? errno : EIO,
                        "write %zu bytes at offset %llu of '%s'", len, (unsigned long long)at,
                        what);
        p += done;
        at += (uint64_t)done;
        len -= (size_t)done;
    }
    return OK;
}

enum err chunk_write(struct journal *j, struct chunk *c, struct error *error)
{
    TRY(journal_write(j, c->fd, c->data.data, c->data.len, c->at, "journal segment", error));
    c->written = true;
    return OK;
}

// Zeros where there are zeros: blocks that are allocated and were never written cost each sync that
// reaches them a commit of the file system's own journal, blocks that were written do not.
static enum err zero_ahead(struct journal *j, const struct chunk *c, struct error *error)
{
    static const char zeros[ZEROED_AHEAD_BYTES];
    uint64_t end = c->at + c->data.len, left = j->segment_bytes - end;
    if (j->zeroed_segment == c->segment && end <= j->zeroed_to)
        return OK;
    size_t len = left < sizeof zeros ? (size_t)left : sizeof zeros;
    TRY(journal_write(j, c->fd, zeros, len, end, "journal segment", error));
    j->zeroed_segment = c->segment;
    j->zeroed_to = end + len;
    return OK;
}

static enum err commit(struct journal *j, struct batch *b, struct error *error)
{
    for (size_t i = 0; i < b->count; i++) {
        struct chunk *c = &b->chunks[i];
        if (!c->written)
            TRY(chunk_write(j, c, error));
        TRY(zero_ahead(j, c, error));
        if (j->io->fdatasync(j->io->ctx, c->fd) != 0)
            return fail(error, ERR_IO, errno, "sync the journal in '%s'", j->dir);
    }
    return OK;
}

enum err segment_create(struct journal *j, uint32_t id, int *fd, struct error *error)
{
    char path[PATH_MAX];
    struct segment_header h;
    const struct journal_io *io = j->io;
    journal_path(j, id, path);
    int got = io->open(io->ctx, path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (got < 0)
        return fail(error, err_from_errno(errno), errno, "create '%s'", path);
    enum err err = OK;
    segment_header_write(&h, id, j->store, j->segment_bytes);
    if (io->fallocate(io->ctx, got, (off_t)j->segment_bytes) != 0)
        err = fail(error, err_from_errno(errno), errno, "allocate %u bytes for '%s'",
                   j->segment_bytes, path);
    if (err == OK)
        err = journal_write(j, got, &h, sizeof h, 0, path, error);
    if (err == OK && io->fdatasync(io->ctx, got) != 0)
        err = fail(error, err_from_errno(errno), errno, "sync '%s'", path);
    if (err == OK && io->sync_dir(io->ctx, j->dir) != 0)
        err = fail(error, err_from_errno(errno), errno, "sync directory '%s'", j->dir);
    if (err != OK) {
        io->close(io->ctx, got);
        io->unlink(io->ctx, path); // if that fails too, the next start removes it
        return err;
    }
    *fd = got;
    return OK;
}

enum err manifest_store(struct journal *j, struct span bytes, uint64_t generation,
                        struct error *error)
{
    uint64_t at = generation % 2 * MANIFEST_SLOT_BYTES;
    TRY(journal_write(j, j->manifest_fd, bytes.data, bytes.len, at, "manifest", error));
    if (j->io->fdatasync(j->io->ctx, j->manifest_fd) != 0)
        return fail(error, ERR_IO, errno, "sync the manifest in '%s'", j->dir);
    return OK;
}

static void run(struct journal *j, struct job *job)
{
    char path[PATH_MAX];
    job->fatal = false;
    if (job->kind == JOB_COMMIT) {
        int64_t start = clock_monotonic_us();
        job->err = commit(j, &job->batch, &job->error);
        job->took_us = clock_monotonic_us() - start;
        job->fatal = job->err != OK;
        return;
    }
    if (job->kind == JOB_SPARE) {
        job->err = segment_create(j, job->segment, &job->fd, &job->error);
        if (job->err != OK)
            return;
    }
    job->err = manifest_store(j, buf_view(&job->manifest), job->generation, &job->error);
    job->fatal = job->err != OK;
    if (job->kind == JOB_REMOVE && job->err == OK) {
        journal_path(j, job->segment, path);
        // a file that stays is not in the manifest: the next start removes it
        (void)j->io->unlink(j->io->ctx, path);
    }
}

static void *committer_main(void *arg)
{
    struct journal *j = arg;
    pthread_mutex_lock(&j->lock);
    for (;;) {
        while (j->todo == NULL && !j->stop)
            pthread_cond_wait(&j->wake, &j->lock);
        if (j->todo == NULL)
            break;
        struct job *job = j->todo;
        j->todo = job->next;
        pthread_mutex_unlock(&j->lock);
        run(j, job);
        pthread_mutex_lock(&j->lock);
        struct job **end = &j->done;
        while (*end != NULL)
            end = &(*end)->next;
        job->next = NULL;
        *end = job;
        // not while holding the lock, which is the first thing that who wakes up wants
        pthread_mutex_unlock(&j->lock);
        eventfd_write(j->event_fd, 1);
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

static void on_done(void *ctx, uint32_t events)
{
    struct journal *j = ctx;
    eventfd_t count;
    (void)events;
    (void)eventfd_read(j->event_fd, &count);
    pthread_mutex_lock(&j->lock);
    struct job *done = j->done;
    j->done = NULL;
    pthread_mutex_unlock(&j->lock);
    while (done != NULL) {
        struct job *next = done->next;
        journal_collect(j, done);
        done = next;
    }
}

enum err journal_committer_start(struct journal *j, struct error *error)
{
    if (j->config.loop == NULL)
        return OK;
    j->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (j->event_fd < 0)
        return fail(error, ERR_IO, errno, "create an eventfd");
    TRY(loop_watch_add(j->config.loop, &j->watch, j->event_fd, EPOLLIN, on_done, j, error));
    CHECK(pthread_mutex_init(&j->lock, NULL) == 0 && pthread_cond_init(&j->wake, NULL) == 0);
    // signals are the loop's business
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int sys = pthread_create(&j->thread, NULL, committer_main, j);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (sys != 0)
        return fail(error, ERR_IO, sys, "start the journal's thread");
    j->threaded = true;
    return OK;
}

void journal_committer_stop(struct journal *j)
{
    if (j->threaded) {
        pthread_mutex_lock(&j->lock);
        j->stop = true;
        pthread_cond_signal(&j->wake);
        pthread_mutex_unlock(&j->lock);
        pthread_join(j->thread, NULL);
        pthread_mutex_destroy(&j->lock);
        pthread_cond_destroy(&j->wake);
        j->threaded = false;
    }
    if (j->watch.active)
        loop_watch_remove(j->config.loop, &j->watch);
    if (j->event_fd >= 0)
        close(j->event_fd);
    j->event_fd = -1;
}

void journal_committer_submit(struct journal *j, struct job *job)
{
    CHECK(!job->queued);
    job->queued = true;
    job->next = NULL;
    if (!j->threaded) {
        run(j, job);
        journal_collect(j, job);
        return;
    }
    pthread_mutex_lock(&j->lock);
    struct job **end = &j->todo;
    while (*end != NULL)
        end = &(*end)->next;
    *end = job;
    pthread_mutex_unlock(&j->lock);
    pthread_cond_signal(&j->wake);
}
