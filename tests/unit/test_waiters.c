#include "gateway/waiters.h"

#include "suite.h"

#include <stdio.h>

static struct waiters all;
static int calls;

static void count_call(void *ctx, struct span result)
{
    (void)ctx;
    ck_assert(span_is(result, "R"));
    calls++;
}

START_TEST(wakes_only_those_who_wait_for_the_job)
{
    struct waiter a = {0}, b = {0}, c = {0};
    waiters_add(&all, &a, "one", count_call, NULL);
    waiters_add(&all, &b, "one", count_call, NULL);
    waiters_add(&all, &c, "two", count_call, NULL);
    ck_assert_uint_eq(waiters_wake(&all, SPAN("three"), SPAN("R")), 0);
    ck_assert_uint_eq(waiters_wake(&all, SPAN("one"), SPAN("R")), 2);
    ck_assert_int_eq(calls, 2);
    ck_assert_uint_eq(waiters_wake(&all, SPAN("one"), SPAN("R")), 0);
    waiters_remove(&all, &c);
    waiters_remove(&all, &c); // again: nothing happens
    ck_assert_uint_eq(waiters_wake(&all, SPAN("two"), SPAN("R")), 0);
    ck_assert_int_eq(calls, 2);
    waiters_release(&all);
}
END_TEST

START_TEST(waking_with_nobody_waiting_is_fine)
{
    ck_assert_uint_eq(waiters_wake(&all, SPAN("one"), SPAN("R")), 0);
    waiters_release(&all);
}
END_TEST

struct pair {
    struct waiter self, other;
    bool leave;
};

static void leave_or_come_back(void *ctx, struct span result)
{
    struct pair *p = ctx;
    (void)result;
    calls++;
    if (p->leave)
        waiters_remove(&all, &p->other); // waits for the same job and was not called yet, or was
    else
        waiters_add(&all, &p->self, "one", leave_or_come_back, p);
}

START_TEST(a_callback_may_remove_others_and_wait_again)
{
    struct pair p = {.leave = true};
    waiters_add(&all, &p.self, "one", leave_or_come_back, &p);
    waiters_add(&all, &p.other, "one", leave_or_come_back, &p);
    // whoever is called first: `other` is either removed by it or was the first itself
    size_t woken = waiters_wake(&all, SPAN("one"), SPAN("R"));
    ck_assert(woken == 1 || woken == 2);
    ck_assert_uint_eq(all.count, 0);
    p.leave = false;
    waiters_add(&all, &p.self, "one", leave_or_come_back, &p);
    ck_assert_uint_eq(waiters_wake(&all, SPAN("one"), SPAN("R")), 1); // not called twice
    ck_assert_uint_eq(all.count, 1);
    waiters_remove(&all, &p.self);
    waiters_release(&all);
}
END_TEST

START_TEST(thousands_of_jobs_grow_the_table)
{
    enum { N = 5000 };
    static struct waiter waiters[N];
    static char ids[N][16];
    for (int i = 0; i < N; i++) {
        snprintf(ids[i], sizeof ids[i], "job-%d", i);
        waiters_add(&all, &waiters[i], ids[i], count_call, NULL);
    }
    ck_assert_uint_eq(all.count, N);
    for (int i = 0; i < N; i += 2)
        waiters_remove(&all, &waiters[i]);
    for (int i = 0; i < N; i++)
        ck_assert_uint_eq(waiters_wake(&all, span_from(ids[i]), SPAN("R")), (size_t)(i % 2));
    ck_assert_int_eq(calls, N / 2);
    ck_assert_uint_eq(all.count, 0);
    waiters_release(&all);
}
END_TEST

SUITE_MAIN("waiters", wakes_only_those_who_wait_for_the_job, waking_with_nobody_waiting_is_fine,
           a_callback_may_remove_others_and_wait_again, thousands_of_jobs_grow_the_table)
