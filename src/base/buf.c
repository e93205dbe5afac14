#include "base/buf.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool span_starts_nocase(struct span a, const char *prefix)
{
    size_t len = strlen(prefix);
    return a.len >= len && (len == 0 || strncasecmp(a.data, prefix, len) == 0);
}

int span_order(struct span a, struct span b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

struct span span_trim(struct span a)
{
    while (a.len > 0 && (a.data[0] == ' ' || a.data[0] == '\t')) {
        a.data++;
        a.len--;
    }
    while (a.len > 0 && (a.data[a.len - 1] == ' ' || a.data[a.len - 1] == '\t'))
        a.len--;
    return a;
}

struct span span_cut(struct span a, char at, struct span *rest)
{
    const char *found = a.len > 0 ? memchr(a.data, at, a.len) : NULL;
    if (found == NULL) {
        *rest = (struct span){a.data + a.len, 0};
        if (a.data == NULL)
            *rest = (struct span){NULL, 0};
        return a;
    }
    size_t before = (size_t)(found - a.data);
    *rest = (struct span){found + 1, a.len - before - 1};
    return (struct span){a.data, before};
}

bool span_to_u64(struct span a, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (a.len == 0 || a.len > 20)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (a.data[i] < '0' || a.data[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(a.data[i] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (value > max)
        return false;
    *out = value;
    return true;
}

void buf_release(struct buf *b)
{
    free(b->data);
    size_t limit_bytes = b->limit_bytes;
    *b = (struct buf){.limit_bytes = limit_bytes};
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->full = false;
    if (b->data != NULL)
        b->data[0] = '\0';
}

void buf_reserve(struct buf *b, size_t more_bytes)
{
    if (more_bytes < b->cap - b->len)
        return;
    CHECK(more_bytes < SIZE_MAX / 2 && b->len < SIZE_MAX / 4);
    size_t need = b->len + more_bytes + 1;
    if (need <= b->cap)
        return;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap += cap / 2;
    char *data = realloc(b->data, cap);
    CHECK(data != NULL);
    b->data = data;
    b->cap = cap;
    b->data[b->len] = '\0';
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    if (b->full || (b->limit_bytes != 0 && len > b->limit_bytes - b->len)) {
        b->full = true;
        return;
    }
    buf_reserve(b, len);
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_add_span(struct buf *b, struct span s)
{
    buf_add(b, s.data, s.len);
}

void buf_add_text(struct buf *b, const char *string)
{
    buf_add(b, string, strlen(string));
}

void buf_add_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    char small[512];
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    CHECK(len >= 0);
    if ((size_t)len < sizeof small) {
        buf_add(b, small, (size_t)len);
    } else {
        char *large = malloc((size_t)len + 1);
        CHECK(large != NULL);
        vsnprintf(large, (size_t)len + 1, fmt, again);
        buf_add(b, large, (size_t)len);
        free(large);
    }
    va_end(again);
}

void buf_consume(struct buf *b, size_t len)
{
    CHECK(len <= b->len);
    if (len == 0)
        return;
    memmove(b->data, b->data + len, b->len - len);
    b->len -= len;
    b->data[b->len] = '\0';
}

struct span buf_view(const struct buf *b)
{
    return (struct span){b->data != NULL ? b->data : "", b->len};
}

char *buf_take(struct buf *b, size_t *len)
{
    buf_reserve(b, 0);
    char *data = b->data;
    if (len != NULL)
        *len = b->len;
    b->data = NULL;
    b->len = b->cap = 0;
    b->full = false;
    return data;
}
