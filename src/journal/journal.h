// The journal: append-only segments of checksummed records in one directory, group commit,
// recovery. Format and promise: docs/journal.md. It knows nothing of queues: its user says which
// records still matter (journal_count, journal_tombstone), and a segment in which nothing does is
// removed.
//
// One thread calls these functions. With a loop, writes and syncs happen in a thread of the
// journal's own and results come back through the loop; without one, everything happens inside
// journal_flush, so that tests are deterministic. The caller owns the directory (dir_lock).
//
// After a failed write or sync the journal is dead (fail-stop): on_failed is called once, and every
// append is refused. The process must end; what was acknowledged is on disk.
#pragma once

#include "base/loop.h"
#include "journal/inspection.h"
#include "journal/journal_io.h"
#include "journal/record.h"

struct journal;

// Where a record is. Small: an index holds millions. `segment` is a slot of the journal's table.
struct journal_place {
    uint32_t at8; // offset / RECORD_ALIGN
    uint32_t bytes;
    uint16_t segment;
};

struct journal_record { // during recovery and compaction; payload is valid during the call
    uint8_t type;
    uint64_t sequence;
    struct journal_place place;
    struct span payload;
};

typedef enum err journal_record_fn(void *ctx, const struct journal_record *record,
                                   struct error *error);

struct journal_config {
    const char *dir;               // exists; the journal's alone
    const struct journal_io *io;   // NULL: journal_io_posix
    uint32_t segment_bytes;        // of a new store; 0: JOURNAL_SEGMENT_BYTES
    struct loop *loop;             // NULL: synchronous
    uint8_t store[STORE_ID_BYTES]; // identity of a new store: random
    void *ctx;
    journal_record_fn *replay; // each record of the store, oldest first; *out is set already
    void (*on_written)(void *ctx, uint64_t sequence); // NULL; see journal_await_written
    void (*on_durable)(void *ctx, uint64_t sequence); // all records up to this one are on disk
    void (*on_failed)(void *ctx, const struct error *error);
    struct journal_inspection *inspection; // NULL; else only look (inspection.h); outlives it
};

enum { JOURNAL_SEGMENT_BYTES = 32 << 20 };

// Reads the store (or makes a new one). Errors name file and offset and say what to do: ERR_CORRUPT
// (nothing is changed then), ERR_UNSUPPORTED (newer version), ERR_FULL, ERR_IO.
enum err journal_open(const struct journal_config *config, struct journal **out,
                      struct error *error) MUST_CHECK;
void journal_close(struct journal *j); // drops what was not flushed; NULL allowed

// What a record is for decides what happens when the disk is full.
enum journal_class {
    JOURNAL_NEW,    // brings something new: refused well before the reserve is touched
    JOURNAL_STATE,  // state, leftovers: refused when it would touch the reserve
    JOURNAL_DELETE, // makes something go away: may use the reserve
};

// Adds a record to the next commit. ERR_FULL: no space (see class); ERR_BUSY: space is being made,
// try again; ERR_IO: the journal is dead. Nothing has happened then.
enum err journal_append(struct journal *j, enum journal_class class, uint8_t type,
                        const struct span *parts, size_t count, struct journal_record *out,
                        struct error *error) MUST_CHECK;
// Starts to write what was appended, unless a commit is under way (then it follows by itself, with
// what is appended until then).
// Synchronous: returns when it is on disk.
void journal_flush(struct journal *j);

// on_written will tell that all that was appended until now is written: a kill of the process
// cannot take it away any more, only a power loss can. That is before the sync of its commit.
void journal_await_written(struct journal *j);

uint64_t journal_next_sequence(const struct journal *j); // of the next record
uint64_t journal_written(const struct journal *j);       // sequence up to which all is written
uint64_t journal_durable(const struct journal *j);       // sequence up to which all is on disk
bool journal_is_syncing(const struct journal *j);        // a commit is under way
bool journal_failed(const struct journal *j);
const uint8_t *journal_store_id(const struct journal *j); // STORE_ID_BYTES

// Reads a durable record's payload into buf; *payload views it. ERR_CORRUPT: it is not what was
// written.
enum err journal_read(struct journal *j, struct journal_place place, struct buf *buf,
                      struct span *payload, struct error *error) MUST_CHECK;

// Reads any record that exists, durable or not, for what is asked rarely: its length need not be
// known. out->payload views buf, or what is to be written: until the next call of the journal.
// ERR_CORRUPT as above.
enum err journal_read_record(struct journal *j, uint16_t segment, uint32_t at8, struct buf *buf,
                             struct journal_record *out, struct error *error) MUST_CHECK;

// How many records (and bytes) that matter a segment holds: add (+1) and take back (-1).
void journal_count(struct journal *j, uint16_t segment, int records, int64_t bytes);
// The segment holds a note that something older is dead, which began with record `oldest_sequence`:
// as long as a segment as old as that exists, this one must stay. movable: compaction can append
// the note anew.
void journal_tombstone(struct journal *j, uint16_t segment, uint64_t oldest_sequence, bool movable);
// True while some segment other than `segment` that is older than it may hold records from
// `oldest_sequence` on.
bool journal_tombstone_needed(const struct journal *j, uint16_t segment, uint64_t oldest_sequence);
// Bytes of JOURNAL_DELETE records that must fit whatever happens, for instance one delete for each
// message.
void journal_reserve(struct journal *j, uint64_t bytes);

// Compaction. _victim picks a full segment that is mostly garbage, when there is garbage enough.
// _scan hands the records of it to fn, at least one and about max_bytes a call; the user appends
// anew what matters and moves its counts; *done when the segment was read to its end. _moved gives
// the segment back (it is not removed before): complete says that all that matters in it, notes
// too, was appended anew. When nothing is counted in it, it goes by itself.
bool journal_victim(struct journal *j, uint16_t *segment); // cheap while nothing changed
void journal_moved(struct journal *j, uint16_t segment, bool complete);
enum err journal_scan(struct journal *j, uint16_t segment, uint32_t *at, size_t max_bytes,
                      journal_record_fn *fn, void *ctx, bool *done, struct error *error) MUST_CHECK;

// Tries again to make space after ERR_FULL; to be called now and then while journal_stats.full.
void journal_retry_space(struct journal *j);

struct journal_stats {
    uint32_t segments, spares; // files; spares are among them
    uint64_t disk_bytes;       // all files
    uint64_t live_bytes;       // of records that matter
    uint64_t free_bytes;       // preallocated and unused
    uint64_t reserve_bytes;
    uint64_t commits, synced_bytes;
    int64_t last_sync_us; // time of the latest write + fdatasync
    bool full;            // new records are refused for lack of disk space
    uint64_t cut_bytes;   // torn tail that recovery cut off
};
void journal_stats(const struct journal *j, struct journal_stats *out);
// Records that matter in the segment with this id, and their bytes.
void journal_segment_live(const struct journal *j, uint32_t id, uint64_t *records, int64_t *bytes);
// Called with the time of each commit, for a histogram. NULL: off.
void journal_on_sync(struct journal *j, void (*fn)(void *ctx, int64_t us), void *ctx);
