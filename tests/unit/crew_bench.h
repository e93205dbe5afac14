// A crew with real processes for tests: zygote, children, sandbox. The test program itself is the
// zygote's program (argv[1] "zygote"), with a predictor whose pictures are commands.
#pragma once

#include "worker/crew.h"

#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "fake_predictor.h"
#include "zygote_main.h"

#include "suite.h"

#include <dirent.h>
#include <sys/wait.h>

#define TASK(number) ((void *)(intptr_t)((number) + 1))

struct bench {
    struct loop *loop;
    struct crew *crew;
    struct timer limit;
    bool ready, failed;
    int timeout_ms;
    struct crew_config elastic; // what open_crew takes of it, once
    char sentence[700];
    int answers, deaths, returns, wanted; // the loop stops at `wanted` of them together
    char text[64][200];                   // by task: what it ended with
    enum err err[64];
    struct crew_death death[64];
    int64_t ended_us[64];
    char sha[64][65]; // of the model that answered
};

static struct bench b;

// A sanitizer must leave the signals alone whose effect is tested here.
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "handle_segv=0:handle_abort=0:handle_sigill=0:handle_sigbus=0:allocator_may_return_null="
           "1";
}

static inline void count(int *counter)
{
    (*counter)++;
    if (b.answers + b.deaths + b.returns >= b.wanted)
        loop_stop(b.loop);
}

static inline void on_ready(void *ctx)
{
    (void)ctx;
    b.ready = true;
    loop_stop(b.loop);
}

static inline void on_failed(void *ctx, const char *sentence)
{
    (void)ctx;
    b.failed = true;
    snprintf(b.sentence, sizeof b.sentence, "%s", sentence);
    loop_stop(b.loop);
}

static inline void on_answer(void *ctx, void *task, const struct crew_answer *answer)
{
    int i = (int)(intptr_t)task - 1;
    (void)ctx;
    b.err[i] = answer->err;
    snprintf(b.sha[i], sizeof b.sha[i], "%s", answer->model->sha256);
    b.ended_us[i] = clock_monotonic_us();
    snprintf(b.text[i], sizeof b.text[i], "%.*s", (int)answer->text.len, answer->text.data);
    if (strstr(b.text[i], "\"model\":") != NULL) {
        strcat(b.text[i], " ");
        strcat(b.text[i], answer->model->name);
    }
    count(&b.answers);
}

static inline void on_death(void *ctx, void *task, const struct crew_death *death)
{
    int i = (int)(intptr_t)task - 1;
    (void)ctx;
    b.death[i] = *death;
    b.ended_us[i] = clock_monotonic_us();
    snprintf(b.text[i], sizeof b.text[i], "death");
    count(&b.deaths);
}

static inline void on_return(void *ctx, void *task)
{
    (void)ctx;
    snprintf(b.text[(int)(intptr_t)task - 1], sizeof b.text[0], "returned");
    count(&b.returns);
}

static inline void on_limit(void *ctx)
{
    (void)ctx;
    loop_stop(b.loop);
}

static inline void open_crew(const char *model, int children, int timeout_ms)
{
    const struct crew_config elastic = b.elastic;
    memset(&b, 0, sizeof b);
    b.timeout_ms = timeout_ms;
    log_init("test", getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR + 1);
    ck_assert_int_eq(loop_new(&b.loop, NULL), OK);
    const struct crew_config config = {
        .loop = b.loop,
        .model = model,
        .search_path = "",
        .children = children,
        .children_min = elastic.children_min,
        .idle_ms = elastic.idle_ms,
        .memory_bytes = elastic.memory_bytes,
        .job_timeout_ms = timeout_ms,
        .handlers = {NULL, on_ready, on_failed, on_answer, on_death, on_return}};
    struct error error;
    ck_assert_msg(crew_new(&config, &b.crew, &error) == OK, "%s", error.msg);
    loop_timer_set(b.loop, &b.limit, clock_monotonic_ms() + 30000, on_limit, NULL);
    ck_assert_int_eq(loop_run(b.loop, NULL), OK);
}

static inline void close_crew(void)
{
    crew_free(b.crew);
    loop_timer_cancel(b.loop, &b.limit);
    loop_free(b.loop);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); // no zombie
}

static inline void hand_job(int task, const char *command, struct crew_job job)
{
    ck_assert_uint_gt(crew_room(b.crew), 0);
    job.picture = span_from(command);
    if (job.timeout_ms == 0)
        job.timeout_ms = b.timeout_ms;
    crew_hand_over(b.crew, TASK(task), &job);
}

static inline void hand(int task, const char *command)
{
    hand_job(task, command, (struct crew_job){0});
}

// Runs until `wanted` tasks have ended in some way since the last call.
static inline void run_for(int wanted)
{
    b.wanted = b.answers + b.deaths + b.returns + wanted;
    ck_assert_int_eq(loop_run(b.loop, NULL), OK);
    ck_assert_int_eq(b.answers + b.deaths + b.returns, b.wanted);
}

static inline void run_ms(int ms)
{
    loop_timer_set(b.loop, &b.limit, clock_monotonic_ms() + ms, on_limit, NULL);
    b.wanted = 1000;
    ck_assert_int_eq(loop_run(b.loop, NULL), OK);
    loop_timer_set(b.loop, &b.limit, clock_monotonic_ms() + 30000, on_limit, NULL);
}

static inline pid_t child_of(pid_t parent, bool last)
{
    char path[64], line[200];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, file));
    fclose(file);
    char *at = line;
    pid_t pid = (pid_t)strtol(at, &at, 10);
    for (long next; last && (next = strtol(at, &at, 10)) != 0;)
        pid = (pid_t)next;
    return pid;
}

static inline pid_t zygote_of(pid_t parent)
{
    return child_of(parent, false);
}

static inline pid_t last_child_of(pid_t parent)
{
    return child_of(parent, true);
}

static inline int open_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}
