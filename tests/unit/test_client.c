// Client and server against each other, in one loop.
#include "http/client.h"

#include "base/file.h"
#include "http/server.h"

#include "suite.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BIG = 24 << 20 };

static struct loop *loop;
static struct http_server *server;
static struct http_client *client;
static char base[64];
static int requests, finished, wanted, heads, dones;
static struct http_request *parked;
static uint64_t streamed_bytes, streamed_sum;
static struct buf kept[4096]; // bodies of answers, until teardown
static int kept_count;

static enum http_body on_head(void *ctx, struct http_request *r)
{
    (void)ctx;
    heads++;
    return span_is(r->target_path, "/stream") ? HTTP_BODY_STREAM : HTTP_BODY_BUFFER;
}

static void on_body(void *ctx, struct http_request *r, struct span piece)
{
    (void)ctx;
    (void)r;
    streamed_bytes += piece.len;
    for (size_t i = 0; i < piece.len; i++)
        streamed_sum += (uint8_t)piece.data[i];
}

static void on_request(void *ctx, struct http_request *r)
{
    (void)ctx;
    requests++;
    struct http_header headers[] = {{SPAN("X-Twice"), SPAN("first")},
                                    {SPAN("X-Twice"), SPAN("last")},
                                    {SPAN("X-Seen"), http_request_header(r, "x-sent")}};
    if (span_is(r->target_path, "/park"))
        parked = r;
    else if (span_is(r->target_path, "/error"))
        http_reply(r, 503, NULL, 0, SPAN("try later"));
    else if (span_is(r->target_path, "/big")) {
        struct buf big = {0};
        buf_reserve(&big, BIG);
        memset(big.data, 'b', BIG);
        big.len = BIG;
        http_reply_buf(r, 200, NULL, 0, &big);
    } else if (span_is(r->target_path, "/head"))
        http_reply_head(r, 200, headers, 2, 1u << 30);
    else
        http_reply(r, 200, headers, r->header_count > 0 ? 3 : 0, r->body);
}

static void on_done(void *ctx, struct http_request *r)
{
    (void)ctx;
    (void)r;
    dones++;
}

static void setup(void)
{
    struct http_server_config config = {.listen = "127.0.0.1:0", .body_limit_bytes = BIG};
    struct http_handlers handlers = {
        .on_head = on_head, .on_body = on_body, .on_request = on_request, .on_done = on_done};
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    ck_assert_int_eq(http_server_new(loop, &config, &handlers, &server, NULL), OK);
    ck_assert_int_eq(http_client_new(loop, NULL, &client, NULL), OK);
    snprintf(base, sizeof base, "http://127.0.0.1:%d", http_server_port(server));
}

static void teardown(void)
{
    http_client_free(client);
    http_server_free(server);
    loop_free(loop);
    while (kept_count > 0)
        buf_release(&kept[--kept_count]);
    ck_assert_int_eq(heads, dones);
}

struct outcome {
    int calls;
    enum err err;
    int status;
    char message[500];
    struct buf body;
    char x_twice[20], x_seen[20];
    bool ends_loop;
};

static void note(void *ctx, const struct http_response *r)
{
    struct outcome *o = ctx;
    o->calls++;
    o->err = r->err;
    o->status = r->status;
    snprintf(o->message, sizeof o->message, "%s", r->err != OK ? r->error.msg : "");
    buf_add_span(&kept[kept_count], r->body);
    o->body = kept[kept_count++]; // a view
    struct span twice = http_response_header(r, "x-twice"),
                seen = http_response_header(r, "X-SEEN");
    snprintf(o->x_twice, sizeof o->x_twice, "%.*s", (int)twice.len,
             twice.len > 0 ? twice.data : "");
    snprintf(o->x_seen, sizeof o->x_seen, "%.*s", (int)seen.len, seen.len > 0 ? seen.data : "");
    if (++finished == wanted)
        loop_stop(loop);
}

static struct http_call *start(const char *method, const char *path, struct span body,
                               struct outcome *o)
{
    char url[200];
    snprintf(url, sizeof url, "%s%s", base, path);
    struct http_call_header headers[] = {{"X-Sent", "yes"}};
    struct http_call_spec spec = {.method = method,
                                  .url = url,
                                  .headers = headers,
                                  .header_count = 1,
                                  .body = body,
                                  .body_fd = -1};
    *o = (struct outcome){0};
    return http_client_start(client, &spec, note, o);
}

static void run_until(int count)
{
    wanted = finished + count;
    ck_assert_int_eq(loop_run(loop, NULL), OK);
}

START_TEST(calls_and_answers)
{
    struct outcome o;
    setup();
    start("POST", "/echo", SPAN("some\0bytes"), &o);
    ck_assert_int_eq(o.calls, 0);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    ck_assert_int_eq(o.status, 200);
    ck_assert(span_equal(buf_view(&o.body), SPAN("some\0bytes")));
    ck_assert_str_eq(o.x_twice, "last");
    ck_assert_str_eq(o.x_seen, "yes");
    start("GET", "/a/../b//c", SPAN(""), &o);
    run_until(1);
    ck_assert_int_eq(o.status, 200);
    start("HEAD", "/head", SPAN(""), &o);
    run_until(1);
    ck_assert(o.status == 200 && o.body.len == 0);
    start("PUT", "/error", SPAN("x"), &o);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    ck_assert_int_eq(o.status, 503);
    ck_assert(span_is(buf_view(&o.body), "try later"));
    start("DELETE", "/x", SPAN(""), &o);
    run_until(1);
    ck_assert_int_eq(o.status, 200);
    ck_assert_int_eq(http_server_connections(server), 1); // one connection for all of them
    teardown();
}
END_TEST

START_TEST(big_bodies_both_ways)
{
    struct outcome o;
    setup();
    char *big = malloc(BIG);
    uint64_t sum = 0;
    for (size_t i = 0; i < BIG; i++) {
        big[i] = (char)(i * 7);
        sum += (uint8_t)big[i];
    }
    start("PUT", "/echo", (struct span){big, BIG}, &o);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    ck_assert(span_equal(buf_view(&o.body), (struct span){big, BIG}));

    FILE *file = tmpfile(); // from a descriptor, with bytes before it that do not count
    fwrite("12345", 1, 5, file);
    fwrite(big, 1, BIG, file);
    fflush(file);
    fseek(file, 5, SEEK_SET);
    char url[100];
    snprintf(url, sizeof url, "%s/stream", base);
    struct http_call_spec spec = {
        .method = "PUT", .url = url, .body_fd = fileno(file), .body_fd_bytes = BIG};
    struct outcome from_fd = {0};
    http_client_start(client, &spec, note, &from_fd);
    run_until(1);
    ck_assert_int_eq(from_fd.err, OK);
    ck_assert_uint_eq(streamed_bytes, BIG);
    ck_assert_uint_eq(streamed_sum, sum);

    spec.body_fd_bytes = BIG + 1000; // the file is shorter than was said
    http_client_start(client, &spec, note, &from_fd);
    run_until(1);
    ck_assert_int_eq(from_fd.err, ERR_IO);
    fclose(file);
    free(big);
    teardown();
}
END_TEST

static enum err take_some(void *ctx, struct span piece)
{
    struct outcome *o = ctx;
    o->body.len += piece.len; // counted only
    return o->body.len > BIG / 2 ? ERR_FULL : OK;
}

START_TEST(limits_of_the_answer)
{
    char url[100];
    setup();
    snprintf(url, sizeof url, "%s/big", base);
    struct outcome over = {0}, streamed = {0}, fits = {0}, error_body = {0};
    struct http_call_spec spec = {
        .method = "GET", .url = url, .body_fd = -1, .response_limit_bytes = BIG - 1};
    http_client_start(client, &spec, note, &over);
    spec.response_limit_bytes = BIG;
    http_client_start(client, &spec, note, &fits);
    spec.on_body = take_some;
    http_client_start(client, &spec, note, &streamed);
    snprintf(url, sizeof url, "%s/error", base);
    http_client_start(client, &spec, note, &error_body);
    run_until(4);
    ck_assert_int_eq(over.err, ERR_LIMIT);
    ck_assert_int_eq(over.status, 0);
    ck_assert_int_eq(fits.err, OK);
    ck_assert_uint_eq(fits.body.len, BIG);
    ck_assert_int_eq(streamed.err, ERR_FULL);
    ck_assert(span_is(buf_view(&error_body.body), "try later")); // errors are not streamed
    teardown();
}
END_TEST

START_TEST(failures_are_named)
{
    struct outcome refused = {0}, bad_url = {0}, unresolved = {0}, slow = {0}, bad_header = {0};
    setup();
    int fd = socket(AF_INET, SOCK_STREAM, 0); // bound, not listening: refuses
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    getsockname(fd, (struct sockaddr *)&at, &len);
    char url[100];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(at.sin_port));
    struct http_call_spec spec = {.method = "GET", .url = url, .body_fd = -1};
    http_client_start(client, &spec, note, &refused);
    spec.url = "gopher://x";
    http_client_start(client, &spec, note, &bad_url);
    spec.url = "http://name.invalid/";
    http_client_start(client, &spec, note, &unresolved);
    char park[100];
    snprintf(park, sizeof park, "%s/park", base);
    spec.url = park;
    spec.timeout_ms = 100;
    http_client_start(client, &spec, note, &slow);
    struct http_call_header headers[] = {{"X", "a\r\nY: b"}};
    spec.headers = headers;
    spec.header_count = 1;
    http_client_start(client, &spec, note, &bad_header);
    ck_assert_int_eq(bad_url.calls, 0);
    ck_assert_uint_eq(http_client_running(client), 5);
    run_until(5);
    ck_assert_int_eq(refused.err, ERR_NET);
    ck_assert_ptr_nonnull(strstr(refused.message, "Connection refused"));
    ck_assert_ptr_nonnull(strstr(refused.message, "127.0.0.1:"));
    ck_assert_int_eq(bad_url.err, ERR_ARGUMENT);
    ck_assert_int_eq(unresolved.err, ERR_NET);
    ck_assert_int_eq(slow.err, ERR_TIMEOUT);
    ck_assert_int_eq(bad_header.err, ERR_ARGUMENT);
    ck_assert_uint_eq(http_client_running(client), 0);
    close(fd);
    teardown();
}
END_TEST

static struct http_call *victim;
static struct outcome victim_outcome, successor;

static enum err cancel_victim(void *ctx, struct span piece)
{
    (void)ctx;
    (void)piece;
    if (victim != NULL) { // inside curl's own callback: another call ends, a new one starts
        http_call_cancel(victim);
        victim = NULL;
        start("POST", "/echo", SPAN("successor"), &successor);
    }
    return OK;
}

START_TEST(cancel)
{
    struct outcome o, killer = {0};
    setup();
    struct http_call *call = start("GET", "/park", SPAN(""), &o);
    http_call_cancel(call); // before it got anywhere
    ck_assert(o.calls == 1 && o.err == ERR_CANCELLED);

    victim = start("GET", "/park", SPAN(""), &victim_outcome);
    char url[100];
    snprintf(url, sizeof url, "%s/big", base);
    struct http_call_spec spec = {
        .method = "GET", .url = url, .body_fd = -1, .on_body = cancel_victim};
    http_client_start(client, &spec, note, &killer);
    run_until(3);
    ck_assert(victim_outcome.calls == 1 && victim_outcome.err == ERR_CANCELLED);
    ck_assert(killer.calls == 1 && killer.err == OK);
    ck_assert(successor.calls == 1 && span_is(buf_view(&successor.body), "successor"));

    start("GET", "/park", SPAN(""), &o); // still running at the end
    teardown();
    ck_assert(o.calls == 1 && o.err == ERR_CANCELLED);
}
END_TEST

START_TEST(many_at_once)
{
    static struct outcome all[2000];
    setup();
    for (int i = 0; i < 2000; i++)
        start("POST", "/echo", SPAN("body"), &all[i]);
    run_until(2000);
    for (int i = 0; i < 2000; i++) {
        ck_assert(all[i].calls == 1 && all[i].err == OK && all[i].body.len == 4);
    }
    ck_assert_int_eq(requests, 2000);
    ck_assert_int_le(http_server_connections(server), 64);
    teardown();
}
END_TEST

// Connections that idle at one host are not closed to open some to another.
START_TEST(two_hosts_have_their_own_connections)
{
    struct outcome o;
    struct http_server *other;
    const struct http_server_config config = {.listen = "127.0.0.1:0"};
    const struct http_handlers handlers = {
        .on_head = on_head, .on_request = on_request, .on_done = on_done};
    const struct http_client_config one_each = {.connections_max = 1};
    char first[64], second[64];
    setup();
    http_client_free(client);
    ck_assert_int_eq(http_client_new(loop, &one_each, &client, NULL), OK);
    ck_assert_int_eq(http_server_new(loop, &config, &handlers, &other, NULL), OK);
    memcpy(first, base, sizeof first);
    snprintf(second, sizeof second, "http://127.0.0.1:%d", http_server_port(other));
    for (int i = 0; i < 4; i++) {
        memcpy(base, i % 2 == 0 ? first : second, sizeof base);
        start("GET", "/x", SPAN(""), &o);
        run_until(1);
        ck_assert_int_eq(o.status, 200);
    }
    ck_assert_int_eq(http_server_connections(server), 1);
    ck_assert_int_eq(http_server_connections(other), 1);
    http_server_free(other);
    teardown();
}
END_TEST

static int silent_fd; // listens, accepts nothing
static bool called;
static int knocks_before_the_end;
static struct outcome of_relay;

static void on_event(void *ctx, uint32_t events)
{
    (void)ctx, (void)events;
    char url[100];
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    ck_assert_int_eq(getsockname(silent_fd, (struct sockaddr *)&at, &len), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(at.sin_port));
    struct http_call_spec spec = {.method = "GET", .url = url, .body_fd = -1};
    http_client_start(client, &spec, note, &of_relay);
    called = true;
}

static bool look(void *ctx)
{
    struct pollfd p = {.fd = silent_fd, .events = POLLIN};
    if (called) {
        knocks_before_the_end = poll(&p, 1, 0);
        called = false;
        loop_watch_remove(loop, ctx);
    }
    return false;
}

static bool look_behind(void *ctx)
{
    struct pollfd p = {.fd = silent_fd, .events = POLLIN};
    (void)ctx;
    if (poll(&p, 1, 0) == 1)
        loop_stop(loop);
    return false;
}

// What a server has to say in the same turn goes out before.
START_TEST(calls_leave_at_the_end_of_the_turn)
{
    struct turn_hook between = {0}, behind = {0};
    struct watch watch = {0};
    int pair[2];
    setup();
    http_client_free(client);
    struct sockaddr_in loopback = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    silent_fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(silent_fd, (struct sockaddr *)&loopback, sizeof loopback), 0);
    ck_assert_int_eq(listen(silent_fd, 1), 0);
    ck_assert_int_eq(pipe(pair), 0);
    ck_assert_int_eq(loop_watch_add(loop, &watch, pair[0], EPOLLIN, on_event, NULL, NULL), OK);
    loop_hook_add(loop, &between, look, &watch);
    ck_assert_int_eq(http_client_new(loop, NULL, &client, NULL), OK);
    loop_hook_add(loop, &behind, look_behind, NULL);
    ck_assert_int_eq(write(pair[1], "x", 1), 1);
    ck_assert_int_eq(loop_run(loop, NULL), OK);
    ck_assert_int_eq(knocks_before_the_end, 0);
    loop_hook_remove(loop, &between);
    loop_hook_remove(loop, &behind);
    close(silent_fd);
    close(pair[0]);
    close(pair[1]);
    teardown();
}
END_TEST

START_TEST(server_goes_away_in_the_middle)
{
    struct outcome o, after;
    setup();
    start("GET", "/park", SPAN(""), &o);
    http_server_stop_accepting(server);
    start("GET", "/x", SPAN(""), &after);
    run_until(1); // the second is refused
    ck_assert_int_eq(after.err == ERR_NET || o.err == ERR_NET, 1);
    http_server_free(server);
    server = NULL;
    if (finished < 2)
        run_until(1);
    ck_assert_int_eq(o.err, ERR_NET);
    teardown();
}
END_TEST

SUITE_MAIN("client", calls_and_answers, big_bodies_both_ways, limits_of_the_answer,
           failures_are_named, cancel, many_at_once, two_hosts_have_their_own_connections,
           calls_leave_at_the_end_of_the_turn, server_goes_away_in_the_middle)
