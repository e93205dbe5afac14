// What a pool has done, counted by model, child and reason, for /metrics.
#pragma once

#include "base/metrics.h"
#include "job/job.h"

enum phase { PHASE_QUEUE, PHASE_FETCH, PHASE_DECODE, PHASE_INFER, PHASE_PUBLISH, PHASE_COUNT };
enum { TALLY_MODELS_MAX = 32, TALLY_REASONS_MAX = 16 }; // more share the last one

struct tally_model {
    char name[64]; // fit for a label
    struct metric *phases[PHASE_COUNT];
    uint64_t jobs[JOB_CANCELLED + 1];
};

struct tally { // zero-initialised
    struct metrics phases;
    struct arena labels;
    struct tally_model models[TALLY_MODELS_MAX];
    size_t model_count;
    uint64_t *child_jobs; // [child_count]
    size_t child_count;
    struct {
        char name[24];
        uint64_t count;
    } reasons[TALLY_REASONS_MAX];
    size_t reason_count;
};

void tally_release(struct tally *t);
void tally_phase(struct tally *t, const char *model, enum phase phase, double ms); // < 0: not known
void tally_job(struct tally *t, const char *model, enum job_status status);
void tally_child(struct tally *t, size_t child);          // an answer of this one
void tally_attempt(struct tally *t, const char *reason);  // that failed
void tally_write(const struct tally *t, struct buf *out); // Prometheus text
