#include "base/process.h"

#include "base/cgroup.h"
#include "base/check.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

enum { SPAWN_FDS_MAX = 32 };

// dup2 onto a number that another descriptor of ours still holds would destroy it, so all go
// through high numbers first.
static int plan_fds(posix_spawn_file_actions_t *actions, const struct process_fd *fds, size_t count,
                    int high[SPAWN_FDS_MAX])
{
    for (size_t i = 0; i < count; i++) {
        high[i] = fcntl(fds[i].parent_fd, F_DUPFD_CLOEXEC, 200);
        if (high[i] < 0)
            return errno;
        int sys = posix_spawn_file_actions_adddup2(actions, high[i], fds[i].child_fd);
        if (sys != 0)
            return sys;
    }
    return 0;
}

enum err process_spawn(const char *const *argv, const struct process_fd *fds, size_t fd_count,
                       pid_t *pid, struct error *error)
{
    CHECK(fd_count <= SPAWN_FDS_MAX);
    int high[SPAWN_FDS_MAX];
    for (size_t i = 0; i < SPAWN_FDS_MAX; i++)
        high[i] = -1;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    int sys = plan_fds(&actions, fds, fd_count, high);
    if (sys == 0)
        sys = posix_spawn(pid, "/proc/self/exe", &actions, &attr, (char *const *)(uintptr_t)argv,
                          environ);
    for (size_t i = 0; i < fd_count; i++)
        fd_close(&high[i]);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    if (sys != 0)
        return fail(error, ERR_IO, sys, "start '%s'", argv[0]);
    return OK;
}

struct lifeline {
    void (*fn)(void *ctx);
    void *ctx;
};

static void on_lifeline(void *ctx, uint32_t events)
{
    const struct lifeline *l = ctx;
    (void)events;
    l->fn(l->ctx);
}

enum err process_lifeline(struct loop *loop, struct watch *w, int fd, void (*fn)(void *ctx),
                          void *ctx, struct error *error)
{
    static struct lifeline only; // a process has one parent
    if (fd < 0)
        return OK;
    only = (struct lifeline){fn, ctx};
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return loop_watch_add(loop, w, fd, EPOLLIN, on_lifeline, &only, error);
}

static void say(int fd, const char *word, const char *text)
{
    if (fd < 0)
        return;
    char line[640];
    int len = snprintf(line, sizeof line, "%s %.600s\n", word, text);
    ssize_t written = write(fd, line, (size_t)len);
    (void)written; // the parent is gone: the lifeline says so too
    close(fd);
}

void process_ready(int ready_fd, int port)
{
    char text[16];
    snprintf(text, sizeof text, "%d", port);
    say(ready_fd, "ready", text);
}

void process_failed(int ready_fd, const char *sentence)
{
    say(ready_fd, "failed", sentence);
}

void process_raise_file_limit(int wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    rlim_t target = (rlim_t)wanted < limit.rlim_max ? (rlim_t)wanted : limit.rlim_max;
    if (target > limit.rlim_cur) {
        limit.rlim_cur = target;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int process_cpu_count(void)
{
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    struct cgroup_limits limits;
    cgroup_read("", &limits);
    if (limits.cpus > 0 && limits.cpus < cpus)
        cpus = (int)ceil(limits.cpus);
    return cpus > 0 ? cpus : 1;
}
