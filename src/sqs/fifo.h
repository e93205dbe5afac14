// FIFO queues inside the state machine: message groups, the memory of deduplication, receive
// attempts. Included by the state machine's own files only.
#pragma once

#include "sqs/queue_internal.h"

enum {
    DEDUP_MS = 5 * 60 * 1000,
    ATTEMPT_MS = 5 * 60 * 1000,
    ATTEMPTS_MAX = 1000, // remembered per queue
    DEDUP_KEY_BYTES = 16,
};

struct group {             // of one queue; by index + 1 in message.group
    struct mlist messages; // durable ones, in their order, hidden or not
    int32_t ready_prev, ready_next;
    int32_t next_in_bucket; // also the list of free ones
    uint32_t hash, uses;    // messages that name it, also those not durable yet
    uint16_t queue;
    uint16_t name_bytes;
    bool ready; // its first message can be received: in the queue's list
    bool busy;  // a receive is walking it
    char *name;
};

struct dedup {                                    // an id that was sent in the last five minutes
    struct dedup *next_in_bucket, *newer, *older; // the list is by time
    uint8_t key[DEDUP_KEY_BYTES];
    uint8_t message_id[MESSAGE_ID_BYTES];
    uint64_t id; // sequence of the message
    int64_t expires_ms;
    uint16_t queue, segment; // where the record is that tells of it
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
void group_drop(struct queues *qs, uint32_t group);                       // one use less
struct span group_name(const struct queues *qs, uint32_t group);
void group_enter(struct queues *qs, int32_t slot); // a message becomes its group's last
void group_leave(struct queues *qs, int32_t slot);
void group_update(struct queues *qs, uint32_t group); // ready or not, after any change
void groups_release(struct queues *qs);

// Claims from groups in turn, from each as many as can be. claim and take_out as in queue_receive.
size_t fifo_receive(struct queues *qs, struct queue *q, int64_t now_ms, size_t max,
                    int visibility_s, struct received *out);

// --- deduplication ---
void dedup_key(uint64_t queue, bool per_group, struct span group, struct span id,
               uint8_t key[DEDUP_KEY_BYTES]);
struct dedup *dedup_find(struct queues *qs, const uint8_t key[DEDUP_KEY_BYTES]);
void dedup_add(struct queues *qs, const struct dedup *entry); // copied; pins its segment
void dedup_expire(struct queues *qs, int64_t now_ms);
void dedup_forget(struct queues *qs, uint16_t queue); // purge
void dedup_move(struct queues *qs, struct dedup *d, uint16_t segment);
void dedups_release(struct queues *qs);

// --- attempts ---
struct attempt *attempt_find(struct queues *qs, struct queue *q, struct span id, int64_t now_ms);
void attempt_note(struct queue *q, struct span id, int64_t now_ms, const struct received *got,
                  size_t count, struct queues *qs);
void attempts_release(struct queue *q);
