"""EC2 takes the host away: the pool starts nothing new, finishes or hands back, and leaves."""
import http.server
import re
import threading
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import pool as pools
import slow_model
import smelt

SPOT = "/latest/meta-data/spot/instance-action"
LIFECYCLE = "/latest/meta-data/autoscaling/target-lifecycle-state"


class Metadata:
    """The metadata service of a host, version 2: nothing without a token."""

    def __init__(self):
        self.answers, self.tokens, self.asked, self.broken = {}, ["token-0"], [], False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def answer(self, status, text=""):
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_PUT(self):
                ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
                good = self.path == "/latest/api/token" and ttl.isdigit() and not outer.broken
                self.answer(200 if good else 400, outer.tokens[-1] if good else "")

            def do_GET(self):
                if self.headers.get("X-aws-ec2-metadata-token") != outer.tokens[-1]:
                    self.answer(401)
                    return
                outer.asked.append(self.path)
                self.answer(*((200, outer.answers[self.path]) if self.path in outer.answers else (404,)))

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.environment = {"AWS_EC2_METADATA_SERVICE_ENDPOINT":
                            "http://127.0.0.1:%d" % self.server.server_address[1]}


@pytest.fixture
def metadata():
    service = Metadata()
    yield service
    service.server.shutdown()
    service.server.server_close()


@pytest.mark.parametrize("path,text,said", [
    (SPOT, '{"action":"terminate","time":"2026-01-31T12:00:00Z"}', "terminate at 2026-01-31T12:00:00Z"),
    (LIFECYCLE, "Terminated", "auto-scaling group"),
])
def test_a_notice_drains_the_pool_and_nothing_is_lost(site, tmp_path, metadata, path, text, said):
    model = slow_model.write(tmp_path / "slow.onnx", channels=64, kernel=3, layers=10)
    metadata.answers[LIFECYCLE] = "InService"
    pool = pools.Pool(site, "--model", model, "--workers", "1", "--ec2", "on", "--visibility", "600",
                      environment=metadata.environment)
    smelt.wait_until(lambda: LIFECYCLE in metadata.asked, what="both questions")
    ids = ["job-%d" % n for n in range(40)]
    for i in ids:
        pool.submit(i, smelt.sample("dog-1.jpg"))
    pool.result(ids[0])
    metadata.answers[path] = text
    metadata.tokens.append("token-1")  # and the old one is over
    assert pool.worker.popen.wait(40) == 0
    assert said in pool.worker.log() and "event=drained" in pool.worker.log()
    done = [i for i in ids if pool.find(i)]
    assert 0 < len(done) < 40 and pool.messages() == (40 - len(done), 0)


def test_a_metadata_service_that_is_not_there_is_said_once_and_harms_nothing(site, metadata):
    metadata.broken = True
    pool = pools.Pool(site, "--workers", "1", "--ec2", "on", environment=metadata.environment)
    smelt.wait_until(lambda: "event=notices_unheard" in pool.worker.log(), what="a word in the log")
    pool.submit("a", smelt.sample("dog-1.jpg"))
    assert pool.result("a")["status"] == "succeeded"


def test_off_and_unasked_nobody_is_asked(site, metadata):
    for args in ([], ["--ec2", "off"]):
        pool = pools.Pool(site, "--workers", "1", *args, environment=metadata.environment)
        pool.submit("a", smelt.sample("dog-1.jpg"))
        assert pool.result("a")["status"] == "succeeded"
        site.stop()
    assert metadata.asked == []


class Group:
    """EC2 Auto Scaling, as far as a host speaks to it."""

    def __init__(self, status=200, code=""):
        self.heard, outer = [], self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.heard.append((self.path, dict(self.headers), body))
                text = ("<ErrorResponse><Error><Code>%s</Code><Message>by the test</Message></Error></ErrorResponse>"
                        % code if code else "<CompleteLifecycleActionResponse/>").encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def leave(site, metadata, group, path, text, *args):
    """A pool that EC2 takes away, until it has ended."""
    metadata.answers["/latest/meta-data/instance-id"] = "i-0123456789abcdef0"
    metadata.answers[LIFECYCLE] = "InService"
    pool = pools.Pool(site, "--workers", "1", "--ec2", "on", *args, environment={
        **metadata.environment, "AWS_ENDPOINT_URL_AUTO_SCALING": group.url})
    pool.submit("a", smelt.sample("dog-1.jpg"))
    assert pool.result("a")["status"] == "succeeded"
    metadata.answers[path] = text
    assert pool.worker.popen.wait(40) == 0
    return pool


def test_the_group_is_told_when_the_pool_is_drained(site, metadata):
    group = Group()
    pool = leave(site, metadata, group, LIFECYCLE, "Terminated", "--lifecycle-hook", "pools + 1:smelt/drain")
    group.close()
    assert "event=lifecycle_completed" in pool.worker.log()
    (path, headers, body), = group.heard
    assert path == "/"
    assert dict(urllib.parse.parse_qsl(body.decode())) == {
        "Action": "CompleteLifecycleAction", "Version": "2011-01-01", "AutoScalingGroupName": "pools + 1",
        "LifecycleHookName": "smelt/drain", "InstanceId": "i-0123456789abcdef0", "LifecycleActionResult": "CONTINUE"}
    # signed as botocore signs it
    signed = re.search(r"SignedHeaders=([^,]+)", headers["Authorization"]).group(1).split(";")
    request = botocore.awsrequest.AWSRequest("POST", group.url + "/", data=body,
                                             headers={k: v for k, v in headers.items() if k.lower() in signed})
    request.context["timestamp"] = headers["X-Amz-Date"]
    auth = botocore.auth.SigV4Auth(botocore.credentials.Credentials(*site.keys()), "autoscaling", smelt.REGION)
    string = auth.string_to_sign(request, auth.canonical_request(request))
    assert headers["Authorization"].endswith("Signature=" + auth.signature(string, request))


def test_a_group_that_refuses_keeps_nobody(site, metadata):
    group = Group(400, "ValidationError")
    pool = leave(site, metadata, group, LIFECYCLE, "Terminated", "--lifecycle-hook", "pools:none")
    group.close()
    assert len(group.heard) == 1
    assert "event=lifecycle_not_completed" in pool.worker.log() and "ValidationError" in pool.worker.log()


@pytest.mark.parametrize("path,text,args", [
    (SPOT, '{"action":"terminate","time":"2026-01-31T12:00:00Z"}', ["--lifecycle-hook", "pools:hook"]),
    (LIFECYCLE, "Terminated", []),
])
def test_nobody_is_told_of_a_drain_that_is_not_the_groups(site, metadata, path, text, args):
    group = Group()
    leave(site, metadata, group, path, text, *args)
    group.close()
    assert group.heard == []


def test_a_hook_that_cannot_be_is_refused(site):
    with pytest.raises(smelt.StartError, match="GROUP:HOOK"):
        site.start(["worker", "--lifecycle-hook", "hook"])
