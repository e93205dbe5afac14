#include "cli/bench_successor.h"

#include "base/check.h"
#include "base/clock.h"
#include "cli/bench_processes.h"
#include "cli/bench_started.h"
#include "worker/crew.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { JOB_MS_MAX = 60 * 1000, KILL_S_MAX = 120 };

struct killing {
    const struct bench_files *files;
    struct loop *loop;
    struct crew *crew;
    struct timer fill, limit;
    int workers, kills, done;
    size_t next;       // picture
    long answers;      // since the last successor began
    int64_t killed_us; // 0: none is dead
    bool dead;         // its death was told
    uint32_t victim;   // its slot
    double *times_ms;  // [kills]
    char failure[600];
};

static void stop_with(struct killing *k, const char *why)
{
    snprintf(k->failure, sizeof k->failure, "%s", why);
    loop_stop(k->loop);
}

static void on_limit(void *ctx)
{
    stop_with(ctx, "a killed child had no successor that answered in time");
}

// Every lane is full all the time, as with a queue that is never empty.
static void on_fill(void *ctx)
{
    struct killing *k = ctx;
    while (crew_room(k->crew) > 0) {
        const struct buf *picture = &k->files->contents[k->next++ % k->files->count];
        const struct crew_job job = {.picture = buf_view(picture), .timeout_ms = JOB_MS_MAX};
        crew_hand_over(k->crew, (void *)(uintptr_t)k->next, &job);
    }
}

// From the loop, right after the callback that it follows.
static void fill_soon(struct killing *k)
{
    loop_timer_set(k->loop, &k->fill, loop_now_ms(k->loop), on_fill, k);
}

static void kill_one(struct killing *k)
{
    pid_t pid = bench_nth_child(getpid(), k->done % k->workers);
    k->dead = false;
    loop_timer_set(k->loop, &k->limit, loop_now_ms(k->loop) + KILL_S_MAX * 1000, on_limit, k);
    k->killed_us = clock_monotonic_us();
    if (pid <= 0 || kill(pid, SIGKILL) != 0)
        stop_with(k, "no child could be found and killed");
}

static void on_ready(void *ctx)
{
    struct killing *k = ctx;
    fill_soon(k);
}

static void on_failed(void *ctx, const char *sentence)
{
    stop_with(ctx, sentence);
}

// It began when it had been told to, received its packet and looked at the clock: its own times are
// what came after that.
static void on_answer(void *ctx, void *task, const struct crew_answer *answer)
{
    struct killing *k = ctx;
    (void)task;
    int64_t begun_us = clock_monotonic_us() - answer->decode_us - answer->infer_us;
    if (k->killed_us != 0 && k->dead && answer->child == k->victim) {
        k->times_ms[k->done++] = (double)(begun_us - k->killed_us) / 1000;
        k->killed_us = 0;
        k->answers = 0;
    }
    if (k->done == k->kills)
        loop_stop(k->loop);
    else if (k->killed_us == 0 && ++k->answers > 3 * k->workers)
        kill_one(k);
    fill_soon(k);
}

static void on_death(void *ctx, void *task, const struct crew_death *death)
{
    struct killing *k = ctx;
    (void)task;
    if (k->killed_us == 0 || k->dead || death->signal != SIGKILL)
        stop_with(k, death->sentence);
    k->dead = true;
    k->victim = death->child;
    fill_soon(k);
}

static void on_return(void *ctx, void *task)
{
    (void)task;
    fill_soon(ctx);
}

static enum err run(struct killing *k, const struct crew_config *config, struct error *error)
{
    TRY(crew_new(config, &k->crew, error));
    loop_timer_set(k->loop, &k->limit, loop_now_ms(k->loop) + WORKER_LOAD_S_MAX * 1000, on_limit,
                   k);
    TRY(loop_run(k->loop, error));
    return k->failure[0] == '\0' ? OK : fail(error, ERR_UNAVAILABLE, 0, "%s", k->failure);
}

enum err bench_successor_run(const char *model, const char *search_path, int workers,
                             const struct bench_files *files, int kills,
                             struct bench_successor *out, struct error *error)
{
    struct killing k = {.files = files, .workers = workers, .kills = kills};
    k.times_ms = calloc((size_t)kills, sizeof *k.times_ms);
    CHECK(k.times_ms != NULL && kills > 0);
    enum err err = loop_new(&k.loop, error);
    const struct crew_config config = {.loop = k.loop,
                                       .model = model,
                                       .search_path = search_path,
                                       .children = workers,
                                       .job_timeout_ms = JOB_MS_MAX,
                                       .handlers = {.ctx = &k,
                                                    .on_ready = on_ready,
                                                    .on_failed = on_failed,
                                                    .on_answer = on_answer,
                                                    .on_death = on_death,
                                                    .on_return = on_return}};
    if (err == OK)
        err = run(&k, &config, error);
    if (err == OK) {
        out->p50_ms = bench_percentile(k.times_ms, (size_t)kills, 0.5);
        out->max_ms = k.times_ms[kills - 1]; // sorted now
    }
    crew_free(k.crew);
    if (k.loop != NULL) {
        loop_timer_cancel(k.loop, &k.fill);
        loop_timer_cancel(k.loop, &k.limit);
    }
    loop_free(k.loop);
    free(k.times_ms);
    return err;
}
