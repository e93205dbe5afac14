"""Command-line clients of others: awscli and, where it is installed, s3cmd."""
import os
import shutil
import subprocess

import pytest

import smelt


@pytest.fixture
def s3(site):
    site.s3 = site.role("s3")
    return site.client("s3", site.s3.url)


def aws(site, *args, code=0):
    done = subprocess.run(["/usr/bin/aws", "--endpoint-url", site.s3.url] + list(args),
                          capture_output=True, text=True, timeout=120, env=site.aws_environment())
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_awscli(site, s3, tmp_path):
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(os.urandom(200_000))
    (folder / "sub" / "b c.txt").write_bytes(b"hello")
    aws(site, "s3", "mb", "s3://bucket")
    aws(site, "s3", "cp", str(folder / "a.jpg"), "s3://bucket/a.jpg")
    head = s3.head_object(Bucket="bucket", Key="a.jpg")
    assert head["ContentType"] == "image/jpeg" and head["ContentLength"] == 200_000
    aws(site, "s3", "sync", str(folder), "s3://bucket/copy")
    listing = aws(site, "s3", "ls", "--recursive", "s3://bucket")
    assert [line.split(None, 3)[3] for line in listing.splitlines()] == [
        "a.jpg", "copy/a.jpg", "copy/sub/b c.txt"]
    assert "PRE copy/" in aws(site, "s3", "ls", "s3://bucket")
    assert "bucket" in aws(site, "s3", "ls")
    back = tmp_path / "back"
    aws(site, "s3", "sync", "s3://bucket/copy", str(back))
    for name in ("a.jpg", "sub/b c.txt"):
        assert (back / name).read_bytes() == (folder / name).read_bytes()
    assert aws(site, "s3", "sync", str(folder), "s3://bucket/copy") == ""  # nothing has changed
    url = aws(site, "s3", "presign", "s3://bucket/copy/sub/b c.txt").strip()
    assert smelt.http("GET", url)[2] == b"hello"
    aws(site, "s3", "rm", "--recursive", "s3://bucket")
    aws(site, "s3", "rb", "s3://bucket")
    assert s3.list_buckets()["Buckets"] == []


def test_awscli_reads_from_standard_input(site, s3):
    s3.create_bucket(Bucket="bucket")
    done = subprocess.run(["/usr/bin/aws", "--endpoint-url", site.s3.url, "s3", "cp", "-", "s3://bucket/k"],
                          input=b"from a pipe", capture_output=True, timeout=120, env=site.aws_environment())
    assert done.returncode == 0, done.stderr
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"from a pipe"


@pytest.mark.skipif(shutil.which("s3cmd") is None, reason="s3cmd is not installed")
def test_s3cmd_signs_by_itself(site, s3, tmp_path):
    access, secret = site.keys()
    config = tmp_path / "s3cfg"
    host = "127.0.0.1:%d" % site.s3.port
    config.write_text("[default]\naccess_key=%s\nsecret_key=%s\nhost_base=%s\nhost_bucket=%s\n"
                      "use_https=False\nsignature_v2=False\n" % (access, secret, host, host))

    def s3cmd(*args):
        done = subprocess.run(["s3cmd", "-c", str(config)] + list(args), capture_output=True, text=True,
                              timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    picture = tmp_path / "a b.bin"
    picture.write_bytes(os.urandom(100_000))
    s3cmd("mb", "s3://bucket")
    s3cmd("put", str(picture), "s3://bucket/in/a b.bin")
    s3cmd("get", "s3://bucket/in/a b.bin", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == picture.read_bytes()
    s3cmd("del", "s3://bucket/in/a b.bin")
    assert "KeyCount" not in s3cmd("ls") and s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0
