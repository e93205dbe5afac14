"""The sqs role through real clients: boto3 (Query protocol), raw signed JSON, awscli, and bad input."""
import json
import re
import socket
import urllib.parse

import botocore.exceptions
import pytest

import smelt


@pytest.fixture
def sqs(site):
    return site.role("sqs")


def test_boto3_does_everything(site, sqs):
    c = site.client("sqs", sqs.url)
    url = c.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "60"},
                         tags={"team": "a"})["QueueUrl"]
    assert url == sqs.url + "/000000000000/jobs"
    body = "h\u00e9 <&>\r\n\t\U0001f600"
    sent = c.send_message(QueueUrl=url, MessageBody=body, MessageAttributes={
        "text": {"DataType": "String", "StringValue": "v\r"},
        "number": {"DataType": "Number.int", "StringValue": "7"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}})  # boto3 checks the MD5s
    got = c.receive_message(QueueUrl=url, AttributeNames=["All"], MessageAttributeNames=["All"])
    message = got["Messages"][0]
    assert message["MessageId"] == sent["MessageId"]
    assert message["Body"] == body
    assert message["MessageAttributes"]["bytes"]["BinaryValue"] == b"\x00\xff"
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    c.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"],
                                VisibilityTimeout=0)
    message = c.receive_message(QueueUrl=url)["Messages"][0]
    c.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    entries = [{"Id": str(i), "MessageBody": "m%d" % i} for i in range(10)]
    assert len(c.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 10
    messages = c.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert sorted(m["Body"] for m in messages) == ["m%d" % i for i in range(10)]
    counts = c.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessagesNotVisible"] == "10"
    handles = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(messages)]
    c.change_message_visibility_batch(QueueUrl=url, Entries=[
        dict(h, VisibilityTimeout=100) for h in handles])
    assert len(c.delete_message_batch(QueueUrl=url, Entries=handles)["Successful"]) == 10
    assert "Messages" not in c.receive_message(QueueUrl=url)
    assert c.list_queues()["QueueUrls"] == [url]
    c.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "3"})
    c.purge_queue(QueueUrl=url)
    c.delete_queue(QueueUrl=url)
    with pytest.raises(botocore.exceptions.ClientError) as error:
        c.get_queue_url(QueueName="jobs")
    assert error.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_json_protocol_on_the_wire(site, sqs):
    status, headers, body = site.sqs_json(sqs.url, "CreateQueue", QueueName="jobs")
    assert (status, headers["Content-Type"]) == (200, "application/x-amz-json-1.0")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", headers["x-amzn-RequestId"])
    url = body["QueueUrl"]
    status, _, body = site.sqs_json(sqs.url, "SendMessage", QueueUrl=url, MessageBody="x")
    assert status == 200 and "MD5OfMessageBody" in body
    status, _, body = site.sqs_json(sqs.url, "ReceiveMessage", QueueUrl="jobs")  # a bare name
    handle = body["Messages"][0]["ReceiptHandle"]
    status, headers, body = site.sqs_json(sqs.url, "DeleteMessage", QueueUrl=url,
                                          ReceiptHandle=handle)
    assert (status, headers["Content-Length"], body) == (200, "0", None)
    assert site.sqs_json(sqs.url, "ReceiveMessage", QueueUrl=url)[2] == {}
    status, headers, body = site.sqs_json(sqs.url, "SendMessage", QueueUrl=url + "x",
                                          MessageBody="x")
    assert status == 400
    assert headers["x-amzn-query-error"] == "AWS.SimpleQueueService.NonExistentQueue;Sender"
    assert body == {"__type": "com.amazonaws.sqs#QueueDoesNotExist",
                    "message": "The specified queue does not exist."}
    status, headers, body = site.sqs_json(sqs.url, "DeleteMessage", QueueUrl=url,
                                          ReceiptHandle="no")
    assert (status, headers["x-amzn-query-error"]) == (404, "ReceiptHandleIsInvalid;Sender")


def test_json_on_a_queue_url_and_get_on_a_queue_url(site, sqs):
    url = site.sqs_json(sqs.url, "CreateQueue", QueueName="jobs")[2]["QueueUrl"]
    body = json.dumps({"MessageBody": "x"}).encode()
    _, headers = site.sign("sqs", "POST", url, body, {
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"})
    assert smelt.http("POST", url, body, headers)[0] == 200
    signed, headers = site.sign("sqs", "GET", url + "?Action=ReceiveMessage&Version=2012-11-05")
    status, _, text = smelt.http("GET", signed, None, headers)
    assert status == 200 and b"<Body>x</Body>" in text
    signed, headers = site.sign("sqs", "GET", url + "?Action=ListQueues")
    status, _, text = smelt.http("GET", signed, None, headers)
    assert status == 400 and b"is not valid for this endpoint" in text
    signed, headers = site.sign("sqs", "GET", url)
    status, _, text = smelt.http("GET", signed, None, headers)
    assert (status, text) == (404, b"<UnknownOperationException/>")


def test_queue_urls_follow_the_host_header(site, sqs):
    body = urllib.parse.urlencode({"Action": "CreateQueue", "QueueName": "jobs"}).encode()
    named = "http://localhost:%d/" % sqs.port  # in the header only: not every system resolves it
    _, headers = site.sign("sqs", "POST", named, body,
                           {"Content-Type": "application/x-www-form-urlencoded"})
    headers["Host"] = "localhost:%d" % sqs.port
    status, _, text = smelt.http("POST", sqs.url + "/", body, headers)
    assert status == 200
    assert ("<QueueUrl>http://localhost:%d/000000000000/jobs<" % sqs.port).encode() in text


def test_signatures_are_checked(site, sqs):
    url = sqs.url + "/"
    body = b"Action=ListQueues"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _, text = smelt.http("POST", url, body, form)
    assert status == 403 and b"MissingAuthenticationToken" in text
    _, headers = site.sign("sqs", "POST", url, body, form)
    assert smelt.http("POST", url, body, headers)[0] == 200
    status, _, text = smelt.http("POST", url, b"Action=ListQueuez", headers)  # another body
    assert status == 403 and b"SignatureDoesNotMatch" in text
    wrong = dict(headers, Authorization=headers["Authorization"].replace("Credential=", "Credential=X"))
    status, _, text = smelt.http("POST", url, body, wrong)
    assert status == 403 and b"InvalidClientTokenId" in text
    key, secret = site.keys()
    assert secret.encode() not in text
    for path, status in (("/livez", 200), ("/readyz", 200), ("/metrics", 200)):
        assert smelt.http("GET", sqs.url + path)[0] == status


def test_bad_input_is_answered_and_harmless(site, sqs):
    c = site.client("sqs", sqs.url)
    c.create_queue(QueueName="jobs")
    for raw in (b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"b" * 100000 + b"\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", sqs.port), timeout=10) as s:
            try:
                s.sendall(raw)
                s.shutdown(socket.SHUT_WR)
                answer = s.recv(1000)
            except TimeoutError:
                raise
            except OSError:
                answer = b""  # cut off before all was sent: as good
            assert re.match(rb"$|HTTP/1\.1 (4\d\d|505) ", answer), (raw[:40], answer)
    for body in (b"{", b"[" * 100000, b'{"QueueUrl":"\xff"}', b'{"QueueUrl":{"a":1}}'):
        _, headers = site.sign("sqs", "POST", sqs.url + "/", body, {
            "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"})
        status, _, answer = smelt.http("POST", sqs.url + "/", body, headers)
        assert status == 400 and answer["message"], body[:20]
    assert c.list_queues()["QueueUrls"]


def test_one_mebibyte_and_not_one_byte_more(site, sqs):
    c = site.client("sqs", sqs.url)
    url = c.create_queue(QueueName="jobs")["QueueUrl"]
    c.send_message(QueueUrl=url, MessageBody="x" * 1048576)
    assert len(c.receive_message(QueueUrl=url)["Messages"][0]["Body"]) == 1048576
    with pytest.raises(botocore.exceptions.ClientError) as error:
        c.send_message(QueueUrl=url, MessageBody="x" * 1048577)
    assert "shorter than 1048576 bytes" in str(error.value)
    status, _, answer = smelt.http("POST", sqs.url + "/", b"x" * (8 << 20), {
        "X-Amz-Target": "AmazonSQS.SendMessage", "Content-Type": "application/x-amz-json-1.0"})
    assert status == 413


def test_dead_letter_queue(site, sqs):
    c = site.client("sqs", sqs.url)
    dead = c.create_queue(QueueName="dead")["QueueUrl"]
    arn = c.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    url = c.create_queue(QueueName="jobs", Attributes={
        "VisibilityTimeout": "0",
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})})["QueueUrl"]
    c.send_message(QueueUrl=url, MessageBody="poison")
    for _ in range(2):
        assert len(c.receive_message(QueueUrl=url)["Messages"]) == 1
    assert "Messages" not in c.receive_message(QueueUrl=url)
    message = c.receive_message(QueueUrl=dead, AttributeNames=["All"])["Messages"][0]
    assert message["Attributes"]["ApproximateReceiveCount"] == "3"
    assert message["Attributes"]["DeadLetterQueueSourceArn"].endswith(":jobs")


def test_fifo_queue(site, sqs):
    c = site.client("sqs", sqs.url)
    url = c.create_queue(QueueName="jobs.fifo", Attributes={
        "FifoQueue": "true", "ContentBasedDeduplication": "true"})["QueueUrl"]
    first = c.send_message(QueueUrl=url, MessageBody="a", MessageGroupId="g1")
    again = c.send_message(QueueUrl=url, MessageBody="a", MessageGroupId="g1")
    assert first["MessageId"] == again["MessageId"]
    for body in "bcd":
        sent = c.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g1")
        assert sent["SequenceNumber"] > first["SequenceNumber"]
    got = c.receive_message(QueueUrl=url, MaxNumberOfMessages=2, AttributeNames=["All"])["Messages"]
    assert [m["Body"] for m in got] == ["a", "b"]
    assert got[0]["Attributes"]["SequenceNumber"] == first["SequenceNumber"]
    assert "Messages" not in c.receive_message(QueueUrl=url)
    c.tag_queue(QueueUrl=url, Tags={"a": "b"})  # what is acknowledged makes the receives before it durable
    sqs.kill()
    sqs = site.role("sqs", port=sqs.port)
    assert c.send_message(QueueUrl=url, MessageBody="a",
                          MessageGroupId="g1")["MessageId"] == first["MessageId"]
    c.delete_message_batch(QueueUrl=url, Entries=[
        {"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(got)])
    got = c.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [m["Body"] for m in got] == ["c", "d"]


def test_metrics_have_no_series_twice(site, sqs):
    site.client("sqs", sqs.url).create_queue(QueueName="jobs")
    text = smelt.http("GET", sqs.url + "/metrics")[2].decode()
    names = [line.rsplit(" ", 1)[0] for line in text.splitlines() if line and line[0] != "#"]
    assert len(names) == len(set(names))
    assert 'ApproximateNumberOfMessagesVisible{queue="jobs"}' in names


def test_trace_header_of_a_request_comes_with_the_message(site, sqs):
    site.sqs_json(sqs.url, "CreateQueue", QueueName="jobs")
    cases = (("Root=1-5759e988-bd862e3fe1be46a994272793", True), ("x" * 1025, False),
             ("caf\xe9", False))  # not UTF-8: it could not be given back
    for trace, kept in cases:
        body = json.dumps({"QueueUrl": "jobs", "MessageBody": "x"}).encode()
        _, headers = site.sign("sqs", "POST", sqs.url + "/", body, {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": "AmazonSQS.SendMessage"})
        headers["X-Amzn-Trace-Id"] = trace  # a proxy adds it behind the signature
        status, _, sent = smelt.http("POST", sqs.url + "/", body, headers)
        assert status == 200 and "MD5OfMessageSystemAttributes" not in sent
        _, _, got = site.sqs_json(sqs.url, "ReceiveMessage", QueueUrl="jobs",
                                  MessageSystemAttributeNames=["AWSTraceHeader"])
        (message,) = got["Messages"]
        assert message.get("Attributes") == ({"AWSTraceHeader": trace} if kept else None)
        site.sqs_json(sqs.url, "DeleteMessage", QueueUrl="jobs",
                      ReceiptHandle=message["ReceiptHandle"])


def test_a_query_may_be_answered_in_json(site, sqs):
    c = site.client("sqs", sqs.url)
    url = c.create_queue(QueueName="jobs")["QueueUrl"]
    c.send_message(QueueUrl=url, MessageBody="x")
    signed, headers = site.sign("sqs", "GET", url + "?Action=ReceiveMessage&AttributeName.1=SenderId")
    headers["Accept"] = "application/json"
    status, got, body = smelt.http("GET", signed, None, headers)
    assert (status, got["Content-Type"]) == (200, "application/json")
    (message,) = body["ReceiveMessageResponse"]["ReceiveMessageResult"]["messages"]
    assert message["Body"] == "x" and message["Attributes"][0]["Name"] == "SenderId"
    signed, headers = site.sign("sqs", "GET", url)
    headers["Accept"] = "application/json"
    status, _, text = smelt.http("GET", signed, None, headers)
    assert (status, text) == (404, b"<UnknownOperationException/>")
