// smelt queue stat.
#include "base/check.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/queue.h"
#include "cli/queue_client.h"
#include "cli/text_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SOURCES_MAX = 1000 };

// clang-format off
static const struct option table[] = {
    QUEUE_OPTIONS,
    {"interval", "S", "1", "seconds between the two looks that rates are measured by; 0: no rates"},
    {"watch", "S", NULL, "look again every S seconds until Ctrl-C"},
    {0},
};
// clang-format on

// One look. Counters are -1 where the service does not tell.
struct look {
    int64_t at_ms, visible, in_flight, delayed;
    double age_s, sent, received, deleted; // age of the oldest; since the server's start
};

struct stat {
    struct queue_client *c;
    struct buf url;
    const char *name;
    json_t *attributes;
    char dlq[QUEUE_NAME_SIZE];
    int max_receives;
    int64_t dlq_count;
    json_t *sources; // URLs of the queues whose dead letters come here
};

// --- looking ---

// The value of NAME{queue="QUEUE"} in a page of metrics, -1 if it is not there.
static double metric_of(const struct buf *page, const char *metric, const char *queue)
{
    char wanted[200];
    size_t len = (size_t)snprintf(wanted, sizeof wanted, "\n%s{queue=\"%s\"} ", metric, queue);
    const char *found =
        page->len > 0 && len < sizeof wanted ? memmem(page->data, page->len, wanted, len) : NULL;
    return found != NULL ? strtod(found + len, NULL) : -1;
}

static enum err take_look(struct stat *s, struct look *out, struct error *error)
{
    AUTO_BUF struct buf page = {0};
    struct error ignored;
    json_decref(s->attributes);
    s->attributes = NULL;
    TRY(queue_attributes(s->c, s->url.data, &s->attributes, error));
    if (queue_page(s->c, "/metrics", &page, &ignored) != OK)
        buf_clear(&page);
    *out = (struct look){
        .at_ms = clock_monotonic_ms(),
        .visible = queue_number(s->attributes, "ApproximateNumberOfMessages"),
        .in_flight = queue_number(s->attributes, "ApproximateNumberOfMessagesNotVisible"),
        .delayed = queue_number(s->attributes, "ApproximateNumberOfMessagesDelayed"),
        .age_s = metric_of(&page, "ApproximateAgeOfOldestMessage", s->name),
        .sent = metric_of(&page, "NumberOfMessagesSent", s->name),
        .received = metric_of(&page, "NumberOfMessagesReceived", s->name),
        .deleted = metric_of(&page, "NumberOfMessagesDeleted", s->name),
    };
    return s->c->interrupted ? fail(error, ERR_CANCELLED, 0, "stopped") : OK;
}

// Where its dead letters go and how many wait there; whose come here.
static enum err look_around(struct stat *s, struct error *error)
{
    AUTO_BUF struct buf url = {0};
    json_t *answer = NULL, *attributes = NULL;
    struct error ignored;
    s->dlq_count = -1;
    queue_dead_letters(s->attributes, s->dlq, &s->max_receives);
    if (s->dlq[0] != '\0' && queue_find_url(s->c, s->dlq, &url, &ignored) == OK &&
        queue_attributes(s->c, url.data, &attributes, &ignored) == OK)
        s->dlq_count = queue_number(attributes, "ApproximateNumberOfMessages");
    json_decref(attributes);
    enum err err =
        queue_ask(s->c, "ListDeadLetterSourceQueues",
                  json_pack("{s:s,s:i}", "QueueUrl", s->url.data, "MaxResults", SOURCES_MAX), 0,
                  &answer, &ignored);
    if (err == OK)
        s->sources = json_incref(json_object_get(answer, "queueUrls"));
    json_decref(answer);
    return s->c->interrupted ? fail(error, ERR_CANCELLED, 0, "stopped") : OK;
}

// --- showing ---

static double rate(double before, double now, int64_t ms)
{
    return ms > 0 && before >= 0 && now >= before ? (now - before) * 1000 / (double)ms : -1;
}

static int64_t all_of(const struct look *l)
{
    return l->visible + l->in_flight + l->delayed;
}

static void print_rates(const struct look *before, const struct look *now, struct buf *out)
{
    int64_t ms = now->at_ms - before->at_ms;
    if (before->at_ms == 0 || ms <= 0)
        return;
    if (now->sent >= 0)
        buf_printf(out,
                   "  rates         sent %.1f/s, received %.1f/s, deleted %.1f/s (the server's "
                   "counters, over %.1f s)\n",
                   rate(before->sent, now->sent, ms), rate(before->received, now->received, ms),
                   rate(before->deleted, now->deleted, ms), (double)ms / 1000);
    else
        buf_printf(out,
                   "  rates         messages %+.1f/s (from two counts %.1f s apart; this service "
                   "does not tell more)\n",
                   (double)(all_of(now) - all_of(before)) * 1000 / (double)ms, (double)ms / 1000);
}

static void print_settings(const struct stat *s, struct buf *out)
{
    char retention[32];
    const json_t *a = s->attributes;
    text_age(queue_number(a, "MessageRetentionPeriod"), retention);
    buf_printf(out,
               "  settings      visibility %s s, retention %s, delay %s s, long poll %s s, largest "
               "message %lld KiB\n",
               queue_attribute(a, "VisibilityTimeout", "?"), retention,
               queue_attribute(a, "DelaySeconds", "?"),
               queue_attribute(a, "ReceiveMessageWaitTimeSeconds", "?"),
               (long long)queue_number(a, "MaximumMessageSize") / 1024);
    if (strcmp(queue_attribute(a, "FifoQueue", "false"), "true") == 0)
        buf_printf(out, "  FIFO          deduplication by %s, scope %s\n",
                   strcmp(queue_attribute(a, "ContentBasedDeduplication", "false"), "true") == 0
                       ? "content"
                       : "id",
                   queue_attribute(a, "DeduplicationScope", "queue"));
    if (s->dlq[0] != '\0') {
        buf_printf(out, "  dead letters  after %d receive%s to %s", s->max_receives,
                   s->max_receives == 1 ? "" : "s", s->dlq);
        if (s->dlq_count >= 0)
            buf_printf(out, ", which holds %lld", (long long)s->dlq_count);
        buf_add_char(out, '\n');
    }
    size_t i;
    json_t *url;
    json_array_foreach(s->sources, i, url) buf_printf(
        out, "%s%s", i == 0 ? "  dead letters of  " : ", ", queue_name_of(json_string_value(url)));
    if (json_array_size(s->sources) > 0)
        buf_printf(out, "\n                `smelt queue redrive %s` moves them back\n", s->name);
}

static void print_people(const struct stat *s, const struct look *before, const struct look *now,
                         struct buf *out)
{
    char age[32] = "-";
    if (now->age_s >= 0 && all_of(now) > 0)
        text_age((int64_t)now->age_s, age);
    buf_printf(out, "queue %s at %s\n", s->name, s->c->endpoint);
    buf_printf(out, "  messages      %lld visible, %lld in flight, %lld delayed\n",
               (long long)now->visible, (long long)now->in_flight, (long long)now->delayed);
    if (now->age_s >= 0)
        buf_printf(out, "  oldest        %s\n", age);
    else
        buf_printf(out, "  oldest        not told by this service\n");
    print_rates(before, now, out);
    print_settings(s, out);
}

static void set_rate(json_t *line, const char *name, double value)
{
    json_object_set_new(line, name, value >= 0 ? json_real(value) : json_null());
}

static void print_json(const struct stat *s, const struct look *before, const struct look *now,
                       struct buf *out)
{
    int64_t ms = before->at_ms > 0 ? now->at_ms - before->at_ms : 0;
    json_t *line = json_pack("{s:s,s:s,s:I,s:I,s:I}", "queue", s->name, "endpoint", s->c->endpoint,
                             "visible", (json_int_t)now->visible, "in_flight",
                             (json_int_t)now->in_flight, "delayed", (json_int_t)now->delayed);
    json_object_set_new(line, "oldest_s", now->age_s >= 0 ? json_real(now->age_s) : json_null());
    set_rate(line, "sent_per_s", rate(before->sent, now->sent, ms));
    set_rate(line, "received_per_s", rate(before->received, now->received, ms));
    set_rate(line, "deleted_per_s", rate(before->deleted, now->deleted, ms));
    json_object_set_new(line, "rates_from",
                        ms <= 0          ? json_null()
                        : now->sent >= 0 ? json_string("server")
                                         : json_string("counts"));
    if (ms > 0)
        json_object_set_new(line, "growth_per_s",
                            json_real((double)(all_of(now) - all_of(before)) * 1000 / (double)ms));
    if (s->dlq[0] != '\0')
        json_object_set_new(line, "dead_letter_queue", json_string(s->dlq));
    if (json_array_size(s->sources) > 0)
        json_object_set(line, "dead_letters_of", s->sources);
    json_object_set(line, "attributes", s->attributes);
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(6));
    buf_add_text(out, text);
    buf_add_char(out, '\n');
    free(text);
    json_decref(line);
}

static void show(const struct stat *s, const struct look *before, const struct look *now,
                 bool again)
{
    AUTO_BUF struct buf out = {0};
    if (options_on(s->c->options, "json"))
        print_json(s, before, now, &out);
    else
        print_people(s, before, now, &out);
    if (again && isatty(STDOUT_FILENO) && !options_on(s->c->options, "json"))
        printf("\033[H\033[2J"); // over the one before
    fputs(out.data, stdout);
    fflush(stdout);
}

static enum err run(struct stat *s, const char *queue, long interval_s, long watch_s,
                    struct error *error)
{
    struct look before = {0}, now;
    TRY(queue_find_url(s->c, queue, &s->url, error));
    s->name = queue_name_of(s->url.data);
    TRY(take_look(s, &now, error));
    TRY(look_around(s, error));
    if (interval_s > 0) {
        before = now;
        if (!queue_pause(s->c, interval_s * 1000))
            return fail(error, ERR_CANCELLED, 0, "stopped");
        TRY(take_look(s, &now, error));
    }
    show(s, &before, &now, watch_s > 0);
    while (watch_s > 0 && queue_pause(s->c, watch_s * 1000)) {
        before = now;
        TRY(take_look(s, &now, error));
        json_decref(s->sources);
        s->sources = NULL;
        TRY(look_around(s, error));
        show(s, &before, &now, true);
    }
    return OK;
}

int queue_stat_main(int argc, char **argv)
{
    struct options o;
    struct queue_client c = {0};
    struct error error;
    struct stat s = {.c = &c};
    long interval_s = 0, watch_s = 0;
    int code = options_parse(&o, table, "smelt queue stat [options] QUEUE",
                             "One queue: how many messages, how old, how fast, its settings, its "
                             "dead letters.",
                             argc, argv);
    const char *queue = code < 0 ? queue_argument(&o, "stat") : NULL;
    if (code < 0 &&
        (queue == NULL || !options_int(&o, "interval", 0, 3600, &interval_s) ||
         (options_get(&o, "watch") != NULL && !options_int(&o, "watch", 1, 3600, &watch_s))))
        code = 2;
    if (code < 0)
        code = queue_client_open(&c, &o);
    if (code < 0) {
        enum err err = run(&s, queue, interval_s, watch_s, &error);
        bool stopped = err == ERR_CANCELLED && watch_s > 0;
        code = err == OK || stopped ? 0 : queue_failed(&c, queue, &error);
    }
    json_decref(s.attributes);
    json_decref(s.sources);
    buf_release(&s.url);
    queue_client_close(&c);
    options_release(&o);
    return code;
}
