#include "cli/bench_bare.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "engine/package.h"
#include "engine/predictor.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILES_MAX = 10000 };

enum err bench_files_find(struct bench_files *files, const char *folder, struct error *error)
{
    static const char *const endings[] = {"jpg", "jpeg", "png", "webp"};
    glob_t found = {0};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        char pattern[4096];
        snprintf(pattern, sizeof pattern, "%s/*.%s", folder, endings[i]);
        (void)glob(pattern, i > 0 ? GLOB_APPEND : 0, NULL, &found);
    }
    files->count = found.gl_pathc < FILES_MAX ? found.gl_pathc : FILES_MAX;
    files->paths = calloc(files->count + 1, sizeof *files->paths);
    files->contents = calloc(files->count + 1, sizeof *files->contents);
    CHECK(files->paths != NULL && files->contents != NULL);
    enum err err = files->count > 0
                       ? OK
                       : fail(error, ERR_NOT_FOUND, 0,
                              "no pictures in '%s'; --samples names a folder of them", folder);
    for (size_t i = 0; i < files->count && err == OK; i++) {
        files->paths[i] = strdup(found.gl_pathv[i]);
        CHECK(files->paths[i] != NULL);
        err = file_read(files->paths[i], IMAGE_BYTES_MAX, &files->contents[i], error);
    }
    globfree(&found);
    return err;
}

void bench_files_release(struct bench_files *files)
{
    for (size_t i = 0; i < files->count && files->paths != NULL; i++) {
        free(files->paths[i]);
        buf_release(&files->contents[i]);
    }
    free(files->paths);
    free(files->contents);
    *files = (struct bench_files){0};
}

enum err bench_bare_open(struct bench_bare *bare, const char *model, const char *folders,
                         struct error *error)
{
    AUTO_BUF struct buf search_path = {0};
    package_search_path(folders, &search_path);
    return predictor_open(model, search_path.data, &bare->predictor, error);
}

void bench_bare_close(struct bench_bare *bare)
{
    predictor_free(bare->predictor);
    bare->predictor = NULL;
}

// A process of the bare engine: says "ready" with a byte, waits for the starting pipe's end,
// computes.
static _Noreturn void child_main(struct bench_bare *bare, const struct bench_files *files,
                                 long first, long step, long pictures, int ready_fd, int start_fd)
{
    struct error error;
    struct prediction_result result;
    char byte = 'r';
    enum err err = predictor_prepare(bare->predictor, &error);
    if (err == OK && write(ready_fd, &byte, 1) == 1)
        while (read(start_fd, &byte, 1) < 0 && errno == EINTR)
            ;
    for (long i = first; i < pictures && err == OK; i += step)
        err = predictor_run(bare->predictor, buf_view(&files->contents[(size_t)i % files->count]),
                            NULL, 0, &result, &error);
    if (err != OK)
        fprintf(stderr, "smelt: bare engine: %s\n", error.msg);
    _exit(err == OK ? 0 : 1);
}

static enum err wait_all(const pid_t *pids, long count, double *cpu_s, struct error *error)
{
    bool good = true;
    *cpu_s = 0;
    for (long i = 0; i < count; i++) {
        struct rusage used = {0};
        int status = 1;
        while (wait4(pids[i], &status, 0, &used) < 0 && errno == EINTR)
            ;
        good = good && status == 0;
        *cpu_s += (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                  (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    }
    return good ? OK : fail(error, ERR_INTERNAL, 0, "a process of the bare engine failed");
}

enum err bench_bare_run(struct bench_bare *bare, const struct bench_files *files, long workers,
                        long pictures, struct error *error)
{
    pid_t pids[WORKER_CHILDREN_MAX];
    int ready[2], start[2];
    long started = 0;
    CHECK(workers <= WORKER_CHILDREN_MAX);
    if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(start, O_CLOEXEC) != 0)
        return fail(error, ERR_IO, errno, "make a pipe");
    for (; started < workers; started++) {
        pids[started] = fork();
        if (pids[started] < 0)
            break;
        if (pids[started] == 0) {
            close(start[1]);
            child_main(bare, files, started, workers, pictures, ready[1], start[0]);
        }
    }
    close(ready[1]);
    for (long i = 0; i < started; i++) {
        char byte;
        if (read(ready[0], &byte, 1) != 1)
            break; // it failed, and said so
    }
    int64_t begin_us = clock_monotonic_us();
    close(start[1]); // go
    double cpu_s;
    enum err err = wait_all(pids, started, &cpu_s, error);
    double seconds = (double)(clock_monotonic_us() - begin_us) / 1e6;
    close(ready[0]);
    close(start[0]);
    if (started < workers)
        return fail(error, ERR_IO, 0, "only %ld of %ld processes could be forked", started,
                    workers);
    bare->pictures_per_s = (double)pictures / seconds;
    bare->cpu_ms = cpu_s * 1000 / (double)pictures;
    return err;
}
