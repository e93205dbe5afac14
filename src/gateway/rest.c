#include "gateway/rest.h"

#include "base/check.h"
#include "base/text.h"
#include "gateway/intake.h"
#include "gateway/page.h"
#include "gateway/visit.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define JOBS_PATH "/v1/jobs"

enum { BODY_FIRST_BYTES = 256 << 10 }; // memory taken at a body's head: most pictures fit

// --- answers ---

void rest_reply_json(struct http_request *r, int status, const struct http_header *headers,
                     size_t header_count, struct buf *body)
{
    struct http_header all[8] = {
        {SPAN("Content-Type"), SPAN("application/json")},
        {SPAN("Cache-Control"), SPAN("no-store")},
        {SPAN("X-Content-Type-Options"), SPAN("nosniff")},
        {SPAN("X-Request-Id"), span_from(r->id)},
    };
    CHECK(header_count <= 4);
    for (size_t i = 0; i < header_count; i++)
        all[4 + i] = headers[i];
    buf_add_char(body, '\n');
    http_reply_buf(r, status, all, 4 + header_count, body);
}

void rest_reply_event(struct http_request *r, struct buf *json)
{
    AUTO_BUF struct buf out = {0};
    const struct http_header headers[] = {
        {SPAN("Content-Type"), SPAN("text/event-stream")},
        {SPAN("Cache-Control"), SPAN("no-store")},
        {SPAN("X-Content-Type-Options"), SPAN("nosniff")},
        {SPAN("X-Request-Id"), span_from(r->id)},
    };
    for (size_t i = 0; i < json->len; i++) // between tokens: in strings they are escaped
        if (json->data[i] == '\n' || json->data[i] == '\r')
            json->data[i] = ' ';
    buf_printf(&out, "retry: %d\ndata: ", GATEWAY_EVENT_RETRY_MS);
    buf_add_span(&out, buf_view(json));
    buf_add_text(&out, "\n\n");
    http_reply_buf(r, 200, headers, 4, &out);
}

static void reply_error(struct http_request *r, int status, const char *code, const char *message,
                        const struct http_header *headers, size_t header_count)
{
    AUTO_BUF struct buf out = {0};
    struct span text = span_from(message);
    AUTO_BUF struct buf clean = {0};
    for (size_t i = 0; i < text.len; i++) // it may quote what a client sent, cut anywhere
        buf_add_char(&clean, (uint8_t)text.data[i] < 0x80 ? text.data[i] : '?');
    buf_printf(&out, "{\"error\":{\"code\":\"%s\",\"message\":", code);
    json_escape(buf_view(&clean), &out);
    buf_add_text(&out, "}}");
    rest_reply_json(r, status, headers, header_count, &out);
}

void rest_reply_error(struct http_request *r, int status, const char *code, const char *fmt, ...)
{
    const struct http_header retry = {SPAN("Retry-After"), SPAN("1")};
    char message[800];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    reply_error(r, status, code, message, &retry, status == 429 || status == 503 ? 1 : 0);
}

static void reply_method(struct http_request *r, const char *allow)
{
    char message[200];
    snprintf(message, sizeof message, "%s is not possible here, only %s", r->method, allow);
    const struct http_header header = {SPAN("Allow"), span_from(allow)};
    reply_error(r, 405, "method", message, &header, 1);
}

static void reply_text(struct http_request *r, const char *content_type, struct buf *body)
{
    const struct http_header headers[] = {
        {SPAN("Content-Type"), span_from(content_type)},
        {SPAN("Cache-Control"), SPAN("no-store")},
        {SPAN("X-Content-Type-Options"), SPAN("nosniff")},
    };
    http_reply_buf(r, 200, headers, 3, body);
}

// --- POST /v1/jobs ---

static bool is_submission(const struct http_request *r)
{
    return strcmp(r->method, "POST") == 0 && span_is(r->target_path, JOBS_PATH);
}

// What can be refused before the body is read. False: it was.
static bool submission_is_welcome(struct gateway *g, struct http_request *r)
{
    struct span encoding = http_request_header(r, "Content-Encoding");
    struct span type = http_request_header(r, "Content-Type");
    if (g->stopping)
        rest_reply_error(r, 503, "stopping", "this gateway is stopping; send it again");
    else if (span_is_nocase(http_request_header(r, "Sec-Fetch-Site"), "cross-site"))
        rest_reply_error(r, 403, "denied", "another site's page may not post jobs here");
    else if (encoding.len > 0 && !span_is_nocase(encoding, "identity"))
        rest_reply_error(r, 415, "unsupported", "send the picture without Content-Encoding");
    else if (!intake_takes(type))
        rest_reply_error(r, 415, "unsupported",
                         "a body of type '%.*s' is not a picture; send image/jpeg, image/png, "
                         "image/webp, application/octet-stream, multipart/form-data or JSON",
                         (int)(type.len < 64 ? type.len : 64), type.data);
    else if (r->content_length > (int64_t)IMAGE_BYTES_MAX + GATEWAY_OVERHEAD_BYTES_MAX)
        rest_reply_error(r, 413, "too_large",
                         "the body has %lld bytes, the limit for a picture is %d (%d MiB); send a "
                         "smaller one",
                         (long long)r->content_length, IMAGE_BYTES_MAX, IMAGE_BYTES_MAX >> 20);
    else
        return true;
    return false;
}

// What counts is what has come, not what was announced: a client that stalls holds nothing but
// that.
static bool has_room(struct gateway *g, size_t more_bytes)
{
    return g->body_bytes + more_bytes <= GATEWAY_BODIES_BYTES_MAX;
}

static void refuse_busy(struct gateway *g, struct http_request *r)
{
    metric_add(g->metrics.refused_busy, 1);
    rest_reply_error(r, 429, "busy", "too many uploads at this moment; send it again in a second");
}

static enum http_body on_head(void *ctx, struct http_request *r)
{
    struct gateway *g = ctx;
    if (!is_submission(r)) {
        r->body_limit_bytes = GATEWAY_OVERHEAD_BYTES_MAX; // nobody reads it
        return HTTP_BODY_BUFFER;
    }
    if (!submission_is_welcome(g, r))
        return HTTP_BODY_STREAM;
    if (!has_room(g, r->content_length > 0 ? 1 : 0)) {
        refuse_busy(g, r);
        return HTTP_BODY_STREAM;
    }
    struct visit *v = visit_new(g, r, VISIT_SUBMIT);
    r->user = v;
    if (r->content_length > 0)
        buf_reserve(&v->body, r->content_length < BODY_FIRST_BYTES ? (size_t)r->content_length
                                                                   : BODY_FIRST_BYTES);
    return HTTP_BODY_STREAM;
}

static void on_body(void *ctx, struct http_request *r, struct span piece)
{
    struct gateway *g = ctx;
    struct visit *v = r->user;
    if (v == NULL || v->answered)
        return;
    size_t total = v->body.len + piece.len;
    if (total > (size_t)IMAGE_BYTES_MAX + GATEWAY_OVERHEAD_BYTES_MAX) {
        visit_drop_body(v);
        visit_answer_error(v, 413, "too_large",
                           "the body is over %d bytes (%d MiB), the limit for a picture; send a "
                           "smaller one",
                           IMAGE_BYTES_MAX, IMAGE_BYTES_MAX >> 20);
    } else if (!has_room(g, piece.len)) {
        v->answered = true;
        visit_drop_body(v);
        refuse_busy(g, r);
    } else {
        visit_count(v, total);
        buf_add_span(&v->body, piece);
    }
}

// --- the other routes ---

static void reply_models(struct gateway *g, struct http_request *r)
{
    const struct gateway_config *config = &g->config;
    AUTO_BUF struct buf out = {0};
    buf_add_text(&out, "{\"models\":[");
    for (size_t i = 0; i < config->model_count; i++) {
        buf_add_text(&out, i == 0 ? "{\"name\":" : ",{\"name\":");
        json_escape(span_from(config->models[i].name), &out);
        buf_add_text(&out, ",\"description\":");
        json_escape(span_from(config->models[i].description), &out);
        buf_add_text(&out, i == 0 ? ",\"default\":true}" : ",\"default\":false}");
    }
    buf_printf(&out, "],\"limits\":{\"picture_bytes\":%d,\"wait_s\":%d}}", IMAGE_BYTES_MAX,
               GATEWAY_WAIT_S_MAX);
    rest_reply_json(r, 200, NULL, 0, &out);
}

static void reply_metrics(struct gateway *g, struct http_request *r)
{
    AUTO_BUF struct buf out = {0};
    metrics_write(&g->metrics.registry, &out);
    reply_text(r, "text/plain; version=0.0.4", &out);
}

static void reply_alive(struct http_request *r)
{
    AUTO_BUF struct buf out = {0};
    buf_add_text(&out, "{\"status\":\"alive\"}");
    rest_reply_json(r, 200, NULL, 0, &out);
}

static void cancel_job(struct gateway *g, struct http_request *r, struct span id)
{
    if (span_is_nocase(http_request_header(r, "Sec-Fetch-Site"), "cross-site")) {
        rest_reply_error(r, 403, "denied", "another site's page may not cancel jobs here");
        return;
    }
    struct visit *v = visit_new(g, r, VISIT_CANCEL);
    r->user = v;
    memcpy(v->id, id.data, id.len);
    cancel_begin(v);
}

// ID or ID/events
static void look_at_job(struct gateway *g, struct http_request *r, struct span id)
{
    static const char ending[] = "/events";
    int wait_s;
    struct span given;
    bool event = id.len > sizeof ending - 1 &&
                 memcmp(id.data + id.len - (sizeof ending - 1), ending, sizeof ending - 1) == 0;
    if (event)
        id.len -= sizeof ending - 1;
    if (!job_id_valid(id)) {
        rest_reply_error(r, 404, "not_found",
                         "'%.*s' is not a job; the URL is " JOBS_PATH
                         "/ID, with the id that POST " JOBS_PATH " returned",
                         (int)(id.len < 64 ? id.len : 64), id.data);
    } else if (strcmp(r->method, "DELETE") == 0 && !event) {
        cancel_job(g, r, id);
    } else if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0) {
        reply_method(r, event ? "GET" : "GET, DELETE");
    } else if (intake_query(r, "wait") && intake_wait(r, &wait_s)) {
        struct visit *v = visit_new(g, r, VISIT_LOOK);
        r->user = v;
        v->event = event;
        v->wait_s = event && !http_request_query(r, "wait", &given) ? GATEWAY_WAIT_S_MAX : wait_s;
        memcpy(v->id, id.data, id.len);
        look_begin(v);
    }
}

static void ask_ready(struct gateway *g, struct http_request *r)
{
    struct visit *v = visit_new(g, r, VISIT_READY);
    r->user = v;
    ready_begin(v);
}

static void on_get(struct gateway *g, struct http_request *r)
{
    struct span path = r->target_path;
    if (span_is(path, "/v1/models"))
        reply_models(g, r);
    else if (span_is(path, "/livez"))
        reply_alive(r);
    else if (span_is(path, "/readyz"))
        ask_ready(g, r);
    else if (span_is(path, "/metrics"))
        reply_metrics(g, r);
    else if (span_is(path, JOBS_PATH))
        reply_method(r, "POST");
    else if (!page_reply(r))
        rest_reply_error(r, 404, "not_found",
                         "there is nothing at '%.*s'; the page is at /, jobs are at " JOBS_PATH,
                         (int)(path.len < 200 ? path.len : 200), path.data);
}

static void on_request(void *ctx, struct http_request *r)
{
    struct gateway *g = ctx;
    struct span path = r->target_path;
    if (r->user != NULL) {
        struct visit *v = r->user;
        if (!v->answered)
            submit_begin(v);
    } else if (span_starts(path, JOBS_PATH "/")) {
        size_t prefix = sizeof JOBS_PATH; // with the slash
        look_at_job(g, r, (struct span){path.data + prefix, path.len - prefix});
    } else if (strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0) {
        on_get(g, r);
    } else {
        reply_method(r, span_is(path, JOBS_PATH) ? "POST" : "GET");
    }
}

static void on_too_large(void *ctx, struct http_request *r)
{
    (void)ctx;
    rest_reply_error(r, 413, "too_large", "this request needs no body");
}

static void on_done(void *ctx, struct http_request *r)
{
    (void)ctx;
    if (r->user != NULL)
        visit_free(r->user);
    r->user = NULL;
}

const struct http_handlers rest_handlers = {
    .on_head = on_head,
    .on_body = on_body,
    .on_request = on_request,
    .on_too_large = on_too_large,
    .on_done = on_done,
};
