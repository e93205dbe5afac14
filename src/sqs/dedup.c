#include "sqs/dedup.h"

#include "base/check.h"
#include "base/digest.h"

#include <stdlib.h>
#include <string.h>

// Ids by the time of their end: pieces of a list, the oldest first. An id is known by its number:
// that of its piece, and its place there. Numbers go round, so they begin shortly before their end.
enum {
    PIECE_IDS = 1024,
    PIECE_NUMBERS = UINT32_MAX / PIECE_IDS, // so that the largest number is nobody's
    FIRST_NUMBER = PIECE_NUMBERS - 2,
    IDS_PER_BUCKET = 2,
};
static const uint32_t NOBODY = UINT32_MAX;

struct id { // 32 bytes; as many as were sent to FIFO queues in five minutes
    uint8_t key[DEDUP_KEY_BYTES];
    uint32_t next;   // number, in the same bucket
    int32_t ends_ms; // after the base of its piece
    uint32_t at8;
    uint16_t segment;
    uint16_t queue; // NO_QUEUE: it is forgotten
};
_Static_assert(sizeof(struct id) == 32, "memory per message sent to a FIFO queue");

struct dedup_piece {
    int64_t base_ms;
    uint64_t first_id; // smallest sequence of their messages
    uint32_t begin, end;
    struct id ids[PIECE_IDS];
};

// --- pieces ---

static struct dedup_piece *piece_of(const struct dedup_memory *m, uint32_t number)
{
    return m->pieces[(number / PIECE_IDS + PIECE_NUMBERS - m->first_number) % PIECE_NUMBERS];
}

static struct id *id_at(const struct dedup_memory *m, uint32_t number)
{
    return &piece_of(m, number)->ids[number % PIECE_IDS];
}

static uint32_t number_of(const struct dedup_memory *m, uint32_t piece, uint32_t place)
{
    return (m->first_number + piece) % PIECE_NUMBERS * PIECE_IDS + place;
}

static int64_t end_of(const struct dedup_piece *p, const struct id *id)
{
    return p->base_ms + id->ends_ms;
}

static struct dedup_piece *piece_add(struct dedup_memory *m)
{
    if (m->piece_count == m->piece_cap) {
        m->piece_cap = m->piece_cap == 0 ? 16 : m->piece_cap * 2;
        m->pieces = realloc(m->pieces, m->piece_cap * sizeof(struct dedup_piece *));
        CHECK(m->pieces != NULL);
    }
    if (m->piece_count == 0)
        m->first_number = FIRST_NUMBER;
    struct dedup_piece *p = malloc(sizeof *p);
    CHECK(p != NULL && m->piece_count < PIECE_NUMBERS / 2);
    p->begin = p->end = 0;
    m->pieces[m->piece_count++] = p;
    return p;
}

static void piece_drop_first(struct dedup_memory *m)
{
    free(m->pieces[0]);
    m->piece_count--;
    memmove(m->pieces, m->pieces + 1, m->piece_count * sizeof(struct dedup_piece *));
    m->first_number = (m->first_number + 1) % PIECE_NUMBERS;
}

// A place at the end of the list, for an id that ends then.
static struct id *place_new(struct dedup_memory *m, int64_t ends_ms, uint32_t *number)
{
    struct dedup_piece *p = m->piece_count > 0 ? m->pieces[m->piece_count - 1] : NULL;
    bool fits =
        p != NULL && p->end < PIECE_IDS &&
        (p->end == 0 || (ends_ms - p->base_ms <= INT32_MAX && ends_ms - p->base_ms >= INT32_MIN));
    if (!fits)
        p = piece_add(m);
    if (p->end == 0) {
        p->base_ms = ends_ms;
        p->first_id = UINT64_MAX;
    }
    *number = number_of(m, m->piece_count - 1, p->end);
    struct id *id = &p->ids[p->end++];
    id->ends_ms = (int32_t)(ends_ms - p->base_ms);
    return id;
}

// --- finding ---

static uint32_t *bucket_of(const struct dedup_memory *m, const uint8_t key[DEDUP_KEY_BYTES])
{
    uint32_t hash;
    memcpy(&hash, key, sizeof hash);
    return &m->buckets[hash & (m->bucket_count - 1)];
}

static uint32_t number_find(const struct dedup_memory *m, const uint8_t key[DEDUP_KEY_BYTES])
{
    if (m->bucket_count == 0)
        return NOBODY;
    uint32_t number = *bucket_of(m, key);
    while (number != NOBODY && memcmp(id_at(m, number)->key, key, DEDUP_KEY_BYTES) != 0)
        number = id_at(m, number)->next;
    return number;
}

static void bucket_add(struct dedup_memory *m, uint32_t number)
{
    struct id *id = id_at(m, number);
    uint32_t *bucket = bucket_of(m, id->key);
    id->next = *bucket;
    *bucket = number;
}

static void buckets_grow(struct dedup_memory *m)
{
    m->bucket_count = m->bucket_count == 0 ? 256 : m->bucket_count * 2;
    free(m->buckets);
    m->buckets = malloc(m->bucket_count * sizeof m->buckets[0]);
    CHECK(m->buckets != NULL);
    memset(m->buckets, 0xff, m->bucket_count * sizeof m->buckets[0]); // NOBODY
    for (uint32_t i = 0; i < m->piece_count; i++)
        for (uint32_t k = m->pieces[i]->begin; k < m->pieces[i]->end; k++)
            if (m->pieces[i]->ids[k].queue != NO_QUEUE)
                bucket_add(m, number_of(m, i, k));
}

static void forget(struct queues *qs, uint32_t number)
{
    struct dedup_memory *m = &qs->dedups;
    struct id *id = id_at(m, number);
    uint32_t *at = bucket_of(m, id->key);
    while (*at != number)
        at = &id_at(m, *at)->next;
    *at = id->next;
    id->queue = NO_QUEUE;
    m->count--;
    journal_count(qs->journal, id->segment, -1, -(int64_t)sizeof(struct stored_dedup));
}

// --- what the others use ---

void dedup_key(uint64_t queue, bool per_group, struct span group, struct span id,
               uint8_t key[DEDUP_KEY_BYTES])
{
    uint8_t sha256[SHA256_BYTES];
    AUTO_BUF struct buf text = {0};
    buf_add(&text, &queue, sizeof queue);
    if (per_group)
        buf_add_span(&text, group);
    buf_add_char(&text, '\0');
    buf_add_span(&text, id);
    digest_sha256(buf_view(&text), sha256);
    memcpy(key, sha256, DEDUP_KEY_BYTES);
}

bool dedup_find(const struct queues *qs, const uint8_t key[DEDUP_KEY_BYTES], struct dedup *out)
{
    const struct dedup_memory *m = &qs->dedups;
    uint32_t number = number_find(m, key);
    if (number == NOBODY)
        return false;
    const struct id *id = id_at(m, number);
    out->expires_ms = end_of(piece_of(m, number), id); // key may be out->key
    out->queue = id->queue;
    out->segment = id->segment;
    out->at8 = id->at8;
    return true;
}

enum err dedup_read(struct queues *qs, const struct dedup *d, uint64_t *id,
                    uint8_t message_id[MESSAGE_ID_BYTES], struct error *error)
{
    AUTO_BUF struct buf buf = {0};
    struct journal_record record;
    struct stored_message message;
    struct stored_dedup moved;
    TRY(journal_read_record(qs->journal, d->segment, d->at8, &buf, &record, error));
    struct span rest = record.payload;
    if (record.type == STORED_MESSAGE) {
        TRY(take(&rest, &message, sizeof message, error));
        *id = record.sequence;
        memcpy(message_id, message.message_id, MESSAGE_ID_BYTES);
        return OK;
    }
    if (record.type != STORED_DEDUP)
        return fail(error, ERR_CORRUPT, 0, "the record of a deduplication id has type %u",
                    record.type);
    TRY(take(&rest, &moved, sizeof moved, error));
    *id = moved.id;
    memcpy(message_id, moved.message_id, MESSAGE_ID_BYTES);
    return OK;
}

void dedup_add(struct queues *qs, const struct dedup *d)
{
    struct dedup_memory *m = &qs->dedups;
    uint32_t number = number_find(m, d->key);
    if (number != NOBODY)
        forget(qs, number);
    if (m->count >= (uint64_t)m->bucket_count * IDS_PER_BUCKET)
        buckets_grow(m);
    struct id *id = place_new(m, d->expires_ms, &number);
    struct dedup_piece *p = piece_of(m, number);
    memcpy(id->key, d->key, DEDUP_KEY_BYTES);
    id->at8 = d->at8;
    id->segment = d->segment;
    id->queue = d->queue;
    if (d->id < p->first_id)
        p->first_id = d->id;
    bucket_add(m, number);
    m->count++;
    journal_count(qs->journal, id->segment, 1, sizeof(struct stored_dedup));
}

void dedup_move(struct queues *qs, const uint8_t key[DEDUP_KEY_BYTES], struct journal_place to)
{
    struct id *id = id_at(&qs->dedups, number_find(&qs->dedups, key));
    journal_count(qs->journal, to.segment, 1, sizeof(struct stored_dedup));
    journal_count(qs->journal, id->segment, -1, -(int64_t)sizeof(struct stored_dedup));
    id->segment = to.segment;
    id->at8 = to.at8;
}

void dedup_expire(struct queues *qs, int64_t now_ms)
{
    struct dedup_memory *m = &qs->dedups;
    while (m->piece_count > 0) {
        struct dedup_piece *p = m->pieces[0];
        for (; p->begin < p->end; p->begin++) {
            const struct id *id = &p->ids[p->begin];
            if (id->queue == NO_QUEUE)
                continue;
            if (end_of(p, id) > now_ms)
                return;
            forget(qs, number_of(m, 0, p->begin));
        }
        if (m->piece_count == 1) { // the last one stays: an idle queue allocates nothing
            p->begin = p->end = 0;
            return;
        }
        piece_drop_first(m);
    }
}

uint64_t dedup_first_id(const struct queues *qs, uint16_t queue)
{
    const struct dedup_memory *m = &qs->dedups;
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < m->piece_count; i++) {
        const struct dedup_piece *p = m->pieces[i];
        for (uint32_t k = p->begin; k < p->end && p->first_id < first; k++)
            if (p->ids[k].queue == queue)
                first = p->first_id;
    }
    return first;
}

void dedup_forget(struct queues *qs, uint16_t queue)
{
    const struct dedup_memory *m = &qs->dedups;
    for (uint32_t i = 0; i < m->piece_count; i++)
        for (uint32_t k = m->pieces[i]->begin; k < m->pieces[i]->end; k++)
            if (m->pieces[i]->ids[k].queue == queue)
                forget(qs, number_of(m, i, k));
}

void dedups_release(struct queues *qs)
{
    struct dedup_memory *m = &qs->dedups;
    for (uint32_t i = 0; i < m->piece_count; i++)
        free(m->pieces[i]);
    free(m->pieces);
    free(m->buckets);
}
