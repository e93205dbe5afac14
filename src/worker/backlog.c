// How much waits in the queues, for whoever scales the number of hosts: asked when somebody reads
// /metrics, so that an idle pool whose metrics nobody reads asks nothing.
#include "base/clock.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "worker/poller_internal.h"

static void on_attributes(void *ctx, const struct aws_result *r,
                          const struct http_call_header *attributes, size_t count)
{
    struct source *s = ctx;
    s->asking = NULL;
    if (r->err != OK)
        return; // receiving says what is wrong
    for (size_t i = 0; i < count; i++) {
        uint64_t waiting;
        if (span_is(span_from(attributes[i].name), "ApproximateNumberOfMessages") &&
            span_to_u64(span_from(attributes[i].value), UINT64_MAX, &waiting)) {
            s->waiting = waiting;
            s->waiting_known = true;
        }
    }
}

void backlog_ask(struct poller *p)
{
    int64_t now = loop_now_ms(p->config.loop);
    for (size_t i = 0; i < p->source_count && !p->draining; i++) {
        struct source *s = &p->sources[i];
        bool fresh = s->asked_ms != 0 && now < s->asked_ms + WORKER_BACKLOG_S * 1000;
        if (s->asking != NULL || s->found.queue_url == NULL || fresh)
            continue;
        s->asked_ms = now;
        s->asking = sqs_get_attributes(p->config.sqs, s->found.queue_url, on_attributes, s);
    }
}

void backlog_stop(struct poller *p)
{
    for (size_t i = 0; i < p->source_count; i++)
        if (p->sources[i].asking != NULL)
            sqs_call_cancel(p->sources[i].asking);
}

void backlog_metrics(const struct poller *p, struct metrics *m)
{
    double waiting = 0, oldest_s = 0;
    bool known = p->source_count > 0;
    int64_t now = clock_wall_ms();
    for (size_t i = 0; i < p->source_count; i++) {
        waiting += (double)p->sources[i].waiting;
        known = known && p->sources[i].waiting_known;
    }
    for (const struct message *message = p->messages; message != NULL; message = message->next) {
        double age_s = message->sent_wall_ms > 0 ? (double)(now - message->sent_wall_ms) / 1000 : 0;
        oldest_s = age_s > oldest_s ? age_s : oldest_s;
    }
    metric_set(metrics_gauge(m, "smelt_worker_oldest_job_age_seconds", "",
                             "Since the oldest job in hand was sent."),
               oldest_s);
    if (!known) // the answer comes with the next reading
        return;
    metric_set(metrics_gauge(m, "smelt_worker_backlog_jobs", "", "Messages waiting in the queues."),
               waiting);
    metric_set(metrics_gauge(m, "smelt_worker_backlog_per_child", "",
                             "Of them, for each child that this pool can have."),
               waiting / (p->crew != NULL ? crew_counts(p->crew).limit : p->config.children));
}
