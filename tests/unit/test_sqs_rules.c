// Rules of the service that are easily missed: forms of replies, what a redriven message keeps, the
// ranges of values.
#include "base/text.h"
#include "call_rig.h"
#include "suite.h"

static void must_not_say(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) == NULL, "'%s' holds '%s'", text, part);
}

static const char *query_as_json(const char *body)
{
    struct span given;
    prepare(false);
    call.accept_json = true;
    enum sqs_code code =
        request_from_query(span_from(body), (struct span){NULL, 0}, &call.in, &given, &call.fault);
    if (code == SQS_OK)
        code = sqs_call_run(&call);
    call.out.wrapped = true;
    if (code != SQS_OK)
        reply_error(&call.out, &call.fault, "rid");
    else
        sqs_call_end(&call, "rid");
    rig_turn(&r);
    return call.out.out.data;
}

START_TEST(query_with_a_reply_in_json)
{
    start();
    ck_assert_str_eq(query_as_json("Action=CreateQueue&QueueName=a&Tag.1.Key=k&Tag.1.Value=v"),
                     "{\"CreateQueueResponse\":{\"CreateQueueResult\":{\"QueueUrl\":"
                     "\"http://queue.example:1234/000000000000/a\"},\"ResponseMetadata\":"
                     "{\"RequestId\":\"rid\"}}}");
    query_as_json("Action=SendMessage&QueueUrl=a&MessageBody=x&MessageAttribute.1.Name=n&"
                  "MessageAttribute.1.Value.DataType=String&"
                  "MessageAttribute.1.Value.StringValue=v");
    const char *reply = query_as_json(
        "Action=ReceiveMessage&QueueUrl=a&AttributeName.1=SenderId&MessageAttributeName.1=All");
    must_say(reply, "{\"ReceiveMessageResponse\":{\"ReceiveMessageResult\":{\"messages\":[{");
    must_say(reply, "\"Attributes\":[{\"Name\":\"SenderId\",\"Value\":\"AKIDEXAMPLE\"}]");
    must_say(reply, "\"MessageAttributes\":[{\"Name\":\"n\",\"Value\":{\"DataType\":\"String\","
                    "\"StringValue\":\"v\"}}]");
    json_t *root = json_loads(reply, 0, NULL);
    ck_assert_ptr_nonnull(root);
    json_decref(root);
    ck_assert_str_eq(query_as_json("Action=ListQueues"),
                     "{\"ListQueuesResponse\":{\"ListQueuesResult\":{\"queueUrls\":["
                     "\"http://queue.example:1234/000000000000/a\"]},\"ResponseMetadata\":"
                     "{\"RequestId\":\"rid\"}}}");
    must_say(query_as_json("Action=ListQueueTags&QueueUrl=a"),
             "\"Tags\":[{\"Key\":\"k\",\"Value\":\"v\"}]");
    ck_assert_str_eq(query_as_json("Action=PurgeQueue&QueueUrl=a"),
                     "{\"PurgeQueueResponse\":{\"ResponseMetadata\":{\"RequestId\":\"rid\"}}}");
    ck_assert_str_eq(query_as_json("Action=GetQueueUrl&QueueName=b"),
                     "{\"Error\":{\"Code\":\"AWS.SimpleQueueService.NonExistentQueue\","
                     "\"Message\":\"The specified queue does not exist for this wsdl version.\","
                     "\"Type\":\"Sender\"},\"RequestId\":\"rid\"}");
    stop();
}
END_TEST

static enum sqs_code send_number(const char *number)
{
    char body[400];
    snprintf(body, sizeof body,
             "{\"QueueUrl\":\"a\",\"MessageBody\":\"x\",\"MessageAttributes\":{\"n\":"
             "{\"DataType\":\"Number\",\"StringValue\":\"%s\"}}}",
             number);
    json_call(ACTION_SEND, body);
    return call.fault.code;
}

START_TEST(ranges_of_numbers)
{
    static const char *const good[] = {"0",
                                       "-0.0",
                                       "1e126",
                                       "0.1e127",
                                       "10e125",
                                       "-1e-128",
                                       "0.001e-125",
                                       "9.99e125",
                                       "+7",
                                       ".5",
                                       "5.",
                                       "12345678901234567890123456789012345678",
                                       "000000000000000000000000000000000000000001",
                                       "1000000000000000000000000000000000000000000000"};
    static const char *const bad[] = {
        "",       "-",     ".",       "e5",
        "1e",     "1e127", "1.1e126", "2e126",
        "9e-129", "1e999", "1e99999", "0x10",
        "1,5",    "1 ",    "nan",     "123456789012345678901234567890123456789",
        "1e1e1"};
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(send_number(good[i]) == SQS_OK, "%s: %s", good[i], call.fault.message);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(send_number(bad[i]) == SQS_INVALID_PARAMETER, "'%s' was taken", bad[i]);
    stop();
}
END_TEST

START_TEST(values_that_are_checked)
{
    start();
    json_call(ACTION_CREATE_QUEUE,
              "{\"QueueName\":\"a.fifo\",\"Attributes\":{\"FifoQueue\":\"true\"}}");
    json_fault(
        ACTION_RECEIVE, "{\"QueueUrl\":\"a.fifo\",\"ReceiveRequestAttemptId\":\"\"}",
        SQS_INVALID_PARAMETER,
        "Value  for parameter ReceiveRequestAttemptId is invalid. Reason: "
        "ReceiveRequestAttemptId can only include alphanumeric and punctuation characters. 1 "
        "to 128 in length.");
    json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a.fifo\",\"ReceiveRequestAttemptId\":\"try-1\"}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_call(ACTION_SET_ATTRIBUTES,
              "{\"QueueUrl\":\"a.fifo\",\"Attributes\":{\"RedriveAllowPolicy\":"
              "\"{\\\"redrivePermission\\\":\\\"byQueue\\\",\\\"sourceQueueArns\\\":[5]}\"}}");
    ck_assert_int_eq(call.fault.code, SQS_INVALID_PARAMETER);
    // 128 characters, not bytes
    char body[900] = "{\"QueueUrl\":\"a.fifo\",\"Tags\":{\"";
    for (int i = 0; i < 128; i++)
        strcat(body, "\xe2\x82\xac");
    size_t len = strlen(body);
    strcat(body, "\":\"v\"}}");
    json_call(ACTION_TAG, body);
    ck_assert_int_eq(call.fault.code, SQS_OK);
    snprintf(body + len, sizeof body - len, "x\":\"v\"}}");
    json_call(ACTION_TAG, body);
    ck_assert_int_eq(call.fault.code, SQS_INVALID_PARAMETER);
    stop();
}
END_TEST

#define ONE_OF_TWO                                                                                 \
    "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS " \
    "SSE or SQS SSE."

static const char *encryption(void)
{
    return json_call(ACTION_GET_ATTRIBUTES,
                     "{\"QueueUrl\":\"a\",\"AttributeNames\":[\"KmsMasterKeyId\","
                     "\"KmsDataKeyReusePeriodSeconds\",\"SqsManagedSseEnabled\"]}");
}

START_TEST(one_kind_of_encryption)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    ck_assert_str_eq(encryption(), "{\"Attributes\":{\"SqsManagedSseEnabled\":\"true\"}}");
    json_call(ACTION_SET_ATTRIBUTES,
              "{\"QueueUrl\":\"a\",\"Attributes\":{\"KmsMasterKeyId\":\"key\","
              "\"KmsDataKeyReusePeriodSeconds\":\"600\"}}");
    ck_assert_str_eq(encryption(), "{\"Attributes\":{\"KmsMasterKeyId\":\"key\","
                                   "\"KmsDataKeyReusePeriodSeconds\":\"600\","
                                   "\"SqsManagedSseEnabled\":\"false\"}}");
    json_fault(ACTION_SET_ATTRIBUTES,
               "{\"QueueUrl\":\"a\",\"Attributes\":{\"SqsManagedSseEnabled\":\"true\"}}",
               SQS_INVALID_ATTRIBUTE_NAME, ONE_OF_TWO);
    json_fault(ACTION_CREATE_QUEUE,
               "{\"QueueName\":\"b\",\"Attributes\":{\"SqsManagedSseEnabled\":\"true\","
               "\"KmsMasterKeyId\":\"key\"}}",
               SQS_INVALID_ATTRIBUTE_NAME, ONE_OF_TWO);
    json_call(ACTION_SET_ATTRIBUTES,
              "{\"QueueUrl\":\"a\",\"Attributes\":{\"SqsManagedSseEnabled\":\"true\","
              "\"KmsDataKeyReusePeriodSeconds\":\"300\",\"KmsMasterKeyId\":\"\"}}");
    ck_assert_str_eq(encryption(), "{\"Attributes\":{\"SqsManagedSseEnabled\":\"true\"}}");
    stop();
}
END_TEST

static void text_of(const char *reply, const char *name, char out[64])
{
    const char *at = strstr(reply, name);
    ck_assert_msg(at != NULL, "no %s in %s", name, reply);
    ck_assert_int_eq(sscanf(at + strlen(name), ":\"%63[^\"]", out), 1);
}

// What a message keeps on its way into a dead-letter queue and back.
// Each of these would come back in a reply that no XML parser reads: a message could not be
// deleted.
START_TEST(what_no_reply_could_hold_is_refused)
{
    static const char *const sends[] = {
        "{\"DataType\":\"Binary.\\u0001\",\"BinaryValue\":\"eA==\"}",
        "{\"DataType\":\"Number.\\uffff\",\"StringValue\":\"1\"}",
        "{\"DataType\":\"String\",\"StringValue\":\"\\u001f\"}"};
    static const char *const tags[] = {"\"\\u0001\":\"v\"", "\"k\":\"\\ufffe\"", "\"aws:k\":\"v\"",
                                       "\"Aws:k\":\"v\""};
    static const char *const labels[] = {"a b", "\\u0001", "l.l"};
    char body[300];
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    for (size_t i = 0; i < sizeof sends / sizeof sends[0]; i++) {
        snprintf(body, sizeof body,
                 "{\"QueueUrl\":\"a\",\"MessageBody\":\"x\",\"MessageAttributes\":{\"n\":%s}}",
                 sends[i]);
        json_call(ACTION_SEND, body);
        ck_assert_msg(call.fault.code == SQS_INVALID_PARAMETER, "%s was taken", body);
    }
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        snprintf(body, sizeof body, "{\"QueueUrl\":\"a\",\"Tags\":{%s}}", tags[i]);
        json_call(ACTION_TAG, body);
        ck_assert_msg(call.fault.code == SQS_INVALID_PARAMETER, "%s was taken", body);
        snprintf(body, sizeof body, "{\"QueueName\":\"b\",\"tags\":{%s}}", tags[i]);
        json_call(ACTION_CREATE_QUEUE, body);
        ck_assert_msg(call.fault.code == SQS_INVALID_PARAMETER, "%s was taken", body);
    }
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        snprintf(body, sizeof body,
                 "{\"QueueUrl\":\"a\",\"Label\":\"%s\",\"AWSAccountIds\":[\"111122223333\"],"
                 "\"Actions\":[\"*\"]}",
                 labels[i]);
        json_call(ACTION_ADD_PERMISSION, body);
        ck_assert_msg(call.fault.code == SQS_INVALID_PARAMETER, "%s was taken", body);
    }
    json_fault(ACTION_SET_ATTRIBUTES,
               "{\"QueueUrl\":\"a\",\"Attributes\":{\"KmsMasterKeyId\":\"\\u0001\"}}",
               SQS_INVALID_ATTRIBUTE_VALUE, "Invalid value for the parameter KmsMasterKeyId.");
    stop();
}
END_TEST

START_TEST(errors_quote_what_every_reply_can_hold)
{
    start();
    json_fault(ACTION_GET_ATTRIBUTES, "{\"QueueUrl\":\"nope\",\"AttributeNames\":[\"\\u0001\"]}",
               SQS_QUEUE_DOES_NOT_EXIST, "The specified queue does not exist.");
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    json_fault(ACTION_GET_ATTRIBUTES,
               "{\"QueueUrl\":\"a\",\"AttributeNames\":[\"a\\u0001\\ufffe\"]}",
               SQS_INVALID_ATTRIBUTE_NAME, "Unknown Attribute a????.");
    char body[700] = "{\"QueueUrl\":\"a\",\"AttributeNames\":[\"x"; // cut inside a character
    for (int i = 0; i < 200; i++)
        strcat(body, "\xc3\xa9");
    strcat(body, "\"]}");
    json_call(ACTION_GET_ATTRIBUTES, body);
    ck_assert_int_eq(call.fault.code, SQS_INVALID_ATTRIBUTE_NAME);
    ck_assert(utf8_xml_valid(span_from(call.fault.message)));
    stop();
}
END_TEST

START_TEST(empty_values_of_attributes)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    json_fault(ACTION_SET_ATTRIBUTES,
               "{\"QueueUrl\":\"a\",\"Attributes\":{\"VisibilityTimeout\":\"\"}}",
               SQS_INVALID_ATTRIBUTE_VALUE, "Invalid value for the parameter VisibilityTimeout.");
    // the period has a meaning, and is told, with a key only
    json_call(ACTION_SET_ATTRIBUTES,
              "{\"QueueUrl\":\"a\",\"Attributes\":{\"KmsMasterKeyId\":\"k\"}}");
    must_say(json_call(ACTION_GET_ATTRIBUTES, "{\"QueueUrl\":\"a\",\"AttributeNames\":[\"All\"]}"),
             "\"KmsDataKeyReusePeriodSeconds\":\"300\"");
    json_call(ACTION_SET_ATTRIBUTES,
              "{\"QueueUrl\":\"a\",\"Attributes\":{\"KmsMasterKeyId\":\"\"}}");
    must_not_say(
        json_call(ACTION_GET_ATTRIBUTES, "{\"QueueUrl\":\"a\",\"AttributeNames\":[\"All\"]}"),
        "Kms");
    // lists are reserved; an empty one says nothing
    json_call(ACTION_SEND, "{\"QueueUrl\":\"a\",\"MessageBody\":\"x\",\"MessageAttributes\":{\"n\":"
                           "{\"DataType\":\"String\",\"StringValue\":\"v\",\"StringListValues\":[],"
                           "\"BinaryListValues\":[]}}}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_call(ACTION_SEND, "{\"QueueUrl\":\"a\",\"MessageBody\":\"x\",\"MessageAttributes\":{\"n\":"
                           "{\"DataType\":\"String\",\"StringListValues\":[\"v\"]}}}");
    ck_assert_int_eq(call.fault.code, SQS_UNSUPPORTED);
    stop();
}
END_TEST

START_TEST(same_policy_in_another_layout_is_the_same)
{
    start();
    json_call(ACTION_CREATE_QUEUE,
              "{\"QueueName\":\"a\",\"Attributes\":{\"RedriveAllowPolicy\":"
              "\"{\\\"redrivePermission\\\":\\\"byQueue\\\",\\\"sourceQueueArns\\\":[\\\"" ARN(
                  "s") "\\\"]}\"}}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_call(ACTION_CREATE_QUEUE,
              "{\"QueueName\":\"a\",\"Attributes\":{\"RedriveAllowPolicy\":"
              "\"{ \\\"sourceQueueArns\\\": [\\\"" ARN(
                  "s") "\\\"],\\n\\\"redrivePermission\\\": \\\"byQueue\\\"}\"}}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_fault(ACTION_CREATE_QUEUE,
               "{\"QueueName\":\"a\",\"Attributes\":{\"RedriveAllowPolicy\":"
               "\"{\\\"redrivePermission\\\":\\\"denyAll\\\"}\"}}",
               SQS_QUEUE_NAME_EXISTS,
               "A queue already exists with the same name and a different value for attribute "
               "RedriveAllowPolicy");
    json_call(ACTION_CREATE_QUEUE,
              "{\"QueueName\":\"a\",\"Attributes\":{\"KmsMasterKeyId\":\"k\"}}");
    ck_assert_int_eq(call.fault.code, SQS_QUEUE_NAME_EXISTS);
    stop();
}
END_TEST

START_TEST(redriven_message_is_new_but_for_its_id)
{
    char id[64], sent[64], now[64];
    start();
    make_dead_letters(1);
    rig_advance(&r, 60000);
    const char *all = "{\"QueueUrl\":\"dead\",\"VisibilityTimeout\":0,"
                      "\"MessageSystemAttributeNames\":[\"All\"]}";
    const char *reply = json_call(ACTION_RECEIVE, all);
    text_of(reply, "\"MessageId\"", id);
    text_of(reply, "\"SentTimestamp\"", sent);
    must_say(reply, "\"DeadLetterQueueSourceArn\":\"" ARN("jobs") "\"");
    must_say(reply, "\"ApproximateReceiveCount\":\"2\"");
    ck_assert_int_eq(atoll(sent), r.now_ms - 60000);
    json_call(ACTION_START_MOVE_TASK, "{\"SourceArn\":\"" ARN("dead") "\"}");
    rig_turn(&r);
    rig_turn(&r);
    rig_close(&r);
    ck_assert_int_eq(rig_open(&r), OK);
    reply = json_call(ACTION_RECEIVE,
                      "{\"QueueUrl\":\"jobs\",\"MessageSystemAttributeNames\":[\"All\"]}");
    must_say(reply, id);
    must_say(reply, "\"ApproximateReceiveCount\":\"1\"");
    must_not_say(reply, "DeadLetterQueueSourceArn");
    text_of(reply, "\"SentTimestamp\"", now);
    ck_assert_int_eq(atoll(now), r.now_ms);
    stop();
}
END_TEST

START_TEST(deduplication_id_in_a_dead_letter_queue_is_the_messages)
{
    char id[64], dedup[64];
    start();
    json_call(ACTION_CREATE_QUEUE,
              "{\"QueueName\":\"d.fifo\",\"Attributes\":{\"FifoQueue\":\"true\"}}");
    json_call(
        ACTION_CREATE_QUEUE,
        "{\"QueueName\":\"a.fifo\",\"Attributes\":{\"FifoQueue\":\"true\","
        "\"VisibilityTimeout\":\"0\",\"RedrivePolicy\":\"{\\\"deadLetterTargetArn\\\":\\\"" ARN(
            "d.fifo") "\\\",\\\"maxReceiveCount\\\":1}\"}}");
    json_call(ACTION_SEND,
              "{\"QueueUrl\":\"a.fifo\",\"MessageBody\":\"x\",\"MessageGroupId\":\"g\","
              "\"MessageDeduplicationId\":\"mine\"}");
    const char *receive = "{\"QueueUrl\":\"a.fifo\",\"MessageSystemAttributeNames\":[\"All\"]}";
    must_say(json_call(ACTION_RECEIVE, receive), "\"MessageDeduplicationId\":\"mine\"");
    ck_assert_str_eq(json_call(ACTION_RECEIVE, receive), "{}");
    const char *reply =
        json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"d.fifo\",\"VisibilityTimeout\":0,"
                                  "\"MessageSystemAttributeNames\":[\"All\"]}");
    text_of(reply, "\"MessageId\"", id);
    text_of(reply, "\"MessageDeduplicationId\"", dedup);
    ck_assert_str_eq(dedup, id);
    must_say(reply, "\"MessageGroupId\":\"g\"");
    json_call(ACTION_START_MOVE_TASK, "{\"SourceArn\":\"" ARN("d.fifo") "\"}");
    rig_turn(&r);
    reply = json_call(ACTION_RECEIVE, receive);
    text_of(reply, "\"MessageDeduplicationId\"", dedup);
    ck_assert_str_eq(dedup, id); // it stays so
    stop();
}
END_TEST

START_TEST(failed_task_still_names_its_destination)
{
    start();
    make_dead_letters(3);
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"other\"}");
    json_call(ACTION_START_MOVE_TASK,
              "{\"SourceArn\":\"" ARN("dead") "\",\"DestinationArn\":\"" ARN(
                  "other") "\",\"MaxNumberOfMessagesPerSecond\":1}");
    json_call(ACTION_DELETE_QUEUE, "{\"QueueUrl\":\"other\"}");
    rig_advance(&r, 2000);
    rig_turn(&r);
    for (int i = 0; i < 2; i++) { // and across a restart
        const char *reply =
            json_call(ACTION_LIST_MOVE_TASKS, "{\"SourceArn\":\"" ARN("dead") "\"}");
        must_say(reply, "\"Status\":\"FAILED\"");
        must_say(reply, "\"DestinationArn\":\"" ARN("other") "\"");
        must_say(reply, "\"FailureReason\":\"AWS.SimpleQueueService.NonExistentQueue\"");
        rig_close(&r);
        ck_assert_int_eq(rig_open(&r), OK);
    }
    stop();
}
END_TEST

START_TEST(redrive_to_a_source_that_was_made_again)
{
    start();
    make_dead_letters(3);
    json_call(ACTION_DELETE_QUEUE, "{\"QueueUrl\":\"jobs\"}");
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"jobs\",\"Attributes\":{\"RedrivePolicy\":"
                                   "\"{\\\"deadLetterTargetArn\\\":\\\"" ARN(
                                       "dead") "\\\",\\\"maxReceiveCount\\\":1}\"}}");
    json_call(ACTION_START_MOVE_TASK, "{\"SourceArn\":\"" ARN("dead") "\"}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    rig_turn(&r);
    ck_assert_uint_eq(visible("jobs"), 3);
    ck_assert_uint_eq(visible("dead"), 0);
    stop();
}
END_TEST

SUITE_MAIN("sqs_rules", query_with_a_reply_in_json, ranges_of_numbers, values_that_are_checked,
           one_kind_of_encryption, what_no_reply_could_hold_is_refused,
           errors_quote_what_every_reply_can_hold, empty_values_of_attributes,
           same_policy_in_another_layout_is_the_same, redriven_message_is_new_but_for_its_id,
           deduplication_id_in_a_dead_letter_queue_is_the_messages,
           failed_task_still_names_its_destination, redrive_to_a_source_that_was_made_again)
