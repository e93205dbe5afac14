// smelt bench sqs: the queue alone, as a process of its own on one core, the load on another.
// Signatures are checked and every answer comes after its fdatasync, as always; bodies of 512
// bytes. With --peers the same work on beanstalkd and Redis (bench_peers.c).
#include "cli/bench_sqs.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/bench_peers.h"
#include "cli/commands.h"
#include "cli/options.h"

#include <jansson.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option table[] = {
    {"case", "NAME", NULL, "only this one: livez, send, batch, through, idle, polls, fifo, full"},
    {"seconds", "N", "5", "time of each measured run"},
    {"connections", "N", "32", "clients at once"},
    {"messages", "N", "5000000", "waiting messages of the case full (700 bytes of disk each)"},
    {"fifo", "N", "200000", "waiting messages in one group of the case fifo"},
    {"polls", "N", "5000", "long polls of the case polls"},
    {"quick", NULL, NULL, "small numbers: does everything, measures nothing"},
    {"peers", NULL, NULL, "also beanstalkd and redis-server, where they are installed"},
    {"data", "DIR", NULL, "data directory of the measured queue (default: a temporary one)"},
    {0},
};

// --- figures ---

void bench_sqs_line(const char *name, double value, const char *unit)
{
    printf("{\"bench\":\"sqs\",\"case\":\"%s\",\"value\":%.5g,\"unit\":\"%s\"}\n", name, value,
           unit);
    fflush(stdout);
    fprintf(stderr, "  %-30s %12.5g %s\n", name, value, unit);
}

void bench_sqs_cost(const char *name, const struct sqs_cost *cost, const char *unit)
{
    double units = cost->units > 0 ? cost->units : 1;
    printf("{\"bench\":\"sqs\",\"case\":\"%s\",\"value\":%.5g,\"unit\":\"%s/s\","
           "\"server_cpu_us\":%.4g,\"load_cpu_us\":%.4g,\"server_busy\":%.3f,\"load_busy\":%.3f}\n",
           name, cost->units / cost->took_s, unit, cost->server_cpu_s * 1e6 / units,
           cost->load_cpu_s * 1e6 / units, cost->server_cpu_s / cost->took_s,
           cost->load_cpu_s / cost->took_s);
    fflush(stdout);
    fprintf(stderr, "  %-30s %12.5g %s/s   %7.2f us of the server each, busy %.2f, load %.2f\n",
            name, cost->units / cost->took_s, unit, cost->server_cpu_s * 1e6 / units,
            cost->server_cpu_s / cost->took_s, cost->load_cpu_s / cost->took_s);
}

// --- the measured server ---

static void pin(int cpu)
{
    cpu_set_t set;
    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    sched_setaffinity(0, sizeof set, &set); // refused: nothing is pinned, nothing else changes
}

static void choose_cpus(struct bench_sqs *b)
{
    cpu_set_t set;
    b->server_cpu = b->load_cpu = -1;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &set)) {
            b->server_cpu = b->server_cpu < 0 ? cpu : b->server_cpu;
            b->load_cpu = cpu;
        }
    if (b->server_cpu == b->load_cpu)
        fprintf(stderr, "  there is one processor: server and load share it\n");
}

void bench_sqs_pin_server(const struct bench_sqs *b)
{
    pin(b->server_cpu);
}

void bench_sqs_pin_load(const struct bench_sqs *b)
{
    pin(b->load_cpu);
}

enum err bench_sqs_start(struct bench_sqs *b, struct error *error)
{
    const char *argv[] = {"smelt",       "sqs",         "--data", b->data.path,    "--sqs-listen",
                          "127.0.0.1:0", "--log-level", "warn",   "--lifeline-fd", "3",
                          "--ready-fd",  "4",           NULL};
    char path[4200];
    bench_sqs_pin_server(b); // which the new process inherits, with all its threads
    enum err err = bench_start(argv, &b->server, error);
    bench_sqs_pin_load(b);
    TRY(err);
    snprintf(path, sizeof path, "%s/credentials", b->data.path);
    TRY(credentials_read(path, "default", &b->load.credentials, error));
    snprintf(b->load.host, sizeof b->load.host, "127.0.0.1:%d", b->server.port);
    return OK;
}

static enum err bench_sqs_call(struct bench_sqs *b, const char *action, const char *json,
                               struct error *error)
{
    AUTO_BUF struct buf request = {0};
    struct load *one = NULL;
    struct span reply = {NULL, 0};
    TRY(load_open(b->server.port, 1, &one, error));
    sqs_load_request(&b->load, action, span_from(json), &request);
    enum err err = load_send(one, 0, buf_view(&request), error);
    if (err == OK)
        err = load_receive(one, 0, &load_http, &reply, error);
    if (err == OK && !sqs_load_is_ok(reply))
        err = fail(error, ERR_UNAVAILABLE, 0, "%s was refused: %.*s", action,
                   (int)(reply.len < 400 ? reply.len : 400), reply.data);
    load_close(one);
    return err;
}

enum err bench_sqs_queue(struct bench_sqs *b, const char *name, bool fifo, struct error *error)
{
    char json[200];
    snprintf(json, sizeof json, "{\"QueueName\":\"%s\"%s}", name,
             fifo ? ",\"Attributes\":{\"FifoQueue\":\"true\"}" : "");
    return bench_sqs_call(b, "CreateQueue", json, error);
}

enum err bench_sqs_drop(struct bench_sqs *b, const char *name, struct error *error)
{
    char json[200];
    snprintf(json, sizeof json, "{\"QueueUrl\":\"%s\"}", name);
    return bench_sqs_call(b, "DeleteQueue", json, error);
}

enum err bench_sqs_work(struct bench_sqs *b, struct sqs_work work, long connections, double seconds,
                        struct sqs_cost *cost, struct error *error)
{
    work.load = &b->load;
    work.server = b->server.pid;
    TRY(load_open(b->server.port, (int)connections, &work.sockets, error));
    if (b->load_cpu != b->server_cpu)
        load_spin(work.sockets);
    enum err err = sqs_work_run(&work, (int)connections, seconds, cost, error);
    load_close(work.sockets);
    return err;
}

// --- cases: rates ---

static enum err measure_livez(struct bench_sqs *b, struct error *error)
{
    struct sqs_cost cost;
    struct sqs_work work = {.step = STEP_LIVEZ};
    TRY(bench_sqs_work(b, work, b->connections, b->seconds, &cost, error));
    bench_sqs_cost("livez", &cost, "requests");
    b->livez_per_s = cost.units / cost.took_s;
    b->livez_cpu_s = cost.server_cpu_s / cost.units;
    return OK;
}

static enum err measure_send(struct bench_sqs *b, struct error *error)
{
    struct sqs_cost cost;
    struct sqs_work work = {.step = STEP_SEND, .queue = "bench-send"};
    TRY(bench_sqs_queue(b, work.queue, false, error));
    TRY(bench_sqs_work(b, work, b->connections, b->seconds, &cost, error));
    bench_sqs_cost("send", &cost, "messages");
    if (b->livez_per_s > 0) {
        bench_sqs_line("send_of_livez", cost.units / cost.took_s / b->livez_per_s, "ratio");
        // the same without what others on this machine took
        bench_sqs_line("send_of_livez_cpu", b->livez_cpu_s * cost.units / cost.server_cpu_s,
                       "ratio");
    }
    return bench_sqs_drop(b, work.queue, error);
}

static enum err measure_batch(struct bench_sqs *b, struct error *error)
{
    struct sqs_cost cost;
    struct sqs_work work = {.step = STEP_SEND_BATCH, .queue = "bench-batch"};
    TRY(bench_sqs_queue(b, work.queue, false, error));
    TRY(bench_sqs_work(b, work, b->connections, b->seconds, &cost, error));
    bench_sqs_cost("send_batch", &cost, "messages");
    return bench_sqs_drop(b, work.queue, error);
}

static enum err measure_through(struct bench_sqs *b, struct error *error)
{
    struct sqs_cost cost;
    struct sqs_work work = {.step = STEP_THROUGH, .queue = "bench-through"};
    TRY(bench_sqs_queue(b, work.queue, false, error));
    TRY(bench_sqs_work(b, work, b->connections, b->seconds, &cost, error));
    bench_sqs_cost("through", &cost, "messages");
    return bench_sqs_drop(b, work.queue, error);
}

// --- cases: waiting clients ---

struct idle {
    struct load *sockets; // 0 waits, 1 sends and deletes
    struct buf livez, receive, send, json, request;
};

static enum err exchange(struct idle *x, int i, struct span request, struct span *reply,
                         struct error *error)
{
    TRY(load_send(x->sockets, i, request, error));
    TRY(load_receive(x->sockets, i, &load_http, reply, error));
    if (!sqs_load_is_ok(*reply))
        return fail(error, ERR_UNAVAILABLE, 0, "the measured server refused a request: %.*s",
                    (int)(reply->len < 400 ? reply->len : 400), reply->data);
    return OK;
}

// One message to a client that waits. *ms: from its sending to the waiting client's answer.
static enum err idle_once(struct bench_sqs *b, struct idle *x, const char *queue, double *ms,
                          struct error *error)
{
    struct span reply;
    struct sqs_load_handles handles;
    TRY(load_send(x->sockets, 0, buf_view(&x->receive), error));
    // what came before this is with the server when it answers
    TRY(exchange(x, 1, buf_view(&x->livez), &reply, error));
    int64_t start_us = clock_monotonic_us();
    TRY(load_send(x->sockets, 1, buf_view(&x->send), error));
    TRY(load_receive(x->sockets, 0, &load_http, &reply, error));
    *ms = (double)(clock_monotonic_us() - start_us) / 1000;
    sqs_load_read_handles(reply, &handles);
    if (handles.count != 1)
        return fail(error, ERR_UNAVAILABLE, 0, "the waiting client did not get the message");
    TRY(load_receive(x->sockets, 1, &load_http, &reply, error));
    buf_clear(&x->json);
    buf_clear(&x->request);
    sqs_load_delete_json(queue, &handles, &x->json);
    sqs_load_request(&b->load, "DeleteMessageBatch", buf_view(&x->json), &x->request);
    return exchange(x, 1, buf_view(&x->request), &reply, error);
}

static enum err idle_times(struct bench_sqs *b, struct idle *x, const char *queue, double *times,
                           struct error *error)
{
    AUTO_BUF struct buf json = {0};
    sqs_load_livez(&b->load, &x->livez);
    sqs_load_receive_json(queue, 20, &json);
    sqs_load_request(&b->load, "ReceiveMessage", buf_view(&json), &x->receive);
    buf_clear(&json);
    sqs_load_send_json(queue, NULL, 0, 1, &json);
    sqs_load_request(&b->load, "SendMessage", buf_view(&json), &x->send);
    for (long i = 0; i < b->idle; i++)
        TRY(idle_once(b, x, queue, &times[i], error));
    return OK;
}

static enum err measure_idle(struct bench_sqs *b, struct error *error)
{
    struct idle x = {0};
    const char *queue = "bench-idle";
    double before_ms = 0, after_ms = 0, *times = calloc((size_t)b->idle, sizeof *times);
    CHECK(times != NULL);
    enum err err = bench_sqs_queue(b, queue, false, error);
    if (err == OK)
        err = bench_disk_sync(b->data.path, &before_ms, error);
    if (err == OK)
        err = load_open(b->server.port, 2, &x.sockets, error);
    if (err == OK)
        err = idle_times(b, &x, queue, times, error);
    if (err == OK)
        err = bench_disk_sync(b->data.path, &after_ms, error);
    if (err == OK) {
        bench_sqs_line("disk_sync_p50", (before_ms + after_ms) / 2, "ms");
        bench_sqs_line("idle_p50", bench_percentile(times, (size_t)b->idle, 0.5), "ms");
        bench_sqs_line("idle_p99", bench_percentile(times, (size_t)b->idle, 0.99), "ms");
    }
    load_close(x.sockets);
    struct buf *const all[] = {&x.livez, &x.receive, &x.send, &x.json, &x.request};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buf_release(all[i]);
    free(times);
    return err;
}

enum { POLLS_SETTLE_MS = 1000 };

static enum err start_polls(struct bench_sqs *b, struct load *sockets, struct span receive,
                            struct span livez, struct error *error)
{
    struct span reply;
    for (int i = 1; i <= b->polls; i++)
        TRY(load_send(sockets, i, receive, error));
    TRY(load_send(sockets, 0, livez, error));
    return load_receive(sockets, 0, &load_http, &reply, error);
}

// Processor time while they wait, without that of their beginning and end.
static enum err measure_polls(struct bench_sqs *b, struct error *error)
{
    AUTO_BUF struct buf json = {0}, receive = {0}, livez = {0};
    struct load *sockets = NULL;
    const char *queue = "bench-polls";
    TRY(bench_sqs_queue(b, queue, false, error));
    sqs_load_livez(&b->load, &livez);
    sqs_load_receive_json(queue, 20, &json);
    sqs_load_request(&b->load, "ReceiveMessage", buf_view(&json), &receive);
    double memory = bench_sqs_memory(b);
    TRY(load_open(b->server.port, (int)b->polls + 1, &sockets, error));
    enum err err = start_polls(b, sockets, buf_view(&receive), buf_view(&livez), error);
    struct pollfd end_of_server = {.fd = b->server.lifeline};
    poll(&end_of_server, 1, POLLS_SETTLE_MS); // the last are still read when the first answer comes
    double cpu_s = process_cpu_s(b->server.pid);
    int64_t start_us = clock_monotonic_us();
    if (err == OK && poll(&end_of_server, 1, (int)(b->seconds * 1000)) != 0)
        err = fail(error, ERR_UNAVAILABLE, 0, "the measured server ended");
    cpu_s = process_cpu_s(b->server.pid) - cpu_s;
    double took_s = (double)(clock_monotonic_us() - start_us) / 1e6;
    if (err == OK) {
        bench_sqs_line("idle_polls", (double)b->polls, "polls");
        bench_sqs_line("idle_polls_cpu", cpu_s / took_s * 100, "% of a core");
        bench_sqs_line("idle_poll_memory", (bench_sqs_memory(b) - memory) / (double)b->polls,
                       "bytes");
    }
    load_close(sockets);
    return err;
}

// --- all ---

static const struct bench_case {
    const char *name;
    enum err (*run)(struct bench_sqs *b, struct error *error);
} cases[] = {
    {"livez", measure_livez},     {"send", measure_send},   {"batch", measure_batch},
    {"through", measure_through}, {"idle", measure_idle},   {"polls", measure_polls},
    {"fifo", bench_sqs_fifo},     {"full", bench_sqs_full},
};

enum { CASE_COUNT = sizeof cases / sizeof cases[0] };

static enum err measure(struct bench_sqs *b, struct error *error)
{
    const char *only = options_get(&b->options, "case");
    fprintf(stderr, "smelt bench sqs: %ld connections, %g s each, bodies of %d bytes, in %s\n",
            b->connections, b->seconds, SQS_LOAD_BODY_BYTES, b->data.path);
    choose_cpus(b);
    TRY(bench_sqs_start(b, error));
    for (size_t i = 0; i < CASE_COUNT; i++) {
        if (only != NULL && strcmp(only, cases[i].name) != 0 &&
            !(i == 0 && strcmp(only, "send") == 0)) // livez, which it is compared with
            continue;
        b->running = cases[i].name;
        TRY(cases[i].run(b, error));
    }
    b->running = "peers";
    bench_stop(&b->server);
    return options_on(&b->options, "peers") ? bench_peers(b, error) : OK;
}

// To people and to programs, which may read only one of the two.
static void tell_failure(struct bench_sqs *b, struct error *error)
{
    bench_explain(&b->server, error);
    fprintf(stderr, "smelt: case %s: %s\n", b->running, error->msg);
    json_t *line =
        json_pack("{s:s,s:s,s:s}", "bench", "sqs", "case", b->running, "error", error->msg);
    if (line != NULL && json_dumpf(line, stdout, JSON_COMPACT) == 0)
        putchar('\n');
    json_decref(line);
    fflush(stdout);
}

static bool read_options(struct bench_sqs *b)
{
    const char *only = options_get(&b->options, "case");
    bool known = only == NULL, quick = options_on(&b->options, "quick");
    long seconds;
    for (size_t i = 0; i < CASE_COUNT && !known; i++)
        known = strcmp(only, cases[i].name) == 0;
    if (!known)
        fprintf(stderr, "smelt: there is no case '%s'; `smelt bench sqs --help` lists them\n",
                only);
    if (!known || !options_int(&b->options, "seconds", 1, 600, &seconds) ||
        !options_int(&b->options, "connections", 1, 1000, &b->connections) ||
        !options_int(&b->options, "messages", 1000, 100 * 1000 * 1000, &b->messages) ||
        !options_int(&b->options, "fifo", 1000, 10 * 1000 * 1000, &b->fifo) ||
        !options_int(&b->options, "polls", 1, LOAD_CONNECTIONS_MAX - 1, &b->polls))
        return false;
    b->seconds = quick ? 0.1 : (double)seconds;
    b->idle = quick ? 10 : 1000;
    b->rounds = quick ? 1 : 3;
    if (quick) {
        b->messages = 20000;
        b->fifo = 2000;
        b->polls = 100;
    }
    return true;
}

int bench_sqs_main(int argc, char **argv)
{
    struct error error;
    struct bench_sqs *b = calloc(1, sizeof *b);
    CHECK(b != NULL);
    int code = options_parse(&b->options, table, "smelt bench sqs [options]",
                             "Starts a queue of its own and measures it: rates, latency, memory, "
                             "restart. Needs two processors to mean something.",
                             argc, argv);
    if (code < 0 && (!options_no_argument(&b->options, "bench sqs") || !read_options(b)))
        code = 2;
    if (code < 0) {
        log_init("bench", LOG_WARN);
        b->running = "start";
        enum err err = bench_dir_open(options_get(&b->options, "data"), &b->data, &error);
        if (err == OK)
            err = measure(b, &error);
        if (err != OK)
            tell_failure(b, &error);
        bench_stop(&b->server);
        bench_dir_close(&b->data);
        code = err == OK ? 0 : 1;
    }
    options_release(&b->options);
    free(b);
    return code;
}
