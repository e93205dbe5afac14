// The crew: jobs, deaths, cancellation, the sandbox.
#include "crew_bench.h"

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
                                  the_sandbox_denies,
#ifndef __SANITIZE_ADDRESS__ // whose run-time needs some of these
                                  the_sandbox_denies_every_other_way_out,
#endif
                                  memory_is_bounded_and_the_slot_is_read_only,
                                  keys_do_not_reach_a_child};
    return suite_run("crew", tests, sizeof tests / sizeof tests[0]);
}
