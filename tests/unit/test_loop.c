#include "base/loop.h"

#include "suite.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int order[8], order_len;
static struct loop *loop;

static void note_and_stop(void *ctx)
{
    order[order_len++] = (int)(intptr_t)ctx;
    if (order_len == 3)
        loop_stop(loop);
}

START_TEST(timers_fire_in_order_of_time)
{
    struct timer a = {0}, b = {0}, c = {0}, d = {0};
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    int64_t now = loop_now_ms(loop);
    loop_timer_set(loop, &a, now + 20, note_and_stop, (void *)1);
    loop_timer_set(loop, &b, now + 5, note_and_stop, (void *)2);
    loop_timer_set(loop, &c, now + 10, note_and_stop, (void *)3);
    loop_timer_set(loop, &d, now + 1, note_and_stop, (void *)4);
    loop_timer_cancel(loop, &d);
    ck_assert_int_eq(loop_run(loop, NULL), OK);
    ck_assert_int_eq(order[0], 2);
    ck_assert_int_eq(order[1], 3);
    ck_assert_int_eq(order[2], 1);
    loop_free(loop);
}
END_TEST

START_TEST(timer_heap_survives_many_sets_and_cancels)
{
    enum { N = 500 };
    static struct timer timers[N];
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    srand(7);
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < N; i++) {
            if (rand() % 3 == 0)
                loop_timer_cancel(loop, &timers[i]);
            else
                loop_timer_set(loop, &timers[i], rand() % 1000 - 2000, note_and_stop, NULL);
        }
    for (int i = 0; i < N; i++)
        loop_timer_cancel(loop, &timers[i]);
    order_len = 0;
    int64_t now = loop_now_ms(loop);
    for (int i = 0; i < 3; i++)
        loop_timer_set(loop, &timers[i], now, note_and_stop, (void *)(intptr_t)i);
    ck_assert_int_eq(loop_run(loop, NULL), OK);
    ck_assert_int_eq(order_len, 3);
    loop_free(loop);
}
END_TEST

struct pair {
    struct watch a, b;
    int calls;
};

static void remove_both(void *ctx, uint32_t events)
{
    struct pair *p = ctx;
    (void)events;
    p->calls++;
    loop_watch_remove(loop, &p->a);
    loop_watch_remove(loop, &p->b);
    loop_stop(loop);
}

START_TEST(removed_watch_is_not_called_for_events_already_fetched)
{
    struct pair p = {0};
    int x = eventfd(1, EFD_NONBLOCK), y = eventfd(1, EFD_NONBLOCK);
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    ck_assert_int_eq(loop_watch_add(loop, &p.a, x, EPOLLIN, remove_both, &p, NULL), OK);
    ck_assert_int_eq(loop_watch_add(loop, &p.b, y, EPOLLIN, remove_both, &p, NULL), OK);
    ck_assert_int_eq(loop_run(loop, NULL), OK);
    ck_assert_int_eq(p.calls, 1);
    loop_free(loop);
    close(x);
    close(y);
}
END_TEST

SUITE_MAIN("loop", timers_fire_in_order_of_time, timer_heap_survives_many_sets_and_cancels,
           removed_watch_is_not_called_for_events_already_fetched)
