// Errors: one enum for all layers and a text for people. Pure: no I/O.
//
// A fallible function returns `enum err`, and on failure (only then) fills the optional
// `struct error`. The text says what was wrong, where, and what to do; it never holds secrets.
#pragma once

enum err {
    OK = 0,
    ERR_ARGUMENT,     // the caller or the user passed something that cannot be
    ERR_FORMAT,       // foreign bytes that are not what they should be (picture, JSON, model file)
    ERR_UNSUPPORTED,  // well-formed, but not something we do
    ERR_LIMIT,        // over one of our limits
    ERR_NOT_FOUND,    // no such thing
    ERR_EXISTS,       // it is there already
    ERR_PRECONDITION, // a condition of the request does not hold (HTTP 412)
    ERR_DENIED,       // not allowed (permissions, signature)
    ERR_BUSY,         // owned by somebody else at the moment; may work later
    ERR_FULL,         // no space left (disk, queue)
    ERR_IO,           // the operating system failed us
    ERR_CORRUPT,      // what we wrote ourselves does not read back
    ERR_NET,          // connection refused, reset, unresolvable
    ERR_TIMEOUT,      // took longer than its limit
    ERR_THROTTLED,    // the peer asks us to slow down
    ERR_UNAVAILABLE,  // the peer is there but cannot serve now (HTTP 5xx)
    ERR_CANCELLED,    // somebody asked us to stop
    ERR_NOMEM,        // memory
    ERR_INTERNAL,     // a bug, ours
    ERR_COUNT
};

struct error {
    enum err code;
    int sys;       // errno of the failed call, or 0
    char msg[500]; // one line of plain text, always terminated
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

// Fills *error (if not NULL) and returns code, so that `return fail(...)` reads well.
// When sys is not 0 its text is appended as ": No such file or directory"; behind "No space left on
// device" also stands what to do.
enum err fail(struct error *error, enum err code, int sys, const char *fmt, ...) PRINTF_LIKE(4, 5);

// Puts "context: " in front of the message of an error that is passed up. Returns error->code.
enum err fail_context(struct error *error, enum err code, const char *fmt, ...) PRINTF_LIKE(3, 4);

// Maps an errno of open/write/rename/... to our code: ENOENT -> ERR_NOT_FOUND, ENOSPC -> ERR_FULL.
enum err err_from_errno(int sys);

// "not_found", "limit", ...: a stable lower-case word, used in logs and in results.
const char *err_name(enum err code);

#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum err try_err_ = (call);                                                                \
        if (try_err_ != OK)                                                                        \
            return try_err_;                                                                       \
    } while (0)
