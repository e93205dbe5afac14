// The worker role: loop, signals, clients and the poller put together; and its admin port, if
// wanted.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum worker_ec2 { EC2_AUTO, EC2_ON, EC2_OFF }; // are notices of EC2 listened to? auto: if it is one

struct worker_config {
    enum worker_ec2 ec2;
    const char *model, *search_path; // crew.h says what these mean
    const char *exec; // NULL, or a program that answers instead of models; model is its name then
    int children, children_min, idle_ms;
    uint64_t memory_bytes;
    bool pin;
    const char *state_file;                               // NULL: none
    const char *sqs_endpoint, *s3_endpoint, *region;      // NULL: the AWS rules (aws/aws_client.h)
    const char *credentials_file, *data_credentials_file; // NULL: none (aws/keys.h)
    const char *lifecycle_hook; // "GROUP:HOOK" to be told of a drain that the group wanted; NULL
    const char *ca_bundle;      // NULL: the system's
    const char *queue, *bucket, *bucket_allow;
    const char *leases; // file of the messages in hand, for the next worker; NULL: none
    bool create;
    int max_receive_count, visibility_s, job_timeout_s;
    const char *listen;        // /livez, /readyz, /metrics; NULL: no port
    int ready_fd, lifeline_fd; // -1: none
};

// The whole life of the process; returns its exit code: 0 drained, 1 failed (said on stderr).
int worker_run(const struct worker_config *config);
