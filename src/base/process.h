// Processes: starting one of our own roles, telling the parent that it is ready, ending when the
// parent ends.
#pragma once

#include "base/loop.h"

#include <sys/types.h>

// One descriptor that a new process gets: `child_fd` there is `parent_fd` here.
struct process_fd {
    int parent_fd, child_fd; // child_fd >= 3
};

// posix_spawn of /proc/self/exe with argv (argv[0] is shown in ps, NULL-terminated). Signals are
// unblocked and default in the child; besides 0, 1, 2 it has only the descriptors of fds
// (everything else of ours is O_CLOEXEC). It leads a process group of its own: a terminal's Ctrl-C
// reaches the parent alone, who stops its children in order.
enum err process_spawn(const char *const *argv, const struct process_fd *fds, size_t fd_count,
                       pid_t *pid, struct error *error) MUST_CHECK;

// Lifeline: the parent holds the writing end of a pipe and never writes. When it dies, the reading
// end gets EOF and fn is called: end at once, nobody is left to serve. fd < 0: nothing happens.
enum err process_lifeline(struct loop *loop, struct watch *w, int fd, void (*fn)(void *ctx),
                          void *ctx, struct error *error) MUST_CHECK;

// Tells the parent over ready_fd (then closed) one line "ready PORT\n" — or, when start-up fails,
// "failed SENTENCE\n". fd < 0: nothing happens.
void process_ready(int ready_fd, int port);
void process_failed(int ready_fd, const char *sentence);

// Raises the soft limit of open files to the hard one, at most `wanted`.
void process_raise_file_limit(int wanted);
// Processors this process may run on (affinity mask and cgroup quota, at least 1).
int process_cpu_count(void);
