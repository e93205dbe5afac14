// Messages in hand and their leases. A message is one of the queue's, with one job or several; it
// is deleted when all of them have a result, and given back when one of them has none.
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "worker/poller_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t lease_end_wall_ms(const struct source *s)
{
    return clock_wall_ms() + s->visibility_s * INT64_C(1000);
}

static int64_t lease_third_ms(const struct source *s)
{
    return s->visibility_s * INT64_C(1000) / 3;
}

void message_forget(struct message *m)
{
    struct poller *p = m->poller;
    if (m->prev != NULL)
        m->prev->next = m->next;
    else
        p->messages = m->next;
    if (m->next != NULL)
        m->next->prev = m->prev;
    p->message_count--;
    p->unstarted -= m->job_count - m->next_job;
    lease_book_remove(p->leases, m->lease);
    free(m->receipt);
    arena_release(&m->arena);
    free(m);
}

static void message_finish(struct message *m)
{
    struct poller *p = m->poller;
    const char *url = m->source->found.queue_url;
    struct span receipt = span_from(m->receipt);
    if (m->verdict == VERDICT_DELETE && !m->keep) {
        int delay_ms = (int)(lease_third_ms(m->source) / 2); // the lease holds two thirds at least
        outbox_delete(p->outbox, url, receipt,
                      delay_ms < WORKER_DELETE_DELAY_MS ? delay_ms : WORKER_DELETE_DELAY_MS);
    } else if (m->keep && !m->source->found.has_dlq) {
        // its lease ends by itself: at once it would come again at once, for ever
    } else if (!m->stale) {
        p->returned++;
        outbox_visibility(p->outbox, url, receipt, 0);
    }
    message_forget(m);
}

void message_task_done(struct message *m, enum verdict verdict)
{
    CHECK(m->open_tasks > 0);
    m->open_tasks--;
    if (verdict == VERDICT_RETURN)
        m->verdict = VERDICT_RETURN;
    if (m->open_tasks == 0 && m->next_job == m->job_count)
        message_finish(m);
}

// A message that cannot be understood. With an id its owner is told; without one it is left to come
// again until the queue moves it to the dead-letter queue. So is an event with bad records among
// good ones, which are done.
static void message_is_broken(struct message *m, const struct error *error)
{
    struct poller *p = m->poller;
    char text[400];
    log_event(LOG_WARN, "bad_message", "message_id=%s attempt=%d why=%s", m->id, m->receive_count,
              log_quote(error->msg, text, sizeof text));
    if (m->job_count > 0 && m->jobs[0].kind == JOB_S3_EVENT) {
        m->keep = true;
        return;
    }
    if (m->job_count == 0) {
        if (m->source->found.has_dlq)
            outbox_visibility(p->outbox, m->source->found.queue_url, span_from(m->receipt), 0);
        message_forget(m);
        return;
    }
    char sentence[400];
    snprintf(sentence, sizeof sentence, "the job's message is wrong: %.350s", error->msg);
    p->unstarted -= m->job_count;
    m->next_job = m->job_count;
    task_refuse(m, &m->jobs[0], "bad_message", sentence);
}

// Events about our own results are no jobs: a bucket that notifies its own queue would never end.
static void drop_own_results(struct message *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->job_count; i++)
        if (m->jobs[i].kind != JOB_S3_EVENT ||
            strcmp(m->jobs[i].bucket, m->poller->config.bucket) != 0 ||
            !span_starts(span_from(m->jobs[i].key), JOB_RESULTS_PREFIX))
            m->jobs[kept++] = m->jobs[i];
    m->job_count = kept;
}

static void keep_receipt(struct message *m, const struct sqs_message *in)
{
    free(m->receipt);
    m->receipt = strndup(in->receipt_handle.data, in->receipt_handle.len);
    CHECK(m->receipt != NULL);
    m->receive_count = in->receive_count > 0 ? in->receive_count : 1;
    m->stale = false;
    lease_book_remove(m->poller->leases, m->lease);
    m->lease = lease_book_add(m->poller->leases, m->source->found.queue_url, m->receipt,
                              m->receive_count, lease_end_wall_ms(m->source));
    m->renew_at_ms = loop_now_ms(m->poller->config.loop) + lease_third_ms(m->source);
}

// The queue gave us a message again that we still have: its lease was lost, the new receipt counts.
static bool message_again(struct poller *p, const struct sqs_message *in)
{
    for (struct message *m = p->messages; m != NULL; m = m->next)
        if (span_is(in->id, m->id)) {
            keep_receipt(m, in);
            return true;
        }
    return false;
}

void message_take(struct source *s, const struct sqs_message *in)
{
    struct poller *p = s->poller;
    struct error error = {0};
    if (message_again(p, in))
        return;
    struct message *m = calloc(1, sizeof *m);
    CHECK(m != NULL);
    *m = (struct message){.poller = p,
                          .source = s,
                          .lease = -1,
                          .next = p->messages,
                          .received_wall_ms = clock_wall_ms(),
                          .sent_wall_ms = in->sent_ms};
    if (p->messages != NULL)
        p->messages->prev = m;
    p->messages = m;
    p->message_count++;
    m->id = arena_copy(&m->arena, in->id);
    keep_receipt(m, in);
    if (!trace_from_amazon(in->trace_header, m->trace))
        m->trace[0] = '\0';
    enum err err = job_decode(in->body, &m->arena, &m->jobs, &m->job_count, &error);
    drop_own_results(m);
    p->unstarted += m->job_count;
    if (err != OK)
        message_is_broken(m, &error);
    else if (m->job_count == 0)
        message_finish(m);
}

void messages_forget_unstarted(struct poller *p)
{
    for (struct message *m = p->messages, *next; m != NULL; m = next) {
        next = m->next;
        if (m->next_job == m->job_count)
            continue;
        p->unstarted -= m->job_count - m->next_job;
        m->next_job = m->job_count;
        m->verdict = VERDICT_RETURN; // when its last task is done
        if (m->open_tasks == 0)
            message_finish(m);
    }
}

// --- leases ---

// Who computes for longer than a third of a lease asks whether it is still wanted.
static void look_at_tasks(struct message *m)
{
    for (struct task *t = m->poller->tasks; t != NULL; t = t->next)
        if (t->message == m)
            task_look(t);
}

static void on_lease(void *ctx)
{
    struct poller *p = ctx;
    enum { TOGETHER_MS = 5000 }; // leases that are due soon go with those that are due now
    int64_t now = loop_now_ms(p->config.loop), next = INT64_MAX;
    for (struct message *m = p->messages; m != NULL; m = m->next) {
        if (m->stale)
            continue; // only its publishing is left: somebody else has it
        if (m->renew_at_ms <= now + TOGETHER_MS) {
            outbox_visibility(p->outbox, m->source->found.queue_url, span_from(m->receipt),
                              m->source->visibility_s);
            m->renew_at_ms = now + lease_third_ms(m->source);
            lease_book_renew(p->leases, m->lease, lease_end_wall_ms(m->source));
            p->renewals++;
            look_at_tasks(m);
        }
        next = m->renew_at_ms < next ? m->renew_at_ms : next;
    }
    if (next != INT64_MAX)
        loop_timer_set(p->config.loop, &p->lease, next, on_lease, p);
}

void messages_watch_leases(struct poller *p)
{
    int64_t next = INT64_MAX;
    for (const struct message *m = p->messages; m != NULL; m = m->next)
        if (!m->stale && m->renew_at_ms < next)
            next = m->renew_at_ms;
    if (next != INT64_MAX && (p->lease.heap_place == 0 || next < p->lease.at_ms))
        loop_timer_set(p->config.loop, &p->lease, next, on_lease, p);
}

// The queue refused to renew: our lease was over, and somebody else has the message or will have
// it. What has not begun is dropped; what is being computed is finished, since it may still be
// first.
void messages_on_stale(void *ctx, struct span receipt)
{
    struct poller *p = ctx;
    struct message *m = p->messages;
    while (m != NULL && !span_is(receipt, m->receipt))
        m = m->next;
    if (m == NULL)
        return; // finished since, or received again
    log_event(LOG_INFO, "lease_lost", "message_id=%s attempt=%d", m->id, m->receive_count);
    m->stale = true;
    lease_book_remove(p->leases, m->lease);
    m->lease = -1;
    p->stale++;
    p->unstarted -= m->job_count - m->next_job;
    m->next_job = m->job_count;
    m->verdict = VERDICT_RETURN;
    m->open_tasks++; // so that it stays until the last of them is looked at
    for (struct task *t = p->tasks, *next; t != NULL; t = next) {
        next = t->next;
        if (t->message == m && t->step < TASK_WITH_CREW)
            task_abandon(t);
    }
    message_task_done(m, VERDICT_RETURN);
}
