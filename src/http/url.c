#include "http/url.h"

#include <stdio.h>
#include <string.h>

// Cuts "host", "host:port" or "[address]:port" out of s.
static enum err parse_authority(struct span s, const char *text, struct url *out,
                                struct error *error)
{
    struct span host, rest;
    bool brackets = span_starts(s, "[");
    if (brackets) {
        s.data++;
        s.len--;
        host = span_cut(s, ']', &rest);
        if (host.len == s.len || (rest.len > 0 && rest.data[0] != ':'))
            return fail(error, ERR_ARGUMENT, 0, "'%.200s': the [address] is not closed", text);
    } else {
        host = span_cut(s, ':', &rest);
        rest = (struct span){s.data + host.len, s.len - host.len};
    }
    if (host.len == 0 || host.len >= sizeof out->host)
        return fail(error, ERR_ARGUMENT, 0, "'%.200s' has no host name, or one too long", text);
    for (size_t i = 0; i < host.len; i++) {
        char c = host.data[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && c != '-' && c != '.' && c != '_' && !(brackets && c == ':'))
            return fail(error, ERR_ARGUMENT, 0, "'%.200s': a host name cannot have '%c'", text, c);
    }
    memcpy(out->host, host.data, host.len);
    out->host[host.len] = '\0';
    out->port = out->https ? 443 : 80;
    if (rest.len == 0)
        return OK;
    uint64_t port;
    struct span digits = {rest.data + 1, rest.len - 1};
    if (!span_to_u64(digits, 65535, &port) || port == 0)
        return fail(error, ERR_ARGUMENT, 0, "'%.200s': the port is not a number from 1 to 65535",
                    text);
    out->port = (int)port;
    out->port_given = true;
    return OK;
}

enum err url_parse(const char *text, struct url *out, struct error *error)
{
    struct url url = {0};
    struct span all = span_from(text);
    if (span_starts(all, "https://"))
        url.https = true;
    else if (!span_starts(all, "http://"))
        return fail(error, ERR_ARGUMENT, 0, "'%.200s' does not start with http:// or https://",
                    text);
    for (size_t i = 0; i < all.len; i++)
        if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f || text[i] == '#')
            return fail(error, ERR_ARGUMENT, 0,
                        "'%.200s' has a blank, a '#' or a control character", text);
    size_t skip = url.https ? 8 : 7;
    struct span rest = {all.data + skip, all.len - skip};
    size_t authority_len = strcspn(rest.data, "/?");
    struct span authority = {rest.data, authority_len};
    if (authority_len > 0 && memchr(authority.data, '@', authority_len) != NULL)
        return fail(error, ERR_ARGUMENT, 0, "a URL must not hold a user name or password");
    TRY(parse_authority(authority, text, &url, error));
    rest = (struct span){rest.data + authority_len, rest.len - authority_len};
    url.path = span_cut(rest, '?', &url.query);
    if (url.path.len == 0)
        url.path = SPAN("/");
    *out = url;
    return OK;
}

void url_host_header(const struct url *u, struct buf *out)
{
    bool address6 = strchr(u->host, ':') != NULL;
    buf_printf(out, address6 ? "[%s]" : "%s", u->host);
    if (u->port != (u->https ? 443 : 80))
        buf_printf(out, ":%d", u->port);
}
