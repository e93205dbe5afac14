// The reply queue: workers send each result there; the clients that wait for it are woken. Losing a
// reply costs nothing but time: who waits looks into the store again before giving up.
#include "base/log.h"
#include "gateway/tells.h"

#include <string.h>

enum { REPLY_VISIBILITY_S = 30, REPLY_POLL_S = 20 };

static void poll_again(void *ctx)
{
    replies_poll(ctx);
}

static void on_deleted(void *ctx, const struct aws_result *r,
                       const struct sqs_entry_result *entries, size_t count)
{
    (void)ctx, (void)r, (void)entries,
        (void)count; // what stays is dropped by the queue's retention
}

static void take_reply(struct gateway *g, const struct sqs_message *message)
{
    AUTO_ARENA struct arena arena = {0};
    struct job_result result;
    struct error error;
    if (job_result_decode(message->body, &arena, &result, &error) != OK) {
        char quoted[600];
        if (tells_take(g, message->body))
            return;
        log_event(LOG_WARN, "reply_dropped", "reason=%s",
                  log_quote(error.msg, quoted, sizeof quoted));
        return;
    }
    metric_add(g->metrics.replies, 1);
    if (waiters_wake(&g->waiters, span_from(result.id), message->body) == 0)
        metric_add(g->metrics.replies_unclaimed, 1);
}

static void on_received(void *ctx, const struct aws_result *r, const struct sqs_message *messages,
                        size_t count)
{
    struct gateway *g = ctx;
    g->receive = NULL;
    if (r->err == ERR_CANCELLED || g->stopping)
        return;
    if (r->err == ERR_NOT_FOUND) { // somebody deleted it: make it again
        setup_begin(g);
        return;
    }
    if (r->err != OK) {
        char quoted[600];
        log_event(LOG_WARN, "replies_unreachable", "reason=%s",
                  log_quote(r->error.msg, quoted, sizeof quoted));
        loop_timer_set(g->config.loop, &g->receive_timer,
                       loop_now_ms(g->config.loop) + backoff_next_ms(&g->receive_backoff_ms),
                       poll_again, g);
        return;
    }
    g->receive_backoff_ms = 0;
    struct span handles[SQS_BATCH_MAX];
    size_t handle_count = 0;
    for (size_t i = 0; i < count; i++) {
        take_reply(g, &messages[i]);
        if (handle_count < SQS_BATCH_MAX)
            handles[handle_count++] = messages[i].receipt_handle;
    }
    replies_poll(g);
    if (handle_count > 0)
        sqs_delete_batch(g->sqs, g->replies_url, handles, handle_count, on_deleted, g);
}

void replies_poll(struct gateway *g)
{
    if (g->stopping || g->receive != NULL || g->setup != SETUP_DONE)
        return;
    g->receive = sqs_receive(g->sqs, g->replies_url, SQS_BATCH_MAX, REPLY_POLL_S,
                             REPLY_VISIBILITY_S, on_received, g);
}

void replies_stop(struct gateway *g)
{
    loop_timer_cancel(g->config.loop, &g->receive_timer);
    struct sqs_call *call = g->receive;
    g->receive = NULL;
    if (call != NULL)
        sqs_call_cancel(call);
}
