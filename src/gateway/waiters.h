// Who waits for which job: a hash table from job id to the clients that wait for its end. Pure: no
// I/O, no clock. A waiter is in its owner's storage and knows its place, so leaving is O(1).
#pragma once

#include "base/buf.h"

struct waiter;
typedef void waiter_fn(void *ctx, struct span result_json);

struct waiter {     // zero-initialised: waits for nothing
    const char *id; // borrowed while waiting
    waiter_fn *fn;
    void *ctx;
    uint64_t hash;
    struct waiter *next, **link; // link: what points to this one; NULL: not waiting
};

struct waiters { // zero-initialised: nobody waits
    struct waiter **slots;
    size_t slot_count, count;
};

void waiters_release(struct waiters *all); // nobody may be waiting any more
// fn is called once, from waiters_wake; w must not be waiting already. id stays valid until then.
void waiters_add(struct waiters *all, struct waiter *w, const char *id, waiter_fn *fn, void *ctx);
void waiters_remove(struct waiters *all, struct waiter *w); // not waiting: nothing happens
// Calls and removes everybody who waits for id; a callback may add and remove any waiter. Returns
// how many were called.
size_t waiters_wake(struct waiters *all, struct span id, struct span result_json);
