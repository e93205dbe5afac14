// smelt audit: accepted = succeeded + failed + expired + cancelled + open, job by job.
#include "base/check.h"
#include "base/limits.h"
#include "base/text.h"
#include "cli/audit.h"
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

#define LOCAL_S3_ENDPOINT "http://127.0.0.1:9000"

enum { NAMED_MAX = 100, SETTLE_S_MAX = 43200 };

// clang-format off
static const struct option table[] = {
    QUEUE_OPTIONS,
    {"s3-endpoint", "URL", NULL, "the object store (default: AWS_ENDPOINT_URL_S3; a smelt here; Amazon's)"},
    {"queue", "NAME,…", JOB_QUEUE, "jobs queues, by name or URL; their dead-letter queues are found"},
    {"bucket", "NAME", JOB_BUCKET, "where pictures and results are"},
    {"settle", "S", NULL,
     "when a job has no home: how long until the second look (default: 25; 60 where messages cannot\n"
     "be peeked at)"},
    {0},
};
// clang-format on

// Enough for a submission under way: the picture is stored, the message is not sent yet.
enum { SETTLE_S = GATEWAY_SUBMIT_S_MAX + 5, SETTLE_BLIND_S = WORKER_VISIBILITY_S };

struct sums {
    size_t by_status[JOB_CANCELLED + 1]; // with a result
    size_t waiting, in_flight;           // open
    size_t dead;                         // open: a dead letter without a result
    size_t dead_with_result;             // among by_status
    size_t unreadable, no_home;
};

static struct sums sum_up(const struct audit *a)
{
    struct sums s = {0};
    for (size_t i = 0; i < a->count; i++) {
        const struct audit_job *job = &a->jobs[i];
        if (job->places & AUDIT_UNREADABLE)
            s.unreadable++;
        else if (job->places & AUDIT_RESULT)
            s.by_status[job->status]++;
        else if (job->places & AUDIT_IN_FLIGHT)
            s.in_flight++;
        else if (job->places & AUDIT_VISIBLE)
            s.waiting++;
        else if (job->places & AUDIT_DEAD)
            s.dead++;
        else
            s.no_home++;
        s.dead_with_result += (job->places & AUDIT_DEAD) && (job->places & AUDIT_RESULT);
    }
    return s;
}

// Where messages cannot be seen, jobs that are met by their picture alone may be open: as many as
// there are messages. What is more has no home, whoever it is.
static void settle_blind(const struct audit *a, struct sums *s)
{
    size_t messages = (size_t)(a->messages + a->dead_letters);
    size_t open = s->no_home < messages ? s->no_home : messages;
    s->waiting = open;
    s->no_home -= open;
}

// --- output ---

static void say_ids(const struct audit *a, bool wanted(const struct audit_job *), const char *what)
{
    size_t said = 0, more = 0;
    for (size_t i = 0; i < a->count; i++)
        if (!wanted(&a->jobs[i]))
            continue;
        else if (said++ < NAMED_MAX)
            printf("%s: %s\n", what, a->jobs[i].id);
        else
            more++;
    if (more > 0)
        printf("%s: and %zu more (--json names all)\n", what, more);
}

static bool is_unreadable(const struct audit_job *job)
{
    return (job->places & AUDIT_UNREADABLE) != 0;
}

static bool is_dead_alone(const struct audit_job *job)
{
    return (job->places & AUDIT_DEAD) &&
           !(job->places & (AUDIT_RESULT | AUDIT_VISIBLE | AUDIT_IN_FLIGHT));
}

static void print_text(const struct audit *a, const struct sums *s)
{
    size_t open = s->waiting + s->in_flight + s->dead;
    printf("accepted   %8zu\n  succeeded%8zu\n  failed   %8zu\n  expired  %8zu\n  cancelled%8zu\n"
           "  open     %8zu",
           a->count, s->by_status[JOB_SUCCEEDED], s->by_status[JOB_FAILED],
           s->by_status[JOB_EXPIRED], s->by_status[JOB_CANCELLED], open);
    if (a->peeks)
        printf("  (%zu waiting, %zu in flight, %zu dead letters without a result)\n", s->waiting,
               s->in_flight, s->dead);
    else
        printf("  (this queue service shows no messages: %lld of them, %lld dead letters, cannot "
               "be told apart)\n",
               (long long)a->messages, (long long)a->dead_letters);
    if (s->unreadable > 0)
        printf("  unreadable%7zu  results that are none\n", s->unreadable);
    printf("  no home  %8zu\n", s->no_home);
    if (s->dead_with_result > 0)
        printf("dead letters whose job has its result: %zu\n", s->dead_with_result);
    if (a->not_jobs > 0)
        printf("messages that are no jobs: %zu\n", a->not_jobs);
    say_ids(a, is_unreadable, "unreadable result");
    if (a->peeks) {
        say_ids(a, is_dead_alone, "dead letter without a result");
        say_ids(a, audit_has_no_home, "no home (a picture, neither message nor result)");
    }
}

static void json_ids(const struct audit *a, bool wanted(const struct audit_job *), const char *name)
{
    AUTO_BUF struct buf list = {0};
    for (size_t i = 0; i < a->count; i++)
        if (wanted(&a->jobs[i])) {
            if (list.len > 0)
                buf_add_char(&list, ',');
            json_escape(span_from(a->jobs[i].id), &list);
        }
    printf(",\"%s\":[%s]", name, list.len > 0 ? list.data : "");
}

static bool is_nobody(const struct audit_job *job)
{
    (void)job;
    return false;
}

static void print_json(const struct audit *a, const struct sums *s)
{
    printf("{\"accepted\":%zu,\"succeeded\":%zu,\"failed\":%zu,\"expired\":%zu,\"cancelled\":%zu,"
           "\"open\":%zu,\"no_home\":%zu,\"unreadable\":%zu,\"peeked\":%s,",
           a->count, s->by_status[JOB_SUCCEEDED], s->by_status[JOB_FAILED],
           s->by_status[JOB_EXPIRED], s->by_status[JOB_CANCELLED],
           s->waiting + s->in_flight + s->dead, s->no_home, s->unreadable,
           a->peeks ? "true" : "false");
    printf("\"waiting\":%zu,\"in_flight\":%zu,\"dead_without_result\":%zu,"
           "\"dead_with_result\":%zu,\"messages\":%lld,\"dead_letters\":%lld,\"not_jobs\":%zu",
           s->waiting, s->in_flight, s->dead, s->dead_with_result, (long long)a->messages,
           (long long)a->dead_letters, a->not_jobs);
    json_ids(a, a->peeks ? audit_has_no_home : is_nobody, "no_home_ids");
    json_ids(a, a->peeks ? is_dead_alone : is_nobody, "dead_without_result_ids");
    json_ids(a, is_unreadable, "unreadable_ids");
    printf("}\n");
}

// --- the command ---

static struct sums sums_of(const struct audit *a)
{
    struct sums s = sum_up(a);
    if (!a->peeks)
        settle_blind(a, &s);
    return s;
}

// What had no home before and has none now.
static void keep_lost(struct audit *a, const struct audit *before)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->count; i++) {
        const struct audit_job *job = &a->jobs[i];
        const struct audit_job *old = audit_find(before, job->id);
        if (audit_has_no_home(job) && (old == NULL || !audit_has_no_home(old)))
            continue; // came since: it is not accepted yet
        a->jobs[kept++] = *job;
    }
    a->count = kept;
}

static enum err look_twice(struct audit *a, long settle_s, struct error *error)
{
    TRY(audit_look(a, error));
    struct sums s = sums_of(a);
    if (s.no_home == 0)
        return OK;
    if (settle_s < 0)
        settle_s = a->peeks ? SETTLE_S : SETTLE_BLIND_S;
    fprintf(stderr, "smelt: %zu jobs without a home; looking again in %ld s\n", s.no_home,
            settle_s);
    struct audit second = {.c = a->c, .s3 = a->s3, .bucket = a->bucket, .queues = a->queues};
    if (!queue_pause(a->c, settle_s * 1000))
        return fail(error, ERR_CANCELLED, 0, "stopped");
    enum err err = audit_look(&second, error);
    if (err == OK && second.peeks)
        keep_lost(&second, a);
    audit_release(a);
    *a = second;
    return err;
}

static enum err open_store(struct queue_client *c, struct aws_client **s3, struct error *error)
{
    const char *endpoint = options_get(c->options, "s3-endpoint");
    if (endpoint == NULL && getenv("AWS_ENDPOINT_URL_S3") == NULL &&
        getenv("AWS_ENDPOINT_URL") == NULL && c->local)
        endpoint = LOCAL_S3_ENDPOINT;
    const struct aws_client_config config = {.loop = c->loop,
                                             .http = c->http,
                                             .service = "s3",
                                             .endpoint = endpoint,
                                             .region = c->region,
                                             .keys = c->keys,
                                             .attempts_max = 3};
    return aws_client_new(&config, s3, error);
}

static int audit(struct queue_client *c, long settle_s)
{
    struct error error = {0};
    struct audit a = {.c = c,
                      .bucket = options_get(c->options, "bucket"),
                      .queues = options_get(c->options, "queue")};
    int code = 1;
    enum err err = open_store(c, &a.s3, &error);
    if (err == OK)
        err = look_twice(&a, settle_s, &error);
    if (err != OK) {
        code = queue_failed(c, NULL, &error);
    } else {
        struct sums s = sums_of(&a);
        if (options_on(c->options, "json"))
            print_json(&a, &s);
        else
            print_text(&a, &s);
        code = s.no_home > 0 || s.unreadable > 0 ? 1 : 0;
    }
    audit_release(&a);
    aws_client_free(a.s3);
    return code;
}

int audit_main(int argc, char **argv)
{
    struct options o;
    struct queue_client c;
    long settle_s = -1;
    int code = options_parse(&o, table, "smelt audit [options]",
                             "Counts every job that store and queue know, each in one place, and "
                             "names those that\nhave none. Exit code 1: there is one (or a result "
                             "that cannot be read).",
                             argc, argv);
    if (code < 0 && options_get(&o, "settle") != NULL &&
        !options_int(&o, "settle", 0, SETTLE_S_MAX, &settle_s))
        code = 2;
    if (code < 0 && !options_no_argument(&o, "audit"))
        code = 2;
    if (code < 0) {
        code = queue_client_open(&c, &o);
        if (code < 0)
            code = audit(&c, settle_s);
        queue_client_close(&c);
    }
    options_release(&o);
    return code;
}
