// The supervisor with roles that this program itself plays: it starts /proc/self/exe.
#include "cli/supervisor.h"

#include "suite.h"

#include "base/file.h"
#include "base/log.h"
#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

// --- the roles: argv is "role", NAME, MODE, the log's path, PORT ---

static void note(const char *path, const char *what, const char *name)
{
    char line[100];
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    int len = snprintf(line, sizeof line, "%s %s\n", what, name);
    if (write(fd, line, (size_t)len) != len)
        _exit(99);
    close(fd);
}

static int count_in(const char *path, const char *line)
{
    struct buf text = {0};
    struct error error;
    int count = 0;
    if (file_read(path, 1 << 20, &text, &error) == OK)
        for (const char *at = text.data; (at = strstr(at, line)) != NULL; at++)
            count++;
    buf_release(&text);
    return count;
}

static int play_role(char **argv)
{
    const char *name = argv[1], *mode = argv[2], *path = argv[3];
    char line[64];
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    note(path, "start", name);
    if (strcmp(mode, "dies") == 0)
        return 3;
    if (strcmp(mode, "fails") == 0) {
        process_failed(4, "the disk is full; make room");
        return 1;
    }
    process_ready(4, atoi(argv[4]) != 0 ? atoi(argv[4]) : 4711);
    snprintf(line, sizeof line, "start %s\n", name);
    if (strcmp(mode, "crashes-once") == 0 && count_in(path, line) == 1)
        raise(SIGKILL);
    int signals = signalfd(-1, &term, SFD_CLOEXEC);
    struct pollfd fds[2] = {{.fd = 3, .events = POLLIN},
                            {.fd = strcmp(mode, "stubborn") == 0 ? -1 : signals, .events = POLLIN}};
    while (poll(fds, 2, -1) < 0)
        continue;
    note(path, fds[1].revents != 0 ? "term" : "lifeline", name);
    return 0;
}

// --- the test's side ---

static char log_path[64];
static const char *modes[3];
static struct loop *loop;
static struct supervisor *supervisor;
static bool ready, stopped, stop_when_ready;
static char sentence[700];
static int ports[3];

static void arguments(int role, int port, const char **argv)
{
    static const char *const names[] = {"first", "second", "third"};
    static char text[3][16];
    snprintf(text[role], sizeof text[role], "%d", port);
    ports[role] = port;
    argv[0] = "role";
    argv[1] = names[role];
    argv[2] = modes[role];
    argv[3] = log_path;
    argv[4] = text[role];
}

static void first(void *ctx, int port, const char **argv)
{
    (void)ctx;
    arguments(0, port, argv);
}

static void second(void *ctx, int port, const char **argv)
{
    (void)ctx;
    arguments(1, port, argv);
}

static void third(void *ctx, int port, const char **argv)
{
    (void)ctx;
    arguments(2, port, argv);
}

static const struct supervisor_role roles[] = {
    {"first", 0, 1, first}, {"second", 1, 1, second}, {"third", 1 | 2, 1, third}};

static void on_ready(void *ctx)
{
    (void)ctx;
    ready = true;
    if (stop_when_ready)
        supervisor_stop(supervisor);
    else
        loop_stop(loop);
}

static void on_stopped(void *ctx, const char *why)
{
    (void)ctx;
    stopped = true;
    snprintf(sentence, sizeof sentence, "%s", why != NULL ? why : "");
    loop_stop(loop);
}

static void on_child(void *ctx, int signal)
{
    (void)ctx, (void)signal;
    supervisor_child_ended(supervisor);
}

static void set_up(const char *a, const char *b, const char *c)
{
    static const int signals[] = {SIGCHLD, 0};
    struct error error;
    log_init("test", LOG_ERROR);
    snprintf(log_path, sizeof log_path, "/tmp/test-supervisor-%d", (int)getpid());
    unlink(log_path);
    modes[0] = a;
    modes[1] = b;
    modes[2] = c;
    ck_assert_int_eq(loop_new(&loop, &error), OK);
    ck_assert_int_eq(loop_signals(loop, signals, on_child, NULL, &error), OK);
    const struct supervisor_config config = {.loop = loop,
                                             .roles = roles,
                                             .role_count = 3,
                                             .on_ready = on_ready,
                                             .on_stopped = on_stopped};
    supervisor = supervisor_new(&config);
    supervisor_start(supervisor);
}

static void run(void)
{
    ck_assert_int_eq(loop_run(loop, NULL), OK);
}

static void tear_down(void)
{
    supervisor_free(supervisor);
    loop_free(loop);
    unlink(log_path);
}

static void assert_log(const char *expected)
{
    struct buf text = {0};
    struct error error;
    ck_assert_int_eq(file_read(log_path, 1 << 20, &text, &error), OK);
    ck_assert_str_eq(text.data, expected);
    buf_release(&text);
}

START_TEST(starts_in_order_of_need_and_stops_in_reverse)
{
    set_up("good", "good", "good");
    run();
    ck_assert(ready && !stopped);
    ck_assert_int_eq(supervisor_port(supervisor, 2), 4711);
    supervisor_stop(supervisor);
    run();
    ck_assert(stopped);
    ck_assert_str_eq(sentence, "");
    assert_log("start first\nstart second\nstart third\nterm third\nterm second\nterm first\n");
    tear_down();
}
END_TEST

START_TEST(a_role_that_ends_comes_back_on_its_port)
{
    set_up("good", "crashes-once", "good");
    run();
    ck_assert(ready);
    while (count_in(log_path, "start second\n") < 2) { // until it was started again
        struct timer stop = {0};
        loop_timer_set(loop, &stop, loop_now_ms(loop) + 10, on_ready, NULL);
        run();
    }
    ck_assert_int_eq(ports[1], 4711);                         // asked to listen where it did before
    ck_assert_int_eq(count_in(log_path, "start first\n"), 1); // the others were left alone
    ck_assert_int_eq(count_in(log_path, "start third\n"), 1);
    supervisor_stop(supervisor);
    run();
    ck_assert(stopped);
    tear_down();
}
END_TEST

START_TEST(a_role_that_cannot_start_ends_it_all_with_its_sentence)
{
    set_up("good", "fails", "good");
    run();
    ck_assert(stopped && !ready);
    ck_assert_str_eq(sentence, "second: the disk is full; make room");
    assert_log("start first\nstart second\nterm first\n");
    tear_down();
}
END_TEST

START_TEST(a_role_that_dies_while_starting_ends_it_all)
{
    set_up("good", "good", "dies");
    run();
    ck_assert(stopped && !ready);
    ck_assert_ptr_nonnull(strstr(sentence, "third: it ended while starting (exit code 3)"));
    tear_down();
}
END_TEST

START_TEST(a_role_that_does_not_stop_is_killed_after_its_time)
{
    set_up("good", "stubborn", "good");
    stop_when_ready = true;
    run();
    ck_assert(stopped);
    assert_log("start first\nstart second\nstart third\nterm third\nterm first\n");
    tear_down();
}
END_TEST

START_TEST(the_second_stop_kills)
{
    set_up("good", "good", "stubborn");
    run();
    supervisor_stop(supervisor);
    supervisor_stop(supervisor);
    run();
    ck_assert(stopped);
    ck_assert_int_eq(count_in(log_path, "term "), 0);
    tear_down();
}
END_TEST

START_TEST(roles_see_their_lifeline_end)
{
    set_up("good", "good", "good");
    run();
    supervisor_free(supervisor); // as when the process ends: the pipes close
    while (count_in(log_path, "lifeline ") < 3)
        ck_assert_int_ge(wait(NULL), 0);
    loop_free(loop);
    unlink(log_path);
}
END_TEST

int main(int argc, char **argv)
{
    const TTest *const tests[] = {
        starts_in_order_of_need_and_stops_in_reverse,
        a_role_that_ends_comes_back_on_its_port,
        a_role_that_cannot_start_ends_it_all_with_its_sentence,
        a_role_that_dies_while_starting_ends_it_all,
        a_role_that_does_not_stop_is_killed_after_its_time,
        the_second_stop_kills,
        roles_see_their_lifeline_end,
    };
    if (argc > 4 && strcmp(argv[0], "role") == 0)
        return play_role(argv);
    return suite_run("supervisor", tests, sizeof tests / sizeof tests[0]);
}
