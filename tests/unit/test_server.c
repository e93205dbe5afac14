// The server in this thread's loop; the client is a second thread with plain blocking sockets.
#include "http/server.h"

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"

#include "suite.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct fixture {
    struct loop *loop;
    struct http_server *server;
    struct http_server_config config;
    void (*client)(struct fixture *f);
    int port;
    int finished_fd; // the client is done, or wants `parked` answered
    struct watch finished;
    bool client_done;
    // counted by the loop's thread, looked at by the client's
    _Atomic int heads, requests, dones, hangups, too_large;
    _Atomic int refused; // by the server before the role had seen a head
    _Atomic size_t streamed_bytes, largest_piece;
    struct http_request *parked[1100];
    _Atomic int parked_count;
    bool answer_parked;
    _Atomic bool clogged;
    bool speaks; // the role says itself what is refused
};

static struct span path_of(const struct http_request *r)
{
    return r->target_path;
}

static enum http_body on_head(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    f->heads++;
    if (span_is(path_of(r), "/refuse"))
        http_reply(r, 403, NULL, 0, SPAN("refused early"));
    return span_starts(path_of(r), "/stream") ? HTTP_BODY_STREAM : HTTP_BODY_BUFFER;
}

static void on_body(void *ctx, struct http_request *r, struct span piece)
{
    struct fixture *f = ctx;
    ck_assert(!http_request_replied(r));
    f->streamed_bytes += piece.len;
    if (piece.len > f->largest_piece)
        f->largest_piece = piece.len;
    if (span_is(path_of(r), "/stream-refuse") && f->streamed_bytes > 1000)
        http_reply(r, 400, NULL, 0, SPAN("refused in the middle"));
}

static void on_hangup(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    f->hangups++;
    http_reply(r, 200, NULL, 0, SPAN("nobody hears this"));
    for (int i = 0; i < f->parked_count; i++)
        if (f->parked[i] == r)
            f->parked[i] = f->parked[--f->parked_count];
}

static void reply_file(struct http_request *r)
{
    FILE *file = tmpfile();
    for (int i = 0; i < 100000; i++)
        fprintf(file, "line %07d\n", i);
    fflush(file);
    http_reply_fd(r, 206, NULL, 0, dup(fileno(file)), 13 * 10, 13 * 99990);
    fclose(file);
}

static void on_request(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    f->requests++;
    struct span path = path_of(r), value;
    if (span_is(path, "/park")) {
        f->parked[f->parked_count++] = r;
        http_request_on_hangup(r, on_hangup, f);
    } else if (span_is(path, "/soon")) {
        f->parked[f->parked_count++] = r;
        http_request_soon(r);
    } else if (span_is(path, "/large")) {
        struct buf large = {0};
        buf_reserve(&large, 8 << 20);
        memset(large.data, 'x', 8 << 20);
        large.len = 8 << 20;
        http_reply_buf(r, 200, NULL, 0, &large);
        f->clogged = http_server_is_clogged(f->server);
    } else if (span_is(path, "/held")) {
        http_request_soon(r);
        http_reply_hold(r);
        http_reply(r, 200, NULL, 0, SPAN("held"));
        f->parked[f->parked_count++] = r;
    } else if (span_is(path, "/file")) {
        reply_file(r);
    } else if (span_is(path, "/length")) {
        http_reply_head(r, 200, NULL, 0, 1234567890123);
    } else if (span_is(path, "/query")) {
        bool found = http_request_query(r, "a b", &value);
        http_reply(r, found ? 200 : 404, NULL, 0, found ? value : SPAN("none"));
    } else if (span_is(path, "/echo")) {
        struct buf copy = {0};
        buf_add_span(&copy, r->body);
        struct http_header headers[] = {{SPAN("X-Empty"), SPAN("")},
                                        {SPAN("X-One"), http_request_header(r, "x-in")},
                                        {SPAN("X-Bad"), SPAN("a\r\nInjected: yes")}};
        http_reply_buf(r, 200, headers, 3, &copy);
        ck_assert_uint_eq(copy.len, 0);
    } else {
        http_reply(r, 200, NULL, 0, r->target_path);
    }
}

static void on_too_large(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    f->too_large++;
    http_reply(r, 413, NULL, 0, SPAN("too large, says the role"));
}

static void on_refused(void *ctx, struct http_request *r, int status, const char *text)
{
    struct fixture *f = ctx;
    char line[200];
    f->refused += status == 400;
    snprintf(line, sizeof line, "the role says %d: %s", status, text);
    http_reply(r, status, NULL, 0, span_from(line));
}

static void on_done(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    ck_assert_ptr_null(r->user); // once
    r->user = f;
    f->dones++;
}

static void on_finished(void *ctx, uint32_t events)
{
    struct fixture *f = ctx;
    uint64_t n;
    (void)events;
    ck_assert_int_eq(read(f->finished_fd, &n, sizeof n), sizeof n);
    if (f->client_done) {
        loop_stop(f->loop);
        return;
    }
    for (int i = 0; i < f->parked_count; i++)
        if (http_request_replied(f->parked[i]))
            http_reply_release(f->parked[i]);
        else
            http_reply(f->parked[i], 200, NULL, 0, SPAN("parked"));
    f->parked_count = 0;
}

static void signal_server(struct fixture *f)
{
    uint64_t one = 1;
    ck_assert_int_eq(write(f->finished_fd, &one, sizeof one), sizeof one);
}

static void *client_main(void *arg)
{
    struct fixture *f = arg;
    f->client(f);
    f->client_done = true;
    signal_server(f);
    return NULL;
}

static void run(struct fixture *f, void (*client)(struct fixture *f))
{
    struct http_handlers handlers = {.ctx = f,
                                     .on_head = on_head,
                                     .on_body = on_body,
                                     .on_request = on_request,
                                     .on_too_large = on_too_large,
                                     .on_refused = f->speaks ? on_refused : NULL,
                                     .on_done = on_done};
    struct error error;
    pthread_t thread;
    if (f->config.listen == NULL)
        f->config.listen = "127.0.0.1:0";
    if (f->config.body_limit_bytes == 0)
        f->config.body_limit_bytes = 4 << 20;
    f->client = client;
    ck_assert_int_eq(loop_new(&f->loop, NULL), OK);
    ck_assert_int_eq(http_server_new(f->loop, &f->config, &handlers, &f->server, &error), OK);
    f->port = http_server_port(f->server);
    f->finished_fd = eventfd(0, 0);
    ck_assert_int_eq(
        loop_watch_add(f->loop, &f->finished, f->finished_fd, EPOLLIN, on_finished, f, NULL), OK);
    ck_assert_int_eq(pthread_create(&thread, NULL, client_main, f), 0);
    ck_assert_int_eq(loop_run(f->loop, NULL), OK);
    pthread_join(thread, NULL);
    http_server_free(f->server);
    ck_assert_int_eq(f->heads + f->refused, f->dones);
    loop_watch_remove(f->loop, &f->finished);
    loop_free(f->loop);
    close(f->finished_fd);
}

// --- the client's side ---

static int dial(struct fixture *f)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)f->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void put(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

// Reads until the text has come, or the end. False at the end.
static bool get_until(int fd, struct buf *in, const char *text)
{
    char piece[65536];
    while (in->len == 0 || memmem(in->data, in->len, text, strlen(text)) == NULL) {
        ssize_t n = recv(fd, piece, sizeof piece, 0);
        if (n <= 0)
            return false;
        buf_add(in, piece, (size_t)n);
    }
    return true;
}

static bool has(const struct buf *in, const char *text)
{
    return in->len > 0 && memmem(in->data, in->len, text, strlen(text)) != NULL;
}

// One connection: sends, expects an answer with this text.
static void expect(struct fixture *f, const char *request, const char *wanted)
{
    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f);
    put(fd, request);
    ck_assert_msg(get_until(fd, &in, wanted), "wanted '%s', got '%s'", wanted,
                  in.len > 0 ? in.data : "");
}

static void expect_closed(struct fixture *f, const char *request, const char *wanted)
{
    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f);
    put(fd, request);
    ck_assert(!get_until(fd, &in, "\x01never\x01"));
    ck_assert_msg(has(&in, wanted), "wanted '%s', got '%s'", wanted, in.len > 0 ? in.data : "");
}

static void client_keep_alive(struct fixture *f)
{
    AUTO_FD int fd = dial(f);
    for (int i = 0; i < 100; i++) {
        AUTO_BUF struct buf in = {0};
        char request[200], wanted[20];
        snprintf(request, sizeof request, "GET /path/%d?x=1 HTTP/1.1\r\nHost: h\r\n\r\n", i);
        snprintf(wanted, sizeof wanted, "\r\n\r\n/path/%d", i);
        put(fd, request);
        ck_assert(get_until(fd, &in, wanted));
        ck_assert(!has(&in, "Connection: close"));
    }
    // pipelined, one of them parked: the order of the answers is that of the requests
    AUTO_BUF struct buf in = {0};
    put(fd, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /park HTTP/1.1\r\nHost: h\r\n\r\n"
            "GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    ck_assert(get_until(fd, &in, "\r\n\r\n/1"));
    ck_assert(!has(&in, "/3"));
    while (f->parked_count == 0)
        poll(NULL, 0, 1);
    signal_server(f);
    ck_assert(!get_until(fd, &in, "\x01"));
    ck_assert(has(&in, "parked") && has(&in, "\r\n\r\n/3"));
}

START_TEST(keep_alive_and_pipelining)
{
    struct fixture f = {0};
    run(&f, client_keep_alive);
    ck_assert_int_eq(f.requests, 103);
}
END_TEST

static void client_refused(struct fixture *f)
{
    expect_closed(f, "GET / HTTP/1.1\r\n\r\n", "400 Bad Request");
    expect_closed(f, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "one Host header");
    expect_closed(f, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                  "two different Content-Length");
    expect_closed(f,
                  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                  "neither with Content-Length");
    expect_closed(f, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                  "only Transfer-Encoding");
    expect_closed(f, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0");
    expect_closed(f, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", "400");
    expect_closed(f, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                  "413");
    expect_closed(f, "GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", "header's name");
    expect_closed(f, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n", "header's name");
    expect_closed(f, "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", "folded");
    expect_closed(f, "GET / HTTP/1.1\r\nX: a\r\n\tfolded\r\nHost: a\r\n\r\n", "folded");
    expect_closed(f, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "a space");
    expect_closed(f, "GET / HTTP/1.1\r\nHost: a\"b\r\n\r\n", "not a host name");
    expect_closed(f, "GET / HTTP/1.1\r\nHost: a\xff\r\n\r\n", "not a host name");
    expect_closed(f, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "not a host name");
    expect_closed(f, "GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", "does not start with '/'");
    ck_assert_int_eq(f->heads, 0);
    expect(f, "GET http://h/abs?q HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\n/abs");
    expect(f, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
           "200 OK");

    AUTO_BUF struct buf many = {0}, big = {0}, line = {0};
    buf_add_text(&many, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 120; i++)
        buf_printf(&many, "X-%d: y\r\n", i);
    buf_add_text(&many, "\r\n");
    expect_closed(f, many.data, "431");
    buf_add_text(&big, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    buf_add_text(&line, "GET /");
    for (int i = 0; i < 25000; i++)
        buf_add_char(&big, 'x');
    for (int i = 0; i < 60000; i++)
        buf_add_char(&line, 'x');
    buf_add_text(&big, "\r\n\r\n");
    expect_closed(f, big.data, "431");
    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f);
    send(fd, line.data, line.len, MSG_NOSIGNAL);
    get_until(fd, &in, "414");
}

START_TEST(requests_of_doubtful_length_or_form_are_refused)
{
    struct fixture f = {0};
    run(&f, client_refused);
    ck_assert_int_eq(f.requests, 2);
}
END_TEST

static void client_bodies(struct fixture *f)
{
    expect(f, "POST /echo HTTP/1.1\r\nHost: h\r\nX-In:  v \r\nContent-Length: 5\r\n\r\nhello",
           "X-Empty:  \r\nX-One: v\r\n");
    expect(f,
           "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
           "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n",
           "\r\n\r\nabcdefg");
    expect(f, "POST /echo HTTP/1.1\r\nHost: h\r\nX-In: v\r\nContent-Length: 0\r\n\r\n",
           "Length: 0");
    expect(f, "HEAD /length HTTP/1.1\r\nHost: h\r\n\r\n", "Content-Length: 1234567890123\r\n");
    expect(f, "GET /query?b=1&a+b=%7Bx%7D HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\n{x}");
    expect(f, "GET /query?b=1&a+b=%7 HTTP/1.1\r\nHost: h\r\n\r\n", "404");
    expect_closed(f, "GET /file HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                  "line 0000010\n");
    expect_closed(f, "GET /file HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                  "line 0099999\n");
    expect_closed(f, "HEAD /file HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "1299870\r\n");

    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f); // a client that asks first
    put(fd, "PUT /stream HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: "
            "3000000\r\n\r\n");
    ck_assert(get_until(fd, &in, "100 Continue\r\n\r\n"));
    static char mass[3000000];
    ck_assert_int_eq(send(fd, mass, sizeof mass, MSG_NOSIGNAL), (ssize_t)sizeof mass);
    ck_assert(get_until(fd, &in, "200 OK"));
    ck_assert_uint_eq(f->streamed_bytes, sizeof mass);
}

START_TEST(bodies_both_ways)
{
    struct fixture f = {0};
    run(&f, client_bodies);
}
END_TEST

// A client that sends all of a body before it reads: it must find the reply, not a reset.
static void send_then_read(struct fixture *f, const char *head, size_t body_bytes,
                           const char *wanted)
{
    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f);
    static char mass[65536];
    put(fd, head);
    while (body_bytes > 0) {
        size_t n = body_bytes < sizeof mass ? body_bytes : sizeof mass;
        ssize_t sent = send(fd, mass, n, MSG_NOSIGNAL);
        ck_assert_int_gt(sent, 0);
        body_bytes -= (size_t)sent;
    }
    ck_assert_msg(get_until(fd, &in, wanted), "wanted '%s', got '%s'", wanted,
                  in.len > 0 ? in.data : "");
    ck_assert(memmem(in.data + 1, in.len - 1, "HTTP/1.1", 8) == NULL); // one reply
}

static void client_early(struct fixture *f)
{
    expect(
        f,
        "PUT /refuse HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n",
        "\r\n\r\nrefused early");
    expect(f, "GET /refuse HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\nrefused early");
    send_then_read(f, "PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n", 1000,
                   "refused early");
    send_then_read(f, "PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n",
                   20000000, "refused early");
    send_then_read(f, "PUT /stream-refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n",
                   20000000, "refused in the middle");
    f->streamed_bytes = 0;
    send_then_read(f, "PUT /stream-refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n",
                   200000, "refused in the middle");
    send_then_read(f, "PUT /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n", 5000000,
                   "too large, says the role");
    ck_assert_int_eq(f->too_large, 1);
    expect(f, "PUT /refuse HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
           "refused early");

    // the connection stays when the refused body was small
    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f);
    put(fd, "PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"
            "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    ck_assert(get_until(fd, &in, "\r\n\r\n/next"));
}

static void client_pieces(struct fixture *f)
{
    send_then_read(f, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n", 4000000,
                   "\r\n\r\n/stream");
    ck_assert_uint_eq(f->streamed_bytes, 4000000);
}

START_TEST(bodies_come_in_pieces_of_half_the_connections_memory)
{
    struct fixture f = {0}, roomy = {.config = {.connection_bytes = 64 << 10}};
    run(&f, client_pieces);
    ck_assert_uint_le(f.largest_piece, 16 << 10);
    run(&roomy, client_pieces);
    ck_assert_uint_gt(roomy.largest_piece, 16 << 10);
    ck_assert_uint_le(roomy.largest_piece, 32 << 10);
}
END_TEST

START_TEST(early_replies_reach_a_client_that_is_still_sending)
{
    struct fixture f = {0};
    run(&f, client_early);
}
END_TEST

static void client_chunked_too_large(struct fixture *f)
{
    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f);
    static char chunk[70000];
    put(fd, "PUT /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n");
    ck_assert_int_eq(send(fd, chunk, sizeof chunk, MSG_NOSIGNAL), (ssize_t)sizeof chunk);
    put(fd, "\r\n0\r\n\r\n");
    ck_assert(get_until(fd, &in, "says the role"));
}

START_TEST(chunked_body_over_the_limit)
{
    struct fixture f = {.config = {.body_limit_bytes = 65536}};
    run(&f, client_chunked_too_large);
    ck_assert_int_eq(f.too_large, 1);
    ck_assert_int_eq(f.requests, 0);
}
END_TEST

static void wait_parked(struct fixture *f, int n)
{
    while (f->parked_count != n)
        poll(NULL, 0, 1);
}

static void client_hangup(struct fixture *f)
{
    AUTO_FD int closes = dial(f), half_closes = dial(f), stays = dial(f);
    AUTO_BUF struct buf in = {0};
    put(closes, "GET /park HTTP/1.1\r\nHost: h\r\n\r\nGET /pipelined HTTP/1.1\r\nHost: h\r\n\r\n");
    put(half_closes, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    put(stays, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_parked(f, 3);
    fd_close(&closes);
    shutdown(half_closes, SHUT_WR);
    wait_parked(f, 1);
    signal_server(f);
    ck_assert(get_until(stays, &in, "parked"));
}

START_TEST(hang_up_while_suspended)
{
    struct fixture f = {0};
    run(&f, client_hangup);
    ck_assert_int_eq(f.hangups, 2);
    ck_assert_int_eq(f.dones, 3);
}
END_TEST

static void client_thousand(struct fixture *f)
{
    static int fds[1000];
    for (int i = 0; i < 1000; i++) {
        fds[i] = dial(f);
        put(fds[i], "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    wait_parked(f, 1000);
    signal_server(f);
    for (int i = 0; i < 1000; i++) {
        AUTO_BUF struct buf in = {0};
        ck_assert(get_until(fds[i], &in, "parked"));
        close(fds[i]);
    }
}

START_TEST(thousand_suspended_requests)
{
    struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};
    setrlimit(RLIMIT_NOFILE, &limit);
    struct fixture f = {0};
    run(&f, client_thousand);
    ck_assert_int_eq(f.dones, 1000);
}
END_TEST

static void client_parked_at_the_end(struct fixture *f)
{
    int fd = dial(f); // stays open: the server ends it
    put(fd, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    int second = dial(f);
    put(second, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nonly a part");
    wait_parked(f, 1);
    while (f->streamed_bytes == 0)
        poll(NULL, 0, 1);
}

// Some are kept, some suspended; one will say no more, which is no reason not to answer; other
// requests are served meanwhile.
static void client_soon(struct fixture *f)
{
    enum { COUNT = 100 };
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = dial(f);
        put(fds[i], "GET /soon HTTP/1.1\r\nHost: h\r\n\r\n");
        wait_parked(f, i + 1);
    }
    expect(f, "GET /other HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\n/other");
    put(fds[3], "GET /pipelined HTTP/1.1\r\nHost: h\r\n\r\n");
    shutdown(fds[4], SHUT_WR);
    for (int round = 0; round < 2; round++) {
        signal_server(f);
        for (int i = 0; i < COUNT; i++) {
            AUTO_BUF struct buf in = {0};
            ck_assert_msg(get_until(fds[i], &in, i == 3 && round == 0 ? "/pipelined" : "parked"),
                          "%d in round %d: '%s'", i, round, in.len > 0 ? in.data : "");
            if (round == 0 && i == 4) {
                ck_assert(!get_until(fds[i], &in, "\x01never\x01")); // closed behind its reply
                close(fds[i]);
                fds[i] = dial(f);
            }
        }
        for (int i = 0; i < COUNT && round == 0; i++) {
            put(fds[i], "GET /soon HTTP/1.1\r\nHost: h\r\n\r\n");
            wait_parked(f, i + 1);
        }
    }
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
}

START_TEST(replies_that_come_soon)
{
    struct fixture f = {0};
    run(&f, client_soon);
    ck_assert_int_eq(f.requests, 202);
}
END_TEST

// Made, and not to be seen before they are released; some are kept, some suspended.
static void client_held(struct fixture *f)
{
    enum { COUNT = 80 };
    struct pollfd fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = (struct pollfd){.fd = dial(f), .events = POLLIN};
        put(fds[i].fd, "GET /held HTTP/1.1\r\nHost: h\r\n\r\n");
        wait_parked(f, i + 1);
    }
    expect(f, "GET /other HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\n/other");
    ck_assert_int_eq(poll(fds, COUNT, 0), 0);
    signal_server(f);
    for (int i = 0; i < COUNT; i++) {
        AUTO_BUF struct buf in = {0};
        ck_assert(get_until(fds[i].fd, &in, "\r\n\r\nheld"));
    }
    put(fds[0].fd, "GET /held HTTP/1.1\r\nHost: h\r\n\r\n"); // and one that is never released
    wait_parked(f, 1);
}

START_TEST(held_replies_wait_for_their_release)
{
    struct fixture f = {0};
    run(&f, client_held);
    ck_assert_int_eq(f.dones, 82);
}
END_TEST

START_TEST(server_ends_with_requests_open)
{
    struct fixture f = {0};
    run(&f, client_parked_at_the_end);
    ck_assert_int_eq(f.dones, 2);
    ck_assert_int_eq(f.hangups, 0);
}
END_TEST

static void client_slow(struct fixture *f)
{
    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f), head_only = dial(f);
    put(fd, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nonly a part");
    put(head_only, "PUT /stream HTTP/1.1\r\nHo");
    ck_assert(!get_until(fd, &in, "never"));
    ck_assert(!get_until(head_only, &in, "never"));
}

START_TEST(stalled_sender_is_ended_after_the_timeout)
{
    struct fixture f = {.config = {.idle_timeout_s = 1}};
    run(&f, client_slow);
    ck_assert_int_eq(f.dones, 1);
}
END_TEST

// Closes its side, at once or when what it sent has been read; reads to the end, which must come
// long before the timeout of idle clients.
static void close_side(struct fixture *f, const char *request, int pause_ms, struct buf *in)
{
    AUTO_FD int fd = dial(f);
    put(fd, request);
    poll(NULL, 0, pause_ms);
    shutdown(fd, SHUT_WR);
    ck_assert(!get_until(fd, in, "\x01never\x01"));
}

// MHD ends some of them by itself, without a word.
static void expect_cut_off(struct fixture *f, const char *request)
{
    for (int pause_ms = 0; pause_ms <= 30; pause_ms += 30) {
        AUTO_BUF struct buf in = {0};
        close_side(f, request, pause_ms, &in);
        ck_assert_msg(in.len == 0 || has(&in, "ended before it was whole"), "for '%s' got '%s'",
                      request, in.data);
    }
}

static void expect_answer(struct fixture *f, const char *request, const char *wanted)
{
    for (int pause_ms = 0; pause_ms <= 30; pause_ms += 30) {
        AUTO_BUF struct buf in = {0};
        close_side(f, request, pause_ms, &in);
        ck_assert(!has(&in, "400"));
        ck_assert_msg(has(&in, wanted), "wanted '%s', got '%s'", wanted, in.len > 0 ? in.data : "");
    }
}

static void client_half(struct fixture *f)
{
    expect_cut_off(f, "GET /x HTT");
    expect_cut_off(f, "GET /x HTTP/1.1\r\nHost: h\r\nX: ");
    expect_cut_off(f, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf");
    expect_cut_off(f, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf");
    expect_cut_off(f, "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nha");
    int requests = f->requests;
    // what is whole is answered: one, several, one with half of another behind it
    expect_answer(f, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\n/1");
    expect_answer(f, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
                  "\r\n\r\n/2");
    expect_answer(f, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HT", "\r\n\r\n/1");
    AUTO_BUF struct buf large = {0};
    buf_add_text(&large, "PUT /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n");
    for (int i = 0; i < 300000; i++)
        buf_add_text(&large, "0123456789");
    expect_answer(f, large.data, "\r\n\r\n0123456789");
    ck_assert_int_eq(f->requests, requests + 10);
    // nothing at all: no answer
    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f);
    shutdown(fd, SHUT_WR);
    ck_assert(!get_until(fd, &in, "\x01never\x01") && in.len == 0);
}

START_TEST(half_requests_end_with_their_client)
{
    struct fixture f = {.config = {.idle_timeout_s = 1000, .slow_timeout_s = 1000}};
    run(&f, client_half);
}
END_TEST

// A byte now and then, which keeps the connection from being idle.
static void drip(struct fixture *f, const char *start, const char *wanted)
{
    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f);
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    put(fd, start);
    while (poll(&answer, 1, 50) == 0)
        put(fd, "x");
    ck_assert(!get_until(fd, &in, "\x01never\x01"));
    ck_assert_msg(has(&in, wanted), "wanted '%s', got '%s'", wanted, in.len > 0 ? in.data : "");
}

static void client_drips(struct fixture *f)
{
    AUTO_FD int idle = dial(f), parked = dial(f);
    AUTO_BUF struct buf in = {0};
    put(idle, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    ck_assert(get_until(idle, &in, "\r\n\r\n/x"));
    put(parked, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
    drip(f, "GET /", "408");
    drip(f, "GET / HTTP/1.1\r\nHost: h\r\nX-", "408");
    drip(f, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n", "408");
    drip(f, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n", "408");
    // who only waits is left alone, and who asks now and then
    for (int i = 0; i < 30; i++) {
        AUTO_BUF struct buf busy = {0};
        put(idle, "GET /busy HTTP/1.1\r\nHost: h\r\n\r\n");
        ck_assert(get_until(idle, &busy, "\r\n\r\n/busy"));
        poll(NULL, 0, 50);
    }
    buf_clear(&in);
    put(idle, "GET /y HTTP/1.1\r\nHost: h\r\n\r\n");
    ck_assert(get_until(idle, &in, "\r\n\r\n/y"));
    buf_clear(&in);
    signal_server(f);
    ck_assert(get_until(parked, &in, "parked"));
}

START_TEST(slow_senders_are_cut_off)
{
    struct fixture f = {.config = {.idle_timeout_s = 1000, .slow_timeout_s = 1}};
    run(&f, client_drips);
    ck_assert_int_eq(f.requests, 33);
}
END_TEST

static void client_refused_by_role(struct fixture *f)
{
    expect_closed(f, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
                  "the role says 400: there are two different Content-Length");
    expect_closed(f, "GET / HTTP/1.1\r\n\r\n", "the role says 400: there must be one Host");
    drip(f, "GET / HTTP/1.1\r\nHost: h\r\nX-", "\r\n\r\nthe request came in too slowly");
    drip(f, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n", "the role says 408");
    drip(f, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 999999\r\n\r\n",
         "the role says 408");
    expect(f, "GET /after HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\n/after");
}

START_TEST(role_says_what_is_refused)
{
    struct fixture f = {.speaks = true, .config = {.idle_timeout_s = 1000, .slow_timeout_s = 1}};
    run(&f, client_refused_by_role);
    ck_assert_int_eq(f.heads, 3);
    ck_assert_int_eq(f.refused, 2); // these have an end, too
}
END_TEST

static void client_does_not_read(struct fixture *f)
{
    AUTO_BUF struct buf in = {0};
    AUTO_FD int one = dial(f), two = dial(f), reader = dial(f);
    put(one, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    poll(&(struct pollfd){.fd = one, .events = POLLIN}, 1, -1);
    ck_assert(!f->clogged);
    put(two, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    poll(&(struct pollfd){.fd = two, .events = POLLIN}, 1, -1);
    ck_assert(f->clogged);
    while (http_server_connections(f->server) > 1) // both are cut off, and what they held is free
        poll(NULL, 0, 10);
    put(reader, "GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    ck_assert(!get_until(reader, &in, "\x01never\x01"));
    ck_assert(!f->clogged);
    ck_assert_uint_gt(in.len, 8 << 20);
}

START_TEST(replies_that_nobody_reads_are_cut_off)
{
    struct fixture f = {
        .config = {.idle_timeout_s = 1000, .slow_timeout_s = 1, .unsent_bytes_max = 12 << 20}};
    run(&f, client_does_not_read);
}
END_TEST

static void client_over_limit(struct fixture *f)
{
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = dial(f);
        put(fds[i], "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    AUTO_BUF struct buf in = {0};
    for (int i = 0; i < 4; i++) { // the third waits in the backlog until the first is closed
        buf_clear(&in);
        ck_assert(get_until(fds[i], &in, "\r\n\r\n/x"));
        ck_assert_int_le(http_server_connections(f->server), 2);
        close(fds[i]);
    }
}

START_TEST(connections_over_the_limit_wait)
{
    struct fixture f = {.config = {.connections_max = 2}};
    run(&f, client_over_limit);
    ck_assert_int_eq(f.dones, 4);
}
END_TEST

static void client_out_of_descriptors(struct fixture *f)
{
    // all descriptors but the client's own are taken: the server cannot accept, and waits
    AUTO_BUF struct buf in = {0};
    AUTO_FD int fd = dial(f);
    struct rlimit limit = {.rlim_cur = (rlim_t)fd + 1, .rlim_max = 4096};
    while (http_server_connections(f->server) == 0)
        poll(NULL, 0, 1);
    int waits = dial(f);
    while (http_server_connections(f->server) == 1)
        poll(NULL, 0, 1);
    limit.rlim_cur = (rlim_t)waits + 1;
    setrlimit(RLIMIT_NOFILE, &limit);
    struct rusage before, after;
    // dup2 onto the free places is not needed: a socket made now would not get a number
    ck_assert_int_eq(dup(fd), -1);
    getrusage(RUSAGE_SELF, &before);
    close(waits);
    int again = dial(f); // takes the number that was free: accept has none
    put(again, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n");
    poll(NULL, 0, 300);
    getrusage(RUSAGE_SELF, &after);
    ck_assert_int_lt(after.ru_utime.tv_usec + after.ru_stime.tv_usec +
                         1000000 * after.ru_utime.tv_sec - before.ru_utime.tv_usec -
                         before.ru_stime.tv_usec,
                     150000); // 300 ms of waiting, not of spinning
    limit.rlim_cur = 4096;
    setrlimit(RLIMIT_NOFILE, &limit);
    ck_assert(get_until(again, &in, "\r\n\r\n/late"));
    close(again);
}

START_TEST(out_of_descriptors_waits_without_spinning)
{
    struct fixture f = {0};
    run(&f, client_out_of_descriptors);
}
END_TEST

static void client_drain(struct fixture *f)
{
    AUTO_BUF struct buf in = {0};
    AUTO_FD int idle = dial(f), busy = dial(f);
    put(idle, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    ck_assert(get_until(idle, &in, "\r\n\r\n/x"));
    put(busy, "GET /drain HTTP/1.1\r\nHost: h\r\n\r\n");
    ck_assert(!get_until(idle, &in, "\x01")); // closed while it was idle
    buf_clear(&in);
    ck_assert(!get_until(busy, &in, "\x01"));
    ck_assert(has(&in, "Connection: close") && has(&in, "/drain"));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)f->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_ne(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    close(fd);
}

static void drain_on_request(void *ctx, struct http_request *r)
{
    struct fixture *f = ctx;
    if (span_is(r->target_path, "/drain"))
        http_server_stop_accepting(f->server);
    http_reply(r, 200, NULL, 0, r->target_path);
}

START_TEST(drain)
{
    struct fixture f = {.config = {.listen = "127.0.0.1:0", .body_limit_bytes = 100}};
    struct http_handlers handlers = {
        .ctx = &f, .on_head = on_head, .on_request = drain_on_request, .on_done = on_done};
    pthread_t thread;
    f.client = client_drain;
    ck_assert_int_eq(loop_new(&f.loop, NULL), OK);
    ck_assert_int_eq(http_server_new(f.loop, &f.config, &handlers, &f.server, NULL), OK);
    f.port = http_server_port(f.server);
    f.finished_fd = eventfd(0, 0);
    ck_assert_int_eq(
        loop_watch_add(f.loop, &f.finished, f.finished_fd, EPOLLIN, on_finished, &f, NULL), OK);
    ck_assert_int_eq(pthread_create(&thread, NULL, client_main, &f), 0);
    ck_assert_int_eq(loop_run(f.loop, NULL), OK);
    pthread_join(thread, NULL);
    http_server_free(f.server);
    ck_assert_int_eq(f.dones, 2);
    loop_free(f.loop);
    close(f.finished_fd);
}
END_TEST

START_TEST(listen_errors_say_what_to_do)
{
    struct loop *loop;
    struct http_server *a, *b;
    struct http_handlers none = {0};
    struct error error;
    char listen_at[40];
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    struct http_server_config config = {.listen = "127.0.0.1:0"};
    ck_assert_int_eq(http_server_new(loop, &config, &none, &a, &error), OK);
    snprintf(listen_at, sizeof listen_at, "127.0.0.1:%d", http_server_port(a));
    config.listen = listen_at;
    ck_assert_int_eq(http_server_new(loop, &config, &none, &b, &error), ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(error.msg, "is in use"));
    const char *const bad[] = {"",    "9324",   "127.0.0.1:", "127.0.0.1:70000",
                               ":80", "::1:80", "[::1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        config.listen = bad[i];
        ck_assert_int_eq(http_server_new(loop, &config, &none, &b, &error), ERR_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(error.msg, "ADDRESS:PORT"));
    }
    config.listen = "192.0.2.1:0"; // a documentation address: not ours
    ck_assert_int_eq(http_server_new(loop, &config, &none, &b, &error), ERR_ARGUMENT);
    http_server_free(a);
    loop_free(loop);
}
END_TEST

SUITE_MAIN("server", keep_alive_and_pipelining, requests_of_doubtful_length_or_form_are_refused,
           bodies_both_ways, bodies_come_in_pieces_of_half_the_connections_memory,
           early_replies_reach_a_client_that_is_still_sending, chunked_body_over_the_limit,
           hang_up_while_suspended, thousand_suspended_requests, replies_that_come_soon,
           held_replies_wait_for_their_release, server_ends_with_requests_open,
           stalled_sender_is_ended_after_the_timeout, half_requests_end_with_their_client,
           slow_senders_are_cut_off, role_says_what_is_refused,
           replies_that_nobody_reads_are_cut_off, connections_over_the_limit_wait,
           out_of_descriptors_waits_without_spinning, drain, listen_errors_say_what_to_do)
