// `smelt worker` and `smelt zygote`, the process that it starts.
#include "worker/worker_role.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/handler_name.h"
#include "cli/options.h"
#include "engine/package.h"
#include "job/job.h"
#include "worker/zygote.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

static const struct option worker_options[] = {
    {"model", "NAME|DIR|FILE", "demo", "a model package's name or folder, or an ONNX file"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"exec", "COMMAND", NULL, "a program that answers instead of a model (docs/handlers.md)"},
    {"exec-name", "NAME", NULL, "what jobs call it (default: the program's file name)"},
    {"workers", "N", NULL, "processes that infer (default: processors - 1, at least 1)"},
    {"sqs-endpoint", "URL", NULL, "the queue service (default: AWS_ENDPOINT_URL_SQS, or Amazon's)"},
    {"s3-endpoint", "URL", NULL, "the object store (default: AWS_ENDPOINT_URL_S3, or Amazon's)"},
    {"region", "NAME", NULL, "default: AWS_REGION, AWS_DEFAULT_REGION, us-east-1"},
    {"credentials", "FILE", NULL, "keys, if neither environment nor profile has any"},
    {"data", "DIR", NULL, "of a `smelt serve` on this machine: its keys are used"},
    {"queue", "NAME|URL[:W],…", JOB_QUEUE,
     "where jobs come from; several share the pool by their weights W (default 1)"},
    {"bucket", "NAME", JOB_BUCKET, "where results go"},
    {"no-create", NULL, NULL, "do not make queue and bucket when they are missing; wait for them"},
    {"max-receive-count", "N", "3", "attempts before the dead-letter queue, of a queue made here"},
    {"visibility", "S", "60", "lease of a message; extended at a third of it"},
    {"job-timeout", "S", "30", "a picture that computes longer ends its process"},
    {"worker-listen", "ADDR:PORT", NULL, "/livez, /readyz, /metrics"},
    {"log-level", "LEVEL", "info", "debug, info, warn or error"},
    {"ready-fd", "FD", NULL, NULL},
    {"lifeline-fd", "FD", NULL, NULL},
    {0},
};

// An option that may be missing: fallback then.
static bool optional_int(const struct options *o, const char *name, long min, long max,
                         long fallback, long *out)
{
    *out = fallback;
    return options_get(o, name) == NULL || options_int(o, name, min, max, out);
}

static bool start_log(const struct options *o, const char *role)
{
    int level = log_level_parse(options_get(o, "log-level"));
    if (level < 0) {
        fprintf(stderr, "smelt: --log-level must be debug, info, warn or error\n");
        return false;
    }
    log_init(role, (enum log_level)level);
    return true;
}

// The folders of packages as one path, whoever runs.
static void find_models(const struct options *o, struct buf *out)
{
    const char *given = options_get(o, "models");
    if (given != NULL)
        buf_add_text(out, given);
    else
        package_search_path(NULL, out);
}

// --exec: the handler's name stands for the model's. False: it said what is wrong.
static bool find_handler(const struct options *o, struct arena *arena, const char **model)
{
    struct error error;
    *model = options_get(o, "model");
    if (options_get(o, "exec") == NULL)
        return true;
    if (handler_name_find(options_get(o, "exec"), options_get(o, "exec-name"), arena, model,
                          &error) == OK)
        return true;
    fprintf(stderr, "smelt: %s\n", error.msg);
    return false;
}

static int run_worker(const struct options *o)
{
    long children, receives, visibility_s, timeout_s, ready_fd, lifeline_fd;
    int cpus = process_cpu_count();
    AUTO_ARENA struct arena arena = {0};
    const char *model;
    if (!start_log(o, "worker") || !find_handler(o, &arena, &model) ||
        !optional_int(o, "workers", 1, WORKER_CHILDREN_MAX, cpus > 1 ? cpus - 1 : 1, &children) ||
        !options_int(o, "max-receive-count", 1, 1000, &receives) ||
        !options_int(o, "visibility", 3, SQS_VISIBILITY_S_MAX, &visibility_s) ||
        !options_int(o, "job-timeout", 1, 3600, &timeout_s) ||
        !optional_int(o, "ready-fd", 3, 1023, -1, &ready_fd) ||
        !optional_int(o, "lifeline-fd", 3, 1023, -1, &lifeline_fd))
        return 2;
    if (ready_fd >= 0) // the zygote has no business with it
        fcntl((int)ready_fd, F_SETFD, FD_CLOEXEC);
    AUTO_BUF struct buf models = {0}, credentials = {0};
    find_models(o, &models);
    if (options_get(o, "credentials") != NULL)
        buf_add_text(&credentials, options_get(o, "credentials"));
    else if (options_get(o, "data") != NULL)
        buf_printf(&credentials, "%s/credentials", options_get(o, "data"));
    const struct worker_config config = {.model = model,
                                         .exec = options_get(o, "exec"),
                                         .search_path = models.data != NULL ? models.data : "",
                                         .children = (int)children,
                                         .sqs_endpoint = options_get(o, "sqs-endpoint"),
                                         .s3_endpoint = options_get(o, "s3-endpoint"),
                                         .region = options_get(o, "region"),
                                         .credentials_file =
                                             credentials.len > 0 ? credentials.data : NULL,
                                         .ca_bundle = getenv("AWS_CA_BUNDLE"),
                                         .queue = options_get(o, "queue"),
                                         .bucket = options_get(o, "bucket"),
                                         .create = !options_on(o, "no-create"),
                                         .max_receive_count = (int)receives,
                                         .visibility_s = (int)visibility_s,
                                         .job_timeout_s = (int)timeout_s,
                                         .listen = options_get(o, "worker-listen"),
                                         .ready_fd = (int)ready_fd,
                                         .lifeline_fd = (int)lifeline_fd};
    return worker_run(&config);
}

int worker_main(int argc, char **argv)
{
    struct options options;
    int code =
        options_parse(&options, worker_options, "smelt worker [options]",
                      "Takes jobs from a queue, infers, publishes results. Runs against smelt's "
                      "own\nservices, Amazon's, or any compatible ones; on as many machines as "
                      "wanted.",
                      argc, argv);
    if (code < 0)
        code = run_worker(&options);
    options_release(&options);
    return code;
}

int zygote_main(int argc, char **argv)
{
    static const struct option table[] = {
        {"fd", "FD", NULL, NULL},
        {"model", "M", NULL, NULL},
        {"models", "DIRS", NULL, NULL},
        {"exec", "COMMAND", NULL, NULL},
        {"log-level", "LEVEL", "info", NULL},
        {0},
    };
    struct options options;
    long fd;
    int code = options_parse(&options, table, "smelt zygote", "Internal: `smelt worker` starts it.",
                             argc, argv);
    if (code >= 0)
        return code;
    if (options_get(&options, "model") == NULL || options_get(&options, "models") == NULL ||
        !start_log(&options, "zygote") || !options_int(&options, "fd", 3, 1023, &fd)) {
        fprintf(stderr, "smelt: `smelt worker` starts this process, nobody else\n");
        return 2;
    }
    const struct zygote_config config = {.control_fd = (int)fd,
                                         .model = options_get(&options, "model"),
                                         .search_path = options_get(&options, "models"),
                                         .exec = options_get(&options, "exec")};
    code = zygote_run(&config);
    options_release(&options);
    return code;
}
