"""What goes wrong is one clear sentence, and costs nothing else: nothing lost, nothing left half-made.

Pictures, sizes and models of one role alone stand in its own tests (30, 40, 50, 51); here the whole is driven.
"""
import datetime
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess

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
    assert not re.search(r"\.c:\d+|errno|\b0x[0-9a-f]+|\bNULL\b|\(null\)", text), text
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
    # the roles end by themselves when their supervisor has been killed
    smelt.wait_until(lambda: subprocess.run(["umount", site.data], capture_output=True).returncode == 0, 60,
                     "the end of the roles, which hold the disk")


def fill(data, leave_bytes=0):
    """A file of somebody else's takes the rest of the disk."""
    path = os.path.join(data, "somebody-elses")
    with open(path, "ab", buffering=0) as f:
        try:
            while True:
                f.write(bytes(1 << 16))
        except OSError:
            pass
        f.truncate(max(0, f.tell() - leave_bytes))
    return path


class Full:
    """A small disk, its running `serve`, and what was stored and queued on it until it was full."""

    def __init__(self, site):
        self.site, self.serve, self.bodies, self.stored, self.serial = site, None, [], {}, 0
        self.start()
        self.sqs.create_queue(QueueName="mine")

    def start(self):
        if self.serve:
            assert self.serve.stop() == 0
        self.serve = self.site.serve("--workers", "1")
        self.accounts = Accounts(self.site, self.serve)
        self.sqs, self.s3 = self.accounts.sqs, self.accounts.s3

    @property
    def mine(self):
        return self.sqs.get_queue_url(QueueName="mine")["QueueUrl"]

    def put_until_refused(self, size):
        for _ in range(4000):
            self.serial += 1
            key, body = "mine/%d" % self.serial, random.Random(self.serial).randbytes(size)
            try:
                self.s3.put_object(Bucket="smelt", Key=key, Body=body)
            except self.s3.exceptions.ClientError as error:
                assert error.response["Error"]["Code"] == "InsufficientStorage", error
                return one_sentence(error.response["Error"]["Message"])
            self.stored[key] = body
        raise AssertionError("the disk never was full")

    def send_until_refused(self):
        for size in (200_000, 5_000, 100):
            for _ in range(4000):
                self.serial += 1
                try:
                    self.sqs.send_message(QueueUrl=self.mine, MessageBody="%d %s" % (self.serial, "x" * size))
                except self.sqs.exceptions.ClientError as error:
                    assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 503, 507), error
                    assert re.search("space|disk", one_sentence(error.response["Error"]["Message"])), error
                    break
                self.bodies.append(self.serial)
            else:
                raise AssertionError("the journal never was full")

    def receive(self):
        """Takes what is there, at most ten."""
        got = self.sqs.receive_message(QueueUrl=self.mine, WaitTimeSeconds=5, MaxNumberOfMessages=10)["Messages"]
        for message in got:
            self.bodies.remove(int(message["Body"].split()[0]))
            self.sqs.delete_message(QueueUrl=self.mine, ReceiptHandle=message["ReceiptHandle"])

    def check_all(self):
        assert self.accounts.keys("mine/") == {key[5:] for key in self.stored}
        for key, body in list(self.stored.items())[:20] + list(self.stored.items())[-20:]:
            assert self.s3.get_object(Bucket="smelt", Key=key)["Body"].read() == body
        assert self.accounts.messages("mine") == len(self.bodies)


def test_a_full_disk_loses_nothing_and_heals(small_disk):
    full = Full(small_disk)
    dog = smelt.sample("dog-1.jpg")
    done = {post(full.serve, dog)[2]["id"] for _ in range(2)}
    worker = next(p for p in smelt.children_of(full.serve.pid) if smelt.command_line(p)[1:2] == ["worker"])
    os.kill(worker, signal.SIGSTOP)
    accepted = {post(full.serve, dog, "")[2]["id"] for _ in range(5)}
    # no space for another piece of the journal, some for pictures: those of jobs refused do not stay
    other = fill(small_disk.data, leave_bytes=12 << 20)
    full.send_until_refused()
    for _ in range(3):
        status, _, answer = post(full.serve, dog, "")
        assert status == 503 and re.search("space|disk", one_sentence(answer["error"]["message"])), answer
    smelt.wait_until(lambda: full.accounts.keys("inbox/") == done | accepted, 10, "the refused pictures' end")
    # no space at all
    full.put_until_refused(1 << 20)
    fill(small_disk.data)
    full.put_until_refused(20_000)
    status, _, answer = post(full.serve, dog)
    assert status == 503 and re.search("space|disk|full", one_sentence(answer["error"]["message"])), answer
    assert full.accounts.keys("inbox/") == done | accepted
    # what is there can be read, received, deleted
    full.check_all()
    full.receive()
    for key in list(full.stored)[:1]:
        full.s3.delete_object(Bucket="smelt", Key=key)
        del full.stored[key]
    # results cannot be stored now; they can when there is space, and nobody starts anything again
    fill(small_disk.data)
    full.put_until_refused(4_000)  # these lie in the catalog
    refusals = full.serve.log().count("code=InsufficientStorage")
    os.kill(worker, signal.SIGCONT)
    smelt.wait_until(lambda: full.serve.log().count("code=InsufficientStorage") > refusals, 60, "a result refused")
    full.check_all()
    os.unlink(other)
    for job in accepted:
        url = full.serve.gateway_url + "/v1/jobs/%s?wait=20" % job
        smelt.wait_until(lambda: smelt.http("GET", url)[2]["status"] == "succeeded", 90, "an accepted job's result")
    assert works(full.serve)
    full.check_all()
    smelt.wait_until(lambda: full.accounts.messages() == 0, 30, "an empty queue")
    assert full.accounts.messages("smelt-jobs-dlq") == 0


def test_a_full_disk_can_be_started_on(small_disk):
    full = Full(small_disk)
    done = post(full.serve, smelt.sample("dog-1.jpg"))[2]["id"]
    full.put_until_refused(1 << 20)
    other = fill(small_disk.data)
    full.send_until_refused()
    full.start()
    full.check_all()
    assert smelt.http("GET", full.serve.gateway_url + "/v1/jobs/" + done)[2]["status"] == "succeeded"
    full.receive()
    os.unlink(other)
    for key in list(full.stored)[::2]:
        full.s3.delete_object(Bucket="smelt", Key=key)
        del full.stored[key]
    smelt.wait_until(lambda: works(full.serve), 60, "a picture's answer after space was made")
    while full.bodies:
        full.receive()
    full.check_all()


def test_a_disk_too_small_to_start_on_is_one_sentence(small_disk):
    fill(small_disk.data)
    for role in ("serve", "sqs", "s3"):
        got = refused(role, "--data", small_disk.data, *(ANY if role == "serve" else []), "--log-level", "error")
        assert "No space left" in got or "no space" in got
        assert re.search("make room|free|space on", got), got


# --- clients that mean no good ---

GARBAGE = [b"\0" * 4000, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500), b"GET", b"\r\n" * 2000,
           b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\nzzzz\r\n",
           b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551617\r\n\r\n",
           b"GET /%zz%00 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
           b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"G\xff\xfe / HTTP/1.1\r\n\r\n"]


def test_garbage_on_every_port_is_harmless(site):
    serve = site.serve()
    pids = sorted(smelt.children_of(serve.pid))
    noise = random.Random(1)
    for url in (serve.gateway_url, serve.sqs_url, serve.s3_url):
        port = int(url.rsplit(":", 1)[1])
        for data in GARBAGE + [noise.randbytes(noise.randrange(1, 3000)) for _ in range(50)]:
            with socket.create_connection(("127.0.0.1", port), 0.5) as s:
                try:
                    s.sendall(data)
                    s.shutdown(socket.SHUT_WR)
                    answer = s.recv(1000)
                except ConnectionError:
                    answer = b""  # cut off before all was sent: as good
                except TimeoutError:
                    answer = b""  # no whole head: it may wait for more, until its time is over
            assert re.match(rb"$|HTTP/1\.[01] (4\d\d|5(01|05)) ", answer), (url, data[:60], answer)
    assert works(serve)
    assert sorted(smelt.children_of(serve.pid)) == pids  # nobody died of it
    assert serve.stop() == 0


def test_a_thousand_slow_clients_do_not_stop_the_others(site):
    serve = site.serve()
    port = int(serve.gateway_url.rsplit(":", 1)[1])
    slow = []
    try:
        for i in range(1000):  # half of a head, or a head and a piece of the body
            s = socket.create_connection(("127.0.0.1", port), 10)
            s.sendall(b"POST /v1/jobs?wait=1 HTTP/1.1\r\nHost: x\r\n")
            if i % 2:
                s.sendall(b"Content-Length: 5000\r\n\r\n\xff\xd8\xff")
            slow.append(s)
        for _ in range(5):
            assert works(serve)
            for s in slow[1::2]:
                s.sendall(b"x")  # alive, and in no hurry
        assert smelt.http("GET", serve.gateway_url + "/readyz")[0] == 200
    finally:
        for s in slow:
            s.close()
    assert works(serve)
    accounts = Accounts(site, serve)
    assert len(accounts.keys("inbox/")) == 6  # none of theirs
    assert serve.stop() == 0


# --- signatures ---

def at(minutes):
    """botocore's clock, wrong by so many minutes."""
    class Clock(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return datetime.datetime.utcnow() + datetime.timedelta(minutes=minutes)

        @classmethod
        def now(cls, tz=None):
            return datetime.datetime.now(tz) + datetime.timedelta(minutes=minutes)
    return type("module", (), {"datetime": Clock, "timedelta": datetime.timedelta,
                               "timezone": datetime.timezone})


@pytest.mark.parametrize("protocol", ["json", "query"])
def test_sqs_says_in_its_own_form_what_is_wrong_with_a_signature(site, protocol, monkeypatch):
    url = site.role("sqs").url + "/"
    access, secret = site.keys()
    if protocol == "json":
        body, headers = b"{}", {"Content-Type": "application/x-amz-json-1.0",
                                "X-Amz-Target": "AmazonSQS.ListQueues"}
    else:
        body, headers = b"Action=ListQueues&Version=2012-11-05", {
            "Content-Type": "application/x-www-form-urlencoded"}

    def call(keys, minutes=0):
        request = botocore.awsrequest.AWSRequest("POST", url, data=body, headers=dict(headers))
        with monkeypatch.context() as m:
            m.setattr(botocore.auth, "datetime", at(minutes))
            botocore.auth.SigV4Auth(botocore.credentials.Credentials(*keys), "sqs", smelt.REGION).add_auth(request)
        return smelt.http("POST", url, body, dict(request.headers))

    assert call((access, secret))[0] == 200 and call((access, secret), 14)[0] == 200
    for keys, minutes, codes, words in (
            ((access, "x" * 40), 0, "SignatureDoesNotMatch|InvalidSignatureException", "signature"),
            (("AKIANOBODY", secret), 0, "InvalidClientTokenId|UnrecognizedClientException", "key|token"),
            ((access, secret), -16, "SignatureDoesNotMatch|InvalidSignatureException|RequestExpired", "expired|time|clock"),
            ((access, secret), 16, "SignatureDoesNotMatch|InvalidSignatureException|RequestExpired", "time|clock|yet")):
        status, got, answer = call(keys, minutes)
        assert status in (400, 403) and got["x-amzn-RequestId"]
        if protocol == "json":
            code, message = answer["__type"], answer["message"]
        else:
            assert got["Content-Type"].startswith("text/xml") and b"<ErrorResponse" in answer
            code, message = (re.search(b"<%s>(.*?)</%s>" % (n, n), answer, re.S).group(1).decode()
                             for n in (b"Code", b"Message"))
        assert re.search(codes, code), (code, message)
        assert re.search(words, message), (code, message)
        assert secret not in str(answer)
