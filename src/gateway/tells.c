#include "gateway/tells.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "job/reply_url.h"
#include "job/tell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Another gateway's question that is open here.
struct gateway_tell {
    struct gateway *g;
    struct gateway_tell *next, **link;
    char id[JOB_ID_BYTES_MAX + 1];
    char owner[sizeof((struct visit *)0)->owner]; // who asked: its reply queue
    struct waiter waiter;
    struct timer limit;
    struct s3_call *look;
};

static void on_sent(void *ctx, const struct aws_result *r, const char *message_id)
{
    (void)ctx, (void)message_id;
    if (r->err != OK && r->err != ERR_CANCELLED) // who waits looks into the store, too
        log_event(LOG_DEBUG, "gateway_not_told", "why=\"%.200s\"", r->error.msg);
}

static void send_to(struct gateway *g, const char *owner, struct span body)
{
    AUTO_BUF struct buf url = {0};
    if (owner[0] != '\0' && reply_url(g->replies_url, owner, &url))
        sqs_send(g->sqs, url.data, body, 0, on_sent, NULL);
}

void tells_send(struct gateway *g, const char *owner, struct span result_json)
{
    if (strcmp(owner, g->replies_name) != 0)
        send_to(g, owner, result_json);
}

// --- we are asked ---

static void set_count(struct gateway *g, size_t count)
{
    g->tell_count = count;
    metric_set(g->metrics.tells, (double)g->tell_count);
}

static void tell_free(struct gateway_tell *t)
{
    struct gateway *g = t->g;
    loop_timer_cancel(g->config.loop, &t->limit);
    waiters_remove(&g->waiters, &t->waiter);
    if (t->look != NULL) {
        struct s3_call *look = t->look;
        t->look = NULL;
        s3_call_cancel(look);
    }
    *t->link = t->next;
    if (t->next != NULL)
        t->next->link = t->link;
    set_count(g, g->tell_count - 1);
    free(t);
}

static void on_limit(void *ctx)
{
    tell_free(ctx);
}

static void on_result(void *ctx, struct span result_json)
{
    struct gateway_tell *t = ctx;
    send_to(t->g, t->owner, result_json);
    tell_free(t);
}

// The answer may have come before the question.
static void on_look(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct gateway_tell *t = ctx;
    if (r->err == ERR_CANCELLED)
        return;
    t->look = NULL;
    if (r->err == OK)
        on_result(t, object->body);
}

bool tells_take(struct gateway *g, struct span message)
{
    AUTO_ARENA struct arena arena = {0};
    AUTO_BUF struct buf url = {0};
    struct tell asked;
    struct error error;
    if (tell_decode(message, &arena, &asked, &error) != OK)
        return false;
    int64_t left_ms = asked.expires_ms - clock_wall_ms();
    if (left_ms > GATEWAY_WAIT_S_MAX * 1000)
        left_ms = GATEWAY_WAIT_S_MAX * 1000; // the clocks differ
    if (left_ms <= 0 || g->tell_count >= GATEWAY_TELLS_MAX ||
        !reply_url(g->replies_url, asked.reply_to, &url))
        return true;
    struct gateway_tell *t = calloc(1, sizeof *t);
    CHECK(t != NULL);
    t->g = g;
    snprintf(t->id, sizeof t->id, "%s", asked.id);
    snprintf(t->owner, sizeof t->owner, "%s", strrchr(url.data, '/') + 1);
    t->next = g->tells;
    t->link = &g->tells;
    if (t->next != NULL)
        t->next->link = &t->next;
    g->tells = t;
    set_count(g, g->tell_count + 1);
    waiters_add(&g->waiters, &t->waiter, t->id, on_result, t);
    loop_timer_set(g->config.loop, &t->limit, loop_now_ms(g->config.loop) + left_ms, on_limit, t);
    const char *key = arena_printf(&arena, JOB_RESULTS_PREFIX "%s.json", t->id);
    t->look = s3_get(g->s3, JOB_BUCKET, key, GATEWAY_RESULT_BYTES_MAX, on_look, t);
    return true;
}

void tells_drop(struct gateway *g)
{
    for (struct gateway_tell *t = g->tells, *next; t != NULL; t = next) {
        next = t->next;
        tell_free(t);
    }
}

// --- we ask ---

void tells_find_owner(struct visit *v, const struct s3_object *inbox)
{
    v->elsewhere = strcmp(inbox->gateway, v->g->replies_name) != 0;
    snprintf(v->owner, sizeof v->owner, "%s", inbox->gateway);
}

void tells_ask(struct visit *v)
{
    struct gateway *g = v->g;
    const struct tell tell = {
        .id = v->id, .reply_to = g->replies_name, .expires_ms = clock_wall_ms() + v->wait_s * 1000};
    AUTO_BUF struct buf body = {0};
    tell_encode(&tell, &body);
    metric_add(g->metrics.asked, 1);
    send_to(g, v->owner, buf_view(&body));
}
