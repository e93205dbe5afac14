// Plan: where each intermediate result lies in the one arena of a context. Buffers whose lives do
// not meet may share bytes. Pure.
#pragma once

#include <stddef.h>

enum { PLAN_ALIGN = 64 };

struct plan_buffer {
    size_t bytes;
    int first, last; // steps that it lives through, both included
    size_t offset;   // result, a multiple of PLAN_ALIGN
};

// Sets the offsets; returns the bytes of the arena, or SIZE_MAX when memory is out.
// Largest first, each at the lowest place that is free for all of its life.
size_t plan_place(struct plan_buffer *buffers, size_t count);
