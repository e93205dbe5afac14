// Results are read some at a time: each says what became of its job.
#include "cli/audit.h"
#include "cli/progress_bar.h"

#include <stdio.h>
#include <string.h>

enum { PARALLEL = 16 };

struct reading {
    struct audit *a;
    size_t next, done, total, running;
    struct progress_bar bar;
    struct error error; // the first
};

struct reader { // of one result
    struct reading *r;
    struct audit_job *job;
};

static void read_next(struct reader *one);

static void take_result(struct audit_job *job, struct span body)
{
    AUTO_ARENA struct arena arena = {0};
    struct job_result result;
    struct error ignored;
    job->known = true;
    if (job_result_decode(body, &arena, &result, &ignored) == OK &&
        strcmp(result.id, job->id) == 0 && result.status != JOB_QUEUED)
        job->status = result.status;
    else
        job->places |= AUDIT_UNREADABLE;
}

static void on_result(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct reader *one = ctx;
    struct reading *all = one->r;
    all->running--;
    all->done++;
    if (r->err == OK)
        take_result(one->job, object->body);
    else if (r->err == ERR_NOT_FOUND)
        one->job->places &= ~(unsigned)AUDIT_RESULT; // removed since
    else if (r->err == ERR_LIMIT)
        one->job->places |= AUDIT_UNREADABLE;
    else if (all->error.code == OK)
        fail(&all->error, r->err, 0, "result of job %s: %.300s", one->job->id, r->error.msg);
    progress_bar_show(&all->bar, all->done, all->total, "results");
    read_next(one);
}

static bool is_wanted(const struct audit_job *job)
{
    return (job->places & AUDIT_RESULT) && !job->known;
}

static void read_next(struct reader *one)
{
    struct reading *r = one->r;
    struct audit *a = r->a;
    char key[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8];
    if (a->c->interrupted && r->error.code == OK)
        fail(&r->error, ERR_CANCELLED, 0, "stopped");
    while (r->next < a->count && !is_wanted(&a->jobs[r->next]))
        r->next++;
    if (r->error.code != OK || r->next == a->count) {
        if (r->running == 0)
            loop_stop(a->c->loop);
        return;
    }
    one->job = &a->jobs[r->next++];
    r->running++;
    snprintf(key, sizeof key, "%s%s.json", JOB_RESULTS_PREFIX, one->job->id);
    s3_get(a->s3, a->bucket, key, JOB_RESULT_BYTES_MAX, on_result, one);
}

enum err audit_read_results(struct audit *a, struct error *error)
{
    struct reading r = {.a = a};
    struct reader readers[PARALLEL];
    for (size_t i = 0; i < a->count; i++)
        r.total += is_wanted(&a->jobs[i]);
    progress_bar_begin(&r.bar, 0);
    for (size_t i = 0; i < PARALLEL; i++) {
        readers[i] = (struct reader){.r = &r};
        read_next(&readers[i]);
    }
    enum err err = OK;
    while (r.running > 0 && err == OK) // Ctrl-C ends a turn of the loop, not what is under way
        err = loop_run(a->c->loop, error);
    progress_bar_end(&r.bar);
    if (err == OK && r.error.code != OK)
        *error = r.error;
    return err != OK ? err : r.error.code;
}
