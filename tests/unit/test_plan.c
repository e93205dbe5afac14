#include "engine/plan.h"

#include "suite.h"

#include <stdbool.h>
#include <stdint.h>

static bool share_a_step(const struct plan_buffer *a, const struct plan_buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

static bool share_a_byte(const struct plan_buffer *a, const struct plan_buffer *b)
{
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

START_TEST(random_lives_never_meet)
{
    enum { N = 200 };
    struct plan_buffer b[N];
    srand((unsigned)_i);
    size_t sum = 0, total, at_once = 0;
    for (int i = 0; i < N; i++) {
        int first = rand() % 100;
        b[i] = (struct plan_buffer){(size_t)(rand() % 5000 + 1), first, first + rand() % 20, 0};
        sum += b[i].bytes + PLAN_ALIGN;
    }
    total = plan_place(b, N);
    for (int step = 0; step < 120; step++) {
        size_t live = 0;
        for (int i = 0; i < N; i++)
            live += b[i].first <= step && step <= b[i].last ? b[i].bytes : 0;
        at_once = live > at_once ? live : at_once;
    }
    for (int i = 0; i < N; i++) {
        ck_assert_uint_eq(b[i].offset % PLAN_ALIGN, 0);
        ck_assert_uint_le(b[i].offset + b[i].bytes, total);
        for (int k = 0; k < i; k++)
            ck_assert(!share_a_step(&b[i], &b[k]) || !share_a_byte(&b[i], &b[k]));
    }
    ck_assert_uint_ge(total, at_once);
    ck_assert_uint_le(total, sum / 2); // places are used again
}
END_TEST

START_TEST(a_chain_needs_two_places)
{
    struct plan_buffer b[10];
    for (int i = 0; i < 10; i++)
        b[i] = (struct plan_buffer){1024, i, i + 1, 0};
    ck_assert_uint_eq(plan_place(b, 10), 2048);
}
END_TEST

START_TEST(nothing_needs_nothing)
{
    ck_assert_uint_eq(plan_place(NULL, 0), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("plan");
    TCase *tcase = tcase_create("plan");
    tcase_add_loop_test(tcase, random_lives_never_meet, 0, 20);
    tcase_add_test(tcase, a_chain_needs_two_places);
    tcase_add_test(tcase, nothing_needs_nothing);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_tap(runner, "-");
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
