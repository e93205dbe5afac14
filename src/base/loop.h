// Event loop of a role: descriptors (epoll), timers, and hooks at the end of a turn.
// One thread. Nothing in it waits but epoll_wait; no callback may block for long.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

enum err loop_new(struct loop **out, struct error *error) MUST_CHECK;
void loop_free(struct loop *loop); // NULL allowed; does not close watched descriptors

// Runs until loop_stop. Returns ERR_IO only if epoll itself fails.
enum err loop_run(struct loop *loop, struct error *error) MUST_CHECK;
void loop_stop(struct loop *loop); // loop_run returns after the current turn

int64_t loop_now_ms(const struct loop *loop); // monotonic, read once per turn

// In a hook: no descriptor had anything in this turn.
bool loop_is_idle(const struct loop *loop);

// A watched descriptor. Caller's storage, zero-initialised; must stay until removed.
struct watch {
    int fd;
    uint32_t events; // EPOLLIN | EPOLLOUT | EPOLLRDHUP …
    void (*fn)(void *ctx, uint32_t events);
    void *ctx;
    bool active;
};
enum err loop_watch_add(struct loop *loop, struct watch *w, int fd, uint32_t events,
                        void (*fn)(void *ctx, uint32_t events), void *ctx,
                        struct error *error) MUST_CHECK;
void loop_watch_modify(struct loop *loop, struct watch *w, uint32_t events);
// Safe inside any callback: w is not called again, not even for events already fetched. Does not
// close the descriptor; remove the watch before closing. Not active: nothing happens.
void loop_watch_remove(struct loop *loop, struct watch *w);

// A timer: fires once at a monotonic time. Caller's storage, zero-initialised.
struct timer {
    int64_t at_ms;
    void (*fn)(void *ctx);
    void *ctx;
    size_t heap_place; // 1 + index in the heap; 0: not set
};
void loop_timer_set(struct loop *loop, struct timer *t, int64_t at_ms, void (*fn)(void *ctx),
                    void *ctx);                             // sets again if it was set
void loop_timer_cancel(struct loop *loop, struct timer *t); // not set: nothing happens

// A hook runs at the end of every turn, before the loop waits again: group commit belongs here.
// Caller's storage; hooks run in the order of adding. Remove outside of hooks only.
// Returns true when it made work for another turn (the loop then does not wait).
struct turn_hook {
    bool (*fn)(void *ctx);
    void *ctx;
    struct turn_hook *next;
};
void loop_hook_add(struct loop *loop, struct turn_hook *hook, bool (*fn)(void *ctx), void *ctx);
void loop_hook_remove(struct loop *loop, struct turn_hook *hook); // not added: nothing happens

// Calls fn in the loop when one of SIGTERM, SIGINT, SIGHUP, SIGCHLD arrives (signalfd; the signals
// are blocked in this thread from now on, so start threads afterwards). signals: 0-terminated.
enum err loop_signals(struct loop *loop, const int *signals, void (*fn)(void *ctx, int signal),
                      void *ctx, struct error *error) MUST_CHECK;
