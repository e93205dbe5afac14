"""Clients that lie, stall, flood or go away: each gets a clear answer, costs little, and the others never notice."""
import json
import re
import resource
import socket
import time
import xml.etree.ElementTree

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import smelt

JSON = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"}


@pytest.fixture
def sqs(site):
    return site.role("sqs")


@pytest.fixture
def queue(site, sqs):
    client = site.client("sqs", sqs.url)
    return client, client.create_queue(QueueName="jobs")["QueueUrl"]


def dial(sqs):
    return socket.create_connection(("127.0.0.1", sqs.port), 20)


def head_of(site, sqs, body_bytes, body=b"", headers=None, **other):
    """A signed head that announces a body."""
    _, signed = site.sign("sqs", "POST", sqs.url + "/", body, dict(JSON, Host="127.0.0.1:%d" % sqs.port, **(headers or {})))
    signed.update(other, **{"Content-Length": str(body_bytes)})
    return ("POST / HTTP/1.1\r\n" + "".join("%s: %s\r\n" % h for h in signed.items()) + "\r\n").encode()


def signed_receive(site, sqs, body):
    return site.sign("sqs", "POST", sqs.url + "/", body, dict(JSON, **{"X-Amz-Target": "AmazonSQS.ReceiveMessage"}))[1]


def read_all(s):
    answer = b""
    try:
        while piece := s.recv(65536):
            answer += piece
    except ConnectionError:
        pass
    return answer


def aws_error(answer):
    head, body = answer.split(b"\r\n\r\n", 1)
    return int(head.split()[1]), json.loads(body)


# --- bodies ---

def test_a_large_body_is_taken_in_only_with_a_known_key(site, sqs, queue):
    """The answer comes to the head alone: nothing of the 5 MB was sent."""
    good = head_of(site, sqs, 5_000_000).decode()
    for head, status, code in (
            (good.replace("Credential=", "Credential=X"), 403, "UnrecognizedClientException"),
            (re.sub(r"Authorization: .*\r\n", "", good), 403, "MissingAuthenticationTokenException"),
            (re.sub(r"Signature=\w+", "Signature=12", good), 400, "IncompleteSignatureException"),
            (good.replace("x-amz-date", "x-amz-dats"), 400, "IncompleteSignatureException"),
            (re.sub(r"(X-Amz-Date: )\d{8}", r"\g<1>20200101", good), 403, "InvalidSignatureException")):
        with dial(sqs) as s:
            s.sendall(head.encode())
            answer = b""
            while not answer.endswith(b"}"):
                answer += s.recv(65536)
            got, error = aws_error(answer)
            assert got == status and error["__type"].endswith(code) and error["message"], answer
            assert site.keys()[1].encode() not in answer
    # a known key with a wrong signature: after the body, in the same words as always
    with dial(sqs) as s:
        s.sendall(good.encode() + b"x" * 5_000_000)
        s.shutdown(socket.SHUT_WR)
        got, error = aws_error(read_all(s))
        assert got == 403 and error["__type"].endswith("InvalidSignatureException"), error


def test_unfinished_bodies_together_have_a_limit(site, sqs, queue):
    client, url = queue
    body_bytes = 7_000_000
    head = head_of(site, sqs, body_bytes)
    open_ones, refused = [], 0
    for _ in range(42):  # 42 x 7 MB is more than 256 MiB
        s = dial(sqs)
        try:
            s.sendall(head + b"x" * (body_bytes - 1))
        except ConnectionError:
            pass
        open_ones.append(s)
    for s in open_ones:
        s.setblocking(False)
        try:
            answer = s.recv(65536)
        except BlockingIOError:
            continue
        got, error = aws_error(answer)
        assert got == 503 and "unfinished" in error["message"], answer
        refused += 1
    assert 3 <= refused <= 10
    client.send_message(QueueUrl=url, MessageBody="x" * 100)  # small ones still fit
    for s in open_ones:
        s.close()
    smelt.wait_until(lambda: client.send_message(QueueUrl=url, MessageBody="x" * 1_000_000))


def test_replies_that_nobody_reads_have_a_limit(site, sqs, queue):
    client, url = queue
    for _ in range(8):
        client.send_message(QueueUrl=url, MessageBody="x" * 1_000_000)
    body = json.dumps({"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0}).encode()
    request = head_of(site, sqs, len(body), body, {"X-Amz-Target": "AmazonSQS.ReceiveMessage"}) + body
    deaf, refused = [], b""
    for _ in range(60):  # 60 x 8 MB is more than 256 MiB
        s = dial(sqs)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(request)
        deaf.append(s)
        if b" 503 " in (start := s.recv(2000)):
            refused = start
            break
    assert b"ServiceUnavailable" in refused and b"have not read" in refused
    assert 30 <= len(deaf) <= 40
    sent = client.send_message(QueueUrl=url, MessageBody="small")  # all else goes on
    assert sent["MessageId"] and smelt.http("GET", sqs.url + "/readyz")[0] == 200
    for s in deaf:
        s.close()
    smelt.wait_until(lambda: smelt.http("POST", sqs.url + "/", body, signed_receive(site, sqs, body))[0] == 200)


@pytest.mark.parametrize("body, words", [
    (b'{"QueueUrl":"jobs","MessageBody":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "MessageBody|string|JSON"),
    (b'{"QueueUrl":"jobs","x":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}", "."),
    (b'{"QueueUrl":"jobs","MessageBody":"a\xff\xfe"}', "."),
    (b'{"QueueUrl":"jobs","MessageBody":"\\ud800"}', "."),
    (b'{"QueueUrl":"jobs","MessageBody":"\xed\xa0\x80"}', "."),
    (b'{"QueueUrl":"jobs","MessageBody":"a\x00b"}', "."),
    (b'{"QueueUrl":"jobs","MessageBody":"a\\u0000b"}', "."),
    (b'{"QueueUrl":"jobs","MessageBody":"x"', "."),
    (b'{"QueueUrl":"jobs","MessageBody":"x"}garbage', "."),
    (b'\xef\xbb\xbf{"QueueUrl":"jobs","MessageBody":"x"}', "."),
], ids=["deep-array", "deep-object", "not-utf8", "half-surrogate", "utf8-surrogate", "nul", "escaped-nul", "cut-off",
        "garbage-behind", "byte-order-mark"])
def test_json_that_cannot_be(site, sqs, queue, body, words):
    client, url = queue
    _, headers = site.sign("sqs", "POST", sqs.url + "/", body, dict(JSON))
    status, got, answer = smelt.http("POST", sqs.url + "/", body, headers)
    assert status == 400 and got["x-amzn-RequestId"], answer
    assert answer["__type"].startswith("com.amazon") and re.search(words, answer["message"]), answer
    assert "Messages" not in client.receive_message(QueueUrl=url)


def test_xml_in_a_message_stays_text(queue):
    client, url = queue  # botocore speaks the Query protocol: the answer is XML
    text = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;&amp;]]></x>\r\n\t'
    client.send_message(QueueUrl=url, MessageBody=text)
    assert client.receive_message(QueueUrl=url)["Messages"][0]["Body"] == text


# --- what the HTTP layer refuses ---

def test_refused_requests_are_told_in_their_own_protocol(sqs):
    json_head = b"X-Amz-Target: AmazonSQS.SendMessage\r\nContent-Type: application/x-amz-json-1.0\r\n"
    query_head = b"Content-Type: application/x-www-form-urlencoded\r\n"
    many = b"".join(b"X-%d: 1\r\n" % i for i in range(120))
    for rest, status, shape, code in (
            (b"Host: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "MalformedHttpRequestException", "MalformedHttpRequest"),
            (b"Host: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "MalformedHttpRequestException", "MalformedHttpRequest"),
            (b"Host: x\r\n" + many + b"\r\n", 431, "RequestHeaderSectionTooLarge", "RequestHeaderSectionTooLarge")):
        for head in (json_head, query_head):
            with dial(sqs) as s:
                s.sendall(b"POST / HTTP/1.1\r\n" + head + rest)
                answer = read_all(s)
            text = answer.split(b"\r\n\r\n", 1)[1].decode()
            assert answer.startswith(b"HTTP/1.1 %d " % status) and b"Connection: close" in answer, answer
            if head is json_head:
                assert json.loads(text)["__type"].endswith("#" + shape) and json.loads(text)["message"]
                assert b"x-amzn-query-error: %s;Sender\r\n" % code.encode() in answer
            else:
                root = xml.etree.ElementTree.fromstring(text)
                assert root.findtext(".//{*}Code") == code and root.findtext(".//{*}Message"), text
    assert sqs.stop() == 0  # nothing of them is left to be waited for


# --- signatures ---

def test_an_expired_presigned_request_is_not_served_again(site, sqs, queue):
    _, url = queue
    request = botocore.awsrequest.AWSRequest("GET", url + "?Action=SendMessage&MessageBody=once&Version=2012-11-05")
    auth = botocore.auth.SigV4QueryAuth(botocore.credentials.Credentials(*site.keys()), "sqs", smelt.REGION, expires=2)
    auth.add_auth(request)
    until = time.monotonic() + 2
    assert smelt.http("GET", request.url)[0] == 200
    status, answer = 200, b""
    while status == 200 and time.monotonic() < until + 10:
        status, _, answer = smelt.http("GET", request.url)
    assert status in (400, 403) and b"RequestExpired" in answer and b"expired" in answer
    assert smelt.http("GET", request.url.replace("Expires=2", "Expires=600"))[0] == 403


# --- connections ---

def test_half_requests_do_not_stay(sqs):
    for raw in (b"POST / HT", b"POST / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab"):
        with dial(sqs) as s:
            s.sendall(raw)
            s.shutdown(socket.SHUT_WR)
            assert re.match(rb"$|HTTP/1.1 400 ", read_all(s))


def receive_request(site, sqs, url):
    body = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20, "VisibilityTimeout": 600}).encode()
    return head_of(site, sqs, len(body), body, {"X-Amz-Target": "AmazonSQS.ReceiveMessage"}) + body


def test_a_message_that_comes_as_its_client_goes_is_not_claimed(site, sqs, queue):
    """The end of the client and the message reach the server together, in either order."""
    client, url = queue
    request = receive_request(site, sqs, url)

    def waiting():
        text = smelt.http("GET", sqs.url + "/metrics")[2].decode()
        return re.search(r'^smelt_sqs_waiters\{queue="jobs"\} 1$', text, re.M)

    for i in range(30):
        gone = dial(sqs)
        gone.sendall(request)
        smelt.wait_until(waiting)
        if i % 2:
            gone.shutdown(socket.SHUT_WR)
        else:
            gone.close()
        client.send_message(QueueUrl=url, MessageBody=str(i))
        (message,) = client.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
        assert message["Body"] == str(i)
        client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        gone.close()


def memory(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1)) * 1024


def test_ten_thousand_idle_connections(site, sqs, queue):
    client, url = queue
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 10_000
    if hard != resource.RLIM_INFINITY and hard < count + 200:
        pytest.skip("the limit of open files is %d" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, hard))
    idle, before = [], memory(sqs.pid)
    try:
        for _ in range(count):
            s = dial(sqs)
            idle.append(s)
            if len(idle) % 2:  # one that has asked, one that has not said a word
                s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"200" in s.recv(1000)
        for i in range(20):
            client.send_message(QueueUrl=url, MessageBody=str(i))
            (message,) = client.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        each = (memory(sqs.pid) - before) / count
        print("memory of an idle connection: %d bytes" % each)
        assert each < 40_000
        idle[1].sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in idle[1].recv(1000)
    finally:
        for s in idle:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sqs.stop() == 0
