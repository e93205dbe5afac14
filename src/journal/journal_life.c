// A journal's beginning and end, and what it says of itself.
#include "journal/journal_internal.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

enum err journal_open(const struct journal_config *config, struct journal **out,
                      struct error *error)
{
    struct journal *j = calloc(1, sizeof *j);
    CHECK(j != NULL);
    j->config = *config;
    j->io = config->io != NULL ? config->io : &journal_io_posix;
    j->manifest_fd = j->event_fd = -1;
    j->segment_bytes = config->segment_bytes != 0 ? config->segment_bytes : JOURNAL_SEGMENT_BYTES;
    CHECK(j->segment_bytes % RECORD_ALIGN == 0 && j->segment_bytes >= 4096);
    *out = j; // replay counts what matters
    enum err err = OK;
    if (snprintf(j->dir, sizeof j->dir, "%s", config->dir) >= (int)sizeof j->dir - 16)
        err = fail(error, ERR_ARGUMENT, 0, "path '%.100s…' is too long", config->dir);
    if (err == OK)
        err = config->inspection != NULL ? journal_inspect(j, error) : journal_recover(j, error);
    if (err == OK && config->inspection == NULL) {
        journal_maintain(j); // the first spare, before anything is asked for
        err = journal_committer_start(j, error);
    }
    if (err != OK) {
        *out = NULL;
        journal_close(j);
    }
    return err;
}

static void batch_free(struct batch *b)
{
    for (size_t i = 0; i < b->cap; i++)
        buf_release(&b->chunks[i].data);
    free(b->chunks);
}

void journal_close(struct journal *j)
{
    if (j == NULL)
        return;
    journal_committer_stop(j);
    for (uint16_t i = 0; i < j->slot_count; i++)
        if (j->segments[i].exists)
            j->io->close(j->io->ctx, j->segments[i].fd);
    if (j->manifest_fd >= 0)
        j->io->close(j->io->ctx, j->manifest_fd);
    batch_free(&j->filling);
    batch_free(&j->commit_job.batch);
    buf_release(&j->change_job.manifest);
    free(j->segments);
    free(j->order);
    free(j);
}

uint64_t journal_next_sequence(const struct journal *j)
{
    return j->next_sequence;
}

uint64_t journal_written(const struct journal *j)
{
    return j->written_sequence;
}

uint64_t journal_durable(const struct journal *j)
{
    return j->durable_sequence;
}

bool journal_is_syncing(const struct journal *j)
{
    return j->commit_job.queued;
}

bool journal_failed(const struct journal *j)
{
    return j->failed;
}

const uint8_t *journal_store_id(const struct journal *j)
{
    return j->store;
}

void journal_on_sync(struct journal *j, void (*fn)(void *ctx, int64_t us), void *ctx)
{
    j->on_sync = fn;
    j->on_sync_ctx = ctx;
}

void journal_stats(const struct journal *j, struct journal_stats *out)
{
    *out = (struct journal_stats){
        .segments = j->order_len,
        .spares = j->spare_count,
        .disk_bytes = (uint64_t)j->order_len * j->segment_bytes + MANIFEST_FILE_BYTES,
        .live_bytes = j->live_bytes > 0 ? (uint64_t)j->live_bytes : 0,
        .free_bytes = journal_free_bytes(j),
        .reserve_bytes = j->reserve_bytes,
        .commits = j->commits,
        .synced_bytes = j->synced_bytes,
        .last_sync_us = j->last_sync_us,
        .full = j->full,
        .cut_bytes = j->cut_bytes,
    };
}

void journal_segment_live(const struct journal *j, uint32_t id, uint64_t *records, int64_t *bytes)
{
    *records = 0;
    *bytes = 0;
    for (uint16_t slot = 0; slot < j->slot_count; slot++)
        if (j->segments[slot].exists && j->segments[slot].id == id) {
            *records = j->segments[slot].live;
            *bytes = j->segments[slot].live_bytes;
        }
}
