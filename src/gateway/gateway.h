// The gateway role: REST interface and page in front of an S3 store and an SQS queue.
//
// Stateless: a job is the object inbox/ID (what was posted), a message in the jobs queue, and in
// the end the object results/ID.json. What the gateway itself holds are only the connections of
// clients that wait; its own reply queue wakes them. Any number of gateways may stand in front of
// one store.
#pragma once

#include "aws/keys.h"
#include "base/loop.h"

struct gateway;

struct gateway_model {
    const char *name;        // as in ?model=NAME
    const char *description; // a sentence for people, "" if none is known
    const char *given;       // what else jobs may call it: the pool's --model; NULL: nothing
};

struct gateway_config { // everything is borrowed and must outlive the gateway
    struct loop *loop;
    const char *listen;                     // "127.0.0.1:8080"
    const char *sqs_endpoint, *s3_endpoint; // NULL: from the environment, else Amazon's
    const char *region;                     // NULL: from the environment
    const char *ca_bundle;                  // NULL: the system's
    struct keys *keys;                      // NULL: nothing is signed
    // Names the reply queue. NULL: random, and the queue is deleted at the end. With a name the
    // queue stays, so that a restarted gateway of the same name finds the replies on their way.
    const char *instance;
    bool create;              // make the jobs queue and its dead-letter queue when they are missing
    int max_receive_count;    // of a queue that is made here
    const char *bucket_allow; // other buckets that pictures may be in: "a,b-*", "*"; NULL: none
    const struct gateway_model *models; // the first one is the default
    size_t model_count;                 // at least 1
    void (*on_ready)(void *ctx);        // once: bucket and queues are there, jobs can be taken
    void (*on_stopped)(void *ctx);      // once, after gateway_stop
    void *ctx;
};

// Listens, and looks for bucket and queues (again and again while they cannot be reached; jobs get
// a 503 until then). ERR_BUSY: the port is in use; ERR_ARGUMENT: an address or endpoint that cannot
// be.
enum err gateway_new(const struct gateway_config *config, struct gateway **out,
                     struct error *error) MUST_CHECK;
int gateway_port(const struct gateway *g);
// Other models from now on, borrowed like those of the configuration.
void gateway_set_models(struct gateway *g, const struct gateway_model *models, size_t count);
// Drain: takes no more jobs, lets running submissions finish, tells clients that wait that their
// job is queued, then calls on_stopped (at the latest after GATEWAY_DRAIN_S_MAX).
void gateway_stop(struct gateway *g);
void gateway_free(struct gateway *g); // ends what is still open; NULL allowed
