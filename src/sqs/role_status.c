// What the role says of itself: /livez, /readyz, /metrics. Unsigned.
#include "sqs/session.h"

#include <stdio.h>
#include <string.h>

static void on_sync(void *ctx, int64_t us)
{
    struct role *role = ctx;
    metric_observe(role->metrics.sync_seconds, (double)us / 1e6);
}

void role_metrics_init(struct role *role)
{
    struct role_metrics *m = &role->metrics;
    for (int i = ACTION_NONE; i < ACTION_COUNT; i++)
        snprintf(m->labels[i], sizeof m->labels[i], "action=\"%s\"",
                 i == ACTION_NONE ? "none" : action_name((enum sqs_action)i));
    for (int i = ACTION_NONE + 1; i < ACTION_COUNT; i++)
        m->requests[i] = metrics_counter(&m->all, "smelt_sqs_requests_total", m->labels[i],
                                         "Requests by action");
    m->faults = metrics_counter(&m->all, "smelt_sqs_faults_total", "", "Requests refused");
    for (int i = ACTION_NONE; i < ACTION_COUNT; i++)
        m->request_seconds[i] =
            metrics_histogram(&m->all, "smelt_sqs_request_seconds", m->labels[i],
                              "From the request's head to its reply, waits included");
    m->sync_seconds = metrics_histogram(&m->all, "smelt_sqs_sync_seconds", "",
                                        "Write and fdatasync of a group commit");
    journal_on_sync(queues_journal(role->queues), on_sync, role);
}

static void reply_plain(struct http_request *http, int status, struct buf *text)
{
    const struct http_header type = {SPAN("Content-Type"), SPAN("text/plain; version=0.0.4")};
    http_reply_buf(http, status, &type, 1, text);
}

static void serve_ready(struct role *role, struct http_request *http)
{
    struct journal_stats stats;
    AUTO_BUF struct buf text = {0};
    bool ready = !role->failed && !role->draining;
    journal_stats(queues_journal(role->queues), &stats);
    if (role->failed)
        buf_printf(&text, "not ready: %s\n", role->why.msg);
    else if (role->draining)
        buf_add_text(&text, "not ready: ending\n");
    else if (stats.full)
        buf_add_text(&text, "not ready: no disk space for new messages; free some\n");
    else
        buf_add_text(&text, "ready\n");
    reply_plain(http, ready && !stats.full ? 200 : 503, &text);
}

// --- metrics of each queue ---

static const struct series {
    const char *name, *suffix; // of its samples
    const char *kind, *help;   // NULL: more samples of the metric before it
} series[] = {
    {"ApproximateNumberOfMessagesVisible", "", "gauge", "Messages that can be received"},
    {"ApproximateNumberOfMessagesNotVisible", "", "gauge", "Messages in flight"},
    {"ApproximateNumberOfMessagesDelayed", "", "gauge", "Messages that wait for their delay"},
    {"ApproximateAgeOfOldestMessage", "", "gauge", "Seconds since the oldest message came"},
    {"NumberOfMessagesSent", "", "counter", "Messages accepted"},
    {"NumberOfMessagesReceived", "", "counter", "Messages handed out"},
    {"NumberOfMessagesDeleted", "", "counter", "Deletes with a valid receipt handle"},
    {"NumberOfEmptyReceives", "", "counter", "Receives answered without a message"},
    {"SentMessageSize", "_sum", "summary", "Bytes of accepted messages, attributes included"},
    {"SentMessageSize", "_count", NULL, NULL},
    {"smelt_sqs_waiters", "", "gauge", "Long polls that wait"},
    // FIFO queues
    {"NumberOfDeduplicatedSentMessages", "", "counter", "Messages that repeated an earlier one"},
    {"ApproximateNumberOfGroupsWithInflightMessages", "", "gauge",
     "Message groups that have messages in flight"},
    // standard queues
    {"ApproximateNumberOfNoisyGroups", "", "gauge", "Message groups that are served last"},
    {"ApproximateNumberOfMessagesVisibleInQuietGroups", "", "gauge",
     "Messages that can be received, without those of noisy groups"},
    {"ApproximateNumberOfMessagesNotVisibleInQuietGroups", "", "gauge",
     "Messages in flight, without those of noisy groups"},
    {"ApproximateNumberOfMessagesDelayedInQuietGroups", "", "gauge",
     "Messages that wait for their delay, without those of noisy groups"},
    {"ApproximateAgeOfOldestMessageInQuietGroups", "", "gauge",
     "Seconds since the oldest message came that is not of a noisy group"},
};
enum {
    SERIES_COUNT = sizeof series / sizeof series[0],
    SERIES_FIFO = 11,     // from here on
    SERIES_STANDARD = 13, // from here on
};

struct per_queue {
    struct role *role;
    struct buf text[SERIES_COUNT]; // so that the lines of each metric stand together
    int64_t now_ms;
};

static uint64_t age_s(const struct per_queue *p, int64_t since_ms)
{
    return since_ms > 0 && p->now_ms > since_ms ? (uint64_t)(p->now_ms - since_ms) / 1000 : 0;
}

static bool write_queue(void *ctx, struct queue *q)
{
    struct per_queue *p = ctx;
    struct queue_info info;
    struct queue_fairness fair;
    const struct queue_stats *stats = queue_stats(q);
    queue_info(p->role->queues, q, &info);
    queue_fairness(p->role->queues, q, p->now_ms, &fair);
    const uint64_t values[SERIES_COUNT] = {info.visible,          info.in_flight,
                                           info.delayed,          age_s(p, info.oldest_ms),
                                           stats->sent,           stats->received,
                                           stats->deleted,        stats->empty_receives,
                                           stats->sent_bytes,     stats->sent,
                                           info.waiters,          stats->deduplicated,
                                           fair.groups_in_flight, fair.noisy_groups,
                                           fair.visible,          fair.in_flight,
                                           fair.delayed,          age_s(p, fair.oldest_ms)};
    for (int i = 0; i < SERIES_COUNT; i++) {
        bool is_there = i < SERIES_FIFO || info.attributes->fifo == (i < SERIES_STANDARD);
        if (is_there)
            buf_printf(&p->text[i], "%s%s{queue=\"%s\"} %llu\n", series[i].name, series[i].suffix,
                       info.name, (unsigned long long)values[i]);
    }
    return true;
}

static void write_queues(struct role *role, struct buf *out)
{
    struct per_queue p = {.role = role,
                          .now_ms = queues_time(role->queues, loop_now_ms(role->loop))};
    queues_each(role->queues, (struct span){NULL, 0}, write_queue, &p);
    for (int i = 0; i < SERIES_COUNT; i++) {
        if (series[i].kind != NULL)
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", series[i].name, series[i].help,
                       series[i].name, series[i].kind);
        buf_add_span(out, buf_view(&p.text[i]));
        buf_release(&p.text[i]);
    }
}

// --- metrics of the role ---

static void write_number(struct buf *out, const char *kind, const char *name, uint64_t value,
                         const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %llu\n", name, help, name, kind, name,
               (unsigned long long)value);
}

static void serve_metrics(struct role *role, struct http_request *http)
{
    AUTO_BUF struct buf text = {0};
    struct journal_stats j;
    struct queues_stats q;
    journal_stats(queues_journal(role->queues), &j);
    queues_stats(role->queues, &q);
    metrics_write(&role->metrics.all, &text);
    write_number(&text, "gauge", "smelt_sqs_messages", q.messages,
                 "Messages stored, of all queues");
    write_number(&text, "gauge", "smelt_sqs_index_bytes", q.index_bytes,
                 "Memory of the index of messages");
    write_number(&text, "gauge", "smelt_sqs_queues", queues_count(role->queues), "Queues");
    write_number(&text, "gauge", "smelt_sqs_connections",
                 (uint64_t)http_server_connections(role->server), "Open connections");
    write_number(&text, "counter", "smelt_sqs_messages_sent_total", q.sent, "Messages accepted");
    write_number(&text, "counter", "smelt_sqs_messages_received_total", q.received,
                 "Messages handed out");
    write_number(&text, "counter", "smelt_sqs_messages_deleted_total", q.deleted,
                 "Messages deleted by their consumers");
    write_number(&text, "counter", "smelt_sqs_messages_dead_lettered_total", q.dead_lettered,
                 "Messages moved to a dead-letter queue");
    write_number(&text, "counter", "smelt_sqs_messages_expired_total", q.expired,
                 "Messages that outlived their retention");
    write_number(&text, "gauge", "smelt_sqs_journal_segments", j.segments,
                 "Segments of the journal");
    write_number(&text, "gauge", "smelt_sqs_journal_disk_bytes", j.disk_bytes,
                 "Disk space of the journal");
    write_number(&text, "gauge", "smelt_sqs_journal_live_bytes", j.live_bytes,
                 "Bytes of records that still matter");
    write_number(&text, "gauge", "smelt_sqs_journal_full", j.full,
                 "1 while the disk is full and new messages are refused");
    write_number(&text, "counter", "smelt_sqs_journal_commits_total", j.commits,
                 "Group commits, each with a sync");
    write_number(&text, "counter", "smelt_sqs_journal_synced_bytes_total", j.synced_bytes,
                 "Bytes written and synced");
    write_queues(role, &text);
    reply_plain(http, 200, &text);
}

bool role_status_serve(struct role *role, struct http_request *http)
{
    AUTO_BUF struct buf text = {0};
    bool read = strcmp(http->method, "GET") == 0 || strcmp(http->method, "HEAD") == 0;
    if (!read)
        return false;
    if (span_is(http->target_path, "/livez")) {
        buf_add_text(&text, "alive\n");
        reply_plain(http, 200, &text);
    } else if (span_is(http->target_path, "/readyz")) {
        serve_ready(role, http);
    } else if (span_is(http->target_path, "/metrics")) {
        serve_metrics(role, http);
    } else {
        return false;
    }
    return true;
}
