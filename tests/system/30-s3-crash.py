"""kill -9 of the s3 role in the middle of writing: what was acknowledged is whole, the rest is absent or
whole, and no file is left over."""
import collections
import hashlib
import os
import random
import subprocess
import threading

import botocore.exceptions
import pytest

import smelt

WRITERS = 8
ROUNDS = int(os.environ.get("SMELT_S3_CRASH_ROUNDS", "6"))


def body_for(seed, size):
    return hashlib.shake_128(b"%d" % seed).digest(size)


class Writer(threading.Thread):
    """Puts, overwrites and deletes its own keys until the server is gone. For each key: the last state that
    was acknowledged, and what was under way when the connection broke."""

    def __init__(self, site, number, states):
        super().__init__(daemon=True)
        self.client = site.client("s3", site.s3.url)
        self.random, self.number, self.states = random.Random(os.urandom(8)), number, states
        self.done = 0

    def run(self):
        while True:
            key = "w%d/%d" % (self.number, self.random.randrange(6))
            seed = self.random.randrange(1 << 40)
            size = self.random.choice((0, 500, 4096, 5000, 200_000))
            delete = self.random.random() < 0.2
            wanted = None if delete else (seed, size)
            state = self.states[key]
            state["maybe"] = [wanted]
            try:
                if delete:
                    self.client.delete_object(Bucket="bucket", Key=key)
                else:
                    self.client.put_object(Bucket="bucket", Key=key, Body=body_for(seed, size))
            except (botocore.exceptions.BotoCoreError, OSError):
                return
            state["sure"], state["maybe"] = wanted, []
            self.done += 1


def body_or_none(s3, key):
    try:
        return s3.get_object(Bucket="bucket", Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None


def check(s3, states):
    for key, state in states.items():
        body = body_or_none(s3, key)
        for possible in [state.get("sure")] + state.get("maybe", []):
            if body == (None if possible is None else body_for(*possible)):
                state.clear()
                state["sure"] = possible
                break
        else:
            raise AssertionError("%s: %s bytes, expected one of %s" % (
                key, body if body is None else len(body), state))


def body_files(site):
    return sum(os.path.getsize(os.path.join(folder, name)) > 0
               for folder, _, names in os.walk(os.path.join(site.data, "s3", "blobs")) for name in names)


def test_kill_in_the_middle_of_writing(site):
    site.s3 = site.role("s3")
    port = site.s3.port
    site.client("s3", site.s3.url).create_bucket(Bucket="bucket")
    states = collections.defaultdict(dict)
    acknowledged = 0
    for _ in range(ROUNDS):
        writers = [Writer(site, i, states) for i in range(WRITERS)]
        for writer in writers:
            writer.start()
        smelt.wait_until(lambda: sum(w.done for w in writers) >= random.randint(20, 60), what="some writes")
        site.s3.kill()
        for writer in writers:
            writer.join(60)
            acknowledged += writer.done
        site.s3 = site.role("s3", port=port)
        s3 = site.client("s3", site.s3.url)
        check(s3, states)
        listed = {o["Key"] for o in s3.list_objects_v2(Bucket="bucket").get("Contents", [])}
        assert listed == {k for k, state in states.items() if state["sure"] is not None}
    assert acknowledged >= 20 * ROUNDS
    large = sum(1 for s in states.values() if s["sure"] is not None and s["sure"][1] > 4096)
    smelt.wait_until(lambda: body_files(site) == large, what="%d body files" % large)


def test_term_answers_what_is_under_way(site):
    site.s3 = site.role("s3")
    site.client("s3", site.s3.url).create_bucket(Bucket="bucket")
    states = collections.defaultdict(dict)
    writers = [Writer(site, i, states) for i in range(4)]
    for writer in writers:
        writer.start()
    smelt.wait_until(lambda: sum(w.done for w in writers) >= 20, what="some writes")
    assert site.s3.stop() == 0
    for writer in writers:
        writer.join(60)
    site.s3 = site.role("s3")
    check(site.client("s3", site.s3.url), states)


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64", "writev", "write", "unlinkat", "openat"])
def test_kill_at_a_system_call(site, call):
    """The process ends at the n-th call of each kind: whatever it was doing, it recovers."""
    site.s3 = site.role("s3")
    s3 = site.client("s3", site.s3.url)
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="old", Body=b"o" * 10_000)
    site.s3.stop()
    killed = 0
    for when in (1, 2, 4, 7, 11):
        port = smelt.free_port()
        wrapper = os.path.join(site.folder, "strace-%s-%d" % (call, when))
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
             "inject=%s:signal=SIGKILL:when=%d+" % (call, when + (60 if call == "openat" else 0)),
             smelt.PROGRAM, "s3", "--data", site.data, "--s3-listen", "127.0.0.1:%d" % port],
            stdout=subprocess.DEVNULL, stderr=open(wrapper, "w"))
        s3 = site.client("s3", "http://127.0.0.1:%d" % port, connect_timeout=2)
        sure, tried = {"old": b"o" * 10_000}, {}

        def serving():
            if tracer.poll() is not None:
                return True
            try:
                return s3.head_bucket(Bucket="bucket")
            except (botocore.exceptions.BotoCoreError, OSError):
                return False

        smelt.wait_until(serving, what="the server, or its end")
        try:
            for key, body in (("small", b"s"), ("large", b"l" * 9000), ("old", b"n" * 20_000), ("small", b"t")):
                tried = {key: body}
                s3.put_object(Bucket="bucket", Key=key, Body=body)
                sure.update(tried)
                tried = {}
        except (botocore.exceptions.BotoCoreError, OSError):
            pass
        killed += ended(tracer, site)
        tracer.kill()
        tracer.wait()
        for pid in [p for p in map(int, filter(str.isdigit, os.listdir("/proc")))
                    if site.data in smelt.command_line(p)]:
            os.kill(pid, 9)  # strace let go of it
        again = smelt.wait_until(lambda: start_or_none(site), what="the restart")
        s3 = site.client("s3", again.url)
        for key, body in sure.items():
            got = body_or_none(s3, key)
            assert got == body or got == tried.get(key, b"-"), (when, key)
        for key in ("small", "large"):
            s3.delete_object(Bucket="bucket", Key=key)
        s3.put_object(Bucket="bucket", Key="old", Body=b"o" * 10_000)
        assert again.stop() == 0
    assert killed > 0  # else nothing was tested


def test_a_failed_sync_ends_the_process(site):
    """Whatever a disk did not take for sure is never answered with 200, and nothing is tried again."""
    site.s3 = site.role("s3")
    site.client("s3", site.s3.url).create_bucket(Bucket="bucket")
    assert site.s3.stop() == 0
    ended_by_itself = 0
    for when in (3, 4, 5, 6):  # the first ones are those of the start
        port, acknowledged = smelt.free_port(), []
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e",
             "inject=fdatasync:error=EIO:when=%d" % when, smelt.PROGRAM, "s3", "--data", site.data,
             "--s3-listen", "127.0.0.1:%d" % port], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        s3 = site.client("s3", "http://127.0.0.1:%d" % port, connect_timeout=2)

        def serving():
            try:
                return s3.head_bucket(Bucket="bucket")
            except (botocore.exceptions.BotoCoreError, OSError):
                return tracer.poll() is not None

        smelt.wait_until(serving, what="the server, or its end")
        try:
            for i in range(6):
                key = "%d-%d" % (when, i)
                s3.put_object(Bucket="bucket", Key=key, Body=b"x" * (100 if i % 2 else 10_000))
                acknowledged.append(key)
        except (botocore.exceptions.BotoCoreError, OSError):
            assert tracer.wait(30) == 1  # its own end, with an error
            ended_by_itself += 1
        else:
            tracer.terminate()
            tracer.wait(30)
        again = smelt.wait_until(lambda: start_or_none(site), what="the restart")
        s3 = site.client("s3", again.url)
        for key in acknowledged:
            s3.head_object(Bucket="bucket", Key=key)
        assert again.stop() == 0
    assert ended_by_itself >= 2


def ended(tracer, site):
    return tracer.poll() is not None or not any(
        site.data in line and line[0] != "strace"
        for line in map(smelt.command_line, map(int, filter(str.isdigit, os.listdir("/proc")))))


def start_or_none(site):
    try:
        return site.role("s3")
    except smelt.StartError as error:
        if "in use" in str(error):
            return None
        raise
