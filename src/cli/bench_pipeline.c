// smelt bench pipeline: pictures through REST, store, queue, workers and back, beside the bare
// engine on the same pictures in as many processes; the time that an idle system adds; memory of
// the children; what the death of one costs; what a pool costs that has nothing to do.
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/bench_bare.h"
#include "cli/bench_idle.h"
#include "cli/bench_processes.h"
#include "cli/bench_started.h"
#include "cli/bench_successor.h"
#include "cli/commands.h"
#include "cli/gateway_client.h"
#include "cli/options.h"
#include "engine/package.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CONNECTIONS_MAX = 256, PICTURES_MAX = 1000 * 1000, WAIT_MS = 300 * 1000 };

static const struct option table[] = {
    {"model", "NAME|DIR|FILE", "demo", "the model"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"workers", "N", NULL, "processes that infer (default: processors - 1, at least 1)"},
    {"samples", "DIR", "samples", "the pictures, used again and again"},
    {"pictures", "N", "2000", "pictures in the flood"},
    {"idle", "N", "200", "pictures sent one after the other for the idle latency"},
    {"connections", "N", "64", "requests in flight in the flood"},
    {"kills", "N", "20", "busy children that are killed; 0: none"},
    {"idle-workers", "N", "12", "children of the pool that has nothing to do; 0: none such"},
    {"idle-seconds", "S", "60", "for how long it has nothing to do"},
    {"data", "DIR", NULL, "data directory of the measured system (default: a temporary one)"},
    {0},
};

struct sample {
    double total_ms, decoded_ms, inferred_ms;
};

struct pipeline {
    struct options options;
    long workers, pictures, idle, connections, kills, idle_workers, idle_seconds;
    struct bench_files files;
    struct bench_bare bare;
    struct bench_dir data;
    char url[64];

    struct loop *loop;
    struct gateway_client client;
    struct gateway_job jobs[CONNECTIONS_MAX];
    int64_t sent_us[CONNECTIONS_MAX];
    long sent, ended, wanted, in_flight_max;
    struct sample *samples; // of the phase that runs, [wanted]
    char failure[600];

    struct bench_started serve;
};

// --- the measured system ---

static enum err start_serve(struct pipeline *p, struct error *error)
{
    char workers[16];
    snprintf(workers, sizeof workers, "%ld", p->workers);
    const char *models = options_get(&p->options, "models");
    const char *argv[] = {"smelt",
                          "serve",
                          "--data",
                          p->data.path,
                          "--quiet",
                          "--gateway-listen",
                          "127.0.0.1:0",
                          "--sqs-listen",
                          "127.0.0.1:0",
                          "--s3-listen",
                          "127.0.0.1:0",
                          "--workers",
                          workers,
                          "--model",
                          options_get(&p->options, "model"),
                          "--lifeline-fd",
                          "3",
                          "--ready-fd",
                          "4",
                          models != NULL ? "--models" : NULL,
                          models,
                          NULL};
    TRY(bench_start(argv, &p->serve, error));
    snprintf(p->url, sizeof p->url, "http://127.0.0.1:%d", p->serve.port);
    return OK;
}

// --- pictures through it ---

static double number_at(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static void send_next(struct pipeline *p, size_t slot);

static void on_job(void *ctx, struct gateway_job *job, enum gateway_outcome outcome,
                   struct span json, const struct error *error)
{
    struct pipeline *p = ctx;
    size_t slot = (size_t)(job - p->jobs);
    struct sample *sample = &p->samples[p->ended++];
    sample->total_ms = (double)(clock_monotonic_us() - p->sent_us[slot]) / 1000;
    json_t *root = json_loadb(json.len > 0 ? json.data : "", json.len, 0, NULL);
    const json_t *timing = json_object_get(root, "timing_ms");
    sample->decoded_ms = number_at(timing, "decoded");
    sample->inferred_ms = number_at(timing, "inferred");
    const char *status = json_string_value(json_object_get(root, "status"));
    if (outcome != GATEWAY_DONE || status == NULL || strcmp(status, "succeeded") != 0)
        snprintf(p->failure, sizeof p->failure, "a picture had no answer: %.500s",
                 outcome == GATEWAY_REFUSED ? error->msg
                 : status != NULL           ? status
                                            : "?");
    json_decref(root);
    if (p->ended == p->wanted || p->failure[0] != '\0')
        loop_stop(p->loop);
    else
        send_next(p, slot);
}

static void send_next(struct pipeline *p, size_t slot)
{
    if (p->sent == p->wanted)
        return;
    const char *file = p->files.paths[(size_t)p->sent++ % p->files.count];
    p->jobs[slot] =
        (struct gateway_job){.file = file, .wait_ms = WAIT_MS, .done = on_job, .ctx = p};
    p->sent_us[slot] = clock_monotonic_us();
    gateway_job_start(&p->client, &p->jobs[slot]);
}

// Sends `count` pictures, `at_once` in flight; *seconds is the time until the last answer.
static enum err send_all(struct pipeline *p, long count, long at_once, double *seconds,
                         struct error *error)
{
    free(p->samples);
    p->samples = calloc((size_t)count, sizeof *p->samples);
    CHECK(p->samples != NULL);
    p->sent = p->ended = 0;
    p->wanted = count;
    int64_t start_us = clock_monotonic_us();
    for (long slot = 0; slot < at_once && slot < count; slot++)
        send_next(p, (size_t)slot);
    TRY(loop_run(p->loop, error));
    *seconds = (double)(clock_monotonic_us() - start_us) / 1e6;
    if (p->failure[0] != '\0')
        return fail(error, ERR_UNAVAILABLE, 0, "%s", p->failure);
    return OK;
}

// --- figures ---

static void report(const struct pipeline *p, const char *name, double value, const char *unit)
{
    printf(
        "{\"bench\":\"pipeline\",\"case\":\"%s\",\"value\":%.4g,\"unit\":\"%s\",\"model\":\"%s\","
        "\"workers\":%ld}\n",
        name, value, unit, options_get(&p->options, "model"), p->workers);
    fflush(stdout);
    fprintf(stderr, "  %-28s %12.4g %s\n", name, value, unit);
}

static void report_idle(const struct pipeline *p)
{
    size_t count = (size_t)p->ended;
    double *total = calloc(count, sizeof *total), *compute = calloc(count, sizeof *total),
           *added = calloc(count, sizeof *total);
    CHECK(total != NULL && compute != NULL && added != NULL);
    for (size_t i = 0; i < count; i++) {
        const struct sample *s = &p->samples[i];
        total[i] = s->total_ms;
        compute[i] = s->decoded_ms + s->inferred_ms;
        added[i] = total[i] - compute[i];
    }
    report(p, "idle_total_p50", bench_percentile(total, count, 0.5), "ms");
    report(p, "idle_total_p99", bench_percentile(total, count, 0.99), "ms");
    report(p, "idle_compute_p50", bench_percentile(compute, count, 0.5), "ms");
    report(p, "idle_added_p50", bench_percentile(added, count, 0.5), "ms");
    report(p, "idle_added_p99", bench_percentile(added, count, 0.99), "ms");
    free(total);
    free(compute);
    free(added);
}

// How many syncs an idle request waits for, one after the other: each of the catalog's transactions
// syncs its pages, then its root.
static double syncs_on_the_way(const struct bench_files *files)
{
    enum { PICTURE = 2, MESSAGE = 1, RESULT = 2, REPLY = 1 };
    size_t in_files = 0; // not in the catalog
    for (size_t i = 0; i < files->count; i++)
        in_files += files->contents[i].len > S3_INLINE_BYTES_MAX;
    return PICTURE + MESSAGE + RESULT + REPLY + (double)in_files / (double)files->count;
}

// What one small durable write costs on the disk of the data directory, and so what the disk has of
// idle_added_p50 at least: the sync of a new file's body costs about two of these.
static enum err report_disk(const struct pipeline *p, struct error *error)
{
    double p50_ms = 0, syncs = syncs_on_the_way(&p->files);
    TRY(bench_disk_sync(p->data.path, &p50_ms, error));
    report(p, "disk_sync_p50", p50_ms, "ms");
    report(p, "idle_syncs", syncs, "count");
    report(p, "idle_syncs_time", syncs * p50_ms, "ms");
    return OK;
}

static void report_memory(const struct pipeline *p)
{
    struct bench_memory memory;
    if (bench_memory_of_children(p->serve.pid, &memory)) {
        report(p, "child_private", memory.private_mb, "MB");
        report(p, "child_pss", memory.pss_mb, "MB");
        report(p, "all_pss", memory.all_pss_mb, "MB");
    } else {
        fprintf(stderr, "  memory of the children: may not be read by this user\n");
    }
}

static double own_cpu_s(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// The bare engine runs before and after the flood, so that a machine that others use as well
// disturbs both sides alike.
static enum err measure_flood(struct pipeline *p, struct error *error)
{
    static const char *const roles[BENCH_ROLES] = {"sqs_cpu", "s3_cpu", "gateway_cpu",
                                                   "poller_cpu"};
    double seconds, bare, pictures = (double)p->pictures;
    TRY(bench_bare_run(&p->bare, &p->files, p->workers, p->pictures, error));
    bare = p->bare.pictures_per_s / 2;
    double load_s = own_cpu_s();
    struct bench_cpu before = bench_cpu_of_children(p->serve.pid);
    TRY(send_all(p, p->pictures, p->connections, &seconds, error));
    struct bench_cpu after = bench_cpu_of_children(p->serve.pid);
    load_s = own_cpu_s() - load_s;
    TRY(bench_bare_run(&p->bare, &p->files, p->workers, p->pictures, error));
    bare += p->bare.pictures_per_s / 2;
    report(p, "bare_engine", bare, "pictures/s");
    report(p, "system", pictures / seconds, "pictures/s");
    report(p, "system_of_bare", pictures / seconds / bare, "ratio");
    // processor time does not depend on who else uses the machine
    report(p, "bare_cpu", p->bare.cpu_ms, "ms/picture");
    report(p, "children_cpu", (after.children_s - before.children_s) * 1000 / pictures,
           "ms/picture");
    for (int i = 0; i < BENCH_ROLES; i++)
        report(p, roles[i], (after.roles_s[i] - before.roles_s[i]) * 1000 / pictures, "ms/picture");
    report(p, "system_cpu", (after.all_s - before.all_s) * 1000 / pictures, "ms/picture");
    report(p, "load_generator_cpu", load_s * 1000 / pictures,
           "ms/picture"); // ours: not the system's
    report(p, "children_busy",
           (after.children_s - before.children_s) / seconds / (double)p->workers, "ratio");
    return OK;
}

static enum err measure_kills(const struct pipeline *p, struct error *error)
{
    struct bench_successor s;
    AUTO_BUF struct buf search_path = {0};
    if (p->kills == 0)
        return OK;
    package_search_path(options_get(&p->options, "models"), &search_path);
    log_init("bench", LOG_ERROR); // that children die is meant
    enum err err = bench_successor_run(options_get(&p->options, "model"), search_path.data,
                                       (int)p->workers, &p->files, (int)p->kills, &s, error);
    log_init("bench", LOG_WARN);
    TRY(err);
    report(p, "successor_begins_p50", s.p50_ms, "ms");
    report(p, "successor_begins_max", s.max_ms, "ms");
    return OK;
}

static enum err measure_idle_pool(const struct pipeline *p, struct error *error)
{
    struct bench_idle idle;
    struct bench_dir dir;
    if (p->idle_workers == 0)
        return OK;
    TRY(bench_dir_open(NULL, &dir, error));
    enum err err =
        bench_idle_run(options_get(&p->options, "model"), options_get(&p->options, "models"),
                       (int)p->idle_workers, (int)p->idle_seconds, dir.path, &idle, error);
    bench_dir_close(&dir);
    TRY(err);
    report(p, "idle_pool_cpu", idle.core_percent, "percent of a core");
    report(p, "idle_pool_sqs", idle.requests_per_minute, "requests/min");
    return OK;
}

static enum err measure(struct pipeline *p, struct error *error)
{
    double seconds, first_seconds;
    fprintf(stderr, "smelt bench pipeline: model %s, %ld workers, %zu pictures from %s\n",
            options_get(&p->options, "model"), p->workers, p->files.count,
            options_get(&p->options, "samples"));
    TRY(start_serve(p, error));
    TRY(gateway_client_init(&p->client, p->loop, p->url, (int)p->connections, error));
    TRY(send_all(p, p->workers * 4, p->workers * 2, &first_seconds,
                 error)); // every child has run once
    TRY(send_all(p, p->idle, 1, &seconds, error));
    report_idle(p);
    TRY(report_disk(p, error));
    TRY(measure_flood(p, error));
    report_memory(p);
    bench_stop(&p->serve);
    TRY(measure_kills(p, error));
    return measure_idle_pool(p, error);
}

static bool read_numbers(struct pipeline *p)
{
    int cpus = process_cpu_count();
    p->workers = cpus > 1 ? cpus - 1 : 1;
    return (options_get(&p->options, "workers") == NULL ||
            options_int(&p->options, "workers", 1, WORKER_CHILDREN_MAX, &p->workers)) &&
           options_int(&p->options, "pictures", 1, PICTURES_MAX, &p->pictures) &&
           options_int(&p->options, "idle", 1, PICTURES_MAX, &p->idle) &&
           options_int(&p->options, "connections", 1, CONNECTIONS_MAX, &p->connections) &&
           options_int(&p->options, "kills", 0, 10000, &p->kills) &&
           options_int(&p->options, "idle-workers", 0, WORKER_CHILDREN_MAX, &p->idle_workers) &&
           options_int(&p->options, "idle-seconds", 1, 3600, &p->idle_seconds);
}

static enum err prepare(struct pipeline *p, struct error *error)
{
    const char *data = options_get(&p->options, "data");
    TRY(bench_files_find(&p->files, options_get(&p->options, "samples"), error));
    TRY(bench_bare_open(&p->bare, options_get(&p->options, "model"),
                        options_get(&p->options, "models"), error));
    TRY(bench_dir_open(data, &p->data, error));
    return loop_new(&p->loop, error);
}

static int bench_with_options(struct pipeline *p)
{
    struct error error;
    if (!options_no_argument(&p->options, "bench pipeline") || !read_numbers(p))
        return 2;
    log_init("bench", LOG_WARN);
    enum err err = prepare(p, &error);
    if (err == OK)
        err = measure(p, &error);
    if (err != OK)
        fprintf(stderr, "smelt: %s\n", error.msg);
    if (p->client.http != NULL) {
        p->sent = p->wanted;
        gateway_client_release(&p->client);
    }
    bench_stop(&p->serve);
    bench_dir_close(&p->data);
    loop_free(p->loop);
    bench_bare_close(&p->bare);
    bench_files_release(&p->files);
    free(p->samples);
    return err == OK ? 0 : 1;
}

int bench_pipeline_main(int argc, char **argv)
{
    struct pipeline *p = calloc(1, sizeof *p);
    CHECK(p != NULL);
    int code =
        options_parse(&p->options, table, "smelt bench pipeline [options]",
                      "Starts a system of its own and measures it: throughput beside the bare "
                      "engine, idle latency, memory; what the death of a child and an idle pool "
                      "cost.",
                      argc, argv);
    if (code < 0)
        code = bench_with_options(p);
    options_release(&p->options);
    free(p);
    return code;
}
