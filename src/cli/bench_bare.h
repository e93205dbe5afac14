// The bare engine of `smelt bench pipeline`: decode and infer in forked processes, with nothing
// around.
#pragma once

#include "base/buf.h"

struct bench_files {
    char **paths;
    struct buf *contents;
    size_t count;
};

// The JPEG, PNG and WebP files of a folder, read. ERR_NOT_FOUND if there is none.
enum err bench_files_find(struct bench_files *files, const char *folder,
                          struct error *error) MUST_CHECK;
void bench_files_release(struct bench_files *files);

struct predictor;
struct bench_bare {
    struct predictor *predictor;
    double pictures_per_s;
    double cpu_ms; // processor time of a picture, the process's start included
};

enum err bench_bare_open(struct bench_bare *bare, const char *model, const char *folders,
                         struct error *error) MUST_CHECK;
// `pictures` in all, shared out to `workers` processes that begin together.
enum err bench_bare_run(struct bench_bare *bare, const struct bench_files *files, long workers,
                        long pictures, struct error *error) MUST_CHECK;
void bench_bare_close(struct bench_bare *bare);
