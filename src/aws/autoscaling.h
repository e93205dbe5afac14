// The one thing that is said to EC2 Auto Scaling: that a host may go now. Query protocol.
#pragma once

#include "aws/aws_client.h"

struct autoscaling_call;

typedef void autoscaling_done_fn(void *ctx, const struct aws_result *r);

// CompleteLifecycleAction with the result CONTINUE. c: a client of the service "autoscaling".
// Strings are copied; done is called exactly once from the loop. ERR_ARGUMENT: group or hook are
// not known there, or the host does not wait.
struct autoscaling_call *autoscaling_complete(struct aws_client *c, const char *group,
                                              const char *hook, const char *instance,
                                              autoscaling_done_fn *done, void *ctx);
void autoscaling_call_cancel(struct autoscaling_call *call); // done comes with ERR_CANCELLED
