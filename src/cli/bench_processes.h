// Memory and processor time of the processes below a supervisor, from /proc.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct bench_memory {
    double private_mb; // of the computing child that has most: memory that no other process shares
    double pss_mb;     // of that child: shared pages counted by their share
    double all_pss_mb; // of all processes together: what the system costs
    int children;      // computing ones
};

// False: none was found or may be read.
bool bench_memory_of_children(pid_t supervisor, struct bench_memory *out);

// A computing child below this process, the n-th (from 0) of those that there are; 0: none.
pid_t bench_nth_child(pid_t supervisor, int n);

enum bench_role { BENCH_SQS, BENCH_S3, BENCH_GATEWAY, BENCH_WORKER, BENCH_ROLES };

struct bench_cpu {               // processor time so far, in s
    double children_s;           // of the computing children
    double roles_s[BENCH_ROLES]; // of each role; the worker's without its computing children
    double all_s;                // of all processes of the system
};

struct bench_cpu bench_cpu_of_children(pid_t supervisor);
