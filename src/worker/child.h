// A child: decodes and infers one job after the other, alone on its core, in the sandbox. It ends
// when its socket ends.
#pragma once

#include "engine/predictor.h"
#include "worker/sandbox.h"

#include <sys/types.h>

// Called in a process just forked from the zygote; never returns. The predictor is prepared: its
// arena is copied page by page as it is written, so the first job starts at once. socket_fd: to the
// poller; memory_fd: the slot's memory (protocol.h). zygote_pid: the child dies with its parent.
_Noreturn void child_run(struct predictor *predictor, const struct sandbox *sandbox, int socket_fd,
                         int memory_fd, pid_t zygote_pid);
