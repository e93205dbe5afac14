// Input: the Content-Type header's line, a line feed, the body. Property: every part lies inside
// the body, behind the part before it, and holds no boundary line.
#include "base/check.h"
#include "gateway/multipart.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span body, type = span_cut((struct span){(const char *)data, size}, '\n', &body);
    struct multipart m;
    struct multipart_part part;
    struct error error;
    bool found = true;
    int parts = 0;
    const char *behind = body.data;
    if (multipart_begin(&m, type, body, &error) != OK)
        return 0;
    while (multipart_next(&m, &part, &found, &error) == OK && found) {
        CHECK(++parts <= MULTIPART_PARTS_MAX);
        CHECK(part.data.data >= behind);
        behind = part.data.data + part.data.len;
        CHECK(behind <= body.data + body.len);
        AUTO_BUF struct buf line = {0};
        buf_add_text(&line, "\r\n--");
        buf_add_span(&line, m.boundary);
        CHECK(part.data.len == 0 ||
              memmem(part.data.data, part.data.len, line.data, line.len) == NULL);
    }
    return 0;
}
