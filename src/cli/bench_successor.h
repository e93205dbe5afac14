// What a killed child costs: a crew of the real model at full load, of which one child after the
// other gets a kill -9 in the middle of its job. Measured is the time from the kill to the moment
// when the child's successor begins its first job: death seen, forked, sandboxed, job handed over.
#pragma once

#include "cli/bench_bare.h"

struct bench_successor {
    double p50_ms, max_ms;
};

// search_path: of packages. kills: >= 1, of `workers` children in turn, all of which compute
// pictures of files all the time.
enum err bench_successor_run(const char *model, const char *search_path, int workers,
                             const struct bench_files *files, int kills,
                             struct bench_successor *out, struct error *error) MUST_CHECK;
