"""Celery with its SQS transport, as people use it: workers and the queue are killed, no task is lost."""
import os
import signal
import subprocess

import pytest

import smelt

pytest.importorskip("pycurl", reason="Celery's SQS transport needs pycurl")

TASKS = 60


class Worker:
    def __init__(self, environment, log_path):
        self.log_path = log_path
        with open(log_path, "ab") as log:
            self.popen = subprocess.Popen(
                ["/usr/bin/python3", "-m", "celery", "-A", "celery_app", "worker", "--concurrency", "2",
                 "--loglevel", "warning", "--without-gossip", "--without-mingle",
                 "--without-heartbeat"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                cwd=os.path.join(smelt.ROOT, "tests/system"), start_new_session=True)

    def kill(self):
        """kill -9, with its children"""
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()


@pytest.fixture
def celery(site):
    sqs = site.role("sqs", port=smelt.free_port())
    key, secret = site.keys()
    environment = {"PATH": os.environ["PATH"], "HOME": site.folder, "KEY": key, "SECRET": secret,
                   "SQS_HOST": "127.0.0.1:%d" % sqs.port, "PYTHONDONTWRITEBYTECODE": "1",
                   "C_FORCE_ROOT": "1", "DONE": os.path.join(site.folder, "done"),
                   "AWS_EC2_METADATA_DISABLED": "true"}
    workers = []

    def start():
        workers.append(Worker(environment, os.path.join(site.folder, "celery.log")))
        return workers[-1]

    yield sqs, environment, start
    for worker in workers:
        worker.kill()


def done(environment):
    try:
        with open(environment["DONE"]) as f:
            return [int(line) for line in f if line.endswith("\n")]
    except FileNotFoundError:
        return []


def send(environment, first, last):
    script = ("import celery_app\nfor i in range(%d, %d):\n    celery_app.note.delay(i)\n"
              % (first, last))
    subprocess.run(["/usr/bin/python3", "-c", script], env=environment, check=True, timeout=120,
                   cwd=os.path.join(smelt.ROOT, "tests/system"))


def test_no_task_is_lost_when_workers_and_the_queue_are_killed(site, celery):
    sqs, environment, start = celery
    send(environment, 0, TASKS // 2)
    worker = start()
    smelt.wait_until(lambda: len(done(environment)) >= 5, 60, "the first tasks")
    worker.kill()  # with tasks in its hands
    worker = start()
    send(environment, TASKS // 2, TASKS)
    smelt.wait_until(lambda: len(set(done(environment))) >= TASKS // 2, 60, "half of the tasks")
    sqs.kill()
    site.role("sqs", port=sqs.port)
    if worker.popen.poll() is not None:  # some versions end when the broker goes away
        start()
    smelt.wait_until(lambda: set(done(environment)) == set(range(TASKS)), 120,
                     "the end of all tasks")
    client = site.client("sqs", "http://127.0.0.1:%d" % sqs.port)

    def empty():
        counts = client.get_queue_attributes(QueueUrl="celery-jobs", AttributeNames=["All"])
        return all(counts["Attributes"]["ApproximateNumberOfMessages" + kind] == "0"
                   for kind in ("", "NotVisible", "Delayed"))

    smelt.wait_until(empty, 60, "an empty queue")
    # each done once, but for what was in hand when somebody was killed
    assert len(done(environment)) < 2 * TASKS
