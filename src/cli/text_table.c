#include "cli/text_table.h"

#include "base/check.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

void text_table_init(struct text_table *t, const char *const *heads)
{
    *t = (struct text_table){0};
    for (; heads[t->columns] != NULL; t->columns++) {
        CHECK(t->columns < TEXT_TABLE_COLUMNS_MAX);
        t->right[t->columns] = heads[t->columns][0] == '>';
    }
    for (size_t i = 0; i < t->columns; i++)
        text_table_add(t, heads[i] + t->right[i]);
}

void text_table_release(struct text_table *t)
{
    buf_release(&t->cells);
}

void text_table_add(struct text_table *t, const char *cell)
{
    buf_add(&t->cells, cell, strlen(cell) + 1);
    t->count++;
}

void text_table_add_number(struct text_table *t, int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    text_table_add(t, text);
}

// Characters, as far as a terminal counts them: bytes that begin one.
static size_t characters(const char *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static void add_cut(struct span line, size_t width, struct buf *out)
{
    while (line.len > 0 && line.data[line.len - 1] == ' ')
        line.len--;
    if (width > 0 && characters(line.data, line.len) > width) {
        size_t end = 0, seen = 0;
        while (end < line.len) {
            seen += ((unsigned char)line.data[end] & 0xc0) != 0x80;
            if (seen == width)
                break;
            end++;
        }
        line.len = end;
        buf_add_span(out, line);
        buf_add_text(out, "…");
    } else {
        buf_add_span(out, line);
    }
    buf_add_char(out, '\n');
}

void text_table_write(const struct text_table *t, size_t width, struct buf *out)
{
    size_t widths[TEXT_TABLE_COLUMNS_MAX] = {0}, i = 0;
    const char *end = t->cells.data + t->cells.len;
    AUTO_BUF struct buf line = {0};
    for (const char *cell = t->cells.data; cell < end; cell += strlen(cell) + 1, i++) {
        size_t w = characters(cell, strlen(cell));
        if (w > widths[i % t->columns])
            widths[i % t->columns] = w;
    }
    i = 0;
    for (const char *cell = t->cells.data; cell < end; cell += strlen(cell) + 1, i++) {
        size_t column = i % t->columns, w = characters(cell, strlen(cell));
        size_t gap = widths[column] - w;
        if (t->right[column])
            buf_printf(&line, "%*s", (int)gap, "");
        buf_add_text(&line, cell);
        if (!t->right[column])
            buf_printf(&line, "%*s", (int)gap, "");
        buf_add_text(&line, "  ");
        if (column + 1 < t->columns)
            continue;
        add_cut(buf_view(&line), width, out);
        buf_clear(&line);
    }
}

void text_age(int64_t s, char out[32])
{
    long long n = s > 0 ? (long long)s : 0;
    if (n < 60)
        snprintf(out, 32, "%lld s", n);
    else if (n < 3600)
        snprintf(out, 32, "%lld m %lld s", n / 60, n % 60);
    else if (n < 86400)
        snprintf(out, 32, "%lld h %lld m", n / 3600, n / 60 % 60);
    else
        snprintf(out, 32, "%lld d %lld h", n / 86400, n / 3600 % 24);
}

void text_line(struct span text, size_t max_characters, struct buf *out)
{
    bool whole = utf8_valid(text);
    size_t seen = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool begins = (c & 0xc0) != 0x80 || !whole;
        if (begins && seen == max_characters) {
            buf_add_text(out, "…");
            return;
        }
        seen += begins;
        // also U+0080 to U+009F, which some terminals obey
        bool control = c < ' ' || c == 0x7f || (!whole && c >= 0x80) ||
                       (c == 0xc2 && i + 1 < text.len && (unsigned char)text.data[i + 1] < 0xa0);
        if (control && c == 0xc2)
            i++;
        buf_add_char(out, !control ? (char)c : c < 0x80 ? ' ' : '?');
    }
}
