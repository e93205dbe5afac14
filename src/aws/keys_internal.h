// Inside of the keys: the place they come from, and the one fetch that may be under way.
// keys.c: state, refresh. keys_place.c: which place. keys_http.c, keys_sts.c, keys_process.c:
// fetches.
#pragma once

#include "aws/imds.h"
#include "aws/keys.h"
#include "base/arena.h"

#include <sys/types.h>

enum keys_place {
    KEYS_FIXED, // of the environment: never others
    KEYS_FILE,
    KEYS_PROCESS,
    KEYS_WEB_IDENTITY,
    KEYS_ROLE, // assumed with the keys of another place
    KEYS_CONTAINER,
    KEYS_IMDS,
};

enum {
    KEYS_DEPTH_MAX = 4, // profiles that name a source_profile
    KEYS_LEFT_MAX = 4,  // programs that were killed and have not ended; then no more are started
};

struct keys_child; // a running credential_process

struct keys {
    struct keys_config config;
    struct arena arena;
    // --- the place; strings in the arena ---
    enum keys_place place;
    const char *name;                                  // for people: "credential_process of [dev]"
    const char *looked;                                // the places before it, which have nothing
    const char *path, *profile;                        // KEYS_FILE
    const char *command;                               // KEYS_PROCESS
    const char *role_arn, *session_name, *external_id; // roles; NULL: none
    const char *token_file;                            // web identity
    int duration_s;                                    // of a role; 0: not given
    const char *container_url;
    struct keys *base; // KEYS_ROLE
    // --- what is there ---
    struct credentials now;
    bool has;
    int64_t until_ms, fetched_ms; // on the loop's clock
    unsigned generation;
    // --- the fetch ---
    bool fetching;
    int failures; // in a row
    struct error last_error;
    struct timer timer, tell_timer;
    struct keys_wait waiting; // list head
    struct http_call *http;
    struct imds *imds;
    struct imds_call *imds_call;
    struct arena request; // what a call under way borrows
    struct keys_child *child;
    pid_t left[KEYS_LEFT_MAX]; // killed, not ended yet; 0: free
    struct keys_wait base_wait;
};

// --- keys.c ---
// The end of a fetch; got: on OK.
void keys_fetched(struct keys *k, enum err err, const struct credentials *got,
                  const struct error *error);

// --- keys_place.c ---
struct keys *keys_new(const struct keys_config *config);
// The address of a container's keys by the two variables' values; ERR_DENIED: a host to which no
// plain HTTP may go. Pure.
enum err keys_container_url(const char *relative, const char *full, struct buf *out,
                            struct error *error) MUST_CHECK;

// --- fetches: each ends with keys_fetched, later ---
void keys_fetch_process(struct keys *k);
void keys_process_cancel(struct keys *k);
void keys_fetch_web_identity(struct keys *k);
void keys_fetch_role(struct keys *k);
void keys_fetch_container(struct keys *k);
void keys_fetch_imds(struct keys *k);

// --- pure: what the places answer. where: for messages ---
// {"AccessKeyId","SecretAccessKey","Token"|"SessionToken","Expiration"}
enum err keys_read_json(struct span body, const char *where, struct credentials *out,
                        struct error *error) MUST_CHECK;
// STS' AssumeRole…Response
enum err keys_read_sts(struct span body, struct credentials *out, struct error *error) MUST_CHECK;
// Copies a value that an answer must have (or may lack: then ""). Only what can stand in a header.
enum err keys_take(const char *where, const char *name, struct span value, bool needed, char *out,
                   size_t out_bytes, struct error *error) MUST_CHECK;
