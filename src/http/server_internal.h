// Inside of the HTTP server: what server.c (sockets, turns) and request.c (a request's way) share.
#pragma once

#include "http/server.h"

#include <microhttpd.h>

enum {
    HEAD_BYTES_MAX = 12 << 10, // request line + headers; the rest of a connection's
                               // HTTP_HEADER_BYTES_MAX is for their index and the reply's head
    HEADERS_INLINE = 24,       // more than AWS clients send; others go to the arena
    TARGET_INLINE_BYTES = 512,
    BODY_RESERVE_BYTES = 1 << 20, // a Content-Length is believed up to here before bytes come
    KEEP_DISCARD_BYTES =
        256 << 10,                // a refused body up to this is read so that the connection stays
    DISCARD_BYTES_MAX = 64 << 20, // else the reply goes out at once and up to this is read, so that
                                  // a client that is still sending sees the reply, not a reset
    KEPT_MAX = 64,                // requests that MHD is left to ask for; each run looks at all
    REQUESTS_SPARE_MAX = 256,     // freed requests kept for the next ones,
    BODY_KEEP_BYTES =
        4 << 10, // each with the memory of a body up to this, and a block of its arena
};

// An open connection (MHD's socket context).
struct conn {
    struct conn *prev, *next;
    struct http_server *server;
    int fd;
    struct request *request; // between the request line and the end of the reply; else NULL
    char peer[64];
    // patrol.c
    struct watch fin_watch; // the client closes its side, or all
    bool fin;               // it has
    bool asked;             // it had a request
    bool in_fins;           // and MHD may not have read all before it
    bool fin_read;          // it has read it, and looks at it for the last time
    struct conn *next_fin;
    bool seen_idle; // without a request since the patrol looked first; then:
    uint64_t seen_bytes;
    int64_t seen_at_ms;
};

struct request {
    struct http_request pub;     // first: the role's pointer is ours
    struct request *prev, *next; // all that live; next also links the spare ones
    struct MHD_Connection *mhd;
    struct conn *conn;
    struct buf body_buf;
    struct MHD_Response *reply; // waits for its turn
    int reply_status;
    enum http_body mode;
    uint64_t discarded_bytes;
    void (*hangup_fn)(void *ctx, struct http_request *r);
    void *hangup_ctx;
    int64_t begun_us;        // monotonic, of the loop's turn in which the request line was there
    uint64_t received_bytes; // of the body
    size_t counted_bytes;    // of the server's unread_bytes
    size_t unsent_bytes;     // of its reply in memory, until the end
    int64_t replied_ms;      // monotonic; with unsent_bytes
    bool in_head;            // the first call for this request is running
    bool head_checked;
    bool role_knows; // on_head was called, on_done will be
    bool has_body;
    bool expects_continue;
    bool whole; // all of the body is here
    bool suspended;
    bool soon;     // the role replies within this commit or so:
    bool kept;     // so MHD keeps it, and asks for its reply at every run
    bool gone;     // the client hung up
    bool replied;  // the role replied
    bool cut_off;  // the reply goes around MHD at once, and the connection ends
    bool held;     // it is made and waits
    bool sent_raw; // the reply went out around MHD; what comes in is discarded
    // below: not cleared between requests
    struct http_header headers_inline[HEADERS_INLINE];
    char target_inline[TARGET_INLINE_BYTES];
};

struct http_server {
    struct loop *loop;
    struct http_handlers handlers;
    struct MHD_Daemon *daemon;
    struct watch daemon_watch, listen_watch;
    struct timer daemon_timer, accept_timer;
    struct turn_hook hook;
    int listen_fd;
    int port;
    int connections_max;
    size_t body_limit_bytes;
    struct conn conns; // list head
    struct conn *fins; // to be looked at at the end of the turn
    struct timer patrol_timer;
    int64_t head_timeout_ms, body_grace_ms, patrol_ms;
    size_t unread_bytes; // in buffers of requests that are not whole
    size_t unsent_bytes; // in replies that have not ended
    size_t unsent_bytes_max;
    struct request requests; // list head
    struct request *spare;
    int spare_count;
    int kept;                // requests that wait for their reply without being suspended
    _Atomic int connections; // may be read from another thread
    bool run_pending;        // MHD has something to do without a new event
    bool draining;
    bool accept_paused;
    int64_t accept_logged_ms; // 0: never
    char id_prefix[25];       // "xxxxxxxx-xxxx-4xxx-8xxx-"
    uint64_t id_next;
};

// --- request.c, called by MHD ---
void *request_begin(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result request_advance(void *cls, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *data_bytes, void **context);
void request_end(void *cls, struct MHD_Connection *mhd, void **context,
                 enum MHD_RequestTerminationCode why);
void request_free(struct request *r); // a spare one
// The client has hung up. True: the role was waiting for that and knows now.
bool request_client_gone(struct request *r);

// --- patrol.c ---
void patrol_start(struct http_server *s, int slow_timeout_s); // 0: the limits of limits.h
void patrol_add(struct conn *c);
void patrol_remove(struct conn *c);
void patrol_look_again(struct conn *c);  // a request of it has ended
void patrol_fins(struct http_server *s); // at the end of a turn, behind MHD

// Replies to a request that the server refuses.
void request_refuse(struct request *r, int status, const char *text);

// Wakes a suspended request, whose client is to be sent away.
void request_abandon(struct request *r);
