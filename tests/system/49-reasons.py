"""Why a job failed for good: the dead letter's reason names signal, limit and layer, whatever ended the child; and
neither the zygote nor the worker minds."""
import os
import re
import signal

import pytest

import pool as pools
import slow_model
import smelt


def ticks(pid):
    """Processor time of a process, in clock ticks."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


REASONS = {
    "crash": (signal.SIGSEGV, "crashed", r"killed by signal 11 \(Segmentation fault\), in layer \d+ of \d+ \(Conv 'x\d+'\)"),
    "abort": (signal.SIGABRT, "crashed", r"killed by signal 6 \(Aborted\), in layer \d+ of"),
    "memory": (signal.SIGKILL, "memory", r"killed by signal 9 \(Killed\): by the kernel for want of memory, or by "
                                         r"somebody, in layer \d+ of"),
    "sandbox": (signal.SIGSYS, "crashed", r"killed by signal 31 \(Bad system call\): a system call that the sandbox "
                                          r"forbids, in layer \d+ of"),
    "deadline": (signal.SIGSTOP, "timeout", r"killed: no answer within 5000 ms, in layer \d+ of"),
}


@pytest.fixture
def slow_pool(site, tmp_path):
    model = slow_model.write(tmp_path / "slow.onnx", channels=128, kernel=3, layers=20)
    return pools.Pool(site, "--model", model, "--workers", "1", "--max-receive-count", "1", "--job-timeout", "5",
                      "--visibility", "3")


def test_each_end_of_a_child_is_explained(slow_pool):
    pool, zygote = slow_pool, slow_pool.zygotes()
    dead_letters = pool.sqs.get_queue_url(QueueName="smelt-jobs-dlq")["QueueUrl"]
    for name, (number, code, reason) in REASONS.items():
        child = smelt.wait_until(lambda: pool.children(), what="a child")[0]
        smelt.wait_until(lambda: pool.metric('smelt_worker_children{state="up"}') == 1, what="its readiness")
        before = ticks(child)
        pool.submit(name, smelt.sample("dog-1.jpg"))
        smelt.wait_until(lambda: ticks(child) > before + 10, what="a child in the middle of a layer")
        os.kill(child, number)
        got = pool.result(name)
        assert got["status"] == "failed" and got["error"]["code"] == code, got
        assert re.search(reason, got["error"]["message"]), got
        assert got["dead_letter"]["queue"] == "smelt-jobs-dlq" and got["attempts"] == 1
        assert pool.zygotes() == zygote and child not in pool.children()
    smelt.wait_until(lambda: pool.sqs.get_queue_attributes(
        QueueUrl=dead_letters, AttributeNames=["ApproximateNumberOfMessages"])
        ["Attributes"]["ApproximateNumberOfMessages"] == str(len(REASONS)), 60, "all of them among the dead letters")
    assert pool.worker.alive()
