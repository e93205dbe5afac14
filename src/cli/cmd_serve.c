// smelt serve: all roles on this machine, in one data directory.
#include "aws/credentials.h"
#include "base/arena.h"
#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/handler_name.h"
#include "cli/model_names.h"
#include "cli/options.h"
#include "cli/supervisor.h"
#include "engine/package.h"
#include "engine/package_default.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SQS, S3, WORKER, GATEWAY, ROLE_COUNT };

static const struct option table[] = {
    {"data", "DIR", "smelt-data", "where everything is kept; made if it is not there"},
    {"gateway-listen", "ADDR:PORT", "127.0.0.1:8080",
     "REST and the page; port 0 takes any free one"},
    {"sqs-listen", "ADDR:PORT", "127.0.0.1:9324", "the queue service"},
    {"sqs-cooldown", "SECONDS", "60",
     "how long a purge refuses the next one, and a deleted queue's name a new queue; 0: never"},
    {"s3-listen", "ADDR:PORT", "127.0.0.1:9000", "the object store"},
    {"model", "MODEL,…", NULL,
     "packages' names or folders, or ONNX files; the first answers jobs that name none\n"
     "(default: xception once it is fetched, else demo)"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"exec", "COMMAND", NULL, "a program that answers instead of a model (docs/handlers.md)"},
    {"exec-name", "NAME", NULL, "what jobs call it (default: the program's file name)"},
    {"workers", "MIN:MAX|N", NULL,
     "processes that infer: more with more jobs, fewer when idle (default: 1 to the usable\n"
     "processors)"},
    {"pin", NULL, NULL, "each of them on a processor of its own"},
    {"job-timeout", "S", "30", "a picture that computes longer ends its process"},
    {"worker-listen", "ADDR:PORT", NULL, "the pool's own /readyz and /metrics"},
    {"bucket-allow", "NAMES", NULL, "other buckets that pictures may be in: 'photos,scans-*', '*'"},
    {"log-level", "LEVEL", "warn", "debug, info, warn or error"},
    {"quiet", NULL, NULL, NULL},
    {"lifeline-fd", "FD", NULL, NULL},
    {"ready-fd", "FD", NULL, NULL},
    {0},
};

struct serve {
    struct options options;
    struct arena arena;
    struct loop *loop;
    struct supervisor *supervisor;
    const char *credentials;       // path
    const char *leases;            // path
    const char *model;             // --model, or the default
    const char *model_name;        // of the first one, as jobs call it
    char address[ROLE_COUNT][256]; // of each --…-listen, without the port
    char listen[ROLE_COUNT][300];  // with the port it got
    char url[ROLE_COUNT][300];
    int ready_fd, lifeline_fd;
    struct watch lifeline;
    bool failed;
};

// "ADDR:PORT" with the port replaced by the one that the role got, so that it comes back in the
// same place.
static const char *listen_on(struct serve *serve, int role, const char *option, int port)
{
    const char *given = options_get(&serve->options, option);
    const char *colon = strrchr(given, ':');
    int len = colon != NULL ? (int)(colon - given) : (int)strlen(given);
    snprintf(serve->address[role], sizeof serve->address[role], "%.*s", len, given);
    if (port == 0)
        return given;
    snprintf(serve->listen[role], sizeof serve->listen[role], "%.*s:%d", len, given, port);
    return serve->listen[role];
}

// The host under which clients on this machine reach a role that listens on `address`.
static const char *reachable(const char *address)
{
    if (strcmp(address, "0.0.0.0") == 0)
        return "127.0.0.1";
    return strcmp(address, "[::]") == 0 ? "[::1]" : address;
}

static const char *url_of(struct serve *serve, int role)
{
    snprintf(serve->url[role], sizeof serve->url[role], "http://%s:%d",
             reachable(serve->address[role]), supervisor_port(serve->supervisor, (size_t)role));
    return serve->url[role];
}

static void add(const char **argv, const char *name, const char *value)
{
    size_t n = 0;
    while (argv[n] != NULL)
        n++;
    CHECK(n + 2 < SUPERVISOR_ARGUMENTS_MAX);
    argv[n] = name;
    argv[n + 1] = value;
}

static void begin(struct serve *serve, const char **argv, const char *role)
{
    argv[0] = "smelt";
    argv[1] = role;
    add(argv, "--log-level", options_get(&serve->options, "log-level"));
}

static void sqs_arguments(void *ctx, int port, const char **argv)
{
    struct serve *serve = ctx;
    begin(serve, argv, "sqs");
    add(argv, "--data", options_get(&serve->options, "data"));
    add(argv, "--sqs-listen", listen_on(serve, SQS, "sqs-listen", port));
    add(argv, "--sqs-cooldown", options_get(&serve->options, "sqs-cooldown"));
}

static void s3_arguments(void *ctx, int port, const char **argv)
{
    struct serve *serve = ctx;
    begin(serve, argv, "s3");
    add(argv, "--data", options_get(&serve->options, "data"));
    add(argv, "--s3-listen", listen_on(serve, S3, "s3-listen", port));
}

static void add_given(struct serve *serve, const char **argv, const char *option,
                      const char *argument)
{
    if (options_get(&serve->options, option) != NULL)
        add(argv, argument, options_get(&serve->options, option));
}

// Endpoints and keys reach worker and gateway under the names that every AWS client knows.
static void set_environment(struct serve *serve)
{
    setenv("AWS_ENDPOINT_URL_SQS", url_of(serve, SQS), 1);
    setenv("AWS_ENDPOINT_URL_S3", url_of(serve, S3), 1);
}

static void add_models(struct serve *serve, const char **argv)
{
    add(argv, "--model", serve->model);
    if (options_get(&serve->options, "models") != NULL)
        add(argv, "--models", options_get(&serve->options, "models"));
}

static void worker_arguments(void *ctx, int port, const char **argv)
{
    struct serve *serve = ctx;
    (void)port;
    set_environment(serve);
    begin(serve, argv, "worker");
    add(argv, "--data", options_get(&serve->options, "data"));
    add_given(serve, argv, "bucket-allow", "--bucket-allow");
    if (options_get(&serve->options, "exec") != NULL) {
        add(argv, "--exec", options_get(&serve->options, "exec"));
        add(argv, "--exec-name", serve->model_name);
    } else {
        add_models(serve, argv);
    }
    add_given(serve, argv, "workers", "--workers");
    if (options_on(&serve->options, "pin"))
        add(argv, "--pin", NULL);
    add(argv, "--job-timeout", options_get(&serve->options, "job-timeout"));
    add_given(serve, argv, "worker-listen", "--worker-listen");
    add(argv, "--leases", serve->leases);
    add(argv, "--ec2", "off"); // its queue is on this host, too: nobody else could take over
}

static void gateway_arguments(void *ctx, int port, const char **argv)
{
    struct serve *serve = ctx;
    set_environment(serve);
    begin(serve, argv, "gateway");
    add(argv, "--data", options_get(&serve->options, "data"));
    add_given(serve, argv, "bucket-allow", "--bucket-allow");
    add(argv, "--gateway-listen", listen_on(serve, GATEWAY, "gateway-listen", port));
    if (options_get(&serve->options, "exec") != NULL)
        add(argv, "--model", serve->model_name);
    else
        add_models(serve, argv);
    add(argv, "--instance", "local");
}

static const struct supervisor_role roles[ROLE_COUNT] = {
    [SQS] = {"sqs", 0, 10, sqs_arguments},
    [S3] = {"s3", 0, 10, s3_arguments},
    [WORKER] = {"worker", 1u << SQS | 1u << S3, 40, worker_arguments},
    [GATEWAY] = {"gateway", 1u << SQS | 1u << S3 | 1u << WORKER, 15, gateway_arguments},
};

// --- what a person sees ---

// text as one word of a shell line
static const char *shell_word(struct serve *serve, const char *text)
{
    AUTO_BUF struct buf out = {0};
    if (text[strspn(text,
                    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-")] ==
        '\0')
        return text;
    buf_add_char(&out, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            buf_add_text(&out, "'\\''");
        else
            buf_add_char(&out, *text);
    }
    buf_add_char(&out, '\'');
    return arena_copy(&serve->arena, buf_view(&out));
}

static void print_banner(void *ctx)
{
    struct serve *serve = ctx;
    const char *page = url_of(serve, GATEWAY), *sqs = url_of(serve, SQS);
    process_ready(serve->ready_fd, supervisor_port(serve->supervisor, GATEWAY));
    serve->ready_fd = -1;
    if (options_on(&serve->options, "quiet"))
        return;
    const char *keys = shell_word(serve, serve->credentials);
    printf("\nsmelt is ready: the model '%s' answers.\n\n"
           "  page   %s/\n"
           "  SQS    %s\n"
           "  S3     %s\n"
           "  keys   %s\n\n"
           "  curl -F file=@samples/dog-1.jpg '%s/v1/jobs?wait=10'\n"
           "  AWS_SHARED_CREDENTIALS_FILE=%s aws --region us-east-1 --endpoint-url %s sqs "
           "list-queues\n\n"
           "Ctrl-C stops it; what was accepted is kept and done after the next start.\n",
           serve->model_name, page, sqs, url_of(serve, S3), keys, page, keys, sqs);
    fflush(stdout);
}

static void report(struct serve *serve, const char *sentence)
{
    fprintf(stderr, "smelt: %s\n", sentence);
    process_failed(serve->ready_fd, sentence);
    serve->ready_fd = -1;
    serve->failed = true;
}

static void on_stopped(void *ctx, const char *sentence)
{
    struct serve *serve = ctx;
    if (sentence != NULL)
        report(serve, sentence);
    loop_stop(serve->loop);
}

static void on_signal(void *ctx, int signal)
{
    struct serve *serve = ctx;
    if (signal == SIGCHLD) {
        supervisor_child_ended(serve->supervisor);
        return;
    }
    if (signal == SIGHUP && !isatty(STDIN_FILENO)) { // else its terminal is gone
        supervisor_signal(serve->supervisor, WORKER, SIGHUP);
        return;
    }
    log_event(LOG_INFO, "stopping", "signal=%d", signal);
    supervisor_stop(serve->supervisor);
}

// The roles follow: their lifelines end with this process.
static void on_parent_gone(void *ctx)
{
    (void)ctx;
    _exit(1);
}

// --- start ---

// The user's own keys and endpoints are for elsewhere: here the roles talk to each other.
static void clean_environment(const struct serve *serve)
{
    static const char *const names[] = {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ENDPOINT_URL",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_REGION",
        // what tells other commands where to look
        "SMELT_CONFIG",
        "SMELT_SQS_ENDPOINT",
        "SMELT_S3_ENDPOINT",
        "SMELT_CREDENTIALS",
        "SMELT_REGION",
        "SMELT_QUEUE",
        "SMELT_BUCKET",
        "SMELT_NO_CREATE",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    setenv("AWS_DEFAULT_REGION", "us-east-1", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", serve->credentials, 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1); // not the user's either
}

// Every model must be there: better said now than by a worker that cannot start.
static enum err find_models(struct serve *serve, struct error *error)
{
    const char *folders = options_get(&serve->options, "models");
    AUTO_BUF struct buf search_path = {0};
    package_search_path(folders, &search_path);
    serve->model = options_get(&serve->options, "model");
    if (serve->model == NULL)
        serve->model = package_default_name(search_path.data);
    struct span rest = span_from(serve->model);
    do {
        const char *name, *one = arena_copy(&serve->arena, span_trim(span_cut(rest, ',', &rest)));
        TRY(model_name_find(one, folders, &serve->arena, &name, NULL, error));
        if (serve->model_name == NULL)
            serve->model_name = name;
    } while (rest.len > 0);
    return OK;
}

static enum err prepare(struct serve *serve, int *lock_fd, struct error *error)
{
    const char *data = options_get(&serve->options, "data");
    const char *exec = options_get(&serve->options, "exec");
    if (exec != NULL)
        TRY(handler_name_find(exec, options_get(&serve->options, "exec-name"), &serve->arena,
                              &serve->model_name, error));
    else
        TRY(find_models(serve, error));
    TRY(dir_make(data, error));
    TRY(dir_lock(data, lock_fd, error));
    serve->credentials = arena_printf(&serve->arena, "%s/credentials", data);
    serve->leases = arena_printf(&serve->arena, "%s/worker-leases", data);
    TRY(credentials_create(serve->credentials, error));
    clean_environment(serve);
    return loop_new(&serve->loop, error);
}

static enum err run(struct serve *serve, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, 0};
    const struct supervisor_config config = {
        .loop = serve->loop,
        .roles = roles,
        .role_count = ROLE_COUNT,
        .on_ready = print_banner,
        .on_stopped = on_stopped,
        .ctx = serve,
    };
    serve->supervisor = supervisor_new(&config);
    TRY(loop_signals(serve->loop, signals, on_signal, serve, error));
    TRY(process_lifeline(serve->loop, &serve->lifeline, serve->lifeline_fd, on_parent_gone, serve,
                         error));
    supervisor_start(serve->supervisor);
    return loop_run(serve->loop, error);
}

// What a role would refuse is better said before anything is made.
static bool check_options(const struct options *o)
{
    int min, max;
    long seconds;
    return options_listen(o, "gateway-listen") && options_listen(o, "sqs-listen") &&
           options_listen(o, "s3-listen") && options_listen(o, "worker-listen") &&
           options_workers(o, process_cpu_count(), &min, &max) &&
           options_int(o, "job-timeout", 1, WORKER_JOB_TIMEOUT_S_MAX, &seconds) &&
           options_int(o, "sqs-cooldown", 0, SQS_COOLDOWN_S, &seconds);
}

static int serve_with_options(struct serve *serve)
{
    AUTO_FD int lock_fd = -1;
    struct error error;
    if (!options_start_role(&serve->options, "serve", &serve->ready_fd, &serve->lifeline_fd) ||
        !check_options(&serve->options))
        return 2;
    enum err err = prepare(serve, &lock_fd, &error);
    if (err == OK)
        err = run(serve, &error);
    if (err != OK)
        report(serve, error.msg);
    supervisor_free(serve->supervisor);
    loop_free(serve->loop);
    return serve->failed ? 1 : 0;
}

int serve_main(int argc, char **argv)
{
    struct serve serve = {0};
    int code = options_parse(&serve.options, table, "smelt serve [options]",
                             "Starts the queue, the object store, the workers and the page on this "
                             "machine. Everything is\nkept in one directory.",
                             argc, argv);
    if (code < 0)
        code = serve_with_options(&serve);
    options_release(&serve.options);
    arena_release(&serve.arena);
    return code;
}
