// Finds the queue and the bucket; makes them when they are missing. Tries until it works: a pool
// that starts before its queue waits for it.
#pragma once

#include "aws/s3_client.h"
#include "aws/sqs_client.h"

struct setup_config {
    struct loop *loop;
    struct aws_client *sqs, *s3;
    const char *queue; // name, or URL of an existing one
    const char *bucket;
    bool create;           // what is missing
    int max_receive_count; // of a queue that is made here
    int visibility_s;
};

struct setup_result {
    const char *queue_url; // the setup's, until setup_free
    int max_receive_count; // of the queue; without a redrive policy the configured one
    bool has_dlq;
    const char *dlq_name; // "": none
};

struct setup;

// done is called once from the loop, when all is there. progress is called with each answer of the
// services (for the log of outages).
struct setup *setup_new(const struct setup_config *config,
                        void (*done)(void *ctx, const struct setup_result *result),
                        void (*progress)(void *ctx, bool is_s3, const struct aws_result *r),
                        void *ctx);
void setup_again(struct setup *s); // the queue is gone: once more from the start
void setup_free(struct setup *s);
