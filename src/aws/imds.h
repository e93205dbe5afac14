// The instance metadata service of EC2, version 2: a session token by PUT, then GETs with it. What
// a host there knows of itself: its role's keys, that it will be taken away.
#pragma once

#include "base/loop.h"
#include "http/client.h"

struct imds;
struct imds_call;

// Its address: endpoint if not NULL, else AWS_EC2_METADATA_SERVICE_ENDPOINT, else Amazon's
// link-local one (of IPv6, if AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE says so).
// AWS_EC2_METADATA_DISABLED=true: ERR_UNSUPPORTED. Only http is spoken there.
enum err imds_new(struct loop *loop, struct http_client *http, const char *endpoint,
                  struct imds **out, struct error *error) MUST_CHECK;
void imds_free(struct imds *i); // after its calls

// body: valid during the callback; OK only. ERR_NOT_FOUND: there is no such thing (now);
// ERR_NET, ERR_TIMEOUT: nobody answers, as outside of EC2, or in a container beyond the hop limit;
// ERR_DENIED: the service is turned off for this instance; ERR_UNAVAILABLE; ERR_CANCELLED.
typedef void imds_done_fn(void *ctx, enum err err, struct span body, const struct error *error);

// path: "/latest/meta-data/…". done is called once, from the loop.
struct imds_call *imds_get(struct imds *i, const char *path, imds_done_fn *done, void *ctx);
void imds_call_cancel(
    struct imds_call *call); // done is called with ERR_CANCELLED before it returns
