// GET /readyz: asks store and queue. 200 when a job posted now would be taken.
#include "gateway/visit.h"

enum { READY_S_MAX = 2 };

static void on_queue(void *ctx, const struct aws_result *r, const char *queue_url)
{
    struct visit *v = ctx;
    (void)queue_url;
    v->sqs = NULL;
    if (r->err == OK)
        visit_answer_ready(v);
    else
        visit_answer_unavailable(v, "the queue is not there", r);
}

static void on_store(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    (void)object;
    v->s3 = NULL;
    if (r->err == OK || r->err == ERR_NOT_FOUND) // the store answers
        v->sqs = sqs_get_queue_url(v->g->sqs, JOB_QUEUE, on_queue, v);
    else
        visit_answer_unavailable(v, "the store is not there", r);
}

static void on_too_slow(void *ctx)
{
    struct visit *v = ctx;
    visit_answer_error(v, 503, "timeout", "%s does not answer within %d s",
                       v->s3 != NULL ? "the store" : "the queue", READY_S_MAX);
}

void ready_begin(struct visit *v)
{
    struct gateway *g = v->g;
    if (g->stopping) {
        visit_answer_error(v, 503, "stopping", "this gateway is stopping");
        return;
    }
    if (g->setup != SETUP_DONE) {
        visit_answer_error(v, 503, "unavailable", "%s", g->setup_error);
        return;
    }
    loop_timer_set(g->config.loop, &v->timer, loop_now_ms(g->config.loop) + READY_S_MAX * 1000,
                   on_too_slow, v);
    v->s3 = s3_head(g->s3, JOB_BUCKET, "ready", on_store, v);
}
