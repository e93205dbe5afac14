// SQS client: AWS JSON 1.0, against any SQS endpoint. Each call's done is called exactly once from
// the loop. Strings passed in are copied; what done gets is valid during the callback.
#pragma once

#include "aws/aws_client.h"

struct sqs_call; // a running call; cancel: done comes with ERR_CANCELLED

struct sqs_message { // as received
    struct span id, receipt_handle, body;
    int receive_count;        // ApproximateReceiveCount
    int64_t sent_ms;          // SentTimestamp
    struct span trace_header; // AWSTraceHeader, empty if none
};

struct sqs_entry_result { // of a batch, in the order of the entries sent
    bool ok;
    bool sender_fault;
    char code[64];
    char message[200];
    char message_id[40]; // sends only
};

typedef void sqs_receive_fn(void *ctx, const struct aws_result *r,
                            const struct sqs_message *messages, size_t count);
typedef void sqs_batch_fn(void *ctx, const struct aws_result *r,
                          const struct sqs_entry_result *entries, size_t count);
typedef void sqs_url_fn(void *ctx, const struct aws_result *r, const char *queue_url);
typedef void sqs_done_fn(void *ctx, const struct aws_result *r);
typedef void sqs_attributes_fn(void *ctx, const struct aws_result *r,
                               const struct http_call_header *attributes, size_t count);

// wait_s, visibility_s: -1 for the queue's own.
struct sqs_call *sqs_receive(struct aws_client *c, const char *queue_url, int max_messages,
                             int wait_s, int visibility_s, sqs_receive_fn *done, void *ctx);
struct sqs_call *sqs_send(struct aws_client *c, const char *queue_url, struct span body,
                          int delay_s, sqs_url_fn *done_with_message_id, void *ctx);
// count <= 10
struct sqs_call *sqs_send_batch(struct aws_client *c, const char *queue_url,
                                const struct span *bodies, size_t count, sqs_batch_fn *done,
                                void *ctx);
struct sqs_call *sqs_delete_batch(struct aws_client *c, const char *queue_url,
                                  const struct span *receipt_handles, size_t count,
                                  sqs_batch_fn *done, void *ctx);
struct sqs_call *sqs_visibility_batch(struct aws_client *c, const char *queue_url,
                                      const struct span *receipt_handles, const int *visibility_s,
                                      size_t count, sqs_batch_fn *done, void *ctx);
struct sqs_call *sqs_create_queue(struct aws_client *c, const char *name,
                                  const struct http_call_header *attributes, size_t attribute_count,
                                  sqs_url_fn *done, void *ctx);
struct sqs_call *sqs_get_queue_url(struct aws_client *c, const char *name, sqs_url_fn *done,
                                   void *ctx);
struct sqs_call *sqs_delete_queue(struct aws_client *c, const char *queue_url, sqs_done_fn *done,
                                  void *ctx);
struct sqs_call *sqs_get_attributes(struct aws_client *c, const char *queue_url,
                                    sqs_attributes_fn *done, void *ctx);

// Any action by its name: for tools. request (borrowed) holds the action's parameters as the API
// names them; answer is what came back, an object; NULL if r->err is not OK. wait_s: how long the
// service may take its time (a long poll); 0: answers at once.
struct json_t; // jansson's
typedef void sqs_answer_fn(void *ctx, const struct aws_result *r, const struct json_t *answer);
struct sqs_call *sqs_ask(struct aws_client *c, const char *action, const struct json_t *request,
                         int wait_s, sqs_answer_fn *done, void *ctx);
void sqs_call_cancel(struct sqs_call *call);
