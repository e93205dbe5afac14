#include "sqs/json_scan.h"

#include "base/text.h"

#include <string.h>

void scan_init(struct json_scan *s, struct span text, struct arena *arena, int depth_max)
{
    *s = (struct json_scan){
        .at = text.data, .end = text.data + text.len, .arena = arena, .depth_max = depth_max};
}

static bool bad(struct json_scan *s)
{
    s->bad = true;
    s->at = s->end;
    return false;
}

static void skip_space(struct json_scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n' || *s->at == '\r'))
        s->at++;
}

static bool take_char(struct json_scan *s, char c)
{
    skip_space(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

enum json_type scan_peek(struct json_scan *s)
{
    skip_space(s);
    if (s->at == s->end)
        return JSON_TYPE_BAD;
    switch (*s->at) {
    case '{':
        return JSON_TYPE_OBJECT;
    case '[':
        return JSON_TYPE_ARRAY;
    case '"':
        return JSON_TYPE_STRING;
    case 't':
        return JSON_TYPE_TRUE;
    case 'f':
        return JSON_TYPE_FALSE;
    case 'n':
        return JSON_TYPE_NULL;
    default:
        return *s->at == '-' || (*s->at >= '0' && *s->at <= '9') ? JSON_TYPE_NUMBER : JSON_TYPE_BAD;
    }
}

static bool nest(struct json_scan *s, char open)
{
    if (!take_char(s, open) || ++s->depth > s->depth_max)
        return bad(s);
    return true;
}

bool scan_object_begin(struct json_scan *s)
{
    return nest(s, '{');
}

bool scan_array_begin(struct json_scan *s)
{
    return nest(s, '[');
}

// Between members: true if another one follows.
static bool next(struct json_scan *s, bool *first, char close)
{
    if (s->bad)
        return false;
    if (take_char(s, close)) {
        s->depth--;
        return false;
    }
    if (!*first && !take_char(s, ','))
        return bad(s);
    *first = false;
    return true;
}

bool scan_object_next(struct json_scan *s, bool *first, struct span *key)
{
    if (!next(s, first, '}'))
        return false;
    return scan_string(s, key) && (take_char(s, ':') || bad(s));
}

bool scan_array_next(struct json_scan *s, bool *first)
{
    return next(s, first, ']');
}

static int hex4(const char *p)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}

// \uXXXX at *p (behind the 'u'), with its second half if it is a surrogate. False: not a character.
static bool unescape_u(const char **p, const char *end, char **out)
{
    if (end - *p < 4)
        return false;
    int high = hex4(*p);
    *p += 4;
    if (high < 0 || (high >= 0xdc00 && high <= 0xdfff))
        return false;
    uint32_t c = (uint32_t)high;
    if (high >= 0xd800 && high <= 0xdbff) {
        if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
            return false;
        int low = hex4(*p + 2);
        if (low < 0xdc00 || low > 0xdfff)
            return false;
        *p += 6;
        c = 0x10000 + ((uint32_t)(high - 0xd800) << 10) + (uint32_t)(low - 0xdc00);
    }
    *out = put_utf8(*out, c);
    return true;
}

static bool unescape(struct json_scan *s, const char *from, const char *end, struct span *out)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char *start = arena_alloc(s->arena, (size_t)(end - from) + 1), *to = start;
    while (from < end) {
        size_t run = json_plain_run(from, (size_t)(end - from));
        memcpy(to, from, run);
        to += run;
        from += run;
        if (from == end)
            break;
        from++; // a character follows: the closing quote is not escaped
        const char *name = *from != '\0' ? strchr(names, *from) : NULL;
        if (name != NULL) {
            *to++ = values[name - names];
            from++;
        } else if (*from == 'u') {
            from++;
            if (!unescape_u(&from, end, &to))
                return bad(s);
        } else {
            return bad(s);
        }
    }
    *out = (struct span){start, (size_t)(to - start)};
    return true;
}

bool scan_string(struct json_scan *s, struct span *out)
{
    if (!take_char(s, '"'))
        return bad(s);
    const char *start = s->at;
    bool escaped = false;
    for (;;) {
        s->at += json_plain_run(s->at, (size_t)(s->end - s->at));
        if (s->at == s->end || (uint8_t)*s->at < 0x20)
            return bad(s);
        if (*s->at == '"')
            break;
        escaped = true; // a backslash, and what it is about
        if (s->end - s->at < 2)
            return bad(s);
        s->at += 2;
    }
    const char *end = s->at++;
    if (escaped)
        return unescape(s, start, end, out);
    *out = (struct span){start, (size_t)(end - start)};
    return true;
}

static bool digits(struct json_scan *s)
{
    const char *start = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return s->at > start;
}

// A number's text; *whole: without fraction and exponent.
static bool number(struct json_scan *s, struct span *out, bool *whole)
{
    skip_space(s);
    const char *start = s->at;
    *whole = true;
    if (s->at < s->end && *s->at == '-')
        s->at++;
    const char *first = s->at;
    if (!digits(s) || (*first == '0' && s->at - first > 1))
        return bad(s);
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        *whole = false;
        if (!digits(s))
            return bad(s);
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        *whole = false;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
            s->at++;
        if (!digits(s))
            return bad(s);
    }
    *out = (struct span){start, (size_t)(s->at - start)};
    return true;
}

bool scan_integer(struct json_scan *s, int64_t *out)
{
    struct span text;
    bool whole;
    uint64_t value;
    if (scan_peek(s) != JSON_TYPE_NUMBER || !number(s, &text, &whole) || !whole)
        return bad(s);
    bool negative = text.data[0] == '-';
    if (negative)
        text = (struct span){text.data + 1, text.len - 1};
    if (!span_to_u64(text, INT64_MAX, &value))
        return bad(s);
    *out = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool word(struct json_scan *s, const char *text)
{
    size_t len = strlen(text);
    skip_space(s);
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, text, len) != 0)
        return bad(s);
    s->at += len;
    return true;
}

bool scan_null(struct json_scan *s)
{
    return word(s, "null");
}

// One value that is no object and no array.
static bool skip_scalar(struct json_scan *s)
{
    struct span text;
    bool whole;
    switch (scan_peek(s)) {
    case JSON_TYPE_STRING:
        return scan_string(s, &text);
    case JSON_TYPE_NUMBER:
        return number(s, &text, &whole);
    case JSON_TYPE_TRUE:
        return word(s, "true");
    case JSON_TYPE_FALSE:
        return word(s, "false");
    case JSON_TYPE_NULL:
        return word(s, "null");
    default:
        return bad(s);
    }
}

bool scan_skip(struct json_scan *s)
{
    enum { DEPTH_MAX = 64 };
    bool object[DEPTH_MAX], first[DEPTH_MAX];
    int open = 0;
    for (;;) {
        enum json_type type = scan_peek(s);
        if (type == JSON_TYPE_OBJECT || type == JSON_TYPE_ARRAY) {
            if (open == DEPTH_MAX || !nest(s, type == JSON_TYPE_OBJECT ? '{' : '['))
                return bad(s);
            object[open] = type == JSON_TYPE_OBJECT;
            first[open++] = true;
        } else if (!skip_scalar(s)) {
            return false;
        }
        // to the next value that is inside something still open
        struct span key;
        while (open > 0 && !(object[open - 1] ? scan_object_next(s, &first[open - 1], &key)
                                              : scan_array_next(s, &first[open - 1])))
            open--;
        if (s->bad)
            return false;
        if (open == 0)
            return true;
    }
}

bool scan_end(struct json_scan *s)
{
    skip_space(s);
    return !s->bad && s->at == s->end;
}
