// Bytes: `struct span` borrows, `struct buf` owns and grows up to a limit. Pure: no I/O.
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

// Borrowed bytes. Not terminated. data may be NULL only when len is 0.
struct span {
    const char *data;
    size_t len;
};

#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})

// In the header, so that the length of a literal is known.
static inline struct span span_from(const char *string) // NULL gives an empty span
{
    return (struct span){string, string != NULL ? strlen(string) : 0};
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool span_is(struct span a, const char *string)
{
    return span_equal(a, span_from(string));
}

static inline bool span_is_nocase(struct span a, const char *string) // ASCII only
{
    return a.len == strlen(string) && (a.len == 0 || strncasecmp(a.data, string, a.len) == 0);
}

static inline bool span_starts(struct span a, const char *prefix)
{
    size_t len = strlen(prefix);
    return a.len >= len && (len == 0 || memcmp(a.data, prefix, len) == 0);
}

bool span_starts_nocase(struct span a, const char *prefix); // ASCII only
int span_order(struct span a, struct span b); // by bytes, like memcmp; a prefix comes first
struct span span_trim(struct span a);         // without spaces and tabs at both ends
// Cuts at the first `at`: returns the part before it; *rest gets the part behind it (empty if
// none).
struct span span_cut(struct span a, char at, struct span *rest);
// Strict unsigned decimal: digits only, no sign, no spaces, value <= max.
bool span_to_u64(struct span a, uint64_t max, uint64_t *out);

// Owned bytes. Zero-initialised is a valid empty buffer with no limit (limit_bytes 0).
// data is always terminated by a 0 byte that len does not count.
struct buf {
    char *data;
    size_t len;
    size_t cap;
    size_t limit_bytes; // 0: none; else appending beyond it sets `full` and drops the bytes
    bool full;          // something did not fit: what is in the buffer is not whole
};

void buf_release(struct buf *b);                    // frees and zeroes; keeps limit_bytes
void buf_clear(struct buf *b);                      // empties, keeps memory
void buf_reserve(struct buf *b, size_t more_bytes); // aborts when memory is out
void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_span(struct buf *b, struct span s);
void buf_add_text(struct buf *b, const char *string);
void buf_add_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_consume(struct buf *b, size_t len); // drops the first len bytes
struct span buf_view(const struct buf *b);   // valid until the next change of b
char *buf_take(struct buf *b, size_t *len);  // caller frees; b is empty afterwards

#define AUTO_BUF __attribute__((cleanup(buf_release)))
