#include "worker/notice.h"

#include "aws/imds.h"
#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPOT_PATH "/latest/meta-data/spot/instance-action"
#define LIFECYCLE_PATH "/latest/meta-data/autoscaling/target-lifecycle-state"

struct notice {
    struct loop *loop;
    struct imds *imds;
    struct imds_call *call;
    struct timer next;
    bool lifecycle; // the second of the two questions is asked
    bool broken, told;
    void (*on_notice)(void *ctx, const char *why, bool of_group);
    void *ctx;
};

static void ask(void *ctx);

static void ask_later(struct notice *n, int after_s)
{
    loop_timer_set(n->loop, &n->next, loop_now_ms(n->loop) + after_s * 1000, ask, n);
}

// {"action":"terminate","time":"2026-01-31T12:00:00Z"}
static bool read_spot(struct span body, char *why, size_t why_size)
{
    json_error_t error;
    json_t *root = json_loadb(body.data, body.len, 0, &error);
    const char *action = json_string_value(json_object_get(root, "action"));
    const char *when = json_string_value(json_object_get(root, "time"));
    if (action != NULL)
        snprintf(why, why_size, "spot instance: %.40s at %.40s", action,
                 when != NULL ? when : "a time not told");
    json_decref(root);
    return action != NULL;
}

static bool is_notice(const struct notice *n, struct span body, char *why, size_t why_size)
{
    if (!n->lifecycle)
        return read_spot(body, why, why_size);
    if (!span_is(span_trim(body), "Terminated")) // else "InService" …
        return false;
    snprintf(why, why_size, "auto-scaling group: to be terminated");
    return true;
}

static void on_answer(void *ctx, enum err err, struct span body, const struct error *error)
{
    struct notice *n = ctx;
    char why[120], text[400];
    n->call = NULL;
    if (err == ERR_CANCELLED)
        return;
    bool broken = err != OK && err != ERR_NOT_FOUND; // not found: nothing is planned
    if (broken && !n->broken)
        log_event(LOG_WARN, "notices_unheard", "why=%s", log_quote(error->msg, text, sizeof text));
    n->broken = broken;
    if (err == OK && is_notice(n, body, why, sizeof why)) {
        n->told = true;
        n->on_notice(n->ctx, why, n->lifecycle);
        return;
    }
    n->lifecycle = !n->lifecycle && !broken;
    if (n->lifecycle)
        ask(n);
    else
        ask_later(n, broken ? WORKER_NOTICE_RETRY_S : WORKER_NOTICE_S);
}

static void ask(void *ctx)
{
    struct notice *n = ctx;
    n->call = imds_get(n->imds, n->lifecycle ? LIFECYCLE_PATH : SPOT_PATH, on_answer, n);
}

enum err notice_new(struct loop *loop, struct http_client *http,
                    void (*on_notice)(void *ctx, const char *why, bool of_group), void *ctx,
                    struct notice **out, struct error *error)
{
    struct imds *imds;
    TRY(imds_new(loop, http, NULL, &imds, error));
    struct notice *n = calloc(1, sizeof *n);
    CHECK(n != NULL);
    *n = (struct notice){.loop = loop, .imds = imds, .on_notice = on_notice, .ctx = ctx};
    ask(n);
    *out = n;
    return OK;
}

void notice_free(struct notice *n)
{
    if (n == NULL)
        return;
    loop_timer_cancel(n->loop, &n->next);
    if (n->call != NULL)
        imds_call_cancel(n->call);
    imds_free(n->imds);
    free(n);
}

bool notice_on_ec2(const char *root)
{
    AUTO_BUF struct buf path = {0}, text = {0};
    struct error ignored;
    buf_printf(&path, "%s/sys/devices/virtual/dmi/id/sys_vendor", root);
    return file_read(path.data, 4096, &text, &ignored) == OK &&
           span_starts(buf_view(&text), "Amazon EC2");
}
