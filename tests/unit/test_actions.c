// Requests in both wire protocols, decoded, run and answered, without sockets.
#include "call_rig.h"
#include "suite.h"

START_TEST(queue_in_json)
{
    start();
    const char *reply =
        json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\",\"Attributes\":{"
                                       "\"DelaySeconds\":\"7\"},\"tags\":{\"k\":\"v\"}}");
    ck_assert_str_eq(reply, "{\"QueueUrl\":\"http://queue.example:1234/000000000000/a\"}");
    ck_assert_uint_gt(call.wait_for, 0);
    reply = json_call(
        ACTION_GET_ATTRIBUTES,
        "{\"QueueUrl\":\"a\",\"AttributeNames\":[\"QueueArn\",\"DelaySeconds\",\"Policy\"]}");
    ck_assert_str_eq(reply,
                     "{\"Attributes\":{\"QueueArn\":\"arn:aws:sqs:eu-west-1:000000000000:a\","
                     "\"DelaySeconds\":\"7\"}}");
    ck_assert_str_eq(json_call(ACTION_GET_ATTRIBUTES, "{\"QueueUrl\":\"http://x/y/a\"}"), "{}");
    reply = json_call(ACTION_GET_ATTRIBUTES, "{\"QueueUrl\":\"a\",\"AttributeNames\":[\"All\"]}");
    json_t *root = json_loads(reply, 0, NULL);
    ck_assert_uint_eq(json_object_size(json_object_get(root, "Attributes")), 12);
    json_decref(root);
    ck_assert_str_eq(json_call(ACTION_SET_ATTRIBUTES,
                               "{\"QueueUrl\":\"a\",\"Attributes\":{\"DelaySeconds\":\"0\"}}"),
                     "");
    ck_assert_str_eq(json_call(ACTION_GET_URL, "{\"QueueName\":\"a\"}"),
                     "{\"QueueUrl\":\"http://queue.example:1234/000000000000/a\"}");
    ck_assert_str_eq(json_call(ACTION_DELETE_QUEUE, "{\"QueueUrl\":\"a\"}"), "");
    ck_assert_str_eq(json_call(ACTION_LIST_QUEUES, "{}"), "{}");
    ck_assert_str_eq(json_call(ACTION_LIST_QUEUES, ""), "{}");
    stop();
}
END_TEST

START_TEST(creating_again)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\",\"Attributes\":{\"DelaySeconds\":\"7\"}}");
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}"); // nothing given: nothing compared
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\",\"Attributes\":{\"DelaySeconds\":\"7\"}}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_fault(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\",\"Attributes\":{\"DelaySeconds\":\"8\"}}",
               SQS_QUEUE_NAME_EXISTS,
               "A queue already exists with the same name and a different value for attribute "
               "DelaySeconds");
    json_fault(ACTION_CREATE_QUEUE,
               "{\"QueueName\":\"b\",\"Attributes\":{\"FifoQueue\":\"false\"}}",
               SQS_INVALID_ATTRIBUTE_NAME, "Unknown Attribute FifoQueue.");
    json_fault(
        ACTION_CREATE_QUEUE, "{\"QueueName\":\"b c\"}", SQS_INVALID_PARAMETER,
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length");
    json_fault(ACTION_CREATE_QUEUE, "{\"QueueName\":\"b\",\"Attributes\":{\"Foo\":\"1\"}}",
               SQS_INVALID_ATTRIBUTE_NAME, "Unknown Attribute Foo.");
    json_fault(ACTION_CREATE_QUEUE,
               "{\"QueueName\":\"b\",\"Attributes\":{\"VisibilityTimeout\":\"43201\"}}",
               SQS_INVALID_ATTRIBUTE_VALUE, "Invalid value for the parameter VisibilityTimeout.");
    json_fault(ACTION_CREATE_QUEUE, "{}", SQS_MISSING_PARAMETER,
               "The request must contain the parameter QueueName.");
    stop();
}
END_TEST

START_TEST(send_and_receive_in_json)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    const char *reply = json_call(
        ACTION_SEND,
        "{\"QueueUrl\":\"a\",\"MessageBody\":\"h\\u00e9 \\ud83d\\ude00\\r\\n\","
        "\"MessageAttributes\":{\"test-key\":{\"DataType\":\"String\",\"StringValue\":\"test-"
        "value\"}},"
        "\"MessageSystemAttributes\":{\"AWSTraceHeader\":{\"DataType\":\"String\",\"StringValue\":"
        "\"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1\"}}}");
    must_say(reply, "\"MD5OfMessageAttributes\":\"befa18540a897f7d022bf07057754a03\"");
    must_say(reply, "\"MD5OfMessageSystemAttributes\":\"5ae4d5d7636402d80f4eb6d213245a88\"");
    reply = json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a\",\"MessageAttributeNames\":[\"test.*\"],"
                                      "\"MessageSystemAttributeNames\":[\"All\",\"Unknown\"]}");
    must_say(reply, "\"Body\":\"h\xc3\xa9 \xf0\x9f\x98\x80\\r\\n\"");
    must_say(reply, "\"MD5OfMessageAttributes\":\"befa18540a897f7d022bf07057754a03\"");
    must_say(reply, "\"AWSTraceHeader\":\"Root=1-5759e988");
    must_say(reply, "\"SenderId\":\"AKIDEXAMPLE\"");
    must_say(reply, "\"ApproximateReceiveCount\":\"1\"");
    char body[200];
    snprintf(body, sizeof body, "{\"QueueUrl\":\"a\",\"ReceiptHandle\":\"%s\"}",
             string_of(reply, "ReceiptHandle"));
    ck_assert_str_eq(json_call(ACTION_DELETE_MESSAGE, body), "");
    ck_assert_str_eq(json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a\"}"), "{}");
    stop();
}
END_TEST

START_TEST(md5_of_the_attributes_that_are_returned)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    json_call(ACTION_SEND,
              "{\"QueueUrl\":\"a\",\"MessageBody\":\"x\",\"MessageAttributes\":{"
              "\"timestamp\":{\"DataType\":\"Number\",\"StringValue\":\"1493147359900\"},"
              "\"other\":{\"DataType\":\"Binary\",\"BinaryValue\":\"AAEC\"}}}");
    const char *reply = json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a\",\"VisibilityTimeout\":0,"
                                                  "\"MessageAttributeNames\":[\"timestamp\"]}");
    must_say(reply, "\"MD5OfMessageAttributes\":\"235c5c510d26fb653d073faed50ae77c\"");
    ck_assert_ptr_null(strstr(reply, "BinaryValue"));
    reply = json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a\",\"VisibilityTimeout\":0,"
                                      "\"MessageAttributeNames\":[\"none\"]}");
    ck_assert_ptr_null(strstr(reply, "MD5OfMessageAttributes"));
    reply =
        json_call(ACTION_RECEIVE,
                  "{\"QueueUrl\":\"a\",\"VisibilityTimeout\":0,\"MessageAttributeNames\":[\"*\"]}");
    must_say(reply, "\"other\":{\"DataType\":\"Binary\",\"BinaryValue\":\"AAEC\"}");
    stop();
}
END_TEST

START_TEST(query_protocol)
{
    start();
    const char *reply = query_call("Action=CreateQueue&QueueName=a&Attribute.1.Name=DelaySeconds&"
                                   "Attribute.1.Value=0&Version=2012-11-05");
    must_say(reply,
             "<CreateQueueResult><QueueUrl>http://queue.example:1234/000000000000/a</QueueUrl>"
             "</CreateQueueResult><ResponseMetadata><RequestId>rid</RequestId>");
    reply = query_call(
        "Action=SendMessage&QueueUrl=http%3A%2F%2Fx%2F0%2Fa&MessageBody=%3Ca%26+%0D%0A%3E&"
        "MessageAttribute.1.Name=test-key&MessageAttribute.1.Value.DataType=String&"
        "MessageAttribute.1.Value.StringValue=test-value");
    must_say(reply, "<MD5OfMessageAttributes>befa18540a897f7d022bf07057754a03<");
    reply = query_call(
        "Action=ReceiveMessage&QueueUrl=a&AttributeName.1=All&MessageAttributeName.1=All");
    must_say(reply, "<Body>&lt;a&amp; &#13;\n&gt;</Body>");
    must_say(reply, "<Attribute><Name>SenderId</Name><Value>AKIDEXAMPLE</Value></Attribute>");
    must_say(reply, "<MessageAttribute><Name>test-key</Name><Value><DataType>String</DataType>"
                    "<StringValue>test-value</StringValue></Value></MessageAttribute>");
    ck_assert_str_eq(query_call("Action=PurgeQueue&QueueUrl=a"),
                     "<?xml version=\"1.0\"?><PurgeQueueResponse "
                     "xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><ResponseMetadata>"
                     "<RequestId>rid</RequestId></ResponseMetadata></PurgeQueueResponse>");
    must_say(query_call("Action=ReceiveMessage&QueueUrl=a"),
             "<ReceiveMessageResult></ReceiveMessageResult>");
    reply = query_call("Action=GetQueueUrl&QueueName=none");
    must_say(reply, "<Error><Type>Sender</Type><Code>AWS.SimpleQueueService.NonExistentQueue</Code>"
                    "<Message>The specified queue does not exist for this wsdl version.</Message>"
                    "<Detail/></Error><RequestId>rid</RequestId></ErrorResponse>");
    stop();
}
END_TEST

START_TEST(query_batches_and_old_lists)
{
    start();
    query_call("Action=CreateQueue&QueueName=a&Attribute.Name=VisibilityTimeout&Attribute.Value=9");
    const char *reply = query_call(
        "Action=SendMessageBatch&QueueUrl=a"
        "&SendMessageBatchRequestEntry.2.Id=two&SendMessageBatchRequestEntry.2.MessageBody=B"
        "&SendMessageBatchRequestEntry.1.Id=one&SendMessageBatchRequestEntry.1.MessageBody=A"
        "&SendMessageBatchRequestEntry.10.Id=ten&SendMessageBatchRequestEntry.10.MessageBody=%00");
    must_say(reply, "<SendMessageBatchResultEntry><Id>one</Id>");
    must_say(reply, "<BatchResultErrorEntry><Id>ten</Id><SenderFault>true</SenderFault>"
                    "<Code>InvalidMessageContents</Code>");
    reply = query_call("Action=ReceiveMessage&QueueUrl=a&MaxNumberOfMessages=10");
    ck_assert_ptr_nonnull(strstr(reply, "<Body>A</Body>"));
    ck_assert(strstr(reply, "<Body>A</Body>") < strstr(reply, "<Body>B</Body>"));
    reply = query_call("Action=GetQueueAttributes&QueueUrl=a&AttributeName=VisibilityTimeout");
    must_say(reply, "<Attribute><Name>VisibilityTimeout</Name><Value>9</Value></Attribute>");
    stop();
}
END_TEST

START_TEST(exact_texts_of_faults)
{
    start();
    json_call(ACTION_CREATE_QUEUE,
              "{\"QueueName\":\"a\",\"Attributes\":{\"MaximumMessageSize\":\"1024\"}}");
    json_fault(
        ACTION_RECEIVE, "{\"QueueUrl\":\"a\",\"MaxNumberOfMessages\":11}", SQS_INVALID_PARAMETER,
        "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and "
        "10, if provided.");
    json_fault(
        ACTION_RECEIVE, "{\"QueueUrl\":\"a\",\"WaitTimeSeconds\":21}", SQS_INVALID_PARAMETER,
        "Value 21 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if "
        "provided.");
    json_fault(ACTION_SEND, "{\"QueueUrl\":\"a\"}", SQS_MISSING_PARAMETER,
               "The request must contain the parameter MessageBody.");
    char body[1300] = "{\"QueueUrl\":\"a\",\"MessageBody\":\"";
    size_t len = strlen(body);
    memset(body + len, 'x', 1025);
    snprintf(body + len + 1025, 10, "\"}");
    json_fault(
        ACTION_SEND, body, SQS_INVALID_PARAMETER,
        "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.");
    snprintf(body + len + 1024, 10, "\"}");
    json_call(ACTION_SEND, body);
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_fault(ACTION_SEND, "{\"QueueUrl\":\"a\",\"MessageBody\":\"\\u0001\"}",
               SQS_INVALID_CONTENTS,
               "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to "
               "#xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.");
    json_fault(
        ACTION_SEND,
        "{\"QueueUrl\":\"a\",\"MessageBody\":\"x\",\"MessageAttributes\":{\"X\":{\"DataType\":"
        "\"String\",\"StringValue\":\"\"}}}",
        SQS_INVALID_PARAMETER,
        "Message (user) attribute 'X' must contain a non-empty value of type 'String'.");
    json_fault(ACTION_DELETE_MESSAGE, "{\"QueueUrl\":\"a\",\"ReceiptHandle\":\"garbage\"}",
               SQS_RECEIPT_HANDLE_INVALID,
               "The input receipt handle \"garbage\" is not a valid receipt handle.");
    json_fault(ACTION_SEND_BATCH, "{\"QueueUrl\":\"a\",\"Entries\":[]}", SQS_EMPTY_BATCH,
               "There should be at least one SendMessageBatchRequestEntry in the request.");
    json_fault(
        ACTION_DELETE_MESSAGE_BATCH,
        "{\"QueueUrl\":\"a\",\"Entries\":[{\"Id\":\"a b\",\"ReceiptHandle\":\"x\"}]}",
        SQS_INVALID_ENTRY_ID,
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It "
        "can be at most 80 letters long.");
    json_fault(ACTION_SEND, "{\"QueueUrl\":\"b\",\"MessageBody\":\"x\"}", SQS_QUEUE_DOES_NOT_EXIST,
               "The specified queue does not exist.");
    json_fault(
        ACTION_SET_ATTRIBUTES,
        "{\"QueueUrl\":\"a\",\"Attributes\":{\"RedrivePolicy\":\"{\\\"deadLetterTargetArn\\\":"
        "\\\"arn:aws:sqs:eu-west-1:000000000000:a\\\",\\\"maxReceiveCount\\\":1001}\"}}",
        SQS_INVALID_PARAMETER,
        "Value {\"deadLetterTargetArn\":\"arn:aws:sqs:eu-west-1:000000000000:a\","
        "\"maxReceiveCount\":1001} for parameter RedrivePolicy is invalid. Reason: Invalid value "
        "for maxReceiveCount: 1001, valid values are from 1 to 1000 both inclusive.");
    stop();
}
END_TEST

START_TEST(batch_limits)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    AUTO_BUF struct buf body = {0};
    buf_add_text(&body, "{\"QueueUrl\":\"a\",\"Entries\":[");
    for (int i = 0; i < 20; i++)
        buf_printf(&body, "%s{\"Id\":\"%d\",\"MessageBody\":\"x\"}", i > 0 ? "," : "", i);
    buf_add_text(&body, "]}");
    json_fault(ACTION_SEND_BATCH, body.data, SQS_TOO_MANY_ENTRIES,
               "Maximum number of entries per request are 10. You have sent 20.");
    buf_clear(&body);
    buf_add_text(&body, "{\"QueueUrl\":\"a\",\"Entries\":[{\"Id\":\"0\",\"MessageBody\":\"");
    for (int i = 0; i < 1048576; i++)
        buf_add_char(&body, 'x');
    buf_add_text(&body, "\"},{\"Id\":\"1\",\"MessageBody\":\"y\"}]}");
    json_fault(ACTION_SEND_BATCH, body.data, SQS_BATCH_TOO_LONG,
               "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes.");
    json_fault(ACTION_SEND_BATCH,
               "{\"QueueUrl\":\"a\",\"Entries\":[{\"Id\":\"0\",\"MessageBody\":\"x\"},"
               "{\"Id\":\"0\",\"MessageBody\":\"x\"}]}",
               SQS_IDS_NOT_DISTINCT, "Id 0 repeated.");
    const char *reply =
        json_call(ACTION_SEND_BATCH,
                  "{\"QueueUrl\":\"a\",\"Entries\":[{\"Id\":\"good\",\"MessageBody\":\"x\"},"
                  "{\"Id\":\"bad\",\"MessageBody\":\"x\",\"DelaySeconds\":901}]}");
    must_say(reply, "\"Successful\":[{\"Id\":\"good\"");
    must_say(reply,
             "\"Failed\":[{\"Id\":\"bad\",\"SenderFault\":true,\"Code\":\"InvalidParameterValue\"");
    stop();
}
END_TEST

START_TEST(zero_is_not_absent)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\",\"Attributes\":{\"DelaySeconds\":\"9\","
                                   "\"ReceiveMessageWaitTimeSeconds\":\"20\"}}");
    json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a\"}");
    ck_assert_int_eq(call.wait_s, 20);
    json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a\",\"WaitTimeSeconds\":0}");
    ck_assert_int_eq(call.wait_s, 0);
    json_call(ACTION_SEND, "{\"QueueUrl\":\"a\",\"MessageBody\":\"x\",\"DelaySeconds\":0}");
    must_say(json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a\",\"VisibilityTimeout\":0}"), "\"Body\"");
    ck_assert_int_eq(call.wait_s, 0);
    must_say(json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a\"}"), "\"Body\"");
    stop();
}
END_TEST

START_TEST(listing_in_pages)
{
    start();
    char body[200];
    for (int i = 0; i < 5; i++) {
        snprintf(body, sizeof body, "{\"QueueName\":\"q%d\"}", i);
        json_call(ACTION_CREATE_QUEUE, body);
    }
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"other\"}");
    const char *reply =
        json_call(ACTION_LIST_QUEUES, "{\"QueueNamePrefix\":\"q\",\"MaxResults\":3}");
    must_say(reply, "/q2\"]");
    snprintf(body, sizeof body, "{\"QueueNamePrefix\":\"q\",\"MaxResults\":3,\"NextToken\":\"%s\"}",
             string_of(reply, "NextToken"));
    ck_assert_str_eq(json_call(ACTION_LIST_QUEUES, body),
                     "{\"QueueUrls\":[\"http://queue.example:1234/000000000000/q3\","
                     "\"http://queue.example:1234/000000000000/q4\"]}");
    stop();
}
END_TEST

START_TEST(tags)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\",\"tags\":{\"k\":\"v\"}}");
    json_call(ACTION_TAG, "{\"QueueUrl\":\"a\",\"Tags\":{\"k\":\"w\",\"K\":\"\"}}");
    ck_assert_str_eq(json_call(ACTION_LIST_TAGS, "{\"QueueUrl\":\"a\"}"),
                     "{\"Tags\":{\"k\":\"w\",\"K\":\"\"}}");
    must_say(query_call("Action=ListQueueTags&QueueUrl=a"),
             "<Tag><Key>k</Key><Value>w</Value></Tag><Tag><Key>K</Key><Value></Value></Tag>");
    json_call(ACTION_UNTAG, "{\"QueueUrl\":\"a\",\"TagKeys\":[\"k\",\"K\",\"none\"]}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    ck_assert_str_eq(json_call(ACTION_LIST_TAGS, "{\"QueueUrl\":\"a\"}"), "{}");
    stop();
}
END_TEST

START_TEST(permissions)
{
    start();
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\"}");
    ck_assert_str_eq(
        json_call(ACTION_ADD_PERMISSION,
                  "{\"QueueUrl\":\"a\",\"Label\":\"one\",\"AWSAccountIds\":[\"111122223333\"],"
                  "\"Actions\":[\"SendMessage\"]}"),
        "");
    query_call("Action=AddPermission&QueueUrl=a&Label=two&AWSAccountId.1=111122223333&"
               "AWSAccountId.2=444455556666&ActionName.1=SendMessage&ActionName.2=ReceiveMessage");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    char policy[1000];
    const char *reply =
        json_call(ACTION_GET_ATTRIBUTES, "{\"QueueUrl\":\"a\",\"AttributeNames\":[\"Policy\"]}");
    json_t *root = json_loads(reply, 0, NULL);
    snprintf(policy, sizeof policy, "%s",
             json_string_value(json_object_get(json_object_get(root, "Attributes"), "Policy")));
    json_decref(root);
    ck_assert_str_eq(policy,
                     "{\"Version\":\"2008-10-17\",\"Id\":\"arn:aws:sqs:eu-west-1:000000000000:a/"
                     "SQSDefaultPolicy\",\"Statement\":[{\"Sid\":\"one\",\"Effect\":\"Allow\","
                     "\"Principal\":{\"AWS\":\"arn:aws:iam::111122223333:root\"},\"Action\":"
                     "\"SQS:SendMessage\",\"Resource\":\"arn:aws:sqs:eu-west-1:000000000000:a\"},"
                     "{\"Sid\":\"two\",\"Effect\":\"Allow\",\"Principal\":{\"AWS\":["
                     "\"arn:aws:iam::111122223333:root\",\"arn:aws:iam::444455556666:root\"]},"
                     "\"Action\":[\"SQS:SendMessage\",\"SQS:ReceiveMessage\"],\"Resource\":"
                     "\"arn:aws:sqs:eu-west-1:000000000000:a\"}]}");
    json_fault(ACTION_ADD_PERMISSION,
               "{\"QueueUrl\":\"a\",\"Label\":\"one\",\"AWSAccountIds\":[\"111122223333\"],"
               "\"Actions\":[\"SendMessage\"]}",
               SQS_INVALID_PARAMETER,
               "Value one for parameter Label is invalid. Reason: Already exists.");
    json_fault(ACTION_ADD_PERMISSION,
               "{\"QueueUrl\":\"a\",\"Label\":\"x\",\"AWSAccountIds\":[\"111122223333\"],"
               "\"Actions\":[\"Foo\"]}",
               SQS_INVALID_PARAMETER,
               "Value SQS:Foo for parameter ActionName is invalid. Reason: Please refer to the "
               "appropriate WSDL for a list of valid actions. ");
    json_call(ACTION_REMOVE_PERMISSION, "{\"QueueUrl\":\"a\",\"Label\":\"one\"}");
    json_call(ACTION_REMOVE_PERMISSION, "{\"QueueUrl\":\"a\",\"Label\":\"two\"}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    ck_assert_str_eq(
        json_call(ACTION_GET_ATTRIBUTES, "{\"QueueUrl\":\"a\",\"AttributeNames\":[\"Policy\"]}"),
        "{}");
    json_fault(ACTION_REMOVE_PERMISSION, "{\"QueueUrl\":\"a\",\"Label\":\"one\"}",
               SQS_INVALID_PARAMETER,
               "Value one for parameter Label is invalid. Reason: can't find label.");
    stop();
}
END_TEST

START_TEST(move_tasks)
{
    start();
    make_dead_letters(25);
    ck_assert_str_eq(json_call(ACTION_LIST_SOURCES, "{\"QueueUrl\":\"dead\"}"),
                     "{\"queueUrls\":[\"http://queue.example:1234/000000000000/jobs\"]}");
    ck_assert_str_eq(json_call(ACTION_LIST_SOURCES, "{\"QueueUrl\":\"jobs\"}"),
                     "{\"queueUrls\":[]}");
    json_fault(ACTION_START_MOVE_TASK, "{\"SourceArn\":\"" ARN("jobs") "\"}", SQS_INVALID_PARAMETER,
               "Source queue must be configured as a Dead Letter Queue.");
    json_fault(ACTION_START_MOVE_TASK, "{\"SourceArn\":\"" ARN("none") "\"}",
               SQS_RESOURCE_NOT_FOUND,
               "The resource that you specified for the SourceArn parameter doesn't exist.");
    json_fault(ACTION_START_MOVE_TASK, "{\"SourceArn\":\"x\"}", SQS_INVALID_PARAMETER,
               "You must use this format to specify the SourceArn: "
               "arn:<partition>:<service>:<region>:<account-id>:<resource-id>");
    // at a rate, and over a restart
    json_call(ACTION_START_MOVE_TASK,
              "{\"SourceArn\":\"" ARN("dead") "\",\"MaxNumberOfMessagesPerSecond\":10}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_fault(
        ACTION_START_MOVE_TASK, "{\"SourceArn\":\"" ARN("dead") "\"}", SQS_INVALID_PARAMETER,
        "There is already a task running. Only one active task is allowed for a source queue "
        "arn at a given time.");
    rig_advance(&r, 1000);
    ck_assert_uint_ge(visible("jobs"), 9);
    ck_assert_uint_le(visible("jobs"), 12);
    rig_turn(&r);
    rig_close(&r);
    ck_assert_int_eq(rig_open(&r), OK);
    for (int i = 0; i < 30; i++)
        rig_advance(&r, 100);
    rig_turn(&r);
    ck_assert_uint_eq(visible("dead"), 0);
    ck_assert_uint_eq(visible("jobs"), 25);
    const char *reply = json_call(ACTION_LIST_MOVE_TASKS, "{\"SourceArn\":\"" ARN("dead") "\"}");
    must_say(reply, "\"Status\":\"COMPLETED\"");
    must_say(reply, "\"ApproximateNumberOfMessagesToMove\":25");
    ck_assert_ptr_null(strstr(reply, "TaskHandle"));
    reply = json_call(ACTION_RECEIVE,
                      "{\"QueueUrl\":\"jobs\",\"MessageSystemAttributeNames\":[\"All\"]}");
    must_say(reply, "\"ApproximateReceiveCount\":\"1\"");
    ck_assert_ptr_null(strstr(reply, "DeadLetterQueueSourceArn"));
    stop();
}
END_TEST

START_TEST(move_task_cancelled_and_failed)
{
    start();
    make_dead_letters(5);
    char body[600];
    snprintf(body, sizeof body, "{\"TaskHandle\":\"%s\"}",
             string_of(json_call(ACTION_START_MOVE_TASK,
                                 "{\"SourceArn\":\"" ARN(
                                     "dead") "\",\"MaxNumberOfMessagesPerSecond\":1}"),
                       "TaskHandle"));
    must_say(json_call(ACTION_CANCEL_MOVE_TASK, body), "\"ApproximateNumberOfMessagesMoved\":");
    json_fault(ACTION_CANCEL_MOVE_TASK, body, SQS_RESOURCE_NOT_FOUND, "Task does not exist.");
    json_fault(ACTION_CANCEL_MOVE_TASK, "{\"TaskHandle\":\"foo\"}", SQS_INVALID_PARAMETER,
               "Value for parameter TaskHandle is invalid.");
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"other\"}");
    json_call(ACTION_START_MOVE_TASK,
              "{\"SourceArn\":\"" ARN("dead") "\",\"DestinationArn\":\"" ARN(
                  "other") "\",\"MaxNumberOfMessagesPerSecond\":1}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    json_call(ACTION_DELETE_QUEUE, "{\"QueueUrl\":\"other\"}");
    rig_advance(&r, 2000);
    const char *reply =
        query_call("Action=ListMessageMoveTasks&MaxResults=10&SourceArn=" ARN("dead"));
    must_say(reply, "<ListMessageMoveTasksResultEntry><Status>FAILED</Status>");
    must_say(reply, "<FailureReason>AWS.SimpleQueueService.NonExistentQueue</FailureReason>");
    must_say(reply, "<Status>CANCELLED</Status>");
    stop();
}
END_TEST

START_TEST(fifo_over_the_protocol)
{
    start();
    json_fault(ACTION_CREATE_QUEUE, "{\"QueueName\":\"a\",\"Attributes\":{\"FifoQueue\":\"true\"}}",
               SQS_INVALID_PARAMETER,
               "The name of a FIFO queue can only include alphanumeric characters, hyphens, or "
               "underscores, must end with .fifo suffix and be 1 to 80 in length");
    json_call(ACTION_CREATE_QUEUE,
              "{\"QueueName\":\"a.fifo\",\"Attributes\":{\"FifoQueue\":\"True\"}}");
    ck_assert_int_eq(call.fault.code, SQS_OK);
    const char *reply =
        json_call(ACTION_GET_ATTRIBUTES, "{\"QueueUrl\":\"a.fifo\",\"AttributeNames\":[\"All\"]}");
    json_t *root = json_loads(reply, 0, NULL);
    ck_assert_uint_eq(json_object_size(json_object_get(root, "Attributes")), 16);
    json_decref(root);
    must_say(reply, "\"FifoQueue\":\"true\"");
    json_fault(ACTION_SEND, "{\"QueueUrl\":\"a.fifo\",\"MessageBody\":\"x\"}",
               SQS_MISSING_PARAMETER, "The request must contain the parameter MessageGroupId.");
    json_fault(ACTION_SEND,
               "{\"QueueUrl\":\"a.fifo\",\"MessageBody\":\"x\",\"MessageGroupId\":\"g\"}",
               SQS_INVALID_PARAMETER,
               "The queue should either have ContentBasedDeduplication enabled or "
               "MessageDeduplicationId provided explicitly");
    json_fault(
        ACTION_SEND,
        "{\"QueueUrl\":\"a.fifo\",\"MessageBody\":\"x\",\"MessageGroupId\":\"g\","
        "\"MessageDeduplicationId\":\"d\",\"DelaySeconds\":2}",
        SQS_INVALID_PARAMETER,
        "Value 2 for parameter DelaySeconds is invalid. Reason: The request include parameter "
        "that is not valid for this queue type.");
    json_fault(ACTION_SEND_BATCH,
               "{\"QueueUrl\":\"a.fifo\",\"Entries\":[{\"Id\":\"1\",\"MessageBody\":\"x\"}]}",
               SQS_INVALID_PARAMETER, "The request must contain the parameter MessageGroupId.");
    const char *send = "{\"QueueUrl\":\"a.fifo\",\"MessageBody\":\"x\",\"MessageGroupId\":\"g\","
                       "\"MessageDeduplicationId\":\"d\"}";
    char id[100], sequence[100];
    reply = json_call(ACTION_SEND, send);
    snprintf(id, sizeof id, "%.99s", string_of(reply, "MessageId"));
    snprintf(sequence, sizeof sequence, "%.99s", string_of(reply, "SequenceNumber"));
    ck_assert_uint_eq(strlen(sequence), 20);
    reply = json_call(ACTION_SEND, send);
    ck_assert_str_eq(string_of(reply, "MessageId"), id);
    reply = json_call(ACTION_RECEIVE, "{\"QueueUrl\":\"a.fifo\",\"MaxNumberOfMessages\":10,"
                                      "\"MessageSystemAttributeNames\":[\"All\"]}");
    must_say(reply,
             "\"MessageGroupId\":\"g\",\"MessageDeduplicationId\":\"d\",\"SequenceNumber\":\"");
    must_say(reply, sequence);
    json_fault(ACTION_SET_ATTRIBUTES,
               "{\"QueueUrl\":\"a.fifo\",\"Attributes\":{\"FifoQueue\":\"false\"}}",
               SQS_INVALID_ATTRIBUTE_VALUE,
               "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not "
               "supported.");
    json_call(ACTION_CREATE_QUEUE, "{\"QueueName\":\"s\"}");
    json_fault(
        ACTION_SEND, "{\"QueueUrl\":\"s\",\"MessageBody\":\"x\",\"MessageDeduplicationId\":\"d\"}",
        SQS_INVALID_PARAMETER,
        "Value d for parameter MessageDeduplicationId is invalid. Reason: The request includes a "
        "parameter that is not valid for this queue type.");
    stop();
}
END_TEST

START_TEST(malformed_json)
{
    static const char *const bad[] = {
        "{",
        "[]",
        "{\"QueueUrl\":5}",
        "{\"QueueUrl\":\"a\"",
        "{\"QueueUrl\":\"a\"} x",
        "{\"QueueUrl\":\"\\ud800\"}",
        "{\"QueueUrl\":\"a\",}",
        "{\"MaxNumberOfMessages\":1.5}",
        "{\"MaxNumberOfMessages\":\"x\"}",
        "{\"MessageAttributes\":[]}",
        "{\"QueueUrl\":\"\xff\"}",
        "{\"Entries\":{}}",
        "{\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
        "{\"x\":01}",
        "{\"x\":nul}",
    };
    start();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_call(ACTION_RECEIVE, bad[i]);
        ck_assert_msg(call.fault.code == SQS_MALFORMED, "'%s' gave %d", bad[i], call.fault.code);
    }
    stop();
}
END_TEST

SUITE_MAIN("actions", queue_in_json, creating_again, send_and_receive_in_json,
           md5_of_the_attributes_that_are_returned, query_protocol, query_batches_and_old_lists,
           exact_texts_of_faults, batch_limits, zero_is_not_absent, listing_in_pages, tags,
           permissions, move_tasks, move_task_cancelled_and_failed, fifo_over_the_protocol,
           malformed_json)
