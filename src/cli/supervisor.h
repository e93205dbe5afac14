// Supervisor: starts the roles of `smelt serve` as processes, in the order of what they need,
// brings back one that ends, and stops them in the reverse order. Holds no store, no threads, no
// requests: whatever happens to a role does not happen to its supervisor.
#pragma once

#include "base/loop.h"

struct supervisor;

enum { SUPERVISOR_ROLES_MAX = 8, SUPERVISOR_ARGUMENTS_MAX = 40 };

struct supervisor_role {
    const char *name; // "sqs"; shown in logs
    unsigned needs;   // bit i: role i must have been ready once before this one starts first
    int stop_s;       // from TERM to KILL
    // Fills argv (argv[0] first) for a start. port: where the role listened before, 0 at the first
    // start. The strings must live until the supervisor is freed.
    void (*arguments)(void *ctx, int port, const char **argv);
};

struct supervisor_config { // borrowed
    struct loop *loop;
    const struct supervisor_role *roles;
    size_t role_count;
    // Once, when every role has been ready.
    void (*on_ready)(void *ctx);
    // Once, when no role runs any more. sentence: NULL after supervisor_stop, else why a role could
    // not start at all.
    void (*on_stopped)(void *ctx, const char *sentence);
    void *ctx;
};

struct supervisor *supervisor_new(const struct supervisor_config *config);
void supervisor_free(struct supervisor *s); // NULL allowed
void supervisor_start(struct supervisor *s);
// The first call drains, role by role; the second one kills.
void supervisor_stop(struct supervisor *s);
void supervisor_child_ended(struct supervisor *s);                           // on SIGCHLD
void supervisor_signal(const struct supervisor *s, size_t role, int signal); // if it runs
int supervisor_port(const struct supervisor *s, size_t role);                // 0: not known yet
