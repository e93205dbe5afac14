// The queues: a state machine over the journal. Pure but for the journal: no clock, no randomness,
// no network; time and random bytes are arguments, so that tests can simulate both.
//
// Time: `now_ms` everywhere is store time, made by queues_time() from the monotonic clock. It is
// the wall clock as of the start, goes on with the monotonic clock, and never goes back, not across
// restarts either: a jump of the wall clock neither releases nor freezes a message.
//
// What a call changes is in the next commit; *wait_for gets the record's sequence: the caller may
// answer its client when queues_durable() has reached it (0: at once); of a receive, when
// queues_written() has. A sent message can be received once it is durable.
#pragma once

#include "journal/journal.h"
#include "sqs/attributes.h"
#include "sqs/receipt.h"

struct queues;
struct queue;

enum {
    MESSAGE_ID_BYTES = 16,
    BOOT_ID_BYTES = 16,
    QUEUE_TAGS_MAX = 50,
    TIME_RECORD_MS = 60000,
    TAG_KEY_MAX = 128, // characters
    TAG_VALUE_MAX = 256,
};

struct queues_config {
    const char *dir;             // exists, ours alone
    const struct journal_io *io; // NULL: the real one
    uint32_t segment_bytes;      // 0: default
    int64_t cooldown_ms; // SQS_COOLDOWN_S for Amazon's rules about purges and names; 0: none
    struct loop *loop;   // NULL: synchronous journal
    uint8_t store_id[STORE_ID_BYTES]; // random; used for a new store
    int64_t wall_ms, monotonic_ms;    // now
    uint8_t boot_id[BOOT_ID_BYTES];   // of the running kernel; zeros: unknown
    void *ctx;
    void (*on_written)(void *ctx, uint64_t sequence);        // NULL; after queue_receive
    void (*on_durable)(void *ctx, uint64_t sequence);        // after the queues have taken note
    void (*on_failed)(void *ctx, const struct error *error); // fail-stop: end the process
    // NULL; else the store is only looked at, damage or not (journal/inspection.h): the queues can
    // be read, nothing can be changed. A queue whose own record is lost is called lost-NUMBER.
    struct journal_inspection *inspection;
};

enum err queues_open(const struct queues_config *config, struct queues **out,
                     struct error *error) MUST_CHECK;
void queues_close(struct queues *qs); // NULL allowed; what was not committed is dropped

// The wall clock as it is now: with store time it is noted at least every TIME_RECORD_MS, so that
// after a restart of the machine the wall clock says how long it was off, wherever it had been set
// to.
void queues_wall(struct queues *qs, int64_t wall_ms);
int64_t queues_time(const struct queues *qs, int64_t monotonic_ms);
struct journal *queues_journal(struct queues *qs);
uint64_t queues_written(const struct queues *qs);
uint64_t queues_durable(const struct queues *qs);
void queues_commit(struct queues *qs); // at the end of a turn

// Deadlines: moves what is due by now (bounded work a call). True: more is due, call again.
bool queues_tick(struct queues *qs, int64_t now_ms);
int64_t queues_next_deadline_ms(const struct queues *qs); // INT64_MAX: none
// Wakes waiters of queues that have something. Calls waiter functions: at the end of a turn only.
void queues_wake(struct queues *qs);
// A slice of compaction. True: more to do.
bool queues_compact(struct queues *qs);

// --- queues ---
struct tag { // both terminated, owned
    char *key, *value;
};

void tags_free(struct tag *tags, size_t count);

struct queue_info {
    const char *name;
    const struct queue_attributes *attributes;
    int64_t created_ms, modified_ms;
    uint64_t visible, in_flight, delayed; // delayed includes those not durable yet
    const struct tag *tags;
    size_t tag_count;
    int64_t oldest_ms; // when its oldest message came; 0: empty
    uint64_t waiters;
};

// What a fair queue has beside its noisy groups (see fair.h); of a FIFO queue, nothing is noisy.
struct queue_fairness {
    uint64_t groups_in_flight; // groups that have messages in flight
    uint64_t noisy_groups;
    uint64_t visible, in_flight, delayed; // in quiet groups, or in none
    int64_t oldest_ms; // of these; 0: none. Behind 1000 older noisy ones it is said to be as old
};

struct json_t; // jansson's

struct queue *queue_find(struct queues *qs, struct span name); // NULL: none
// Its Policy, read (policy.h); NULL: none. Until its attributes change.
const struct json_t *queue_policy(struct queue *q);
void queue_info(struct queues *qs, const struct queue *q, struct queue_info *out);
void queue_fairness(struct queues *qs, struct queue *q, int64_t now_ms, struct queue_fairness *out);
size_t queues_count(const struct queues *qs);
// In the order of their names, those that begin with prefix; fn returns false to stop.
void queues_each(struct queues *qs, struct span prefix, bool (*fn)(void *ctx, struct queue *q),
                 void *ctx);

// attributes and tags are taken (zeroed) on success. Name must be free and valid.
// SQS_QUEUE_DELETED_RECENTLY: one of this name was deleted less than cooldown_ms ago.
enum sqs_code queue_create(struct queues *qs, int64_t now_ms, struct span name,
                           struct queue_attributes *attributes, struct tag *tags, size_t tag_count,
                           struct queue **out, uint64_t *wait_for, struct fault *f);
enum sqs_code queue_set_attributes(struct queues *qs, struct queue *q, int64_t now_ms,
                                   struct queue_attributes *attributes, uint64_t *wait_for,
                                   struct fault *f); // taken on success
enum sqs_code queue_set_tags(struct queues *qs, struct queue *q, struct tag *tags, size_t tag_count,
                             uint64_t *wait_for, struct fault *f); // taken on success
enum sqs_code queue_delete(struct queues *qs, struct queue *q, int64_t now_ms, uint64_t *wait_for,
                           struct fault *f); // its waiters are woken to see it gone
// SQS_PURGE_IN_PROGRESS: the last one was less than cooldown_ms ago.
enum sqs_code queue_purge(struct queues *qs, struct queue *q, int64_t now_ms, uint64_t *wait_for,
                          struct fault *f);

// --- messages ---
struct message_in {                       // all borrowed
    uint8_t message_id[MESSAGE_ID_BYTES]; // random
    struct span body, sender, group, dedup, trace;
    struct span attributes; // encoded by message_attributes_encode
    uint16_t attribute_count;
    size_t bytes; // body and attributes, as the service counts them; for the statistics
    int delay_s;  // -1: the queue's
};
struct sent {
    uint64_t id; // what the caller waits for; also the FIFO sequence number
    uint8_t message_id[MESSAGE_ID_BYTES]; // the one sent, or that of the message it repeats
    bool duplicate;                       // FIFO: nothing was added
};
// FIFO: in->group and in->dedup must be there.
enum sqs_code queue_send(struct queues *qs, struct queue *q, int64_t now_ms,
                         const struct message_in *in, struct sent *out, struct fault *f);

struct received {
    struct receipt receipt;
    struct journal_place place; // of the message's record, for message_read
    int64_t first_received_ms, entered_ms;
    uint32_t receive_count;
    bool moved;               // it has been in another queue
    const char *source_queue; // the queue whose dead letter it is; NULL: none. Until the queue goes
};
struct receive_in {
    size_t max;               // 1 to 10
    int visibility_s;         // -1: the queue's
    bool over_limit_is_error; // too many in flight: OverLimit instead of nothing
    struct span attempt;      // FIFO: ReceiveRequestAttemptId, may be empty
};
// *wait_for: when this is written, a kill of the process cannot make the message visible again, nor
// its count less. Until it is synced a power loss can.
enum sqs_code queue_receive(struct queues *qs, struct queue *q, int64_t now_ms,
                            const struct receive_in *in, struct received *out, size_t *count,
                            uint64_t *wait_for, struct fault *f);

struct message_out { // views buf
    uint8_t message_id[MESSAGE_ID_BYTES];
    int64_t sent_ms;
    uint64_t id;
    struct span body, sender, group, dedup, trace, attributes;
    uint16_t attribute_count;
};
enum err message_read(struct queues *qs, struct journal_place place, struct buf *buf,
                      struct message_out *out, struct error *error) MUST_CHECK;

// Of a handle of this queue (others: ReceiptHandleIsInvalid). A message that is gone, or was
// received again since: SQS_OK without effect.
enum sqs_code queue_delete_message(struct queues *qs, struct queue *q, int64_t now_ms,
                                   struct span handle, uint64_t *wait_for, struct fault *f);
enum sqs_code queue_change_visibility(struct queues *qs, struct queue *q, int64_t now_ms,
                                      struct span handle, int visibility_s, uint64_t *wait_for,
                                      struct fault *f);
void receipt_text(const struct queues *qs, const struct receipt *r, struct buf *out);

// --- waiting receives ---
struct waiter { // caller's storage, zero-initialised
    struct waiter *prev, *next;
    struct queue *queue; // NULL: not waiting
    // Something may be there: true if fn received something; it has taken the waiter off
    // (queue_unwait) and may have freed it. False: it waits on, in its place. gone: the queue was
    // deleted, and the waiter is off already.
    bool (*fn)(struct waiter *w, bool gone);
};
void queue_wait(struct queue *q, struct waiter *w);
void queue_unwait(struct waiter *w); // not waiting: nothing happens

struct queue_stats { // since the process started
    uint64_t sent, sent_bytes, deduplicated, received, deleted, empty_receives;
};
const struct queue_stats *queue_stats(const struct queue *q);
void queue_note_empty_receive(struct queue *q); // a request that is answered without a message

struct queues_stats {
    uint64_t messages, index_bytes, sent, received, deleted, dead_lettered, expired;
};
void queues_stats(const struct queues *qs, struct queues_stats *out);
