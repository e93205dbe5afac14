// The sandbox of a child: from sandbox_enter on it has one socket, its memory and the processor,
// and nothing else. No files, no network, no other process, no new code.
#pragma once

#include "base/buf.h"

#include <stddef.h>
#include <sys/types.h>

struct sandbox; // prepared by the zygote: what allocates or needs files is done before the fork

enum sandbox_layer {
    SANDBOX_LIMITS = 1, // rlimits: memory, files, processes, core dumps
    SANDBOX_NO_NEW_PRIVS = 2,
    SANDBOX_NOBODY = 4,   // was root, is user and group 65534 (only when started as root)
    SANDBOX_LANDLOCK = 8, // kernel 5.13 and later
    SANDBOX_SECCOMP = 16,
};

// ERR_UNSUPPORTED: the kernel has no seccomp filters.
enum err sandbox_new(struct sandbox **out, struct error *error) MUST_CHECK;
void sandbox_free(struct sandbox *s);

enum {
    SANDBOX_SOCKET_FD = 3
}; // the only descriptor a child keeps, besides 0, 1 (null) and 2 (log)

// In the child, before the first foreign byte. Closes every descriptor above SANDBOX_SOCKET_FD;
// dies with its parent, whose pid is given. memory_bytes: what it may map on top of what it has
// now. *layers: those active. A required layer (limits, no_new_privs, seccomp) that cannot be had
// is an error; Landlock is used where the kernel has it.
enum err sandbox_enter(const struct sandbox *s, pid_t parent_pid, size_t memory_bytes,
                       unsigned *layers, struct error *error) MUST_CHECK;
// "limits,no_new_privs,landlock,seccomp"
void sandbox_layers_write(unsigned layers, struct buf *out);
