#include "cli/sqs_work.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum client_state { CLIENT_SENDS, CLIENT_RECEIVES, CLIENT_DELETES };

struct client {
    enum client_state state;
    struct buf json, request; // of the client alone
    struct sqs_load_handles handles;
};

struct run {
    const struct sqs_work *w;
    struct client *clients;
    struct buf send, receive; // signed once
    uint64_t begun, requests, units;
};

double process_cpu_s(pid_t pid)
{
    clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
    struct timespec t;
    if ((pid != 0 && clock_getcpuclockid(pid, &clock) != 0) || clock_gettime(clock, &t) != 0)
        return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int messages_of(enum sqs_step step)
{
    return step == STEP_SEND ? 1 : SQS_LOAD_BATCH;
}

static void make_send(const struct sqs_work *w, struct buf *json, struct buf *out)
{
    int count = messages_of(w->step);
    buf_clear(json);
    buf_clear(out);
    sqs_load_send_json(w->queue, w->group, w->group != NULL ? *w->next : 0, count, json);
    sqs_load_request(w->load, count == 1 ? "SendMessage" : "SendMessageBatch", buf_view(json), out);
    if (w->group != NULL)
        *w->next += (uint64_t)count;
}

static struct span send_request(struct run *r, struct client *c)
{
    if (r->w->group == NULL)
        return buf_view(&r->send);
    make_send(r->w, &c->json, &c->request);
    return buf_view(&c->request);
}

static bool next(void *ctx, int i, struct span *out)
{
    struct run *r = ctx;
    const struct sqs_work *w = r->w;
    struct client *c = &r->clients[i];
    switch (c->state) {
    case CLIENT_SENDS:
        if (w->count_max > 0 && r->begun >= w->count_max)
            return false;
        r->begun += (uint64_t)messages_of(w->step);
        *out = w->step == STEP_LIVEZ ? buf_view(&r->send) : send_request(r, c);
        return true;
    case CLIENT_RECEIVES:
        *out = buf_view(&r->receive);
        return true;
    case CLIENT_DELETES:
        buf_clear(&c->json);
        buf_clear(&c->request);
        sqs_load_delete_json(w->queue, &c->handles, &c->json);
        sqs_load_request(w->load, "DeleteMessageBatch", buf_view(&c->json), &c->request);
        *out = buf_view(&c->request);
        return true;
    }
    return false;
}

static bool may_stop(void *ctx, int i)
{
    const struct run *r = ctx;
    return r->clients[i].state == CLIENT_SENDS;
}

static bool on_reply(void *ctx, int i, struct span reply, const char **problem)
{
    struct run *r = ctx;
    struct client *c = &r->clients[i];
    r->requests++;
    if (!sqs_load_is_ok(reply)) {
        *problem = "the measured server refused a request";
        return false;
    }
    switch (c->state) {
    case CLIENT_SENDS:
        if (r->w->step == STEP_THROUGH)
            c->state = CLIENT_RECEIVES;
        else
            r->units += r->w->step == STEP_SEND_BATCH ? SQS_LOAD_BATCH : 1;
        break;
    case CLIENT_RECEIVES:
        sqs_load_read_handles(reply, &c->handles);
        c->state = c->handles.count > 0 ? CLIENT_DELETES : CLIENT_SENDS;
        break;
    case CLIENT_DELETES:
        r->units += (uint64_t)c->handles.count;
        c->state = CLIENT_SENDS;
        break;
    }
    return true;
}

enum err sqs_work_run(const struct sqs_work *w, int connections, double seconds,
                      struct sqs_cost *cost, struct error *error)
{
    AUTO_BUF struct buf json = {0};
    struct run r = {.w = w, .clients = calloc((size_t)connections, sizeof *r.clients)};
    struct load_work work = {.ctx = &r,
                             .request = next,
                             .may_stop = may_stop,
                             .measure = load_measure_http,
                             .reply = on_reply};
    CHECK(r.clients != NULL);
    if (w->step == STEP_LIVEZ)
        sqs_load_livez(w->load, &r.send);
    else if (w->group == NULL)
        make_send(w, &json, &r.send);
    buf_clear(&json);
    sqs_load_receive_json(w->queue != NULL ? w->queue : "", 0, &json);
    sqs_load_request(w->load, "ReceiveMessage", buf_view(&json), &r.receive);
    double server_s = process_cpu_s(w->server), load_s = process_cpu_s(0);
    enum err err = load_run(w->sockets, &work, seconds, &cost->took_s, error);
    cost->server_cpu_s = process_cpu_s(w->server) - server_s;
    cost->load_cpu_s = process_cpu_s(0) - load_s;
    cost->units = (double)r.units;
    cost->requests = (double)r.requests;
    for (int i = 0; i < connections; i++) {
        buf_release(&r.clients[i].json);
        buf_release(&r.clients[i].request);
    }
    free(r.clients);
    buf_release(&r.send);
    buf_release(&r.receive);
    return err;
}
