// smelt cancel: jobs that are not wanted any more, through their gateway.
#include "base/log.h"
#include "cli/commands.h"
#include "cli/gateway_client.h"
#include "cli/options.h"
#include "job/job.h"

#include <stdio.h>

static const struct option table[] = {
    {"url", "URL", "http://127.0.0.1:8080", "the gateway"},
    {0},
};

struct state {
    struct options options;
    struct loop *loop;
    struct gateway_client client;
    struct gateway_job job;
    size_t next; // argument
    bool failed;
};

static void cancel_next(struct state *s);

static void on_job(void *ctx, struct gateway_job *job, enum gateway_outcome outcome,
                   struct span json, const struct error *error)
{
    struct state *s = ctx;
    (void)json;
    if (outcome == GATEWAY_DONE) {
        printf("%s: cancelled\n", job->id);
    } else {
        fprintf(stderr, "smelt: %s: %s\n", job->id,
                outcome == GATEWAY_REFUSED ? error->msg : "the gateway did not cancel it");
        s->failed = true;
    }
    cancel_next(s);
}

static void cancel_next(struct state *s)
{
    if (s->next == (size_t)s->options.argument_count) {
        loop_stop(s->loop);
        return;
    }
    s->job = (struct gateway_job){
        .id = s->options.arguments[s->next++], .cancel = true, .done = on_job, .ctx = s};
    gateway_job_start(&s->client, &s->job);
}

static enum err run(struct state *s, struct error *error)
{
    TRY(loop_new(&s->loop, error));
    TRY(gateway_client_init(&s->client, s->loop, options_get(&s->options, "url"), 1, error));
    cancel_next(s);
    return loop_run(s->loop, error);
}

static int cancel_with_options(struct state *s)
{
    struct error error;
    if (s->options.argument_count == 0) {
        fprintf(stderr, "smelt: cancel needs job ids, as `smelt submit` prints them\n");
        return 2;
    }
    for (size_t i = 0; i < (size_t)s->options.argument_count; i++)
        if (!job_id_valid(span_from(s->options.arguments[i]))) {
            fprintf(stderr, "smelt: '%.80s' is not a job id, as `smelt submit` prints them\n",
                    s->options.arguments[i]);
            return 2;
        }
    log_init("cancel", LOG_ERROR);
    enum err err = run(s, &error);
    if (err != OK)
        fprintf(stderr, "smelt: %s\n", error.msg);
    return err == OK && !s->failed ? 0 : 1;
}

int cancel_main(int argc, char **argv)
{
    struct state s = {0};
    int code = options_parse(&s.options, table, "smelt cancel [options] ID…",
                             "Cancels jobs. One that is done already stays as it is: exit code 1.",
                             argc, argv);
    if (code < 0)
        code = cancel_with_options(&s);
    if (s.client.http != NULL)
        gateway_client_release(&s.client);
    loop_free(s.loop);
    options_release(&s.options);
    return code;
}
