"""A pool that grows with its jobs, shrinks when idle, and fits what the machine gives."""
import os
import re

import pytest

import pool as pools
import slow_model
import smelt


def test_it_grows_with_the_backlog_and_shrinks_when_idle(site, tmp_path):
    model = slow_model.write(tmp_path / "slow.onnx", channels=32, kernel=3, layers=6)
    pool = pools.Pool(site, "--model", model, "--workers", "1:3", "--idle", "1")
    assert len(pool.children()) == 1
    for n in range(12):
        pool.submit("job-%d" % n, smelt.sample("dog-1.jpg"))
    smelt.wait_until(lambda: len(pool.children()) == 3, what="three children")
    for n in range(12):
        assert pool.result("job-%d" % n)["attempts"] == 1
    smelt.wait_until(lambda: len(pool.children()) == 1, what="one child")
    pool.submit("last", smelt.sample("dog-1.jpg"))
    assert pool.result("last")["status"] == "succeeded"
    assert pool.metric("smelt_worker_child_deaths_total") == 0
    log = pool.worker.log()
    assert "event=pool_grew" in log and "event=pool_shrank" in log


def test_each_child_has_a_processor_of_its_own(site):
    processors = sorted(os.sched_getaffinity(0))
    pool = pools.Pool(site, "--workers", str(len(processors)), "--pin")
    children = smelt.wait_until(lambda: len(pool.children()) == len(processors) and pool.children(),
                                what="all children")
    masks = sorted(tuple(os.sched_getaffinity(pid)) for pid in children)
    assert masks == [(cpu,) for cpu in processors]
    assert os.sched_getaffinity(pool.worker.pid) == set(processors)


def test_the_default_number_is_what_the_machine_has_and_the_log_says_why(site):
    pool = pools.Pool(site)
    usable = len(os.sched_getaffinity(0))
    said = re.search(r"event=capacity children=1:(\d+) usable_processors=(\d+) cpu_quota=(\S+) "
                     r"memory_left_mib=(\d+)", pool.worker.log())
    assert 1 <= int(said[1]) <= usable and said[1] == said[2] and int(said[4]) > 0
    assert "event=memory " in pool.worker.log()
    assert pool.metric('smelt_worker_children{state="limit"}') <= usable


@pytest.mark.parametrize("given", ["0", "4:2", "x", "1:9999", "2:x", ":"])
def test_a_number_of_workers_that_cannot_be_is_explained(site, given):
    worker = site.start(["worker", "--workers", given], ready=False)
    assert worker.popen.wait(30) == 2
    assert "--workers takes a number or MIN:MAX" in worker.log()


def private_bytes(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return sum(int(kib) << 10 for kib in re.findall(r"Private_\w+:\s+(\d+) kB", f.read()))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look at a child's memory")
def test_a_second_model_costs_a_child_no_second_arena(site, tmp_path):
    """Two networks with large arenas: a child's own memory is that of the larger, not the sum."""
    big = slow_model.write(tmp_path / "big.onnx", channels=64, kernel=1, layers=2, side=512)
    other = slow_model.write(tmp_path / "other.onnx", channels=63, kernel=1, layers=2, side=512)
    used = {}
    for names in ([big], [big, other]):
        pool = pools.Pool(site, "--model", ",".join(names), "--workers", "1")
        for n, name in enumerate(names):
            pool.submit("job-%d-%d" % (len(names), n), smelt.sample("dog-1.jpg"), name)
            assert pool.result("job-%d-%d" % (len(names), n))["status"] == "succeeded"
        used[len(names)] = private_bytes(pool.children()[0])
        site.stop()
    assert used[1] > 40 << 20 and used[2] < used[1] * 1.2


def test_backlog_and_age_are_told_for_those_who_scale_hosts(site, tmp_path):
    model = slow_model.write(tmp_path / "slow.onnx", channels=64, kernel=3, layers=20)
    pool = pools.Pool(site, "--model", model, "--workers", "2")
    for n in range(60):
        pool.submit("job-%d" % n, smelt.sample("dog-1.jpg"))

    def backlog():
        text = smelt.http("GET", pool.worker.url + "/metrics")[2].decode()
        return "smelt_worker_backlog_jobs" in text

    smelt.wait_until(backlog, what="a number")
    waiting = pool.metric("smelt_worker_backlog_jobs")
    assert 0 < waiting < 60
    assert pool.metric("smelt_worker_backlog_per_child") == waiting / 2
    assert 0 < pool.metric("smelt_worker_oldest_job_age_seconds") < 600
