"""The s3 role through boto3 and plain HTTP: buckets, objects, ranges, conditions, checksums."""
import base64
import concurrent.futures
import hashlib
import os
import zlib

import botocore.exceptions
import pytest

import smelt


@pytest.fixture
def s3(site):
    site.s3 = site.role("s3")
    client = site.client("s3", site.s3.url, signature_version="s3v4")
    client.create_bucket(Bucket="bucket")
    return client


def code_of(call, **arguments):
    """(HTTP status, S3 code) of a call that must fail."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def body_of(answer):
    return answer["Body"].read()


def test_buckets(site, s3):
    assert code_of(s3.create_bucket, Bucket="bucket") == (409, "BucketAlreadyOwnedByYou")
    s3.create_bucket(Bucket="another.one", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["another.one", "bucket"]
    s3.head_bucket(Bucket="bucket")
    assert code_of(s3.head_bucket, Bucket="nothing-here")[0] == 404
    assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] is None
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    assert code_of(s3.delete_bucket, Bucket="bucket") == (409, "BucketNotEmpty")
    s3.delete_object(Bucket="bucket", Key="k")
    s3.delete_bucket(Bucket="bucket")
    assert code_of(s3.delete_bucket, Bucket="bucket") == (404, "NoSuchBucket")
    assert code_of(s3.put_object, Bucket="bucket", Key="k", Body=b"x") == (404, "NoSuchBucket")
    assert code_of(s3.get_object, Bucket="bucket", Key="k") == (404, "NoSuchBucket")
    assert code_of(s3.list_objects_v2, Bucket="bucket") == (404, "NoSuchBucket")


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 200_000, 1 << 20, (1 << 20) + 1, 9_000_000])
def test_round_trip(s3, size):
    body = os.urandom(size)
    put = s3.put_object(Bucket="bucket", Key="k", Body=body, ContentType="image/x",
                        Metadata={"kind": "dog", "n": "1"}, CacheControl="max-age=5",
                        ContentDisposition="attachment", ContentLanguage="de", ContentEncoding="br")
    etag = '"%s"' % hashlib.md5(body).hexdigest()
    assert put["ETag"] == etag
    got = s3.get_object(Bucket="bucket", Key="k")
    assert body_of(got) == body
    head = s3.head_object(Bucket="bucket", Key="k")
    for answer in got, head:
        assert answer["ETag"] == etag
        assert answer["ContentLength"] == size
        assert answer["ContentType"] == "image/x"
        assert answer["Metadata"] == {"kind": "dog", "n": "1"}
        assert answer["CacheControl"] == "max-age=5"
        assert answer["ContentDisposition"] == "attachment"
        assert answer["ContentLanguage"] == "de"
        assert answer["ContentEncoding"] == "br"
        assert answer["AcceptRanges"] == "bytes"
    assert got["LastModified"] == head["LastModified"]


def test_overwrite_and_delete(s3):
    for body in (b"first", os.urandom(100_000), b"third", b""):
        s3.put_object(Bucket="bucket", Key="k", Body=body)
        assert body_of(s3.get_object(Bucket="bucket", Key="k")) == body
    answer = s3.delete_object(Bucket="bucket", Key="k")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert code_of(s3.get_object, Bucket="bucket", Key="k") == (404, "NoSuchKey")
    assert code_of(s3.head_object, Bucket="bucket", Key="k")[0] == 404
    s3.delete_object(Bucket="bucket", Key="k")  # gone already: fine


def test_keys(s3):
    keys = ["a b", "ü/ö", "a+b&c=d?e#f", "%41", "//", "/lead", "trail/", "a/../b", ".", "..", "\x01\x1f",
            "k" * 1024, "ж" * 512, "p" * 500, "p" * 501, "p" * 1000 + "x", "🐶"]
    for key in keys:
        s3.put_object(Bucket="bucket", Key=key, Body=key.encode())
    for key in keys:
        assert body_of(s3.get_object(Bucket="bucket", Key=key)) == key.encode()
    listed = [o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]]
    assert listed == sorted(keys, key=lambda k: k.encode())
    for key in keys:
        s3.delete_object(Bucket="bucket", Key=key)
    assert s3.list_objects_v2(Bucket="bucket")["KeyCount"] == 0
    s3.delete_bucket(Bucket="bucket")


@pytest.mark.parametrize("size", [1000, 100_000, 2_000_000])
def test_ranges(s3, size):
    body = os.urandom(size)
    s3.put_object(Bucket="bucket", Key="k", Body=body)
    for header, begin, end in (("0-0", 0, 1), ("5-99", 5, 100), ("990-", 990, size), ("-10", size - 10, size),
                               ("0-99999999", 0, size), ("-99999999", 0, size)):
        got = s3.get_object(Bucket="bucket", Key="k", Range="bytes=" + header)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["ContentRange"] == "bytes %d-%d/%d" % (begin, end - 1, size)
        assert body_of(got) == body[begin:end]
    assert s3.head_object(Bucket="bucket", Key="k", Range="bytes=1-3")["ContentLength"] == 3
    for header in ("%d-" % size, "-0"):
        assert code_of(s3.get_object, Bucket="bucket", Key="k", Range="bytes=" + header) == (
            416, "InvalidRange")
    whole = s3.get_object(Bucket="bucket", Key="k", Range="bytes=0-1,5-6")  # several: the whole
    assert whole["ResponseMetadata"]["HTTPStatusCode"] == 200 and body_of(whole) == body


def test_conditional_reads(s3):
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket="bucket", Key="k")["LastModified"]
    for call in s3.get_object, s3.head_object:
        call(Bucket="bucket", Key="k", IfMatch=etag)
        call(Bucket="bucket", Key="k", IfNoneMatch='"other"')
        assert code_of(call, Bucket="bucket", Key="k", IfMatch='"other"')[0] == 412
        assert code_of(call, Bucket="bucket", Key="k", IfNoneMatch=etag)[0] == 304
        assert code_of(call, Bucket="bucket", Key="k", IfModifiedSince=modified)[0] == 304
        call(Bucket="bucket", Key="k", IfUnmodifiedSince=modified)
        assert code_of(call, Bucket="bucket", Key="k", IfUnmodifiedSince="2001-01-01")[0] == 412


def signed_put(site, key, body, **headers):
    """PUT with headers that this boto3 does not know: (status, body)."""
    url = site.s3.url + "/bucket/" + key
    url, signed = site.sign("s3", "PUT", url, body, {n.replace("_", "-"): v for n, v in headers.items()})
    status, _, answer = smelt.http("PUT", url, body, signed)
    return status, answer


def test_conditional_writes(site, s3):
    assert signed_put(site, "k", b"one", If_None_Match="*")[0] == 200
    status, answer = signed_put(site, "k", b"two", If_None_Match="*")
    assert status == 412 and b"<Code>PreconditionFailed</Code>" in answer
    assert signed_put(site, "k", b"two", If_None_Match='"some"')[0] == 501
    etag = s3.head_object(Bucket="bucket", Key="k")["ETag"]
    assert signed_put(site, "k", b"two", If_Match='"0123"')[0] == 412
    assert signed_put(site, "k", b"two", If_Match=etag)[0] == 200
    assert signed_put(site, "k", b"three", If_Match=etag)[0] == 412
    assert signed_put(site, "new", b"x", If_Match=etag)[0] == 404
    assert body_of(s3.get_object(Bucket="bucket", Key="k")) == b"two"


@pytest.mark.parametrize("size", [10, 30_000])
def test_exactly_one_of_20_writers_wins(site, s3, size):
    bodies = [os.urandom(size) for _ in range(20)]
    for round_number in range(3):
        key = "race-%d" % round_number
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda b: signed_put(site, key, b, If_None_Match="*")[0], bodies))
        assert sorted(answers) == [200] + [412] * 19
        assert body_of(s3.get_object(Bucket="bucket", Key=key)) == bodies[answers.index(200)]


def test_body_digests(site, s3):
    body = b"hello, world"
    good = {
        "Content_MD5": base64.b64encode(hashlib.md5(body).digest()).decode(),
        "x_amz_checksum_crc32": base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode(),
        "x_amz_checksum_sha1": base64.b64encode(hashlib.sha1(body).digest()).decode(),
        "x_amz_checksum_sha256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
    }
    wrong = base64.b64encode(b"\0" * 64)
    for name, value in good.items():
        key = name.lower()
        assert signed_put(site, key, body, **{name: value})[0] == 200
        bad = base64.b64encode(bytes(len(base64.b64decode(value)))).decode()
        status, answer = signed_put(site, "bad-" + key, body, **{name: bad})
        assert status == 400 and b"<Code>BadDigest</Code>" in answer
        status, answer = signed_put(site, "bad-" + key, body, **{name: wrong.decode()})
        assert status == 400 and (b"InvalidDigest" in answer or b"InvalidRequest" in answer)
        assert code_of(s3.head_object, Bucket="bucket", Key="bad-" + key)[0] == 404
        if name.startswith("x_amz"):
            head = s3.head_object(Bucket="bucket", Key=key, ChecksumMode="ENABLED")
            assert head[{"crc32": "ChecksumCRC32", "sha1": "ChecksumSHA1",
                         "sha256": "ChecksumSHA256"}[key.rsplit("_")[-1]]] == value
    assert signed_put(site, "k", body, x_amz_checksum_sha512="AAAA")[0] == 501


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_boto3_checksums_are_kept_and_checked(s3, algorithm):
    body = os.urandom(100_000)
    put = s3.put_object(Bucket="bucket", Key="k", Body=body, ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert body_of(got) == body  # boto3 checks it
    assert got["Checksum" + algorithm] == put["Checksum" + algorithm]
    part = s3.get_object(Bucket="bucket", Key="k", Range="bytes=0-9", ChecksumMode="ENABLED")
    assert "Checksum" + algorithm not in part and body_of(part) == body[:10]


def test_response_headers_can_be_set_by_query(s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", ContentType="a/b", CacheControl="no-store")
    got = s3.get_object(Bucket="bucket", Key="k", ResponseContentType="image/png",
                        ResponseContentDisposition='attachment; filename="dog.png"')
    assert got["ContentType"] == "image/png" and got["CacheControl"] == "no-store"
    assert got["ContentDisposition"] == 'attachment; filename="dog.png"'


def test_presigned_urls(site, s3):
    put = s3.generate_presigned_url("put_object", Params={"Bucket": "bucket", "Key": "a b/ü"})
    assert smelt.http("PUT", put, b"presigned")[0] == 200
    get = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "a b/ü"})
    status, headers, body = smelt.http("GET", get)
    assert (status, body) == (200, b"presigned") and headers["x-amz-request-id"]
    status, _, body = smelt.http("GET", get.replace("%C3%BC", "x"))
    assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in body
    status, _, body = smelt.http("DELETE", get)
    assert status == 403
    status, _, body = smelt.http("GET", site.s3.url + "/bucket/a")
    assert status == 403 and b"<Code>AccessDenied</Code>" in body


def test_virtual_host_style(site, s3):
    url = "http://bucket.localhost:%d/x/y" % site.s3.port  # not every resolver knows *.localhost
    _, headers = site.sign("s3", "PUT", url, b"virtual")
    headers["Host"] = "bucket.localhost:%d" % site.s3.port
    assert smelt.http("PUT", site.s3.url + "/x/y", b"virtual", headers)[0] == 200
    assert body_of(s3.get_object(Bucket="bucket", Key="x/y")) == b"virtual"


def test_delete_objects(s3):
    for i in range(30):
        s3.put_object(Bucket="bucket", Key="k/%d" % i, Body=os.urandom(5000 if i % 3 == 0 else 10))
    answer = s3.delete_objects(Bucket="bucket", Delete={
        "Objects": [{"Key": "k/%d" % i} for i in range(20)] + [{"Key": "never was"}, {"Key": "a&<b>"}]})
    assert sorted(d["Key"] for d in answer["Deleted"]) == sorted(
        ["k/%d" % i for i in range(20)] + ["never was", "a&<b>"])
    quiet = s3.delete_objects(Bucket="bucket", Delete={
        "Quiet": True, "Objects": [{"Key": "k/%d" % i} for i in range(20, 29)]})
    assert "Deleted" not in quiet and "Errors" not in quiet
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["k/29"]
    assert code_of(s3.delete_objects, Bucket="none-such", Delete={"Objects": [{"Key": "k"}]}) == (
        404, "NoSuchBucket")
    assert code_of(s3.delete_objects, Bucket="bucket", Delete={
        "Objects": [{"Key": "k%d" % i} for i in range(1001)]}) == (400, "MalformedXML")


def test_probes_and_metrics(site, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"12345")
    assert smelt.http("GET", site.s3.url + "/-/livez")[0] == 200
    assert smelt.http("GET", site.s3.url + "/-/readyz")[0] == 200
    text = smelt.http("GET", site.s3.url + "/-/metrics")[2].decode()
    assert 'smelt_s3_requests_total{operation="PutObject"} 1' in text
    assert "smelt_s3_received_bytes_total 5" in text
