"""smelt bench sqs: every case runs and says so; what it measures is not looked at here."""
import json
import os
import re
import shutil
import signal
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


def test_failure_says_what_happened(tmp_path):
    """On both outputs: in which case, and how the measured server ended."""
    bench = subprocess.Popen([smelt.PROGRAM, "bench", "sqs", "--case", "polls", "--polls", "10", "--seconds", "60",
                              "--data", str(tmp_path / "data")], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)

    def server():
        with open("/proc/%d/task/%d/children" % (bench.pid, bench.pid)) as f:
            return f.read().split()

    smelt.wait_until(server, 30, "the measured server")
    os.kill(int(server()[0]), signal.SIGKILL)
    out, err = bench.communicate(timeout=60)
    assert bench.returncode == 1
    line = json.loads(out.splitlines()[-1])
    assert line["case"] in ("start", "polls") and "signal 9" in line["error"], line
    assert "signal 9" in err and line["case"] in err


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
