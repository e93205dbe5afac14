#include "http/server.h"

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "http/server_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_PER_TURN = 64,  // so that a flood of connections does not starve the open ones
    ACCEPT_RETRY_MS = 200, // out of descriptors: look again when one closes, or after this
    ACCEPT_LOG_MS = 10000, // the same warning at most this often
    LISTEN_BACKLOG = 4096,
};

static void on_listen(void *ctx, uint32_t events);

// --- turns: MHD runs when its descriptors say so, when replies wait, when a timeout is due ---

static void on_daemon_timer(void *ctx);

static void run_daemon(struct http_server *s)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    s->run_pending = false;
    MHD_run(s->daemon);
    if (MHD_get_timeout(s->daemon, &wait_ms) != MHD_YES)
        return;
    if (wait_ms == 0) {
        // requests that wait for their reply look like work to MHD: their reply brings the next run
        s->run_pending = s->kept == 0;
        return;
    }
    // a timer that is set already fires early enough: activity only moves timeouts away
    int64_t at_ms = loop_now_ms(s->loop) + (int64_t)wait_ms;
    if (s->daemon_timer.heap_place == 0 || s->daemon_timer.at_ms > at_ms)
        loop_timer_set(s->loop, &s->daemon_timer, at_ms, on_daemon_timer, s);
}

static void on_daemon_timer(void *ctx)
{
    run_daemon(ctx);
}

static void on_daemon_event(void *ctx, uint32_t events)
{
    (void)events;
    run_daemon(ctx);
}

static bool on_turn_end(void *ctx)
{
    struct http_server *s = ctx;
    if (s->run_pending)
        run_daemon(s);
    patrol_fins(s);
    return s->run_pending;
}

// --- connections ---

static void accept_resume(struct http_server *s)
{
    struct error error;
    loop_timer_cancel(s->loop, &s->accept_timer);
    s->accept_paused = false;
    if (s->draining || s->listen_watch.active)
        return;
    if (loop_watch_add(s->loop, &s->listen_watch, s->listen_fd, EPOLLIN, on_listen, s, &error) !=
        OK)
        log_event(LOG_ERROR, "listen_failed", "port=%d error=\"%s\"", s->port, error.msg);
}

static void on_accept_timer(void *ctx)
{
    accept_resume(ctx);
}

// Until a connection closes; retry: or a while has passed, for what others hold may come free.
static void accept_pause(struct http_server *s, const char *reason, bool retry)
{
    int64_t now_ms = loop_now_ms(s->loop);
    loop_watch_remove(s->loop, &s->listen_watch);
    s->accept_paused = true;
    if (retry)
        loop_timer_set(s->loop, &s->accept_timer, now_ms + ACCEPT_RETRY_MS, on_accept_timer, s);
    if (s->accept_logged_ms != 0 && now_ms - s->accept_logged_ms < ACCEPT_LOG_MS)
        return;
    s->accept_logged_ms = now_ms;
    log_event(LOG_WARN, "accept_paused", "port=%d connections=%d reason=\"%s\"", s->port,
              s->connections, reason);
}

static void on_listen(void *ctx, uint32_t events)
{
    struct http_server *s = ctx;
    (void)events;
    for (int i = 0; i < ACCEPT_PER_TURN; i++) {
        struct sockaddr_storage address;
        socklen_t address_len = sizeof address;
        if (s->connections >= s->connections_max) {
            accept_pause(s, "connection limit", false);
            return;
        }
        int fd = accept4(s->listen_fd, (struct sockaddr *)&address, &address_len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO))
            continue;
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0) {
            accept_pause(s, strerror(errno), true);
            return;
        }
        if (MHD_add_connection(s->daemon, fd, (struct sockaddr *)&address, address_len) != MHD_YES)
            log_event(LOG_WARN, "connection_refused", "port=%d", s->port); // MHD has closed it
    }
}

static void peer_name(const struct sockaddr *address, char *out, size_t out_size)
{
    const void *ip =
        address->sa_family == AF_INET6
            ? (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr
            : (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    if (inet_ntop(address->sa_family, ip, out, (socklen_t)out_size) == NULL)
        snprintf(out, out_size, "unknown");
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = cls;
    struct conn *c = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        patrol_remove(c);
        c->prev->next = c->next;
        c->next->prev = c->prev;
        free(c);
        s->connections--;
        if (s->accept_paused)
            accept_resume(s);
        return;
    }
    c = calloc(1, sizeof *c);
    CHECK(c != NULL);
    c->server = s;
    c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    peer_name(MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
              c->peer, sizeof c->peer);
    c->next = s->conns.next;
    c->prev = &s->conns;
    c->next->prev = c->prev->next = c;
    *socket_context = c;
    s->connections++;
    patrol_add(c);
}

// --- life ---

static enum err listen_parse(const char *listen_at, char *host, size_t host_size, const char **port,
                             struct error *error)
{
    const char *colon = strrchr(listen_at, ':');
    uint64_t number;
    if (colon == NULL || colon == listen_at || !span_to_u64(span_from(colon + 1), 65535, &number))
        return fail(error, ERR_ARGUMENT, 0, "'%.100s' is not ADDRESS:PORT, like 127.0.0.1:9324",
                    listen_at);
    size_t len = (size_t)(colon - listen_at);
    bool brackets = listen_at[0] == '[' && colon[-1] == ']';
    if (brackets) {
        listen_at++;
        len -= 2;
    }
    if (len == 0 || len >= host_size || (!brackets && memchr(listen_at, ':', len) != NULL))
        return fail(error, ERR_ARGUMENT, 0,
                    "'%.100s' is not ADDRESS:PORT (an IPv6 address stands in [brackets])",
                    listen_at);
    memcpy(host, listen_at, len);
    host[len] = '\0';
    *port = colon + 1;
    return OK;
}

enum err http_listen_check(const char *listen_at, struct error *error)
{
    char host[256];
    const char *port;
    return listen_parse(listen_at, host, sizeof host, &port, error);
}

static enum err listen_failed(struct error *error, const char *host, const char *port)
{
    switch (errno) {
    case EADDRINUSE:
        return fail(error, ERR_BUSY, 0,
                    "port %s on %s is in use; stop what uses it or choose another port", port,
                    host);
    case EACCES:
        return fail(error, ERR_DENIED, 0,
                    "port %s on %s may not be used by this user; choose one above 1023", port,
                    host);
    case EADDRNOTAVAIL:
        return fail(error, ERR_ARGUMENT, 0,
                    "this machine has no address %s; use 127.0.0.1, or 0.0.0.0 for all", host);
    default:
        return fail(error, err_from_errno(errno), errno, "listen on %s:%s", host, port);
    }
}

static enum err listen_open(struct http_server *s, const char *listen_at, struct error *error)
{
    char host[256];
    const char *port = NULL;
    TRY(listen_parse(listen_at, host, sizeof host, &port, error));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0)
        return fail(error, ERR_ARGUMENT, 0, "cannot listen on '%s': %s", host, gai_strerror(rc));
    AUTO_FD int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound = {.v6 = {0}};
    socklen_t bound_len = sizeof bound;
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
              bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0 &&
              getsockname(fd, &bound.any, &bound_len) == 0;
    freeaddrinfo(found);
    if (!ok)
        return listen_failed(error, host, port);
    s->port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
    s->listen_fd = fd;
    fd = -1;
    return OK;
}

static enum err daemon_start(struct http_server *s, size_t connection_bytes, int idle_timeout_s,
                             struct error *error)
{
    // We accept ourselves (MHD spins when descriptors run out) and check the head ourselves
    // (MHD_OPTION_STRICT_FOR_CLIENT closes some connections without a word).
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        request_advance, s, MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->connections_max,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        connection_bytes, MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)4096,
        MHD_OPTION_URI_LOG_CALLBACK, request_begin, s, MHD_OPTION_NOTIFY_COMPLETED, request_end, s,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_END);
    if (s->daemon == NULL)
        return fail(error, ERR_IO, errno, "start the HTTP server on port %d", s->port);
    int epoll_fd = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->listen_fd;
    return loop_watch_add(s->loop, &s->daemon_watch, epoll_fd, EPOLLIN, on_daemon_event, s, error);
}

enum err http_server_new(struct loop *loop, const struct http_server_config *config,
                         const struct http_handlers *handlers, struct http_server **out,
                         struct error *error)
{
    struct http_server *s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    s->loop = loop;
    s->handlers = *handlers;
    s->listen_fd = -1;
    s->body_limit_bytes = config->body_limit_bytes;
    s->connections_max =
        config->connections_max > 0 ? config->connections_max : HTTP_CONNECTIONS_MAX;
    s->unsent_bytes_max =
        config->unsent_bytes_max > 0 ? config->unsent_bytes_max : HTTP_UNSENT_REPLIES_BYTES_MAX;
    s->conns.prev = s->conns.next = &s->conns;
    s->requests.prev = s->requests.next = &s->requests;
    char uuid[37];
    random_uuid(uuid);
    memcpy(s->id_prefix, uuid, sizeof s->id_prefix - 1);
    signal(SIGPIPE, SIG_IGN); // sendfile has no MSG_NOSIGNAL
    loop_hook_add(loop, &s->hook, on_turn_end, s);
    int idle_s = config->idle_timeout_s > 0 ? config->idle_timeout_s : HTTP_IDLE_TIMEOUT_S;
    size_t connection_bytes =
        config->connection_bytes > 0 ? config->connection_bytes : HTTP_HEADER_BYTES_MAX;
    enum err err = listen_open(s, config->listen, error);
    if (err == OK)
        err = daemon_start(s, connection_bytes, idle_s, error);
    if (err == OK)
        err = loop_watch_add(loop, &s->listen_watch, s->listen_fd, EPOLLIN, on_listen, s, error);
    if (err != OK) {
        http_server_free(s);
        return err;
    }
    patrol_start(s, config->slow_timeout_s);
    *out = s;
    return OK;
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

int http_server_connections(const struct http_server *s)
{
    return s->connections;
}

bool http_server_is_clogged(const struct http_server *s)
{
    return s->unsent_bytes > s->unsent_bytes_max;
}

void http_server_stop_accepting(struct http_server *s)
{
    s->draining = true;
    loop_timer_cancel(s->loop, &s->accept_timer);
    loop_watch_remove(s->loop, &s->listen_watch);
    fd_close(&s->listen_fd);
    // connections between requests end now; those with one get their reply with Connection: close
    for (struct conn *c = s->conns.next; c != &s->conns; c = c->next)
        if (c->request == NULL)
            shutdown(c->fd, SHUT_RD);
}

void http_server_free(struct http_server *s)
{
    if (s == NULL)
        return;
    http_server_stop_accepting(s);
    if (s->daemon != NULL) {
        // MHD must not be stopped with suspended connections
        for (struct request *r = s->requests.next; r != &s->requests; r = r->next)
            request_abandon(r);
        loop_watch_remove(s->loop, &s->daemon_watch);
        MHD_stop_daemon(s->daemon);
    }
    loop_timer_cancel(s->loop, &s->daemon_timer);
    loop_timer_cancel(s->loop, &s->patrol_timer);
    loop_hook_remove(s->loop, &s->hook);
    while (s->spare != NULL) {
        struct request *next = s->spare->next;
        request_free(s->spare);
        s->spare = next;
    }
    free(s);
}
