// Shared by crew.c (zygote, choice of a slot) and slot.c (one child's place). Nobody else includes
// it.
#pragma once

#include "worker/protocol.h"
#include "worker/said.h"

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
    bool begun;                 // it was up once: its jobs may be to blame for its death
    bool hung;                  // killed for its deadline
    bool cancelling, cancelled; // the job it is on is not wanted; and it was killed for that
    int socket_fd;              // ours
    int memory_fd;
    char *memory; // SLOT_BYTES; NULL before the first start
    struct watch watch;
    struct lane lanes[CHILD_LANES];
    uint32_t order[CHILD_LANES]; // lanes in the order they were handed over; [0] is computed
    uint32_t pending;            // of order
    int64_t begun_ms;            // when order[0] began
    struct timer deadline;       // of order[0]; of the start before
    struct timer restart;
    int failures;     // deaths in a row without an answer in between
    struct said said; // what the child prints
};

struct crew {
    struct crew_config config;
    struct slot *slots; // [config.children]
    // the zygote of today; another generation would be another one of these
    pid_t zygote_pid; // 0: none
    int control_fd, pid_fd;
    struct watch control_watch, pid_watch;
    struct timer zygote_restart;
    int zygote_failures;
    bool zygote_ready, ever_ready;
    struct crew_model models[WORKER_MODELS_MAX];
    size_t model_count, models_heard; // heard: of a zygote that is not ready yet
    char why[500];                    // sentence of the last failure to start
    struct crew_counts counts;
    struct child_answer answer; // of the child that is being heard
};

int64_t crew_back_off_ms(int failures); // full jitter
// hung, cancelled: why it was killed by us, if it was.
void crew_describe_death(const struct crew *c, int wait_status, bool hung, bool cancelled,
                         struct crew_death *out);
void crew_give_up(struct crew *c, const char *sentence); // nothing once the crew was ready

// slot.c
void slot_start(struct slot *s); // asks the zygote for a child, if there is a zygote
void slot_kill(struct slot *s);
bool slot_usable(const struct slot *s); // can be handed jobs (if a lane is free)
void slot_hand_over(struct slot *s, void *task, const struct crew_job *job);
void slot_revoke(struct slot *s, uint32_t lane);
bool slot_cancel(struct slot *s, void *task); // false: it is not here
void slot_died(struct slot *s, const struct zygote_report *report);
// Whatever the dead child had: the job it was on is told of the death, unless it had not read it
// yet or no job is to blame (death NULL).
void slot_bury(struct slot *s, const struct crew_death *death);
void slot_close(struct slot *s); // gives everything back
