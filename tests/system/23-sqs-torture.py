"""The real process under load, killed again and again, every other time with a power loss; and on disks that
fail or are full. SMELT_TORTURE_S: for so many seconds instead of a few kills. SMELT_SEED repeats a run's dice."""
import os
import random
import subprocess
import threading
import time

import botocore.exceptions
import pytest

import lossy_disk
import smelt
import sqs_history

KILLS = 4
SLOW_US = 2000  # of a write: what is answered before it is found out by a kill
COUNTS = ["ApproximateNumberOfMessages" + kind for kind in ("", "NotVisible", "Delayed")]


def count(client, queue):
    a = client.get_queue_attributes(QueueUrl=queue, AttributeNames=COUNTS)["Attributes"]
    return sum(int(n) for n in a.values())


def drain(client, queues):
    """All that is there, by body; deletes it."""
    left = []

    def empty():
        for queue in queues:
            got = client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
            left.extend(m["Body"].rstrip(".") for m in got)
            if got:
                answer = client.delete_message_batch(QueueUrl=queue, Entries=[
                    {"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(got)])
                assert "Failed" not in answer, answer
        return sum(count(client, q) for q in queues) == 0

    smelt.wait_until(empty, timeout_s=120, what="empty queues")
    return left


def check(history, left):
    h = history
    assert not h.errors, h.errors[:5]
    assert len(left) == len(set(left)), "messages are there twice: %s" % [b for b in left if left.count(b) > 1][:5]
    left = set(left)
    assert left <= h.attempted, "never sent: %s" % list(left - h.attempted)[:5]
    assert not left & h.deleted, "came back after their delete: %s" % list(left & h.deleted)[:5]
    lost = set(h.sent) - left - h.delete_asked
    assert not lost, "%d acknowledged messages are lost: %s" % (len(lost), list(lost)[:5])


class Server:
    """The role, on a port that stays, with a disk that can lose what was not synced."""

    def __init__(self, site, slow_us=0):
        self.site, self.port, self.slow_us = site, smelt.free_port(), slow_us
        self.disk = lossy_disk.LossyDisk(site.folder)
        self.start()

    def start(self):
        self.process = self.site.role("sqs", "--sqs-cooldown", "0", port=self.port,
                                      environment=self.disk.environment(self.slow_us))
        self.url = self.process.url

    def crash(self, rng, power, history):
        with history.lock:
            history.life += power
        self.process.kill()
        with history.lock:
            history.life += power  # what was answered until now is of neither
        lost = self.disk.lose(rng) if power else 0
        self.start()
        return lost


def torture(site, clients, queues, seed):
    rng, stop = random.Random(seed), threading.Event()
    print("SMELT_SEED=%d" % seed)
    server = Server(site, slow_us=SLOW_US)
    admin = site.client("sqs", server.url)
    for name, attributes in queues:
        admin.create_queue(QueueName=name, Attributes=attributes)
    history = sqs_history.History()
    threads = [kind(site, server.url, queues[-1][0], history, stop, rng.random(), name)
               for kind, name in clients]
    for t in threads:
        t.start()
    seconds, began, kills, lost = float(os.environ.get("SMELT_TORTURE_S", "0")), time.monotonic(), 0, 0
    while kills < KILLS or time.monotonic() < began + seconds:
        time.sleep(0.3 + rng.random() * 0.7)
        lost += server.crash(rng, kills % 2 == 1, history)
        kills += 1
        if history.errors:
            break
    time.sleep(0.5)
    stop.set()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    server.crash(rng, True, history)
    if queues[0][0].endswith("-dead"):
        arn = sqs_history.dead_arn(queues[-1][0])
        _, _, tasks = site.sqs_json(server.url, "ListMessageMoveTasks", SourceArn=arn, MaxResults=10)
        print("move tasks: %s" % [(t["Status"], t["ApproximateNumberOfMessagesMoved"]) for t in tasks["Results"]])
        for task in tasks["Results"]:
            if task["Status"] == "RUNNING":
                site.sqs_json(server.url, "CancelMessageMoveTask", TaskHandle=task["TaskHandle"])
    print("%d kills, %d sectors lost, %d sent, %d received, %d deleted" % (
        kills, lost, len(history.sent), history.received, len(history.deleted)))
    check(history, drain(admin, [q for q, _ in queues]))
    assert len(history.sent) > 20 * KILLS and len(history.deleted) > 5 * KILLS


def seed():
    return int(os.environ.get("SMELT_SEED", random.randrange(1 << 30)))


def test_standard_queue_with_dead_letters_and_moves(site):
    redrive = '{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:jobs-dead","maxReceiveCount":"%d"}' % (
        sqs_history.MOVING_COUNT_MAX)
    clients = [(sqs_history.Standard, "w%d" % i) for i in range(4)] + [(sqs_history.Mover, "mover")]
    torture(site, clients, [("jobs-dead", {}), ("jobs", {"RedrivePolicy": redrive})], seed())


def test_fifo_queue(site):
    clients = [(sqs_history.GroupSender, "g%d" % i) for i in range(3)]
    clients += [(sqs_history.GroupReceiver, "r%d" % i) for i in range(2)]
    torture(site, clients, [("jobs.fifo", {"FifoQueue": "true"})], seed())


def receive(client, queue, **more):
    got = client.receive_message(QueueUrl=queue, VisibilityTimeout=600, AttributeNames=["All"], **more)
    return [(m["Body"], m["Attributes"]["ApproximateReceiveCount"], m["ReceiptHandle"])
            for m in got.get("Messages", [])]


def test_receive_is_not_answered_before_its_record_is_written(site):
    """Or a kill would hand the message to a second consumer while the first one has a valid receipt."""
    server = Server(site)
    client = site.client("sqs", server.url, read_timeout=2)
    client.create_queue(QueueName="jobs")
    for wait_s in (0, 20):  # a receive, and a delivery to one who waits
        client.send_message(QueueUrl="jobs", MessageBody="m", DelaySeconds=1 if wait_s else 0)
        server.disk.tell("hold-write")
        with pytest.raises(botocore.exceptions.BotoCoreError):
            print(receive(client, "jobs", WaitTimeSeconds=wait_s))
        server.process.kill()
        server.disk.tell("hold-write", False)
        server.start()
        body, times, handle = receive(client, "jobs", WaitTimeSeconds=1)[0]
        assert (body, times) == ("m", "1")
        client.delete_message(QueueUrl="jobs", ReceiptHandle=handle)


def test_kill_after_the_answer_to_a_receive_does_not_release_the_message(site):
    """It does not wait for the sync either: here that never ends."""
    server = Server(site)
    client = site.client("sqs", server.url)
    client.create_queue(QueueName="jobs.fifo", Attributes={"FifoQueue": "true"})
    for body in ("first", "second"):
        client.send_message(QueueUrl="jobs.fifo", MessageBody=body, MessageGroupId="g", MessageDeduplicationId=body)
    for times in ("1", "2"):
        server.disk.tell("hold-sync")
        body, told, handle = receive(client, "jobs.fifo")[0]
        assert (body, told) == ("first", times)
        server.process.kill()
        server.disk.tell("hold-sync", False)
        server.start()
        assert receive(client, "jobs.fifo") == []  # nor is its group released
        client.change_message_visibility(QueueUrl="jobs.fifo", ReceiptHandle=handle,
                                         VisibilityTimeout=0 if times == "1" else 60)
    client.delete_message(QueueUrl="jobs.fifo", ReceiptHandle=handle)
    assert receive(client, "jobs.fifo")[0][:2] == ("second", "1")


def test_failed_sync_ends_the_process_and_nothing_is_acknowledged(site):
    server = Server(site)
    client = site.client("sqs", server.url)
    client.create_queue(QueueName="jobs")
    client.send_message(QueueUrl="jobs", MessageBody="kept")
    server.disk.tell("fail")
    with pytest.raises((botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)) as error:
        client.send_message(QueueUrl="jobs", MessageBody="not acknowledged")
    print(error.value)
    assert server.process.popen.wait(30) == 1
    assert "journal_failed" in server.process.log() and "sync the journal" in server.process.log()
    kinds = [kind for kind, _, _, _ in server.disk.read()]
    assert kinds[kinds.index(3):] == [3]  # it was not tried again, and nothing was written after it
    server.disk.tell("fail", False)
    server.start()
    assert "kept" in drain(client, ["jobs"])


# --- full disks ---

def mounted(folder, kind, megabytes):
    os.makedirs(folder, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    if kind == "tmpfs":
        how = ["-t", "tmpfs", "-o", "size=%dm" % megabytes, "none"]
    else:
        image = folder + ".image"
        with open(image, "wb") as f:
            f.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-N", "64", image], check=True)
        how = ["-o", "loop", image]
    done = subprocess.run(["mount"] + how + [folder], capture_output=True)
    if done.returncode != 0:
        pytest.skip("no %s can be mounted here: %s" % (kind, done.stderr.decode().strip()))


def take_bytes(folder):
    """Leaves space for three segments. Returns what gives some back."""
    ballast = os.path.join(folder, "ballast")
    with open(ballast, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, 40 << 20)
    return lambda: os.unlink(ballast)


def take_inodes(folder):
    """Leaves as many files as the store has with three segments."""
    names = []
    try:
        while True:
            name = os.path.join(folder, "ballast-%d" % len(names))
            with open(name, "wb"):
                names.append(name)
    except OSError:
        pass
    for name in names[:7]:
        os.unlink(name)
    return lambda: os.unlink(names[7])


def send_until_refused(client, limit=4000):
    """(bodies that were acknowledged, the error or None)"""
    sent, big = [], "." * 100_000
    while len(sent) < limit:
        try:
            answer = client.send_message_batch(QueueUrl="jobs", Entries=[
                {"Id": str(i), "MessageBody": "%d%s" % (len(sent) + i, big)} for i in range(10)])
        except botocore.exceptions.ClientError as error:
            return sent, error
        sent += [str(len(sent) + int(e["Id"])) for e in answer.get("Successful", [])]
        if answer.get("Failed"):
            return sent, answer["Failed"][0]
    return sent, None


def accepted(client, body):
    try:
        return client.send_message(QueueUrl="jobs", MessageBody=body)
    except botocore.exceptions.ClientError:
        return None


def full_disk(site, make_space):
    role = site.role("sqs")
    client = site.client("sqs", role.url)
    client.create_queue(QueueName="jobs")
    sent, error = send_until_refused(client)
    assert error is not None and len(sent) > 100
    assert "ServiceUnavailable" in str(error) and "no space" in str(error), error
    role.kill()
    role = site.role("sqs", port=role.port)  # it starts on a full disk
    got = client.receive_message(QueueUrl="jobs", MaxNumberOfMessages=10)["Messages"]
    for m in got:  # and takes deletes
        client.delete_message(QueueUrl="jobs", ReceiptHandle=m["ReceiptHandle"])
    deleted = {m["Body"].rstrip(".") for m in got}
    assert len(deleted) == 10
    role.kill()
    role = site.role("sqs", port=role.port)
    make_space()
    smelt.wait_until(lambda: accepted(client, "more"), 30, "space for sends")
    left = drain(client, ["jobs"])
    assert left.count("more") == 1 and not set(left) & deleted
    assert set(left) | deleted == set(sent) | {"more"}
    assert role.alive()  # all that without a restart


@pytest.mark.parametrize("kind,megabytes,take", [
    ("tmpfs", 146, take_bytes), ("ext4", 160, take_bytes), ("ext4", 300, take_inodes)])
def test_full_disk(site, kind, megabytes, take):
    if kind == "ext4" and take is take_bytes and "SMELT_TORTURE_S" not in os.environ:
        pytest.skip("in make torture")
    mounted(site.data, kind, megabytes)
    try:
        full_disk(site, take(site.data))
    finally:
        site.stop()
        subprocess.run(["umount", site.data], check=True)


def test_no_space_for_new_segments(site):
    """Runs everywhere, without a small file system."""
    server = Server(site)
    client = site.client("sqs", server.url)
    client.create_queue(QueueName="jobs")
    server.disk.tell("no-space")
    sent, error = send_until_refused(client)
    assert error is not None and "ServiceUnavailable" in str(error) and "no space" in str(error), error
    assert server.process.alive() and len(sent) > 100
    server.disk.tell("no-space", False)
    smelt.wait_until(lambda: accepted(client, "more"), 30, "space for sends")
    assert sorted(drain(client, ["jobs"])) == sorted(sent + ["more"])
