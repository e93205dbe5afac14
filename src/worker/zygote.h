// The zygote: loads, packs and warms the models once, then forks children on request and reports
// their deaths. No threads, no network, no keys, no foreign bytes. One zygote is one generation of
// the pool; it ends when the poller's end of the control socket closes, and its children with it.
#pragma once

#include "base/error.h"

#include <stdbool.h>

struct zygote_config {
    int control_fd;          // SOCK_SEQPACKET to the poller, see protocol.h
    const char *model;       // names, folders or .onnx files, with commas
    const char *search_path; // of packages
    const char *exec;  // not NULL: no model, but this program (exec_child.h), which is called model
    bool pin;          // the child of slot n runs on the n-th processor of ours
    const char *known; // fingerprints with commas: what need not be loaded again; NULL: none
};

// The whole life of the process; returns its exit code. A model that cannot be loaded is reported
// in one sentence over the control socket.
int zygote_run(const struct zygote_config *config);
