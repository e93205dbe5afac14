// What a child prints on its standard error: a pipe whose lines go to the log, and of which the
// last ones are kept to explain its death. The child is not trusted: there is a limit to what it
// may say.
#pragma once

#include "base/limits.h"
#include "base/loop.h"

struct said {
    struct loop *loop;
    uint32_t slot; // for the log
    int fd;        // of ours; -1: closed
    struct watch watch;
    char tail[WORKER_STDERR_TAIL_BYTES + 1]; // the last bytes, printable
    size_t tail_bytes;
    size_t logged;      // bytes of the tail that stand in the log
    size_t since_bytes; // since said_begin
    int lines;          // of them in the log
    void (*on_too_much)(void *ctx);
    void *ctx;
};

// *child_fd: the child's end, the caller's to close. What an earlier child said is forgotten.
enum err said_open(struct said *s, struct loop *loop, uint32_t slot, int *child_fd,
                   void (*on_too_much)(void *ctx), void *ctx, struct error *error) MUST_CHECK;
void said_begin(struct said *s); // another job: counts from 0 again
void said_drain(struct said *s); // reads what is still in the pipe (bounded)
void said_close(struct said *s); // the tail stays; closed or zero-initialised: nothing happens
