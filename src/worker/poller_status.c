// What the poller says of itself: /readyz and /metrics.
#include "base/metrics.h"
#include "worker/poller_internal.h"

bool poller_ready(const struct poller *p, struct buf *why)
{
    const char *missing;
    if (p->draining)
        buf_add_text(why, "draining");
    else if (!p->crew_ready || !crew_able(p->crew))
        buf_printf(why, "waiting for the model '%s' to be loaded", p->config.model);
    else if (p->sqs.broken || p->s3.broken)
        buf_printf(why, "waiting for %s: %s", p->sqs.broken ? "sqs" : "s3",
                   p->sqs.broken ? p->sqs.why : p->s3.why);
    else if (!sources_found(p, &missing))
        buf_printf(why, "waiting for the queue '%s'", missing);
    else
        return true;
    return false;
}

void poller_describe_models(const struct poller *p, struct buf *out)
{
    if (p->crew != NULL)
        crew_status(p->crew, out);
}

static void add_counter(struct metrics *m, const char *name, const char *labels, const char *help,
                        double value)
{
    metric_add(metrics_counter(m, name, labels, help), value);
}

static void add_crew(const struct poller *p, struct metrics *m)
{
    struct crew_counts crew = {0};
    if (p->crew != NULL)
        crew = crew_counts(p->crew);
    add_counter(m, "smelt_worker_child_deaths_total", "", "Children that died.",
                (double)crew.deaths);
    add_counter(m, "smelt_worker_child_hangs_total", "", "Children killed for their deadline.",
                (double)crew.hung);
    add_counter(m, "smelt_worker_zygote_starts_total", "", "Zygotes started.",
                (double)crew.zygote_starts);
    metric_set(metrics_gauge(m, "smelt_worker_children", "state=\"up\"", "Children."), crew.up);
    metric_set(metrics_gauge(m, "smelt_worker_children", "state=\"busy\"", "Children."), crew.busy);
    metric_set(metrics_gauge(m, "smelt_worker_children", "state=\"wanted\"", "Children."),
               crew.wanted);
    metric_set(metrics_gauge(m, "smelt_worker_children", "state=\"limit\"", "Children."),
               crew.limit);
    metric_set(metrics_gauge(m, "smelt_worker_generation", "", "Of models, that serves."),
               crew.generation);
    add_counter(m, "smelt_worker_generations_refused_total", "",
                "Changed packages that were not taken.", (double)crew.refused);
    add_counter(m, "smelt_worker_generations_taken_back_total", "",
                "New generations that failed on jobs, and were replaced by the one before.",
                (double)crew.taken_back);
    metric_set(metrics_gauge(m, "smelt_worker_generations_loaded", "",
                             "In memory, or on their way there; at most two."),
               crew.loaded);
}

void poller_metrics(const struct poller *p, struct buf *out)
{
    static const char *const by_status[] = {NULL, "status=\"succeeded\"", "status=\"failed\"",
                                            "status=\"expired\"", "status=\"cancelled\""};
    struct metrics m = {0};
    struct dead_letters_counts dead = {0};
    uint64_t received = 0, receives = 0, empty = 0;
    for (size_t i = 0; i < p->source_count; i++) {
        received += p->sources[i].received;
        receives += p->sources[i].receives;
        empty += p->sources[i].empty_receives;
        struct dead_letters_counts counts = dead_letters_counts(p->sources[i].dead_letters);
        dead.messages += counts.messages;
        dead.abandoned += counts.abandoned;
        dead.requests += counts.requests;
    }
    for (int i = JOB_SUCCEEDED; i <= JOB_CANCELLED; i++)
        add_counter(&m, "smelt_worker_jobs_total", by_status[i], "Jobs with a result.",
                    (double)p->finished[i]);
    add_counter(&m, "smelt_worker_jobs_returned_total", "", "Messages handed back to the queue.",
                (double)p->returned);
    add_counter(&m, "smelt_worker_results_adopted_total", "",
                "Jobs whose result was there already.", (double)p->adopted);
    add_counter(&m, "smelt_worker_messages_received_total", "", "Messages received.",
                (double)received);
    add_counter(&m, "smelt_worker_empty_receives_total", "", "Receives that brought nothing.",
                (double)empty);
    add_counter(&m, "smelt_worker_lease_renewals_total", "", "Leases extended.",
                (double)p->renewals);
    add_counter(&m, "smelt_worker_leases_lost_total", "", "Leases that were over when renewed.",
                (double)p->stale);
    add_counter(&m, "smelt_worker_slowdowns_total", "", "Times a service asked for fewer requests.",
                (double)p->slowdowns);
    add_counter(&m, "smelt_worker_sqs_requests_total", "", "Requests to SQS.",
                (double)(receives + dead.requests + outbox_requests(p->outbox)));
    add_crew(p, &m);
    add_counter(&m, "smelt_worker_jobs_abandoned_total", "",
                "Dead letters that had no result, and got one.", (double)dead.abandoned);
    metric_set(metrics_gauge(&m, "smelt_worker_dead_letters", "",
                             "Messages in the dead-letter queues, when last asked."),
               (double)dead.messages);
    metric_set(metrics_gauge(&m, "smelt_worker_jobs_in_hand", "", "Jobs received and not done."),
               (double)p->task_count);
    backlog_metrics(p, &m);
    metrics_write(&m, out);
    tally_write(&p->tally, out);
    metrics_release(&m);
}
