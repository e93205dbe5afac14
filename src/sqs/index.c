// The index: messages by slot, the lists that thread them, and the heap of deadlines.
#include "sqs/queue_internal.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

// --- slots ---

struct message *message_at(const struct queues *qs, int32_t slot)
{
    return &qs->chunks[slot / INDEX_CHUNK]->messages[slot % INDEX_CHUNK];
}

struct message *message_in_slot(const struct queues *qs, uint32_t slot)
{
    uint32_t chunk = slot / INDEX_CHUNK;
    if (chunk >= qs->chunk_count || qs->chunks[chunk] == NULL)
        return NULL;
    struct message *m = &qs->chunks[chunk]->messages[slot % INDEX_CHUNK];
    return m->where != FREE ? m : NULL;
}

struct message *message_find(const struct queues *qs, uint32_t slot, uint64_t id)
{
    struct message *m = message_in_slot(qs, slot);
    return m != NULL && m->id == id ? m : NULL;
}

static struct index_chunk *chunk_make(struct queues *qs, uint32_t i)
{
    if (i >= qs->chunk_count) {
        uint32_t count = i + 1 > qs->chunk_count * 2 ? i + 1 : qs->chunk_count * 2;
        qs->chunks = realloc(qs->chunks, count * sizeof(void *));
        CHECK(qs->chunks != NULL);
        memset(qs->chunks + qs->chunk_count, 0, (count - qs->chunk_count) * sizeof(void *));
        qs->chunk_count = count;
    }
    if (qs->chunks[i] == NULL) {
        struct index_chunk *c = calloc(1, sizeof *c);
        CHECK(c != NULL);
        for (int32_t k = 0; k < INDEX_CHUNK; k++)
            c->messages[k].next = k + 1 < INDEX_CHUNK ? (int32_t)(i * INDEX_CHUNK) + k + 1 : NONE;
        c->free = (int32_t)(i * INDEX_CHUNK);
        qs->chunks[i] = c;
    }
    return qs->chunks[i];
}

int32_t message_new(struct queues *qs)
{
    // the lowest chunk with room: so that high ones empty and go
    uint32_t i = qs->chunk_hint;
    while (i < qs->chunk_count && qs->chunks[i] != NULL && qs->chunks[i]->free == NONE)
        i++;
    qs->chunk_hint = i;
    if (i >= INDEX_MESSAGES_MAX / INDEX_CHUNK)
        return NONE;
    struct index_chunk *c = chunk_make(qs, i);
    int32_t slot = c->free;
    struct message *m = message_at(qs, slot);
    c->free = m->next;
    c->used++;
    qs->messages++;
    *m = (struct message){.source = NO_QUEUE, .prev = NONE, .next = NONE};
    return slot;
}

enum err message_new_at(struct queues *qs, uint32_t slot, struct error *error)
{
    if (slot >= INDEX_MESSAGES_MAX)
        return fail(error, ERR_CORRUPT, 0, "a message has place %u in the index: impossible", slot);
    struct index_chunk *c = chunk_make(qs, slot / INDEX_CHUNK);
    struct message *m = &c->messages[slot % INDEX_CHUNK];
    if (m->where != FREE)
        return fail(error, ERR_CORRUPT, 0, "two messages have place %u in the index", slot);
    c->used++; // the list of free ones is made by queues_settle
    qs->messages++;
    *m = (struct message){.source = NO_QUEUE, .prev = NONE, .next = NONE};
    return OK;
}

void message_free(struct queues *qs, int32_t slot)
{
    uint32_t i = (uint32_t)slot / INDEX_CHUNK;
    struct index_chunk *c = qs->chunks[i];
    struct message *m = message_at(qs, slot);
    *m = (struct message){.where = FREE, .next = c->free};
    c->free = slot;
    c->used--;
    qs->messages--;
    if (qs->replaying)
        return;
    if (i < qs->chunk_hint)
        qs->chunk_hint = i;
    if (c->used == 0 && i > 0) { // the first one stays: an idle queue allocates nothing
        free(c);
        qs->chunks[i] = NULL;
    }
}

uint64_t index_bytes(const struct queues *qs)
{
    uint64_t bytes = qs->chunk_count * sizeof(void *) + qs->heap_cap * sizeof qs->heap[0];
    for (uint32_t i = 0; i < qs->chunk_count; i++)
        bytes += qs->chunks[i] != NULL ? sizeof *qs->chunks[i] : 0;
    return bytes;
}

void index_release(struct queues *qs)
{
    for (uint32_t i = 0; i < qs->chunk_count; i++)
        free(qs->chunks[i]);
    free(qs->chunks);
    free(qs->heap);
}

// --- lists ---

void list_push(struct queues *qs, struct mlist *l, int32_t slot)
{
    struct message *m = message_at(qs, slot);
    m->prev = l->tail;
    m->next = NONE;
    if (l->tail != NONE)
        message_at(qs, l->tail)->next = slot;
    else
        l->head = slot;
    l->tail = slot;
}

void list_push_front(struct queues *qs, struct mlist *l, int32_t slot)
{
    struct message *m = message_at(qs, slot);
    m->next = l->head;
    m->prev = NONE;
    if (l->head != NONE)
        message_at(qs, l->head)->prev = slot;
    else
        l->tail = slot;
    l->head = slot;
}

void list_remove(struct queues *qs, struct mlist *l, int32_t slot)
{
    struct message *m = message_at(qs, slot);
    if (m->prev != NONE)
        message_at(qs, m->prev)->next = m->next;
    else
        l->head = m->next;
    if (m->next != NONE)
        message_at(qs, m->next)->prev = m->prev;
    else
        l->tail = m->prev;
    m->prev = m->next = NONE;
}

void age_insert(struct queues *qs, struct queue *q, int32_t slot)
{
    enum { WALK_MAX = 64 }; // dead-lettered messages come a little out of order; see queues_tick
    struct message *m = message_at(qs, slot);
    int32_t after = q->age.tail;
    for (int i = 0; i < WALK_MAX && after != NONE; i++) {
        const struct message *a = message_at(qs, after);
        if (a->entered_ms <= m->entered_ms)
            break;
        after = a->age_prev;
    }
    m->age_prev = after;
    m->age_next = after != NONE ? message_at(qs, after)->age_next : q->age.head;
    if (m->age_next != NONE)
        message_at(qs, m->age_next)->age_prev = slot;
    else
        q->age.tail = slot;
    if (after != NONE)
        message_at(qs, after)->age_next = slot;
    else
        q->age.head = slot;
}

void age_remove(struct queues *qs, struct queue *q, int32_t slot)
{
    const struct message *m = message_at(qs, slot);
    if (m->age_prev != NONE)
        message_at(qs, m->age_prev)->age_next = m->age_next;
    else
        q->age.head = m->age_next;
    if (m->age_next != NONE)
        message_at(qs, m->age_next)->age_prev = m->age_prev;
    else
        q->age.tail = m->age_prev;
}

// --- deadlines: a binary heap; each member knows its place ---

static uint32_t *place_of(const struct queues *qs, int32_t id)
{
    return id >= DEADLINE_QUEUE ? &qs->queues[id - DEADLINE_QUEUE]->deadline
                                : &message_at(qs, id)->deadline;
}

static void heap_put(struct queues *qs, uint32_t i, struct deadline d)
{
    qs->heap[i] = d;
    *place_of(qs, d.id) = i + 1;
}

static void heap_up(struct queues *qs, uint32_t i)
{
    struct deadline d = qs->heap[i];
    while (i > 0 && qs->heap[(i - 1) / 2].at_ms > d.at_ms) {
        heap_put(qs, i, qs->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(qs, i, d);
}

static void heap_down(struct queues *qs, uint32_t i)
{
    struct deadline d = qs->heap[i];
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= qs->heap_len)
            break;
        if (child + 1 < qs->heap_len && qs->heap[child + 1].at_ms < qs->heap[child].at_ms)
            child++;
        if (qs->heap[child].at_ms >= d.at_ms)
            break;
        heap_put(qs, i, qs->heap[child]);
        i = child;
    }
    heap_put(qs, i, d);
}

void deadline_cancel(struct queues *qs, int32_t id)
{
    uint32_t *place = place_of(qs, id);
    if (*place == 0)
        return;
    uint32_t i = *place - 1;
    *place = 0;
    struct deadline last = qs->heap[--qs->heap_len];
    if (i == qs->heap_len)
        return;
    heap_put(qs, i, last);
    heap_up(qs, i);
    heap_down(qs, *place_of(qs, last.id) - 1);
}

void deadline_set(struct queues *qs, int32_t id, int64_t at_ms)
{
    deadline_cancel(qs, id);
    if (qs->heap_len == qs->heap_cap) {
        qs->heap_cap = qs->heap_cap == 0 ? 256 : qs->heap_cap * 2;
        qs->heap = realloc(qs->heap, qs->heap_cap * sizeof qs->heap[0]);
        CHECK(qs->heap != NULL);
    }
    uint32_t i = qs->heap_len++;
    heap_put(qs, i, (struct deadline){at_ms, id});
    heap_up(qs, i);
}
