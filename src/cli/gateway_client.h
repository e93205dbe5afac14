// A gateway's client, for the commands that submit and look at jobs: asynchronous, with retries
// that an Idempotency-Key makes safe.
#pragma once

#include "base/arena.h"
#include "http/client.h"

struct gateway_client {
    struct loop *loop;
    struct http_client *http;
    char url[512]; // "http://127.0.0.1:8080", without a slash at the end
};

// url: http://HOST[:PORT][/prefix]
enum err gateway_client_init(struct gateway_client *c, struct loop *loop, const char *url,
                             int connections, struct error *error) MUST_CHECK;
void gateway_client_release(struct gateway_client *c);

enum gateway_outcome {
    GATEWAY_DONE,    // the job has ended: json is the job
    GATEWAY_QUEUED,  // accepted, not done in time: json has its id
    GATEWAY_REFUSED, // error says why; no job was made, or it is not known
};

struct gateway_job;
typedef void gateway_job_fn(void *ctx, struct gateway_job *job, enum gateway_outcome outcome,
                            struct span json, const struct error *error);

struct gateway_job { // caller's storage; zero-initialised but for what is to be done
    // one of the three
    const char *file;            // a picture on this machine
    const char *bucket, *object; // a picture in the store
    const char *id;              // a job that was submitted before
    bool cancel;                 // it: done comes with its state, or why it cannot be

    const char *model;    // NULL: the gateway's default
    long expires_s;       // a job that is not done by then is not done at all; 0: no such time
    int64_t wait_ms;      // how long to wait for the end of the job; 0: only until it is accepted
    gateway_job_fn *done; // called once, from the loop
    void *ctx;

    // its own
    struct gateway_client *client;
    char key[33]; // Idempotency-Key
    char known_id[130];
    struct error error; // of reading the file
    struct buf body;
    int64_t started_ms, give_up_ms;
    int backoff_ms;
    struct timer timer;
};

void gateway_job_start(struct gateway_client *c, struct gateway_job *job);
