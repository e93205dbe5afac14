// GET /v1/jobs/ID: the result if there is one, else "queued" if the job was ever posted. The waiter
// is registered before the store is asked, so that a result written in between wakes it.
#include "gateway/tells.h"

// A worker may have finished the job, and its picture may have been removed, since the first look.
static void on_second_look(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err == OK)
        visit_answer_result(v, object->body);
    else if (r->err == ERR_NOT_FOUND)
        visit_answer_error(v, 404, "not_found", "there is no job '%s', or its result has expired",
                           v->id);
    else
        visit_answer_unavailable(v, "cannot look the job up in the store", r);
}

static void get_result(struct visit *v, s3_object_fn *done)
{
    const char *key = arena_printf(&v->request->arena, JOB_RESULTS_PREFIX "%s.json", v->id);
    v->s3 = s3_get(v->g->s3, JOB_BUCKET, key, GATEWAY_RESULT_BYTES_MAX, done, v);
}

static void on_inbox(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err == OK) {
        tells_find_owner(v, object);
        loop_timer_cancel(v->g->config.loop, &v->timer);
        visit_wait(v);
    } else if (r->err == ERR_NOT_FOUND) {
        get_result(v, on_second_look);
    } else {
        visit_answer_unavailable(v, "cannot look the job up in the store", r);
    }
}

static void on_result(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err == OK) {
        visit_answer_result(v, object->body);
    } else if (r->err == ERR_NOT_FOUND) {
        const char *key = arena_printf(&v->request->arena, JOB_INBOX_PREFIX "%s", v->id);
        v->s3 = s3_head(v->g->s3, JOB_BUCKET, key, on_inbox, v);
    } else {
        visit_answer_unavailable(v, "cannot look the job up in the store", r);
    }
}

static void on_too_slow(void *ctx)
{
    struct visit *v = ctx;
    visit_answer_error(v, 503, "timeout", "the store does not answer within %d s; ask again",
                       GATEWAY_SUBMIT_S_MAX);
}

void look_begin(struct visit *v)
{
    struct loop *loop = v->g->config.loop;
    int64_t now = loop_now_ms(loop);
    v->wait_until_ms = now + v->wait_s * 1000;
    loop_timer_set(loop, &v->timer, now + GATEWAY_SUBMIT_S_MAX * 1000, on_too_slow, v);
    if (v->wait_s > 0)
        visit_listen(v);
    get_result(v, on_result);
}
