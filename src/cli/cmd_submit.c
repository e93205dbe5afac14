// smelt submit: pictures through a gateway, many at once.
#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/gateway_client.h"
#include "cli/job_print.h"
#include "cli/options.h"

#include <errno.h>
#include <fts.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { PARALLEL_MAX = 64, PICTURES_MAX = 10 * 1000 * 1000, BAR_WIDTH = 30 };

static const struct option table[] = {
    {"url", "URL", "http://127.0.0.1:8080", "the gateway"},
    {"model", "NAME", NULL, "the model that answers (default: the gateway's)"},
    {"wait", "S", NULL, "wait as long for the answers, and print them; 0 prints the ids at once"},
    {"expires", "S", NULL, "what is not done S seconds after its submission is not done at all"},
    {"parallel", "N", "8", "pictures under way at the same time"},
    {"json", NULL, NULL, "one JSON line per picture"},
    {0},
};

struct submit {
    struct options options;
    struct arena arena;
    struct loop *loop;
    struct gateway_client client;
    const char **names; // files and s3:// references
    size_t count, next, ended, failed;
    int64_t wait_ms, started_ms;
    long expires_s;
    bool bar;
    struct gateway_job jobs[PARALLEL_MAX];
    const char *job_names[PARALLEL_MAX];
};

// --- which pictures ---

static bool is_picture_name(const char *name)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp"};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (len > strlen(endings[i]) &&
            strcasecmp(name + len - strlen(endings[i]), endings[i]) == 0)
            return true;
    return false;
}

static enum err add_name(struct submit *s, const char *name, struct error *error)
{
    if (s->count == PICTURES_MAX)
        return fail(error, ERR_LIMIT, 0, "more than %d pictures; submit them in several runs",
                    PICTURES_MAX);
    if ((s->count & (s->count - 1)) == 0) { // a power of two: full
        s->names = realloc(s->names, (s->count == 0 ? 1 : s->count * 2) * sizeof *s->names);
        CHECK(s->names != NULL);
    }
    s->names[s->count++] = arena_copy(&s->arena, span_from(name));
    return OK;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

// A folder: its pictures and those of the folders in it. A file is taken whatever its name. What is
// named may be a link.
static enum err add_tree(struct submit *s, char *path, struct error *error)
{
    char *paths[] = {path, NULL};
    FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
    enum err err = OK;
    if (tree == NULL)
        return fail(error, err_from_errno(errno), errno, "open '%s'", path);
    for (FTSENT *entry; err == OK && (entry = fts_read(tree)) != NULL;) {
        bool named = entry->fts_level == FTS_ROOTLEVEL;
        if (entry->fts_info == FTS_NS || entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR)
            err = fail(error, err_from_errno(entry->fts_errno), entry->fts_errno, "read '%s'",
                       entry->fts_path);
        else if (entry->fts_info != FTS_D && entry->fts_info != FTS_DP &&
                 (named || (entry->fts_info == FTS_F && is_picture_name(entry->fts_name))))
            err = add_name(s, entry->fts_path, error);
    }
    fts_close(tree);
    return err;
}

static enum err list_pictures(struct submit *s, struct error *error)
{
    for (int i = 0; i < s->options.argument_count; i++) {
        char *argument = s->options.arguments[i];
        if (strncmp(argument, "s3://", 5) == 0) {
            const char *slash = strchr(argument + 5, '/');
            if (slash == NULL || slash == argument + 5 || slash[1] == '\0')
                return fail(error, ERR_ARGUMENT, 0, "'%s' is not s3://BUCKET/KEY", argument);
            TRY(add_name(s, argument, error));
        } else {
            TRY(add_tree(s, argument, error));
        }
    }
    if (s->count == 0)
        return fail(error, ERR_NOT_FOUND, 0, "no pictures (.jpg, .jpeg, .png, .webp) in '%s'",
                    s->options.arguments[0]);
    return OK;
}

// --- what is seen ---

static void draw_bar(const struct submit *s)
{
    if (!s->bar)
        return;
    char bar[BAR_WIDTH + 1];
    size_t filled = s->ended * BAR_WIDTH / s->count;
    for (size_t i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    int64_t ms = clock_monotonic_ms() - s->started_ms;
    fprintf(stderr, "\r\033[K[%s] %zu/%zu", bar, s->ended, s->count);
    if (ms > 0)
        fprintf(stderr, "  %.1f/s", (double)s->ended * 1000 / (double)ms);
    if (s->failed > 0)
        fprintf(stderr, "  %zu failed", s->failed);
    fflush(stderr);
}

static void erase_bar(const struct submit *s)
{
    if (s->bar)
        fprintf(stderr, "\r\033[K");
}

static void print_outcome(struct submit *s, const char *name, const char *id,
                          enum gateway_outcome outcome, struct span json, const struct error *error)
{
    AUTO_BUF struct buf line = {0};
    bool good = outcome != GATEWAY_REFUSED, as_json = options_on(&s->options, "json");
    if (outcome == GATEWAY_QUEUED && s->wait_ms == 0)
        buf_add_text(&line, id);
    else if (good)
        good = job_print(json, &line); // also tells whether it failed
    else
        buf_add_text(&line, error->msg);
    if (!good)
        s->failed++;
    if (as_json) {
        buf_clear(&line);
        if (outcome == GATEWAY_REFUSED)
            job_print_error_json(name, error, &line);
        else
            job_print_json(name, json, &line);
    }
    erase_bar(s);
    FILE *out = good || as_json ? stdout : stderr;
    fprintf(out, as_json ? "%.0s%s\n" : "%s: %s\n", name, line.data);
    fflush(out);
}

// --- one after the other, N at once ---

static void start_next(struct submit *s, size_t slot);

static void on_job(void *ctx, struct gateway_job *job, enum gateway_outcome outcome,
                   struct span json, const struct error *error)
{
    struct submit *s = ctx;
    size_t slot = (size_t)(job - s->jobs);
    print_outcome(s, s->job_names[slot], job->known_id, outcome, json, error);
    s->ended++;
    draw_bar(s);
    start_next(s, slot);
}

static void start_next(struct submit *s, size_t slot)
{
    if (s->next == s->count) {
        if (s->ended == s->count)
            loop_stop(s->loop);
        return;
    }
    const char *name = s->names[s->next++];
    struct gateway_job *job = &s->jobs[slot];
    *job = (struct gateway_job){.file = name,
                                .model = options_get(&s->options, "model"),
                                .wait_ms = s->wait_ms,
                                .expires_s = s->expires_s,
                                .done = on_job,
                                .ctx = s};
    if (strncmp(name, "s3://", 5) == 0) {
        struct span key, bucket = span_cut(span_from(name + 5), '/', &key);
        job->file = NULL;
        job->bucket = arena_copy(&s->arena, bucket);
        job->object = key.data;
    }
    s->job_names[slot] = name;
    gateway_job_start(&s->client, job);
}

static void on_signal(void *ctx, int signal)
{
    struct submit *s = ctx;
    (void)signal;
    s->failed++;
    erase_bar(s);
    fprintf(stderr, "smelt: stopped; %zu of %zu pictures had an answer\n", s->ended, s->count);
    loop_stop(s->loop);
}

static enum err run(struct submit *s, size_t parallel, struct error *error)
{
    static const int signals[] = {SIGTERM, SIGINT, 0};
    TRY(list_pictures(s, error));
    TRY(loop_new(&s->loop, error));
    TRY(gateway_client_init(&s->client, s->loop, options_get(&s->options, "url"), (int)parallel,
                            error));
    TRY(loop_signals(s->loop, signals, on_signal, s, error));
    s->started_ms = clock_monotonic_ms();
    s->bar = s->count > 1 && isatty(STDERR_FILENO);
    draw_bar(s);
    for (size_t slot = 0; slot < parallel && s->next < s->count; slot++)
        start_next(s, slot);
    TRY(loop_run(s->loop, error));
    erase_bar(s);
    return OK;
}

static int submit_with_options(struct submit *s)
{
    long wait_s = 0, parallel;
    struct error error;
    if ((options_get(&s->options, "wait") != NULL &&
         !options_int(&s->options, "wait", 0, 7 * 24 * 3600, &wait_s)) ||
        (options_get(&s->options, "expires") != NULL &&
         !options_int(&s->options, "expires", 1, GATEWAY_EXPIRES_S_MAX, &s->expires_s)) ||
        !options_int(&s->options, "parallel", 1, PARALLEL_MAX, &parallel))
        return 2;
    log_init("submit", LOG_ERROR);
    s->wait_ms = wait_s * 1000;
    enum err err = run(s, (size_t)parallel, &error);
    if (err != OK)
        fprintf(stderr, "smelt: %s\n", error.msg);
    return err == OK && s->failed == 0 ? 0 : 1;
}

int submit_main(int argc, char **argv)
{
    struct submit *s = calloc(1, sizeof *s);
    CHECK(s != NULL);
    int code =
        options_parse(&s->options, table, "smelt submit [options] FILE|DIR|s3://BUCKET/KEY…",
                      "Sends pictures to a gateway, each as a job. Without --wait their ids are "
                      "printed, with it the answers.",
                      argc, argv);
    if (code < 0 && s->options.argument_count == 0) {
        fprintf(stderr, "smelt: submit needs a file, a folder or s3://BUCKET/KEY\n");
        code = 2;
    }
    if (code < 0)
        code = submit_with_options(s);
    if (s->client.http != NULL) {
        s->next = s->count; // nothing is started any more
        gateway_client_release(&s->client);
    }
    loop_free(s->loop);
    options_release(&s->options);
    arena_release(&s->arena);
    free(s->names);
    free(s);
    return code;
}
