#!/usr/bin/python3
"""Writes sigv4_golden.h: requests signed by botocore (Debian's python3-botocore) for fixed keys and time.

Run again only to add cases: tests/unit/sigv4_golden.py > tests/unit/sigv4_golden.h
"""
import datetime
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth as auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TOKEN = Credentials("AKIDTOKEN", "token/secret+key", "a/session+token==with~marks")
NOW = datetime.datetime(2026, 1, 31, 12, 0, 0)

S3 = "http://127.0.0.1:9000"
SQS = "http://sqs.us-east-1.amazonaws.com"
# name, service, credentials, method, url, headers, body (None: unsigned payload), presign
CASES = [
    ("sqs send", "sqs", KEY, "POST", SQS + "/", {"Content-Type": "application/x-amz-json-1.0",
     "X-Amz-Target": "AmazonSQS.SendMessage", "x-amzn-query-mode": "true"}, b'{"MessageBody":"x"}', 0),
    ("sqs query", "sqs", KEY, "POST", "http://localhost:9324/000000000000/q",
     {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, b"Action=ReceiveMessage", 0),
    ("sqs path to normalise", "sqs", KEY, "POST", SQS + "/a//./b/../c%20d/", {}, b"", 0),
    ("sqs get", "sqs", KEY, "GET", SQS + "/1/q?Action=SendMessage&MessageBody=a%20b%2Bc&Version=2012-11-05", {}, b"", 0),
    ("sqs token", "sqs", TOKEN, "POST", SQS + "/", {"Content-Type": "a/b"}, b"body", 0),
    ("sqs presigned", "sqs", KEY, "GET", SQS + "/1/q?Action=ListQueues", {}, b"", 300),
    ("s3 plain", "s3", KEY, "GET", S3 + "/bucket/key", {}, b"", 0),
    ("s3 unsigned payload", "s3", KEY, "PUT", S3 + "/bucket/key", {"Content-Type": "image/jpeg", "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, None, 0),
    ("s3 repeated header", "s3", KEY, "GET", S3 + "/bucket/key", {"x-amz-many": ["b", "a ", " c  d"]}, b"", 0),
    ("s3 put", "s3", KEY, "PUT", S3 + "/bucket/key", {"x-amz-meta-Mixed-Case": "  two  spaces \t and tab  ",
     "If-None-Match": "*"}, b"some bytes", 0),
    ("s3 odd path", "s3", KEY, "GET", S3 + "/b/a%20b//c%2Fd/../%C3%A9%E2%82%AC~!%27%28%29%2A%2B%3D%40%24%26%2C%3A%3B", {}, b"", 0),
    ("s3 dots stay", "s3", KEY, "GET", S3 + "/b/./../x/.", {}, b"", 0),
    ("s3 empty values", "s3", KEY, "GET", S3 + "/b?uploads", {}, b"", 0),
    ("s3 listing", "s3", KEY, "GET", S3 + "/b?list-type=2&prefix=&delimiter=%2F&max-keys=5&start-after=a%20b", {}, b"", 0),
    ("s3 query order", "s3", KEY, "GET", S3 + "/b?b=2&a-b=1&a=9&a=10&B=0&a~b=~&c", {}, b"", 0),
    ("s3 token", "s3", TOKEN, "GET", S3 + "/bucket/key", {}, b"", 0),
    ("s3 presigned", "s3", KEY, "GET", S3 + "/bucket/key", {}, None, 3600),
    ("s3 presigned put", "s3", KEY, "PUT", S3 + "/bucket/a%20b", {"Content-Type": "image/png"}, None, 60),
    ("s3 presigned query", "s3", KEY, "GET", S3 + "/bucket/key?response-content-type=text%2Fplain&x-id=GetObject", {}, None, 604800),
    ("s3 presigned token", "s3", TOKEN, "GET", S3 + "/bucket/key", {}, None, 3600),
    ("s3 https port", "s3", KEY, "GET", "https://s3.eu-central-1.amazonaws.com/b/k", {}, b"", 0),
]


def c(text):
    out = ""
    for byte in text.encode():
        char = chr(byte)
        out += "\\" + char if char in '"\\' else char if 32 <= byte < 127 else '\\%03o' % byte
    return '"%s"' % out


def signer(service, credentials, presign):
    region = "eu-central-1" if service == "s3" else "us-east-1"
    if presign:
        kind = auth.S3SigV4QueryAuth if service == "s3" else auth.SigV4QueryAuth
        return kind(credentials, service, region, expires=presign)
    return (auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth)(credentials, service, region)


def payload(case_body, request, service, presign):
    if service == "s3" and (presign or case_body is None):
        return "UNSIGNED-PAYLOAD"
    import hashlib
    return hashlib.sha256(case_body or b"").hexdigest()


def main():
    print("// Written by sigv4_golden.py; do not edit.")
    print("static const struct golden golden[] = {")
    for name, service, credentials, method, url, headers, body, presign in CASES:
        request = AWSRequest(method=method, url=url, data=body)
        for key, value in headers.items():
            for one in value if isinstance(value, list) else [value]:
                request.headers.add_header(key, one)
        if body is None and not presign:  # what botocore does over https with a stream
            request.context["has_streaming_input"] = True
            request.url = url.replace("http://127.0.0.1:9000", "https://127.0.0.1:9000")
        with mock.patch("botocore.auth.datetime") as fake:
            fake.datetime.utcnow.return_value = NOW
            signer(service, credentials, presign).add_auth(request)
        parts = urlsplit(request.url)
        lines = [("Host", urlsplit(url).netloc)] + list(request.headers.items())
        print("    {%s, %s, %s, %s, %s, %s,\n     {" % (
            c(name), c(service), c(method), c(parts.path), c(parts.query),
            c(payload(body, request, service, presign))), end="")
        print(",\n      ".join("{%s, %s}" % (c(k), c(v)) for k, v in lines), end="")
        print("}},")
    print("};")


main()
