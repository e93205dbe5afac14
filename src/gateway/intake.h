// Intake: what a client posted, in whichever of three forms, as one job. No I/O.
#pragma once

#include "gateway/visit.h"

// Reads query and body of a submission into v: model, wait_s, stored, content_type and, for a
// reference to an object elsewhere, bucket and key. False: the visit was answered with an error.
bool intake_read(struct visit *v);
// May a body of this Content-Type be sent at all? (Empty: yes.)
bool intake_takes(struct span content_type);
// wait=S of the query. False: the request was answered with an error.
bool intake_wait(struct http_request *r, int *wait_s);
// The query has no other parameter than these, "model, wait". False: answered with an error.
bool intake_query(struct http_request *r, const char *known);
