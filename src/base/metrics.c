#include "base/metrics.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum metric_kind { COUNTER, GAUGE, HISTOGRAM };

struct metric {
    struct metric *next;
    enum metric_kind kind;
    const char *name, *labels, *help;
    double value; // histogram: the sum
    uint64_t count;
    uint64_t buckets[METRIC_BUCKETS];
};

static struct metric *metric_new(struct metrics *m, enum metric_kind kind, const char *name,
                                 const char *labels, const char *help)
{
    struct metric *metric = calloc(1, sizeof *metric);
    CHECK(metric != NULL);
    *metric = (struct metric){.kind = kind, .name = name, .labels = labels, .help = help};
    if (m->last != NULL)
        m->last->next = metric;
    else
        m->first = metric;
    m->last = metric;
    return metric;
}

struct metric *metrics_counter(struct metrics *m, const char *name, const char *labels,
                               const char *help)
{
    return metric_new(m, COUNTER, name, labels, help);
}

struct metric *metrics_gauge(struct metrics *m, const char *name, const char *labels,
                             const char *help)
{
    return metric_new(m, GAUGE, name, labels, help);
}

struct metric *metrics_histogram(struct metrics *m, const char *name, const char *labels,
                                 const char *help)
{
    return metric_new(m, HISTOGRAM, name, labels, help);
}

void metrics_release(struct metrics *m)
{
    while (m->first != NULL) {
        struct metric *next = m->first->next;
        free(m->first);
        m->first = next;
    }
    m->last = NULL;
}

void metric_add(struct metric *metric, double value)
{
    metric->value += value;
}

void metric_set(struct metric *metric, double value)
{
    CHECK(metric->kind == GAUGE);
    metric->value = value;
}

void metric_observe(struct metric *metric, double value)
{
    CHECK(metric->kind == HISTOGRAM);
    metric->value += value;
    metric->count++;
    double bound = 1e-4;
    for (int i = 0; i < METRIC_BUCKETS; i++, bound *= 2) {
        if (value <= bound) {
            metric->buckets[i]++;
            return;
        }
    }
}

double metric_value(const struct metric *metric)
{
    return metric->kind == HISTOGRAM ? (double)metric->count : metric->value;
}

static void write_histogram(const struct metric *m, struct buf *out)
{
    uint64_t below = 0;
    double bound = 1e-4;
    const char *comma = m->labels[0] != '\0' ? "," : "";
    for (int i = 0; i < METRIC_BUCKETS; i++, bound *= 2) {
        below += m->buckets[i];
        buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", m->name, m->labels, comma, bound,
                   (unsigned long long)below);
    }
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", m->name, m->labels, comma,
               (unsigned long long)m->count);
    const char *open = m->labels[0] != '\0' ? "{" : "", *close = m->labels[0] != '\0' ? "}" : "";
    buf_printf(out, "%s_sum%s%s%s %.9g\n", m->name, open, m->labels, close, m->value);
    buf_printf(out, "%s_count%s%s%s %llu\n", m->name, open, m->labels, close,
               (unsigned long long)m->count);
}

void metrics_write(const struct metrics *m, struct buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    const char *previous = "";
    for (const struct metric *metric = m->first; metric != NULL; metric = metric->next) {
        if (strcmp(previous, metric->name) != 0)
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help,
                       metric->name, kinds[metric->kind]);
        previous = metric->name;
        if (metric->kind == HISTOGRAM)
            write_histogram(metric, out);
        else if (metric->labels[0] != '\0')
            buf_printf(out, "%s{%s} %.17g\n", metric->name, metric->labels, metric->value);
        else
            buf_printf(out, "%s %.17g\n", metric->name, metric->value);
    }
}
