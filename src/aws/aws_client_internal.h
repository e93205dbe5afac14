// Inside of the AWS clients: one call to a service, with its attempts. sqs_client.c and s3_client.c
// put it first in their own call.
#pragma once

#include "aws/aws_client.h"
#include "base/arena.h"
#include "base/trace.h"
#include "http/url.h"

enum { AWS_CALL_HEADERS_MAX = 40 }; // before signing; S3 metadata is at most 2 KiB

struct aws_place {   // where a service is asked
    char bucket[64]; // S3: only about this one; "": all
    char region[64];
    char base[320]; // "http://127.0.0.1:9324", no '/' at the end
    char host[300]; // Host header
};

struct aws_call {
    // --- set by the service's client before aws_call_start ---
    const char *method;                                    // literal
    struct buf path, query;                                // encoded; path with its '/'
    struct http_call_header headers[AWS_CALL_HEADERS_MAX]; // strings in the arena
    size_t header_count;
    struct buf body_owned;
    struct span body;            // view of body_owned, or borrowed until the end
    int timeout_ms;              // of an attempt; 0: 30 s
    bool long_poll;              // a second attempt at most, and none after a timeout
    size_t response_limit_bytes; // 0: the HTTP client's
    char payload_hash[65];       // SHA-256 of body if it is known already, else made when needed
    struct error refused;        // code not OK: ends with this, without being sent
    // Calls the caller's callback. response is NULL when no answer came.
    void (*finish)(struct aws_call *call, const struct aws_result *result,
                   const struct http_response *response);
    struct arena arena;
    // --- aws_client.c's ---
    struct aws_call *prev, *next;
    struct aws_client *client;
    struct http_call *http; // running attempt
    struct timer timer;     // until the next attempt
    struct keys_wait keys_wait;
    unsigned keys_generation;       // of the running attempt
    bool rekeyed;                   // its keys were refused once
    bool redirected;                // its bucket was found to be elsewhere
    char trace[TRACE_AMAZON_BYTES]; // "" none
    int attempt, throttles;
    int64_t started_us;
};

// call: malloc'ed, zeroed by the caller; freed after finish.
void aws_call_start(struct aws_client *c, struct aws_call *call);
void aws_call_cancel(struct aws_call *call); // finish comes with ERR_CANCELLED before this returns
void aws_call_header(struct aws_call *call, const char *name, const char *value); // copied
const char *aws_client_region(const struct aws_client *c);

// --- aws_error.c: pure ---
// Fills a result from an answer with a status that is not 2xx. place: for the message.
void aws_error_read(const char *place, const struct http_response *response,
                    struct aws_result *result);
bool aws_error_is_skew(const struct aws_result *result);
// The keys themselves were refused, as expired or unknown: others may be taken.
bool aws_error_is_key(const struct aws_result *result);
// The region in an answer that sends us to another one. False: it is no such answer.
bool aws_error_region(const struct http_response *response, char *out, size_t out_bytes);
