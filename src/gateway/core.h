// What the files of the gateway share: its state, and the steps that reach bucket and queues.
#pragma once

#include "aws/queue_setup.h"
#include "aws/s3_client.h"
#include "aws/sqs_client.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "gateway/gateway.h"
#include "gateway/waiters.h"
#include "http/server.h"
#include "job/job.h"

struct gateway_metrics {
    struct metrics registry;
    struct metric *submitted, *duplicates, *cancelled, *answered, *refused_busy, *replies,
        *replies_unclaimed, *asked;
    struct metric *waiting, *body_bytes, *tells;
    struct metric *submit_seconds, *answer_seconds;
};

enum setup_step { SETUP_BUCKET, SETUP_JOBS, SETUP_REPLIES, SETUP_DONE };

struct gateway {
    struct gateway_config config;
    struct http_server *server;
    struct http_client *http;
    struct aws_client *sqs, *s3;
    struct gateway_metrics metrics;

    enum setup_step setup;
    bool setup_running;   // a call or a retry is on its way
    struct setup *making; // of the jobs queue, while it is made
    struct timer setup_timer;
    int setup_backoff_ms;
    char setup_error[500]; // why it is not done; "" if nothing went wrong yet
    char jobs_url[1024];   // valid when setup is SETUP_DONE, like the next
    char replies_url[1024];
    char replies_name[81];
    bool was_ready;

    struct sqs_call *receive; // the long poll on the reply queue
    struct timer receive_timer;
    int receive_backoff_ms;

    struct waiters waiters;
    struct gateway_tell *tells; // waits at other gateways (tells.c)
    size_t tell_count;
    struct visit *visits; // requests about jobs, all of them
    size_t body_bytes;    // of all visits

    bool stopping, stopped;
    struct timer drain_timer;
    bool replies_deleted;
};

// setup.c: makes or finds bucket, jobs queue and reply queue; then replies.c polls. Also called
// when one of them has vanished; while it runs nothing more happens.
void setup_begin(struct gateway *g);
// replies.c
void replies_poll(struct gateway *g);
void replies_stop(struct gateway *g);
// gateway.c: to be called when a visit has ended, for the drain.
void gateway_visit_ended(struct gateway *g);

int backoff_next_ms(int *backoff_ms);
