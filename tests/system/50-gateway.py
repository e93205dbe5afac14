"""The gateway role before real queue and store; the test is the worker."""
import http.client
import json
import os
import re
import signal
import socket
import threading
import time

import pytest

import smelt

PICTURE = b"\xff\xd8\xff\xe0 not decoded here"


class Stand:
    """sqs, s3 and gateway, each a process of its own."""

    def __init__(self, site, *args):
        self.site = site
        self.sqs_role, self.s3_role = site.role("sqs"), site.role("s3")
        self.sqs = site.client("sqs", self.sqs_role.url)
        self.s3 = site.client("s3", self.s3_role.url)
        self.jobs_url = self.sqs.create_queue(QueueName="smelt-jobs")["QueueUrl"]
        self.environment = {"AWS_ENDPOINT_URL_SQS": self.sqs_role.url,
                            "AWS_ENDPOINT_URL_S3": self.s3_role.url}
        self.gateway = site.role("gateway", *args, environment=self.environment)
        self.url = self.gateway.url

    def take(self, wait_s=20):
        """The next job message, deleted."""
        messages = self.sqs.receive_message(QueueUrl=self.jobs_url, WaitTimeSeconds=wait_s).get("Messages")
        assert messages, "no job came"
        self.sqs.delete_message(QueueUrl=self.jobs_url, ReceiptHandle=messages[0]["ReceiptHandle"])
        return json.loads(messages[0]["Body"])

    def finish(self, job, reply=True):
        result = json.dumps({
            "id": job["id"], "status": "succeeded", "model": job["model"],
            "result": {"predictions": [{"label": "poodle", "index": 0, "score": 0.97}],
                       "groups": {"dog": {"present": True, "score": 0.97}}},
            "timing_ms": {"queued": 1, "fetched": 1, "decoded": 2, "inferred": 3}, "attempts": 1,
            "submitted_at": job["submitted_at"], "finished_at": job["submitted_at"]})
        self.s3.put_object(Bucket="smelt", Key="results/%s.json" % job["id"], Body=result)
        if reply:
            self.sqs.send_message(QueueUrl=job["reply_to"], MessageBody=result)

    def worker(self, count):
        """A thread that does `count` jobs."""
        def work():
            for _ in range(count):
                self.finish(self.take())
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def stand(site):
    return Stand(site)


def post(stand, query="", body=PICTURE, **headers):
    return smelt.http("POST", stand.url + "/v1/jobs" + query, body,
                      {"Content-Type": "image/jpeg", **{k.replace("_", "-"): v for k, v in headers.items()}})


def test_a_job_is_an_object_and_a_message(stand):
    status, headers, job = post(stand)
    assert status == 202 and job["status"] == "queued" and headers["Location"] == job["url"]
    message = stand.take()
    assert message["v"] == 1 and message["id"] == job["id"] and message["model"] == "demo"
    assert message["input"] == {"bucket": "smelt", "key": "inbox/" + job["id"]}
    stored = stand.s3.get_object(Bucket="smelt", Key="inbox/" + job["id"])
    assert stored["Body"].read() == PICTURE and stored["ContentType"] == "image/jpeg"
    assert smelt.http("GET", stand.url + job["url"])[2]["status"] == "queued"
    stand.finish(message)
    status, _, done = smelt.http("GET", stand.url + job["url"] + "?wait=5")
    assert status == 200 and done["status"] == "succeeded"
    assert done["result"]["predictions"][0]["label"] == "poodle"


def test_waiting_posts_and_looks_are_woken_by_the_reply(stand):
    worker = stand.worker(2)
    begin = time.monotonic()
    status, _, job = post(stand, "?wait=25")
    assert status == 200 and job["status"] == "succeeded"
    _, _, queued = post(stand)
    status, _, job = smelt.http("GET", stand.url + queued["url"] + "?wait=25")
    assert status == 200 and job["status"] == "succeeded"
    assert time.monotonic() - begin < 20  # by the replies, not by the ends of the waits
    worker.join(10)


def test_a_job_as_server_sent_events(stand):
    url = stand.url + "/v1/jobs"
    job = smelt.http("POST", url, PICTURE)[2]
    look = "%s/%s/events" % (url, job["id"])

    def event(query=""):
        status, headers, body = smelt.http("GET", look + query)
        assert status == 200 and headers["Content-Type"] == "text/event-stream", body
        retry, data, *end = body.decode().split("\n")
        assert re.fullmatch(r"retry: \d+", retry) and data.startswith("data: ") and end == ["", ""]
        return json.loads(data[6:])
    assert event("?wait=0")["status"] == "queued"
    stand.worker(1)
    assert event()["status"] == "succeeded"
    assert event()["result"]["groups"]["dog"]["present"]
    status, _, body = smelt.http("GET", url + "/nobody/events")
    assert status == 404 and body["error"]["code"] == "not_found"
    assert smelt.http("DELETE", look)[0] == 405
    assert smelt.http("GET", url + "//events")[0] == 404


def test_a_client_that_hangs_up_leaves_no_picture_without_its_message(stand):
    os.kill(stand.s3_role.pid, signal.SIGSTOP)
    try:
        client = socket.create_connection(("127.0.0.1", stand.gateway.port))
        client.sendall(b"POST /v1/jobs?wait=30 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                       % (len(PICTURE), PICTURE))
        smelt.wait_until(lambda: b"smelt_gateway_body_bytes %d\n" % len(PICTURE)
                         in smelt.http("GET", stand.url + "/metrics")[2], what="the whole request")
        client.close()
        for _ in range(5):  # turns of its loop
            assert smelt.http("GET", stand.url + "/livez")[0] == 200
    finally:
        os.kill(stand.s3_role.pid, signal.SIGCONT)
    stand.finish(stand.take())
    smelt.wait_until(lambda: b"smelt_gateway_requests_open 0\n" in smelt.http("GET", stand.url + "/metrics")[2],
                     what="the end of the request")


def test_unknown_parameters_are_refused(stand):
    """Else a job that should expire would not: ?expire=5."""
    for method, path, name in [("POST", "?expire=5", "expire"), ("POST", "?wait=1&modle=x", "modle"),
                               ("GET", "/some?expires=5", "expires")]:
        status, _, body = smelt.http(method, stand.url + "/v1/jobs" + path, PICTURE if method == "POST" else None)
        assert status == 400 and "'%s' is unknown" % name in body["error"]["message"], body
    stand.worker(1)
    assert smelt.http("POST", stand.url + "/v1/jobs?wait=30&", PICTURE)[0] == 200


def test_a_result_that_nobody_told_of_is_found_when_the_wait_ends(stand):
    def work():
        stand.finish(stand.take(), reply=False)
    threading.Thread(target=work, daemon=True).start()
    status, _, job = post(stand, "?wait=2")
    assert status == 200 and job["status"] == "succeeded"


def test_an_idempotency_key_is_one_job(stand):
    first = post(stand, Idempotency_Key="k1")[2]
    again = post(stand, Idempotency_Key="k1")[2]
    assert first["id"] == again["id"]
    status, _, error = post(stand, body=b"other", Idempotency_Key="k1")
    assert status == 409 and "Idempotency-Key" in error["error"]["message"]


def test_too_large(stand):
    port = stand.gateway.port
    with socket.create_connection(("127.0.0.1", port)) as s:  # refused by its head alone
        s.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        answer = s.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"limit" in answer
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    pieces = [b"x" * (1 << 20)] * 40  # chunked: nobody says how much it will be
    try:
        connection.request("POST", "/v1/jobs", iter(pieces), encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})
    except OSError:
        pass  # the gateway has answered and closed
    else:
        assert connection.getresponse().status == 413
    assert post(stand)[0] == 202  # and goes on


def test_32_mib_are_taken(stand):
    body = b"\xff\xd8\xff" + os.urandom(1) * ((32 << 20) - 3)
    status, _, job = post(stand, body=body)
    assert status == 202
    assert stand.s3.head_object(Bucket="smelt", Key="inbox/" + job["id"])["ContentLength"] == len(body)


def test_uploads_share_a_bounded_memory(stand):
    size = 32 << 20
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    stalled = []
    for _ in range(40):  # announced only: holds nothing
        s = socket.create_connection(("127.0.0.1", stand.gateway.port))
        s.sendall(head)
        stalled.append(s)
    assert post(stand)[0] == 202
    for s in stalled[:8]:  # 256 MiB, all but a byte of each
        s.sendall(bytes(size - 1))

    def used():
        text = smelt.http("GET", stand.url + "/metrics")[2].decode()
        return int(re.search(r"^smelt_gateway_body_bytes (\d+)", text, re.M).group(1))
    smelt.wait_until(lambda: used() == 8 * (size - 1), 30, "the uploads' arrival")
    status, headers, error = post(stand)
    assert status == 429 and headers["Retry-After"] and error["error"]["code"] == "busy"
    for s in stalled:
        s.close()
    smelt.wait_until(lambda: used() == 0, 30, "the uploads' end")
    assert post(stand)[0] == 202


def test_pages_of_other_sites_may_not_post(stand):
    assert post(stand, Sec_Fetch_Site="cross-site")[0] == 403
    assert post(stand, Sec_Fetch_Site="same-origin")[0] == 202


def test_the_page_and_its_headers(stand):
    status, headers, body = smelt.http("GET", stand.url + "/")
    assert status == 200 and b"<title>smelt</title>" in body
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/app.js", "/style.css", "/icon.svg"):
        status, headers, _ = smelt.http("GET", stand.url + path)
        assert status == 200 and headers["X-Content-Type-Options"] == "nosniff"
        assert smelt.http("GET", stand.url + path, headers={"If-None-Match": headers["ETag"]})[0] == 304
    assert b"<script>" not in body and b"style=" not in body


def test_health_tells_what_is_missing(stand):
    assert smelt.http("GET", stand.url + "/livez")[0] == 200
    assert smelt.http("GET", stand.url + "/readyz")[0] == 200
    stand.s3_role.kill()
    status, headers, error = smelt.http("GET", stand.url + "/readyz")
    assert status == 503 and "store" in error["error"]["message"] and headers["Retry-After"]
    assert smelt.http("GET", stand.url + "/livez")[0] == 200
    status, _, text = smelt.http("GET", stand.url + "/metrics")
    assert status == 200 and b"smelt_gateway_jobs_submitted_total 0" in text


def test_store_and_queue_may_be_away_for_a_while(stand):
    stand.s3_role.stop()
    status, _, error = post(stand, "?wait=5")
    assert status == 503 and error["error"]["code"] in ("unavailable", "timeout")
    stand.site.role("s3", port=stand.s3_role.port)
    assert post(stand)[0] == 202
    stand.sqs_role.stop()
    assert post(stand)[0] == 503
    stand.site.role("sqs", port=stand.sqs_role.port)
    assert post(stand)[0] == 202
    worker = stand.worker(3)  # those two, and the next: replies come again, too
    status, _, job = post(stand, "?wait=25")
    assert status == 200 and job["status"] == "succeeded"
    worker.join(30)


def test_term_drains_and_takes_the_reply_queue_along(stand):
    reply_queues = lambda: stand.sqs.list_queues(QueueNamePrefix="smelt-replies-").get("QueueUrls", [])
    assert len(reply_queues()) == 1
    answers = []
    thread = threading.Thread(target=lambda: answers.append(post(stand, "?wait=30")))
    thread.start()
    stand.take()  # it is in the queue, and its client waits
    begin = time.monotonic()
    assert stand.gateway.stop() == 0
    thread.join(10)
    assert time.monotonic() - begin < 9
    assert answers[0][0] == 202
    assert reply_queues() == []


def test_unknown_models_are_named(stand):
    status, _, error = post(stand, "?model=nosuch")
    assert status == 404 and "demo" in error["error"]["message"]
    models = smelt.http("GET", stand.url + "/v1/models")[2]["models"]
    assert models[0]["name"] == "demo" and models[0]["default"] and models[0]["description"]


def test_a_gateway_that_cannot_start_says_why(site, stand):
    with pytest.raises(smelt.StartError, match="in use"):
        site.role("gateway", port=stand.gateway.port, environment=stand.environment)
    with pytest.raises(smelt.StartError, match="gateway-listen"):
        site.start(["gateway", "--data", site.data, "--gateway-listen", "8080"], stand.environment)


def test_a_gateway_alone_makes_its_queues(site):
    sqs, s3 = site.role("sqs"), site.role("s3")
    environment = {"AWS_ENDPOINT_URL_SQS": sqs.url, "AWS_ENDPOINT_URL_S3": s3.url}
    gateway = site.role("gateway", environment=environment)  # ready without a worker
    assert smelt.http("GET", gateway.url + "/readyz")[0] == 200
    client = site.client("sqs", sqs.url)
    queue = client.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]
    policy = client.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])["Attributes"]
    assert json.loads(policy["RedrivePolicy"])["deadLetterTargetArn"].endswith(":smelt-jobs-dlq")
    status, _, job = smelt.http("POST", gateway.url + "/v1/jobs", PICTURE, {"Content-Type": "image/jpeg"})
    assert status == 202
    waits = site.start(["gateway", "--data", site.data, "--no-create", "--gateway-listen", "127.0.0.1:0"],
                       environment, ready=False)
    smelt.wait_until(lambda: "event=gateway_ready" in waits.log(), what="the second gateway")
    assert waits.stop() == 0


def counter(url, name):
    text = smelt.http("GET", url + "/metrics")[2].decode()
    return float(re.search(r"^%s (\S+)$" % name, text, re.M).group(1))


@pytest.fixture
def second(site, stand):
    """Another gateway before the same queue and store."""
    return site.role("gateway", environment=stand.environment)


def look(url, job, answers):
    """A thread that waits for a job."""
    thread = threading.Thread(target=lambda: answers.append(
        smelt.http("GET", url + "/v1/jobs/%s?wait=30" % job)[2]), daemon=True)
    thread.start()
    return thread


def test_a_wait_at_another_gateway_is_woken_by_the_reply(stand, second):
    answers = []
    job = post(stand)[2]
    message = stand.take()
    threads = [look(second.url, job["id"], answers), look(stand.url, job["id"], answers)]
    smelt.wait_until(lambda: counter(stand.url, "smelt_gateway_tells_open") == 1,
                     what="the question at the first gateway")
    # a message alone: nobody can find the result in the store
    stand.sqs.send_message(QueueUrl=message["reply_to"], MessageBody=json.dumps(
        {"id": job["id"], "status": "succeeded", "result": {"predictions": [], "groups": {}}}))
    for thread in threads:
        thread.join(20)
    assert [a["status"] for a in answers] == ["succeeded"] * 2
    assert counter(stand.url, "smelt_gateway_waits_elsewhere_total") == 0
    assert counter(stand.url, "smelt_gateway_tells_open") == 0
    assert counter(second.url, "smelt_gateway_replies_total") == 1


def test_an_idempotency_key_again_at_another_gateway(stand, second):
    first = post(stand, Idempotency_Key="k")[2]
    assert not stand.take().get("repeated")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(smelt.http(
        "POST", second.url + "/v1/jobs?wait=30", PICTURE,
        {"Content-Type": "image/jpeg", "Idempotency-Key": "k"})[2]), daemon=True)
    thread.start()
    again = stand.take()
    assert again["repeated"] and again["id"] == first["id"]
    stand.finish(again)
    thread.join(20)
    assert answers[0]["status"] == "succeeded"


def test_a_cancellation_at_another_gateway_is_heard(stand, second):
    answers = []
    job = post(stand)[2]
    thread = look(stand.url, job["id"], answers)
    smelt.wait_until(lambda: counter(stand.url, "smelt_gateway_requests_open") == 1, what="the wait")
    assert smelt.http("DELETE", second.url + job["url"])[2]["status"] == "cancelled"
    thread.join(20)
    assert answers[0]["status"] == "cancelled"


def test_a_wait_for_a_job_of_a_gateway_that_is_dead(stand, second):
    answers = []
    job = post(stand)[2]
    message = stand.take()
    stand.gateway.kill()  # its reply queue stays, unread
    thread = look(second.url, job["id"], answers)
    smelt.wait_until(lambda: counter(second.url, "smelt_gateway_waits_elsewhere_total") == 1, what="the wait")
    stand.finish(message)
    thread.join(25)  # not at the end of the wait
    assert answers and answers[0]["status"] == "succeeded"
