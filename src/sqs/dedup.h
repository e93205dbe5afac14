// The deduplication ids of the last five minutes. Part of the state machine.
//
// One takes 32 bytes and two to four more to be found by. What a duplicate is answered with is not
// among them: the journal's record, which must stay that long anyway, is read. Two ids would be
// taken for one if 128 bits of their SHA-256 were the same.
#pragma once

#include "sqs/queue_internal.h"

enum { DEDUP_MS = 5 * 60 * 1000 };

struct dedup {
    uint8_t key[DEDUP_KEY_BYTES];
    int64_t expires_ms;
    uint64_t id;             // sequence of the message; of one that was found: see dedup_read
    uint16_t queue, segment; // where the record is that tells of it
    uint32_t at8;
};

void dedup_key(uint64_t queue, bool per_group, struct span group, struct span id,
               uint8_t key[DEDUP_KEY_BYTES]);
// False: it is not known, and nothing is set; else all but key and id.
bool dedup_find(const struct queues *qs, const uint8_t key[DEDUP_KEY_BYTES], struct dedup *out);
// What its record says: the first message's sequence, and its MessageId.
enum err dedup_read(struct queues *qs, const struct dedup *d, uint64_t *id,
                    uint8_t message_id[MESSAGE_ID_BYTES], struct error *error) MUST_CHECK;
void dedup_add(struct queues *qs, const struct dedup *d); // pins its segment
// Its record was moved by compaction.
void dedup_move(struct queues *qs, const uint8_t key[DEDUP_KEY_BYTES], struct journal_place to);
// Forgets from the oldest on up to one that is still needed. What compaction moved stands behind
// younger ones after a restart, and goes with them.
void dedup_expire(struct queues *qs, int64_t now_ms);
// No id of the queue is of a message before this one; UINT64_MAX: there is none.
uint64_t dedup_first_id(const struct queues *qs, uint16_t queue);
void dedup_forget(struct queues *qs, uint16_t queue); // purge
void dedups_release(struct queues *qs);
