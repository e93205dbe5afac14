// URLs of endpoints and queues, split and checked. Pure.
#pragma once

#include "base/buf.h"

struct url {
    bool https;
    char host[256]; // without brackets
    int port;       // given, or 80/443
    bool port_given;
    struct span path;  // view into the text, raw; "/" if empty
    struct span query; // view, raw
};

// http://HOST[:PORT][/path][?query]; anything else is ERR_ARGUMENT: says what is wrong with it.
enum err url_parse(const char *text, struct url *out, struct error *error) MUST_CHECK;
// "host" or "host:port" as the Host header has it (brackets for IPv6, no default port).
void url_host_header(const struct url *u, struct buf *out);
