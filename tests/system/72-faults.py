"""The pool at full load while something breaks. Every accepted job has exactly one result, none is lost:
results are counted where they are written, in a proxy before the store."""
import collections
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

import fault_proxy
import slow_model
import smelt

JOBS = int(os.environ.get("SMELT_FAULT_JOBS", "120"))
OUTAGE_S = float(os.environ.get("SMELT_OUTAGE_S", "4"))  # `make torture`: a minute
LEASE_S = max(3, int(OUTAGE_S * 3 / 4))  # shorter than the outage
LIMIT_S = 90 + 3 * LEASE_S  # for what comes after it


class Stand:
    """sqs, s3, a proxy before each, and as many pools as a test starts."""

    def __init__(self, site):
        self.site = site
        self.sqs_role, self.s3_role = site.role("sqs"), site.role("s3")
        self.sqs = site.client("sqs", self.sqs_role.url, retries={"max_attempts": 5})
        self.s3 = site.client("s3", self.s3_role.url, retries={"max_attempts": 5})
        self.proxies, self.accepted = [], []
        self.to_sqs, self.to_s3 = self.proxy(self.sqs_role), self.proxy(self.s3_role)

    def proxy(self, role, **options):
        self.proxies.append(fault_proxy.FaultProxy(role.port, **options))
        return self.proxies[-1]

    def pool(self, *args, sqs=None, s3=None, visibility=LEASE_S):
        worker = self.site.role("worker", "--sqs-endpoint", (sqs or self.to_sqs).url, "--s3-endpoint",
                                (s3 or self.to_s3).url, "--workers", "1", "--visibility", str(visibility),
                                "--max-receive-count", "20", "--worker-listen", "127.0.0.1:0", *args)
        self.find_queues()
        return worker

    def find_queues(self):
        self.jobs = self.sqs.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]
        self.dlq = self.sqs.get_queue_url(QueueName="smelt-jobs-dlq")["QueueUrl"]

    def submit(self, count=JOBS, sqs=None):
        picture = smelt.sample("dog-1.jpg")
        for _ in range(count):
            job = "job-%04d" % len(self.accepted)
            self.s3.put_object(Bucket="smelt", Key="inbox/" + job, Body=picture)
            (sqs or self.sqs).send_message(QueueUrl=self.jobs, MessageBody=json.dumps(
                {"v": 1, "id": job, "input": {"bucket": "smelt", "key": "inbox/" + job}}))
            self.accepted.append(job)

    def results(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="smelt", Prefix="results/")
        return {o["Key"][8:-5] for page in pages for o in page.get("Contents", [])}

    def some_done(self, count):
        smelt.wait_until(lambda: len(self.results()) >= count, 60, "%d results" % count)

    def counts(self, url):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return tuple(int(got[n]) for n in names)

    def check(self, timeout_s=LIMIT_S):
        """All accounts balance."""
        wanted = set(self.accepted)
        smelt.wait_until(lambda: self.results() >= wanted, timeout_s, "a result for every job")
        smelt.wait_until(lambda: self.counts(self.jobs) == (0, 0), timeout_s, "an empty queue")
        assert self.results() == wanted
        assert self.counts(self.dlq) == (0, 0)
        for job in wanted:
            body = json.loads(self.s3.get_object(Bucket="smelt", Key="results/%s.json" % job)["Body"].read())
            assert body["status"] == "succeeded" and body["id"] == job, body
        writes = collections.Counter(path for proxy in self.proxies for method, path, _, status in proxy.seen
                                     if method == "PUT" and "/results/" in path and status == 200)
        unseen = {path for proxy in self.proxies for method, path in proxy.unknown if method == "PUT"}
        assert set(writes.values()) <= {1}
        assert {"/smelt/results/%s.json" % job for job in wanted} - set(writes) <= unseen

    def in_hand(self, worker):
        text = smelt.http("GET", worker.url + "/metrics")[2].decode()
        return int(re.search(r"^smelt_worker_jobs_in_hand (\d+)", text, re.M).group(1))

    def late_results(self):
        return sum(1 for proxy in self.proxies for method, path, _, status in proxy.seen
                   if method == "PUT" and "/results/" in path and status == 412)


@pytest.fixture
def stand(site):
    stand = Stand(site)
    yield stand
    for proxy in stand.proxies:
        proxy.close()


@pytest.fixture
def busy(tmp_path):
    """A model that takes some hundredths of a second: with it a backlog is there when a test begins."""
    return slow_model.write(tmp_path / "busy.onnx", channels=64, kernel=3, layers=1)


def readiness(worker):
    status, _, body = smelt.http("GET", worker.url + "/readyz")
    return status, body.decode()


def test_a_poller_frozen_past_its_lease(stand, tmp_path):
    model = slow_model.write(tmp_path / "slow.onnx", channels=64, kernel=3, layers=10)
    first = stand.pool("--model", model)
    stand.submit(24)
    stand.some_done(3)
    os.kill(first.pid, signal.SIGSTOP)  # its child goes on
    stand.pool("--model", model)
    smelt.wait_until(lambda: stand.results() >= set(stand.accepted), LIMIT_S, "all results by the other pool")
    os.kill(first.pid, signal.SIGCONT)
    stand.submit(4)
    stand.check()
    smelt.wait_until(lambda: readiness(first)[0] == 200, what="the first pool is well")
    assert stand.late_results() >= 1  # what it had computed came late and lost


def test_the_store_is_away_for_a_while(stand):
    worker = stand.pool()
    thread = threading.Thread(target=stand.submit)
    thread.start()
    stand.some_done(10)
    stand.to_s3.rule = lambda method, path, action: "refuse"
    stand.to_s3.cut()
    smelt.wait_until(lambda: readiness(worker)[0] == 503, what="the pool says that it waits")
    assert "waiting for s3" in readiness(worker)[1]
    thread.join()
    time.sleep(OUTAGE_S)  # longer than a lease
    stand.to_s3.rule = lambda method, path, action: "503"
    time.sleep(1)
    refusals = iter(["slow"] * 12)  # and then it asks for fewer requests for a while
    stand.to_s3.rule = lambda method, path, action: next(refusals, None) if random.random() < 0.3 else None
    stand.check()
    assert next(refusals, None) is None
    stand.to_s3.rule = lambda method, path, action: None
    smelt.wait_until(lambda: readiness(worker)[0] == 200, LIMIT_S, "the pool is well")
    assert "service_lost service=s3" in worker.log().replace("event=", "") and "service_back" in worker.log()


def test_a_queue_service_that_fails_loses_answers_hangs_and_doubles(stand):
    seed = int(os.environ.get("SMELT_SEED", random.randrange(1 << 30)))
    print("seed", seed)
    dice = random.Random(seed)
    worker, fates = stand.pool(), collections.Counter()
    sender = stand.site.client("sqs", stand.to_sqs.url, retries={"max_attempts": 8}, read_timeout=5)

    def rule(method, path, action):
        fate = draw(action)
        fates[fate] += 1
        return fate

    def hang(method, path, action):
        fates["hang"] += 1
        return "hang"

    def draw(action):
        n = dice.random()
        if action == "SendMessage":
            return "twice" if n < 0.3 else None  # a producer that sends again
        if action == "ReceiveMessage":
            return ["503", "lose", "repeat", "slow"][int(n * 16)] if n < 0.25 else None
        return ["503", "lose", "refuse", "twice"][int(n * 16)] if n < 0.25 else None

    stand.to_sqs.rule = rule
    stand.submit(sqs=sender)
    stand.some_done(JOBS // 3)
    stand.to_sqs.rule = hang
    time.sleep(2)
    stand.to_sqs.rule = rule
    stand.some_done(JOBS)
    stand.to_sqs.rule = lambda method, path, action: None
    stand.check()
    assert worker.alive()
    print(fates)
    assert fates["hang"] > 0 and fates["twice"] > 0 and fates["503"] + fates["lose"] + fates["refuse"] > 0


def test_processes_are_killed_at_full_load(stand, tmp_path):
    seed = int(os.environ.get("SMELT_SEED", random.randrange(1 << 30)))
    print("seed", seed)
    dice, killed = random.Random(seed), collections.Counter()
    busy = slow_model.write(tmp_path / "busy.onnx", channels=64, kernel=3, layers=3)
    pools = [stand.pool("--model", busy, "--workers", "2") for _ in range(2)]
    stand.submit()
    while len(stand.results()) < JOBS - 10 or len(killed) < 3 or sum(killed.values()) < 8:
        which = dice.randrange(2)
        pid, everybody = pools[which].pid, smelt.children_of(pools[which].pid)
        zygotes = [p for p in everybody if smelt.parent_of(p) == pid]
        kind, choice = dice.choice([("poller", [pid]), ("zygote", zygotes), ("child", set(everybody) - set(zygotes))])
        for victim in sorted(choice)[:1]:
            os.kill(victim, signal.SIGKILL)
            killed[kind] += 1
        if kind == "poller":
            pools[which].kill()
            pools[which] = stand.pool("--model", busy, "--workers", "2")
        if len(stand.results()) > len(stand.accepted) - 10:  # it is over too early
            stand.submit(20)
        time.sleep(dice.uniform(0, 0.2))
    print(killed)
    stand.check()


def test_drain_under_load(stand, busy):
    first = stand.pool("--model", busy, visibility=600)  # what is not handed back would be missed
    stand.submit()
    stand.some_done(5)
    assert first.stop() == 0
    visible, hidden = stand.counts(stand.jobs)
    assert hidden == 0 and visible == JOBS - len(stand.results()) > 0
    stand.pool("--model", busy)
    stand.check()


def test_two_pools_one_is_cut_off(stand, busy):
    to_sqs, to_s3 = stand.proxy(stand.sqs_role), stand.proxy(stand.s3_role)
    stand.pool("--model", busy)
    cut_off = stand.pool("--model", busy, sqs=to_sqs, s3=to_s3)
    stand.submit()
    smelt.wait_until(lambda: stand.in_hand(cut_off) > 0, what="jobs in the hand of the pool that is cut off")
    for proxy in (to_sqs, to_s3):
        proxy.rule = lambda method, path, action: "hang"  # packets vanish: no answer, no error
    time.sleep(OUTAGE_S)  # longer than a lease
    stand.submit(20)
    smelt.wait_until(lambda: stand.results() >= set(stand.accepted), LIMIT_S, "all results by the other pool")
    for proxy in (to_sqs, to_s3):
        proxy.cut()
        proxy.rule = lambda method, path, action: None
    stand.submit(20)
    stand.check()
    smelt.wait_until(lambda: readiness(cut_off)[0] == 200, LIMIT_S, "the pool that was cut off is well")


def ip(*args):
    return subprocess.run(("ip",) + args, capture_output=True, text=True)


@pytest.fixture
def namespace():
    """A network namespace with one link to us: (its name, our address, cut(up or down))."""
    name = "smelt%d" % os.getpid()
    link = "sm%d" % (os.getpid() % 100000)
    if shutil.which("ip") is None:
        pytest.skip("network namespaces need `ip` (iproute2)")
    made = ip("netns", "add", name) if os.geteuid() == 0 else None
    if made is None or made.returncode != 0:
        pytest.skip("network namespaces need root here: " + (made.stderr.strip() if made else "not root"))
    try:
        net = "10.%d.%d." % (200 + os.getpid() % 50, os.getpid() % 250)
        steps = (("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name),
                 ("addr", "add", net + "1/30", "dev", link), ("link", "set", link, "up"),
                 ("-n", name, "addr", "add", net + "2/30", "dev", "eth0"),
                 ("-n", name, "link", "set", "eth0", "up"), ("-n", name, "link", "set", "lo", "up"))
        for step in steps:
            done = ip(*step)
            if done.returncode != 0:
                pytest.skip("no virtual network here: ip %s: %s" % (" ".join(step), done.stderr.strip()))
        yield name, net + "1", lambda state: ip("link", "set", link, state)
    finally:
        ip("netns", "del", name)
        ip("link", "del", link)


def test_two_pools_in_two_networks_one_is_cut_off(stand, busy, namespace, tmp_path):
    name, address, link = namespace
    to_sqs, to_s3 = (stand.proxy(role, host=address) for role in (stand.sqs_role, stand.s3_role))
    stand.pool("--model", busy)
    log = str(tmp_path / "far.log")
    with open(log, "wb") as out:
        far = subprocess.Popen(
            ["ip", "netns", "exec", name, smelt.PROGRAM, "worker", "--data", stand.site.data, "--sqs-endpoint",
             to_sqs.url, "--s3-endpoint", to_s3.url, "--model", busy, "--workers", "1", "--visibility",
             str(LEASE_S)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=smelt.ROOT)
    try:
        smelt.wait_until(lambda: any(seen[2] == "ReceiveMessage" for seen in to_sqs.seen) or
                         "event=ready" in open(log).read(), 60, "the far pool")
        stand.submit()
        taken = lambda: sum(method == "GET" and "/inbox/" in path for method, path, _, _ in to_s3.seen)
        smelt.wait_until(lambda: taken() > 0, what="jobs in the hand of the far pool")
        link("down")
        stand.submit(20)
        smelt.wait_until(lambda: stand.results() >= set(stand.accepted), LIMIT_S, "all results by the near pool")
        link("up")
        stand.check()
    finally:
        far.kill()
        far.wait()


def test_a_job_whose_pollers_die_ends_as_failed_and_its_redrive_is_a_new_chance(stand):
    args = ("--max-receive-count", "2")
    stand.to_s3.rule = lambda method, path, action: "hang" if "/inbox/" in path else None  # it stays in hand
    for _ in range(2):
        worker = stand.pool(*args)
        if not stand.accepted:
            stand.submit(1)
        smelt.wait_until(lambda: stand.counts(stand.jobs)[1] == 1, what="the job in hand")
        worker.kill()
        smelt.wait_until(lambda: stand.counts(stand.jobs)[0] == 1, what="the end of its lease")
    stand.to_s3.rule = lambda method, path, action: None
    stand.pool(*args)

    def result():
        return json.loads(stand.s3.get_object(Bucket="smelt", Key="results/job-0000.json")["Body"].read())

    stand.some_done(1)
    failed = result()
    assert failed["status"] == "failed" and failed["error"]["code"] == "abandoned", failed
    assert "smelt-jobs-dlq" in failed["error"]["message"] and failed["attempts"] == 2
    assert failed["dead_letter"]["queue"] == "smelt-jobs-dlq"
    smelt.wait_until(lambda: stand.counts(stand.dlq) == (1, 0), what="the message is there for a redrive")
    arn = stand.sqs.get_queue_attributes(QueueUrl=stand.dlq, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert stand.site.sqs_json(stand.sqs_role.url, "StartMessageMoveTask", SourceArn=arn)[0] == 200
    smelt.wait_until(lambda: result()["status"] == "succeeded", 30, "the redriven job's result")
    smelt.wait_until(lambda: stand.counts(stand.jobs) == stand.counts(stand.dlq) == (0, 0), what="empty queues")
