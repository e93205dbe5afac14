// Fair standard queues: turns of message groups, and who comes last.
#include "queue_rig.h"
#include "suite.h"

static struct rig r;
static struct rig_message got[10];

static struct queue *start(void)
{
    rig_init(&r);
    r.segment_bytes = 1 << 20;
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
    return rig_queue(&r, "jobs", NULL);
}

static struct queue *restart(void)
{
    rig_close(&r);
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
    return queue_find(r.queues, SPAN("jobs"));
}

// group NULL: none
static void send(struct queue *q, const char *group, const char *body, int delay_s)
{
    struct fault f;
    struct sent sent;
    uint64_t id = r.ids++;
    struct message_in in = {.body = span_from(body), .delay_s = delay_s, .sender = SPAN("me")};
    if (group != NULL)
        in.group = span_from(group);
    memcpy(in.message_id, &id, sizeof id);
    ck_assert_int_eq(queue_send(r.queues, q, r.now_ms, &in, &sent, &f), SQS_OK);
}

static void flood(struct queue *q, const char *group, int count)
{
    for (int i = 0; i < count; i++)
        send(q, group, group, -1);
    rig_turn(&r);
}

static void receive_is(struct queue *q, size_t max, int visibility_s, const char *expected)
{
    AUTO_BUF struct buf all = {0};
    size_t count = rig_receive(&r, q, max, visibility_s, got);
    for (size_t i = 0; i < count; i++)
        buf_printf(&all, "%s%s", i > 0 ? " " : "", got[i].body);
    ck_assert_str_eq(buf_view(&all).data, expected);
}

static void take(struct queue *q, int count, int visibility_s)
{
    for (int i = 0; i < count; i++)
        ck_assert_uint_eq(rig_receive(&r, q, 1, visibility_s, got), 1);
}

static struct queue_fairness fairness(struct queue *q)
{
    struct queue_fairness f;
    queue_fairness(r.queues, q, r.now_ms, &f);
    return f;
}

START_TEST(groups_take_turns)
{
    struct queue *q = start();
    send(q, "a", "a1", -1);
    send(q, "a", "a2", -1);
    send(q, "a", "a3", -1);
    send(q, NULL, "x1", -1);
    send(q, "b", "b1", -1);
    send(q, NULL, "x2", -1);
    rig_turn(&r);
    // each tenant once, in the order of their messages; one without a group is a tenant of its own
    receive_is(q, 10, -1, "a1 x1 b1 x2 a2 a3");
    struct queue_info info = rig_info(&r, q);
    ck_assert_uint_eq(info.in_flight, 6);
    ck_assert_uint_eq(info.visible, 0);
    rig_release(&r);
}
END_TEST

START_TEST(without_groups_the_order_is_that_of_sending)
{
    struct queue *q = start();
    send(q, NULL, "1", -1);
    send(q, NULL, "2", -1);
    send(q, NULL, "3", -1);
    rig_turn(&r);
    receive_is(q, 10, -1, "1 2 3");
    ck_assert_uint_eq(fairness(q).noisy_groups, 0);
    rig_release(&r);
}
END_TEST

START_TEST(noisy_group_comes_after_all_others)
{
    struct queue *q = start();
    flood(q, "noisy", 200);
    take(q, 29, 600);
    ck_assert_uint_eq(fairness(q).noisy_groups, 0); // 30 at least
    take(q, 1, 600);
    ck_assert_uint_eq(fairness(q).noisy_groups, 1);
    send(q, "q1", "1", -1);
    send(q, "q1", "2", -1);
    send(q, NULL, "3", -1);
    send(q, "q2", "4", -1);
    rig_turn(&r);
    struct queue_fairness f = fairness(q);
    ck_assert_uint_eq(f.visible, 4);
    ck_assert_uint_eq(f.in_flight, 0);
    ck_assert_int_eq(f.oldest_ms, r.now_ms);
    receive_is(q, 6, 600, "1 3 4 2 noisy noisy");
    ck_assert_uint_eq(fairness(q).in_flight, 4);
    rig_release(&r);
}
END_TEST

START_TEST(share_of_what_is_in_flight_counts)
{
    struct queue *q = start();
    for (int i = 0; i < 400; i++)
        send(q, NULL, "x", -1);
    rig_turn(&r);
    take(q, 400, 600);
    flood(q, "g", 100);
    take(q, 40, 600); // 40 of 440
    ck_assert_uint_eq(fairness(q).noisy_groups, 0);
    take(q, 5, 600); // 45 of 445
    ck_assert_uint_eq(fairness(q).noisy_groups, 1);
    rig_release(&r);
}
END_TEST

START_TEST(share_of_the_processing_time_counts)
{
    struct queue *q = start();
    for (int i = 0; i < 3; i++) {
        send(q, "slow", "slow", -1);
        send(q, "quick", "quick", -1);
    }
    rig_turn(&r);
    receive_is(q, 2, 600, "slow quick");
    rig_advance(&r, 100);
    rig_delete(&r, q, got[1].handle);
    rig_advance(&r, 4900);
    rig_delete(&r, q, got[0].handle);
    receive_is(q, 2, 600, "slow quick"); // slow is judged when it is received
    ck_assert_uint_eq(fairness(q).noisy_groups, 1);
    send(q, "quick", "quick", -1);
    rig_turn(&r);
    receive_is(q, 3, 600, "quick quick slow");
    // nobody works for a while: forgotten, and drained
    rig_advance(&r, 120000);
    ck_assert_uint_eq(fairness(q).noisy_groups, 0);
    rig_release(&r);
}
END_TEST

START_TEST(of_noisy_groups_the_one_with_fewest_in_flight)
{
    struct queue *q = start();
    flood(q, "a", 50);
    take(q, 40, 600);
    flood(q, "b", 50);
    take(q, 35, 600); // b is quiet for its first 30
    ck_assert_uint_eq(fairness(q).noisy_groups, 2);
    receive_is(q, 8, 600, "b b b b b a b a"); // b has 35, a has 40
    rig_release(&r);
}
END_TEST

START_TEST(it_ends_when_drained)
{
    struct queue *q = start();
    struct rig_message first;
    flood(q, "noisy", 35);
    take(q, 1, 600);
    first = got[0];
    take(q, 34, 600);
    ck_assert_uint_eq(fairness(q).noisy_groups, 1); // still over 30 in flight
    ck_assert_int_eq(rig_delete(&r, q, first.handle), SQS_OK);
    for (int i = 0; i < 34; i++)
        send(q, NULL, "x", -1);
    rig_turn(&r);
    rig_advance(&r, 600000); // 34 come back
    rig_turn(&r);
    ck_assert_uint_eq(fairness(q).noisy_groups, 0);
    rig_release(&r);
}
END_TEST

START_TEST(it_ends_five_minutes_after_the_last_message)
{
    struct queue *q = start();
    flood(q, "noisy", 100);
    take(q, 40, 43200);
    ck_assert_uint_eq(fairness(q).noisy_groups, 1);
    rig_advance(&r, 299999);
    ck_assert_uint_eq(fairness(q).noisy_groups, 1);
    rig_advance(&r, 1);
    ck_assert_uint_eq(fairness(q).noisy_groups, 0);
    take(q, 1, 43200); // and it does not begin again
    ck_assert_uint_eq(fairness(q).noisy_groups, 0);
    rig_release(&r);
}
END_TEST

START_TEST(it_survives_a_restart)
{
    struct queue *q = start();
    flood(q, "noisy", 100);
    take(q, 40, 600);
    send(q, "quiet", "quiet", -1);
    rig_turn(&r);
    q = restart();
    ck_assert_uint_eq(fairness(q).noisy_groups, 1);
    ck_assert_uint_eq(fairness(q).visible, 1);
    receive_is(q, 2, 600, "quiet noisy");
    rig_release(&r);
}
END_TEST

// One tenant has flooded the queue, consumers keep what they got in hand: a message of another one
// is received by the very next receive, however long the flood is.
START_TEST(quiet_group_does_not_wait_behind_a_flood)
{
    struct queue *q = start();
    for (int i = 0; i < 20; i++)
        flood(q, "noisy", 1000);
    take(q, 30, 600);
    for (int i = 0; i < 500; i++) {
        char group[16];
        snprintf(group, sizeof group, "q%d", i % 50);
        send(q, group, group, -1);
        rig_turn(&r);
        ck_assert_uint_eq(rig_receive(&r, q, 10, 600, got), 10);
        ck_assert_str_eq(got[0].body, group);
        for (int k = 0; k < 10; k++)
            ck_assert_int_eq(rig_delete(&r, q, got[k].handle), SQS_OK);
    }
    ck_assert_uint_eq(rig_info(&r, q).visible, 20000 - 30 - 4500);
    rig_release(&r);
}
END_TEST

// --- a model: whatever happens, each message is somewhere, and counted there ---

enum { GROUPS = 6, MODEL_STEPS = 6000 };

static uint32_t random_below(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % n;
}

START_TEST(nothing_is_lost_by_turns)
{
    static struct rig_message held[4000];
    uint64_t state = 7;
    size_t sent = 0, deleted = 0, held_count = 0;
    struct queue *q = start();
    for (int i = 0; i < MODEL_STEPS; i++) {
        char group[4];
        uint32_t g = random_below(&state, 20);
        snprintf(group, sizeof group, "g%u", g < 12 ? 0 : g % GROUPS);
        switch (random_below(&state, 8)) {
        case 0:
        case 1:
        case 2:
            send(q, g == 19 ? NULL : group, group, (int)random_below(&state, 3));
            sent++;
            break;
        case 3:
        case 4: {
            size_t n = rig_receive(&r, q, 1 + random_below(&state, 10),
                                   (int)random_below(&state, 30), got);
            for (size_t k = 0; k < n && held_count < 4000; k++)
                held[held_count++] = got[k];
            break;
        }
        case 5:
        case 6:
            if (held_count > 0) {
                struct rig_message *m = &held[random_below(&state, (uint32_t)held_count)];
                uint64_t before = rig_info(&r, q).visible + rig_info(&r, q).in_flight;
                if (random_below(&state, 4) == 0)
                    rig_visibility(&r, q, m->handle, (int)random_below(&state, 3) * 40);
                else
                    ck_assert_int_eq(rig_delete(&r, q, m->handle), SQS_OK);
                deleted += before - rig_info(&r, q).visible - rig_info(&r, q).in_flight;
                *m = held[--held_count];
            }
            break;
        default:
            rig_advance(&r, random_below(&state, 2000));
            if (i % 50 == 0) {
                rig_turn(&r);
                q = restart();
            }
        }
        rig_turn(&r);
        struct queue_info info = rig_info(&r, q);
        struct queue_fairness f = fairness(q);
        ck_assert_uint_eq(info.visible + info.in_flight + info.delayed, sent - deleted);
        ck_assert(f.visible <= info.visible && f.in_flight <= info.in_flight &&
                  f.delayed <= info.delayed && f.noisy_groups <= GROUPS);
        if (f.noisy_groups == 0)
            ck_assert(f.visible == info.visible && f.in_flight == info.in_flight);
    }
    // all comes out in the end, each once
    rig_advance(&r, 60000);
    rig_turn(&r);
    size_t left = sent - deleted, n;
    while ((n = rig_receive(&r, q, 10, 600, got)) > 0)
        left -= n;
    ck_assert_uint_eq(left, 0);
    rig_release(&r);
}
END_TEST

SUITE_MAIN("fair", groups_take_turns, without_groups_the_order_is_that_of_sending,
           noisy_group_comes_after_all_others, share_of_what_is_in_flight_counts,
           share_of_the_processing_time_counts, of_noisy_groups_the_one_with_fewest_in_flight,
           it_ends_when_drained, it_ends_five_minutes_after_the_last_message, it_survives_a_restart,
           quiet_group_does_not_wait_behind_a_flood, nothing_is_lost_by_turns)
