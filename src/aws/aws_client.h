// What the SQS and S3 clients share: endpoint, region, keys, signing, retries with full jitter and
// a budget, clock skew correction, buckets in other regions. Asynchronous, in the role's loop.
#pragma once

#include "aws/keys.h"
#include "http/client.h"

struct aws_client;

struct aws_client_config {
    struct loop *loop;
    struct http_client *http; // borrowed
    const char *service;      // "sqs" | "s3" | "autoscaling"
    const char *endpoint;     // "http://127.0.0.1:9324"; NULL: the rules of aws/endpoint.h
    const char *region;       // NULL: the same
    struct keys *keys;        // borrowed; asked at each signing. NULL: these
    struct credentials credentials;
    int attempts_max; // 0: 4; connection errors, 5xx and throttling are tried again
};

enum err aws_client_new(const struct aws_client_config *config, struct aws_client **out,
                        struct error *error) MUST_CHECK;
void aws_client_free(struct aws_client *c);
// The next call that is started on c tells the service this trace id (X-Amzn-Trace-Id, not signed:
// what stands between may change it). "" : none.
void aws_client_trace(struct aws_client *c, const char *trace_id);

// An error that the service returned, in our terms: `err` OK, ERR_NOT_FOUND (NoSuchKey,
// QueueDoesNotExist), ERR_PRECONDITION (412), ERR_EXISTS, ERR_DENIED, ERR_THROTTLED,
// ERR_UNAVAILABLE (5xx), ERR_NET, ERR_TIMEOUT, ERR_ARGUMENT. error.msg holds the service's code and
// text.
struct aws_result {
    enum err err;
    struct error error;
    char code[96]; // "NoSuchKey", "ReceiptHandleIsInvalid"; "" if none
    int status;
    int throttles; // attempts of this call that were told to slow down, whatever came of it in the
                   // end
};
