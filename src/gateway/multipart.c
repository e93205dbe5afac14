#include "gateway/multipart.h"

#include <string.h>

enum { BOUNDARY_BYTES_MAX = 70 }; // RFC 2046

static struct span skip(struct span s, size_t n)
{
    return (struct span){s.data + n, s.len - n};
}

// Cuts a parameter "name=value" or 'name="va\"lue"' off the front of *rest, which starts behind a
// ';'.
static bool next_parameter(struct span *rest, struct span *name, struct span *value)
{
    struct span s = span_trim(*rest);
    size_t n = 0;
    while (n < s.len && s.data[n] != '=' && s.data[n] != ';')
        n++;
    if (n == s.len || s.data[n] != '=')
        return false;
    *name = span_trim((struct span){s.data, n});
    s = skip(s, n + 1);
    if (s.len > 0 && s.data[0] == '"') {
        for (n = 1; n < s.len && s.data[n] != '"'; n++)
            if (s.data[n] == '\\' && n + 1 < s.len)
                n++;
        if (n >= s.len)
            return false; // no closing quote
        *value = (struct span){s.data + 1, n - 1};
        s = skip(s, n + 1);
        span_cut(s, ';', rest);
        return true;
    }
    *value = span_trim(span_cut(s, ';', rest));
    return true;
}

bool header_parameter(struct span header, const char *name, struct span *value)
{
    struct span rest, found_name, found_value;
    span_cut(header, ';', &rest);
    while (rest.len > 0) {
        if (!next_parameter(&rest, &found_name, &found_value))
            return false;
        if (span_is_nocase(found_name, name)) {
            *value = found_value;
            return true;
        }
    }
    return false;
}

// Is there "--boundary" at the front of s?
static bool at_delimiter(const struct multipart *m, struct span s)
{
    return s.len >= 2 + m->boundary.len && s.data[0] == '-' && s.data[1] == '-' &&
           memcmp(s.data + 2, m->boundary.data, m->boundary.len) == 0;
}

enum err multipart_begin(struct multipart *m, struct span content_type, struct span body,
                         struct error *error)
{
    *m = (struct multipart){.rest = body};
    if (!header_parameter(content_type, "boundary", &m->boundary) || m->boundary.len == 0 ||
        m->boundary.len > BOUNDARY_BYTES_MAX)
        return fail(error, ERR_FORMAT, 0,
                    "the Content-Type says multipart/form-data without a boundary of 1 to %d "
                    "characters; let your HTTP library write this header",
                    BOUNDARY_BYTES_MAX);
    if (m->rest.len >= 2 && m->rest.data[0] == '\r' && m->rest.data[1] == '\n')
        m->rest = skip(m->rest, 2);
    if (!at_delimiter(m, m->rest))
        return fail(error, ERR_FORMAT, 0,
                    "the multipart body does not begin with the boundary of its Content-Type");
    return OK;
}

// Takes one line ending in CRLF off the front of *s; false if there is none within the header
// limit.
static bool next_line(struct span *s, struct span *line)
{
    size_t len = s->len < MULTIPART_HEADER_BYTES_MAX ? s->len : MULTIPART_HEADER_BYTES_MAX;
    const char *end = len > 0 ? memmem(s->data, len, "\r\n", 2) : NULL;
    if (end == NULL)
        return false;
    *line = (struct span){s->data, (size_t)(end - s->data)};
    *s = skip(*s, line->len + 2);
    return true;
}

static enum err read_header(struct multipart_part *part, struct span line, struct error *error)
{
    struct span value, name = span_cut(line, ':', &value);
    value = span_trim(value);
    if (name.len == 0 || name.len == line.len)
        return fail(error, ERR_FORMAT, 0, "a header line of a multipart part has no name");
    if (span_is_nocase(name, "content-type"))
        part->content_type = value;
    if (!span_is_nocase(name, "content-disposition"))
        return OK;
    struct span rest, kind = span_trim(span_cut(value, ';', &rest));
    if (!span_is_nocase(kind, "form-data") || !header_parameter(value, "name", &part->name))
        return fail(error, ERR_FORMAT, 0,
                    "a multipart part's Content-Disposition is not 'form-data; name=\"…\"'");
    part->has_filename = header_parameter(value, "filename", &part->filename);
    return OK;
}

// The delimiter line in front of a part; *last when it is the closing one.
static enum err read_delimiter(struct multipart *m, bool *last, struct error *error)
{
    struct span s = skip(m->rest, 2 + m->boundary.len), line;
    *last = s.len >= 2 && s.data[0] == '-' && s.data[1] == '-';
    if (*last)
        return OK;
    if (!next_line(&s, &line) || span_trim(line).len != 0)
        return fail(error, ERR_FORMAT, 0,
                    "the multipart body is cut off or malformed at a boundary");
    m->rest = s;
    return OK;
}

// Where the part's data ends: the next "\r\n--boundary". NULL if the body is cut off.
static const char *find_end(const struct multipart *m, struct span s)
{
    while (s.len > 0) {
        const char *end = memmem(s.data, s.len, "\r\n--", 4);
        if (end == NULL)
            return NULL;
        s = skip(s, (size_t)(end - s.data) + 2);
        if (at_delimiter(m, s))
            return end;
    }
    return NULL;
}

enum err multipart_next(struct multipart *m, struct multipart_part *part, bool *found,
                        struct error *error)
{
    *part = (struct multipart_part){0};
    *found = false;
    bool last;
    TRY(read_delimiter(m, &last, error));
    if (last)
        return OK;
    if (++m->parts > MULTIPART_PARTS_MAX)
        return fail(error, ERR_LIMIT, 0, "the multipart body has more than %d parts",
                    MULTIPART_PARTS_MAX);
    struct span head = m->rest, line;
    if (head.len > MULTIPART_HEADER_BYTES_MAX)
        head.len = MULTIPART_HEADER_BYTES_MAX;
    const char *head_start = head.data;
    for (;;) {
        if (!next_line(&head, &line))
            return fail(error, ERR_FORMAT, 0,
                        "the headers of a multipart part are cut off or over %d bytes",
                        MULTIPART_HEADER_BYTES_MAX);
        if (line.len == 0)
            break;
        TRY(read_header(part, line, error));
    }
    // an empty part's delimiter shares the CRLF of the empty line
    size_t head_bytes = (size_t)(head.data - head_start);
    struct span data = skip(m->rest, head_bytes);
    const char *end = find_end(m, skip(m->rest, head_bytes - 2));
    if (end == NULL)
        return fail(error, ERR_FORMAT, 0,
                    "the multipart body is cut off: its closing boundary is missing");
    part->data = (struct span){data.data, end > data.data ? (size_t)(end - data.data) : 0};
    m->rest = skip(data, part->data.len);
    if (end >= data.data)
        m->rest = skip(m->rest, 2);
    *found = true;
    return OK;
}
