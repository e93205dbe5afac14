#include "cli/gateway_client.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/random.h"
#include "base/text.h"
#include "http/url.h"
#include "job/job.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum {
    // with a gateway that is away or busy: before it has taken the job, and after
    PATIENCE_MS = 15000,
    PATIENCE_ACCEPTED_MS = 60000,
    BACKOFF_MS_MIN = 100,
    BACKOFF_MS_MAX = 5000,
    CALL_MS = 45000, // GATEWAY_WAIT_S_MAX and the transfer
    ANSWER_BYTES_MAX = 2 << 20,
};

static void ask(void *ctx);

enum err gateway_client_init(struct gateway_client *c, struct loop *loop, const char *url,
                             int connections, struct error *error)
{
    struct url parsed;
    *c = (struct gateway_client){.loop = loop};
    if (url_parse(url, &parsed, error) != OK)
        return fail_context(error, error->code, "the gateway's URL (--url, SMELT_URL)");
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/')
        len--;
    if (parsed.query.len > 0 || len >= sizeof c->url)
        return fail(error, ERR_ARGUMENT, 0,
                    "the gateway's URL '%.100s' must be like http://HOST:PORT", url);
    memcpy(c->url, url, len);
    const struct http_client_config config = {.connections_max = connections};
    return http_client_new(loop, &config, &c->http, error);
}

void gateway_client_release(struct gateway_client *c)
{
    http_client_free(c->http);
    c->http = NULL;
}

static void finish(struct gateway_job *job, enum gateway_outcome outcome, struct span json,
                   const struct error *error)
{
    buf_release(&job->body);
    job->done(job->ctx, job, outcome, json, error);
}

static void refuse(struct gateway_job *job, enum err code, const char *why)
{
    struct error error;
    fail(&error, code, 0, "%s", why);
    finish(job, GATEWAY_REFUSED, (struct span){0}, &error);
}

static int64_t waiting_left_ms(const struct gateway_job *job)
{
    return job->started_ms + job->wait_ms - loop_now_ms(job->client->loop);
}

// The gateway is away or asks us to come back: again, unless that has gone on for too long.
static void later(struct gateway_job *job, enum err code, const char *why)
{
    struct loop *loop = job->client->loop;
    int64_t now = loop_now_ms(loop);
    if (now >= job->give_up_ms) {
        refuse(job, code, why);
        return;
    }
    job->backoff_ms = job->backoff_ms < BACKOFF_MS_MIN ? BACKOFF_MS_MIN : job->backoff_ms * 2;
    if (job->backoff_ms > BACKOFF_MS_MAX)
        job->backoff_ms = BACKOFF_MS_MAX;
    int64_t pause_ms = job->backoff_ms / 2 + (int64_t)(random_u64() % (uint64_t)job->backoff_ms);
    loop_timer_set(loop, &job->timer, now + pause_ms, ask, job);
}

// The gateway said no: its sentence, or what stands in for it.
static void said_no(struct gateway_job *job, const struct http_response *r, const json_t *root)
{
    const char *message =
        json_string_value(json_object_get(json_object_get(root, "error"), "message"));
    char text[400];
    if (message != NULL)
        snprintf(text, sizeof text, "%.390s", message);
    else
        snprintf(text, sizeof text, "the gateway answered %d; is %.200s really a smelt gateway?",
                 r->status, job->client->url);
    if (r->status == 429 || r->status == 503)
        later(job, ERR_UNAVAILABLE, text);
    else
        refuse(job, r->status == 404 ? ERR_NOT_FOUND : ERR_ARGUMENT, text);
}

static void said_yes(struct gateway_job *job, struct span body, const json_t *root)
{
    const char *id = json_string_value(json_object_get(root, "id"));
    enum job_status status;
    if (id == NULL || !job_id_valid(span_from(id)) ||
        !job_status_parse(span_from(json_string_value(json_object_get(root, "status"))), &status)) {
        refuse(job, ERR_FORMAT,
               "the gateway's answer is not a job; is this really a smelt gateway?");
        return;
    }
    snprintf(job->known_id, sizeof job->known_id, "%s", id);
    job->backoff_ms = 0;
    job->give_up_ms = loop_now_ms(job->client->loop) + PATIENCE_ACCEPTED_MS;
    while (body.len > 0 && body.data[body.len - 1] == '\n')
        body.len--;
    if (status != JOB_QUEUED)
        finish(job, GATEWAY_DONE, body, NULL);
    else if (waiting_left_ms(job) <= 0)
        finish(job, GATEWAY_QUEUED, body, NULL);
    else
        ask(job);
}

static void on_answer(void *ctx, const struct http_response *r)
{
    struct gateway_job *job = ctx;
    if (r->err == ERR_CANCELLED) {
        refuse(job, ERR_CANCELLED, "stopped");
        return;
    }
    if (r->err != OK) {
        char text[600];
        snprintf(text, sizeof text, "%.400s (start one with `smelt serve`, or give --url)",
                 r->error.msg);
        later(job, r->err, text);
        return;
    }
    json_t *root = json_loadb(r->body.len > 0 ? r->body.data : "", r->body.len, 0, NULL);
    if (r->status == 200 || r->status == 202)
        said_yes(job, r->body, root);
    else
        said_no(job, r, root);
    json_decref(root);
}

static void call(struct gateway_job *job, const char *method, const char *url,
                 const char *content_type)
{
    const struct http_call_header headers[] = {{"Idempotency-Key", job->key},
                                               {"Content-Type", content_type}};
    struct http_call_spec spec = {
        .method = method,
        .url = url,
        .headers = headers,
        .header_count = content_type != NULL ? 2 : 0,
        .body = buf_view(&job->body),
        .body_fd = -1,
        .timeout_ms = CALL_MS,
        .response_limit_bytes = ANSWER_BYTES_MAX,
    };
    http_client_start(job->client->http, &spec, on_answer, job);
}

static void ask(void *ctx)
{
    struct gateway_job *job = ctx;
    AUTO_BUF struct buf url = {0};
    int64_t left_ms = waiting_left_ms(job);
    int wait_s = left_ms <= 0                          ? 0
                 : left_ms > GATEWAY_WAIT_S_MAX * 1000 ? GATEWAY_WAIT_S_MAX
                                                       : (int)((left_ms + 999) / 1000);
    if (job->cancel) {
        buf_printf(&url, "%s/v1/jobs/%s", job->client->url, job->known_id);
        call(job, "DELETE", url.data, NULL);
        return;
    }
    if (job->known_id[0] != '\0') {
        buf_printf(&url, "%s/v1/jobs/%s?wait=%d", job->client->url, job->known_id, wait_s);
        buf_clear(&job->body);
        call(job, "GET", url.data, NULL);
        return;
    }
    buf_printf(&url, "%s/v1/jobs?wait=%d", job->client->url, wait_s);
    if (job->expires_s > 0)
        buf_printf(&url, "&expires=%ld", job->expires_s);
    if (job->model != NULL && job->file != NULL) {
        buf_add_text(&url, "&model=");
        url_encode(span_from(job->model), false, &url);
    }
    call(job, "POST", url.data,
         job->file != NULL ? "application/octet-stream" : "application/json");
}

// What cannot be sent is refused from the loop, like everything else.
static void refuse_file(void *ctx)
{
    struct gateway_job *job = ctx;
    finish(job, GATEWAY_REFUSED, (struct span){0}, &job->error);
}

void gateway_job_start(struct gateway_client *c, struct gateway_job *job)
{
    uint8_t random[16];
    job->client = c;
    job->started_ms = loop_now_ms(c->loop);
    job->give_up_ms = job->started_ms + PATIENCE_MS;
    random_bytes(random, sizeof random);
    hex_encode(random, sizeof random, job->key);
    if (job->id != NULL) {
        snprintf(job->known_id, sizeof job->known_id, "%s", job->id);
    } else if (job->file != NULL) {
        if (file_read(job->file, IMAGE_BYTES_MAX, &job->body, &job->error) != OK) {
            loop_timer_set(c->loop, &job->timer, job->started_ms, refuse_file, job);
            return;
        }
    } else {
        buf_add_text(&job->body, "{\"input\":{\"bucket\":");
        json_escape(span_from(job->bucket), &job->body);
        buf_add_text(&job->body, ",\"key\":");
        json_escape(span_from(job->object), &job->body);
        buf_add_char(&job->body, '}');
        if (job->model != NULL) {
            buf_add_text(&job->body, ",\"model\":");
            json_escape(span_from(job->model), &job->body);
        }
        buf_add_char(&job->body, '}');
    }
    ask(job);
}
