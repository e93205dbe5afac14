// Watches whether EC2 is about to take this host away: a spot interruption, or an auto-scaling
// group that wants it terminated. Asked every WORKER_NOTICE_S seconds.
#pragma once

#include "base/loop.h"
#include "http/client.h"

struct notice;

// on_notice is called once: why, for people ("spot instance: terminate at 2026-01-31T12:00:00Z");
// of_group: it was the auto-scaling group's.
// ERR_UNSUPPORTED: the metadata service is turned off in the environment.
enum err notice_new(struct loop *loop, struct http_client *http,
                    void (*on_notice)(void *ctx, const char *why, bool of_group), void *ctx,
                    struct notice **out, struct error *error) MUST_CHECK;
void notice_free(struct notice *n); // NULL allowed

// Whether this machine says that it is one of EC2's. root: "" the real one.
bool notice_on_ec2(const char *root);
