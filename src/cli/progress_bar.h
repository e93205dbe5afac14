// A progress bar on standard error, if that is a terminal; else nothing is written.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress_bar {
    bool on;
    int64_t start_ms, drawn_ms;
    uint64_t start_at;
};

void progress_bar_begin(struct progress_bar *p, uint64_t at);
// total 0: not known. unit: "messages". Draws ten times a second at most.
void progress_bar_show(struct progress_bar *p, uint64_t at, uint64_t total, const char *unit);
void progress_bar_end(struct progress_bar *p); // erases it
