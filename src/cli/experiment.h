// smelt experiment: what its parts share. Each case (an arrangement and a number n) runs in a fresh
// process of its own, `smelt experiment-case`, which tells the measuring one by events on a pipe
// what its workers do.
#pragma once

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum experiment_arm {
    ARM_COMPUTE_THREADS, // one process, one picture at a time, n threads share each layer
    ARM_LOCKED_THREADS,  // n threads under one lock, as an interpreter's lock holds them
    ARM_THREADS,         // n threads, each with its own context of the one model
    ARM_PROCESSES,       // n processes forked after the model was loaded: the pool's way
    ARM_COUNT,
};

struct experiment_arm_text {
    const char *name;  // in JSON
    const char *title; // for people
    const char *about; // a sentence
};
extern const struct experiment_arm_text experiment_arms[ARM_COUNT];

enum experiment_event_kind { EVENT_READY, EVENT_BEGIN, EVENT_END };
struct experiment_event { // one write of it to a pipe is atomic
    uint32_t kind, worker;
    int64_t at_us; // monotonic
    int64_t pid;
};

struct experiment_setup {
    const char *model, *models, *samples; // models may be NULL
    long seconds, n_max;
};

enum { EXPERIMENT_N_MAX = 256, EXPERIMENT_ROWS_MAX = 64 };

struct experiment_row {
    enum experiment_arm arm;
    int n;
    long pictures;         // answered in the measured time
    double pictures_per_s; //
    int turns;             // in which the rate was measured
    double noise;          // standard error of the rate over its turns, as a share of it
    double p50_ms, p99_ms; // of one picture, decoding included
    double cpu_ms;         // processor time of one picture
    double others;         // processors that other programs used meanwhile, on average
    double pss_mb;         // all processes, shared pages counted once
    double start_ms;       // from the start of the process to the last worker's readiness
    int crash_lost;        // pictures in hand that died with the crash of one worker
    double crash_missed;   // pictures that were not answered until all workers answered again
    double crash_back_ms;  // how long that took
};

struct experiment_machine {
    char processor[128], kernel[128];
    int processors; // this program may use
    double memory_gb;
    char when[32];
};

// experiment_measure.c: all arrangements for one n.
enum err experiment_measure(const struct experiment_setup *setup, int n,
                            struct experiment_row rows[ARM_COUNT], struct error *error) MUST_CHECK;

// experiment_report.c
// What the rows say, as sentences, each an HTML paragraph without its tags ("<b>" apart).
void experiment_findings(const struct experiment_row *rows, size_t count,
                         void (*say)(void *ctx, const char *sentence), void *ctx);
// A page that needs nothing else: text, charts, table.
void experiment_report_write(const struct experiment_setup *setup, const char *precision,
                             const struct experiment_machine *machine,
                             const struct experiment_row *rows, size_t count, struct buf *out);

// svg_bars.c: bars in groups, as SVG to stand in a page.
enum { SVG_SERIES_MAX = 4, SVG_GROUPS_MAX = 16 };
struct svg_bars {
    const char *title, *unit;
    const char *series[SVG_SERIES_MAX];
    int series_count;
    char groups[SVG_GROUPS_MAX][16];
    int group_count;
    double values[SVG_GROUPS_MAX][SVG_SERIES_MAX]; // below 0: not there
};
void svg_bars_write(const struct svg_bars *chart, struct buf *out);
