// Message groups inside the state machine, and what FIFO queues make of them: order, receive
// attempts. Included by the state machine's own files only.
#pragma once

#include "sqs/queue_internal.h"

enum {
    ATTEMPT_MS = 5 * 60 * 1000,
    ATTEMPTS_MAX = 1000, // remembered per queue
};

struct group {             // of one queue; by index + 1 in message.group
    struct mlist messages; // FIFO: durable ones, in their order, hidden or not; else those that can
                           // be received
    int32_t ready_prev, ready_next; // of queue.ready_groups or queue.noisy
    int32_t next_in_bucket;         // also the list of free ones
    uint32_t hash, uses;            // messages that name it, also those not durable yet
    uint16_t queue;
    uint16_t name_bytes;
    bool ready;                           // in queue.ready_groups
    bool noisy;                           // in queue.noisy
    bool walked;                          // FIFO: a receive is walking it
    uint32_t visible, in_flight, delayed; // its messages
    // standard queues only (fair.h)
    uint64_t turn; // ready: it came to the end of ready_groups when ids were here
    int64_t last_sent_ms;
    struct busy busy;
    char *name;
};

struct attempt {          // a ReceiveRequestAttemptId
    struct attempt *next; // newest first
    uint8_t key[DEDUP_KEY_BYTES];
    int64_t expires_ms;
    size_t count;
    struct received got[10];
    int64_t visible_ms[10];
};

// --- groups ---
uint32_t group_use(struct queues *qs, struct queue *q, struct span name); // for message.group
// The same for a message that is sent, or comes from another queue.
uint32_t group_join(struct queues *qs, struct queue *q, struct span name, int64_t now_ms);
void group_drop(struct queues *qs, uint32_t group); // one use less
struct span group_name(const struct queues *qs, uint32_t group);
void group_enter(struct queues *qs, int32_t slot); // a message becomes its group's last
void group_leave(struct queues *qs, int32_t slot);
void group_update(struct queues *qs, uint32_t group); // FIFO: ready or not, after any change
void group_count(struct queues *qs, uint32_t group, enum where where, int sign);
void group_ready_push(struct queues *qs, int32_t index);
void group_ready_remove(struct queues *qs, struct group *g); // if it is in the list
void group_noisy_push(struct queues *qs, int32_t index);
void group_noisy_remove(struct queues *qs, struct group *g); // the same
void groups_release(struct queues *qs);

// Claims from groups in turn, from each as many as can be. claim and take_out as in queue_receive.
size_t fifo_receive(struct queues *qs, struct queue *q, int64_t now_ms, size_t max,
                    int visibility_s, struct received *out);

// --- attempts ---
struct attempt *attempt_find(struct queues *qs, struct queue *q, struct span id, int64_t now_ms);
void attempt_note(struct queue *q, struct span id, int64_t now_ms, const struct received *got,
                  size_t count, struct queues *qs);
void attempts_release(struct queue *q);
