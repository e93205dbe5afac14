// One page of a bucket's keys in byte order, with keys that share a part up to a delimiter rolled
// up into one "common prefix". The whole page is from one snapshot.
#pragma once

#include "s3/catalog.h"
#include "s3/object_record.h"

struct listing_query {
    struct span prefix;    // only keys that start with it
    struct span delimiter; // empty: nothing is rolled up
    struct span after;     // only keys greater than this; empty: from the start
    bool after_is_prefix;  // after is a common prefix that was returned: none of its keys either
    size_t max;            // items (keys and common prefixes together)
};

struct listing_item {
    bool is_prefix;
    struct span name;            // key or common prefix; valid during the call
    struct object_record record; // keys only
};

struct listing_page {
    size_t count;
    bool truncated;      // there is more after the last item
    bool last_is_prefix; // of the last item: for the next page's query
    struct buf last;
};

void listing_page_release(struct listing_page *page);
// Calls item for each, in order. ERR_CORRUPT if the catalog is damaged.
enum err listing_run(struct catalog_txn *txn, uint64_t root, const struct listing_query *query,
                     void (*item)(void *ctx, const struct listing_item *item), void *ctx,
                     struct listing_page *page, struct error *error) MUST_CHECK;
