#include "cli/bench_started.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// --- a process ---

static enum err wait_for_ready(struct bench_started *s, struct error *error)
{
    char line[700];
    size_t len = 0;
    for (;;) {
        ssize_t got = read(s->ready, line + len, sizeof line - 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
        if (memchr(line, '\n', len) != NULL || len == sizeof line - 1)
            break;
    }
    line[len] = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "ready ", 6) != 0)
        return fail(error, ERR_UNAVAILABLE, 0, "the measured system did not start: %.500s",
                    strncmp(line, "failed ", 7) == 0 ? line + 7 : "see above");
    s->port = atoi(line + 6);
    return OK;
}

enum err bench_start(const char *const *argv, struct bench_started *s, struct error *error)
{
    int lifeline[2], ready[2];
    *s = (struct bench_started){.lifeline = -1, .ready = -1};
    if (pipe2(lifeline, O_CLOEXEC) != 0)
        return fail(error, ERR_IO, errno, "make a pipe");
    if (pipe2(ready, O_CLOEXEC) != 0) {
        close(lifeline[0]);
        close(lifeline[1]);
        return fail(error, ERR_IO, errno, "make a pipe");
    }
    s->lifeline = lifeline[1];
    s->ready = ready[0];
    const struct process_fd fds[] = {{lifeline[0], 3}, {ready[1], 4}};
    enum err err = process_spawn(argv, fds, 2, &s->pid, error);
    close(lifeline[0]);
    close(ready[1]);
    TRY(err);
    return wait_for_ready(s, error);
}

void bench_stop(struct bench_started *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        fd_close(&s->lifeline);
        fd_close(&s->ready);
    }
    *s = (struct bench_started){.lifeline = -1, .ready = -1};
}

void bench_explain(struct bench_started *s, struct error *error)
{
    enum { ENDING_MS = 1000 }; // its connections close before it has ended
    int status = 0;
    struct pollfd end = {.fd = s->lifeline};
    if (s->pid <= 0 || poll(&end, 1, ENDING_MS) == 0 || waitpid(s->pid, &status, 0) != s->pid)
        return;
    s->pid = 0;
    fd_close(&s->lifeline);
    fd_close(&s->ready);
    if (WIFSIGNALED(status))
        (void)fail_context(error, error->code, "the measured system was ended by signal %d (%s)",
                           WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        (void)fail_context(error, error->code, "the measured system ended with exit code %d",
                           WEXITSTATUS(status));
}

// --- a directory ---

enum err bench_dir_open(const char *given, struct bench_dir *d, struct error *error)
{
    const char *tmp = getenv("TMPDIR");
    *d = (struct bench_dir){0};
    if (given != NULL) {
        snprintf(d->path, sizeof d->path, "%s", given);
        return dir_make(d->path, error);
    }
    snprintf(d->path, sizeof d->path, "%s/smelt-bench-XXXXXX", tmp != NULL ? tmp : "/var/tmp");
    if (mkdtemp(d->path) == NULL)
        return fail(error, err_from_errno(errno), errno, "make the directory '%s'", d->path);
    d->temporary = true;
    return OK;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void bench_dir_close(struct bench_dir *d)
{
    if (d->temporary)
        nftw(d->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    d->temporary = false;
}

// --- figures ---

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double bench_percentile(double *values, size_t count, double share)
{
    qsort(values, count, sizeof *values, by_value);
    size_t at = (size_t)(share * (double)count);
    return values[at < count ? at : count - 1];
}

enum err bench_disk_sync(const char *dir, double *p50_ms, struct error *error)
{
    enum { WRITES = 100 };
    static const char bytes[512];
    double times[WRITES];
    char path[4200];
    snprintf(path, sizeof path, "%s/bench-sync", dir);
    AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "make the file '%s'", path);
    enum err err = OK;
    if (fallocate(fd, 0, 0, (off_t)(WRITES * sizeof bytes)) != 0 || fsync(fd) != 0)
        err = fail(error, err_from_errno(errno), errno, "allocate and sync '%s'", path);
    for (size_t i = 0; i < WRITES && err == OK; i++) {
        int64_t begin_us = clock_monotonic_us();
        err = fd_write_all(fd, bytes, sizeof bytes, path, error);
        if (err == OK && fdatasync(fd) != 0)
            err = fail(error, ERR_IO, errno, "sync '%s'", path);
        times[i] = (double)(clock_monotonic_us() - begin_us) / 1000;
    }
    unlink(path);
    if (err == OK)
        *p50_ms = bench_percentile(times, WRITES, 0.5);
    return err;
}
