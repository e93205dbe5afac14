// The child of a pool whose handler is a program (`--exec`): starts the program and stands between
// it and the poller. To the poller it is a child like any other; jobs go to the program and its
// answers come back as frames (exec_frame.h). It ends when the program does, in the same way, so
// that restarts, back-off and attempts are the pool's own.
//
// The program is the user's: it has files and network. It has no keys (exec_environment_clean), no
// new privileges, and a session and process group with this child. When the child has died the
// zygote kills that group, and what left it; when the zygote has died the child kills the group.
#pragma once

#include "base/buf.h"
#include "worker/protocol.h"

#include <sys/types.h>

// In the zygote: removes what is the pool's alone from the environment and from memory: AWS_… and
// SMELT_….
void exec_environment_clean(void);

// In the zygote: how the program of a dead child ended ("killed by signal 11 (…)", "ended: it
// wrote …"), from its slot's memory; nothing if the child did not come to say it.
void exec_reason_read(int memory_fd, struct buf *out);

// In the zygote (PR_SET_CHILD_SUBREAPER): kills every process that is its child but none of these.
// Such a one was left behind by a program, in a session of its own, and its child is dead: of a
// child that lives it would still be the child's. What it has started itself is the zygote's when
// it has ended: to be called again whenever a process was waited for.
void exec_strays_kill(const pid_t *children, size_t count);

// In the zygote: starts the program once, until it is ready, and ends it (exec_proof.c). The error
// says why it was not.
enum err exec_prove(const char *command, struct error *error) MUST_CHECK;

// Called in a process just forked from the zygote; never returns. fds: what ZYGOTE_START carries,
// all above 3. The command is /bin/sh -c's (plain words run without it); it finds
// SMELT_SLOT=slot in its environment.
_Noreturn void exec_child_run(const char *command, uint32_t slot, const int fds[ZYGOTE_START_FDS],
                              pid_t zygote_pid);
