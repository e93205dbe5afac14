// Clients that have gone, and clients that are slow: what MHD does not look at.
//
// Every connection is watched for the client's FIN (or reset), edge-triggered: it costs one call
// per connection and nothing while it is open. The slow ones are looked for now and then, all at
// once.
#include "base/limits.h"
#include "base/log.h"
#include "http/server_internal.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

// A client that waits while its reply is made. Else MHD has to read what came before the FIN first:
// the end of the turn decides.
static void on_fin(void *ctx, uint32_t events)
{
    struct conn *c = ctx;
    (void)events;
    c->fin = true;
    if (c->request != NULL && request_client_gone(c->request))
        return;
    patrol_look_again(c);
}

void patrol_look_again(struct conn *c)
{
    struct http_server *s = c->server;
    if (!c->fin || c->in_fins)
        return;
    c->in_fins = true;
    c->fin_read = false;
    c->next_fin = s->fins;
    s->fins = c;
}

static void fins_remove(struct conn *c)
{
    for (struct conn **at = &c->server->fins; *at != NULL; at = &(*at)->next_fin)
        if (*at == c) {
            *at = c->next_fin;
            break;
        }
    c->in_fins = false;
}

void patrol_add(struct conn *c)
{
    struct error error;
    if (loop_watch_add(c->server->loop, &c->fin_watch, c->fd, EPOLLRDHUP | EPOLLET, on_fin, c,
                       &error) != OK)
        log_event(LOG_WARN, "hangup_not_watched", "peer=%s error=\"%s\"", c->peer, error.msg);
}

void patrol_remove(struct conn *c)
{
    loop_watch_remove(c->server->loop, &c->fin_watch);
    if (c->in_fins)
        fins_remove(c);
}

// Puts a whole reply of one line on the wire, around MHD.
static void send_text(struct conn *c, int status, const char *text)
{
    AUTO_BUF struct buf out = {0};
    buf_printf(&out,
               "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
               "Content-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
               status, MHD_get_reason_phrase_for((unsigned)status), strlen(text) + 1, text);
    ssize_t sent = send(c->fd, out.data, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)sent; // who does not read has been told nothing
}

// Ends a connection whose request will not become whole. MHD notices that the socket is shut down.
static void cut_off(struct conn *c, int status, const char *text)
{
    log_event(LOG_DEBUG, "request_cut_off", "peer=%s status=%d reason=\"%s\"", c->peer, status,
              text);
    struct request *r = c->request;
    if (r == NULL || !r->head_checked) {
        send_text(c, status, text);
    } else if (!r->replied) {
        r->cut_off = true;
        request_refuse(r, status, text);
    }
    shutdown(c->fd, SHUT_RDWR);
}

static bool is_whole(const struct request *r)
{
    return r != NULL && r->whole;
}

// True: nothing is left to do about the FIN now.
static bool fin_is_settled(struct conn *c)
{
    int unread = 0;
    if (is_whole(c->request)) {
        request_client_gone(c->request); // or it gets its reply: the end of it looks again
        return true;
    }
    // what came before the FIN is MHD's to read first, and then to look at
    if (ioctl(c->fd, FIONREAD, &unread) == 0 && unread > 0)
        return false;
    if (!c->fin_read) {
        c->fin_read = true;
        c->server->run_pending = true;
        return false;
    }
    if (c->request == NULL && c->asked) // behind its last request: an answer would be to that one
        shutdown(c->fd, SHUT_RDWR);
    else
        cut_off(c, 400, "the request ended before it was whole");
    return true;
}

void patrol_fins(struct http_server *s)
{
    struct conn **at = &s->fins;
    while (*at != NULL) {
        struct conn *c = *at;
        if (!fin_is_settled(c)) {
            at = &c->next_fin;
            continue;
        }
        *at = c->next_fin;
        c->in_fins = false;
    }
}

bool http_request_is_gone(const struct http_request *pub)
{
    const struct conn *c = ((const struct request *)(const void *)pub)->conn;
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
    return c->fin || poll(&p, 1, 0) > 0;
}

// --- slow ones ---

// What MHD has read so far, or less when something comes in just now.
static uint64_t bytes_read(const struct conn *c)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    int unread = 0;
    memset(&info, 0, sizeof info);
    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
        ioctl(c->fd, FIONREAD, &unread) != 0 || unread < 0)
        return 0;
    uint64_t received = info.tcpi_bytes_received, later = (uint64_t)unread;
    return received > later ? received - later : 0;
}

// Between two requests nothing comes in. Where something does, look after look, a head comes in
// pieces: MHD does not show it before its first line is there.
static bool head_is_slow(struct conn *c, int64_t now_ms)
{
    uint64_t bytes = bytes_read(c);
    if (!c->seen_idle) {
        c->seen_idle = true;
        c->seen_bytes = bytes;
        c->seen_at_ms = now_ms;
        return false;
    }
    return bytes > c->seen_bytes && now_ms - c->seen_at_ms > c->server->head_timeout_ms;
}

static bool body_is_slow(struct conn *c, int64_t now_us)
{
    const struct request *r = c->request;
    if (r->whole || r->suspended)
        return false;
    int64_t took_ms = (now_us - r->begun_us) / 1000 - c->server->body_grace_ms;
    return took_ms > 0 && r->received_bytes < (uint64_t)took_ms * HTTP_BODY_BYTES_PER_S_MIN / 1000;
}

// Its reply fills memory that others need.
static bool reply_is_stuck(const struct conn *c, int64_t now_ms)
{
    const struct http_server *s = c->server;
    const struct request *r = c->request;
    return r != NULL && r->unsent_bytes > 0 && s->unsent_bytes > s->unsent_bytes_max / 2 &&
           now_ms - r->replied_ms > s->body_grace_ms;
}

static void on_patrol(void *ctx)
{
    struct http_server *s = ctx;
    int64_t now_ms = loop_now_ms(s->loop);
    for (struct conn *c = s->conns.next; c != &s->conns; c = c->next) {
        bool slow = c->request != NULL ? body_is_slow(c, now_ms * 1000) : head_is_slow(c, now_ms);
        if (slow)
            cut_off(c, 408, "the request came in too slowly");
        else if (reply_is_stuck(c, now_ms))
            cut_off(c, 408, "the reply was not read"); // it is on its way: nothing else can be said
    }
    loop_timer_set(s->loop, &s->patrol_timer, now_ms + s->patrol_ms, on_patrol, s);
}

void patrol_start(struct http_server *s, int slow_timeout_s)
{
    s->head_timeout_ms = (slow_timeout_s > 0 ? slow_timeout_s : HTTP_HEAD_S_MAX) * 1000;
    s->body_grace_ms = (slow_timeout_s > 0 ? slow_timeout_s : HTTP_BODY_GRACE_S) * 1000;
    s->patrol_ms = s->head_timeout_ms / 4;
    loop_timer_set(s->loop, &s->patrol_timer, loop_now_ms(s->loop) + s->patrol_ms, on_patrol, s);
}
