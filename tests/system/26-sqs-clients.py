"""Every action through real clients: boto3 and awscli (Query protocol), the AWS SDK for JavaScript and
sqs-consumer (JSON protocol)."""
import json
import os
import shutil
import subprocess

import boto3
import botocore.config
import botocore.exceptions
import botocore.loaders
import botocore.session
import pytest

import smelt


@pytest.fixture
def sqs(site):
    return site.role("sqs")


def node(site, sqs, script):
    key, secret = site.keys()
    done = subprocess.run(
        ["node", os.path.join(smelt.ROOT, "tests/system/js", script)], capture_output=True, text=True,
        timeout=120, env={"PATH": os.environ["PATH"], "SQS_URL": sqs.url, "KEY": key, "SECRET": secret,
                          "HOME": site.folder})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "ok"


def test_every_action_with_the_sdk_for_javascript(site, sqs):
    node(site, sqs, "sqs_actions.mjs")


def test_sqs_consumer(site, sqs):
    node(site, sqs, "sqs_consumer.mjs")


# What boto3's model of the Query protocol lacks where it is older than message move tasks.
MOVE_TASKS = {
    "operations": {
        "StartMessageMoveTask": ["StartMessageMoveTaskRequest", "StartMessageMoveTaskResult"],
        "CancelMessageMoveTask": ["CancelMessageMoveTaskRequest", "CancelMessageMoveTaskResult"],
        "ListMessageMoveTasks": ["ListMessageMoveTasksRequest", "ListMessageMoveTasksResult"],
    },
    "shapes": {
        "StartMessageMoveTaskRequest": {"SourceArn": "String", "DestinationArn": "String",
                                        "MaxNumberOfMessagesPerSecond": "Integer"},
        "StartMessageMoveTaskResult": {"TaskHandle": "String"},
        "CancelMessageMoveTaskRequest": {"TaskHandle": "String"},
        "CancelMessageMoveTaskResult": {"ApproximateNumberOfMessagesMoved": "MoveTaskLong"},
        "ListMessageMoveTasksRequest": {"SourceArn": "String", "MaxResults": "Integer"},
        "ListMessageMoveTasksResult": {"Results": "MoveTaskList"},
        "MoveTaskEntry": {"TaskHandle": "String", "Status": "String", "SourceArn": "String",
                          "DestinationArn": "String", "MaxNumberOfMessagesPerSecond": "Integer",
                          "ApproximateNumberOfMessagesMoved": "MoveTaskLong",
                          "ApproximateNumberOfMessagesToMove": "MoveTaskLong",
                          "FailureReason": "String", "StartedTimestamp": "MoveTaskLong"},
    },
}


def whole_model(folder):
    """boto3's own model of the service with the three actions added, as a data folder."""
    model = botocore.loaders.Loader().load_service_model("sqs", "service-2")
    for name, (given, result) in MOVE_TASKS["operations"].items():
        model["operations"].setdefault(name, {
            "name": name, "http": {"method": "POST", "requestUri": "/"}, "input": {"shape": given},
            "output": {"shape": result, "resultWrapper": result}})
    for name, members in MOVE_TASKS["shapes"].items():
        shape = {"type": "structure", "members": {m: {"shape": s} for m, s in members.items()}}
        model["shapes"].setdefault(name, shape)
    model["shapes"].setdefault("MoveTaskLong", {"type": "long"})
    model["shapes"].setdefault("MoveTaskList", {
        "type": "list", "flattened": True,
        "member": {"shape": "MoveTaskEntry", "locationName": "ListMessageMoveTasksResultEntry"}})
    path = os.path.join(folder, "models", "sqs", "2012-11-05")
    os.makedirs(path)
    with open(os.path.join(path, "service-2.json"), "w") as f:
        json.dump(model, f)
    return os.path.join(folder, "models")


class Recorder:
    """A boto3 client that notes which actions were called."""

    def __init__(self, site, url):
        session = botocore.session.Session()
        # the first folder that has the service counts
        session.get_component("data_loader").search_paths.insert(0, whole_model(site.folder))
        key, secret = site.keys()
        self.client = boto3.Session(botocore_session=session).client(
            "sqs", endpoint_url=url, region_name=smelt.REGION, aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=botocore.config.Config(retries={"max_attempts": 0}))
        self.used = set()
        self.client.meta.events.register(
            "before-call.sqs", lambda model, **kwargs: self.used.add(model.name))
        assert self.client.meta.service_model.metadata["protocol"] == "query"

    def __getattr__(self, name):
        return getattr(self.client, name)


def refused(call, code, status, message=None, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**arguments)
    answer = error.value.response
    assert answer["Error"]["Code"] == code
    assert answer["Error"]["Type"] == "Sender"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36
    if message is not None:
        assert answer["Error"]["Message"] == message
    return error.value


def round_of_queues(c):
    url = c.create_queue(QueueName="all", Attributes={"VisibilityTimeout": "40"},
                         tags={"team": "a", "empty": ""})["QueueUrl"]
    assert c.get_queue_url(QueueName="all")["QueueUrl"] == url
    assert c.list_queues(QueueNamePrefix="al")["QueueUrls"] == [url]
    assert "QueueUrls" not in c.list_queues(QueueNamePrefix="none")
    c.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "50"})
    attributes = c.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert len(attributes) == 12 and attributes["VisibilityTimeout"] == "50"
    c.tag_queue(QueueUrl=url, Tags={"team": "b", "more": "x"})
    assert c.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "b", "empty": "", "more": "x"}
    c.untag_queue(QueueUrl=url, TagKeys=["team", "empty", "more", "none"])
    assert "Tags" not in c.list_queue_tags(QueueUrl=url)
    c.add_permission(QueueUrl=url, Label="p", AWSAccountIds=["111122223333", "444455556666"],
                     Actions=["SendMessage"])
    policy = c.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"]
    assert len(json.loads(policy)["Statement"][0]["Principal"]["AWS"]) == 2
    c.remove_permission(QueueUrl=url, Label="p")
    return url


def round_of_messages(c, url):
    sent = c.send_message(
        QueueUrl=url, MessageBody="one",
        MessageAttributes={"Hello": {"DataType": "String", "StringValue": "there"},
                           "General": {"DataType": "Number", "StringValue": "7"}},
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-a"}})
    assert len(sent["MD5OfMessageSystemAttributes"]) == 32 and "SequenceNumber" not in sent
    (m,) = c.receive_message(QueueUrl=url, MessageAttributeNames=["Hel.*"], AttributeNames=["All"],
                             WaitTimeSeconds=5)["Messages"]
    assert list(m["MessageAttributes"]) == ["Hello"]
    assert m["Attributes"]["AWSTraceHeader"] == "Root=1-a"
    c.change_message_visibility(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"], VisibilityTimeout=0)
    (m,) = c.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    changed = c.change_message_visibility_batch(QueueUrl=url, Entries=[
        {"Id": "good", "ReceiptHandle": m["ReceiptHandle"], "VisibilityTimeout": 100},
        {"Id": "bad", "ReceiptHandle": "garbage", "VisibilityTimeout": 100}])
    assert changed["Successful"] == [{"Id": "good"}]
    assert changed["Failed"] == [{
        "Id": "bad", "SenderFault": True, "Code": "ReceiptHandleIsInvalid",
        "Message": 'The input receipt handle "garbage" is not a valid receipt handle.'}]
    for _ in range(2):
        c.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
    batch = c.send_message_batch(QueueUrl=url, Entries=[
        {"Id": "a", "MessageBody": "a"}, {"Id": "b", "MessageBody": "b", "DelaySeconds": 901}])
    assert [e["Id"] for e in batch["Successful"]] == ["a"]
    assert batch["Failed"][0]["Code"] == "InvalidParameterValue"
    (m,) = c.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)["Messages"]
    gone = c.delete_message_batch(QueueUrl=url,
                                  Entries=[{"Id": "x", "ReceiptHandle": m["ReceiptHandle"]}])
    assert gone["Successful"] == [{"Id": "x"}]


def round_of_dead_letters(c):
    dead = c.create_queue(QueueName="dead")["QueueUrl"]
    arn = c.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    jobs = c.create_queue(QueueName="jobs", Attributes={
        "VisibilityTimeout": "0", "RedrivePolicy": json.dumps(
            {"deadLetterTargetArn": arn, "maxReceiveCount": 1})})["QueueUrl"]
    assert c.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [jobs]
    for i in range(3):
        c.send_message(QueueUrl=jobs, MessageBody="m%d" % i)
    for i in range(6):
        c.receive_message(QueueUrl=jobs)
    handle = c.start_message_move_task(SourceArn=arn, MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    (task,) = c.list_message_move_tasks(SourceArn=arn, MaxResults=10)["Results"]
    assert task["Status"] == "RUNNING" and task["TaskHandle"] == handle
    assert task["ApproximateNumberOfMessagesToMove"] == 3
    refused(c.start_message_move_task, "InvalidParameterValue", 400,
            "There is already a task running. Only one active task is allowed for a source queue arn "
            "at a given time.", SourceArn=arn)
    c.cancel_message_move_task(TaskHandle=handle)
    refused(c.cancel_message_move_task, "ResourceNotFoundException", 404, "Task does not exist.",
            TaskHandle=handle)


def round_of_refusals(c, url):
    error = refused(c.send_message, "AWS.SimpleQueueService.NonExistentQueue", 400,
                    "The specified queue does not exist for this wsdl version.",
                    QueueUrl=url + "x", MessageBody="x")
    assert isinstance(error, c.exceptions.QueueDoesNotExist)
    error = refused(c.create_queue, "QueueAlreadyExists", 400,
                    "A queue already exists with the same name and a different value for attribute "
                    "DelaySeconds", QueueName="all", Attributes={"DelaySeconds": "9"})
    assert isinstance(error, c.exceptions.QueueNameExists)
    for code, entries in (
            ("EmptyBatchRequest", []),
            ("TooManyEntriesInBatchRequest", [str(i) for i in range(11)]),
            ("BatchEntryIdsNotDistinct", ["a", "a"]), ("InvalidBatchEntryId", ["a b"])):
        refused(c.send_message_batch, "AWS.SimpleQueueService." + code, 400, QueueUrl=url,
                Entries=[{"Id": e, "MessageBody": "x"} for e in entries])
    refused(c.send_message, "InvalidMessageContents", 400, QueueUrl=url, MessageBody="\x01")
    refused(c.send_message, "MissingParameter", 400,
            "The request must contain the parameter MessageBody.", QueueUrl=url, MessageBody="")
    refused(c.delete_message, "ReceiptHandleIsInvalid", 404, QueueUrl=url, ReceiptHandle="garbage")
    refused(c.get_queue_attributes, "InvalidAttributeName", 400, "Unknown Attribute Foobar.",
            QueueUrl=url, AttributeNames=["Foobar"])
    c.purge_queue(QueueUrl=url)
    error = refused(c.purge_queue, "AWS.SimpleQueueService.PurgeQueueInProgress", 403,
                    "Only one PurgeQueue operation on all is allowed every 60 seconds.", QueueUrl=url)
    assert isinstance(error, c.exceptions.PurgeQueueInProgress)
    c.delete_queue(QueueUrl=url)
    error = refused(c.create_queue, "AWS.SimpleQueueService.QueueDeletedRecently", 400,
                    "You must wait 60 seconds after deleting a queue before you can create another "
                    "with the same name.", QueueName="all")
    assert isinstance(error, c.exceptions.QueueDeletedRecently)


def test_every_action_with_boto3(site, sqs):
    c = Recorder(site, sqs.url)
    url = round_of_queues(c)
    round_of_messages(c, url)
    round_of_dead_letters(c)
    round_of_refusals(c, url)
    assert len(c.used) == 23 and c.used == set(c.meta.service_model.operation_names)


def test_a_minute_can_be_no_time(site):
    sqs = site.role("sqs", "--sqs-cooldown", "0")
    c = site.client("sqs", sqs.url)
    for _ in range(3):
        url = c.create_queue(QueueName="jobs")["QueueUrl"]
        c.purge_queue(QueueUrl=url)
        c.purge_queue(QueueUrl=url)
        c.delete_queue(QueueUrl=url)


def test_the_minute_survives_kill_9(site, sqs):
    c = site.client("sqs", sqs.url)
    url = c.create_queue(QueueName="purged")["QueueUrl"]
    c.purge_queue(QueueUrl=url)
    c.delete_queue(QueueUrl=c.create_queue(QueueName="gone")["QueueUrl"])
    sqs.kill()
    site.role("sqs", port=sqs.port)
    with pytest.raises(c.exceptions.PurgeQueueInProgress):
        c.purge_queue(QueueUrl=url)
    with pytest.raises(c.exceptions.QueueDeletedRecently):
        c.create_queue(QueueName="gone")
    c.create_queue(QueueName="another")


@pytest.mark.skipif(shutil.which("aws") is None, reason="awscli is not installed")
def test_awscli(site, sqs):
    def aws(*args, fails=None):
        done = subprocess.run(["aws", "sqs", "--endpoint-url", sqs.url, "--output", "json"]
                              + list(args), env=site.aws_environment(), capture_output=True,
                              text=True, timeout=60)
        if fails is not None:
            assert done.returncode != 0 and fails in done.stderr
            return None
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    dead = aws("create-queue", "--queue-name", "dead")["QueueUrl"]
    arn = aws("get-queue-attributes", "--queue-url", dead, "--attribute-names",
              "QueueArn")["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "5"})
    url = aws("create-queue", "--queue-name", "jobs", "--attributes",
              json.dumps({"RedrivePolicy": redrive}), "--tags", "team=a")["QueueUrl"]
    assert aws("list-queue-tags", "--queue-url", url)["Tags"] == {"team": "a"}
    assert aws("list-dead-letter-source-queues", "--queue-url", dead)["queueUrls"] == [url]
    assert sorted(aws("list-queues", "--max-items", "10")["QueueUrls"]) == [dead, url]
    aws("send-message", "--queue-url", url, "--message-body", "h\u00e9llo", "--message-attributes",
        '{"a":{"DataType":"String","StringValue":"v"}}')
    aws("send-message-batch", "--queue-url", url, "--entries", '[{"Id":"1","MessageBody":"two"}]')
    got = aws("receive-message", "--queue-url", url, "--max-number-of-messages", "10",
              "--message-attribute-names", "All", "--attribute-names", "All")["Messages"]
    assert sorted(m["Body"] for m in got) == ["h\u00e9llo", "two"]
    for m in got:
        aws("delete-message", "--queue-url", url, "--receipt-handle", m["ReceiptHandle"])
    aws("purge-queue", "--queue-url", url)
    aws("purge-queue", "--queue-url", url, fails="(AWS.SimpleQueueService.PurgeQueueInProgress)")
    aws("delete-queue", "--queue-url", url)
    aws("get-queue-url", "--queue-name", "jobs", fails="(AWS.SimpleQueueService.NonExistentQueue)")
