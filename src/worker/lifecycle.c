#include "worker/lifecycle.h"

#include "aws/autoscaling.h"
#include "aws/imds.h"
#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INSTANCE_PATH "/latest/meta-data/instance-id"

struct lifecycle {
    struct loop *loop;
    char *group; // "GROUP\0HOOK"
    const char *hook;
    struct imds *imds;
    struct imds_call *asking;
    struct aws_client *aws;
    struct autoscaling_call *telling;
    struct timer limit;
    struct error error; // why there are no clients
    void (*done)(void *ctx);
    void *ctx;
};

enum err lifecycle_check(const char *hook, struct error *error)
{
    const char *colon = strchr(hook, ':');
    if (colon == NULL || colon == hook || colon[1] == '\0' || strchr(colon + 1, ':') != NULL)
        return fail(error, ERR_ARGUMENT, 0, "--lifecycle-hook takes GROUP:HOOK, not '%.100s'",
                    hook);
    return OK;
}

static void end(struct lifecycle *l, const struct error *error)
{
    char text[400];
    loop_timer_cancel(l->loop, &l->limit);
    if (error == NULL)
        log_event(LOG_INFO, "lifecycle_completed", "group=%s hook=%s", l->group, l->hook);
    else
        log_event(LOG_WARN, "lifecycle_not_completed", "group=%s hook=%s why=%s", l->group, l->hook,
                  log_quote(error->msg, text, sizeof text));
    l->done(l->ctx);
}

static void on_told(void *ctx, const struct aws_result *r)
{
    struct lifecycle *l = ctx;
    l->telling = NULL;
    if (r->err != ERR_CANCELLED)
        end(l, r->err != OK ? &r->error : NULL);
}

static void on_instance(void *ctx, enum err err, struct span body, const struct error *error)
{
    struct lifecycle *l = ctx;
    char id[64];
    l->asking = NULL;
    if (err == ERR_CANCELLED)
        return;
    if (err != OK) {
        end(l, error);
        return;
    }
    body = span_trim(body);
    snprintf(id, sizeof id, "%.*s", (int)(body.len < 63 ? body.len : 63), body.data);
    l->telling = autoscaling_complete(l->aws, l->group, l->hook, id, on_told, l);
}

static void stop(struct lifecycle *l)
{
    if (l->asking != NULL)
        imds_call_cancel(l->asking);
    if (l->telling != NULL)
        autoscaling_call_cancel(l->telling);
}

static void on_limit(void *ctx)
{
    struct lifecycle *l = ctx;
    struct error error;
    fail(&error, ERR_TIMEOUT, 0, "no answer within %d s", WORKER_LIFECYCLE_S_MAX);
    stop(l);
    end(l, &error);
}

static enum err open_clients(struct lifecycle *l, struct http_client *http, struct keys *keys,
                             const char *region, struct error *error)
{
    const struct aws_client_config aws = {.loop = l->loop,
                                          .http = http,
                                          .service = "autoscaling",
                                          .region = region,
                                          .keys = keys,
                                          .attempts_max = 3};
    TRY(imds_new(l->loop, http, NULL, &l->imds, error));
    return aws_client_new(&aws, &l->aws, error);
}

static void on_cannot(void *ctx)
{
    struct lifecycle *l = ctx;
    end(l, &l->error);
}

struct lifecycle *lifecycle_new(struct loop *loop, struct http_client *http, struct keys *keys,
                                const char *region, const char *hook, void (*done)(void *ctx),
                                void *ctx)
{
    struct lifecycle *l = calloc(1, sizeof *l);
    CHECK(l != NULL);
    *l = (struct lifecycle){.loop = loop, .group = strdup(hook), .done = done, .ctx = ctx};
    CHECK(l->group != NULL);
    char *colon = strchr(l->group, ':');
    CHECK(colon != NULL);
    *colon = '\0';
    l->hook = colon + 1;
    if (open_clients(l, http, keys, region, &l->error) == OK) {
        l->asking = imds_get(l->imds, INSTANCE_PATH, on_instance, l);
        loop_timer_set(loop, &l->limit, loop_now_ms(loop) + WORKER_LIFECYCLE_S_MAX * 1000, on_limit,
                       l);
    } else {
        loop_timer_set(loop, &l->limit, loop_now_ms(loop), on_cannot, l);
    }
    return l;
}

void lifecycle_free(struct lifecycle *l)
{
    if (l == NULL)
        return;
    loop_timer_cancel(l->loop, &l->limit);
    stop(l);
    aws_client_free(l->aws);
    imds_free(l->imds);
    free(l->group);
    free(l);
}
