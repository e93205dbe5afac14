// The crew: the zygote and its children as the poller sees them. Hands pictures over, brings
// answers, kills what hangs, restarts what died. Knows nothing of queues and stores.
//
// A slot is a place for one child: shared memory for two pictures (lanes) and a socket. The first
// lane is computed, the second one waits in the child's socket, so that a child never waits for us.
// Jobs that were handed over but not begun come back (on_return) when their child dies, when
// another child is idle, or when the crew is drained.
#pragma once

#include "base/buf.h"
#include "base/loop.h"

struct crew;

struct crew_answer { // valid during the callback
    enum err err; // OK, or what the child said: a picture's fault, ERR_TIMEOUT, ERR_CANCELLED …
    struct span text; // OK: the predictions, checked to be a JSON object; else one sentence
    int64_t decode_us, infer_us;
};

struct crew_death {
    bool hung;          // killed by us for its deadline
    char sentence[160]; // "killed by signal 11 (Segmentation fault)"
};

struct crew_handlers {
    void *ctx;
    void (*on_ready)(void *ctx);                        // the first child can work; once
    void (*on_failed)(void *ctx, const char *sentence); // the first zygote or child cannot: give up
    void (*on_answer)(void *ctx, void *task, const struct crew_answer *answer);
    void (*on_death)(void *ctx, void *task, const struct crew_death *death); // while on this task
    void (*on_return)(void *ctx, void *task); // not begun: hand it over again
};

struct crew_config {
    struct loop *loop;
    const char *model, *search_path; // of packages; borrowed for the crew's life
    int children;                    // 1 … WORKER_CHILDREN_MAX
    int job_timeout_ms;
    struct crew_handlers handlers;
};

enum err crew_new(const struct crew_config *config, struct crew **out,
                  struct error *error) MUST_CHECK;
void crew_free(struct crew *c); // kills everything; no callbacks

const char *crew_model(const struct crew *c); // name of the package; "" before on_ready
const char *crew_model_sha256(const struct crew *c);
const char *crew_precision(const struct crew *c);     // "fp32", "int8"; likewise
const char *crew_preprocessing(const struct crew *c); // as preprocess_describe says it; likewise

bool crew_able(const struct crew *c);   // some child is up or about to be
size_t crew_room(const struct crew *c); // lanes that are free now
// crew_room must not be 0. The picture (at most IMAGE_BYTES_MAX) is copied; one of on_answer,
// on_death and on_return follows for task, never from inside this call.
void crew_hand_over(struct crew *c, void *task, struct span picture);
// Returns jobs that wait behind another one to on_return, as far as the crew has idle children for
// them (or all of them when everything is true: drain).
void crew_rebalance(struct crew *c, bool everything);

struct crew_counts {
    int up, busy;
    uint64_t deaths, hung, zygote_starts;
};
struct crew_counts crew_counts(const struct crew *c);
