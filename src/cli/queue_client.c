#include "cli/queue_client.h"

#include "aws/endpoint.h"
#include "aws/profile.h"
#include "aws/sqs_client.h"
#include "base/check.h"
#include "base/log.h"
#include "base/text.h"
#include "http/client.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOCAL_ENDPOINT "http://127.0.0.1:9324"
#define LOCAL_DATA "smelt-data"

enum { PAGE_TIMEOUT_MS = 10000, PAGE_BYTES_MAX = 32 << 20, WORD_BYTES_MAX = 200 };

// --- who is asked ---

// The folder whose keys are used: --data, or that of a `smelt serve` started here, when nothing
// says that another service is meant.
static const char *local_data(const struct options *o, bool configured)
{
    const char *data = options_get(o, "data");
    if (data == NULL && !configured && options_get(o, "credentials") == NULL &&
        environment_value("AWS_ACCESS_KEY_ID") == NULL &&
        environment_value("AWS_PROFILE") == NULL && access(LOCAL_DATA "/credentials", R_OK) == 0)
        data = LOCAL_DATA;
    return data;
}

static enum err find_keys(struct queue_client *c, const char *data, struct error *error)
{
    AUTO_BUF struct buf path = {0};
    struct keys_config config = {.loop = c->loop,
                                 .http = c->http,
                                 .file = options_get(c->options, "credentials"),
                                 .region = c->region};
    buf_printf(&path, "%s/credentials", data != NULL ? data : "");
    if (data != NULL)
        config.file = path.data;
    TRY(keys_open(&config, &c->keys, error));
    return keys_first(c->keys, error);
}

static enum err find_service(struct queue_client *c, struct error *error)
{
    const struct options *o = c->options;
    bool amazons;
    AUTO_BUF struct buf region = {0}, url = {0};
    c->region = options_get(o, "region");
    TRY(aws_region_find(c->region, &region, error));
    TRY(aws_endpoint_find("sqs", options_get(o, "sqs-endpoint"), region.data, &url, &amazons,
                          error));
    const char *data = local_data(o, !amazons);
    c->local = data != NULL;
    if (amazons && data != NULL) {
        buf_clear(&url);
        buf_add_text(&url, LOCAL_ENDPOINT);
    }
    while (url.len > 0 && url.data[url.len - 1] == '/')
        url.data[--url.len] = '\0';
    snprintf(c->endpoint, sizeof c->endpoint, "%s",
             amazons && data == NULL ? "Amazon's endpoint" : url.data);
    TRY(find_keys(c, data, error));
    const struct aws_client_config config = {.loop = c->loop,
                                             .http = c->http,
                                             .service = "sqs",
                                             .endpoint = url.data,
                                             .region = c->region,
                                             .keys = c->keys,
                                             .attempts_max = 3};
    return aws_client_new(&config, &c->sqs, error);
}

static void on_signal(void *ctx, int signal)
{
    struct queue_client *c = ctx;
    (void)signal;
    c->interrupted = true;
    loop_stop(c->loop);
}

static enum err open_all(struct queue_client *c, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, 0};
    const struct http_client_config http = {.connections_max = 4,
                                            .ca_bundle = getenv("AWS_CA_BUNDLE")};
    TRY(loop_new(&c->loop, error));
    TRY(loop_signals(c->loop, signals, on_signal, c, error)); // before libcurl's threads
    TRY(http_client_new(c->loop, &http, &c->http, error));
    return find_service(c, error);
}

int queue_client_open(struct queue_client *c, const struct options *o)
{
    struct error error;
    *c = (struct queue_client){.options = o};
    log_init("queue", LOG_ERROR);
    enum err err = open_all(c, &error);
    if (err == OK)
        return -1;
    fprintf(stderr, "smelt: %s%s\n", error.msg,
            err == ERR_NOT_FOUND ? " (give --data DIR for a smelt on this machine)" : "");
    return 1;
}

void queue_client_close(struct queue_client *c)
{
    aws_client_free(c->sqs);
    keys_close(c->keys);
    http_client_free(c->http);
    loop_free(c->loop);
}

// --- calls that wait ---

static void on_answer(void *ctx, const struct aws_result *r, const json_t *answer)
{
    struct queue_client *c = ctx;
    c->call = NULL;
    c->result = *r;
    c->answer = r->err == OK ? json_deep_copy(answer) : NULL;
    loop_stop(c->loop);
}

enum err queue_ask(struct queue_client *c, const char *action, json_t *request, int wait_s,
                   json_t **answer, struct error *error)
{
    CHECK(request != NULL);
    if (answer != NULL)
        *answer = NULL;
    c->call = sqs_ask(c->sqs, action, request, wait_s, on_answer, c);
    json_decref(request);
    while (c->call != NULL) {
        TRY(loop_run(c->loop, error));
        if (c->interrupted && !c->finish_call && c->call != NULL)
            sqs_call_cancel(c->call);
    }
    if (c->result.err == ERR_CANCELLED)
        return fail(error, ERR_CANCELLED, 0, "stopped");
    if (c->result.err != OK) {
        *error = c->result.error;
        return c->result.err;
    }
    if (answer != NULL)
        *answer = c->answer;
    else
        json_decref(c->answer);
    c->answer = NULL;
    return OK;
}

static void on_page(void *ctx, const struct http_response *r)
{
    struct queue_client *c = ctx;
    c->plain = NULL;
    c->result = (struct aws_result){.err = r->err, .error = r->error, .status = r->status};
    if (r->err == OK && r->status == 200)
        buf_add_span(c->text, r->body);
    loop_stop(c->loop);
}

enum err queue_page(struct queue_client *c, const char *path, struct buf *out, struct error *error)
{
    AUTO_BUF struct buf url = {0};
    if (strncmp(c->endpoint, "http", 4) != 0)
        return fail(error, ERR_NOT_FOUND, 0, "%s has no %s", c->endpoint, path);
    buf_printf(&url, "%s%s", c->endpoint, path);
    const struct http_call_spec spec = {.method = "GET",
                                        .url = url.data,
                                        .body_fd = -1,
                                        .timeout_ms = PAGE_TIMEOUT_MS,
                                        .response_limit_bytes = PAGE_BYTES_MAX};
    c->text = out;
    c->plain = http_client_start(c->http, &spec, on_page, c);
    while (c->plain != NULL) {
        TRY(loop_run(c->loop, error));
        if (c->interrupted && c->plain != NULL)
            http_call_cancel(c->plain);
    }
    if (c->result.err != OK) {
        *error = c->result.error;
        return c->result.err;
    }
    return c->result.status == 200
               ? OK
               : fail(error, ERR_NOT_FOUND, 0, "%s has no %s", c->endpoint, path);
}

static void on_pause_over(void *ctx)
{
    struct queue_client *c = ctx;
    loop_stop(c->loop);
}

bool queue_pause(struct queue_client *c, int64_t ms)
{
    struct error error;
    if (c->interrupted)
        return false;
    loop_timer_set(c->loop, &c->timer, loop_now_ms(c->loop) + ms, on_pause_over, c);
    while (c->timer.heap_place != 0 && !c->interrupted)
        if (loop_run(c->loop, &error) != OK)
            return false;
    loop_timer_cancel(c->loop, &c->timer);
    return !c->interrupted;
}

// --- queues ---

const char *queue_name_of(const char *url)
{
    const char *slash = strrchr(url, '/');
    return slash != NULL ? slash + 1 : url;
}

// "did you mean 'smelt-jobs'?" for a name that is not there.
static enum err no_such_queue(struct queue_client *c, const char *name, struct error *error)
{
    enum { NAMES_MAX = 1000 };
    const char *names[NAMES_MAX + 1] = {NULL}, *near = NULL;
    size_t count = 0, i;
    json_t *answer = NULL, *url;
    struct error ignored;
    if (queue_ask(c, "ListQueues", json_object(), 0, &answer, &ignored) == OK) {
        json_array_foreach(json_object_get(answer, "QueueUrls"), i, url)
        {
            if (count < NAMES_MAX && json_is_string(url))
                names[count++] = queue_name_of(json_string_value(url));
        }
        near = nearest_name(name, names);
    }
    if (near != NULL)
        fail(error, ERR_NOT_FOUND, 0, "there is no queue '%.80s' at %s; did you mean '%.80s'?",
             name, c->endpoint, near);
    else
        fail(error, ERR_NOT_FOUND, 0,
             "there is no queue '%.80s' at %s; `smelt queue list` shows the %zu that are", name,
             c->endpoint, count);
    json_decref(answer);
    return ERR_NOT_FOUND;
}

enum err queue_find_url(struct queue_client *c, const char *queue, struct buf *url,
                        struct error *error)
{
    json_t *answer = NULL;
    if (strncmp(queue, "http://", 7) == 0 || strncmp(queue, "https://", 8) == 0) {
        buf_add_text(url, queue);
        return OK;
    }
    if (!utf8_valid(span_from(queue)))
        return fail(error, ERR_ARGUMENT, 0, "the queue's name is not valid UTF-8");
    enum err err =
        queue_ask(c, "GetQueueUrl", json_pack("{s:s}", "QueueName", queue), 0, &answer, error);
    if (err == ERR_NOT_FOUND)
        return no_such_queue(c, queue, error);
    TRY(err);
    const char *got = json_string_value(json_object_get(answer, "QueueUrl"));
    if (got != NULL)
        buf_add_text(url, got);
    json_decref(answer);
    return got != NULL ? OK
                       : fail(error, ERR_FORMAT, 0, "%s answered without a queue URL", c->endpoint);
}

enum err queue_attributes(struct queue_client *c, const char *url, json_t **out,
                          struct error *error)
{
    json_t *answer = NULL;
    TRY(queue_ask(c, "GetQueueAttributes",
                  json_pack("{s:s,s:[s]}", "QueueUrl", url, "AttributeNames", "All"), 0, &answer,
                  error));
    json_t *attributes = json_object_get(answer, "Attributes");
    *out = json_is_object(attributes) ? json_incref(attributes) : json_object();
    json_decref(answer);
    return OK;
}

const char *queue_attribute(const json_t *attributes, const char *name, const char *fallback)
{
    const char *text = json_string_value(json_object_get(attributes, name));
    return text != NULL ? text : fallback;
}

int64_t queue_number(const json_t *attributes, const char *name)
{
    uint64_t value;
    const char *text = queue_attribute(attributes, name, "");
    return span_to_u64(span_from(text), INT64_MAX, &value) ? (int64_t)value : 0;
}

const char *queue_dead_letters(const json_t *attributes, char out[QUEUE_NAME_SIZE],
                               int *max_receives)
{
    return redrive_policy_read(queue_attribute(attributes, "RedrivePolicy", NULL), out,
                               max_receives);
}

// --- what is said ---

int queue_failed(const struct queue_client *c, const char *queue, const struct error *error)
{
    if (error->code == ERR_CANCELLED) {
        fprintf(stderr, "smelt: %s\n", error->msg);
        return 1;
    }
    const char *hint = "";
    if (error->code == ERR_NET)
        hint = c->local
                   ? "; is `smelt serve` running? (another port: --sqs-endpoint, --s3-endpoint)"
                   : "; are --sqs-endpoint and --s3-endpoint right?";
    else if (error->code == ERR_DENIED)
        hint = "; are these the keys of that service? (--data DIR or --credentials FILE)";
    bool named = queue == NULL || strstr(error->msg, queue) != NULL;
    size_t len = strlen(error->msg);
    if (hint[0] != '\0' && len > 0 && error->msg[len - 1] == '.') // a service's whole sentence
        len--;
    fprintf(stderr, "smelt: %s%s%s%.*s%s\n", named ? "" : "queue ", named ? "" : queue,
            named ? "" : ": ", (int)len, error->msg, hint);
    return 1;
}

const char *queue_argument(const struct options *o, const char *command)
{
    if (o->argument_count == 1)
        return o->arguments[0];
    if (o->argument_count == 0)
        fprintf(stderr,
                "smelt: queue %s needs a queue's name or URL; `smelt queue list` shows them\n",
                command);
    else
        fprintf(stderr, "smelt: queue %s takes one queue, and '%s' is a second argument\n", command,
                o->arguments[1]);
    return NULL;
}

static volatile sig_atomic_t input_interrupted;

static void on_input_signal(int signal)
{
    (void)signal;
    input_interrupted = 1;
}

// Signals are blocked here, for the loop: only while this waits they may come, to a handler.
ssize_t queue_read_input(struct queue_client *c, char *out, size_t out_bytes)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    const struct sigaction action = {.sa_handler = on_input_signal};
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigdelset(&mask, SIGINT);
    sigdelset(&mask, SIGTERM);
    int ready = ppoll(&input, 1, NULL, &mask);
    if (input_interrupted)
        c->interrupted = true;
    return ready < 0 || c->interrupted ? -1 : read(STDIN_FILENO, out, out_bytes);
}

bool queue_confirm(struct queue_client *c, const char *question, const char *word)
{
    char line[WORD_BYTES_MAX];
    if (options_on(c->options, "yes"))
        return true;
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "smelt: %s\nsmelt: nobody to ask here: say --yes to do it\n", question);
        return false;
    }
    fprintf(stderr, "%s\nType '%s' to go on: ", question, word);
    fflush(stderr);
    ssize_t got = queue_read_input(c, line, sizeof line - 1);
    size_t len = got > 0 ? (size_t)got : 0;
    while (len > 0 && strchr("\r\n ", line[len - 1]) != NULL)
        len--;
    line[len] = '\0';
    if (strcmp(line, word) == 0)
        return true;
    fprintf(stderr, "%ssmelt: not done\n", got <= 0 ? "\n" : "");
    return false;
}
