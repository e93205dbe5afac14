#include "journal/journal.h"

#include "fake_disk.h"
#include "suite.h"

static struct fake_disk disk;

struct seen {
    uint64_t sequences[4096];
    char texts[4096][32];
    size_t count;
    struct journal *journal;
};

static struct seen seen;

static enum err note(void *ctx, const struct journal_record *record, struct error *error)
{
    (void)ctx;
    (void)error;
    ck_assert_uint_lt(seen.count, 4096);
    seen.sequences[seen.count] = record->sequence;
    size_t len = record->payload.len < 31 ? record->payload.len : 31;
    memcpy(seen.texts[seen.count], record->payload.data, len);
    seen.texts[seen.count][len] = '\0';
    seen.count++;
    return OK;
}

static enum err open_journal(struct journal **j, struct error *error)
{
    struct journal_config config = {
        .dir = "/store", .io = &disk.io, .segment_bytes = 4096, .replay = note};
    memset(config.store, 7, sizeof config.store);
    memset(&seen, 0, sizeof seen);
    return journal_open(&config, j, error);
}

static struct journal *must_open(void)
{
    struct journal *j;
    struct error error = {0};
    enum err err = open_journal(&j, &error);
    ck_assert_msg(err == OK, "%s", error.msg);
    return j;
}

static struct journal_place append(struct journal *j, const char *text)
{
    struct journal_record r;
    struct error error;
    struct span part = span_from(text);
    enum err err = journal_append(j, JOURNAL_NEW, 10, &part, 1, &r, &error);
    ck_assert_msg(err == OK, "%s", error.msg);
    return r.place;
}

static struct fake_file *file_of(const char *name)
{
    struct fake_file *f = fake_find(&disk, name);
    ck_assert_ptr_nonnull(f);
    return f;
}

START_TEST(records_come_back_in_order)
{
    fake_disk_init(&disk);
    struct journal *j = must_open();
    char text[32];
    struct journal_place last = {0};
    for (int i = 0; i < 300; i++) { // over several segments
        snprintf(text, sizeof text, "record %d", i);
        last = append(j, text);
        journal_count(j, last.segment, 1, last.bytes);
        if (i % 7 == 0)
            journal_flush(j);
    }
    journal_flush(j);
    ck_assert_uint_eq(journal_durable(j) + 1, journal_next_sequence(j));
    AUTO_BUF struct buf buf = {0};
    struct span payload;
    ck_assert_int_eq(journal_read(j, last, &buf, &payload, NULL), OK);
    ck_assert(span_is(payload, "record 299"));
    journal_close(j);

    j = must_open();
    ck_assert_uint_eq(seen.count, 300);
    for (size_t i = 0; i < 300; i++) {
        snprintf(text, sizeof text, "record %zu", i);
        ck_assert_str_eq(seen.texts[i], text);
        ck_assert(i == 0 || seen.sequences[i] > seen.sequences[i - 1]);
    }
    journal_close(j);
    fake_disk_release(&disk);
}
END_TEST

START_TEST(what_was_not_flushed_is_not_promised)
{
    fake_disk_init(&disk);
    struct journal *j = must_open();
    append(j, "kept");
    journal_flush(j);
    append(j, "dropped");
    journal_close(j);
    j = must_open();
    ck_assert_uint_eq(seen.count, 1);
    journal_close(j);
    fake_disk_release(&disk);
}
END_TEST

START_TEST(sequences_go_on_after_everything_was_removed)
{
    fake_disk_init(&disk);
    struct journal *j = must_open();
    for (int i = 0; i < 500; i++) { // nothing is counted: full segments go
        append(j, "gone");
        journal_flush(j);
    }
    struct journal_stats stats;
    journal_stats(j, &stats);
    ck_assert_uint_le(stats.segments, 4);
    uint64_t next = journal_next_sequence(j);
    journal_close(j);
    j = must_open();
    ck_assert_uint_eq(journal_next_sequence(j), next);
    journal_close(j);
    fake_disk_release(&disk);
}
END_TEST

// All segments with records went, and what stayed is empty: only the manifest knows the numbers.
START_TEST(sequences_go_on_in_an_empty_segment)
{
    fake_disk_init(&disk);
    struct journal *j = must_open();
    struct journal_place place = append(j, "first"), next = place;
    while (next.segment == place.segment) {
        journal_flush(j);
        disk.fault_at =
            disk.calls + 3; // write and sync of this segment; then the write to the next
        disk.fault = FAKE_NONE;
        next = append(j, "filler filler filler filler");
    }
    disk.fault = FAKE_STOP;
    uint64_t end = journal_next_sequence(j) - 2; // of the record that ends the segment
    journal_flush(j);
    ck_assert(journal_failed(j));
    journal_close(j);
    fake_disk_restart(&disk);
    for (int i = 0; i < 3; i++) { // the first one removes the full segment
        j = must_open();
        ck_assert_uint_eq(journal_next_sequence(j), end + 1);
        journal_close(j);
    }
    ck_assert_ptr_null(fake_find(&disk, "00000001.seg"));
    fake_disk_release(&disk);
}
END_TEST

START_TEST(torn_tail_is_cut)
{
    for (size_t keep = 0; keep < 120; keep++) {
        fake_disk_init(&disk);
        struct journal *j = must_open();
        append(j, "first");
        journal_flush(j);
        append(j, "a second record that is cut somewhere");
        append(j, "and a third");
        journal_flush(j);
        journal_close(j);
        struct fake_file *f = file_of("00000001.seg");
        size_t from = SEGMENT_HEADER_BYTES + record_bytes(5);
        memset(f->data + from + keep, 0, 200 - keep); // the rest of the last commit never came
        j = must_open();
        ck_assert_uint_ge(seen.count, 1);
        ck_assert_uint_le(seen.count, keep < 61 ? 1 : 2 + (keep >= 99));
        append(j, "fourth");
        journal_flush(j);
        journal_close(j);
        size_t before = seen.count;
        j = must_open();
        ck_assert_uint_eq(seen.count, before + 1);
        ck_assert_str_eq(seen.texts[before], "fourth");
        journal_close(j);
        fake_disk_release(&disk);
    }
}
END_TEST

// The rest of a torn commit must not be taken for records that follow later ones.
START_TEST(cut_tail_never_comes_back)
{
    fake_disk_init(&disk);
    struct journal *j = must_open();
    append(j, "kept");
    journal_flush(j);
    append(j, "torn....");
    append(j, "stale 1.");
    append(j, "stale 2.");
    journal_flush(j);
    journal_close(j);
    struct fake_file *f = file_of("00000001.seg");
    f->data[SEGMENT_HEADER_BYTES + record_bytes(4) + 30] ^=
        1; // in the first record of the last commit
    j = must_open();
    ck_assert_uint_eq(seen.count, 1);
    struct journal_stats stats;
    journal_stats(j, &stats);
    ck_assert_uint_gt(stats.cut_bytes, 0);
    append(j, "anew...."); // ends where the stale one with the next number begins
    disk.fault = FAKE_STOP;
    disk.fault_at = disk.calls + 2; // killed before the zeros behind it
    journal_flush(j);
    journal_close(j);
    fake_disk_restart(&disk);
    j = must_open();
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_str_eq(seen.texts[1], "anew....");
    journal_close(j);
    fake_disk_release(&disk);
}
END_TEST

START_TEST(segment_stays_until_what_killed_it_is_durable)
{
    fake_disk_init(&disk);
    struct journal *j = must_open();
    struct journal_stats before, after;
    struct journal_place place = append(j, "the only one that matters");
    journal_count(j, place.segment, 1, place.bytes);
    while (append(j, "filler filler filler filler").segment == place.segment)
        journal_flush(j);
    journal_flush(j);
    journal_stats(j, &before);
    append(j, "it is gone");
    journal_count(j, place.segment, -1, -(int64_t)place.bytes);
    journal_retry_space(j); // looks for what can go
    journal_stats(j, &after);
    ck_assert_uint_eq(after.segments, before.segments);
    journal_flush(j);
    journal_stats(j, &after);
    ck_assert_uint_eq(after.segments, before.segments - 1);
    journal_close(j);
    fake_disk_release(&disk);
}
END_TEST

// Every bit of what was synced, but for the last commit and the gaps: it must be refused, and
// nothing changed.
START_TEST(any_flipped_bit_is_found)
{
    fake_disk_init(&disk);
    struct journal *j = must_open();
    for (int i = 0; i < 20; i++) {
        append(j, "some text");
        journal_flush(j);
    }
    journal_close(j);
    struct fake_file *f = file_of("00000001.seg");
    size_t end = SEGMENT_HEADER_BYTES + 19 * record_bytes(9);
    for (size_t bit = 0; bit < end * 8; bit++) {
        f->data[bit / 8] ^= (char)(1 << bit % 8);
        struct journal *again = NULL;
        struct error error = {0};
        enum err err = open_journal(&again, &error);
        ck_assert_msg(err == ERR_CORRUPT || err == ERR_UNSUPPORTED, "bit %zu: %s", bit,
                      err_name(err));
        ck_assert_ptr_null(again);
        ck_assert_ptr_nonnull(strstr(error.msg, "00000001.seg"));
        f->data[bit / 8] ^= (char)(1 << bit % 8);
    }
    j = must_open();
    ck_assert_uint_eq(seen.count, 20);
    journal_close(j);
    fake_disk_release(&disk);
}
END_TEST

static void make_three_segments(void)
{
    fake_disk_init(&disk);
    struct journal *j = must_open();
    for (int i = 0; i < 200; i++) {
        struct journal_place p = append(j, "some text of forty bytes, or about that.");
        journal_count(j, p.segment, 1, p.bytes);
        journal_flush(j);
    }
    struct journal_stats stats;
    journal_stats(j, &stats);
    ck_assert_uint_ge(stats.segments, 4);
    journal_close(j);
}

static void must_refuse(const char *says)
{
    struct journal *j = NULL;
    struct error error = {0};
    ck_assert_int_eq(open_journal(&j, &error), ERR_CORRUPT);
    ck_assert_msg(strstr(error.msg, says) != NULL, "'%s' does not say '%s'", error.msg, says);
}

START_TEST(missing_segment_is_found)
{
    for (int i = 1; i <= 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "%08x.seg", i);
        make_three_segments();
        file_of(name)->there = false;
        must_refuse("missing");
        fake_disk_release(&disk);
    }
}
END_TEST

START_TEST(swapped_segments_are_found)
{
    make_three_segments();
    struct fake_file *a = file_of("00000001.seg"), *b = file_of("00000002.seg");
    char *data = a->data;
    a->data = b->data;
    b->data = data;
    must_refuse("under the name of another");
    fake_disk_release(&disk);
}
END_TEST

START_TEST(cut_segment_is_found)
{
    make_three_segments();
    file_of("00000002.seg")->size -= 512;
    must_refuse("00000002.seg");
    fake_disk_release(&disk);
}
END_TEST

START_TEST(lost_end_of_an_older_segment_is_found)
{
    make_three_segments();
    struct fake_file *f = file_of("00000001.seg");
    memset(f->data + 2000, 0, 4096 - 2000);
    must_refuse("goes on after it");
    fake_disk_release(&disk);
}
END_TEST

START_TEST(segment_of_another_store_is_found)
{
    make_three_segments();
    struct fake_file *f = file_of("00000002.seg");
    struct segment_header h;
    uint8_t other[STORE_ID_BYTES] = {9};
    segment_header_write(&h, 2, other, 4096);
    memcpy(f->data, &h, sizeof h);
    must_refuse("another data directory");
    fake_disk_release(&disk);
}
END_TEST

START_TEST(lost_manifest_is_found)
{
    make_three_segments();
    file_of("manifest")->there = false;
    must_refuse("manifest' is missing");
    fake_disk_release(&disk);
}
END_TEST

START_TEST(damaged_manifest_slot_does_not_lose_a_segment)
{
    // the newer slot is damaged: the older one does not know the newest segments
    make_three_segments();
    struct fake_file *f = file_of("manifest");
    uint64_t a, b;
    memcpy(&a, f->data + 16, sizeof a);
    memcpy(&b, f->data + 65536 + 16, sizeof b);
    f->data[(a > b ? 0 : 65536) + 20] ^= 1;
    struct journal *j = NULL;
    struct error error = {0};
    enum err err = open_journal(&j, &error);
    if (err == OK) { // only a spare was unknown to it
        ck_assert_uint_eq(seen.count, 200);
        journal_close(j);
    } else {
        ck_assert_int_eq(err, ERR_CORRUPT);
    }
    fake_disk_release(&disk);
}
END_TEST

START_TEST(newer_version_is_refused)
{
    make_three_segments();
    struct fake_file *f = file_of("00000001.seg");
    f->data[8] = 2;
    struct journal *j = NULL;
    struct error error = {0};
    ck_assert_int_eq(open_journal(&j, &error), ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error.msg, "newer"));
    fake_disk_release(&disk);
}
END_TEST

START_TEST(failed_sync_ends_it)
{
    fake_disk_init(&disk);
    struct journal *j = must_open();
    append(j, "one");
    disk.fault = FAKE_FAIL;
    disk.fault_at = disk.calls + 3; // write, zeros behind it, then sync
    journal_flush(j);
    ck_assert(journal_failed(j));
    ck_assert_uint_eq(journal_durable(j), 0);
    struct journal_record r;
    struct span part = SPAN("two");
    ck_assert_int_eq(journal_append(j, JOURNAL_NEW, 10, &part, 1, &r, NULL), ERR_IO);
    long calls = disk.calls;
    journal_flush(j); // never tried again
    ck_assert_int_eq(disk.calls, calls);
    journal_close(j);
    fake_disk_release(&disk);
}
END_TEST

START_TEST(full_disk_refuses_new_records_only)
{
    fake_disk_init(&disk);
    disk.space = 131072 + 4 * 4096;
    struct journal *j = must_open();
    struct journal_record r;
    struct error error;
    char text[100];
    memset(text, 'x', sizeof text);
    struct span part = {text, sizeof text};
    struct journal_place places[1000];
    int count = 0;
    enum err err = OK;
    while (count < 1000 && (err = journal_append(j, JOURNAL_NEW, 10, &part, 1, &r, &error)) == OK) {
        places[count++] = r.place;
        journal_count(j, r.place.segment, 1, r.place.bytes);
        journal_reserve(j, (uint64_t)count * 40);
        journal_flush(j);
    }
    ck_assert_int_eq(err, ERR_FULL);
    ck_assert_int_gt(count, 20);
    ck_assert_ptr_nonnull(strstr(error.msg, "no space for what is new"));
    // one small record for each that is stored still fits
    struct span small = SPAN("sixteen bytes...");
    for (int i = 0; i < count; i++) {
        ck_assert_msg(journal_append(j, JOURNAL_DELETE, 11, &small, 1, &r, &error) == OK, "%d: %s",
                      i, error.msg);
        journal_count(j, places[i].segment, -1, -(int64_t)places[i].bytes);
        journal_reserve(j, (uint64_t)(count - i - 1) * 40);
        journal_flush(j);
    }
    // and what they freed takes new ones, without a restart
    ck_assert_int_eq(journal_append(j, JOURNAL_NEW, 10, &part, 1, &r, &error), OK);
    journal_flush(j);
    ck_assert(!journal_failed(j));
    journal_close(j);
    fake_disk_release(&disk);
}
END_TEST

static struct {
    ssize_t (*pwrite)(void *ctx, int fd, const void *data, size_t len, off_t at);
    off_t end;     // as far as the segments were written to
    int extending; // writes that went beyond what was written before
} watched;

static ssize_t watch_pwrite(void *ctx, int fd, const void *data, size_t len, off_t at)
{
    if (at + (off_t)len > watched.end) {
        watched.end = at + (off_t)len;
        watched.extending++;
    }
    return watched.pwrite(ctx, fd, data, len, at);
}

START_TEST(blocks_are_written_before_records_need_them)
{
    enum { COMMITS = 400, BYTES = 8000 };
    static char text[BYTES];
    fake_disk_init(&disk);
    struct journal_config config = {
        .dir = "/store", .io = &disk.io, .segment_bytes = 8 << 20, .replay = note};
    struct journal *j;
    struct error error;
    ck_assert_int_eq(journal_open(&config, &j, &error), OK);
    watched.pwrite = disk.io.pwrite;
    watched.end = 0;
    watched.extending = 0;
    disk.io.pwrite = watch_pwrite;
    memset(text, 'x', sizeof text);
    for (int i = 0; i < COMMITS; i++) {
        struct journal_record r;
        struct span part = {text, sizeof text};
        ck_assert_int_eq(journal_append(j, JOURNAL_NEW, 10, &part, 1, &r, &error), OK);
        journal_count(j, r.place.segment, 1, r.place.bytes);
        journal_flush(j);
    }
    ck_assert_int_gt(watched.end, (off_t)COMMITS * BYTES);
    ck_assert_int_lt(watched.extending, COMMITS / 20);
    journal_close(j);
    // and zeros are no records
    memset(&seen, 0, sizeof seen);
    ck_assert_int_eq(journal_open(&config, &j, &error), OK);
    ck_assert_uint_eq(seen.count, COMMITS);
    struct journal_stats stats;
    journal_stats(j, &stats);
    ck_assert_uint_eq(stats.cut_bytes, 0);
    journal_close(j);
    fake_disk_release(&disk);
}
END_TEST

SUITE_MAIN("journal", records_come_back_in_order, what_was_not_flushed_is_not_promised,
           sequences_go_on_after_everything_was_removed, sequences_go_on_in_an_empty_segment,
           torn_tail_is_cut, cut_tail_never_comes_back,
           segment_stays_until_what_killed_it_is_durable, any_flipped_bit_is_found,
           missing_segment_is_found, swapped_segments_are_found, cut_segment_is_found,
           lost_end_of_an_older_segment_is_found, segment_of_another_store_is_found,
           lost_manifest_is_found, damaged_manifest_slot_does_not_lose_a_segment,
           newer_version_is_refused, failed_sync_ends_it, full_disk_refuses_new_records_only,
           blocks_are_written_before_records_need_them)
