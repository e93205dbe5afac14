// smelt bench sqs --peers: the same bodies, connections and core with beanstalkd and Redis, each
// set to sync every write to disk before it answers.
//
// What is compared:
//   send        beanstalkd: put. Redis: XADD.
//   send_batch  ten puts or XADDs in one write (pipelined), their ten answers awaited.
//   through     ten sent, ten received and ten removed by the same client. beanstalkd: put,
//               reserve-with-timeout 0 and delete, ten of each at once. Redis: XADD, XREADGROUP
//               COUNT 10 and XACK + XDEL of the ten in one transaction.
// Neither checks who asks, has HTTP, counts receives, has dead-letter queues, or hands a message of
// a client that died on by itself after a time (Redis).
#pragma once

#include "cli/bench_sqs.h"

// Those that are not installed are named and left out.
enum err bench_peers(struct bench_sqs *b, struct error *error) MUST_CHECK;
