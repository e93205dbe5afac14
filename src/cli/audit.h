// The audit: every job that queue and store know, each in exactly one place. Uses the two public
// APIs alone (ListObjectsV2, GetObject; PeekMessages where the queue service has it).
//
// A job is found by its picture (inbox/ID), its message, or its result (results/ID.json). Pictures
// are listed first, then the messages, then the results: a job that moves on meanwhile is met where
// it went. What is still met by its picture alone is looked for once more after a while, since its
// message may not have been sent yet; only then it has no home.
#pragma once

#include "aws/s3_client.h"
#include "cli/queue_client.h"
#include "job/job.h"

enum { AUDIT_QUEUES_MAX = 16, AUDIT_JOBS_MAX = 20 * 1000 * 1000 };

enum audit_place { // bits
    AUDIT_PICTURE = 1,
    AUDIT_VISIBLE = 2, // its message, in a jobs queue: waiting or delayed
    AUDIT_IN_FLIGHT = 4,
    AUDIT_DEAD = 8, // its message, in a dead-letter queue
    AUDIT_RESULT = 16,
    AUDIT_UNREADABLE = 32, // the result is there, but is none
};

struct audit_job {
    const char *id; // of the audit's arena
    unsigned places;
    bool known; // status was read
    enum job_status status;
};

struct audit {
    struct queue_client *c;
    struct aws_client *s3;
    const char *bucket, *queues;    // queues: names or URLs with commas, ":weight" allowed
    bool peeks;                     // messages could be seen; else only their counts are known
    size_t not_jobs;                // messages that are none
    int64_t messages, dead_letters; // in the queues, as they count them
    struct arena arena;
    struct audit_job *jobs; // by id, each once
    size_t count, cap;
};

// One look. a: c, s3, bucket and queues set, else zero. Statuses that an earlier look read are not
// read again. ERR_CANCELLED after Ctrl-C.
enum err audit_look(struct audit *a, struct error *error) MUST_CHECK;
void audit_release(struct audit *a);

// The job of that id; NULL: not met.
const struct audit_job *audit_find(const struct audit *a, const char *id);
bool audit_has_no_home(const struct audit_job *job); // met by its picture alone

// audit_results.c: the status of each result that is not known yet. A result that is gone is none.
enum err audit_read_results(struct audit *a, struct error *error) MUST_CHECK;
