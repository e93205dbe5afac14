#include "cli/progress_bar.h"

#include "base/clock.h"

#include <stdio.h>
#include <unistd.h>

enum { WIDTH = 30, DRAW_MS = 100 };

void progress_bar_begin(struct progress_bar *p, uint64_t at)
{
    *p = (struct progress_bar){
        .on = isatty(STDERR_FILENO) == 1, .start_ms = clock_monotonic_ms(), .start_at = at};
}

void progress_bar_show(struct progress_bar *p, uint64_t at, uint64_t total, const char *unit)
{
    int64_t now_ms = clock_monotonic_ms(), ms = now_ms - p->start_ms;
    char bar[WIDTH + 1];
    if (!p->on || now_ms - p->drawn_ms < DRAW_MS)
        return;
    p->drawn_ms = now_ms;
    uint64_t filled = total > 0 ? (at < total ? at : total) * WIDTH / total : 0;
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < (int)filled ? '#' : '.';
    bar[WIDTH] = '\0';
    double rate = ms > 0 ? (double)(at - p->start_at) * 1000 / (double)ms : 0;
    if (total > 0)
        fprintf(stderr, "\r\033[K[%s] %llu of %llu %s  %.0f/s", bar, (unsigned long long)at,
                (unsigned long long)total, unit, rate);
    else
        fprintf(stderr, "\r\033[K%llu %s  %.0f/s", (unsigned long long)at, unit, rate);
    if (total > at && rate >= 1 && (double)(total - at) / rate > 5)
        fprintf(stderr, "  %.0f s left", (double)(total - at) / rate);
    fflush(stderr);
}

void progress_bar_end(struct progress_bar *p)
{
    if (p->on && p->drawn_ms > 0)
        fprintf(stderr, "\r\033[K");
    p->on = false;
}
