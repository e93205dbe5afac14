// smelt experiment: threads against processes, on this machine and the real model.
#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/experiment.h"
#include "cli/options.h"
#include "engine/package.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static const struct option table[] = {
    {"model", "NAME|DIR|FILE", "demo", "the model"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"samples", "DIR", "samples", "the pictures, used again and again"},
    {"seconds", "S", "3", "how long each case is measured"},
    {"max", "N", NULL, "the largest n (default: this machine's processors)"},
    {"report", "FILE.html", NULL, "also a page with charts, which needs nothing else"},
    {0},
};

const struct experiment_arm_text experiment_arms[ARM_COUNT] = {
    [ARM_COMPUTE_THREADS] = {"compute_threads", "n compute threads",
                             "one process; one picture at a time, whose layers n threads share"},
    [ARM_LOCKED_THREADS] = {"locked_threads", "n threads, one lock",
                            "one process, n threads; whoever works on a picture holds the one "
                            "lock, as under an interpreter's lock"},
    [ARM_THREADS] = {"threads", "n threads",
                     "one process, n threads; each has its own context of the one model"},
    [ARM_PROCESSES] = {"processes", "n processes",
                       "n processes, forked after the model was loaded: smelt's pool"},
};

struct experiment {
    struct experiment_setup setup;
    struct experiment_machine machine;
    struct package *package;
    struct experiment_row rows[EXPERIMENT_ROWS_MAX];
    size_t count;
};

static void describe_processor(char *out, size_t out_bytes)
{
    AUTO_BUF struct buf text = {0};
    struct error error;
    snprintf(out, out_bytes, "unknown processor");
    if (file_read("/proc/cpuinfo", 16 << 20, &text, &error) != OK)
        return;
    const char *line = strstr(text.data, "model name");
    const char *name = line != NULL ? strchr(line, ':') : NULL;
    if (name != NULL)
        snprintf(out, out_bytes, "%.*s", (int)strcspn(name + 2, "\n"), name + 2);
}

static void describe_machine(struct experiment_machine *m)
{
    struct utsname system;
    describe_processor(m->processor, sizeof m->processor);
    m->processors = process_cpu_count();
    m->memory_gb =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1024.0 * 1024 * 1024);
    if (uname(&system) == 0)
        snprintf(m->kernel, sizeof m->kernel, "%.20s %.60s %.20s", system.sysname, system.release,
                 system.machine);
    clock_iso8601(clock_wall_ms(), m->when);
}

// 1, 2, 3 … as far as 8, then doubling; the last one is n_max.
static int next_n(int n, int n_max)
{
    int next = n < 8 ? n + 1 : 2 * n;
    return n < n_max && next > n_max ? n_max : next;
}

static void print_json(const struct experiment *x, const struct experiment_row *r)
{
    AUTO_BUF struct buf model = {0};
    json_escape(span_from(x->package->name), &model);
    printf("{\"bench\":\"experiment\",\"case\":\"%s\",\"n\":%d,\"pictures\":%ld,"
           "\"pictures_per_s\":%.3f,\"noise\":%.4f,\"latency_p50_ms\":%.3f,"
           "\"latency_p99_ms\":%.3f,\"cpu_ms_per_picture\":%.3f,"
           "\"others_processors\":%.2f,\"pss_mb\":%.2f,"
           "\"start_ms\":%.1f,\"crash_jobs_lost\":%d,\"crash_pictures_missed\":%.1f,"
           "\"crash_back_ms\":%.1f,\"seconds\":%ld,\"model\":%s,\"precision\":\"%s\","
           "\"processors\":%d}\n",
           experiment_arms[r->arm].name, r->n, r->pictures, r->pictures_per_s, r->noise, r->p50_ms,
           r->p99_ms, r->cpu_ms, r->others, r->pss_mb, r->start_ms, r->crash_lost, r->crash_missed,
           r->crash_back_ms, x->setup.seconds, model.data,
           x->package->int8_path != NULL ? "int8" : "fp32", x->machine.processors);
    fflush(stdout);
}

static void print_head(const struct experiment *x)
{
    fprintf(stderr,
            "smelt experiment: model %s, %s, %d processors, %ld s for each case\n"
            "                                            one picture   processor  memory   "
            "one worker crashes:\n"
            "  arrangement            n   pictures/s   p50 ms   p99 ms   ms each   MB PSS   "
            "lost   missed   back ms\n",
            x->package->name, x->machine.processor, x->machine.processors, x->setup.seconds);
}

static void print_row(const struct experiment_row *r)
{
    fprintf(stderr, "  %-19s %4d %12.1f %8.2f %8.2f %9.2f %8.1f %6d %8.1f %9.1f\n",
            experiment_arms[r->arm].title, r->n, r->pictures_per_s, r->p50_ms, r->p99_ms, r->cpu_ms,
            r->pss_mb, r->crash_lost, r->crash_missed, r->crash_back_ms);
}

static void print_finding(void *ctx, const char *sentence)
{
    (void)ctx;
    fprintf(stderr, "- %s\n", sentence);
}

static enum err run_all(struct experiment *x, struct error *error)
{
    print_head(x);
    for (int n = 1; n <= x->setup.n_max; n = next_n(n, (int)x->setup.n_max)) {
        CHECK(x->count + ARM_COUNT <= EXPERIMENT_ROWS_MAX);
        struct experiment_row *rows = &x->rows[x->count];
        TRY(experiment_measure(&x->setup, n, rows, error));
        x->count += ARM_COUNT;
        for (int arm = 0; arm < ARM_COUNT; arm++) {
            print_json(x, &rows[arm]);
            print_row(&rows[arm]);
        }
    }
    fputc('\n', stderr);
    experiment_findings(x->rows, x->count, print_finding, NULL);
    return OK;
}

static enum err write_report(const struct experiment *x, const char *path, struct error *error)
{
    AUTO_BUF struct buf page = {0};
    experiment_report_write(&x->setup, x->package->int8_path != NULL ? "int8" : "fp32", &x->machine,
                            x->rows, x->count, &page);
    TRY(file_replace(path, buf_view(&page), 0644, error));
    fprintf(stderr, "report: %s\n", path);
    return OK;
}

static enum err experiment(struct experiment *x, const char *report, struct error *error)
{
    AUTO_BUF struct buf search = {0};
    package_search_path(x->setup.models, &search);
    // a wrong name is said once, and before anything is measured
    TRY(package_open(x->setup.model, search.data, &x->package, error));
    describe_machine(&x->machine);
    TRY(run_all(x, error));
    return report != NULL ? write_report(x, report, error) : OK;
}

int experiment_main(int argc, char **argv)
{
    static struct experiment x;
    struct options o;
    struct error error = {0};
    int code = options_parse(
        &o, table, "smelt experiment [options]",
        "Measures n compute threads, n threads (with and without one lock) and n processes for\n"
        "n = 1 … processors: pictures per second, latency, memory, and what the crash of one\n"
        "worker costs. A table on stderr, a JSON line per case on stdout.",
        argc, argv);
    if (code >= 0)
        return code;
    x.setup = (struct experiment_setup){.model = options_get(&o, "model"),
                                        .models = options_get(&o, "models"),
                                        .samples = options_get(&o, "samples"),
                                        .n_max = process_cpu_count()};
    enum err err = ERR_ARGUMENT;
    if (!options_no_argument(&o, "experiment") ||
        !options_int(&o, "seconds", 1, 3600, &x.setup.seconds) ||
        (options_get(&o, "max") != NULL &&
         !options_int(&o, "max", 1, EXPERIMENT_N_MAX, &x.setup.n_max)))
        code = 2;
    else
        err = experiment(&x, options_get(&o, "report"), &error);
    if (code != 2 && err != OK)
        fprintf(stderr, "smelt: %s\n", error.msg);
    package_free(x.package);
    options_release(&o);
    return code == 2 ? 2 : err == OK ? 0 : 1;
}
