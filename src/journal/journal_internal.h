// Shared by the journal's own files; nobody else includes it.
#pragma once

#include "journal/journal.h"
#include "journal/manifest.h"

#include <limits.h>
#include <pthread.h>

// A run of records that goes to one place of one segment with one write and one fdatasync.
struct chunk {
    int fd;
    uint32_t segment; // id
    uint32_t at;      // offset in the segment
    bool written;
    uint64_t last_sequence;
    struct buf data;
};

struct batch {
    struct chunk *chunks;
    size_t count, cap; // chunks beyond count keep their memory
    uint64_t bytes;
    bool awaited; // on_written must be called
};

enum job_kind { JOB_COMMIT, JOB_SPARE, JOB_REMOVE };

// Work of the committer. Filled by the loop's thread, carried out by the committer, collected by
// the loop's thread.
struct job {
    enum job_kind kind;
    struct job *next;
    bool queued;
    struct batch batch;  // COMMIT
    uint32_t segment;    // SPARE, REMOVE: id
    int fd;              // SPARE: out
    struct buf manifest; // SPARE, REMOVE: to be written once the file is there / before it goes
    uint64_t generation; // of that manifest
    int64_t took_us;     // COMMIT: out
    bool fatal;          // out: fail-stop; else err is about space
    enum err err;        // out
    struct error error;  // out
};

struct segment {
    uint32_t id;
    int fd;
    uint32_t used; // bytes, header included; where the next record goes
    bool exists;   // the slot is taken
    bool spare;    // made, nothing in it yet
    bool full;     // ended with RECORD_END
    bool removing;
    bool held;                              // being compacted
    bool pinned;                            // holds a note that cannot be moved
    bool noted;                             // holds a note at all
    uint64_t first_sequence, last_sequence; // of its records; 0: none
    uint64_t oldest_noted;                  // smallest sequence that its notes are about
    uint64_t live;                          // records that matter
    int64_t live_bytes;
    uint64_t dead_at; // sequence of the record after which nothing mattered; durable before removal
};

struct journal {
    const struct journal_io *io;
    char dir[PATH_MAX];
    struct journal_config config;
    uint8_t store[STORE_ID_BYTES];
    uint32_t segment_bytes;

    struct segment *segments; // by slot
    uint16_t slot_count, slot_cap;
    uint16_t *order; // slots by ascending id
    uint32_t order_len;
    uint16_t current;
    uint32_t next_id;
    uint32_t spare_count;
    uint64_t generation; // of the manifest on disk
    int manifest_fd;

    uint64_t next_sequence, written_sequence, durable_sequence;
    struct batch filling;  // appended, not yet handed over
    struct job commit_job; // one at a time
    bool flush_wanted;     // behind it the next
    struct job change_job; // SPARE or REMOVE, one at a time
    uint64_t reserve_bytes;
    uint32_t largest_bytes; // of a record so far
    int64_t live_bytes;
    bool check_dead;    // some full segment may have become removable
    bool check_victim;  // there may be enough garbage to compact
    int64_t died_bytes; // since the last check

    bool failed, full;
    struct error why; // of the failure or the lack of space
    uint64_t commits, synced_bytes, cut_bytes;
    int64_t last_sync_us;
    void (*on_sync)(void *ctx, int64_t us);
    void *on_sync_ctx;

    // committer
    uint32_t zeroed_segment; // id of the segment whose blocks are written up to
    uint64_t zeroed_to;      // here, as far as the committer knows
    bool threaded, stop;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *todo, *done; // under lock; todo oldest first
    int event_fd;
    struct watch watch;
};

// --- journal.c ---
uint16_t journal_slot_add(struct journal *j, uint32_t id, int fd);
void journal_order_rebuild(struct journal *j);
void journal_path(const struct journal *j, uint32_t id, char out[PATH_MAX]);
void journal_manifest(const struct journal *j, uint32_t without, uint32_t with, uint64_t generation,
                      struct buf *out);
void journal_collect(struct journal *j, struct job *job); // a job that is done
uint64_t journal_free_bytes(const struct journal *j);     // preallocated
void journal_maintain(struct journal *j);                 // starts what is due: spares, removals

// --- committer.c ---
enum err journal_committer_start(struct journal *j, struct error *error) MUST_CHECK;
void journal_committer_stop(struct journal *j);
void journal_committer_submit(struct journal *j, struct job *job);
// Makes a segment's file with its header, synced with its directory; out: its descriptor.
enum err segment_create(struct journal *j, uint32_t id, int *fd, struct error *error) MUST_CHECK;
enum err manifest_store(struct journal *j, struct span bytes, uint64_t generation,
                        struct error *error) MUST_CHECK;
enum err journal_write(struct journal *j, int fd, const void *data, size_t len, uint64_t at,
                       const char *what, struct error *error) MUST_CHECK;
enum err chunk_write(struct journal *j, struct chunk *c, struct error *error) MUST_CHECK;

// --- recovery.c ---
struct journal_files { // segment files in the directory
    uint32_t *ids;     // free
    size_t count, cap;
};
struct segment_scan { // reading a segment as a whole
    struct journal *j;
    char *data;      // a whole segment; calloc
    uint32_t filled; // behind this offset there are only zeros
    uint32_t dirty;  // as far as data was ever written to
    char path[PATH_MAX];
    struct segment *s;
    uint16_t slot;
    uint64_t expected; // sequence of the next record; 0: any
    uint32_t at;       // where the scan stopped
};
enum err journal_recover(struct journal *j, struct error *error) MUST_CHECK;
int journal_list_files(struct journal *j, struct journal_files *out); // -1 and errno
bool journal_segment_used(struct journal *j, const char *path);
// Reads the i-th segment of the order into c->data.
enum err segment_scan_load(struct segment_scan *c, uint32_t i, struct error *error) MUST_CHECK;
// Where the last byte that is not zero ends, c->at if there is none behind that.
uint32_t segment_scan_end(const struct segment_scan *c);
enum err journal_read_at(struct journal *j, int fd, void *data, size_t len, uint64_t at,
                         const char *what, struct error *error) MUST_CHECK;

// --- inspection.c ---
enum err journal_inspect(struct journal *j, struct error *error) MUST_CHECK; // instead of recovery
