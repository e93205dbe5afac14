// Results of failed jobs that are to run again. A worker that finds a result adopts it instead of
// computing: so a job that is moved back out of a dead-letter queue needs its `failed` result gone
// first. Only such results are touched.
#pragma once

#include "aws/s3_client.h"
#include "base/arena.h"

struct failed_results {
    struct loop *loop;
    struct aws_client *s3;
    const char *bucket;
    // called as results have been looked at, for a progress bar; may be NULL
    void (*progress)(void *ctx, size_t done, size_t count);
    void *ctx;
    const bool *stop; // becomes true: nothing more is begun

    // out
    size_t removed; // failed ones
    size_t kept;    // of other status
    size_t missing; // none was there
};

// Looks at results/ID.json of each id. ERR_CANCELLED: *stop became true; else the first error,
// which ends it. What was removed until then stays removed (the job then counts as queued).
enum err failed_results_remove(struct failed_results *f, const char *const *ids, size_t count,
                               struct error *error) MUST_CHECK;
