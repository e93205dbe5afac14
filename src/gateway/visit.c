#include "gateway/visit.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "gateway/rest.h"
#include "gateway/tells.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Nothing of the visit goes on after this.
static void stop_all(struct visit *v)
{
    loop_timer_cancel(v->g->config.loop, &v->timer);
    waiters_remove(&v->g->waiters, &v->waiter);
    struct s3_call *s3 = v->s3;
    struct sqs_call *sqs = v->sqs;
    v->s3 = NULL;
    v->sqs = NULL;
    if (s3 != NULL)
        s3_call_cancel(s3);
    if (sqs != NULL)
        sqs_call_cancel(sqs);
}

// Nobody is left to be told; on_done, and with it visit_free, follows.
static void on_hangup(void *ctx, struct http_request *r)
{
    struct visit *v = ctx;
    (void)r;
    v->answered = true;
    stop_all(v);
}

struct visit *visit_new(struct gateway *g, struct http_request *r, enum visit_kind kind)
{
    struct visit *v = calloc(1, sizeof *v);
    CHECK(v != NULL);
    v->g = g;
    v->kind = kind;
    v->request = r;
    v->next = g->visits;
    v->link = &g->visits;
    if (v->next != NULL)
        v->next->link = &v->next;
    g->visits = v;
    if (kind != VISIT_SUBMIT) // that is finished first: a picture without its message has no home
        http_request_on_hangup(r, on_hangup, v);
    metric_set(g->metrics.waiting, metric_value(g->metrics.waiting) + 1);
    return v;
}

void visit_free(struct visit *v)
{
    struct gateway *g = v->g;
    v->answered = true; // whatever is cancelled now has nobody to tell
    stop_all(v);
    visit_drop_body(v);
    buf_release(&v->message);
    *v->link = v->next;
    if (v->next != NULL)
        v->next->link = v->link;
    free(v);
    metric_set(g->metrics.waiting, metric_value(g->metrics.waiting) - 1);
    gateway_visit_ended(g);
}

void visit_count(struct visit *v, size_t bytes)
{
    v->g->body_bytes = v->g->body_bytes - v->counted_bytes + bytes;
    v->counted_bytes = bytes;
    metric_set(v->g->metrics.body_bytes, (double)v->g->body_bytes);
}

void visit_drop_body(struct visit *v)
{
    buf_release(&v->body);
    v->stored = (struct span){0};
    visit_count(v, 0);
}

// --- answers ---

static bool begin_answer(struct visit *v)
{
    if (v->answered)
        return false;
    v->answered = true;
    stop_all(v);
    return true;
}

void visit_answer_result(struct visit *v, struct span result_json)
{
    if (!begin_answer(v))
        return;
    struct http_request *r = v->request;
    struct job_result result;
    struct error error;
    AUTO_BUF struct buf out = {0};
    if (job_result_decode(result_json, &r->arena, &result, &error) != OK) {
        char quoted[600];
        log_event(LOG_ERROR, "result_unreadable", "id=%s reason=%s", v->id,
                  log_quote(error.msg, quoted, sizeof quoted));
        rest_reply_error(r, 503, "corrupt", "the stored result of this job cannot be read: %s",
                         error.msg);
        return;
    }
    if (v->kind == VISIT_SUBMIT && !v->duplicate)
        result.timing.total = (double)(clock_monotonic_us() - r->started_us) / 1000;
    else if (result.timing.total < 0 && result.submitted_ms > 0 &&
             result.finished_ms >= result.submitted_ms)
        result.timing.total = (double)(result.finished_ms - result.submitted_ms);
    job_result_encode(&result, &out);
    metric_add(v->g->metrics.answered, 1);
    if (v->kind == VISIT_SUBMIT)
        metric_observe(v->g->metrics.answer_seconds,
                       (double)(clock_monotonic_us() - r->started_us) / 1e6);
    if (v->event)
        rest_reply_event(r, &out);
    else
        rest_reply_json(r, 200, NULL, 0, &out);
}

void visit_answer_queued(struct visit *v)
{
    if (!begin_answer(v))
        return;
    struct http_request *r = v->request;
    const char *url = arena_printf(&r->arena, "/v1/jobs/%s", v->id);
    AUTO_BUF struct buf out = {0};
    buf_printf(&out, "{\"id\":\"%s\",\"status\":\"queued\",\"url\":\"%s\"", v->id, url);
    if (v->trace[0] != '\0')
        buf_printf(&out, ",\"trace_id\":\"%s\"", v->trace);
    buf_add_char(&out, '}');
    const struct http_header location = {SPAN("Location"), span_from(url)};
    if (v->kind == VISIT_SUBMIT)
        rest_reply_json(r, 202, &location, 1, &out);
    else if (v->event)
        rest_reply_event(r, &out);
    else
        rest_reply_json(r, 200, NULL, 0, &out);
}

void visit_answer_ready(struct visit *v)
{
    if (!begin_answer(v))
        return;
    AUTO_BUF struct buf out = {0};
    buf_add_text(&out, "{\"status\":\"ready\"}");
    rest_reply_json(v->request, 200, NULL, 0, &out);
}

void visit_answer_error(struct visit *v, int status, const char *code, const char *fmt, ...)
{
    if (!begin_answer(v))
        return;
    char message[700];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    rest_reply_error(v->request, status, code, "%s", message);
}

void visit_answer_unavailable(struct visit *v, const char *what, const struct aws_result *why)
{
    if (why->err == ERR_CANCELLED)
        return; // the visit has ended
    if (why->err == ERR_THROTTLED)
        visit_answer_error(v, 429, "throttled", "%s: %.400s", what, why->error.msg);
    else
        visit_answer_error(v, 503, why->err == ERR_FULL ? "full" : "unavailable", "%s: %.400s",
                           what, why->error.msg);
}

// --- waiting ---

static void on_result_message(void *ctx, struct span result_json)
{
    visit_answer_result(ctx, result_json);
}

void visit_listen(struct visit *v)
{
    waiters_add(&v->g->waiters, &v->waiter, v->id, on_result_message, v);
}

static void on_last_look(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err == OK)
        visit_answer_result(v, object->body);
    else if (r->err != ERR_CANCELLED)
        visit_answer_queued(v); // it is: nothing that goes wrong here changes that
}

static void on_look_too_slow(void *ctx)
{
    visit_answer_queued(ctx);
}

static void look(struct visit *v, s3_object_fn *done)
{
    struct loop *loop = v->g->config.loop;
    loop_timer_set(loop, &v->timer, loop_now_ms(loop) + GATEWAY_LAST_LOOK_S_MAX * 1000,
                   on_look_too_slow, v);
    const char *key = arena_printf(&v->request->arena, JOB_RESULTS_PREFIX "%s.json", v->id);
    v->s3 = s3_get(v->g->s3, JOB_BUCKET, key, GATEWAY_RESULT_BYTES_MAX, done, v);
}

static void on_waited(void *ctx)
{
    look(ctx, on_last_look);
}

static void wait_on(struct visit *v);

static void on_early_look(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err == OK)
        visit_answer_result(v, object->body);
    else if (r->err != ERR_CANCELLED)
        wait_on(v);
}

// The other gateway may be gone, and its reply queue with nobody to read it.
static void on_look_time(void *ctx)
{
    struct visit *v = ctx;
    v->look_after_ms *= 2;
    look(v, on_early_look);
}

static void wait_on(struct visit *v)
{
    struct loop *loop = v->g->config.loop;
    int64_t now = loop_now_ms(loop);
    if (v->wait_s == 0 || v->g->stopping || now >= v->wait_until_ms)
        visit_answer_queued(v);
    else if (v->elsewhere && now + v->look_after_ms < v->wait_until_ms)
        loop_timer_set(loop, &v->timer, now + v->look_after_ms, on_look_time, v);
    else
        loop_timer_set(loop, &v->timer, v->wait_until_ms, on_waited, v);
}

void visit_wait(struct visit *v)
{
    if (v->kind == VISIT_SUBMIT && http_request_is_gone(v->request)) {
        visit_answer_queued(v); // nobody hears it, and it ends the visit
        return;
    }
    http_request_on_hangup(v->request, on_hangup, v);
    if (v->elsewhere && v->wait_s > 0) {
        v->look_after_ms = GATEWAY_LOOK_MS_MIN;
        tells_ask(v);
    }
    wait_on(v);
}
