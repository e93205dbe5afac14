// The keys that a client signs with: found once in one of the usual places, fetched again ahead of
// their expiry, in the role's loop. Nobody waits for them while the old ones are valid.
//
// The first place that has anything counts: a file given by a flag; AWS_ACCESS_KEY_ID …; web
// identity (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN); the profile (a role of another profile, web
// identity, keys, credential_process); DIR/credentials; container (AWS_CONTAINER_CREDENTIALS_…);
// EC2's instance metadata.
#pragma once

#include "aws/credentials.h"
#include "base/loop.h"
#include "http/client.h"

#include <stdbool.h>

struct keys;

struct keys_config { // borrowed; loop, http and region for longer than the keys. Strings may be
                     // NULL
    struct loop *loop;
    struct http_client *http;
    const char *file;      // --credentials: its [default], no other place is looked at
    const char *data_file; // DIR/credentials
    const char *region;    // of STS; NULL: aws_region_find's
};

// Finds the place, asks nobody yet. ERR_NOT_FOUND names all places; ERR_ARGUMENT, ERR_FORMAT,
// ERR_DENIED, ERR_UNSUPPORTED: one of them is set up wrongly.
enum err keys_open(const struct keys_config *config, struct keys **out,
                   struct error *error) MUST_CHECK;
void keys_close(struct keys *k); // NULL allowed; those that wait are not called
// Runs the loop until the first keys are there. OK also if their place is out of reach for now (it
// is asked again); other errors are for people. ERR_CANCELLED: somebody stopped the loop.
enum err keys_first(struct keys *k, struct error *error) MUST_CHECK;

// Valid until the loop's next turn. NULL: none that are valid; keys_wait then.
const struct credentials *keys_now(const struct keys *k);
// Which ones these are: grows with each fetch.
unsigned keys_generation(const struct keys *k);
// A service refused those of this generation as expired or unknown. True: others are there or on
// their way, sign again; false: there will be none.
bool keys_refused(struct keys *k, unsigned generation);

// One that waits. Caller's storage, zero-initialised.
struct keys_wait {
    struct keys_wait *prev, *next;
    void (*fn)(void *ctx, const struct error *error); // error NULL: ask keys_now again
    void *ctx;
};
// fn is called once, later, from the loop: when keys came or could not be had.
void keys_wait(struct keys *k, struct keys_wait *w,
               void (*fn)(void *ctx, const struct error *error), void *ctx);
void keys_wait_cancel(struct keys_wait *w); // not waiting: nothing happens
