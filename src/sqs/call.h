// One request being served: what the actions get and give. No sockets here, so that tests call
// actions directly.
#pragma once

#include "aws/sigv4.h"
#include "sqs/queue.h"
#include "sqs/reply.h"

#define SQS_ACCOUNT AWS_ACCOUNT

// Random bytes for message ids, fetched many at a time.
struct id_pool {
    uint8_t bytes[4096];
    size_t left;
};

struct sqs_call {
    struct queues *queues;
    struct id_pool *ids; // NULL: fetched one by one
    struct arena *arena; // of the request
    struct sqs_request in;
    int64_t now_ms;         // store time
    bool json;              // the protocol
    bool accept_json;       // Query, but the reply is wanted in JSON
    struct span host;       // of the queue URLs in replies: the request's Host header
    struct span path_queue; // name in the request's path /ACCOUNT/NAME; no data: none
    const char *region;     // of the signature, for ARNs
    const char *sender;     // SenderId of messages
    const char *account,
        *user;         // who asks; NULL: the root of SQS_ACCOUNT, to whom all queues belong
    const char *peer;  // IP address of who asks; NULL: unknown
    struct span trace; // X-Amzn-Trace-Id header

    struct reply out;
    void (*rest)(struct sqs_call *c); // of the reply, for sqs_call_end to write; NULL: all is there
    void *sent;                       // what it is about
    struct fault fault;
    uint64_t wait_for;     // the reply may be sent when this is durable; 0: at once
    uint64_t wait_written; // and this is written
    int wait_s;            // ReceiveMessage found nothing and may wait so long on `queue`; 0: reply
    struct queue *queue;
    // ReceiveMessage, checked and ready to be tried again
    size_t receive_max;
    int receive_visibility_s;
};

// Runs c->in.action: the reply is in c->out, or SQS_OK is not returned and c->fault says why.
enum sqs_code sqs_call_run(struct sqs_call *c);
// Writes what is left of a reply that went well. For sends it is most of it, with the digests of
// all that was sent: that can be done while the disk syncs.
void sqs_call_end(struct sqs_call *c, const char *request_id);
// A waiting receive: tries again; *count messages were received and written to c->out (0: nothing
// was written).
enum sqs_code sqs_call_receive_again(struct sqs_call *c, size_t *count);

// --- shared by the actions ---
// Finds c->queue by QueueUrl, or by the path, and asks whether this action is allowed on it.
enum sqs_code call_queue(struct sqs_call *c);
// AccessDenied unless who asks may run c->in.action on the queue (NULL: on none).
enum sqs_code call_authorize(struct sqs_call *c, struct queue *q);
// The same before anything is looked up: refuses other accounts what no policy can give them.
enum sqs_code call_authorize_account(struct sqs_call *c);
void call_wait_for(struct sqs_call *c, uint64_t sequence);
void call_queue_arn(struct sqs_call *c, const char *name, struct buf *out);

// Begins the item of a message in the list "Messages" (first: begins that, too) with all but what
// the caller adds before its reply_item_end. False: it cannot be read; nothing was written.
bool call_write_message(struct sqs_call *c, const struct received *r, struct buf *scratch,
                        bool first);

typedef enum sqs_code action_fn(struct sqs_call *c);
enum sqs_code call_set_attributes(struct sqs_call *c, const struct named_list *given);
bool call_is_name(struct span name); // letters, digits, hyphens, underscores: at least one
enum sqs_code call_check_tags(struct sqs_call *c, const struct named_list *given);
void call_make_tags(const struct named_list *from, struct tag **tags, size_t *count); // copies
enum sqs_code call_page(struct sqs_call *c, const char *list_name,
                        bool (*wanted)(void *ctx, const struct queue_info *info), void *ctx,
                        bool always); // a page of queue URLs; always: also an empty list

action_fn action_create_queue, action_delete_queue, action_get_url, action_list_queues,
    action_get_attributes, action_set_attributes, action_purge;
action_fn action_send, action_send_batch, action_receive, action_delete_message,
    action_delete_message_batch, action_change_visibility, action_change_visibility_batch;
action_fn action_tag, action_untag, action_list_tags, action_add_permission,
    action_remove_permission, action_list_sources;
action_fn action_peek;
action_fn action_start_move_task, action_cancel_move_task, action_list_move_tasks;
