#include "cli/failed_results.h"

#include "base/check.h"
#include "job/job.h"

#include <stdio.h>

enum { PARALLEL = 16 };

struct removal {
    struct failed_results *f;
    const char *const *ids;
    size_t count, next, done, running;
    struct error error; // the first
};

struct removing { // one id
    struct removal *r;
    const char *id;
};

static void start_next(struct removing *one);

static void key_of(const char *id, char out[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8])
{
    snprintf(out, sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8, JOB_RESULTS_PREFIX "%s.json",
             id);
}

static void end_one(struct removing *one, enum err err, const struct error *error)
{
    struct removal *r = one->r;
    r->running--;
    r->done++;
    if (err != OK && r->error.code == OK)
        fail(&r->error, err, 0, "result of job %s: %.400s", one->id, error->msg);
    if (r->f->progress != NULL)
        r->f->progress(r->f->ctx, r->done, r->count);
    start_next(one);
}

static void on_deleted(void *ctx, const struct aws_result *r)
{
    struct removing *one = ctx;
    one->r->f->removed += r->err == OK;
    end_one(one, r->err, &r->error);
}

static void on_result(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct removing *one = ctx;
    struct failed_results *f = one->r->f;
    char key[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8];
    struct arena arena = {0};
    struct job_result result;
    struct error error;
    if (r->err == ERR_NOT_FOUND) {
        f->missing++;
        end_one(one, OK, NULL);
        return;
    }
    if (r->err != OK) {
        end_one(one, r->err, &r->error);
        return;
    }
    enum err err = job_result_decode(object->body, &arena, &result, &error);
    bool failed = err == OK && result.status == JOB_FAILED;
    arena_release(&arena);
    if (failed) {
        key_of(one->id, key);
        s3_delete(f->s3, f->bucket, key, on_deleted, one);
        return;
    }
    f->kept++;
    end_one(one, OK, NULL);
}

static void start_next(struct removing *one)
{
    struct removal *r = one->r;
    char key[sizeof JOB_RESULTS_PREFIX + JOB_ID_BYTES_MAX + 8];
    if (*r->f->stop && r->error.code == OK && r->next < r->count)
        fail(&r->error, ERR_CANCELLED, 0, "stopped");
    if (r->error.code != OK || r->next == r->count) {
        if (r->running == 0)
            loop_stop(r->f->loop);
        return;
    }
    one->id = r->ids[r->next++];
    r->running++;
    key_of(one->id, key);
    s3_get(r->f->s3, r->f->bucket, key, JOB_RESULT_BYTES_MAX, on_result, one);
}

enum err failed_results_remove(struct failed_results *f, const char *const *ids, size_t count,
                               struct error *error)
{
    struct removal r = {.f = f, .ids = ids, .count = count};
    struct removing slots[PARALLEL];
    for (size_t i = 0; i < PARALLEL; i++) {
        slots[i] = (struct removing){.r = &r};
        if (r.next < count)
            start_next(&slots[i]);
    }
    while (r.running > 0) // Ctrl-C ends a turn of the loop, not what is under way
        TRY(loop_run(f->loop, error));
    if (r.error.code != OK)
        *error = r.error;
    return r.error.code;
}
