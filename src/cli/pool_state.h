// What a pool on this machine says of its models: CREW_STATE_FILE of its data directory
// (worker/crew.h). It stays when the pool has ended.
#pragma once

#include "base/arena.h"
#include "base/limits.h"

struct pool_model {
    const char *name, *precision, *sha256;
};

struct pool_state {    // everything is in the arena
    const char *json;  // the file's text, one line
    const char *model; // --model of the pool
    int generation;    // that serves; 0: none
    struct pool_model serving[WORKER_MODELS_MAX];
    size_t count;
    const char *refused, *refused_at; // why the packages' state is not taken; "" it is
};

// ERR_NOT_FOUND: no pool wrote one there.
enum err pool_state_read(const char *data, struct arena *arena, struct pool_state *out,
                         struct error *error) MUST_CHECK;
