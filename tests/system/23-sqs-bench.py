"""smelt bench sqs: every case runs and says so; what it measures is not looked at here."""
import json
import re
import shutil
import subprocess

import pytest

import smelt


def run(*args):
    return subprocess.run([smelt.PROGRAM, "bench", "sqs", *args], cwd=smelt.ROOT, capture_output=True, text=True,
                          timeout=300)


def test_quick_has_every_case(tmp_path):
    done = run("--quick", "--data", str(tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(line["bench"] == "sqs" and line["unit"] and line["value"] >= 0 for line in lines)
    names = [line["case"] for line in lines]
    assert len(names) == len(set(names))
    assert {"livez", "send", "send_of_livez", "send_batch", "through", "disk_sync_p50", "idle_p50", "idle_p99",
            "idle_polls_cpu", "idle_poll_memory", "fifo_through_of_empty", "fifo_send_batch_of_empty", "full_memory",
            "restart_warm", "restart_cold", "restart_cold_rate", "read_cold_rate", "full_send_of_empty",
            "full_through_of_empty"} <= set(names)
    assert all(line["server_cpu_us"] > 0 for line in lines if line["case"] in ("livez", "send", "through"))
    for name in names:
        assert re.search(r"^ *%s " % name, done.stderr, re.M), name


def test_one_case_and_a_wrong_one():
    done = run("--quick", "--case", "batch")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["case"] for line in done.stdout.splitlines()] == ["send_batch"]
    done = run("--case", "sned")
    assert done.returncode == 2 and "'sned'" in done.stderr and not done.stdout


@pytest.mark.skipif(not (shutil.which("beanstalkd") and shutil.which("redis-server")),
                    reason="beanstalkd and redis-server are not installed")
def test_peers_do_the_same_work():
    done = run("--quick", "--case", "livez", "--peers")
    assert done.returncode == 0, done.stderr
    names = {json.loads(line)["case"] for line in done.stdout.splitlines()}
    assert {peer + "_" + case for peer in ("beanstalkd", "redis") for case in ("send", "send_batch", "through")} <= names


def test_missing_peers_are_named():
    done = subprocess.run([smelt.PROGRAM, "bench", "sqs", "--quick", "--case", "livez", "--peers"], cwd=smelt.ROOT,
                          capture_output=True, text=True, timeout=300, env={"PATH": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    assert "beanstalkd is not installed" in done.stderr and "redis-server is not installed" in done.stderr
