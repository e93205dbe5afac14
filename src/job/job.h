// The job message and the job's result: one encoder and one decoder for gateway, worker and tools.
// Contracts: docs/protocol.md. Pure.
#pragma once

#include "base/arena.h"

enum {
    JOB_ID_BYTES_MAX = 128,
    JOB_NAME_BYTES_MAX = 128,
    JOB_URL_BYTES_MAX = 512, // reply_to: a queue URL; names are at most 80, hosts at most 253
    JOB_RECORDS_MAX = 1000,  // objects in one S3 event; Amazon sends 1, batches stay below 100
    JOB_RESULT_BYTES_MAX = 1 << 20, // a result object or reply
};

// What a queue message asks for.
enum job_kind {
    JOB_NATIVE, // our message:
                // {"v":1,"id","model","input":{"bucket","key"},"reply_to","submitted_at","expires_at"}
    JOB_S3_EVENT, // one object of an S3 event notification (a message may hold several)
    JOB_PLAIN,    // {"ImagePath":"s3://bucket/key","ImageId":"…"}
};

struct job {
    enum job_kind kind;
    const char
        *id; // [A-Za-z0-9_.-]{1,128}; S3 events: derived from bucket, key and sequencer/eTag; arena
    const char *model;        // "" : the pool's default
    const char *bucket, *key; // decoded
    const char *trace;        // trace id, "" none
    const char *reply_to;     // queue URL, "" none. Only URLs of the configured endpoint are used.
    int64_t submitted_ms;     // wall clock; 0 unknown
    int64_t expires_ms;       // wall clock; 0 never
    bool repeated;            // may have been sent before: there may be a result already
};

// Decodes a message body into 0..n jobs (0: an S3 test event; acknowledge it). ERR_FORMAT: says
// what is wrong with the message; if its id could be read, *count is 1 and (*jobs)->id holds it
// (the other strings are ""), so that the failure can be published; else *count is 0. In an event
// some of whose records are wrong, (*jobs)[0].kind is JOB_S3_EVENT: these are the good ones.
// SNS-wrapped events are unwrapped; deleted objects in events are left out. Everything is in the
// arena.
enum err job_decode(struct span message, struct arena *arena, struct job **jobs, size_t *count,
                    struct error *error) MUST_CHECK;
void job_encode(const struct job *job, struct buf *out);
bool job_id_valid(struct span id);
// May a job's picture be in this bucket? In our own it may; in others if they are in the list,
// which has names and beginnings of names, "photos,scans-*"; NULL: in no other.
bool job_bucket_allowed(const char *list, const char *own, const char *bucket);
void job_id_make(char out[37]); // random

enum job_status { JOB_QUEUED, JOB_SUCCEEDED, JOB_FAILED, JOB_EXPIRED, JOB_CANCELLED };
const char *job_status_name(enum job_status s); // "queued" …
bool job_status_parse(struct span text, enum job_status *out);

struct job_timing { // ms; -1: not known
    double queued, fetched, decoded, inferred, total;
};

// Left to the dead-letter queue, as this message: a later message of the same job (a redrive, which
// sends it anew or counts its receives from one) is a new chance, whose result replaces this one.
struct job_dead_letter {
    const char *queue;      // name; "" or NULL: not a dead letter
    const char *message_id; // of SQS
    int64_t sent_ms;        // wall clock of SQS
};

// The result object results/ID.json and the reply message have this one form:
// {"id","status","trace_id","model","model_sha256","precision","preprocessing",
//  "result":{…}|"error":{"code","message"},"dead_letter":{"queue","message_id","sent_at"},
//  "timing_ms":{…},"input":{"bucket","key"},"attempts":N,"submitted_at","finished_at"}
struct job_result {
    const char *id;
    enum job_status status;
    const char *trace; // "" or NULL: none
    const char *model, *model_sha256;
    const char *precision, *preprocessing; // "fp32"; "stretch bilinear oriented fast"
    struct span result_json; // an object as text, when succeeded: {"predictions":[…],"groups":{…}}
    const char *error_code, *error_message; // when not
    struct job_timing timing;
    const char *bucket, *key;
    int attempts;
    struct job_dead_letter dead_letter;
    int64_t submitted_ms, finished_ms;
};
void job_result_encode(const struct job_result *r, struct buf *out);
// Is the message (id, sent at, received for the n-th time) a later chance than this result's?
bool job_result_is_outlived(const struct job_result *r, const char *message_id, int64_t sent_ms,
                            int receive_count);
enum err job_result_decode(struct span text, struct arena *arena, struct job_result *out,
                           struct error *error) MUST_CHECK;

// Names of the contract.
#define JOB_BUCKET "smelt"
#define JOB_QUEUE "smelt-jobs"
#define JOB_REPLIES_PREFIX "smelt-replies-"
#define JOB_INBOX_PREFIX "inbox/"
#define JOB_RESULTS_PREFIX "results/"
