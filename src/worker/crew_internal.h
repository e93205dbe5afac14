// Shared by crew.c (choice of a slot), generation.c (a zygote), change.c (one generation follows
// another) and slot.c (one child's place). Nobody else includes it.
#pragma once

#include "worker/package_watch.h"
#include "worker/protocol.h"
#include "worker/said.h"
#include "worker/trial.h"

#include <sys/types.h>

enum slot_state {
    SLOT_OFF,      // no child; none asked for, or its back-off timer runs
    SLOT_STARTING, // asked for; jobs may wait in its socket already
    SLOT_UP,
    SLOT_KILLED, // SIGKILL is on its way: only its death is waited for
};

// Deaths in a row after which a child is started again without waiting: poison pictures come in
// threes, a child that cannot live at all comes back slowly.
enum { DEATHS_AT_ONCE = 3 };

struct lane {
    void *task;   // NULL: free, or (revoked) taken back while the child still has it
    bool in_use;  // the child has a job in this lane
    bool revoked; // its answer is not wanted
    uint32_t picture_bytes;
    size_t model;
    int timeout_ms; // from its beginning to the moment when it counts as hung
    int64_t deadline_ms;
};

struct slot {
    struct crew *crew;
    uint32_t index;
    enum slot_state state;
    struct generation *generation; // whose child it has; NULL: SLOT_OFF
    uint32_t serial;               // of the child
    bool begun;                    // it was up once: its jobs may be to blame for its death
    bool hung;                     // killed for its deadline
    const char *distrusted;        // killed for what it said: why, a literal; NULL: not
    bool cancelling, cancelled;    // the job it is on is not wanted; and it was killed for that
    int socket_fd;                 // ours
    int memory_fd;
    char *memory; // SLOT_BYTES; NULL before the first start
    struct watch watch;
    struct lane lanes[CHILD_LANES];
    uint32_t order[CHILD_LANES]; // lanes in the order they were handed over; [0] is computed
    uint32_t pending;            // of order
    int64_t begun_ms;            // when order[0] began
    int64_t idle_ms;             // since when nothing is pending
    struct timer deadline;       // of order[0]; of the start before
    struct timer restart;
    int failures;     // deaths in a row without an answer in between
    struct said said; // what the child prints
};

// A zygote and its children. At most one is coming, one serves, one is kept for the way back;
// others leave when their last child has ended. The coming one loads when but one is left beside
// it, so that no more than two are in memory.
enum generation_role {
    GENERATION_COMING, // loads, and proves itself
    GENERATION_SERVING,
    GENERATION_KEPT, // the one before
    GENERATION_LEAVING,
};

struct generation {
    struct generation *next;
    struct crew *crew;
    uint32_t number; // from 1, for people
    enum generation_role role;
    pid_t pid; // of the zygote
    int control_fd, pid_fd;
    struct watch control_watch, pid_watch;
    struct timer limit; // of loading; of being kept
    bool waits;         // coming: until there is room to load
    bool loaded;        // there was: it is in memory, or on its way there
    size_t children;    // not reported dead yet
    struct crew_model models[WORKER_MODELS_MAX];
    char folders[WORKER_MODELS_MAX][PACKAGE_FOLDER_BYTES_MAX]; // of the packages, for the watch
    size_t model_count;
    char fingerprint[65];
    uint64_t child_bytes, shared_bytes; // as measured when it proved itself
    struct trial trials[WORKER_MODELS_MAX];
    int stillborn; // children in a row that ended before they could work
};

// A state of the packages that was taken back: not tried again.
struct condemned {
    char fingerprint[65]; // "": none
    char why[500];
    int64_t wall_ms; // when that was
};

struct crew {
    struct crew_config config;
    struct slot *slots; // [config.children]
    int wanted, limit;  // slots [0, wanted) have children; wanted may grow to limit
    struct timer shrink;
    struct generation *generations, *serving, *coming, *kept;
    uint32_t generation_number, child_serial; // of the last one
    struct timer zygote_restart;
    int zygote_failures; // in a row, while none serves
    bool ever_ready;
    bool look_again;                             // packages changed while one was coming
    struct crew_model models[WORKER_MODELS_MAX]; // of the generation that serves, or did last
    size_t model_count;
    char why[500];     // sentence of the last failure to start
    char refused[500]; // why the last new generation was not taken, or was taken back; "" it serves
    struct condemned condemned[WORKER_CONDEMNED_MAX]; // the last ones, in a ring
    uint32_t condemned_count;                         // ever
    int64_t refused_wall_ms;
    struct package_watch *watch;
    struct crew_counts counts;
    struct child_answer answer; // of the child that is being heard
};

int64_t crew_back_off_ms(int failures); // full jitter
// hung, cancelled: why it was killed by us, if it was.
void crew_describe_death(const struct crew *c, int wait_status, bool hung, bool cancelled,
                         struct crew_death *out);
void crew_fit_memory(struct crew *c); // sets limit, from what the serving generation measured
void crew_give_up(struct crew *c, const char *sentence); // nothing once the crew was ready

// generation.c
void generation_let_load(struct generation *g); // it waits for that
// Starts a zygote as the coming generation. There must be none yet.
enum err generation_start(struct crew *c, struct error *error) MUST_CHECK;
// Kills the zygote, and its children with it; forgets it. No slot may have a child of it.
void generation_end(struct generation *g);

// crew_state.c
void crew_state_write(const struct crew *c); // config.state_file, if wanted

// change.c
void change_start(struct crew *c);          // of the first zygote, or of one that follows
void change_on_loads(struct generation *g); // it has something new to load
void change_on_ready(struct generation *g); // it is proved
void change_on_same(struct generation *g, uint32_t which); // it found what is there already
void change_on_failed(struct generation *g, const char *sentence);
void change_on_end(struct generation *g, const char *sentence); // its zygote is gone
void change_on_fewer(struct generation *g);                     // a child of it has ended
// A job or a child of the serving generation has ended badly. True: it is taken back, children have
// changed to the one before; what ended badly last, in a sentence, is said to be the reason.
bool change_back_if_failed(struct crew *c, const char *sentence);
void change_on_idle(
    struct slot *s); // at a job's boundary: brings a child of the serving generation

// slot.c
void slot_start(struct slot *s); // asks the serving zygote for a child, if there is one
// Ends its child, which has begun nothing that is wanted: the slot is off at once.
void slot_retire(struct slot *s);
bool slot_usable(const struct slot *s); // can be handed jobs (if a lane is free)
void slot_hand_over(struct slot *s, void *task, const struct crew_job *job);
void slot_revoke(struct slot *s, uint32_t lane);
bool slot_cancel(struct slot *s, void *task); // false: it is not here
void slot_died(struct slot *s, const struct zygote_report *report);
// Whatever the dead child had: the job it was on is told of the death, unless it had not read it
// yet or no job is to blame (death NULL).
void slot_bury(struct slot *s, const struct crew_death *death);
void slot_close(struct slot *s); // gives everything back
