// The crew: the zygote and its children as the poller sees them. Hands pictures over, brings
// answers, kills what hangs, restarts what died. Knows nothing of queues and stores.
//
// A slot is a place for one child: shared memory for two pictures (lanes) and a socket. The first
// lane is computed, the second one waits in the child's socket, so that a child never waits for us.
// Jobs that were handed over but not begun come back (on_return) when their child dies, when
// another child is idle, or when the crew is drained.
#pragma once

#include "base/buf.h"
#include "base/limits.h"
#include "base/loop.h"

#define CREW_STATE_FILE "pool.json" // in the data directory; read by cli/pool_state.h

struct crew;

struct crew_model {
    char name[129];         // of the package, as jobs name it
    char sha256[65];        // of its model file
    char precision[16];     // "fp32", "int8"
    char preprocessing[80]; // as preprocess_describe says it
};

struct crew_job {
    size_t model;        // from crew_find_model
    struct span picture; // at most IMAGE_BYTES_MAX; copied
    struct span note; // for a program: a JSON object of at most 8 KiB that tells of the job; copied
    int timeout_ms;   // from the moment that a child begins it
    int64_t deadline_ms; // monotonic: not begun after it, stopped at it (ERR_TIMEOUT); 0: none
};

struct crew_answer { // valid during the callback
    enum err err; // OK, or what the child said: a picture's fault, ERR_TIMEOUT, ERR_CANCELLED …
    struct span text; // OK: the predictions, checked to be a JSON object; else one sentence
    int64_t decode_us, infer_us;
    const struct crew_model *model; // that answered
    uint32_t child;                 // number of its slot
};

struct crew_death {     // valid during the callback
    uint32_t child;     // number of its slot
    bool hung;          // killed by us for its deadline
    bool cancelled;     // killed by us: it did not hear crew_cancel
    int signal;         // 0: none, it ended by itself
    const char *limit;  // that it met: "deadline", "memory", "sandbox"; "" none that we know
    char sentence[400]; // "killed by signal 11 (Segmentation fault)"
    char where[200];    // "decode", "layer 12 of 97 (Conv 'block3')"; "" unknown
    char
        tail[WORKER_STDERR_TAIL_BYTES + 1]; // the last lines that it printed, for people; may be ""
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
    const char *model;       // names, folders or files, with commas; the first is the default
    const char *search_path; // of packages; both borrowed for the crew's life
    const char *exec; // NULL, or the program that answers instead (worker/exec_child.h), as the
                      // shell's command line; model is its name then
    int children;     // at most; 1 … WORKER_CHILDREN_MAX
    int children_min; // that stay when nothing is to do; 0: children
    int idle_ms;      // after which a child above that least goes; 0: WORKER_IDLE_S
    uint64_t memory_bytes;  // for zygote and children together; 0: not known. Fewer children than
                            // `children` are started when they would need more
    bool pin;               // each child to a processor of its own
    const char *state_file; // NULL, or where to write what serves and what was refused, as JSON,
                            // each time that it changes: CREW_STATE_FILE of the data directory
    int job_timeout_ms;
    struct crew_handlers handlers;
};

enum err crew_new(const struct crew_config *config, struct crew **out,
                  struct error *error) MUST_CHECK;
void crew_free(struct crew *c); // kills everything; no callbacks

// The models of the pool, in the order of config.model: numbers mean the same for the crew's life.
// What stands behind one changes when its package does. 0 before on_ready.
size_t crew_model_count(const struct crew *c);
const struct crew_model *crew_model(const struct crew *c, size_t i); // all "" before on_ready
// "" is the default. -1: none of that name.
int crew_find_model(const struct crew *c, const char *name);

bool crew_able(const struct crew *c);   // some child is up or about to be
size_t crew_room(const struct crew *c); // lanes that are free now
// crew_room must not be 0. One of on_answer, on_death and on_return follows for task, never from
// inside this call.
void crew_hand_over(struct crew *c, void *task, const struct crew_job *job);
// The job is not wanted any more. What was to follow for task still follows, soon: on_return from
// inside this call if it was not begun; else on_answer, with ERR_CANCELLED unless it was done in
// this moment; or on_death, if the child had to be killed (after WORKER_KILL_GRACE_MS).
void crew_cancel(struct crew *c, void *task);
// Returns jobs that wait behind another one to on_return, as far as the crew has idle children for
// them (or all of them when everything is true: drain).
void crew_rebalance(struct crew *c, bool everything);

// Looks whether packages changed. If so a new zygote loads them, proves itself on their sample
// pictures, and children change over to it between two jobs; if it cannot, all stays as it is. If
// it fails on jobs afterwards (worker/trial.h), children change back, and what is in the packages
// is not tried again until it is something else. Changes on disk are noticed without this, where
// the kernel has inotify.
void crew_reload(struct crew *c);
// Lines for people: the models that serve, and why the last change was refused.
void crew_status(const struct crew *c, struct buf *out);

struct crew_counts {
    int up, busy, wanted, limit; // children: that work, of these with a job; as many there are to
                                 // be now, at most
    uint32_t generation;         // that serves; 0: none
    int loaded;                  // generations that are in memory, or on their way there
    uint64_t deaths, hung, zygote_starts, refused, taken_back;
};
struct crew_counts crew_counts(const struct crew *c);
