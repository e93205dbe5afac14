#!/usr/bin/env python3
"""A handler for smelt: kind, size and digest of whatever was sent.  smelt serve --exec 'python3 sizes.py'"""
import hashlib
import json
import sys

KINDS = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"RIFF": "webp"}
read, write = sys.stdin.buffer, sys.stdout.buffer


def answer(word, text):
    body = text.encode()
    write.write(b"%s %d\n%s" % (word, len(body), body))
    write.flush()


write.write(b"ready\n")  # after all imports and models are loaded
write.flush()
for line in read:  # b"job JSON_BYTES PICTURE_BYTES\n"
    _, json_bytes, picture_bytes = line.split()
    job, picture = json.loads(read.read(int(json_bytes))), read.read(int(picture_bytes))
    kind = next((k for magic, k in KINDS.items() if picture.startswith(magic)), None)
    if kind is None:
        answer(b"failed", "%s is no picture" % job["key"])
    else:
        answer(b"result", json.dumps({"kind": kind, "bytes": len(picture), "id": job["id"],
                                      "sha256": hashlib.sha256(picture).hexdigest()}))
