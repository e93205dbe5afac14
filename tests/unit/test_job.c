#include "base/limits.h"
#include "job/job.h"
#include "job/reply_url.h"
#include "job/tell.h"

#include "base/trace.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>

static struct arena arena;
static struct job *jobs;
static size_t count;
static struct error error;

static enum err decode(const char *text)
{
    error = (struct error){0};
    return job_decode(span_from(text), &arena, &jobs, &count, &error);
}

#define RECORD(event, bucket, key, more)                                                           \
    "{\"eventVersion\":\"2.1\",\"eventName\":\"" event                                             \
    "\",\"eventTime\":\"2026-01-31T12:00:00.5Z\",\"s3\":{\"bucket\":{\"name\":\"" bucket           \
    "\"},\"object\":{\"key\":\"" key "\"" more "}}}"

START_TEST(native_message_comes_back_as_it_was_written)
{
    struct job job = {.id = "a-B_9.z",
                      .model = "demo",
                      .bucket = "smelt",
                      .key = "inbox/ä \"x\"",
                      .reply_to = "http://127.0.0.1:9324/000000000000/smelt-replies-1",
                      .submitted_ms = 1769860800123,
                      .expires_ms = 1769860860000,
                      .repeated = true};
    AUTO_BUF struct buf text = {0};
    job_encode(&job, &text);
    ck_assert_int_eq(decode(text.data), OK);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(jobs->kind, JOB_NATIVE);
    ck_assert_str_eq(jobs->id, job.id);
    ck_assert_str_eq(jobs->model, job.model);
    ck_assert_str_eq(jobs->bucket, job.bucket);
    ck_assert_str_eq(jobs->key, job.key);
    ck_assert_str_eq(jobs->reply_to, job.reply_to);
    ck_assert_int_eq(jobs->submitted_ms, job.submitted_ms);
    ck_assert_int_eq(jobs->expires_ms, job.expires_ms);
    ck_assert(jobs->repeated);
    arena_release(&arena);
}
END_TEST

START_TEST(times_are_read_as_text_or_milliseconds)
{
    static const struct {
        const char *json;
        int64_t ms; // -1: refused
    } cases[] = {
        {"null", 0},
        {"1769860800123", 1769860800123},
        {"\"1970-01-01T00:00:00Z\"", 0},
        {"\"2024-02-29T23:59:59.123456Z\"", 1709251199123},
        {"\"2000-03-01T00:00:00.1Z\"", 951868800100},
        {"\"9999-12-31T23:59:59.999Z\"", 253402300799999},
        {"\"2026-13-01T00:00:00Z\"", -1},
        {"\"2026-01-01 00:00:00Z\"", -1},
        {"\"2026-01-01T00:00:00\"", -1},
        {"\"2026\"", -1},
        {"\"\"", -1},
        {"-1", -1},
        {"1e300", -1},
        {"253402300800000", -1},
        {"true", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[300];
        snprintf(text, sizeof text,
                 "{\"v\":1,\"id\":\"x\",\"input\":{\"bucket\":\"bkt\",\"key\":\"k\"},"
                 "\"expires_at\":%s}",
                 cases[i].json);
        enum err err = decode(text);
        ck_assert_msg((err == OK) == (cases[i].ms >= 0), "%s", cases[i].json);
        if (err == OK)
            ck_assert_int_eq(jobs->expires_ms, cases[i].ms);
    }
    arena_release(&arena);
}
END_TEST

START_TEST(event_records_become_jobs_with_decoded_keys)
{
    ck_assert_int_eq(
        decode("{\"Records\":[" RECORD("ObjectCreated:Put", "pics", "a+b%2Fc%C3%A4.jpg",
                                       ",\"sequencer\":\"01\"") ","   //
               RECORD("ObjectRemoved:Delete", "pics", "gone", "") "," //
               RECORD("ObjectCreated:Copy", "pics", "two", "") "]}"),
        OK);
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(jobs[0].kind, JOB_S3_EVENT);
    ck_assert_str_eq(jobs[0].bucket, "pics");
    ck_assert_str_eq(jobs[0].key, "a b/cä.jpg");
    ck_assert_int_eq(jobs[0].submitted_ms, 1769860800500);
    ck_assert(job_id_valid(span_from(jobs[0].id)));
    ck_assert_str_eq(jobs[1].key, "two");
    arena_release(&arena);
}
END_TEST

START_TEST(a_bad_record_does_not_take_the_good_ones_along)
{
    ck_assert_int_eq(decode("{\"Records\":[" RECORD("ObjectCreated:Put", "pics", "a",
                                                    "") ","                                      //
                                                        "{\"eventName\":\"ObjectCreated:Put\"}," //
                            RECORD("ObjectCreated:Put", "pics", "%ff", "") ","                   //
                            RECORD("ObjectCreated:Put", "pics", "b", "") "]}"),
                     ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(error.msg, "a record without"));
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(jobs[0].kind, JOB_S3_EVENT);
    ck_assert_str_eq(jobs[0].key, "a");
    ck_assert_str_eq(jobs[1].key, "b");
    arena_release(&arena);
}
END_TEST

START_TEST(event_ids_are_stable_and_differ_by_write)
{
    static const char *const same =
        "{\"Records\":[" RECORD("ObjectCreated:Put", "pics", "a", ",\"sequencer\":\"01\"") "]}";
    ck_assert_int_eq(decode(same), OK);
    const char *id = jobs->id;
    ck_assert_int_eq(decode(same), OK);
    ck_assert_str_eq(jobs->id, id);
    ck_assert_int_eq(decode("{\"Records\":[" RECORD("ObjectCreated:Put", "pics", "a",
                                                    ",\"sequencer\":\"02\"") "]}"),
                     OK);
    ck_assert_str_ne(jobs->id, id);
    arena_release(&arena);
}
END_TEST

START_TEST(test_events_and_sns_wrapping)
{
    ck_assert_int_eq(
        decode("{\"Service\":\"Amazon S3\",\"Event\":\"s3:TestEvent\",\"Bucket\":\"b\"}"), OK);
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(decode("{\"Records\":[]}"), OK);
    ck_assert_uint_eq(count, 0);
    ck_assert_int_eq(decode("{\"Type\":\"Notification\",\"TopicArn\":\"arn:aws:sns:x\",\"Message\":"
                            "\"{\\\"ImagePath\\\":\\\"s3://pics/a/b.png\\\",\\\"ImageId\\\":7}\"}"),
                     OK);
    ck_assert_uint_eq(count, 1);
    ck_assert_str_eq(jobs->id, "7");
    ck_assert_str_eq(jobs->key, "a/b.png");
    // wrapped twice: not ours
    ck_assert_int_eq(decode("{\"TopicArn\":\"a\",\"Message\":\"{\\\"TopicArn\\\":\\\"a\\\","
                            "\\\"Message\\\":\\\"{}\\\"}\"}"),
                     ERR_FORMAT);
    arena_release(&arena);
}
END_TEST

START_TEST(plain_form_of_python_producers)
{
    ck_assert_int_eq(
        decode(" {\"ImagePath\": \"s3://my-bucket/dir/x y.jpg\", \"ImageId\": \"17\"}\n"), OK);
    ck_assert_int_eq(jobs->kind, JOB_PLAIN);
    ck_assert_str_eq(jobs->bucket, "my-bucket");
    ck_assert_str_eq(jobs->key, "dir/x y.jpg");
    ck_assert_str_eq(jobs->id, "17");
    ck_assert_str_eq(jobs->reply_to, "");
    arena_release(&arena);
}
END_TEST

START_TEST(what_is_not_a_job_is_refused_with_a_reason)
{
    static const struct {
        const char *text, *reason;
        const char *id; // the id that the owner may be told under
    } cases[] = {
        {"", "not JSON", ""},
        {"[]", "JSON object", ""},
        {"7", "not JSON", ""},
        {"{}", "not a job", ""},
        {"{\"v\":1}", "\"id\" is missing", ""},
        {"{\"v\":1,\"id\":\"a/b\"}", "cannot name a result", ""},
        {"{\"v\":1,\"id\":\"a\",\"id\":\"b\"}", "not JSON", ""},
        {"{\"v\":2,\"id\":\"a\"}", "must be 1", "a"},
        {"{\"v\":1,\"id\":\"a\"}", "\"input\"", "a"},
        {"{\"v\":1,\"id\":\"a\",\"model\":7}", "\"model\" must be a string", "a"},
        {"{\"v\":1,\"id\":\"a\",\"input\":{\"bucket\":\"a/../b\",\"key\":\"k\"}}", "bucket", "a"},
        {"{\"v\":1,\"id\":\"a\",\"input\":{\"bucket\":\"bkt\",\"key\":\"\"}}", "key has 0", "a"},
        {"{\"ImagePath\":\"http://x/y\",\"ImageId\":\"i\"}", "s3://bucket/key", "i"},
        {"{\"ImagePath\":\"s3://bkt\",\"ImageId\":\"i\"}", "key has 0", "i"},
        {"{\"ImagePath\":\"s3://bkt/k\"}", "\"ImageId\" is missing", ""},
        {"{\"Records\":[7]}", "eventName", ""},
        {"{\"Records\":[{\"eventName\":\"ObjectCreated:Put\"}]}", "a record without", ""},
        {"{\"Records\":[" RECORD("ObjectCreated:Put", "bkt", "%zz", "") "]}", "URL-encoded", ""},
        {"{\"Records\":[" RECORD("ObjectCreated:Put", "bkt", "%00", "") "]}", "UTF-8", ""},
        {"{\"Records\":[" RECORD("ObjectCreated:Put", "bkt", "%ff", "") "]}", "UTF-8", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_msg(decode(cases[i].text) == ERR_FORMAT, "%s", cases[i].text);
        ck_assert_msg(strstr(error.msg, cases[i].reason) != NULL, "%s: %s", cases[i].text,
                      error.msg);
        ck_assert_uint_eq(count, cases[i].id[0] != '\0');
        if (count == 1) {
            ck_assert_str_eq(jobs->id, cases[i].id);
            ck_assert_str_eq(jobs->key, "");
        }
    }
    arena_release(&arena);
}
END_TEST

START_TEST(limits_of_messages)
{
    AUTO_BUF struct buf text = {0};
    buf_add_text(&text, "{\"Records\":[");
    for (int i = 0; i <= JOB_RECORDS_MAX; i++)
        buf_add_text(&text, i == 0 ? "{}" : ",{}");
    buf_add_text(&text, "]}");
    ck_assert_int_eq(decode(text.data), ERR_FORMAT);
    ck_assert_ptr_nonnull(strstr(error.msg, "1001 records"));
    buf_clear(&text);
    for (int i = 0; i <= SQS_MESSAGE_BYTES_MAX; i++)
        buf_add_char(&text, '[');
    ck_assert_int_eq(decode(text.data), ERR_FORMAT);
    text.data[text.len = SQS_MESSAGE_BYTES_MAX] = '\0'; // deep nesting is refused, not followed
    ck_assert_int_eq(decode(text.data), ERR_FORMAT);
    arena_release(&arena);
}
END_TEST

START_TEST(ids)
{
    char id[37], longest[JOB_ID_BYTES_MAX + 2];
    job_id_make(id);
    ck_assert(job_id_valid(span_from(id)));
    memset(longest, 'x', sizeof longest);
    ck_assert(job_id_valid((struct span){longest, JOB_ID_BYTES_MAX}));
    ck_assert(!job_id_valid((struct span){longest, JOB_ID_BYTES_MAX + 1}));
    ck_assert(!job_id_valid((struct span){NULL, 0}));
    ck_assert(!job_id_valid(SPAN("a b")));
    ck_assert(!job_id_valid(SPAN("a\0b")));
}
END_TEST

static struct job_result sample_result(void)
{
    return (struct job_result){
        .id = "id-1",
        .status = JOB_SUCCEEDED,
        .model = "demo",
        .model_sha256 = "00ff",
        .precision = "int8",
        .preprocessing = "stretch nearest exact",
        .result_json =
            SPAN("{\"predictions\":[{\"label\":\"dog \\\"a\\\"\",\"index\":3,\"score\":0.97}]}"),
        .timing = {1.5, -1, 3.25, 4, 100},
        .bucket = "smelt",
        .key = "inbox/id-1",
        .attempts = 2,
        .submitted_ms = 1769860800123,
        .finished_ms = 1769860800456};
}

START_TEST(succeeded_result_comes_back_as_it_was_written)
{
    struct job_result in = sample_result(), out;
    AUTO_BUF struct buf text = {0};
    job_result_encode(&in, &text);
    ck_assert_int_eq(job_result_decode(buf_view(&text), &arena, &out, &error), OK);
    ck_assert_str_eq(out.id, in.id);
    ck_assert_int_eq(out.status, JOB_SUCCEEDED);
    ck_assert_str_eq(out.model, "demo");
    ck_assert_str_eq(out.model_sha256, "00ff");
    ck_assert_str_eq(out.precision, "int8");
    ck_assert_str_eq(out.preprocessing, "stretch nearest exact");
    ck_assert(span_equal(out.result_json, in.result_json));
    ck_assert_double_eq(out.timing.queued, 1.5);
    ck_assert_double_eq(out.timing.fetched, -1);
    ck_assert_double_eq(out.timing.total, 100);
    ck_assert_str_eq(out.bucket, "smelt");
    ck_assert_str_eq(out.key, "inbox/id-1");
    ck_assert_int_eq(out.attempts, 2);
    ck_assert_int_eq(out.submitted_ms, in.submitted_ms);
    ck_assert_int_eq(out.finished_ms, in.finished_ms);
    arena_release(&arena);
}
END_TEST

START_TEST(failed_result_keeps_its_reason_and_is_always_utf8)
{
    struct job_result in = sample_result(), out;
    in.status = JOB_FAILED;
    in.error_code = "format";
    in.error_message = "'\xc3' is half a letter";
    AUTO_BUF struct buf text = {0};
    job_result_encode(&in, &text);
    ck_assert_int_eq(job_result_decode(buf_view(&text), &arena, &out, &error), OK);
    ck_assert_int_eq(out.status, JOB_FAILED);
    ck_assert_str_eq(out.error_code, "format");
    ck_assert_str_eq(out.error_message, "'?' is half a letter");
    ck_assert_uint_eq(out.result_json.len, 0);
    arena_release(&arena);
}
END_TEST

START_TEST(statuses_have_names_and_unknown_ones_are_refused)
{
    for (int i = JOB_QUEUED; i <= JOB_CANCELLED; i++) {
        enum job_status status;
        ck_assert(job_status_parse(span_from(job_status_name((enum job_status)i)), &status));
        ck_assert_int_eq((int)status, i);
    }
    struct job_result out;
    ck_assert_int_eq(
        job_result_decode(SPAN("{\"id\":\"a\",\"status\":\"lost\"}"), &arena, &out, &error),
        ERR_FORMAT);
    ck_assert_int_eq(
        job_result_decode(SPAN("{\"id\":\"a\",\"status\":\"succeeded\"}"), &arena, &out, &error),
        ERR_FORMAT);
    ck_assert_int_eq(job_result_decode(SPAN("{\"status\":\"failed\"}"), &arena, &out, &error),
                     ERR_FORMAT);
    ck_assert_int_eq(job_result_decode(SPAN("nonsense"), &arena, &out, &error), ERR_FORMAT);
    arena_release(&arena);
}
END_TEST

START_TEST(trace_ids_are_taken_from_what_clients_send)
{
    char id[TRACE_ID_BYTES];
    ck_assert(
        trace_from_parent(SPAN("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), id));
    ck_assert_str_eq(id, "4bf92f3577b34da6a3ce929d0e0e4736");
    ck_assert(trace_from_amazon(
        SPAN("Self=1-67891234-12456789abcdef012345678;Root=1-5759e988-bd862e3fe1be46a994272793"),
        id));
    ck_assert_str_eq(id, "5759e988bd862e3fe1be46a994272793");
    static const char *const wrong[] = {
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "Root=1-5759e988-bd862e3fe1be46a99427279",
        "Root=2-5759e988-bd862e3fe1be46a994272793",
        "Root=1-5759e988-bd862e3fe1be46a9942727\"3",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ck_assert(!trace_from_parent(span_from(wrong[i]), id));
        ck_assert(!trace_from_amazon(span_from(wrong[i]), id));
    }
    trace_make(id);
    ck_assert(trace_valid(span_from(id)));
    char amazon[TRACE_AMAZON_BYTES], back[TRACE_ID_BYTES];
    trace_to_amazon("5759e988bd862e3fe1be46a994272793", amazon);
    ck_assert_str_eq(amazon, "Root=1-5759e988-bd862e3fe1be46a994272793");
    ck_assert(trace_from_amazon(span_from(amazon), back));
    ck_assert_str_eq(back, "5759e988bd862e3fe1be46a994272793");
}
END_TEST

START_TEST(a_question_comes_back_as_it_was_written)
{
    static const char *const others[] = {
        "",
        "{",
        "[]",
        "{\"v\":1,\"tell\":\"a b\",\"reply_to\":\"x\"}",
        "{\"v\":1,\"tell\":\"a\"}",
        "{\"v\":2,\"tell\":\"a\",\"reply_to\":\"x\"}",
        "{\"v\":1,\"tell\":\"a\",\"reply_to\":\"x\",\"expires_at\":\"soon\"}",
        "{\"id\":\"a\",\"status\":\"succeeded\",\"result\":{}}"};
    const struct tell tell = {"job-1", "smelt-replies-\"1", 1769860860123};
    struct tell again;
    AUTO_BUF struct buf text = {0};
    tell_encode(&tell, &text);
    ck_assert_int_eq(tell_decode(buf_view(&text), &arena, &again, &error), OK);
    ck_assert_str_eq(again.id, tell.id);
    ck_assert_str_eq(again.reply_to, tell.reply_to);
    ck_assert_int_eq(again.expires_ms, tell.expires_ms);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        ck_assert_int_ne(tell_decode(span_from(others[i]), &arena, &again, &error), OK);
    arena_release(&arena);
}
END_TEST

START_TEST(only_reply_queues_are_written_to)
{
    static const struct {
        const char *reply_to, *url; // NULL: refused
    } cases[] = {{"http://evil:1/x/smelt-replies-1", "https://sqs/1/smelt-replies-1"},
                 {"smelt-replies-1", "https://sqs/1/smelt-replies-1"},
                 {"smelt-jobs", NULL},
                 {"", NULL},
                 {"http://x/smelt-replies-1?a", NULL},
                 {"http://smelt-replies-/", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF struct buf url = {0};
        ck_assert_int_eq(reply_url("https://sqs/1/smelt-jobs", cases[i].reply_to, &url),
                         cases[i].url != NULL);
        if (cases[i].url != NULL)
            ck_assert_str_eq(url.data, cases[i].url);
    }
    AUTO_BUF struct buf url = {0};
    ck_assert(!reply_url("no URL", "smelt-replies-1", &url));
}
END_TEST

START_TEST(buckets_are_allowed_by_name_or_beginning)
{
    ck_assert(job_bucket_allowed(NULL, "smelt", "smelt"));
    ck_assert(!job_bucket_allowed(NULL, "smelt", "photos"));
    ck_assert(!job_bucket_allowed("", "smelt", "smelt2"));
    ck_assert(job_bucket_allowed("a, photos", "smelt", "photos"));
    ck_assert(!job_bucket_allowed("a,photos", "smelt", "photos2"));
    ck_assert(job_bucket_allowed("scans-*", "smelt", "scans-2026"));
    ck_assert(!job_bucket_allowed("scans-*", "smelt", "scans"));
    ck_assert(job_bucket_allowed("*", "smelt", "anything"));
}
END_TEST

START_TEST(a_dead_letter_is_outlived_by_a_later_message_only)
{
    AUTO_BUF struct buf text = {0};
    struct job_result back;
    struct job_result r = {.id = "a",
                           .status = JOB_FAILED,
                           .model = "m",
                           .error_code = "crashed",
                           .error_message = "why",
                           .attempts = 3,
                           .dead_letter = {"q-dlq", "m-1", 5000}};
    job_result_encode(&r, &text);
    ck_assert_msg(job_result_decode(buf_view(&text), &arena, &back, &error) == OK, "%s", error.msg);
    ck_assert_str_eq(back.dead_letter.queue, "q-dlq");
    ck_assert_str_eq(back.dead_letter.message_id, "m-1");
    ck_assert_int_eq(back.dead_letter.sent_ms, 5000);
    ck_assert(!job_result_is_outlived(&back, "m-1", 5000, 3)); // itself
    ck_assert(!job_result_is_outlived(&back, "m-1", 5000, 4));
    ck_assert(job_result_is_outlived(&back, "m-1", 5000, 1));  // its receives count anew
    ck_assert(job_result_is_outlived(&back, "m-1", 6000, 3));  // or its time does
    ck_assert(job_result_is_outlived(&back, "m-2", 6000, 1));  // or it is a new message
    ck_assert(!job_result_is_outlived(&back, "m-2", 4000, 1)); // an older twin is no redrive
    r.dead_letter = (struct job_dead_letter){0};
    buf_clear(&text);
    job_result_encode(&r, &text);
    ck_assert_int_eq(job_result_decode(buf_view(&text), &arena, &back, &error), OK);
    ck_assert(!job_result_is_outlived(&back, "m-2", 9000, 1)); // no dead letter
}
END_TEST

SUITE_MAIN("job", trace_ids_are_taken_from_what_clients_send,
           a_question_comes_back_as_it_was_written, only_reply_queues_are_written_to,
           buckets_are_allowed_by_name_or_beginning,
           a_dead_letter_is_outlived_by_a_later_message_only,
           native_message_comes_back_as_it_was_written, times_are_read_as_text_or_milliseconds,
           event_records_become_jobs_with_decoded_keys,
           a_bad_record_does_not_take_the_good_ones_along, event_ids_are_stable_and_differ_by_write,
           test_events_and_sns_wrapping, plain_form_of_python_producers,
           what_is_not_a_job_is_refused_with_a_reason, limits_of_messages, ids,
           succeeded_result_comes_back_as_it_was_written,
           failed_result_keeps_its_reason_and_is_always_utf8,
           statuses_have_names_and_unknown_ones_are_refused)
