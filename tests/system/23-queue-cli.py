"""`smelt queue` against the sqs role, against a server that knows no PeekMessages, and with a worker: a
job that was given up runs again after a redrive."""
import http.client
import http.server
import json
import os
import pty
import signal
import subprocess
import threading
import time

import pytest

import slow_model
import smelt


class Shell:
    """Runs `smelt queue` with the keys of a site against an endpoint."""

    def __init__(self, site, endpoint):
        self.site, self.endpoint = site, endpoint

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SMELT_"))}
        env.update(SMELT_SQS_ENDPOINT=self.endpoint, SMELT_DATA=self.site.data)
        return env

    def run(self, *args, stdin="", code=0):
        done = subprocess.run([smelt.PROGRAM, "queue"] + list(args), input=stdin, timeout=60,
                              capture_output=True, text=True, env=self.environment())
        assert done.returncode == code, (args, done.stdout, done.stderr)
        return done.stdout if code == 0 else done.stderr

    def json(self, *args, **more):
        return [json.loads(line) for line in self.run(*args, "--json", **more).splitlines()]

    def terminal(self, *args, answer=None):
        """On a terminal: (exit code, what was seen)."""
        try:
            pid, fd = pty.fork()
        except OSError as error:
            pytest.skip("no terminal can be had here: %s" % error)
        if pid == 0:
            os.execve(smelt.PROGRAM, [smelt.PROGRAM, "queue"] + list(args), self.environment())
        seen = b""
        if answer is not None:
            while b"go on: " not in seen:
                seen += os.read(fd, 4096)
            os.write(fd, answer.encode())
        while True:
            try:
                piece = os.read(fd, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            seen += piece
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()


@pytest.fixture
def shell(site):
    role = site.role("sqs", "--sqs-cooldown", "0")
    s = Shell(site, role.url)
    s.sqs = site.client("sqs", role.url)
    return s


def make_queues(sqs, receives=1):
    dlq = sqs.create_queue(QueueName="orders-dlq")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dlq, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {"deadLetterTargetArn": arn, "maxReceiveCount": receives}
    queue = sqs.create_queue(QueueName="orders", Attributes={"RedrivePolicy": json.dumps(policy)})["QueueUrl"]
    return queue, dlq


def make_dead_letters(sqs, count):
    queue, _ = make_queues(sqs)
    for i in range(count):
        sqs.send_message(QueueUrl=queue, MessageBody="dead %d" % i)
    got = 0
    while got < count:
        got += len(sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10,
                                       VisibilityTimeout=0).get("Messages", []))
    sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)  # finds none, and moves them


# --- a server without the extension ---

class WithoutPeek(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("X-Amz-Target") == "AmazonSQS.PeekMessages":
            status, answer = 400, b'{"__type":"com.amazon.coral.service#UnknownOperationException"}'
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.target)
            connection.request("POST", self.path, body, dict(self.headers))
            got = connection.getresponse()
            status, answer = got.status, got.read()
            connection.close()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def foreign(shell):
    """The same queues behind a server that knows neither PeekMessages nor /metrics."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WithoutPeek)
    server.target = int(shell.endpoint.rsplit(":", 1)[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    other = Shell(shell.site, "http://127.0.0.1:%d" % server.server_port)
    other.sqs = shell.sqs
    yield other
    server.shutdown()
    server.server_close()


# --- looking ---

def test_list_shows_counts_and_dead_letter_queues(shell):
    assert shell.run("list") == ""
    queue, _ = make_queues(shell.sqs)
    for i in range(3):
        shell.sqs.send_message(QueueUrl=queue, MessageBody="m", DelaySeconds=60 if i == 2 else 0)
    shell.sqs.receive_message(QueueUrl=queue)
    lines = shell.run("list").splitlines()
    assert lines[0].split() == ["QUEUE", "VISIBLE", "IN", "FLIGHT", "DELAYED", "DEAD", "LETTERS"]
    assert lines[1].split() == ["orders", "1", "1", "1", "orders-dlq"]
    assert lines[2].split() == ["orders-dlq", "0", "0", "0", "-"]
    assert [q["queue"] for q in shell.json("list", "orders-")] == ["orders-dlq"]


def test_more_queues_than_a_page(shell):
    for i in range(1003):
        shell.sqs.create_queue(QueueName="q%04d" % i)
    assert [q["queue"] for q in shell.json("list")] == ["q%04d" % i for i in range(1003)]


def test_peek_shows_every_state_and_changes_nothing(shell):
    queue, _ = make_queues(shell.sqs, receives=2)
    shell.sqs.send_message(QueueUrl=queue, MessageBody="in flight")
    shell.sqs.receive_message(QueueUrl=queue, VisibilityTimeout=300)
    shell.sqs.send_message(QueueUrl=queue, MessageBody="tab\there \x7fé",
                           MessageAttributes={"n": {"DataType": "Number", "StringValue": "7"},
                                              "b": {"DataType": "Binary", "BinaryValue": b"\0\1"}})
    shell.sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=300)
    for _ in range(3):
        got = shell.json("peek", "orders")
        assert [m["State"] for m in got] == ["inflight", "visible", "delayed"]
        assert [m["Attributes"]["ApproximateReceiveCount"] for m in got] == ["1", "0", "0"]
        assert got[1]["Body"] == "tab\there \x7fé"
        assert got[1]["MessageAttributes"] == {"n": {"DataType": "Number", "StringValue": "7"},
                                               "b": {"DataType": "Binary", "BinaryValue": "AAE="}}
        assert all("ReceiptHandle" not in m for m in got)
        assert got[2]["VisibleTimestamp"] > time.time() * 1000
    assert shell.json("peek", queue, "-n", "1")[0]["Body"] == "in flight"
    peeked = shell.json("peek", "orders")[1]
    (received,) = shell.json("receive", "orders", "--visibility", "0")
    counts = ("ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp")
    for name in counts:
        peeked["Attributes"].pop(name, None)
        received["Attributes"].pop(name)
    assert peeked["Attributes"] == received["Attributes"]  # but for what receiving changes
    text = shell.run("peek", "orders")
    assert "tab here  é" in text and "in flight, " in text  # nothing that a terminal obeys
    assert "  n (Number): 7" in shell.run("peek", "orders", "--full")


def test_peek_by_pages_of_both_protocols(shell):
    queue, _ = make_queues(shell.sqs)
    shell.run("send", "orders", "--count", "250", "x" * 1000)
    ids = [m["MessageId"] for m in shell.json("peek", "orders", "-n", "1000")]
    assert len(set(ids)) == 250
    status, _, page = shell.site.sqs_json(shell.endpoint, "PeekMessages", QueueUrl=queue, MaxResults=100)
    assert status == 200 and [m["MessageId"] for m in page["Messages"]] == ids[:100]
    # the page begins where the one before ended, also when that message and others have gone
    gone = 0
    while gone < 120:
        got = shell.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
        shell.sqs.delete_message_batch(QueueUrl=queue, Entries=[
            {"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(got)])
        gone += len(got)
    _, _, page = shell.site.sqs_json(shell.endpoint, "PeekMessages", QueueUrl=queue, MaxResults=100,
                                     NextToken=page["NextToken"])
    assert [m["MessageId"] for m in page["Messages"]] == ids[120:220]
    for wrong in ({"MaxResults": 0}, {"MaxResults": 101}, {"NextToken": "x"}, {"NextToken": "eA=="}):
        status, _, error = shell.site.sqs_json(shell.endpoint, "PeekMessages", QueueUrl=queue, **wrong)
        assert status == 400 and error["__type"].startswith("com.amazonaws.sqs#Invalid"), wrong
    url, headers = shell.site.sign("sqs", "GET", queue + "?Action=PeekMessages&MaxResults=1")
    status, _, xml = smelt.http("GET", url, headers=headers)
    assert status == 200 and b"<State>visible</State>" in xml and ids[120].encode() in xml


def test_peek_needs_a_signature(shell):
    make_queues(shell.sqs)
    status, _, _ = smelt.http("POST", shell.endpoint + "/", b'{"QueueUrl":"orders"}',
                              {"Content-Type": "application/x-amz-json-1.0",
                               "X-Amz-Target": "AmazonSQS.PeekMessages"})
    assert status == 403


def test_peek_elsewhere_says_what_it_does_and_asks(foreign):
    queue, _ = make_queues(foreign.sqs, receives=5)
    for i in range(12):
        foreign.sqs.send_message(QueueUrl=queue, MessageBody="m%d" % i)
    said = foreign.run("peek", "orders", code=1)
    assert "cannot show messages without receiving them" in said and "--yes" in said
    assert "receive counts go up by one" in said
    code, seen = foreign.terminal("peek", "orders", answer="no\n")
    assert code == 1 and "not done" in seen
    got = foreign.json("peek", "orders", "-n", "11", "--yes")
    assert sorted(m["Body"] for m in got) == sorted("m%d" % i for i in range(11))
    counts = foreign.json("list", "orders")[0]
    assert (counts["visible"], counts["in_flight"]) == (12, 0)  # handed back
    assert len(foreign.json("peek", "orders", "-n", "50", "--yes")) == 12


def test_stat_tells_counts_age_rates_and_relations(shell):
    queue, dlq = make_queues(shell.sqs, receives=3)
    shell.run("send", "orders", "--count", "20", "m")
    with subprocess.Popen([smelt.PROGRAM, "queue", "stat", "orders", "--json", "--watch", "1"],
                          stdout=subprocess.PIPE, text=True, env=shell.environment()) as watching:
        first = json.loads(watching.stdout.readline())
        shell.run("send", "orders", "--count", "30", "m")
        later = [json.loads(watching.stdout.readline()) for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
    assert first["visible"] == 20 and first["rates_from"] == "server" and first["oldest_s"] >= 0
    assert sum(line["sent_per_s"] for line in later) > 0 and later[-1]["visible"] == 50
    assert first["dead_letter_queue"] == "orders-dlq"
    assert shell.json("stat", "orders-dlq", "--interval", "0")[0]["dead_letters_of"] == [queue]
    text = shell.run("stat", "orders")
    assert "after 3 receives to orders-dlq, which holds 0" in text and "(the server's counters" in text


def test_stat_elsewhere_counts_twice(foreign):
    make_queues(foreign.sqs)
    text = foreign.run("stat", "orders")
    assert "not told by this service" in text and "from two counts" in text
    assert foreign.json("stat", "orders")[0]["rates_from"] == "counts"


# --- sending and receiving ---

def test_send_in_every_way(shell, tmp_path):
    queue, _ = make_queues(shell.sqs)
    (tmp_path / "body").write_text("from a file")
    sent = [shell.run("send", "orders", "given").strip(),
            shell.run("send", "orders", "@%s" % (tmp_path / "body")).strip(),
            shell.run("send", "orders", "-", stdin="from a pipe").strip()]
    shell.run("send", "orders", "--attribute", "k=v,l=w", "--delay", "0", "with attributes")
    shell.run("send", "orders", "--lines", stdin="one\n\ntwo\r\n" + "long " * 100 + "\nlast")
    got = shell.json("peek", "orders", "-n", "100")
    assert [m["Body"] for m in got] == ["given", "from a file", "from a pipe", "with attributes", "one",
                                        "two", "long " * 100, "last"]
    assert [m["MessageId"] for m in got[:3]] == sent
    assert got[3]["MessageAttributes"]["l"] == {"DataType": "String", "StringValue": "w"}
    assert len(shell.json("send", "orders", "--lines", stdin="a\nb\n")) == 2
    big = "x" * 600000  # two do not fit into a batch
    assert len(shell.json("send", "orders", "--lines", stdin=big + "\n" + big + "\n")) == 2
    shell.sqs.create_queue(QueueName="o.fifo", Attributes={"FifoQueue": "true"})
    assert "--group" in shell.run("send", "o.fifo", "x", code=1)
    shell.run("send", "o.fifo", "--group", "g", "--dedup", "d", "--count", "12", "x")
    shell.run("send", "o.fifo", "--group", "g", "--dedup", "d", "--count", "12", "x")
    assert [m["Attributes"]["MessageDeduplicationId"] for m in shell.json("peek", "o.fifo", "-n", "99")] \
        == ["d-%d" % i for i in range(1, 13)]


def test_what_cannot_be_sent_is_refused_with_a_reason(shell):
    make_queues(shell.sqs)
    assert "must not be empty" in shell.run("send", "orders", "", code=1)
    assert "SQS takes up to 1048576" in shell.run("send", "orders", "--lines",
                                                  stdin="x" * 1048577 + "\n", code=1)
    assert "control characters" in shell.run("send", "orders", "a\x01b", code=1)
    assert "NAME=VALUE" in shell.run("send", "orders", "--attribute", "novalue", "x", code=1)
    assert "--delay must be" in shell.run("send", "orders", "--delay", "901", "x", code=2)
    assert "No such file" in shell.run("send", "orders", "@/nowhere", code=1)
    assert "did you mean 'orders'?" in shell.run("send", "ordres", "x", code=1)
    assert shell.json("list", "orders")[0]["visible"] == 0


def test_receive_and_delete(shell):
    queue, _ = make_queues(shell.sqs, receives=9)
    shell.run("send", "orders", "--lines", stdin="\n".join("m%d" % i for i in range(25)))
    assert [m["Body"] for m in shell.json("receive", "orders", "-n", "12", "--visibility", "0")][0] == "m0"
    assert len(shell.json("receive", "orders", "-n", "12", "--delete")) == 12
    assert shell.run("receive", "orders", "-n", "5", "--delete").count(" received ") == 5
    counts = shell.json("list", "orders")[0]
    assert (counts["visible"], counts["in_flight"]) == (8, 0)
    begun = time.monotonic()
    shell.sqs.purge_queue(QueueUrl=queue)
    assert shell.json("receive", "orders", "--wait", "1") == []
    assert time.monotonic() - begun > 0.9


# --- purge, redrive ---

def test_purge_asks_for_the_name(shell):
    make_queues(shell.sqs)
    shell.run("send", "orders", "--count", "5", "m")
    assert "say --yes" in shell.run("purge", "orders", code=1)
    code, seen = shell.terminal("purge", "orders", answer="yes\n")
    assert code == 1 and shell.endpoint in seen and "5 visible" in seen
    assert shell.json("list", "orders")[0]["visible"] == 5
    code, seen = shell.terminal("purge", "orders", answer="orders\n")
    assert code == 0 and "purged orders" in seen
    assert shell.json("list", "orders")[0]["visible"] == 0
    shell.run("send", "orders", "m")
    assert shell.json("purge", "orders", "--yes") == [{"queue": "orders", "purged": 1}]


def test_ctrl_c_at_the_question_ends_it(shell):
    make_queues(shell.sqs)
    shell.run("send", "orders", "m")
    code, seen = shell.terminal("purge", "orders", answer="\x03")
    assert code == 1 and "not done" in seen
    assert shell.json("list", "orders")[0]["visible"] == 1


def test_redrive_moves_dead_letters_back_or_elsewhere(shell):
    make_dead_letters(shell.sqs, 12)
    assert shell.json("list", "orders-dlq")[0]["visible"] == 12
    assert "is no dead-letter queue" in shell.run("redrive", "orders", code=1)
    assert shell.json("redrive", "orders-dlq")[0]["moved"] == 12
    assert shell.json("list", "orders")[0]["visible"] == 12
    assert "empty" in shell.run("redrive", "orders-dlq")
    shell.sqs.create_queue(QueueName="elsewhere")
    shell.run("send", "orders-dlq", "m")  # sent there directly: nobody knows where to
    assert "--to QUEUE" in shell.run("redrive", "orders-dlq", code=1)
    shell.run("redrive", "orders-dlq", "--to", "elsewhere")
    assert shell.json("list", "elsewhere")[0]["visible"] == 1


def test_redrive_elsewhere_asks_before_it_receives(foreign):
    make_dead_letters(foreign.sqs, 3)
    assert "--keep-results" in foreign.run("redrive", "orders-dlq", code=1)
    assert foreign.json("redrive", "orders-dlq", "--keep-results")[0]["moved"] == 3
    foreign.run("purge", "orders", "--yes")
    make_dead_letters(foreign.sqs, 3)
    assert foreign.json("redrive", "orders-dlq", "--yes")[0]["moved"] == 3
    assert foreign.json("list", "orders")[0]["visible"] == 3


def test_ctrl_c_cancels_a_redrive(shell):
    def tasks(arn):  # Debian's boto3 is older than these actions
        return shell.site.sqs_json(shell.endpoint, "ListMessageMoveTasks", SourceArn=arn)[2].get("Results")

    make_dead_letters(shell.sqs, 30)
    with subprocess.Popen([smelt.PROGRAM, "queue", "redrive", "orders-dlq", "--rate", "1"],
                          stderr=subprocess.PIPE, text=True, env=shell.environment()) as running:
        arn = shell.sqs.get_queue_attributes(QueueUrl="orders-dlq", AttributeNames=["QueueArn"])
        arn = arn["Attributes"]["QueueArn"]
        smelt.wait_until(lambda: tasks(arn), what="the task")
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()
        assert running.wait(30) == 1
    assert "cancelled: " in said and "the others stay in orders-dlq" in said
    assert tasks(arn)[0]["Status"] == "CANCELLED"
    assert shell.json("list", "orders-dlq")[0]["visible"] > 0


def test_a_redriven_job_runs_again(site, tmp_path):
    """It was given up because the model was too slow; its failed result goes, and it succeeds."""
    sqs_role, s3_role = site.role("sqs"), site.role("s3")
    sqs, s3 = site.client("sqs", sqs_role.url), site.client("s3", s3_role.url)
    shell = Shell(site, sqs_role.url)
    endpoints = ["--sqs-endpoint", sqs_role.url, "--s3-endpoint", s3_role.url, "--workers", "1"]
    model = slow_model.write(tmp_path / "slow.onnx", channels=128, kernel=3, layers=20)
    worker = site.role("worker", "--model", model, "--job-timeout", "1", "--max-receive-count", "1",
                       *endpoints)
    jobs = sqs.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]

    def find(job):
        try:
            return json.loads(s3.get_object(Bucket="smelt", Key="results/%s.json" % job)["Body"].read())
        except s3.exceptions.NoSuchKey:
            return None

    for job in ("slow", "done"):
        s3.put_object(Bucket="smelt", Key="inbox/" + job, Body=smelt.sample("dog-1.jpg"))
    body = {"v": 1, "id": "slow", "model": "", "input": {"bucket": "smelt", "key": "inbox/slow"}}
    sqs.send_message(QueueUrl=jobs, MessageBody=json.dumps(body))
    smelt.wait_until(lambda: shell.json("list", "smelt-jobs-dlq")[0]["visible"] == 1, 60, "a dead letter")
    assert find("slow")["status"] == "failed"
    assert worker.stop() == 0
    # one whose result is good is left as it is, one that is no job does not disturb
    done = {"id": "done", "status": "succeeded", "result": {"predictions": []}}
    s3.put_object(Bucket="smelt", Key="results/done.json", Body=json.dumps(done))
    body.update(id="done", input={"bucket": "smelt", "key": "inbox/done"})
    sqs.send_message(QueueUrl=jobs, MessageBody=json.dumps(body))
    sqs.send_message(QueueUrl=jobs, MessageBody="no job")
    for _ in range(3):
        sqs.receive_message(QueueUrl=jobs, MaxNumberOfMessages=10, VisibilityTimeout=0)
    assert shell.json("list", "smelt-jobs-dlq")[0]["visible"] == 3
    # a store that is away: nothing is moved
    said = shell.run("redrive", "smelt-jobs-dlq", "--s3-endpoint", "http://127.0.0.1:1", code=1)
    assert "nothing was moved" in said and "--keep-results" in said
    assert shell.json("list", "smelt-jobs-dlq")[0]["visible"] == 3
    site.role("worker", *endpoints)
    (end,) = shell.json("redrive", "smelt-jobs-dlq", "--s3-endpoint", s3_role.url)
    assert (end["moved"], end["results_removed"], end["status"]) == (3, 1, "COMPLETED")
    result = smelt.wait_until(lambda: find("slow"), 30, "the new result")
    assert result["status"] == "succeeded" and result["model"] == "demo"
    assert find("done") == done


# --- whom it asks ---

def test_whom_it_asks(site, tmp_path):
    role = site.role("sqs")
    site.client("sqs", role.url).create_queue(QueueName="here")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SMELT_"))}
    env["HOME"] = str(tmp_path)

    def run(*args, cwd, **more):
        return subprocess.run([smelt.PROGRAM, "queue", "list"] + list(args), cwd=cwd, timeout=60,
                              capture_output=True, text=True, env={**env, **more})
    assert "no AWS keys found" in run(cwd=tmp_path).stderr
    assert "`smelt queue list --help` lists them" in run("--quiet-please", cwd=tmp_path).stderr
    os.symlink(site.data, tmp_path / "smelt-data")
    refused = run(cwd=tmp_path)  # port 9324 may be somebody's: whoever is there has other keys
    assert refused.returncode == 1
    named = run("--sqs-endpoint", role.url, "--data", site.data, cwd="/")
    assert named.returncode == 0 and "here" in named.stdout
    key, secret = site.keys()
    by_environment = run(cwd="/", AWS_ENDPOINT_URL_SQS=role.url, AWS_ACCESS_KEY_ID=key,
                         AWS_SECRET_ACCESS_KEY=secret)
    assert by_environment.returncode == 0 and "here" in by_environment.stdout
    wrong = run(cwd="/", AWS_ENDPOINT_URL=role.url, AWS_ACCESS_KEY_ID="X" * 20,
                AWS_SECRET_ACCESS_KEY=secret)
    assert wrong.returncode == 1 and "are these the keys" in wrong.stderr
