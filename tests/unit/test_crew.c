// The crew with real processes: zygote, children, sandbox. The test program itself is the zygote's
// program (argv[1] "zygote"), with a predictor whose pictures are commands.
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

static void count(int *counter)
{
    (*counter)++;
    if (b.answers + b.deaths + b.returns >= b.wanted)
        loop_stop(b.loop);
}

static void on_ready(void *ctx)
{
    (void)ctx;
    b.ready = true;
    loop_stop(b.loop);
}

static void on_failed(void *ctx, const char *sentence)
{
    (void)ctx;
    b.failed = true;
    snprintf(b.sentence, sizeof b.sentence, "%s", sentence);
    loop_stop(b.loop);
}

static void on_answer(void *ctx, void *task, const struct crew_answer *answer)
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

static void on_death(void *ctx, void *task, const struct crew_death *death)
{
    int i = (int)(intptr_t)task - 1;
    (void)ctx;
    b.death[i] = *death;
    b.ended_us[i] = clock_monotonic_us();
    snprintf(b.text[i], sizeof b.text[i], "death");
    count(&b.deaths);
}

static void on_return(void *ctx, void *task)
{
    (void)ctx;
    snprintf(b.text[(int)(intptr_t)task - 1], sizeof b.text[0], "returned");
    count(&b.returns);
}

static void on_limit(void *ctx)
{
    (void)ctx;
    loop_stop(b.loop);
}

static void open_crew(const char *model, int children, int timeout_ms)
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

static void close_crew(void)
{
    crew_free(b.crew);
    loop_timer_cancel(b.loop, &b.limit);
    loop_free(b.loop);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1); // no zombie
}

static void hand_job(int task, const char *command, struct crew_job job)
{
    ck_assert_uint_gt(crew_room(b.crew), 0);
    job.picture = span_from(command);
    if (job.timeout_ms == 0)
        job.timeout_ms = b.timeout_ms;
    crew_hand_over(b.crew, TASK(task), &job);
}

static void hand(int task, const char *command)
{
    hand_job(task, command, (struct crew_job){0});
}

// Runs until `wanted` tasks have ended in some way since the last call.
static void run_for(int wanted)
{
    b.wanted = b.answers + b.deaths + b.returns + wanted;
    ck_assert_int_eq(loop_run(b.loop, NULL), OK);
    ck_assert_int_eq(b.answers + b.deaths + b.returns, b.wanted);
}

static void run_ms(int ms)
{
    loop_timer_set(b.loop, &b.limit, clock_monotonic_ms() + ms, on_limit, NULL);
    b.wanted = 1000;
    ck_assert_int_eq(loop_run(b.loop, NULL), OK);
    loop_timer_set(b.loop, &b.limit, clock_monotonic_ms() + 30000, on_limit, NULL);
}

START_TEST(jobs_are_answered_and_bad_pictures_cost_nothing)
{
    open_crew("fake", 2, 5000);
    ck_assert(b.ready);
    ck_assert_str_eq(crew_model(b.crew, 0)->name, "fake");
    ck_assert_str_eq(crew_model(b.crew, 0)->sha256, "00ff");
    ck_assert_str_eq(crew_model(b.crew, 0)->precision, "fp32");
    ck_assert_str_eq(crew_model(b.crew, 0)->preprocessing, "stretch nearest exact");
    hand(0, "ok one");
    hand(1, "bad half a picture");
    run_for(2);
    ck_assert_str_eq(b.text[0], "{\"said\":\"ok one\"}");
    ck_assert_int_eq(b.err[1], ERR_FORMAT);
    ck_assert_str_eq(b.text[1], "half a picture");
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 0);
    close_crew();
}
END_TEST

START_TEST(a_crash_costs_one_job_and_names_its_signal)
{
    open_crew("fake", 1, 5000);
    hand(0, "crash");
    hand(1, "ok behind it"); // in the second lane
    run_for(2);
    ck_assert_str_eq(b.text[0], "death");
    ck_assert_ptr_nonnull(strstr(b.death[0].sentence, "signal 11"));
    ck_assert(!b.death[0].hung);
    ck_assert_str_eq(b.text[1], "returned");
    hand(1, "ok again"); // to the successor, while it starts
    run_for(1);
    ck_assert_str_eq(b.text[1], "{\"said\":\"ok again\"}");
    close_crew();
}
END_TEST

START_TEST(abort_exit_and_many_deaths_in_a_row)
{
    open_crew("fake", 1, 5000);
    static const char *const commands[] = {"abort", "exit", "crash", "abort", "crash"};
    for (int i = 0; i < 5; i++) {
        if (crew_room(b.crew) == 0) { // back-off: wait for the successor
            loop_timer_set(b.loop, &b.limit, clock_monotonic_ms() + 1000, on_limit, NULL);
            b.wanted = 1000;
            ck_assert_int_eq(loop_run(b.loop, NULL), OK);
        }
        hand(i, commands[i]);
        run_for(1);
        ck_assert_str_eq(b.text[i], "death");
    }
#ifndef __SANITIZE_ADDRESS__ // which does forbidden things on the way out
    ck_assert_msg(strstr(b.death[1].sentence, "status 7") != NULL, "%s", b.death[1].sentence);
#endif
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 5);
    close_crew();
}
END_TEST

START_TEST(a_hanging_child_is_killed_and_the_next_job_comes_back)
{
    open_crew("fake", 1, 100);
    hand(0, "hang");
    hand(1, "ok");
    run_for(2);
    ck_assert_str_eq(b.text[0], "death");
    ck_assert(b.death[0].hung);
    ck_assert_str_eq(b.text[1], "returned");
    ck_assert_uint_eq(crew_counts(b.crew).hung, 1);
    close_crew();
}
END_TEST

START_TEST(a_deadline_inside_the_engine_spares_the_child)
{
    open_crew("fake", 1, 100);
    hand(0, "slow 5000");
    run_for(1);
    ck_assert_int_eq(b.err[0], ERR_TIMEOUT);
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 0);
    close_crew();
}
END_TEST

START_TEST(each_job_has_its_own_time)
{
    open_crew("fake", 1, 20000);
    hand_job(0, "slow 5000", (struct crew_job){.timeout_ms = 50});
    hand_job(1, "ok", (struct crew_job){.deadline_ms = clock_monotonic_ms() + 10}); // not begun
    run_for(2);
    ck_assert_int_eq(b.err[0], ERR_TIMEOUT);
    ck_assert_int_eq(b.err[1], ERR_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(b.text[1], "before it began"));
    hand_job(2, "slow 5000", (struct crew_job){.deadline_ms = clock_monotonic_ms() + 50});
    run_for(1);
    ck_assert_int_eq(b.err[2], ERR_TIMEOUT);
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 0);
    close_crew();
}
END_TEST

START_TEST(a_job_can_be_cancelled)
{
    open_crew("fake", 1, 20000);
    hand(0, "slow 15000");
    hand(1, "ok");
    b.wanted = 1000;
    crew_cancel(b.crew, TASK(1)); // not begun
    ck_assert_str_eq(b.text[1], "returned");
    crew_cancel(b.crew, TASK(0));
    crew_cancel(b.crew, TASK(7)); // nobody has it
    b.wanted = 2;
    ck_assert_int_eq(loop_run(b.loop, NULL), OK);
    ck_assert_int_eq(b.err[0], ERR_CANCELLED);
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 0);
    hand(2, "ok");
    run_for(1);
    hand(2, "hang"); // and one that does not hear it, as it is deaf when it is told
    run_ms(100);
    crew_cancel(b.crew, TASK(2));
    run_for(1);
    ck_assert_str_eq(b.text[2], "death");
    ck_assert(b.death[2].cancelled && !b.death[2].hung);
    hand(3, "ok");
    run_for(1);
    ck_assert_str_eq(b.text[3], "{\"said\":\"ok\"}");
    close_crew();
}
END_TEST

START_TEST(a_death_is_explained)
{
    open_crew("fake", 1, 5000);
    hand(0, "print one line\ncrash");
    run_for(1);
    ck_assert_str_eq(b.text[0], "death");
    ck_assert_int_eq(b.death[0].signal, SIGSEGV);
    ck_assert_str_eq(b.death[0].limit, "");
    ck_assert_str_eq(b.death[0].where, "layer 7");
    ck_assert_ptr_nonnull(strstr(b.death[0].tail, "one line\n"));
    hand(1, "try socket");
    run_for(1);
    ck_assert_str_eq(b.death[1].limit, "sandbox");
    ck_assert_str_eq(b.death[1].tail, ""); // of this child, not of the one before
    hand(2, "forge-trace\ncrash");
    run_for(1);
    ck_assert_str_eq(b.death[2].where, "");
    hand(3, "flood");
    run_for(1);
    ck_assert_str_eq(b.text[3], "death");
    ck_assert_uint_eq(strlen(b.death[3].tail), WORKER_STDERR_TAIL_BYTES);
    close_crew();
}
END_TEST

START_TEST(one_zygote_has_several_models)
{
    open_crew("one,two", 2, 5000);
    ck_assert_uint_eq(crew_model_count(b.crew), 2);
    ck_assert_str_eq(crew_model(b.crew, 1)->name, "two");
    ck_assert_int_eq(crew_find_model(b.crew, ""), 0);
    ck_assert_int_eq(crew_find_model(b.crew, "two"), 1);
    ck_assert_int_eq(crew_find_model(b.crew, "three"), -1);
    for (int i = 0; i < 4; i++)
        hand_job(i, "model", (struct crew_job){.model = (size_t)i % 2});
    run_for(4);
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(b.text[i],
                         i % 2 == 0 ? "{\"model\":\"one\"} one" : "{\"model\":\"two\"} two");
    close_crew();
    open_crew("one,one", 1, 5000);
    ck_assert(b.failed);
    ck_assert_ptr_nonnull(strstr(b.sentence, "two models with the name 'one'"));
    close_crew();
}
END_TEST

START_TEST(a_job_behind_a_slow_one_moves_to_an_idle_child)
{
    open_crew("fake", 2, 20000);
    hand(0, "slow 1500");
    hand(1, "slow 50");
    hand(2, "ok"); // behind one of them
    hand(3, "ok"); // behind the other
    run_for(2);    // 1 and the one behind it
    crew_rebalance(b.crew, false);
    ck_assert_int_eq(b.returns, 1);
    hand(strcmp(b.text[2], "returned") == 0 ? 2 : 3, "ok");
    b.wanted = 4 + b.returns;
    ck_assert_int_eq(loop_run(b.loop, NULL), OK);
    ck_assert_int_eq(b.answers, 4);
    ck_assert_int_eq(b.deaths, 0);
    // both short ones were done before the slow one
    ck_assert_int_lt(b.ended_us[2], b.ended_us[0]);
    ck_assert_int_lt(b.ended_us[3], b.ended_us[0]);
    close_crew();
}
END_TEST

START_TEST(draining_takes_back_what_is_not_begun)
{
    open_crew("fake", 1, 5000);
    hand(0, "slow 200");
    hand(1, "ok");
    b.wanted = 1000;
    crew_rebalance(b.crew, true);
    ck_assert_str_eq(b.text[1], "returned");
    b.wanted = 2;
    ck_assert_int_eq(loop_run(b.loop, NULL), OK);
    ck_assert_str_eq(b.text[0], "{\"said\":\"slow 200\"}");
    close_crew();
}
END_TEST

START_TEST(what_a_taken_over_child_says_is_not_believed)
{
    open_crew("fake", 1, 5000);
    hand(0, "garbage");
    run_for(1);
    ck_assert_str_eq(b.text[0], "death");
    hand(1, "not-json");
    run_for(1);
    ck_assert_str_eq(b.text[1], "death");
    close_crew();
}
END_TEST

static pid_t child_of(pid_t parent, bool last)
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

static pid_t zygote_of(pid_t parent)
{
    return child_of(parent, false);
}

static pid_t last_child_of(pid_t parent)
{
    return child_of(parent, true);
}

START_TEST(a_dead_zygote_is_replaced_and_no_job_is_blamed)
{
    open_crew("fake", 2, 5000);
    hand(0, "slow 3000");
    hand(1, "slow 3000");
    kill(zygote_of(getpid()), SIGKILL);
    run_for(2);
    ck_assert_str_eq(b.text[0], "returned");
    ck_assert_str_eq(b.text[1], "returned");
    ck_assert(!crew_able(b.crew));
    b.wanted = 1000;
    while (!crew_able(b.crew)) { // bounded by on_limit of the check above: 60 s of the test
        loop_timer_set(b.loop, &b.limit, clock_monotonic_ms() + 20, on_limit, NULL);
        ck_assert_int_eq(loop_run(b.loop, NULL), OK);
    }
    hand(2, "ok");
    run_for(1);
    ck_assert_str_eq(b.text[2], "{\"said\":\"ok\"}");
    ck_assert_uint_eq(crew_counts(b.crew).zygote_starts, 2);
    close_crew();
}
END_TEST

// A zombie that init has not reaped yet does not live.
static bool process_lives(pid_t pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    if (fscanf(file, "%*d %*s %c", &state) != 1)
        state = 'Z';
    fclose(file);
    return state != 'Z' && state != 'X';
}

START_TEST(children_die_with_the_zygote)
{
    open_crew("fake", 1, 5000);
    hand(0, "pid");
    run_for(1);
    pid_t child = (pid_t)atoi(b.text[0] + strlen("{\"pid\":"));
    ck_assert_int_gt(child, 1);
    ck_assert(process_lives(child));
    hand(1, "hang");
    crew_free(b.crew);
    b.crew = NULL;
    for (int i = 0; i < 1000 && process_lives(child); i++)
        usleep(1000); // it is init's now: nothing tells us
    ck_assert(!process_lives(child));
    loop_timer_cancel(b.loop, &b.limit);
    loop_free(b.loop);
}
END_TEST

START_TEST(a_model_that_cannot_be_loaded_is_explained)
{
    open_crew("missing", 1, 5000);
    ck_assert(b.failed && !b.ready);
    ck_assert_str_eq(b.sentence, "there is no model 'missing' here");
    close_crew();
    open_crew("loader-crash", 1, 5000);
    ck_assert(b.failed);
    ck_assert_ptr_nonnull(strstr(b.sentence, "signal 11"));
    close_crew();
}
END_TEST

static int open_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

// --- generations ---

static char package[64]; // a folder

static void put_content(const char *content)
{
    char path[100], final[100];
    snprintf(path, sizeof path, "%s/new", package);
    snprintf(final, sizeof final, "%s/content", package);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(content, file);
    fclose(file);
    ck_assert_int_eq(rename(path, final), 0);
}

static const char *open_package_crew(const char *content, int children)
{
    static char model[80];
    snprintf(package, sizeof package, "/tmp/smelt-crew-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(package));
    put_content(content);
    snprintf(model, sizeof model, "file:%s", package);
    open_crew(model, children, 20000);
    ck_assert(b.ready);
    return model;
}

static void close_package_crew(void)
{
    char path[100];
    close_crew();
    snprintf(path, sizeof path, "%s/content", package);
    unlink(path);
    rmdir(package);
}

// Bounded by the test's own limit.
static void run_until_refused(uint64_t times)
{
    while (crew_counts(b.crew).refused != times)
        run_ms(5);
}

static void run_until_generation(uint32_t number)
{
    while (crew_counts(b.crew).generation != number)
        run_ms(5);
}

static void ask(int task, const char *expected)
{
    hand(task, "sha");
    run_for(1);
    ck_assert_str_eq(b.text[task], expected);
}

START_TEST(a_changed_package_brings_a_new_generation_between_two_jobs)
{
    open_package_crew("v1", 2);
    ask(0, "{\"sha\":\"v1\"}");
    hand(1, "slow 1500");
    hand(2, "ok"); // to the idle child
    run_for(1);
    put_content("v2"); // noticed by itself
    run_until_generation(2);
    ck_assert_int_eq(b.answers, 2); // the slow one is still computed, by the old child
    ask(3, "{\"sha\":\"v2\"}");     // and the other child has changed already
    run_for(1);
    ck_assert_str_eq(b.text[1], "{\"said\":\"slow 1500\"}");
    ck_assert_str_eq(b.sha[1], "v1"); // its result names the model that answered
    for (int i = 4; i < 8; i++)
        ask(i, "{\"sha\":\"v2\"}");
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 0);
    ck_assert_str_eq(crew_model(b.crew, 0)->sha256, "v2");
    close_package_crew();
}
END_TEST

START_TEST(what_waits_behind_a_job_goes_to_the_new_generation)
{
    open_package_crew("v1", 1);
    hand(0, "slow 1500");
    hand(1, "sha");
    put_content("v2");
    run_until_generation(2);
    ck_assert_str_eq(b.text[1], "returned");
    ck_assert_uint_eq(crew_room(b.crew), 0); // until the job is done
    b.wanted = b.answers + b.deaths + b.returns + 1;
    ck_assert_int_eq(loop_run(b.loop, NULL), OK);
    ck_assert_str_eq(b.text[0], "{\"said\":\"slow 1500\"}");
    ask(1, "{\"sha\":\"v2\"}");
    close_package_crew();
}
END_TEST

START_TEST(a_bad_package_leaves_the_old_one_serving_and_says_why)
{
    static const char *const bad[] = {"", "proof-crash"}, *const why[] = {"no content",
                                                                          "signal 11"};
    open_package_crew("v1", 2);
    for (uint64_t i = 0; i < 2; i++) {
        AUTO_BUF struct buf status = {0};
        put_content(bad[i]);
        run_until_refused(i + 1);
        ask((int)i, "{\"sha\":\"v1\"}");
        crew_status(b.crew, &status);
        ck_assert_msg(strstr(status.data, why[i]) != NULL, "%s", status.data);
        ck_assert_ptr_nonnull(strstr(status.data, "generation 1"));
    }
    put_content("v2"); // and a good one mends it
    run_until_generation(4);
    ask(3, "{\"sha\":\"v2\"}");
    AUTO_BUF struct buf status = {0};
    crew_status(b.crew, &status);
    ck_assert_ptr_null(strstr(status.data, "refused"));
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 0);
    close_package_crew();
}
END_TEST

START_TEST(the_generation_before_comes_back_without_loading)
{
    open_package_crew("v1", 2);
    pid_t first = zygote_of(getpid());
    put_content("v2");
    run_until_generation(2);
    ask(0, "{\"sha\":\"v2\"}");
    put_content("v1");
    run_until_generation(1);
    ck_assert_int_eq(zygote_of(getpid()), first);
    for (int i = 0; i < 4; i++)
        ask(i, "{\"sha\":\"v1\"}");
    put_content("v2"); // and forth
    run_until_generation(2);
    ask(0, "{\"sha\":\"v2\"}");
    put_content("v2"); // the same again is no change
    crew_reload(b.crew);
    run_ms(800);
    ck_assert_uint_eq(crew_counts(b.crew).generation, 2);
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 0);
    close_package_crew();
}
END_TEST

START_TEST(many_changes_under_load_lose_no_job)
{
    open_package_crew("v0", 3);
    int next = 0;
    int descriptors = 0;
    for (int round = 1; round <= 18; round++) {
        char content[20];
        if (round == 8) { // one serves, one is kept
            run_ms(1500);
            descriptors = open_descriptors();
        }
        snprintf(content, sizeof content, "v%d", round % 5);
        put_content(content);
        crew_reload(b.crew);
        for (int i = 0; i < 20; i++) {
            int before = b.answers + b.returns;
            while (crew_room(b.crew) > 0)
                hand(next++ % 60, "slow 3");
            run_ms(5);
            ck_assert_int_ge(b.answers + b.returns, before);
        }
    }
    b.wanted = next;
    if (b.answers + b.returns < next)
        ck_assert_int_eq(loop_run(b.loop, NULL), OK);
    ck_assert_int_eq(b.answers + b.returns, next);
    run_ms(1500);
    ck_assert_int_eq(open_descriptors(), descriptors);
    ck_assert_int_eq(b.deaths, 0);
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 0);
    ck_assert_uint_eq(crew_counts(b.crew).refused, 0);
    ck_assert_uint_gt(crew_counts(b.crew).generation, 2);
    close_package_crew();
}
END_TEST

START_TEST(a_zygote_killed_while_it_is_coming_changes_nothing)
{
    open_package_crew("v1", 1);
    put_content("slow-load");
    crew_reload(b.crew);
    pid_t first = zygote_of(getpid()), coming = 0;
    while ((coming = last_child_of(getpid())) == first)
        run_ms(5);
    kill(coming, SIGKILL);
    run_until_refused(1);
    ask(0, "{\"sha\":\"v1\"}");
    close_package_crew();
}
END_TEST

// --- more and fewer children ---

static void open_elastic(int min, int max, int idle_ms, uint64_t memory_bytes)
{
    b.elastic = (struct crew_config){
        .children = max, .children_min = min, .idle_ms = idle_ms, .memory_bytes = memory_bytes};
    open_crew("fake", max, 20000);
    ck_assert(b.ready);
}

START_TEST(the_crew_grows_with_its_jobs_and_shrinks_when_idle)
{
    open_elastic(1, 4, 300, 0);
    ck_assert_int_eq(crew_counts(b.crew).wanted, 1);
    ck_assert_uint_eq(crew_room(b.crew), 8);
    for (int i = 0; i < 3; i++)
        hand(i, "slow 400"); // each to a child of its own
    ck_assert_int_eq(crew_counts(b.crew).wanted, 3);
    run_for(3);
    ck_assert_int_lt(b.ended_us[2] - b.ended_us[0], 390000); // they did not wait for each other
    for (int i = 0; i < 6; i++) { // one after the other: one child has it all
        hand(i, "pid");
        run_for(1);
        ck_assert_str_eq(b.text[i], b.text[0]);
    }
    while (crew_counts(b.crew).wanted > 1) // bounded by the test's own limit
        run_ms(20);
    ck_assert_int_eq(crew_counts(b.crew).up, 1);
    hand(7, "pid");
    run_for(1);
    ck_assert_str_eq(b.text[7], b.text[0]);
    hand(8, "slow 50"); // and again
    hand(9, "slow 50");
    run_for(2);
    ck_assert_int_eq(crew_counts(b.crew).wanted, 2);
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 0);
    close_crew();
}
END_TEST

START_TEST(memory_limits_the_number_of_children)
{
    open_elastic(4, 8, 1000, 1 << 20); // not even one, but one there must be
    ck_assert_int_eq(crew_counts(b.crew).limit, 1);
    ck_assert_int_eq(crew_counts(b.crew).wanted, 1);
    ck_assert_uint_eq(crew_room(b.crew), 2);
    hand(0, "ok");
    run_for(1);
    close_crew();
    open_elastic(1, 8, 1000, UINT64_C(1) << 40);
    ck_assert_int_eq(crew_counts(b.crew).limit, 8);
    close_crew();
}
END_TEST

START_TEST(a_child_that_dies_above_the_least_comes_back_while_there_is_work)
{
    open_elastic(1, 2, 60000, 0);
    hand(0, "slow 100");
    hand(1, "crash");
    run_for(2);
    ck_assert_str_eq(b.text[1], "death");
    hand(2, "slow 50");
    hand(3, "slow 50");
    run_for(2);
    ck_assert_int_eq(crew_counts(b.crew).up, 2);
    close_crew();
}
END_TEST

#ifndef __SANITIZE_ADDRESS__
START_TEST(the_sandbox_denies_every_other_way_out)
{
    open_crew("fake", 1, 5000);
    size_t count = sizeof bare_calls / sizeof bare_calls[0];
    for (size_t i = 0; i < count + 2; i++) {
        char command[64];
        static const char *const odd[] = {"int80", "x32"};
        const char *name = i < count ? bare_calls[i].name : odd[i - count];
#ifndef __x86_64__
        if (i >= count)
            break;
#endif
        snprintf(command, sizeof command, "try %s", name);
        hand(0, command);
        run_for(1);
        ck_assert_msg(strcmp(b.text[0], "death") == 0, "%s: %s", name, b.text[0]);
        // int80 ends as SIGSEGV where the kernel has no such entry
        ck_assert_msg(strcmp(b.death[0].limit, "sandbox") == 0 || i == count, "%s: %s", name,
                      b.death[0].sentence);
        hand(1, "ok"); // the parent lives, and so does the next child
        run_for(1);
        ck_assert_str_eq(b.text[1], "{\"said\":\"ok\"}");
    }
    close_crew();
}
END_TEST
#endif

START_TEST(the_sandbox_denies)
{
    static const char *const calls[] = {
        "open",      "socket",        "fork",      "execve",      "ptrace", "kill",
        "unlink",    "prctl",         "memfd",     "getdents",    "ioctl",  "sendmsg",
        "setrlimit", "mprotect-exec", "mmap-exec", "mmap-shared", "read-0", "write-1"};
    open_crew("fake", 1, 5000);
    int descriptors = open_descriptors();
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        char command[64];
        snprintf(command, sizeof command, "try %s", calls[i]);
        hand(0, command);
        run_for(1);
#if defined(__SANITIZE_ADDRESS__)
        // a sanitizer's build refuses some instead of killing (sandbox.c says which and why)
        bool refused = strcmp(b.text[0], "{\"got\":-1}") == 0;
#else
        bool refused = false;
#endif
        ck_assert_msg(refused || strcmp(b.text[0], "death") == 0, "%s: %s", calls[i], b.text[0]);
        ck_assert_msg(refused || strstr(b.death[0].sentence, "forbids") != NULL, "%s: %s", calls[i],
                      b.death[0].sentence);
        // the parent lives, and so does the next child; an answer also ends the row of deaths
        hand(1, "ok");
        run_for(1);
        ck_assert_str_eq(b.text[1], "{\"said\":\"ok\"}");
    }
    ck_assert_int_eq(open_descriptors(), descriptors); // a death leaks nothing
    close_crew();
}
END_TEST

START_TEST(memory_is_bounded_and_the_slot_is_read_only)
{
    open_crew("fake", 1, 20000);
    hand(0, "memory");
    run_for(1);
    ck_assert_int_eq(b.err[0], OK);
    int mib = atoi(b.text[0] + strlen("{\"mib\":"));
#ifndef __SANITIZE_ADDRESS__ // whose allocator takes more at once than is left
    ck_assert_int_ge(mib, (WORKER_CHILD_BYTES_MAX >> 20) * 9 / 10);
#endif
    ck_assert_int_le(mib, WORKER_CHILD_BYTES_MAX >> 20);
    hand(0, "write-slot");
    run_for(1);
    ck_assert_str_eq(b.text[0], "death");
    close_crew();
}
END_TEST

START_TEST(keys_do_not_reach_a_child)
{
    setenv("AWS_SECRET_ACCESS_KEY", "verysecret", 1);
    open_crew("fake", 1, 5000);
    hand(0, "environment AWS_SECRET_ACCESS_KEY");
    run_for(1);
    ck_assert_str_eq(b.text[0], "{\"set\":false}");
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)zygote_of(getpid()));
    AUTO_FD int fd = open(path, O_RDONLY);
    char bytes[1 << 16] = "";
    ssize_t got = read(fd, bytes, sizeof bytes);
    ck_assert(got <= 0 || memmem(bytes, (size_t)got, "verysecret", 10) == NULL);
    close_crew();
}
END_TEST

int main(int argc, char **argv)
{
    if (is_zygote(argc, argv))
        return be_zygote(argc, argv);
    const TTest *const tests[] = {jobs_are_answered_and_bad_pictures_cost_nothing,
                                  a_crash_costs_one_job_and_names_its_signal,
                                  abort_exit_and_many_deaths_in_a_row,
                                  a_hanging_child_is_killed_and_the_next_job_comes_back,
                                  a_deadline_inside_the_engine_spares_the_child,
                                  each_job_has_its_own_time,
                                  a_job_can_be_cancelled,
                                  a_death_is_explained,
                                  one_zygote_has_several_models,
                                  a_job_behind_a_slow_one_moves_to_an_idle_child,
                                  draining_takes_back_what_is_not_begun,
                                  what_a_taken_over_child_says_is_not_believed,
                                  a_dead_zygote_is_replaced_and_no_job_is_blamed,
                                  children_die_with_the_zygote,
                                  a_model_that_cannot_be_loaded_is_explained,
                                  a_changed_package_brings_a_new_generation_between_two_jobs,
                                  what_waits_behind_a_job_goes_to_the_new_generation,
                                  a_bad_package_leaves_the_old_one_serving_and_says_why,
                                  the_generation_before_comes_back_without_loading,
                                  many_changes_under_load_lose_no_job,
                                  a_zygote_killed_while_it_is_coming_changes_nothing,
                                  the_crew_grows_with_its_jobs_and_shrinks_when_idle,
                                  memory_limits_the_number_of_children,
                                  a_child_that_dies_above_the_least_comes_back_while_there_is_work,
                                  the_sandbox_denies,
#ifndef __SANITIZE_ADDRESS__ // whose run-time needs some of these
                                  the_sandbox_denies_every_other_way_out,
#endif
                                  memory_is_bounded_and_the_slot_is_read_only,
                                  keys_do_not_reach_a_child};
    return suite_run("crew", tests, sizeof tests / sizeof tests[0]);
}
