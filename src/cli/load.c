#include "cli/load.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS_PER_TURN = 256,
    READ_BYTES = 64 << 10,
    SPIN_US = 1000,
    SILENCE_MS = 60 * 1000, // longer than any reply of a working server takes
};

struct connection {
    int fd;
    struct span out; // not yet sent
    struct buf in;
    size_t taken; // of in: the reply that load_receive gave out last
    bool waits;   // a reply is to come
};

struct load {
    int epoll_fd;
    int count;
    int64_t spin_us;
    struct connection *connections;
    char *piece; // READ_BYTES
};

// --- bytes ---

static enum err lost(struct error *error, int sys)
{
    return fail(error, ERR_UNAVAILABLE, sys, "the measured server ended a connection");
}

static void watch(struct load *l, int i, int op, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u32 = (uint32_t)i};
    CHECK(epoll_ctl(l->epoll_fd, op, l->connections[i].fd, &event) == 0);
}

// As much as the socket takes; the rest when it is writable again.
static enum err push(struct load *l, int i, struct error *error)
{
    struct connection *c = &l->connections[i];
    ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return lost(error, errno);
    if (n > 0)
        c->out = (struct span){c->out.data + n, c->out.len - (size_t)n};
    return OK;
}

static enum err start_request(struct load *l, int i, struct span request, struct error *error)
{
    struct connection *c = &l->connections[i];
    c->out = request;
    c->waits = true;
    TRY(push(l, i, error));
    if (c->out.len > 0)
        watch(l, i, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    return OK;
}

static enum err push_rest(struct load *l, int i, struct error *error)
{
    TRY(push(l, i, error));
    if (l->connections[i].out.len == 0)
        watch(l, i, EPOLL_CTL_MOD, EPOLLIN);
    return OK;
}

// *got: what has come in, in front of it what was there already.
static enum err pull(struct load *l, int i, struct span *got, struct error *error)
{
    struct connection *c = &l->connections[i];
    ssize_t n = recv(c->fd, l->piece, READ_BYTES, MSG_DONTWAIT);
    *got = buf_view(&c->in);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return OK;
    if (n <= 0)
        return lost(error, n < 0 ? errno : 0);
    if (c->in.len == 0) { // mostly: a whole reply at once, not copied
        *got = (struct span){l->piece, (size_t)n};
        return OK;
    }
    buf_add(&c->in, l->piece, (size_t)n);
    *got = buf_view(&c->in);
    return OK;
}

static enum err keep(struct connection *c, struct span got, struct error *error)
{
    if (got.data == c->in.data)
        return OK;
    if (got.len > LOAD_REPLY_BYTES_MAX)
        return fail(error, ERR_LIMIT, 0, "a reply of the measured server is too long");
    buf_add_span(&c->in, got);
    return OK;
}

// --- a run ---

struct run {
    struct load *load;
    const struct load_work *work;
    int64_t end_us; // INT64_MAX: none
    int waiting;    // connections whose reply is to come
};

static enum err next_request(struct run *r, int i, struct error *error)
{
    struct span request;
    bool may_stop = r->work->may_stop == NULL || r->work->may_stop(r->work->ctx, i);
    if (may_stop && r->end_us != INT64_MAX && clock_monotonic_us() >= r->end_us)
        return OK;
    if (!r->work->request(r->work->ctx, i, &request))
        return OK;
    r->waiting++;
    return start_request(r->load, i, request, error);
}

static enum err on_readable(struct run *r, int i, struct error *error)
{
    struct connection *c = &r->load->connections[i];
    struct span got;
    const char *problem = "the measured server gave an answer that was not expected";
    TRY(pull(r->load, i, &got, error));
    size_t len = got.len > 0 ? r->work->measure(r->work->ctx, i, got) : 0;
    if (len == 0)
        return keep(c, got, error);
    if (len > got.len || !c->waits)
        return fail(error, ERR_FORMAT, 0, "the measured server's reply cannot be read: %.*s",
                    (int)(got.len < 200 ? got.len : 200), got.data);
    c->waits = false;
    r->waiting--;
    if (!r->work->reply(r->work->ctx, i, (struct span){got.data, len}, &problem))
        return fail(error, ERR_FORMAT, 0, "%s: %.*s", problem, (int)(len < 400 ? len : 400),
                    got.data);
    buf_clear(&c->in); // one request, one reply: nothing follows
    return next_request(r, i, error);
}

// Looks for a while without sleeping: to wake a sleeper costs the server, inside its send, more
// than the send itself on a virtual machine, and a client that is busy is not to be woken.
static int wait_for_replies(struct load *l, struct epoll_event *events, int64_t spin_us)
{
    for (int64_t end_us = clock_monotonic_us() + spin_us; spin_us > 0;) {
        int n = epoll_wait(l->epoll_fd, events, EVENTS_PER_TURN, 0);
        if (n != 0)
            return n;
        if (clock_monotonic_us() >= end_us)
            break;
    }
    return epoll_wait(l->epoll_fd, events, EVENTS_PER_TURN, SILENCE_MS);
}

enum err load_run(struct load *l, const struct load_work *work, double seconds, double *took_s,
                  struct error *error)
{
    struct epoll_event events[EVENTS_PER_TURN];
    int64_t start_us = clock_monotonic_us();
    struct run r = {.load = l,
                    .work = work,
                    .end_us = seconds > 0 ? start_us + (int64_t)(seconds * 1e6) : INT64_MAX};
    for (int i = 0; i < l->count; i++)
        TRY(next_request(&r, i, error));
    while (r.waiting > 0) {
        int n = wait_for_replies(l, events, l->spin_us);
        if (n < 0 && errno != EINTR)
            return fail(error, ERR_IO, errno, "wait for events");
        if (n == 0)
            return fail(error, ERR_TIMEOUT, 0, "the measured server is silent");
        for (int k = 0; k < n; k++) {
            int i = (int)events[k].data.u32;
            if ((events[k].events & EPOLLOUT) != 0)
                TRY(push_rest(l, i, error));
            if ((events[k].events & ~(uint32_t)EPOLLOUT) != 0)
                TRY(on_readable(&r, i, error));
        }
    }
    *took_s = (double)(clock_monotonic_us() - start_us) / 1e6;
    return OK;
}

// --- one at a time ---

static enum err wait_for(int fd, short events, struct error *error)
{
    struct pollfd p = {.fd = fd, .events = events};
    int n = poll(&p, 1, SILENCE_MS);
    if (n == 0)
        return fail(error, ERR_TIMEOUT, 0, "the measured server is silent");
    return n > 0 || errno == EINTR ? OK : fail(error, ERR_IO, errno, "wait for a reply");
}

enum err load_send(struct load *l, int i, struct span request, struct error *error)
{
    struct connection *c = &l->connections[i];
    buf_consume(&c->in, c->taken);
    c->taken = 0;
    c->out = request;
    c->waits = true;
    for (;;) {
        TRY(push(l, i, error));
        if (c->out.len == 0)
            return OK;
        TRY(wait_for(c->fd, POLLOUT, error));
    }
}

enum err load_receive(struct load *l, int i, const struct load_work *work, struct span *reply,
                      struct error *error)
{
    struct connection *c = &l->connections[i];
    for (;;) {
        struct span got;
        TRY(wait_for(c->fd, POLLIN, error));
        TRY(pull(l, i, &got, error));
        TRY(keep(c, got, error));
        size_t len = c->in.len > 0 ? work->measure(work->ctx, i, buf_view(&c->in)) : 0;
        if (len > c->in.len)
            return fail(error, ERR_FORMAT, 0, "the measured server's reply cannot be read");
        if (len == 0)
            continue;
        c->taken = len;
        c->waits = false;
        *reply = (struct span){c->in.data, len};
        return OK;
    }
}

// --- life ---

static enum err connect_one(struct load *l, int i, int port, struct error *error)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(error, err_from_errno(errno), errno,
                    "open connection %d; `ulimit -n` shows the limit", i + 1);
    l->connections[i].fd = fd;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        return fail(error, ERR_UNAVAILABLE, errno, "connect to port %d", port);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(l, i, EPOLL_CTL_ADD, EPOLLIN);
    return OK;
}

enum err load_open(int port, int connections, struct load **out, struct error *error)
{
    CHECK(connections > 0 && connections <= LOAD_CONNECTIONS_MAX);
    process_raise_file_limit(connections + 200);
    struct load *l = calloc(1, sizeof *l);
    CHECK(l != NULL);
    l->connections = calloc((size_t)connections, sizeof *l->connections);
    l->piece = malloc(READ_BYTES);
    CHECK(l->connections != NULL && l->piece != NULL);
    l->count = connections;
    for (int i = 0; i < connections; i++)
        l->connections[i].fd = -1;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    enum err err = l->epoll_fd < 0 ? fail(error, ERR_IO, errno, "create an epoll instance") : OK;
    for (int i = 0; i < connections && err == OK; i++)
        err = connect_one(l, i, port, error);
    if (err != OK) {
        load_close(l);
        return err;
    }
    *out = l;
    return OK;
}

void load_spin(struct load *l)
{
    l->spin_us = SPIN_US;
}

void load_close(struct load *l)
{
    if (l == NULL)
        return;
    for (int i = 0; i < l->count; i++) {
        fd_close(&l->connections[i].fd);
        buf_release(&l->connections[i].in);
    }
    fd_close(&l->epoll_fd);
    free(l->connections);
    free(l->piece);
    free(l);
}

const struct load_work load_http = {.measure = load_measure_http};

size_t load_measure_http(void *ctx, int i, struct span in)
{
    (void)ctx, (void)i;
    static const char name[] = "\r\ncontent-length:";
    if (in.len < 12)
        return 0;
    if (memcmp(in.data, "HTTP/1.1 ", 9) != 0)
        return SIZE_MAX;
    const char *end = memmem(in.data, in.len, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - in.data) + 4, body = 0;
    for (const char *line = in.data; line < end; line++) {
        line = memchr(line, '\r', (size_t)(end + 1 - line));
        if (line == NULL || line == end)
            return head;
        if ((size_t)(end - line) < sizeof name - 1 || strncasecmp(line, name, sizeof name - 1) != 0)
            continue;
        for (line += sizeof name - 1; *line == ' '; line++)
            ;
        for (; *line >= '0' && *line <= '9'; line++)
            body = body * 10 + (size_t)(*line - '0');
        return body > LOAD_REPLY_BYTES_MAX ? SIZE_MAX : in.len < head + body ? 0 : head + body;
    }
    return head;
}
