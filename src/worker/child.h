// A child: decodes and infers one job after the other, alone on its core, in the sandbox. It ends
// when its socket ends.
#pragma once

#include "worker/model_set.h"
#include "worker/protocol.h"
#include "worker/sandbox.h"

#include <sys/types.h>

// Called in a process just forked from the zygote; never returns. The models are prepared: the
// first job starts at once. fds: what ZYGOTE_START carries (protocol.h), all above 3. zygote_pid:
// the child dies with its parent.
_Noreturn void child_run(struct model_set *models, const struct sandbox *sandbox,
                         const int fds[ZYGOTE_START_FDS], pid_t zygote_pid);
