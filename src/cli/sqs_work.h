// What a bench lets 32 clients of a queue do, and what it cost.
#pragma once

#include "cli/sqs_load.h"

#include <sys/types.h>

enum sqs_step { STEP_LIVEZ, STEP_SEND, STEP_SEND_BATCH, STEP_THROUGH };

struct sqs_work {
    const struct sqs_load *load;
    enum sqs_step step;
    const char *queue;
    const char *group;    // FIFO: all messages are of this group; NULL: standard
    uint64_t *next;       // FIFO: number of the next message, counted on
    uint64_t count_max;   // stops at so many messages; 0: at the end of the time
    pid_t server;         // whose processor time is taken
    struct load *sockets; // as many clients
};

struct sqs_cost {
    double units;    // requests (STEP_LIVEZ), messages sent, or messages sent, received and deleted
    double requests; // HTTP requests
    double took_s;
    double server_cpu_s, load_cpu_s; // processor time of all threads
};

// All messages of one run stand signed before it begins, but for FIFO and receipt handles.
enum err sqs_work_run(const struct sqs_work *w, int connections, double seconds,
                      struct sqs_cost *cost, struct error *error) MUST_CHECK;

double process_cpu_s(pid_t pid); // processor time so far; 0: our own
