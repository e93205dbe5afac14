// A workload on the queues is run again and again, and each time the n-th call to the disk fails,
// is torn, or is the last one; then the store is opened again and what was promised must hold. n
// goes on until the workload completes.
#include "queue_rig.h"
#include "suite.h"

enum { MESSAGES_MAX = 400, STEPS = 260, HANDLES_MAX = 64 };

enum fate {
    NEVER,
    TRIED,
    DONE,
    MAYBE
}; // of a send or a delete: not asked, asked, promised, asked in a life before

struct model {
    enum fate sent[MESSAGES_MAX], deleted[MESSAGES_MAX];
    uint32_t received[MESSAGES_MAX], received_durable[MESSAGES_MAX];
    bool unrecorded[MESSAGES_MAX];
    int count;
    uint32_t unread; // receives of which the model does not know the message
    struct {
        char text[RECEIPT_TEXT_BYTES + 1];
        int message;
        bool dead_letters; // of which queue it is
    } handles[HANDLES_MAX];
    int handle_count;
    bool created, fifo;
    int64_t sent_ms[MESSAGES_MAX];
    int purged; // messages up to here may have been forgotten with their deduplication ids
};

static void body_of(int i, char out[200])
{
    int len = snprintf(out, 200, "%d:", i);
    int more = i * 37 % 150;
    memset(out + len, 'a' + i % 26, (size_t)more);
    out[len + more] = '\0';
}

// The message of a body; it must be exactly one that was sent.
static int message_of(const struct model *m, const char *body)
{
    char expected[200];
    int i = atoi(body);
    ck_assert_int_ge(i, 0);
    ck_assert_int_lt(i, m->count);
    body_of(i, expected);
    ck_assert_str_eq(body, expected);
    ck_assert_int_ne(m->sent[i], NEVER);
    return i;
}

static void committed(struct model *m)
{
    for (int i = 0; i < m->count; i++) {
        if (m->sent[i] == TRIED)
            m->sent[i] = DONE;
        if (m->deleted[i] == TRIED)
            m->deleted[i] = DONE;
        m->received_durable[i] = m->unrecorded[i] ? 0 : m->received[i];
    }
}

// Message i in one of three groups; now and then an earlier one is sent once more, which must add
// nothing.
static enum sqs_code send_fifo(struct rig *r, struct model *m, struct queue *q, int i,
                               const char *body, uint64_t chance)
{
    struct sent sent;
    char id[16], group[8];
    int again = i - 1 - (int)(chance / 4 % 4);
    if (chance % 3 == 0 && again >= m->purged && m->sent[again] == DONE &&
        r->now_ms - m->sent_ms[again] < 300000) {
        snprintf(id, sizeof id, "%d", again);
        snprintf(group, sizeof group, "g%d", again % 3);
        if (rig_send_fifo(r, q, "a duplicate", group, id, &sent) == SQS_OK)
            ck_assert_msg(sent.duplicate, "message %d was taken twice", again);
    }
    snprintf(id, sizeof id, "%d", i);
    snprintf(group, sizeof group, "g%d", i % 3);
    m->sent_ms[i] = r->now_ms;
    return rig_send_fifo(r, q, body, group, id, &sent);
}

static void step_send(struct rig *r, struct model *m, struct queue *q, uint64_t chance)
{
    char body[200];
    if (m->count == MESSAGES_MAX)
        return;
    int i = m->count++;
    body_of(i, body);
    enum sqs_code code = m->fifo ? send_fifo(r, m, q, i, body, chance)
                                 : rig_send(r, q, body, chance % 5 == 0 ? 3 : -1);
    if (code == SQS_OK)
        m->sent[i] = TRIED;
}

static void step_receive(struct rig *r, struct model *m, struct queue *q, bool dead_letters)
{
    struct rig_message got[10];
    uint64_t before = journal_next_sequence(queues_journal(r->queues));
    size_t count = rig_receive(r, q, 4, -1, got);
    // on a full disk messages are handed out without a record
    bool recorded = journal_next_sequence(queues_journal(r->queues)) >= before + count;
    for (size_t k = 0; k < count; k++) {
        if (got[k].body[0] == '\0') { // the disk failed while it was read: it comes again
            ck_assert_int_ne(r->disk.fault, FAKE_NONE);
            m->unread++;
            continue;
        }
        int i = message_of(m, got[k].body);
        ck_assert_msg(m->sent[i] != TRIED, "message %d was received before it was durable", i);
        ck_assert_msg(m->deleted[i] == NEVER || m->deleted[i] == MAYBE,
                      "message %d was received after its delete", i);
        ck_assert_uint_gt(got[k].receive_count, m->received_durable[i]);
        ck_assert_uint_le(got[k].receive_count, m->received[i] + 1 + m->unread);
        m->sent[i] = DONE;
        m->deleted[i] = NEVER;
        m->received[i] = got[k].receive_count;
        m->unrecorded[i] = m->unrecorded[i] || !recorded;
        int h = m->handle_count < HANDLES_MAX ? m->handle_count++ : i % HANDLES_MAX;
        memcpy(m->handles[h].text, got[k].handle, sizeof m->handles[h].text);
        m->handles[h].message = i;
        m->handles[h].dead_letters = dead_letters;
    }
}

static void step_handle(struct rig *r, struct model *m, struct queue *q, struct queue *dlq,
                        uint64_t chance)
{
    if (m->handle_count == 0)
        return;
    int h = (int)(chance / 16 % (uint64_t)m->handle_count);
    struct queue *of = m->handles[h].dead_letters ? dlq : q;
    if (chance % 4 == 0) {
        (void)rig_visibility(r, of, m->handles[h].text, (int)(chance / 7 % 8));
        return;
    }
    uint64_t before = journal_next_sequence(queues_journal(r->queues));
    enum sqs_code code = rig_delete(r, of, m->handles[h].text);
    // an outdated handle deletes nothing: then no record was made
    if (code == SQS_OK && journal_next_sequence(queues_journal(r->queues)) > before)
        m->deleted[m->handles[h].message] = TRIED;
    m->handles[h] = m->handles[--m->handle_count];
}

static void step_purge(struct rig *r, struct model *m, struct queue *q)
{
    uint64_t wait_for = 0;
    struct fault f;
    m->purged = m->count;
    if (queue_purge(r->queues, q, r->now_ms, &wait_for, &f) != SQS_OK)
        return;
    struct queue_info info = rig_info(r, q);
    ck_assert_uint_eq(info.visible + info.in_flight + info.delayed, 0);
    // those that are in the other queue stay: the model does not know which
    for (int i = 0; i < m->count; i++)
        if (m->sent[i] != NEVER && m->deleted[i] == NEVER)
            m->deleted[i] = MAYBE;
}

// Runs the workload until the disk stops it. True: it ran to its end.
static bool workload(struct rig *r, struct model *m, uint64_t seed)
{
    static const char *const q_attributes[] = {
        "VisibilityTimeout=5",
        "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead\","
        "\"maxReceiveCount\":3}",
        NULL};
    static const char *const fifo_attributes[] = {
        "VisibilityTimeout=5",
        "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead.fifo\","
        "\"maxReceiveCount\":3}",
        NULL};
    if (rig_open(r) != OK)
        return false;
    const char *dead = m->fifo ? "dead.fifo" : "dead", *jobs = m->fifo ? "jobs.fifo" : "jobs";
    struct queue *dlq = queue_find(r->queues, span_from(dead));
    struct queue *q = queue_find(r->queues, span_from(jobs));
    if (dlq == NULL)
        dlq = rig_queue(r, dead, NULL);
    if (q == NULL)
        q = rig_queue(r, jobs, m->fifo ? fifo_attributes : q_attributes);
    if (q == NULL || dlq == NULL)
        return false;
    rig_turn(r);
    m->created = m->created || !journal_failed(queues_journal(r->queues));
    for (int step = 0; step < STEPS; step++) {
        uint64_t chance = fake_random(&seed);
        if (journal_failed(queues_journal(r->queues)))
            return false;
        uint64_t kind = chance % 16, more = chance / 16;
        if (kind < 6)
            step_send(r, m, q, more);
        else if (kind < 9)
            step_receive(r, m, q, false);
        else if (kind == 9)
            step_receive(r, m, dlq, true);
        else if (kind < 14)
            step_handle(r, m, q, dlq, more);
        else if (kind == 14)
            rig_advance(r, (int64_t)(more % 6000));
        else if (more % 24 == 0)
            step_purge(r, m, q);
        if (chance / 1024 % 3 == 0) {
            rig_turn(r);
            if (!journal_failed(queues_journal(r->queues)))
                committed(m);
        }
    }
    rig_turn(r);
    if (journal_failed(queues_journal(r->queues)))
        return false;
    committed(m);
    return true;
}

static void drain(struct rig *r, const struct model *m, const char *name, uint32_t *found)
{
    struct queue *q = queue_find(r->queues, span_from(name));
    struct rig_message got[10];
    size_t count;
    if (q == NULL) {
        ck_assert_msg(!m->created, "queue '%s' is lost", name);
        return;
    }
    while ((count = rig_receive(r, q, 10, 3600, got)) > 0) {
        for (size_t k = 0; k < count; k++) {
            int i = message_of(m, got[k].body);
            ck_assert_msg(found[i] == 0, "message %d is there twice", i);
            found[i] = got[k].receive_count;
            ck_assert_int_eq(rig_delete(r, q, got[k].handle), SQS_OK);
        }
        rig_turn(r);
    }
    struct queue_info info = rig_info(r, q);
    ck_assert_uint_eq(info.visible + info.in_flight + info.delayed, 0);
}

static void check_promises(struct rig *r, const struct model *m, uint64_t seed)
{
    uint32_t found[MESSAGES_MAX] = {0};
    enum err err = rig_open(r);
    ck_assert_msg(err == OK, "does not open: %s", r->error.msg);
    rig_turn(r);
    rig_advance(r, 13 * 3600 * 1000); // whatever was hidden is not
    drain(r, m, m->fifo ? "jobs.fifo" : "jobs", found);
    drain(r, m, m->fifo ? "dead.fifo" : "dead", found);
    for (int i = 0; i < m->count; i++) {
        if (m->sent[i] == DONE && m->deleted[i] == NEVER)
            ck_assert_msg(found[i] > 0, "seed %llu: message %d was acknowledged and is lost",
                          (unsigned long long)seed, i);
        if (m->deleted[i] == DONE)
            ck_assert_msg(found[i] == 0, "seed %llu: message %d came back after its delete",
                          (unsigned long long)seed, i);
        if (found[i] > 0)
            ck_assert_msg(found[i] > m->received_durable[i],
                          "message %d: receives were forgotten: %u after %u", i, found[i],
                          m->received_durable[i]);
    }
    rig_close(r);
}

// One run with a fault at the n-th call; then kill -9 or a power loss, and again from there. True:
// no fault hit it.
static bool run_with_fault(enum fake_fault fault, int sys, long n, uint64_t seed, bool fifo)
{
    static struct rig r;
    static struct model m;
    rig_init(&r);
    memset(&m, 0, sizeof m);
    m.fifo = fifo;
    r.disk.fault = fault;
    r.disk.fault_errno = sys;
    r.disk.fault_at = n;
    bool completed = workload(&r, &m, seed);
    bool hit = r.disk.calls >= n;
    rig_close(&r);
    if (seed % 2 == 0)
        fake_disk_power_loss(&r.disk, seed * 77 + (uint64_t)n);
    else
        fake_disk_restart(&r.disk);
    check_promises(&r, &m, seed);
    fake_disk_release(&r.disk);
    return completed && !hit;
}

static void run_all(enum fake_fault fault, int sys, uint64_t seed)
{
    long n = 1;
    while (!run_with_fault(fault, sys, n, seed, seed > 4 && seed != 8))
        n += n < 60 ? 1 : 1 + (long)(seed % 3); // every call at first, then most
    ck_assert_int_gt(n, 200);                   // the workload does make calls
}

START_TEST(every_call_fails_once)
{
    run_all(FAKE_FAIL, EIO, 1);
    run_all(FAKE_FAIL, EIO, 2);
}
END_TEST

START_TEST(every_call_finds_no_space)
{
    run_all(FAKE_FAIL, ENOSPC, 4);
}
END_TEST

START_TEST(every_write_is_torn)
{
    run_all(FAKE_TEAR, EIO, 5);
    run_all(FAKE_TEAR, EIO, 6);
}
END_TEST

START_TEST(process_is_killed_at_every_call)
{
    run_all(FAKE_STOP, EIO, 7);
}
END_TEST

START_TEST(power_is_lost_at_every_call)
{
    run_all(FAKE_STOP, EIO, 8);
    run_all(FAKE_STOP, EIO, 10);
}
END_TEST

// Several lives, each ended by a power loss at a random call, one after the other on the same disk.
// SMELT_SEEDS=10000 tries more; SMELT_SEED is the first.
START_TEST(many_lives_from_seeds)
{
    const char *first = getenv("SMELT_SEED"), *count = getenv("SMELT_SEEDS");
    uint64_t from = first != NULL ? strtoull(first, NULL, 10) : 1;
    uint64_t to = from + (count != NULL ? strtoull(count, NULL, 10) : 150);
    for (uint64_t seed = from; seed < to; seed++) {
        static struct rig r;
        static struct model m;
        uint64_t chance = seed;
        rig_init(&r);
        memset(&m, 0, sizeof m);
        m.fifo = seed % 2 == 1;
        for (int life = 0; life < 4; life++) {
            r.disk.fault = FAKE_STOP;
            r.disk.fault_at = 1 + (long)(fake_random(&chance) % 300);
            m.handle_count = 0;
            workload(&r, &m, fake_random(&chance));
            rig_close(&r);
            fake_disk_power_loss(&r.disk, fake_random(&chance));
            m.unread += 100;
            for (int i = 0; i < m.count; i++) { // what was not promised may be there or not
                m.received[i] = m.received_durable[i];
                if (m.sent[i] == TRIED)
                    m.sent[i] = MAYBE;
                if (m.deleted[i] == TRIED)
                    m.deleted[i] = MAYBE;
            }
            if (rig_open(&r) != OK)
                ck_abort_msg("seed %llu life %d: %s", (unsigned long long)seed, life, r.error.msg);
            rig_close(&r);
        }
        if (count != NULL && seed % 1000 == 0)
            fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        check_promises(&r, &m, seed);
        fake_disk_release(&r.disk);
    }
}
END_TEST

SUITE_MAIN("queue_crash", every_call_fails_once, every_call_finds_no_space, every_write_is_torn,
           process_is_killed_at_every_call, power_is_lost_at_every_call, many_lives_from_seeds)
