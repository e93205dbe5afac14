"""As on Amazon: keys from all the usual places, fetched again while the pool works; TLS; services that are
not ours."""
import datetime
import http.server
import json
import os
import ssl
import subprocess
import threading
import urllib.parse

import boto3
import botocore.config
import botocore.exceptions
import pytest

import smelt
from pool import Pool


class Fake:
    """STS, the container's agent, instance metadata and an empty SQS, all in one."""

    def __init__(self, key="", secret="", lives_s=3600, tls=None):
        outer, self.key, self.secret, self.lives_s = self, key, secret, lives_s
        self.asked, self.status = [], 200

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_PUT(self):
                self.answer("metadata-token" if self.path == "/latest/api/token" else "")

            def do_GET(self):
                self.answer("the-role" if self.path.endswith("/security-credentials/") else outer.as_json())

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.answer(outer.as_xml() if body.startswith("Action=") else '{"QueueUrls":[]}', body)

            def answer(self, text, body=""):
                outer.asked.append((self.command, self.path, dict(self.headers), body))
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = "http%s://127.0.0.1:%d" % ("s" if tls else "", self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def until(self):
        at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=self.lives_s)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    def as_json(self):
        return json.dumps({"Code": "Success", "AccessKeyId": self.key, "SecretAccessKey": self.secret,
                           "Expiration": self.until()})

    def as_xml(self):
        return ("<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
                "<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>token</SessionToken>"
                "<Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
                "</AssumeRoleWithWebIdentityResponse>" % (self.key, self.secret, self.until()))


@pytest.fixture
def fake():
    made = []

    def make(*args, **options):
        made.append(Fake(*args, **options))
        return made[-1]
    yield make
    for f in made:
        f.server.shutdown()
        f.server.server_close()


def queue_list(folder, *args, **environment):
    """smelt queue list, with nothing but this environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment}
    return subprocess.run([smelt.PROGRAM, "queue", "list", *args], capture_output=True, text=True, timeout=60,
                          env=environment, cwd=folder)


def test_each_place_of_keys(site, fake, tmp_path):
    sqs = site.role("sqs")
    key, secret = site.keys()
    site.client("sqs", sqs.url).create_queue(QueueName="here")
    f = fake(key, secret)
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / "token").write_text("a.b.c\n")

    def listed(**environment):
        done = queue_list(home, AWS_ENDPOINT_URL_SQS=sqs.url, **environment)
        assert done.returncode == 0 and "here" in done.stdout, done.stderr

    listed(AWS_EC2_METADATA_SERVICE_ENDPOINT=f.url)
    assert [a[1] for a in f.asked] == ["/latest/api/token", "/latest/meta-data/iam/security-credentials/",
                                       "/latest/meta-data/iam/security-credentials/the-role"]
    assert f.asked[-1][2]["X-aws-ec2-metadata-token"] == "metadata-token"
    listed(AWS_CONTAINER_CREDENTIALS_FULL_URI=f.url + "/keys", AWS_CONTAINER_AUTHORIZATION_TOKEN="let me")
    assert f.asked[-1][1] == "/keys" and f.asked[-1][2]["Authorization"] == "let me"
    (home / ".aws/config").write_text("[profile p]\ncredential_process = echo '%s'\n"
                                      % json.dumps({"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret}))
    listed(AWS_PROFILE="p")
    (home / ".aws/credentials").write_text("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n"
                                           % (key, secret))
    listed()
    listed(AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWS_PROFILE="absent", AWS_REGION="eu-west-1")

    wrong = queue_list(home, AWS_ENDPOINT_URL_SQS=sqs.url, AWS_ENDPOINT_URL_STS=f.url,
                       AWS_WEB_IDENTITY_TOKEN_FILE=str(home / "token"), AWS_ROLE_ARN="arn:aws:iam::1:role/x")
    form = urllib.parse.parse_qs(f.asked[-1][3])
    assert form["Action"] == ["AssumeRoleWithWebIdentity"] and form["WebIdentityToken"] == ["a.b.c"]
    assert wrong.returncode == 1  # our server knows these keys, but not with a session token


def test_what_is_said_when_there_are_none(site, tmp_path):
    """Every place is named with what it lacks."""
    done = queue_list(tmp_path, AWS_EC2_METADATA_DISABLED="true")
    assert done.returncode == 1
    for place in ("AWS_ACCESS_KEY_ID (not set)", "AWS_WEB_IDENTITY_TOKEN_FILE (not set)",
                  "[default] of %s/.aws/credentials" % tmp_path, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                  "AWS_EC2_METADATA_DISABLED is true"):
        assert place in done.stderr
    closed = "http://127.0.0.1:%d" % smelt.free_port()  # as outside of EC2
    done = queue_list(tmp_path, AWS_EC2_METADATA_SERVICE_ENDPOINT=closed)
    assert done.returncode == 1 and "no AWS keys found" in done.stderr and "cannot connect" in done.stderr
    for role in ("worker", "gateway"):
        with pytest.raises(smelt.StartError) as refused:
            site.start([role], {"AWS_EC2_METADATA_SERVICE_ENDPOINT": closed, "HOME": str(tmp_path),
                                "PATH": os.environ["PATH"]})
        assert "no AWS keys found" in refused.value.notice
    done = queue_list(tmp_path, AWS_CONTAINER_CREDENTIALS_FULL_URI="http://keys.example/")
    assert "plain HTTP" in done.stderr and "keys.example" in done.stderr
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[default]\ncredential_process = echo no ticket >&2; false\n")
    done = queue_list(tmp_path)
    assert "credential_process of [default]" in done.stderr and "exit code 1: no ticket" in done.stderr


def test_keys_are_fetched_again_while_the_pool_works(site, fake):
    site.role("sqs").stop()  # makes the keys
    f = fake(*site.keys(), lives_s=6)
    sqs, s3 = site.role("sqs"), site.role("s3")
    worker = site.start(["worker", "--sqs-endpoint", sqs.url, "--s3-endpoint", s3.url],
                        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f.url, "HOME": site.folder,
                         "PATH": os.environ["PATH"]})
    queue, store = site.client("sqs", sqs.url), site.client("s3", s3.url)
    jobs = queue.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]
    smelt.wait_until(lambda: len(f.asked) >= 3, 60, "keys fetched ahead, twice, while a long poll runs")
    f.status = 500  # the agent is down for longer than the keys are valid
    smelt.wait_until(lambda: "keys_not_fetched valid_s=0" in worker.log(), 60, "the keys' end")
    store.put_object(Bucket="smelt", Key="inbox/a", Body=smelt.sample("dog-1.jpg"))
    queue.send_message(QueueUrl=jobs, MessageBody=json.dumps(
        {"v": 1, "id": "a", "model": "", "input": {"bucket": "smelt", "key": "inbox/a"}}))
    f.status, f.lives_s = 200, 3600
    smelt.wait_until(lambda: "Contents" in store.list_objects_v2(Bucket="smelt", Prefix="results/a"), 90,
                     "the result")
    result = json.loads(store.get_object(Bucket="smelt", Key="results/a.json")["Body"].read())
    assert result["status"] == "succeeded"
    assert site.keys()[1] not in worker.log()
    assert worker.stop() == 0


def test_new_keys_in_the_file_are_taken_when_the_old_ones_are_refused(site):
    """An administrator changes the keys of the service, and the file of the pool: no restart."""
    pool = Pool(site)
    ports = pool.sqs_role.port, pool.s3_role.port
    pool.submit("one", smelt.sample("dog-1.jpg"))
    assert pool.result("one")["status"] == "succeeded"
    for role in (pool.sqs_role, pool.s3_role):
        assert role.stop() == 0
    os.remove(os.path.join(site.data, "credentials"))
    sqs, s3 = site.role("sqs", port=ports[0]), site.role("s3", port=ports[1])  # makes others
    pool.sqs, pool.s3 = site.client("sqs", sqs.url), site.client("s3", s3.url)
    pool.submit("two", smelt.sample("dog-2.jpg"))
    assert pool.result("two", 90)["status"] == "succeeded"


def certificate(folder):
    key, cert = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


def test_tls_is_verified(fake, tmp_path):
    cert, context = certificate(tmp_path)
    service = fake(tls=context)
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL_SQS": service.url}
    refused = queue_list(tmp_path, **keys)
    assert refused.returncode == 1 and "certificate" in refused.stderr
    assert service.asked == []  # nothing was sent to somebody unknown
    known = queue_list(tmp_path, AWS_CA_BUNDLE=cert, **keys)
    assert known.returncode == 0, known.stderr
    name = queue_list(tmp_path, "--sqs-endpoint", service.url.replace("127.0.0.1", "localhost"), AWS_CA_BUNDLE=cert,
                      **keys)
    assert name.returncode == 1 and "certificate" in name.stderr  # it is another host's


# --- services that are not ours ---

FOREIGN = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER", "AWS_REGION": "eu-central-1"}


@pytest.fixture
def s3rver(tmp_path):
    """s3rver, an S3 server of npm, which checks signatures and knows no conditional writes."""
    port = smelt.free_port()
    program = os.path.join(smelt.ROOT, "tests/system/node_modules/s3rver/bin/s3rver.js")
    process = subprocess.Popen(["node", program, "-d", str(tmp_path / "s3rver"), "-a", "127.0.0.1", "-p", str(port),
                                "-s", "--no-vhost-buckets"], stdin=subprocess.DEVNULL)
    client = boto3.client("s3", endpoint_url="http://127.0.0.1:%d" % port, region_name="eu-central-1",
                          aws_access_key_id="S3RVER", aws_secret_access_key="S3RVER",
                          config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}))
    client.url = "http://127.0.0.1:%d" % port

    def answers():
        try:
            return client.list_buckets()
        except botocore.exceptions.EndpointConnectionError:
            return None
    try:
        smelt.wait_until(answers, 30, "s3rver")
        yield client
    finally:
        process.kill()
        process.wait()


def test_gateway_and_pool_on_a_foreign_store(site, s3rver, tmp_path):
    """Other keys, another region, endpoints from the environment. The store writes whatever the condition: a
    message that comes again still does not replace the result."""
    keys = tmp_path / "keys"
    keys.write_text("[default]\naws_access_key_id = S3RVER\naws_secret_access_key = S3RVER\n")
    keys.chmod(0o600)
    sqs = site.role("sqs", "--credentials", str(keys), "--region", "eu-central-1")
    environment = {**FOREIGN, "AWS_ENDPOINT_URL_SQS": sqs.url, "AWS_ENDPOINT_URL_S3": s3rver.url,
                   "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    worker = site.start(["worker"], environment)
    gateway = site.start(["gateway", "--gateway-listen", "127.0.0.1:0"], environment)
    status, _, job = smelt.http("POST", gateway.url + "/v1/jobs?wait=30", smelt.sample("dog-1.jpg"),
                                {"Content-Type": "image/jpeg"})
    assert status == 200 and job["status"] == "succeeded" and job["result"]["groups"]["dog"]["present"]
    name = "results/%s.json" % job["id"]
    etag = s3rver.head_object(Bucket="smelt", Key=name)["ETag"]
    assert worker.stop() == 0

    queue = boto3.client("sqs", endpoint_url=sqs.url, region_name="eu-central-1", aws_access_key_id="S3RVER",
                         aws_secret_access_key="S3RVER")
    url = queue.get_queue_url(QueueName="smelt-jobs")["QueueUrl"]
    queue.send_message(QueueUrl=url, MessageBody=json.dumps(
        {"v": 1, "id": job["id"], "model": "", "input": {"bucket": "smelt", "key": "inbox/" + job["id"]}}))
    assert len(queue.receive_message(QueueUrl=url, VisibilityTimeout=0, WaitTimeSeconds=10)["Messages"]) == 1
    worker = site.start(["worker"], environment)

    def empty():
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = queue.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return all(got[n] == "0" for n in names)
    smelt.wait_until(empty, 60, "the second message's end")
    assert s3rver.head_object(Bucket="smelt", Key=name)["ETag"] == etag
    assert worker.stop() == 0 and gateway.stop() == 0
