// A small store is damaged in every way that files can be: each byte changed, cut off or zeroed
// from any place on, segments missing, swapped, doubled, of another store or version. Each time it
// is refused with the file's name, or only what the very last commit brought is gone.
#include "queue_look.h"
#include "suite.h"

#ifdef __SANITIZE_ADDRESS__
enum { STEP = 7 }; // with sanitizers not every byte, which takes long
#else
enum { STEP = 1 };
#endif

static struct world world;
static struct look look;
static struct model model;         // as of the last commit but one, with the effects of the last
static struct fake_disk whole;     // the undamaged store
static size_t last_at[FAKE_FILES]; // by file: where its bytes ended before the last commit

static bool is_segment(const struct fake_file *f)
{
    return f->there && strstr(f->name, ".seg") != NULL;
}

// How many bytes of a segment hold records.
static size_t used_of(const struct fake_file *f)
{
    size_t used = f->size;
    while (used > 0 && f->data[used - 1] == 0)
        used--;
    return (used + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}

// The last commit is in the model as if it had never been acknowledged.
static void make_store(uint64_t seed, int steps)
{
    struct world *w = &world;
    world_init(w, seed);
    ck_assert(world_begin(w));
    for (int i = 0; i < steps; i++) {
        world_step(w);
        if (i % 3 == 0)
            world_turn(w);
    }
    world_turn(w);
    for (size_t i = 0; i < w->rig.disk.file_count; i++)
        last_at[i] = used_of(&w->rig.disk.files[i]);
    for (int i = 0; i < 5; i++) {
        world_send(w, i % 2 == 0 ? JOBS : JOBS_FIFO);
        world_receive(w, JOBS);
    }
    rig_turn(&w->rig);
    world_ticked(w);
    ck_assert_str_eq(w->why, "");
    rig_close(&w->rig);
    model = w->model;
    fake_disk_copy(&w->rig.disk, &whole);
}

static struct fake_file *file_of(const char *name)
{
    struct fake_file *f = fake_find(&world.rig.disk, name);
    ck_assert_ptr_nonnull(f);
    return f;
}

// Looks at the damaged store, which is whole again afterwards if it was opened. True: it was, and
// is what the model allows.
static bool survives(const char *damage, size_t at)
{
    struct world *w = &world;
    w->why[0] = '\0';
    enum err err = rig_open(&w->rig);
    if (err != OK) {
        const char *says = w->rig.error.msg;
        ck_assert_msg(err == ERR_CORRUPT || err == ERR_UNSUPPORTED, "%s at %zu: %s", damage, at,
                      says);
        ck_assert_msg(strstr(says, ".seg") != NULL || strstr(says, "manifest") != NULL,
                      "%s at %zu: which file? %s", damage, at, says);
        return false;
    }
    rig_close(&w->rig);
    w->model = model;
    look_at(w, &look);
    if (w->why[0] == '\0')
        world_compare(w, &look);
    ck_assert_msg(w->why[0] == '\0', "%s at %zu: %s", damage, at, w->why);
    fake_disk_release(&w->rig.disk);
    fake_disk_copy(&whole, &w->rig.disk);
    return true;
}

static void release_store(void)
{
    fake_disk_release(&world.rig.disk);
    fake_disk_release(&whole);
}

// Whether the segment in which the last commit begins holds a good deal from before it.
static bool commits_share_a_segment(void)
{
    for (size_t i = 0; i < world.rig.disk.file_count; i++) {
        const struct fake_file *f = &world.rig.disk.files[i];
        if (is_segment(f) && used_of(f) > last_at[i] && last_at[i] > 1000)
            return true;
    }
    release_store();
    return false;
}

START_TEST(every_byte_changed)
{
    uint64_t store = 1;
    do
        make_store(store++, 35);
    while (!commits_share_a_segment());
    size_t opened = 0, refused = 0;
    uint64_t seed = 1;
    for (size_t i = 0; i < world.rig.disk.file_count; i++) {
        struct fake_file *f = &world.rig.disk.files[i];
        size_t used = used_of(f);
        for (size_t at = 0; f->there && at < used; at += STEP) {
            if (f->data[at] == 0 && !is_segment(f) && at % 64 != 0)
                continue; // a manifest is mostly empty
            char was = f->data[at];
            f->data[at] = (char)(was ^ (1 << fake_random(&seed) % 8));
            survives(f->name, at) ? opened++ : refused++;
            f->data[at] = was;
        }
    }
    ck_assert_uint_gt(refused, 2000 / STEP);
    ck_assert_uint_gt(opened, 100 / STEP); // the last commit, and the older slot of the manifest
    release_store();
}
END_TEST

// Zeros from some place on. Behind the place where the last commit began nothing tells them from a
// write that never came; in older segments something does.
START_TEST(zeros_from_every_byte_on)
{
    make_store(2, 60);
    size_t opened = 0;
    for (size_t i = 0; i < world.rig.disk.file_count; i++) {
        struct fake_file *f = &world.rig.disk.files[i];
        char *bytes = malloc(f->size + 1);
        memcpy(bytes, f->data, f->size);
        size_t used = is_segment(f) ? used_of(f) : 0;
        size_t last_segment_from = used > last_at[i] ? last_at[i] : 0;
        for (size_t at = SEGMENT_HEADER_BYTES; at < used; at += STEP) {
            if (at < last_segment_from)
                continue;
            memset(f->data + at, 0, f->size - at);
            opened += survives(f->name, at);
            memcpy(f->data, bytes, f->size);
        }
        free(bytes);
    }
    ck_assert_uint_gt(opened, 100 / STEP); // within the last commit
    release_store();
}
END_TEST

START_TEST(cut_off_at_every_byte)
{
    make_store(3, 60);
    struct rig *r = &world.rig;
    for (size_t i = 0; i < r->disk.file_count; i++) {
        struct fake_file *f = &r->disk.files[i];
        size_t size = f->size;
        for (size_t at = 0; f->there && at < size; at += is_segment(f) ? STEP : 97) {
            f->size = at;
            ck_assert_msg(rig_open(r) == ERR_CORRUPT && strstr(r->error.msg, f->name) != NULL,
                          "%s was cut at %zu, and nobody minds", f->name, at);
        }
        f->size = size;
    }
    ck_assert(survives("nothing", 0)); // and nothing was changed
    release_store();
}
END_TEST

// Each segment is missing, or has the bytes of each other one.
START_TEST(missing_swapped_and_doubled_segments)
{
    make_store(4, 80);
    struct fake_disk *d = &world.rig.disk;
    size_t segments = 0;
    for (size_t i = 0; i < d->file_count; i++) {
        struct fake_file *a = &d->files[i];
        if (!is_segment(a))
            continue;
        segments++;
        a->there = false;
        ck_assert_msg(!survives("missing segment", i), "%s is missing, and nobody minds", a->name);
        a->there = true;
        for (size_t k = 0; k < d->file_count; k++) {
            struct fake_file *b = &d->files[k];
            if (k == i || !is_segment(b))
                continue;
            char *data = a->data;
            a->data = b->data; // doubled
            ck_assert_msg(!survives("doubled segment", i), "%s is %s, and nobody minds", a->name,
                          b->name);
            b->data = data; // swapped
            ck_assert_msg(!survives("swapped segment", i), "%s is %s, and nobody minds", a->name,
                          b->name);
            b->data = a->data;
            a->data = data;
        }
    }
    ck_assert_uint_gt(segments, 3);
    release_store();
}
END_TEST

// A copy of a segment under the next number, as a restore by hand may leave it.
START_TEST(segment_too_many)
{
    make_store(5, 60);
    struct fake_disk *d = &world.rig.disk;
    struct fake_file *first = NULL;
    for (size_t i = 0; i < d->file_count && first == NULL; i++)
        if (is_segment(&d->files[i]) && used_of(&d->files[i]) > SEGMENT_HEADER_BYTES)
            first = &d->files[i];
    int fd = d->io.open(d, "/store/00000fff.seg", O_RDWR | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(d->io.pwrite(d, fd, first->data, first->size, 0), (ssize_t)first->size);
    ck_assert(!survives("a segment too many", 0));
    release_store();
}
END_TEST

START_TEST(newer_versions)
{
    make_store(6, 20);
    const size_t versions[] = {8, MANIFEST_SLOT_BYTES + 8};
    for (int i = 0; i < 2; i++) {
        char *version = file_of("manifest")->data + versions[i];
        ++*version;
        ck_assert(!survives("newer manifest", versions[i]));
        --*version;
    }
    ++file_of("00000001.seg")->data[8];
    ck_assert(!survives("newer segment", 8));
    release_store();
}
END_TEST

SUITE_MAIN("queue_damage", every_byte_changed, zeros_from_every_byte_on, cut_off_at_every_byte,
           missing_swapped_and_doubled_segments, segment_too_many, newer_versions)
