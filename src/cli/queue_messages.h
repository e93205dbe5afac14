// Messages as `smelt queue` reads and shows them: the API's JSON objects.
#pragma once

#include "cli/queue_client.h"

enum { QUEUE_BORROW_S = 120, QUEUE_BORROW_MAX = 100000 };

// Gets each message (borrowed). Returns false to stop.
typedef bool queue_message_fn(void *ctx, json_t *message);

// Up to max messages, oldest first, by smelt's PeekMessages: nothing about them changes.
// ERR_UNSUPPORTED: the service does not know it (nothing was shown then).
enum err queue_peek(struct queue_client *c, const char *url, size_t max, queue_message_fn *fn,
                    void *ctx, struct error *error) MUST_CHECK;
// The same on any service: receives up to max visible messages (at most QUEUE_BORROW_MAX), hidden
// for QUEUE_BORROW_S, and hands all of them back at the end, also after an error or Ctrl-C. Their
// receive counts go up by one.
enum err queue_borrow(struct queue_client *c, const char *url, size_t max, queue_message_fn *fn,
                      void *ctx, struct error *error) MUST_CHECK;
// Receives up to 10. *messages: an array, the caller's. visibility_s -1: the queue's.
enum err queue_receive_some(struct queue_client *c, const char *url, size_t max, int wait_s,
                            int visibility_s, json_t **messages, struct error *error) MUST_CHECK;
// Sends `action` with entries of the messages' receipt handles, by tens. entry_json: more fields of
// each, like {"VisibilityTimeout":0}; NULL: none. The first entry refused is the error.
enum err queue_batch(struct queue_client *c, const char *action, const char *url,
                     const json_t *handles, const json_t *more, struct error *error) MUST_CHECK;

// A table of messages for people (json: lines of JSON at once).
struct queue_printer {
    bool json, full; // full: whole bodies, one message after the other
    size_t printed;
    struct text_table *table;
};
void queue_printer_init(struct queue_printer *p, const struct options *o, bool fifo);
bool queue_print_message(void *ctx, json_t *message); // ctx: the printer
void queue_printer_end(struct queue_printer *p);      // the table, then frees
