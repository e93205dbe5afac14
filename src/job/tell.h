// "Tell me too": what a gateway with a client that waits for another gateway's job puts into that
// gateway's reply queue, among the results. {"v":1,"tell":"ID","reply_to":"smelt-replies-…",
// "expires_at":"…"}. Pure.
#pragma once

#include "base/arena.h"

struct tell {
    const char *id;       // of the job; valid
    const char *reply_to; // where the result is wanted: data, to be read by reply_url
    int64_t expires_ms;   // wall clock; nobody waits after that
};

void tell_encode(const struct tell *tell, struct buf *out);
// ERR_FORMAT: it is something else. The strings are in the arena.
enum err tell_decode(struct span text, struct arena *arena, struct tell *out,
                     struct error *error) MUST_CHECK;
