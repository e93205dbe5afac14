"""What /metrics of the sqs role says: well-formed for a Prometheus parser, and right."""
import collections

import botocore.exceptions
import pytest
from prometheus_client.parser import text_string_to_metric_families

import smelt


@pytest.fixture
def sqs(site):
    return site.role("sqs")


def families(sqs):
    status, headers, body = smelt.http("GET", sqs.url + "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(body.decode())}


def of_queue(sqs, name):
    out = {}
    for family in families(sqs).values():
        for sample in family.samples:
            if sample.labels.get("queue") == name:
                out[sample.name] = sample.value
    return out


def test_every_family_is_well_formed(site, sqs):
    client = site.client("sqs", sqs.url)
    client.create_queue(QueueName="a")
    client.create_queue(QueueName="b.fifo", Attributes={"FifoQueue": "true"})
    text = smelt.http("GET", sqs.url + "/metrics")[2].decode()
    assert text.endswith("\n")
    samples = [line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(samples) == len(set(samples)), "a sample is there twice"
    types = collections.Counter(line.split()[2] for line in text.splitlines()
                                if line.startswith("# TYPE"))
    assert not [name for name, count in types.items() if count > 1], "the lines are not together"
    for family in families(sqs).values():
        assert family.type in ("gauge", "counter", "summary", "histogram"), family.name
        assert family.documentation, family.name
        if family.type != "histogram":
            continue
        buckets, counts = collections.defaultdict(list), {}
        for sample in family.samples:
            labels = dict(sample.labels)
            bound = labels.pop("le", None)
            key = tuple(sorted(labels.items()))
            if sample.name.endswith("_bucket"):
                buckets[key].append((float(bound), sample.value))
            elif sample.name.endswith("_count"):
                counts[key] = sample.value
        for key, list_ in buckets.items():
            assert list_ == sorted(list_) and list_[-1][0] == float("inf")
            values = [value for _, value in list_]
            assert values == sorted(values) and values[-1] == counts[key], (family.name, key)


def test_counts_of_a_standard_queue(site, sqs):
    client = site.client("sqs", sqs.url)
    url = client.create_queue(QueueName="a")["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="12345", MessageAttributes={
        "n": {"DataType": "String", "StringValue": "v"}})  # 5 + 1 + 6 + 1 bytes
    client.send_message_batch(QueueUrl=url, Entries=[
        {"Id": str(i), "MessageBody": "x", "DelaySeconds": 900 if i == 0 else 0} for i in range(5)])
    got = client.receive_message(QueueUrl=url, MaxNumberOfMessages=3)["Messages"]
    for _ in range(2):  # twice: both are successful deletes
        client.delete_message(QueueUrl=url, ReceiptHandle=got[0]["ReceiptHandle"])
    client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    client.receive_message(QueueUrl=url)
    client.receive_message(QueueUrl=url, WaitTimeSeconds=1)
    m = of_queue(sqs, "a")
    expected = {
        "ApproximateNumberOfMessagesVisible": 0, "ApproximateNumberOfMessagesNotVisible": 4,
        "ApproximateNumberOfMessagesDelayed": 1, "NumberOfMessagesSent": 6,
        "NumberOfMessagesReceived": 5, "NumberOfMessagesDeleted": 2, "NumberOfEmptyReceives": 2,
        "SentMessageSize_sum": 18, "SentMessageSize_count": 6, "smelt_sqs_waiters": 0,
        "ApproximateNumberOfNoisyGroups": 0, "ApproximateNumberOfMessagesVisibleInQuietGroups": 0,
        "ApproximateNumberOfMessagesNotVisibleInQuietGroups": 4,
        "ApproximateNumberOfMessagesDelayedInQuietGroups": 1}
    got = {k: v for k, v in m.items() if "Age" not in k}
    # the parser names a counter's sample either way
    assert {k.removesuffix("_total"): v for k, v in got.items()} == expected
    assert 1 <= m["ApproximateAgeOfOldestMessage"] < 60
    assert m["ApproximateAgeOfOldestMessageInQuietGroups"] == m["ApproximateAgeOfOldestMessage"]


def test_counts_of_a_fifo_queue(site, sqs):
    client = site.client("sqs", sqs.url)
    url = client.create_queue(QueueName="b.fifo", Attributes={
        "FifoQueue": "true", "ContentBasedDeduplication": "true"})["QueueUrl"]
    for body, group in (("1", "g"), ("1", "g"), ("2", "g"), ("3", "h"), ("4", "i")):
        client.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group)
    assert len(client.receive_message(QueueUrl=url, MaxNumberOfMessages=3)["Messages"]) == 3
    m = {k.removesuffix("_total"): v for k, v in of_queue(sqs, "b.fifo").items()}
    assert m["NumberOfMessagesSent"] == 4
    assert m["NumberOfDeduplicatedSentMessages"] == 1
    assert m["ApproximateNumberOfGroupsWithInflightMessages"] == 2
    assert "ApproximateNumberOfNoisyGroups" not in m


def test_a_noisy_group_shows(site, sqs):
    client = site.client("sqs", sqs.url)
    url = client.create_queue(QueueName="a")["QueueUrl"]
    for i in range(6):
        client.send_message_batch(QueueUrl=url, Entries=[
            {"Id": str(k), "MessageBody": "x", "MessageGroupId": "loud"} for k in range(10)])
    for i in range(4):
        assert len(client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]) == 10
    client.send_message(QueueUrl=url, MessageBody="quiet", MessageGroupId="quiet")
    m = of_queue(sqs, "a")
    assert m["ApproximateNumberOfNoisyGroups"] == 1
    assert m["ApproximateNumberOfMessagesVisible"] == 21
    assert m["ApproximateNumberOfMessagesVisibleInQuietGroups"] == 1
    assert m["ApproximateNumberOfMessagesNotVisibleInQuietGroups"] == 0
    got = client.receive_message(QueueUrl=url, AttributeNames=["MessageGroupId"])["Messages"]
    assert got[0]["Body"] == "quiet" and got[0]["Attributes"] == {"MessageGroupId": "quiet"}


def test_requests_and_syncs_are_timed(site, sqs):
    client = site.client("sqs", sqs.url)
    url = client.create_queue(QueueName="a")["QueueUrl"]
    for _ in range(3):
        client.send_message(QueueUrl=url, MessageBody="x")
    with pytest.raises(botocore.exceptions.ClientError):
        client.receive_message(QueueUrl=url, MaxNumberOfMessages=11)
    smelt.http("POST", sqs.url + "/", b"Action=Foo", {})  # unsigned: names no action yet
    got = families(sqs)
    counts = {s.labels["action"]: s.value for s in got["smelt_sqs_request_seconds"].samples
              if s.name.endswith("_count")}
    assert counts["SendMessage"] == 3 and counts["ReceiveMessage"] == 1 and counts["none"] == 1
    (syncs,) = [s.value for s in got["smelt_sqs_sync_seconds"].samples if s.name.endswith("_count")]
    assert syncs >= 4
    requests = {s.labels["action"]: s.value for s in got["smelt_sqs_requests"].samples}
    assert requests["SendMessage"] == 3
    assert got["smelt_sqs_faults"].samples[0].value == 2
