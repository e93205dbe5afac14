// smelt bench sqs --peers: the same bodies, connections and core with beanstalkd and Redis.
#pragma once

#include "cli/bench_sqs.h"

// Those that are not installed are named and left out.
enum err bench_peers(struct bench_sqs *b, struct error *error) MUST_CHECK;
