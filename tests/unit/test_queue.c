#include "queue_rig.h"
#include "suite.h"

static struct rig r;
static struct rig_message got[10];

static struct queue *start(const char *const *attributes)
{
    rig_init(&r);
    r.segment_bytes = 65536;
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
    struct queue *q = rig_queue(&r, "jobs", attributes);
    ck_assert_ptr_nonnull(q);
    rig_turn(&r);
    return q;
}

// kill -9 and start again
static struct queue *restart(const char *name)
{
    rig_close(&r);
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
    return queue_find(r.queues, span_from(name));
}

START_TEST(message_is_received_once_it_is_durable)
{
    struct queue *q = start(NULL);
    ck_assert_int_eq(rig_send(&r, q, "hello", -1), SQS_OK);
    ck_assert_uint_eq(rig_receive(&r, q, 10, -1, got), 0);
    ck_assert_uint_eq(rig_info(&r, q).delayed, 1);
    rig_turn(&r);
    ck_assert_uint_eq(rig_info(&r, q).visible, 1);
    ck_assert_uint_eq(rig_receive(&r, q, 10, -1, got), 1);
    ck_assert_str_eq(got[0].body, "hello");
    ck_assert_uint_eq(got[0].receive_count, 1);
    ck_assert_uint_eq(rig_receive(&r, q, 10, -1, got + 1), 0);
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 1);
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK);
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK); // any number of times
    struct queue_info info = rig_info(&r, q);
    ck_assert_uint_eq(info.visible + info.in_flight + info.delayed, 0);
    rig_release(&r);
}
END_TEST

START_TEST(order_is_that_of_sending)
{
    struct queue *q = start(NULL);
    char body[8];
    for (int i = 0; i < 20; i++) {
        snprintf(body, sizeof body, "%d", i);
        rig_send(&r, q, body, -1);
        rig_turn(&r);
    }
    for (int i = 0; i < 20; i += 4) {
        ck_assert_uint_eq(rig_receive(&r, q, 4, -1, got), 4);
        for (int k = 0; k < 4; k++)
            ck_assert_int_eq(atoi(got[k].body), i + k);
    }
    rig_release(&r);
}
END_TEST

START_TEST(visibility_timeout_gives_it_back)
{
    struct queue *q = start(NULL);
    rig_send(&r, q, "x", -1);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 10, got), 1);
    rig_advance(&r, 9999);
    ck_assert_uint_eq(rig_receive(&r, q, 1, -1, got + 1), 0);
    rig_advance(&r, 1);
    ck_assert_uint_eq(rig_info(&r, q).visible, 1);
    // nobody has received it since: the old handle still deletes it
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK);
    ck_assert_uint_eq(rig_receive(&r, q, 1, -1, got + 1), 0);
    rig_release(&r);
}
END_TEST

START_TEST(old_handle_does_nothing_after_another_receive)
{
    struct queue *q = start(NULL);
    rig_send(&r, q, "x", -1);
    rig_turn(&r);
    rig_receive(&r, q, 1, 1, got);
    rig_advance(&r, 1000);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 60, got + 1), 1);
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK);
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 1);
    ck_assert_int_eq(rig_visibility(&r, q, got[0].handle, 0), SQS_INVALID_PARAMETER);
    ck_assert_int_eq(rig_delete(&r, q, got[1].handle), SQS_OK);
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 0);
    rig_release(&r);
}
END_TEST

START_TEST(visibility_zero_at_receive_leaves_it_visible)
{
    struct queue *q = start(NULL);
    rig_send(&r, q, "a", -1);
    rig_send(&r, q, "b", -1);
    rig_turn(&r);
    ck_assert_uint_eq(rig_receive(&r, q, 10, 0, got), 2); // each once, though both stay visible
    ck_assert_uint_eq(rig_info(&r, q).visible, 2);
    ck_assert_uint_eq(rig_receive(&r, q, 10, 0, got), 2);
    ck_assert_uint_eq(got[0].receive_count, 2);
    rig_release(&r);
}
END_TEST

START_TEST(change_of_visibility)
{
    struct queue *q = start(NULL);
    rig_send(&r, q, "x", -1);
    rig_turn(&r);
    rig_receive(&r, q, 1, 10, got);
    ck_assert_int_eq(rig_visibility(&r, q, got[0].handle, 100), SQS_OK);
    rig_advance(&r, 50000);
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 1);
    ck_assert_int_eq(rig_visibility(&r, q, got[0].handle, 43200),
                     SQS_INVALID_PARAMETER); // 12 h in all
    ck_assert_int_eq(rig_visibility(&r, q, got[0].handle, 0), SQS_OK);
    ck_assert_uint_eq(rig_info(&r, q).visible, 1);
    // its time is over: allowed, and it does not hide it again
    ck_assert_int_eq(rig_visibility(&r, q, got[0].handle, 500), SQS_OK);
    ck_assert_uint_eq(rig_info(&r, q).visible, 1);
    rig_delete(&r, q, got[0].handle);
    ck_assert_int_eq(rig_visibility(&r, q, got[0].handle, 1), SQS_INVALID_PARAMETER);
    rig_release(&r);
}
END_TEST

START_TEST(delay)
{
    static const char *const attributes[] = {"DelaySeconds=5", NULL};
    struct queue *q = start(attributes);
    rig_send(&r, q, "queue's", -1);
    rig_send(&r, q, "none", 0);
    rig_send(&r, q, "own", 9);
    rig_turn(&r);
    ck_assert_uint_eq(rig_info(&r, q).delayed, 2);
    ck_assert_uint_eq(rig_receive(&r, q, 10, -1, got), 1);
    ck_assert_str_eq(got[0].body, "none");
    rig_advance(&r, 4999);
    ck_assert_uint_eq(rig_receive(&r, q, 10, -1, got), 0);
    rig_advance(&r, 1);
    ck_assert_uint_eq(rig_receive(&r, q, 10, -1, got), 1);
    ck_assert_str_eq(got[0].body, "queue's");
    rig_turn(&r);
    q = restart("jobs");
    ck_assert_uint_eq(rig_info(&r, q).delayed, 1);
    rig_advance(&r, 3999);
    ck_assert_uint_eq(rig_receive(&r, q, 10, -1, got), 0);
    rig_advance(&r, 1);
    ck_assert_uint_eq(rig_receive(&r, q, 10, -1, got), 1);
    ck_assert_str_eq(got[0].body, "own");
    rig_release(&r);
}
END_TEST

START_TEST(retention)
{
    static const char *const attributes[] = {"MessageRetentionPeriod=60", NULL};
    struct queue *q = start(attributes);
    rig_send(&r, q, "x", -1);
    rig_turn(&r);
    rig_advance(&r, 30000);
    rig_send(&r, q, "y", -1);
    rig_turn(&r);
    rig_receive(&r, q, 1, 600, got); // in flight messages expire too
    rig_advance(&r, 29999);
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 1);
    rig_advance(&r, 1);
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 0);
    ck_assert_uint_eq(rig_info(&r, q).visible, 1);
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK);
    rig_turn(&r);
    q = restart("jobs");
    ck_assert_uint_eq(rig_info(&r, q).visible, 1);
    rig_advance(&r, 30000);
    ck_assert_uint_eq(rig_info(&r, q).visible, 0);
    rig_release(&r);
}
END_TEST

START_TEST(dead_letters_go_at_the_receive_that_is_too_many)
{
    static const char *const attributes[] = {
        "VisibilityTimeout=1",
        "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead\","
        "\"maxReceiveCount\":\"2\"}",
        NULL};
    struct queue *q = start(attributes), *dead = rig_queue(&r, "dead", NULL);
    rig_send(&r, q, "poison", -1);
    rig_send(&r, q, "good", -1);
    rig_turn(&r);
    for (int i = 1; i <= 2; i++) {
        ck_assert_uint_eq(rig_receive(&r, q, 1, -1, got), 1);
        ck_assert_str_eq(got[0].body, "poison");
        rig_advance(&r, 1000);
        ck_assert_uint_eq(rig_info(&r, dead).visible, 0); // not when its time is over
    }
    ck_assert_uint_eq(rig_receive(&r, q, 1, -1, got + 1), 1); // the next one instead
    ck_assert_str_eq(got[1].body, "good");
    ck_assert_uint_eq(rig_info(&r, dead).visible, 1);
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK); // it is elsewhere now
    rig_turn(&r);
    q = restart("jobs");
    dead = queue_find(r.queues, SPAN("dead"));
    ck_assert_uint_eq(rig_receive(&r, dead, 1, -1, got), 1);
    ck_assert_str_eq(got[0].body, "poison");
    ck_assert_uint_eq(got[0].receive_count, 3);
    ck_assert_str_eq(got[0].source, "jobs");
    // the source goes, what came from it stays and knows its name, also after a restart
    uint64_t wait_for;
    struct fault f;
    ck_assert_int_eq(queue_delete(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK);
    rig_turn(&r);
    ck_assert_ptr_null(restart("jobs"));
    dead = queue_find(r.queues, SPAN("dead"));
    rig_advance(&r, 60000);
    ck_assert_uint_eq(rig_receive(&r, dead, 1, -1, got), 1);
    ck_assert_str_eq(got[0].source, "jobs");
    rig_release(&r);
}
END_TEST

START_TEST(state_survives_a_restart)
{
    struct queue *q = start(NULL);
    rig_send(&r, q, "flying", -1);
    rig_send(&r, q, "waiting", -1);
    rig_turn(&r);
    rig_receive(&r, q, 1, 100, got);
    rig_turn(&r);
    r.wall_ms += 40000; // away for so long, on the same boot
    r.monotonic_ms += 40000;
    q = restart("jobs");
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 1);
    ck_assert_uint_eq(rig_info(&r, q).visible, 1);
    rig_advance(&r, 59999);
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 1);
    ck_assert_int_eq(rig_visibility(&r, q, got[0].handle, 10), SQS_OK); // old handles are good
    rig_advance(&r, 10000);
    ck_assert_uint_eq(rig_info(&r, q).visible, 2);
    ck_assert_uint_eq(rig_receive(&r, q, 1, 100, got + 1), 1);
    ck_assert_str_eq(got[1].body, "flying");
    ck_assert_uint_eq(got[1].receive_count, 2);
    rig_delete(&r, q, got[0].handle); // outdated
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 1);
    rig_release(&r);
}
END_TEST

START_TEST(wall_clock_jumps_move_no_deadline)
{
    for (int jump = 0; jump < 2; jump++) {
        struct queue *q = start(NULL);
        rig_send(&r, q, "x", -1);
        rig_turn(&r);
        rig_receive(&r, q, 1, 100, got);
        rig_turn(&r);
        r.wall_ms += jump ? 365LL * 86400000 : -365LL * 86400000;
        r.monotonic_ms += 1000;
        q = restart("jobs");
        ck_assert_uint_eq(rig_info(&r, q).in_flight, 1);
        rig_advance(&r, 98999);
        ck_assert_uint_eq(rig_info(&r, q).in_flight, 1);
        rig_advance(&r, 1);
        ck_assert_uint_eq(rig_info(&r, q).visible, 1);
        rig_release(&r);
    }
}
END_TEST

START_TEST(purge_takes_all_and_later_sends_stay)
{
    struct queue *q = start(NULL);
    uint64_t wait_for;
    struct fault f;
    rig_send(&r, q, "visible", -1);
    rig_send(&r, q, "delayed", 100);
    rig_send(&r, q, "flying", -1);
    rig_turn(&r);
    rig_receive(&r, q, 1, -1, got);
    ck_assert_int_eq(queue_purge(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK);
    rig_send(&r, q, "after", -1);
    rig_turn(&r);
    for (int i = 0; i < 2; i++) {
        struct queue_info info = rig_info(&r, q);
        ck_assert_uint_eq(info.visible, 1);
        ck_assert_uint_eq(info.in_flight + info.delayed, 0);
        q = restart("jobs");
    }
    ck_assert_uint_eq(rig_receive(&r, q, 10, -1, got), 1);
    ck_assert_str_eq(got[0].body, "after");
    rig_release(&r);
}
END_TEST

static int woken, woken_gone;

static bool take_one(struct waiter *w, bool gone)
{
    woken_gone += gone;
    if (gone)
        return true;
    if (rig_receive(&r, w->queue, 1, -1, got) == 0)
        return false;
    woken++;
    queue_unwait(w);
    return true;
}

START_TEST(waiters_are_woken_by_every_waker)
{
    struct queue *q = start(NULL);
    struct waiter a = {.fn = take_one}, b = {.fn = take_one};
    uint64_t wait_for;
    struct fault f;
    queue_wait(q, &a);
    queue_wait(q, &b);
    rig_turn(&r);
    ck_assert_int_eq(woken, 0);
    rig_send(&r, q, "x", -1);
    rig_turn(&r); // becomes durable
    rig_turn(&r);
    ck_assert_int_eq(woken, 1);
    ck_assert_ptr_null(a.queue); // first come, first served
    ck_assert_ptr_nonnull(b.queue);
    rig_visibility(&r, q, got[0].handle, 0);
    rig_turn(&r);
    ck_assert_int_eq(woken, 2);
    queue_wait(q, &a);
    rig_advance(&r, 30000); // its visibility timeout ends
    rig_turn(&r);
    ck_assert_int_eq(woken, 3);
    rig_send(&r, q, "later", 5);
    queue_wait(q, &a);
    rig_turn(&r);
    rig_advance(&r, 5000);
    rig_turn(&r);
    ck_assert_int_eq(woken, 4);
    queue_wait(q, &a);
    queue_wait(q, &b);
    queue_unwait(&a);
    ck_assert_int_eq(queue_delete(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK);
    ck_assert_int_eq(woken_gone, 1);
    ck_assert_ptr_null(b.queue);
    rig_release(&r);
}
END_TEST

START_TEST(deleted_queue_and_a_new_one_of_its_name)
{
    struct queue *q = start(NULL);
    uint64_t wait_for;
    struct fault f;
    rig_send(&r, q, "old", -1);
    rig_turn(&r);
    rig_receive(&r, q, 1, -1, got);
    queue_delete(r.queues, q, r.now_ms, &wait_for, &f);
    ck_assert_ptr_null(queue_find(r.queues, SPAN("jobs")));
    q = rig_queue(&r, "jobs", NULL);
    rig_send(&r, q, "new", -1);
    rig_turn(&r);
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_RECEIPT_HANDLE_INVALID);
    q = restart("jobs");
    ck_assert_uint_eq(rig_receive(&r, q, 10, -1, got), 1);
    ck_assert_str_eq(got[0].body, "new");
    ck_assert_uint_eq(queues_count(r.queues), 1);
    rig_release(&r);
}
END_TEST

static enum sqs_code create(const char *name, struct fault *f)
{
    struct queue_attributes a;
    struct queue *q;
    uint64_t wait_for;
    attributes_init(&a, false);
    enum sqs_code code =
        queue_create(r.queues, r.now_ms, span_from(name), &a, NULL, 0, &q, &wait_for, f);
    attributes_release(&a);
    return code;
}

START_TEST(name_of_a_deleted_queue_is_free_after_a_minute)
{
    uint64_t wait_for;
    struct fault f;
    rig_init(&r);
    r.segment_bytes = 65536;
    r.cooldown_ms = 60000;
    ck_assert_int_eq(rig_open(&r), OK);
    struct queue *q = rig_queue(&r, "jobs", NULL);
    rig_send(&r, q, "old", -1);
    rig_turn(&r);
    ck_assert_int_eq(queue_delete(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK);
    ck_assert_ptr_null(queue_find(r.queues, SPAN("jobs")));
    ck_assert_int_eq(create("other", &f), SQS_OK);
    for (int i = 0; i < 3; i++) { // and across restarts
        ck_assert_int_eq(create("jobs", &f), SQS_QUEUE_DELETED_RECENTLY);
        ck_assert_str_eq(f.message,
                         "You must wait 60 seconds after deleting a queue before you can create "
                         "another with the same name.");
        ck_assert_int_eq(queues_next_deadline_ms(r.queues) - r.now_ms, 60000 - i * 20000);
        rig_turn(&r);
        if (i < 2)
            rig_advance(&r, 20000);
        ck_assert_ptr_null(restart("jobs"));
    }
    rig_advance(&r, 19999);
    ck_assert_int_eq(create("jobs", &f), SQS_QUEUE_DELETED_RECENTLY);
    rig_advance(&r, 1);
    ck_assert_int_eq(queues_next_deadline_ms(r.queues), INT64_MAX); // nothing is left of it
    ck_assert_int_eq(create("jobs", &f), SQS_OK);
    rig_turn(&r);
    q = restart("jobs");
    ck_assert_uint_eq(rig_info(&r, q).visible, 0);
    ck_assert_uint_eq(queues_count(r.queues), 2);
    rig_release(&r);
}
END_TEST

START_TEST(names_of_deleted_queues_are_bounded)
{
    uint64_t wait_for;
    struct fault f;
    char name[20];
    rig_init(&r);
    r.segment_bytes = 65536;
    r.cooldown_ms = 60000;
    ck_assert_int_eq(rig_open(&r), OK);
    for (int i = 0; i <= SQS_DELETED_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "q%d", i);
        struct queue *q = rig_queue(&r, name, NULL);
        ck_assert_ptr_nonnull(q);
        ck_assert_int_eq(queue_delete(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK);
        rig_turn(&r);
    }
    ck_assert_int_eq(create("q1", &f), SQS_QUEUE_DELETED_RECENTLY);
    ck_assert_int_eq(create("q0", &f), SQS_OK); // the oldest was forgotten for the last one
    rig_turn(&r);
    restart("q0");
    ck_assert_int_eq(create("q1", &f), SQS_QUEUE_DELETED_RECENTLY);
    rig_release(&r);
}
END_TEST

START_TEST(one_purge_in_a_minute)
{
    uint64_t wait_for = 0;
    struct fault f;
    rig_init(&r);
    r.segment_bytes = 65536;
    r.cooldown_ms = 60000;
    ck_assert_int_eq(rig_open(&r), OK);
    struct queue *q = rig_queue(&r, "jobs", NULL), *other = rig_queue(&r, "other", NULL);
    ck_assert_int_eq(queue_purge(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK); // of nothing
    ck_assert_uint_gt(wait_for, 0);
    rig_send(&r, q, "kept", -1);
    rig_turn(&r);
    for (int i = 0; i < 2; i++) { // and across a restart
        ck_assert_int_eq(queue_purge(r.queues, q, r.now_ms, &wait_for, &f), SQS_PURGE_IN_PROGRESS);
        ck_assert_str_eq(f.message,
                         "Only one PurgeQueue operation on jobs is allowed every 60 seconds.");
        rig_advance(&r, 29999);
        q = restart("jobs");
    }
    ck_assert_int_eq(queue_purge(r.queues, q, r.now_ms, &wait_for, &f), SQS_PURGE_IN_PROGRESS);
    rig_advance(&r, 2);
    other = queue_find(r.queues, SPAN("other"));
    ck_assert_int_eq(queue_purge(r.queues, other, r.now_ms, &wait_for, &f), SQS_OK);
    ck_assert_uint_eq(rig_info(&r, q).visible, 1);
    ck_assert_int_eq(queue_purge(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK);
    ck_assert_uint_eq(rig_info(&r, q).visible, 0);
    rig_release(&r);
}
END_TEST

static enum sqs_code receive_one(struct queue *q, bool over_limit_is_error, size_t *count)
{
    struct received one[10];
    struct fault f;
    uint64_t wait_for;
    struct receive_in in = {
        .max = 10, .visibility_s = 600, .over_limit_is_error = over_limit_is_error};
    return queue_receive(r.queues, q, r.now_ms, &in, one, count, &wait_for, &f);
}

// A short poll hears of the limit, a long one waits; a FIFO queue never says it.
START_TEST(limit_of_messages_in_flight)
{
    struct sent sent;
    char id[16];
    size_t count;
    rig_init(&r);
    r.segment_bytes = 4 << 20;
    ck_assert_int_eq(rig_open(&r), OK);
    struct queue *q = rig_queue(&r, "jobs", NULL), *fifo = rig_queue(&r, "jobs.fifo", NULL);
    for (int i = 0; i < SQS_INFLIGHT_MAX + 5; i++) {
        snprintf(id, sizeof id, "%d", i);
        ck_assert_int_eq(rig_send(&r, q, "x", -1), SQS_OK);
        ck_assert_int_eq(rig_send_fifo(&r, fifo, "x", id, id, &sent), SQS_OK);
        if (i % 500 == 0)
            rig_turn(&r);
    }
    rig_turn(&r);
    for (int i = 0; i < SQS_INFLIGHT_MAX; i += 10) {
        ck_assert_int_eq(receive_one(q, true, &count), SQS_OK);
        ck_assert_uint_eq(count, 10);
        ck_assert_int_eq(receive_one(fifo, true, &count), SQS_OK);
        ck_assert_uint_eq(count, 10);
        if (i % 500 == 0)
            rig_turn(&r);
    }
    ck_assert_int_eq(receive_one(q, true, &count), SQS_OVER_LIMIT);
    ck_assert_int_eq(receive_one(q, false, &count), SQS_OK);
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(receive_one(fifo, true, &count), SQS_OK);
    ck_assert_uint_eq(count, 0);
    ck_assert_uint_eq(rig_info(&r, q).visible, 5);
    rig_advance(&r, 600000); // all come back
    ck_assert_int_eq(receive_one(q, true, &count), SQS_OK);
    ck_assert_uint_eq(count, 10);
    rig_release(&r);
}
END_TEST

START_TEST(handles_cannot_be_made_up)
{
    struct queue *q = start(NULL), *other = rig_queue(&r, "other", NULL);
    rig_send(&r, q, "x", -1);
    rig_turn(&r);
    rig_receive(&r, q, 1, -1, got);
    ck_assert_int_eq(rig_delete(&r, q, "garbage"), SQS_RECEIPT_HANDLE_INVALID);
    ck_assert_int_eq(rig_delete(&r, other, got[0].handle), SQS_RECEIPT_HANDLE_INVALID);
    for (size_t i = 0; i < RECEIPT_TEXT_BYTES; i++) {
        struct rig_message forged = got[0];
        forged.handle[i] = forged.handle[i] == 'A' ? 'B' : 'A';
        ck_assert_int_eq(rig_delete(&r, q, forged.handle), SQS_RECEIPT_HANDLE_INVALID);
    }
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 1);
    rig_release(&r);
}
END_TEST

// Many messages come and go, some stay: the store must not grow with what is gone.
START_TEST(compaction_keeps_the_store_small)
{
    rig_init(&r);
    r.segment_bytes = 16384;
    ck_assert_int_eq(rig_open(&r), OK);
    struct queue *q = rig_queue(&r, "jobs", NULL), *stay = rig_queue(&r, "stay", NULL);
    char body[200];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    struct journal_stats stats;
    for (int i = 0; i < 5000; i++) {
        if (i % 50 == 0)
            rig_send(&r, stay, body, -1);
        rig_send(&r, q, body, -1);
        rig_turn(&r);
        ck_assert_uint_eq(rig_receive(&r, q, 1, -1, got), 1);
        ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK);
        journal_stats(queues_journal(r.queues), &stats);
        ck_assert_msg(stats.segments <= 14, "%u segments after %d messages, %llu live bytes",
                      stats.segments, i, (unsigned long long)stats.live_bytes);
    }
    rig_turn(&r);
    stay = restart("stay");
    ck_assert_uint_eq(rig_info(&r, stay).visible, 100);
    ck_assert_uint_eq(rig_info(&r, queue_find(r.queues, SPAN("jobs"))).visible, 0);
    rig_release(&r);
}
END_TEST

START_TEST(index_is_small)
{
    struct queue *q = start(NULL);
    r.segment_bytes = 1 << 20;
    struct queues_stats stats;
    for (int i = 0; i < 20000; i++) {
        rig_send(&r, q, "x", -1);
        if (i % 100 == 0)
            rig_turn(&r);
    }
    queues_stats(r.queues, &stats);
    ck_assert_uint_eq(stats.messages, 20000);
    ck_assert_uint_le(stats.index_bytes / stats.messages, 100);
    rig_release(&r);
}
END_TEST

SUITE_MAIN("queue", message_is_received_once_it_is_durable, order_is_that_of_sending,
           visibility_timeout_gives_it_back, old_handle_does_nothing_after_another_receive,
           visibility_zero_at_receive_leaves_it_visible, change_of_visibility, delay, retention,
           dead_letters_go_at_the_receive_that_is_too_many, state_survives_a_restart,
           wall_clock_jumps_move_no_deadline, purge_takes_all_and_later_sends_stay,
           waiters_are_woken_by_every_waker, deleted_queue_and_a_new_one_of_its_name,
           name_of_a_deleted_queue_is_free_after_a_minute, names_of_deleted_queues_are_bounded,
           one_purge_in_a_minute, limit_of_messages_in_flight, handles_cannot_be_made_up,
           compaction_keeps_the_store_small, index_is_small)
