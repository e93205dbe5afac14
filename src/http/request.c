// One request's way through the server: head, body, reply.
#include "base/check.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/text.h"
#include "http/server_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct request *request_of(struct http_request *r)
{
    return (struct request *)(void *)r;
}

static const struct request *request_of_const(const struct http_request *r)
{
    return (const struct request *)(const void *)r;
}

// --- begin and end ---

static struct request *request_new(struct http_server *s)
{
    struct request *r = s->spare;
    if (r != NULL) {
        s->spare = r->next;
        s->spare_count--;
    } else {
        r = calloc(1, sizeof *r);
        CHECK(r != NULL);
    }
    const struct arena arena = r->pub.arena;
    const struct buf body = r->body_buf;
    memset(r, 0, offsetof(struct request, headers_inline));
    r->pub.arena = arena;
    r->body_buf = body;
    r->next = s->requests.next;
    r->prev = &s->requests;
    r->next->prev = r->prev->next = r;
    return r;
}

void request_free(struct request *r)
{
    buf_release(&r->body_buf);
    arena_release(&r->pub.arena);
    free(r);
}

static void request_id_set(struct http_server *s, char id[37])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t n = ++s->id_next;
    memcpy(id, s->id_prefix, 24);
    for (int i = 35; i >= 24; i--, n >>= 4)
        id[i] = digits[n & 15];
    id[36] = '\0';
}

// The request line is there. MHD takes the URI apart in its place, so it is copied first.
void *request_begin(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    struct http_server *s = cls;
    struct request *r = request_new(s);
    r->mhd = mhd;
    r->conn = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    r->conn->request = r;
    r->conn->seen_idle = false;
    r->conn->asked = true;
    r->begun_us = loop_now_ms(s->loop) * 1000;
    r->pub.server = s;
    size_t len = uri != NULL ? strlen(uri) : 0;
    char *target =
        len < TARGET_INLINE_BYTES ? r->target_inline : arena_alloc(&r->pub.arena, len + 1);
    if (len > 0)
        memcpy(target, uri, len);
    target[len] = '\0';
    r->pub.target_path = (struct span){target, len};
    return r;
}

void request_end(void *cls, struct MHD_Connection *mhd, void **context,
                 enum MHD_RequestTerminationCode why)
{
    struct http_server *s = cls;
    struct request *r = *context;
    (void)mhd;
    (void)why;
    if (r == NULL)
        return;
    *context = NULL;
    if (r->role_knows)
        s->handlers.on_done(s->handlers.ctx, &r->pub);
    if (r->kept)
        s->kept--;
    r->conn->request = NULL;
    patrol_look_again(r->conn);
    s->unread_bytes -= r->counted_bytes;
    s->unsent_bytes -= r->unsent_bytes;
    if (r->reply != NULL)
        MHD_destroy_response(r->reply);
    r->prev->next = r->next;
    r->next->prev = r->prev;
    if (s->spare_count == REQUESTS_SPARE_MAX) {
        request_free(r);
        return;
    }
    if (r->body_buf.cap > BODY_KEEP_BYTES)
        buf_release(&r->body_buf);
    buf_clear(&r->body_buf);
    arena_reset(&r->pub.arena);
    r->next = s->spare;
    s->spare = r;
    s->spare_count++;
}

// --- the head ---

struct head_reader {
    struct request *r;
    struct http_header *headers;
    size_t count, cap;
    const char *fault;
};

static bool is_token(struct span s)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && (c == '\0' || memchr(marks, c, sizeof marks - 1) == NULL))
            return false;
    }
    return s.len > 0;
}

// In an unfolded line the value follows its name, with a colon and blanks between. MHD joins folded
// lines (RFC 9112, 5.2) in other memory, and to the name: they cannot be read, only be refused.
static bool is_folded(struct span name, struct span value)
{
    uintptr_t name_end = (uintptr_t)name.data + name.len, value_at = (uintptr_t)value.data;
    if (value_at <= name_end || value_at - name_end > HEAD_BYTES_MAX)
        return true;
    for (const char *c = name.data + name.len + 1; c < value.data; c++)
        if (*c != ' ' && *c != '\t')
            return true;
    return false;
}

static enum MHD_Result read_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                   size_t key_bytes, const char *value, size_t value_bytes)
{
    struct head_reader *h = cls;
    (void)kind;
    struct span name = {key, key_bytes};
    struct span content = {value != NULL ? value : "", value != NULL ? value_bytes : 0};
    if (!is_token(name))
        h->fault = "a header's name is empty or has a character that names cannot have";
    else if (value != NULL && is_folded(name, content))
        h->fault = "a header is folded over several lines";
    if (h->count == h->cap) {
        struct http_header *more =
            arena_alloc(&h->r->pub.arena, (HTTP_HEADERS_MAX + 1) * sizeof *more);
        memcpy(more, h->headers, h->count * sizeof *more);
        h->headers = more;
        h->cap = HTTP_HEADERS_MAX + 1;
    }
    h->headers[h->count++] = (struct http_header){name, span_trim(content)};
    return h->count <= HTTP_HEADERS_MAX && h->fault == NULL ? MHD_YES : MHD_NO;
}

// The characters of RFC 3986's host and port; URLs in replies are made with it. May be empty.
static bool is_host(struct span s)
{
    static const char marks[] = "-._~%!$&'()*+,;=:[]";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && (c == '\0' || strchr(marks, c) == NULL))
            return false;
    }
    return true;
}

// Splits the target; absolute-form ("http://host/path") loses its scheme and authority.
static const char *read_target(struct request *r)
{
    struct span target = r->pub.target_path;
    for (size_t i = 0; i < target.len; i++)
        if ((unsigned char)target.data[i] <= ' ' || target.data[i] == 0x7f)
            return "the request's target has a space or a control character";
    if (span_starts(target, "http://") || span_starts(target, "https://")) {
        size_t skip = target.data[4] == 's' ? 8 : 7;
        const char *slash = memchr(target.data + skip, '/', target.len - skip);
        target = slash != NULL ? (struct span){slash, target.len - (size_t)(slash - target.data)}
                               : SPAN("/");
    }
    if (!span_starts(target, "/") &&
        !(span_is(target, "*") && strcmp(r->pub.method, "OPTIONS") == 0))
        return "the request's target does not start with '/'";
    r->pub.target_path = span_cut(target, '?', &r->pub.query);
    return NULL;
}

// RFC 9112, 6: how long the body is must be beyond doubt, or two readers may read two requests.
static const char *read_framing(struct request *r, bool http_1_1)
{
    size_t hosts = 0, lengths = 0, codings = 0;
    r->pub.content_length = -1;
    for (size_t i = 0; i < r->pub.header_count; i++) {
        const struct http_header *h = &r->pub.headers[i];
        if (span_is_nocase(h->name, "host")) {
            if (!is_host(h->value))
                return "the Host header is not a host name or address";
            hosts++;
        } else if (span_is_nocase(h->name, "content-length")) {
            uint64_t bytes;
            if (!span_to_u64(h->value, INT64_MAX, &bytes))
                return "Content-Length is not a number";
            if (lengths++ > 0 && (int64_t)bytes != r->pub.content_length)
                return "there are two different Content-Length headers";
            r->pub.content_length = (int64_t)bytes;
        } else if (span_is_nocase(h->name, "transfer-encoding")) {
            codings++;
            if (!span_is_nocase(h->value, "chunked") || codings > 1)
                return "the only Transfer-Encoding understood is chunked";
        } else if (span_is_nocase(h->name, "expect")) {
            r->expects_continue = span_is_nocase(h->value, "100-continue");
        }
    }
    if (codings > 0 && (lengths > 0 || !http_1_1))
        return "Transfer-Encoding goes neither with Content-Length nor with HTTP/1.0";
    if (hosts > 1 || (hosts == 0 && http_1_1))
        return "there must be one Host header";
    r->has_body = codings > 0 || r->pub.content_length > 0;
    return NULL;
}

static void reply_text(struct request *r, int status, const char *text)
{
    struct http_header type = {SPAN("Content-Type"), SPAN("text/plain; charset=utf-8")};
    char *line = arena_printf(&r->pub.arena, "%s\n", text);
    http_reply(&r->pub, status, &type, 1, span_from(line));
}

static enum MHD_Result queue_reply(struct request *r)
{
    struct MHD_Response *reply = r->reply;
    r->reply = NULL;
    if (r->pub.server->draining)
        MHD_add_response_header(reply, "Connection", "close");
    enum MHD_Result result = MHD_queue_response(r->mhd, (unsigned)r->reply_status, reply);
    MHD_destroy_response(reply); // MHD holds its own reference
    return result;
}

void request_refuse(struct request *r, int status, const char *text)
{
    const struct http_handlers *h = &r->pub.server->handlers;
    if (h->on_refused != NULL) {
        r->role_knows = true;
        h->on_refused(h->ctx, &r->pub, status, text);
    }
    if (!r->replied)
        reply_text(r, status, text);
}

// A request that no role shall serve: it gets the reason, and the connection is closed behind it.
static enum MHD_Result refuse_head(struct request *r, int status, const char *text)
{
    log_event(LOG_DEBUG, "request_refused", "peer=%s status=%d reason=\"%s\"", r->conn->peer,
              status, text);
    r->has_body = false; // not to be waited for
    request_refuse(r, status, text);
    return queue_reply(r);
}

static void refuse_body(struct request *r, bool overloaded)
{
    struct http_server *s = r->pub.server;
    const struct http_handlers *h = &s->handlers;
    r->pub.overloaded = overloaded;
    if (h->on_too_large != NULL)
        h->on_too_large(h->ctx, &r->pub);
    if (!r->replied && overloaded)
        reply_text(r, 503, "the server holds too many unfinished requests: try again");
    else if (!r->replied)
        reply_text(r, 413, "the request's body is too large");
    buf_release(&r->body_buf);
    s->unread_bytes -= r->counted_bytes;
    r->counted_bytes = 0;
}

static enum MHD_Result take_head(struct request *r, const char *method, const char *version)
{
    struct http_server *s = r->pub.server;
    struct head_reader reader = {.r = r, .headers = r->headers_inline, .cap = HEADERS_INLINE};
    r->pub.method = method;
    memcpy(r->pub.peer, r->conn->peer, sizeof r->pub.peer);
    request_id_set(s, r->pub.id);
    r->pub.started_us = clock_monotonic_us();
    r->pub.body_limit_bytes = s->body_limit_bytes;
    r->pub.body = SPAN("");
    MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, read_header, &reader);
    r->pub.headers = reader.headers;
    r->pub.header_count = reader.count;
    size_t head_bytes =
        MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
    if (reader.count > HTTP_HEADERS_MAX || head_bytes > HEAD_BYTES_MAX)
        return refuse_head(r, 431, "the request's headers are too many or too long");
    const char *fault = reader.fault;
    if (fault == NULL)
        fault = read_target(r);
    if (fault == NULL)
        fault = read_framing(r, strcmp(version, "HTTP/1.1") == 0);
    if (fault != NULL)
        return refuse_head(r, 400, fault);

    r->role_knows = true;
    r->mode = s->handlers.on_head(s->handlers.ctx, &r->pub);
    if (!r->replied && r->mode == HTTP_BODY_BUFFER && r->pub.content_length > 0 &&
        (uint64_t)r->pub.content_length > r->pub.body_limit_bytes)
        refuse_body(r, false);
    // the client waits for 100 Continue: it gets the reply instead and keeps its body
    if (r->reply != NULL && r->has_body && r->expects_continue)
        return queue_reply(r);
    return MHD_YES;
}

// --- the body ---

static void buffer_piece(struct request *r, struct span piece)
{
    struct http_server *s = r->pub.server;
    if (piece.len > r->pub.body_limit_bytes - r->body_buf.len) {
        refuse_body(r, false);
        return;
    }
    if (piece.len > HTTP_UNREAD_BODIES_BYTES_MAX - s->unread_bytes) {
        log_event(LOG_WARN, "bodies_refused", "peer=%s unread_bytes=%zu", r->conn->peer,
                  s->unread_bytes);
        refuse_body(r, true);
        return;
    }
    s->unread_bytes += piece.len;
    r->counted_bytes += piece.len;
    if (r->body_buf.len == 0 && r->pub.content_length > 0)
        buf_reserve(&r->body_buf, r->pub.content_length < BODY_RESERVE_BYTES
                                      ? (size_t)r->pub.content_length
                                      : BODY_RESERVE_BYTES);
    buf_add_span(&r->body_buf, piece);
}

static void take_piece(struct request *r, struct span piece)
{
    struct http_server *s = r->pub.server;
    r->received_bytes += piece.len;
    if (r->replied)
        r->discarded_bytes += piece.len;
    else if (r->mode == HTTP_BODY_STREAM)
        s->handlers.on_body(s->handlers.ctx, &r->pub, piece);
    else
        buffer_piece(r, piece);
}

bool request_client_gone(struct request *r)
{
    if (r->hangup_fn == NULL || !r->suspended)
        return false;
    void (*fn)(void *, struct http_request *) = r->hangup_fn;
    r->gone = true;
    r->hangup_fn = NULL;
    fn(r->hangup_ctx, &r->pub);
    request_abandon(r);
    return true;
}

static void unkeep(struct request *r)
{
    if (!r->kept)
        return;
    r->kept = r->soon = false;
    r->pub.server->kept--;
    r->pub.server->run_pending = true;
}

static void resume(struct request *r)
{
    struct http_server *s = r->pub.server;
    unkeep(r);
    if (!r->suspended)
        return;
    r->suspended = false;
    s->run_pending = true;
    MHD_resume_connection(r->mhd);
}

void request_abandon(struct request *r)
{
    r->gone = true;
    resume(r);
}

static enum MHD_Result finish(struct request *r)
{
    struct http_server *s = r->pub.server;
    if (r->gone || r->sent_raw)
        return MHD_NO; // closes the connection
    if (!r->whole) {
        r->whole = true;
        s->unread_bytes -= r->counted_bytes;
        r->counted_bytes = 0;
        if (r->body_buf.len > 0)
            r->pub.body = buf_view(&r->body_buf);
        if (!r->replied)
            s->handlers.on_request(s->handlers.ctx, &r->pub);
    }
    if (r->reply != NULL && !r->held)
        return queue_reply(r);
    if (r->kept)
        return MHD_YES;
    if (r->soon && s->kept < KEPT_MAX) {
        r->kept = true;
        s->kept++;
        return MHD_YES; // MHD looks again at its next run
    }
    r->suspended = true;
    MHD_suspend_connection(r->mhd);
    patrol_look_again(r->conn); // the client may have gone before
    return MHD_YES;
}

enum MHD_Result request_advance(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *data_bytes, void **context)
{
    struct request *r = *context;
    (void)cls;
    (void)mhd;
    (void)url;
    if (!r->head_checked) {
        r->head_checked = r->in_head = true;
        enum MHD_Result result = take_head(r, method, version);
        r->in_head = false;
        return result;
    }
    if (*data_bytes == 0)
        return finish(r);
    take_piece(r, (struct span){data, *data_bytes});
    *data_bytes = 0;
    return r->discarded_bytes <= DISCARD_BYTES_MAX ? MHD_YES : MHD_NO;
}

// --- replies ---

// The reply comes while the client still sends, and more than is worth reading first: MHD cannot
// reply before the end of the body, so the bytes go to the socket here, and what comes in is
// dropped.
static void send_raw(struct request *r, int status, const struct http_header *headers,
                     size_t header_count, struct span body)
{
    AUTO_BUF struct buf out = {0};
    char date[CLOCK_ISO_BYTES];
    buf_printf(&out, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Length: %zu\r\nConnection: close\r\n",
               status, MHD_get_reason_phrase_for((unsigned)status),
               clock_http_date(clock_wall_ms(), date), body.len);
    for (size_t i = 0; i < header_count; i++) {
        buf_add_span(&out, headers[i].name);
        buf_add_text(&out, ": ");
        buf_add_span(&out, headers[i].value);
        buf_add_text(&out, "\r\n");
    }
    buf_add_text(&out, "\r\n");
    if (strcmp(r->pub.method, "HEAD") != 0)
        buf_add_span(&out, body);
    ssize_t sent = send(r->conn->fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    r->sent_raw = true;
    if (sent != (ssize_t)out.len) // cannot be mended: the connection ends at the next piece
        r->discarded_bytes = DISCARD_BYTES_MAX;
}

static bool body_is_pending(const struct request *r)
{
    if (r->cut_off)
        return true;
    if (r->whole || !r->has_body || (r->in_head && r->expects_continue))
        return false;
    return r->pub.content_length < 0 || r->pub.content_length > KEEP_DISCARD_BYTES;
}

// Text of a span for MHD, in small if it fits. NULL: it has a byte that would break the head.
static const char *header_text(struct request *r, struct span s, char *small, size_t small_bytes)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] == '\0' || s.data[i] == '\r' || s.data[i] == '\n')
            return NULL;
    if (s.len >= small_bytes)
        return arena_copy(&r->pub.arena, s);
    if (s.len > 0)
        memcpy(small, s.data, s.len);
    small[s.len] = '\0';
    return small;
}

static void reply_set(struct request *r, int status, const struct http_header *headers,
                      size_t header_count, struct MHD_Response *reply)
{
    CHECK(reply != NULL);
    for (size_t i = 0; i < header_count; i++) {
        char small_name[64], small_value[256];
        const char *name = header_text(r, headers[i].name, small_name, sizeof small_name);
        const char *value = header_text(r, headers[i].value, small_value, sizeof small_value);
        if (value != NULL && value[0] == '\0')
            value = " "; // on the wire the same; the library takes none that are empty
        if (name == NULL || value == NULL || MHD_add_response_header(reply, name, value) != MHD_YES)
            log_event(LOG_DEBUG, "reply_header_dropped", "request=%s index=%zu", r->pub.id, i);
    }
    r->reply = reply;
    r->reply_status = status;
    if (!r->held)
        resume(r);
}

void http_reply_hold(struct http_request *pub)
{
    request_of(pub)->held = true;
}

void http_reply_release(struct http_request *pub)
{
    struct request *r = request_of(pub);
    r->held = false;
    if (r->reply != NULL)
        resume(r);
}

static void count_unsent(struct request *r, size_t bytes)
{
    r->unsent_bytes = bytes;
    r->replied_ms = loop_now_ms(r->pub.server->loop);
    r->pub.server->unsent_bytes += bytes;
}

// True if a reply can still be made; it counts as made from now on.
static bool reply_claim(struct request *r)
{
    CHECK(!r->replied);
    r->replied = true;
    return !r->gone;
}

void http_reply(struct http_request *pub, int status, const struct http_header *headers,
                size_t header_count, struct span body)
{
    struct request *r = request_of(pub);
    if (!reply_claim(r))
        return;
    if (body_is_pending(r)) {
        send_raw(r, status, headers, header_count, body);
        return;
    }
    count_unsent(r, body.len);
    // MHD only reads the buffer, its prototype is older than const
    union {
        const char *in;
        void *out;
    } bytes = {.in = body.data};
    reply_set(r, status, headers, header_count,
              MHD_create_response_from_buffer(body.len, body.len > 0 ? bytes.out : NULL,
                                              body.len > 0 ? MHD_RESPMEM_MUST_COPY
                                                           : MHD_RESPMEM_PERSISTENT));
}

void http_reply_buf(struct http_request *pub, int status, const struct http_header *headers,
                    size_t header_count, struct buf *b)
{
    struct request *r = request_of(pub);
    size_t len;
    if (b->len == 0 || body_is_pending(r) || r->gone) {
        http_reply(pub, status, headers, header_count, buf_view(b));
        buf_release(b);
        return;
    }
    reply_claim(r);
    char *data = buf_take(b, &len);
    count_unsent(r, len);
    reply_set(r, status, headers, header_count,
              MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE));
}

void http_reply_fd(struct http_request *pub, int status, const struct http_header *headers,
                   size_t header_count, int fd, uint64_t offset, uint64_t length)
{
    struct request *r = request_of(pub);
    if (!reply_claim(r)) {
        close(fd);
        return;
    }
    reply_set(r, status, headers, header_count,
              MHD_create_response_from_fd_at_offset64(length, fd, offset));
}

static ssize_t no_body(void *cls, uint64_t position, char *out, size_t max)
{
    (void)cls;
    (void)position;
    (void)out;
    (void)max;
    return MHD_CONTENT_READER_END_WITH_ERROR; // only if the request was not a HEAD
}

void http_reply_head(struct http_request *pub, int status, const struct http_header *headers,
                     size_t header_count, uint64_t content_length)
{
    struct request *r = request_of(pub);
    if (reply_claim(r))
        reply_set(r, status, headers, header_count,
                  MHD_create_response_from_callback(content_length, 1024, no_body, NULL, NULL));
}

bool http_request_replied(const struct http_request *r)
{
    return request_of_const(r)->replied;
}

void http_request_on_hangup(struct http_request *pub, void (*fn)(void *ctx, struct http_request *r),
                            void *ctx)
{
    struct request *r = request_of(pub);
    r->hangup_fn = fn;
    r->hangup_ctx = ctx;
    patrol_look_again(r->conn);
}

void http_request_soon(struct http_request *pub)
{
    request_of(pub)->soon = true;
}

// --- what roles ask about a request ---

struct span http_request_header(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (span_is_nocase(r->headers[i].name, name))
            return r->headers[i].value;
    return (struct span){NULL, 0};
}

bool http_request_query(struct http_request *r, const char *name, struct span *value)
{
    struct span rest = r->query;
    for (int i = 0; rest.len > 0 && i < HTTP_QUERY_PARAMETERS_MAX; i++) {
        AUTO_BUF struct buf decoded = {0};
        struct span raw_value;
        struct span raw_name = span_cut(span_cut(rest, '&', &rest), '=', &raw_value);
        if (!url_decode(raw_name, true, &decoded) || !span_is(buf_view(&decoded), name))
            continue;
        buf_clear(&decoded);
        if (!url_decode(raw_value, true, &decoded))
            return false;
        *value = arena_copy_span(&r->arena, buf_view(&decoded));
        return true;
    }
    return false;
}
