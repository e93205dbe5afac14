// Who may do what: policies on their own, and through the actions.
#include "call_rig.h"
#include "sqs/policy.h"
#include "suite.h"

#define QUEUE_A "arn:aws:sqs:eu-west-1:000000000000:a"

static struct policy_request request;

static void ask(const char *account, const char *user, const char *action)
{
    request = (struct policy_request){.account = account,
                                      .user = user,
                                      .action = action,
                                      .resource = QUEUE_A,
                                      .peer = "203.0.113.9"};
}

// members: of one statement, without Effect
static void decides(const char *members, enum policy_verdict expected)
{
    AUTO_BUF struct buf text = {0};
    struct fault f = {0};
    json_t *policy = NULL;
    buf_printf(&text, "{\"Statement\":[{\"Effect\":\"Allow\",%s}]}", members);
    ck_assert_msg(policy_parse(buf_view(&text), &policy, &f) == SQS_OK, "%s: %s", members,
                  f.message);
    ck_assert_msg(policy_decide(policy, &request) == expected, "%s", members);
    json_decref(policy);
}

#define ALL "\"Action\":\"sqs:*\",\"Resource\":\"*\""

START_TEST(principals)
{
    static const char *const bob[] = {
        "\"*\"", "{\"AWS\":\"*\"}", "{\"AWS\":\"111122223333\"}",
        "{\"AWS\":[\"444455556666\",\"arn:aws:iam::111122223333:root\"]}",
        "{\"AWS\":\"arn:aws:iam::111122223333:user/bob\"}"};
    static const char *const others[] = {
        "{\"AWS\":\"444455556666\"}", "{\"AWS\":\"arn:aws:iam::111122223333:user/eve\"}",
        "{\"AWS\":\"arn:aws:iam::444455556666:user/bob\"}", "{\"Service\":\"s3.amazonaws.com\"}",
        "{\"Federated\":\"*\"}"};
    char text[200];
    ask("111122223333", "bob", "SendMessage");
    for (size_t i = 0; i < sizeof bob / sizeof bob[0]; i++) {
        snprintf(text, sizeof text, "\"Principal\":%s," ALL, bob[i]);
        decides(text, POLICY_ALLOWS);
        snprintf(text, sizeof text, "\"NotPrincipal\":%s," ALL, bob[i]);
        decides(text, POLICY_SILENT);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        snprintf(text, sizeof text, "\"Principal\":%s," ALL, others[i]);
        decides(text, POLICY_SILENT);
    }
}
END_TEST

START_TEST(actions_and_resources)
{
    ask("111122223333", "bob", "SendMessage");
    decides("\"Principal\":\"*\",\"Action\":\"SQS:SendMessage\",\"Resource\":\"" QUEUE_A "\"",
            POLICY_ALLOWS);
    decides("\"Principal\":\"*\",\"Action\":[\"sqs:ReceiveMessage\",\"sqs:send*\"],\"Resource\":"
            "[\"arn:aws:sqs:*:000000000000:b\",\"arn:aws:sqs:*:000000000000:?\"]",
            POLICY_ALLOWS);
    decides("\"Principal\":\"*\",\"Action\":\"sqs:Send\?\?ssage\",\"Resource\":\"*\"",
            POLICY_ALLOWS);
    decides("\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"" QUEUE_A "b\"", POLICY_SILENT);
    decides("\"Principal\":\"*\",\"Action\":\"sqs:ReceiveMessage\",\"Resource\":\"*\"",
            POLICY_SILENT);
    decides("\"Principal\":\"*\",\"NotAction\":\"sqs:ReceiveMessage\",\"Resource\":\"*\"",
            POLICY_ALLOWS);
    decides("\"Principal\":\"*\",\"Action\":\"sqs:*\",\"NotResource\":\"arn:*:a\"", POLICY_SILENT);
}
END_TEST

START_TEST(conditions)
{
    static const char *const hold[] = {
        "\"StringEquals\":{\"aws:PrincipalAccount\":[\"1\",\"111122223333\"]}",
        "\"StringNotEquals\":{\"aws:PrincipalAccount\":\"1\"}",
        "\"StringLike\":{\"aws:username\":\"b*\"}",
        "\"StringEqualsIgnoreCase\":{\"AWS:UserName\":\"BOB\"}",
        "\"ArnLike\":{\"aws:PrincipalArn\":\"arn:aws:iam::*:user/bob\"}",
        "\"IpAddress\":{\"aws:SourceIp\":[\"10.0.0.0/8\",\"203.0.113.0/24\"]}",
        "\"NotIpAddress\":{\"aws:SourceIp\":\"203.0.113.8\"}",
        "\"Bool\":{\"aws:SecureTransport\":\"false\"}",
        "\"Bool\":{\"aws:SecureTransport\":false}",
        "\"Null\":{\"aws:SourceArn\":\"true\",\"aws:username\":\"false\"}",
        "\"StringNotEquals\":{\"aws:SourceAccount\":\"1\"}", // absent
        "\"ArnEqualsIfExists\":{\"aws:SourceArn\":\"arn:aws:s3:::b\"}",
        "\"StringEquals\":{\"aws:username\":\"bob\"},\"Bool\":{\"aws:SecureTransport\":\"false\"}",
    };
    static const char *const fail_[] = {
        "\"StringEquals\":{\"aws:username\":\"BOB\"}",
        "\"StringNotEquals\":{\"aws:username\":[\"x\",\"bob\"]}",
        "\"ArnLike\":{\"aws:SourceArn\":\"*\"}", // absent
        "\"IpAddress\":{\"aws:SourceIp\":\"203.0.113.8/32\"}",
        "\"NotIpAddress\":{\"aws:SourceIp\":\"203.0.0.0/16\"}",
        "\"Bool\":{\"aws:SecureTransport\":\"true\"}",
        "\"Null\":{\"aws:SourceArn\":\"false\"}",
        "\"StringEquals\":{\"aws:username\":\"bob\"},\"Bool\":{\"aws:SecureTransport\":\"true\"}",
        "\"StringEquals\":{\"aws:username\":\"bob\",\"aws:SourceArn\":\"x\"}",
    };
    char text[300];
    ask("111122223333", "bob", "SendMessage");
    for (size_t i = 0; i < sizeof hold / sizeof hold[0]; i++) {
        snprintf(text, sizeof text, "\"Principal\":\"*\"," ALL ",\"Condition\":{%s}", hold[i]);
        decides(text, POLICY_ALLOWS);
    }
    for (size_t i = 0; i < sizeof fail_ / sizeof fail_[0]; i++) {
        snprintf(text, sizeof text, "\"Principal\":\"*\"," ALL ",\"Condition\":{%s}", fail_[i]);
        decides(text, POLICY_SILENT);
    }
    request.peer = "127.0.0.1"; // nothing leaves the machine: as good as TLS
    decides("\"Principal\":\"*\"," ALL
            ",\"Condition\":{\"Bool\":{\"aws:SecureTransport\":\"true\"}}",
            POLICY_ALLOWS);
    request.peer = "2001:db8::5";
    decides("\"Principal\":\"*\"," ALL
            ",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"2001:db8::/32\"}}",
            POLICY_ALLOWS);
}
END_TEST

#define REASON "Invalid value for the parameter Policy. Reason: "
#define GOOD "\"Effect\":\"Allow\",\"Principal\":\"*\"," ALL

START_TEST(wrong_policies_are_refused_with_the_place)
{
    static const struct {
        const char *policy, *message;
    } cases[] = {
        {"x", REASON "it is not JSON: line 1:"},
        {"[]", REASON "it must be a JSON object."},
        {"{}", REASON "Statement is missing or empty."},
        {"{\"Statement\":[]}", REASON "Statement is missing or empty."},
        {"{\"Version\":\"1\",\"Statement\":{" GOOD "}}", REASON "Version must be"},
        {"{\"Foo\":1,\"Statement\":{" GOOD "}}", REASON "unknown member 'Foo'."},
        {"{\"Statement\":[{" GOOD "},5]}", REASON "Statement 2: it must be an object."},
        {"{\"Statement\":{\"Principal\":\"*\"," ALL "}}", REASON "Statement 1: Effect is missing."},
        {"{\"Statement\":{\"Effect\":\"allow\",\"Principal\":\"*\"," ALL "}}",
         REASON "Statement 1: Effect must be Allow or Deny."},
        {"{\"Statement\":{\"Effect\":\"Allow\"," ALL "}}",
         REASON "Statement 1: it must have Principal or NotPrincipal, one of them."},
        {"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"bob\"," ALL "}}",
         REASON "Statement 1: Principal must be \"*\" or an object"},
        {"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"bob\"}," ALL "}}",
         REASON "Statement 1: the principal 'bob' is no account, ARN or *."},
        {"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:*\","
         "\"Resource\":\"*\"}}",
         REASON "Statement 1: the action 's3:*' is not one of SQS"},
        {"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"sqs:Foo\","
         "\"Resource\":\"*\"}}",
         REASON "Statement 1: no action is called 'sqs:Foo'."},
        {"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":[],"
         "\"Resource\":\"*\"}}",
         REASON "Statement 1: Action must be a string or a list of strings."},
        {"{\"Statement\":{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\","
         "\"Resource\":\"a\"}}",
         REASON "Statement 1: the resource 'a' is no ARN."},
        {"{\"Statement\":{" GOOD ",\"Condition\":{\"NumericLessThan\":{\"k\":\"5\"}}}}",
         REASON "Statement 1: the condition 'NumericLessThan' is not supported"},
        {"{\"Statement\":{" GOOD ",\"Condition\":{\"ForAnyValue:StringLike\":{\"k\":\"5\"}}}}",
         REASON "Statement 1: the condition 'ForAnyValue:StringLike' is not supported"},
        {"{\"Statement\":{" GOOD
         ",\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"10.0.0.0/33\"}}}}",
         REASON "Statement 1: the condition IpAddress of 'aws:SourceIp' has a value that cannot"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fault f = {0};
        ck_assert_int_eq(policy_parse(span_from(cases[i].policy), NULL, &f),
                         SQS_INVALID_ATTRIBUTE_VALUE);
        must_say(f.message, cases[i].message);
    }
}
END_TEST

START_TEST(quotas_of_a_policy)
{
    AUTO_BUF struct buf text = {0};
    struct fault f;
    buf_add_text(&text, "{\"Statement\":[");
    for (int i = 0; i < 21; i++)
        buf_printf(&text, "%s{" GOOD "}", i > 0 ? "," : "");
    buf_add_text(&text, "]}");
    ck_assert_int_eq(policy_parse(buf_view(&text), NULL, &f), SQS_INVALID_ATTRIBUTE_VALUE);
    must_say(f.message, "it has 21 statements, the limit is 20.");
    buf_clear(&text);
    buf_add_text(&text, "{\"Statement\":{\"Effect\":\"Allow\"," ALL ",\"Principal\":{\"AWS\":[");
    for (int i = 0; i < 51; i++)
        buf_printf(&text, "%s\"1111222233%02d\"", i > 0 ? "," : "", i);
    buf_add_text(&text, "]}}}");
    ck_assert_int_eq(policy_parse(buf_view(&text), NULL, &f), SQS_INVALID_ATTRIBUTE_VALUE);
    must_say(f.message, "it has 51 principals, the limit is 50.");
    buf_clear(&text);
    buf_add_text(&text, "{\"Statement\":{" GOOD ",\"Condition\":{\"StringEquals\":{");
    for (int i = 0; i < 11; i++)
        buf_printf(&text, "%s\"k%d\":\"v\"", i > 0 ? "," : "", i);
    buf_add_text(&text, "}}}}");
    ck_assert_int_eq(policy_parse(buf_view(&text), NULL, &f), SQS_INVALID_ATTRIBUTE_VALUE);
    must_say(f.message, "it has 11 conditions, the limit is 10.");
}
END_TEST

// --- through the actions ---

static void act_as(const char *account, const char *user)
{
    asker.account = account;
    asker.user = user;
    asker.peer = "127.0.0.1";
}

static void set_policy(const char *statements)
{
    AUTO_BUF struct buf policy = {0}, body = {0};
    buf_printf(&policy, "{\"Version\":\"2012-10-17\",\"Statement\":[%s]}", statements);
    buf_add_text(&body, "{\"QueueUrl\":\"a\",\"Attributes\":{\"Policy\":");
    json_t *text = json_stringn(policy.data, policy.len);
    char *quoted = json_dumps(text, JSON_ENCODE_ANY);
    buf_add_text(&body, quoted);
    buf_add_text(&body, "}}");
    free(quoted);
    json_decref(text);
    json_call(ACTION_SET_ATTRIBUTES, body.data);
    ck_assert_msg(call.fault.code == SQS_OK, "%s", call.fault.message);
}

static const char send_x[] = "{\"QueueUrl\":\"a\",\"MessageBody\":\"x\"}";

START_TEST(another_account_needs_a_policy)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    act_as("111122223333", "bob");
    json_fault(ACTION_SEND, send_x, SQS_ACCESS_DENIED,
               "User: arn:aws:iam::111122223333:user/bob is not authorized to perform: "
               "sqs:sendmessage on resource: " QUEUE_A
               " because no resource-based policy allows the sqs:sendmessage action");
    const char *reply = query_call("Action=SendMessage&QueueUrl=a&MessageBody=x");
    must_say(reply, "<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: ");
    asker.account = NULL;
    json_call(ACTION_ADD_PERMISSION,
              "{\"QueueUrl\":\"a\",\"Label\":\"bob\",\"AWSAccountIds\":[\"111122223333\"],"
              "\"Actions\":[\"SendMessage\",\"GetQueueUrl\"]}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    rig_close(&r); // a policy holds after a restart
    ck_assert_int_eq(rig_open(&r), OK);
    act_as("111122223333", "bob");
    json_call(ACTION_SEND, send_x);
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_call(ACTION_SEND_BATCH,
              "{\"QueueUrl\":\"a\",\"Entries\":[{\"Id\":\"1\",\"MessageBody\":\"x\"}]}");
    ck_assert_int_eq(call.fault.code, SQS_OK); // the same permission
    json_call(ACTION_GET_URL, "{\"QueueName\":\"a\"}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a\"}");
    ck_assert_int_eq(call.fault.code, SQS_ACCESS_DENIED);
    act_as("444455556666", "bob");
    json_call(ACTION_SEND, send_x);
    ck_assert_int_eq(call.fault.code, SQS_ACCESS_DENIED);
    asker.account = NULL;
    json_call(ACTION_REMOVE_PERMISSION, "{\"QueueUrl\":\"a\",\"Label\":\"bob\"}");
    act_as("111122223333", "bob");
    json_call(ACTION_SEND, send_x);
    ck_assert_int_eq(call.fault.code, SQS_ACCESS_DENIED);
    stop();
}
END_TEST

START_TEST(what_no_policy_gives_another_account)
{
    static const struct {
        enum sqs_action action;
        const char *body;
    } cases[] = {
        {ACTION_CREATE_QUEUE, "{\"QueueName\":\"b\"}"},
        {ACTION_LIST_QUEUES, "{}"},
        {ACTION_DELETE_QUEUE, "{\"QueueUrl\":\"a\"}"},
        {ACTION_SET_ATTRIBUTES, "{\"QueueUrl\":\"a\",\"Attributes\":{\"DelaySeconds\":\"1\"}}"},
        {ACTION_ADD_PERMISSION, "{\"QueueUrl\":\"a\",\"Label\":\"x\",\"AWSAccountIds\":"
                                "[\"111122223333\"],\"Actions\":[\"*\"]}"},
        {ACTION_REMOVE_PERMISSION, "{\"QueueUrl\":\"a\",\"Label\":\"x\"}"},
        {ACTION_TAG, "{\"QueueUrl\":\"a\",\"Tags\":{\"k\":\"v\"}}"},
        {ACTION_UNTAG, "{\"QueueUrl\":\"a\",\"TagKeys\":[\"k\"]}"},
        {ACTION_LIST_TAGS, "{\"QueueUrl\":\"a\"}"},
        {ACTION_START_MOVE_TASK, "{\"SourceArn\":\"" QUEUE_A "\"}"},
        {ACTION_LIST_MOVE_TASKS, "{\"SourceArn\":\"" QUEUE_A "\"}"},
        {ACTION_CANCEL_MOVE_TASK, "{\"TaskHandle\":\"x\"}"},
    };
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    set_policy("{" GOOD "}");
    act_as("111122223333", "bob");
    json_call(ACTION_PURGE, "{\"QueueUrl\":\"a\"}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_call(cases[i].action, cases[i].body);
        ck_assert_msg(call.fault.code == SQS_ACCESS_DENIED, "%s: %d %s",
                      action_name(cases[i].action), call.fault.code, call.fault.message);
    }
    stop();
}
END_TEST

START_TEST(deny_counts_more_and_holds_for_the_owner_too)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    set_policy("{" GOOD "},{\"Effect\":\"Deny\",\"Principal\":{\"AWS\":"
               "[\"arn:aws:iam::000000000000:user/eve\",\"111122223333\"]},"
               "\"Action\":\"sqs:SendMessage\",\"Resource\":\"*\"}");
    json_call(ACTION_SEND, send_x);
    ck_assert_int_eq(call.fault.code, SQS_OK);
    act_as("000000000000", "eve");
    json_fault(ACTION_SEND, send_x, SQS_ACCESS_DENIED,
               "User: arn:aws:iam::000000000000:user/eve is not authorized to perform: "
               "sqs:sendmessage on resource: " QUEUE_A
               " with an explicit deny in a resource-based policy");
    json_call(ACTION_TAG, "{\"QueueUrl\":\"a\",\"Tags\":{\"k\":\"v\"}}"); // she is one of us
    ck_assert_int_eq(call.fault.code, SQS_OK);
    act_as("111122223333", "bob");
    json_call(ACTION_SEND, send_x);
    ck_assert_int_eq(call.fault.code, SQS_ACCESS_DENIED);
    json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a\"}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    stop();
}
END_TEST

START_TEST(root_can_mend_a_policy_that_denies_all)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    set_policy("{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}");
    json_call(ACTION_SEND, send_x);
    ck_assert_int_eq(call.fault.code, SQS_ACCESS_DENIED);
    json_call(ACTION_DELETE_QUEUE, "{\"QueueUrl\":\"a\"}");
    ck_assert_int_eq(call.fault.code, SQS_ACCESS_DENIED);
    act_as("000000000000", "eve");
    json_call(ACTION_SET_ATTRIBUTES, "{\"QueueUrl\":\"a\",\"Attributes\":{\"Policy\":\"\"}}");
    ck_assert_int_eq(call.fault.code, SQS_ACCESS_DENIED);
    act_as("000000000000", "");
    json_call(ACTION_SET_ATTRIBUTES, "{\"QueueUrl\":\"a\",\"Attributes\":{\"Policy\":\"\"}}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_call(ACTION_SEND, send_x);
    ck_assert_int_eq(call.fault.code, SQS_OK);
    stop();
}
END_TEST

START_TEST(permission_beside_a_single_statement)
{
    start();
    json_call(ACTION_CREATE_QUEUE,
              "{\"QueueName\":\"a\",\"Attributes\":{\"Policy\":\"{\\\"Statement\\\":{\\\"Sid\\\":"
              "\\\"one\\\",\\\"Effect\\\":\\\"Allow\\\",\\\"Principal\\\":\\\"*\\\",\\\"Action\\\":"
              "\\\"sqs:*\\\",\\\"Resource\\\":\\\"*\\\"}}\"}}");
    ck_assert_msg(call.fault.code == SQS_OK, "%s", call.fault.message);
    json_call(ACTION_ADD_PERMISSION,
              "{\"QueueUrl\":\"a\",\"Label\":\"two\",\"AWSAccountIds\":[\"111122223333\"],"
              "\"Actions\":[\"SendMessage\"]}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_call(ACTION_REMOVE_PERMISSION, "{\"QueueUrl\":\"a\",\"Label\":\"one\"}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    must_say(
        json_call(ACTION_GET_ATTRIBUTES, "{\"QueueUrl\":\"a\",\"AttributeNames\":[\"Policy\"]}"),
        "\\\"Sid\\\":\\\"two\\\"");
    stop();
}
END_TEST

SUITE_MAIN("access", principals, actions_and_resources, conditions,
           wrong_policies_are_refused_with_the_place, quotas_of_a_policy,
           another_account_needs_a_policy, what_no_policy_gives_another_account,
           deny_counts_more_and_holds_for_the_owner_too, root_can_mend_a_policy_that_denies_all,
           permission_beside_a_single_statement)
