"""Everything is killed with -9 at random while jobs are submitted; the accounts must balance.

Accepted jobs (202 or 200) have exactly one result, every message is gone, the dead-letter queue is empty.
"""
import glob
import json
import os
import random
import signal
import threading
import time
import uuid

import smelt

JOBS = int(os.environ.get("SMELT_CRASH_JOBS", "500"))
SENDERS = 4


def role_of(pid):
    """sqs, s3, gateway, worker, zygote or child of a process of `serve`; None for others."""
    line = smelt.command_line(pid)
    if len(line) < 2:
        return None
    return line[1].split(":")[0] if line[1] in ("sqs", "s3", "gateway", "worker") else (
        "zygote" if "zygote" in line else None)


def victims(serve_pid):
    out = {}
    zygotes = set()
    for pid in smelt.children_of(serve_pid):
        role = role_of(pid)
        if role == "zygote":
            zygotes.add(pid)
        out.setdefault(role or "other", []).append(pid)
    # the zygote's own children compute: they carry its command line
    computing = [p for z in zygotes for p in smelt.children_of(z)]
    out["child"] = computing
    out["zygote"] = [z for z in zygotes if z not in computing]
    return out


class Killer(threading.Thread):
    """Kills one process after the other, of every role in turn, until told to end."""

    def __init__(self, serve_pid, seed):
        super().__init__(daemon=True)
        self.serve_pid, self.random = serve_pid, random.Random(seed)
        self.stop, self.killed = threading.Event(), {}

    def run(self):
        order = ["child", "worker", "sqs", "s3", "gateway", "zygote"]
        i = 0
        while not self.stop.wait(self.random.uniform(0.15, 0.6)):
            role = order[i % len(order)]
            i += 1
            pids = victims(self.serve_pid).get(role, [])
            if pids:
                try:
                    os.kill(self.random.choice(pids), signal.SIGKILL)
                    self.killed[role] = self.killed.get(role, 0) + 1
                except ProcessLookupError:
                    pass


def submit(url, pictures, accepted, lock, begin, end):
    """Posts pictures in bursts; a broken connection is tried again with the same Idempotency-Key."""
    for i in range(begin, end):
        if i % 10 == 9:
            time.sleep(0.7)  # so that the killing goes on while jobs come in, and queues build up
        key = str(uuid.uuid4())
        deadline = time.monotonic() + 120
        while True:
            assert time.monotonic() < deadline, "no answer for 120 s"
            try:
                status, _, job = smelt.http("POST", url + "/v1/jobs", pictures[i % len(pictures)], {
                    "Content-Type": "image/jpeg", "Idempotency-Key": key}, timeout_s=20)
            except OSError:
                time.sleep(0.05)
                continue
            if status in (200, 202):
                with lock:
                    accepted.append(job["id"])
                break
            assert status in (429, 500, 502, 503), (status, job)
            time.sleep(0.05)


def test_no_job_is_lost_or_done_twice_under_kill_9(site):
    serve = site.serve("--workers", "2")
    pictures = [open(p, "rb").read() for p in sorted(glob.glob(smelt.ROOT + "/samples/*.jpg"))]
    assert len(pictures) >= 10
    seed = int(os.environ.get("SMELT_SEED", random.randrange(1 << 30)))
    print("seed", seed)
    killer = Killer(serve.pid, seed)
    killer.start()
    accepted, lock, threads = [], threading.Lock(), []
    for t in range(SENDERS):
        thread = threading.Thread(target=submit, args=(
            serve.gateway_url, pictures, accepted, lock, t * JOBS // SENDERS, (t + 1) * JOBS // SENDERS))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(240)
        assert not thread.is_alive()
    everyone = {"child", "worker", "sqs", "s3", "gateway", "zygote"}
    try:  # few jobs are done before each has had its turn
        smelt.wait_until(lambda: set(killer.killed) >= everyone, 60, "the killing of every role")
    finally:
        killer.stop.set()
        killer.join()
        print("killed", killer.killed)
    assert len(accepted) == JOBS and len(set(accepted)) == JOBS
    assert serve.alive()

    s3 = site.client("s3", serve.s3_url, retries={"max_attempts": 10})
    sqs = site.client("sqs", serve.sqs_url, retries={"max_attempts": 10})

    def results():
        keys, token = set(), {}
        while True:
            page = s3.list_objects_v2(Bucket="smelt", Prefix="results/", **token)
            keys |= {o["Key"] for o in page.get("Contents", [])}
            if not page["IsTruncated"]:
                return keys
            token = {"ContinuationToken": page["NextContinuationToken"]}

    wanted = {"results/%s.json" % job for job in accepted}
    try:
        smelt.wait_until(lambda: wanted <= results(), 240, "a result for every job")
    except AssertionError:
        missing = sorted(wanted - results())
        raise AssertionError("%d jobs without a result, e.g. %s" % (len(missing), missing[:3]))
    for key in wanted:
        result = json.loads(s3.get_object(Bucket="smelt", Key=key)["Body"].read())
        assert result["status"] == "succeeded", result
        assert result["id"] == key[len("results/"):-len(".json")]

    def counts(name):
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        a = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return sum(int(a["ApproximateNumberOfMessages" + x]) for x in ("", "NotVisible", "Delayed"))

    smelt.wait_until(lambda: counts("smelt-jobs") == 0, 150, "an empty queue")
    assert counts("smelt-jobs-dlq") == 0
    assert serve.stop() == 0
