// Tells the auto-scaling group that wants this host away that it may have it: the pool is drained.
// The group would else wait until its hook's time is over.
#pragma once

#include "aws/keys.h"
#include "http/client.h"

struct lifecycle;

// hook: "GROUP:HOOK". ERR_ARGUMENT: it is not of that form. Pure.
enum err lifecycle_check(const char *hook, struct error *error) MUST_CHECK;
// done is called once, from the loop: told, or not (that is logged), after WORKER_LIFECYCLE_S_MAX
// at the latest. region: NULL, of the environment.
struct lifecycle *lifecycle_new(struct loop *loop, struct http_client *http, struct keys *keys,
                                const char *region, const char *hook, void (*done)(void *ctx),
                                void *ctx);
void lifecycle_free(struct lifecycle *l); // NULL allowed
