// Watches the dead-letter queue of a jobs queue, so that nobody waits forever: a job whose workers
// died so suddenly that none could say why still gets a `failed` result, once its message is there.
//
// It asks for the queue's length once in a while. When that has grown (and now and then all the
// same) it receives what is in it, publishes what has no result, and makes everything visible
// again: the messages stay for a redrive. A queue with a redrive policy of its own is left alone,
// since a message there must not be received for nothing.
#pragma once

#include "aws/s3_client.h"
#include "aws/sqs_client.h"
#include "worker/outbox.h"

struct dead_letters;

struct dead_letters_config {
    struct loop *loop;
    struct aws_client *sqs, *s3;
    struct outbox *outbox; // replies and hand-backs
    const char *bucket;    // of results
    const char *jobs_url;  // whose reply queues are beside it
    const char *name;      // of the dead-letter queue; all borrowed
    int max_receive_count; // after which messages come here
    int look_s;            // between two looks at its length, on average
};

struct dead_letters *dead_letters_new(const struct dead_letters_config *config);
void dead_letters_free(
    struct dead_letters *d); // hands back what it holds, if the outbox still sends

struct dead_letters_counts {
    uint64_t messages;  // in the queue when last asked
    uint64_t abandoned; // failures published here
    uint64_t requests;  // to SQS
};
struct dead_letters_counts dead_letters_counts(const struct dead_letters *d);
