// POST /v1/jobs: what was posted becomes the object inbox/ID, then a message in the jobs queue,
// then the client hears the id. In this order, so that whatever breaks in between, no message names
// an object that is not there, and nothing is promised that is not on disk.
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/intake.h"
#include "gateway/tells.h"

#include <stdio.h>
#include <string.h>

// --- the message ---

static void on_discarded(void *ctx, const struct aws_result *r)
{
    (void)ctx, (void)r;
}

static void on_sent(void *ctx, const struct aws_result *r, const char *message_id)
{
    struct visit *v = ctx;
    struct gateway *g = v->g;
    (void)message_id;
    v->sqs = NULL;
    if (r->err == ERR_CANCELLED)
        return;
    loop_timer_cancel(g->config.loop, &v->timer);
    if (r->err == OK) {
        metric_add(g->metrics.submitted, 1);
        log_event(LOG_DEBUG, "job_queued", "id=%s trace=%s", v->id, v->trace);
        metric_observe(g->metrics.submit_seconds,
                       (double)(clock_monotonic_us() - v->request->started_us) / 1e6);
        visit_wait(v);
        return;
    }
    if (r->err == ERR_NOT_FOUND)
        setup_begin(g); // the queue was deleted
    // Refused by an answer (a queue on a full disk, say): the picture goes too. Without an answer
    // the message may be there: it stays.
    if (!v->idempotent && r->status >= 400)
        s3_delete(g->s3, JOB_BUCKET, arena_printf(&v->request->arena, JOB_INBOX_PREFIX "%s", v->id),
                  on_discarded, NULL);
    visit_answer_unavailable(v, "cannot queue the job", r);
}

static void send_message(struct visit *v)
{
    struct gateway *g = v->g;
    v->submitted_ms = clock_wall_ms();
    const struct job job = {
        .kind = JOB_NATIVE,
        .id = v->id,
        .model = v->model,
        .bucket = v->bucket,
        .key = v->key,
        .trace = v->trace,
        .reply_to = g->replies_url,
        .submitted_ms = v->submitted_ms,
        .expires_ms = v->expires_s > 0 ? v->submitted_ms + v->expires_s * INT64_C(1000) : 0,
        .repeated = v->duplicate,
    };
    buf_clear(&v->message);
    job_encode(&job, &v->message);
    if (v->wait_s > 0)
        visit_listen(v); // first: the reply may overtake the answer to SendMessage
    aws_client_trace(g->sqs, v->trace);
    v->sqs = sqs_send(g->sqs, g->jobs_url, buf_view(&v->message), 0, on_sent, v);
}

// --- an Idempotency-Key that was used before ---

static void on_earlier_result(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err == OK)
        visit_answer_result(v, object->body);
    else if (r->err == ERR_NOT_FOUND)
        // whether the first request got as far as the message is unknown: a second one does no
        // harm, results are written once, and its worker looks for one first
        send_message(v);
    else
        visit_answer_unavailable(v, "cannot look the job up in the store", r);
}

static void on_earlier_body(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    v->s3 = NULL;
    if (r->err != OK) {
        visit_answer_unavailable(v, "cannot look the job up in the store", r);
        return;
    }
    if (strcmp(object->content_type, v->content_type) != 0) {
        visit_answer_error(v, 409, "conflict",
                           "this Idempotency-Key was used for another picture or model (job %s); "
                           "use a new key for a new job",
                           v->id);
        return;
    }
    v->duplicate = true;
    tells_find_owner(v, object);
    metric_add(v->g->metrics.duplicates, 1);
    const char *key = arena_printf(&v->request->arena, JOB_RESULTS_PREFIX "%s.json", v->id);
    v->s3 = s3_get(v->g->s3, JOB_BUCKET, key, GATEWAY_RESULT_BYTES_MAX, on_earlier_result, v);
}

// --- the picture ---

static void on_stored(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct visit *v = ctx;
    (void)object;
    v->s3 = NULL;
    if (r->err == ERR_CANCELLED)
        return;
    visit_drop_body(v);
    if (r->err == OK) {
        send_message(v);
    } else if (r->err == ERR_PRECONDITION && v->idempotent) {
        const char *key = arena_printf(&v->request->arena, JOB_INBOX_PREFIX "%s", v->id);
        v->s3 = s3_head(v->g->s3, JOB_BUCKET, key, on_earlier_body, v);
    } else {
        if (r->err == ERR_NOT_FOUND)
            setup_begin(v->g); // the bucket was deleted
        visit_answer_unavailable(v, "cannot store the picture", r);
    }
}

static void on_too_slow(void *ctx)
{
    struct visit *v = ctx;
    visit_answer_error(v, 503, "timeout",
                       "store and queue did not take the job within %d s; send it again, with an "
                       "Idempotency-Key if it must not run twice",
                       GATEWAY_SUBMIT_S_MAX);
}

// The id of a job with an Idempotency-Key is a digest of the key; what was posted with it is
// remembered as a digest in the object's content type, the one place that every S3 store keeps and
// a HEAD shows.
static void use_idempotency_key(struct visit *v, struct span idempotency_key)
{
    AUTO_BUF struct buf text = {0};
    uint8_t digest[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    buf_add_text(&text, "smelt idempotency key\n");
    buf_add_span(&text, idempotency_key);
    digest_sha256(buf_view(&text), digest);
    hex_encode(digest, 20, hex);
    snprintf(v->id, sizeof v->id, "k-%s", hex);

    digest_sha256(v->stored, v->stored_sha256); // read once, for this and for the signature
    hex_encode(v->stored_sha256, sizeof v->stored_sha256, hex);
    buf_clear(&text);
    buf_printf(&text, "%s\n%s", hex, v->model);
    digest_sha256(buf_view(&text), digest);
    hex_encode(digest, sizeof digest, hex);
    v->content_type = arena_printf(&v->request->arena, "%s; fingerprint=%s", v->content_type, hex);
    v->idempotent = true;
}

static bool key_is_usable(struct span key)
{
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] < 0x21 || key.data[i] > 0x7e)
            return false;
    return key.len > 0 && key.len <= 200;
}

void submit_begin(struct visit *v)
{
    struct gateway *g = v->g;
    struct http_request *r = v->request;
    if (!intake_read(v))
        return;
    if (g->setup != SETUP_DONE) {
        visit_answer_error(v, 503, "unavailable", "jobs cannot be taken yet: %s", g->setup_error);
        return;
    }
    if (!trace_from_parent(http_request_header(r, "traceparent"), v->trace) &&
        !trace_from_amazon(http_request_header(r, "X-Amzn-Trace-Id"), v->trace))
        trace_make(v->trace);
    struct span idempotency_key = http_request_header(r, "Idempotency-Key");
    if (idempotency_key.data == NULL) {
        job_id_make(v->id);
    } else if (key_is_usable(idempotency_key)) {
        use_idempotency_key(v, idempotency_key);
    } else {
        visit_answer_error(v, 400, "argument",
                           "the Idempotency-Key must be 1 to 200 visible ASCII characters");
        return;
    }
    const char *key = arena_printf(&r->arena, JOB_INBOX_PREFIX "%s", v->id);
    if (v->bucket == NULL) {
        v->bucket = JOB_BUCKET;
        v->key = key;
    }
    int64_t now = loop_now_ms(g->config.loop);
    v->wait_until_ms = now + v->wait_s * 1000;
    loop_timer_set(g->config.loop, &v->timer, now + GATEWAY_SUBMIT_S_MAX * 1000, on_too_slow, v);
    const struct http_call_header owner = {"gateway", g->replies_name};
    const struct s3_put_options options = {.content_type = v->content_type,
                                           .if_none_match = v->idempotent,
                                           .metadata = &owner,
                                           .metadata_count = 1,
                                           .body_sha256 = v->idempotent ? v->stored_sha256 : NULL};
    aws_client_trace(g->s3, v->trace);
    v->s3 = s3_put(g->s3, JOB_BUCKET, key, v->stored, &options, on_stored, v);
}
