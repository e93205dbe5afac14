// What a container's limits (control groups, version 2 or 1) leave of the machine.
#pragma once

#include <stdint.h>

struct cgroup_limits {
    double cpus;           // processors' worth of time; 0: no quota
    uint64_t memory_bytes; // of this group and those above it; 0: no limit
    uint64_t memory_used;  // of the group that has the limit, less what the kernel can drop
};

// root: "" the real one; tests have a folder with proc/self/cgroup and sys/fs/cgroup in it. The
// tightest limit from our group up to the root counts. What cannot be read does not limit.
void cgroup_read(const char *root, struct cgroup_limits *out);

// Bytes that we may still use here: the least of the limits above and of what the machine has
// available. 0: not known.
uint64_t cgroup_memory_left(const char *root, const struct cgroup_limits *limits);
