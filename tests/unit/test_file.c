#include "base/file.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void make_dir(void)
{
    strcpy(dir, "/tmp/smelt-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

START_TEST(file_is_replaced_whole_and_read_back)
{
    make_dir();
    AUTO_BUF struct buf b = {0};
    struct error error;
    ck_assert_int_eq(file_replace(in_dir("f"), SPAN("one"), 0600, &error), OK);
    ck_assert_int_eq(file_replace(in_dir("f"), SPAN("second"), 0600, &error), OK);
    ck_assert_int_eq(file_read(in_dir("f"), 100, &b, &error), OK);
    ck_assert(span_is(buf_view(&b), "second"));
    struct stat st;
    ck_assert_int_eq(stat(in_dir("f"), &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    buf_clear(&b);
    ck_assert_int_eq(file_read(in_dir("f"), 3, &b, &error), ERR_LIMIT);
    ck_assert_int_eq(file_read(in_dir("none"), 3, &b, &error), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(error.msg, "none"));
    ck_assert_int_eq(file_read(dir, 3, &b, &error), ERR_ARGUMENT);
}
END_TEST

START_TEST(failed_replacement_leaves_the_old_file)
{
    make_dir();
    struct error error;
    ck_assert_int_eq(file_replace(in_dir("f"), SPAN("old"), 0600, &error), OK);
    ck_assert_int_eq(mkdir(in_dir("f.tmp"), 0700), 0); // the temp file cannot be made
    ck_assert_int_ne(file_replace(in_dir("f"), SPAN("new"), 0600, &error), OK);
    AUTO_BUF struct buf b = {0};
    ck_assert_int_eq(file_read(in_dir("f"), 100, &b, &error), OK);
    ck_assert(span_is(buf_view(&b), "old"));
}
END_TEST

START_TEST(directory_has_one_owner)
{
    make_dir();
    int lock = -1, second = -1;
    struct error error;
    ck_assert_int_eq(dir_lock(dir, &lock, &error), OK);
    ck_assert_int_eq(dir_lock(dir, &second, &error), ERR_BUSY);
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    ck_assert_ptr_nonnull(strstr(error.msg, pid));
    ck_assert_ptr_nonnull(strstr(error.msg, dir));
    fd_close(&lock);
    ck_assert_int_eq(dir_lock(dir, &second, &error), OK);
    fd_close(&second);
}
END_TEST

START_TEST(directories_are_made_with_parents)
{
    make_dir();
    struct error error;
    ck_assert_int_eq(dir_make(in_dir("a/b/c"), &error), OK);
    ck_assert_int_eq(dir_make(in_dir("a/b/c"), &error), OK);
    ck_assert_int_eq(file_replace(in_dir("x"), SPAN(""), 0600, &error), OK);
    ck_assert_int_ne(dir_make(in_dir("x/y"), &error), OK);
    ck_assert_int_eq(dir_make(in_dir("x"), &error), ERR_ARGUMENT);
}
END_TEST

SUITE_MAIN("file", file_is_replaced_whole_and_read_back, failed_replacement_leaves_the_old_file,
           directory_has_one_owner, directories_are_made_with_parents)
