#include "worker/worker_role.h"

#include "base/log.h"
#include "base/process.h"
#include "http/server.h"
#include "worker/lifecycle.h"
#include "worker/notice.h"
#include "worker/poller.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

struct worker {
    const struct worker_config *config;
    struct loop *loop;
    struct http_client *http;
    struct keys *keys;
    struct aws_client *sqs, *s3;
    struct poller *poller;
    struct http_server *server;
    struct watch lifeline;
    struct notice *notice;
    struct lifecycle *lifecycle;
    bool group_wants_it; // drained because the auto-scaling group takes the host
    int ready_fd;
    int exit_code;
};

// --- admin port ---

static enum http_body on_head(void *ctx, struct http_request *r)
{
    (void)ctx;
    r->body_limit_bytes = 0;
    return HTTP_BODY_BUFFER;
}

static void on_request(void *ctx, struct http_request *r)
{
    struct worker *w = ctx;
    const struct http_header text = {SPAN("Content-Type"), SPAN("text/plain; version=0.0.4")};
    AUTO_BUF struct buf body = {0};
    int status = 200;
    if (span_is(r->target_path, "/livez")) {
        buf_add_text(&body, "ok\n");
    } else if (span_is(r->target_path, "/readyz")) {
        bool ready = poller_ready(w->poller, &body);
        status = ready ? 200 : 503;
        buf_add_text(&body, ready ? "ok\n" : "\n");
        poller_describe_models(w->poller, &body);
    } else if (span_is(r->target_path, "/metrics")) {
        poller_metrics(w->poller, &body);
        poller_ask_backlog(w->poller);
    } else {
        status = 404;
        buf_add_text(&body, "not here: /livez, /readyz, /metrics\n");
    }
    http_reply(r, status, &text, 1, buf_view(&body));
}

static void on_too_large(void *ctx, struct http_request *r)
{
    (void)ctx;
    http_reply(r, 413, NULL, 0, SPAN("no body is wanted here\n"));
}

static void on_done(void *ctx, struct http_request *r)
{
    (void)ctx;
    (void)r;
}

static enum err open_server(struct worker *w, struct error *error)
{
    if (w->config->listen == NULL)
        return OK;
    const struct http_server_config config = {.listen = w->config->listen, .connections_max = 64};
    const struct http_handlers handlers = {.ctx = w,
                                           .on_head = on_head,
                                           .on_request = on_request,
                                           .on_too_large = on_too_large,
                                           .on_done = on_done};
    enum err err = http_server_new(w->loop, &config, &handlers, &w->server, error);
    return err == OK ? OK : fail_context(error, err, "--worker-listen");
}

// --- events of the poller and of the system ---

static void on_ready(void *ctx)
{
    struct worker *w = ctx;
    int port = w->server != NULL ? http_server_port(w->server) : 0;
    log_event(LOG_INFO, "ready", "pid=%d port=%d", (int)getpid(), port);
    process_ready(w->ready_fd, port);
    w->ready_fd = -1;
}

static void on_failed(void *ctx, const char *sentence)
{
    struct worker *w = ctx;
    char text[800];
    if (w->config->ready_fd < 0)
        fprintf(stderr, "smelt: %s\n", sentence);
    else if (w->ready_fd < 0) // ready long ago: nobody listens there any more
        log_event(LOG_ERROR, "failed", "error=%s", log_quote(sentence, text, sizeof text));
    process_failed(w->ready_fd, sentence);
    w->ready_fd = -1;
    w->exit_code = 1;
    loop_stop(w->loop);
}

static void on_group_told(void *ctx)
{
    struct worker *w = ctx;
    loop_stop(w->loop);
}

static void on_drained(void *ctx)
{
    struct worker *w = ctx;
    log_event(LOG_INFO, "drained", "pid=%d", (int)getpid());
    if (w->group_wants_it && w->config->lifecycle_hook != NULL)
        w->lifecycle = lifecycle_new(w->loop, w->http, w->keys, w->config->region,
                                     w->config->lifecycle_hook, on_group_told, w);
    else
        loop_stop(w->loop);
}

static void on_signal(void *ctx, int signal)
{
    struct worker *w = ctx;
    if (w->poller == NULL) // it waits for its first keys
        loop_stop(w->loop);
    else if (signal == SIGTERM || signal == SIGINT)
        poller_drain(w->poller);
    else if (signal == SIGHUP)
        poller_reload(w->poller);
}

static void on_lifeline(void *ctx)
{
    struct worker *w = ctx;
    loop_watch_remove(w->loop, &w->lifeline);
    poller_drain(w->poller); // the supervisor is gone, the queue may well be there
}

static void on_notice(void *ctx, const char *why, bool of_group)
{
    struct worker *w = ctx;
    w->group_wants_it = of_group;
    log_event(LOG_WARN, "host_leaves", "why=\"%s\"", why);
    poller_drain(w->poller);
}

// --- life ---

static enum err open_clients(struct worker *w, struct error *error)
{
    const struct worker_config *c = w->config;
    struct aws_client_config aws = {.loop = w->loop, .region = c->region, .attempts_max = 3};
    const struct http_client_config http = {.ca_bundle = c->ca_bundle};
    TRY(http_client_new(w->loop, &http, &w->http, error));
    const struct keys_config keys = {.loop = w->loop,
                                     .http = w->http,
                                     .file = c->credentials_file,
                                     .data_file = c->data_credentials_file,
                                     .region = c->region};
    TRY(keys_open(&keys, &w->keys, error));
    TRY(keys_first(w->keys, error));
    aws.keys = w->keys;
    aws.http = w->http;
    aws.service = "sqs";
    aws.endpoint = c->sqs_endpoint;
    TRY(aws_client_new(&aws, &w->sqs, error));
    aws.service = "s3";
    aws.endpoint = c->s3_endpoint;
    return aws_client_new(&aws, &w->s3, error);
}

static enum err open_poller(struct worker *w, struct error *error)
{
    const struct worker_config *c = w->config;
    const struct poller_config poller = {.loop = w->loop,
                                         .sqs = w->sqs,
                                         .s3 = w->s3,
                                         .queue = c->queue,
                                         .bucket = c->bucket,
                                         .bucket_allow = c->bucket_allow,
                                         .create = c->create,
                                         .max_receive_count = c->max_receive_count,
                                         .visibility_s = c->visibility_s,
                                         .leases = c->leases,
                                         .model = c->model,
                                         .search_path = c->search_path,
                                         .exec = c->exec,
                                         .children = c->children,
                                         .children_min = c->children_min,
                                         .idle_ms = c->idle_ms,
                                         .memory_bytes = c->memory_bytes,
                                         .pin = c->pin,
                                         .state_file = c->state_file,
                                         .job_timeout_ms = c->job_timeout_s * 1000,
                                         .ctx = w,
                                         .on_ready = on_ready,
                                         .on_failed = on_failed,
                                         .on_drained = on_drained};
    return poller_new(&poller, &w->poller, error);
}

static enum err open_notice(struct worker *w, struct error *error)
{
    enum worker_ec2 ec2 = w->config->ec2;
    if (ec2 == EC2_OFF || (ec2 == EC2_AUTO && !notice_on_ec2("")))
        return OK;
    enum err err = notice_new(w->loop, w->http, on_notice, w, &w->notice, error);
    if (err == ERR_UNSUPPORTED && ec2 == EC2_AUTO)
        return OK;
    return err == OK ? OK : fail_context(error, err, "--ec2");
}

static enum err open_all(struct worker *w, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, 0};
    TRY(loop_new(&w->loop, error));
    TRY(loop_signals(w->loop, signals, on_signal, w, error)); // before libcurl's threads
    TRY(open_clients(w, error));
    TRY(open_poller(w, error));
    TRY(open_server(w, error));
    TRY(open_notice(w, error));
    return process_lifeline(w->loop, &w->lifeline, w->config->lifeline_fd, on_lifeline, w, error);
}

static void close_all(struct worker *w)
{
    notice_free(w->notice);
    lifecycle_free(w->lifecycle);
    http_server_free(w->server);
    poller_free(w->poller);
    aws_client_free(w->sqs);
    aws_client_free(w->s3);
    keys_close(w->keys);
    http_client_free(w->http);
    loop_free(w->loop);
}

int worker_run(const struct worker_config *config)
{
    struct worker w = {.config = config, .ready_fd = config->ready_fd};
    struct error error = {0};
    // each child: a socket and its memory; the rest for the clients
    process_raise_file_limit(4 * config->children + 1024);
    enum err err = open_all(&w, &error);
    if (err == OK)
        err = loop_run(w.loop, &error);
    if (err != OK)
        on_failed(&w, error.msg);
    close_all(&w);
    return w.exit_code;
}
