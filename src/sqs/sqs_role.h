// The sqs role: an SQS endpoint on one address, one data directory, one process.
#pragma once

#include "base/error.h"

#include <stdbool.h>

struct sqs_role_config {
    const char *data_dir;    // DIR; the journal lives in DIR/sqs
    const char *listen;      // "127.0.0.1:9324"; port 0: any
    const char *credentials; // file; NULL: DIR/credentials, made if missing
    const char *region;      // of ARNs when a request names none; NULL: us-east-1
    int ready_fd;            // -1: none. See base/process.h
    int lifeline_fd;         // -1: none
    int cooldown_s;          // see queues_config; 0: none
    bool unsigned_requests;  // signatures are not checked: for tests on one's own machine only
};

// Serves until SIGTERM or SIGINT (drains: waiting receives are answered empty, everything is
// synced) or a fatal error. The parent was told over ready_fd when it serves, or why it does not.
enum err sqs_role_run(const struct sqs_role_config *config, struct error *error) MUST_CHECK;
