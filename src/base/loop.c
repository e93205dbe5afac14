#include "base/loop.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { EVENTS_PER_TURN = 256 };

struct loop {
    int epoll_fd;
    bool stop;
    int64_t now_ms;
    struct epoll_event events[EVENTS_PER_TURN];
    int event_count;     // fetched in this turn
    bool idle;           // nothing was fetched in it
    struct timer **heap; // smallest at_ms first
    size_t heap_len, heap_cap;
    struct turn_hook *hooks;
    struct watch signal_watch;
    int signal_fd;
    void (*signal_fn)(void *ctx, int signal);
    void *signal_ctx;
};

enum err loop_new(struct loop **out, struct error *error)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return fail(error, ERR_IO, errno, "create an epoll instance");
    struct loop *loop = calloc(1, sizeof *loop);
    CHECK(loop != NULL);
    loop->epoll_fd = fd;
    loop->signal_fd = -1;
    loop->now_ms = clock_monotonic_ms();
    *out = loop;
    return OK;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    fd_close(&loop->signal_fd);
    fd_close(&loop->epoll_fd);
    free(loop->heap);
    free(loop);
}

void loop_stop(struct loop *loop)
{
    loop->stop = true;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

bool loop_is_idle(const struct loop *loop)
{
    return loop->idle;
}

enum err loop_watch_add(struct loop *loop, struct watch *w, int fd, uint32_t events,
                        void (*fn)(void *ctx, uint32_t events), void *ctx, struct error *error)
{
    CHECK(!w->active && fd >= 0);
    *w = (struct watch){.fd = fd, .events = events, .fn = fn, .ctx = ctx, .active = true};
    struct epoll_event e = {.events = events, .data.ptr = w};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0) {
        w->active = false;
        return fail(error, ERR_IO, errno, "watch descriptor %d", fd);
    }
    return OK;
}

void loop_watch_modify(struct loop *loop, struct watch *w, uint32_t events)
{
    CHECK(w->active);
    if (w->events == events)
        return;
    struct epoll_event e = {.events = events, .data.ptr = w};
    CHECK(epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, w->fd, &e) == 0);
    w->events = events;
}

void loop_watch_remove(struct loop *loop, struct watch *w)
{
    if (!w->active)
        return;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL); // fails only if closed already
    for (int i = 0; i < loop->event_count; i++)
        if (loop->events[i].data.ptr == w)
            loop->events[i].data.ptr = NULL;
    w->active = false;
}

// --- timers: a binary heap of pointers; each timer knows its place ---

static void heap_put(struct loop *loop, size_t i, struct timer *t)
{
    loop->heap[i] = t;
    t->heap_place = i + 1;
}

static void heap_up(struct loop *loop, size_t i)
{
    struct timer *t = loop->heap[i];
    while (i > 0 && loop->heap[(i - 1) / 2]->at_ms > t->at_ms) {
        heap_put(loop, i, loop->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(loop, i, t);
}

static void heap_down(struct loop *loop, size_t i)
{
    struct timer *t = loop->heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= loop->heap_len)
            break;
        if (child + 1 < loop->heap_len && loop->heap[child + 1]->at_ms < loop->heap[child]->at_ms)
            child++;
        if (loop->heap[child]->at_ms >= t->at_ms)
            break;
        heap_put(loop, i, loop->heap[child]);
        i = child;
    }
    heap_put(loop, i, t);
}

void loop_timer_cancel(struct loop *loop, struct timer *t)
{
    if (t->heap_place == 0)
        return;
    size_t i = t->heap_place - 1;
    struct timer *last = loop->heap[--loop->heap_len];
    t->heap_place = 0;
    if (last == t)
        return;
    heap_put(loop, i, last);
    heap_up(loop, i);
    heap_down(loop, last->heap_place - 1);
}

void loop_timer_set(struct loop *loop, struct timer *t, int64_t at_ms, void (*fn)(void *ctx),
                    void *ctx)
{
    loop_timer_cancel(loop, t);
    if (loop->heap_len == loop->heap_cap) {
        loop->heap_cap = loop->heap_cap == 0 ? 64 : loop->heap_cap * 2;
        loop->heap = realloc(loop->heap, loop->heap_cap * sizeof(struct timer *));
        CHECK(loop->heap != NULL);
    }
    t->at_ms = at_ms;
    t->fn = fn;
    t->ctx = ctx;
    heap_put(loop, loop->heap_len++, t);
    heap_up(loop, loop->heap_len - 1);
}

static void run_timers(struct loop *loop)
{
    // timers set by these callbacks for a time already past wait for the next turn's check
    while (loop->heap_len > 0 && loop->heap[0]->at_ms <= loop->now_ms) {
        struct timer *t = loop->heap[0];
        loop_timer_cancel(loop, t);
        t->fn(t->ctx);
    }
}

void loop_hook_add(struct loop *loop, struct turn_hook *hook, bool (*fn)(void *ctx), void *ctx)
{
    *hook = (struct turn_hook){.fn = fn, .ctx = ctx};
    struct turn_hook **end = &loop->hooks;
    while (*end != NULL)
        end = &(*end)->next;
    *end = hook;
}

void loop_hook_remove(struct loop *loop, struct turn_hook *hook)
{
    for (struct turn_hook **at = &loop->hooks; *at != NULL; at = &(*at)->next)
        if (*at == hook) {
            *at = hook->next;
            return;
        }
}

static int wait_ms(const struct loop *loop, bool more_work)
{
    if (more_work)
        return 0;
    if (loop->heap_len == 0)
        return -1;
    int64_t wait = loop->heap[0]->at_ms - clock_monotonic_ms();
    return wait < 0 ? 0 : wait > INT_MAX ? INT_MAX : (int)wait;
}

enum err loop_run(struct loop *loop, struct error *error)
{
    loop->stop = false;
    bool more_work = true;
    while (!loop->stop) {
        int n = epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_TURN, wait_ms(loop, more_work));
        if (n < 0 && errno != EINTR)
            return fail(error, ERR_IO, errno, "wait for events");
        loop->event_count = n < 0 ? 0 : n;
        loop->idle = loop->event_count == 0;
        loop->now_ms = clock_monotonic_ms();
        for (int i = 0; i < loop->event_count; i++) {
            struct watch *w = loop->events[i].data.ptr;
            if (w != NULL)
                w->fn(w->ctx, loop->events[i].events);
        }
        loop->event_count = 0;
        run_timers(loop);
        more_work = false;
        for (struct turn_hook *hook = loop->hooks; hook != NULL; hook = hook->next)
            more_work = hook->fn(hook->ctx) || more_work;
    }
    return OK;
}

static void on_signal(void *ctx, uint32_t events)
{
    struct loop *loop = ctx;
    struct signalfd_siginfo info;
    (void)events;
    while (read(loop->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        loop->signal_fn(loop->signal_ctx, (int)info.ssi_signo);
}

enum err loop_signals(struct loop *loop, const int *signals, void (*fn)(void *ctx, int signal),
                      void *ctx, struct error *error)
{
    CHECK(loop->signal_fd < 0);
    sigset_t set;
    sigemptyset(&set);
    for (; *signals != 0; signals++)
        sigaddset(&set, *signals);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return fail(error, ERR_IO, errno, "block signals");
    loop->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (loop->signal_fd < 0)
        return fail(error, ERR_IO, errno, "create a signalfd");
    loop->signal_fn = fn;
    loop->signal_ctx = ctx;
    return loop_watch_add(loop, &loop->signal_watch, loop->signal_fd, EPOLLIN, on_signal, loop,
                          error);
}
