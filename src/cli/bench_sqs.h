// Inside of smelt bench sqs: what its files share.
#pragma once

#include "cli/bench_started.h"
#include "cli/options.h"
#include "cli/sqs_work.h"

struct bench_sqs {
    struct options options;
    struct bench_dir data;
    struct bench_started server;
    const char *running; // case
    struct sqs_load load;
    int server_cpu, load_cpu;
    double seconds; // of a run
    long connections, messages, fifo, polls;
    long idle;   // messages of the case idle
    long rounds; // of two runs that are compared
    double livez_per_s, livez_cpu_s;
};

void bench_sqs_line(const char *name, double value, const char *unit);
void bench_sqs_cost(const char *name, const struct sqs_cost *cost, const char *unit);

enum err bench_sqs_start(struct bench_sqs *b, struct error *error) MUST_CHECK;
void bench_sqs_pin_server(
    const struct bench_sqs *b); // what we start now runs where the server does
void bench_sqs_pin_load(const struct bench_sqs *b);
enum err bench_sqs_queue(struct bench_sqs *b, const char *name, bool fifo,
                         struct error *error) MUST_CHECK;
enum err bench_sqs_drop(struct bench_sqs *b, const char *name, struct error *error) MUST_CHECK;
// Opens the connections, runs, closes them. work.load, .server and .sockets are set here.
enum err bench_sqs_work(struct bench_sqs *b, struct sqs_work work, long connections, double seconds,
                        struct sqs_cost *cost, struct error *error) MUST_CHECK;

// --- bench_backlog.c: queues with many messages ---
double bench_sqs_memory(const struct bench_sqs *b); // bytes of the server that no file backs
enum err bench_sqs_fifo(struct bench_sqs *b, struct error *error) MUST_CHECK;
enum err bench_sqs_full(struct bench_sqs *b, struct error *error) MUST_CHECK;
