#include "base/text.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

// Length of the well-formed UTF-8 sequence at s, its code point in *out; 0 if there is none.
static size_t utf8_next(const uint8_t *s, size_t len, uint32_t *out)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80   ? 1
               : s[0] < 0xc2 ? 0
               : s[0] < 0xe0 ? 2
               : s[0] < 0xf0 ? 3
               : s[0] < 0xf5 ? 4
                             : 0;
    if (n == 0 || n > len)
        return 0;
    uint32_t c = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *out = c;
    return n;
}

// How many of the bytes at s, in eights, are ASCII (and not control characters): nothing to look at
// there.
static size_t ascii_run(const char *s, size_t len, bool allow_control)
{
    const uint64_t high = 0x8080808080808080u, space = 0x2020202020202020u;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t w;
        memcpy(&w, s + i, sizeof w);
        if ((w & high) != 0 || (!allow_control && ((w - space) & ~w & high) != 0))
            break;
    }
    return i;
}

bool utf8_valid(struct span s)
{
    for (size_t i = 0; i < s.len;) {
        size_t run = ascii_run(s.data + i, s.len - i, true);
        if (run > 0) {
            i += run;
            continue;
        }
        uint32_t c;
        size_t n = utf8_next((const uint8_t *)s.data + i, s.len - i, &c);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

size_t utf8_length(struct span s)
{
    size_t count = 0;
    for (size_t i = 0; i < s.len; i++)
        count += ((unsigned char)s.data[i] & 0xc0) != 0x80;
    return count;
}

static bool is_xml_character(uint32_t c)
{
    return (c >= 0x20 && c != 0xfffe && c != 0xffff) || c == '\t' || c == '\n' || c == '\r';
}

bool utf8_xml_valid(struct span s)
{
    for (size_t i = 0; i < s.len;) {
        size_t run = ascii_run(s.data + i, s.len - i, false);
        if (run > 0) {
            i += run;
            continue;
        }
        uint32_t c;
        size_t n = utf8_next((const uint8_t *)s.data + i, s.len - i, &c);
        if (n == 0 || !is_xml_character(c))
            return false;
        i += n;
    }
    return true;
}

void utf8_xml_mend(char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        uint32_t c;
        size_t n = utf8_next((const uint8_t *)text + i, len - i, &c);
        if (n == 0 || !is_xml_character(c))
            memset(text + i, '?', n > 0 ? n : 1);
        i += n > 0 ? n : 1;
    }
}

static bool is_unreserved(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

void url_encode(struct span s, bool keep_slash, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (is_unreserved(c) || (keep_slash && c == '/')) {
            buf_add_char(out, c);
        } else {
            uint8_t byte = (uint8_t)c;
            char escape[3] = {'%', digits[byte >> 4], digits[byte & 15]};
            buf_add(out, escape, 3);
        }
    }
}

int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool url_decode(struct span s, bool plus_is_space, struct buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (c == '+' && plus_is_space) {
            buf_add_char(out, ' ');
        } else if (c == '%') {
            if (s.len - i < 3)
                return false;
            int high = hex_digit(s.data[i + 1]), low = hex_digit(s.data[i + 2]);
            if (high < 0 || low < 0)
                return false;
            buf_add_char(out, (char)(high << 4 | low));
            i += 2;
        } else {
            buf_add_char(out, c);
        }
    }
    return true;
}

void xml_escape(struct span s, struct buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        const char *entity = c == '&'    ? "&amp;"
                             : c == '<'  ? "&lt;"
                             : c == '>'  ? "&gt;"
                             : c == '"'  ? "&quot;"
                             : c == '\r' ? "&#13;"
                                         : NULL;
        bool control = (uint8_t)c < 0x20 && c != '\t' && c != '\n' && c != '\r';
        if (entity == NULL && !control)
            continue;
        buf_add(out, s.data + from, i - from);
        if (entity != NULL)
            buf_add_text(out, entity);
        else
            buf_printf(out, "&#%d;", (uint8_t)c);
        from = i + 1;
    }
    buf_add(out, s.data + from, s.len - from);
}

// In each byte of x the top bit is set if it is below n (n <= 0x80); above the first such byte
// others may be set too.
static uint64_t bytes_below(uint64_t x, uint8_t n)
{
    const uint64_t ones = 0x0101010101010101u;
    return (x - ones * n) & ~x & ones * 0x80;
}

#if defined(__SSE2__)
// As json_plain_run, for the whole sixteens of it: where they end, or the first byte of note.
static size_t plain_sixteens(const char *p, size_t len, bool *found)
{
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'),
                  control = _mm_set1_epi8(0x1f);
    for (size_t i = 0; i + 16 <= len; i += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i bad = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, backslash));
        bad = _mm_or_si128(bad, _mm_cmpeq_epi8(_mm_min_epu8(x, control), x));
        unsigned mask = (unsigned)_mm_movemask_epi8(bad);
        if (mask != 0) {
            *found = true;
            return i + (size_t)__builtin_ctz(mask);
        }
    }
    return len & ~(size_t)15;
}
#endif

size_t json_plain_run(const char *p, size_t len)
{
    const uint64_t ones = 0x0101010101010101u;
    size_t i = 0;
#if defined(__SSE2__)
    bool found = false;
    i = plain_sixteens(p, len, &found);
    if (found)
        return i;
#endif
    for (; i + 8 <= len; i += 8) {
        uint64_t x;
        memcpy(&x, p + i, sizeof x);
        if ((bytes_below(x, 0x20) | bytes_below(x ^ ones * '"', 1) |
             bytes_below(x ^ ones * '\\', 1)) != 0)
            break;
    }
    while (i < len && (uint8_t)p[i] >= 0x20 && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}

static void json_escape_char(uint8_t c, struct buf *out)
{
    static const char names[] = "\"\\\n\r\t", values[] = "\"\\nrt";
    const char *name = c != '\0' ? strchr(names, c) : NULL;
    if (name == NULL) {
        buf_printf(out, "\\u%04x", c);
        return;
    }
    char escape[2] = {'\\', values[name - names]};
    buf_add(out, escape, 2);
}

void json_escape(struct span s, struct buf *out)
{
    buf_reserve(out, s.len + 2);
    buf_add_char(out, '"');
    for (size_t i = 0; i < s.len;) {
        size_t run = json_plain_run(s.data + i, s.len - i);
        buf_add(out, s.data + i, run);
        i += run;
        if (i < s.len)
            json_escape_char((uint8_t)s.data[i++], out);
    }
    buf_add_char(out, '"');
}

static size_t edit_distance(const char *a, const char *b)
{
    enum { LEN_MAX = 63 };
    size_t row[LEN_MAX + 1];
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > LEN_MAX || b_len > LEN_MAX)
        return LEN_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            size_t best = row[j] + 1 < row[j - 1] + 1 ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < best ? change : best;
        }
    }
    return row[b_len];
}

const char *nearest_name(const char *name, const char *const *candidates)
{
    const char *best = NULL;
    size_t best_distance = 4;
    for (; *candidates != NULL; candidates++) {
        size_t distance = edit_distance(name, *candidates);
        if (distance < best_distance && distance <= strlen(name) / 2) {
            best = *candidates;
            best_distance = distance;
        }
    }
    return best;
}
