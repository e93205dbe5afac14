#include "cli/bench_peers.h"

#include "base/check.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { ID_BYTES = 48, START_MS_MAX = 10 * 1000 };

enum peer_step { PEER_SENDS, PEER_RECEIVES, PEER_REMOVES };

struct peer_client {
    enum peer_step step;
    struct buf request;
    char ids[SQS_LOAD_BATCH][ID_BYTES];
    int count;
};

// How a peer is started and spoken to.
struct peer {
    const char *name, *program;
    size_t (*measure_one)(struct span in); // one answer; 0: some is missing; SIZE_MAX: foreign
    void (*write_send)(int count, struct buf *out);
    void (*write_receive)(struct buf *out);
    void (*write_remove)(const struct peer_client *c, struct buf *out);
    void (*read_ids)(struct span replies, struct peer_client *c);
    int receive_answers, remove_answers_each; // 0 each: one for all
};

// --- beanstalkd ---

static size_t line_bytes(struct span in)
{
    const char *end = memmem(in.data, in.len, "\r\n", 2);
    return end == NULL ? 0 : (size_t)(end - in.data) + 2;
}

static size_t beanstalk_measure(struct span in)
{
    size_t line = line_bytes(in);
    unsigned long long id;
    size_t bytes;
    char head[64];
    if (line == 0 || !span_starts(in, "RESERVED "))
        return line;
    snprintf(head, sizeof head, "%.*s", (int)line, in.data);
    if (sscanf(head, "RESERVED %llu %zu", &id, &bytes) != 2 || bytes > LOAD_REPLY_BYTES_MAX)
        return SIZE_MAX;
    return in.len < line + bytes + 2 ? 0 : line + bytes + 2;
}

static void add_body(struct buf *out)
{
    static char body[SQS_LOAD_BODY_BYTES];
    memset(body, 'x', sizeof body);
    buf_add(out, body, sizeof body);
}

static void beanstalk_send(int count, struct buf *out)
{
    for (int i = 0; i < count; i++) {
        buf_printf(out, "put 0 0 600 %d\r\n", SQS_LOAD_BODY_BYTES);
        add_body(out);
        buf_add_text(out, "\r\n");
    }
}

static void beanstalk_receive(struct buf *out)
{
    for (int i = 0; i < SQS_LOAD_BATCH; i++)
        buf_add_text(out, "reserve-with-timeout 0\r\n");
}

static void beanstalk_remove(const struct peer_client *c, struct buf *out)
{
    for (int i = 0; i < c->count; i++)
        buf_printf(out, "delete %s\r\n", c->ids[i]);
}

static void beanstalk_ids(struct span replies, struct peer_client *c)
{
    c->count = 0;
    while (replies.len > 0 && c->count < SQS_LOAD_BATCH) {
        size_t len = beanstalk_measure(replies);
        char head[64];
        snprintf(head, sizeof head, "%.*s", (int)(len < 60 ? len : 60), replies.data);
        if (sscanf(head, "RESERVED %47[0-9]", c->ids[c->count]) == 1)
            c->count++;
        replies = (struct span){replies.data + len, replies.len - len};
    }
}

// --- Redis (RESP 2) ---

// One value with all that is in it.
static size_t redis_measure(struct span in)
{
    size_t at = 0;
    for (long open = 1; open > 0; open--) {
        struct span rest = {in.data + at, in.len - at};
        size_t line = rest.len > 0 ? line_bytes(rest) : 0;
        if (line == 0)
            return 0;
        long number = strtol(rest.data + 1, NULL, 10);
        if (strchr("+-:$*", rest.data[0]) == NULL || number > LOAD_REPLY_BYTES_MAX)
            return SIZE_MAX;
        at += line;
        if (rest.data[0] == '$' && number >= 0)
            at += (size_t)number + 2;
        if (rest.data[0] == '*' && number > 0)
            open += number;
        if (at > in.len)
            return 0;
    }
    return at;
}

static void redis_send(int count, struct buf *out)
{
    for (int i = 0; i < count; i++) {
        buf_printf(out, "*5\r\n$4\r\nXADD\r\n$1\r\nq\r\n$1\r\n*\r\n$1\r\nb\r\n$%d\r\n",
                   SQS_LOAD_BODY_BYTES);
        add_body(out);
        buf_add_text(out, "\r\n");
    }
}

static void redis_receive(struct buf *out)
{
    buf_add_text(out, "XREADGROUP GROUP g c COUNT 10 STREAMS q >\r\n");
}

static void redis_remove(const struct peer_client *c, struct buf *out)
{
    buf_add_text(out, "MULTI\r\nXACK q g");
    for (int i = 0; i < c->count; i++)
        buf_printf(out, " %s", c->ids[i]);
    buf_add_text(out, "\r\nXDEL q");
    for (int i = 0; i < c->count; i++)
        buf_printf(out, " %s", c->ids[i]);
    buf_add_text(out, "\r\nEXEC\r\n");
}

// Ids look like 1526919030474-55 and stand before their fields.
static void redis_ids(struct span replies, struct peer_client *c)
{
    c->count = 0;
    while (replies.len > 0 && c->count < SQS_LOAD_BATCH) {
        size_t line = line_bytes(replies);
        if (line == 0)
            return;
        if (line < ID_BYTES && memchr(replies.data, '-', line) != NULL && replies.data[0] >= '0' &&
            replies.data[0] <= '9')
            snprintf(c->ids[c->count++], ID_BYTES, "%.*s", (int)line - 2, replies.data);
        replies = (struct span){replies.data + line, replies.len - line};
    }
}

static const struct peer peers[] = {
    {"beanstalkd", "beanstalkd", beanstalk_measure, beanstalk_send, beanstalk_receive,
     beanstalk_remove, beanstalk_ids, SQS_LOAD_BATCH, 1},
    {"redis", "redis-server", redis_measure, redis_send, redis_receive, redis_remove, redis_ids, 1,
     0},
};

enum { PEER_COUNT = sizeof peers / sizeof peers[0], REDIS_REMOVE_ANSWERS = 4 };

// --- work ---

struct peer_run {
    const struct peer *peer;
    struct peer_client *clients;
    struct buf send, receive;
    enum sqs_step step;
    uint64_t units, requests;
};

static int answers_due(const struct peer_run *r, const struct peer_client *c)
{
    switch (c->step) {
    case PEER_SENDS:
        return r->step == STEP_SEND ? 1 : SQS_LOAD_BATCH;
    case PEER_RECEIVES:
        return r->peer->receive_answers;
    case PEER_REMOVES:
        break;
    }
    return r->peer->remove_answers_each > 0 ? c->count : REDIS_REMOVE_ANSWERS;
}

// All answers to what this client asked.
static size_t measure(void *ctx, int i, struct span in)
{
    const struct peer_run *r = ctx;
    size_t at = 0;
    for (int due = answers_due(r, &r->clients[i]); due > 0; due--) {
        struct span rest = {in.data + at, in.len - at};
        size_t len = rest.len > 0 ? r->peer->measure_one(rest) : 0;
        if (len == 0 || len == SIZE_MAX)
            return len;
        at += len;
    }
    return at;
}

static bool next(void *ctx, int i, struct span *out)
{
    struct peer_run *r = ctx;
    struct peer_client *c = &r->clients[i];
    if (c->step == PEER_SENDS) {
        *out = buf_view(&r->send);
    } else if (c->step == PEER_RECEIVES) {
        *out = buf_view(&r->receive);
    } else {
        buf_clear(&c->request);
        r->peer->write_remove(c, &c->request);
        *out = buf_view(&c->request);
    }
    return true;
}

static bool may_stop(void *ctx, int i)
{
    const struct peer_run *r = ctx;
    return r->clients[i].step == PEER_SENDS;
}

static bool on_reply(void *ctx, int i, struct span reply, const char **problem)
{
    struct peer_run *r = ctx;
    struct peer_client *c = &r->clients[i];
    r->requests++;
    if (reply.data[0] == '-' || memmem(reply.data, reply.len, "OUT_OF_MEMORY", 13) != NULL) {
        *problem = "a peer refused a request";
        return false;
    }
    switch (c->step) {
    case PEER_SENDS:
        if (r->step == STEP_THROUGH)
            c->step = PEER_RECEIVES;
        else
            r->units += r->step == STEP_SEND ? 1 : SQS_LOAD_BATCH;
        break;
    case PEER_RECEIVES:
        r->peer->read_ids(reply, c);
        c->step = c->count > 0 ? PEER_REMOVES : PEER_SENDS;
        break;
    case PEER_REMOVES:
        r->units += (uint64_t)c->count;
        c->step = PEER_SENDS;
        break;
    }
    return true;
}

static enum err work(struct bench_sqs *b, const struct peer *peer, enum sqs_step step,
                     const char *name, struct error *error)
{
    struct peer_run r = {
        .peer = peer, .step = step, .clients = calloc((size_t)b->connections, sizeof *r.clients)};
    struct load_work load = {
        .ctx = &r, .request = next, .may_stop = may_stop, .measure = measure, .reply = on_reply};
    struct load *sockets = NULL;
    struct sqs_cost cost = {0};
    char line[64];
    CHECK(r.clients != NULL);
    peer->write_send(step == STEP_SEND ? 1 : SQS_LOAD_BATCH, &r.send);
    peer->write_receive(&r.receive);
    enum err err = load_open(b->server.port, (int)b->connections, &sockets, error);
    if (err == OK && b->load_cpu != b->server_cpu)
        load_spin(sockets);
    double server_s = process_cpu_s(b->server.pid), load_s = process_cpu_s(0);
    if (err == OK)
        err = load_run(sockets, &load, b->seconds, &cost.took_s, error);
    cost.server_cpu_s = process_cpu_s(b->server.pid) - server_s;
    cost.load_cpu_s = process_cpu_s(0) - load_s;
    cost.units = (double)r.units;
    load_close(sockets);
    for (long i = 0; i < b->connections; i++)
        buf_release(&r.clients[i].request);
    free(r.clients);
    buf_release(&r.send);
    buf_release(&r.receive);
    TRY(err);
    snprintf(line, sizeof line, "%s_%s", peer->name, name);
    bench_sqs_cost(line, &cost, "messages");
    return OK;
}

// --- a peer as a process ---

static enum err free_port(int *port, struct error *error)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    AUTO_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        return fail(error, ERR_IO, errno, "find a free port");
    *port = ntohs(at.sin_port);
    return OK;
}

static enum err spawn(struct bench_sqs *b, const struct peer *peer, const char *dir,
                      struct error *error)
{
    char port[16], program[64];
    snprintf(port, sizeof port, "%d", b->server.port);
    snprintf(program, sizeof program, "%s", peer->program);
    const char *beanstalk[] = {program, "-l", "127.0.0.1", "-p", port, "-b", dir, "-f0", NULL};
    const char *redis[] = {program, "--bind",        "127.0.0.1", "--port",
                           port,    "--dir",         dir,         "--appendonly",
                           "yes",   "--appendfsync", "always",    "--save",
                           "",      "--logfile",     "redis.log", NULL};
    const char *const *argv = peer == &peers[0] ? beanstalk : redis;
    bench_sqs_pin_server(b);
    int sys =
        posix_spawnp(&b->server.pid, program, NULL, NULL, (char *const *)(uintptr_t)argv, environ);
    bench_sqs_pin_load(b);
    return sys == 0 ? OK : fail(error, ERR_IO, sys, "start '%s'", program);
}

// Until it takes connections: it does not say when.
static enum err wait_until_it_serves(struct bench_sqs *b, const struct peer *peer,
                                     struct error *error)
{
    enum { STEP_MS = 20 };
    for (int waited_ms = 0; waited_ms < START_MS_MAX; waited_ms += STEP_MS) {
        struct load *probe = NULL;
        if (load_open(b->server.port, 1, &probe, NULL) == OK) {
            load_close(probe);
            return OK;
        }
        if (waitpid(b->server.pid, NULL, WNOHANG) != 0) {
            b->server.pid = 0;
            return fail(error, ERR_UNAVAILABLE, 0, "%s ended at once; see above", peer->program);
        }
        poll(NULL, 0, STEP_MS);
    }
    return fail(error, ERR_TIMEOUT, 0, "%s did not start", peer->program);
}

static enum err make_group(struct bench_sqs *b, const struct peer *peer, struct error *error)
{
    struct peer_client client = {.step = PEER_RECEIVES};
    struct peer_run r = {.peer = peer, .clients = &client};
    struct load_work one = {.ctx = &r, .measure = measure};
    struct load *sockets = NULL;
    struct span reply = {NULL, 0};
    if (peer == &peers[0])
        return OK;
    TRY(load_open(b->server.port, 1, &sockets, error));
    enum err err = load_send(sockets, 0, SPAN("XGROUP CREATE q g 0 MKSTREAM\r\n"), error);
    if (err == OK)
        err = load_receive(sockets, 0, &one, &reply, error);
    load_close(sockets);
    return err;
}

static enum err measure_peer(struct bench_sqs *b, const struct peer *peer, struct error *error)
{
    static const struct {
        enum sqs_step step;
        const char *name;
    } steps[] = {{STEP_SEND, "send"}, {STEP_SEND_BATCH, "send_batch"}, {STEP_THROUGH, "through"}};
    char dir[4200];
    // a new one for each case, so that none finds the messages of another
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        snprintf(dir, sizeof dir, "%s/%s-%s", b->data.path, peer->name, steps[i].name);
        TRY(dir_make(dir, error));
        TRY(free_port(&b->server.port, error));
        TRY(spawn(b, peer, dir, error));
        TRY(wait_until_it_serves(b, peer, error));
        TRY(make_group(b, peer, error));
        TRY(work(b, peer, steps[i].step, steps[i].name, error));
        bench_stop(&b->server);
    }
    return OK;
}

static bool is_installed(const char *program)
{
    const char *path = getenv("PATH");
    char file[4200];
    for (struct span rest = span_from(path); rest.len > 0;) {
        struct span dir = span_cut(rest, ':', &rest);
        snprintf(file, sizeof file, "%.*s/%s", (int)dir.len, dir.data, program);
        if (dir.len > 0 && access(file, X_OK) == 0)
            return true;
    }
    return false;
}

enum err bench_peers(struct bench_sqs *b, struct error *error)
{
    for (size_t i = 0; i < PEER_COUNT; i++) {
        if (is_installed(peers[i].program))
            TRY(measure_peer(b, &peers[i], error));
        else
            fprintf(stderr, "  %s is not installed: left out (Debian's package has this name)\n",
                    peers[i].program);
    }
    return OK;
}
