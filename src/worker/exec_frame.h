// What smelt and a program handler (`--exec`) say to each other over the program's standard input
// and output: a line of words and lengths, then as many bytes. docs/handlers.md is the
// specification. Pure.
//
//   smelt ─▶ program   job JSON_BYTES PICTURE_BYTES\n JSON picture
//   program ─▶ smelt   ready\n, once, when it can work; then for each job one of
//                      result BYTES\n JSON-object
//                      failed BYTES\n sentence        the picture's fault: final
//                      retry BYTES\n sentence         may go better elsewhere: costs an attempt
#pragma once

#include "base/buf.h"
#include "base/limits.h"

enum { EXEC_HEAD_BYTES_MAX = 32 }; // of a program's line, "failed 65536" has 12

enum exec_word { EXEC_READY, EXEC_RESULT, EXEC_FAILED, EXEC_RETRY };

struct exec_answer {
    enum exec_word word;
    struct span text; // in the bytes that were read
};

// Reads the first answer in what a program has written so far. *used: its bytes, 0 while it is not
// whole. ERR_FORMAT, ERR_LIMIT: what is wrong, with the beginning of what came instead.
enum err exec_answer_read(struct span bytes, struct exec_answer *out, size_t *used,
                          struct error *error) MUST_CHECK;

// Appends the line and the JSON of a job; the picture follows. json: an object.
void exec_job_write(struct span json, size_t picture_bytes, struct buf *out);
