"""smelt audit: every job in one place. A clean system, one under load, a job whose message was deleted, dead
letters, results that are none, a queue service that shows no messages."""
import http.server
import json
import os
import subprocess
import threading
import urllib.request

import pytest

import smelt

PICTURE = smelt.sample("dog-1.jpg")


class Books:
    """sqs and s3 roles with bucket and queues, and the audit of them."""

    def __init__(self, site, serve=None):
        self.site = site
        if serve is None:
            self.sqs_url, self.s3_url = site.role("sqs").url, site.role("s3").url
        else:
            self.sqs_url, self.s3_url = serve.sqs_url, serve.s3_url
        self.sqs, self.s3 = site.client("sqs", self.sqs_url), site.client("s3", self.s3_url)
        if serve is None:
            self.s3.create_bucket(Bucket="smelt")
            self.dlq = self.sqs.create_queue(QueueName="smelt-jobs-dlq")["QueueUrl"]
            arn = self.sqs.get_queue_attributes(QueueUrl=self.dlq, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "1"})
            self.jobs = self.sqs.create_queue(QueueName="smelt-jobs", Attributes={
                "RedrivePolicy": policy, "VisibilityTimeout": "60"})["QueueUrl"]

    def picture(self, job_id):
        self.s3.put_object(Bucket="smelt", Key="inbox/" + job_id, Body=b"x")

    def message(self, job_id):
        body = {"v": 1, "id": job_id, "input": {"bucket": "smelt", "key": "inbox/" + job_id}}
        self.sqs.send_message(QueueUrl=self.jobs, MessageBody=json.dumps(body))

    def result(self, job_id, status="succeeded", body=None):
        document = {"id": job_id, "status": status, "model": "demo", "attempts": 1}
        document.update({"result": {}} if status == "succeeded" else {"error": {"code": "x", "message": "y"}})
        self.s3.put_object(Bucket="smelt", Key="results/%s.json" % job_id,
                           Body=json.dumps(document) if body is None else body)

    def audit(self, *args, code=0, sqs_url=None):
        done = subprocess.run([smelt.PROGRAM, "audit", "--sqs-endpoint", sqs_url or self.sqs_url, "--s3-endpoint",
                               self.s3_url, "--settle", "0", *args], capture_output=True, text=True, timeout=120,
                              env=dict(self.site.aws_environment()), cwd=smelt.ROOT)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def counts(self, *args, code=0, sqs_url=None):
        got = json.loads(self.audit("--json", *args, code=code, sqs_url=sqs_url).stdout)
        closed = sum(got[s] for s in ("succeeded", "failed", "expired", "cancelled", "unreadable"))
        assert got["accepted"] == closed + got["open"] + got["no_home"]
        return got


@pytest.fixture
def books(site):
    return Books(site)


def test_each_job_is_in_one_place(books):
    assert books.counts()["accepted"] == 0
    for i in range(1100):  # more than a page of a listing
        books.result("done-%04d" % i)
    for status in ("failed", "expired", "cancelled"):
        books.result(status, status)
    for job_id in ("waiting-1", "waiting-2"):
        books.picture(job_id)
        books.message(job_id)
    books.picture("done-0000")
    books.message("done-0001")  # its delete is still to come
    books.picture("in-flight")
    books.message("in-flight")
    got = books.sqs.receive_message(QueueUrl=books.jobs, MaxNumberOfMessages=10, WaitTimeSeconds=1)["Messages"]
    for m in got:
        if json.loads(m["Body"])["id"] == "in-flight":
            continue
        books.sqs.change_message_visibility(QueueUrl=books.jobs, ReceiptHandle=m["ReceiptHandle"], VisibilityTimeout=0)
    books.s3.put_object(Bucket="smelt", Key="inbox/not an id", Body=b"x")
    books.s3.put_object(Bucket="smelt", Key="other/thing", Body=b"x")
    books.sqs.send_message(QueueUrl=books.jobs, MessageBody="no job at all")
    counts = books.counts()
    assert counts["accepted"] == 1106 and counts["succeeded"] == 1100 and counts["no_home_ids"] == []
    assert (counts["failed"], counts["expired"], counts["cancelled"]) == (1, 1, 1)
    assert (counts["waiting"], counts["in_flight"], counts["open"]) == (2, 1, 3)
    assert counts["not_jobs"] == 1 and counts["peeked"] is True
    text = books.audit().stdout
    assert "accepted       1106" in text and "no home         0" in text


def test_a_deleted_message_is_found(books):
    for i in range(20):
        books.picture("job-%d" % i)
        books.message("job-%d" % i)
    assert books.counts()["open"] == 20
    victim = books.sqs.receive_message(QueueUrl=books.jobs)["Messages"][0]
    books.sqs.delete_message(QueueUrl=books.jobs, ReceiptHandle=victim["ReceiptHandle"])
    name = json.loads(victim["Body"])["id"]
    counts = books.counts(code=1)
    assert counts["no_home_ids"] == [name] and counts["open"] == 19 and counts["accepted"] == 20
    done = books.audit(code=1)
    assert "no home (a picture, neither message nor result): %s\n" % name in done.stdout
    assert "looking again" in done.stderr
    books.result(name, "failed")
    assert books.counts()["failed"] == 1


def test_what_came_between_the_looks_is_not_lost(books):
    books.picture("slow")  # its message is sent while the audit waits
    audit = threading.Timer(1.0, books.message, ["slow"])
    audit.start()
    counts = books.counts("--settle", "3")
    audit.join()
    assert counts["open"] == 1 and counts["no_home"] == 0


def test_dead_letters_with_and_without_result(books):
    for job_id in ("told", "untold"):
        books.picture(job_id)
        books.message(job_id)
    for m in books.sqs.receive_message(QueueUrl=books.jobs, MaxNumberOfMessages=10)["Messages"]:
        books.sqs.change_message_visibility(QueueUrl=books.jobs, ReceiptHandle=m["ReceiptHandle"], VisibilityTimeout=0)
    assert "Messages" not in books.sqs.receive_message(QueueUrl=books.jobs, WaitTimeSeconds=1)  # they move
    books.result("told", "failed")
    counts = books.counts()
    assert counts["dead_letters"] == 2 and counts["dead_with_result"] == 1 and counts["failed"] == 1
    assert counts["dead_without_result_ids"] == ["untold"] and counts["open"] == 1
    assert "dead letter without a result: untold" in books.audit().stdout


def test_results_that_are_none_are_named(books):
    books.result("good")
    books.result("bad", body="{oops")
    books.result("other", body=json.dumps({"id": "somebody", "status": "succeeded", "result": {}}))
    books.result("queued", body=json.dumps({"id": "queued", "status": "queued"}))
    counts = books.counts(code=1)
    assert counts["unreadable_ids"] == ["bad", "other", "queued"] and counts["succeeded"] == 1
    assert "unreadable result: bad" in books.audit(code=1).stdout


class WithoutPeek(http.server.BaseHTTPRequestHandler):
    """The same queues; PeekMessages is not known."""
    target = None

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["X-Amz-Target"].endswith("PeekMessages"):
            self.answer(400, b'{"__type":"com.amazon.coral.service#UnknownOperationException"}')
            return
        request = urllib.request.Request(self.target + self.path, data=body, headers=dict(self.headers))
        with urllib.request.urlopen(request) as got:  # the Host header goes on: it is signed
            self.answer(got.status, got.read())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_a_service_that_shows_no_messages(books):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("H", (WithoutPeek,), {"target": books.sqs_url}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = "http://127.0.0.1:%d" % server.server_address[1]
    try:
        for i in range(3):
            books.picture("job-%d" % i)
            books.message("job-%d" % i)
        books.result("done")
        counts = books.counts(sqs_url=url)
        assert counts["peeked"] is False and counts["open"] == 3 and counts["messages"] == 3
        assert "shows no messages" in books.audit(sqs_url=url).stdout
        victim = books.sqs.receive_message(QueueUrl=books.jobs)["Messages"][0]
        books.sqs.delete_message(QueueUrl=books.jobs, ReceiptHandle=victim["ReceiptHandle"])
        counts = books.counts(sqs_url=url, code=1)  # one too many, and nobody can say which
        assert counts["no_home"] == 1 and counts["no_home_ids"] == [] and counts["open"] == 2
    finally:
        server.shutdown()
        server.server_close()


def test_a_system_at_work(site):
    serve = site.serve("--workers", "1")
    books = Books(site, serve)
    posted, stop = [], threading.Event()

    def post():
        while not stop.is_set():
            status, _, job = smelt.http("POST", serve.gateway_url + "/v1/jobs", PICTURE, {"Content-Type": "image/jpeg"})
            assert status == 202
            posted.append(job["id"])
            if len(posted) >= 1500:
                return
    threads = [threading.Thread(target=post) for _ in range(2)]
    for t in threads:
        t.start()
    try:
        before = 0
        for _ in range(6):
            known = len(posted)
            counts = books.counts("--settle", "2")
            assert counts["accepted"] >= known >= before and counts["no_home"] == 0
            before = known
    finally:
        stop.set()
        for t in threads:
            t.join()
    smelt.wait_until(lambda: books.counts()["open"] == 0, 120, "the end of the work")
    counts = books.counts()
    assert counts["accepted"] == counts["succeeded"] == len(posted) > 0


def test_what_cannot_be_read_is_told(books, site):
    done = books.audit("--queue", "smelt-job", code=1)
    assert "did you mean 'smelt-jobs'" in done.stderr and done.stdout == ""
    done = books.audit("--bucket", "nowhere", code=1)
    assert "nowhere" in done.stderr and "NoSuchBucket" in done.stderr
    assert books.audit("--queue", ",", code=1).stderr.count("\n") == 1
    assert books.audit("extra", code=2).stdout == ""
