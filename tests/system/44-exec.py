"""Program handlers (`--exec`): the examples as they ship; a handler that crashes, hangs, lies, prints, or is
killed; what it is given and what it is not."""
import hashlib
import json
import os
import signal
import subprocess

import pytest

import smelt

PICTURE = smelt.sample("dog-1.jpg")
HANDLERS = os.path.join(smelt.ROOT, "examples/handlers")

# Does what the picture's bytes say. {pid} is a file to which it writes its process id first.
PUPPET = r'''
import json, os, signal, sys, time
read, write = sys.stdin.buffer, sys.stdout.buffer
def say(data):
    write.write(data)
    write.flush()
say(b"ready\n")
for line in read:
    _, json_bytes, picture_bytes = line.split()
    job = json.loads(read.read(int(json_bytes)))
    picture = read.read(int(picture_bytes))
    order, _, more = picture.partition(b" ")
    if order == b"segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif order == b"exit":
        print("cannot go on: the lights are out", file=sys.stderr, flush=True)
        os._exit(int(more))
    elif order == b"hang":
        time.sleep(600)
    elif order == b"once": # the first attempt alone fails
        if job["attempt"] == 1:
            os._exit(5)
        say(b"result 2\n{}")
    elif order == b"say":
        say(more)
    elif order == b"flood":
        sys.stderr.write("blah blah\n" * 100000)
        sys.stderr.flush()
        say(b"result 2\n{}")
    elif order == b"failed":
        say(b"failed %d\n%s" % (len(more), more))
    elif order == b"retry":
        say(b"retry %d\n%s" % (len(more), more))
    elif order == b"print":
        sys.stderr.write("one line\nand another: \x1b[31mred\n")
        sys.stderr.flush()
        say(b"result 2\n{}")
    else:
        text = json.dumps({"job": job, "pid": os.getpid(), "cwd": os.getcwd(), "slot": os.environ["SMELT_SLOT"],
                           "environment": sorted(os.environ), "privileges": open("/proc/self/status").read().
                           partition("NoNewPrivs:\t")[2][:1], "session": os.getsid(0) == os.getppid(),
                           "length": len(picture)}).encode()
        say(b"result %d\n%s" % (len(text), text))
'''


class Pool:
    """sqs, s3 and a worker with a program on one data directory."""

    def __init__(self, site, command, *args, environment=None):
        self.site = site
        sqs, s3 = site.role("sqs"), site.role("s3")
        self.sqs, self.s3 = site.client("sqs", sqs.url), site.client("s3", s3.url)
        self.worker = site.role("worker", "--sqs-endpoint", sqs.url, "--s3-endpoint", s3.url, "--workers", "1",
                                "--exec", command, *args, environment=environment)
        self.jobs, self.dlq = (self.sqs.get_queue_url(QueueName=q)["QueueUrl"]
                               for q in ("smelt-jobs", "smelt-jobs-dlq"))

    def submit(self, job_id, picture, **more):
        self.s3.put_object(Bucket="smelt", Key="inbox/" + job_id, Body=picture)
        body = {"v": 1, "id": job_id, "input": {"bucket": "smelt", "key": "inbox/" + job_id}, **more}
        self.sqs.send_message(QueueUrl=self.jobs, MessageBody=json.dumps(body))

    def find(self, job_id):
        try:
            return json.loads(self.s3.get_object(Bucket="smelt", Key="results/%s.json" % job_id)["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return None

    def result(self, job_id, timeout_s=60):
        return smelt.wait_until(lambda: self.find(job_id), timeout_s, "the result of " + job_id)

    def run(self, job_id, picture, **more):
        self.submit(job_id, picture, **more)
        return self.result(job_id)

    def counts(self, url):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return tuple(int(got[n]) for n in names)

    def programs(self, word):
        return [p for p in smelt.children_of(self.worker.pid)
                if any(word in a for a in smelt.command_line(p)) and "zygote" not in smelt.command_line(p)]


@pytest.fixture
def puppet(site):
    path = os.path.join(site.folder, "puppet.py")
    with open(path, "w") as f:
        f.write(PUPPET)

    def start(*args, **more):
        return Pool(site, "/usr/bin/python3 " + path, *args, **more)
    return start


def test_the_python_example(site):
    pool = Pool(site, "/usr/bin/python3 %s/sizes.py" % HANDLERS)
    got = pool.run("good", PICTURE)
    assert got["status"] == "succeeded" and got["model"] == "sizes" and "model_sha256" not in got
    assert got["result"] == {"kind": "jpeg", "bytes": len(PICTURE), "id": "good",
                             "sha256": hashlib.sha256(PICTURE).hexdigest()}
    got = pool.run("bad", b"hello")
    assert got["status"] == "failed" and got["attempts"] == 1
    assert got["error"] == {"code": "handler", "message": "inbox/bad is no picture"}
    assert pool.run("empty", b"")["status"] == "failed"
    big = os.urandom(20 << 20)
    assert pool.run("big", b"\x89PNG" + big)["result"]["sha256"] == hashlib.sha256(b"\x89PNG" + big).hexdigest()
    for i in range(30):
        pool.submit("many-%d" % i, PICTURE)
    assert all(pool.result("many-%d" % i)["status"] == "succeeded" for i in range(30))
    assert len(pool.programs("sizes.py")) == 1  # one process did it all


def test_the_shell_example(site):
    pool = Pool(site, "sh %s/sums.sh" % HANDLERS)
    expected = subprocess.run(["cksum"], input=PICTURE, capture_output=True, check=True).stdout.split()
    for name, picture in (("a", PICTURE), ("b", b"\0\n\r\xff" * 1000), ("c", PICTURE)):
        got = pool.run(name, picture)
        assert got["status"] == "succeeded" and got["model"] == "sums"
        assert got["result"]["bytes"] == len(picture)
    assert pool.find("a")["result"] == {"cksum": int(expected[0]), "bytes": int(expected[1])}
    assert pool.find("c")["result"] == pool.find("a")["result"]
    smelt.wait_until(lambda: '\\"id\\":\\"c\\"' in pool.worker.log(), 10, "the handler's line in the log")


def test_any_command_for_each_picture(site):
    script = os.path.join(site.folder, "classify")
    with open(script, "w") as f:
        f.write('#!/bin/sh\nsize=$(wc -c)\n[ "$size" -gt 10 ] || { echo "only $size bytes"; exit 1; }\n'
                'printf \'{"size": %d, "job": %s}\' "$size" "$JOB"\n')
    os.chmod(script, 0o755)
    pool = Pool(site, "sh '%s/each.sh' %s" % (HANDLERS, script), "--exec-name", "classify")
    got = pool.run("good", PICTURE)
    assert got["model"] == "classify" and got["result"]["size"] == len(PICTURE)
    assert got["result"]["job"]["id"] == "good"
    got = pool.run("small", b"123")
    assert got["status"] == "failed" and got["error"]["message"].strip() == "only 3 bytes"


def test_what_a_program_is_given(site, puppet):
    keys = {"AWS_SESSION_TOKEN": "secret-token", "SMELT_VISIBILITY": "60", "MY_SETTING": "kept"}
    pool = puppet("--exec-name", "puppet-2", environment=dict(keys, PATH=os.environ["PATH"]))
    key = "ä \"\\" + "\x02" * 1000  # the longest JSON that a key can need
    got = pool.run("who", b"tell", model="puppet-2")["result"]
    job = got["job"]
    assert (job["id"], job["model"], job["bucket"], job["key"]) == ("who", "puppet-2", "smelt", "inbox/who")
    assert job["bytes"] == 4 == got["length"] and job["attempt"] == 1 and job["timeout_ms"] == 30000
    assert job["trace_id"] == pool.find("who").get("trace_id", "")
    assert got["cwd"] == smelt.ROOT and got["slot"] == "0" and got["privileges"] == "1" and got["session"]
    assert "MY_SETTING" in got["environment"] and "PATH" in got["environment"]
    assert [v for v in got["environment"] if v.startswith(("AWS_", "SMELT_"))] == ["SMELT_SLOT"]
    pool.s3.put_object(Bucket="smelt", Key=key, Body=b"tell")
    pool.sqs.send_message(QueueUrl=pool.jobs, MessageBody=json.dumps(
        {"v": 1, "id": "key", "input": {"bucket": "smelt", "key": key}}))
    assert pool.result("key")["result"]["job"]["key"] == key
    assert pool.run("other", b"tell", model="demo")["error"]["code"] == "unknown_model"


def test_crashes_cost_one_attempt(puppet):
    pool = puppet()
    got = pool.run("once", b"once ")
    assert got["status"] == "succeeded" and got["attempts"] == 2
    got = pool.run("segv", b"segv ")
    assert got["status"] == "failed" and got["attempts"] == 3 and got["error"]["code"] == "crashed"
    assert "killed by signal 11" in got["error"]["message"]
    assert pool.run("after", b"tell")["status"] == "succeeded"
    got = pool.run("exit", b"exit 3")
    assert got["error"]["code"] == "crashed" and "ended with status 3" in got["error"]["message"]
    assert "the lights are out" in pool.worker.log() and "the lights are out" in got["error"]["message"]
    smelt.wait_until(lambda: pool.counts(pool.jobs) == (0, 0), 90, "an empty queue")
    assert sum(pool.counts(pool.dlq)) == 2


def test_lies_end_the_program_and_say_why(puppet):
    pool = puppet("--max-receive-count", "1")
    lies = {
        "text": (b"say hello there\n", "wrote \\\"hello there" ),
        "long": (b"say result 1000000\n", "an answer of 1000000 bytes"),
        "json": (b"say result 5\n{oops", "not JSON"),
        "array": (b"say result 2\n[]", "not an object"),
        "extra": (b"say result 2\n{}more", "4 bytes more than its answer"),
        "ready": (b"say ready\n", "\"ready\" a second time"),
    }
    for name, (order, why) in lies.items():
        got = pool.run(name, order)
        assert got["status"] == "failed" and got["error"]["code"] == "crashed", got
        assert why.replace("\\\"", '"') in got["error"]["message"].replace("\\\"", '"'), got
    assert pool.run("after", b"tell")["status"] == "succeeded"


def test_failed_and_retry_are_what_they_say(puppet):
    pool = puppet()
    before = pool.run("a", b"tell")["result"]["pid"]
    got = pool.run("final", "failed no ä here".encode())
    assert got["attempts"] == 1 and got["error"] == {"code": "handler", "message": "no ä here"}
    got = pool.run("later", b"retry the database is away")
    assert got["attempts"] == 3 and got["error"]["code"] == "unavailable"
    assert "the database is away" in got["error"]["message"]
    assert pool.run("silent", b"failed ")["error"]["message"] == "the handler gave no reason"
    assert pool.run("b", b"tell")["result"]["pid"] == before  # none of this cost the program


def test_what_it_prints_is_logged_line_by_line(puppet):
    pool = puppet()
    assert pool.run("print", b"print ")["status"] == "succeeded"
    log = smelt.wait_until(lambda: "red" in pool.worker.log() and pool.worker.log(), 10, "the lines")
    assert 'text="one line"' in log and "and another" in log and "\x1b" not in log


def test_one_that_prints_without_end_is_told_so(puppet):
    """And is not said to have been short of memory: it was killed, but by us."""
    pool = puppet("--max-receive-count", "1")
    got = pool.run("flood", b"flood ")
    assert got["status"] == "failed" and got["error"]["code"] == "crashed", got
    assert "printed more than 64 KiB" in got["error"]["message"] and "memory" not in got["error"]["message"]
    assert not got["error"]["message"].endswith("\n")
    assert pool.run("after", b"tell")["status"] == "succeeded"


def test_a_hang_is_killed_with_all_that_it_started(site):
    marker = os.path.join(site.folder, "sleeper")
    os.symlink("/bin/sleep", marker)
    script = os.path.join(site.folder, "hang.sh")
    with open(script, "w") as f:
        f.write("echo ready\nread -r line || exit\n%s 600 &\n%s 600\n" % (marker, marker))
    pool = Pool(site, "sh " + script, "--job-timeout", "1", "--max-receive-count", "1")
    pool.submit("hang", b"x")
    sleepers = smelt.wait_until(lambda: len(pool.programs("sleeper")) == 2 and pool.programs("sleeper"), 30,
                                "the program's own children")
    got = pool.result("hang")
    assert got["error"]["code"] == "timeout" and "no answer within 1000 ms" in got["error"]["message"]
    smelt.wait_until(lambda: not any(os.path.exists("/proc/%d" % p) and smelt.command_line(p) for p in sleepers),
                     10, "the end of all of them")


# A pipeline of which nobody reads its input while it works, and a daemon in a session of its own.
LEAVING = """echo ready
read -r line || exit
setsid %(daemon)s 600 </dev/null >/dev/null 2>&1 &
%(worker)s 600 | %(worker)s 601
"""


@pytest.fixture
def leaving(site):
    names = {}
    for word in ("daemon", "worker"):
        names[word] = os.path.join(site.folder, "sleeping-" + word)
        os.symlink("/bin/sleep", names[word])
    script = os.path.join(site.folder, "leaving.sh")
    with open(script, "w") as f:
        f.write(LEAVING % names)
    return "sh %s | cat" % script


def gone(pids):
    return not any(smelt.command_line(p) for p in pids)


def test_nothing_that_a_program_started_outlives_its_child(site, leaving):
    pool = Pool(site, leaving, "--job-timeout", "1", "--max-receive-count", "1")
    pool.submit("hang", b"x")
    left = smelt.wait_until(lambda: len(pool.programs("sleeping-")) >= 3 and pool.programs("sleeping-"), 30,
                            "a pipeline and a daemon")
    assert pool.result("hang")["error"]["code"] == "timeout"
    smelt.wait_until(lambda: gone(left), 10, "the end of all of them")
    assert len(pool.programs("leaving.sh")) >= 1  # and the next one is there


def test_nothing_that_a_program_started_outlives_the_zygote(site, leaving):
    pool = Pool(site, leaving)
    pool.submit("hang", b"x")
    left = smelt.wait_until(lambda: len(pool.programs("sleeping-worker")) == 2 and pool.programs("sleeping-"), 30,
                            "a pipeline")
    left = [p for p in left if "sleeping-daemon" not in " ".join(smelt.command_line(p))]
    left += pool.programs("leaving.sh")
    zygote = next(p for p in smelt.children_of(pool.worker.pid) if smelt.command_line(p)[1:2] == ["zygote"])
    os.kill(zygote, signal.SIGKILL)
    smelt.wait_until(lambda: gone(left), 10, "the end of all of them")


def test_killed_from_outside(puppet):
    pool = puppet()
    first = pool.run("a", b"tell")["result"]["pid"]
    os.kill(first, signal.SIGKILL)  # idle: no job is to blame
    got = pool.run("b", b"tell")
    assert got["status"] == "succeeded" and got["result"]["pid"] != first
    pool.submit("c", b"hang ")
    os.kill(got["result"]["pid"], signal.SIGSTOP)
    zygote = next(p for p in smelt.children_of(pool.worker.pid)
                  if smelt.command_line(p)[1:2] == ["zygote"] and smelt.children_of(p))
    os.kill(zygote, signal.SIGKILL)  # everything below ends with it, even what is stopped
    smelt.wait_until(lambda: not smelt.command_line(got["result"]["pid"]), 10, "the program's end")
    assert pool.run("d", b"tell")["status"] == "succeeded"
    last = pool.find("d")["result"]["pid"]
    pool.worker.kill()
    smelt.wait_until(lambda: not smelt.command_line(last), 10, "the program's end")


def test_a_changed_program_proves_itself_before_it_serves(site):
    script = os.path.join(site.folder, "version.sh")

    def write(text):
        with open(script + ".new", "w") as f:
            f.write(text)
        os.rename(script + ".new", script)
    answer = ("echo ready\nwhile read -r _ a b; do head -c $((a + b)) >/dev/null\n"
              "printf 'result 14\\n{\"version\": %d}'; done\n")
    write(answer % 1)
    pool = Pool(site, "sh " + script)
    assert pool.run("a", b"x")["result"] == {"version": 1}
    write(answer % 2)
    assert pool.run("b", b"x")["result"] == {"version": 1}  # not asked yet
    pool.worker.popen.send_signal(signal.SIGHUP)
    smelt.wait_until(lambda: "event=generation_proved generation=2" in pool.worker.log(), 30, "the new one")
    smelt.wait_until(lambda: "event=model_serves generation=2" in pool.worker.log(), 10, "its service")
    assert pool.run("c", b"x")["result"] == {"version": 2}
    write("echo out of order >&2\nexit 9\n")
    pool.worker.popen.send_signal(signal.SIGHUP)
    smelt.wait_until(lambda: "event=generation_refused" in pool.worker.log(), 30, "the refusal")
    assert "ended with status 9" in pool.worker.log() and "out of order" in pool.worker.log()
    assert pool.run("d", b"x")["result"] == {"version": 2}


def test_drain_finishes_what_it_works_on(site):
    script = os.path.join(site.folder, "slow.sh")
    with open(script, "w") as f:
        f.write("echo ready\nwhile read -r _ a b; do head -c $((a + b)) >/dev/null; sleep 1\n"
                "printf 'result 2\\n{}'; done\n")
    pool = Pool(site, "sh " + script)
    pool.submit("first", b"x")
    smelt.wait_until(lambda: pool.programs("slow.sh") and pool.programs("sleep"), 30, "the work")
    for i in range(5):
        pool.submit("more-%d" % i, b"x")
    assert pool.worker.stop() == 0
    assert pool.find("first")["status"] == "succeeded"
    done = sum(pool.find("more-%d" % i) is not None for i in range(5))
    waiting, hidden = pool.counts(pool.jobs)
    assert done < 5 and waiting == 5 - done and hidden == 0  # handed back at once


def test_a_program_that_cannot_start_is_told_at_the_start(site):
    def start(command, name):
        with pytest.raises(smelt.StartError) as told:
            site.role("worker", "--sqs-endpoint", "http://127.0.0.1:9", "--s3-endpoint", "http://127.0.0.1:9",
                      "--exec", command, "--exec-name", name,
                      environment={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
        return told.value
    for command, why in (("/nowhere/at-all --now", "status 127"), ("exit 4", "status 4"),
                         ("echo loading; sleep 60", "standard output is for answers")):
        told = start(command, "x")
        assert why in told.notice and "before it was ready" in told.notice
    assert "/nowhere/at-all" in start("/nowhere/at-all", "x").log
    assert "--exec-name" in start("sleep 60", "no name").log


def test_serve_with_a_program(site):
    serve = site.serve("--exec", "/usr/bin/python3 %s/sizes.py" % HANDLERS, "--workers", "2")
    status, _, job = smelt.http("POST", serve.gateway_url + "/v1/jobs?wait=20", PICTURE,
                                {"Content-Type": "image/jpeg"})
    assert status == 200 and job["model"] == "sizes" and job["result"]["kind"] == "jpeg"
    shown = subprocess.run([smelt.PROGRAM, "result", job["id"]], capture_output=True, text=True, timeout=60,
                           env={"SMELT_URL": serve.gateway_url, "PATH": os.environ["PATH"]})
    assert shown.returncode == 0 and '"kind":"jpeg"' in shown.stdout.replace(" ", "")
    _, _, models = smelt.http("GET", serve.gateway_url + "/v1/models")
    assert [m["name"] for m in models["models"]] == ["sizes"]
    assert serve.stop() == 0
