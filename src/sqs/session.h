// Shared by the role's files: the role, and one HTTP request in it. Nobody else includes it.
#pragma once

#include "aws/sigv4.h"
#include "base/metrics.h"
#include "base/process.h"
#include "http/server.h"
#include "sqs/call.h"
#include "sqs/sqs_role.h"

struct session;

struct session_list {
    struct session *first, *last;
    size_t count;
};

struct role_metrics {
    struct metrics all;
    struct metric *requests[ACTION_COUNT];
    char labels[ACTION_COUNT][48];
    struct metric *request_seconds[ACTION_COUNT]; // ACTION_NONE: it named none
    struct metric *faults, *sync_seconds;
};

struct role {
    const struct sqs_role_config *config;
    struct loop *loop;
    struct http_server *server;
    struct queues *queues;
    struct keyring *keyring;
    int lock_fd;
    char listen_host[300]; // "127.0.0.1:9324", for requests without Host
    bool draining;
    bool replied;                  // in this turn's hook: the server has something to send
    uint64_t committed;            // next sequence when the last commit was asked for
    int64_t fresh_since_us;        // records wait for company since then; 0: none do
    struct session_list unwritten; // have their reply, which waits for a write; oldest first
    struct session_list unsynced;  // the same for its sync
    struct session_list waiting;   // long polls
    size_t sessions;               // requests under way
    struct timer deadline_timer, drain_timer, space_timer;
    struct turn_hook hook;
    struct watch lifeline;
    struct role_metrics metrics;
    struct id_pool ids;
    bool failed;
    struct error why;
};

enum session_state {
    SESSION_NEW,
    SESSION_WAITING,
    SESSION_UNWRITTEN, // a receive
    SESSION_UNSYNCED,
    SESSION_REPLIED
};

struct session { // in the request's arena
    struct role *role;
    struct http_request *http;
    struct sqs_call call;
    enum session_state state;
    int status;
    bool made;                   // the reply
    struct session *prev, *next; // in a list of the role, by state
    struct waiter waiter;        // SESSION_WAITING
    struct timer timer;
};

// --- session.c: one request ---
void session_start(struct role *role, struct http_request *http); // the request is whole
// Its head is there. A large body is taken in only from who has an access key; else refused.
void session_head(struct role *role, struct http_request *http);
void session_end(struct session *s); // from on_done
void session_too_large(struct role *role, struct http_request *http);
void session_refused(struct role *role, struct http_request *http, int status, const char *text);
// Replies whose records are written, or on disk.
void sessions_written(struct role *role, uint64_t sequence);
void sessions_synced(struct role *role, uint64_t sequence);
// Makes the replies that the sync under way will let leave. All before the first that is made are.
void sessions_make_replies(struct role *role);
void sessions_drain(struct role *role); // answers long polls

// --- role_status.c: /livez, /readyz, /metrics ---
void role_metrics_init(struct role *role);
bool role_status_serve(struct role *role,
                       struct http_request *http); // false: not one of these paths
