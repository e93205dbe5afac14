#include "gateway/gateway.h"

#include "base/check.h"
#include "base/log.h"
#include "base/random.h"
#include "gateway/core.h"
#include "gateway/rest.h"
#include "gateway/tells.h"

#include <stdio.h>
#include <stdlib.h>

static void make_metrics(struct gateway_metrics *m)
{
    struct metrics *all = &m->registry;
    m->submitted =
        metrics_counter(all, "smelt_gateway_jobs_submitted_total", "", "Jobs put into the queue.");
    m->duplicates = metrics_counter(all, "smelt_gateway_jobs_repeated_total", "",
                                    "Submissions with an Idempotency-Key used before.");
    m->cancelled =
        metrics_counter(all, "smelt_gateway_jobs_cancelled_total", "", "Jobs cancelled here.");
    m->answered =
        metrics_counter(all, "smelt_gateway_results_total", "", "Results handed to clients.");
    m->refused_busy = metrics_counter(all, "smelt_gateway_refused_busy_total", "",
                                      "Submissions refused with 429 for lack of memory.");
    m->replies = metrics_counter(all, "smelt_gateway_replies_total", "",
                                 "Messages taken from the reply queue.");
    m->replies_unclaimed = metrics_counter(all, "smelt_gateway_replies_unclaimed_total", "",
                                           "Replies that no client waited for.");
    m->asked = metrics_counter(all, "smelt_gateway_waits_elsewhere_total", "",
                               "Waits for jobs that another gateway took in.");
    m->waiting = metrics_gauge(all, "smelt_gateway_requests_open", "",
                               "Requests about jobs in progress, those that wait included.");
    m->tells = metrics_gauge(all, "smelt_gateway_tells_open", "",
                             "Waits at other gateways for jobs of this one.");
    m->body_bytes =
        metrics_gauge(all, "smelt_gateway_body_bytes", "", "Bytes of uploads in memory.");
    m->submit_seconds = metrics_histogram(all, "smelt_gateway_submit_seconds", "",
                                          "From a request's head to its job being queued.");
    m->answer_seconds = metrics_histogram(all, "smelt_gateway_answer_seconds", "",
                                          "From a submission's head to its result, if waited for.");
}

static enum err make_clients(struct gateway *g, struct error *error)
{
    const struct gateway_config *c = &g->config;
    const struct http_client_config http = {.ca_bundle = c->ca_bundle};
    TRY(http_client_new(c->loop, &http, &g->http, error));
    struct aws_client_config aws = {
        .loop = c->loop,
        .http = g->http,
        .service = "sqs",
        .endpoint = c->sqs_endpoint,
        .region = c->region,
        .keys = c->keys,
    };
    TRY(aws_client_new(&aws, &g->sqs, error));
    aws.service = "s3";
    aws.endpoint = c->s3_endpoint;
    return aws_client_new(&aws, &g->s3, error);
}

static enum err make_server(struct gateway *g, struct error *error)
{
    const struct http_server_config config = {.listen = g->config.listen,
                                              .body_limit_bytes = GATEWAY_OVERHEAD_BYTES_MAX,
                                              .connection_bytes = GATEWAY_CONNECTION_BYTES};
    struct http_handlers handlers = rest_handlers;
    handlers.ctx = g;
    return http_server_new(g->config.loop, &config, &handlers, &g->server, error);
}

enum err gateway_new(const struct gateway_config *config, struct gateway **out, struct error *error)
{
    CHECK(config->model_count > 0);
    struct gateway *g = calloc(1, sizeof *g);
    CHECK(g != NULL);
    g->config = *config;
    make_metrics(&g->metrics);
    char random[17];
    random_text(random, 16);
    snprintf(g->replies_name, sizeof g->replies_name, JOB_REPLIES_PREFIX "%.60s",
             config->instance != NULL ? config->instance : random);
    enum err err = make_server(g, error); // first: its answers go out before new calls
    if (err == OK)
        err = make_clients(g, error);
    if (err != OK) {
        gateway_free(g);
        return err;
    }
    *out = g;
    setup_begin(g);
    return OK;
}

void gateway_set_models(struct gateway *g, const struct gateway_model *models, size_t count)
{
    CHECK(count > 0);
    g->config.models = models;
    g->config.model_count = count;
}

int gateway_port(const struct gateway *g)
{
    return http_server_port(g->server);
}

// --- the end ---

static void stopped(void *ctx)
{
    struct gateway *g = ctx;
    if (g->stopped)
        return;
    g->stopped = true;
    loop_timer_cancel(g->config.loop, &g->drain_timer);
    if (g->config.on_stopped != NULL)
        g->config.on_stopped(g->config.ctx);
}

static void on_replies_deleted(void *ctx, const struct aws_result *r)
{
    if (r->err != ERR_CANCELLED)
        stopped(ctx);
}

void gateway_visit_ended(struct gateway *g)
{
    if (!g->stopping || g->stopped || g->visits != NULL || g->replies_deleted)
        return;
    g->replies_deleted = true;
    if (g->config.instance == NULL && g->replies_url[0] != '\0')
        sqs_delete_queue(g->sqs, g->replies_url, on_replies_deleted, g);
    else
        stopped(g);
}

void gateway_stop(struct gateway *g)
{
    if (g->stopping)
        return;
    g->stopping = true;
    http_server_stop_accepting(g->server);
    loop_timer_cancel(g->config.loop, &g->setup_timer);
    setup_free(g->making);
    g->making = NULL;
    replies_stop(g);
    tells_drop(g);
    loop_timer_set(g->config.loop, &g->drain_timer,
                   loop_now_ms(g->config.loop) + GATEWAY_DRAIN_S_MAX * 1000, stopped, g);
    for (struct visit *v = g->visits, *next; v != NULL; v = next) {
        next = v->next;
        if (v->waiter.link != NULL && v->s3 == NULL && v->sqs == NULL && !v->answered)
            visit_answer_queued(v);
    }
    gateway_visit_ended(g);
}

void gateway_free(struct gateway *g)
{
    if (g == NULL)
        return;
    g->stopping = true;
    g->stopped = true;
    loop_timer_cancel(g->config.loop, &g->setup_timer);
    loop_timer_cancel(g->config.loop, &g->drain_timer);
    setup_free(g->making);
    http_server_free(g->server);
    replies_stop(g);
    tells_drop(g);
    aws_client_free(g->sqs);
    aws_client_free(g->s3);
    http_client_free(g->http);
    waiters_release(&g->waiters);
    metrics_release(&g->metrics.registry);
    free(g);
}
