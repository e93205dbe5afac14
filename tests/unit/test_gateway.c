// The gateway over real HTTP, in front of a store and a queue that the test holds in its hands.
#include "gateway/gateway.h"

#include "suite.h"

#include "base/clock.h"
#include "fake_aws.h"
#include "http/client.h"
#include "job/job.h"
#include "job/tell.h"

#include <jansson.h>

struct answer {
    bool done;
    enum err err;
    int status;
    char body[4096], retry_after[16], location[200], allow[16];
    json_t *json;
};

static struct loop *loop;
static struct gateway *gateway;
static struct http_client *client;
static bool stopped;
static json_t *answers; // keeps what `struct answer` borrows
static struct arena arena;

static void on_answer(void *ctx, const struct http_response *r)
{
    struct answer *a = ctx;
    a->done = true;
    a->err = r->err;
    a->status = r->status;
    if (r->err == OK) {
        snprintf(a->body, sizeof a->body, "%.*s", (int)r->body.len, r->body.data);
        struct span h = http_response_header(r, "Retry-After");
        snprintf(a->retry_after, sizeof a->retry_after, "%.*s", (int)h.len, h.data);
        h = http_response_header(r, "Location");
        snprintf(a->location, sizeof a->location, "%.*s", (int)h.len, h.data);
        h = http_response_header(r, "Allow");
        snprintf(a->allow, sizeof a->allow, "%.*s", (int)h.len, h.data);
        a->json = json_loads(a->body, 0, NULL);
        if (a->json != NULL)
            json_array_append_new(answers, a->json);
    }
    loop_stop(loop);
}

static struct http_call *start(struct answer *a, const char *method, const char *target,
                               const char *type, const char *key, struct span body)
{
    char url[300];
    struct http_call_header headers[2];
    size_t count = 0;
    *a = (struct answer){0};
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", gateway_port(gateway), target);
    if (type != NULL)
        headers[count++] = (struct http_call_header){"Content-Type", type};
    if (key != NULL)
        headers[count++] = (struct http_call_header){"Idempotency-Key", key};
    const struct http_call_spec spec = {.method = method,
                                        .url = url,
                                        .headers = headers,
                                        .header_count = count,
                                        .body = body,
                                        .body_fd = -1};
    return http_client_start(client, &spec, on_answer, a);
}

static void run(void)
{
    ck_assert_int_eq(loop_run(loop, NULL), OK);
}

static void finish(struct answer *a)
{
    while (!a->done)
        run();
    ck_assert_int_eq(a->err, OK);
}

static struct answer ask(const char *method, const char *target, const char *type, const char *key,
                         struct span body)
{
    struct answer a;
    start(&a, method, target, type, key, body);
    finish(&a);
    return a;
}

static struct answer post(const char *target, const char *key, const char *body)
{
    return ask("POST", target, "image/jpeg", key, span_from(body));
}

static struct answer get(const char *target)
{
    return ask("GET", target, NULL, NULL, (struct span){0});
}

static const char *text(const struct answer *a, const char *name)
{
    const char *value = json_string_value(json_object_get(a->json, name));
    return value != NULL ? value : "";
}

static const char *error_code(const struct answer *a)
{
    const char *value =
        json_string_value(json_object_get(json_object_get(a->json, "error"), "code"));
    return value != NULL ? value : "";
}

static void on_ready(void *ctx)
{
    (void)ctx;
    loop_stop(loop);
}

static void on_stopped(void *ctx)
{
    (void)ctx;
    stopped = true;
    loop_stop(loop);
}

static const struct gateway_model models[] = {{"demo", "knows drawings", "models/demo"},
                                              {"other", "", NULL}};

static void set_up_named(const char *instance, bool run_until_ready)
{
    struct error error;
    ck_assert_int_eq(loop_new(&loop, &error), OK);
    fake.loop = loop;
    answers = json_array();
    const struct gateway_config config = {.loop = loop,
                                          .listen = "127.0.0.1:0",
                                          .instance = instance,
                                          .bucket_allow = "photos",
                                          .models = models,
                                          .model_count = 2,
                                          .on_ready = on_ready,
                                          .on_stopped = on_stopped};
    ck_assert_msg(gateway_new(&config, &gateway, &error) == OK, "%s", error.msg);
    ck_assert_int_eq(http_client_new(loop, &(struct http_client_config){0}, &client, &error), OK);
    if (run_until_ready)
        run();
}

static void set_up(void)
{
    set_up_named(NULL, true);
}

static void tear_down(void)
{
    http_client_free(client);
    gateway_free(gateway);
    while (fake.calls_running > 0 && fake_held == NULL) { // what nobody waits for any more
        struct timer stop = {0};
        loop_timer_set(loop, &stop, loop_now_ms(loop), on_ready, NULL);
        run();
    }
    ck_assert_int_eq(fake.calls_running, 0);
    loop_free(loop);
    fake_forget();
    json_decref(answers);
    arena_release(&arena);
}

// The job in the n-th message that was sent.
static struct job sent_job(size_t n)
{
    struct job *jobs;
    size_t count;
    struct error error;
    ck_assert_uint_lt(n, fake.sent_count);
    ck_assert_msg(job_decode(buf_view(&fake.sent[n]), &arena, &jobs, &count, &error) == OK, "%s",
                  error.msg);
    ck_assert_uint_eq(count, 1);
    return jobs[0];
}

static const char *result_of(const char *id)
{
    static char out[600];
    snprintf(
        out, sizeof out,
        "{\"id\":\"%s\",\"status\":\"succeeded\",\"model\":\"demo\",\"result\":{\"predictions\":"
        "[{\"label\":\"poodle\",\"index\":0,\"score\":0.97}],\"groups\":{}},"
        "\"timing_ms\":{\"queued\":1,\"fetched\":1,\"decoded\":2,\"inferred\":3},\"attempts\":1,"
        "\"submitted_at\":\"2026-01-31T12:00:00.000Z\",\"finished_at\":\"2026-01-31T12:00:00."
        "050Z\"}",
        id);
    return out;
}

static void publish(const char *id)
{
    char key[200];
    snprintf(key, sizeof key, "results/%s.json", id);
    fake_put(key, "application/json", span_from(result_of(id)));
}

START_TEST(a_picture_is_stored_then_queued_then_answered)
{
    set_up();
    struct answer a = post("/v1/jobs", NULL, "\xff\xd8\xff picture");
    ck_assert_int_eq(a.status, 202);
    ck_assert_str_eq(text(&a, "status"), "queued");
    const char *id = text(&a, "id");
    char key[200];
    snprintf(key, sizeof key, "inbox/%s", id);
    ck_assert(span_is(buf_view(&fake_find(key)->body), "\xff\xd8\xff picture"));
    ck_assert_str_eq(fake_find(key)->content_type, "image/jpeg");
    struct job job = sent_job(0);
    ck_assert_str_eq(job.id, id);
    ck_assert_str_eq(job.model, "demo");
    ck_assert_str_eq(job.bucket, "smelt");
    ck_assert_str_eq(job.key, key);
    ck_assert_ptr_nonnull(strstr(job.reply_to, "/smelt-replies-"));
    ck_assert_ptr_nonnull(
        strstr(job.reply_to, fake_find(key)->gateway)); // who waits elsewhere asks there
    ck_assert(!job.repeated);
    ck_assert(job.submitted_ms > 0);
    snprintf(key, sizeof key, "/v1/jobs/%s", id);
    ck_assert_str_eq(text(&a, "url"), key);
    ck_assert_str_eq(a.location, key);
    tear_down();
}
END_TEST

START_TEST(forms_and_references)
{
    set_up();
    struct answer a =
        ask("POST", "/v1/jobs", "multipart/form-data; boundary=B", NULL,
            SPAN("--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nother\r\n"
                 "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n"
                 "picture\r\n--B--\r\n"));
    ck_assert_int_eq(a.status, 202);
    ck_assert_str_eq(sent_job(0).model, "other");
    ck_assert(span_is(buf_view(&fake_find(sent_job(0).key)->body), "picture"));
    a = ask("POST", "/v1/jobs", "application/json", NULL,
            SPAN("{\"input\":{\"bucket\":\"photos\",\"key\":\"a b/c.jpg\"},\"model\":\"other\"}"));
    ck_assert_int_eq(a.status, 202);
    ck_assert_str_eq(sent_job(1).bucket, "photos");
    ck_assert_str_eq(sent_job(1).key, "a b/c.jpg");
    char target[200];
    snprintf(target, sizeof target, "/v1/jobs/%s", text(&a, "id"));
    a = get(target); // known, though its picture is elsewhere
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(text(&a, "status"), "queued");
    // what curl --data-binary says of any bytes
    a = ask("POST", "/v1/jobs?model=other", "application/x-www-form-urlencoded", NULL,
            SPAN("picture"));
    ck_assert_int_eq(a.status, 202);
    ck_assert_str_eq(sent_job(2).model, "other");
    tear_down();
}
END_TEST

START_TEST(a_waiting_client_is_woken_by_the_reply)
{
    struct answer a;
    set_up();
    fake.stop_at_send = true;
    start(&a, "POST", "/v1/jobs?wait=30", NULL, NULL, SPAN("picture"));
    run();
    ck_assert_uint_eq(fake.sent_count, 1);
    fake_reply(result_of("another-job"));
    fake_reply("no JSON");
    fake_reply(result_of(sent_job(0).id));
    finish(&a);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(text(&a, "status"), "succeeded");
    double total =
        json_number_value(json_object_get(json_object_get(a.json, "timing_ms"), "total"));
    ck_assert(total > 0 && total < 20000);
    ck_assert_ptr_nonnull(fake.receiver); // and polls on
    tear_down();
}
END_TEST

START_TEST(a_reply_may_overtake_the_answer_to_send_message)
{
    struct answer a;
    set_up();
    fake.stop_at_send = fake.hold_sends = true;
    start(&a, "POST", "/v1/jobs?wait=30", NULL, NULL, SPAN("picture"));
    run();
    fake_reply(result_of(sent_job(0).id));
    finish(&a);
    ck_assert_int_eq(a.status, 200);
    tear_down();
}
END_TEST

START_TEST(a_result_without_a_reply_is_found_when_the_wait_ends)
{
    struct answer a;
    set_up();
    fake.stop_at_send = true;
    start(&a, "POST", "/v1/jobs?wait=1", NULL, NULL, SPAN("picture"));
    run();
    publish(sent_job(0).id);
    finish(&a);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(text(&a, "status"), "succeeded");
    fake.stop_at_send = false;
    a = post("/v1/jobs?wait=1", NULL, "never done");
    ck_assert_int_eq(a.status, 202);
    tear_down();
}
END_TEST

START_TEST(looking_at_jobs)
{
    char target[200];
    set_up();
    struct answer a = get("/v1/jobs/unknown?wait=5");
    ck_assert_int_eq(a.status, 404);
    ck_assert_str_eq(error_code(&a), "not_found");
    a = post("/v1/jobs", NULL, "picture");
    const char *id = text(&a, "id");
    snprintf(target, sizeof target, "/v1/jobs/%s", id);
    struct answer b = get(target);
    ck_assert_int_eq(b.status, 200);
    ck_assert_str_eq(text(&b, "status"), "queued");
    ck_assert_str_eq(text(&b, "id"), id);
    publish(id);
    b = get(target);
    ck_assert_int_eq(b.status, 200);
    ck_assert_str_eq(text(&b, "status"), "succeeded");
    // not measured by this gateway: from submitted_at to finished_at
    ck_assert(json_number_value(json_object_get(json_object_get(b.json, "timing_ms"), "total")) ==
              50.0);
    tear_down();
}
END_TEST

START_TEST(a_cancellation_is_the_result)
{
    char target[200];
    set_up();
    struct answer a = post("/v1/jobs?expires=60", NULL, "picture");
    snprintf(target, sizeof target, "/v1/jobs/%s", text(&a, "id"));
    fake.s3_err = ERR_UNAVAILABLE;
    ck_assert_int_eq(ask("DELETE", target, NULL, NULL, (struct span){0}).status, 503);
    fake.s3_err = OK;
    struct answer b = ask("DELETE", target, NULL, NULL, (struct span){0});
    ck_assert_int_eq(b.status, 200);
    ck_assert_str_eq(text(&b, "status"), "cancelled");
    ck_assert_int_eq(fake.deletes, 1); // the picture
    b = ask("DELETE", target, NULL, NULL, (struct span){0});
    ck_assert_int_eq(b.status, 200);
    b = get(target);
    ck_assert_str_eq(text(&b, "status"), "cancelled");
    a = post("/v1/jobs", NULL, "picture");
    publish(text(&a, "id"));
    snprintf(target, sizeof target, "/v1/jobs/%s", text(&a, "id"));
    b = ask("DELETE", target, NULL, NULL, (struct span){0});
    ck_assert_int_eq(b.status, 409);
    b = get(target);
    ck_assert_str_eq(text(&b, "status"), "succeeded");
    tear_down();
}
END_TEST

START_TEST(a_look_waits_for_the_reply)
{
    char target[200];
    struct answer b;
    set_up();
    struct answer a = post("/v1/jobs", NULL, "picture");
    snprintf(target, sizeof target, "/v1/jobs/%s?wait=30", text(&a, "id"));
    start(&b, "GET", target, NULL, NULL, (struct span){0});
    struct timer stop = {0};
    loop_timer_set(loop, &stop, loop_now_ms(loop) + 100, on_ready, NULL);
    run();
    ck_assert(!b.done);
    fake_reply(result_of(text(&a, "id")));
    finish(&b);
    ck_assert_int_eq(b.status, 200);
    ck_assert_str_eq(text(&b, "status"), "succeeded");
    tear_down();
}
END_TEST

// --- several gateways ---

static void put_elsewhere(const char *id, const char *owner)
{
    char key[200];
    snprintf(key, sizeof key, "inbox/%s", id);
    fake_put(key, "image/jpeg", SPAN("picture"));
    snprintf(fake_find(key)->gateway, sizeof fake_find(key)->gateway, "%s", owner);
}

static void run_ms(int ms)
{
    struct timer stop = {0};
    loop_timer_set(loop, &stop, loop_now_ms(loop) + ms, on_ready, NULL);
    run();
}

START_TEST(who_waits_for_another_gateways_job_asks_there)
{
    struct answer a;
    struct tell tell;
    struct error error;
    set_up_named("here", true);
    put_elsewhere("job-1", "smelt-replies-there");
    fake.stop_at_send = true;
    start(&a, "GET", "/v1/jobs/job-1?wait=30", NULL, NULL, (struct span){0});
    run();
    ck_assert_str_eq(fake.sent_to[0], "http://queues/0/smelt-replies-there");
    ck_assert_int_eq(tell_decode(buf_view(&fake.sent[0]), &arena, &tell, &error), OK);
    ck_assert_str_eq(tell.id, "job-1");
    ck_assert_str_eq(tell.reply_to, "smelt-replies-here");
    int64_t left_ms = tell.expires_ms - clock_wall_ms();
    ck_assert(left_ms > 0 && left_ms <= 30000);
    run_ms(20);
    fake_reply(result_of("job-1"));
    finish(&a);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(text(&a, "status"), "succeeded");
    ck_assert_uint_eq(fake.sent_count, 1);
    put_elsewhere("job-2", "smelt-replies-here"); // our own: nobody else is asked
    put_elsewhere("job-3", "");                   // not known whose
    put_elsewhere("job-4", "smelt-jobs");         // what a foreign tool may have written
    a = get("/v1/jobs/job-2?wait=1");
    ck_assert_str_eq(text(&a, "status"), "queued");
    a = get("/v1/jobs/job-3?wait=1");
    a = get("/v1/jobs/job-4?wait=1");
    a = get("/v1/jobs/job-1");
    ck_assert_uint_eq(fake.sent_count, 1);
    tear_down();
}
END_TEST

START_TEST(a_gateway_that_is_gone_tells_nobody_and_the_store_does)
{
    struct answer a;
    set_up_named("here", true);
    put_elsewhere("job-1", "smelt-replies-there");
    fake.stop_at_send = true;
    start(&a, "GET", "/v1/jobs/job-1?wait=30", NULL, NULL, (struct span){0});
    run();
    publish("job-1");
    run_ms(9000); // the answer stops it
    ck_assert(a.done);
    ck_assert_int_eq(a.status, 200);
    ck_assert_str_eq(text(&a, "status"), "succeeded");
    tear_down();
}
END_TEST

static void be_asked(const char *id, const char *reply_to, int left_ms)
{
    AUTO_BUF struct buf message = {0};
    const struct tell tell = {id, reply_to, clock_wall_ms() + left_ms};
    tell_encode(&tell, &message);
    buf_add_char(&message, '\0');
    fake_reply(message.data);
    run_ms(20);
}

START_TEST(another_gateway_that_asks_is_told)
{
    set_up_named("here", true);
    be_asked("job-1", "smelt-replies-there", 20000);
    be_asked("job-1", "http://elsewhere/1/smelt-replies-third", 20000); // only its name counts
    be_asked("job-1", "smelt-jobs", 20000);
    be_asked("job-1", "smelt-replies-late", -1);
    ck_assert_uint_eq(fake.sent_count, 0);
    fake_reply(result_of("job-2"));
    run_ms(20);
    ck_assert_uint_eq(fake.sent_count, 0);
    fake_reply(result_of("job-1"));
    run_ms(20);
    ck_assert_uint_eq(fake.sent_count, 2);
    ck_assert(span_is(buf_view(&fake.sent[0]), result_of("job-1")));
    bool third_first = strstr(fake.sent_to[0], "third") != NULL;
    ck_assert_str_eq(fake.sent_to[third_first], "http://queues/0/smelt-replies-there");
    ck_assert_str_eq(fake.sent_to[!third_first], "http://queues/0/smelt-replies-third");
    publish("job-3"); // the answer came before the question
    be_asked("job-3", "smelt-replies-there", 20000);
    ck_assert_uint_eq(fake.sent_count, 3);
    be_asked("job-4", "smelt-replies-there", 50); // nobody waits any more
    run_ms(100);
    fake_reply(result_of("job-4"));
    run_ms(20);
    ck_assert_uint_eq(fake.sent_count, 3);
    be_asked("job-5", "smelt-replies-there", 20000); // open at the end
    gateway_stop(gateway);
    tear_down();
}
END_TEST

START_TEST(a_cancellation_is_told_to_the_gateway_that_has_the_clients)
{
    set_up_named("here", true);
    put_elsewhere("job-1", "smelt-replies-there");
    struct answer a = ask("DELETE", "/v1/jobs/job-1", NULL, NULL, (struct span){0});
    ck_assert_int_eq(a.status, 200);
    ck_assert_uint_eq(fake.sent_count, 1);
    ck_assert_str_eq(fake.sent_to[0], "http://queues/0/smelt-replies-there");
    ck_assert_ptr_nonnull(strstr(fake.sent[0].data, "\"cancelled\""));
    put_elsewhere("job-2", "smelt-replies-here");
    a = ask("DELETE", "/v1/jobs/job-2", NULL, NULL, (struct span){0});
    ck_assert_int_eq(a.status, 200);
    ck_assert_uint_eq(fake.sent_count, 1);
    tear_down();
}
END_TEST

START_TEST(an_idempotency_key_of_another_gateways_job)
{
    struct answer a, b;
    char key[200];
    set_up_named("here", true);
    a = post("/v1/jobs", "key-1", "picture");
    snprintf(key, sizeof key, "inbox/%s", text(&a, "id"));
    snprintf(fake_find(key)->gateway, 96, "smelt-replies-there");
    start(&b, "POST", "/v1/jobs?wait=30", "image/jpeg", "key-1", SPAN("picture"));
    while (fake.sent_count < 3)
        run_ms(20);
    ck_assert(sent_job(1).repeated);
    ck_assert_str_eq(fake.sent_to[2], "http://queues/0/smelt-replies-there");
    fake_reply(result_of(text(&a, "id")));
    finish(&b);
    ck_assert_int_eq(b.status, 200);
    tear_down();
}
END_TEST

START_TEST(an_idempotency_key_is_one_job)
{
    set_up();
    struct answer a = post("/v1/jobs", "key-1", "picture");
    struct answer b = post("/v1/jobs", "key-1", "picture");
    ck_assert_int_eq(a.status, 202);
    ck_assert_int_eq(b.status, 202);
    ck_assert_str_eq(text(&a, "id"), text(&b, "id"));
    // whether the first message got out is unknown to a gateway that keeps nothing: it is sent
    // again
    ck_assert_uint_eq(fake.sent_count, 2);
    ck_assert(sent_job(1).repeated && !sent_job(0).repeated);
    struct answer c = post("/v1/jobs", "key-1", "another picture");
    ck_assert_int_eq(c.status, 409);
    ck_assert_str_eq(error_code(&c), "conflict");
    c = post("/v1/jobs?model=other", "key-1", "picture");
    ck_assert_int_eq(c.status, 409);
    c = post("/v1/jobs", "key-2", "picture");
    ck_assert_str_ne(text(&a, "id"), text(&c, "id"));
    publish(text(&a, "id"));
    size_t sent = fake.sent_count;
    b = post("/v1/jobs", "key-1", "picture"); // done: the result, and nothing is queued
    ck_assert_int_eq(b.status, 200);
    ck_assert_str_eq(text(&b, "status"), "succeeded");
    ck_assert_uint_eq(fake.sent_count, sent);
    c = post("/v1/jobs", "has a space", "picture");
    ck_assert_int_eq(c.status, 400);
    tear_down();
}
END_TEST

START_TEST(what_cannot_be_a_job_is_refused)
{
    static const struct {
        const char *method, *target, *type, *body;
        int status;
    } cases[] = {
        {"POST", "/v1/jobs", "image/jpeg", "", 400},
        {"POST", "/v1/jobs", NULL, "", 400},
        {"POST", "/v1/jobs", "text/html", "x", 415},
        {"POST", "/v1/jobs", "video/mp4", "x", 415},
        {"POST", "/v1/jobs?wait=31", "image/jpeg", "x", 400},
        {"POST", "/v1/jobs?wait=-1", "image/jpeg", "x", 400},
        {"POST", "/v1/jobs?wait=1.5", "image/jpeg", "x", 400},
        {"POST", "/v1/jobs?model=nosuch", "image/jpeg", "x", 404},
        {"POST", "/v1/jobs", "multipart/form-data", "x", 400},
        {"POST", "/v1/jobs", "multipart/form-data; boundary=B", "--B--", 400},
        {"POST", "/v1/jobs", "multipart/form-data; boundary=B",
         "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n\r\n--B--", 400},
        {"POST", "/v1/jobs", "multipart/form-data; boundary=B",
         "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n"
         "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\ny\r\n--B--",
         400},
        {"POST", "/v1/jobs", "multipart/form-data; boundary=B",
         "--B\r\nContent-Disposition: form-data; name=\"picture\"\r\n\r\nx\r\n--B--", 400},
        {"POST", "/v1/jobs", "application/json", "{", 400},
        {"POST", "/v1/jobs", "application/json", "[]", 400},
        {"POST", "/v1/jobs", "application/json", "{\"input\":{\"bucket\":\"b\"}}", 400},
        {"POST", "/v1/jobs", "application/json", "{\"input\":{\"bucket\":\"B/..\",\"key\":\"k\"}}",
         400},
        {"POST", "/v1/jobs", "application/json",
         "{\"input\":{\"bucket\":\"bbb\",\"key\":\"k\"},\"modle\":\"x\"}", 400},
        {"POST", "/v1/jobs", "application/json",
         "{\"input\":{\"bucket\":\"private\",\"key\":\"k\"}}", 403},
        {"GET", "/v1/jobs", NULL, "", 405},
        {"PUT", "/v1/jobs", NULL, "x", 405},
        {"DELETE", "/v1/jobs/an-id", NULL, "", 404},
        {"DELETE", "/v1/jobs/a%2Fb", NULL, "", 404},
        {"DELETE", "/v1/jobs", NULL, "", 405},
        {"PATCH", "/v1/jobs/an-id", NULL, "", 405},
        {"POST", "/v1/jobs?expires=0", "image/jpeg", "x", 400},
        {"POST", "/v1/jobs?expires=99999999", "image/jpeg", "x", 400},
        {"GET", "/v1/jobs/", NULL, "", 404},
        {"GET", "/v1/jobs/a%2Fb", NULL, "", 404},
        {"GET", "/v1/jobs/an-id?wait=x", NULL, "", 400},
        {"GET", "/nothing", NULL, "", 404},
        {"POST", "/", NULL, "x", 405},
    };
    set_up();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer a =
            ask(cases[i].method, cases[i].target, cases[i].type, NULL, span_from(cases[i].body));
        ck_assert_msg(a.status == cases[i].status, "case %zu: %d %s", i, a.status, a.body);
        const char *message =
            json_string_value(json_object_get(json_object_get(a.json, "error"), "message"));
        ck_assert_msg(message != NULL && strlen(message) > 10, "case %zu: %s", i, a.body);
        ck_assert_msg((a.status == 405) == (a.allow[0] != '\0'), "case %zu", i);
    }
    ck_assert_uint_eq(fake.sent_count, 0);
    ck_assert_uint_eq(fake.object_count, 0);
    struct answer a = post("/v1/jobs?model=nosuch", NULL, "x");
    ck_assert_ptr_nonnull(strstr(a.body, "demo, other"));
    tear_down();
}
END_TEST

START_TEST(when_store_or_queue_are_away_nothing_is_promised)
{
    set_up();
    fake.s3_err = ERR_UNAVAILABLE;
    struct answer a = post("/v1/jobs?wait=5", NULL, "picture");
    ck_assert_int_eq(a.status, 503);
    ck_assert_str_eq(a.retry_after, "1");
    ck_assert_uint_eq(fake.sent_count, 0);
    a = get("/v1/jobs/an-id?wait=5");
    ck_assert_int_eq(a.status, 503);
    a = get("/readyz");
    ck_assert_int_eq(a.status, 503);
    fake.s3_err = OK;
    a = get("/readyz");
    ck_assert_int_eq(a.status, 200);
    fake.sqs_err = ERR_DENIED; // refused for sure: the picture does not stay behind
    a = post("/v1/jobs?wait=5", NULL, "picture");
    ck_assert_int_eq(a.status, 503);
    ck_assert_int_eq(fake.deletes, 1);
    fake.sqs_err = ERR_TIMEOUT; // the message may be there: the picture stays
    a = post("/v1/jobs", NULL, "picture");
    ck_assert_int_eq(a.status, 503);
    ck_assert_int_eq(fake.deletes, 1);
    fake.sqs_err = ERR_THROTTLED;
    a = post("/v1/jobs", NULL, "picture");
    ck_assert_int_eq(a.status, 429);
    fake.sqs_err = OK;
    tear_down();
}
END_TEST

START_TEST(before_bucket_and_queues_are_there)
{
    fake.no_queue = true;
    set_up_named("local", false);
    struct answer a = post("/v1/jobs", NULL, "picture");
    ck_assert_int_eq(a.status, 503);
    a = get("/readyz");
    ck_assert_int_eq(a.status, 503);
    a = get("/livez");
    ck_assert_int_eq(a.status, 200);
    fake.no_queue = false;
    run(); // until it has tried again
    a = post("/v1/jobs", NULL, "picture");
    ck_assert_int_eq(a.status, 202);
    ck_assert_str_eq(sent_job(0).reply_to, "http://queues/0/smelt-replies-local");
    tear_down();
}
END_TEST

START_TEST(a_reply_queue_that_was_deleted_is_made_again)
{
    set_up();
    ck_assert_int_eq(fake.reply_queues_made, 1);
    fake_end_receive(ERR_NOT_FOUND);
    struct answer a = {0};
    do
        a = post("/v1/jobs", NULL, "picture");
    while (a.status == 503 && fake.reply_queues_made < 2);
    ck_assert_int_eq(fake.reply_queues_made, 2);
    a = get("/readyz");
    ck_assert_ptr_nonnull(fake.receiver);
    fake_end_receive(ERR_NET); // away: polls again after a pause
    ck_assert_ptr_null(fake.receiver);
    struct timer stop = {0};
    loop_timer_set(loop, &stop, loop_now_ms(loop) + 300, on_ready, NULL);
    run();
    ck_assert_ptr_nonnull(fake.receiver);
    tear_down();
}
END_TEST

static int requests_open(void)
{
    struct answer a = get("/metrics");
    const char *at = strstr(a.body, "\nsmelt_gateway_requests_open ");
    ck_assert_ptr_nonnull(at);
    return atoi(at + strlen("\nsmelt_gateway_requests_open "));
}

START_TEST(a_client_that_hangs_up_leaves_nothing_behind)
{
    struct answer a;
    set_up();
    fake.stop_at_send = true;
    struct http_call *call = start(&a, "POST", "/v1/jobs?wait=30", NULL, NULL, SPAN("picture"));
    run();
    ck_assert_int_eq(requests_open(), 1);
    http_call_cancel(call);
    for (int i = 0; i < 50 && requests_open() > 0; i++)
        continue;
    ck_assert_int_eq(requests_open(), 0);
    fake_reply(result_of(sent_job(0).id)); // nobody waits
    fake.stop_at_send = false;
    fake.hold_puts = true; // while its picture is being stored
    call = start(&a, "POST", "/v1/jobs", NULL, NULL, SPAN("picture"));
    while (requests_open() == 0)
        continue;
    http_call_cancel(call);
    for (int i = 0; i < 50; i++)
        ck_assert_int_eq(requests_open(), 1); // goes on: a picture without its message has no home
    fake_release_put();
    for (int i = 0; i < 50 && requests_open() > 0; i++)
        continue;
    ck_assert_int_eq(requests_open(), 0);
    ck_assert_uint_eq(fake.sent_count, 2);
    tear_down();
}
END_TEST

START_TEST(a_drain_answers_those_who_wait)
{
    struct answer a;
    set_up();
    fake.stop_at_send = true;
    start(&a, "POST", "/v1/jobs?wait=30", NULL, NULL, SPAN("picture"));
    run();
    struct timer stop = {0}; // let the answer to SendMessage come
    loop_timer_set(loop, &stop, loop_now_ms(loop) + 20, on_ready, NULL);
    run();
    gateway_stop(gateway);
    finish(&a);
    ck_assert_int_eq(a.status, 202); // it is queued, and that is what the client hears
    while (!stopped)
        run();
    ck_assert_int_eq(fake.reply_queues_deleted, 1);
    tear_down();
}
END_TEST

START_TEST(a_drain_lets_submissions_finish)
{
    struct answer a;
    set_up_named("local", true);
    fake.hold_puts = true;
    start(&a, "POST", "/v1/jobs?wait=30", NULL, NULL, SPAN("picture"));
    while (requests_open() == 0)
        continue;
    gateway_stop(gateway);
    ck_assert(!stopped);
    fake_release();
    finish(&a);
    ck_assert_int_eq(a.status, 202);
    ck_assert_uint_eq(fake.sent_count, 1);
    while (!stopped)
        run();
    ck_assert_int_eq(fake.reply_queues_deleted, 0); // a named one stays
    tear_down();
}
END_TEST

START_TEST(models_page_and_health)
{
    set_up();
    struct answer a = get("/v1/models");
    ck_assert_int_eq(a.status, 200);
    ck_assert_uint_eq(json_array_size(json_object_get(a.json, "models")), 2);
    ck_assert_ptr_nonnull(strstr(a.body, "knows drawings"));
    a = get("/");
    ck_assert_int_eq(a.status, 200);
    ck_assert_ptr_nonnull(strstr(a.body, "<title>smelt</title>"));
    a = get("/readyz");
    ck_assert_int_eq(a.status, 200);
    tear_down();
}
END_TEST

SUITE_MAIN("gateway", a_picture_is_stored_then_queued_then_answered, forms_and_references,
           a_waiting_client_is_woken_by_the_reply, a_reply_may_overtake_the_answer_to_send_message,
           a_result_without_a_reply_is_found_when_the_wait_ends, looking_at_jobs,
           a_cancellation_is_the_result, a_look_waits_for_the_reply,
           who_waits_for_another_gateways_job_asks_there,
           a_gateway_that_is_gone_tells_nobody_and_the_store_does,
           another_gateway_that_asks_is_told,
           a_cancellation_is_told_to_the_gateway_that_has_the_clients,
           an_idempotency_key_of_another_gateways_job, an_idempotency_key_is_one_job,
           what_cannot_be_a_job_is_refused, when_store_or_queue_are_away_nothing_is_promised,
           before_bucket_and_queues_are_there, a_reply_queue_that_was_deleted_is_made_again,
           a_client_that_hangs_up_leaves_nothing_behind, a_drain_answers_those_who_wait,
           a_drain_lets_submissions_finish, models_page_and_health)
