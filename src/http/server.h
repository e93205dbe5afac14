// HTTP/1.1 server on libmicrohttpd, inside a role's event loop: one thread, no locks.
//
// A request's way: on_head (headers are there: refuse, buffer or stream the body) → on_body for
// each piece when streaming → on_request (all is there) → http_reply*, at once or any time later →
// on_done. Between on_request and the reply the connection is suspended. With
// http_request_on_hangup its descriptor is watched: when the client hangs up the callback runs,
// then nothing can be replied, and on_done follows. Without, a client that has gone is noticed when
// the reply is sent.
//
// A reply before on_request (a refusal) reaches the client even while it is still sending: a small
// rest of the body is read first and the connection stays; else the reply goes out at once, up to
// 64 MiB more are read and dropped, and the connection is closed.
//
// Refused before the role sees it (connection closed): malformed requests, too many or too large
// headers (431), CL+TE conflicts, missing Host on HTTP/1.1 (400). Cut off likewise: what the client
// ends before it is whole (400), heads and bodies that come in too slowly (408). The role says it
// in its own form (on_refused), or the client gets one clear line of text; what libmicrohttpd
// itself cannot read gets a line of its own making.
#pragma once

#include "base/arena.h"
#include "base/loop.h"

struct http_server;
struct http_request;

struct http_header {
    struct span name; // as received; compare with span_is_nocase
    struct span value;
};

enum http_body {
    HTTP_BODY_BUFFER, // collected up to body_limit_bytes; above: http_server answers 413 by
                      // on_too_large
    HTTP_BODY_STREAM, // on_body gets the pieces
};

struct http_handlers {
    void *ctx;
    // Decides what happens to the body. May call http_reply (refusal); the return value is then
    // ignored. May set r->body_limit_bytes (default: config) and r->user.
    enum http_body (*on_head)(void *ctx, struct http_request *r);
    // A piece of a streamed body, valid during the call. Not called again after a reply.
    void (*on_body)(void *ctx, struct http_request *r, struct span piece);
    // The request is whole (r->body for buffered ones).
    void (*on_request)(void *ctx, struct http_request *r);
    // The buffered body is over its limit, or (r->overloaded) all together are over the server's:
    // reply in the role's own form.
    void (*on_too_large)(void *ctx, struct http_request *r);
    // The server refuses a request whose head was read, as far as it could be: may be the first
    // and only call for it beside on_done. http_reply with this status, or nothing: one line of
    // text. May be NULL.
    void (*on_refused)(void *ctx, struct http_request *r, int status, const char *text);
    // The request ends: replied and sent, or the client went away. Release what r->user owns. The
    // request and its arena are gone afterwards. Called exactly once per on_head.
    void (*on_done)(void *ctx, struct http_request *r);
};

struct http_server_config {
    const char *listen;      // "127.0.0.1:9324", "[::1]:0"; port 0: any free one
    size_t body_limit_bytes; // default for buffered bodies
    int connections_max;     // 0: HTTP_CONNECTIONS_MAX
    size_t connection_bytes; // memory of a connection; 0: HTTP_HEADER_BYTES_MAX. Bodies come in
                             // pieces of half of it
    int idle_timeout_s;      // 0: HTTP_IDLE_TIMEOUT_S; also for senders that stall in mid-request
    int slow_timeout_s;      // 0: HTTP_HEAD_S_MAX and HTTP_BODY_GRACE_S
    size_t unsent_bytes_max; // 0: HTTP_UNSENT_REPLIES_BYTES_MAX
};

struct http_request {
    const char *method;      // "GET"
    struct span target_path; // raw, as on the wire: percent-encoded, without the query
    struct span query;       // raw, without '?'; empty if none
    const struct http_header *headers;
    size_t header_count;
    struct span body;        // buffered mode, after on_request
    size_t body_limit_bytes; // may be changed in on_head
    bool overloaded;         // in on_too_large: not this body is too large, all together are (503)
    int64_t content_length;  // -1: none given (chunked or no body)
    struct arena arena;      // lives as long as the request
    void *user;              // the role's
    int64_t started_us;      // monotonic, when the head was complete
    char peer[64];           // "127.0.0.1", for logs
    char id[37];             // request id (UUID), for replies and logs
    struct http_server *server;
};

// SIGPIPE is ignored in this process from here on.
// ERR_BUSY with "port 9324 on 127.0.0.1 is in use; stop what uses it or pass --sqs-listen …" (the
// caller adds the option's name by fail_context).
enum err http_server_new(struct loop *loop, const struct http_server_config *config,
                         const struct http_handlers *handlers, struct http_server **out,
                         struct error *error) MUST_CHECK;
// ERR_ARGUMENT: this cannot be a config's `listen`. Whether it can be listened on is not tried.
enum err http_listen_check(const char *listen_at, struct error *error) MUST_CHECK;
int http_server_port(const struct http_server *s);
void http_server_stop_accepting(struct http_server *s);   // drain: no new connections or requests
int http_server_connections(const struct http_server *s); // open ones, for drain and metrics
// Clients have not read so many bytes of replies that no more large ones should be made. Above half
// of it, who has not read its reply HTTP_BODY_GRACE_S after it was made is cut off.
bool http_server_is_clogged(const struct http_server *s);
void http_server_free(struct http_server *s); // ends what is still open

// Value of a header (first one), empty span if absent.
struct span http_request_header(const struct http_request *r, const char *name);
// Decoded value of a query parameter (arena); false if absent or badly escaped. name is decoded
// too.
bool http_request_query(struct http_request *r, const char *name, struct span *value);

// Replies. Exactly one per request; from the loop's thread. headers are copied, as is body.
// Content-Length, Date and Connection are set by the server. HEAD replies drop the body but keep
// Content-Length. A header whose value has a control character is left out.
void http_reply(struct http_request *r, int status, const struct http_header *headers,
                size_t header_count, struct span body);
// Takes the buffer's memory: no copy. b is empty afterwards.
void http_reply_buf(struct http_request *r, int status, const struct http_header *headers,
                    size_t header_count, struct buf *b);
// Sends length bytes of fd from offset (sendfile). Takes fd.
void http_reply_fd(struct http_request *r, int status, const struct http_header *headers,
                   size_t header_count, int fd, uint64_t offset, uint64_t length);
// HEAD of an object: status, headers and this Content-Length, no body.
void http_reply_head(struct http_request *r, int status, const struct http_header *headers,
                     size_t header_count, uint64_t content_length);
// The reply, made after this, waits until it is released: what it costs to make it can be spent
// early.
void http_reply_hold(struct http_request *r);
void http_reply_release(struct http_request *r);
bool http_request_replied(const struct http_request *r);

// fn is called (once) if the client hangs up before the reply. Default: nothing but on_done.
void http_request_on_hangup(struct http_request *r, void (*fn)(void *ctx, struct http_request *r),
                            void *ctx);
// In on_request: the reply follows within a commit or so, whatever the client does. Saves three
// system calls, for the connection is not set aside; not for requests that wait for others.
void http_request_soon(struct http_request *r);
// True if the client has hung up by now, also when on_hangup has not been told yet.
bool http_request_is_gone(const struct http_request *r);
