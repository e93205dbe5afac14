"""Starts the real program for the system tests and hands out clients for it.

Roles are started alone on a free port (`role`), or together (`serve`). What a test starts is ended with
it, by process id. Standard error goes to a file beside the data directory and is shown when a test fails.
"""
import configparser
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("SMELT_PROGRAM", os.path.join(ROOT, "smelt"))
REGION = "us-east-1"
START_S = 60.0  # a sanitizer build on a busy machine


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """One started smelt process."""

    def __init__(self, args, log_path, environment=None, ready=True):
        self.args = [PROGRAM] + args
        self.log_path = log_path
        self.port = None
        fds = ()
        if ready:
            read_fd, write_fd = os.pipe()
            self.args += ["--ready-fd", str(write_fd)]
            fds = (write_fd,)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SMELT_"))}
        env.update(environment or {})
        with open(log_path, "ab") as log:
            self.popen = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, pass_fds=fds, env=env, cwd=ROOT)
        if ready:
            os.close(write_fd)
            self.notice = self._read_notice(read_fd)
            os.close(read_fd)
            if self.notice.startswith("ready "):
                self.port = int(self.notice.split()[1])
            else:
                self.kill()
                raise StartError(self.notice or "(no notice)", self.log())

    def _read_notice(self, fd):
        text, deadline = b"", time.monotonic() + START_S
        while b"\n" not in text and time.monotonic() < deadline:
            if not select.select([fd], [], [], deadline - time.monotonic())[0]:
                break
            piece = os.read(fd, 4096)
            if not piece:
                break
            text += piece
        return text.decode().strip()

    @property
    def pid(self):
        return self.popen.pid

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def alive(self):
        return self.popen.poll() is None

    def kill(self):
        """kill -9"""
        if self.alive():
            self.popen.kill()
        return self.popen.wait()

    def stop(self, timeout_s=30):
        """TERM, and the exit code; KILL when it does not end in time."""
        if self.alive():
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("%s did not end within %d s of SIGTERM\n%s"
                                 % (self.args, timeout_s, self.log()))


class StartError(Exception):
    def __init__(self, notice, log):
        super().__init__(notice + "\n" + log)
        self.notice, self.log = notice, log


class Site:
    """A data directory and the processes that a test runs on it."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.data = os.path.join(self.folder, "data")
        self.processes = []
        self.serial = 0

    def start(self, args, environment=None, ready=True):
        self.serial += 1
        log = os.path.join(self.folder, "%02d-%s.log" % (self.serial, args[0]))
        process = Process(args, log, environment, ready)
        self.processes.append(process)
        return process

    def role(self, name, *args, port=0, environment=None):
        """Starts one role: sqs, s3, gateway or worker. .url and .port say where it listens."""
        args = [name, "--data", self.data] + list(args)
        if name in ("sqs", "s3", "gateway"):
            args += ["--%s-listen" % name, "127.0.0.1:%d" % port]
        return self.start(args, environment)

    def serve(self, *args, environment=None):
        """Starts everything; .gateway_url, .sqs_url, .s3_url."""
        ports = [free_port() for _ in range(3)]
        process = self.start(["serve", "--data", self.data,
                              "--gateway-listen", "127.0.0.1:%d" % ports[0],
                              "--sqs-listen", "127.0.0.1:%d" % ports[1],
                              "--s3-listen", "127.0.0.1:%d" % ports[2]] + list(args), environment)
        process.gateway_url, process.sqs_url, process.s3_url = (
            "http://127.0.0.1:%d" % p for p in ports)
        return process

    def keys(self):
        parser = configparser.ConfigParser()
        parser.read(os.path.join(self.data, "credentials"))
        return (parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"])

    def client(self, service, url, **config):
        key, secret = self.keys()
        defaults = {"retries": {"max_attempts": 0}, "read_timeout": 60}
        if service == "s3":
            defaults["s3"] = {"addressing_style": "path"}
        defaults.update(config)
        return boto3.client(service, endpoint_url=url, region_name=REGION, aws_access_key_id=key,
                            aws_secret_access_key=secret,
                            config=botocore.config.Config(**defaults))

    def aws_environment(self):
        return {"AWS_SHARED_CREDENTIALS_FILE": os.path.join(self.data, "credentials"),
                "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
                "HOME": self.folder, "PATH": os.environ["PATH"]}

    def sign(self, service, method, url, body=b"", headers=None):
        """A signed request as (url, headers) for raw HTTP."""
        request = botocore.awsrequest.AWSRequest(method, url, data=body, headers=headers or {})
        credentials = botocore.credentials.Credentials(*self.keys())
        auth = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
        auth(credentials, service, REGION).add_auth(request)
        return request.url, dict(request.headers)

    def sqs_json(self, url, action, **parameters):
        """One call in the JSON protocol: (status, headers, decoded body or None)."""
        body = json.dumps(parameters).encode()
        _, headers = self.sign("sqs", "POST", url + "/", body, {
            "Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS." + action})
        return http("POST", url + "/", body, headers)

    def stop(self):
        for process in reversed(self.processes):
            process.kill()


def http(method, url, body=None, headers=None, timeout_s=60):
    """(status, headers, body decoded if JSON else bytes)"""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            status, got, data = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        status, got, data = error.code, error.headers, error.read()
    if re.match(r"application/(x-amz-json-1\.0|json)", got.get("Content-Type", "")):
        data = json.loads(data) if data else None
    return status, got, data


def wait_until(condition, timeout_s=30, what="the condition"):
    """Polls a condition of the outside world (files, processes, counters); returns its value."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("%s did not come true within %g s" % (what, timeout_s))
        time.sleep(0.02)


def children_of(pid):
    """Process ids of all descendants."""
    out = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % entry) as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            out += [int(entry)] + children_of(int(entry))
    return out


def parent_of(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return int(f.read().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return None


def command_line(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return [a.decode() for a in f.read().split(b"\0")[:-1]]
    except OSError:
        return []


def sample(name):
    with open(os.path.join(ROOT, "samples", name), "rb") as f:
        return f.read()
