// multipart/form-data (RFC 7578, RFC 2046 section 5.1) of a body that is whole in memory. Pure;
// copies nothing: every span points into the body or into the Content-Type header.
#pragma once

#include "base/buf.h"

enum {
    MULTIPART_PARTS_MAX = 16,          // a picture and a few fields
    MULTIPART_HEADER_BYTES_MAX = 4096, // of one part
};

struct multipart {
    struct span boundary; // without the leading dashes
    struct span rest;     // from the next delimiter line on
    int parts;            // seen so far
};

struct multipart_part {
    struct span name;         // as written between the quotes; empty if there is none
    struct span filename;     // likewise; browsers write a quote in it as %22
    bool has_filename;        // a file, not a field
    struct span content_type; // empty if there is none
    struct span data;
};

// content_type: the header's value, already known to start with "multipart/form-data".
// ERR_FORMAT: no usable boundary, or the body does not begin with it.
enum err multipart_begin(struct multipart *m, struct span content_type, struct span body,
                         struct error *error) MUST_CHECK;
// The next part. *found is false behind the last one. ERR_FORMAT: truncated or malformed;
// ERR_LIMIT.
enum err multipart_next(struct multipart *m, struct multipart_part *part, bool *found,
                        struct error *error) MUST_CHECK;

// Value of a parameter in a header like `form-data; name="file"; filename="a.jpg"`: quoted or
// token. False if it is not there or malformed.
bool header_parameter(struct span header, const char *name, struct span *value);
