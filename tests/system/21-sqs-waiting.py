"""Long polls: what wakes them, what they cost, and that nothing is claimed for a client that has gone."""
import json
import os
import socket
import threading
import time

import pytest

import smelt


@pytest.fixture
def queue(site):
    sqs = site.role("sqs")
    client = site.client("sqs", sqs.url)
    url = client.create_queue(QueueName="jobs")["QueueUrl"]
    return sqs, client, url


def in_thread(fn):
    result = {}

    def run():
        start = time.monotonic()
        result["value"] = fn()
        result["took"] = time.monotonic() - start

    thread = threading.Thread(target=run)
    thread.start()
    return thread, result


def waiters(sqs):
    for line in smelt.http("GET", sqs.url + "/metrics")[2].decode().splitlines():
        if line.startswith('smelt_sqs_waiters{queue="jobs"}'):
            return int(line.split()[-1])
    return 0


def test_a_message_wakes_a_waiting_receive(site, queue):
    sqs, client, url = queue
    other = site.client("sqs", sqs.url)
    thread, result = in_thread(lambda: other.receive_message(QueueUrl=url, WaitTimeSeconds=20))
    smelt.wait_until(lambda: waiters(sqs) == 1)
    client.send_message(QueueUrl=url, MessageBody="x")
    thread.join(15)
    assert result["value"]["Messages"][0]["Body"] == "x"
    assert result["took"] < 10


def test_visibility_and_delay_wake_too(site, queue):
    sqs, client, url = queue
    other = site.client("sqs", sqs.url)
    client.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=1)
    got = other.receive_message(QueueUrl=url, WaitTimeSeconds=20, VisibilityTimeout=1)["Messages"]
    assert len(got) == 1
    got = other.receive_message(QueueUrl=url, WaitTimeSeconds=20, VisibilityTimeout=600)["Messages"]
    assert len(got) == 1
    thread, result = in_thread(lambda: other.receive_message(QueueUrl=url, WaitTimeSeconds=20))
    smelt.wait_until(lambda: waiters(sqs) == 1)
    client.change_message_visibility(QueueUrl=url, ReceiptHandle=got[0]["ReceiptHandle"],
                                     VisibilityTimeout=0)
    thread.join(15)
    assert len(result["value"]["Messages"]) == 1


def test_an_empty_wait_ends_in_time(queue):
    _, client, url = queue
    start = time.monotonic()
    assert "Messages" not in client.receive_message(QueueUrl=url, WaitTimeSeconds=1)
    assert time.monotonic() - start >= 1


def test_deleting_the_queue_ends_the_wait(site, queue):
    sqs, client, url = queue
    other = site.client("sqs", sqs.url)
    thread, result = in_thread(lambda: pytest.raises(
        other.exceptions.ClientError, other.receive_message, QueueUrl=url, WaitTimeSeconds=20))
    smelt.wait_until(lambda: waiters(sqs) == 1)
    client.delete_queue(QueueUrl=url)
    thread.join(15)
    assert "NonExistentQueue" in str(result["value"].value)


def receive_request(site, sqs, url):
    body = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20}).encode()
    _, headers = site.sign("sqs", "POST", sqs.url + "/", body, {
        "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.ReceiveMessage",
        "Content-Length": str(len(body)), "Host": "127.0.0.1:%d" % sqs.port})
    head = "POST / HTTP/1.1\r\n" + "".join("%s: %s\r\n" % h for h in headers.items()) + "\r\n"
    return head.encode() + body


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_no_message_is_claimed_for_a_client_that_has_gone(site, queue, how):
    sqs, client, url = queue
    gone = socket.create_connection(("127.0.0.1", sqs.port))
    gone.sendall(receive_request(site, sqs, url))
    smelt.wait_until(lambda: waiters(sqs) == 1)
    if how == "reset":
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    if how == "half":
        gone.shutdown(socket.SHUT_WR)
    else:
        gone.close()
    smelt.wait_until(lambda: waiters(sqs) == 0, what="the waiter's end")
    client.send_message(QueueUrl=url, MessageBody="x")
    assert len(client.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]) == 1
    gone.close()


def cpu_ticks(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_many_idle_waits_cost_nothing_and_all_are_served(site, queue):
    sqs, client, url = queue
    count = 300
    request = receive_request(site, sqs, url)
    idle = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", sqs.port))
        s.sendall(request)
        idle.append(s)
    smelt.wait_until(lambda: waiters(sqs) == count)
    before = cpu_ticks(sqs.pid)
    time.sleep(2)
    assert cpu_ticks(sqs.pid) - before <= 0.2 * os.sysconf("SC_CLK_TCK")
    for i in range(0, count, 10):
        client.send_message_batch(QueueUrl=url, Entries=[
            {"Id": str(k), "MessageBody": "m%d" % (i + k)} for k in range(10)])
    bodies = set()
    for s in idle:
        s.settimeout(15)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
            answer += s.recv(65536)
        (message,) = json.loads(answer.split(b"\r\n\r\n", 1)[1])["Messages"]
        bodies.add(message["Body"])
        s.close()
    assert len(bodies) == count


def test_term_answers_waiting_receives_and_ends(site, queue):
    sqs, client, url = queue
    other = site.client("sqs", sqs.url)
    client.send_message(QueueUrl=url, MessageBody="kept", DelaySeconds=900)
    thread, result = in_thread(lambda: other.receive_message(QueueUrl=url, WaitTimeSeconds=20))
    smelt.wait_until(lambda: waiters(sqs) == 1)
    assert sqs.stop() == 0
    thread.join(10)
    assert "Messages" not in result["value"] and result["took"] < 15
    again = site.role("sqs")
    counts = site.client("sqs", again.url).get_queue_attributes(
        QueueUrl="jobs", AttributeNames=["ApproximateNumberOfMessagesDelayed"])
    assert counts["Attributes"]["ApproximateNumberOfMessagesDelayed"] == "1"


def waiting(site, sqs, url, **arguments):
    """A receive that waits in a thread: (thread, result)."""
    name = url.rsplit("/", 1)[1]
    client = site.client("sqs", sqs.url)
    thread, result = in_thread(lambda: client.receive_message(QueueUrl=url, **arguments))
    line = 'smelt_sqs_waiters{queue="%s"} 1' % name
    smelt.wait_until(lambda: line in smelt.http("GET", sqs.url + "/metrics")[2].decode())
    return thread, result


def test_the_queues_own_wait_counts(site, queue):
    sqs, client, url = queue
    client.set_queue_attributes(QueueUrl=url, Attributes={"ReceiveMessageWaitTimeSeconds": "20"})
    start = time.monotonic()
    assert "Messages" not in client.receive_message(QueueUrl=url, WaitTimeSeconds=0)
    assert time.monotonic() - start < 15  # the call's 0 is not "not given"
    sqs.kill()
    sqs = site.role("sqs", port=sqs.port)  # and it is there after a restart
    thread, result = waiting(site, sqs, url)
    client.send_message(QueueUrl=url, MessageBody="x")
    thread.join(15)
    assert result["value"]["Messages"][0]["Body"] == "x"


def test_a_delete_wakes_who_waits_for_its_group(site, queue):
    sqs, client, _ = queue
    url = client.create_queue(QueueName="g.fifo", Attributes={
        "FifoQueue": "true", "ContentBasedDeduplication": "true"})["QueueUrl"]
    for body in ("first", "second"):
        client.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")
    (first,) = client.receive_message(QueueUrl=url)["Messages"]
    thread, result = waiting(site, sqs, url, WaitTimeSeconds=20)
    client.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    thread.join(15)
    assert result["value"]["Messages"][0]["Body"] == "second"
    assert result["took"] < 15


def test_dead_letters_and_redrive_wake_too(site, queue):
    sqs, client, dead = queue
    arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    url = client.create_queue(QueueName="source", Attributes={
        "VisibilityTimeout": "0", "RedrivePolicy": json.dumps({
            "deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 1})})["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="poison")
    assert len(client.receive_message(QueueUrl=url)["Messages"]) == 1
    thread, result = waiting(site, sqs, dead, WaitTimeSeconds=20, VisibilityTimeout=0)
    assert "Messages" not in client.receive_message(QueueUrl=url)
    thread.join(15)
    assert result["value"]["Messages"][0]["Body"] == "poison"
    thread, result = waiting(site, sqs, url, WaitTimeSeconds=20)
    status, _, _ = site.sqs_json(sqs.url, "StartMessageMoveTask",
                                 SourceArn=arn["Attributes"]["QueueArn"])
    assert status == 200
    thread.join(15)
    assert result["value"]["Messages"][0]["Body"] == "poison"
    assert result["took"] < 15


def test_a_purge_leaves_who_waits(site, queue):
    sqs, client, url = queue
    client.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=900)
    thread, result = waiting(site, sqs, url, WaitTimeSeconds=20)
    client.purge_queue(QueueUrl=url)
    client.send_message(QueueUrl=url, MessageBody="x")
    thread.join(15)
    assert result["value"]["Messages"][0]["Body"] == "x"
