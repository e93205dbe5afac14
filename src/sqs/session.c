// One request: which protocol, whose signature, which action; and when its reply may leave.
#include "sqs/session.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/text.h"
#include "base/trace.h"
#include "sqs/message_attributes.h"

#include <string.h>

// --- lists ---

static struct session_list *list_of(struct session *s)
{
    return s->state == SESSION_WAITING     ? &s->role->waiting
           : s->state == SESSION_UNWRITTEN ? &s->role->unwritten
           : s->state == SESSION_UNSYNCED  ? &s->role->unsynced
                                           : NULL;
}

static void unlink_session(struct session *s)
{
    struct session_list *l = list_of(s);
    if (l == NULL)
        return;
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        l->first = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    else
        l->last = s->prev;
    l->count--;
    s->prev = s->next = NULL;
}

static void set_state(struct session *s, enum session_state state)
{
    unlink_session(s);
    s->state = state;
    struct session_list *l = list_of(s);
    if (l == NULL)
        return;
    s->prev = l->last;
    if (l->last != NULL)
        l->last->next = s;
    else
        l->first = s;
    l->last = s;
    l->count++;
}

// --- replies ---

// The reply as the server sends it; it holds it back.
static void make_reply(struct session *s)
{
    const struct sqs_call *c = &s->call;
    struct http_header headers[3] = {
        {SPAN("Content-Type"), c->json          ? SPAN("application/x-amz-json-1.0")
                               : c->out.wrapped ? SPAN("application/json")
                                                : SPAN("text/xml")},
        {SPAN("x-amzn-RequestId"), {s->http->id, strlen(s->http->id)}},
    };
    size_t count = 2;
    if (s->status == 200)
        sqs_call_end(&s->call, s->http->id);
    AUTO_BUF struct buf error_header = {0};
    if (s->status != 200 && c->json) {
        const struct sqs_code_info *info = sqs_code_info(c->fault.code);
        buf_printf(&error_header, "%s;%s", info->query_code, info->sender ? "Sender" : "Receiver");
        headers[count++] =
            (struct http_header){SPAN("x-amzn-query-error"), buf_view(&error_header)};
    }
    s->made = true;
    http_reply_hold(s->http);
    http_reply_buf(s->http, s->status, headers, count, &s->call.out.out);
}

static void send_reply(struct session *s)
{
    if (!s->made)
        make_reply(s);
    set_state(s, SESSION_REPLIED);
    s->role->replied = true;
    metric_observe(s->role->metrics.request_seconds[s->call.in.action],
                   (double)(clock_monotonic_us() - s->http->started_us) / 1e6);
    http_reply_release(s->http);
}

// The reply leaves when what it promises is on disk. What a receive promises is that the message is
// hidden; a kill of the process must not break that, a power loss may.
static void finish(struct session *s)
{
    const struct sqs_call *c = &s->call;
    s->status = 200;
    if (c->wait_for > queues_durable(s->role->queues))
        set_state(s, SESSION_UNSYNCED);
    else if (c->wait_written > queues_written(s->role->queues))
        set_state(s, SESSION_UNWRITTEN);
    if (s->state == SESSION_NEW)
        send_reply(s);
    else
        http_request_soon(s->http);
}

static void refuse(struct session *s)
{
    const struct fault *f = &s->call.fault;
    s->call.out.json = s->call.json;
    s->call.out.wrapped = s->call.accept_json && f->code != SQS_UNKNOWN_OPERATION;
    s->status = sqs_code_info(f->code)->status;
    metric_add(s->role->metrics.faults, 1);
    reply_error(&s->call.out, f, s->http->id);
    send_reply(s);
}

// In the order of their records: what the last of them waits for never goes down.

void sessions_written(struct role *role, uint64_t sequence)
{
    while (role->unwritten.first != NULL && role->unwritten.first->call.wait_written <= sequence)
        send_reply(role->unwritten.first);
}

void sessions_synced(struct role *role, uint64_t sequence)
{
    while (role->unsynced.first != NULL && role->unsynced.first->call.wait_for <= sequence)
        send_reply(role->unsynced.first);
}

void sessions_make_replies(struct role *role)
{
    for (struct session *s = role->unsynced.last; s != NULL && !s->made; s = s->prev)
        make_reply(s);
}

// --- waiting receives ---

static void stop_waiting(struct session *s)
{
    queue_unwait(&s->waiter);
    loop_timer_cancel(s->role->loop, &s->timer);
    set_state(s, SESSION_NEW);
}

static int64_t store_now(const struct role *role)
{
    return queues_time(role->queues, clock_monotonic_ms());
}

// What clients have not read yet has a limit: nothing is received that would come on top of it.
static enum sqs_code check_clogged(struct session *s)
{
    if (!http_server_is_clogged(s->role->server))
        return SQS_OK;
    return fault(&s->call.fault, SQS_UNAVAILABLE,
                 "The server holds too many replies that their clients have not read: try again.");
}

static bool on_wake(struct waiter *w, bool gone)
{
    struct session *s = (struct session *)((char *)w - offsetof(struct session, waiter));
    size_t count = 0;
    s->call.now_ms = store_now(s->role);
    if (gone) {
        fault(&s->call.fault, SQS_QUEUE_DOES_NOT_EXIST,
              s->call.json ? "The specified queue does not exist."
                           : "The specified queue does not exist for this wsdl version.");
        stop_waiting(s);
        refuse(s);
        return true;
    }
    if (http_request_is_gone(s->http)) { // nothing is claimed for it; its end follows
        stop_waiting(s);
        return true;
    }
    enum sqs_code code = check_clogged(s);
    if (code == SQS_OK)
        code = sqs_call_receive_again(&s->call, &count);
    if (code == SQS_OK && count == 0)
        return false;
    stop_waiting(s);
    if (code == SQS_OK)
        finish(s);
    else
        refuse(s);
    return true;
}

static void on_wait_over(void *ctx)
{
    struct session *s = ctx;
    stop_waiting(s);
    queue_note_empty_receive(s->call.queue);
    finish(s);
}

// The client has gone: what comes now is for others.
static void on_hangup(void *ctx, struct http_request *http)
{
    struct session *s = ctx;
    (void)http;
    if (s->state == SESSION_WAITING)
        stop_waiting(s);
}

static void start_waiting(struct session *s)
{
    if (s->role->draining) {
        queue_note_empty_receive(s->call.queue);
        finish(s);
        return;
    }
    set_state(s, SESSION_WAITING);
    s->waiter.fn = on_wake;
    queue_wait(s->call.queue, &s->waiter);
    loop_timer_set(s->role->loop, &s->timer, clock_monotonic_ms() + (int64_t)s->call.wait_s * 1000,
                   on_wait_over, s);
    http_request_on_hangup(s->http, on_hangup, s);
}

void sessions_drain(struct role *role)
{
    while (role->waiting.first != NULL)
        on_wait_over(role->waiting.first);
}

// --- who asks ---

static enum sqs_code signature_fault(struct session *s, enum sigv4_verdict verdict,
                                     const char *message)
{
    struct fault *f = &s->call.fault;
    switch (verdict) {
    case SIGV4_OK:
        return SQS_OK;
    case SIGV4_MISSING:
        return fault(f, SQS_MISSING_TOKEN, "%s", message);
    case SIGV4_MALFORMED:
        return fault(f, SQS_INCOMPLETE_SIGNATURE, "%s", message);
    case SIGV4_UNKNOWN_KEY:
    case SIGV4_BAD_TOKEN:
        return fault(f, SQS_INVALID_TOKEN, "%s", message);
    case SIGV4_EXPIRED:
        return fault(f, SQS_REQUEST_EXPIRED, "%s", message);
    case SIGV4_MISMATCH:
    case SIGV4_WRONG_SCOPE:
    case SIGV4_SKEWED:
        break;
    }
    return fault(f, SQS_SIGNATURE_MISMATCH, "%s", message);
}

static struct sigv4_request signed_request(const struct http_request *http)
{
    return (struct sigv4_request){.method = span_from(http->method),
                                  .path = http->target_path,
                                  .query = http->query,
                                  .headers = http->headers,
                                  .header_count = http->header_count};
}

static enum sqs_code check_signature(struct session *s)
{
    struct http_request *http = s->http;
    uint8_t sha256[SHA256_BYTES];
    char *hex = arena_alloc(&http->arena, 2 * SHA256_BYTES + 1);
    struct sigv4_identity who = {0};
    const char *message = "";
    if (s->role->config->unsigned_requests) {
        s->call.sender = "anonymous";
        return SQS_OK;
    }
    digest_sha256(http->body, sha256);
    hex_encode(sha256, sizeof sha256, hex);
    struct span hash = {hex, 2 * SHA256_BYTES};
    struct span claimed = http_request_header(http, "x-amz-content-sha256");
    if (claimed.len > 0 && !span_equal(claimed, hash))
        return fault(&s->call.fault, SQS_SIGNATURE_MISMATCH,
                     "The x-amz-content-sha256 header is not the SHA-256 of the request's body.");
    struct sigv4_request request = signed_request(http);
    request.payload_hash = hash;
    enum sigv4_verdict verdict = sigv4_verify(s->role->keyring, "sqs", &request, clock_wall_ms(),
                                              &http->arena, &who, &message);
    if (verdict != SIGV4_OK)
        return signature_fault(s, verdict, message);
    s->call.sender = who.access_key;
    s->call.account = who.account;
    s->call.user = who.user;
    s->call.peer = http->peer;
    s->call.region = arena_copy(&http->arena, span_from(who.region));
    return SQS_OK;
}

// --- what is asked ---

// NAME of the path /ACCOUNT/NAME.
static void read_path(struct session *s)
{
    struct span rest = s->http->target_path, account;
    AUTO_BUF struct buf name = {0};
    if (rest.len < 2)
        return;
    rest = (struct span){rest.data + 1, rest.len - 1};
    account = span_cut(rest, '/', &rest);
    if (account.len > 0 && rest.len > 0 && url_decode(rest, false, &name))
        s->call.path_queue = arena_copy_span(&s->http->arena, buf_view(&name));
}

static enum sqs_code read_json(struct session *s, struct span target)
{
    struct sqs_call *c = &s->call;
    struct span action, service = span_cut(target, '.', &action);
    c->in.action = span_is(service, "AmazonSQS") ? action_find(action) : ACTION_NONE;
    if (c->in.action == ACTION_NONE)
        return fault(&c->fault, SQS_UNKNOWN_OPERATION,
                     "The header X-Amz-Target must name an action, like AmazonSQS.SendMessage.");
    return request_from_json(s->http->body, &c->in, &c->fault);
}

static enum sqs_code read_query(struct session *s)
{
    struct sqs_call *c = &s->call;
    struct span given, type = http_request_header(s->http, "Content-Type");
    bool form = span_starts(type, "application/x-www-form-urlencoded");
    enum sqs_code code = request_from_query(form ? s->http->body : (struct span){NULL, 0},
                                            s->http->query, &c->in, &given, &c->fault);
    if (code != SQS_OK || c->in.action != ACTION_NONE)
        return code;
    if (given.data == NULL)
        return fault(&c->fault, SQS_UNKNOWN_OPERATION, "The request names no Action.");
    return fault(&c->fault, SQS_INVALID_ACTION, "The action %.*s is not valid for this endpoint.",
                 (int)(given.len < 100 ? given.len : 100), given.data);
}

static void log_trace(const struct session *s)
{
    char trace[TRACE_ID_BYTES];
    if (trace_from_amazon(s->call.trace, trace))
        log_event(LOG_DEBUG, "request", "trace=%s action=%s request=%s", trace,
                  action_name(s->call.in.action), s->http->id);
}

static enum sqs_code serve(struct session *s, struct span target)
{
    struct sqs_call *c = &s->call;
    enum sqs_code code = check_signature(s);
    if (code != SQS_OK)
        return code;
    if (strcmp(s->http->method, "POST") != 0 && strcmp(s->http->method, "GET") != 0)
        return fault(&c->fault, SQS_UNKNOWN_OPERATION, "The method must be POST or GET.");
    read_path(s);
    code = c->json ? read_json(s, target) : read_query(s);
    if (code != SQS_OK)
        return code;
    metric_add(s->role->metrics.requests[c->in.action], 1);
    if (c->in.action == ACTION_RECEIVE || c->in.action == ACTION_PEEK)
        code = check_clogged(s);
    if (code != SQS_OK)
        return code;
    c->now_ms = store_now(s->role);
    c->host = http_request_header(s->http, "Host");
    if (c->host.len == 0)
        c->host = span_from(s->role->listen_host);
    c->trace = http_request_header(s->http, "X-Amzn-Trace-Id");
    if (c->trace.len > MESSAGE_TRACE_BYTES_MAX || !utf8_xml_valid(c->trace))
        c->trace = (struct span){0}; // it could not be given back
    if (c->trace.len > 0 && log_shows(LOG_DEBUG))
        log_trace(s);
    return sqs_call_run(c);
}

static struct session *session_new(struct role *role, struct http_request *http)
{
    struct session *s = arena_alloc(&http->arena, sizeof *s);
    s->role = role;
    s->http = http;
    s->call.queues = role->queues;
    s->call.ids = &role->ids;
    s->call.arena = s->call.in.arena = &http->arena;
    s->call.region = role->config->region != NULL ? role->config->region : "us-east-1";
    s->call.json = http_request_header(http, "X-Amz-Target").len > 0 ||
                   span_starts(http_request_header(http, "Content-Type"), "application/x-amz-json");
    s->call.accept_json =
        !s->call.json && span_starts(http_request_header(http, "Accept"), "application/json");
    http->user = s;
    role->sessions++;
    return s;
}

void session_start(struct role *role, struct http_request *http)
{
    struct session *s = session_new(role, http);
    struct span target = http_request_header(http, "X-Amz-Target");
    if (role->failed)
        fault(&s->call.fault, SQS_UNAVAILABLE, "The server is ending: %s", role->why.msg);
    if (role->failed || serve(s, target) != SQS_OK)
        refuse(s);
    else if (s->call.wait_s > 0)
        start_waiting(s);
    else
        finish(s);
}

void session_head(struct role *role, struct http_request *http)
{
    const char *message = "";
    if (role->config->unsigned_requests ||
        (http->content_length >= 0 && http->content_length <= SQS_UNSIGNED_BYTES_MAX) ||
        http->content_length > SQS_REQUEST_BYTES_MAX) // which is the first thing to be said
        return;
    struct sigv4_request request = signed_request(http);
    enum sigv4_verdict verdict =
        sigv4_check_head(role->keyring, "sqs", &request, clock_wall_ms(), &http->arena, &message);
    if (verdict == SIGV4_OK)
        return;
    struct session *s = session_new(role, http);
    signature_fault(s, verdict, message);
    refuse(s);
}

void session_too_large(struct role *role, struct http_request *http)
{
    struct session *s = session_new(role, http);
    if (http->overloaded)
        fault(&s->call.fault, SQS_UNAVAILABLE,
              "The server holds too many unfinished requests: try again.");
    else
        fault(&s->call.fault, SQS_TOO_LARGE, "The request's body is longer than %d bytes.",
              SQS_REQUEST_BYTES_MAX);
    refuse(s);
}

void session_refused(struct role *role, struct http_request *http, int status, const char *text)
{
    struct session *s = session_new(role, http);
    enum sqs_code code = status == 408   ? SQS_TOO_SLOW
                         : status == 431 ? SQS_HEAD_TOO_LARGE
                                         : SQS_BAD_HTTP;
    fault(&s->call.fault, code, "HTTP: %s.", text);
    refuse(s);
}

void session_end(struct session *s)
{
    if (s->state == SESSION_WAITING)
        stop_waiting(s);
    unlink_session(s);
    s->role->sessions--;
    reply_release(&s->call.out);
}
