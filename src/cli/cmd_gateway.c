// smelt gateway: REST and page, as a process of its own.
#include "aws/keys.h"
#include "base/arena.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/served_models.h"
#include "engine/package.h"
#include "engine/package_default.h"
#include "gateway/gateway.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct option table[] = {
    {"gateway-listen", "ADDR:PORT", "127.0.0.1:8080",
     "REST and the page; port 0 takes any free one"},
    {"model", "MODEL,…", NULL,
     "as the workers have it: the first is the default (default: xception once it is fetched,\n"
     "else demo)"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"sqs-endpoint", "URL", NULL, "the queue service (default: AWS_ENDPOINT_URL_SQS, else Amazon)"},
    {"s3-endpoint", "URL", NULL, "the object store (default: AWS_ENDPOINT_URL_S3, else Amazon)"},
    OPTIONS_OF_A_CLIENT,
    {"no-create", NULL, NULL, "do not make the jobs queue when it is missing; wait for it"},
    {"max-receive-count", "N", "3", "attempts before the dead-letter queue, of a queue made here"},
    {"bucket-allow", "NAMES", NULL, "other buckets that pictures may be in: 'photos,scans-*', '*'"},
    {"instance", "NAME", NULL,
     "keeps the reply queue smelt-replies-NAME over restarts (default: a random one)"},
    OPTIONS_OF_A_ROLE,
    {0},
};

struct command_state {
    struct options options;
    struct arena arena;
    struct loop *loop;
    struct http_client *http; // of the keys
    struct keys *keys;
    struct gateway *gateway;
    struct served_models *models;
    int ready_fd;
    struct watch lifeline;
};

static void on_models(void *ctx)
{
    struct command_state *c = ctx;
    size_t count;
    const struct gateway_model *list = served_models_list(c->models, &count);
    if (c->gateway != NULL)
        gateway_set_models(c->gateway, list, count);
}

static enum err read_models(struct command_state *c, struct error *error)
{
    AUTO_BUF struct buf search_path = {0};
    package_search_path(options_get(&c->options, "models"), &search_path);
    const char *folders = arena_copy(&c->arena, buf_view(&search_path));
    const char *list = options_get(&c->options, "model");
    if (list == NULL)
        list = package_default_name(folders);
    return served_models_open(c->loop, list, folders, options_get(&c->options, "data"), on_models,
                              c, &c->models, error);
}

static void on_ready(void *ctx)
{
    struct command_state *c = ctx;
    process_ready(c->ready_fd, gateway_port(c->gateway));
    c->ready_fd = -1;
}

static void on_stopped(void *ctx)
{
    struct command_state *c = ctx;
    loop_stop(c->loop);
}

static void on_signal(void *ctx, int signal)
{
    static int stops; // the second one ends the drain
    struct command_state *c = ctx;
    (void)signal;
    if (stops++ == 0 && c->gateway != NULL) // else it waits for its first keys
        gateway_stop(c->gateway);
    else
        loop_stop(c->loop);
}

static void on_parent_gone(void *ctx)
{
    (void)ctx;
    log_event(LOG_ERROR, "parent_gone", "action=exit");
    _exit(1);
}

static enum err find_keys(struct command_state *c, struct error *error)
{
    const char *data = options_get(&c->options, "data");
    const struct http_client_config http = {.connections_max = 2,
                                            .ca_bundle = getenv("AWS_CA_BUNDLE")};
    TRY(http_client_new(c->loop, &http, &c->http, error));
    const struct keys_config keys = {
        .loop = c->loop,
        .http = c->http,
        .file = options_get(&c->options, "credentials"),
        .data_file = data != NULL ? arena_printf(&c->arena, "%s/credentials", data) : NULL,
        .region = options_get(&c->options, "region"),
    };
    TRY(keys_open(&keys, &c->keys, error));
    return keys_first(c->keys, error);
}

static enum err run(struct command_state *c, int lifeline_fd, int max_receive_count,
                    struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, 0};
    struct gateway_config config = {
        .listen = options_get(&c->options, "gateway-listen"),
        .sqs_endpoint = options_get(&c->options, "sqs-endpoint"),
        .s3_endpoint = options_get(&c->options, "s3-endpoint"),
        .region = options_get(&c->options, "region"),
        .ca_bundle = getenv("AWS_CA_BUNDLE"),
        .instance = options_get(&c->options, "instance"),
        .bucket_allow = options_get(&c->options, "bucket-allow"),
        .create = !options_on(&c->options, "no-create"),
        .max_receive_count = max_receive_count,
        .on_ready = on_ready,
        .on_stopped = on_stopped,
        .ctx = c,
    };
    TRY(loop_new(&c->loop, error));
    TRY(read_models(c, error));
    config.models = served_models_list(c->models, &config.model_count);
    config.loop = c->loop;
    TRY(loop_signals(c->loop, signals, on_signal, c, error));
    TRY(process_lifeline(c->loop, &c->lifeline, lifeline_fd, on_parent_gone, c, error));
    TRY(find_keys(c, error));
    config.keys = c->keys;
    process_raise_file_limit(HTTP_CONNECTIONS_MAX + 200);
    if (gateway_new(&config, &c->gateway, error) != OK)
        return fail_context(error, error->code, "--gateway-listen %s", config.listen);
    log_event(LOG_INFO, "gateway_started", "port=%d", gateway_port(c->gateway));
    return loop_run(c->loop, error);
}

static int run_with_options(struct command_state *c)
{
    int lifeline_fd;
    struct error error;
    long receives;
    if (!options_start_role(&c->options, "gateway", &c->ready_fd, &lifeline_fd) ||
        !options_listen(&c->options, "gateway-listen") ||
        !options_int(&c->options, "max-receive-count", 1, SQS_RECEIVE_COUNT_MAX, &receives))
        return 2;
    enum err err = run(c, lifeline_fd, (int)receives, &error);
    if (err != OK) {
        if (c->ready_fd < 0)
            fprintf(stderr, "smelt: %s\n", error.msg);
        process_failed(c->ready_fd, error.msg);
    }
    gateway_free(c->gateway);
    served_models_close(c->models);
    keys_close(c->keys);
    http_client_free(c->http);
    loop_free(c->loop);
    return err == OK ? 0 : 1;
}

int gateway_main(int argc, char **argv)
{
    struct command_state c = {0};
    int code = options_parse(
        &c.options, table, "smelt gateway [options]",
        "The REST interface and the page, in front of any SQS queue and S3 store.", argc, argv);
    if (code < 0)
        code = run_with_options(&c);
    options_release(&c.options);
    arena_release(&c.arena);
    return code;
}
