// DELETE /v1/jobs/ID: a job is cancelled by writing its result, which is written once: whoever is
// first, the worker or this, decides. Then the picture is removed, so that a worker that takes the
// message finds nothing to compute, at no cost for jobs that are not cancelled.
#include "base/clock.h"
#include "base/log.h"
#include "gateway/tells.h"

static void get_result(struct visit *v, s3_object_fn *done);

static const char *result_key(struct visit *v)
{
    return arena_printf(&v->request->arena, JOB_RESULTS_PREFIX "%s.json", v->id);
}

static const char *inbox_key(struct visit *v)
{
    return arena_printf(&v->request->arena, JOB_INBOX_PREFIX "%s", v->id);
}

static void on_discarded(void *ctx, const struct aws_result *r)
{
    (void)ctx, (void)r; // it stays: the worker computes for nothing, and adopts what is written
}

// There is a result already: of an earlier cancellation, or the job was faster.
static void answer_by_result(struct visit *v, struct span json)
{
    struct job_result result;
    struct error error;
    if (job_result_decode(json, &v->request->arena, &result, &error) != OK)
        visit_answer_error(v, 503, "corrupt", "the stored result of this job cannot be read: %s",
                           error.msg);
    else if (result.status == JOB_CANCELLED)
        visit_answer_result(v, json);
    else
        visit_answer_error(v, 409, "conflict",
                           "job '%s' has ended already, as %s; what is done cannot be cancelled",
                           v->id, job_status_name(result.status));
}

static void on_winner(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err == OK)
        answer_by_result(v, object->body);
    else
        visit_answer_unavailable(v, "cannot look the job up in the store", r);
}

static void on_written(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    struct gateway *g = v->g;
    (void)object;
    v->s3 = NULL;
    if (r->err == ERR_PRECONDITION) {
        get_result(v, on_winner);
        return;
    }
    if (r->err != OK) {
        visit_answer_unavailable(v, "cannot write the cancellation into the store", r);
        return;
    }
    metric_add(g->metrics.cancelled, 1);
    log_event(LOG_INFO, "job_cancelled", "id=%s", v->id);
    s3_delete(g->s3, JOB_BUCKET, inbox_key(v), on_discarded, NULL);
    waiters_wake(&g->waiters, span_from(v->id), buf_view(&v->message));
    tells_send(g, v->owner, buf_view(&v->message)); // its clients wait there
    visit_answer_result(v, buf_view(&v->message));
}

static void write_cancellation(struct visit *v)
{
    const struct s3_put_options options = {.content_type = "application/json",
                                           .if_none_match = true};
    const struct job_result result = {.id = v->id,
                                      .status = JOB_CANCELLED,
                                      .model = "",
                                      .error_code = "cancelled",
                                      .error_message = "the job was cancelled before it was done",
                                      .timing = {-1, -1, -1, -1, -1},
                                      .finished_ms = clock_wall_ms()};
    buf_clear(&v->message);
    job_result_encode(&result, &v->message);
    v->s3 =
        s3_put(v->g->s3, JOB_BUCKET, result_key(v), buf_view(&v->message), &options, on_written, v);
}

// A job whose picture is gone may have ended since the first look.
static void on_second_look(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err == OK)
        answer_by_result(v, object->body);
    else if (r->err == ERR_NOT_FOUND)
        visit_answer_error(v, 404, "not_found", "there is no job '%s', or its result has expired",
                           v->id);
    else
        visit_answer_unavailable(v, "cannot look the job up in the store", r);
}

static void on_inbox(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err == OK) {
        tells_find_owner(v, object);
        write_cancellation(v);
    } else if (r->err == ERR_NOT_FOUND) {
        get_result(v, on_second_look);
    } else {
        visit_answer_unavailable(v, "cannot look the job up in the store", r);
    }
}

static void on_first_look(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err == OK)
        answer_by_result(v, object->body);
    else if (r->err == ERR_NOT_FOUND)
        v->s3 = s3_head(v->g->s3, JOB_BUCKET, inbox_key(v), on_inbox, v);
    else
        visit_answer_unavailable(v, "cannot look the job up in the store", r);
}

static void get_result(struct visit *v, s3_object_fn *done)
{
    v->s3 = s3_get(v->g->s3, JOB_BUCKET, result_key(v), GATEWAY_RESULT_BYTES_MAX, done, v);
}

static void on_too_slow(void *ctx)
{
    struct visit *v = ctx;
    visit_answer_error(v, 503, "timeout",
                       "the store does not answer within %d s; whether the job is cancelled is not "
                       "known, ask again",
                       GATEWAY_SUBMIT_S_MAX);
}

void cancel_begin(struct visit *v)
{
    struct loop *loop = v->g->config.loop;
    loop_timer_set(loop, &v->timer, loop_now_ms(loop) + GATEWAY_SUBMIT_S_MAX * 1000, on_too_slow,
                   v);
    get_result(v, on_first_look);
}
