// Predictor: package + engine + pictures = predictions. What a child of the worker runs for a job.
#pragma once

#include "engine/engine.h"
#include "engine/package.h"

struct predictor;

struct prediction {
    int index;
    float score;
};

struct prediction_group {
    float score;
    bool present;
};

struct prediction_result {
    struct prediction *top; // [top_count], best first; owned by the predictor, until its next run
    size_t top_count;
    struct prediction_group *groups; // [package group_count], likewise
    int width, height;               // of the picture, after orientation
    int64_t decode_us, infer_us;     // decode includes resize and scaling
};

// Loads and packs. To be called once, before any fork.
enum err predictor_open(const char *name_or_path, const char *search_path, struct predictor **out,
                        struct error *error) MUST_CHECK;
// package->fingerprint of what predictor_open would load now.
enum err predictor_fingerprint(const char *name_or_path, const char *search_path, char out[65],
                               struct error *error) MUST_CHECK;
void predictor_free(struct predictor *p);
const struct package *predictor_package(const struct predictor *p);
const struct engine *predictor_engine(const struct predictor *p);
const char *predictor_precision(const struct predictor *p); // of its engine

// Makes a context (arena, tensors) and runs once on a grey picture. The zygote does this before it
// forks: what the run generates and touches is there for all children, and each gets a copy of its
// own of the pages that it writes.
enum err predictor_prepare(struct predictor *p, struct error *error) MUST_CHECK;

// Makes a context only: for a process that does not fork, whose first picture is the first run.
enum err predictor_begin(struct predictor *p, struct error *error) MUST_CHECK;

// Memory for one run: arena, input, output.
size_t predictor_scratch_bytes(const struct predictor *p);
// As predictor_prepare, in the caller's memory: predictor_scratch_bytes or more, page-aligned, as
// long as the predictor. Predictors that run in turn may share it.
enum err predictor_prepare_in(struct predictor *p, void *scratch, struct error *error) MUST_CHECK;

// From now on *where tells, for who looks from outside, what a run is doing; NULL: no longer.
enum { PREDICTOR_IDLE = -2, PREDICTOR_DECODES = -1 }; // else a step of the engine
void predictor_trace(struct predictor *p, atomic_int *where);
// "decode", "layer 12 of 97 (Conv 'block3_sepconv1')", or "" for a value that it never writes.
void predictor_where(const struct predictor *p, int where, struct buf *out);

// ERR_FORMAT, ERR_LIMIT, ERR_UNSUPPORTED: the picture's fault, final. ERR_TIMEOUT, ERR_CANCELLED:
// looked at before and while the picture is decoded and before each layer.
enum err predictor_run(struct predictor *p, struct span picture, const atomic_int *cancel,
                       int64_t deadline_ms, struct prediction_result *out,
                       struct error *error) MUST_CHECK;

// {"predictions":[{"label","index","score"}…],"groups":{"dog":{"present":true,"score":0.97}}}
void predictor_write_json(const struct predictor *p, const struct prediction_result *r,
                          struct buf *out);
