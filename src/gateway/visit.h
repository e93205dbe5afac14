// A visit: one HTTP request that needs the store or the queue, from its head to its end. It submits
// a job (submit.c), looks at one (look.c), cancels one (cancel.c), the first two perhaps waiting
// for the result (visit.c), or asks whether store and queue are there (ready.c).
#pragma once

#include "base/digest.h"
#include "base/trace.h"
#include "gateway/core.h"

enum visit_kind { VISIT_SUBMIT, VISIT_LOOK, VISIT_CANCEL, VISIT_READY };

struct visit {
    struct gateway *g;
    struct visit *next, **link; // all visits of the gateway
    enum visit_kind kind;
    struct http_request *request;
    bool answered;
    bool event; // the answer is a server-sent event

    char id[JOB_ID_BYTES_MAX + 1];
    int wait_s;            // 0: answers at once
    int64_t wait_until_ms; // monotonic
    bool elsewhere;        // another gateway took the job in, or it is not known which
    char owner[96];        // the reply queue of the one that did; "" not known
    int64_t look_after_ms; // the pause before the next look into the store, for those
    struct waiter waiter;
    struct timer timer;
    struct s3_call *s3; // running, at most one of the two
    struct sqs_call *sqs;

    // a submission's
    struct buf body;                     // as received, until it is stored
    size_t counted_bytes;                // what it counts in gateway.body_bytes
    const char *model;                   // arena of the request, like all below
    const char *bucket, *key;            // where the input is
    struct span stored;                  // what becomes inbox/ID: view into body
    uint8_t stored_sha256[SHA256_BYTES]; // if idempotent
    const char
        *content_type; // of inbox/ID; ends with the fingerprint when there is an Idempotency-Key
    bool idempotent;   // an Idempotency-Key was given
    bool duplicate;    // and used before, for this very job
    char trace[TRACE_ID_BYTES];
    int expires_s;        // after the submission; 0: never
    int64_t submitted_ms; // wall clock
    struct buf message;
};

struct visit *visit_new(struct gateway *g, struct http_request *r, enum visit_kind kind);
// The request has ended (http_handlers.on_done): cancels what still runs.
void visit_free(struct visit *v);

// One of these ends every visit; v must not be used afterwards.
void visit_answer_result(struct visit *v, struct span result_json); // 200
void visit_answer_queued(struct visit *v); // 202 to a submission, 200 to a look
void visit_answer_error(struct visit *v, int status, const char *code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void visit_answer_ready(struct visit *v);
// An error of S3 or SQS: 503 (429 when they ask to slow down) with "what: why".
void visit_answer_unavailable(struct visit *v, const char *what, const struct aws_result *why);

void visit_count(struct visit *v, size_t bytes); // sets what the body counts
void visit_drop_body(struct visit *v);

// From now on the visit is answered when the result comes.
void visit_listen(struct visit *v);
// All is said and done, only the result is missing: waits until wait_until_ms (then looks into the
// store a last time), or answers "queued" when there is no time left. When the job is another
// gateway's, that one is asked, and there are a few looks before.
void visit_wait(struct visit *v);

// submit.c: body and headers are whole. Answers errors itself.
void submit_begin(struct visit *v);
// look.c: v->id is set
void look_begin(struct visit *v);
// cancel.c: likewise
void cancel_begin(struct visit *v);
void ready_begin(struct visit *v);
