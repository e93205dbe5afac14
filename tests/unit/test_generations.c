// The crew over time: generations of models, more and fewer children.
#include "crew_bench.h"

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
    for (int place = 0; place < 2; place++) {
        snprintf(path, sizeof path, "%s-place-%d", package, place);
        unlink(path);
    }
}

// Bounded by the test's own limit.
static void run_until_refused(uint64_t times)
{
    while (crew_counts(b.crew).refused != times)
        run_ms(5);
}

// Their numbers say nothing: a look at packages that turn out to be unchanged takes one, too.
static uint32_t run_until_serving(const char *content)
{
    while (strcmp(crew_model(b.crew, 0)->sha256, content) != 0)
        run_ms(5);
    return crew_counts(b.crew).generation;
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
    run_until_serving("v2");
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
    run_until_serving("v2");
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
    run_until_serving("v2");
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
    uint32_t second = run_until_serving("v2");
    ask(0, "{\"sha\":\"v2\"}");
    put_content("v1");
    ck_assert_uint_eq(run_until_serving("v1"), 1);
    ck_assert_int_eq(zygote_of(getpid()), first);
    for (int i = 0; i < 4; i++)
        ask(i, "{\"sha\":\"v1\"}");
    put_content("v2"); // and forth
    ck_assert_uint_eq(run_until_serving("v2"), second);
    ask(0, "{\"sha\":\"v2\"}");
    put_content("v2"); // the same again is no change
    crew_reload(b.crew);
    run_ms(800);
    ck_assert_uint_eq(crew_counts(b.crew).generation, second);
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

// Children that are busy hold the memory of their generation: a newer one waits for them.
START_TEST(no_more_than_two_generations_are_in_memory)
{
    open_package_crew("v1", 2);
    hand(0, "slow 1200");
    put_content("v2");
    run_until_serving("v2");
    hand(1, "slow 1200");
    put_content("v3"); // the first one is kept, and busy
    crew_reload(b.crew);
    while (strcmp(crew_model(b.crew, 0)->sha256, "v3") != 0) {
        run_ms(5);
        ck_assert_int_le(crew_counts(b.crew).loaded, 2);
    }
    ck_assert_str_eq(b.text[0], "{\"said\":\"slow 1200\"}"); // it was not hurried
    put_content("v4");
    run_until_serving("v4");
    ask(2, "{\"sha\":\"v4\"}");
    ck_assert_uint_eq(crew_counts(b.crew).refused, 0); // "three generations in memory"
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 0);
    close_package_crew();
}
END_TEST

// --- taken back ---

static void expect_taken_back(const char *why)
{
    AUTO_BUF struct buf status = {0};
    ck_assert_uint_eq(crew_counts(b.crew).generation, 1);
    ck_assert_uint_eq(crew_counts(b.crew).taken_back, 1);
    crew_status(b.crew, &status);
    ck_assert_msg(strstr(status.data, why) != NULL, "%s", status.data);
    ck_assert_ptr_nonnull(strstr(status.data, "taken back"));
    ask(60, "{\"sha\":\"v1\"}");
}

// Hands over jobs that the new generation cannot do, each with a picture of its own.
static void spoil(int task)
{
    char picture[40];
    snprintf(picture, sizeof picture, "picture %d", task);
    while (crew_room(b.crew) == 0) // back-off of children that died in a row
        run_ms(5);
    hand(task, picture);
    run_for(1);
}

START_TEST(a_generation_that_crashes_on_jobs_is_taken_back)
{
    open_package_crew("v1", 1);
    pid_t first = zygote_of(getpid());
    ask(0, "{\"sha\":\"v1\"}");
    put_content("real-crash");
    run_until_serving("real-crash"); // its proof was good
    for (int i = 1; i <= WORKER_TRIAL_BAD; i++) {
        ck_assert_str_eq(crew_model(b.crew, 0)->sha256, "real-crash");
        spoil(i);
        ck_assert_str_eq(b.text[i], "death");
    }
    expect_taken_back("killed by signal 11");
    ck_assert_int_eq(zygote_of(getpid()), first); // without loading
    put_content("real-crash");                    // as it was: not tried again
    crew_reload(b.crew);
    run_ms(1500);
    expect_taken_back("killed by signal 11");
    put_content("v3"); // something else
    while (crew_counts(b.crew).generation == 1)
        run_ms(5);
    ask(1, "{\"sha\":\"v3\"}");
    AUTO_BUF struct buf status = {0};
    crew_status(b.crew, &status);
    ck_assert_ptr_null(strstr(status.data, "taken back"));
    close_package_crew();
}
END_TEST

START_TEST(a_generation_that_hangs_or_has_no_memory_is_taken_back)
{
    static const char *const bad[] = {"real-nomem", "real-hang"}, *const why[] = {
                                                                      "no memory for the tensors",
                                                                      "no answer within"};
    for (int k = 0; k < 2; k++) {
        open_package_crew("v1", 3);
        b.timeout_ms = 50;
        put_content(bad[k]);
        run_until_serving(bad[k]);
        for (int i = 0; i < 3; i++) {
            char picture[40];
            snprintf(picture, sizeof picture, "picture %d", i);
            hand(i, picture);
        }
        run_for(3);
        expect_taken_back(why[k]);
        close_package_crew();
    }
}
END_TEST

START_TEST(one_poison_picture_takes_nothing_back)
{
    open_package_crew("v1", 1);
    put_content("v2");
    run_until_serving("v2");
    for (int i = 0; i < 3 * WORKER_TRIAL_BAD; i++) {
        while (crew_room(b.crew) == 0)
            run_ms(5);
        hand(i, i % 2 == 0 ? "crash" : "abort"); // two of them, again and again
        run_for(1);
        ck_assert_str_eq(b.text[i], "death");
    }
    ck_assert_str_eq(crew_model(b.crew, 0)->sha256, "v2");
    ck_assert_uint_eq(crew_counts(b.crew).taken_back, 0);
    close_package_crew();
}
END_TEST

START_TEST(pictures_that_crashed_the_one_before_as_well_take_nothing_back)
{
    static const char *const poison[] = {"crash", "abort", "exit", "try socket"};
    open_package_crew("v1", 1);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 4; i++) {
            while (crew_room(b.crew) == 0)
                run_ms(5);
            hand(i, poison[i]);
            run_for(1);
            ck_assert_str_eq(b.text[i], "death");
        }
        put_content("v2");
        run_until_serving("v2");
    }
    ck_assert_uint_eq(crew_counts(b.crew).taken_back, 0);
    close_package_crew();
}
END_TEST

static void ask_ok(int task)
{
    hand(task, "ok");
    run_for(1);
    ck_assert_str_eq(b.text[task], "{\"said\":\"ok\"}");
}

START_TEST(a_few_bad_ends_among_many_good_ones_take_nothing_back)
{
    open_package_crew("v1", 1);
    put_content("real-crash");
    run_until_serving("real-crash");
    for (int i = 0; i < 60; i++) {
        while (crew_room(b.crew) == 0)
            run_ms(5);
        if (i % 15 == 14)
            spoil(i);
        else
            ask_ok(i);
    }
    ck_assert_uint_eq(crew_counts(b.crew).deaths, 4);
    ck_assert_str_eq(crew_model(b.crew, 0)->sha256, "real-crash");
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

int main(int argc, char **argv)
{
    if (is_zygote(argc, argv))
        return be_zygote(argc, argv);
    const TTest *const tests[] = {a_changed_package_brings_a_new_generation_between_two_jobs,
                                  what_waits_behind_a_job_goes_to_the_new_generation,
                                  a_bad_package_leaves_the_old_one_serving_and_says_why,
                                  the_generation_before_comes_back_without_loading,
                                  many_changes_under_load_lose_no_job,
                                  no_more_than_two_generations_are_in_memory,
                                  a_generation_that_crashes_on_jobs_is_taken_back,
                                  a_generation_that_hangs_or_has_no_memory_is_taken_back,
                                  one_poison_picture_takes_nothing_back,
                                  pictures_that_crashed_the_one_before_as_well_take_nothing_back,
                                  a_few_bad_ends_among_many_good_ones_take_nothing_back,
                                  a_zygote_killed_while_it_is_coming_changes_nothing,
                                  the_crew_grows_with_its_jobs_and_shrinks_when_idle,
                                  memory_limits_the_number_of_children,
                                  a_child_that_dies_above_the_least_comes_back_while_there_is_work};
    return suite_run("generations", tests, sizeof tests / sizeof tests[0]);
}
