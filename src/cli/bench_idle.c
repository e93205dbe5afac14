#include "cli/bench_idle.h"

#include "base/clock.h"
#include "base/loop.h"
#include "cli/bench_processes.h"
#include "cli/bench_started.h"
#include "http/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_S = 5 }; // what a pool does once after its start

struct idle {
    struct loop *loop;
    struct http_client *http;
    struct timer timer;
    struct bench_started sqs, s3, worker;
    char credentials[4200], sqs_url[64], s3_url[64], metrics_url[80];
    double requests; // of the last answer
    int status;      // of it; 0: none
};

// --- the measured pool ---

static enum err start_service(const char *role, const char *listen, const char *dir,
                              struct bench_started *out, char url[64], struct error *error)
{
    const char *argv[] = {"smelt",       role,   "--data",        dir, listen,       "127.0.0.1:0",
                          "--log-level", "warn", "--lifeline-fd", "3", "--ready-fd", "4",
                          NULL};
    TRY(bench_start(argv, out, error));
    snprintf(url, 64, "http://127.0.0.1:%d", out->port);
    return OK;
}

static enum err start_all(struct idle *i, const char *model, const char *models, int workers,
                          const char *dir, struct error *error)
{
    char count[16];
    snprintf(count, sizeof count, "%d", workers);
    snprintf(i->credentials, sizeof i->credentials, "%s/credentials", dir);
    TRY(start_service("sqs", "--sqs-listen", dir, &i->sqs, i->sqs_url, error));
    TRY(start_service("s3", "--s3-listen", dir, &i->s3, i->s3_url, error));
    snprintf(i->metrics_url, sizeof i->metrics_url, "%s/metrics", i->sqs_url);
    const char *argv[] = {"smelt",
                          "worker",
                          "--credentials",
                          i->credentials,
                          "--sqs-endpoint",
                          i->sqs_url,
                          "--s3-endpoint",
                          i->s3_url,
                          "--ec2",
                          "off",
                          "--workers",
                          count,
                          "--model",
                          model,
                          "--log-level",
                          "warn",
                          "--lifeline-fd",
                          "3",
                          "--ready-fd",
                          "4",
                          models != NULL ? "--models" : NULL,
                          models,
                          NULL};
    return bench_start(argv, &i->worker, error);
}

// --- what it does ---

static void on_time(void *ctx)
{
    struct idle *i = ctx;
    loop_stop(i->loop);
}

static enum err wait_s(struct idle *i, int seconds, struct error *error)
{
    loop_timer_set(i->loop, &i->timer, clock_monotonic_ms() + seconds * 1000, on_time, i);
    return loop_run(i->loop, error);
}

// Sum of smelt_sqs_requests_total over its labels.
static double sum_requests(struct span text)
{
    static const char name[] = "smelt_sqs_requests_total{";
    double sum = 0;
    while (text.len > 0) {
        struct span line = span_cut(text, '\n', &text);
        char number[64];
        const char *space = memchr(line.data, ' ', line.len);
        if (!span_starts(line, name) || space == NULL)
            continue;
        snprintf(number, sizeof number, "%.*s", (int)(line.data + line.len - space), space);
        sum += strtod(number, NULL);
    }
    return sum;
}

static void on_metrics(void *ctx, const struct http_response *r)
{
    struct idle *i = ctx;
    i->status = r->err == OK ? r->status : 0;
    i->requests = sum_requests(r->body);
    loop_stop(i->loop);
}

static enum err count_requests(struct idle *i, double *out, struct error *error)
{
    const struct http_call_spec spec = {.method = "GET", .url = i->metrics_url, .body_fd = -1};
    http_client_start(i->http, &spec, on_metrics, i);
    TRY(loop_run(i->loop, error));
    if (i->status != 200)
        return fail(error, ERR_UNAVAILABLE, 0, "the queue's /metrics answers %d", i->status);
    *out = i->requests;
    return OK;
}

static enum err measure(struct idle *i, int seconds, struct bench_idle *out, struct error *error)
{
    double before = 0, after = 0;
    TRY(wait_s(i, SETTLE_S, error));
    TRY(count_requests(i, &before, error));
    int64_t begun_us = clock_monotonic_us();
    struct bench_cpu cpu_before = bench_cpu_of_children(i->worker.pid);
    TRY(wait_s(i, seconds, error));
    struct bench_cpu cpu_after = bench_cpu_of_children(i->worker.pid);
    double passed_s = (double)(clock_monotonic_us() - begun_us) / 1e6;
    TRY(count_requests(i, &after, error));
    out->core_percent = (cpu_after.all_s - cpu_before.all_s) / passed_s * 100;
    out->requests_per_minute = (after - before) / passed_s * 60;
    return OK;
}

enum err bench_idle_run(const char *model, const char *models, int workers, int seconds,
                        const char *dir, struct bench_idle *out, struct error *error)
{
    struct idle i = {0};
    *out = (struct bench_idle){0};
    enum err err = start_all(&i, model, models, workers, dir, error);
    if (err == OK)
        err = loop_new(&i.loop, error);
    if (err == OK)
        err = http_client_new(i.loop, &(struct http_client_config){0}, &i.http, error);
    if (err == OK)
        err = measure(&i, seconds, out, error);
    bench_stop(&i.worker);
    bench_stop(&i.s3);
    bench_stop(&i.sqs);
    http_client_free(i.http);
    if (i.loop != NULL)
        loop_timer_cancel(i.loop, &i.timer);
    loop_free(i.loop);
    return err;
}
