// A page of ListObjectsV2, read from its XML (keys asked for with encoding-type=url). Pure.
#pragma once

#include "base/arena.h"

struct s3_listed {
    struct span key;      // decoded
    const char *modified; // "2026-01-31T12:00:00.000Z", "" if it is not said
    uint64_t bytes;
};

struct s3_listing {
    struct s3_listed *objects;
    size_t count;
    const char *next_token; // for the next page; NULL: this is the last one
};

// Strings are in the arena. ERR_FORMAT: not such a document.
enum err s3_listing_read(struct span xml, struct arena *arena, struct s3_listing *out,
                         struct error *error) MUST_CHECK;
