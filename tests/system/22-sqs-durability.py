"""What was acknowledged survives kill -9, a damaged journal is refused, a full disk refuses only what is new."""
import glob
import os
import random
import threading
import time

import botocore.exceptions
import pytest

import smelt


class History:
    """What clients asked and what they were told. An outcome that nobody knows counts as neither."""

    def __init__(self):
        self.lock = threading.Lock()
        self.attempted, self.sent, self.received = set(), set(), set()
        self.deleted, self.delete_unknown = set(), set()
        self.errors = []


def worker(site, url, name, stop, history, seed):
    rng = random.Random(seed)
    client = site.client("sqs", url, connect_timeout=2, read_timeout=10)
    n = 0
    while not stop.is_set():
        try:
            if rng.random() < 0.6:
                bodies = ["%s-%d" % (name, n + i) for i in range(rng.randint(1, 10))]
                n += len(bodies)
                with history.lock:
                    history.attempted.update(bodies)
                answer = client.send_message_batch(QueueUrl="jobs", Entries=[
                    {"Id": str(i), "MessageBody": b + "." * rng.randint(0, 500)}
                    for i, b in enumerate(bodies)])
                with history.lock:
                    history.sent.update(bodies[int(e["Id"])] for e in answer.get("Successful", []))
                continue
            got = client.receive_message(QueueUrl="jobs", MaxNumberOfMessages=10,
                                         VisibilityTimeout=5).get("Messages", [])
            for m in got:
                body = m["Body"].rstrip(".")
                with history.lock:
                    if body in history.deleted:
                        history.errors.append("%s was received after its delete" % body)
                    if body not in history.attempted:
                        history.errors.append("%s was never sent" % body)
                    history.received.add(body)
                    history.delete_unknown.add(body)
                client.delete_message(QueueUrl="jobs", ReceiptHandle=m["ReceiptHandle"])
                with history.lock:
                    history.deleted.add(body)
                    history.delete_unknown.discard(body)
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            time.sleep(0.02)  # the server is away


def test_kill_9_under_load_loses_nothing(site):
    port = smelt.free_port()
    sqs = site.role("sqs", port=port)
    site.client("sqs", sqs.url).create_queue(QueueName="jobs")
    history, stop = History(), threading.Event()
    threads = [threading.Thread(target=worker, args=(site, sqs.url, "w%d" % i, stop, history, i))
               for i in range(4)]
    for t in threads:
        t.start()
    rng = random.Random(5)
    for _ in range(5):
        time.sleep(0.3 + rng.random() * 0.7)
        sqs.kill()
        sqs = site.role("sqs", port=port)
    time.sleep(0.5)
    stop.set()
    for t in threads:
        t.join(30)
    sqs.kill()
    sqs = site.role("sqs", port=port)
    assert not history.errors, history.errors[:5]
    assert len(history.sent) > 100 and len(history.deleted) > 20

    # drain: what was received and not deleted comes back when its visibility timeout ends
    client = site.client("sqs", sqs.url)
    names = ["ApproximateNumberOfMessages" + kind for kind in ("", "NotVisible", "Delayed")]
    left = set()

    def drained():
        got = client.receive_message(QueueUrl="jobs", MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for m in got.get("Messages", []):
            left.add(m["Body"].rstrip("."))
            client.delete_message(QueueUrl="jobs", ReceiptHandle=m["ReceiptHandle"])
        counts = client.get_queue_attributes(QueueUrl="jobs", AttributeNames=names)["Attributes"]
        return sum(int(n) for n in counts.values()) == 0

    smelt.wait_until(drained, timeout_s=60, what="an empty queue")
    assert not left & history.deleted, "deleted messages came back"
    assert left <= history.attempted
    lost = history.sent - left - history.deleted - history.delete_unknown
    assert not lost, "%d acknowledged messages are lost" % len(lost)


def stopped_store(site, messages=50):
    sqs = site.role("sqs")
    client = site.client("sqs", sqs.url)
    url = client.create_queue(QueueName="jobs")["QueueUrl"]
    for i in range(messages):
        client.send_message(QueueUrl=url, MessageBody="message %d" % i)
    sqs.kill()
    return os.path.join(site.data, "sqs", "00000001.seg")


def test_flipped_bit_is_refused_with_file_and_offset(site):
    segment = stopped_store(site)
    with open(segment, "r+b") as f:
        f.seek(2000)
        byte = f.read(1)[0]
        f.seek(2000)
        f.write(bytes([byte ^ 4]))
    with open(segment, "rb") as f:
        before = f.read()
    with pytest.raises(smelt.StartError) as error:
        site.role("sqs")
    assert "00000001.seg" in error.value.notice and "offset" in error.value.notice
    with open(segment, "rb") as f:
        assert f.read() == before  # nothing was changed


def test_torn_tail_is_cut(site):
    segment = stopped_store(site)
    with open(segment, "r+b") as f:
        data = f.read()
        end = len(data.rstrip(b"\0"))
        f.seek(end - 30)
        f.write(b"\0" * 30)
    sqs = site.role("sqs")
    counts = site.client("sqs", sqs.url).get_queue_attributes(
        QueueUrl="jobs", AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == "49"


def test_missing_segment_is_refused(site):
    os.unlink(stopped_store(site))
    with pytest.raises(smelt.StartError) as error:
        site.role("sqs")
    assert "missing" in error.value.notice


def test_second_process_on_a_directory_is_refused(site):
    site.role("sqs")
    with pytest.raises(smelt.StartError) as error:
        site.role("sqs")
    assert "in use by another smelt" in error.value.notice


def test_port_in_use_is_said(site, tmp_path):
    first = site.role("sqs")
    with pytest.raises(smelt.StartError) as error:
        site.start(["sqs", "--data", str(tmp_path / "second"),
                    "--sqs-listen", "127.0.0.1:%d" % first.port])
    assert "in use" in error.value.notice


def test_new_versions_are_refused(site):
    segment = stopped_store(site)
    with open(segment, "r+b") as f:
        f.seek(8)
        f.write(b"\x09")
    with pytest.raises(smelt.StartError) as error:
        site.role("sqs")
    assert "newer" in error.value.notice


def test_files_are_for_the_owner_alone(site):
    segment = stopped_store(site, 1)
    for path in glob.glob(os.path.dirname(segment) + "/*") + [site.data + "/credentials"]:
        assert os.stat(path).st_mode & 0o077 == 0, path
