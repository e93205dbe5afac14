// A workload on the queues that uses all that must survive (queue_world.h), while the disk fails,
// tears or stops at the n-th call, for every n; and lives from seeds, each ended by a power loss.
// After each, all that is there is compared with a plain model of SQS (queue_model.h).
//
// SMELT_SEED is the first seed, SMELT_SEEDS their number, SMELT_CALL the one call that is hit; with
// SMELT_TRACE every step is told.
#include "queue_look.h"
#include "suite.h"

static struct world world;
static struct look look;

// The process is gone, or the machine; some time passes, and clocks are set.
static void crash(struct world *w, bool power)
{
    int64_t away_ms = (int64_t)world_dice(w, 4000), jump_ms = 0;
    if (w->rig.now_ms > w->latest_ms)
        w->latest_ms = w->rig.now_ms;
    rig_close(&w->rig);
    w->power_lost = w->power_lost || power;
    if (power)
        fake_disk_power_loss(&w->rig.disk, fake_random(&w->chance));
    else
        fake_disk_restart(&w->rig.disk);
    w->rig.disk.space = 0;
    if (world_dice(w, 3) == 0)
        jump_ms = (int64_t)world_dice(w, 2000000000) - 1000000000;
    w->rig.wall_ms += away_ms + (w->anchored ? jump_ms : 0);
    w->rig.monotonic_ms += away_ms;
    w->rig.now_ms += away_ms;
    if (power && w->anchored && world_dice(w, 4) == 0) { // and the machine starts anew
        w->rig.boot++;
        w->rig.monotonic_ms = (int64_t)world_dice(w, 100000);
        w->anchored = false;
    }
}

// The recovery itself is hit.
static void crash_again(struct world *w)
{
    w->rig.disk.fault = FAKE_STOP;
    w->rig.disk.fault_at = 1 + (long)world_dice(w, 60);
    (void)!rig_open(&w->rig);
    crash(w, true);
}

// What is found must be what the model allows. It is looked at in a copy, before it is opened.
static void recover(struct world *w)
{
    if (w->why[0] != '\0')
        return;
    look_at(w, &look);
    if (w->why[0] != '\0')
        return;
    if (w->anchored && look.now_ms != w->rig.now_ms)
        world_wrong(w, "store time is %lld, not %lld", (long long)look.now_ms,
                    (long long)w->rig.now_ms);
    if (w->committed_ms > 0 && look.now_ms < w->committed_ms - TIME_RECORD_MS)
        world_wrong(w, "store time went back by %lld ms", (long long)(w->latest_ms - look.now_ms));
    w->rig.now_ms = look.now_ms;
    if (!world_compare(w, &look))
        return;
    if (rig_open(&w->rig) != OK) // and from here on nothing of it can be lost again
        world_wrong(w, "the store does not open: %s", w->rig.error.msg);
    rig_close(&w->rig);
    fake_disk_restart(&w->rig.disk);
}

static void must_be_right(const struct world *w, const char *when, long n)
{
    ck_assert_msg(w->why[0] == '\0', "seed %llu, life %d%s%.0ld: %s", (unsigned long long)w->seed,
                  w->life, when, n, w->why);
}

// --- the n-th call ---

static bool run_with_fault(enum fake_fault fault, int sys, long n, uint64_t seed)
{
    struct world *w = &world;
    world_init(w, seed);
    w->rig.disk.fault = fault;
    w->rig.disk.fault_errno = sys;
    w->rig.disk.fault_at = n;
    bool completed = world_live(w, 90);
    bool hit = w->rig.disk.calls >= n;
    crash(w, seed % 2 == 0);
    recover(w);
    if (w->why[0] == '\0') { // and it can be worked with
        if (!world_live(w, 10))
            world_wrong(w, "after the fault the store fails");
        crash(w, true);
        recover(w);
    }
    fake_disk_release(&w->rig.disk);
    must_be_right(w, ", fault at call ", n);
    return completed && !hit;
}

static void run_all(enum fake_fault fault, int sys, uint64_t seed)
{
    const char *more = getenv("SMELT_SEEDS"), *from = getenv("SMELT_SEED"),
               *at = getenv("SMELT_CALL");
    uint64_t count = more != NULL ? strtoull(more, NULL, 10) / 100 : 0;
    if (from != NULL)
        seed = strtoull(from, NULL, 10);
    if (at != NULL) {
        run_with_fault(fault, sys, atol(at), seed);
        return;
    }
    for (uint64_t k = 0; k <= count; k++) {
        long n = 1;
        while (!run_with_fault(fault, sys, n, seed + 2 * k))
            n++;
        ck_assert_int_gt(n, 100); // the workload does make calls
    }
}

START_TEST(every_call_fails_once)
{
    run_all(FAKE_FAIL, EIO, 1);
    run_all(FAKE_FAIL, EIO, 2);
}
END_TEST

START_TEST(every_call_is_interrupted)
{
    run_all(FAKE_FAIL, EINTR, 3);
}
END_TEST

START_TEST(every_call_finds_no_space)
{
    run_all(FAKE_FAIL, ENOSPC, 4);
    run_all(FAKE_REST, ENOSPC, 5);
}
END_TEST

START_TEST(every_read_and_write_is_short)
{
    run_all(FAKE_SHORT, EIO, 6);
}
END_TEST

START_TEST(every_write_is_torn)
{
    run_all(FAKE_TEAR, EIO, 7);
    run_all(FAKE_TEAR, EIO, 8);
}
END_TEST

START_TEST(process_is_killed_at_every_call)
{
    run_all(FAKE_STOP, EIO, 9);
}
END_TEST

START_TEST(power_is_lost_at_every_call)
{
    run_all(FAKE_STOP, EIO, 10);
    run_all(FAKE_STOP, EIO, 12);
}
END_TEST

// --- seeds ---

// Several lives, each ended at a random call, one after the other on the same disk; now and then
// the disk is small.
static void run_seed(uint64_t seed)
{
    struct world *w = &world;
    world_init(w, seed);
    for (int life = 0; life < 4 && w->why[0] == '\0'; life++) {
        w->rig.disk.fault = FAKE_STOP;
        w->rig.disk.fault_at = 1 + (long)world_dice(w, 400);
        if (world_dice(w, 4) == 0)
            w->rig.disk.space = MANIFEST_FILE_BYTES + 4096 * (4 + world_dice(w, 8));
        world_live(w, 200);
        crash(w, world_dice(w, 4) > 0);
        while (world_dice(w, 3) == 0)
            crash_again(w);
        recover(w);
    }
    fake_disk_release(&w->rig.disk);
    must_be_right(w, "", 0);
}

START_TEST(many_lives_from_seeds)
{
    const char *first = getenv("SMELT_SEED"), *count = getenv("SMELT_SEEDS");
    uint64_t from = first != NULL ? strtoull(first, NULL, 10) : 1;
    uint64_t to = from + (count != NULL ? strtoull(count, NULL, 10) : 300);
    for (uint64_t seed = from; seed < to; seed++)
        run_seed(seed);
}
END_TEST

SUITE_MAIN("queue_crash", every_call_fails_once, every_call_is_interrupted,
           every_call_finds_no_space, every_read_and_write_is_short, every_write_is_torn,
           process_is_killed_at_every_call, power_is_lost_at_every_call, many_lives_from_seeds)
