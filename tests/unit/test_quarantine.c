#include "cli/quarantine.h"

#include "base/check.h"
#include "base/limits.h"
#include "worker/sandbox.h"

#include "suite.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static enum err good(void *ctx, struct buf *out, struct error *error)
{
    (void)error;
    int *number = ctx;
    for (int i = 0; i < 100000; i++) // more than a pipe holds
        buf_printf(out, "%d ", *number);
    *number = 0; // nobody sees this
    return OK;
}

static enum err refuses(void *ctx, struct buf *out, struct error *error)
{
    (void)ctx;
    buf_add_text(out, "a complaint\n");
    return (fail)(error, ERR_UNSUPPORTED, 0, "no \x1b[31mthanks");
}

static enum err crashes(void *ctx, struct buf *out, struct error *error)
{
    (void)ctx, (void)error;
    buf_add_text(out, "half");
    __builtin_trap();
}

static enum err hangs(void *ctx, struct buf *out, struct error *error)
{
    (void)out, (void)error;
    volatile int *number = ctx;
    while (*number == 7)
        continue;
    return OK;
}

__attribute__((unused)) static enum err opens_a_file(void *ctx, struct buf *out,
                                                     struct error *error)
{
    (void)ctx, (void)error;
    int fd = open("/etc/hostname", O_RDONLY | O_CLOEXEC);
    buf_printf(out, "got %d", fd);
    return OK;
}

static enum err connects(void *ctx, struct buf *out, struct error *error)
{
    (void)ctx, (void)error;
    buf_printf(out, "got %d", socket(AF_INET, SOCK_STREAM, 0));
    return OK;
}

static enum err wants_memory(void *ctx, struct buf *out, struct error *error)
{
    (void)ctx, (void)error;
    void *p = mmap(NULL, MIB(200), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    buf_add_text(out, p == MAP_FAILED ? "none" : "got it");
    return OK;
}

static enum err gives_much(void *ctx, struct buf *out, struct error *error)
{
    (void)ctx, (void)error;
    for (int i = 0; i < 100; i++)
        buf_printf(out, "%065536d", i);
    return OK;
}

// Taken over by foreign bytes: it says what it likes.
static enum err lies(void *ctx, struct buf *out, struct error *error)
{
    (void)ctx, (void)out, (void)error;
    static char bytes[4000];
    memset(bytes, 'x', sizeof bytes);
    CHECK(write(SANDBOX_SOCKET_FD, bytes, sizeof bytes) == sizeof bytes);
    return OK;
}

static int seven = 7;

static enum err run(enum err (*work)(void *, struct buf *, struct error *), struct buf *out,
                    struct error *error)
{
    struct quarantine q = {
        .work = work, .ctx = &seven, .memory_bytes = MIB(64), .cpu_s = 1, .out_bytes_max = MIB(1)};
    *error = (struct error){0};
    buf_clear(out);
    buf_add_text(out, "> ");
    return quarantine_run(&q, out, error);
}

START_TEST(test_results_and_errors_come_back)
{
    AUTO_BUF struct buf out = {0};
    struct error error;
    ck_assert_msg(run(good, &out, &error) == OK, "%s", error.msg);
    ck_assert_uint_eq(out.len, 200002);
    ck_assert(span_starts(buf_view(&out), "> 7 7 7 "));
    ck_assert_int_eq(seven, 7);
    ck_assert_int_eq(run(refuses, &out, &error), ERR_UNSUPPORTED);
    ck_assert_str_eq(error.msg, "no ?[31mthanks");
    ck_assert_str_eq(out.data, "> a complaint\n");
}
END_TEST

START_TEST(test_what_goes_wrong_costs_only_the_child)
{
    static const struct {
        enum err (*work)(void *, struct buf *, struct error *);
        enum err err;
        const char *text;
    } cases[] = {
        {crashes, ERR_FORMAT, "crashed ("},
        {hangs, ERR_FORMAT, "took too long"},
#if !defined(__SANITIZE_ADDRESS__) // whose build refuses files instead (worker/sandbox.c)
        {opens_a_file, ERR_FORMAT, "crashed (Bad system call)"},
#endif
        {connects, ERR_FORMAT, "crashed (Bad system call)"},
        {gives_much, ERR_LIMIT, "over 1048576 bytes"},
        {lies, ERR_INTERNAL, "gave no result"},
    };
    AUTO_BUF struct buf out = {0};
    struct error error;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum err err = run(cases[i].work, &out, &error);
        ck_assert_msg(err == cases[i].err && strstr(error.msg, cases[i].text) != NULL, "%zu: %s %s",
                      i, err_name(err), error.msg);
        if (err != ERR_LIMIT)
            ck_assert_str_eq(out.data, "> ");
    }
}
END_TEST

START_TEST(test_memory_is_bounded)
{
    AUTO_BUF struct buf out = {0};
    struct error error;
    ck_assert_int_eq(run(wants_memory, &out, &error), OK);
    ck_assert_str_eq(out.data, "> none");
}
END_TEST

SUITE_MAIN("quarantine", test_results_and_errors_come_back,
           test_what_goes_wrong_costs_only_the_child, test_memory_is_bounded)
