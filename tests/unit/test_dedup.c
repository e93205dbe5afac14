// The memory of deduplication ids by itself: its pieces, its numbers, what it forgets and when.
#include "queue_rig.h"
#include "sqs/dedup.h"
#include "suite.h"

enum { IDS = 5000 }; // some pieces; their numbers go round behind the second one

static struct rig r;

static void start(void)
{
    rig_init(&r);
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
}

static struct dedup id_of(int i)
{
    struct dedup d = {.expires_ms = 1000 + i,
                      .id = 100 + (uint64_t)i,
                      .queue = (uint16_t)(i % 3),
                      .segment = r.queues->boot_record.segment,
                      .at8 = 7 + (uint32_t)i};
    char text[16];
    snprintf(text, sizeof text, "id %d", i);
    dedup_key(1, false, (struct span){NULL, 0}, span_from(text), d.key);
    return d;
}

static void add(int from, int to)
{
    for (int i = from; i < to; i++) {
        struct dedup d = id_of(i);
        dedup_add(r.queues, &d);
    }
}

// NULL, or what it says of id i.
static const struct dedup *find(int i)
{
    static struct dedup found;
    struct dedup wanted = id_of(i);
    return dedup_find(r.queues, wanted.key, &found) ? &found : NULL;
}

START_TEST(ids_are_found_until_their_time)
{
    start();
    ck_assert_ptr_null(find(0));
    add(0, IDS);
    for (int now_ms = 999; now_ms < 1000 + IDS; now_ms += 487) {
        dedup_expire(r.queues, now_ms);
        for (int i = 0; i < IDS; i++) {
            const struct dedup *d = find(i);
            ck_assert_int_eq(d != NULL, 1000 + i > now_ms);
            if (d == NULL)
                continue;
            ck_assert_int_eq(d->expires_ms, 1000 + i);
            ck_assert_uint_eq(d->at8, 7 + (uint32_t)i);
            ck_assert_uint_eq(d->queue, (uint16_t)(i % 3));
        }
    }
    dedup_expire(r.queues, 1000 + IDS);
    ck_assert_uint_eq(r.queues->dedups.count, 0);
    ck_assert_uint_eq(r.queues->dedups.piece_count, 1); // the memory of the others was given back
    rig_release(&r);
}
END_TEST

START_TEST(numbers_go_round)
{
    start();
    for (int i = 0; i < 20 * IDS; i++) { // never more than some hundred at a time
        add(i, i + 1);
        dedup_expire(r.queues, 1000 + i - 300);
        ck_assert_ptr_nonnull(find(i));
        ck_assert_int_eq(find(i - 299) != NULL, i >= 299);
        ck_assert_ptr_null(find(i - 300));
    }
    ck_assert_uint_le(r.queues->dedups.piece_count, 2);
    rig_release(&r);
}
END_TEST

START_TEST(queue_is_forgotten_and_the_others_stay)
{
    start();
    add(0, IDS);
    uint64_t first = dedup_first_id(r.queues, 1);
    ck_assert_uint_le(first, 101);
    dedup_forget(r.queues, 1);
    ck_assert_uint_eq(dedup_first_id(r.queues, 1), UINT64_MAX);
    for (int i = 0; i < IDS; i++)
        ck_assert_int_eq(find(i) != NULL, i % 3 != 1);
    dedup_expire(r.queues, 1000 + IDS / 2);
    ck_assert_uint_le(dedup_first_id(r.queues, 2), 100 + IDS / 2 + 3); // never behind its first
    ck_assert_uint_gt(dedup_first_id(r.queues, 2), 100 + IDS / 4);     // and not far before it
    rig_release(&r);
}
END_TEST

START_TEST(latest_of_one_id_counts)
{
    start();
    add(0, 10);
    struct dedup again = id_of(3);
    again.expires_ms = 9000;
    again.at8 = 1;
    dedup_add(r.queues, &again);
    ck_assert_uint_eq(r.queues->dedups.count, 10);
    dedup_expire(r.queues, 5000);
    ck_assert_uint_eq(r.queues->dedups.count, 1);
    ck_assert_uint_eq(find(3)->at8, 1);
    rig_release(&r);
}
END_TEST

// As recovery may meet them: a clock that was set, a store that lay about for years.
START_TEST(times_far_apart)
{
    static const int64_t at_ms[] = {1, (int64_t)1 << 40, 5, ((int64_t)1 << 50) - 1, 0};
    start();
    for (int i = 0; i < 5; i++) {
        struct dedup d = id_of(i);
        d.expires_ms = at_ms[i];
        dedup_add(r.queues, &d);
    }
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(find(i)->expires_ms, at_ms[i]);
    dedup_expire(r.queues, (int64_t)1 << 50);
    ck_assert_uint_eq(r.queues->dedups.count, 0);
    rig_release(&r);
}
END_TEST

SUITE_MAIN("dedup", ids_are_found_until_their_time, numbers_go_round,
           queue_is_forgotten_and_the_others_stay, latest_of_one_id_counts, times_far_apart)
