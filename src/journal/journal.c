#include "journal/journal_internal.h"

#include "base/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_KEEP_BYTES = 4 << 20,  // a chunk's memory above this is given back after its commit
    AWAITED_BYTES_MAX = 1 << 20, // more than this the loop does not write itself
};

// --- segments ---

void journal_path(const struct journal *j, uint32_t id, char out[PATH_MAX])
{
    CHECK(snprintf(out, PATH_MAX, "%s/%08x.seg", j->dir, id) < PATH_MAX);
}

uint16_t journal_slot_add(struct journal *j, uint32_t id, int fd)
{
    uint16_t slot = 0;
    while (slot < j->slot_count && j->segments[slot].exists)
        slot++;
    if (slot == j->slot_cap) {
        CHECK(j->slot_cap < SEGMENTS_MAX);
        j->slot_cap = (uint16_t)(j->slot_cap == 0 ? 16 : j->slot_cap * 2);
        j->segments = realloc(j->segments, j->slot_cap * sizeof j->segments[0]);
        j->order = realloc(j->order, j->slot_cap * sizeof j->order[0]);
        CHECK(j->segments != NULL && j->order != NULL);
    }
    if (slot == j->slot_count)
        j->slot_count++;
    j->segments[slot] = (struct segment){.id = id,
                                         .fd = fd,
                                         .used = SEGMENT_HEADER_BYTES,
                                         .exists = true,
                                         .spare = true,
                                         .oldest_noted = UINT64_MAX};
    return slot;
}

static int by_id(const void *a, const void *b, void *ctx)
{
    const struct segment *segments = ctx;
    uint32_t x = segments[*(const uint16_t *)a].id, y = segments[*(const uint16_t *)b].id;
    return x < y ? -1 : x > y;
}

void journal_order_rebuild(struct journal *j)
{
    j->order_len = 0;
    j->spare_count = 0;
    for (uint16_t slot = 0; slot < j->slot_count; slot++)
        if (j->segments[slot].exists) {
            j->order[j->order_len++] = slot;
            j->spare_count += j->segments[slot].spare;
        }
    if (j->order_len > 0)
        qsort_r(j->order, j->order_len, sizeof j->order[0], by_id, j->segments);
}

void journal_manifest(const struct journal *j, uint32_t without, uint32_t with, uint64_t generation,
                      struct buf *out)
{
    // not next_sequence: what is not durable yet may never be, and its numbers come again
    struct manifest m = {.generation = generation,
                         .next_sequence = j->durable_sequence + 1,
                         .segment_bytes = j->segment_bytes,
                         .ids = malloc((j->order_len + 1) * sizeof(uint32_t))};
    CHECK(m.ids != NULL);
    memcpy(m.store, j->store, STORE_ID_BYTES);
    for (uint32_t i = 0; i < j->order_len; i++)
        if (j->segments[j->order[i]].id != without)
            m.ids[m.count++] = j->segments[j->order[i]].id;
    if (with != 0)
        m.ids[m.count++] = with;
    buf_clear(out);
    manifest_write(&m, out);
    manifest_release(&m);
}

static void journal_dead(struct journal *j, const struct error *error)
{
    if (j->failed)
        return;
    j->failed = true;
    j->why = *error;
    if (j->config.on_failed != NULL)
        j->config.on_failed(j->config.ctx, error);
}

// --- space ---

static uint64_t capacity(const struct journal *j)
{
    return j->segment_bytes - SEGMENT_HEADER_BYTES -
           RECORD_HEADER_BYTES; // the latter for RECORD_END
}

static uint64_t slack(const struct journal *j)
{
    return capacity(j) / 4; // so that compaction can always begin
}

static uint64_t current_free(const struct journal *j)
{
    const struct segment *s = &j->segments[j->current];
    return s->full ? 0 : j->segment_bytes - RECORD_HEADER_BYTES - s->used;
}

uint64_t journal_free_bytes(const struct journal *j)
{
    return current_free(j) + j->spare_count * capacity(j);
}

// So many that beside what is kept the largest record fits, even if the current segment is too
// full; and half a segment more, for what comes while the next one is made: the reserve grows with
// each message, and nobody is to be told to try again because of that.
static uint32_t spares_wanted(const struct journal *j)
{
    uint64_t keep = j->reserve_bytes + slack(j) + j->largest_bytes + capacity(j) / 2;
    uint64_t want = 1 + keep / capacity(j);
    return want < SEGMENTS_MAX ? (uint32_t)want : SEGMENTS_MAX;
}

static bool tombstone_holds(const struct journal *j, const struct segment *s, uint64_t oldest)
{
    for (uint32_t i = 0; i < j->order_len; i++) {
        const struct segment *older = &j->segments[j->order[i]];
        if (older->id >= s->id)
            break;
        if (older->last_sequence >= oldest)
            return true;
    }
    return false;
}

bool journal_tombstone_needed(const struct journal *j, uint16_t segment, uint64_t oldest_sequence)
{
    return tombstone_holds(j, &j->segments[segment], oldest_sequence);
}

static bool removable(const struct journal *j, const struct segment *s)
{
    return s->exists && s->full && !s->removing && !s->held && s->live == 0 &&
           s->dead_at <= j->durable_sequence &&
           !(s->noted && tombstone_holds(j, s, s->oldest_noted));
}

static void spare_start(struct journal *j)
{
    struct job *job = &j->change_job;
    job->kind = JOB_SPARE;
    job->segment = j->next_id++;
    job->generation = j->generation + 1;
    journal_manifest(j, 0, job->segment, job->generation, &job->manifest);
    journal_committer_submit(j, job);
}

// Starts the removal of one segment. False: there is none now; check_dead stays set if one only
// waits for a commit.
static bool removal_start(struct journal *j)
{
    bool waiting = false;
    for (uint32_t i = 0; i < j->order_len; i++) {
        struct segment *s = &j->segments[j->order[i]];
        if (!removable(j, s)) {
            waiting = waiting || (s->full && s->live == 0 && s->dead_at > j->durable_sequence);
            continue;
        }
        struct job *job = &j->change_job;
        s->removing = true;
        job->kind = JOB_REMOVE;
        job->segment = s->id;
        job->generation = j->generation + 1;
        journal_manifest(j, s->id, 0, job->generation, &job->manifest);
        journal_committer_submit(j, job);
        return true;
    }
    j->check_dead = waiting;
    return false;
}

// Starts at most one change of the set of segments (all that are due when synchronous).
void journal_maintain(struct journal *j)
{
    while (!j->failed && !j->change_job.queued) {
        if (!j->full && j->spare_count < spares_wanted(j) && j->order_len < SEGMENTS_MAX)
            spare_start(j);
        else if (!j->check_dead || !removal_start(j))
            return;
    }
}

void journal_retry_space(struct journal *j)
{
    j->full = false;
    journal_maintain(j);
}

// --- append ---

static struct chunk *chunk_add(struct batch *b, const struct segment *s)
{
    if (b->count == b->cap) {
        b->cap = b->cap == 0 ? 2 : b->cap * 2;
        b->chunks = realloc(b->chunks, b->cap * sizeof b->chunks[0]);
        CHECK(b->chunks != NULL);
        for (size_t i = b->count; i < b->cap; i++)
            b->chunks[i] = (struct chunk){0};
    }
    struct chunk *c = &b->chunks[b->count++];
    c->fd = s->fd;
    c->segment = s->id;
    c->at = s->used;
    c->written = false;
    buf_clear(&c->data);
    return c;
}

static void put(struct journal *j, uint8_t type, const struct span *parts, size_t count,
                struct record *r)
{
    struct segment *s = &j->segments[j->current];
    struct batch *b = &j->filling;
    bool same = b->count > 0 && b->chunks[b->count - 1].fd == s->fd;
    struct chunk *c = same ? &b->chunks[b->count - 1] : chunk_add(b, s);
    *r = (struct record){.sequence = j->next_sequence++,
                         .segment = s->id,
                         .at = s->used,
                         .commit_at = c->at,
                         .type = type};
    record_write(r, parts, count, &c->data);
    s->used += r->bytes;
    s->last_sequence = r->sequence;
    if (s->first_sequence == 0)
        s->first_sequence = r->sequence;
    c->last_sequence = r->sequence;
    b->bytes += r->bytes;
}

// Ends the current segment and goes on in the oldest spare.
static void rotate(struct journal *j)
{
    struct record end;
    struct segment *s = &j->segments[j->current];
    if (!s->full) {
        put(j, RECORD_END, NULL, 0, &end);
        s->full = true;
        s->dead_at = end.sequence;
        j->check_dead = j->check_victim = true;
    }
    for (uint32_t i = 0; i < j->order_len; i++) {
        struct segment *next = &j->segments[j->order[i]];
        if (!next->spare)
            continue;
        next->spare = false;
        j->spare_count--;
        j->current = j->order[i];
        return;
    }
    CHECK(false);
}

static enum err room_for(struct journal *j, enum journal_class class, uint32_t bytes,
                         struct error *error)
{
    bool fits = current_free(j) >= bytes;
    uint64_t keep = class == JOURNAL_DELETE  ? 0
                    : class == JOURNAL_STATE ? j->reserve_bytes
                                             : j->reserve_bytes + slack(j);
    uint64_t have = fits ? journal_free_bytes(j) : j->spare_count * capacity(j);
    if (have >= keep + bytes)
        return OK;
    if (j->full || j->order_len == SEGMENTS_MAX)
        return fail(error, ERR_FULL, 0, "no space for what is new in '%s': %s", j->dir,
                    j->full ? j->why.msg : "it has its largest number of segments");
    return fail(error, ERR_BUSY, 0, "the journal is making space, try again");
}

enum err journal_append(struct journal *j, enum journal_class class, uint8_t type,
                        const struct span *parts, size_t count, struct journal_record *out,
                        struct error *error)
{
    size_t payload = 0;
    if (j->failed)
        return fail(error, ERR_IO, 0, "the journal has failed: %s", j->why.msg);
    for (size_t i = 0; i < count; i++)
        payload += parts[i].len;
    uint32_t bytes = record_bytes(payload);
    CHECK(type != RECORD_END && bytes <= capacity(j));
    if (bytes > j->largest_bytes)
        j->largest_bytes = bytes;
    if (j->spare_count < spares_wanted(j))
        journal_maintain(j);
    TRY(room_for(j, class, bytes, error));
    if (current_free(j) < bytes)
        rotate(j);
    struct record r;
    put(j, type, parts, count, &r);
    *out = (struct journal_record){
        .type = type,
        .sequence = r.sequence,
        .place = {.at8 = r.at / RECORD_ALIGN, .bytes = r.bytes, .segment = j->current},
    };
    return OK;
}

// --- commit ---

static void written_up_to(struct journal *j, uint64_t sequence)
{
    if (sequence <= j->written_sequence)
        return;
    j->written_sequence = sequence;
    if (j->config.on_written != NULL)
        j->config.on_written(j->config.ctx, sequence);
}

// Somebody waits for the write: it is done here and now, so that he need not wait for what the
// committer does before it, nor for two changes of threads. What goes to another segment must wait
// until this one is synced.
static enum err write_awaited(struct journal *j, struct batch *b, struct error *error)
{
    struct chunk *c = &b->chunks[0];
    if (!b->awaited || c->data.len > AWAITED_BYTES_MAX)
        return OK;
    TRY(chunk_write(j, c, error));
    written_up_to(j, c->last_sequence);
    return OK;
}

void journal_await_written(struct journal *j)
{
    j->filling.awaited = j->filling.count > 0;
}

void journal_flush(struct journal *j)
{
    struct error error;
    if (j->failed)
        return;
    struct job *job = &j->commit_job;
    j->flush_wanted = job->queued;
    if (!job->queued && j->filling.count > 0) {
        struct batch empty = job->batch;
        job->kind = JOB_COMMIT;
        job->batch = j->filling;
        empty.count = 0;
        empty.bytes = 0;
        empty.awaited = false;
        j->filling = empty;
        if (write_awaited(j, &job->batch, &error) != OK) {
            journal_dead(j, &error);
            return;
        }
        journal_committer_submit(j, job);
    }
    journal_maintain(j);
}

static void collect_commit(struct journal *j, struct job *job)
{
    const struct batch *b = &job->batch;
    uint64_t last_sequence = b->chunks[b->count - 1].last_sequence;
    j->commits++;
    j->synced_bytes += b->bytes;
    j->last_sync_us = job->took_us;
    j->durable_sequence = last_sequence;
    for (size_t i = 0; i < b->count; i++)
        if (b->chunks[i].data.cap > BATCH_KEEP_BYTES)
            buf_release(&b->chunks[i].data);
    written_up_to(j, last_sequence);
    if (j->on_sync != NULL)
        j->on_sync(j->on_sync_ctx, job->took_us);
    if (j->config.on_durable != NULL)
        j->config.on_durable(j->config.ctx, j->durable_sequence);
    if (j->threaded && j->flush_wanted)
        journal_flush(j); // what came in meanwhile
    else if (j->threaded)
        journal_maintain(j);
}

static void collect_spare(struct journal *j, struct job *job)
{
    if (job->err != OK) {
        j->full = true;
        j->why = job->error;
        return;
    }
    j->generation = job->generation;
    journal_slot_add(j, job->segment, job->fd);
    journal_order_rebuild(j);
}

static void collect_removal(struct journal *j, struct job *job)
{
    j->generation = job->generation;
    for (uint16_t slot = 0; slot < j->slot_count; slot++) {
        struct segment *s = &j->segments[slot];
        if (!s->exists || s->id != job->segment)
            continue;
        j->io->close(j->io->ctx, s->fd);
        *s = (struct segment){.fd = -1};
    }
    journal_order_rebuild(j);
    j->check_dead = true; // others may have waited for this one
    j->full = false;      // there is space again
}

void journal_collect(struct journal *j, struct job *job)
{
    job->queued = false;
    if (j->failed)
        return;
    if (job->err != OK && job->fatal) {
        journal_dead(j, &job->error);
        return;
    }
    if (job->kind == JOB_COMMIT) {
        collect_commit(j, job);
        return;
    }
    if (job->kind == JOB_SPARE)
        collect_spare(j, job);
    else
        collect_removal(j, job);
    if (j->threaded)
        journal_maintain(j);
}

// --- what matters ---

void journal_count(struct journal *j, uint16_t segment, int records, int64_t bytes)
{
    struct segment *s = &j->segments[segment];
    CHECK(s->exists && (records >= 0 || s->live >= (uint64_t)-records));
    s->live += (uint64_t)(int64_t)records;
    s->live_bytes += bytes;
    j->live_bytes += bytes;
    if (bytes < 0 && (j->died_bytes -= bytes) > j->segment_bytes / 4) {
        j->died_bytes = 0;
        j->check_victim = true;
    }
    if (s->live == 0 && s->full) {
        s->dead_at = j->next_sequence - 1;
        j->check_dead = true;
    }
}

void journal_tombstone(struct journal *j, uint16_t segment, uint64_t oldest_sequence, bool movable)
{
    struct segment *s = &j->segments[segment];
    s->noted = true;
    if (!movable)
        s->pinned = true;
    if (oldest_sequence < s->oldest_noted)
        s->oldest_noted = oldest_sequence;
}

void journal_reserve(struct journal *j, uint64_t bytes)
{
    j->reserve_bytes = bytes;
}

// --- compaction ---

void journal_moved(struct journal *j, uint16_t segment, bool complete)
{
    struct segment *s = &j->segments[segment];
    s->held = false;
    j->check_dead = true;
    if (!complete)
        return;
    s->noted = s->pinned = false;
    s->oldest_noted = UINT64_MAX;
    s->dead_at = j->next_sequence - 1; // the copies must be durable before it goes
}

// The full segment with the least in it that can be moved.
static struct segment *emptiest(struct journal *j, uint16_t *slot)
{
    struct segment *best = NULL;
    for (uint32_t i = 0; i < j->order_len; i++) {
        struct segment *s = &j->segments[j->order[i]];
        if (!s->full || s->removing || (s->live == 0 && !s->noted))
            continue; // not ready, or goes by itself
        if (s->pinned && tombstone_holds(j, s, s->oldest_noted))
            continue;
        if (best == NULL || s->live_bytes < best->live_bytes) {
            best = s;
            *slot = j->order[i];
        }
    }
    return best;
}

bool journal_victim(struct journal *j, uint16_t *segment)
{
    enum { SEGMENTS_SPARED = 4 };
    if (j->failed || !(j->check_victim || j->full))
        return false;
    uint64_t full = 0, live = j->live_bytes > 0 ? (uint64_t)j->live_bytes : 0;
    for (uint32_t i = 0; i < j->order_len; i++)
        full += j->segments[j->order[i]].full;
    bool much_garbage =
        full > SEGMENTS_SPARED && (full - SEGMENTS_SPARED) * j->segment_bytes > 2 * live;
    struct segment *best = much_garbage || j->full ? emptiest(j, segment) : NULL;
    uint64_t bytes = best != NULL && best->live_bytes > 0 ? (uint64_t)best->live_bytes : 0;
    if (best != NULL && bytes < capacity(j) / 4 * 3 &&
        journal_free_bytes(j) > j->reserve_bytes + bytes + slack(j) / 2) {
        best->held = true;
        return true;
    }
    j->check_victim = false;
    return false;
}
