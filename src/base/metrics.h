// Metrics in Prometheus text form 0.0.4. One registry per role; not thread-safe: loop thread only.
// Names: base units, _total / _seconds / _bytes. Labels are fixed text given at registration,
// e.g. "action=\"SendMessage\"" (may be empty).
#pragma once

#include "base/buf.h"

enum { METRIC_BUCKETS = 20 };

struct metric; // owned by the registry

struct metrics {
    struct metric *first, *last;
};

void metrics_release(struct metrics *m);
// name, labels and help must outlive the registry (literals or arena).
struct metric *metrics_counter(struct metrics *m, const char *name, const char *labels,
                               const char *help);
struct metric *metrics_gauge(struct metrics *m, const char *name, const char *labels,
                             const char *help);
// Seconds, buckets doubling from 100 us to ~50 s.
struct metric *metrics_histogram(struct metrics *m, const char *name, const char *labels,
                                 const char *help);
void metric_add(struct metric *metric, double value);     // counter, gauge
void metric_set(struct metric *metric, double value);     // gauge
void metric_observe(struct metric *metric, double value); // histogram
double metric_value(const struct metric *metric);         // counter, gauge; histogram: count
// Metrics of one name must have been registered one after the other.
void metrics_write(const struct metrics *m, struct buf *out);
