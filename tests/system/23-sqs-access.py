"""Several identities on one server: who may do what on the queues, as clients see it."""
import json
import os

import boto3
import botocore.config
import botocore.exceptions
import pytest

import smelt

SECRET = "x" * 40


def add_profile(site, name, key, account=None):
    with open(os.path.join(site.data, "credentials"), "a") as f:
        f.write("\n[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n" % (name, key, SECRET))
        if account is not None:
            f.write("aws_account_id = %s\n" % account)


def client_of(service, url, key):
    return boto3.client(service, endpoint_url=url, region_name=smelt.REGION, aws_access_key_id=key,
                        aws_secret_access_key=SECRET,
                        config=botocore.config.Config(retries={"max_attempts": 0}))


@pytest.fixture
def sqs(site):
    site.role("sqs").stop()  # makes the credentials
    add_profile(site, "eve", "EVEKEY")
    add_profile(site, "partner", "PARTNERKEY", "111122223333")
    return site.role("sqs")


def denied(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**arguments)
    answer = error.value.response
    assert answer["Error"]["Code"] == "AccessDenied"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403
    return answer["Error"]["Message"]


def test_another_account_does_what_it_was_given(site, sqs):
    owner = site.client("sqs", sqs.url)
    partner = client_of("sqs", sqs.url, "PARTNERKEY")
    url = owner.create_queue(QueueName="jobs")["QueueUrl"]
    message = denied(partner.send_message, QueueUrl=url, MessageBody="x")
    assert message == (
        "User: arn:aws:iam::111122223333:user/partner is not authorized to perform: sqs:sendmessage "
        "on resource: arn:aws:sqs:us-east-1:000000000000:jobs because no resource-based policy allows "
        "the sqs:sendmessage action")
    denied(partner.list_queues)
    denied(partner.create_queue, QueueName="mine")
    owner.add_permission(QueueUrl=url, Label="partner", AWSAccountIds=["111122223333"],
                         Actions=["SendMessage"])
    partner.send_message(QueueUrl=url, MessageBody="x")
    denied(partner.receive_message, QueueUrl=url)
    sqs.kill()
    site.role("sqs", port=sqs.port)
    partner.send_message(QueueUrl=url, MessageBody="y")
    owner.remove_permission(QueueUrl=url, Label="partner")
    denied(partner.send_message, QueueUrl=url, MessageBody="x")


def test_a_user_of_the_account_may_all_but_what_is_denied(site, sqs):
    owner, eve = site.client("sqs", sqs.url), client_of("sqs", sqs.url, "EVEKEY")
    url = eve.create_queue(QueueName="jobs")["QueueUrl"]
    eve.send_message(QueueUrl=url, MessageBody="x")
    policy = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::000000000000:user/eve"},
        "Action": ["sqs:PurgeQueue", "sqs:DeleteQueue"], "Resource": "*"}]}
    owner.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    assert "explicit deny" in denied(eve.purge_queue, QueueUrl=url)
    denied(eve.delete_queue, QueueUrl=url)
    eve.send_message(QueueUrl=url, MessageBody="x")
    owner.purge_queue(QueueUrl=url)
    with pytest.raises(botocore.exceptions.ClientError) as error:
        owner.set_queue_attributes(QueueUrl=url, Attributes={"Policy": "{"})
    assert error.value.response["Error"]["Code"] == "InvalidAttributeValue"
    assert "it is not JSON" in str(error.value)


def test_json_form_of_the_refusal(site, sqs):
    site.client("sqs", sqs.url).create_queue(QueueName="jobs")
    site.keys = lambda: ("PARTNERKEY", SECRET)
    status, headers, body = site.sqs_json(sqs.url, "SendMessage", QueueUrl="jobs", MessageBody="x")
    assert (status, headers["x-amzn-query-error"]) == (403, "AccessDenied;Sender")
    assert body["__type"] == "com.amazon.coral.service#AccessDeniedException"


def test_the_store_is_the_owners_alone(site, sqs):
    s3 = site.role("s3")
    client_of("s3", s3.url, "EVEKEY").create_bucket(Bucket="pictures")
    with pytest.raises(botocore.exceptions.ClientError) as error:
        client_of("s3", s3.url, "PARTNERKEY").list_buckets()
    assert error.value.response["Error"]["Code"] == "AccessDenied"


def test_a_wrong_account_is_said_at_the_start(site, sqs):
    sqs.stop()
    add_profile(site, "typo", "TYPOKEY", "12345")
    with pytest.raises(smelt.StartError) as error:
        site.role("sqs")
    assert "aws_account_id in [typo] must be 12 digits, not '12345'" in error.value.notice
