// `smelt worker` and `smelt zygote`, the process that it starts.
#include "worker/worker_role.h"

#include "base/cgroup.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/handler_name.h"
#include "cli/options.h"
#include "engine/package.h"
#include "engine/package_default.h"
#include "job/job.h"
#include "worker/crew.h"
#include "worker/lifecycle.h"
#include "worker/zygote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option worker_options[] = {
    {"model", "MODEL,…", NULL,
     "packages' names or folders, or ONNX files; the first answers jobs that name none\n"
     "(default: xception once it is fetched, else demo); NAME@int8, NAME@fp32: in this precision"},
    {"models", "DIRS", NULL, "folders that hold packages, with colons between them"},
    {"exec", "COMMAND", NULL, "a program that answers instead of a model (docs/handlers.md)"},
    {"exec-name", "NAME", NULL, "what jobs call it (default: the program's file name)"},
    {"workers", "MIN:MAX|N", NULL,
     "processes that infer: more with more jobs, fewer when idle (default: 1 to the usable\n"
     "processors)"},
    {"idle", "S", "60", "a process above MIN that had no job so long ends"},
    {"pin", NULL, NULL, "each process on a processor of its own"},
    {"ec2", "on|off|auto", "auto",
     "drain when EC2 says that it takes this host away (auto: on hosts of EC2)"},
    {"lifecycle-hook", "GROUP:HOOK", NULL,
     "the auto-scaling group whose hook is completed after such a drain"},
    {"sqs-endpoint", "URL", NULL, "the queue service (default: AWS_ENDPOINT_URL_SQS, or Amazon's)"},
    {"s3-endpoint", "URL", NULL, "the object store (default: AWS_ENDPOINT_URL_S3, or Amazon's)"},
    OPTIONS_OF_A_CLIENT,
    {"queue", "NAME|URL[:W[:S]],…", JOB_QUEUE,
     "where jobs come from; several share the pool by their weights W (default 1); S: the lease\n"
     "of a message of this queue (default: --visibility)"},
    {"bucket", "NAME", JOB_BUCKET, "where results go"},
    {"bucket-allow", "NAMES", NULL,
     "other buckets that pictures may be in: 'photos,scans-*'; '*': any that the keys can read"},
    {"no-create", NULL, NULL, "do not make queue and bucket when they are missing; wait for them"},
    {"max-receive-count", "N", "3", "attempts before the dead-letter queue, of a queue made here"},
    {"visibility", "S", "60", "lease of a message; extended at a third of it"},
    {"leases", "FILE", NULL,
     "remembers the messages in hand: a worker started after one that was killed hands them back"},
    {"job-timeout", "S", "30", "a picture that computes longer ends its process"},
    {"worker-listen", "ADDR:PORT", NULL, "/livez, /readyz, /metrics"},
    OPTIONS_OF_A_ROLE,
    {0},
};

static bool parse_ec2(const char *text, enum worker_ec2 *out)
{
    static const char *const words[] = {"auto", "on", "off"}; // in the order of the enum
    for (int i = 0; i < 3; i++)
        if (strcmp(text, words[i]) == 0) {
            *out = (enum worker_ec2)i;
            return true;
        }
    fprintf(stderr, "smelt: --ec2 must be on, off or auto, not '%.40s'\n", text);
    return false;
}

// What this machine, or container, has for us; said in the log with its reasons.
static uint64_t find_capacity(int min, int max)
{
    struct cgroup_limits limits;
    cgroup_read("", &limits);
    uint64_t memory = cgroup_memory_left("", &limits);
    char quota[40] = "none", group[40] = "none";
    if (limits.cpus > 0)
        snprintf(quota, sizeof quota, "%.2f", limits.cpus);
    if (limits.memory_bytes > 0)
        snprintf(group, sizeof group, "%llu", (unsigned long long)(limits.memory_bytes >> 20));
    log_event(LOG_INFO, "capacity",
              "children=%d:%d usable_processors=%d cpu_quota=%s memory_left_mib=%llu "
              "memory_limit_mib=%s",
              min, max, process_cpu_count(), quota, (unsigned long long)(memory >> 20), group);
    return memory;
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
    long idle_s, receives, visibility_s, timeout_s;
    int min, max, ready_fd, lifeline_fd;
    enum worker_ec2 ec2;
    AUTO_ARENA struct arena arena = {0};
    const char *model;
    if (!options_start_role(o, "worker", &ready_fd, &lifeline_fd) ||
        !find_handler(o, &arena, &model) || !options_listen(o, "worker-listen") ||
        !options_workers(o, process_cpu_count(), &min, &max) ||
        !options_int(o, "idle", 1, 86400, &idle_s) || !parse_ec2(options_get(o, "ec2"), &ec2) ||
        !options_int(o, "max-receive-count", 1, SQS_RECEIVE_COUNT_MAX, &receives) ||
        !options_int(o, "visibility", WORKER_VISIBILITY_S_MIN, SQS_VISIBILITY_S_MAX,
                     &visibility_s) ||
        !options_int(o, "job-timeout", 1, WORKER_JOB_TIMEOUT_S_MAX, &timeout_s))
        return 2;
    const char *hook = options_get(o, "lifecycle-hook");
    struct error error;
    if (hook != NULL && lifecycle_check(hook, &error) != OK) {
        fprintf(stderr, "smelt: %s\n", error.msg);
        return 2;
    }
    const char *data = options_get(o, "data");
    AUTO_BUF struct buf models = {0}, credentials = {0}, state = {0};
    find_models(o, &models);
    buf_printf(&credentials, "%s/credentials", data != NULL ? data : "");
    buf_printf(&state, "%s/" CREW_STATE_FILE, data != NULL ? data : "");
    if (model == NULL)
        model = package_default_name(models.data != NULL ? models.data : "");
    const struct worker_config config = {.model = model,
                                         .ec2 = ec2,
                                         .lifecycle_hook = hook,
                                         .exec = options_get(o, "exec"),
                                         .search_path = models.data != NULL ? models.data : "",
                                         .children = max,
                                         .children_min = min,
                                         .idle_ms = (int)idle_s * 1000,
                                         .memory_bytes = find_capacity(min, max),
                                         .pin = options_on(o, "pin"),
                                         .sqs_endpoint = options_get(o, "sqs-endpoint"),
                                         .s3_endpoint = options_get(o, "s3-endpoint"),
                                         .region = options_get(o, "region"),
                                         .credentials_file = options_get(o, "credentials"),
                                         .data_credentials_file =
                                             data != NULL ? credentials.data : NULL,
                                         .state_file = data != NULL ? state.data : NULL,
                                         .ca_bundle = getenv("AWS_CA_BUNDLE"),
                                         .queue = options_get(o, "queue"),
                                         .bucket = options_get(o, "bucket"),
                                         .bucket_allow = options_get(o, "bucket-allow"),
                                         .create = !options_on(o, "no-create"),
                                         .max_receive_count = (int)receives,
                                         .visibility_s = (int)visibility_s,
                                         .leases = options_get(o, "leases"),
                                         .job_timeout_s = (int)timeout_s,
                                         .listen = options_get(o, "worker-listen"),
                                         .ready_fd = ready_fd,
                                         .lifeline_fd = lifeline_fd};
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
        {"known", "FINGERPRINTS", NULL, NULL},
        {"pin", NULL, NULL, NULL},
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
        !options_start_log(&options, "zygote") || !options_int(&options, "fd", 3, 1023, &fd)) {
        fprintf(stderr, "smelt: `smelt worker` starts this process, nobody else\n");
        return 2;
    }
    const struct zygote_config config = {.control_fd = (int)fd,
                                         .model = options_get(&options, "model"),
                                         .search_path = options_get(&options, "models"),
                                         .exec = options_get(&options, "exec"),
                                         .pin = options_on(&options, "pin"),
                                         .known = options_get(&options, "known")};
    code = zygote_run(&config);
    options_release(&options);
    return code;
}
