#include "base/trace.h"

#include "base/digest.h"
#include "base/random.h"

#include <stdio.h>
#include <string.h>

enum { DIGITS = TRACE_ID_BYTES - 1, PARENT_BYTES = 55, EPOCH_DIGITS = 8 };

static bool all_hex(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.data[i] >= '0' && s.data[i] <= '9') || (s.data[i] >= 'a' && s.data[i] <= 'f')))
            return false;
    return true;
}

bool trace_valid(struct span id)
{
    static const char none[] = "00000000000000000000000000000000";
    return id.len == DIGITS && all_hex(id) && memcmp(id.data, none, DIGITS) != 0;
}

bool trace_from_parent(struct span header, char out[TRACE_ID_BYTES])
{
    // a later version may have more behind these fields, and "ff" is none
    if (header.len < PARENT_BYTES || !all_hex((struct span){header.data, 2}) ||
        span_starts(header, "ff") || header.data[2] != '-' || header.data[35] != '-')
        return false;
    struct span id = {header.data + 3, DIGITS};
    if (!trace_valid(id))
        return false;
    memcpy(out, id.data, DIGITS);
    out[DIGITS] = '\0';
    return true;
}

bool trace_from_amazon(struct span header, char out[TRACE_ID_BYTES])
{
    while (header.len > 0) {
        struct span part = span_trim(span_cut(header, ';', &header));
        if (!span_starts(part, "Root=1-") || part.len != 7 + EPOCH_DIGITS + 1 + 24 ||
            part.data[7 + EPOCH_DIGITS] != '-')
            continue;
        memcpy(out, part.data + 7, EPOCH_DIGITS);
        memcpy(out + EPOCH_DIGITS, part.data + 7 + EPOCH_DIGITS + 1, 24);
        out[DIGITS] = '\0';
        return trace_valid(span_from(out));
    }
    return false;
}

void trace_make(char out[TRACE_ID_BYTES])
{
    uint8_t bytes[DIGITS / 2];
    do {
        random_bytes(bytes, sizeof bytes);
        hex_encode(bytes, sizeof bytes, out);
    } while (!trace_valid(span_from(out)));
}

void trace_to_amazon(const char *id, char out[TRACE_AMAZON_BYTES])
{
    snprintf(out, TRACE_AMAZON_BYTES, "Root=1-%.*s-%.24s", EPOCH_DIGITS, id, id + EPOCH_DIGITS);
}
