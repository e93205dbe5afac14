// A store as the first version of the journal wrote it, before records had anything behind their
// fixed parts: it is read, with all that is in it, and goes on. tests/golden/sqs_journal_first
// holds its files without the zeros at their ends.
#include "base/file.h"
#include "queue_rig.h"
#include "sqs/move_task.h"
#include "suite.h"
#include "temp_dir.h"

#include <fcntl.h>

static char dir[64];
static struct rig r;
static struct rig_message got[10];

static void put(const char *golden, const char *name, off_t at, off_t size)
{
    AUTO_BUF struct buf bytes = {0};
    char path[200];
    struct error error;
    snprintf(path, sizeof path, "tests/golden/sqs_journal_first/%s", golden);
    ck_assert_msg(file_read(path, 1 << 20, &bytes, &error) == OK, "%s", error.msg);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes.data, bytes.len, at), (ssize_t)bytes.len);
    ck_assert_int_eq(ftruncate(fd, size), 0);
    close(fd);
}

static void open_store(void)
{
    // a wall clock that says nothing: no time has passed since the store was written
    struct queues_config c = {.dir = dir, .wall_ms = 1, .monotonic_ms = 1, .cooldown_ms = 60000};
    ck_assert_msg(queues_open(&c, &r.queues, &r.error) == OK, "%s", r.error.msg);
    r.now_ms = queues_time(r.queues, 1);
}

static struct queue *find(const char *name)
{
    struct queue *q = queue_find(r.queues, span_from(name));
    ck_assert_msg(q != NULL, "there is no queue '%s'", name);
    return q;
}

static void everything_is_there(void)
{
    struct queue_info info = rig_info(&r, find("jobs"));
    ck_assert_uint_eq(info.visible, 4);
    ck_assert_uint_eq(info.tag_count, 1);
    ck_assert_str_eq(info.tags[0].value, "a");
    ck_assert_str_eq(info.attributes->dead_letter_queue, "dead");
    // policies were not read then: this one says nothing, and allows nobody anything
    ck_assert_str_eq(info.attributes->policy, "{\"anything\":\"that was an object\"}");
    ck_assert_ptr_null(queue_policy(find("jobs")));
    ck_assert_uint_eq(rig_info(&r, find("dead")).visible, 3);
    ck_assert_uint_eq(rig_info(&r, find("other")).visible, 0);
    ck_assert_uint_eq(rig_info(&r, find("f.fifo")).visible, 3);
    ck_assert_ptr_null(queue_find(r.queues, SPAN("gone")));
    const struct move_task *t = tasks_of(find("dead"));
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(t->status, TASK_CANCELLED);
    ck_assert_uint_eq(t->to_move, 3);
    ck_assert_str_eq(t->destination_name, "");
}

START_TEST(first_format_is_read)
{
    temp_dir_make(dir);
    put("00000001.seg", "00000001.seg", 0, 32 << 20);
    put("00000002.seg", "00000002.seg", 0, 32 << 20);
    put("manifest.slot1", "manifest", 64 << 10, 128 << 10);
    open_store();
    everything_is_there();
    queues_close(r.queues);
    open_store();
    everything_is_there();
    // and what is new is said of what is old
    struct fault f;
    uint64_t wait_for;
    ck_assert_int_eq(queue_purge(r.queues, find("dead"), r.now_ms, &wait_for, &f), SQS_OK);
    rig_turn(&r);
    queues_close(r.queues);
    open_store();
    ck_assert_uint_eq(rig_info(&r, find("dead")).visible, 0);
    ck_assert_int_eq(queue_purge(r.queues, find("dead"), r.now_ms, &wait_for, &f),
                     SQS_PURGE_IN_PROGRESS);
    // tenants of a standard queue were written before they had turns
    ck_assert_uint_eq(rig_receive(&r, find("jobs"), 10, 60, got), 4);
    ck_assert_str_eq(got[0].body, "tenant 0");
    ck_assert_str_eq(got[1].body, "tenant 1");
    ck_assert_uint_eq(rig_receive(&r, find("f.fifo"), 10, 60, got), 3);
    ck_assert_str_eq(got[2].body, "f2");
    queues_close(r.queues);
    temp_dir_remove(dir);
}
END_TEST

SUITE_MAIN("old_journal", first_format_is_read)
