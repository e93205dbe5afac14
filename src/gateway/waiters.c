#include "gateway/waiters.h"

#include "base/check.h"

#include <stdlib.h>

enum { SLOTS_MIN = 64 };

// FNV-1a. Ids are ours (random or digests) or checked ones of a client, who gains nothing from
// collisions but slowness of a bucket whose length HTTP_CONNECTIONS_MAX bounds.
static uint64_t hash_of(struct span id)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < id.len; i++)
        hash = (hash ^ (uint8_t)id.data[i]) * 0x100000001b3u;
    return hash;
}

static void link_at(struct waiter **head, struct waiter *w)
{
    w->next = *head;
    if (w->next != NULL)
        w->next->link = &w->next;
    w->link = head;
    *head = w;
}

static void unlink_one(struct waiter *w)
{
    *w->link = w->next;
    if (w->next != NULL)
        w->next->link = w->link;
    w->link = NULL;
    w->next = NULL;
}

static void grow(struct waiters *all)
{
    size_t count = all->slot_count == 0 ? SLOTS_MIN : all->slot_count * 2;
    struct waiter **slots = calloc(count, sizeof(struct waiter *));
    CHECK(slots != NULL);
    for (size_t i = 0; i < all->slot_count; i++) {
        while (all->slots[i] != NULL) {
            struct waiter *w = all->slots[i];
            unlink_one(w);
            link_at(&slots[w->hash & (count - 1)], w);
        }
    }
    free(all->slots);
    all->slots = slots;
    all->slot_count = count;
}

void waiters_release(struct waiters *all)
{
    CHECK(all->count == 0);
    free(all->slots);
    *all = (struct waiters){0};
}

void waiters_add(struct waiters *all, struct waiter *w, const char *id, waiter_fn *fn, void *ctx)
{
    CHECK(w->link == NULL);
    if (all->count >= all->slot_count)
        grow(all);
    *w = (struct waiter){.id = id, .fn = fn, .ctx = ctx, .hash = hash_of(span_from(id))};
    link_at(&all->slots[w->hash & (all->slot_count - 1)], w);
    all->count++;
}

void waiters_remove(struct waiters *all, struct waiter *w)
{
    if (w->link == NULL)
        return;
    unlink_one(w);
    all->count--;
}

size_t waiters_wake(struct waiters *all, struct span id, struct span result_json)
{
    if (all->count == 0)
        return 0;
    struct waiter *found = NULL, *next;
    uint64_t hash = hash_of(id);
    for (struct waiter *w = all->slots[hash & (all->slot_count - 1)]; w != NULL; w = next) {
        next = w->next;
        if (w->hash == hash && span_is(id, w->id)) {
            unlink_one(w);
            link_at(&found, w);
        }
    }
    size_t called = 0;
    while (found != NULL) { // a callback may remove others from this list: always take the first
        struct waiter *w = found;
        waiters_remove(all, w);
        w->fn(w->ctx, result_json);
        called++;
    }
    return called;
}
