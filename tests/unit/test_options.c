#include "cli/options.h"

#include "base/file.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct option table[] = {
    {"sqs-listen", "ADDR:PORT", "127.0.0.1:9324", "where the queue listens"},
    {"workers", "N", NULL, "number of children"},
    {"json", NULL, NULL, "machine-readable"},
    {NULL, NULL, NULL, NULL},
};

static int parse(struct options *o, int argc, const char **argv)
{
    return options_parse(o, table, "smelt test", "About.", argc, (char **)(uintptr_t)argv);
}

START_TEST(flags_in_every_form)
{
    struct options o;
    const char *argv[] = {"test",         "a",       "--workers=3", "--json", "b",
                          "--sqs-listen", "[::1]:1", "--",          "--c"};
    ck_assert_int_eq(parse(&o, 9, argv), -1);
    ck_assert_str_eq(options_get(&o, "sqs-listen"), "[::1]:1");
    long n = 0;
    ck_assert(options_int(&o, "workers", 1, 10, &n) && n == 3);
    ck_assert(!options_int(&o, "workers", 1, 2, &n));
    ck_assert(options_on(&o, "json"));
    ck_assert_int_eq(o.argument_count, 3);
    ck_assert_str_eq(o.arguments[0], "a");
    ck_assert_str_eq(o.arguments[1], "b");
    ck_assert_str_eq(o.arguments[2], "--c");
    options_release(&o);
}
END_TEST

START_TEST(default_then_file_then_environment_then_flag)
{
    struct options o;
    char path[] = "/tmp/smelt-config-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    struct error error;
    const char text[] =
        "# c\n[serve]\nunheard-of = 1\nworkers=9\n[smelt]\n sqs-listen =  1.2.3.4:5 \r\n"
        "[test] ; ours\nworkers=2\n[other]\nsqs-listen=no\n";
    ck_assert_int_eq(fd_write_all(fd, text, sizeof text - 1, path, &error), OK);
    close(fd);
    const char *argv[] = {"test", "--config", path, "--workers", "4"};
    ck_assert_int_eq(parse(&o, 1, argv), -1);
    ck_assert_str_eq(options_get(&o, "sqs-listen"), "127.0.0.1:9324");
    ck_assert(!options_given(&o, "sqs-listen"));
    ck_assert_int_eq(parse(&o, 5, argv), -1);
    ck_assert_str_eq(options_get(&o, "sqs-listen"), "1.2.3.4:5");
    ck_assert_str_eq(options_get(&o, "workers"), "4");
    options_release(&o);
    setenv("SMELT_SQS_LISTEN", "9.9.9.9:9", 1);
    ck_assert_int_eq(parse(&o, 3, argv), -1);
    ck_assert_str_eq(options_get(&o, "sqs-listen"), "9.9.9.9:9");
    ck_assert_str_eq(options_get(&o, "workers"), "2");
    options_release(&o);
    unlink(path);
}
END_TEST

START_TEST(usage_errors_are_2_and_help_is_0)
{
    struct options o;
    const char *unknown[] = {"test", "--worker", "3"};
    const char *no_value[] = {"test", "--workers"};
    const char *single[] = {"test", "-w"};
    const char *no_file[] = {"test", "--config", "/nonexistent"};
    const char *help[] = {"test", "--help"};
    ck_assert_int_eq(parse(&o, 3, unknown), 2);
    ck_assert_int_eq(parse(&o, 2, no_value), 2);
    ck_assert_int_eq(parse(&o, 2, single), 2);
    ck_assert_int_eq(parse(&o, 3, no_file), 2);
    ck_assert_int_eq(parse(&o, 2, help), 0);
}
END_TEST

SUITE_MAIN("options", flags_in_every_form, default_then_file_then_environment_then_flag,
           usage_errors_are_2_and_help_is_0)
