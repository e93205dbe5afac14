#include "http/client.h"

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "http/url.h"

#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    CONNECT_TIMEOUT_MS = 3000,
    CALL_TIMEOUT_MS = 60000,
    RESPONSE_BYTES_MAX = 64 << 20,
    RESPONSE_HEADER_BYTES_MAX = 64 << 10,
    ERROR_BYTES_MAX = 64 << 10, // an answer that is not 2xx may have this, whatever the limit
    RESERVE_BYTES = 1 << 20,    // an announced length is believed up to here before bytes come
    IDLE_CONNECTION_S = 40,     // below the 60 s after which servers commonly close
    RECEIVE_BUFFER_BYTES = 64 << 10,
    SPARE_HANDLES_MAX = 32, // curl handles kept for the next calls
    HOSTS_MAX = 4,          // asked at the same time: queue, store, who gives keys
};

// A socket of curl's, watched for it.
struct client_socket {
    struct client_socket *prev, *next;
    struct http_client *client;
    struct watch watch;
};

// running → finished (curl has the answer, or we do not want it any more) → done called → freed
struct http_call {
    struct http_call *prev, *next;
    struct http_client *client;
    CURL *easy;
    struct curl_slist *headers;
    http_done_fn *done; // NULL: it has been called
    void *ctx;
    enum err (*on_body)(void *ctx, struct span piece);
    int body_fd;
    off_t body_fd_start;
    uint64_t body_fd_bytes, body_fd_sent;
    size_t response_limit_bytes;
    struct buf response, response_headers;
    int status;
    struct error failure; // ours: a limit, on_body, a spec that cannot be
    struct timer start_failed;
    bool added;      // to the multi handle
    char place[270]; // host:port, for messages
    char curl_text[CURL_ERROR_SIZE];
};

struct http_client {
    struct loop *loop;
    CURLM *multi;
    struct timer timer;
    struct turn_hook hook;
    bool due;                     // curl wants to run at once: calls were started, mostly
    struct http_call calls;       // list head
    struct client_socket sockets; // list head
    size_t running;
    CURL *spare[SPARE_HANDLES_MAX];
    int spare_count;
    bool in_curl;   // curl calls us back: it cannot be called now
    bool unsettled; // meanwhile calls were started or cancelled
    int in_done;    // a done callback runs
    char *ca_bundle, *user_agent;
};

// --- the end of a call ---

static void call_free(struct http_call *call)
{
    struct http_client *c = call->client;
    if (call->added)
        curl_multi_remove_handle(c->multi, call->easy);
    if (c->spare_count < SPARE_HANDLES_MAX) {
        curl_easy_reset(call->easy);
        c->spare[c->spare_count++] = call->easy;
    } else {
        curl_easy_cleanup(call->easy);
    }
    curl_slist_free_all(call->headers);
    loop_timer_cancel(c->loop, &call->start_failed);
    buf_release(&call->response);
    buf_release(&call->response_headers);
    call->prev->next = call->next;
    call->next->prev = call->prev;
    free(call);
}

static void call_done(struct http_call *call, const struct http_response *response)
{
    http_done_fn *done = call->done;
    call->done = NULL;
    call->client->running--;
    call->client->in_done++;
    done(call->ctx, response);
    call->client->in_done--;
}

static enum err explain(struct http_call *call, CURLcode code, struct error *error)
{
    long os_error = 0;
    if (call->failure.code != OK) {
        *error = call->failure;
        return error->code;
    }
    curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &os_error);
    const char *text = call->curl_text[0] != '\0' ? call->curl_text : curl_easy_strerror(code);
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return fail(error, ERR_TIMEOUT, 0, "no answer from %s in time", call->place);
    case CURLE_COULDNT_CONNECT:
        return fail(error, ERR_NET, (int)os_error, "cannot connect to %s", call->place);
    case CURLE_COULDNT_RESOLVE_HOST:
        return fail(error, ERR_NET, 0, "the host name of %s cannot be resolved", call->place);
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
        return fail(error, ERR_NET, 0, "%s broke the connection off (%s)", call->place, text);
    case CURLE_OUT_OF_MEMORY:
        return fail(error, ERR_NOMEM, 0, "no memory for a request to %s", call->place);
    default:
        return fail(error, ERR_NET, 0, "the request to %s failed: %s", call->place, text);
    }
}

static void call_finish(struct http_call *call, CURLcode code)
{
    struct http_response response = {.status = call->status,
                                     .body = buf_view(&call->response),
                                     .body_buf = &call->response,
                                     .headers = buf_view(&call->response_headers)};
    curl_off_t total_us = 0;
    if (code != CURLE_OK || call->failure.code != OK) {
        response.err = explain(call, code, &response.error);
        response.status = 0;
        response.body = SPAN("");
    }
    curl_easy_getinfo(call->easy, CURLINFO_TOTAL_TIME_T, &total_us);
    response.total_us = total_us;
    call_done(call, &response);
    call_free(call);
}

// --- turns ---

static void collect_finished(struct http_client *c)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct http_call *call = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        if (call->done != NULL)
            call_finish(call, code);
        else
            call_free(call);
    }
}

static void call_add(struct http_call *call)
{
    CHECK(curl_multi_add_handle(call->client->multi, call->easy) == CURLM_OK);
    call->added = true;
}

// Calls started or cancelled inside curl's callbacks.
static void settle(struct http_client *c)
{
    c->unsettled = false;
    for (struct http_call *call = c->calls.next, *next; call != &c->calls; call = next) {
        next = call->next;
        if (call->done == NULL) {
            call_free(call);
        } else if (!call->added && call->failure.code == OK) {
            call_add(call);
        }
    }
}

static void run_curl(struct http_client *c, curl_socket_t fd, int mask)
{
    int running;
    c->in_curl = true;
    curl_multi_socket_action(c->multi, fd, mask, &running);
    c->in_curl = false;
    if (c->unsettled)
        settle(c);
    collect_finished(c);
}

static void on_timer(void *ctx)
{
    struct http_client *c = ctx;
    if (!c->due)
        run_curl(c, CURL_SOCKET_TIMEOUT, 0);
}

// At the end of the turn, behind a server that was made before this client: who waits for an answer
// has it before its server asks others for the next.
static bool on_turn_end(void *ctx)
{
    struct http_client *c = ctx;
    if (c->due) {
        c->due = false;
        loop_timer_cancel(c->loop, &c->timer);
        run_curl(c, CURL_SOCKET_TIMEOUT, 0);
    }
    return false; // what is due again has its timer
}

static int set_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    struct http_client *c = ctx;
    (void)multi;
    c->due = timeout_ms == 0;
    if (timeout_ms < 0)
        loop_timer_cancel(c->loop, &c->timer);
    else
        loop_timer_set(c->loop, &c->timer, loop_now_ms(c->loop) + timeout_ms, on_timer, c);
    return 0;
}

static void on_socket(void *ctx, uint32_t events)
{
    struct client_socket *s = ctx; // may be gone after run_curl
    int mask = 0;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP))
        mask |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        mask |= CURL_CSELECT_OUT;
    if (events & EPOLLERR)
        mask |= CURL_CSELECT_ERR;
    run_curl(s->client, s->watch.fd, mask);
}

static void socket_free(struct client_socket *s)
{
    loop_watch_remove(s->client->loop, &s->watch);
    s->prev->next = s->next;
    s->next->prev = s->prev;
    free(s);
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *assigned)
{
    struct http_client *c = ctx;
    struct client_socket *s = assigned;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL)
            socket_free(s);
        return 0;
    }
    uint32_t events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                      (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    if (s != NULL) {
        loop_watch_modify(c->loop, &s->watch, events);
        return 0;
    }
    struct error error;
    s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->client = c;
    s->next = c->sockets.next;
    s->prev = &c->sockets;
    s->next->prev = s->prev->next = s;
    if (loop_watch_add(c->loop, &s->watch, fd, events, on_socket, s, &error) != OK) {
        log_event(LOG_ERROR, "socket_not_watched", "error=\"%s\"", error.msg);
        socket_free(s);
        return -1;
    }
    curl_multi_assign(c->multi, fd, s);
    return 0;
}

// --- what curl asks and tells during a call ---

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    struct http_call *call = ctx;
    struct span line = {data, size * count};
    if (span_starts(line, "HTTP/")) { // again after 100 Continue
        long status = 0;
        buf_clear(&call->response_headers);
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
        call->status = (int)status;
        return line.len;
    }
    buf_add_span(&call->response_headers, line);
    if (!call->response_headers.full)
        return line.len;
    fail(&call->failure, ERR_LIMIT, 0, "the answer of %s has over %d bytes of headers", call->place,
         RESPONSE_HEADER_BYTES_MAX);
    return 0;
}

static size_t on_data(char *data, size_t size, size_t count, void *ctx)
{
    struct http_call *call = ctx;
    struct span piece = {data, size * count};
    if (call->done == NULL)
        return 0; // cancelled
    if (call->on_body != NULL && call->status / 100 == 2) {
        enum err err = call->on_body(call->ctx, piece);
        if (err == OK && call->done != NULL)
            return piece.len;
        fail(&call->failure, err, 0, "the answer of %s was not taken", call->place);
        return 0;
    }
    size_t limit_bytes = call->response_limit_bytes;
    if (call->status / 100 != 2 && limit_bytes < ERROR_BYTES_MAX)
        limit_bytes = ERROR_BYTES_MAX;
    if (piece.len > limit_bytes - call->response.len) {
        fail(&call->failure, ERR_LIMIT, 0, "the answer of %s is longer than %zu bytes", call->place,
             limit_bytes);
        return 0;
    }
    if (call->response.len == 0) {
        curl_off_t announced = -1;
        curl_easy_getinfo(call->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
        if (announced > 0 && (uint64_t)announced <= limit_bytes)
            buf_reserve(&call->response,
                        announced < RESERVE_BYTES ? (size_t)announced : RESERVE_BYTES);
    }
    buf_add_span(&call->response, piece);
    return piece.len;
}

static size_t on_read(char *out, size_t size, size_t count, void *ctx)
{
    struct http_call *call = ctx;
    uint64_t left = call->body_fd_bytes - call->body_fd_sent;
    size_t want = size * count < left ? size * count : (size_t)left;
    if (want == 0)
        return 0;
    ssize_t n = pread(call->body_fd, out, want, call->body_fd_start + (off_t)call->body_fd_sent);
    if (n <= 0) {
        fail(&call->failure, ERR_IO, n < 0 ? errno : 0, "read the body of a request to %s",
             call->place);
        return CURL_READFUNC_ABORT;
    }
    call->body_fd_sent += (uint64_t)n;
    return (size_t)n;
}

static int on_seek(void *ctx, curl_off_t offset, int origin)
{
    struct http_call *call = ctx;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > call->body_fd_bytes)
        return CURL_SEEKFUNC_FAIL;
    call->body_fd_sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

// --- the start of a call ---

static bool header_add(struct http_call *call, const char *name, const char *value)
{
    if (strpbrk(name, "\r\n:") != NULL || strpbrk(value, "\r\n") != NULL)
        return false;
    AUTO_BUF struct buf line = {0};
    buf_printf(&line, value[0] != '\0' ? "%s: %s" : "%s;", name, value); // "Name;": an empty value
    struct curl_slist *more = curl_slist_append(call->headers, line.data);
    CHECK(more != NULL);
    call->headers = more;
    return true;
}

static enum err set_headers(struct http_call *call, const struct http_call_spec *spec)
{
    bool type_given = false;
    for (size_t i = 0; i < spec->header_count; i++) {
        const struct http_call_header *h = &spec->headers[i];
        type_given = type_given || span_is_nocase(span_from(h->name), "content-type");
        if (!header_add(call, h->name, h->value))
            return fail(&call->failure, ERR_ARGUMENT, 0,
                        "a header of the request to %s has a line break", call->place);
    }
    if (!type_given) { // curl would make up a form's
        struct curl_slist *more = curl_slist_append(call->headers, "Content-Type:");
        CHECK(more != NULL);
        call->headers = more;
    }
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
    return OK;
}

static void set_method(struct http_call *call, const struct http_call_spec *spec)
{
    CURL *easy = call->easy;
    bool sends = strcmp(spec->method, "POST") == 0 || strcmp(spec->method, "PUT") == 0;
    if (strcmp(spec->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (spec->body_fd >= 0 && spec->body_fd_bytes > 0) {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)spec->body_fd_bytes);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, call);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(easy, CURLOPT_SEEKDATA, call);
        call->body_fd = spec->body_fd;
        call->body_fd_bytes = spec->body_fd_bytes;
        call->body_fd_start = lseek(spec->body_fd, 0, SEEK_CUR);
    } else if (sends || spec->body.len > 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body.len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, spec->body.len > 0 ? spec->body.data : "");
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, spec->method);
}

// This host, and those that only it can reach (metadata, container agents): no proxy helps there.
static bool is_near(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0 || strncmp(host, "169.254.", 8) == 0 ||
           strncmp(host, "fd00:ec2::", 10) == 0;
}

static void set_common(struct http_call *call, const struct http_call_spec *spec)
{
    CURL *easy = call->easy;
    struct http_client *c = call->client;
    long connect_ms = spec->connect_timeout_ms > 0 ? spec->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->curl_text);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L); // object keys may hold ".."
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)IDLE_CONNECTION_S);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                     spec->timeout_ms > 0 ? (long)spec->timeout_ms : (long)CALL_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, c->user_agent);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    if (c->ca_bundle != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, c->ca_bundle);
}

static enum err call_prepare(struct http_call *call, const struct http_call_spec *spec)
{
    struct url url;
    TRY(url_parse(spec->url, &url, &call->failure));
    snprintf(call->place, sizeof call->place, "%s:%d", url.host, url.port);
    curl_easy_setopt(call->easy, CURLOPT_URL, spec->url);
    if (is_near(url.host))
        curl_easy_setopt(call->easy, CURLOPT_PROXY, "");
    set_common(call, spec);
    set_method(call, spec);
    return set_headers(call, spec);
}

static void on_start_failed(void *ctx)
{
    call_finish(ctx, CURLE_OK);
}

struct http_call *http_client_start(struct http_client *c, const struct http_call_spec *spec,
                                    http_done_fn *done, void *ctx)
{
    struct http_call *call = calloc(1, sizeof *call);
    CHECK(call != NULL && done != NULL);
    call->client = c;
    call->easy = c->spare_count > 0 ? c->spare[--c->spare_count] : curl_easy_init();
    CHECK(call->easy != NULL);
    call->done = done;
    call->ctx = ctx;
    call->on_body = spec->on_body;
    call->body_fd = -1;
    call->response_limit_bytes =
        spec->response_limit_bytes > 0 ? spec->response_limit_bytes : RESPONSE_BYTES_MAX;
    call->response_headers.limit_bytes = RESPONSE_HEADER_BYTES_MAX;
    call->prev = c->calls.prev;
    call->next = &c->calls;
    call->prev->next = call->next->prev = call;
    c->running++;
    if (call_prepare(call, spec) != OK)
        loop_timer_set(c->loop, &call->start_failed, loop_now_ms(c->loop), on_start_failed, call);
    else if (c->in_curl)
        c->unsettled = true;
    else
        call_add(call);
    return call;
}

void http_call_cancel(struct http_call *call)
{
    struct http_client *c = call->client;
    struct http_response response = {.err = ERR_CANCELLED, .body = SPAN(""), .headers = SPAN("")};
    fail(&response.error, ERR_CANCELLED, 0, "the request to %s was cancelled", call->place);
    call_done(call, &response);
    if (c->in_curl)
        c->unsettled = true;
    else
        call_free(call);
}

size_t http_client_running(const struct http_client *c)
{
    return c->running;
}

// --- life ---

static char *copy_or_null(const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    CHECK(text == NULL || copy != NULL);
    return copy;
}

enum err http_client_new(struct loop *loop, const struct http_client_config *config,
                         struct http_client **out, struct error *error)
{
    int max = config != NULL ? config->connections_max : 0;
    const char *user_agent = config != NULL ? config->user_agent : NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) // counted: each client pairs it
        return fail(error, ERR_INTERNAL, 0, "libcurl cannot be initialised");
    struct http_client *c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->loop = loop;
    c->multi = curl_multi_init();
    CHECK(c->multi != NULL);
    c->calls.prev = c->calls.next = &c->calls;
    c->sockets.prev = c->sockets.next = &c->sockets;
    c->ca_bundle = copy_or_null(config != NULL ? config->ca_bundle : NULL);
    c->user_agent = copy_or_null(user_agent != NULL ? user_agent : "smelt");
    long connections = max > 0 ? max : HTTP_CLIENT_CONNECTIONS_MAX;
    // with one limit for all hosts together a busy client closes connections to the store to open
    // some to the queue, and the other way round
    curl_multi_setopt(c->multi, CURLMOPT_MAX_HOST_CONNECTIONS, connections);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, HOSTS_MAX * connections);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, HOSTS_MAX * connections);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    loop_hook_add(loop, &c->hook, on_turn_end, c);
    signal(SIGPIPE, SIG_IGN); // TLS libraries write without MSG_NOSIGNAL
    *out = c;
    return OK;
}

void http_client_free(struct http_client *c)
{
    if (c == NULL)
        return;
    CHECK(!c->in_curl && c->in_done == 0); // not from inside a callback
    while (c->calls.next != &c->calls) {
        struct http_call *call = c->calls.next;
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the one before was taken out of the list
        if (call->done != NULL)
            http_call_cancel(call);
        else
            call_free(call);
    }
    while (c->spare_count > 0)
        curl_easy_cleanup(c->spare[--c->spare_count]);
    curl_multi_cleanup(c->multi);
    while (c->sockets.next != &c->sockets)
        socket_free(c->sockets.next); // NOLINT(clang-analyzer-unix.Malloc): likewise
    loop_timer_cancel(c->loop, &c->timer);
    loop_hook_remove(c->loop, &c->hook);
    free(c->ca_bundle);
    free(c->user_agent);
    free(c);
    curl_global_cleanup();
}

static struct span header_value(struct span rest, const char *name)
{
    struct span found = {NULL, 0};
    while (rest.len > 0) {
        struct span value, line = span_cut(rest, '\n', &rest);
        if (line.len > 0 && line.data[line.len - 1] == '\r')
            line.len--;
        struct span line_name = span_cut(line, ':', &value);
        if (span_is_nocase(line_name, name))
            found = span_trim(value);
    }
    return found;
}

struct span http_response_header(const struct http_response *r, const char *name)
{
    return header_value(r->headers, name);
}

int http_call_status(const struct http_call *call)
{
    return call->status;
}

struct span http_call_response_header(const struct http_call *call, const char *name)
{
    return header_value(buf_view(&call->response_headers), name);
}
