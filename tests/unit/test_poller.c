// The poller against an SQS and an S3 in memory, with real processes as children: what it promises
// about order, single publication, attempts, outages and drain.
#include "worker/poller.h"

#include "base/log.h"
#include "fake_predictor.h"
#include "fake_queue_store.h"
#include "job/job.h"
#include "temp_dir.h"
#include "worker/lease_book.h"
#include "zygote_main.h"

#include "suite.h"

// A sanitizer must leave the signals alone whose effect is tested here.
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "handle_segv=0:handle_abort=0";
}

static struct loop *loop;
static struct poller *poller;
static struct timer limit, check;
static bool ready, drained;
static bool (*condition)(void);

static void on_limit(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

static void on_check(void *ctx)
{
    (void)ctx;
    if (condition())
        loop_stop(loop);
    else
        loop_timer_set(loop, &check, loop_now_ms(loop) + 2, on_check, NULL);
}

// Runs the loop until it holds; fails after 20 s.
static void run_until(bool (*holds)(void), const char *what)
{
    condition = holds;
    loop_timer_set(loop, &limit, clock_monotonic_ms() + 20000, on_limit, NULL);
    loop_timer_set(loop, &check, clock_monotonic_ms(), on_check, NULL);
    ck_assert_int_eq(loop_run(loop, NULL), OK);
    loop_timer_cancel(loop, &limit);
    loop_timer_cancel(loop, &check);
    ck_assert_msg(holds(), "%s did not come true; log:\n%s", what, fake.log);
}
#define UNTIL(holds) run_until(holds, #holds)

static void on_ready(void *ctx)
{
    (void)ctx;
    ready = true;
}

static void on_failed(void *ctx, const char *sentence)
{
    (void)ctx;
    ck_abort_msg("%s", sentence);
}

static void on_drained(void *ctx)
{
    (void)ctx;
    drained = true;
}

static bool is_ready(void)
{
    return ready;
}

static bool is_drained(void)
{
    return drained;
}

static bool queue_empty(void)
{
    for (size_t i = 0; i < fake.message_count; i++)
        if (!fake.messages[i].deleted && !fake.messages[i].dead)
            return false;
    return true;
}

static const char *queues = "smelt-jobs", *leases;

static void begin(int children, int timeout_ms)
{
    log_init("test", LOG_ERROR + 1);
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    fake.loop = loop;
    const struct poller_config config = {.loop = loop,
                                         .queue = queues,
                                         .bucket = "smelt",
                                         .bucket_allow = "photos,pic*",
                                         .create = true,
                                         .max_receive_count = 3,
                                         .visibility_s = 3,
                                         .leases = leases,
                                         .model = "fake",
                                         .search_path = "",
                                         .children = children,
                                         .job_timeout_ms = timeout_ms,
                                         .on_ready = on_ready,
                                         .on_failed = on_failed,
                                         .on_drained = on_drained};
    ck_assert_int_eq(poller_new(&config, &poller, NULL), OK);
    UNTIL(is_ready);
}

static void end(void)
{
    poller_free(poller);
    ck_assert_int_eq(fake.open_calls, 0);
    for (size_t i = 0; i < fake.object_count; i++)
        buf_release(&fake.objects[i].bytes);
    loop_timer_cancel(loop, &fake.tick);
    loop_free(loop);
}

// A picture in the store and a job for it in the queue.
static void submit(const char *id, const char *picture)
{
    char key[100], body[400];
    snprintf(key, sizeof key, "inbox/%s", id);
    fake_put(key, span_from(picture));
    snprintf(body, sizeof body,
             "{\"v\":1,\"id\":\"%s\",\"input\":{\"bucket\":\"smelt\",\"key\":\"%s\"},"
             "\"reply_to\":\"http://elsewhere:1/x/smelt-replies-1\"}",
             id, key);
    fake_send(body);
}

static struct job_result result_of(const char *id)
{
    static struct arena arena;
    char key[200];
    struct job_result result = {0};
    struct error error;
    snprintf(key, sizeof key, "results/%s.json", id);
    struct fake_object *o = fake_find(key);
    ck_assert_msg(o != NULL, "no result of %s; log:\n%s", id, fake.log);
    ck_assert_msg(job_result_decode(buf_view(&o->bytes), &arena, &result, &error) == OK, "%s",
                  error.msg);
    return result;
}

static int place(const char *line)
{
    const char *found = strstr(fake.log, line);
    ck_assert_msg(found != NULL, "no '%s' in:\n%s", line, fake.log);
    return (int)(found - fake.log);
}

static int count_of(const char *line)
{
    int n = 0;
    for (const char *p = fake.log; (p = strstr(p, line)) != NULL; p++)
        n++;
    return n;
}

START_TEST(result_then_reply_then_delete)
{
    begin(1, 5000);
    submit("a", "ok");
    UNTIL(queue_empty);
    struct job_result r = result_of("a");
    ck_assert_int_eq(r.status, JOB_SUCCEEDED);
    ck_assert(span_is(r.result_json, "{\"said\":\"ok\"}"));
    ck_assert_str_eq(r.model, "fake");
    ck_assert_str_eq(r.key, "inbox/a");
    ck_assert_int_eq(r.attempts, 1);
    // only the name of the reply queue is taken from the message
    ck_assert_int_lt(place("put results/a.json\n"),
                     place("send http://127.0.0.1:9/000000000000/smelt-replies-1\n"));
    ck_assert_int_lt(place("send "), place("delete m1\n"));
    end();
}
END_TEST

START_TEST(missing_queue_is_made_with_its_dead_letter_queue)
{
    fake.queue_missing = true;
    begin(1, 5000);
    ck_assert_int_lt(place("create smelt-jobs-dlq\n"), place("create smelt-jobs\n"));
    end();
}
END_TEST

START_TEST(bad_pictures_fail_at_once_with_their_sentence)
{
    begin(1, 5000);
    submit("a", "bad the picture is half");
    submit("b", "ok");
    fake_send("{\"v\":1,\"id\":\"c\",\"input\":{\"bucket\":\"smelt\",\"key\":\"nowhere\"}}");
    fake_send("{\"v\":1,\"id\":\"d\",\"model\":\"other\",\"input\":{\"bucket\":\"smelt\",\"key\":"
              "\"inbox/b\"}}");
    fake_send("{\"v\":1,\"id\":\"e\",\"expires_at\":5,\"input\":{\"bucket\":\"smelt\",\"key\":"
              "\"inbox/b\"}}");
    fake_send("{\"v\":9,\"id\":\"f\"}");
    UNTIL(queue_empty);
    ck_assert_str_eq(result_of("a").error_code, "format");
    ck_assert_str_eq(result_of("a").error_message, "the picture is half");
    ck_assert_int_eq(result_of("b").status, JOB_SUCCEEDED);
    ck_assert_str_eq(result_of("c").error_code, "not_found");
    ck_assert_str_eq(result_of("d").error_code, "unknown_model");
    ck_assert_int_eq(result_of("e").status, JOB_EXPIRED);
    ck_assert_str_eq(result_of("f").error_code, "bad_message");
    for (size_t i = 0; i < fake.message_count; i++)
        ck_assert(fake.messages[i].deleted && fake.messages[i].receives == 1);
    end();
}
END_TEST

START_TEST(poison_ends_in_the_dead_letter_queue_and_as_a_failed_result)
{
    begin(1, 5000);
    submit("a", "crash");
    submit("b", "ok");
    UNTIL(queue_empty);
    ck_assert(fake.messages[0].dead);
    ck_assert_int_eq(fake.messages[0].receives, 3);
    struct job_result r = result_of("a");
    ck_assert_int_eq(r.status, JOB_FAILED);
    ck_assert_str_eq(r.error_code, "crashed");
    ck_assert_ptr_nonnull(strstr(r.error_message, "signal 11"));
    ck_assert_int_eq(r.attempts, 3);
    ck_assert_int_eq(count_of("put results/a.json\n"), 1);
    ck_assert(fake.messages[1].deleted);
    ck_assert_int_eq(fake.messages[1].receives, 1);
    end();
}
END_TEST

START_TEST(hang_is_killed_and_retried)
{
    begin(1, 100);
    submit("a", "hang");
    UNTIL(queue_empty);
    ck_assert(fake.messages[0].dead);
    ck_assert_str_eq(result_of("a").error_code, "timeout");
    end();
}
END_TEST

START_TEST(unreadable_messages_are_left_to_the_dead_letter_queue)
{
    begin(1, 5000);
    fake_send("this is not a job");
    UNTIL(queue_empty);
    ck_assert(fake.messages[0].dead);
    ck_assert_uint_eq(fake.object_count, 0);
    end();
}
END_TEST

START_TEST(a_result_that_is_there_is_adopted_not_written_again)
{
    begin(1, 5000);
    fake_put(
        "results/a.json",
        SPAN("{\"id\":\"a\",\"status\":\"failed\",\"error\":{\"code\":\"x\",\"message\":\"y\"}}"));
    submit("a", "ok");
    UNTIL(queue_empty);
    ck_assert_str_eq(result_of("a").error_code, "x");
    ck_assert_int_eq(count_of("put results/a.json\n"), 0);
    ck_assert_int_lt(place("send "), place("delete m1\n")); // its owner is told all the same
    end();
}
END_TEST

START_TEST(a_message_that_is_sent_again_costs_a_look_not_an_inference)
{
    begin(1, 5000);
    fake_put("results/a.json", SPAN("{\"id\":\"a\",\"status\":\"succeeded\",\"result\":{}}"));
    fake_put("inbox/a", SPAN("ok"));
    fake_send("{\"v\":1,\"id\":\"a\",\"input\":{\"bucket\":\"smelt\",\"key\":\"inbox/a\"},"
              "\"reply_to\":\"/smelt-replies-1\",\"repeated\":true}");
    fake_put("inbox/b", SPAN("ok")); // not done yet: it is done
    fake_send("{\"v\":1,\"id\":\"b\",\"input\":{\"bucket\":\"smelt\",\"key\":\"inbox/b\"},"
              "\"repeated\":true}");
    UNTIL(queue_empty);
    ck_assert_int_eq(count_of("get inbox/a\n"), 0);
    ck_assert_int_eq(count_of("put results/a.json\n"), 0);
    ck_assert_int_eq(count_of("send "), 1); // who sent it again is told
    ck_assert_int_eq(result_of("b").status, JOB_SUCCEEDED);
    end();
}
END_TEST

START_TEST(two_messages_of_one_id_give_one_result)
{
    begin(2, 5000);
    submit("a", "slow 100");
    submit("a", "slow 100");
    UNTIL(queue_empty);
    ck_assert_int_eq(count_of("put results/a.json\n"), 1);
    ck_assert_int_eq(count_of("get inbox/a\n"), 1); // the second one waited for the first
    end();
}
END_TEST

START_TEST(test_events_and_own_results_are_acknowledged)
{
    begin(1, 5000);
    fake_send("{\"Service\":\"Amazon S3\",\"Event\":\"s3:TestEvent\"}");
    fake_send("{\"Records\":[{\"eventName\":\"ObjectCreated:Put\",\"s3\":{\"bucket\":{\"name\":"
              "\"smelt\"},"
              "\"object\":{\"key\":\"results/a.json\"}}}]}");
    fake_put("pic 1", SPAN("ok"));
    fake_send(
        "{\"Records\":[{\"eventName\":\"ObjectCreated:Put\",\"s3\":{\"bucket\":{\"name\":\"pics\"},"
        "\"object\":{\"key\":\"pic+1\"}}}]}");
    UNTIL(queue_empty);
    ck_assert_int_eq(count_of("put results/s3-"), 1);
    end();
}
END_TEST

START_TEST(leases_are_renewed_while_a_job_takes_long)
{
    begin(1, 20000);
    submit("a", "slow 4500"); // the lease is 3 s
    UNTIL(queue_empty);
    ck_assert_int_ge(fake.renewals, 2);
    ck_assert_int_eq(fake.messages[0].receives, 1);
    end();
}
END_TEST

static bool ten_results(void)
{
    return count_of("put results/") >= 10;
}

static int64_t down_until_ms;

static bool outage_over(void)
{
    return loop_now_ms(loop) > down_until_ms;
}

START_TEST(outages_lose_and_double_nothing)
{
    begin(2, 5000);
    for (int i = 0; i < 30; i++) {
        char id[16];
        snprintf(id, sizeof id, "j%d", i);
        submit(id, "slow 20");
    }
    UNTIL(ten_results);
    fake.s3_down = true;
    down_until_ms = clock_monotonic_ms() + 700;
    UNTIL(outage_over);
    AUTO_BUF struct buf why = {0};
    ck_assert(!poller_ready(poller, &why));
    ck_assert_ptr_nonnull(strstr(why.data, "s3"));
    fake.s3_down = false;
    fake.sqs_down = true;
    down_until_ms = clock_monotonic_ms() + 700;
    UNTIL(outage_over);
    fake.sqs_down = false;
    UNTIL(queue_empty);
    for (int i = 0; i < 30; i++) {
        char id[16];
        snprintf(id, sizeof id, "j%d", i);
        ck_assert_int_eq(result_of(id).status, JOB_SUCCEEDED);
        ck_assert(fake.messages[i].deleted);
    }
    ck_assert_int_eq(count_of("put results/"), 30);
    end();
}
END_TEST

START_TEST(a_queue_deleted_under_way_is_made_again)
{
    begin(1, 5000);
    fake.queue_missing = true;
    submit("a", "ok"); // wakes the long poll, which finds no queue
    UNTIL(queue_empty);
    ck_assert_int_eq(count_of("create smelt-jobs\n"), 1);
    ck_assert_int_eq(result_of("a").status, JOB_SUCCEEDED);
    end();
}
END_TEST

static bool some_in_hand(void)
{
    return count_of("get inbox/") >= 3;
}

START_TEST(drain_finishes_what_is_computed_and_hands_back_the_rest)
{
    begin(1, 5000);
    for (int i = 0; i < 6; i++) {
        char id[16];
        snprintf(id, sizeof id, "j%d", i);
        submit(id, "slow 300");
    }
    UNTIL(some_in_hand);
    poller_drain(poller);
    UNTIL(is_drained);
    int done = 0, back = 0;
    for (int i = 0; i < 6; i++) {
        done += fake.messages[i].deleted;
        back += !fake.messages[i].deleted && fake.messages[i].visible_at_ms <= clock_monotonic_ms();
    }
    ck_assert_int_eq(done, 2); // the one that told how long they take, and the one under way
    ck_assert_int_eq(back, 4); // visible for others at once
    ck_assert_int_eq(count_of("put results/"), 2);
    end();
}
END_TEST

static bool all_claimed(void)
{
    return fake.messages[0].receives == 1;
}

START_TEST(a_drain_hands_back_what_was_on_its_way)
{
    begin(1, 5000);
    fake.answer_ms = 200;
    submit("a", "ok");
    UNTIL(all_claimed);
    ck_assert_int_gt(fake.messages[0].visible_at_ms, clock_monotonic_ms() + 1000);
    poller_drain(poller);
    UNTIL(is_drained);
    ck_assert_int_le(fake.messages[0].visible_at_ms, clock_monotonic_ms());
    end();
}
END_TEST

static bool first_done(void)
{
    return fake.messages[0].deleted && fake.messages[2].deleted;
}

START_TEST(a_successor_hands_back_what_a_killed_poller_had_in_hand)
{
    char dir[64], path[100];
    struct lease_book *book;
    temp_dir_make(dir);
    snprintf(path, sizeof path, "%s/leases", dir);
    ck_assert_int_eq(lease_book_open(path, &book, NULL), OK);
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    fake.loop = loop;
    for (int i = 0; i < 2; i++) { // the second one has killed a poller before
        submit(i == 0 ? "a" : "b", "ok");
        fake.messages[i].receives = 1 + i;
        fake.messages[i].visible_at_ms = clock_monotonic_ms() + 60000;
        snprintf(fake.messages[i].receipt, sizeof fake.messages[i].receipt, "r%d-%d", i + 1, 1 + i);
        ck_assert_int_ge(lease_book_add(book, FAKE_URL "smelt-jobs", fake.messages[i].receipt,
                                        1 + i, clock_wall_ms() + 60000),
                         0);
    }
    loop_timer_cancel(loop, &fake.tick);
    loop_free(loop);
    lease_book_close(book);
    leases = path;
    begin(1, 5000);
    submit("c", "ok"); // its own, remembered and forgotten again
    UNTIL(first_done);
    ck_assert_int_eq(fake.messages[0].receives, 2);
    ck_assert_int_eq(fake.messages[1].receives, 2);
    ck_assert_int_eq(count_of("put results/a.json\n"), 1);
    end();
    ck_assert_int_eq(lease_book_open(path, &book, NULL), OK);
    ck_assert_int_eq(lease_book_take(book, 0, NULL, NULL), 0);
    lease_book_close(book);
    temp_dir_remove(dir);
}
END_TEST

START_TEST(drain_while_idle_is_immediate_and_the_long_poll_ends)
{
    begin(1, 5000);
    int64_t begun = clock_monotonic_ms();
    poller_drain(poller);
    UNTIL(is_drained);
    ck_assert_int_lt(clock_monotonic_ms() - begun, 5000);
    ck_assert_ptr_null(fake.waiting);
    end();
}
END_TEST

START_TEST(requests_are_batched_at_saturation)
{
    begin(2, 5000);
    for (int i = 0; i < 60; i++) {
        char id[16];
        snprintf(id, sizeof id, "j%d", i);
        submit(id, "slow 2");
    }
    UNTIL(queue_empty);
    ck_assert_int_eq(count_of("put results/"), 60);
    ck_assert_int_le(fake.receive_calls + fake.batches, 60);
    end();
}
END_TEST

// The place of the n-th line (1…) that begins with what.
static int nth_place(const char *what, int n)
{
    const char *p = fake.log;
    for (int i = 0; i < n; i++) {
        p = strstr(i == 0 ? p : p + 1, what);
        ck_assert_msg(p != NULL, "no %d times '%s' in:\n%s", n, what, fake.log);
    }
    return (int)(p - fake.log);
}

static int count_before(const char *what, int end)
{
    int n = 0;
    for (const char *p = fake.log; (p = strstr(p, what)) != NULL && p - fake.log < end; p++)
        n++;
    return n;
}

static void submit_to(const char *queue, const char *id)
{
    char key[100], body[400];
    snprintf(key, sizeof key, "inbox/%s", id);
    fake_put(key, SPAN("slow 3"));
    snprintf(body, sizeof body,
             "{\"v\":1,\"id\":\"%s\",\"input\":{\"bucket\":\"smelt\",\"key\":\"%s\"}}", id, key);
    fake_send_to(queue, body);
}

START_TEST(queues_share_the_pool_by_their_weights_and_none_starves)
{
    queues = "fast:3, slow:1,empty";
    begin(1, 5000);
    for (int i = 0; i < 30; i++) {
        char id[16];
        snprintf(id, sizeof id, "f%d", i);
        submit_to("fast", id);
        snprintf(id, sizeof id, "s%d", i);
        submit_to("slow", id);
    }
    UNTIL(queue_empty);
    ck_assert_int_eq(count_of("put results/"), 60);
    int end_of_fast = nth_place("put results/f", 30);
    int slow_meanwhile = count_before("put results/s", end_of_fast);
    // a third of 30, give or take a batch
    ck_assert_msg(slow_meanwhile >= 5 && slow_meanwhile <= 19, "%d of the slow queue's",
                  slow_meanwhile);
    end();
}
END_TEST

START_TEST(a_queue_can_have_a_lease_of_its_own)
{
    queues = "smelt-jobs:2:600";
    begin(1, 20000);
    ck_assert_int_eq(fake.visibility_s_seen, 600);
    submit("a", "slow 1500"); // half of the others' lease
    UNTIL(queue_empty);
    ck_assert_int_eq(fake.renewals, 0);
    end();
}
END_TEST

START_TEST(quiet_queues_cost_one_long_poll_each)
{
    queues = "a,b,c";
    begin(1, 5000);
    fake.receive_calls = 0;
    down_until_ms = clock_monotonic_ms() + 300;
    UNTIL(outage_over);
    ck_assert_int_le(fake.receive_calls, 3);
    end();
}
END_TEST

START_TEST(queue_lists_that_make_no_sense_are_refused)
{
    static const char *const wrong[] = {"",       ",a",
                                        "a,,b",   "a:0",
                                        "a:x",    "a,b,a",
                                        "a:5000", "a:1:",
                                        "a:1:2",  "a:1:99999",
                                        "a::5",   "http://h:1/0/a:",
                                        ":1",     "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"};
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    fake.loop = loop;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct error error = {0};
        const struct poller_config config = {.loop = loop,
                                             .queue = wrong[i],
                                             .bucket = "smelt",
                                             .visibility_s = 3,
                                             .model = "fake",
                                             .search_path = "",
                                             .children = 1,
                                             .job_timeout_ms = 1000};
        ck_assert_msg(poller_new(&config, &poller, &error) != OK, "'%s' was taken", wrong[i]);
        ck_assert_ptr_nonnull(strstr(error.msg, "--queue"));
    }
    loop_free(loop);
}
END_TEST

START_TEST(a_lost_lease_drops_what_has_not_begun_and_is_no_error)
{
    begin(1, 20000);
    for (int i = 0; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof id, "j%d", i);
        submit(id, "slow 400");
    }
    UNTIL(some_in_hand);
    fake.receipts_end = true; // the next renewal is refused
    down_until_ms = clock_monotonic_ms() + 1500;
    UNTIL(outage_over);
    fake.receipts_end = false;
    UNTIL(queue_empty);
    for (int i = 0; i < 4; i++) {
        char id[16];
        snprintf(id, sizeof id, "j%d", i);
        ck_assert_int_eq(result_of(id).status, JOB_SUCCEEDED);
    }
    ck_assert_int_eq(count_of("put results/"), 4);
    AUTO_BUF struct buf text = {0};
    poller_metrics(poller, &text);
    ck_assert_ptr_null(strstr(text.data, "smelt_worker_leases_lost_total 0\n"));
    end();
}
END_TEST

START_TEST(throttling_slows_the_pool_down_and_it_recovers)
{
    begin(2, 5000);
    for (int i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof id, "a%d", i);
        submit(id, "slow 2");
    }
    UNTIL(ten_results);
    fake.throttles = 3;
    UNTIL(queue_empty);
    AUTO_BUF struct buf text = {0};
    poller_metrics(poller, &text);
    ck_assert_ptr_null(strstr(text.data, "smelt_worker_slowdowns_total 0\n"));
    ck_assert_int_eq(count_of("put results/"), 20);
    end();
}
END_TEST

START_TEST(one_call_at_a_time_asks_whether_the_store_is_back)
{
    begin(2, 5000);
    for (int i = 0; i < 40; i++) {
        char id[16];
        snprintf(id, sizeof id, "a%d", i);
        submit(id, "slow 2");
    }
    UNTIL(ten_results);
    fake.s3_down = true;
    down_until_ms = clock_monotonic_ms() + 200; // all in hand have failed once
    UNTIL(outage_over);
    fake.s3_calls = 0;
    down_until_ms = clock_monotonic_ms() + 1000;
    UNTIL(outage_over);
    ck_assert_int_le(fake.s3_calls, 20); // not 40 jobs times some retries
    fake.s3_down = false;
    UNTIL(queue_empty);
    ck_assert_int_eq(count_of("put results/"), 40);
    end();
}
END_TEST

static const char cancelled[] =
    "{\"id\":\"a\",\"status\":\"cancelled\",\"error\":{\"code\":\"cancelled\",\"message\":\"x\"}}";

START_TEST(a_job_cancelled_before_its_start_costs_no_inference)
{
    begin(1, 5000);
    submit("a", "crash"); // would be seen
    fake_put("results/a.json", span_from(cancelled));
    fake_find("inbox/a")->key[0] = '\0'; // the gateway removed the picture
    UNTIL(queue_empty);
    ck_assert_int_eq(result_of("a").status, JOB_CANCELLED);
    ck_assert(fake.messages[0].deleted);
    ck_assert_int_eq(fake.messages[0].receives, 1);
    ck_assert_int_lt(place("send "), place("delete m1\n")); // who waits hears of it
    end();
}
END_TEST

START_TEST(a_job_cancelled_while_it_is_computed_is_stopped)
{
    begin(1, 30000);
    submit("a", "slow 20000"); // the lease is 3 s: asked after 1 s
    down_until_ms = clock_monotonic_ms() + 500;
    UNTIL(outage_over);
    fake_put("results/a.json", span_from(cancelled));
    UNTIL(queue_empty);
    ck_assert_int_eq(result_of("a").status, JOB_CANCELLED);
    ck_assert(fake.messages[0].deleted);
    ck_assert_int_eq(count_of("put results/a.json\n"), 0);
    submit("b", "ok");
    UNTIL(queue_empty);
    ck_assert_int_eq(result_of("b").status, JOB_SUCCEEDED);
    end();
}
END_TEST

START_TEST(a_deadline_that_passes_while_computing_ends_as_expired)
{
    char body[300];
    begin(1, 30000);
    fake_put("inbox/a", SPAN("slow 20000"));
    snprintf(body, sizeof body,
             "{\"v\":1,\"id\":\"a\",\"expires_at\":%lld,\"input\":{\"bucket\":\"smelt\",\"key\":"
             "\"inbox/a\"}}",
             (long long)clock_wall_ms() + 400);
    fake_send(body);
    UNTIL(queue_empty);
    struct job_result r = result_of("a");
    ck_assert_int_eq(r.status, JOB_EXPIRED);
    ck_assert_ptr_nonnull(strstr(r.error_message, "while it was computed"));
    ck_assert_int_eq(fake.messages[0].receives, 1);
    end();
}
END_TEST

int main(int argc, char **argv)
{
    if (is_zygote(argc, argv))
        return be_zygote(argc, argv);
    const TTest *const tests[] = {result_then_reply_then_delete,
                                  missing_queue_is_made_with_its_dead_letter_queue,
                                  bad_pictures_fail_at_once_with_their_sentence,
                                  poison_ends_in_the_dead_letter_queue_and_as_a_failed_result,
                                  hang_is_killed_and_retried,
                                  unreadable_messages_are_left_to_the_dead_letter_queue,
                                  a_result_that_is_there_is_adopted_not_written_again,
                                  a_message_that_is_sent_again_costs_a_look_not_an_inference,
                                  two_messages_of_one_id_give_one_result,
                                  test_events_and_own_results_are_acknowledged,
                                  leases_are_renewed_while_a_job_takes_long,
                                  outages_lose_and_double_nothing,
                                  a_queue_deleted_under_way_is_made_again,
                                  drain_finishes_what_is_computed_and_hands_back_the_rest,
                                  a_drain_hands_back_what_was_on_its_way,
                                  a_successor_hands_back_what_a_killed_poller_had_in_hand,
                                  drain_while_idle_is_immediate_and_the_long_poll_ends,
                                  requests_are_batched_at_saturation,
                                  queues_share_the_pool_by_their_weights_and_none_starves,
                                  a_queue_can_have_a_lease_of_its_own,
                                  quiet_queues_cost_one_long_poll_each,
                                  queue_lists_that_make_no_sense_are_refused,
                                  a_lost_lease_drops_what_has_not_begun_and_is_no_error,
                                  throttling_slows_the_pool_down_and_it_recovers,
                                  one_call_at_a_time_asks_whether_the_store_is_back,
                                  a_job_cancelled_before_its_start_costs_no_inference,
                                  a_job_cancelled_while_it_is_computed_is_stopped,
                                  a_deadline_that_passes_while_computing_ends_as_expired};
    return suite_run("poller", tests, sizeof tests / sizeof tests[0]);
}
