// A table for people: cells are collected, columns get the width of their widest cell. Numbers
// stand at the right of their column. Pure.
#pragma once

#include "base/buf.h"

enum { TEXT_TABLE_COLUMNS_MAX = 12 };

struct text_table {
    size_t columns;
    bool right[TEXT_TABLE_COLUMNS_MAX]; // the column holds numbers
    struct buf cells;                   // one after the other, each with its 0 byte
    size_t count;
};

// heads: titles in their order; one that begins with '>' is of a column of numbers. NULL ends them.
void text_table_init(struct text_table *t, const char *const *heads);
void text_table_release(struct text_table *t);
void text_table_add(struct text_table *t, const char *cell); // columns of a row one by one
void text_table_add_number(struct text_table *t, int64_t number);
// Appends the lines. Cut after width characters (0: not cut).
void text_table_write(const struct text_table *t, size_t width, struct buf *out);

// "3 s", "4 m 10 s", "2 h 5 m", "3 d 4 h": at most two units.
void text_age(int64_t s, char out[32]);
// Appends text fit for one line of a terminal: control characters as spaces, invalid UTF-8 as '?',
// at most max_characters (then it ends with "…").
void text_line(struct span text, size_t max_characters, struct buf *out);
