"""ListObjectsV2 against a sorted list in Python."""
import concurrent.futures
import random

import botocore.exceptions
import pytest


@pytest.fixture
def s3(site):
    client = site.client("s3", site.role("s3").url)
    client.create_bucket(Bucket="bucket")
    return client


def expected(keys, prefix="", delimiter="", start_after=""):
    """(keys, common prefixes) as Amazon lists them."""
    plain, common = [], []
    for key in sorted(keys, key=lambda k: k.encode()):
        if not key.startswith(prefix) or key.encode() <= start_after.encode():
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            plain.append(key)
        elif key[:at + len(delimiter)] not in common:
            common.append(key[:at + len(delimiter)])
    return plain, common


def listed(s3, page_size, **arguments):
    """All pages: (keys, common prefixes); checks the counts of each page."""
    plain, common, token = [], [], {}
    while True:
        page = s3.list_objects_v2(Bucket="bucket", MaxKeys=page_size, **arguments, **token)
        keys = [o["Key"] for o in page.get("Contents", [])]
        prefixes = [p["Prefix"] for p in page.get("CommonPrefixes", [])]
        assert page["KeyCount"] == len(keys) + len(prefixes) <= page_size
        plain += keys
        common += prefixes
        if not page["IsTruncated"]:
            return plain, common
        assert page["KeyCount"] == page_size
        token = {"ContinuationToken": page["NextContinuationToken"]}


def test_pages_prefixes_delimiters(s3):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    alphabet = ["a", "b", "/", "//", "ü", "p" * 250, " ", "&", "%"]
    keys = {"".join(rng.choice(alphabet) for _ in range(rng.randint(1, 4))) for _ in range(150)}
    for key in keys:
        s3.put_object(Bucket="bucket", Key=key, Body=b"")
    for prefix in ("", "a", "a/", "p" * 250, "nothing"):
        for delimiter in ("", "/", "b", "//"):
            for start_after in ("", "a/", "b"):
                arguments = {"Prefix": prefix, "Delimiter": delimiter, "StartAfter": start_after}
                wanted = expected(keys, prefix, delimiter, start_after)
                for page_size in (1000, 7):
                    assert listed(s3, page_size, **arguments) == wanted, arguments
    assert listed(s3, 1) == expected(keys)


def test_fields(s3):
    put = s3.put_object(Bucket="bucket", Key="a", Body=b"12345")
    page = s3.list_objects_v2(Bucket="bucket", FetchOwner=True)
    (entry,) = page["Contents"]
    assert (entry["Key"], entry["Size"], entry["ETag"], entry["StorageClass"]) == (
        "a", 5, put["ETag"], "STANDARD")
    assert entry["Owner"]["ID"] and entry["LastModified"]
    assert (page["Name"], page["Prefix"], page["MaxKeys"], page["IsTruncated"]) == ("bucket", "", 1000, False)
    assert "Owner" not in s3.list_objects_v2(Bucket="bucket")["Contents"][0]
    empty = s3.list_objects_v2(Bucket="bucket", MaxKeys=0)
    assert empty["KeyCount"] == 0 and not empty["IsTruncated"]
    for bad in ({"ContinuationToken": "?"}, {"MaxKeys": -1}):
        with pytest.raises(botocore.exceptions.ClientError, match="InvalidArgument"):
            s3.list_objects_v2(Bucket="bucket", **bad)


def test_over_a_thousand(s3):
    keys = {"%04d" % i for i in range(1100)}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket="bucket", Key=key, Body=b""), keys))
    assert len(s3.list_objects_v2(Bucket="bucket", MaxKeys=5000)["Contents"]) == 1000
    assert listed(s3, 1000) == expected(keys)
