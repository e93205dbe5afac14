#include "s3/byte_range.h"

enum range_verdict byte_range_parse(struct span header, uint64_t size_bytes, uint64_t *first,
                                    uint64_t *last)
{
    struct span to, text = span_trim(header);
    if (text.len < 6 || !span_is_nocase((struct span){text.data, 6}, "bytes="))
        return RANGE_NONE;
    text = span_trim((struct span){text.data + 6, text.len - 6});
    bool dash = false;
    for (size_t i = 0; i < text.len; i++)
        dash = dash || text.data[i] == '-';
    struct span from = span_trim(span_cut(text, '-', &to));
    to = span_trim(to);
    uint64_t a = 0, b = UINT64_MAX;
    if (!dash || (from.len == 0 && to.len == 0))
        return RANGE_NONE;
    if (from.len > 0 && !span_to_u64(from, UINT64_MAX, &a))
        return RANGE_NONE;
    if (to.len > 0 && !span_to_u64(to, UINT64_MAX, &b))
        return RANGE_NONE; // several ranges, too: "1-2,4-5"
    if (from.len == 0) {   // the last b bytes
        if (b == 0 || size_bytes == 0)
            return RANGE_UNSATISFIABLE;
        *first = b < size_bytes ? size_bytes - b : 0;
        *last = size_bytes - 1;
        return RANGE_PART;
    }
    if (b < a)
        return RANGE_NONE;
    if (a >= size_bytes)
        return RANGE_UNSATISFIABLE;
    *first = a;
    *last = b < size_bytes ? b : size_bytes - 1;
    return RANGE_PART;
}
