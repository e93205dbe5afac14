#include "s3/s3_role.h"

#include "aws/credentials.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/process.h"
#include "s3/s3_server.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>

enum { DRAIN_MS = 10000 }; // then what is still under way is cut off

struct role {
    struct s3_server server;
    struct watch lifeline;
    struct timer drain_timer;
    struct turn_hook drain_hook;
    struct error fatal; // code OK: none
};

static void metrics_init(struct s3_metrics *m)
{
    static const char *const operations[S3_OP_COUNT] = {
        [S3_OP_NONE] = "operation=\"none\"",
        [S3_OP_LIST_BUCKETS] = "operation=\"ListBuckets\"",
        [S3_OP_CREATE_BUCKET] = "operation=\"CreateBucket\"",
        [S3_OP_HEAD_BUCKET] = "operation=\"HeadBucket\"",
        [S3_OP_DELETE_BUCKET] = "operation=\"DeleteBucket\"",
        [S3_OP_GET_BUCKET_LOCATION] = "operation=\"GetBucketLocation\"",
        [S3_OP_LIST_OBJECTS_V2] = "operation=\"ListObjectsV2\"",
        [S3_OP_DELETE_OBJECTS] = "operation=\"DeleteObjects\"",
        [S3_OP_PUT_OBJECT] = "operation=\"PutObject\"",
        [S3_OP_GET_OBJECT] = "operation=\"GetObject\"",
        [S3_OP_HEAD_OBJECT] = "operation=\"HeadObject\"",
        [S3_OP_DELETE_OBJECT] = "operation=\"DeleteObject\"",
    };
    static const char *const classes[6] = {"status=\"0xx\"", "status=\"1xx\"", "status=\"2xx\"",
                                           "status=\"3xx\"", "status=\"4xx\"", "status=\"5xx\""};
    struct metrics *r = &m->registry;
    for (int i = 0; i < S3_OP_COUNT; i++)
        m->operations[i] = metrics_counter(r, "smelt_s3_requests_total", operations[i],
                                           "Requests answered, by operation.");
    for (int i = 0; i < 6; i++)
        m->status[i] = metrics_counter(r, "smelt_s3_replies_total", classes[i],
                                       "Requests answered, by class of status.");
    m->received_bytes =
        metrics_counter(r, "smelt_s3_received_bytes_total", "", "Bytes of object bodies received.");
    m->sent_bytes = metrics_counter(r, "smelt_s3_sent_bytes_total", "", "Bytes of bodies sent.");
    m->commits = metrics_counter(r, "smelt_s3_commits_total", "", "Transactions made durable.");
    m->changes = metrics_counter(r, "smelt_s3_changes_total", "", "Changes made durable.");
    m->commit_seconds = metrics_histogram(r, "smelt_s3_commit_seconds", "",
                                          "Time of a transaction, with its syncs.");
    m->request_seconds = metrics_histogram(r, "smelt_s3_request_seconds", "",
                                           "Time from a request's head to its reply.");
    m->damaged = metrics_counter(r, "smelt_s3_damaged_total", "",
                                 "Reads refused because bytes on disk were changed.");
}

// --- the end ---

static void on_fatal(void *ctx, const struct error *error)
{
    struct role *role = ctx;
    char text[600];
    role->fatal = *error;
    log_event(LOG_ERROR, "store_failed", "error=%s", log_quote(error->msg, text, sizeof text));
    loop_stop(role->server.loop);
}

static void on_parent_gone(void *ctx)
{
    struct role *role = ctx;
    loop_stop(role->server.loop);
}

static void on_drain_timeout(void *ctx)
{
    struct role *role = ctx;
    log_event(LOG_WARN, "drain_cut", "requests=%d", role->server.requests);
    loop_stop(role->server.loop);
}

static bool on_turn_end(void *ctx)
{
    struct role *role = ctx;
    if (role->server.draining && role->server.requests == 0)
        loop_stop(role->server.loop);
    return false;
}

static void on_signal(void *ctx, int signal)
{
    struct role *role = ctx;
    if (signal == SIGHUP || role->server.draining)
        return;
    log_event(LOG_INFO, "draining", "requests=%d", role->server.requests);
    role->server.draining = true;
    http_server_stop_accepting(role->server.http);
    loop_timer_set(role->server.loop, &role->drain_timer, loop_now_ms(role->server.loop) + DRAIN_MS,
                   on_drain_timeout, role);
}

// --- the start ---

static enum err start(struct role *role, const struct s3_role_config *config, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, 0};
    char store_dir[PATH_MAX], credentials[PATH_MAX];
    struct s3_server *server = &role->server;
    if (snprintf(store_dir, sizeof store_dir, "%s/s3", config->data_dir) >= PATH_MAX ||
        snprintf(credentials, sizeof credentials, "%s/credentials", config->data_dir) >= PATH_MAX)
        return fail(error, ERR_ARGUMENT, 0, "path '%.100s…' is too long", config->data_dir);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); // a file size limit is an error of write, not the end of us
    process_raise_file_limit(HTTP_CONNECTIONS_MAX + HTTP_CONNECTIONS_MAX / 2);
    TRY(loop_new(&server->loop, error));
    TRY(loop_signals(server->loop, signals, on_signal, role, error));
    TRY(process_lifeline(server->loop, &role->lifeline, config->lifeline_fd, on_parent_gone, role,
                         error));
    TRY(dir_make(config->data_dir, error));
    if (config->credentials == NULL)
        TRY(credentials_create(credentials, error));
    TRY(keyring_open(config->credentials != NULL ? config->credentials : credentials,
                     &server->keyring, error));
    const struct store_config store = {
        .dir = store_dir, .loop = server->loop, .on_fatal = on_fatal, .ctx = role};
    TRY(store_open(&store, &server->store, error));
    struct http_handlers handlers = s3_handlers;
    handlers.ctx = server;
    const struct http_server_config http = {.listen = config->listen,
                                            .connection_bytes = S3_CONNECTION_BYTES};
    enum err err = http_server_new(server->loop, &http, &handlers, &server->http, error);
    if (err != OK)
        return fail_context(error, err, "--s3-listen %s", config->listen);
    loop_hook_add(server->loop, &role->drain_hook, on_turn_end, role);
    return OK;
}

static void finish(struct role *role)
{
    http_server_free(role->server.http); // first: it lets go of the requests' uploads
    store_close(role->server.store);
    keyring_free(role->server.keyring);
    metrics_release(&role->server.metrics.registry);
    loop_free(role->server.loop);
}

enum err s3_role_run(const struct s3_role_config *config, struct error *error)
{
    struct role role = {.fatal = {.code = OK}};
    struct error why = {.code = OK};
    metrics_init(&role.server.metrics);
    enum err err = start(&role, config, &why);
    if (err != OK) {
        process_failed(config->ready_fd, why.msg);
    } else {
        int port = http_server_port(role.server.http);
        log_event(LOG_INFO, "s3_ready", "port=%d", port);
        process_ready(config->ready_fd, port);
        err = loop_run(role.server.loop, &why);
    }
    if (err == OK && role.fatal.code != OK) {
        err = role.fatal.code;
        why = role.fatal;
    }
    finish(&role);
    if (err != OK && error != NULL)
        *error = why;
    return err;
}
