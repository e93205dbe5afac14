// The trial of a new generation of models on real jobs, for as long as the generation before is
// kept: does it crash, hang or run out of memory where that one did not? Counts for one model.
// Pure: no I/O, no clock.
#pragma once

#include "base/buf.h"
#include "base/limits.h"

struct trial {      // all zero at its beginning
    uint32_t begun; // jobs; halved with `bad` at WORKER_TRIAL_JOBS, so that new ones count more
    uint32_t bad;   // different pictures that ended badly
    uint64_t pictures[WORKER_TRIAL_PICTURES]; // the last of these, as digests
    uint32_t noted;                           // of them, ever
};

void trial_begun(struct trial *t);
// The picture's job ended badly. The same picture counts once: one that kills whatever meets it is
// not the model's fault, however often it is tried.
void trial_bad(struct trial *t, struct span picture);
// before: of the same model in the generation before, NULL if it had none.
bool trial_failed(const struct trial *t, const struct trial *before);
