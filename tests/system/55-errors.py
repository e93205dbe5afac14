"""What goes wrong is one clear sentence, and costs nothing else: nothing lost, nothing left half-made.

Pictures, sizes and models of one role alone stand in its own tests (30, 40, 50, 51); here the whole is driven.
"""
import datetime
import hashlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import threading
import zlib

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import smelt

DEMO = os.path.join(smelt.ROOT, "models/demo")
ANY = ["--gateway-listen", "127.0.0.1:0", "--sqs-listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"]


def post(serve, body, query="?wait=30", content_type="image/jpeg", **headers):
    return smelt.http("POST", serve.gateway_url + "/v1/jobs" + query, body,
                      {"Content-Type": content_type, **headers})


def works(serve):
    status, _, job = post(serve, smelt.sample("dog-1.jpg"))
    return status == 200 and job["status"] == "succeeded"


def one_sentence(text):
    """A single line that tells more than a code, without a source file, an errno or a dump."""
    assert text.count("\n") <= 1 and len(text) > 20, text
    assert not re.search(r"\.c:\d+|errno|0x[0-9a-f]+|\bNULL\b|\(null\)", text), text
    return text


class Accounts:
    """What queue and store hold."""

    def __init__(self, site, serve):
        self.s3 = site.client("s3", serve.s3_url, signature_version="s3v4")
        self.sqs = site.client("sqs", serve.sqs_url)

    def keys(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="smelt", Prefix=prefix)
        return {o["Key"][len(prefix):].removesuffix(".json") for page in pages for o in page.get("Contents", [])}

    def messages(self, queue="smelt-jobs"):
        url = self.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        got = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return sum(int(got["ApproximateNumberOfMessages" + x]) for x in ("", "NotVisible", "Delayed"))

    def balance(self, jobs):
        """Exactly these jobs: each with its picture and its result, no message left of any."""
        jobs = set(jobs)
        smelt.wait_until(lambda: self.messages() == 0, 60, "an empty queue")
        assert self.keys("inbox/") == jobs and self.keys("results/") == jobs
        assert self.messages("smelt-jobs-dlq") == 0


# --- what a client sends ---

def multipart(picture, end="\r\n--b--\r\n", field="file"):
    return (b'--b\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n' % field.encode() +
            picture + end.encode())


def test_no_bad_request_leaves_anything_half_made(site):
    serve = site.serve()
    accounts = Accounts(site, serve)
    dog = smelt.sample("dog-1.jpg")
    with open(os.path.join(smelt.ROOT, "tests/pictures/png-rgb.png"), "rb") as f:
        png = f.read()
    form = "multipart/form-data; boundary=b"
    # refused at once
    for body, query, kind, status, words in (
            (b"", "", "image/jpeg", 400, "empty|no picture"),
            (multipart(b""), "", form, 400, "empty|no picture"),
            (multipart(dog, end=""), "", form, 400, "cut off|end|boundary|multipart"),
            (multipart(dog, field="picture"), "", form, 400, "'?file'?"),
            (multipart(b"x" * ((32 << 20) + 1)), "", form, 413, "limit|MiB|bytes"),
            (b"{", "", "application/json", 400, "JSON"),
            (b'{"input":{"bucket":"smelt"}}', "", "application/json", 400, "key"),
            (b'{"input":{"bucket":"smelt","key":"x"},"model":"cats"}', "", "application/json", 404, "demo"),
            (dog, "?model=cats", "image/jpeg", 404, "cats.*demo"),
            (dog, "?wait=soon", "image/jpeg", 400, "wait"),
            (dog, "?wait=31", "image/jpeg", 400, "wait.*30")):
        got, _, answer = post(serve, body, query, kind)
        assert got == status, (answer, words)
        assert re.search(words, one_sentence(answer["error"]["message"])), answer
    assert smelt.http("GET", serve.gateway_url + "/v1/jobs/nosuchjob")[0] == 404
    assert smelt.http("PUT", serve.gateway_url + "/v1/jobs", dog)[0] == 405
    accounts.balance([])
    # taken, and failed by a child
    jobs = []
    for body, words in ((b"<!DOCTYPE html><title>x</title>", "HTML|text|not a picture"),
                        (png[:len(png) // 2], "PNG|cut|truncated|end"),
                        (png[:20], "PNG|cut|truncated|end"),
                        (dog[:2], "JPEG|cut|truncated|end|not a picture"),
                        (bytes(1000), "JPEG")):
        status, _, job = post(serve, body)
        assert status == 200 and job["status"] == "failed" and job["error"]["code"] == "format", job
        assert re.search(words, one_sentence(job["error"]["message"])), job
        jobs.append(job["id"])
    accounts.balance(jobs)
    # pictures that lie in the store: one that is missing, one over the limit
    accounts.s3.put_object(Bucket="smelt", Key="big", Body=bytes((32 << 20) + 1))
    for key, words in (("nothing", "no object|not found|nothing"), ("big", "limit|MiB|bytes")):
        status, _, job = post(serve, json.dumps({"input": {"bucket": "smelt", "key": key}}).encode(),
                              content_type="application/json")
        assert status == 200 and job["status"] == "failed", job
        assert re.search(words, one_sentence(job["error"]["message"])), job
    assert works(serve) and serve.stop() == 0


# --- what keeps it from starting ---

def refused(*args, prefix=()):
    """Exit code 1 and one line on standard error, which is returned."""
    done = subprocess.run([*prefix, smelt.PROGRAM, *args], cwd=smelt.ROOT, capture_output=True, text=True,
                          timeout=60, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 1 and not done.stdout, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("smelt"), done.stderr
    return one_sentence(lines[0])


@pytest.mark.parametrize("file, text, words", [
    ("smelt.json", b"", "smelt.json.*JSON"),
    ("smelt.json", b'{"name": ', "smelt.json.*JSON.*line 1"),
    ("smelt.json", b'{"nmae": "x"}', "'nmae' is unknown, did you mean 'name'"),
    ("labels.txt", b"one label\n", "labels"),
    ("model.onnx", None, "model.onnx.*cut off"),
], ids=["empty", "half", "misspelt", "labels", "onnx"])
def test_a_broken_package_is_one_sentence(tmp_path, file, text, words):
    package = tmp_path / "broken"
    shutil.copytree(DEMO, package)
    if text is None:
        text = (package / file).read_bytes()[:100_000]
    assert (package / file).exists()
    (package / file).write_bytes(text)
    assert re.search(words, refused("predict", "--model", str(package), "samples/dog-1.jpg"))
    assert re.search(words, refused("serve", "--data", str(tmp_path / "data"), "--model", str(package), *ANY))


def test_a_port_in_use_is_one_sentence(site, tmp_path):
    serve = site.serve()
    ports = {"gateway": serve.gateway_url[7:], "sqs": serve.sqs_url[7:], "s3": serve.s3_url[7:]}
    for role, taken in ports.items():
        option = "--%s-listen" % role
        words = "port %s on 127.0.0.1 is in use" % taken.split(":")[1]
        got = refused("serve", "--data", str(tmp_path / "new"), *ANY, option, taken)
        assert words in got and option in got
        assert words in refused("serve", "--data", str(tmp_path / "new"), *ANY, option, taken,
                                "--log-level", "error")
        if role != "gateway":
            got = refused(role, "--data", str(tmp_path / "new"), option, taken, "--log-level", "error")
            assert words in got and option in got
    keys = {"prefix": ("env", "AWS_ACCESS_KEY_ID=k", "AWS_SECRET_ACCESS_KEY=s",
                       "AWS_ENDPOINT_URL=" + serve.sqs_url)}
    assert "is in use" in refused("gateway", "--gateway-listen", ports["gateway"], **keys)
    assert "is in use" in refused("worker", "--worker-listen", ports["gateway"], "--log-level", "error", **keys)
    assert works(serve)


def test_the_data_of_another_instance_is_not_touched(site):
    serve = site.serve()
    assert works(serve)
    for role in ("serve", "sqs", "s3"):
        listen = ANY if role == "serve" else ["--%s-listen" % role, "127.0.0.1:0"]
        got = refused(role, "--data", site.data, *listen, "--log-level", "error")
        assert "in use by another smelt (pid " in got and "--data" in got
    assert works(serve) and serve.stop() == 0


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@needs_root
def test_no_permission_is_one_sentence(site):
    # not under pytest's folder, which is closed to others
    folder = subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip()
    try:
        os.chmod(folder, 0o755)
        shutil.copytree(DEMO, folder + "/models/demo")
        program = shutil.copy(smelt.PROGRAM, folder + "/smelt")
        data = folder + "/data"
        for mode in (0o700, 0o755):
            os.makedirs(data, exist_ok=True)
            os.chmod(data, mode)
            for role in ("serve", "sqs", "s3"):
                for path in (data, folder + "/new"):
                    done = subprocess.run([*NOBODY, program, role, "--data", path], cwd=folder, timeout=60,
                                          capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
                    line = one_sentence(done.stderr)
                    assert done.returncode == 1 and path in line and "Permission denied" in line
                    assert "choose another" in line and "chown" in line
            assert os.listdir(data) == [] and not os.path.exists(folder + "/new")
    finally:
        shutil.rmtree(folder)


# --- a full disk ---

@pytest.fixture
def small_disk(site):
    os.makedirs(site.data)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "none", site.data], capture_output=True)
    if done.returncode != 0:
        pytest.skip("mounting a small disk needs root: " + done.stderr.decode().strip())
    yield site
    site.stop()
    subprocess.run(["umount", site.data], check=True)


def fill(data, leave_bytes=0):
    """A file of somebody else's takes the rest of the disk."""
    path = os.path.join(data, "somebody-elses")
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(1 << 16))
        except OSError:
            pass
        f.truncate(max(0, f.tell() - leave_bytes))
    return path


def test_a_full_disk_loses_nothing_and_heals(small_disk):
    site = small_disk
    serve = site.serve("--workers", "1")
    accounts = Accounts(site, serve)
    dog = smelt.sample("dog-1.jpg")
    done = [post(serve, dog)[2]["id"] for _ in range(3)]
    mine = accounts.sqs.create_queue(QueueName="mine")["QueueUrl"]
    accounts.s3.put_object(Bucket="smelt", Key="mine/first", Body=b"first" * 2000)

    # full: by puts, by sends, and by a file of somebody else's
    bodies, stored = [], ["mine/first"]
    for i in range(400):
        body = random.Random(i).randbytes(1 << 20)
        try:
            accounts.s3.put_object(Bucket="smelt", Key="mine/%d" % i, Body=body)
        except accounts.s3.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "InsufficientStorage", error
            one_sentence(error.response["Error"]["Message"])
            break
        stored.append("mine/%d" % i)
    else:
        raise AssertionError("the disk never was full")
    other = fill(site.data)
    for size in (200_000, 5_000, 100):
        for i in range(4000):
            try:
                accounts.sqs.send_message(QueueUrl=mine, MessageBody="%d-%d %s" % (size, i, "x" * size))
            except accounts.sqs.exceptions.ClientError as error:
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 503, 507), error
                assert re.search("space|disk|full", one_sentence(error.response["Error"]["Message"])), error
                break
            bodies.append("%d-%d" % (size, i))
        else:
            raise AssertionError("the journal never was full")
    status, headers, answer = post(serve, dog)
    assert status in (503, 507) and re.search("space|disk|full", one_sentence(answer["error"]["message"])), answer

    assert accounts.keys("inbox/") == set(done)

    # what is there can be read, received, deleted
    assert smelt.http("GET", serve.gateway_url + "/v1/jobs/" + done[0])[2]["status"] == "succeeded"
    assert accounts.s3.get_object(Bucket="smelt", Key="mine/first")["Body"].read() == b"first" * 2000
    got = accounts.sqs.receive_message(QueueUrl=mine, WaitTimeSeconds=5)["Messages"][0]
    accounts.sqs.delete_message(QueueUrl=mine, ReceiptHandle=got["ReceiptHandle"])
    bodies.remove(got["Body"].split()[0])
    accounts.s3.delete_object(Bucket="smelt", Key="mine/first")
    stored.remove("mine/first")

    # a restart on the full disk keeps everything
    assert serve.stop() == 0
    serve = site.serve("--workers", "1")
    accounts = Accounts(site, serve)
    assert accounts.keys("mine/") == {k[5:] for k in stored}
    assert accounts.messages("mine") == len(bodies)

    # space again: it goes on by itself
    os.unlink(other)
    for key in stored[: len(stored) // 2]:
        accounts.s3.delete_object(Bucket="smelt", Key=key)
    smelt.wait_until(lambda: works(serve), 60, "a picture's answer after space was made")
    mine = accounts.sqs.get_queue_url(QueueName="mine")["QueueUrl"]
    while bodies:
        for got in accounts.sqs.receive_message(QueueUrl=mine, WaitTimeSeconds=5, MaxNumberOfMessages=10)["Messages"]:
            bodies.remove(got["Body"].split()[0])
            accounts.sqs.delete_message(QueueUrl=mine, ReceiptHandle=got["ReceiptHandle"])
    for key in stored[len(stored) // 2:]:
        body = accounts.s3.get_object(Bucket="smelt", Key=key)["Body"].read()
        assert body == random.Random(int(key[5:])).randbytes(1 << 20)
    assert accounts.messages() == 0 and serve.alive()
