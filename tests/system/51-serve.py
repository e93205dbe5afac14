"""Everything together: the supervisor, the banner, what a new user does first."""
import glob
import json
import os
import re
import signal
import struct
import subprocess
import threading
import time
import zlib

import pytest

import slow_model
import smelt


def banner(serve):
    return smelt.wait_until(lambda: "Ctrl-C" in serve.log() and serve.log(), 10, "the banner")


def answer(serve, name="dog-1.jpg", query="?wait=30"):
    return smelt.http("POST", serve.gateway_url + "/v1/jobs" + query, smelt.sample(name),
                      {"Content-Type": "image/jpeg"})


def test_a_picture_goes_all_the_way(site):
    serve = site.serve()
    for path in sorted(glob.glob(smelt.ROOT + "/samples/*.jpg")):
        name = os.path.basename(path)
        status, _, job = answer(serve, name)
        assert status == 200 and job["status"] == "succeeded", job
        assert job["result"]["groups"]["dog"]["present"] == name.startswith("dog-"), name
        assert all(job["timing_ms"][phase] >= 0
                   for phase in ("queued", "fetched", "decoded", "inferred", "total"))
        s3 = site.client("s3", serve.s3_url)
        stored = json.loads(s3.get_object(Bucket="smelt", Key="results/%s.json" % job["id"])["Body"].read())
        assert stored["result"] == job["result"]
    sqs = site.client("sqs", serve.sqs_url)
    url = sqs.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]

    def left():
        a = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return int(a["ApproximateNumberOfMessages"]) + int(a["ApproximateNumberOfMessagesNotVisible"])
    smelt.wait_until(lambda: left() == 0, 10, "an empty queue")
    assert serve.stop() == 0


def test_the_lines_of_the_banner_work_as_printed(site):
    serve = site.serve()
    text = banner(serve)
    assert serve.gateway_url + "/" in text and serve.sqs_url in text and serve.s3_url in text
    keys = re.search(r"^ +keys +(\S+)$", text, re.M).group(1)
    assert os.stat(keys).st_mode & 0o777 == 0o600
    environment = {"PATH": os.environ["PATH"], "HOME": site.folder}
    curl = re.search(r"^ +(curl .*)$", text, re.M).group(1)
    done = subprocess.run(["sh", "-c", curl], cwd=smelt.ROOT, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0 and json.loads(done.stdout)["status"] == "succeeded"
    aws = re.search(r"^ +(AWS_SHARED_CREDENTIALS_FILE=.* aws .*)$", text, re.M).group(1)
    done = subprocess.run(["sh", "-c", aws], cwd=smelt.ROOT, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0 and b"/smelt-jobs" in done.stdout, done.stderr


def png(width, height):
    """A PNG that says it has this size, and has next to nothing."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))


@pytest.mark.parametrize("body, words", [
    (b"hello, this is text", "text.*JPEG"),
    (b"GIF89a" + bytes(100), "GIF.*JPEG"),
    (png(50000, 50000), "50000"),
    (png(300, 300), ""),
    (None, "truncated|cut|end"),
], ids=["text", "gif", "bomb", "hollow", "truncated"])
def test_bad_pictures_cost_only_themselves(site, body, words):
    serve = site.serve()
    body = body or smelt.sample("dog-1.jpg")[:3000]
    status, _, job = smelt.http("POST", serve.gateway_url + "/v1/jobs?wait=30", body,
                                {"Content-Type": "image/jpeg"})
    assert status == 200 and job["status"] == "failed", job
    assert re.search(words, job["error"]["message"]) and len(job["error"]["message"]) > 15, job
    assert answer(serve)[2]["status"] == "succeeded"


def test_every_role_comes_back_after_kill_9(site):
    serve = site.serve()
    for role in ("sqs", "s3", "gateway", "worker"):
        pids = [p for p in smelt.children_of(serve.pid) if smelt.command_line(p)[1:2] == [role]]
        assert len(pids) == 1, (role, pids)
        os.kill(pids[0], signal.SIGKILL)

        def works():
            try:
                status, _, job = answer(serve)
            except OSError:
                return False
            return status == 200 and job["status"] == "succeeded"
        smelt.wait_until(works, 60, "an answer after the end of " + role)
    assert serve.stop() == 0


def test_the_roles_end_with_their_supervisor(site):
    serve = site.serve()
    pids = smelt.children_of(serve.pid)
    assert len(pids) >= 5
    serve.kill()
    smelt.wait_until(lambda: not any(smelt.command_line(p)[:1] == ["smelt"] for p in pids), 10,
                     "the end of all roles")


def test_what_was_accepted_survives_a_stop(site):
    serve = site.serve("--workers", "1")
    jobs = [answer(serve, "dog-%d.jpg" % (i % 8 + 1), "")[2]["id"] for i in range(40)]
    assert serve.stop() == 0
    serve = site.serve("--workers", "1")
    # a message that was on its way to the worker when it stopped comes back after its lease (60 s)
    for job in jobs:
        url = "%s/v1/jobs/%s?wait=10" % (serve.gateway_url, job)
        smelt.wait_until(lambda: smelt.http("GET", url)[2]["status"] == "succeeded", 90, "the result")


def test_ctrl_c_twice_ends_at_once(site):
    serve = site.serve()
    serve.popen.send_signal(signal.SIGINT)
    time.sleep(0.05)
    serve.popen.send_signal(signal.SIGINT)
    assert serve.popen.wait(10) in (0, 1)
    assert not smelt.children_of(serve.pid)


def fails(site, *args):
    """serve with these arguments: its exit code and everything it said."""
    done = subprocess.run([smelt.PROGRAM, "serve", *args], cwd=smelt.ROOT, capture_output=True, text=True,
                          timeout=60, env={"PATH": os.environ["PATH"]})
    return done.returncode, done.stderr


def test_what_keeps_serve_from_starting_is_one_clear_sentence(site):
    serve = site.serve()
    code, text = fails(site, "--data", site.data)
    assert code == 1 and "in use by another smelt" in text
    other = os.path.join(site.folder, "other")
    ports = ["--sqs-listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"]
    code, text = fails(site, "--data", other, "--gateway-listen", serve.gateway_url[7:], *ports)
    assert code == 1 and re.search(r"port \d+ on 127.0.0.1 is in use", text) and "--gateway-listen" in text
    code, text = fails(site, "--data", other, "--s3-listen", serve.s3_url[7:], "--sqs-listen", "127.0.0.1:0")
    assert code == 1 and "is in use" in text
    code, text = fails(site, "--data", other, "--model", "dmeo", *ports)
    assert code == 1 and "did you mean 'demo'" in text
    broken = os.path.join(site.folder, "broken.onnx")
    with open(broken, "wb") as f:
        f.write(b"no model")
    code, text = fails(site, "--data", other, "--model", broken, "--gateway-listen", "127.0.0.1:0", *ports)
    assert code == 1 and "broken.onnx" in text
    code, text = fails(site, "--data", "/proc/nowhere")
    assert code == 1 and "/proc/nowhere" in text
    code, text = fails(site, "--wrokers", "2")
    assert code == 2 and "did you mean --workers" in text
    assert serve.alive()


def test_wrong_values_are_usage_errors_before_anything_is_made(site):
    for option, value, words in [("--sqs-listen", "here", "--sqs-listen: 'here' is not ADDRESS:PORT"),
                                 ("--gateway-listen", "127.0.0.1:99999", "--gateway-listen"),
                                 ("--workers", "5:2", "MIN:MAX"), ("--workers", "some", "MIN:MAX"),
                                 ("--sqs-cooldown", "-1", "from 0 to 60"), ("--job-timeout", "0", "from 1 to")]:
        code, text = fails(site, "--data", os.path.join(site.folder, "none"), option, value)
        assert code == 2 and words in text and text.count("\n") == 1, text
    assert not os.path.exists(os.path.join(site.folder, "none"))


def test_settings_of_other_commands_do_not_reach_the_roles(site):
    """SMELT_BUCKET and the like, meant for `smelt audit`, would make workers that the gateway never meets."""
    nowhere = "http://127.0.0.1:1"
    serve = site.serve(environment={"SMELT_QUEUE": "other", "SMELT_BUCKET": "other", "SMELT_SQS_ENDPOINT": nowhere,
                                    "SMELT_S3_ENDPOINT": nowhere, "SMELT_REGION": "xx-nowhere-1",
                                    "SMELT_NO_CREATE": "1", "SMELT_CREDENTIALS": "/nonexistent"})
    status, _, job = answer(serve)
    assert status == 200 and job["status"] == "succeeded", job


def test_submit_and_result(site):
    serve = site.serve()

    def run(*args):
        return subprocess.run([smelt.PROGRAM, *args], cwd=smelt.ROOT, capture_output=True, text=True,
                              timeout=120, env={"SMELT_URL": serve.gateway_url})
    done = run("submit", "samples", "--wait", "60")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(glob.glob(smelt.ROOT + "/samples/*.jpg")), done.stderr
    assert any(re.fullmatch(r"samples/dog-\d.jpg: A dog: .*, \d+ %", line) for line in lines), lines
    assert any(re.fullmatch(r"samples/nodog-\d.jpg: No dog here: .*, \d+ %", line) for line in lines)
    link = os.path.join(site.folder, "link")
    os.symlink(smelt.ROOT + "/samples", link)
    done = run("submit", link, "--wait", "60")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(lines), done.stderr
    done = run("submit", "samples/dog-1.jpg")
    job = done.stdout.split(": ")[1].strip()
    done = run("result", job, "--wait", "30", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["status"] == "succeeded"
    site.client("s3", serve.s3_url).put_object(Bucket="smelt", Key="mine/a b.jpg", Body=smelt.sample("dog-2.jpg"))
    done = run("submit", "s3://smelt/mine/a b.jpg", "--wait", "30", "--json")
    assert json.loads(done.stdout)["input"] == {"bucket": "smelt", "key": "mine/a b.jpg"}
    done = run("submit", "README.md", "--wait", "30")
    assert done.returncode == 1 and "JPEG" in done.stderr
    assert run("submit", "no/such/file").returncode == 1
    done = run("result", "no-such-job")
    assert done.returncode == 1 and "no job" in done.stderr


@pytest.mark.parametrize("args, code, words", [
    (["serv"], 2, "did you mean 'serve'"),
    (["frobnicate"], 2, "smelt --help"),
    ([], 2, "usage: smelt COMMAND"),
    (["bench", "pipelin"], 2, "did you mean 'bench pipeline'"),
    (["submit"], 2, "needs a file"),
    (["result", "a/b"], 2, "job id"),
    (["gateway", "--log-level", "loud"], 2, "debug, info, warn or error"),
    (["gateway", "now"], 2, "no argument 'now'"),
    (["experiment", "now"], 2, "no argument 'now'"),
    (["bench", "sqs", "now"], 2, "no argument 'now'"),
    (["help", "sevre"], 2, "did you mean 'serve'"),
    (["submit", "--url", "ftp://x", "README.md"], 1, "http"),
    (["submit", "s3://bucket"], 1, "s3://BUCKET/KEY"),
])
def test_misspelt_commands(args, code, words):
    done = subprocess.run([smelt.PROGRAM, *args], cwd=smelt.ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == code and words in done.stderr and not done.stdout, done


def test_help_names_every_command_and_option():
    run = lambda *args: subprocess.run([smelt.PROGRAM, *args], capture_output=True, text=True, timeout=60)
    text = run("--help").stdout
    for command in ("serve", "submit", "result", "predict", "bench", "gateway", "worker", "sqs", "s3"):
        assert re.search(r"^  %s " % command, text, re.M)
        if command != "bench":
            done = run(command, "--help")
            assert done.returncode == 0 and "--config FILE" in done.stdout and "-fd" not in done.stdout
    assert run("help", "queue", "peek").stdout == run("queue", "peek", "--help").stdout != ""
    assert re.fullmatch(r"smelt \d+\.\d+\.\d+\n", run("--version").stdout)


def test_jobs_of_many_clients_at_once(site):
    serve = site.serve()
    done, lock = [], threading.Lock()

    def client(i):
        for k in range(10):
            job = answer(serve, "dog-%d.jpg" % ((i + k) % 8 + 1))[2]
            with lock:
                done.append(job)
    threads = [threading.Thread(target=client, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert len(done) == 160 and all(job["status"] == "succeeded" for job in done)
    assert len({job["id"] for job in done}) == 160


def test_what_a_killed_poller_had_in_hand_does_not_wait_for_its_lease(site, tmp_path):
    model = slow_model.write(tmp_path / "slow.onnx", channels=64, kernel=3, layers=4)
    serve = site.serve("--model", model, "--workers", "1")  # its leases are of 60 s
    sqs, s3 = site.client("sqs", serve.sqs_url), site.client("s3", serve.s3_url)
    queue = sqs.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]
    jobs = [answer(serve, query="")[2]["id"] for _ in range(30)]

    def counts():
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return tuple(int(got[n]) for n in names)

    def results():
        return {o["Key"][8:-5] for o in s3.list_objects_v2(Bucket="smelt", Prefix="results/").get("Contents", [])}

    smelt.wait_until(lambda: counts()[1] >= 4, what="messages in hand")
    worker, = [p for p in smelt.children_of(serve.pid) if smelt.command_line(p)[1:2] == ["worker"]]
    os.kill(worker, signal.SIGKILL)
    smelt.wait_until(lambda: results() >= set(jobs), 45, "all results, before a lease is over")
    attempts = [json.loads(s3.get_object(Bucket="smelt", Key="results/%s.json" % job)["Body"].read())["attempts"]
                for job in jobs]
    assert attempts.count(2) >= 3 and max(attempts) == 2
    assert "event=leases_handed_back" in serve.log()
    assert serve.stop() == 0


def test_one_grep_follows_a_job_through_all_roles(site):
    serve = site.serve("--workers", "1", "--log-level", "debug")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    status, _, job = smelt.http("POST", serve.gateway_url + "/v1/jobs?wait=30", smelt.sample("dog-1.jpg"), {
        "Content-Type": "image/jpeg", "traceparent": "00-%s-00f067aa0ba902b7-01" % trace})
    assert status == 200 and job["trace_id"] == trace
    lines = [line for line in serve.log().splitlines() if "trace=" + trace in line]
    steps = [r"role=s3 .*method=PUT path=\"/smelt/inbox/%s\" status=200" % job["id"],
             r"role=sqs .*action=SendMessage", r"role=gateway .*event=job_queued",
             r"role=s3 .*method=GET path=\"/smelt/inbox/%s\" status=200" % job["id"],
             r"role=worker .*event=job_finished .*status=succeeded",
             r"role=s3 .*method=PUT path=\"/smelt/results/%s.json\" status=200" % job["id"]]
    for step in steps:
        assert any(re.search(step, line) for line in lines), (step, lines)
    assert all(job["id"] in line or "SendMessage" in line for line in lines), lines
    assert serve.stop() == 0
