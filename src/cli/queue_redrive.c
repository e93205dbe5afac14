// smelt queue redrive: dead letters back to where they came from.
#include "base/check.h"
#include "cli/failed_results.h"
#include "cli/progress_bar.h"
#include "cli/queue.h"
#include "cli/queue_messages.h"
#include "job/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCAL_S3_ENDPOINT "http://127.0.0.1:9000"

enum { LOOK_MS = 500, JOBS_MAX = 10 * 1000 * 1000 };

// clang-format off
static const struct option table[] = {
    QUEUE_OPTIONS,
    {"to", "QUEUE", NULL, "move them there instead"},
    {"rate", "N", NULL, "messages per second at most (1 to 500)"},
    {"watch", NULL, NULL, "start nothing, follow the task that is running"},
    {"no-wait", NULL, NULL, "do not wait until all are moved"},
    {"s3-endpoint", "URL", NULL,
     "where jobs' results are (default: AWS_ENDPOINT_URL_S3; a smelt here; Amazon's)"},
    {"bucket", "NAME", JOB_BUCKET, "where jobs' results are"},
    {"keep-results", NULL, NULL, "leave failed results: such jobs are not computed again"},
    {"yes", NULL, NULL, "do not ask before messages are received where they cannot be peeked at"},
    {0},
};
// clang-format on

struct redrive {
    struct queue_client *c;
    const char *name;
    struct buf url, arn, to_arn;
    struct arena arena;
    const char **ids; // of jobs
    size_t id_count;
    size_t removed;
    struct progress_bar bar;
    char *handle; // of the task; NULL: none of ours
    int64_t moved, to_move;
    char status[32];
};

// --- the jobs among the messages ---

static bool collect_jobs(void *ctx, json_t *message)
{
    struct redrive *r = ctx;
    struct job *jobs;
    size_t count = 0;
    struct error ignored;
    const char *body = json_string_value(json_object_get(message, "Body"));
    if (body == NULL || job_decode(span_from(body), &r->arena, &jobs, &count, &ignored) != OK)
        return true; // not a job: nothing to do for it
    for (size_t i = 0; i < count && r->id_count < JOBS_MAX; i++) {
        if ((r->id_count & (r->id_count - 1)) == 0) { // a power of two: full
            r->ids = realloc(r->ids, (r->id_count == 0 ? 1 : r->id_count * 2) * sizeof *r->ids);
            CHECK(r->ids != NULL);
        }
        r->ids[r->id_count++] = jobs[i].id;
    }
    return !r->c->interrupted;
}

static void on_removed(void *ctx, size_t done, size_t count)
{
    struct redrive *r = ctx;
    progress_bar_show(&r->bar, done, count, "results looked at");
}

static enum err remove_results(struct redrive *r, struct error *error)
{
    const struct options *o = r->c->options;
    const char *endpoint = options_get(o, "s3-endpoint");
    if (endpoint == NULL && getenv("AWS_ENDPOINT_URL_S3") == NULL &&
        getenv("AWS_ENDPOINT_URL") == NULL && r->c->local)
        endpoint = LOCAL_S3_ENDPOINT;
    const struct aws_client_config config = {.loop = r->c->loop,
                                             .http = r->c->http,
                                             .service = "s3",
                                             .endpoint = endpoint,
                                             .region = r->c->region,
                                             .keys = r->c->keys,
                                             .attempts_max = 3};
    struct failed_results f = {.loop = r->c->loop,
                               .bucket = options_get(o, "bucket"),
                               .progress = on_removed,
                               .ctx = r,
                               .stop = &r->c->interrupted};
    TRY(aws_client_new(&config, &f.s3, error));
    progress_bar_begin(&r->bar, 0);
    enum err err = failed_results_remove(&f, r->ids, r->id_count, error);
    progress_bar_end(&r->bar);
    aws_client_free(f.s3);
    r->removed = f.removed;
    if (err != OK && err != ERR_CANCELLED)
        return fail_context(error, err,
                            "these are jobs, whose failed results must go before they run again; "
                            "nothing was moved (--s3-endpoint URL says where the results are, "
                            "--keep-results leaves them)");
    return err;
}

// Jobs run again only when their failed result is gone. *go_on: false when the user said no.
static enum err make_jobs_run_again(struct redrive *r, bool *go_on, struct error *error)
{
    enum err err = queue_peek(r->c, r->url.data, SIZE_MAX, collect_jobs, r, error);
    if (err == ERR_UNSUPPORTED) {
        char question[700];
        snprintf(question, sizeof question,
                 "%.300s.\nTo find the jobs among them, up to %d messages of '%.80s' are received "
                 "and handed back first (--keep-results does without).",
                 error->msg, QUEUE_BORROW_MAX, r->name);
        *go_on = queue_confirm(r->c, question, "receive");
        err = *go_on ? queue_borrow(r->c, r->url.data, SIZE_MAX, collect_jobs, r, error) : OK;
    }
    TRY(err);
    return *go_on && r->id_count > 0 ? remove_results(r, error) : OK;
}

// --- the task ---

static enum err arn_of(struct queue_client *c, const char *url, struct buf *arn, int64_t *count,
                       struct error *error)
{
    json_t *attributes = NULL;
    TRY(queue_attributes(c, url, &attributes, error));
    const char *text = queue_attribute(attributes, "QueueArn", NULL);
    if (text != NULL)
        buf_add_text(arn, text);
    *count = queue_number(attributes, "ApproximateNumberOfMessages") +
             queue_number(attributes, "ApproximateNumberOfMessagesNotVisible") +
             queue_number(attributes, "ApproximateNumberOfMessagesDelayed");
    json_decref(attributes);
    return text != NULL ? OK : fail(error, ERR_FORMAT, 0, "%s tells no QueueArn", c->endpoint);
}

static enum err start_task(struct redrive *r, struct error *error)
{
    const struct options *o = r->c->options;
    json_t *answer = NULL, *request = json_pack("{s:s}", "SourceArn", r->arn.data);
    long rate = 0;
    if (r->to_arn.len > 0)
        json_object_set_new(request, "DestinationArn", json_string(r->to_arn.data));
    if (options_get(o, "rate") != NULL && options_int(o, "rate", 1, 500, &rate))
        json_object_set_new(request, "MaxNumberOfMessagesPerSecond", json_integer(rate));
    r->c->finish_call = true;
    enum err err = queue_ask(r->c, "StartMessageMoveTask", request, 0, &answer, error);
    r->c->finish_call = false;
    TRY(err);
    const char *handle = json_string_value(json_object_get(answer, "TaskHandle"));
    r->handle = strdup(handle != NULL ? handle : "");
    CHECK(r->handle != NULL);
    json_decref(answer);
    return OK;
}

static enum err look_at_task(struct redrive *r, struct error *error)
{
    json_t *answer = NULL;
    TRY(queue_ask(r->c, "ListMessageMoveTasks",
                  json_pack("{s:s,s:i}", "SourceArn", r->arn.data, "MaxResults", 1), 0, &answer,
                  error));
    const json_t *task = json_array_get(json_object_get(answer, "Results"), 0);
    const char *status = json_string_value(json_object_get(task, "Status"));
    const char *why = json_string_value(json_object_get(task, "FailureReason"));
    r->moved = json_integer_value(json_object_get(task, "ApproximateNumberOfMessagesMoved"));
    r->to_move = json_integer_value(json_object_get(task, "ApproximateNumberOfMessagesToMove"));
    snprintf(r->status, sizeof r->status, "%s", status != NULL ? status : "");
    enum err err = OK;
    if (task == NULL)
        err = fail(error, ERR_NOT_FOUND, 0, "no messages are being moved out of queue %s", r->name);
    else if (strcmp(r->status, "FAILED") == 0)
        err = fail(error, ERR_INTERNAL, 0, "moving stopped after %lld messages: %.200s%s",
                   (long long)r->moved, why != NULL ? why : "no reason given",
                   why != NULL && strstr(why, "CouldNotDetermine") != NULL
                       ? " (they were sent here directly: say --to QUEUE)"
                       : "");
    json_decref(answer);
    return err;
}

static bool is_running(const struct redrive *r)
{
    return strcmp(r->status, "RUNNING") == 0 || strcmp(r->status, "CANCELLING") == 0;
}

static enum err cancel_task(struct redrive *r, struct error *error)
{
    r->c->interrupted = false;
    if (r->handle == NULL)
        return fail(error, ERR_CANCELLED, 0, "stopped watching; the task goes on");
    TRY(queue_ask(r->c, "CancelMessageMoveTask", json_pack("{s:s}", "TaskHandle", r->handle), 0,
                  NULL, error));
    TRY(look_at_task(r, error));
    return fail(error, ERR_CANCELLED, 0,
                "cancelled: %lld messages were moved, the others stay in %s", (long long)r->moved,
                r->name);
}

static enum err follow(struct redrive *r, struct error *error)
{
    enum err err = OK;
    progress_bar_begin(&r->bar, 0);
    for (;;) {
        err = look_at_task(r, error);
        if (err != OK || !is_running(r))
            break;
        progress_bar_show(&r->bar, (uint64_t)r->moved, (uint64_t)r->to_move, "messages moved");
        if (!queue_pause(r->c, LOOK_MS))
            break;
    }
    progress_bar_end(&r->bar);
    return r->c->interrupted ? cancel_task(r, error) : err;
}

// --- the whole ---

static enum err check_sources(struct redrive *r, struct error *error)
{
    json_t *answer = NULL;
    TRY(queue_ask(r->c, "ListDeadLetterSourceQueues", json_pack("{s:s}", "QueueUrl", r->url.data),
                  0, &answer, error));
    size_t count = json_array_size(json_object_get(answer, "queueUrls"));
    json_decref(answer);
    return count > 0 ? OK
                     : fail(error, ERR_ARGUMENT, 0,
                            "queue %s is no dead-letter queue: no queue's RedrivePolicy names it",
                            r->name);
}

static void print_end(const struct redrive *r, bool waited)
{
    const char *to = options_get(r->c->options, "to");
    if (options_on(r->c->options, "json"))
        printf("{\"queue\":\"%s\",\"status\":\"%s\",\"moved\":%lld,\"results_removed\":%zu}\n",
               r->name, r->status, (long long)r->moved, r->removed);
    else if (!waited)
        printf("moving; `smelt queue redrive %s --watch` follows it\n", r->name);
    else
        printf("moved %lld message%s out of %s%s%s\n", (long long)r->moved,
               r->moved == 1 ? "" : "s", r->name, to != NULL ? " to " : "", to != NULL ? to : "");
    if (r->removed > 0 && !options_on(r->c->options, "json"))
        printf("jobs among them that had failed: %zu; their results were removed, they run again\n",
               r->removed);
}

static enum err run(struct redrive *r, const char *queue, bool *go_on, struct error *error)
{
    const struct options *o = r->c->options;
    const char *to = options_get(o, "to");
    int64_t count = 0, ignored;
    TRY(queue_find_url(r->c, queue, &r->url, error));
    r->name = queue_name_of(r->url.data);
    TRY(arn_of(r->c, r->url.data, &r->arn, &count, error));
    if (options_on(o, "watch")) {
        TRY(follow(r, error));
        print_end(r, true);
        return OK;
    }
    TRY(check_sources(r, error));
    if (to != NULL) {
        AUTO_BUF struct buf url = {0};
        TRY(queue_find_url(r->c, to, &url, error));
        TRY(arn_of(r->c, url.data, &r->to_arn, &ignored, error));
    }
    if (count == 0) {
        snprintf(r->status, sizeof r->status, "COMPLETED");
        if (options_on(o, "json"))
            print_end(r, true);
        else
            printf("queue %s is empty: nothing to move\n", r->name);
        return OK;
    }
    if (!options_on(o, "keep-results"))
        TRY(make_jobs_run_again(r, go_on, error));
    if (!*go_on)
        return OK;
    if (r->c->interrupted)
        return fail(error, ERR_CANCELLED, 0, "stopped before anything was moved");
    TRY(start_task(r, error));
    TRY(options_on(o, "no-wait") ? look_at_task(r, error) : follow(r, error));
    print_end(r, !options_on(o, "no-wait"));
    return OK;
}

int queue_redrive_main(int argc, char **argv)
{
    struct options o;
    struct queue_client c = {0};
    struct error error;
    struct redrive r = {.c = &c};
    bool go_on = true;
    long rate;
    int code = options_parse(
        &o, table, "smelt queue redrive [options] DEAD-LETTER-QUEUE",
        "Moves the messages of a dead-letter queue back to the queues they came from, and waits\n"
        "until it is done; Ctrl-C cancels. The jobs among them run again: their failed results "
        "are\n"
        "removed first.",
        argc, argv);
    const char *queue = code < 0 ? queue_argument(&o, "redrive") : NULL;
    if (code < 0 && (queue == NULL ||
                     (options_get(&o, "rate") != NULL && !options_int(&o, "rate", 1, 500, &rate))))
        code = 2;
    if (code < 0)
        code = queue_client_open(&c, &o);
    if (code < 0) {
        enum err err = run(&r, queue, &go_on, &error);
        code = err == OK ? (go_on ? 0 : 1) : queue_failed(&c, queue, &error);
    }
    free(r.handle);
    free(r.ids);
    buf_release(&r.url);
    buf_release(&r.arn);
    buf_release(&r.to_arn);
    arena_release(&r.arena);
    queue_client_close(&c);
    options_release(&o);
    return code;
}
