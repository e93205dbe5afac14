"""The worker role against the real sqs and s3 roles: every form of job, bad pictures, crashes, hangs,
poison, outages, drain."""
import glob
import io
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from PIL import Image

import slow_model
import smelt


class Pool:
    """sqs, s3 and worker on one data directory."""

    def __init__(self, site, *args, start=True):
        self.site = site
        self.sqs_role, self.s3_role = site.role("sqs"), site.role("s3")
        self.sqs = site.client("sqs", self.sqs_role.url)
        self.s3 = site.client("s3", self.s3_role.url)
        self.worker = None
        if start:
            self.start(*args)

    def start(self, *args):
        self.worker = self.site.role("worker", "--sqs-endpoint", self.sqs_role.url, "--s3-endpoint",
                                     self.s3_role.url, "--log-level", "debug", *args)
        self.jobs = self.sqs.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]
        self.dlq = self.sqs.get_queue_url(QueueName="smelt-jobs-dlq")["QueueUrl"]

    def submit(self, job_id, picture, **more):
        key = "inbox/" + job_id
        self.s3.put_object(Bucket="smelt", Key=key, Body=picture)
        return self.send({"v": 1, "id": job_id, "model": "", "input": {"bucket": "smelt", "key": key},
                          **more})

    def send(self, message):
        body = message if isinstance(message, str) else json.dumps(message)
        return self.sqs.send_message(QueueUrl=self.jobs, MessageBody=body)

    def find(self, job_id):
        try:
            got = self.s3.get_object(Bucket="smelt", Key="results/%s.json" % job_id)
        except self.s3.exceptions.NoSuchKey:
            return None
        return json.loads(got["Body"].read())

    def result(self, job_id, timeout_s=30):
        return smelt.wait_until(lambda: self.find(job_id), timeout_s, "the result of " + job_id)

    def counts(self, url):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return tuple(int(got[n]) for n in names)

    def settled(self, timeout_s=30):
        smelt.wait_until(lambda: self.counts(self.jobs) == (0, 0), timeout_s, "an empty queue")

    def zygote(self):
        mine = smelt.children_of(self.worker.pid)
        return next((p for p in mine if smelt.command_line(p)[1:2] == ["zygote"] and
                     smelt.children_of(p) or p in mine[:1]), None)

    def children(self):
        zygote = self.zygote()
        return smelt.children_of(zygote) if zygote else []


def big_picture():
    """Decodes for a good part of a second."""
    out = io.BytesIO()
    Image.effect_noise((4000, 4000), 60).convert("RGB").save(out, "JPEG", quality=90)
    return out.getvalue()


def test_every_form_of_job(site):
    pool = Pool(site, "--workers", "2", "--bucket-allow", "photos, pic*")
    picture = smelt.sample("dog-1.jpg")
    pool.submit("native-1", picture, submitted_at="2026-01-31T12:00:00.123Z")
    pool.s3.create_bucket(Bucket="pics")
    pool.s3.put_object(Bucket="pics", Key="a b/ü.jpg", Body=picture)
    pool.send({"ImagePath": "s3://pics/a b/ü.jpg", "ImageId": "plain-1"})
    record = {"eventVersion": "2.1", "eventName": "ObjectCreated:Put",
              "s3": {"bucket": {"name": "pics"}, "object": {"key": "a+b/%C3%BC.jpg", "sequencer": "1"}}}
    pool.send({"Records": [record]})
    record["s3"]["object"]["sequencer"] = "2"
    pool.send({"Type": "Notification", "TopicArn": "arn:aws:sns:x",
               "Message": json.dumps({"Records": [record]})})
    pool.send({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "pics"})
    native, plain = pool.result("native-1"), pool.result("plain-1")
    assert native["status"] == plain["status"] == "succeeded"
    assert native["result"]["groups"]["dog"]["present"] is True
    assert native["submitted_at"] == "2026-01-31T12:00:00.123Z" and native["attempts"] == 1
    assert native["model"] == "demo" and len(native["model_sha256"]) == 64
    assert native["precision"] == "fp32"
    assert native["preprocessing"] == "stretch bilinear oriented fast"
    assert plain["input"] == {"bucket": "pics", "key": "a b/ü.jpg"}
    assert plain["result"] == native["result"]
    pool.settled()
    keys = [o["Key"] for o in pool.s3.list_objects_v2(Bucket="smelt", Prefix="results/")["Contents"]]
    assert len(keys) == 4 and len([k for k in keys if k.startswith("results/s3-")]) == 2
    assert pool.counts(pool.dlq) == (0, 0)


def test_bad_pictures_get_a_clear_failed_result_at_once(site):
    pool = Pool(site, "--workers", "1", "--bucket-allow", "nowhere")
    dog = smelt.sample("dog-1.jpg")
    bomb = (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xc3\x50\0\0\xc3\x50\x08\x02\0\0\0" + b"\0" * 4 +
            b"\0\0\0\0IDAT" + b"\0" * 4)
    pool.submit("text", b"hello, I am no picture")
    pool.submit("half", dog[:len(dog) // 2])
    pool.submit("empty", b"")
    pool.submit("bomb", bomb)
    pool.send({"v": 1, "id": "gone", "input": {"bucket": "smelt", "key": "inbox/nowhere"}})
    pool.send({"v": 1, "id": "nobucket", "input": {"bucket": "nowhere", "key": "x"}})
    pool.submit("model", dog, model="dogs9000")
    pool.submit("late", dog, expires_at="2020-01-01T00:00:00Z")
    pool.send({"v": 7, "id": "version", "input": {"bucket": "smelt", "key": "x"}})
    pool.send({"v": 1, "id": "foreign", "input": {"bucket": "private", "key": "x"}})
    pool.send({"ImagePath": "https://192.0.2.1/x.jpg", "ImageId": "url"})
    pool.submit("good", dog)
    got = {i: pool.result(i) for i in ("text", "half", "empty", "bomb", "gone", "nobucket", "model", "late",
                                       "version", "foreign", "url", "good")}
    assert got["good"]["status"] == "succeeded"
    assert got["late"]["status"] == "expired"
    codes = {i: r["error"]["code"] for i, r in got.items() if r["status"] == "failed"}
    assert codes == {"text": "format", "half": "format", "empty": "format", "bomb": "limit",
                     "gone": "not_found", "nobucket": "not_found", "model": "unknown_model",
                     "version": "bad_message", "foreign": "denied", "url": "bad_message"}
    assert "--bucket-allow" in got["foreign"]["error"]["message"]
    assert "50000 x 50000" in got["bomb"]["error"]["message"]
    assert "dogs9000" in got["model"]["error"]["message"]
    assert all(r["attempts"] == 1 for r in got.values())
    pool.settled()
    assert pool.counts(pool.dlq) == (0, 0)


def test_a_message_that_is_no_job_goes_to_the_dead_letter_queue(site):
    pool = Pool(site, "--workers", "1")
    pool.send("this is not JSON")
    smelt.wait_until(lambda: pool.counts(pool.dlq) == (1, 0), what="the message in the dead-letter queue")
    pool.settled()
    assert "bad_message" in pool.worker.log()


def test_the_good_records_of_an_event_with_bad_ones_are_done(site):
    """Only what is wrong is left to the dead-letter queue, with its message."""
    pool = Pool(site, "--workers", "1")
    pool.s3.put_object(Bucket="smelt", Key="mine/a.jpg", Body=smelt.sample("dog-1.jpg"))
    record = {"eventName": "ObjectCreated:Put",
              "s3": {"bucket": {"name": "smelt"}, "object": {"key": "mine/a.jpg", "sequencer": "01"}}}
    pool.send({"Records": [{"eventName": "ObjectCreated:Put"}, record]})
    smelt.wait_until(lambda: pool.counts(pool.dlq) == (1, 0), what="the message in the dead-letter queue")
    keys = [o["Key"] for o in pool.s3.list_objects_v2(Bucket="smelt", Prefix="results/")["Contents"]]
    assert len(keys) == 1
    got = json.loads(pool.s3.get_object(Bucket="smelt", Key=keys[0])["Body"].read())
    assert got["status"] == "succeeded" and got["attempts"] == 1 and got["input"]["key"] == "mine/a.jpg"
    assert "a record without" in pool.worker.log()


def test_a_child_killed_in_mid_job_costs_one_attempt(site):
    pool = Pool(site, "--workers", "1")
    pool.submit("big", big_picture())
    smelt.wait_until(lambda: any(o["Key"] == "inbox/big" for o in pool.s3.list_objects_v2(
        Bucket="smelt")["Contents"]) and pool.counts(pool.jobs)[0] == 0, what="the job in hand")
    killed = pool.children()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert len(killed) == 1
    result = pool.result("big")
    assert result["status"] == "succeeded"
    pool.settled()
    assert pool.counts(pool.dlq) == (0, 0)
    smelt.wait_until(lambda: pool.children() and pool.children() != killed, what="a successor")


def test_many_jobs_while_children_zygote_and_poller_are_killed(site):
    pool = Pool(site, "--workers", "2", "--visibility", "3", "--max-receive-count", "20")
    pictures = [smelt.sample(os.path.basename(p)) for p in sorted(glob.glob(smelt.ROOT + "/samples/*.jpg"))]
    ids = ["job-%03d" % i for i in range(120)]
    for n, i in enumerate(ids):
        pool.submit(i, pictures[n % len(pictures)])
        if n % 8 == 3:
            for pid in pool.children()[:1]:
                os.kill(pid, signal.SIGKILL)
        if n % 40 == 20:
            os.kill(pool.zygote(), signal.SIGKILL)
        if n % 50 == 30:
            pool.worker.kill()
            pool.start("--workers", "2", "--visibility", "3")
    for i in ids:
        assert pool.result(i, 60)["status"] == "succeeded"
    pool.settled()
    assert pool.counts(pool.dlq) == (0, 0)


def test_a_job_that_takes_too_long_ends_as_failed_and_in_the_dead_letter_queue(site, tmp_path):
    model = slow_model.write(tmp_path / "slow.onnx", channels=128, kernel=3, layers=20)
    pool = Pool(site, "--workers", "1", "--model", model, "--job-timeout", "1")
    pool.submit("slow", smelt.sample("dog-1.jpg"))
    result = pool.result("slow", 60)
    assert result["status"] == "failed" and result["error"]["code"] == "timeout"
    assert result["attempts"] == 3
    smelt.wait_until(lambda: pool.counts(pool.dlq) == (1, 0), what="the message in the dead-letter queue")
    pool.settled()
    assert "child_died" not in pool.worker.log()  # it heard its deadline between two layers


def test_a_child_that_hears_nothing_is_killed_and_its_job_done_again(site):
    pool = Pool(site, "--workers", "1", "--job-timeout", "1")
    (deaf,) = pool.children()
    os.kill(deaf, signal.SIGSTOP)
    pool.submit("a", smelt.sample("dog-1.jpg"))
    result = pool.result("a")
    assert result["status"] == "succeeded" and result["attempts"] == 2
    assert "no answer within 1000 ms" in pool.worker.log()
    pool.settled()


def test_drain_hands_back_what_is_not_done(site):
    pool = Pool(site, "--workers", "1", "--visibility", "600")
    picture = big_picture()
    ids = ["job-%d" % i for i in range(6)]
    for i in ids:
        pool.submit(i, picture)
    smelt.wait_until(lambda: pool.counts(pool.jobs)[1] >= 1, what="jobs in hand")
    begun = time.monotonic()
    assert pool.worker.stop() == 0
    assert time.monotonic() - begun < 20
    visible, hidden = pool.counts(pool.jobs)
    assert hidden == 0 and visible == 6 - len([i for i in ids if pool.find(i)])
    pool.start("--workers", "1")
    for i in ids:
        assert pool.result(i)["status"] == "succeeded"
    pool.settled()
    assert pool.counts(pool.dlq) == (0, 0)


def test_store_and_queue_may_be_away_for_a_while(site):
    pool = Pool(site, "--workers", "1", "--worker-listen", "127.0.0.1:0")
    picture = smelt.sample("dog-1.jpg")
    pool.submit("before", picture)
    assert pool.result("before")["status"] == "succeeded"
    assert smelt.http("GET", pool.worker.url + "/readyz")[0] == 200
    s3_port, sqs_port = pool.s3_role.port, pool.sqs_role.port
    pool.s3.put_object(Bucket="smelt", Key="inbox/during", Body=picture)
    pool.s3_role.kill()
    pool.send({"v": 1, "id": "during", "input": {"bucket": "smelt", "key": "inbox/during"}})
    smelt.wait_until(lambda: smelt.http("GET", pool.worker.url + "/readyz")[0] == 503, what="not ready")
    assert b"s3" in smelt.http("GET", pool.worker.url + "/readyz")[2]
    pool.sqs_role.kill()
    pool.s3_role = site.role("s3", port=s3_port)
    pool.sqs_role = site.role("sqs", port=sqs_port)
    assert pool.result("during", 60)["status"] == "succeeded"
    smelt.wait_until(lambda: smelt.http("GET", pool.worker.url + "/readyz")[0] == 200, 60, "ready again")
    pool.settled(90)
    assert b"smelt_worker_jobs_total" in smelt.http("GET", pool.worker.url + "/metrics")[2]


def test_replies_go_to_a_reply_queue_of_our_own_service_only(site):
    pool = Pool(site, "--workers", "1")
    replies = pool.sqs.create_queue(QueueName="smelt-replies-1")["QueueUrl"]
    other = pool.sqs.create_queue(QueueName="not-for-replies")["QueueUrl"]
    picture = smelt.sample("nodog-1.jpg")
    pool.submit("a", picture, reply_to=replies)
    pool.submit("b", picture, reply_to=other)
    pool.submit("c", picture, reply_to="http://192.0.2.1:1/000000000000/smelt-replies-1")
    for i in "abc":
        assert pool.result(i)["status"] == "succeeded"
    pool.settled()
    got = []
    while len(got) < 2:  # the host in c's message is not used, the name is
        got += pool.sqs.receive_message(QueueUrl=replies, WaitTimeSeconds=5).get("Messages", [])
    assert sorted(json.loads(m["Body"])["id"] for m in got) == ["a", "c"]
    reply = next(json.loads(m["Body"]) for m in got if json.loads(m["Body"])["id"] == "a")
    assert reply == pool.find("a")
    assert pool.counts(other) == (0, 0)


def test_a_result_is_never_overwritten(site):
    pool = Pool(site, "--workers", "1")
    first = {"id": "a", "status": "failed", "model": "", "error": {"code": "x", "message": "was here"}}
    pool.s3.put_object(Bucket="smelt", Key="results/a.json", Body=json.dumps(first))
    pool.submit("a", smelt.sample("dog-1.jpg"))
    pool.settled()
    assert pool.find("a")["error"]["code"] == "x"


def test_children_are_locked_up(site):
    pool = Pool(site, "--workers", "2")
    children = smelt.wait_until(lambda: len(pool.children()) == 2 and pool.children(), what="two children")
    for pid in children:
        with open("/proc/%d/status" % pid) as f:
            status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
        assert status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1"
        assert int(status["CapEff"], 16) == 0 and status["Threads"].strip() == "1"
        if os.geteuid() == 0:
            assert status["Uid"].split() == ["65534"] * 4
            fds = {int(fd): os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid)}
            assert set(fds) == {0, 1, 2, 3} and fds[0] == fds[1] == "/dev/null" and "socket" in fds[3]
            with open("/proc/%d/environ" % pid, "rb") as f:
                assert f.read().strip(b"\0") == b""


def test_a_broken_model_is_explained_and_ends_the_worker(site, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"this is not a model")
    site.role("sqs"), site.role("s3")
    for model, words in ((str(broken), "broken.onnx"), ("no-such-model", "no-such-model")):
        with pytest.raises(smelt.StartError) as failure:
            site.role("worker", "--model", model, "--sqs-endpoint", "http://127.0.0.1:1",
                      "--s3-endpoint", "http://127.0.0.1:1")
        assert failure.value.notice.startswith("failed ") and words in failure.value.notice


def test_the_worker_waits_for_a_queue_it_must_not_create(site):
    pool = Pool(site, start=False)
    worker = site.start(["worker", "--data", site.data, "--no-create", "--sqs-endpoint", pool.sqs_role.url,
                         "--s3-endpoint", pool.s3_role.url], ready=False)
    smelt.wait_until(lambda: "setup_waits" in worker.log(), what="a word in the log")
    pool.sqs.create_queue(QueueName="smelt-jobs")
    pool.s3.create_bucket(Bucket="smelt")
    pool.jobs = pool.sqs.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]
    pool.submit("a", smelt.sample("dog-1.jpg"))
    assert pool.result("a", 60)["status"] == "succeeded"
    assert worker.stop() == 0


def test_cancel_before_while_and_after(site, tmp_path):
    model = slow_model.write(tmp_path / "slow.onnx", channels=128, kernel=3, layers=60)
    pool = Pool(site, "--workers", "1", "--visibility", "3", "--model", model)
    gateway = site.role("gateway", "--sqs-endpoint", pool.sqs_role.url, "--s3-endpoint", pool.s3_role.url,
                        "--model", model, "--models", "/nowhere").url
    picture, post = smelt.sample("dog-1.jpg"), gateway + "/v1/jobs"

    def submit(query=""):
        status, _, job = smelt.http("POST", post + query, picture, {"Content-Type": "image/jpeg"})
        assert status == 202, job
        return post + "/" + job["id"], job["id"]

    def cancel(url):
        status, _, answer = smelt.http("DELETE", url)
        return status, answer

    (running, running_id), (waiting, waiting_id) = submit(), submit()
    smelt.wait_until(lambda: smelt.http("GET", waiting)[2]["status"] == "queued" and
                     pool.counts(pool.jobs)[1] >= 1, what="a job in hand")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(smelt.http("GET", waiting + "?wait=30")))
    thread.start()
    status, job = cancel(waiting)
    assert status == 200 and job["status"] == "cancelled" and job["id"] == waiting_id
    thread.join(20)  # who waits hears of it at once, not at the end of its wait
    assert answers and answers[0][2]["status"] == "cancelled"
    assert cancel(waiting) == (200, job)  # twice is the same
    assert smelt.http("GET", waiting)[2]["status"] == "cancelled"
    assert cancel(running)[0] == 200
    expired, expired_id = submit("?expires=1")
    done, done_id = submit()
    assert smelt.wait_until(lambda: pool.find(done_id), 60, "the last job")["status"] == "succeeded"
    assert pool.find(expired_id)["status"] in ("expired", "succeeded")  # succeeded: a fast machine
    status, error = cancel(done)
    assert status == 409 and "succeeded" in error["error"]["message"]
    assert cancel(post + "/no-such-job")[0] == 404
    assert smelt.http("POST", post + "?expires=x", picture)[0] == 400
    pool.settled()
    assert pool.find(running_id)["status"] == "cancelled" and pool.counts(pool.dlq) == (0, 0)
    command = [smelt.PROGRAM, "cancel", "--url", gateway]
    assert subprocess.run(command + [waiting_id], capture_output=True).returncode == 0
    refused = subprocess.run(command + [done_id, "no-such-job"], capture_output=True, text=True)
    assert refused.returncode == 1 and "succeeded" in refused.stderr and "no-such-job" in refused.stderr
    assert subprocess.run(command, capture_output=True).returncode == 2


def test_two_queues_share_the_pool(site):
    pool = Pool(site, start=False)
    pool.worker = site.role("worker", "--sqs-endpoint", pool.sqs_role.url, "--s3-endpoint", pool.s3_role.url,
                            "--workers", "1", "--queue", "urgent:4,smelt-jobs")
    pool.jobs = pool.sqs.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]
    urgent = pool.sqs.get_queue_url(QueueName="urgent")["QueueUrl"]
    picture = smelt.sample("dog-1.jpg")
    for i in range(20):
        pool.submit("slow-%d" % i, picture)
        pool.s3.put_object(Bucket="smelt", Key="inbox/fast-%d" % i, Body=picture)
        pool.sqs.send_message(QueueUrl=urgent, MessageBody=json.dumps(
            {"v": 1, "id": "fast-%d" % i, "input": {"bucket": "smelt", "key": "inbox/fast-%d" % i}}))
    for i in range(20):
        assert pool.result("slow-%d" % i)["status"] == pool.result("fast-%d" % i)["status"] == "succeeded"
    pool.settled()
    smelt.wait_until(lambda: pool.counts(urgent) == (0, 0), what="an empty urgent queue")


def test_a_trace_id_goes_from_upload_to_result_and_metrics_tell_models_phases_and_children(site):
    pool = Pool(site, "--workers", "1", "--worker-listen", "127.0.0.1:0")
    gateway = site.role("gateway", "--sqs-endpoint", pool.sqs_role.url, "--s3-endpoint", pool.s3_role.url,
                        "--log-level", "debug")
    picture, url = smelt.sample("dog-1.jpg"), gateway.url + "/v1/jobs"

    def post(query="", **headers):
        return smelt.http("POST", url + query, picture, {"Content-Type": "image/jpeg", **{
            k.replace("_", "-"): v for k, v in headers.items()}})[2]

    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    done = post("?wait=20", traceparent="00-%s-00f067aa0ba902b7-01" % trace)
    assert done["status"] == "succeeded" and done["trace_id"] == trace
    assert pool.find(done["id"])["trace_id"] == trace
    assert trace in gateway.log() and trace in pool.worker.log()
    amazon = post("?wait=20", X_Amzn_Trace_Id="Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1")
    assert amazon["trace_id"] == "5759e988bd862e3fe1be46a994272793"
    made = post()
    assert len(made["trace_id"]) == 32 and pool.result(made["id"])["trace_id"] == made["trace_id"]
    header = "Root=1-67891233-abcdef012345678912345678"
    pool.s3.put_object(Bucket="smelt", Key="inbox/by-header", Body=picture)
    status, _, answer = site.sqs_json(
        pool.sqs_role.url, "SendMessage", QueueUrl=pool.jobs,
        MessageBody=json.dumps({"ImagePath": "s3://smelt/inbox/by-header", "ImageId": "by-header"}),
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": header}})
    assert status == 200, answer
    assert pool.result("by-header")["trace_id"] == "67891233abcdef012345678912345678"
    pool.submit("bad", b"no picture")
    pool.result("bad")
    metrics = smelt.http("GET", pool.worker.url + "/metrics")[2].decode()
    for line in ('smelt_worker_phase_seconds_count{model="demo",phase="%s"} 4' % p
                 for p in ("decode", "infer")):
        assert line in metrics, metrics
    for phase in ("queue", "fetch", "publish"):
        assert 'smelt_worker_phase_seconds_count{model="demo",phase="%s"}' % phase in metrics
    assert 'smelt_worker_model_jobs_total{model="demo",status="failed"} 1' in metrics
    assert 'smelt_worker_child_answers_total{child="0"} 5' in metrics
    for name in ("empty_receives_total", "lease_renewals_total", "sqs_requests_total"):
        assert "smelt_worker_" + name in metrics


def test_a_full_queue_costs_few_requests_and_an_empty_one_hardly_any(site):
    pool = Pool(site, "--workers", "1", "--worker-listen", "127.0.0.1:0")

    def metric(name):
        text = smelt.http("GET", pool.worker.url + "/metrics")[2].decode()
        return sum(float(line.split()[-1]) for line in text.splitlines()
                   if line.split("{")[0].split()[0] == "smelt_worker_" + name)

    idle = metric("sqs_requests_total")
    time.sleep(5)
    assert metric("sqs_requests_total") - idle <= 1  # a long poll takes 20 s
    pool.worker.stop()
    picture = smelt.sample("dog-1.jpg")
    for i in range(200):
        pool.submit("job-%d" % i, picture)
    pool.start("--workers", "1", "--worker-listen", "127.0.0.1:0")
    pool.settled()
    assert metric("jobs_total") == 200
    assert metric("sqs_requests_total") <= 0.5 * 200
