#include "aws/autoscaling.h"

#include "aws/aws_client_internal.h"
#include "base/check.h"
#include "base/text.h"

#include <stdlib.h>

struct autoscaling_call {
    struct aws_call base; // first
    autoscaling_done_fn *done;
    void *ctx;
};

static void finish(struct aws_call *base, const struct aws_result *result,
                   const struct http_response *response)
{
    struct autoscaling_call *call = (struct autoscaling_call *)(void *)base;
    (void)response;
    call->done(call->ctx, result);
}

static void add_field(struct buf *body, const char *name, const char *value)
{
    buf_printf(body, "&%s=", name);
    url_encode(span_from(value), false, body);
}

struct autoscaling_call *autoscaling_complete(struct aws_client *c, const char *group,
                                              const char *hook, const char *instance,
                                              autoscaling_done_fn *done, void *ctx)
{
    struct autoscaling_call *call = calloc(1, sizeof *call);
    CHECK(call != NULL);
    call->done = done;
    call->ctx = ctx;
    call->base.method = "POST";
    call->base.finish = finish;
    buf_add_char(&call->base.path, '/');
    struct buf *body = &call->base.body_owned;
    buf_add_text(body, "Action=CompleteLifecycleAction&Version=2011-01-01");
    add_field(body, "AutoScalingGroupName", group);
    add_field(body, "LifecycleHookName", hook);
    add_field(body, "InstanceId", instance);
    add_field(body, "LifecycleActionResult", "CONTINUE");
    call->base.body = buf_view(body);
    aws_call_header(&call->base, "Content-Type",
                    "application/x-www-form-urlencoded; charset=utf-8");
    aws_call_start(c, &call->base);
    return call;
}

void autoscaling_call_cancel(struct autoscaling_call *call)
{
    aws_call_cancel(&call->base);
}
