// Only looking at a store: it sees as damage exactly what a start refuses, and changes nothing.
#include "queue_rig.h"
#include "suite.h"

struct looked {
    struct journal_inspection in;
    struct queues *queues;
    struct journal_damage first;
    uint64_t visible;
};

static void note_damage(void *ctx, const struct journal_damage *d)
{
    struct looked *l = ctx;
    if (l->first.file[0] == '\0')
        l->first = *d;
}

static bool add_visible(void *ctx, struct queue *q)
{
    struct looked *l = ctx;
    struct queue_info info;
    queue_info(l->queues, q, &info);
    l->visible += info.visible + info.in_flight + info.delayed;
    return true;
}

static void look_release(struct looked *l)
{
    queues_close(l->queues);
    free(l->in.segments);
    *l = (struct looked){0};
}

static void look(struct rig *r, bool skip_bad, struct looked *l)
{
    *l = (struct looked){0};
    l->in = (struct journal_inspection){.skip_bad = skip_bad, .on_damage = note_damage, .ctx = l};
    struct queues_config c = {.dir = "/store",
                              .io = &r->disk.io,
                              .segment_bytes = r->segment_bytes,
                              .wall_ms = r->wall_ms,
                              .monotonic_ms = r->monotonic_ms,
                              .inspection = &l->in};
    ck_assert_int_eq(queues_open(&c, &l->queues, &r->error), OK);
    queues_each(l->queues, (struct span){NULL, 0}, add_visible, l);
}

static struct fake_file *file_of(struct rig *r, const char *name)
{
    for (size_t i = 0; i < r->disk.file_count; i++)
        if (r->disk.files[i].there && strcmp(r->disk.files[i].name, name) == 0)
            return &r->disk.files[i];
    return NULL;
}

// Everything that is on the disk, to see that it stays.
static uint64_t disk_sum(const struct rig *r)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < r->disk.file_count; i++) {
        const struct fake_file *f = &r->disk.files[i];
        if (!f->there)
            continue;
        for (const char *c = f->name; *c != '\0'; c++)
            sum = sum * 31 + (unsigned char)*c;
        for (size_t k = 0; k < f->size; k++)
            sum = sum * 31 + (unsigned char)f->data[k];
    }
    return sum;
}

// Some segments of a life: sends, receives, deletes, dead letters, a purge, compaction.
static uint64_t make_store(struct rig *r)
{
    static const char *const with_dlq[] = {
        "RedrivePolicy={\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead\","
        "\"maxReceiveCount\":1}",
        NULL};
    struct fault f;
    uint64_t wait_for = 0;
    rig_init(r);
    ck_assert_int_eq(rig_open(r), OK);
    ck_assert_ptr_nonnull(rig_queue(r, "dead", NULL));
    struct queue *q = rig_queue(r, "work", with_dlq), *gone = rig_queue(r, "purged", NULL);
    char body[200];
    for (int i = 0; i < 60; i++) {
        snprintf(body, sizeof body, "message %d %0100d", i, i);
        ck_assert_int_eq(rig_send(r, i % 5 == 0 ? gone : q, body, i % 7 == 0 ? 60 : -1), SQS_OK);
        if (i % 10 == 9)
            rig_turn(r);
    }
    rig_turn(r);
    ck_assert_int_eq(queue_purge(r->queues, gone, r->now_ms, &wait_for, &f), SQS_OK);
    struct received got[10];
    size_t count = 0;
    struct receive_in in = {.max = 10, .visibility_s = 5};
    ck_assert_int_eq(queue_receive(r->queues, q, r->now_ms, &in, got, &count, &wait_for, &f),
                     SQS_OK);
    for (size_t i = 0; i < count; i += 2) {
        AUTO_BUF struct buf handle = {0};
        receipt_text(r->queues, &got[i].receipt, &handle);
        ck_assert_int_eq(
            queue_delete_message(r->queues, q, r->now_ms, buf_view(&handle), &wait_for, &f),
            SQS_OK);
    }
    rig_turn(r);
    struct queues_stats stats;
    queues_stats(r->queues, &stats);
    rig_close(r);
    return stats.messages;
}

START_TEST(a_whole_store_is_whole)
{
    struct rig r;
    struct looked l;
    uint64_t messages = make_store(&r), sum = disk_sum(&r);
    look(&r, false, &l);
    ck_assert_uint_eq(l.in.damages, 0);
    ck_assert_uint_eq(l.visible, messages);
    ck_assert_uint_gt(l.in.segment_count, 2);
    ck_assert_uint_eq(l.in.segments[0].first_sequence, 1);
    ck_assert(l.in.segments[0].full);
    look_release(&l);
    ck_assert_uint_eq(disk_sum(&r), sum);
    ck_assert_int_eq(rig_open(&r), OK);
    rig_release(&r);
}
END_TEST

// What is said of a store and what a start does agree; a look changes nothing.
static bool agree(struct rig *r, const char *what, size_t at)
{
    struct looked l;
    uint64_t sum = disk_sum(r);
    look(r, false, &l);
    size_t damages = l.in.damages;
    look_release(&l);
    look(r, true, &l); // nothing crashes it either
    look_release(&l);
    ck_assert_uint_eq(disk_sum(r), sum);
    bool starts = rig_open(r) == OK;
    ck_assert_msg(starts == (damages == 0), "%s at %zu: %zu damages, the start says: %s", what, at,
                  damages, starts ? "ok" : r->error.msg);
    rig_close(r);
    return starts;
}

// A start writes: each trial begins with the same bytes.
struct saved {
    char *data[FAKE_FILES];
    size_t size[FAKE_FILES];
    bool there[FAKE_FILES];
    size_t count;
};

static void save(const struct rig *r, struct saved *s)
{
    s->count = r->disk.file_count;
    for (size_t i = 0; i < s->count; i++) {
        const struct fake_file *f = &r->disk.files[i];
        s->size[i] = f->size;
        s->there[i] = f->there;
        s->data[i] = malloc(f->size + 1);
        memcpy(s->data[i], f->data, f->size);
    }
}

static void restore(struct rig *r, const struct saved *s)
{
    for (size_t i = 0; i < r->disk.file_count; i++) {
        struct fake_file *f = &r->disk.files[i];
        f->there = i < s->count && s->there[i];
        if (!f->there)
            continue;
        f->data = realloc(f->data, s->size[i] + 1);
        memcpy(f->data, s->data[i], s->size[i]);
        f->size = s->size[i];
    }
}

static void saved_release(struct saved *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->data[i]);
}

START_TEST(any_flipped_bit_is_judged_as_a_start_judges_it)
{
    struct rig r;
    struct saved s;
    size_t refused = 0, accepted = 0;
    make_store(&r);
    save(&r, &s);
    for (size_t i = 0; i < s.count; i++) {
        bool segment = strstr(r.disk.files[i].name, ".seg") != NULL;
        for (size_t at = 0; s.there[i] && segment && at < s.size[i]; at += at < 100 ? 1 : 37) {
            restore(&r, &s);
            r.disk.files[i].data[at] ^= (char)(1 << at % 8);
            if (agree(&r, s.there[i] ? r.disk.files[i].name : "", at))
                accepted++;
            else
                refused++;
        }
    }
    ck_assert_uint_gt(refused, 100);
    ck_assert_uint_gt(accepted, 10); // the last commit looks torn, unused space is not looked at
    saved_release(&s);
    rig_release(&r);
}
END_TEST

START_TEST(a_torn_tail_is_no_damage)
{
    struct rig r;
    struct looked l;
    uint64_t messages = make_store(&r);
    look(&r, false, &l);
    uint32_t last = 0, used = 0;
    for (size_t i = 0; i < l.in.segment_count; i++)
        if (l.in.segments[i].records > 0) {
            last = l.in.segments[i].id;
            used = l.in.segments[i].bytes;
        }
    look_release(&l);
    char name[32];
    snprintf(name, sizeof name, "%08x.seg", last);
    struct fake_file *f = file_of(&r, name);
    ck_assert_ptr_nonnull(f);
    memset(f->data + used, 0x5a, 100);
    look(&r, false, &l);
    ck_assert_uint_eq(l.in.damages, 0);
    ck_assert_uint_eq(l.visible, messages);
    uint32_t torn = 0;
    for (size_t i = 0; i < l.in.segment_count; i++)
        torn += l.in.segments[i].torn_bytes;
    ck_assert_uint_eq(torn, 100);
    look_release(&l);
    ck_assert_int_eq(rig_open(&r), OK);
    rig_release(&r);
}
END_TEST

START_TEST(what_stands_behind_damage_can_be_saved)
{
    struct rig r;
    struct looked l;
    uint64_t messages = make_store(&r);
    look(&r, false, &l);
    ck_assert_uint_gt(l.in.segment_count, 3);
    look_release(&l);
    struct fake_file *f = file_of(&r, "00000002.seg");
    ck_assert_ptr_nonnull(f);
    f->data[1000] ^= 1;
    look(&r, false, &l);
    ck_assert_uint_eq(l.in.damages, 1);
    ck_assert_str_eq(l.first.file, "00000002.seg");
    ck_assert_uint_le(l.first.at, 1000);
    ck_assert_uint_gt(l.first.at + l.first.bytes, 1000);
    ck_assert_ptr_nonnull(strstr(l.first.text, "good ones follow"));
    uint64_t before = l.visible;
    look_release(&l);
    look(&r, true, &l);
    ck_assert_uint_gt(l.visible, before);
    ck_assert_uint_ge(l.visible + 3, messages); // one record is lost
    look_release(&l);
    rig_release(&r);
}
END_TEST

START_TEST(missing_swapped_and_foreign_segments_are_named)
{
    struct rig r;
    struct looked l;
    struct saved s;
    uint64_t messages = make_store(&r);
    save(&r, &s);
    file_of(&r, "00000002.seg")->there = false;
    look(&r, false, &l);
    ck_assert_uint_ge(l.in.damages, 1);
    ck_assert_str_eq(l.first.file, "00000002.seg");
    ck_assert_ptr_nonnull(strstr(l.first.text, "missing"));
    ck_assert(l.in.segments[1].missing);
    look_release(&l);
    ck_assert(!agree(&r, "missing", 0));

    restore(&r, &s);
    struct fake_file *a = file_of(&r, "00000001.seg"), *b = file_of(&r, "00000002.seg");
    char *data = a->data;
    a->data = b->data;
    b->data = data;
    look(&r, true, &l);
    ck_assert_uint_ge(l.in.damages, 2);
    ck_assert_ptr_nonnull(strstr(l.first.text, "under the name of another"));
    ck_assert_uint_eq(l.visible, messages); // each is read as what it is
    look_release(&l);
    ck_assert(!agree(&r, "swapped", 0));
    a = file_of(&r, "00000001.seg"), b = file_of(&r, "00000002.seg");
    data = a->data;
    a->data = b->data;
    b->data = data;

    restore(&r, &s);
    file_of(&r, "00000003.seg")->size = 1000;
    ck_assert(!agree(&r, "cut", 0));
    restore(&r, &s);
    memset(file_of(&r, "manifest")->data, 0, 8);
    memset(file_of(&r, "manifest")->data + (64 << 10), 0, 8);
    look(&r, true, &l);
    ck_assert_str_eq(l.first.file, "manifest");
    ck_assert_uint_ge(l.visible, messages); // the files stand for it
    look_release(&l);
    ck_assert(!agree(&r, "manifest", 0));
    restore(&r, &s);
    for (size_t i = 0; i < 4; i++) // garbage everywhere
        memset(file_of(&r, "00000001.seg")->data + i * 1000, (int)(i * 77 + 1), 900);
    ck_assert(!agree(&r, "garbage", 0));
    saved_release(&s);
    rig_release(&r);
}
END_TEST

START_TEST(an_empty_folder_is_an_empty_store)
{
    struct rig r;
    struct looked l;
    rig_init(&r);
    look(&r, false, &l);
    ck_assert_uint_eq(l.in.damages, 0);
    ck_assert_uint_eq(l.in.segment_count, 0);
    look_release(&l);
    rig_release(&r);
}
END_TEST

SUITE_MAIN("inspection", a_whole_store_is_whole, any_flipped_bit_is_judged_as_a_start_judges_it,
           a_torn_tail_is_no_damage, what_stands_behind_damage_can_be_saved,
           missing_swapped_and_foreign_segments_are_named, an_empty_folder_is_an_empty_store)
