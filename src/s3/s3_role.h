// The s3 role: an S3 endpoint on one address, one data directory, one process.
#pragma once

#include "base/error.h"

struct s3_role_config {
    const char *data_dir;    // DIR; the store lives in DIR/s3
    const char *listen;      // "127.0.0.1:9000"; port 0: any
    const char *credentials; // file; NULL: DIR/credentials, made if missing
    int ready_fd;            // -1: none. See base/process.h
    int lifeline_fd;         // -1: none
};

// Serves until SIGTERM or SIGINT (drains: requests under way are answered, at most 10 s) or a fatal
// error. The parent was told over ready_fd when it serves, or why it does not.
enum err s3_role_run(const struct s3_role_config *config, struct error *error) MUST_CHECK;
