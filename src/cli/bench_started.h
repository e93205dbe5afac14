// What benches have in common: a process of our own that is measured, a directory that goes away,
// and the figures of a list of times.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct bench_started {
    pid_t pid; // 0: none
    int lifeline, ready;
    int port;
};

// Starts ourselves with argv, which must hold "--lifeline-fd 3 --ready-fd 4", and waits until it
// serves. Whatever the outcome, bench_stop.
enum err bench_start(const char *const *argv, struct bench_started *out,
                     struct error *error) MUST_CHECK;
void bench_stop(struct bench_started *s); // TERM, and its end; all zero: nothing
// In front of an error: how the process ended, if it did.
void bench_explain(struct bench_started *s, struct error *error);

struct bench_dir {
    char path[4096];
    bool temporary;
};

// given: NULL for a temporary one (in TMPDIR or /var/tmp: a disk, not memory).
enum err bench_dir_open(const char *given, struct bench_dir *out, struct error *error) MUST_CHECK;
void bench_dir_close(struct bench_dir *d); // removes a temporary one with all that is in it

// Sorts.
double bench_percentile(double *values, size_t count, double share);
// Median time of a small write into an allocated file and its fdatasync, in this directory, in ms.
enum err bench_disk_sync(const char *dir, double *p50_ms, struct error *error) MUST_CHECK;
