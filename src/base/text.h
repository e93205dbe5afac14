// Text helpers shared by the protocols: UTF-8, percent encoding, nearest name. Pure.
#pragma once

#include "base/buf.h"

// Well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates).
bool utf8_valid(struct span s);
size_t utf8_length(struct span s); // characters of valid UTF-8
// SQS and XML 1.0: #x9 | #xA | #xD | #x20-#xD7FF | #xE000-#xFFFD | #x10000-#x10FFFF, well-formed.
bool utf8_xml_valid(struct span s);
// Makes it so, in its place: each byte of what is not becomes a '?'.
void utf8_xml_mend(char *text);

// The value of a hexadecimal digit of either case; -1 if c is none.
int hex_digit(char c);

// Percent-encodes all but A-Z a-z 0-9 - _ . ~ (RFC 3986 unreserved; AWS's UriEncode).
// keep_slash leaves '/' as it is.
void url_encode(struct span s, bool keep_slash, struct buf *out);
// Decodes %XX; plus_is_space also turns '+' into ' ' (form encoding). False on a bad escape.
bool url_decode(struct span s, bool plus_is_space, struct buf *out);

// Appends s as an XML text or attribute value: & < > " and control characters (\r as &#13;)
// escaped.
void xml_escape(struct span s, struct buf *out);
// How many bytes at the start stand in a JSON string as they are: no quote, no backslash, no
// control character.
size_t json_plain_run(const char *p, size_t len);
// Appends s as a JSON string with its quotes. s must be valid UTF-8.
void json_escape(struct span s, struct buf *out);

// The candidate nearest to name by edit distance, or NULL when none is near (distance > 3).
// candidates: NULL-terminated. For "unknown option --prot, did you mean --port?".
const char *nearest_name(const char *name, const char *const *candidates);
