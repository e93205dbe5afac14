#include "queue_rig.h"
#include "suite.h"

static struct rig r;
static struct rig_message got[10];
static struct sent sent;

static struct queue *start(const char *const *attributes)
{
    rig_init(&r);
    r.segment_bytes = 65536;
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
    return rig_queue(&r, "jobs.fifo", attributes);
}

static struct queue *restart(const char *name)
{
    rig_close(&r);
    ck_assert_msg(rig_open(&r) == OK, "%s", r.error.msg);
    return queue_find(r.queues, span_from(name));
}

// body = "g1-a": group g1; the body is also the deduplication id
static void send_all(struct queue *q, const char *const *bodies)
{
    for (; *bodies != NULL; bodies++) {
        char group[8];
        snprintf(group, sizeof group, "%.2s", *bodies);
        ck_assert_int_eq(rig_send_fifo(&r, q, *bodies, group, *bodies, &sent), SQS_OK);
        ck_assert(!sent.duplicate);
    }
    rig_turn(&r);
}

#define SEND(q, ...) send_all(q, (const char *const[]){__VA_ARGS__, NULL})

static void receive_is(struct queue *q, size_t max, int visibility_s, const char *expected)
{
    AUTO_BUF struct buf all = {0};
    size_t count = rig_receive(&r, q, max, visibility_s, got);
    for (size_t i = 0; i < count; i++)
        buf_printf(&all, "%s%s", i > 0 ? " " : "", got[i].body);
    ck_assert_str_eq(buf_view(&all).data, expected);
}

START_TEST(one_group_first_then_others)
{
    struct queue *q = start(NULL);
    SEND(q, "g1-a", "g2-a", "g1-b", "g1-c");
    receive_is(q, 10, -1, "g1-a g1-b g1-c g2-a");
    rig_release(&r);
}
END_TEST

START_TEST(group_with_a_message_in_flight_gives_no_more)
{
    struct queue *q = start(NULL);
    SEND(q, "g1-a", "g1-b", "g2-a");
    receive_is(q, 1, -1, "g1-a");
    struct rig_message first = got[0];
    receive_is(q, 10, -1, "g2-a");
    SEND(q, "g1-c");
    receive_is(q, 10, -1, "");
    ck_assert_int_eq(rig_delete(&r, q, first.handle), SQS_OK);
    receive_is(q, 10, -1, "g1-b g1-c");
    struct rig_message b = got[0], c = got[1];
    SEND(q, "g1-d");
    rig_delete(&r, q, c.handle); // of a batch, a part: still locked
    receive_is(q, 10, -1, "");
    rig_delete(&r, q, b.handle);
    receive_is(q, 10, -1, "g1-d");
    rig_release(&r);
}
END_TEST

START_TEST(hidden_message_blocks_those_behind_it)
{
    struct queue *q = start(NULL);
    SEND(q, "g1-a", "g1-b", "g1-c");
    for (int extended = 0; extended < 3; extended++) {
        receive_is(q, 10, 5, "g1-a g1-b g1-c");
        ck_assert_int_eq(rig_visibility(&r, q, got[extended].handle, 30), SQS_OK);
        rig_advance(&r, 5000);
        receive_is(q, 10, 5, extended == 0 ? "" : extended == 1 ? "g1-a" : "g1-a g1-b");
        rig_advance(&r, 40000);
    }
    receive_is(q, 10, 30, "g1-a g1-b g1-c");
    rig_visibility(&r, q, got[1].handle, 0);
    receive_is(q, 10, 30, "");
    rig_release(&r);
}
END_TEST

START_TEST(groups_take_turns)
{
    struct queue *q = start(NULL);
    SEND(q, "g1-a", "g2-a", "g3-a");
    receive_is(q, 1, 0, "g1-a"); // straight back, and the next receive starts with the next group
    receive_is(q, 1, 0, "g2-a");
    receive_is(q, 10, 0, "g3-a g1-a g2-a");
    rig_release(&r);
}
END_TEST

START_TEST(duplicates_within_five_minutes)
{
    struct queue *q = start(NULL);
    ck_assert_int_eq(rig_send_fifo(&r, q, "one", "g1", "id", &sent), SQS_OK);
    struct sent first = sent;
    rig_turn(&r);
    receive_is(q, 1, -1, "one");
    rig_delete(&r, q, got[0].handle);
    rig_turn(&r);
    for (int i = 0; i < 2; i++) { // after the delete, in another group, after a restart
        ck_assert_int_eq(rig_send_fifo(&r, q, "again", "g2", "id", &sent), SQS_OK);
        ck_assert(sent.duplicate);
        ck_assert_mem_eq(sent.message_id, first.message_id, MESSAGE_ID_BYTES);
        ck_assert_uint_eq(sent.id, first.id);
        q = restart("jobs.fifo");
    }
    rig_advance(&r, 299999);
    rig_send_fifo(&r, q, "again", "g1", "id", &sent);
    ck_assert(sent.duplicate);
    rig_advance(&r, 1);
    rig_send_fifo(&r, q, "new", "g1", "id", &sent);
    ck_assert(!sent.duplicate);
    ck_assert_uint_gt(sent.id, first.id);
    rig_turn(&r);
    receive_is(q, 10, -1, "new");
    rig_release(&r);
}
END_TEST

// Its answer is read from its record, wherever that is: not yet committed, on disk, of a message
// that is gone, moved by compaction.
START_TEST(duplicate_is_answered_as_the_first)
{
    char body[2000], handle[RECEIPT_TEXT_BYTES + 1] = "";
    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    struct queue *q = start(NULL), *other = rig_queue(&r, "other", NULL),
                 *kept = rig_queue(&r, "kept", NULL);
    rig_send_fifo(&r, q, "before it", "g1", "other", &sent);
    ck_assert_int_eq(rig_send_fifo(&r, q, body, "g1", "id", &sent), SQS_OK);
    struct sent first = sent;
    ck_assert(!sent.duplicate);
    for (int step = 0; step < 6; step++) {
        if (step == 1)
            rig_turn(&r);
        if (step == 2)
            ck_assert_uint_eq(rig_receive(&r, q, 10, 60, got), 2);
        for (int i = 0; step == 2 && i < 2; i++) {
            memcpy(handle, got[i].handle, sizeof handle);
            ck_assert_int_eq(rig_delete(&r, q, handle), SQS_OK);
        }
        for (int i = 0; step == 3 && i < 400; i++) { // most of this is garbage: its segment goes
            ck_assert_int_eq(rig_send(&r, i % 20 == 0 ? kept : other, body, -1), SQS_OK);
            rig_turn(&r);
            if (i % 20 == 0)
                continue;
            ck_assert_uint_eq(rig_receive(&r, other, 1, 6000, got), 1);
            ck_assert_int_eq(rig_delete(&r, other, got[0].handle), SQS_OK);
            rig_turn(&r);
        }
        if (step == 4)
            q = restart("jobs.fifo");
        ck_assert_int_eq(rig_send_fifo(&r, q, "again", "g1", "id", &sent), SQS_OK);
        ck_assert(sent.duplicate);
        ck_assert_uint_eq(sent.id, first.id);
        ck_assert_mem_eq(sent.message_id, first.message_id, MESSAGE_ID_BYTES);
    }
    ck_assert_ptr_null(fake_find(&r.disk, "/00000001.seg")); // the record was moved
    rig_release(&r);
}
END_TEST

START_TEST(scope_is_that_of_the_creation)
{
    static const char *const attributes[] = {"DeduplicationScope=messageGroup", NULL};
    struct queue *q = start(attributes);
    rig_send_fifo(&r, q, "x", "g1", "id", &sent);
    rig_send_fifo(&r, q, "x", "g2", "id", &sent);
    ck_assert(!sent.duplicate);
    struct queue_attributes a;
    struct fault f;
    uint64_t wait_for;
    attributes_copy(&a, rig_info(&r, q).attributes);
    a.dedup_per_group = 0;
    ck_assert_int_eq(queue_set_attributes(r.queues, q, r.now_ms, &a, &wait_for, &f), SQS_OK);
    rig_turn(&r);
    q = restart("jobs.fifo");
    rig_send_fifo(&r, q, "x", "g3", "id", &sent);
    ck_assert(!sent.duplicate);
    rig_send_fifo(&r, q, "x", "g1", "id", &sent);
    ck_assert(sent.duplicate);
    rig_release(&r);
}
END_TEST

START_TEST(purge_clears_the_memory_of_ids)
{
    struct queue *q = start(NULL);
    uint64_t wait_for = 0;
    struct fault f;
    SEND(q, "g1-a");
    ck_assert_int_eq(queue_purge(r.queues, q, r.now_ms, &wait_for, &f), SQS_OK);
    rig_turn(&r);
    q = restart("jobs.fifo");
    SEND(q, "g1-a"); // not a duplicate
    receive_is(q, 1, -1, "g1-a");
    rig_release(&r);
}
END_TEST

START_TEST(delete_with_an_expired_handle)
{
    struct queue *q = start(NULL);
    SEND(q, "g1-a");
    receive_is(q, 1, 5, "g1-a");
    rig_visibility(&r, q, got[0].handle, 10);
    rig_advance(&r, 9000);
    struct rig_message first = got[0];
    rig_advance(&r, 1000);
    ck_assert_int_eq(rig_delete(&r, q, first.handle), SQS_INVALID_PARAMETER);
    receive_is(q, 1, 5, "g1-a");
    ck_assert_int_eq(rig_delete(&r, q, first.handle), SQS_INVALID_PARAMETER);
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK);
    ck_assert_int_eq(rig_delete(&r, q, got[0].handle), SQS_OK);
    rig_release(&r);
}
END_TEST

START_TEST(dead_letters_free_their_group)
{
    static const char *const attributes[] = {
        "VisibilityTimeout=1",
        "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead.fifo\","
        "\"maxReceiveCount\":1}",
        NULL};
    struct queue *q = start(attributes), *dead = rig_queue(&r, "dead.fifo", NULL);
    SEND(q, "g1-a", "g1-b", "g1-c");
    receive_is(q, 1, -1, "g1-a");
    rig_advance(&r, 1000);
    receive_is(q, 1, -1, "g1-b"); // and g1-a is a dead letter
    rig_advance(&r, 1000);
    receive_is(q, 1, -1, "g1-c");
    rig_turn(&r);
    q = restart("jobs.fifo");
    dead = queue_find(r.queues, SPAN("dead.fifo"));
    receive_is(dead, 1, -1, "g1-a");
    struct rig_message a = got[0];
    receive_is(dead, 10, -1, ""); // it is a FIFO queue with the same groups
    ck_assert_int_eq(rig_delete(&r, dead, a.handle), SQS_OK);
    receive_is(dead, 10, -1, "g1-b");
    rig_release(&r);
}
END_TEST

START_TEST(delay_is_the_queues_and_holds_for_earlier_messages)
{
    static const char *const attributes[] = {"DelaySeconds=60", NULL};
    struct queue *q = start(attributes);
    SEND(q, "g1-a");
    struct queue_attributes a;
    struct fault f;
    uint64_t wait_for;
    attributes_copy(&a, rig_info(&r, q).attributes);
    a.delay_s = 10;
    ck_assert_int_eq(queue_set_attributes(r.queues, q, r.now_ms, &a, &wait_for, &f), SQS_OK);
    rig_turn(&r);
    q = restart("jobs.fifo");
    rig_advance(&r, 9999);
    receive_is(q, 1, -1, "");
    rig_advance(&r, 1);
    receive_is(q, 1, -1, "g1-a");
    rig_release(&r);
}
END_TEST

START_TEST(order_and_locks_survive_a_restart)
{
    struct queue *q = start(NULL);
    SEND(q, "g1-a", "g2-a", "g1-b", "g2-b");
    receive_is(q, 1, 60, "g1-a");
    rig_turn(&r);
    q = restart("jobs.fifo");
    receive_is(q, 10, 60, "g2-a g2-b");
    rig_advance(&r, 60000);
    receive_is(q, 2, 60, "g1-a g1-b");
    SEND(q, "g1-c");
    ck_assert_uint_gt(sent.id, 0);
    rig_release(&r);
}
END_TEST

static size_t attempt(struct queue *q, const char *id, struct received *out)
{
    struct receive_in in = {.max = 10, .visibility_s = 20, .attempt = span_from(id)};
    struct fault f;
    uint64_t wait_for;
    size_t count;
    ck_assert_int_eq(queue_receive(r.queues, q, r.now_ms, &in, out, &count, &wait_for, &f), SQS_OK);
    return count;
}

START_TEST(receive_attempts_are_repeated)
{
    struct queue *q = start(NULL);
    struct received first[10], again[10];
    SEND(q, "g1-a", "g2-a");
    ck_assert_uint_eq(attempt(q, "try", first), 2);
    rig_advance(&r, 15000);
    ck_assert_uint_eq(attempt(q, "other", again), 0);
    ck_assert_uint_eq(attempt(q, "try", again), 2);
    ck_assert_mem_eq(&first[0].receipt, &again[0].receipt, sizeof first[0].receipt);
    rig_advance(&r, 15000); // hidden anew at the second one
    ck_assert_uint_eq(rig_info(&r, q).in_flight, 2);
    AUTO_BUF struct buf handle = {0};
    receipt_text(r.queues, &first[0].receipt, &handle);
    ck_assert_int_eq(rig_delete(&r, q, handle.data), SQS_OK);
    ck_assert_uint_eq(attempt(q, "try", again), 0); // one of them is gone: not the same any more
    rig_release(&r);
}
END_TEST

START_TEST(large_group_is_no_slower)
{
    struct queue *q = start(NULL);
    char body[16];
    rig_release(&r);
    rig_init(&r);
    r.segment_bytes = 1 << 20;
    ck_assert_int_eq(rig_open(&r), OK);
    q = rig_queue(&r, "jobs.fifo", NULL);
    for (int i = 0; i < 20000; i++) {
        snprintf(body, sizeof body, "%d", i);
        ck_assert_int_eq(rig_send_fifo(&r, q, body, "g1", body, &sent), SQS_OK);
        if (i % 100 == 0)
            rig_turn(&r);
    }
    rig_turn(&r);
    for (int i = 0; i < 20000; i += 10) {
        ck_assert_uint_eq(rig_receive(&r, q, 10, 30, got), 10);
        for (int k = 0; k < 10; k++) {
            ck_assert_int_eq(atoi(got[k].body), i + k);
            ck_assert_int_eq(rig_delete(&r, q, got[k].handle), SQS_OK);
        }
        if (i % 1000 == 0)
            rig_turn(&r);
    }
    rig_release(&r);
}
END_TEST

SUITE_MAIN("fifo", one_group_first_then_others, group_with_a_message_in_flight_gives_no_more,
           hidden_message_blocks_those_behind_it, groups_take_turns, duplicates_within_five_minutes,
           duplicate_is_answered_as_the_first, scope_is_that_of_the_creation,
           purge_clears_the_memory_of_ids, delete_with_an_expired_handle,
           dead_letters_free_their_group, delay_is_the_queues_and_holds_for_earlier_messages,
           order_and_locks_survive_a_restart, receive_attempts_are_repeated,
           large_group_is_no_slower)
