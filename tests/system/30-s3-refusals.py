"""What the s3 role must refuse, clearly and without leaving anything behind."""
import datetime
import hashlib
import hmac
import os
import socket
import struct
import subprocess
import zlib
from base64 import b64encode

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import smelt


@pytest.fixture
def s3(site):
    site.s3 = site.role("s3")
    client = site.client("s3", site.s3.url, signature_version="s3v4")
    client.create_bucket(Bucket="bucket")
    return client


def call(site, method, path, body=b"", headers=None, **changes):
    """A signed request; `changes` are headers set after signing. (status, S3 code or "", body)"""
    url = site.s3.url + path
    url, signed = site.sign("s3", method, url, body, headers)
    signed.update({k.replace("_", "-"): v for k, v in changes.items()})
    status, got, answer = smelt.http(method, url, body or None, signed)
    if answer and got.get("Content-Type") == "application/xml":
        assert got["x-amz-request-id"].encode() in answer
    code = answer.split(b"<Code>")[1].split(b"</Code>")[0].decode() if b"<Code>" in answer else ""
    return status, code, answer


def keys_of(s3):
    return [o["Key"] for o in s3.list_objects_v2(Bucket="bucket").get("Contents", [])]


def body_files(site):
    """Body files with bytes in them (those kept ready are empty)."""
    out = []
    for folder, _, names in os.walk(os.path.join(site.data, "s3", "blobs")):
        out += [n for n in names if os.path.getsize(os.path.join(folder, n)) > 0]
    return out


# --- signatures ---

def test_wrong_keys(site, s3):
    access, secret = site.keys()
    for keys, code in (((access, "x" * len(secret)), "SignatureDoesNotMatch"),
                       (("AKIANOBODY", secret), "InvalidAccessKeyId")):
        request = botocore.awsrequest.AWSRequest("GET", site.s3.url + "/bucket?list-type=2")
        botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(*keys), "s3", smelt.REGION).add_auth(request)
        status, _, body = smelt.http("GET", request.url, None, dict(request.headers))
        assert status == 403 and ("<Code>%s</Code>" % code).encode() in body


def test_tampering(site, s3):
    assert call(site, "PUT", "/bucket/k", b"body")[0] == 200
    assert call(site, "PUT", "/bucket/k", b"body", x_amz_meta_evil="1")[0] in (400, 403)
    assert call(site, "PUT", "/bucket/k", b"body", x_amz_content_sha256="0" * 64)[0] == 403
    assert call(site, "PUT", "/bucket/k", b"body", Authorization="AWS4-HMAC-SHA256 nonsense")[:2] == (
        400, "AuthorizationHeaderMalformed")
    assert call(site, "PUT", "/bucket/k", b"body", Authorization="AWS4-ECDSA-P256-SHA256 x")[0] in (400, 403)


def test_body_that_is_not_the_signed_one(site, s3):
    url, headers = site.sign("s3", "PUT", site.s3.url + "/bucket/k", b"signed body")
    status, _, body = smelt.http("PUT", url, b"forged body", headers)
    assert status == 400 and b"<Code>XAmzContentSHA256Mismatch</Code>" in body
    url, headers = site.sign("s3", "PUT", site.s3.url + "/bucket/k", b"s" * 100_000)
    status, _, body = smelt.http("PUT", url, b"f" * 100_000, headers)
    assert status == 400 and b"<Code>XAmzContentSHA256Mismatch</Code>" in body
    assert keys_of(s3) == []
    smelt.wait_until(lambda: body_files(site) == [], what="the forged body's file gone")


def signed_at(site, path, when):
    """A GET signed at another time, with the standard library alone."""
    access, secret = site.keys()
    stamp, day = when.strftime("%Y%m%dT%H%M%SZ"), when.strftime("%Y%m%d")
    host, empty = "127.0.0.1:%d" % site.s3.port, hashlib.sha256(b"").hexdigest()
    names = "host;x-amz-content-sha256;x-amz-date"
    canonical = "GET\n%s\n\nhost:%s\nx-amz-content-sha256:%s\nx-amz-date:%s\n\n%s\n%s" % (
        path, host, empty, stamp, names, empty)
    scope = "%s/us-east-1/s3/aws4_request" % day
    text = "AWS4-HMAC-SHA256\n%s\n%s\n%s" % (stamp, scope, hashlib.sha256(canonical.encode()).hexdigest())
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return smelt.http("GET", site.s3.url + path, None, {
        "x-amz-date": stamp, "x-amz-content-sha256": empty,
        "Authorization": "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
            access, scope, names, signature)})


def test_clocks(site, s3):
    now = datetime.datetime.utcnow()
    assert signed_at(site, "/", now)[0] == 200
    assert signed_at(site, "/", now - datetime.timedelta(minutes=14))[0] == 200
    for minutes in (-16, 16):
        status, _, body = signed_at(site, "/", now + datetime.timedelta(minutes=minutes))
        assert status == 403 and b"<Code>RequestTimeTooSkewed</Code>" in body


def test_presigned_limits(site, s3):
    def url(seconds):
        return s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"},
                                         ExpiresIn=seconds)
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    assert smelt.http("GET", url(60))[0] == 200
    status, _, body = smelt.http("GET", url(604801))
    assert status == 400 and b"<Code>AuthorizationQueryParametersError</Code>" in body
    # an old one: dated an hour ago, good for a minute
    request = botocore.awsrequest.AWSRequest("GET", site.s3.url + "/bucket/k")
    auth = botocore.auth.S3SigV4QueryAuth(botocore.credentials.Credentials(*site.keys()), "s3",
                                          smelt.REGION, expires=60)
    real = botocore.auth.datetime

    class HourAgo(datetime.datetime):
        @classmethod
        def utcnow(cls):
            return datetime.datetime.utcnow() - datetime.timedelta(hours=1)

    botocore.auth.datetime = type("module", (), {"datetime": HourAgo})
    try:
        auth.add_auth(request)
    finally:
        botocore.auth.datetime = real
    status, _, body = smelt.http("GET", request.url)
    assert status == 403 and b"<Code>AccessDenied</Code>" in body and b"xpired" in body


# --- names, limits, what is not served ---

def test_names_and_limits(site, s3):
    assert call(site, "PUT", "/Bad_Name")[:2] == (400, "InvalidBucketName")
    assert call(site, "PUT", "/" + "a" * 64)[:2] == (400, "InvalidBucketName")
    assert call(site, "PUT", "/bucket/" + "k" * 1025, b"x")[:2] == (400, "KeyTooLongError")
    assert call(site, "GET", "/bucket/" + "k" * 1025)[:2] == (400, "KeyTooLongError")
    assert call(site, "PUT", "/bucket/%00", b"x")[:2] == (400, "InvalidURI")
    assert call(site, "PUT", "/bucket/%FF", b"x")[:2] == (400, "InvalidURI")
    assert call(site, "PUT", "/bucket/k", b"x", {"x-amz-meta-a": "v" * 2000})[0] == 200
    assert call(site, "PUT", "/bucket/k2", b"x", {"x-amz-meta-a": "v" * 2048})[:2] == (
        400, "MetadataTooLarge")
    assert call(site, "PUT", "/bucket/k2", b"x", {"Content-Type": "v" * 9000})[:2] == (
        400, "MetadataTooLarge")
    assert call(site, "POST", "/bucket", b"<Delete>" + b" " * (3 << 20) + b"</Delete>",
                {"x-amz-x": "y"})[0] in (400, 501)
    assert keys_of(s3) == ["k"]


@pytest.mark.parametrize("method,path,headers", [
    ("GET", "/bucket?acl", {}),
    ("GET", "/bucket?versions", {}),
    ("GET", "/bucket?uploads", {}),
    ("GET", "/bucket", {}),
    ("PUT", "/bucket?notification", {}),
    ("POST", "/bucket/k?uploads", {}),
    ("PUT", "/bucket/k?partNumber=1&uploadId=x", {}),
    ("GET", "/bucket/k?versionId=abc", {}),
    ("PUT", "/bucket/k2", {"x-amz-copy-source": "/bucket/k"}),
    ("PUT", "/bucket/k2", {"x-amz-server-side-encryption": "aws:kms"}),
    ("PUT", "/bucket/k2", {"x-amz-acl": "public-read"}),
    ("PUT", "/bucket/k2", {"x-amz-storage-class": "GLACIER"}),
])
def test_not_served(site, s3, method, path, headers):
    assert call(site, method, path, b"", headers)[:2] == (501, "NotImplemented")
    assert keys_of(s3) == []


def test_xml_tricks(site, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    for body in (b"", b"<", b"<Delete/>", b"<Remove><Object><Key>k</Key></Object></Remove>",
                 b"<Delete><Object/></Delete>",
                 b"<Delete><Object><Key>k</Key><VersionId>3</VersionId></Object></Delete>",
                 b'<!DOCTYPE d [<!ENTITY e "k">]><Delete><Object><Key>&e;</Key></Object></Delete>',
                 b'<!DOCTYPE d SYSTEM "file:///etc/passwd"><Delete><Object><Key>k</Key></Object></Delete>'):
        assert call(site, "POST", "/bucket?delete", body)[:2] == (400, "MalformedXML"), body
    assert keys_of(s3) == ["k"]
    assert call(site, "POST", "/bucket?delete", b"<Delete><Object><Key>k</Key></Object></Delete>",
                {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})[:2] == (400, "BadDigest")
    assert keys_of(s3) == ["k"]


# --- raw sockets ---

def raw(site, data, close=False, timeout_s=20):
    """Sends bytes; the answer, or b"" when we close first."""
    with socket.create_connection(("127.0.0.1", site.s3.port), timeout_s) as s:
        s.sendall(data)
        if close:  # reset, as a dying client does
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b""
        return s.recv(65536)


def head_of(site, method, path, body, extra=None):
    url, headers = site.sign("s3", method, site.s3.url + path, body, extra)
    headers["Host"] = "127.0.0.1:%d" % site.s3.port
    return ("%s %s HTTP/1.1\r\n" % (method, path) +
            "".join("%s: %s\r\n" % item for item in headers.items())).encode()


def test_truncated_uploads_store_nothing(site, s3):
    body = os.urandom(300_000)
    s3.put_object(Bucket="bucket", Key="old", Body=b"old")
    for key in ("old", "new"):
        head = head_of(site, "PUT", "/bucket/" + key, body) + b"Content-Length: 300000\r\n\r\n"
        for sent in (0, 1, 5000, 299_999):
            raw(site, head + body[:sent], close=True)
    smelt.wait_until(lambda: body_files(site) == [], what="the pieces' files gone")
    assert keys_of(s3) == ["old"]
    assert s3.get_object(Bucket="bucket", Key="old")["Body"].read() == b"old"


def test_lengths(site, s3):
    head = head_of(site, "PUT", "/bucket/k", b"")
    assert b"411" in raw(site, head + b"\r\n").split(b"\r\n")[0]
    assert raw(site, head + b"Content-Length: x\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(site, head + b"Content-Length: 6442450944\r\n\r\n").find(b"EntityTooLarge") > 0
    assert raw(site, head + b"X: " + b"y" * 40_000 + b"\r\nContent-Length: 0\r\n\r\n").startswith(
        b"HTTP/1.1 431")
    assert raw(site, b"nonsense\r\n\r\n")[:12] in (b"HTTP/1.1 400", b"HTTP/1.0 400", b"")
    assert keys_of(s3) == []


def test_refused_before_the_body_is_sent(site, s3):
    body = b"x" * 100_000
    head = head_of(site, "PUT", "/no-such-bucket/k", body)
    answer = raw(site, head + b"Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404") and b"NoSuchBucket" in answer


# --- bodies in aws-chunked coding ---

def chunked_put(site, key, pieces, trailer=b"", decoded=None, announce="x-amz-checksum-crc32"):
    body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n" + trailer + b"\r\n"
    headers = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "Content-Encoding": "aws-chunked",
               "x-amz-decoded-content-length": str(sum(map(len, pieces)) if decoded is None else decoded)}
    if announce:
        headers["x-amz-trailer"] = announce
    request = botocore.awsrequest.AWSRequest("PUT", site.s3.url + "/bucket/" + key, data=body, headers=headers)

    class Auth(botocore.auth.S3SigV4Auth):
        def payload(self, request):
            return "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

        def _should_sha256_sign_payload(self, request):
            return False

    Auth(botocore.credentials.Credentials(*site.keys()), "s3", smelt.REGION).add_auth(request)
    sent = dict(request.headers)
    sent["X-Amz-Content-SHA256"] = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    status, _, answer = smelt.http("PUT", request.url, body, sent)
    return status, answer


def crc_trailer(body):
    return b"x-amz-checksum-crc32:" + b64encode(zlib.crc32(body).to_bytes(4, "big")) + b"\r\n"


def test_aws_chunked(site, s3):
    pieces = [os.urandom(70_000), b"x", os.urandom(5000)]
    body = b"".join(pieces)
    assert chunked_put(site, "k", pieces, crc_trailer(body))[0] == 200
    got = s3.get_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert got["Body"].read() == body and got["ChecksumCRC32"] and "ContentEncoding" not in got
    assert chunked_put(site, "empty", [], crc_trailer(b""))[0] == 200
    for trailer, decoded, code in ((crc_trailer(b"other"), None, b"BadDigest"),
                                   (b"", None, b"MalformedTrailerError"),
                                   (crc_trailer(body), len(body) + 1, b"IncompleteBody"),
                                   (b"no trailer\r\n", None, b"InvalidRequest")):
        status, answer = chunked_put(site, "bad", pieces, trailer, decoded)
        assert status == 400 and b"<Code>" + code + b"</Code>" in answer
    assert keys_of(s3) == ["empty", "k"]


# --- the start, the disk ---

def test_clear_start_errors(site, s3):
    with pytest.raises(smelt.StartError, match="in use by another smelt"):
        site.role("s3")
    with pytest.raises(smelt.StartError, match="--s3-listen"):
        smelt.Site(os.path.join(site.folder, "other")) and site.start([
            "s3", "--data", os.path.join(site.folder, "second"), "--s3-listen",
            "127.0.0.1:%d" % site.s3.port])


def small_disk(folder):
    os.makedirs(folder)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", folder], capture_output=True)
    if done.returncode != 0:
        pytest.skip("mounting a small disk needs root")


def test_full_disk(site):
    small_disk(site.data)
    try:
        role = site.role("s3")
        s3 = site.client("s3", role.url)
        s3.create_bucket(Bucket="bucket")
        site.s3 = role
        stored, body = [], os.urandom(1_500_000)
        while True:
            status, code, _ = call(site, "PUT", "/bucket/k%d" % len(stored), body)
            if status != 200:
                break
            stored.append("k%d" % len(stored))
        assert (status, code) == (507, "InsufficientStorage") and 2 <= len(stored) <= 16
        small = 0
        while call(site, "PUT", "/bucket/small%d" % small, b"x" * 4000)[0] == 200:
            small += 1
        assert keys_of(s3) == sorted(stored + ["small%d" % i for i in range(small)])
        for key in stored:
            assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == body
        role.kill()
        site.s3 = site.role("s3", port=role.port)  # it also starts on a full disk
        for key in stored:
            s3.delete_object(Bucket="bucket", Key=key)
        smelt.wait_until(lambda: len(body_files(site)) == 0, what="the bodies' files gone")
        assert call(site, "PUT", "/bucket/again", body)[0] == 200  # without a restart
        assert s3.get_object(Bucket="bucket", Key="again")["Body"].read() == body
    finally:
        site.stop()
        subprocess.run(["umount", site.data], check=True)


def test_damaged_body_is_not_sent(site, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"a" * 100_000)
    (name,) = body_files(site)
    for folder, _, names in os.walk(os.path.join(site.data, "s3", "blobs")):
        if name in names:
            with open(os.path.join(folder, name), "r+b") as f:
                f.seek(77_777)
                f.write(b"b")
    status, code, body = call(site, "GET", "/bucket/k")
    assert (status, code) == (500, "InternalError") and b"damaged" in body
    assert call(site, "GET", "/bucket/k", b"", {"Range": "bytes=0-10"})[0] == 500
    assert b"smelt_s3_damaged_total 2" in smelt.http("GET", site.s3.url + "/-/metrics")[2]
