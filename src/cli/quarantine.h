// Work on foreign bytes in a process of its own, in the worker's sandbox: no files, no network,
// bounded memory and processor time. If it crashes or hangs, it alone ends.
#pragma once

#include "base/buf.h"

#include <stddef.h>

struct quarantine {
    enum err (*work)(void *ctx, struct buf *out, struct error *error); // runs in the child
    void *ctx;
    size_t memory_bytes; // beyond what this process has mapped
    int cpu_s;           // processor time
    size_t out_bytes_max;
};

// From a process without threads. What work appended to its buffer is appended to out, whether it
// failed or not; what it changed in memory is lost. Errors: work's own; ERR_FORMAT when it crashed
// or took too long; ERR_UNSUPPORTED without seccomp; ERR_IO.
enum err quarantine_run(const struct quarantine *q, struct buf *out,
                        struct error *error) MUST_CHECK;
