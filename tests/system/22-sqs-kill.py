"""All that a queue knows outlives kill -9 right after the answer: attributes, tags, policies, what is in flight,
delayed, deleted, purged, deduplicated, moved; and its deadlines follow the time that passes, not the wall clock."""
import json
import os
import subprocess
import time

import botocore.exceptions
import pytest

import smelt

COUNTS = ["ApproximateNumberOfMessages" + kind for kind in ("", "NotVisible", "Delayed")]
ARN = "arn:aws:sqs:us-east-1:000000000000:"


class Killed:
    """The role, on a port that stays. restart() kills it; the next one finds that `later_s` have passed since the
    first start, and a wall clock that is `wall_s` ahead."""

    def __init__(self, site):
        self.site, self.port = site, smelt.free_port()
        self.library = os.path.join(site.folder, "shifted_clocks.so")
        source = os.path.join(smelt.ROOT, "tests", "system", "shifted_clocks.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", self.library, source, "-ldl"], check=True)
        self.process = None
        self.restart()
        self.client = site.client("sqs", self.process.url)

    def restart(self, later_s=0, wall_s=0):
        if self.process:
            self.process.kill()
        self.process = self.site.role("sqs", port=self.port, environment={
            "LD_PRELOAD": self.library, "SMELT_LATER_S": str(later_s), "SMELT_WALL_S": str(wall_s)})

    def make(self, name, **attributes):
        if name.endswith(".fifo"):
            attributes["FifoQueue"] = "true"
        self.client.create_queue(QueueName=name, Attributes=attributes)

    def call(self, action, **parameters):
        status, _, body = self.site.sqs_json(self.process.url, action, **parameters)
        assert status == 200, body
        return body

    def attributes(self, name):
        return self.client.get_queue_attributes(QueueUrl=name, AttributeNames=["All"])["Attributes"]

    def counts(self, name):
        a = self.attributes(name)
        return tuple(int(a[n]) for n in COUNTS)

    def send(self, name, body, **more):
        return self.client.send_message(QueueUrl=name, MessageBody=body, **more)

    def send_fifo(self, name, body, group="g"):
        sent = self.send(name, body, MessageGroupId=group, MessageDeduplicationId=body)
        return sent["MessageId"], sent["SequenceNumber"]

    def receive(self, name, count=1, hidden_s=600):
        got = self.client.receive_message(QueueUrl=name, MaxNumberOfMessages=count, VisibilityTimeout=hidden_s,
                                          AttributeNames=["All"])
        return got.get("Messages", [])

    def seen(self, name, count=10, hidden_s=0):
        """{body: receive count} of what can be received now; it stays so."""
        return {m["Body"]: int(m["Attributes"]["ApproximateReceiveCount"])
                for m in self.receive(name, count, hidden_s)}

    def delete(self, name, message):
        self.client.delete_message(QueueUrl=name, ReceiptHandle=message["ReceiptHandle"])


@pytest.fixture
def queues(site):
    return Killed(site)


def test_attributes_tags_and_policies(queues):
    policy = {"Version": "2012-10-17", "Statement": [{"Sid": "a", "Effect": "Allow", "Principal": "*",
                                                      "Action": "SQS:SendMessage", "Resource": ARN + "jobs"}]}
    queues.make("dead", RedriveAllowPolicy=json.dumps({"redrivePermission": "byQueue",
                                                       "sourceQueueArns": [ARN + "jobs"]}))
    queues.make("jobs", VisibilityTimeout="77", DelaySeconds="3", MaximumMessageSize="2048",
                MessageRetentionPeriod="6000", ReceiveMessageWaitTimeSeconds="1", Policy=json.dumps(policy))
    queues.make("jobs.fifo", ContentBasedDeduplication="true", DeduplicationScope="messageGroup",
                FifoThroughputLimit="perMessageGroupId")
    changes = [
        lambda c: c.set_queue_attributes(QueueUrl="jobs", Attributes={
            "VisibilityTimeout": "78", "KmsMasterKeyId": "k", "RedrivePolicy": json.dumps(
                {"deadLetterTargetArn": ARN + "dead", "maxReceiveCount": 4})}),
        lambda c: c.tag_queue(QueueUrl="jobs", Tags={"a": "1", "b": "2"}),
        lambda c: c.untag_queue(QueueUrl="jobs", TagKeys=["a"]),
        lambda c: c.add_permission(QueueUrl="jobs", Label="l", AWSAccountIds=["111122223333"], Actions=["SendMessage"]),
        lambda c: c.remove_permission(QueueUrl="jobs", Label="l"),
        lambda c: c.set_queue_attributes(QueueUrl="jobs.fifo", Attributes={"ContentBasedDeduplication": "false"}),
        lambda c: c.delete_queue(QueueUrl="dead")]
    names = ["dead", "jobs", "jobs.fifo"]
    for change in changes:
        change(queues.client)
        there = [u.rsplit("/", 1)[1] for u in queues.client.list_queues()["QueueUrls"]]
        before = {name: (queues.attributes(name), queues.client.list_queue_tags(QueueUrl=name).get("Tags"))
                  for name in there}
        queues.restart()
        assert [u.rsplit("/", 1)[1] for u in queues.client.list_queues()["QueueUrls"]] == there
        for name in there:
            assert before[name] == (queues.attributes(name), queues.client.list_queue_tags(QueueUrl=name).get("Tags"))
    assert there == names[1:] and queues.attributes("jobs")["VisibilityTimeout"] == "78"
    with pytest.raises(botocore.exceptions.ClientError) as error:  # its name is not free yet
        queues.make("dead")
    assert "60 seconds" in str(error.value)
    queues.restart(later_s=61)
    queues.make("dead")


def test_messages_in_every_state(queues):
    queues.make("dead")
    queues.make("jobs", RedrivePolicy=json.dumps({"deadLetterTargetArn": ARN + "dead", "maxReceiveCount": 2}))
    for body in ("held", "longer", "given back", "deleted", "dead letter"):
        queues.send("jobs", body)
    queues.send("jobs", "delayed", DelaySeconds=600)
    held = {m["Body"]: m for m in queues.receive("jobs", 10)}
    queues.client.change_message_visibility(QueueUrl="jobs", ReceiptHandle=held["longer"]["ReceiptHandle"],
                                            VisibilityTimeout=6000)
    queues.restart()
    queues.client.change_message_visibility(QueueUrl="jobs", ReceiptHandle=held["given back"]["ReceiptHandle"],
                                            VisibilityTimeout=0)
    queues.restart()
    assert {m["Body"]: m["Attributes"]["ApproximateReceiveCount"] for m in queues.receive("jobs", 10)} == {
        "given back": "2"}
    queues.delete("jobs", held["deleted"])
    queues.restart()
    assert queues.counts("jobs") == (0, 4, 1) and queues.receive("jobs", 10) == []
    dead = held["dead letter"]["ReceiptHandle"]
    for _ in range(2):  # twice more: the second one is too many
        queues.client.change_message_visibility(QueueUrl="jobs", ReceiptHandle=dead, VisibilityTimeout=0)
        queues.restart()
        got = queues.receive("jobs", 10)
        dead = got[0]["ReceiptHandle"] if got else None
    assert dead is None and queues.counts("jobs") == (0, 3, 1)
    queues.restart()
    assert queues.receive("jobs", 10) == []  # moves it again, if nobody had been told of that
    [m] = queues.receive("dead", 10)
    assert (m["Body"], m["Attributes"]["ApproximateReceiveCount"]) == ("dead letter", "3")
    queues.delete("jobs", held["held"])  # the handle of before all that
    queues.restart()
    assert queues.counts("jobs") == (0, 2, 1)


def test_groups_stay_locked_and_ids_are_remembered(queues):
    queues.make("jobs.fifo")
    first, second = queues.send_fifo("jobs.fifo", "first"), queues.send_fifo("jobs.fifo", "second")
    other = queues.send_fifo("jobs.fifo", "other", group="h")
    [m] = queues.receive("jobs.fifo")
    queues.restart()
    assert list(queues.seen("jobs.fifo")) == ["other"]
    queues.delete("jobs.fifo", m)
    queues.restart()
    assert queues.send_fifo("jobs.fifo", "first") == first  # although it is gone
    assert queues.send_fifo("jobs.fifo", "first", group="h") == first  # of the whole queue
    assert sorted(queues.seen("jobs.fifo")) == ["other", "second"]
    third = queues.send_fifo("jobs.fifo", "third")
    assert int(first[1]) < int(second[1]) < int(other[1]) < int(third[1])
    queues.restart(later_s=290)
    assert queues.send_fifo("jobs.fifo", "first") == first
    assert queues.send_fifo("jobs.fifo", "third") == third
    queues.restart(later_s=330)
    again = queues.send_fifo("jobs.fifo", "first")
    assert again[0] != first[0] and int(again[1]) > int(third[1])


def test_deadlines_do_not_follow_the_wall_clock(queues):
    queues.make("jobs", MessageRetentionPeriod="900")
    for body in ("held", "old"):
        queues.send("jobs", body)
    queues.send("jobs", "delayed", DelaySeconds=500)
    [m] = queues.receive("jobs")
    assert m["Body"] == "held"
    for wall_s in (600, -600, 0):  # more would spoil the signatures
        queues.restart(wall_s=wall_s)
        assert queues.seen("jobs", hidden_s=0).keys() == {"old"} and queues.counts("jobs") == (1, 1, 1)
    for later_s, there in ((470, {"old"}), (570, {"old", "delayed"}), (630, {"old", "delayed", "held"}), (930, set())):
        queues.restart(later_s=later_s, wall_s=-600)
        assert sum(queues.counts("jobs")) == (3 if there else 0)  # before anybody asks for them
        seen = queues.seen("jobs")
        assert seen.keys() == there and seen.get("held", 2) == 2


def test_purge(queues):
    queues.make("jobs")
    queues.make("jobs.fifo")
    queues.send("jobs", "visible")
    queues.send("jobs", "delayed", DelaySeconds=600)
    queues.send("jobs", "held")
    queues.receive("jobs")
    first = queues.send_fifo("jobs.fifo", "id")
    for name in ("jobs", "jobs.fifo"):
        queues.client.purge_queue(QueueUrl=name)
        queues.restart()
        assert queues.counts(name) == (0, 0, 0)
        with pytest.raises(botocore.exceptions.ClientError) as error:  # one a minute
            queues.client.purge_queue(QueueUrl=name)
        assert "every 60 seconds" in str(error.value)
    assert queues.send_fifo("jobs.fifo", "id") != first  # a purge forgets the ids
    queues.send("jobs", "later")
    queues.restart(later_s=61)
    assert queues.counts("jobs") == (1, 0, 0) and queues.counts("jobs.fifo") == (1, 0, 0)
    queues.client.purge_queue(QueueUrl="jobs")


def tasks_of(queues, name):
    return [(t["Status"], t["ApproximateNumberOfMessagesMoved"]) for t in
            queues.call("ListMessageMoveTasks", SourceArn=ARN + name, MaxResults=10)["Results"]]


def test_move_tasks(queues):
    for name in ("dead", "gone"):
        queues.make(name)
    queues.make("jobs", RedrivePolicy=json.dumps({"deadLetterTargetArn": ARN + "dead", "maxReceiveCount": 1}))
    bodies = {"%d" % i for i in range(60)}
    for body in bodies:
        queues.send("dead", body)
    handle = queues.call("StartMessageMoveTask", SourceArn=ARN + "dead", DestinationArn=ARN + "jobs",
                         MaxNumberOfMessagesPerSecond=5)["TaskHandle"]
    queues.restart()
    smelt.wait_until(lambda: tasks_of(queues, "dead")[0][1] >= 5, 30, "messages that were moved")
    queues.restart()
    status, moved = tasks_of(queues, "dead")[0]
    assert status == "RUNNING" and 0 < moved < 60
    moved = queues.call("CancelMessageMoveTask", TaskHandle=handle)["ApproximateNumberOfMessagesMoved"]
    queues.restart()
    time.sleep(1)  # five messages, if it went on
    assert tasks_of(queues, "dead") == [("CANCELLED", moved)]
    assert queues.counts("dead") == (60 - moved, 0, 0) and queues.counts("jobs") == (moved, 0, 0)
    queues.call("StartMessageMoveTask", SourceArn=ARN + "dead", DestinationArn=ARN + "gone",
                MaxNumberOfMessagesPerSecond=1)
    queues.client.delete_queue(QueueUrl="gone")
    smelt.wait_until(lambda: tasks_of(queues, "dead")[0][0] == "FAILED", 30, "the end of the task")
    before = tasks_of(queues, "dead")
    queues.restart()
    assert tasks_of(queues, "dead") == before
    queues.call("StartMessageMoveTask", SourceArn=ARN + "dead", DestinationArn=ARN + "jobs")
    smelt.wait_until(lambda: tasks_of(queues, "dead")[0][0] == "COMPLETED", 30, "the end of the task")
    queues.restart()
    assert tasks_of(queues, "dead")[0][0] == "COMPLETED" and queues.counts("dead") == (0, 0, 0)
    left = {}
    while queues.counts("jobs")[0] > 0:
        left.update(queues.seen("jobs", hidden_s=600))
    gone = before[0][1]  # with the queue to which they were moved
    assert len(left) == 60 - gone and set(left) <= bodies and set(left.values()) == {1}
