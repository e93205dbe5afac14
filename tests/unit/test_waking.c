// What wakes a receive that waits: one test each. A waiter is asked at the end of the turn in which
// something became receivable, and not before.
#include "queue_rig.h"
#include "sqs/move_task.h"
#include "suite.h"

static struct rig r;
static struct rig_message got[10];
static struct waiter waiter;
static int woken, gone_seen;
static char woken_with[sizeof((struct rig_message *)NULL)->body];

static bool on_wake(struct waiter *w, bool gone)
{
    struct rig_message m;
    if (gone) {
        gone_seen++;
        return true;
    }
    if (rig_receive(&r, w->queue, 1, 600, &m) == 0)
        return false;
    snprintf(woken_with, sizeof woken_with, "%s", m.body);
    woken++;
    queue_unwait(w);
    return true;
}

static struct queue *start(const char *name, const char *const *attributes)
{
    rig_init(&r);
    r.segment_bytes = 65536;
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
    struct queue *q = rig_queue(&r, name, attributes);
    ck_assert_ptr_nonnull(q);
    rig_turn(&r);
    return q;
}

static void wait_on(struct queue *q)
{
    rig_turn(&r);
    ck_assert_int_eq(woken, 0);
    waiter = (struct waiter){.fn = on_wake};
    queue_wait(q, &waiter);
    rig_turn(&r);
    ck_assert_int_eq(woken, 0); // there is nothing for it yet
    ck_assert_ptr_eq(waiter.queue, q);
}

// Store time is the deadline that the role's timer waits for.
static void advance_to_deadline(void)
{
    int64_t deadline_ms = queues_next_deadline_ms(r.queues);
    ck_assert_int_gt(deadline_ms, r.now_ms);
    rig_advance(&r, deadline_ms - r.now_ms - 1);
    rig_turn(&r);
    ck_assert_int_eq(woken, 0);
    rig_advance(&r, 1);
    rig_turn(&r);
}

static void is_woken_with(const char *body)
{
    ck_assert_int_eq(woken, 1);
    ck_assert_str_eq(woken_with, body);
    ck_assert_ptr_null(waiter.queue);
    rig_release(&r);
}

static void send_fifo(struct queue *q, const char *body, const char *group)
{
    struct sent sent;
    ck_assert_int_eq(rig_send_fifo(&r, q, body, group, body, &sent), SQS_OK);
    ck_assert(!sent.duplicate);
}

START_TEST(send)
{
    struct queue *q = start("jobs", NULL);
    wait_on(q);
    rig_send(&r, q, "x", -1);
    ck_assert_int_eq(woken, 0); // not before it is durable
    rig_turn(&r);
    rig_turn(&r);
    is_woken_with("x");
}
END_TEST

START_TEST(end_of_a_delay)
{
    struct queue *q = start("jobs", NULL);
    rig_send(&r, q, "x", 7);
    wait_on(q);
    advance_to_deadline();
    is_woken_with("x");
}
END_TEST

START_TEST(end_of_a_visibility_timeout)
{
    struct queue *q = start("jobs", NULL);
    rig_send(&r, q, "x", -1);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 9, got), 1);
    wait_on(q);
    advance_to_deadline();
    is_woken_with("x");
}
END_TEST

START_TEST(visibility_zero)
{
    struct queue *q = start("jobs", NULL);
    rig_send(&r, q, "x", -1);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 9, got), 1);
    wait_on(q);
    ck_assert_int_eq(rig_visibility(&r, q, got[0].handle, 0), SQS_OK);
    rig_turn(&r);
    is_woken_with("x");
}
END_TEST

START_TEST(shorter_visibility)
{
    struct queue *q = start("jobs", NULL);
    rig_send(&r, q, "x", -1);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 900, got), 1);
    wait_on(q);
    ck_assert_int_eq(rig_visibility(&r, q, got[0].handle, 3), SQS_OK);
    rig_turn(&r);
    ck_assert_int_eq(queues_next_deadline_ms(r.queues) - r.now_ms, 3000);
    advance_to_deadline();
    is_woken_with("x");
}
END_TEST

START_TEST(end_of_the_queue)
{
    struct fault f;
    uint64_t wait_for;
    struct queue *q = start("jobs", NULL);
    wait_on(q);
    ck_assert_int_eq(queue_delete(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK);
    ck_assert_int_eq(gone_seen, 1);
    ck_assert_ptr_null(waiter.queue);
    rig_release(&r);
}
END_TEST

// A purge brings nothing: who waits goes on waiting, and hears of the next message.
START_TEST(purge_does_not_end_the_wait)
{
    struct fault f;
    uint64_t wait_for;
    struct queue *q = start("jobs", NULL);
    rig_send(&r, q, "purged", 5);
    wait_on(q);
    ck_assert_int_eq(queue_purge(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK);
    rig_advance(&r, 10000);
    rig_turn(&r);
    ck_assert_int_eq(woken, 0);
    rig_send(&r, q, "next", -1);
    rig_turn(&r);
    rig_turn(&r);
    is_woken_with("next");
}
END_TEST

static const char *const redrive_to_dead[] = {
    "VisibilityTimeout=1",
    "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead\","
    "\"maxReceiveCount\":1}",
    NULL};

START_TEST(arrival_of_a_dead_letter)
{
    struct queue *q = start("jobs", redrive_to_dead), *dead = rig_queue(&r, "dead", NULL);
    rig_send(&r, q, "poison", -1);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, -1, got), 1);
    rig_advance(&r, 1000);
    wait_on(dead);
    ck_assert_uint_eq(rig_receive(&r, q, 1, -1, got), 0); // moves it
    rig_turn(&r);
    is_woken_with("poison");
}
END_TEST

START_TEST(redrive)
{
    struct fault f;
    uint64_t wait_for;
    struct queue *q = start("jobs", redrive_to_dead), *dead = rig_queue(&r, "dead", NULL);
    rig_send(&r, q, "poison", -1);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, -1, got), 1);
    rig_advance(&r, 1000);
    ck_assert_uint_eq(rig_receive(&r, q, 1, -1, got), 0);
    wait_on(q);
    ck_assert_int_eq(task_start(r.queues, dead, NULL, 0, "00000000-0000-4000-8000-000000000000",
                                r.now_ms, &wait_for, &f),
                     SQS_OK);
    rig_turn(&r);
    is_woken_with("poison");
}
END_TEST

START_TEST(delete_frees_a_fifo_group)
{
    struct queue *q = start("jobs.fifo", NULL);
    send_fifo(q, "first", "g");
    send_fifo(q, "second", "g");
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 600, got), 1);
    wait_on(q);
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK);
    rig_turn(&r);
    is_woken_with("second");
}
END_TEST

START_TEST(end_of_retention_frees_a_fifo_group)
{
    static const char *const attributes[] = {"MessageRetentionPeriod=60", NULL};
    struct queue *q = start("jobs.fifo", attributes);
    send_fifo(q, "first", "g");
    rig_turn(&r);
    rig_advance(&r, 30000);
    send_fifo(q, "second", "g");
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 600, got), 1);
    wait_on(q);
    advance_to_deadline();
    is_woken_with("second");
}
END_TEST

START_TEST(visibility_zero_in_a_fifo_group)
{
    struct queue *q = start("jobs.fifo", NULL);
    send_fifo(q, "first", "g");
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 600, got), 1);
    wait_on(q);
    ck_assert_int_eq(rig_visibility(&r, q, got[0].handle, 0), SQS_OK);
    rig_turn(&r);
    is_woken_with("first");
}
END_TEST

START_TEST(dead_letter_frees_a_fifo_group)
{
    static const char *const attributes[] = {
        "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead.fifo\","
        "\"maxReceiveCount\":1}",
        NULL};
    struct queue *q = start("jobs.fifo", attributes), *dead = rig_queue(&r, "dead.fifo", NULL);
    ck_assert_ptr_nonnull(dead);
    send_fifo(q, "poison", "g");
    send_fifo(q, "good", "g");
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 5, got), 1);
    wait_on(q);
    advance_to_deadline(); // the waiter's own receive moves the first
    is_woken_with("good");
}
END_TEST

START_TEST(shorter_delay_of_a_fifo_queue)
{
    static const char *const attributes[] = {"DelaySeconds=600", NULL};
    struct queue_attributes a;
    struct fault f;
    uint64_t wait_for;
    struct queue *q = start("jobs.fifo", attributes);
    send_fifo(q, "x", "g");
    wait_on(q);
    attributes_copy(&a, rig_info(&r, q).attributes);
    a.delay_s = 0;
    ck_assert_int_eq(queue_set_attributes(r.queues, q, r.now_ms, &a, &wait_for, &f), SQS_OK);
    rig_turn(&r);
    is_woken_with("x");
}
END_TEST

START_TEST(repeated_send_wakes_nobody)
{
    struct sent sent;
    struct queue *q = start("jobs.fifo", NULL);
    send_fifo(q, "x", "g");
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 600, got), 1);
    wait_on(q);
    ck_assert_int_eq(rig_send_fifo(&r, q, "x", "h", "x", &sent), SQS_OK);
    ck_assert(sent.duplicate);
    rig_turn(&r);
    rig_turn(&r);
    ck_assert_int_eq(woken, 0);
    rig_advance(&r, 300000); // five minutes later the same id is a message
    ck_assert_int_eq(rig_send_fifo(&r, q, "x", "h", "x", &sent), SQS_OK);
    ck_assert(!sent.duplicate);
    rig_turn(&r);
    rig_turn(&r);
    is_woken_with("x");
}
END_TEST

SUITE_MAIN("waking", send, end_of_a_delay, end_of_a_visibility_timeout, visibility_zero,
           shorter_visibility, end_of_the_queue, purge_does_not_end_the_wait,
           arrival_of_a_dead_letter, redrive, delete_frees_a_fifo_group,
           end_of_retention_frees_a_fifo_group, visibility_zero_in_a_fifo_group,
           dead_letter_frees_a_fifo_group, shorter_delay_of_a_fifo_queue,
           repeated_send_wakes_nobody)
