// Outbox: what goes to SQS in batches of up to ten: deletes, visibility changes, replies. One batch
// per queue and kind is under way at a time, so that their order is kept.
//
// Deletes and changes are tried until their lease is surely over; then somebody else has the
// message.
#pragma once

#include "aws/sqs_client.h"

struct outbox;

struct outbox_handlers {
    void *ctx;
    void (*on_result)(void *ctx, const struct aws_result *r); // of each request
    // A visibility change was refused: the receipt is not valid any more. Not for hand-backs.
    void (*on_stale)(void *ctx, struct span receipt_handle);
};

struct outbox *outbox_new(struct loop *loop, struct aws_client *sqs,
                          struct outbox_handlers handlers);
void outbox_free(struct outbox *o); // drops what is left

// All strings are copied. delay_ms: how long the entry may wait for others; 0: no longer than the
// batch that is under way.
void outbox_delete(struct outbox *o, const char *queue_url, struct span receipt_handle,
                   int delay_ms);
void outbox_visibility(struct outbox *o, const char *queue_url, struct span receipt_handle,
                       int visibility_s);
// done is called once: sent is false when it was given up (queue gone, SQS out of reach).
void outbox_send(struct outbox *o, const char *queue_url, struct span body, int delay_ms,
                 void (*done)(void *ctx, bool sent), void *ctx);

void outbox_hurry(struct outbox *o);         // what is in it waits for no more company
void outbox_flush(struct outbox *o);         // nor does all that will come
size_t outbox_count(const struct outbox *o); // entries not confirmed yet
uint64_t outbox_requests(const struct outbox *o);
