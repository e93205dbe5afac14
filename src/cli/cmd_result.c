// smelt result: one job, as its gateway tells it.
#include "base/log.h"
#include "cli/commands.h"
#include "cli/gateway_client.h"
#include "cli/job_print.h"
#include "cli/options.h"
#include "job/job.h"

#include <stdio.h>

static const struct option table[] = {
    {"url", "URL", "http://127.0.0.1:8080", "the gateway"},
    {"wait", "S", "0", "wait as long for the answer"},
    {"json", NULL, NULL, "the job as JSON"},
    {0},
};

struct state {
    struct options options;
    struct loop *loop;
    struct gateway_client client;
    struct gateway_job job;
    bool failed;
};

static void on_job(void *ctx, struct gateway_job *job, enum gateway_outcome outcome,
                   struct span json, const struct error *error)
{
    struct state *s = ctx;
    AUTO_BUF struct buf line = {0};
    if (outcome == GATEWAY_REFUSED) {
        fprintf(stderr, "smelt: %s\n", error->msg);
        s->failed = true;
    } else if (!job_print(json, &line)) {
        s->failed = true;
    }
    if (outcome != GATEWAY_REFUSED && options_on(&s->options, "json"))
        printf("%.*s\n", (int)json.len, json.data);
    else if (outcome == GATEWAY_QUEUED)
        printf("%s: queued\n", job->id);
    else if (outcome == GATEWAY_DONE)
        printf("%s: %s\n", job->id, line.data);
    loop_stop(s->loop);
}

static enum err run(struct state *s, long wait_s, struct error *error)
{
    TRY(loop_new(&s->loop, error));
    TRY(gateway_client_init(&s->client, s->loop, options_get(&s->options, "url"), 1, error));
    s->job = (struct gateway_job){
        .id = s->options.arguments[0], .wait_ms = wait_s * 1000, .done = on_job, .ctx = s};
    gateway_job_start(&s->client, &s->job);
    return loop_run(s->loop, error);
}

static int result_with_options(struct state *s)
{
    long wait_s;
    struct error error;
    if (s->options.argument_count != 1 || !job_id_valid(span_from(s->options.arguments[0]))) {
        fprintf(stderr, "smelt: result needs one job id, as `smelt submit` prints it\n");
        return 2;
    }
    if (!options_int(&s->options, "wait", 0, 7 * 24 * 3600, &wait_s))
        return 2;
    log_init("result", LOG_ERROR);
    enum err err = run(s, wait_s, &error);
    if (err != OK)
        fprintf(stderr, "smelt: %s\n", error.msg);
    return err == OK && !s->failed ? 0 : 1;
}

int result_main(int argc, char **argv)
{
    struct state s = {0};
    int code = options_parse(&s.options, table, "smelt result [options] ID",
                             "Shows what became of a job.", argc, argv);
    if (code < 0)
        code = result_with_options(&s);
    if (s.client.http != NULL)
        gateway_client_release(&s.client);
    loop_free(s.loop);
    options_release(&s.options);
    return code;
}
