// What a pool costs that has nothing to do: the queue, the store and a worker of its own, none of
// which anybody asks anything.
#pragma once

#include "base/error.h"

struct bench_idle {
    double core_percent;        // processor time of poller, zygote and children, of one core
    double requests_per_minute; // as the queue counted them
};

// models: value of --models, may be NULL. dir: empty, for the data. Takes `seconds` and a few more.
enum err bench_idle_run(const char *model, const char *models, int workers, int seconds,
                        const char *dir, struct bench_idle *out, struct error *error) MUST_CHECK;
