// The journal with its own thread, over a real directory and a loop: for the thread sanitizer, and
// for order.
#include "journal/journal.h"

#include "base/clock.h"
#include "suite.h"
#include "temp_dir.h"

#include <stdio.h>
#include <string.h>

enum { RECORDS = 4000, PER_TURN = 7, SEGMENT = 65536 };

static struct loop *loop;
static struct journal *journal;
static uint64_t durable, written, last_appended;
static int appended, callbacks, writes_ahead;
static bool failed;

static void on_written(void *ctx, uint64_t sequence)
{
    (void)ctx;
    ck_assert_uint_gt(sequence, written);
    ck_assert_uint_gt(sequence, durable);
    ck_assert_uint_eq(journal_written(journal), sequence);
    writes_ahead += journal_durable(journal) < sequence;
    written = sequence;
}

static void on_durable(void *ctx, uint64_t sequence)
{
    (void)ctx;
    ck_assert_uint_gt(sequence, durable);
    ck_assert_uint_le(sequence, written);
    ck_assert_uint_le(sequence, last_appended + 1); // a segment's end has a number too
    durable = sequence;
    callbacks++;
    if (appended == RECORDS && durable >= last_appended)
        loop_stop(loop);
}

static void on_failed(void *ctx, const struct error *error)
{
    (void)ctx;
    (void)error;
    failed = true;
    loop_stop(loop);
}

static enum err count_records(void *ctx, const struct journal_record *record, struct error *error)
{
    (void)error;
    (void)record;
    ++*(int *)ctx;
    return OK;
}

static bool append_some(void *ctx)
{
    char text[100];
    (void)ctx;
    for (int i = 0; i < PER_TURN && appended < RECORDS; i++) {
        struct journal_record r;
        memset(text, 'a' + appended % 26, sizeof text);
        struct span part = {text, (size_t)(20 + appended % 80)};
        if (journal_append(journal, JOURNAL_NEW, 10, &part, 1, &r, NULL) != OK)
            break; // a new segment is being made
        journal_count(journal, r.place.segment, 1, r.place.bytes);
        last_appended = r.sequence;
        appended++;
        if (appended % 100 == 0 &&
            durable > 0) { // what is durable can be read while others are written
            AUTO_BUF struct buf buf = {0};
            struct span payload;
            if (r.sequence <= durable)
                ck_assert_int_eq(journal_read(journal, r.place, &buf, &payload, NULL), OK);
        }
    }
    if (appended % 3 == 0)
        journal_await_written(journal);
    journal_flush(journal);
    return appended < RECORDS;
}

START_TEST(commits_in_a_thread_come_back_in_order)
{
    struct turn_hook hook;
    struct error error;
    int replayed = 0;
    char dir[64];
    temp_dir_make(dir);
    ck_assert_int_eq(loop_new(&loop, &error), OK);
    struct journal_config config = {.dir = dir,
                                    .segment_bytes = SEGMENT,
                                    .loop = loop,
                                    .ctx = &replayed,
                                    .replay = count_records,
                                    .on_written = on_written,
                                    .on_durable = on_durable,
                                    .on_failed = on_failed};
    ck_assert_msg(journal_open(&config, &journal, &error) == OK, "%s", error.msg);
    loop_hook_add(loop, &hook, append_some, NULL);
    ck_assert_int_eq(loop_run(loop, &error), OK);
    ck_assert(!failed);
    ck_assert_int_eq(appended, RECORDS);
    ck_assert_int_gt(callbacks, 1);
    ck_assert_int_lt(callbacks, RECORDS); // many records a commit
    ck_assert_int_gt(writes_ahead, 0);
    journal_close(journal);
    ck_assert_int_eq(journal_open(&config, &journal, &error), OK);
    ck_assert_int_eq(replayed, RECORDS);
    journal_close(journal);
    loop_free(loop);
    temp_dir_remove(dir);
}
END_TEST

// What is reserved grows with each record, and the spares that are kept with it: as long as no more
// than a quarter of a segment comes at once, nobody is told to try again.
static bool append_burst(void *ctx)
{
    static const char text[1000];
    const size_t *payload_bytes = ctx;
    if (journal_durable(journal) + 1 != journal_next_sequence(journal))
        return false;
    for (uint32_t bytes = 0; appended < RECORDS && bytes < SEGMENT / 4;) {
        struct span part = {text, *payload_bytes};
        struct journal_record r;
        struct error error = {0};
        ck_assert_msg(journal_append(journal, JOURNAL_NEW, 10, &part, 1, &r, &error) == OK,
                      "record %d with %zu bytes: %s", appended, *payload_bytes, error.msg);
        journal_count(journal, r.place.segment, 1, r.place.bytes);
        journal_reserve(journal, 40 * (uint64_t)++appended);
        last_appended = r.sequence;
        bytes += r.place.bytes;
    }
    journal_flush(journal);
    return false;
}

static void append_all(size_t payload_bytes)
{
    struct turn_hook hook;
    struct error error;
    char dir[64];
    temp_dir_make(dir);
    ck_assert_int_eq(loop_new(&loop, &error), OK);
    struct journal_config config = {.dir = dir,
                                    .segment_bytes = SEGMENT,
                                    .loop = loop,
                                    .ctx = &payload_bytes,
                                    .replay = count_records,
                                    .on_written = on_written,
                                    .on_durable = on_durable,
                                    .on_failed = on_failed};
    durable = written = 0;
    appended = 0;
    ck_assert_msg(journal_open(&config, &journal, &error) == OK, "%s", error.msg);
    loop_hook_add(loop, &hook, append_burst, &payload_bytes);
    ck_assert_int_eq(loop_run(loop, &error), OK);
    ck_assert_int_eq(appended, RECORDS);
    journal_close(journal);
    loop_free(loop);
    temp_dir_remove(dir);
}

START_TEST(growing_reserve_refuses_nothing)
{
    for (size_t payload_bytes = 100; payload_bytes < 400; payload_bytes += 16)
        append_all(payload_bytes);
}
END_TEST

SUITE_MAIN("journal_thread", commits_in_a_thread_come_back_in_order,
           growing_reserve_refuses_nothing)
