"""Clients that know nothing of smelt: the AWS SDK for JavaScript, and the usual Python consumer."""
import json
import os
import subprocess
import threading

import smelt


def test_aws_sdk_js_v3(site):
    sqs, s3 = site.role("sqs"), site.role("s3")
    key, secret = site.keys()
    done = subprocess.run(
        ["node", os.path.join(smelt.ROOT, "tests/system/js/sqs_s3.mjs")], capture_output=True,
        text=True, timeout=120,
        env={"PATH": os.environ["PATH"], "SQS_URL": sqs.url, "S3_URL": s3.url, "KEY": key,
             "SECRET": secret, "STREAM": "1", "HOME": site.folder})
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "ok"


def consume(sqs, s3, queue_url, seen, wanted):
    """The consumer that everybody writes: long poll, get the object that the body names, delete."""
    while len(seen) < wanted:
        answer = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=20)
        for message in answer.get("Messages", []):
            job = json.loads(message["Body"])
            bucket, _, key = job["ImagePath"][len("s3://"):].partition("/")
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            seen[job["ImageId"]] = body
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])


def test_python_consumer_of_the_usual_kind(site):
    sqs_role, s3_role = site.role("sqs"), site.role("s3")
    sqs, s3 = site.client("sqs", sqs_role.url), site.client("s3", s3_role.url)
    s3.create_bucket(Bucket="pictures")
    url = sqs.create_queue(QueueName="work")["QueueUrl"]
    seen = {}
    consumer = threading.Thread(target=consume, args=(
        site.client("sqs", sqs_role.url), site.client("s3", s3_role.url), url, seen, 25), daemon=True)
    consumer.start()
    for i in range(25):
        s3.put_object(Bucket="pictures", Key="in/%d.jpg" % i, Body=b"picture %d" % i)
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(
            {"ImagePath": "s3://pictures/in/%d.jpg" % i, "ImageId": "image-%d" % i}))
    consumer.join(60)
    assert not consumer.is_alive()
    assert seen == {"image-%d" % i: b"picture %d" % i for i in range(25)}
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == "0"
    assert counts["ApproximateNumberOfMessagesNotVisible"] == "0"
