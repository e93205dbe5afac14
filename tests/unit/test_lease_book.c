#include "worker/lease_book.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/limits.h"

#include "suite.h"
#include "temp_dir.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char dir[64], path[100], said[4000];

static void on_lease(void *ctx, const char *queue_url, const char *receipt)
{
    (void)ctx;
    size_t used = strlen(said);
    snprintf(said + used, sizeof said - used, "%s %s\n", queue_url, receipt);
}

static struct lease_book *open_book(void)
{
    struct lease_book *b;
    struct error error;
    if (dir[0] == '\0') {
        temp_dir_make(dir);
        snprintf(path, sizeof path, "%s/leases", dir);
    }
    ck_assert_msg(lease_book_open(path, &b, &error) == OK, "%s", error.msg);
    return b;
}

// What the next one would hand back at that time.
static const char *left(int64_t now_wall_ms)
{
    struct lease_book *b = open_book();
    said[0] = '\0';
    lease_book_take(b, now_wall_ms, on_lease, NULL);
    lease_book_close(b);
    return said;
}

START_TEST(what_is_in_hand_is_left_to_the_successor)
{
    struct lease_book *b = open_book();
    int a = lease_book_add(b, "http://q/1/jobs", "receipt-a", 1, 1000);
    int gone = lease_book_add(b, "http://q/1/jobs", "receipt-b", 1, 1000);
    int renewed = lease_book_add(b, "http://q/1/slow", "receipt-c", 1, 1000);
    lease_book_add(b, "http://q/1/jobs", "receipt-d", 2, 9000); // killed one poller already
    lease_book_remove(b, gone);
    lease_book_renew(b, renewed, 5000);
    ck_assert_int_ge(a, 0);
    lease_book_close(b);
    ck_assert_str_eq(left(500), "http://q/1/jobs receipt-a\nhttp://q/1/slow receipt-c\n");
    ck_assert_str_eq(left(500), ""); // once
    b = open_book();
    lease_book_add(b, "http://q/1/jobs", "over", 1, 1000);
    int place = lease_book_add(b, "http://q/1/jobs", "there", 1, 2000);
    lease_book_renew(b, place, 3000);
    said[0] = '\0';
    ck_assert_int_eq(lease_book_take(b, 0, on_lease, NULL), 0); // its own are not left
    lease_book_close(b);
    ck_assert_str_eq(left(2000), "http://q/1/jobs there\n");
    temp_dir_remove(dir);
}
END_TEST

START_TEST(damage_costs_its_own_lease_only)
{
    for (off_t at = 0; at < 60; at++) {
        struct lease_book *b = open_book();
        lease_book_add(b, "http://q/1/jobs", "receipt-a", 1, 1000);
        lease_book_add(b, "http://q/1/jobs", "receipt-b", 1, 1000);
        lease_book_close(b);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        char byte;
        ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
        byte ^= 0x41;
        ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        const char *got = left(500);
        // behind the text's end nothing counts
        bool whole = strcmp(got, "http://q/1/jobs receipt-a\nhttp://q/1/jobs receipt-b\n") == 0;
        ck_assert_msg(strcmp(got, "http://q/1/jobs receipt-b\n") == 0 || (whole && at >= 50),
                      "byte %d: %s", (int)at, got);
    }
    ck_assert_int_eq(truncate(path, 30), 0);
    ck_assert_str_eq(left(0), "");
    temp_dir_remove(dir);
}
END_TEST

START_TEST(one_owner_and_limits)
{
    char receipt[3000];
    struct error error;
    struct lease_book *b = open_book(), *second;
    ck_assert_int_eq(lease_book_open(path, &second, &error), ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(error.msg, "another worker"));
    memset(receipt, 'r', sizeof receipt);
    receipt[2900] = '\0';
    ck_assert_int_eq(lease_book_add(b, "http://q/1/jobs", receipt, 1, 1000), -1);
    for (int i = 0; i < LEASE_BOOK_PLACES; i++)
        ck_assert_int_eq(lease_book_add(b, "u", "r", 1, 1000), i);
    ck_assert_int_eq(lease_book_add(b, "u", "r", 1, 1000), -1);
    lease_book_remove(b, 7);
    ck_assert_int_eq(lease_book_add(b, "u", "r", 1, 1000), 7);
    lease_book_close(b);
    ck_assert_int_eq(lease_book_open("/no/such/folder/x", &b, &error), ERR_IO);
    // none at all
    ck_assert_int_eq(lease_book_add(NULL, "u", "r", 1, 1000), -1);
    lease_book_renew(NULL, -1, 0);
    lease_book_remove(NULL, -1);
    ck_assert_int_eq(lease_book_take(NULL, 0, on_lease, NULL), 0);
    lease_book_close(NULL);
    temp_dir_remove(dir);
}
END_TEST

SUITE_MAIN("lease_book", what_is_in_hand_is_left_to_the_successor, damage_costs_its_own_lease_only,
           one_owner_and_limits)
