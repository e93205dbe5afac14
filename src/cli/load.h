// A load generator for benches: keep-alive connections to one server on one thread. Each connection
// has one request in flight; its reply brings the next. The bytes come from the caller, who
// prepares as much of them as possible: what the generator costs, the server does not get.
#pragma once

#include "base/buf.h"

#include <stdbool.h>

enum { LOAD_CONNECTIONS_MAX = 12000, LOAD_REPLY_BYTES_MAX = 4 << 20 };

struct load_work {
    void *ctx;
    // The next bytes of connection i; they stay until its reply. False: it has no more to send.
    bool (*request)(void *ctx, int i, struct span *out);
    // Connection i may stop when the time is over; else it goes on until it may: a message that was
    // received and not deleted would block its FIFO group. NULL: always.
    bool (*may_stop)(void *ctx, int i);
    // Length of the whole reply at the start of in; 0: some of it is missing; SIZE_MAX: no reply of
    // this protocol.
    size_t (*measure)(void *ctx, int i, struct span in);
    // A whole reply, valid during the call. False ends the run: *problem says why.
    bool (*reply)(void *ctx, int i, struct span reply, const char **problem);
};

struct load;
// Connects to 127.0.0.1:port. ERR_LIMIT: the limit of open files is too low.
enum err load_open(int port, int connections, struct load **out, struct error *error) MUST_CHECK;
void load_close(struct load *l); // NULL allowed
// A run does not sleep for the first millisecond that nothing comes. For a generator that has a
// processor of its own.
void load_spin(struct load *l);

// Runs until `seconds` have passed (0: no end) and all replies are in, or no connection has more to
// send. *took_s: from the first request to the last reply.
enum err load_run(struct load *l, const struct load_work *work, double seconds, double *took_s,
                  struct error *error) MUST_CHECK;
// One request on connection i outside of a run: sends it; waits for its reply (valid until the next
// call for i).
enum err load_send(struct load *l, int i, struct span request, struct error *error) MUST_CHECK;
enum err load_receive(struct load *l, int i, const struct load_work *work, struct span *reply,
                      struct error *error) MUST_CHECK; // work: its measure is used

// measure of HTTP/1.1 replies with Content-Length.
size_t load_measure_http(void *ctx, int i, struct span in);
extern const struct load_work load_http; // has nothing but this measure
