// The payloads of the journal's records, as on disk. Layout: docs/journal.md. A change needs a new
// JOURNAL_VERSION or a new type.
#pragma once

#include "base/buf.h"

#include <string.h>

enum stored_type { // 1 is the journal's RECORD_END
    STORED_BOOT = 2,
    STORED_QUEUE = 3,
    STORED_MESSAGE = 4,
    STORED_STATE = 5,
    STORED_DELETE = 6,
    STORED_PURGE = 7,
    STORED_DEDUP = 8,
    STORED_TASK = 9,
};

struct stored_boot {
    int64_t store_ms;     // store time at the start
    int64_t wall_ms;      // wall clock then
    int64_t monotonic_ms; // CLOCK_BOOTTIME then
    uint8_t boot_id[16];
};
_Static_assert(sizeof(struct stored_boot) == 40, "on-disk size");

enum { STORED_MOVED = 1 }; // it has changed its queue at some time

// All of a message that changes. The latest record wins.
struct stored_state {
    uint64_t queue;            // id of the queue it is in
    uint64_t source_queue;     // id of the queue that it was dead-lettered from; 0: none
    int64_t entered_ms;        // retention counts from here (store time)
    int64_t visible_ms;        // hidden until then
    int64_t first_received_ms; // 0: never received
    uint32_t receive_count;
    uint32_t flags; // STORED_MOVED
};
_Static_assert(sizeof(struct stored_state) == 48, "on-disk size");

enum { STORED_BY_GROUP = 1 }; // its deduplication id is one of its group, not of the queue

struct stored_message { // followed by sender, group, dedup, trace, attributes, body
    uint64_t id;        // sequence of the record that brought it; 0: this one
    int64_t sent_ms;
    uint8_t message_id[16];
    struct stored_state state;
    uint32_t slot; // place in the index
    uint32_t body_bytes;
    uint32_t attributes_bytes;
    uint16_t attribute_count;
    uint16_t sender_bytes, group_bytes, dedup_bytes, trace_bytes;
    uint16_t flags; // STORED_BY_GROUP
};
_Static_assert(sizeof(struct stored_message) == 104, "on-disk size");

struct stored_change { // STATE
    uint64_t id;
    uint32_t slot;
    uint32_t zero;
    struct stored_state state;
};
_Static_assert(sizeof(struct stored_change) == 64, "on-disk size");

struct stored_delete { // one or more of them
    uint64_t id;
    uint32_t slot;
    uint32_t zero;
};
_Static_assert(sizeof(struct stored_delete) == 16, "on-disk size");

struct stored_purge { // all messages of the queue that were sent to it; those moved to it have
                      // deletes
    uint64_t queue;
    uint64_t oldest; // id of the oldest message that it removes
};
_Static_assert(sizeof(struct stored_purge) == 16, "on-disk size");

struct stored_dedup { // compaction: a deduplication id whose message's record goes
    uint64_t queue, id;
    int64_t expires_ms;
    uint8_t key[16];
    uint8_t message_id[16];
};
_Static_assert(sizeof(struct stored_dedup) == 56, "on-disk size");

struct stored_task { // a message move task; the latest record wins. Followed by the destination's
                     // name, if there is one
    uint64_t queue;  // id of the source
    uint64_t destination; // id; 0: each message's own source
    int64_t started_ms;
    uint64_t moved, to_move;
    uint32_t rate;    // messages per second, 0: as fast as it goes
    uint32_t status;  // enum task_status
    uint32_t failure; // 1: the destination is gone
    uint32_t zero;
    char id[40]; // UUID text and a 0
};
_Static_assert(sizeof(struct stored_task) == 96, "on-disk size");

enum {                       // flags of a queue
    STORED_QUEUE_GONE = 1,   // deleted; name and attributes stay for those who came from it
    STORED_DEDUP_GROUP = 2,  // FIFO: deduplication per group, as of its creation
    STORED_QUEUE_PURGED = 4, // behind the tags: int64_t, when it was purged (store time)
};

struct stored_queue { // followed by name, then pairs: name and value of attributes, then of tags,
                      // each as uint16_t and uint32_t length and the bytes
    uint64_t id;      // sequence of the record that created it; 0: this one
    int64_t created_ms, modified_ms;
    uint32_t flags;
    uint16_t name_bytes, attribute_count, tag_count, zero;
    uint32_t zero2;
};
_Static_assert(sizeof(struct stored_queue) == 40, "on-disk size");

// --- reading a payload piece by piece; ERR_CORRUPT when it ends early ---

static inline enum err take(struct span *rest, void *out, size_t bytes, struct error *error)
{
    if (rest->len < bytes) {
        (void)!fail(error, ERR_CORRUPT, 0, "the record is too short");
        return ERR_CORRUPT; // said here, so that analyzers see that out was not set
    }
    memcpy(out, rest->data, bytes);
    rest->data += bytes;
    rest->len -= bytes;
    return OK;
}

static inline enum err take_span(struct span *rest, struct span *out, size_t bytes,
                                 struct error *error)
{
    if (rest->len < bytes) {
        (void)!fail(error, ERR_CORRUPT, 0, "the record is too short");
        return ERR_CORRUPT; // said here, so that analyzers see that out was not set
    }
    *out = (struct span){rest->data, bytes};
    rest->data += bytes;
    rest->len -= bytes;
    return OK;
}
