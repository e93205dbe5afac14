// What the experiment's figures say, and the page that shows them. Nothing is said that is not
// compared here: differences below the noise of the two figures are called none.
#include "base/text.h"
#include "cli/experiment.h"

#include <math.h>
#include <string.h>

// Rates nearer than this are the same, however calm both were.
static const double SAME = 0.05;
// Doubt above this share leaves equality open.
static const double BLURRED = 0.15;

static const struct experiment_row *find(const struct experiment_row *rows, size_t count,
                                         enum experiment_arm arm, int n)
{
    for (size_t i = 0; i < count; i++)
        if (rows[i].arm == arm && rows[i].n == n)
            return &rows[i];
    return NULL;
}

static int largest_n(const struct experiment_row *rows, size_t count)
{
    int n = 1;
    for (size_t i = 0; i < count; i++)
        n = rows[i].n > n ? rows[i].n : n;
    return n;
}

// Two standard errors of the difference of two rates; more when there were few turns (about
// Student's t for 95 %).
static double doubt(const struct experiment_row *a, const struct experiment_row *b)
{
    double factor = 2 * (1 + 2 / fmax(a->turns - 1, 1));
    return factor * hypot(a->pictures_per_s * a->noise, b->pictures_per_s * b->noise);
}

// -1: a is slower than b, 1: faster, 0: no difference that these figures show.
static int compare(const struct experiment_row *a, const struct experiment_row *b)
{
    double more = a->pictures_per_s - b->pictures_per_s;
    double limit = fmax(SAME * b->pictures_per_s, doubt(a, b));
    return more > limit ? 1 : more < -limit ? -1 : 0;
}

// Equal figures are a finding only if a difference could have been seen.
static bool is_blurred(const struct experiment_row *a, const struct experiment_row *b)
{
    return doubt(a, b) > BLURRED * b->pictures_per_s;
}

static double percent(const struct experiment_row *a, const struct experiment_row *b)
{
    return b->pictures_per_s > 0 ? fabs(100 * (a->pictures_per_s / b->pictures_per_s - 1)) : 0;
}

struct figures { // of the largest n
    int n;
    const struct experiment_row *one, *compute, *locked, *threads, *processes;
};

static void find_others(const struct figures *f, struct buf *out)
{
    bool first = f->one->others > f->processes->others;
    double others = first ? f->one->others : f->processes->others;
    if (others >= 0.1)
        buf_printf(
            out,
            "Other programs used %.1f processors while n = %d was measured: the figures are "
            "what was left to each arrangement alike, not what it does on a quiet machine%s.",
            others, first ? 1 : f->n, f->n > 1 ? ", and different n had different shares" : "");
}

static void find_rate(const struct figures *f, struct buf *out)
{
    int against = compare(f->processes, f->threads);
    buf_printf(out,
               "With n = %d, processes answered %.1f pictures a second, threads with their own "
               "contexts %.1f, ",
               f->n, f->processes->pictures_per_s, f->threads->pictures_per_s);
    if (against == 0)
        buf_printf(out,
                   "which is no difference that this measurement shows (%.1f %%, with a noise of "
                   "%.1f %% and %.1f %%). %s",
                   percent(f->processes, f->threads), 100 * f->processes->noise,
                   100 * f->threads->noise,
                   is_blurred(f->processes, f->threads)
                       ? "It is too noisy to say more: --seconds gives it more time."
                       : "Separate processes cost no throughput here.");
    else
        buf_printf(out, "so processes are %.1f %% %s.", percent(f->processes, f->threads),
                   against > 0 ? "faster" : "slower");
    if (f->n > 1)
        buf_printf(out, " One process alone answered %.1f: %d of them do %.2f times as much.",
                   f->one->pictures_per_s, f->n,
                   f->processes->pictures_per_s / fmax(f->one->pictures_per_s, 1e-9));
}

static void find_lock(const struct figures *f, struct buf *out)
{
    int against = compare(f->locked, f->threads);
    buf_printf(out, "The same %d threads under one lock answered %.1f. ", f->n,
               f->locked->pictures_per_s);
    if (against < 0)
        buf_printf(out,
                   "They are %.1f %% slower than without it: what keeps threads back in the "
                   "experiment that is usually cited is the interpreter's lock, not that they are "
                   "threads.",
                   percent(f->locked, f->threads));
    else
        buf_printf(out, "The lock cost nothing that this measurement shows%s.",
                   is_blurred(f->locked, f->threads) ? ", which is noisy" : "");
}

static void find_compute(const struct figures *f, struct buf *out)
{
    double one = f->one->p50_ms, many = f->compute->p50_ms;
    buf_printf(out,
               "%d compute threads on one picture bring its median time from %.2f to %.2f ms (%.2f "
               "times as fast) and answer %.1f pictures a second, ",
               f->n, one, many, one / fmax(many, 1e-9), f->compute->pictures_per_s);
    int against = compare(f->compute, f->processes);
    if (against < 0)
        buf_printf(out, "%.1f %% less than processes. ", percent(f->compute, f->processes));
    else
        buf_printf(out, "%s than processes. ", against > 0 ? "more" : "no less");
    if (many < one * (1 - SAME) && against < 0)
        buf_add_text(out,
                     "They shorten the wait for a single picture, and cost throughput: decoding "
                     "and the gaps between layers stay serial.");
    else if (many > one * (1 + SAME))
        buf_add_text(out,
                     "Sharing out the layers of this model costs more than it saves here: each "
                     "layer waits for its slowest thread.");
}

static void find_memory(const struct figures *f, struct buf *out)
{
    double more = f->processes->pss_mb - f->threads->pss_mb;
    buf_printf(out,
               "Memory with n = %d: %.1f MB for the processes (the one that loaded the model "
               "included), %.1f MB for the threads, ",
               f->n, f->processes->pss_mb, f->threads->pss_mb);
    if (more <= 0.02 * f->threads->pss_mb)
        buf_add_text(out, "so processes need no more: forked after loading, they share the model.");
    else
        buf_printf(out,
                   "%.1f MB more, %.1f MB for each process. The weights are there once in both.",
                   more, more / f->n);
}

static void find_crash(const struct figures *f, struct buf *out)
{
    const struct experiment_row *p = f->processes, *t = f->threads;
    buf_printf(out,
               "One crash with n = %d took %d picture%s in hand with it among processes and %d "
               "among threads; all worked again after %.0f ms and %.0f ms, and meanwhile %.1f and "
               "%.1f pictures less than usual were answered. ",
               f->n, p->crash_lost, p->crash_lost == 1 ? "" : "s", t->crash_lost, p->crash_back_ms,
               t->crash_back_ms, p->crash_missed, t->crash_missed);
    if (p->crash_back_ms < t->crash_back_ms)
        buf_printf(out,
                   "A thread takes its process along, and the model has to be loaded again; a "
                   "forked child's successor has it at once: %.0f times sooner.",
                   t->crash_back_ms / fmax(p->crash_back_ms, 1e-3));
    else
        buf_add_text(out, "Here processes were not back sooner.");
}

static void find_sum(const struct figures *f, struct buf *out)
{
    int rate = compare(f->processes, f->threads);
    bool crash = f->processes->crash_back_ms < f->threads->crash_back_ms;
    bool memory = f->processes->pss_mb <= 1.5 * f->threads->pss_mb;
    buf_add_text(out, "What follows for this model on this machine: ");
    if (rate >= 0 && crash)
        buf_printf(out, "processes answer no less than threads and lose less to a crash%s.",
                   memory ? ", for little memory" : ", and pay for it in memory");
    else if (rate < 0 && crash)
        buf_printf(
            out,
            "threads answer %.1f %% more, processes lose less to a crash: the choice is between "
            "that much throughput and the isolation.",
            percent(f->threads, f->processes));
    else
        buf_add_text(out, "these figures alone do not speak for processes.");
}

void experiment_findings(const struct experiment_row *rows, size_t count,
                         void (*say)(void *ctx, const char *sentence), void *ctx)
{
    static void (*const finds[])(const struct figures *, struct buf *) = {
        find_others, find_rate, find_lock, find_compute, find_memory, find_crash, find_sum};
    int n = largest_n(rows, count);
    struct figures f = {n,
                        find(rows, count, ARM_PROCESSES, 1),
                        find(rows, count, ARM_COMPUTE_THREADS, n),
                        find(rows, count, ARM_LOCKED_THREADS, n),
                        find(rows, count, ARM_THREADS, n),
                        find(rows, count, ARM_PROCESSES, n)};
    if (f.one == NULL || f.compute == NULL || f.locked == NULL || f.threads == NULL ||
        f.processes == NULL)
        return;
    for (size_t i = 0; i < sizeof finds / sizeof finds[0]; i++) {
        AUTO_BUF struct buf sentence = {0};
        if (n == 1 && (finds[i] == find_lock || finds[i] == find_compute))
            continue; // one thread is one thread
        finds[i](&f, &sentence);
        if (sentence.len > 0)
            say(ctx, sentence.data);
    }
}

// --- the page ---

static const char STYLE[] =
    ":root{--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--back:#fff;--s0:#7a8ba3;--s1:#c98b2b;"
    "--s2:#2f7fb8;--s3:#2a8f5b}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b4;--line:#384150;"
    "--back:#12161c}}"
    "body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--back);"
    "max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.7rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2rem}"
    ".soft{color:var(--soft)}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(28rem,100%),1fr));gap:"
    "1rem}"
    "figure{margin:0;border:1px solid var(--line);border-radius:8px;padding:.7rem}"
    "figcaption{font-weight:600;font-size:.95rem}svg{width:100%;height:auto;display:block}"
    ".grid{stroke:var(--line)}.tick{fill:var(--soft);font:12px system-ui,sans-serif}"
    ".value{fill:var(--ink);font:11px system-ui,sans-serif}"
    ".s0{fill:var(--s0)}.s1{fill:var(--s1)}.s2{fill:var(--s2)}.s3{fill:var(--s3)}"
    ".key{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;list-style:none;padding:0}"
    ".key svg{width:.8rem;height:.8rem;display:inline;margin-right:.4rem}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;width:100%}"
    "th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line);"
    "white-space:nowrap}th:first-child,td:first-child{text-align:left}"
    "th{color:var(--soft);font-weight:600;white-space:normal}";

enum figure_of_row { RATE, LATENCY, LATENCY_99, MEMORY, CRASH, BACK, FIGURES };
static const struct {
    const char *title, *unit;
} figures_shown[FIGURES] = {
    [RATE] = {"Throughput", "pictures a second (more is better)"},
    [LATENCY] = {"Time for one picture, median", "ms (less is better)"},
    [LATENCY_99] = {"Time for one picture, 99 of 100 are faster", "ms (less is better)"},
    [MEMORY] = {"Memory, all processes together", "MB, shared pages once (less is better)"},
    [CRASH] = {"Answers missed because one worker crashed", "pictures (less is better)"},
    [BACK] = {"Until all answered again after the crash", "ms (less is better)"},
};

static double figure(const struct experiment_row *r, enum figure_of_row what)
{
    const double values[FIGURES] = {r->pictures_per_s, r->p50_ms,       r->p99_ms,
                                    r->pss_mb,         r->crash_missed, r->crash_back_ms};
    return values[what];
}

static void write_chart(const struct experiment_row *rows, size_t count, enum figure_of_row what,
                        struct buf *out)
{
    struct svg_bars chart = {.title = figures_shown[what].title, .unit = figures_shown[what].unit};
    chart.series_count = ARM_COUNT;
    for (int arm = 0; arm < ARM_COUNT; arm++)
        chart.series[arm] = experiment_arms[arm].title;
    for (size_t i = 0; i < count; i++) {
        int g = chart.group_count - 1;
        if (rows[i].arm == 0) { // each n begins with the first arrangement
            g = chart.group_count++;
            snprintf(chart.groups[g], sizeof chart.groups[g], "%d", rows[i].n);
        }
        chart.values[g][rows[i].arm] = figure(&rows[i], what);
    }
    svg_bars_write(&chart, out);
}

static void write_table(const struct experiment_row *rows, size_t count, struct buf *out)
{
    buf_add_text(out, "<div class=\"wide\"><table><thead><tr><th>arrangement</th><th>n</th>"
                      "<th>pictures a second</th><th>noise ± %</th><th>p50 ms</th><th>p99 ms</th>"
                      "<th>processor ms a picture</th><th>others, processors</th><th>memory "
                      "MB</th><th>start ms</th>"
                      "<th>crash: lost in hand</th><th>crash: missed</th><th>crash: back after ms"
                      "</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < count; i++) {
        const struct experiment_row *r = &rows[i];
        buf_printf(out,
                   "<tr><td>%s</td><td>%d</td><td>%.1f</td><td>%.1f</td><td>%.2f</td><td>%.2f</td>"
                   "<td>%.2f</td><td>%.1f</td><td>%.1f</td><td>%.0f</td><td>%d</td><td>%.1f</"
                   "td><td>%.1f</td>"
                   "</tr>\n",
                   experiment_arms[r->arm].title, r->n, r->pictures_per_s, 100 * r->noise,
                   r->p50_ms, r->p99_ms, r->cpu_ms, r->others, r->pss_mb, r->start_ms,
                   r->crash_lost, r->crash_missed, r->crash_back_ms);
    }
    buf_add_text(out, "</tbody></table></div>\n");
}

static void write_text(const char *text, struct buf *out)
{
    AUTO_BUF struct buf clean = {0};
    for (; *text != '\0'; text++) // names of files and machines may hold anything
        buf_add_char(&clean, (unsigned char)*text < 0x20 ? ' ' : *text);
    xml_escape(utf8_valid(buf_view(&clean)) ? buf_view(&clean) : SPAN("?"), out);
}

static void say_paragraph(void *ctx, const char *sentence)
{
    struct buf *out = ctx;
    buf_add_text(out, "<p>");
    write_text(sentence, out);
    buf_add_text(out, "</p>\n");
}

static void write_head(const struct experiment_setup *setup, const char *precision,
                       const struct experiment_machine *m, struct buf *out)
{
    buf_printf(out,
               "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
               "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n"
               "<title>Threads against processes</title>\n<style>%s</style></head>\n<body>\n"
               "<h1>Threads against processes</h1>\n<p class=\"soft\">Model ",
               STYLE);
    write_text(setup->model, out);
    buf_printf(out, " (%s), pictures from ", precision);
    write_text(setup->samples, out);
    buf_printf(out, ", %ld s for each case. ", setup->seconds);
    write_text(m->processor, out);
    buf_printf(out, ", %d processors for this program, %.1f GB; ", m->processors, m->memory_gb);
    write_text(m->kernel, out);
    buf_printf(out, "; %s.</p>\n", m->when);
}

static void write_method(struct buf *out)
{
    buf_add_text(out,
                 "<h2>What was measured</h2>\n<p>Each case ran in a fresh process. Its workers "
                 "decoded and inferred the same pictures, one after the other, as fast as "
                 "they could:</p>\n<ul class=\"key\">\n");
    for (int arm = 0; arm < ARM_COUNT; arm++)
        buf_printf(out,
                   "<li><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect width=\"10\" "
                   "height=\"10\" class=\"s%d\"/></svg><b>%s</b>: %s</li>\n",
                   arm, experiment_arms[arm].title, experiment_arms[arm].about);
    buf_add_text(
        out,
        "</ul>\n<p>The time for one picture is from beginning to decode it to its scores, the wait "
        "for the lock included. Memory (the proportional set size of all processes) and the crash "
        "were measured with each arrangement alone: one worker got the signal of a bad memory "
        "access; <i>lost</i> are pictures that were in hand in what died, <i>missed</i> is what "
        "the measured rate would have answered more until every worker answered again. Rate, "
        "latency and processor time were measured with the four arrangements taking turns, one "
        "running and three stopped, so that other work on this machine disturbs all alike; noise "
        "is the standard error of the rate over these turns.</p>\n");
}

void experiment_report_write(const struct experiment_setup *setup, const char *precision,
                             const struct experiment_machine *machine,
                             const struct experiment_row *rows, size_t count, struct buf *out)
{
    write_head(setup, precision, machine, out);
    write_method(out);
    buf_add_text(out, "<div class=\"charts\">\n");
    for (int what = 0; what < FIGURES; what++)
        write_chart(rows, count, (enum figure_of_row)what, out);
    buf_add_text(out, "</div>\n<h2>What the figures say</h2>\n");
    experiment_findings(rows, count, say_paragraph, out);
    buf_add_text(out, "<h2>All figures</h2>\n");
    write_table(rows, count, out);
    buf_add_text(out, "</body></html>\n");
}
