// What the seeds of test_queue_crash.c found, each as short as it gets.
#include "queue_rig.h"
#include "sqs/move_task.h"
#include "suite.h"

static struct rig r;
static struct rig_message got[10];
static struct sent sent;
static struct fault f;
static uint64_t wait_for;

static void start_with(uint32_t segment_bytes)
{
    rig_init(&r);
    r.segment_bytes = segment_bytes;
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
}

static void start(void)
{
    start_with(4096);
}

static struct queue *restart(const char *name)
{
    rig_close(&r);
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
    return queue_find(r.queues, span_from(name));
}

// Fills segments with what nobody needs, so that those before are compacted or go.
static void churn(const char *name)
{
    char body[200];
    struct queue *q = queue_find(r.queues, span_from(name));
    if (q == NULL)
        q = rig_queue(&r, name, NULL);
    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(rig_send(&r, q, body, -1), SQS_OK);
        rig_turn(&r);
        ck_assert_uint_eq(rig_receive(&r, q, 1, 30, got), 1);
        ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK);
        rig_turn(&r);
    }
    while (queues_compact(r.queues))
        queues_commit(r.queues);
    rig_turn(&r);
}

// Sends, and deletes some, until the disk stops.
static void send_until_stopped(int count)
{
    char body[1500];
    struct queue *q = queue_find(r.queues, span_from("jobs"));
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    for (int i = 0; i < count && !journal_failed(queues_journal(r.queues)); i++) {
        (void)rig_send(&r, q, body, -1);
        if (i % 3 == 2 && rig_receive(&r, q, 1, 30, got) == 1) // so that segments go
            (void)rig_delete(&r, q, got[0].handle);
        rig_turn(&r);
    }
}

// The process was killed before its last commit, its manifest, a name was synced; what the next one
// builds on that must not be without ground after a power loss, whenever that is.
START_TEST(killed_at_every_call_and_then_the_power_fails)
{
    char body[3500];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    for (long n = 1; n < 64; n++) {
        for (long m = 1; m < 64; m++) {
            start_with(16384); // segments in which one spare is enough
            rig_queue(&r, "jobs", NULL);
            rig_turn(&r);
            r.disk.fault = FAKE_STOP;
            r.disk.fault_at = r.disk.calls + n;
            send_until_stopped(20);
            rig_close(&r);
            fake_disk_restart(&r.disk);
            r.disk.fault = FAKE_STOP;
            r.disk.fault_at = m;
            uint64_t there = 0;
            if (rig_open(&r) == OK) {
                struct queue *q = queue_find(r.queues, span_from("jobs"));
                struct queue_info info = rig_info(&r, q);
                there = info.visible + info.in_flight;
                for (int i = 0; i < 10 && !journal_failed(queues_journal(r.queues)); i++) {
                    enum sqs_code code = rig_send(&r, q, body, -1);
                    rig_turn(&r);
                    there += code == SQS_OK && !journal_failed(queues_journal(r.queues));
                }
            }
            rig_close(&r);
            fake_disk_power_loss(&r.disk, (uint64_t)(n * 1000 + m));
            ck_assert_msg(rig_open(&r) == OK, "call %ld, then %ld: %s", n, m, r.error.msg);
            struct queue *q = queue_find(r.queues, span_from("jobs"));
            struct queue_info info = rig_info(&r, q);
            ck_assert_uint_ge(info.visible + info.in_flight, there);
            rig_release(&r);
        }
    }
}
END_TEST

static void redrive_all(struct queue *dead, int rate)
{
    ck_assert_int_eq(
        task_start(r.queues, dead, NULL, (uint32_t)rate, "task-1", r.now_ms, &wait_for, &f),
        SQS_OK);
    rig_turn(&r);
}

// It came back from the dead-letter queue; who held it before that must not delete it.
START_TEST(handle_from_before_a_redrive_is_outdated)
{
    start();
    struct queue *dead = rig_queue(&r, "dead", NULL);
    struct queue *q = rig_queue(
        &r, "jobs",
        (const char *const[]){
            "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead\","
            "\"maxReceiveCount\":1}",
            NULL});
    ck_assert_int_eq(rig_send(&r, q, "again", -1), SQS_OK);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 1, got), 1);
    struct rig_message held = got[0];
    rig_advance(&r, 2000);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 1, got), 0);
    redrive_all(dead, 0);
    ck_assert_uint_eq(rig_info(&r, q).visible, 1);
    rig_turn(&r);
    q = restart("jobs");
    ck_assert_int_eq(rig_delete(&r, q, held.handle), SQS_OK); // as every outdated one
    ck_assert_uint_eq(rig_info(&r, q).visible, 1);
    rig_release(&r);
}
END_TEST

START_TEST(moved_messages_are_counted_over_a_restart)
{
    start();
    struct queue *dead = rig_queue(&r, "dead", NULL), *to = rig_queue(&r, "to", NULL);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(rig_send(&r, dead, "message", -1), SQS_OK);
    rig_turn(&r);
    ck_assert_int_eq(task_start(r.queues, dead, to, 10, "task-1", r.now_ms, &wait_for, &f), SQS_OK);
    for (int i = 0; i < 10; i++) {
        rig_advance(&r, 100);
        rig_turn(&r);
    }
    uint64_t moved = tasks_of(dead)->moved;
    ck_assert_uint_ge(moved, 5);
    ck_assert_uint_lt(moved, 50);
    dead = restart("dead");
    ck_assert_uint_eq(tasks_of(dead)->moved, moved);
    for (int i = 0; i < 100; i++) {
        rig_advance(&r, 100);
        rig_turn(&r);
    }
    ck_assert_uint_eq(tasks_of(dead)->moved, 50);
    ck_assert_int_eq(tasks_of(dead)->status, TASK_COMPLETED);
    rig_release(&r);
}
END_TEST

// Compaction writes the oldest ids behind younger ones.
START_TEST(duplicates_are_forgotten_after_five_minutes_whatever_the_order)
{
    start();
    struct queue *q = rig_queue(&r, "jobs.fifo", NULL);
    ck_assert_int_eq(rig_send_fifo(&r, q, "first", "g", "first", &sent), SQS_OK);
    rig_turn(&r);
    rig_advance(&r, 200000);
    ck_assert_int_eq(rig_send_fifo(&r, q, "second", "g", "second", &sent), SQS_OK);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 10, 30, got), 2);
    for (int i = 0; i < 2; i++) {
        struct rig_message m = got[i];
        ck_assert_int_eq(rig_delete(&r, q, m.handle), SQS_OK);
    }
    churn("other");
    q = restart("jobs.fifo");
    rig_turn(&r);
    rig_advance(&r, 99000);
    ck_assert_int_eq(rig_send_fifo(&r, q, "first", "g", "first", &sent), SQS_OK);
    ck_assert(sent.duplicate);
    rig_advance(&r, 2000);
    ck_assert_int_eq(rig_send_fifo(&r, q, "second", "g", "second", &sent), SQS_OK);
    ck_assert(sent.duplicate);
    ck_assert_int_eq(rig_send_fifo(&r, q, "first", "g", "first", &sent), SQS_OK);
    ck_assert(!sent.duplicate);
    rig_release(&r);
}
END_TEST

// The purge must not be forgotten before the message of which it forgot the id.
START_TEST(purged_ids_of_deleted_messages_stay_forgotten)
{
    start();
    struct queue *keep = rig_queue(&r, "keep", NULL), *q = rig_queue(&r, "jobs.fifo", NULL);
    char body[1500];
    memset(body, 'k', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    ck_assert_int_eq(rig_send_fifo(&r, q, "one", "g", "one", &sent), SQS_OK);
    ck_assert_int_eq(rig_send(&r, keep, body, -1), SQS_OK); // its segment stays
    ck_assert_int_eq(rig_send(&r, keep, body, -1), SQS_OK);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 30, got), 1);
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK);
    churn("other"); // the purge comes to another segment
    ck_assert_int_eq(queue_purge(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK);
    rig_turn(&r);
    churn("other");
    q = restart("jobs.fifo");
    ck_assert_int_eq(rig_send_fifo(&r, q, "one", "g", "one", &sent), SQS_OK);
    ck_assert(!sent.duplicate);
    rig_release(&r);
}
END_TEST

// The record of a message's move goes before the message's own, and with it what tells that the
// purge of the other queue was about it.
START_TEST(purged_dead_letters_stay_gone)
{
    start();
    struct queue *keep = rig_queue(&r, "keep", NULL), *dead = rig_queue(&r, "dead", NULL);
    struct queue *q = rig_queue(
        &r, "jobs",
        (const char *const[]){
            "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead\","
            "\"maxReceiveCount\":1}",
            NULL});
    char body[1500];
    memset(body, 'k', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    ck_assert_int_eq(rig_send(&r, q, "one", -1), SQS_OK);
    ck_assert_int_eq(rig_send(&r, keep, body, -1), SQS_OK); // its segment stays
    rig_turn(&r);
    ck_assert_int_eq(rig_send(&r, keep, body, -1), SQS_OK);
    rig_turn(&r);
    churn("other");
    ck_assert_uint_eq(rig_receive(&r, q, 1, 1, got), 1);
    rig_advance(&r, 2000);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 1, got), 0); // moves it
    rig_turn(&r);
    ck_assert_uint_eq(rig_info(&r, dead).visible, 1);
    churn("other");
    struct queue *other = queue_find(r.queues, SPAN("other"));
    ck_assert_int_eq(rig_send(&r, other, "its place in the index is taken next", -1), SQS_OK);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, other, 1, 30, got), 1);
    ck_assert_int_eq(queue_purge(r.queues, dead, r.now_ms, &wait_for, &f), SQS_OK);
    ck_assert_int_eq(rig_delete(&r, other, got[0].handle), SQS_OK);
    rig_turn(&r);
    churn("other");
    q = restart("jobs");
    ck_assert_uint_eq(rig_info(&r, q).visible, 0);
    ck_assert_uint_eq(rig_info(&r, queue_find(r.queues, SPAN("dead"))).visible, 0);
    rig_release(&r);
}
END_TEST

// Over a restart of the machine the wall clock says how long it was; it may have been set
// meanwhile.
START_TEST(store_time_does_not_go_back_over_a_restart_of_the_machine)
{
    start();
    struct queue *q = rig_queue(&r, "jobs", NULL);
    rig_turn(&r);
    rig_advance(&r, 3600000);
    ck_assert_int_eq(rig_send(&r, q, "late", -1), SQS_OK);
    r.wall_ms -= 7200000; // set back by two hours
    rig_turn(&r);
    int64_t before_ms = r.now_ms;
    r.boot++;
    r.monotonic_ms = 1000;
    r.wall_ms += 5000;
    q = restart("jobs");
    ck_assert_int_ge(r.now_ms, before_ms);
    ck_assert_int_le(r.now_ms, before_ms + 65000);
    rig_release(&r);
}
END_TEST

// The record of a queue's end must not take the space of the deletes.
START_TEST(deleted_queues_leave_the_reserve_of_a_full_disk)
{
    char policy[3000], name[20];
    start();
    struct queue *q = rig_queue(&r, "jobs", NULL);
    snprintf(policy, sizeof policy,
             "Policy={\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"%02000d\",\"Effect\":"
             "\"Allow\",\"Principal\":\"*\",\"Action\":\"SQS:SendMessage\",\"Resource\":\"*\"}]}",
             1);
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "other-%d", i);
        ck_assert_ptr_nonnull(rig_queue(&r, name, (const char *const[]){policy, NULL}));
        rig_turn(&r);
    }
    r.disk.space = fake_used(&r.disk) + 2 * 4096;
    int count = 0;
    while (rig_send(&r, q, "a message", -1) == SQS_OK) {
        count++;
        rig_turn(&r);
    }
    while (rig_receive(&r, q, 10, 0, got) > 0 && count++ < 200) // what states may take is taken
        rig_turn(&r);
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "other-%d", i);
        struct queue *other = queue_find(r.queues, span_from(name));
        ck_assert_int_eq(queue_delete(r.queues, other, r.now_ms, &wait_for, &f), SQS_OK);
        rig_turn(&r);
    }
    size_t n;
    while ((n = rig_receive(&r, q, 10, 30, got)) > 0)
        for (size_t i = 0; i < n; i++)
            ck_assert_msg(rig_delete(&r, q, got[i].handle) == SQS_OK, "no space for a delete");
    rig_turn(&r);
    ck_assert_uint_eq(rig_info(&r, q).visible + rig_info(&r, q).in_flight, 0);
    ck_assert_int_eq(rig_send(&r, q, "there is space again", -1), SQS_OK);
    rig_release(&r);
}
END_TEST

// However full the current segment is, and whatever is reserved.
START_TEST(large_messages_always_find_space)
{
    start();
    struct queue *q = rig_queue(&r, "jobs", NULL);
    char large[3000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    rig_turn(&r);
    for (int i = 0; i < 150; i++) {
        ck_assert_int_eq(rig_send(&r, q, "small", -1), SQS_OK);
        rig_turn(&r);
        ck_assert_msg(rig_send(&r, q, large, -1) == SQS_OK, "message %d is refused", i);
        rig_turn(&r);
    }
    rig_release(&r);
}
END_TEST

SUITE_MAIN("queue_found", large_messages_always_find_space,
           killed_at_every_call_and_then_the_power_fails, handle_from_before_a_redrive_is_outdated,
           moved_messages_are_counted_over_a_restart,
           duplicates_are_forgotten_after_five_minutes_whatever_the_order,
           purged_ids_of_deleted_messages_stay_forgotten, purged_dead_letters_stay_gone,
           store_time_does_not_go_back_over_a_restart_of_the_machine,
           deleted_queues_leave_the_reserve_of_a_full_disk)
