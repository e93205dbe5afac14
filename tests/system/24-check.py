"""`smelt check` on data directories that the real roles have written, whole and damaged."""
import glob
import json
import os
import shutil
import subprocess

import pytest

import smelt


def run(*args, code=0):
    done = subprocess.run([smelt.PROGRAM, "check"] + list(args), capture_output=True, text=True, timeout=120)
    assert done.returncode == code, (args, done.stdout, done.stderr)
    return done


def tree(folder):
    """Every file with its bytes' sum and time of change: what a look must leave alone."""
    out = {}
    for path in glob.glob(folder + "/**", recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                out[path] = (hash(f.read()), os.stat(path).st_mtime_ns)
    return out


@pytest.fixture
def data(site):
    """Queues with messages in every state, objects of both kinds; the servers were killed."""
    sqs_role, s3_role = site.role("sqs"), site.role("s3")
    sqs, s3 = site.client("sqs", sqs_role.url), site.client("s3", s3_role.url)
    queue = sqs.create_queue(QueueName="work")["QueueUrl"]
    for i in range(30):
        sqs.send_message(QueueUrl=queue, MessageBody="message %02d " % i + "x" * 1000,
                         MessageAttributes={"n": {"DataType": "Number", "StringValue": str(i)}})
    got = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=600)["Messages"]
    for message in got[:4]:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    fifo = sqs.create_queue(QueueName="o.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    sqs.send_message(QueueUrl=fifo, MessageBody="ordered", MessageGroupId="g", MessageDeduplicationId="d")
    s3.create_bucket(Bucket="things")
    s3.put_object(Bucket="things", Key="small", Body=b"s" * 100)
    s3.put_object(Bucket="things", Key="large", Body=b"l" * 100000)
    s3.put_object(Bucket="things", Key="larger", Body=b"m" * 200000)
    assert sqs_role.stop() == 0 and s3_role.stop() == 0
    return site.data


def segment(data):
    return os.path.join(data, "sqs", "00000001.seg")


def change(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def find(path, text):
    with open(path, "rb") as f:
        return f.read().index(text)


def body_file(data, size):
    return next(p for p in glob.glob(data + "/s3/blobs/*/*") if os.path.getsize(p) == size)


def test_whole(data):
    before = tree(data)
    text = run(data, "--deep").stdout
    assert "all is whole" in text and "3 objects with 300100 bytes, 2 body files" in text
    lines = [json.loads(line) for line in run(data, "--json").stdout.splitlines()]
    queues = {q["queue"]: (q["visible"], q["in_flight"]) for q in lines if "queue" in q}
    assert queues == {"work": (20, 6), "o.fifo": (1, 0)}
    assert sum(s["live"] for s in lines if "segment" in s) >= 27
    assert not [line for line in lines if "damage" in line]
    assert tree(data) == before  # not even a time


def test_a_running_server_owns_it(site, data):
    role = site.role("sqs")
    said = run(data, code=1).stderr
    assert "in use by a running smelt (pid %d)" % role.pid in said
    role.stop()
    run(data)


def test_dump_is_what_peek_shows(data):
    messages = [json.loads(line) for line in run(data, "--dump").stdout.splitlines()]
    work = [m for m in messages if m["Queue"] == "work"]
    assert len(messages) == 27 and len(work) == 26
    assert sorted(m["State"] for m in work) == ["inflight"] * 6 + ["visible"] * 20
    assert work[-1]["Body"].startswith("message 29 ")
    assert work[-1]["MessageAttributes"] == {"n": {"DataType": "Number", "StringValue": "29"}}
    assert all(int(m["Attributes"]["SentTimestamp"]) > 1.6e12 for m in messages)
    (fifo,) = [json.loads(line) for line in run("--dump", data, "o.fifo").stdout.splitlines()]
    assert fifo["Attributes"]["MessageGroupId"] == "g"
    assert "no queue 'nowhere'" in run("--dump", data, "nowhere", code=1).stderr


def test_a_flipped_bit_is_named_and_the_rest_can_be_saved(site, data):
    at = find(segment(data), b"message 15 ")
    change(segment(data), at, b"M")
    before = tree(data)
    text = run(data, code=1).stdout
    assert "DAMAGE sqs/00000001.seg, offset " in text and "good ones follow" in text
    lines = [json.loads(line) for line in run(data, "--json", code=1).stdout.splitlines()]
    (damage,) = [line for line in lines if "damage" in line]
    assert damage["at"] < at < damage["at"] + damage["bytes"]
    done = run(data, "--dump", code=1)
    numbers = [json.loads(line)["Body"][8:10] for line in done.stdout.splitlines()]
    assert numbers == ["%02d" % i for i in range(15)] and "--skip-bad goes on behind it" in done.stderr
    done = run(data, "--dump", "--skip-bad", code=1)
    bodies = [json.loads(line)["Body"] for line in done.stdout.splitlines()]
    numbers = [b[8:10] for b in bodies if b.startswith("message")]
    assert "15" not in numbers and len(numbers) == 25 and "ordered" in bodies
    assert tree(data) == before
    with pytest.raises(smelt.StartError) as refused:  # the server says the same
        site.role("sqs")
    assert "offset %d" % damage["at"] in refused.value.notice


def test_a_torn_tail_is_no_damage(data):
    with open(segment(data), "rb") as f:
        end = len(f.read().rstrip(b"\0"))
    change(segment(data), (end + 15) // 8 * 8, b"half a record")
    text = run(data).stdout
    assert "torn tail of " in text and "all is whole" in text


def test_missing_and_foreign_files(data, tmp_path):
    copy = str(tmp_path / "copy")
    shutil.copytree(data, copy)
    os.unlink(segment(copy))
    assert "DAMAGE sqs/00000001.seg, offset 0: the segment is missing" in run(copy, code=1).stdout
    shutil.rmtree(copy)
    shutil.copytree(data, copy)
    a, b = segment(copy), os.path.join(copy, "sqs", "00000002.seg")
    os.rename(a, a + "x")
    os.rename(b, a)
    os.rename(a + "x", b)
    assert "under the name of another" in run(copy, code=1).stdout
    assert len(run(copy, "--dump", "--skip-bad", code=1).stdout.splitlines()) == 27
    for path in glob.glob(copy + "/sqs/*"):
        change(path, 0, os.urandom(os.path.getsize(path)))
    assert "DAMAGE sqs/manifest" in run(copy, code=1).stdout
    run(copy, "--dump", "--skip-bad", code=1)


def test_damaged_objects(data):
    large, larger = body_file(data, 100000), body_file(data, 200000)
    change(large, 5000, b"?")
    run(data)  # a look at sizes does not see it
    text = run(data, "--deep", code=1).stdout
    assert "DAMAGE s3/s3://things/large: its body was changed on disk" in text
    os.truncate(large, 99999)
    assert "has 99999 bytes instead of 100000" in run(data, code=1).stdout
    os.unlink(larger)
    text = run(data, code=1).stdout
    assert "s3://things/larger: its body file" in text and "No such file" in text
    found = [json.loads(line) for line in run(data, "--json", code=1).stdout.splitlines()]
    assert {d["file"] for d in found if "damage" in d} == {"s3://things/large", "s3://things/larger"}


def test_files_of_no_object_are_named(data):
    large = body_file(data, 100000)
    other = os.path.join(os.path.dirname(large), "%016x" % 0x10000000abc)
    shutil.copy(large, other)
    text = run(data).stdout
    assert "left over: blobs/" in text and "00000010000000abc"[1:] in text


@pytest.mark.parametrize("kind", ["cut", "zeros", "noise", "garbage"])
def test_a_damaged_catalog_is_no_crash(data, kind):
    path = os.path.join(data, "s3", "data.mdb")
    size = os.path.getsize(path)
    if kind == "cut":
        os.truncate(path, 8192)
    elif kind == "zeros":
        change(path, 8192, b"\0" * (size - 8192))
    elif kind == "noise":
        change(path, 8192, bytes(range(256)) * ((size - 8192) // 256))
    else:
        change(path, 0, os.urandom(8192))
    text = run(data, code=1).stdout
    assert "DAMAGE s3/data.mdb" in text


def test_keys_that_others_may_read(data):
    os.chmod(os.path.join(data, "credentials"), 0o644)
    assert "chmod 600" in run(data, code=1).stdout


def test_not_a_data_directory(tmp_path):
    assert "no data directory of smelt" in run(str(tmp_path), code=1).stderr
    assert "no data directory of smelt" in run(str(tmp_path / "nowhere"), code=1).stderr
    (tmp_path / "sqs").write_text("a file")
    run(str(tmp_path), code=1)
    assert "needs the data directory" in run(code=2).stderr
    assert "only with --dump" in run(str(tmp_path), "queue", code=2).stderr
