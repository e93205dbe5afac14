// Fair standard queues: messages that name a message group are one tenant's. Tenants get their
// turns one after the other, and those that keep too much of the consumers for themselves come
// after all others. No message waits for another one of its group, and none is refused. Part of the
// state machine. Source: developer guide of Amazon SQS, "Fair queues".
#pragma once

#include "sqs/fifo.h"

enum {
    NOISY_IN_FLIGHT_MIN = 30,    // a group is noisy with so many in flight, and
    NOISY_SHARE = 10,            // over 1/10 of the queue's; or over 1/10 of the processing time
    BUSY_WINDOW_MS = 60 * 1000,  // of the last one to two minutes,
    BUSY_MIN_MS = 1000,          // once there was so much of it
    QUIET_AFTER_MS = 300 * 1000, // it is quiet again so long after its last message
    NOISY_GROUPS_MAX = 64,       // of a queue; all are looked at by a receive
    QUIET_AGE_LOOK_MAX = 1000,   // messages looked at for the oldest one of a quiet group
};

// A message of a group can be received from now on, or no longer.
void fair_enter(struct queues *qs, int32_t slot, bool front);
void fair_leave(struct queues *qs, int32_t slot);
// Whose turn it is: the slot of the message to be received next, NONE if there is none. O(1), but
// for the noisy groups when only they have messages.
int32_t fair_next(const struct queues *qs, const struct queue *q);
void fair_review(struct queues *qs, struct queue *q, int64_t now_ms); // who is quiet again
void fair_judge(struct queues *qs, struct queue *q, uint32_t group, int64_t now_ms); // who is noisy
// A message was in a consumer's hands for so long.
void fair_processed(struct queues *qs, struct queue *q, uint32_t group, int64_t now_ms,
                    int64_t took_ms);
