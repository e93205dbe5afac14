// smelt bench sqs, the cases fifo and full: a queue in which many messages wait, beside an empty
// one.
#include "base/clock.h"
#include "base/file.h"
#include "cli/bench_sqs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20, SIGNED_S = 300 };

double bench_sqs_memory(const struct bench_sqs *b)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)b->server.pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "RssAnon: %ld", &kib) != 1)
        ;
    fclose(file);
    return (double)kib * 1024;
}

// A new process, as memory that other cases gave back would hide what this one takes. It has worked
// for as many connections already: what these take is not the messages'.
static enum err restart(struct bench_sqs *b, const char *first_queue, struct error *error)
{
    struct sqs_cost cost;
    struct sqs_work work = {.step = STEP_THROUGH, .queue = first_queue};
    bench_stop(&b->server);
    TRY(bench_sqs_start(b, error));
    TRY(bench_sqs_queue(b, work.queue, false, error));
    TRY(bench_sqs_work(b, work, b->connections, b->seconds < 1 ? b->seconds : 1, &cost, error));
    return bench_sqs_drop(b, work.queue, error);
}

static enum err fill(struct bench_sqs *b, struct sqs_work work, uint64_t count, const char *name,
                     struct error *error)
{
    struct sqs_cost all = {0}, cost;
    work.step = STEP_SEND_BATCH;
    while (all.units < (double)count) { // signed anew, before the signature is too old
        work.count_max = count - (uint64_t)all.units;
        TRY(bench_sqs_work(b, work, b->connections, SIGNED_S, &cost, error));
        all.units += cost.units;
        all.took_s += cost.took_s;
        all.server_cpu_s += cost.server_cpu_s;
        all.load_cpu_s += cost.load_cpu_s;
    }
    bench_sqs_cost(name, &all, "messages");
    return OK;
}

static void add(struct sqs_cost *sum, const struct sqs_cost *cost)
{
    sum->units += cost->units;
    sum->took_s += cost->took_s;
    sum->server_cpu_s += cost->server_cpu_s;
    sum->load_cpu_s += cost->load_cpu_s;
}

// The same work on both queues in turns, so that whatever else the machine does disturbs both.
static enum err compare(struct bench_sqs *b, const char *name, struct sqs_work empty,
                        struct sqs_work full, long connections, struct error *error)
{
    struct sqs_cost sum[2] = {{0}}, cost;
    char line[64];
    for (long round = 0; round < b->rounds; round++) {
        TRY(bench_sqs_work(b, empty, connections, b->seconds, &cost, error));
        add(&sum[0], &cost);
        TRY(bench_sqs_work(b, full, connections, b->seconds, &cost, error));
        add(&sum[1], &cost);
    }
    snprintf(line, sizeof line, "%s_empty", name);
    bench_sqs_cost(line, &sum[0], "messages");
    bench_sqs_cost(name, &sum[1], "messages");
    snprintf(line, sizeof line, "%s_of_empty", name);
    bench_sqs_line(line, sum[1].units / sum[1].took_s / (sum[0].units / sum[0].took_s), "ratio");
    snprintf(line, sizeof line, "%s_of_empty_cpu", name);
    bench_sqs_line(line, sum[0].server_cpu_s / sum[0].units / (sum[1].server_cpu_s / sum[1].units),
                   "ratio");
    return OK;
}

// One group: its messages are received by one client at a time, so one sends, receives and deletes.
enum err bench_sqs_fifo(struct bench_sqs *b, struct error *error)
{
    uint64_t number = 0;
    struct sqs_work empty = {.queue = "bench-empty.fifo", .group = "g", .next = &number};
    struct sqs_work full = {.queue = "bench-full.fifo", .group = "g", .next = &number};
    TRY(restart(b, "bench-first-fifo", error));
    TRY(bench_sqs_queue(b, empty.queue, true, error));
    TRY(bench_sqs_queue(b, full.queue, true, error));
    double memory = bench_sqs_memory(b);
    TRY(fill(b, full, (uint64_t)b->fifo, "fifo_fill", error));
    bench_sqs_line("fifo_waiting", (double)b->fifo, "messages");
    bench_sqs_line("fifo_memory", (bench_sqs_memory(b) - memory) / (double)b->fifo,
                   "bytes/message");
    empty.step = full.step = STEP_THROUGH;
    TRY(compare(b, "fifo_through", empty, full, 1, error));
    empty.step = full.step = STEP_SEND_BATCH;
    TRY(compare(b, "fifo_send_batch", empty, full, b->connections, error));
    TRY(bench_sqs_drop(b, empty.queue, error));
    return bench_sqs_drop(b, full.queue, error);
}

// --- restart ---

// Reads a file from its start to its end, or (forget) takes it out of the page cache.
static enum err pass_file(const char *path, bool forget, double *bytes, struct error *error)
{
    static char piece[READ_BYTES];
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return OK; // a segment that the running server no longer needs
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno, "open '%s'", path);
    if (forget) {
        int sys = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        return sys == 0 ? OK : fail(error, ERR_IO, sys, "forget '%s'", path);
    }
    for (;;) {
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno != EINTR)
            return fail(error, ERR_IO, errno, "read '%s'", path);
        if (n == 0)
            return OK;
        *bytes += n > 0 ? (double)n : 0;
    }
}

static enum err pass_journal(const struct bench_sqs *b, bool forget, double *bytes,
                             struct error *error)
{
    char dir_path[4200], path[4600];
    snprintf(dir_path, sizeof dir_path, "%s/sqs", b->data.path);
    DIR *dir = opendir(dir_path);
    enum err err = OK;
    *bytes = 0;
    if (dir == NULL)
        return fail(error, err_from_errno(errno), errno, "open '%s'", dir_path);
    for (struct dirent *entry; err == OK && (entry = readdir(dir)) != NULL;) {
        size_t len = strlen(entry->d_name);
        if (len < 4 || strcmp(entry->d_name + len - 4, ".seg") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir_path, entry->d_name);
        err = pass_file(path, forget, bytes, error);
    }
    closedir(dir);
    return err;
}

// Once with the files in the page cache, as after a crash of the process alone, once from the disk.
static enum err measure_restart(struct bench_sqs *b, bool cold, struct error *error)
{
    const char *name = cold ? "cold" : "warm";
    char line[64];
    double bytes = 0, nothing;
    bench_stop(&b->server);
    TRY(pass_journal(b, cold, &nothing, error));
    int64_t start_us = clock_monotonic_us();
    TRY(bench_sqs_start(b, error));
    double restart_s = (double)(clock_monotonic_us() - start_us) / 1e6;
    double cpu_s = process_cpu_s(b->server.pid);
    if (cold)
        TRY(pass_journal(b, true, &nothing, error));
    start_us = clock_monotonic_us();
    TRY(pass_journal(b, false, &bytes, error));
    double read_s = (double)(clock_monotonic_us() - start_us) / 1e6;
    snprintf(line, sizeof line, "restart_%s", name);
    bench_sqs_line(line, restart_s, "s");
    snprintf(line, sizeof line, "restart_%s_cpu", name);
    bench_sqs_line(line, cpu_s, "s");
    snprintf(line, sizeof line, "restart_%s_rate", name);
    bench_sqs_line(line, bytes / 1e6 / restart_s, "MB/s");
    snprintf(line, sizeof line, "read_%s_rate", name);
    bench_sqs_line(line, bytes / 1e6 / read_s, "MB/s");
    return OK;
}

enum err bench_sqs_full(struct bench_sqs *b, struct error *error)
{
    struct sqs_work empty = {.queue = "bench-empty"}, full = {.queue = "bench-full"};
    TRY(restart(b, "bench-first-full", error));
    TRY(bench_sqs_queue(b, empty.queue, false, error));
    TRY(bench_sqs_queue(b, full.queue, false, error));
    double memory = bench_sqs_memory(b);
    TRY(fill(b, full, (uint64_t)b->messages, "full_fill", error));
    bench_sqs_line("full_waiting", (double)b->messages, "messages");
    bench_sqs_line("full_memory", (bench_sqs_memory(b) - memory) / (double)b->messages,
                   "bytes/message");
    TRY(measure_restart(b, false, error));
    TRY(measure_restart(b, true, error));
    bench_sqs_line("full_memory_restarted", bench_sqs_memory(b) / (double)b->messages,
                   "bytes/message");
    empty.step = full.step = STEP_SEND;
    TRY(compare(b, "full_send", empty, full, b->connections, error));
    empty.step = full.step = STEP_THROUGH;
    return compare(b, "full_through", empty, full, b->connections, error);
}
