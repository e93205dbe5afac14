// PeekMessages: every state, pages, and nothing changes.
#include "call_rig.h"
#include "suite.h"

static void make(int count)
{
    char body[200];
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"q\"}");
    for (int i = 0; i < count; i++) {
        snprintf(body, sizeof body, "{\"QueueUrl\":\"q\",\"MessageBody\":\"m%03d\"%s}", i,
                 i % 3 == 2 ? ",\"DelaySeconds\":60" : "");
        json_call(ACTION_SEND, body);
        ck_assert_int_eq(call.fault.code, SQS_OK);
    }
}

// Bodies of a page, joined; *token gets NextToken ("" none).
static size_t page(const char *token_in, int max, char *bodies, size_t bodies_size, char token[200])
{
    char request[400];
    size_t count = 0, len = 0, i;
    snprintf(request, sizeof request, "{\"QueueUrl\":\"q\",\"MaxResults\":%d%s%s%s}", max,
             token_in[0] != '\0' ? ",\"NextToken\":\"" : "", token_in,
             token_in[0] != '\0' ? "\"" : "");
    json_t *root = json_loads(json_call(ACTION_PEEK, request), 0, NULL), *message;
    ck_assert_msg(call.fault.code == SQS_OK, "%s", call.fault.message);
    bodies[0] = '\0';
    json_array_foreach(json_object_get(root, "Messages"), i, message)
    {
        len += (size_t)snprintf(bodies + len, bodies_size - len, "%s ",
                                json_string_value(json_object_get(message, "Body")));
        ck_assert_ptr_null(json_object_get(message, "ReceiptHandle"));
        count++;
    }
    const char *next = json_string_value(json_object_get(root, "NextToken"));
    snprintf(token, 200, "%s", next != NULL ? next : "");
    json_decref(root);
    return count;
}

START_TEST(nothing_changes)
{
    start();
    make(4);
    json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"q\"}");
    uint64_t next = journal_next_sequence(queues_journal(r.queues));
    for (int i = 0; i < 3; i++) {
        const char *text = json_call(ACTION_PEEK, "{\"QueueUrl\":\"q\"}");
        must_say(text, "\"ApproximateReceiveCount\":\"1\"");
        must_say(text, "\"State\":\"inflight\",\"VisibleTimestamp\":");
        must_say(text, "\"State\":\"visible\"}");
        must_say(text, "\"State\":\"delayed\",\"VisibleTimestamp\":");
        ck_assert_uint_eq(call.wait_for, 0);
    }
    ck_assert_uint_eq(journal_next_sequence(queues_journal(r.queues)), next);
    must_say(json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"q\",\"AttributeNames\":[\"All\"]}"),
             "\"ApproximateReceiveCount\":\"1\"");
    must_say(query_call("Action=PeekMessages&QueueUrl=q&MaxResults=1"),
             "<PeekMessagesResponse"); // the other protocol
    stop();
}
END_TEST

START_TEST(pages_follow_each_other)
{
    char bodies[1000], token[200] = "";
    start();
    make(7);
    ck_assert_uint_eq(page("", 3, bodies, sizeof bodies, token), 3);
    ck_assert_str_eq(bodies, "m000 m001 m002 ");
    ck_assert_uint_eq(page(token, 3, bodies, sizeof bodies, token), 3);
    ck_assert_str_eq(bodies, "m003 m004 m005 ");
    ck_assert_uint_eq(page(token, 3, bodies, sizeof bodies, token), 1);
    ck_assert_str_eq(bodies, "m006 ");
    ck_assert_str_eq(token, "");
    ck_assert_uint_eq(page("", 7, bodies, sizeof bodies, token), 7);
    ck_assert_str_eq(token, "");
    stop();
}
END_TEST

START_TEST(a_page_begins_behind_a_message_that_has_gone)
{
    char bodies[1000], token[200] = "";
    start();
    make(9);
    ck_assert_uint_eq(page("", 2, bodies, sizeof bodies, token), 2);
    for (int i = 0; i < 3; i++) { // m000, m001, m003: the second is where the page ended
        char request[400];
        const char *reply = json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"q\"}");
        snprintf(request, sizeof request, "{\"QueueUrl\":\"q\",\"ReceiptHandle\":\"%s\"}",
                 string_of(reply, "ReceiptHandle"));
        json_call(ACTION_DELETE_MESSAGE, request);
        ck_assert_int_eq(call.fault.code, SQS_OK);
    }
    json_call(ACTION_SEND, "{\"QueueUrl\":\"q\",\"MessageBody\":\"new\"}"); // in a place set free
    ck_assert_uint_eq(page(token, 3, bodies, sizeof bodies, token), 3);
    ck_assert_str_eq(bodies, "m002 m004 m005 ");
    ck_assert_uint_eq(page(token, 9, bodies, sizeof bodies, token), 4);
    ck_assert_str_eq(bodies, "m006 m007 m008 new ");
    stop();
}
END_TEST

START_TEST(what_it_refuses)
{
    start();
    make(1);
    json_fault(ACTION_PEEK, "{}", SQS_MISSING_PARAMETER,
               "The request must contain the parameter QueueUrl.");
    json_call(ACTION_PEEK, "{\"QueueUrl\":\"none\"}");
    ck_assert_int_eq(call.fault.code, SQS_QUEUE_DOES_NOT_EXIST);
    static const char *const wrong[] = {"\"MaxResults\":0", "\"MaxResults\":101",
                                        "\"NextToken\":\"!\"", "\"NextToken\":\"eA==\"",
                                        "\"NextToken\":\"MQ==\""};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char request[200];
        snprintf(request, sizeof request, "{\"QueueUrl\":\"q\",%s}", wrong[i]);
        json_call(ACTION_PEEK, request);
        ck_assert_msg(call.fault.code == SQS_INVALID_PARAMETER ||
                          call.fault.code == SQS_INVALID_ATTRIBUTE_VALUE,
                      "%s: %d", wrong[i], call.fault.code);
    }
    stop();
}
END_TEST

START_TEST(invented_tokens_do_no_harm)
{
    static const char *const tokens[] = {"0.0.0", "4294967295.18446744073709551615.1",
                                         "1.1.-9223372036854775808", "99999.3.1700000000000"};
    start();
    make(5);
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        AUTO_BUF struct buf token = {0}, request = {0};
        base64_encode(span_from(tokens[i]), &token);
        buf_printf(&request, "{\"QueueUrl\":\"q\",\"NextToken\":\"%s\"}", token.data);
        json_call(ACTION_PEEK, request.data);
        ck_assert_int_eq(call.fault.code, SQS_OK);
    }
    stop();
}
END_TEST

SUITE_MAIN("peek", nothing_changes, pages_follow_each_other,
           a_page_begins_behind_a_message_that_has_gone, what_it_refuses,
           invented_tokens_do_no_harm)
