// HTTP client on libcurl's multi interface, inside a role's event loop. Keep-alive, many at once.
// Redirects are not followed, proxies from the environment are not used for loopback and link-local
// addresses, TLS is verified (AWS_CA_BUNDLE honoured via config), only http and https.
#pragma once

#include "base/buf.h"
#include "base/loop.h"

struct http_client;
struct http_call;

struct http_client_config {
    int connections_max;    // to one host; 0: HTTP_CLIENT_CONNECTIONS_MAX
    const char *ca_bundle;  // NULL: the system's
    const char *user_agent; // NULL: "smelt"
};

struct http_call_header {
    const char *name, *value;
};

struct http_call_spec {
    const char *method;                     // "GET", "PUT", "POST", "DELETE", "HEAD"
    const char *url;                        // copied
    const struct http_call_header *headers; // copied
    size_t header_count;
    struct span body; // borrowed until done is called
    int body_fd;      // -1: none; else body_fd_bytes are sent from its current offset (borrowed)
    uint64_t body_fd_bytes;
    int connect_timeout_ms;      // 0: 3000
    int timeout_ms;              // whole call; 0: 60000
    size_t response_limit_bytes; // 0: 64 MiB; more is ERR_LIMIT (an error's text may be 64 KiB)
    // Optional: gets the body of a 2xx answer in pieces (others are collected). A non-OK return
    // ends the call.
    enum err (*on_body)(void *ctx, struct span piece);
};

struct http_response {
    enum err err;       // OK: an HTTP answer came, whatever its status
    struct error error; // else why: ERR_NET, ERR_TIMEOUT, ERR_LIMIT, ERR_CANCELLED; names the host
    int status;
    struct span body;     // valid during the callback
    struct buf *body_buf; // its memory: who keeps it may move it out
    struct span headers;  // raw header lines, valid during the callback
    int64_t total_us;
};

typedef void http_done_fn(void *ctx, const struct http_response *response);

enum err http_client_new(struct loop *loop, const struct http_client_config *config,
                         struct http_client **out, struct error *error) MUST_CHECK;
// Ends running calls: their done is called with ERR_CANCELLED. Not from inside a callback of this
// client.
void http_client_free(struct http_client *c);

// Starts a call; done is called exactly once, later, from the loop (never from inside this call).
struct http_call *http_client_start(struct http_client *c, const struct http_call_spec *spec,
                                    http_done_fn *done, void *ctx);
void http_call_cancel(
    struct http_call *call); // done is called with ERR_CANCELLED before this returns
size_t http_client_running(const struct http_client *c);

// Value of a response header (last one of that name), empty span if absent. View into r->headers.
struct span http_response_header(const struct http_response *r, const char *name);

// Inside on_body: the answer's status, and a header like http_response_header's (a view until
// on_body returns).
int http_call_status(const struct http_call *call);
struct span http_call_response_header(const struct http_call *call, const char *name);
