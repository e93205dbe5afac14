// The poller: keeps the crew busy from the queue. Receives in tens with long polls, fetches
// pictures ahead, renews leases, publishes each result once, replies, deletes.
//
// Order for each job: result durable → reply sent → message deleted. An SQS or S3 that does not
// answer stops nothing for good: everything is tried again with back-off, and leases are held
// meanwhile.
#pragma once

#include "aws/s3_client.h"
#include "aws/sqs_client.h"

struct poller;

struct poller_config {
    struct loop *loop;
    struct aws_client *sqs, *s3;
    const char *queue;  // "NAME|URL[:WEIGHT[:VISIBILITY_S]],…"; a URL is of an existing queue
    const char *bucket; // for results
    const char *bucket_allow; // others that pictures may be in: "a,b-*", "*"; NULL: none
    bool create;              // make queue, dead-letter queue and bucket when they are missing
    int max_receive_count;    // of a queue that is made
    int visibility_s;         // of queues that do not say their own
    const char *leases;       // file of what is in hand (lease_book.h); NULL: none
    const char *model, *search_path;
    const char *exec; // NULL, or a program that answers instead of models; model is its name then
    int children, children_min, idle_ms; // these and the next three are the crew's
    uint64_t memory_bytes;
    bool pin;
    const char *state_file;
    int job_timeout_ms;
    void *ctx;
    void (*on_ready)(void *ctx); // once: model loaded, a child is up, queue and bucket are there
    void (*on_failed)(void *ctx, const char *sentence); // the model cannot be loaded: end
    void (*on_drained)(void *ctx);
};

enum err poller_new(const struct poller_config *config, struct poller **out,
                    struct error *error) MUST_CHECK;
void poller_free(struct poller *p);

// Takes nothing new, finishes what children compute, hands the rest back, then on_drained; at the
// latest WORKER_DRAIN_S_MAX later.
void poller_drain(struct poller *p);

// Ready: it can take jobs. Else one sentence says what is waited for.
bool poller_ready(const struct poller *p, struct buf *why);
void poller_ask_backlog(struct poller *p); // so that the next metrics tell of it
void poller_reload(struct poller *p);      // looks whether model packages changed
void poller_describe_models(const struct poller *p, struct buf *out); // lines for people
void poller_metrics(const struct poller *p, struct buf *out);         // Prometheus text
