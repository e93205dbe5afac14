// The receipts of the messages in hand, in a file: when the poller was killed, the one that is
// started in its place hands them back, so that nobody waits for the end of their leases. A file of
// this host that nothing depends on: it is not synced, and what it loses costs a lease's time.
#pragma once

#include "base/error.h"

#include <stdint.h>

struct lease_book; // NULL: nothing is remembered; allowed in all calls

// Takes the file, made if it is not there, for this process; what a predecessor left is read.
// ERR_BUSY: another process has it; ERR_IO.
enum err lease_book_open(const char *path, struct lease_book **out, struct error *error) MUST_CHECK;
void lease_book_close(struct lease_book *b);

// Remembers a lease that ends at until_wall_ms. Its place, or -1 when there is no room.
int lease_book_add(struct lease_book *b, const char *queue_url, const char *receipt,
                   int receive_count, int64_t until_wall_ms);
void lease_book_renew(struct lease_book *b, int place, int64_t until_wall_ms); // -1: nothing
void lease_book_remove(struct lease_book *b, int place);                       // the same

typedef void lease_book_fn(void *ctx, const char *queue_url, const char *receipt);
// Calls fn with each lease of the predecessor that is not over and was its message's first, and
// forgets all of them. The others run out by themselves: a job that kills its poller must not use
// up its attempts within seconds. Returns how many there were for fn.
int lease_book_take(struct lease_book *b, int64_t now_wall_ms, lease_book_fn *fn, void *ctx);
