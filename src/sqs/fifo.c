#include "sqs/fifo.h"

#include "base/check.h"
#include "base/digest.h"

#include <stdlib.h>
#include <string.h>

// --- groups: a table of them, hashed by queue and name ---

static uint32_t group_hash(uint16_t queue, struct span name)
{
    return digest_crc32c(queue + 1u, name.data, name.len) * 2654435761u;
}

static void groups_grow(struct queues *qs)
{
    uint32_t count = qs->group_bucket_count == 0 ? 256 : qs->group_bucket_count * 2;
    int32_t *buckets = malloc(count * sizeof buckets[0]);
    CHECK(buckets != NULL);
    for (uint32_t i = 0; i < count; i++)
        buckets[i] = NONE;
    for (uint32_t i = 0; i < qs->group_count; i++) {
        struct group *g = &qs->groups[i];
        if (g->name == NULL)
            continue;
        g->next_in_bucket = buckets[g->hash % count];
        buckets[g->hash % count] = (int32_t)i;
    }
    free(qs->group_buckets);
    qs->group_buckets = buckets;
    qs->group_bucket_count = count;
}

static int32_t group_slot(struct queues *qs)
{
    if (qs->group_cap == 0)
        qs->group_free = NONE;
    if (qs->group_free != NONE) {
        int32_t slot = qs->group_free;
        qs->group_free = qs->groups[slot].next_in_bucket;
        return slot;
    }
    if (qs->group_count == qs->group_cap) {
        qs->group_cap = qs->group_cap == 0 ? 64 : qs->group_cap * 2;
        qs->groups = realloc(qs->groups, qs->group_cap * sizeof qs->groups[0]);
        CHECK(qs->groups != NULL);
    }
    return (int32_t)qs->group_count++;
}

uint32_t group_use(struct queues *qs, struct queue *q, struct span name)
{
    uint32_t hash = group_hash(q->slot, name);
    if (qs->groups_used >= qs->group_bucket_count)
        groups_grow(qs);
    int32_t *bucket = &qs->group_buckets[hash % qs->group_bucket_count];
    for (int32_t i = *bucket; i != NONE; i = qs->groups[i].next_in_bucket) {
        struct group *g = &qs->groups[i];
        if (g->hash == hash && g->queue == q->slot &&
            span_equal(name, (struct span){g->name, g->name_bytes})) {
            g->uses++;
            return (uint32_t)i + 1;
        }
    }
    int32_t slot = group_slot(qs);
    struct group *g = &qs->groups[slot];
    *g = (struct group){.messages = {NONE, NONE},
                        .next_in_bucket = *bucket,
                        .hash = hash,
                        .uses = 1,
                        .queue = q->slot,
                        .name_bytes = (uint16_t)name.len,
                        .name = malloc(name.len + 1)};
    CHECK(g->name != NULL);
    memcpy(g->name, name.data, name.len);
    *bucket = slot;
    qs->groups_used++;
    return (uint32_t)slot + 1;
}

uint32_t group_join(struct queues *qs, struct queue *q, struct span name, int64_t now_ms)
{
    uint32_t group = group_use(qs, q, name);
    struct group *g = &qs->groups[group - 1];
    g->last_sent_ms = g->last_sent_ms > now_ms ? g->last_sent_ms : now_ms;
    return group;
}

struct span group_name(const struct queues *qs, uint32_t group)
{
    const struct group *g = &qs->groups[group - 1];
    return (struct span){g->name, g->name_bytes};
}

static void unlink_group(struct queues *qs, struct mlist *l, struct group *g)
{
    if (g->ready_prev != NONE)
        qs->groups[g->ready_prev].ready_next = g->ready_next;
    else
        l->head = g->ready_next;
    if (g->ready_next != NONE)
        qs->groups[g->ready_next].ready_prev = g->ready_prev;
    else
        l->tail = g->ready_prev;
}

static void link_group(struct queues *qs, struct mlist *l, int32_t index)
{
    struct group *g = &qs->groups[index];
    g->ready_prev = l->tail;
    g->ready_next = NONE;
    if (l->tail != NONE)
        qs->groups[l->tail].ready_next = index;
    else
        l->head = index;
    l->tail = index;
}

void group_ready_push(struct queues *qs, int32_t index)
{
    struct group *g = &qs->groups[index];
    g->ready = true;
    link_group(qs, &qs->queues[g->queue]->ready_groups, index);
}

void group_ready_remove(struct queues *qs, struct group *g)
{
    if (g->ready)
        unlink_group(qs, &qs->queues[g->queue]->ready_groups, g);
    g->ready = false;
}

void group_noisy_push(struct queues *qs, int32_t index)
{
    struct group *g = &qs->groups[index];
    g->noisy = true;
    link_group(qs, &qs->queues[g->queue]->noisy, index);
    qs->queues[g->queue]->noisy_count++;
}

void group_noisy_remove(struct queues *qs, struct group *g)
{
    if (!g->noisy)
        return;
    g->noisy = false;
    unlink_group(qs, &qs->queues[g->queue]->noisy, g);
    qs->queues[g->queue]->noisy_count--;
}

void group_count(struct queues *qs, uint32_t group, enum where where, int sign)
{
    struct group *g = &qs->groups[group - 1];
    uint32_t step = (uint32_t)sign; // of 1 or -1
    if (where == IN_FLIGHT) {
        if (g->in_flight == (sign > 0 ? 0 : 1))
            qs->queues[g->queue]->groups_in_flight += step;
        g->in_flight += step;
    } else if (where == DELAYED || where == PENDING) {
        g->delayed += step;
    } else {
        g->visible += step;
    }
}

void group_drop(struct queues *qs, uint32_t group)
{
    int32_t slot = (int32_t)group - 1;
    struct group *g = &qs->groups[slot];
    if (--g->uses > 0)
        return;
    group_ready_remove(qs, g);
    group_noisy_remove(qs, g);
    int32_t *at = &qs->group_buckets[g->hash % qs->group_bucket_count];
    while (*at != slot)
        at = &qs->groups[*at].next_in_bucket;
    *at = g->next_in_bucket;
    free(g->name);
    g->name = NULL;
    g->next_in_bucket = qs->group_free;
    qs->group_free = slot;
    qs->groups_used--;
}

void group_enter(struct queues *qs, int32_t slot)
{
    list_push(qs, &qs->groups[message_at(qs, slot)->group - 1].messages, slot);
}

void group_leave(struct queues *qs, int32_t slot)
{
    list_remove(qs, &qs->groups[message_at(qs, slot)->group - 1].messages, slot);
}

void group_update(struct queues *qs, uint32_t group)
{
    struct group *g = &qs->groups[group - 1];
    if (g->walked)
        return;
    bool ready = g->messages.head != NONE && message_at(qs, g->messages.head)->where == READY;
    if (!ready) {
        group_ready_remove(qs, g);
    } else if (!g->ready) {
        group_ready_push(qs, (int32_t)group - 1);
        queue_flag(qs, qs->queues[g->queue]);
    }
}

void groups_release(struct queues *qs)
{
    for (uint32_t i = 0; i < qs->group_count; i++)
        free(qs->groups[i].name);
    free(qs->groups);
    free(qs->group_buckets);
}

// What can be taken from one group: from its first message on, up to the first that is hidden.
static size_t take_from(struct queues *qs, struct queue *q, uint32_t group, int64_t now_ms,
                        size_t max, int visibility_s, struct received *out)
{
    size_t count = 0;
    int32_t slot = qs->groups[group - 1].messages.head;
    while (slot != NONE && count < max) {
        struct message *m = message_at(qs, slot);
        int32_t next = m->next;
        if (m->where != READY)
            break;
        if (!message_take_out(qs, q, slot, now_ms)) { // else it expired or is a dead letter now
            if (q->in_flight + count >= SQS_INFLIGHT_MAX)
                break;
            message_claim(qs, q, slot, now_ms, visibility_s, &out[count++]);
        }
        slot = next;
    }
    return count;
}

size_t fifo_receive(struct queues *qs, struct queue *q, int64_t now_ms, size_t max,
                    int visibility_s, struct received *out)
{
    size_t count = 0;
    uint32_t walked[10];
    size_t walked_count = 0;
    while (count < max && q->ready_groups.head != NONE && walked_count < 10) {
        uint32_t group = (uint32_t)q->ready_groups.head + 1;
        group_ready_remove(qs, &qs->groups[group - 1]);
        qs->groups[group - 1].walked = true;
        qs->groups[group - 1].uses++; // it must not go while it is walked
        walked[walked_count++] = group;
        count += take_from(qs, q, group, now_ms, max - count, visibility_s, out + count);
    }
    for (size_t i = 0; i < count; i++)
        message_place(qs, (int32_t)out[i].receipt.slot, visibility_s > 0 ? IN_FLIGHT : READY);
    for (size_t i = 0; i < walked_count; i++) {
        qs->groups[walked[i] - 1].walked = false;
        group_update(qs, walked[i]);
        group_drop(qs, walked[i]);
    }
    return count;
}

// --- attempts ---

static void attempt_key(struct span id, uint8_t key[DEDUP_KEY_BYTES])
{
    uint8_t sha256[SHA256_BYTES];
    digest_sha256(id, sha256);
    memcpy(key, sha256, DEDUP_KEY_BYTES);
}

// The attempt, if its messages are all as it left them.
struct attempt *attempt_find(struct queues *qs, struct queue *q, struct span id, int64_t now_ms)
{
    uint8_t key[DEDUP_KEY_BYTES];
    attempt_key(id, key);
    for (struct attempt *a = q->attempts; a != NULL && a->expires_ms > now_ms; a = a->next) {
        if (memcmp(a->key, key, sizeof key) != 0)
            continue;
        for (size_t i = 0; i < a->count; i++) {
            const struct receipt *r = &a->got[i].receipt;
            const struct message *m = message_find(qs, r->slot, r->message);
            if (m == NULL || m->where != IN_FLIGHT || m->receive_count != r->count ||
                m->visible_ms != a->visible_ms[i] || m->queue != q->slot)
                return NULL;
        }
        return a;
    }
    return NULL;
}

void attempt_note(struct queue *q, struct span id, int64_t now_ms, const struct received *got,
                  size_t count, struct queues *qs)
{
    struct attempt *a = malloc(sizeof *a), **last = &q->attempts;
    CHECK(a != NULL && count <= 10);
    *a = (struct attempt){.next = q->attempts, .expires_ms = now_ms + ATTEMPT_MS, .count = count};
    attempt_key(id, a->key);
    for (size_t i = 0; i < count; i++) {
        a->got[i] = got[i];
        a->visible_ms[i] = message_at(qs, (int32_t)got[i].receipt.slot)->visible_ms;
    }
    q->attempts = a;
    q->attempt_count++;
    // the list is by time: forget what is too old or too much
    for (size_t n = 0; *last != NULL && (*last)->expires_ms > now_ms && n < ATTEMPTS_MAX; n++)
        last = &(*last)->next;
    while (*last != NULL) {
        struct attempt *old = *last;
        *last = old->next;
        free(old);
        q->attempt_count--;
    }
}

void attempts_release(struct queue *q)
{
    while (q->attempts != NULL) {
        struct attempt *next = q->attempts->next;
        free(q->attempts);
        q->attempts = next;
    }
}
