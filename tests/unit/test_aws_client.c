// The SQS and S3 clients against a scripted service in the same loop, which checks their
// signatures.
#include "aws/keys_internal.h"
#include "aws/s3_client.h"
#include "aws/sigv4.h"
#include "aws/sqs_client.h"
#include "base/clock.h"
#include "base/digest.h"
#include "http/server.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>

struct reply {
    int status;
    const char *body;
    struct http_header header;
    int64_t clock_ms; // 0: now; else the service's clock, and the signature is checked against it
    bool park;
};

static struct loop *loop;
static struct http_server *server;
static struct http_client *http;
static struct aws_client *client;
static struct keyring *keyring;
static const char *service;
static char endpoint[80];
static struct reply script[200];
static int script_len, requests, finished, wanted;
static char last_request[4096]; // "METHOD path?query", headers, body
static enum sigv4_verdict last_verdict;

static enum http_body on_head(void *ctx, struct http_request *r)
{
    (void)ctx;
    (void)r;
    return HTTP_BODY_BUFFER;
}

static void remember(const struct http_request *r)
{
    AUTO_BUF struct buf out = {0};
    buf_printf(&out, "%s %.*s\n", r->method, (int)r->target_path.len, r->target_path.data);
    for (size_t i = 0; i < r->header_count; i++)
        buf_printf(&out, "%.*s: %.*s\n", (int)r->headers[i].name.len, r->headers[i].name.data,
                   (int)r->headers[i].value.len, r->headers[i].value.data);
    buf_add_char(&out, '\n');
    buf_add_span(&out, r->body);
    snprintf(last_request, sizeof last_request, "%s", out.data);
}

static void on_request(void *ctx, struct http_request *r)
{
    struct sigv4_identity identity;
    const char *message;
    uint8_t hash[SHA256_BYTES];
    char hex[65], date[CLOCK_ISO_BYTES];
    (void)ctx;
    ck_assert_int_lt(requests, script_len);
    const struct reply *reply = &script[requests++];
    remember(r);
    digest_sha256(r->body, hash);
    hex_encode(hash, sizeof hash, hex);
    struct sigv4_request request = {.method = span_from(r->method),
                                    .path = r->target_path,
                                    .query = r->query,
                                    .headers = r->headers,
                                    .header_count = r->header_count,
                                    .payload_hash = SPAN("")};
    request.payload_hash = span_from(hex);
    int64_t now = reply->clock_ms != 0 ? reply->clock_ms : clock_wall_ms();
    last_verdict = sigv4_verify(keyring, service, &request, now, &r->arena, &identity, &message);
    struct http_header headers[] = {{SPAN("Date"), span_from(clock_http_date(now, date))},
                                    reply->header};
    if (reply->park)
        return;
    size_t first = reply->clock_ms != 0 ? 0 : 1;
    size_t count = (reply->clock_ms != 0 ? 1u : 0u) + (reply->header.name.len > 0 ? 1u : 0u);
    http_reply(r, reply->status, headers + first, count, span_from(reply->body));
}

static void on_done(void *ctx, struct http_request *r)
{
    (void)ctx;
    (void)r;
}

static struct credentials test_credentials(void)
{
    struct credentials c = {.access_key = "AKID", .secret_key = "secret"};
    return c;
}

static void setup(const char *of_service, const char *prefix)
{
    struct http_server_config config = {.listen = "127.0.0.1:0", .body_limit_bytes = 1 << 20};
    struct http_handlers handlers = {
        .on_head = on_head, .on_request = on_request, .on_done = on_done};
    service = of_service;
    ck_assert_int_eq(loop_new(&loop, NULL), OK);
    ck_assert_int_eq(http_server_new(loop, &config, &handlers, &server, NULL), OK);
    ck_assert_int_eq(http_client_new(loop, NULL, &http, NULL), OK);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d%s", http_server_port(server), prefix);
    struct aws_client_config client_config = {.loop = loop,
                                              .http = http,
                                              .service = service,
                                              .endpoint = endpoint,
                                              .region = "eu-central-1",
                                              .credentials = test_credentials()};
    struct error error;
    ck_assert_msg(aws_client_new(&client_config, &client, &error) == OK, "%s", error.msg);
    keyring = keyring_new_single("AKID", "secret");
}

static void teardown(void)
{
    aws_client_free(client);
    http_client_free(http);
    http_server_free(server);
    keyring_free(keyring);
    loop_free(loop);
}

static void will_reply(int status, const char *body)
{
    script[script_len++] = (struct reply){.status = status, .body = body};
}

static void run_until(int count)
{
    wanted = finished + count;
    ck_assert_int_eq(loop_run(loop, NULL), OK);
}

struct outcome {
    int calls;
    enum err err;
    char code[96], message[500], url[300], text[2000];
    size_t count;
    int status;
};

static void note(struct outcome *o, const struct aws_result *r)
{
    o->calls++;
    o->err = r->err;
    o->status = r->status;
    snprintf(o->code, sizeof o->code, "%s", r->code);
    snprintf(o->message, sizeof o->message, "%s", r->err != OK ? r->error.msg : "");
    if (++finished == wanted)
        loop_stop(loop);
}

static void got_url(void *ctx, const struct aws_result *r, const char *url)
{
    struct outcome *o = ctx;
    snprintf(o->url, sizeof o->url, "%s", url);
    note(o, r);
}

static void got_messages(void *ctx, const struct aws_result *r, const struct sqs_message *m,
                         size_t n)
{
    struct outcome *o = ctx;
    AUTO_BUF struct buf text = {0};
    o->count = n;
    for (size_t i = 0; i < n; i++)
        buf_printf(&text, "%.*s|%.*s|%.*s|%d|%lld\n", (int)m[i].id.len, m[i].id.data,
                   (int)m[i].receipt_handle.len, m[i].receipt_handle.data, (int)m[i].body.len,
                   m[i].body.data, m[i].receive_count, (long long)m[i].sent_ms);
    snprintf(o->text, sizeof o->text, "%s", n > 0 ? text.data : "");
    note(o, r);
}

static void got_entries(void *ctx, const struct aws_result *r, const struct sqs_entry_result *e,
                        size_t n)
{
    struct outcome *o = ctx;
    AUTO_BUF struct buf text = {0};
    o->count = n;
    for (size_t i = 0; i < n; i++)
        buf_printf(&text, "%d,%d,%s,%s,%s\n", e[i].ok, e[i].sender_fault, e[i].code, e[i].message,
                   e[i].message_id);
    snprintf(o->text, sizeof o->text, "%s", n > 0 ? text.data : "");
    note(o, r);
}

static void got_done(void *ctx, const struct aws_result *r)
{
    note(ctx, r);
}

static void got_attributes(void *ctx, const struct aws_result *r, const struct http_call_header *a,
                           size_t n)
{
    struct outcome *o = ctx;
    o->count = n;
    snprintf(o->text, sizeof o->text, "%s=%s", n > 0 ? a[0].name : "", n > 0 ? a[0].value : "");
    note(o, r);
}

static void got_object(void *ctx, const struct aws_result *r, const struct s3_object *object)
{
    struct outcome *o = ctx;
    snprintf(o->text, sizeof o->text, "%.*s|%llu|%s|%s", (int)object->body.len, object->body.data,
             (unsigned long long)object->content_length, object->etag, object->content_type);
    note(o, r);
}

static bool sent(const char *text)
{
    return strstr(last_request, text) != NULL;
}

START_TEST(sqs_calls_and_answers)
{
    struct outcome o = {0};
    setup("sqs", "");
    will_reply(200, "{\"QueueUrl\":\"http://other:1/000/q\"}");
    struct http_call_header attributes[] = {{"VisibilityTimeout", "60"}, {"DelaySeconds", "0"}};
    sqs_create_queue(client, "a \"q\"", attributes, 2, got_url, &o);
    ck_assert_int_eq(o.calls, 0);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    ck_assert_str_eq(o.url, "http://other:1/000/q");
    ck_assert_int_eq(last_verdict, SIGV4_OK);
    ck_assert(sent("POST /\n") && sent("X-Amz-Target: AmazonSQS.CreateQueue\n"));
    ck_assert(sent("Content-Type: application/x-amz-json-1.0\n"));
    ck_assert(sent("\n{\"QueueName\":\"a \\\"q\\\"\",\"Attributes\":{\"VisibilityTimeout\":\"60\","
                   "\"DelaySeconds\":\"0\"}}"));

    will_reply(200, "{\"MessageId\":\"id-1\",\"MD5OfMessageBody\":\"x\"}");
    sqs_send(client, "http://other:1/000/q", SPAN("body\n\xc3\xa9"), 5, got_url, &o);
    run_until(1);
    ck_assert_str_eq(o.url, "id-1");
    ck_assert(sent("{\"QueueUrl\":\"http://other:1/000/q\",\"MessageBody\":\"body\\n\xc3\xa9\","
                   "\"DelaySeconds\":5}"));

    will_reply(200, "{}");
    sqs_receive(client, "u", 10, 20, -1, got_messages, &o);
    run_until(1);
    ck_assert(o.err == OK && o.count == 0);
    ck_assert(sent("\"MaxNumberOfMessages\":10,\"WaitTimeSeconds\":20,\"AttributeNames\":["));
    will_reply(200,
               "{\"Messages\":[{\"MessageId\":\"m1\",\"ReceiptHandle\":\"r1\",\"Body\":\"hello\","
               "\"MD5OfBody\":\"5d41402abc4b2a76b9719d911017c592\",\"Attributes\":"
               "{\"ApproximateReceiveCount\":\"3\",\"SentTimestamp\":\"1700000000123\"}},"
               "{\"MessageId\":\"m2\",\"ReceiptHandle\":\"r2\",\"Body\":\"\"}]}");
    sqs_receive(client, "u", 2, 0, 30, got_messages, &o);
    run_until(1);
    ck_assert_str_eq(o.text, "m1|r1|hello|3|1700000000123\nm2|r2||0|0\n");
    ck_assert(sent("\"VisibilityTimeout\":30"));
    will_reply(200,
               "{\"Messages\":[{\"MessageId\":\"m1\",\"ReceiptHandle\":\"r1\",\"Body\":\"hellO\","
               "\"MD5OfBody\":\"5d41402abc4b2a76b9719d911017c592\"}]}");
    sqs_receive(client, "u", 2, 0, 30, got_messages, &o);
    run_until(1);
    ck_assert(o.err == ERR_FORMAT && o.count == 0);

    will_reply(200, ""); // actions without output answer nothing
    sqs_delete_queue(client, "u", got_done, &o);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    will_reply(200, "{\"Attributes\":{\"QueueArn\":\"arn:x\",\"odd\":5}}");
    sqs_get_attributes(client, "u", got_attributes, &o);
    run_until(1);
    ck_assert(o.count == 1 && strcmp(o.text, "QueueArn=arn:x") == 0);
    will_reply(200, "[\"not an object\"]");
    sqs_get_queue_url(client, "q", got_url, &o);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_FORMAT);
    will_reply(200, "{\"Other\":1}");
    sqs_get_queue_url(client, "q", got_url, &o);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_FORMAT);
    sqs_send(client, "u", SPAN("\xff"), 0, got_url, &o); // never sent
    ck_assert_int_eq(o.calls, 9);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_ARGUMENT);
    teardown();
}
END_TEST

START_TEST(sqs_batches)
{
    struct outcome o = {0};
    struct span bodies[] = {SPAN("a"), SPAN("b"), SPAN("c")};
    int seconds[] = {0, 30, 60};
    setup("sqs", "");
    will_reply(
        200,
        "{\"Successful\":[{\"Id\":\"2\",\"MessageId\":\"id-c\"},{\"Id\":\"77\"},{\"Id\":null}],"
        "\"Failed\":[{\"Id\":\"0\",\"Code\":\"InternalError\",\"Message\":\"later\","
        "\"SenderFault\":false}]}");
    sqs_send_batch(client, "u", bodies, 3, got_entries, &o);
    run_until(1);
    ck_assert_str_eq(o.text,
                     "0,0,InternalError,later,\n0,0,,not named in the answer,\n1,0,,,id-c\n");
    ck_assert(sent("\"Entries\":[{\"Id\":\"0\",\"MessageBody\":\"a\"},{\"Id\":\"1\","
                   "\"MessageBody\":\"b\"},{\"Id\":\"2\",\"MessageBody\":\"c\"}]}"));
    will_reply(200,
               "{\"Successful\":[{\"Id\":\"0\"},{\"Id\":\"1\"}],\"Failed\":[{\"Id\":\"2\","
               "\"Code\":\"ReceiptHandleIsInvalid\",\"Message\":\"no\",\"SenderFault\":true}]}");
    sqs_delete_batch(client, "u", bodies, 3, got_entries, &o);
    run_until(1);
    ck_assert_str_eq(o.text, "1,0,,,\n1,0,,,\n0,1,ReceiptHandleIsInvalid,no,\n");
    will_reply(200, "{}");
    sqs_visibility_batch(client, "u", bodies, seconds, 3, got_entries, &o);
    run_until(1);
    ck_assert(sent("{\"Id\":\"1\",\"ReceiptHandle\":\"b\",\"VisibilityTimeout\":30}"));
    will_reply(400, "{\"__type\":\"com.amazonaws.sqs#QueueDoesNotExist\",\"message\":\"gone\"}");
    sqs_delete_batch(client, "u", bodies, 3, got_entries, &o);
    run_until(1);
    ck_assert(o.err == ERR_NOT_FOUND && o.count == 0);
    teardown();
}
END_TEST

START_TEST(errors_are_understood)
{
    static const struct {
        int status;
        const char *body, *code, *says;
        enum err err;
    } cases[] = {
        {400, "{\"__type\":\"com.amazonaws.sqs#QueueDoesNotExist\",\"message\":\"no queue\"}",
         "QueueDoesNotExist", "no queue", ERR_NOT_FOUND},
        {404, "{\"__type\":\"com.amazonaws.sqs#ReceiptHandleIsInvalid\",\"Message\":\"x\\u0007y\"}",
         "ReceiptHandleIsInvalid", "x y", ERR_NOT_FOUND},
        {403,
         "<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>not &lt;you&gt;"
         "</Message></Error>",
         "AccessDenied", "not <you>", ERR_DENIED},
        {400,
         "  <ErrorResponse><Error><Type>Sender</Type><Code>InvalidParameterValue</Code>"
         "<Message>bad</Message></Error></ErrorResponse>",
         "InvalidParameterValue", "bad", ERR_ARGUMENT},
        {400, "<!DOCTYPE x [<!ENTITY e \"boom\">]><Error><Code>&e;</Code></Error>", "", "400",
         ERR_ARGUMENT},
        {400, "<Error><Code>Unclosed", "", "400", ERR_ARGUMENT},
        {400, "{\"__type\":", "", "400", ERR_ARGUMENT},
        {404, "plain words", "", "404", ERR_NOT_FOUND},
        {409, "<Error><Code>BucketAlreadyExists</Code></Error>", "BucketAlreadyExists", "409",
         ERR_EXISTS},
        {413, "", "", "413", ERR_LIMIT},
        {501, "", "", "501", ERR_UNSUPPORTED},
        {304, "", "", "304", ERR_ARGUMENT},
    };
    setup("sqs", "");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outcome o = {0};
        will_reply(cases[i].status, cases[i].body);
        sqs_delete_queue(client, "u", got_done, &o);
        run_until(1);
        ck_assert_msg(o.err == cases[i].err, "%s: %d", cases[i].body, o.err);
        ck_assert_str_eq(o.code, cases[i].code);
        ck_assert_msg(strstr(o.message, cases[i].says) != NULL, "%s", o.message);
        ck_assert_int_eq(o.status, cases[i].status);
    }
    teardown();
}
END_TEST

START_TEST(passing_trouble_is_tried_again)
{
    struct outcome o = {0};
    setup("sqs", "");
    will_reply(503, "");
    will_reply(500, "<html>oops");
    script[script_len++] =
        (struct reply){.status = 429, .body = "", .header = {SPAN("Retry-After"), SPAN("0")}};
    will_reply(200, "{}");
    sqs_delete_queue(client, "u", got_done, &o);
    run_until(1);
    ck_assert(o.calls == 1 && o.err == OK);
    ck_assert_int_eq(requests, 4);
    ck_assert_int_eq(last_verdict, SIGV4_OK);

    for (int i = 0; i < 4; i++) // four attempts, then the last error
        will_reply(403, "{\"__type\":\"com.amazonaws.sqs#RequestThrottled\"}");
    sqs_delete_queue(client, "u", got_done, &o);
    run_until(1);
    ck_assert(o.calls == 2 && o.err == ERR_THROTTLED);
    ck_assert_int_eq(requests, 8);

    will_reply(503, ""); // a long poll: twice at most
    will_reply(503, "");
    sqs_receive(client, "u", 1, 20, 30, got_messages, &o);
    run_until(1);
    ck_assert(o.calls == 3 && o.err == ERR_UNAVAILABLE);
    ck_assert_int_eq(requests, 10);

    will_reply(400, "{\"__type\":\"x#InvalidAttributeName\"}"); // is no passing trouble
    sqs_delete_queue(client, "u", got_done, &o);
    run_until(1);
    ck_assert(o.calls == 4 && o.err == ERR_ARGUMENT);
    ck_assert_int_eq(requests, 11);
    teardown();
}
END_TEST

START_TEST(a_service_that_is_down_sees_no_flood)
{
    enum { CALLS = 60, TOKENS = 500, OF_A_RETRY = 5 };
    struct outcome o = {0};
    setup("sqs", "");
    for (int i = 0; i < CALLS + TOKENS / OF_A_RETRY; i++)
        will_reply(503, "");
    for (int i = 0; i < CALLS; i++) // each would try three times more
        sqs_delete_queue(client, "u", got_done, &o);
    run_until(CALLS);
    ck_assert_int_eq(o.err, ERR_UNAVAILABLE);
    ck_assert_int_eq(requests, CALLS + TOKENS / OF_A_RETRY);
    for (int i = 0; i < OF_A_RETRY; i++)
        will_reply(200, "{}");
    will_reply(503, ""); // so many successes are worth one retry
    will_reply(200, "{}");
    for (int i = 0; i <= OF_A_RETRY; i++) {
        sqs_delete_queue(client, "u", got_done, &o);
        run_until(1);
        ck_assert_int_eq(o.err, OK);
    }
    teardown();
}
END_TEST

START_TEST(a_trace_id_goes_with_the_next_call)
{
    struct outcome o = {0};
    setup("sqs", "");
    for (int i = 0; i < 4; i++)
        will_reply(i == 0 ? 503 : 200, "{}");
    aws_client_trace(client, "5759e988bd862e3fe1be46a994272793");
    for (int i = 0; i < 3; i++) {
        sqs_delete_queue(client, "u", got_done, &o);
        run_until(1);
        ck_assert(o.err == OK && last_verdict == SIGV4_OK);
        const char *sent = "X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793\n";
        ck_assert_int_eq(strstr(last_request, sent) != NULL, i == 0); // its second attempt's, too
        aws_client_trace(client, i == 0 ? "no trace" : "");
    }
    teardown();
}
END_TEST

START_TEST(clock_is_corrected_from_the_service)
{
    struct outcome o = {0};
    int64_t theirs = clock_wall_ms() + 3600 * 1000;
    setup("sqs", "");
    script[script_len++] =
        (struct reply){.status = 403,
                       .body = "{\"__type\":\"com.amazon.coral.service#InvalidSignatureException\","
                               "\"message\":\"Signature expired\"}",
                       .clock_ms = theirs};
    script[script_len++] = (struct reply){.status = 200, .body = "{}", .clock_ms = theirs};
    script[script_len++] = (struct reply){.status = 200, .body = "{}", .clock_ms = theirs};
    sqs_delete_queue(client, "u", got_done, &o);
    run_until(1);
    ck_assert(o.calls == 1 && o.err == OK);
    ck_assert_int_eq(last_verdict, SIGV4_OK);
    sqs_delete_queue(client, "u", got_done, &o); // remembered
    run_until(1);
    ck_assert_int_eq(requests, 3);
    ck_assert_int_eq(last_verdict, SIGV4_OK);
    // a wrong key stays wrong: no second attempt
    script[script_len++] = (struct reply){
        .status = 403, .body = "{\"__type\":\"x#SignatureDoesNotMatch\"}", .clock_ms = theirs};
    sqs_delete_queue(client, "u", got_done, &o);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_DENIED);
    ck_assert_int_eq(requests, 4);
    teardown();
}
END_TEST

START_TEST(calls_are_cancelled_and_end_with_the_client)
{
    struct outcome flying = {0}, waiting = {0}, left = {0}, first = {0};
    setup("sqs", "");
    struct sqs_call *call = sqs_delete_queue(client, "u", got_done, &first);
    sqs_call_cancel(call);
    ck_assert(first.calls == 1 && first.err == ERR_CANCELLED);

    script[script_len++] = (struct reply){.park = true};
    script[script_len++] =
        (struct reply){.status = 503, .body = "", .header = {SPAN("Retry-After"), SPAN("20")}};
    will_reply(200, "{}");
    call = sqs_receive(client, "u", 1, 20, 30, got_messages, &flying);
    while (requests < 1) { // until the service has it
        struct timer tick = {0};
        loop_timer_set(loop, &tick, 0, (void (*)(void *))loop_stop, loop);
        ck_assert_int_eq(loop_run(loop, NULL), OK);
    }
    struct sqs_call *second = sqs_delete_queue(client, "u", got_done, &waiting);
    while (requests < 2) {
        struct timer tick = {0};
        loop_timer_set(loop, &tick, 0, (void (*)(void *))loop_stop, loop);
        ck_assert_int_eq(loop_run(loop, NULL), OK);
    }
    struct outcome third = {0};
    sqs_delete_queue(client, "u", got_done, &third);
    run_until(1); // the second is in its pause by now
    sqs_call_cancel(second);
    ck_assert(waiting.calls == 1 && waiting.err == ERR_CANCELLED);
    sqs_call_cancel(call);
    ck_assert(flying.calls == 1 && flying.err == ERR_CANCELLED && flying.count == 0);
    sqs_delete_queue(client, "u", got_done, &left);
    teardown();
    ck_assert(left.calls == 1 && left.err == ERR_CANCELLED);
}
END_TEST

START_TEST(s3_calls_and_answers)
{
    struct outcome o = {0};
    setup("s3", "/some/prefix/");
    script[script_len++] =
        (struct reply){.status = 200, .body = "", .header = {SPAN("ETag"), SPAN("\"abc\"")}};
    struct http_call_header metadata[] = {{"job", "1 2"}, {"empty", ""}};
    struct s3_put_options options = {.content_type = "image/png",
                                     .if_none_match = true,
                                     .metadata = metadata,
                                     .metadata_count = 2};
    s3_put(client, "bucket", "in box/\xc3\xa9+..//~", SPAN("bytes"), &options, got_object, &o);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    ck_assert_int_eq(last_verdict, SIGV4_OK);
    ck_assert_str_eq(o.text, "|0|\"abc\"|");
    ck_assert(sent("PUT /some/prefix/bucket/in%20box/%C3%A9%2B..//~\n"));
    ck_assert(sent("If-None-Match: *\n") && sent("x-amz-meta-job: 1 2\n") && sent("\n\nbytes"));

    uint8_t known[SHA256_BYTES];
    memset(known, 0xa5, sizeof known); // not that of "bytes": who says it is believed
    options = (struct s3_put_options){.body_sha256 = known};
    script[script_len++] = (struct reply){.status = 200, .body = ""};
    s3_put(client, "bucket", "k", SPAN("bytes"), &options, got_object, &o);
    run_until(1);
    ck_assert(sent("X-Amz-Content-Sha256: a5a5a5a5") && last_verdict == SIGV4_MISMATCH);

    will_reply(412, "<Error><Code>PreconditionFailed</Code><Message>is there</Message></Error>");
    s3_put(client, "bucket", "k", SPAN(""), NULL, got_object, &o);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_PRECONDITION);
    ck_assert_int_eq(last_verdict, SIGV4_OK);
    ck_assert(sent("Content-Type: application/octet-stream\n"));

    script[script_len++] = (struct reply){
        .status = 200, .body = "the picture", .header = {SPAN("Content-Type"), SPAN("image/png")}};
    s3_get(client, "bucket", "k", 11, got_object, &o);
    run_until(1);
    ck_assert_str_eq(o.text, "the picture|11||image/png");
    will_reply(200, "the picture");
    s3_get(client, "bucket", "k", 10, got_object, &o);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_LIMIT);
    will_reply(404, "<Error><Code>NoSuchKey</Code></Error>");
    s3_get(client, "bucket", "k", 10, got_object, &o);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_NOT_FOUND);
    ck_assert_str_eq(o.code, "NoSuchKey");
    will_reply(404, "body that a HEAD does not get");
    s3_head(client, "bucket", "k", got_object, &o);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_NOT_FOUND);
    will_reply(204, "");
    s3_delete(client, "bucket", "k", got_done, &o);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    will_reply(409, "<Error><Code>BucketAlreadyOwnedByYou</Code></Error>");
    s3_create_bucket(client, "bucket", got_done, &o);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    ck_assert(sent("<LocationConstraint>eu-central-1</LocationConstraint>"));
    will_reply(409, "<Error><Code>BucketAlreadyExists</Code></Error>");
    s3_create_bucket(client, "bucket", got_done, &o);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_EXISTS);
    s3_get(client, "a/b", "k", 10, got_object, &o);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_ARGUMENT);
    s3_get(client, "bucket", "", 10, got_object, &o);
    run_until(1);
    ck_assert_int_eq(o.err, ERR_ARGUMENT);
    teardown();
}
END_TEST

static enum err try_config(const char *of_service, const char *at, const char *region)
{
    struct aws_client_config config = {
        .loop = loop, .http = http, .service = of_service, .endpoint = at, .region = region};
    struct error error = {0};
    struct aws_client *made;
    enum err err = aws_client_new(&config, &made, &error);
    if (err == OK)
        aws_client_free(made);
    else
        ck_assert_uint_gt(strlen(error.msg), 10);
    return err;
}

START_TEST(endpoint_and_region)
{
    struct outcome o = {0};
    setup("sqs", "");
    ck_assert_int_eq(try_config("s3", NULL, NULL), OK); // Amazon's own
    ck_assert_int_eq(try_config("sqs", "ftp://x", NULL), ERR_ARGUMENT);
    ck_assert_int_eq(try_config("sqs", "http://x/?y", NULL), ERR_ARGUMENT);
    ck_assert_int_eq(try_config("sqs", NULL, "EU"), ERR_ARGUMENT);
    setenv("AWS_REGION", "no/where", 1);
    ck_assert_int_eq(try_config("sqs", NULL, NULL), ERR_ARGUMENT);
    setenv("AWS_REGION", "ap-south-1", 1);
    setenv("AWS_ENDPOINT_URL", "nonsense", 1);
    ck_assert_int_eq(try_config("s3", NULL, NULL), ERR_ARGUMENT);
    setenv("AWS_ENDPOINT_URL_SQS", endpoint, 1);
    aws_client_free(client);
    struct aws_client_config config = {
        .loop = loop, .http = http, .service = "sqs", .credentials = test_credentials()};
    ck_assert_int_eq(aws_client_new(&config, &client, NULL), OK);
    will_reply(200, "{}");
    sqs_delete_queue(client, "u", got_done, &o);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    ck_assert(sent("/ap-south-1/sqs/aws4_request"));
    teardown();
}
END_TEST

START_TEST(keys_that_expired_are_fetched_and_the_call_is_signed_again)
{
    struct outcome o = {0};
    struct keys *keys;
    char text[100];
    setup("sqs", "");
    snprintf(text, sizeof text, "%s/keys", endpoint);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", text, 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
    setenv("AWS_CONFIG_FILE", "/dev/null", 1);
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    const struct keys_config keys_config = {.loop = loop, .http = http};
    ck_assert_int_eq(keys_open(&keys_config, &keys, NULL), OK);
    aws_client_free(client);
    const struct aws_client_config config = {.loop = loop,
                                             .http = http,
                                             .service = service,
                                             .endpoint = endpoint,
                                             .region = "eu-central-1",
                                             .keys = keys};
    ck_assert_int_eq(aws_client_new(&config, &client, NULL), OK);
    will_reply(200, "{\"AccessKeyId\":\"OLD\",\"SecretAccessKey\":\"old\"}");
    will_reply(200, "{\"QueueUrl\":\"u\"}");
    sqs_get_queue_url(client, "q", got_url, &o);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    ck_assert(sent("Credential=OLD/"));
    ck_assert_int_eq(last_verdict, SIGV4_UNKNOWN_KEY);
    keys->fetched_ms -= 6000; // keys newer than 5 s are not what expired
    will_reply(403, "{\"__type\":\"ExpiredTokenException\",\"message\":\"old\"}");
    will_reply(200, "{\"AccessKeyId\":\"AKID\",\"SecretAccessKey\":\"secret\"}");
    will_reply(200, "{\"QueueUrl\":\"u\"}");
    sqs_get_queue_url(client, "q", got_url, &o);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    ck_assert_int_eq(requests, 5);
    ck_assert_int_eq(last_verdict, SIGV4_OK);
    will_reply(403, "{\"__type\":\"ExpiredTokenException\",\"message\":\"old\"}");
    sqs_get_queue_url(client, "q", got_url, &o); // new ones that are refused: that is the answer
    run_until(1);
    ck_assert_int_eq(o.err, ERR_DENIED);
    ck_assert_int_eq(requests, 6);
    aws_client_free(client);
    client = NULL;
    keys_close(keys);
    teardown();
}
END_TEST

START_TEST(a_bucket_in_another_region)
{
    struct outcome o = {0};
    setup("s3", "");
    script[script_len++] = (struct reply){
        .status = 301,
        .body = "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>",
        .header = {SPAN("x-amz-bucket-region"), SPAN("eu-west-1")}};
    will_reply(200, "there");
    s3_get(client, "far", "k", 1000, got_object, &o);
    run_until(1);
    ck_assert_int_eq(o.err, OK);
    ck_assert_int_eq(last_verdict, SIGV4_OK);
    ck_assert(sent("/eu-west-1/s3/aws4_request"));
    will_reply(200, "there"); // known from now on
    s3_get(client, "far", "k2", 1000, got_object, &o);
    run_until(1);
    ck_assert_int_eq(requests, 3);
    ck_assert(sent("/eu-west-1/s3/aws4_request"));
    will_reply(200, "here"); // others are where they were
    s3_get(client, "near", "k", 1000, got_object, &o);
    run_until(1);
    ck_assert(sent("/eu-central-1/s3/aws4_request"));
    will_reply(400, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>us-west-2</Region>"
                    "</Error>");
    will_reply(400, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>us-west-1</Region>"
                    "</Error>"); // once a call
    s3_get(client, "near", "k", 1000, got_object, &o);
    run_until(1);
    ck_assert_int_eq(requests, 6);
    ck_assert_int_eq(o.err, ERR_ARGUMENT);
    will_reply(400, "<Error><Code>InvalidArgument</Code><Region>us-west-1</Region></Error>");
    s3_get(client, "third", "k", 1000, got_object, &o);
    run_until(1);
    ck_assert_int_eq(requests, 7);
    teardown();
}
END_TEST

SUITE_MAIN("aws_client", a_bucket_in_another_region,
           keys_that_expired_are_fetched_and_the_call_is_signed_again, sqs_calls_and_answers,
           sqs_batches, errors_are_understood, passing_trouble_is_tried_again,
           a_service_that_is_down_sees_no_flood, a_trace_id_goes_with_the_next_call,
           clock_is_corrected_from_the_service, calls_are_cancelled_and_end_with_the_client,
           s3_calls_and_answers, endpoint_and_region)
