// Shared by the files of the state machine (queue, index, delivery, replay); nobody else includes
// it.
#pragma once

#include "sqs/queue.h"
#include "sqs/stored.h"

enum {
    NONE = -1,
    INDEX_CHUNK = 4096,           // messages
    INDEX_MESSAGES_MAX = 1 << 28, // slots; 21 GB of index
    QUEUE_BUCKETS = 4096,
    DELETE_RESERVE_BYTES = 40, // a STORED_DELETE record
    QUEUE_RESERVE_BYTES = 152, // the STORED_QUEUE record of a queue's end
    FIXED_RESERVE_BYTES =
        2048,         // for some starts of the process, and for ends of segments too short
    TICK_MAX = 10000, // messages moved by one queues_tick
    COMPACT_SLICE_BYTES = 256 << 10,
    DEADLINE_QUEUE = 1 << 30, // deadline ids from here on are queues
    RETURNS_TO_BACK = 3,      // received so often without delete: to the back of the queue
    DEDUP_KEY_BYTES = 16,     // of the SHA-256 of an id
};

enum where { // a message is in exactly one of these
    FREE,
    PENDING,  // sent, not durable yet: in the list of pending ones
    READY,    // can be received: in list `ready` of its queue
    RETURNED, // can be received, and was before: in list `returned`
    DELAYED,  // never received and hidden: in the deadlines
    IN_FLIGHT // received and hidden: in the deadlines
};

// 80 bytes; millions of them. Times are store time.
struct message {
    uint64_t id; // sequence of the record that brought it
    int64_t entered_ms, visible_ms, first_received_ms;
    uint32_t at8, bytes;    // its record
    uint16_t body_segment;  // slot in the journal's table
    uint16_t state_segment; // where its latest state is; the same if that is the record itself
    uint16_t queue;         // slot
    uint16_t source;        // slot of the queue it was dead-lettered from, NO_QUEUE: none
    uint32_t receive_count;
    uint8_t where;
    uint8_t received_now; // received since this process started
    uint8_t moved;        // has changed its queue at some time
    uint8_t doomed; // recovery: purged, unless a later record shows that it was elsewhere by then
    uint32_t deadline;  // 1 + place in the heap of deadlines, 0: not in it
    uint32_t group;     // 1 + index of its message group, 0: none
    int32_t prev, next; // of the list that `where` says (with a group: the group's, if it can be
                        // received); FIFO: of its group, once durable
    int32_t age_prev, age_next; // all messages of the queue, by time of entering
};
_Static_assert(sizeof(struct message) == 80, "memory per waiting message");

enum { NO_QUEUE = UINT16_MAX };

struct mlist { // by slot
    int32_t head, tail;
};

struct busy {        // how long messages were in consumers' hands, lately
    int64_t from_ms; // of the current window
    uint64_t current_ms, before_ms;
};

struct queue {
    struct queues *owner;
    uint64_t id; // sequence of the record that created it
    char name[QUEUE_NAME_MAX + 1];
    uint16_t slot;
    bool known;      // its record was seen (only recovery meets messages of queues not yet known)
    bool gone;       // deleted; stays while messages elsewhere came from it, or while
    bool remembered; // its name cannot be taken again: in queues.deleted_first …
    bool ready_flag; // in queues.ready
    struct queue_attributes attributes;
    struct json_t *policy; // read from attributes.policy when first asked for
    struct tag *tags;
    size_t tag_count;
    int64_t created_ms, modified_ms, purged_ms;
    struct journal_place record;
    uint64_t record_sequence;
    struct mlist ready, returned, age;
    uint64_t visible, in_flight, delayed, pending;
    struct queue_stats stats;
    // Groups by their turns. FIFO: whose first message can be received; else: quiet ones that have
    // a message that can be received.
    struct mlist ready_groups;
    struct mlist noisy; // standard: noisy groups
    uint32_t noisy_count, groups_in_flight;
    struct busy busy;
    bool dedup_per_group; // FIFO: as of its creation; changing the attribute changes nothing
    struct attempt *attempts;
    size_t attempt_count;
    struct move_task *tasks; // newest first
    uint64_t sourced;        // messages elsewhere that came from here
    uint32_t deadline;       // of the oldest message's end
    struct waiter *waiters, *waiters_last;
    uint64_t waiter_count;
    struct queue *next_in_bucket, *next_by_id;
    struct queue *next_ready, *next_deleted;
};

struct deadline {
    int64_t at_ms;
    int32_t id; // slot of a message, or DEADLINE_QUEUE + slot of a queue
};

struct index_chunk {
    int32_t free; // list by next
    uint32_t used;
    struct message messages[INDEX_CHUNK];
};

struct dedup_memory { // of deduplication ids; see dedup.c
    struct dedup_piece **pieces;
    uint32_t piece_count, piece_cap, first_number;
    uint32_t *buckets;
    uint32_t bucket_count; // a power of two
    uint64_t count;
};

struct queues {
    struct queues_config config;
    struct journal *journal;
    int64_t time_offset_ms; // store time - monotonic
    int64_t wall_ms;        // as it was told last
    uint64_t boot;          // sequence of this process's STORED_BOOT
    struct journal_place boot_record;
    struct stored_boot last_boot; // the latest record of the time
    bool booted;                  // last_boot was seen
    int64_t
        latest_ms; // while opening: no record tells of something later; store time is not before

    struct index_chunk **chunks;
    uint32_t chunk_count, chunk_hint;
    uint64_t messages;

    struct queue **queues; // by slot; NULL: free
    uint32_t queue_slots, queue_count;
    struct queue *buckets[QUEUE_BUCKETS], *by_id[QUEUE_BUCKETS];

    struct group *groups;
    uint32_t group_count, group_cap;
    int32_t group_free;
    int32_t *group_buckets;
    uint32_t group_bucket_count, groups_used;
    struct dedup_memory dedups;

    struct deadline *heap;
    uint32_t heap_len, heap_cap;
    struct mlist pending;                       // by id
    struct queue *ready;                        // queues to look at in queues_wake
    struct queue *deleted_first, *deleted_last; // remembered ones, by the time of their end
    uint32_t deleted_count;

    struct move_task *running; // tasks

    bool closing;
    bool compacting;
    uint16_t victim;
    uint32_t victim_at;
    bool replaying;

    struct queues_stats stats;
    struct error error; // scratch: on the stack of each send it would have to be cleared each time
};

// --- index.c: slots, lists, deadlines ---
struct message *message_at(const struct queues *qs,
                           int32_t slot); // slot in use or not; its chunk exists
struct message *message_in_slot(const struct queues *qs, uint32_t slot); // NULL: nobody there
struct message *message_find(const struct queues *qs, uint32_t slot,
                             uint64_t id); // NULL: not there
int32_t message_new(struct queues *qs);    // NONE: the index is full
enum err message_new_at(struct queues *qs, uint32_t slot, struct error *error);
void message_free(struct queues *qs, int32_t slot);
void list_push(struct queues *qs, struct mlist *l, int32_t slot);
void list_push_front(struct queues *qs, struct mlist *l, int32_t slot);
void list_remove(struct queues *qs, struct mlist *l, int32_t slot);
void age_insert(struct queues *qs, struct queue *q, int32_t slot);
void age_remove(struct queues *qs, struct queue *q, int32_t slot);
void deadline_set(struct queues *qs, int32_t id, int64_t at_ms);
void deadline_cancel(struct queues *qs, int32_t id);
uint64_t index_bytes(const struct queues *qs);
void index_release(struct queues *qs);

// --- queue.c ---
void queues_note_time(struct queues *qs, int64_t now_ms); // when it is time to
void queues_reserve(struct queues *qs);                   // space for the end of all there is
struct queue *queue_by_id(struct queues *qs, uint64_t id);
struct queue *queue_add(struct queues *qs, uint64_t id); // not yet known by name
void queue_name_set(struct queues *qs, struct queue *q, struct span name);
void queue_name_clear(struct queues *qs, struct queue *q);
enum err queue_append(struct queues *qs, struct queue *q, enum journal_class class,
                      uint64_t *sequence, struct error *error);
void queue_free(struct queues *qs, struct queue *q);
void queue_drop_messages(struct queues *qs, struct queue *q);
void queue_doom_messages(struct queues *qs, struct queue *q); // recovery
void queue_forget_if_unused(struct queues *qs, struct queue *q);
void queue_remember(struct queues *qs, struct queue *q, int64_t now_ms); // a deleted one's name
void queues_forget(struct queues *qs, int64_t now_ms);              // names that are free again
int64_t queues_next_forget_ms(const struct queues *qs);             // INT64_MAX: none
enum sqs_code fault_of(struct fault *f, const struct error *error); // of the journal

// --- delivery.c ---
void message_pin(struct queues *qs, const struct message *m, int sign);
void message_place(struct queues *qs, int32_t slot,
                   enum where where);                  // where it belongs, lists and counts
void message_durable(struct queues *qs, int32_t slot); // a pending one takes its place
// Before a receive: true if the message is out of the queue now, expired or moved to the
// dead-letter queue.
bool message_take_out(struct queues *qs, struct queue *q, int32_t slot, int64_t now_ms);
// As it is, for whoever received it at now_ms.
void message_describe(const struct queues *qs, int32_t slot, int64_t now_ms, struct received *out);
// Hands it out; the caller places it (message_place) when it has done with the list.
void message_claim(struct queues *qs, struct queue *q, int32_t slot, int64_t now_ms,
                   int visibility_s, struct received *out);
enum err message_append_state(struct queues *qs, int32_t slot, uint64_t *wait_for,
                              struct error *error);
enum err message_append_delete(struct queues *qs, int32_t slot, uint64_t *wait_for,
                               struct error *error);                    // and drops it
int64_t message_end_ms(const struct queue *q, const struct message *m); // of its retention period
enum where message_place_back(const struct message *m);                 // READY or RETURNED
// To another queue's end; the caller has set what else changes and restores it on an error.
enum err message_move(struct queues *qs, int32_t slot, struct queue *target, uint16_t source,
                      int64_t entered_ms, struct error *error);
void message_unplace(struct queues *qs, int32_t slot);
void message_drop(struct queues *qs, int32_t slot); // out of everything, freed
void message_state(const struct queues *qs, const struct message *m, struct stored_state *out);
void message_source_set(struct queues *qs, struct message *m, uint16_t source);
void queue_flag(struct queues *qs, struct queue *q); // something can be received
void queue_expiry_update(struct queues *qs, struct queue *q);

// --- replay.c ---
enum err queues_replay(void *ctx, const struct journal_record *record, struct error *error);
enum err queues_settle(struct queues *qs, int64_t now_ms,
                       struct error *error); // after the last record
