"""S3: what the fleet, a browser, an operator's CLI and Terraform rely on."""

import base64
import hashlib
import json
import time
import zlib
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from conftest import SECRET, make_client

MIB = 1 << 20
ORIGIN = "https://app.example"


def body(size, seed=0):
    return hashlib.shake_128(str(seed).encode()).digest(size)


def md5(data):
    return hashlib.md5(data).hexdigest()


def b64(data):
    return base64.b64encode(data).decode()


def read(s3, bucket, key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def upload_parts(s3, bucket, key, upload, parts):
    done = []
    for number, data in parts:
        answer = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=data)
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
    return done


def complete(s3, bucket, key, upload, parts, **more):
    return s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **more
    )


# --- objects


@pytest.mark.moto_is_wrong("gives no ChecksumType")
def test_put_and_get_with_the_default_trailer(s3, bucket):
    data = body(300_000)
    put = s3.put_object(Bucket=bucket, Key="a", Body=data, Metadata={"owner": "me"}, ContentType="video/mp4")
    assert put["ETag"] == f'"{md5(data)}"'
    got = s3.get_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")
    assert got["Body"].read() == data
    assert got["ContentType"] == "video/mp4" and got["Metadata"] == {"owner": "me"}
    assert got["ChecksumCRC32"] == b64(zlib.crc32(data).to_bytes(4, "big"))
    assert got["ChecksumType"] == "FULL_OBJECT" and got["AcceptRanges"] == "bytes"


def test_default_content_type_and_headers_that_are_kept(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    assert s3.head_object(Bucket=bucket, Key="a")["ContentType"] == "binary/octet-stream"
    s3.put_object(
        Bucket=bucket, Key="b", Body=b"x", CacheControl="max-age=60", ContentDisposition="inline", ContentEncoding="gzip"
    )
    head = s3.head_object(Bucket=bucket, Key="b")
    assert (head["CacheControl"], head["ContentDisposition"], head["ContentEncoding"]) == ("max-age=60", "inline", "gzip")
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    assert read(s3, bucket, "empty") == b""


def crc(polynomial, width):
    """A reflected CRC, bit by bit: slow, and nobody's library."""

    def of(data):
        mask = (1 << width) - 1
        value = mask
        for byte in data:
            value ^= byte
            for _ in range(8):
                value = value >> 1 ^ (polynomial if value & 1 else 0)
        return (value ^ mask).to_bytes(width // 8, "big")

    return of


ALGORITHMS = {
    "CRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "CRC32C": crc(0x82F63B78, 32),
    "CRC64NVME": crc(0x9A6C9329AC4BC9B5, 64),
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
}


@pytest.mark.moto_is_wrong("accepts a bad checksum and knows no CRC64NVME without awscrt")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_checksum(s3, bucket, refuses, algorithm):
    data, field = body(1000), f"Checksum{algorithm}"
    right = b64(ALGORITHMS[algorithm](data))
    put = s3.put_object(Bucket=bucket, Key="a", Body=data, **{field: right})
    assert put[field] == right
    assert s3.head_object(Bucket=bucket, Key="a", ChecksumMode="ENABLED")[field] == right
    wrong = b64(ALGORITHMS[algorithm](b"other"))
    refuses("BadDigest", s3.put_object, Bucket=bucket, Key="a", Body=b"new", **{field: wrong})
    assert read(s3, bucket, "a") == data


@pytest.mark.moto_is_wrong("accepts a bad Content-MD5 and replaces the object")
def test_a_bad_content_md5_leaves_the_old_object(s3, bucket, refuses):
    s3.put_object(Bucket=bucket, Key="a", Body=b"old", ContentMD5=b64(hashlib.md5(b"old").digest()))
    wrong = b64(hashlib.md5(b"other").digest())
    refuses("BadDigest", s3.put_object, Bucket=bucket, Key="a", Body=b"new", ContentMD5=wrong)
    refuses("InvalidDigest", s3.put_object, Bucket=bucket, Key="a", Body=b"new", ContentMD5="bm8=")
    assert read(s3, bucket, "a") == b"old"


def test_what_is_not_there(s3, bucket, refuses):
    refuses("NoSuchKey", s3.get_object, Bucket=bucket, Key="none")
    refuses("NoSuchBucket", s3.get_object, Bucket="no-such-bucket-here", Key="none")
    refuses("NoSuchBucket", s3.put_object, Bucket="no-such-bucket-here", Key="none", Body=b"")
    refuses("404", s3.head_object, Bucket=bucket, Key="none")
    refuses("404", s3.head_bucket, Bucket="no-such-bucket-here")


def test_ranges(s3, bucket, refuses):
    data = body(2 * MIB)
    s3.put_object(Bucket=bucket, Key="a", Body=data)
    got = s3.get_object(Bucket=bucket, Key="a", Range="bytes=10-19")
    assert got["Body"].read() == data[10:20]
    assert got["ContentRange"] == f"bytes 10-19/{len(data)}" and got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert read(s3, bucket, "a", Range="bytes=-5") == data[-5:]
    assert read(s3, bucket, "a", Range=f"bytes={MIB}-") == data[MIB:]
    assert read(s3, bucket, "a", Range="bytes=0-99999999") == data
    refuses("InvalidRange", s3.get_object, Bucket=bucket, Key="a", Range=f"bytes={len(data)}-")
    ranged = s3.get_object(Bucket=bucket, Key="a", Range="bytes=0-1", ChecksumMode="ENABLED")
    assert "ChecksumCRC32" not in ranged


def test_conditional_reads(s3, bucket, refuses):
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"x")["ETag"]
    assert read(s3, bucket, "a", IfMatch=etag) == b"x"
    refuses("PreconditionFailed", s3.get_object, Bucket=bucket, Key="a", IfMatch='"other"')
    refuses("304", s3.get_object, Bucket=bucket, Key="a", IfNoneMatch=etag)
    assert read(s3, bucket, "a", IfNoneMatch='"other"') == b"x"
    refuses("412", s3.head_object, Bucket=bucket, Key="a", IfMatch='"other"')


@pytest.mark.moto_is_wrong("If-Match on PUT of a missing key")
def test_conditional_writes(s3, bucket, refuses):
    etag = s3.put_object(Bucket=bucket, Key="a", Body=b"1", IfNoneMatch="*")["ETag"]
    refuses("PreconditionFailed", s3.put_object, Bucket=bucket, Key="a", Body=b"2", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="a", Body=b"2", IfMatch=etag)
    refuses("PreconditionFailed", s3.put_object, Bucket=bucket, Key="a", Body=b"3", IfMatch=etag)
    refuses("NoSuchKey", s3.put_object, Bucket=bucket, Key="none", Body=b"3", IfMatch=etag)
    assert read(s3, bucket, "a") == b"2"


def test_key_shapes(s3, bucket):
    keys = ["x", "x/y", "d//e", "//lead", "trail/", "long/" + "k" * 300, "ünï/日本 +&=?#%.mp4", "a b", "1.0:2@3!4'(5)*"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in keys:
        assert read(s3, bucket, key) == key.encode(), key
    listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(keys, key=lambda key: key.encode())


@pytest.mark.moto_is_wrong("lets an object be copied onto itself unchanged")
def test_copy(s3, bucket, refuses):
    s3.put_object(Bucket=bucket, Key="a b", Body=b"x" * 1000, Metadata={"old": "1"}, ContentType="text/plain", Tagging="t=1")
    copied = s3.copy_object(Bucket=bucket, Key="kept", CopySource={"Bucket": bucket, "Key": "a b"})
    assert copied["CopyObjectResult"]["ETag"] == f'"{md5(b"x" * 1000)}"'
    kept = s3.head_object(Bucket=bucket, Key="kept")
    assert kept["Metadata"] == {"old": "1"} and kept["ContentType"] == "text/plain"
    assert s3.get_object_tagging(Bucket=bucket, Key="kept")["TagSet"] == [{"Key": "t", "Value": "1"}]
    s3.copy_object(
        Bucket=bucket,
        Key="replaced",
        CopySource={"Bucket": bucket, "Key": "a b"},
        Metadata={"new": "2"},
        MetadataDirective="REPLACE",
    )
    assert s3.head_object(Bucket=bucket, Key="replaced")["Metadata"] == {"new": "2"}
    source = {"Bucket": bucket, "Key": "replaced"}
    s3.copy_object(Bucket=bucket, Key="replaced", CopySource=source, Metadata={"new": "3"}, MetadataDirective="REPLACE")
    s3.delete_object(Bucket=bucket, Key="a b")
    assert read(s3, bucket, "replaced") == b"x" * 1000
    refuses("InvalidRequest", s3.copy_object, Bucket=bucket, Key="kept", CopySource={"Bucket": bucket, "Key": "kept"})
    refuses("NoSuchKey", s3.copy_object, Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "none"})
    refuses(
        "PreconditionFailed", s3.copy_object, Bucket=bucket, Key="c", CopySource=source, CopySourceIfMatch='"other"'
    )


def test_object_tags(s3, bucket, refuses):
    s3.put_object(Bucket=bucket, Key="a", Body=b"", Tagging="k=v&sp%20ace=a+b")
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"]}
    assert tags == {"k": "v", "sp ace": "a b"}
    assert s3.get_object(Bucket=bucket, Key="a")["TagCount"] == 2
    s3.put_object_tagging(Bucket=bucket, Key="a", Tagging={"TagSet": [{"Key": "n", "Value": "1"}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == [{"Key": "n", "Value": "1"}]
    s3.delete_object_tagging(Bucket=bucket, Key="a")
    assert s3.get_object_tagging(Bucket=bucket, Key="a")["TagSet"] == []
    refuses("NoSuchKey", s3.get_object_tagging, Bucket=bucket, Key="none")


@pytest.mark.moto_is_wrong("knows no quiet deletion")
def test_delete(s3, bucket, refuses):
    s3.put_object(Bucket=bucket, Key="a", Body=b"1", Metadata={"m": "1"})
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_object(Bucket=bucket, Key="a")
    refuses("NoSuchKey", s3.get_object, Bucket=bucket, Key="a")
    s3.put_object(Bucket=bucket, Key="a", Body=b"2")
    assert s3.head_object(Bucket=bucket, Key="a")["Metadata"] == {}
    for key in ("b", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b"}, {"Key": "c"}, {"Key": "none"}]})
    assert sorted(entry["Key"] for entry in answer["Deleted"]) == ["b", "c", "none"] and "Errors" not in answer
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


# --- listings


def test_list_objects_v2(s3, bucket):
    for n in range(25):
        s3.put_object(Bucket=bucket, Key=f"p/{n:02}", Body=b"x")
    for key in ("a", "q/1/x", "q/1/y", "q/2", "z"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    top = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [entry["Key"] for entry in top["Contents"]] == ["a", "z"]
    assert [entry["Prefix"] for entry in top["CommonPrefixes"]] == ["p/", "q/"] and top["KeyCount"] == 4
    assert all(entry["ETag"] == f'"{md5(b"x")}"' and entry["Size"] == 1 for entry in top["Contents"])
    deeper = s3.list_objects_v2(Bucket=bucket, Prefix="q/", Delimiter="/")
    assert [entry["Prefix"] for entry in deeper["CommonPrefixes"]] == ["q/1/"]
    assert [entry["Key"] for entry in deeper["Contents"]] == ["q/2"]
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="p/", PaginationConfig={"PageSize": 7}))
    assert [len(page["Contents"]) for page in pages] == [7, 7, 7, 4]
    assert [entry["Key"] for page in pages for entry in page["Contents"]] == [f"p/{n:02}" for n in range(25)]
    after = s3.list_objects_v2(Bucket=bucket, StartAfter="p/23")
    assert [entry["Key"] for entry in after["Contents"]] == ["p/24", "q/1/x", "q/1/y", "q/2", "z"]


@pytest.mark.moto_is_wrong("repeats a rolled-up prefix on the next page")
def test_list_objects_v1(s3, bucket):
    for key in ("a", "b/1", "b/2", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    pages = list(s3.get_paginator("list_objects").paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1}))
    names = [e["Key"] for p in pages for e in p.get("Contents", [])]
    prefixes = [e["Prefix"] for p in pages for e in p.get("CommonPrefixes", [])]
    assert (names, prefixes) == (["a", "c"], ["b/"])
    assert [e["Key"] for e in s3.list_objects(Bucket=bucket, Marker="b/1")["Contents"]] == ["b/2", "c"]


def test_list_versions_pages(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = []
    for key in ("a", "b", "c"):
        for n in range(3):
            made.append((key, s3.put_object(Bucket=bucket, Key=key, Body=str(n).encode())["VersionId"]))
        time.sleep(0.01)
    made.append(("b", s3.delete_object(Bucket=bucket, Key="b")["VersionId"]))
    for size in (1, 2, 4, 100):
        found = []
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": size}):
            found += [(e["Key"], e["VersionId"]) for e in page.get("Versions", []) + page.get("DeleteMarkers", [])]
        assert sorted(found) == sorted(made), f"pages of {size}"


@pytest.mark.moto_is_wrong("rolls up no uploads")
def test_list_uploads_and_parts_pages(s3, bucket, refuses):
    uploads = [
        (key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in ("a", "a", "b/1", "b/2", "c")
    ]
    for size in (1, 2, 3, 100):
        found = []
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": size}):
            found += [(entry["Key"], entry["UploadId"]) for entry in page.get("Uploads", [])]
        assert sorted(found) == sorted(uploads), f"pages of {size}"
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in rolled["CommonPrefixes"]] == ["b/"]
    key, upload = uploads[0]
    upload_parts(s3, bucket, key, upload, [(n, str(n).encode()) for n in (1, 2, 5, 9)])
    found = []
    for page in s3.get_paginator("list_parts").paginate(
        Bucket=bucket, Key=key, UploadId=upload, PaginationConfig={"PageSize": 3}
    ):
        found += [(part["PartNumber"], part["ETag"]) for part in page["Parts"]]
    assert found == [(n, f'"{md5(str(n).encode())}"') for n in (1, 2, 5, 9)]
    refuses("NoSuchUpload", s3.list_parts, Bucket=bucket, Key=key, UploadId="none")


# --- multipart


@pytest.mark.moto_is_wrong("does not check part ETags")
def test_multipart(s3, bucket, refuses):
    data = [body(5 * MIB, n) for n in range(2)] + [b"tail"]
    upload = s3.create_multipart_upload(
        Bucket=bucket, Key="m", Metadata={"from": "create"}, ContentType="video/mp4", Tagging="t=1"
    )["UploadId"]
    parts = upload_parts(s3, bucket, "m", upload, list(enumerate(data, 1)))
    listed = s3.list_parts(Bucket=bucket, Key="m", UploadId=upload)["Parts"]
    assert [(part["PartNumber"], part["ETag"], part["Size"]) for part in listed] == [
        (n, f'"{md5(chunk)}"', len(chunk)) for n, chunk in enumerate(data, 1)
    ]
    refuses(
        "InvalidPart", complete, s3=s3, bucket=bucket, key="m", upload=upload,
        parts=[parts[0], {**parts[1], "ETag": f'"{md5(b"")}"'}],
    )
    refuses("InvalidPartOrder", complete, s3=s3, bucket=bucket, key="m", upload=upload, parts=[parts[1], parts[0]])
    done = complete(s3, bucket, "m", upload, parts)
    etag = md5(b"".join(hashlib.md5(chunk).digest() for chunk in data)) + "-3"
    assert done["ETag"] == f'"{etag}"'
    got = s3.get_object(Bucket=bucket, Key="m")
    assert got["Body"].read() == b"".join(data) and got["ETag"] == f'"{etag}"'
    assert got["Metadata"] == {"from": "create"} and got["ContentType"] == "video/mp4" and got["TagCount"] == 1
    # a range across the border of two parts
    assert read(s3, bucket, "m", Range=f"bytes={5 * MIB - 3}-{5 * MIB + 2}") == data[0][-3:] + data[1][:3]


@pytest.mark.moto_is_wrong("a repeated Complete is NoSuchUpload")
def test_a_repeated_complete_gets_the_same_answer(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    parts = upload_parts(s3, bucket, "m", upload, [(1, b"x")])
    first = complete(s3, bucket, "m", upload, parts)
    assert complete(s3, bucket, "m", upload, parts)["ETag"] == first["ETag"]


def test_part_numbers_with_gaps_parts_sent_again_and_parts_left_out(s3, bucket, refuses):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    big = body(5 * MIB)
    upload_parts(s3, bucket, "m", upload, [(7, b"first try"), (10_000, b"left out")])
    parts = upload_parts(s3, bucket, "m", upload, [(3, big), (7, b"second try")])
    complete(s3, bucket, "m", upload, parts)
    assert read(s3, bucket, "m") == big + b"second try"
    refuses("InvalidArgument", s3.upload_part, Bucket=bucket, Key="m", UploadId=upload, PartNumber=10_001, Body=b"")


def test_small_parts_and_empty_lists_are_refused(s3, bucket, refuses):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    parts = upload_parts(s3, bucket, "m", upload, [(1, b"small"), (2, b"last")])
    refuses("EntityTooSmall", complete, s3=s3, bucket=bucket, key="m", upload=upload, parts=parts)
    refuses("MalformedXML|InvalidRequest", complete, s3=s3, bucket=bucket, key="m", upload=upload, parts=[])


@pytest.mark.moto_is_wrong("500 for a part of an aborted upload")
def test_abort(s3, bucket, refuses):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    parts = upload_parts(s3, bucket, "m", upload, [(1, b"x")])
    s3.abort_multipart_upload(Bucket=bucket, Key="m", UploadId=upload)
    refuses("NoSuchUpload", s3.upload_part, Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"x")
    refuses("NoSuchUpload", complete, s3=s3, bucket=bucket, key="m", upload=upload, parts=parts)
    refuses("NoSuchUpload", s3.abort_multipart_upload, Bucket=bucket, Key="m", UploadId=upload)
    refuses("NoSuchKey", s3.get_object, Bucket=bucket, Key="m")


@pytest.mark.moto_is_wrong("conditions of Complete")
def test_conditional_complete(s3, bucket, refuses):
    s3.put_object(Bucket=bucket, Key="m", Body=b"there")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    parts = upload_parts(s3, bucket, "m", upload, [(1, b"x")])
    refuses(
        "PreconditionFailed", complete, s3=s3, bucket=bucket, key="m", upload=upload, parts=parts, IfNoneMatch="*"
    )
    s3.delete_object(Bucket=bucket, Key="m")
    complete(s3, bucket, "m", upload, parts, IfNoneMatch="*")
    assert read(s3, bucket, "m") == b"x"


@pytest.mark.moto_is_wrong("checksums of multipart objects")
@pytest.mark.parametrize(
    "algorithm, kind", [("SHA256", "COMPOSITE"), ("CRC32", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("CRC64NVME", "FULL_OBJECT")]
)
def test_multipart_checksums(s3, bucket, client, algorithm, kind):
    of, field = ALGORITHMS[algorithm], f"Checksum{algorithm}"
    data = [body(5 * MIB), b"tail"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", ChecksumAlgorithm=algorithm, ChecksumType=kind)["UploadId"]
    parts = []
    for n, chunk in enumerate(data, 1):
        # Bit by bit, a CRC64 of megabytes takes too long: the long part goes without.
        given = {} if algorithm == "CRC64NVME" and n == 1 else {field: b64(of(chunk))}
        answer = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=n, Body=chunk, **given)
        parts.append({"PartNumber": n, "ETag": answer["ETag"], field: answer[field]})
    done = complete(s3, bucket, "m", upload, parts, ChecksumType=kind)
    head = s3.head_object(Bucket=bucket, Key="m", ChecksumMode="ENABLED")
    assert head[field] == done[field] and head["ChecksumType"] == kind
    if kind == "COMPOSITE":
        together = of(b"".join(base64.b64decode(part[field]) for part in parts))
        assert done[field] == f"{b64(together)}-2"
    elif algorithm == "CRC32":
        assert done[field] == b64(of(b"".join(data)))
    else:
        # Without any checksum of the client's, an object gets a CRC64NVME.
        plain = client("s3", request_checksum_calculation="when_required")
        plain.put_object(Bucket=bucket, Key="whole", Body=b"".join(data))
        assert s3.head_object(Bucket=bucket, Key="whole", ChecksumMode="ENABLED")[field] == done[field]


@pytest.mark.moto_is_wrong("ranges of UploadPartCopy are not checked")
def test_upload_part_copy(s3, bucket, refuses):
    data = body(6 * MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=data)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    source = {"Bucket": bucket, "Key": "source"}
    arguments = {"Bucket": bucket, "Key": "m", "UploadId": upload, "CopySource": source}
    parts = []
    for n, span in enumerate((f"bytes=0-{5 * MIB - 1}", f"bytes={5 * MIB}-{6 * MIB - 1}"), 1):
        answer = s3.upload_part_copy(**arguments, PartNumber=n, CopySourceRange=span)["CopyPartResult"]
        parts.append({"PartNumber": n, "ETag": answer["ETag"]})
    assert parts[0]["ETag"] == f'"{md5(data[: 5 * MIB])}"'
    refuses("InvalidArgument", s3.upload_part_copy, **arguments, PartNumber=3, CopySourceRange=f"bytes=0-{6 * MIB}")
    complete(s3, bucket, "m", upload, parts)
    assert read(s3, bucket, "m") == data


@pytest.mark.moto_is_wrong("ignores partNumber")
def test_parts_can_be_read_by_number(s3, bucket):
    data = [body(5 * MIB), b"tail"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    complete(s3, bucket, "m", upload, upload_parts(s3, bucket, "m", upload, [(2, data[0]), (4, data[1])]))
    got = s3.get_object(Bucket=bucket, Key="m", PartNumber=2)
    assert got["Body"].read() == b"tail" and got["PartsCount"] == 2


def test_the_transfer_manager(s3, bucket, tmp_path):
    path = tmp_path / "forty"
    path.write_bytes(body(40 * MIB))
    s3.upload_file(str(path), bucket, "forty", Config=TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB))
    assert s3.head_object(Bucket=bucket, Key="forty")["ETag"].endswith('-5"')
    back = tmp_path / "back"
    s3.download_file(bucket, "forty", str(back))
    assert back.read_bytes() == path.read_bytes()


# --- presigned


def sign(s3, method, expires=900, **parameters):
    return s3.generate_presigned_url(method, Params=parameters, ExpiresIn=expires)


def code_of(answer):
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


@pytest.mark.moto_is_wrong("does not check signatures")
def test_a_presigned_put_enforces_its_headers(s3, bucket):
    url = sign(s3, "put_object", Bucket=bucket, Key="p", ContentType="video/mp4", ContentLength=5)
    assert "content-length" in parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0]
    refused = requests.put(url, data=b"12345", headers={"Content-Type": "text/html"})
    assert refused.status_code == 403 and code_of(refused) == "SignatureDoesNotMatch"
    assert requests.put(url, data=b"123456", headers={"Content-Type": "video/mp4"}).status_code == 403
    assert requests.put(url, data=b"12345", headers={"Content-Type": "video/mp4"}).status_code == 200
    assert s3.head_object(Bucket=bucket, Key="p")["ContentType"] == "video/mp4"


@pytest.mark.moto_is_wrong("does not check signatures")
def test_a_presigned_put_once_with_its_checksum(s3, bucket):
    data = b"exactly this"
    total = b64(hashlib.sha256(data).digest())
    url = sign(s3, "put_object", Bucket=bucket, Key="p", IfNoneMatch="*", ChecksumSHA256=total)
    headers = {"If-None-Match": "*", "x-amz-checksum-sha256": total}
    signed = parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")
    headers = {name: value for name, value in headers.items() if name.lower() in signed}
    assert "If-None-Match" in headers
    wrong = requests.put(url, data=b"something else", headers=headers)
    assert (wrong.status_code, code_of(wrong)) == (400, "BadDigest")
    assert requests.put(url, data=data, headers={}).status_code == 403
    assert requests.put(url, data=data, headers=headers).status_code == 200
    again = requests.put(url, data=data, headers=headers)
    assert (again.status_code, code_of(again)) == (412, "PreconditionFailed")


def test_a_presigned_get_with_range_and_overrides(s3, bucket):
    s3.put_object(Bucket=bucket, Key="p", Body=b"0123456789")
    url = sign(
        s3, "get_object", Bucket=bucket, Key="p", ResponseContentDisposition='attachment; filename="f"',
        ResponseContentType="text/plain", ResponseCacheControl="no-store",
    )
    got = requests.get(url, headers={"Range": "bytes=2-4"})
    assert (got.status_code, got.content) == (206, b"234")
    assert got.headers["Content-Disposition"] == 'attachment; filename="f"'
    assert (got.headers["Content-Type"], got.headers["Cache-Control"]) == ("text/plain", "no-store")


@pytest.mark.moto_is_wrong("does not check signatures")
def test_expired_tampered_anonymous_and_wrong_secret(s3, bucket, client, endpoint_url, refuses):
    s3.put_object(Bucket=bucket, Key="p", Body=b"x")
    s3.put_object(Bucket=bucket, Key="q", Body=b"x")
    url = sign(s3, "get_object", expires=1, Bucket=bucket, Key="p")
    assert requests.get(url).status_code == 200
    time.sleep(2.1)
    expired = requests.get(url)
    assert expired.status_code == 403 and "expired" in expired.text
    url = sign(s3, "get_object", Bucket=bucket, Key="p")
    assert requests.get(url.replace("/p?", "/q?")).status_code == 403
    assert requests.put(url, data=b"y").status_code == 403
    assert requests.delete(url).status_code == 403
    assert requests.get(f"{endpoint_url}/{bucket}/p").status_code == 403
    refuses("SignatureDoesNotMatch", make_client("s3", endpoint_url, secret=SECRET + "x").list_buckets)
    unsigned = boto3.client("s3", endpoint_url=endpoint_url, region_name="us-east-1", config=Config(signature_version=UNSIGNED))
    refuses("AccessDenied", unsigned.get_object, Bucket=bucket, Key="p")


def test_presigned_parts(s3, bucket):
    data = [body(5 * MIB), b"tail"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    parts = []
    for n, chunk in enumerate(data, 1):
        url = sign(s3, "upload_part", Bucket=bucket, Key="m", UploadId=upload, PartNumber=n)
        answer = requests.put(url, data=chunk)
        assert answer.status_code == 200
        parts.append({"PartNumber": n, "ETag": answer.headers["ETag"]})
    complete(s3, bucket, "m", upload, parts)
    assert read(s3, bucket, "m") == b"".join(data)


@pytest.mark.moto_is_wrong("ignores the length range of a POST policy")
def test_a_presigned_form(s3, bucket):
    def send(form, data):
        return requests.post(form["url"], data=form["fields"], files={"file": ("f", data)})

    form = s3.generate_presigned_post(bucket, "form/a", Conditions=[["content-length-range", 1, 10]], ExpiresIn=60)
    assert send(form, b"12345").status_code == 204
    assert read(s3, bucket, "form/a") == b"12345"
    assert send(form, b"12345678901").status_code == 400
    form["fields"]["key"] = "form/other"
    assert send(form, b"12345").status_code in (400, 403)


# --- the guard: what nobody signed does nothing


@pytest.mark.moto_is_wrong("does not check signatures")
def test_an_upload_link_cannot_copy_another_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="secret", Body=b"secret")
    url = sign(s3, "put_object", Bucket=bucket, Key="mine")
    stolen = requests.put(url, headers={"x-amz-copy-source": f"/{bucket}/secret"})
    assert (stolen.status_code, code_of(stolen)) == (403, "AccessDenied")
    assert requests.put(url, data=b"x", headers={"x-amz-meta-role": "admin"}).status_code == 403
    assert requests.put(url, data=b"x").status_code == 200
    assert read(s3, bucket, "mine") == b"x"


@pytest.mark.moto_is_wrong("does not check signatures")
def test_signature_v2_and_long_links_are_refused(s3, bucket, client):
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    old = client("s3", signature_version="s3")
    url = old.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a"})
    answer = requests.get(url)
    assert (answer.status_code, code_of(answer)) == (400, "InvalidRequest") and "s3v4" in answer.text
    long = sign(s3, "get_object", expires=604_801, Bucket=bucket, Key="a")
    assert code_of(requests.get(long)) == "AuthorizationQueryParametersError"
    assert requests.get(sign(s3, "get_object", expires=604_800, Bucket=bucket, Key="a")).status_code == 200


# --- buckets


def test_buckets(s3, bucket, refuses):
    assert bucket in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
    assert s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    s3.put_object(Bucket=bucket, Key="a", Body=b"")
    refuses("BucketNotEmpty", s3.delete_bucket, Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_bucket(Bucket=bucket)
    refuses("404", s3.head_bucket, Bucket=bucket)


@pytest.mark.moto_is_wrong("creating a bucket again in us-east-1 succeeds")
def test_a_bucket_is_made_once(s3, bucket, refuses):
    refuses("BucketAlreadyOwnedByYou", s3.create_bucket, Bucket=bucket)


@pytest.mark.moto_is_wrong("a marker read by version is NoSuchVersion")
def test_versioning(s3, bucket, refuses):
    s3.put_object(Bucket=bucket, Key="a", Body=b"0")
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    one = s3.put_object(Bucket=bucket, Key="a", Body=b"1")["VersionId"]
    two = s3.put_object(Bucket=bucket, Key="a", Body=b"2")["VersionId"]
    assert read(s3, bucket, "a") == b"2"
    assert read(s3, bucket, "a", VersionId=one) == b"1" and read(s3, bucket, "a", VersionId="null") == b"0"
    marker = s3.delete_object(Bucket=bucket, Key="a")
    assert marker["DeleteMarker"]
    refuses("NoSuchKey", s3.get_object, Bucket=bucket, Key="a")
    refuses("MethodNotAllowed", s3.get_object, Bucket=bucket, Key="a", VersionId=marker["VersionId"])
    listed = s3.list_object_versions(Bucket=bucket)
    assert [entry["VersionId"] for entry in listed["Versions"]] == [two, one, "null"]
    assert listed["DeleteMarkers"][0]["IsLatest"]
    s3.delete_object(Bucket=bucket, Key="a", VersionId=marker["VersionId"])
    assert read(s3, bucket, "a") == b"2"
    s3.delete_object(Bucket=bucket, Key="a", VersionId=two)
    assert read(s3, bucket, "a") == b"1"
    refuses("BucketNotEmpty", s3.delete_bucket, Bucket=bucket)


@pytest.mark.moto_is_wrong("suspending forgets older versions")
def test_suspended_versioning_writes_the_null_version(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    kept = s3.put_object(Bucket=bucket, Key="a", Body=b"kept")["VersionId"]
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    for data in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key="a", Body=data)
    versions = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert [entry["VersionId"] for entry in versions] == ["null", kept]
    assert read(s3, bucket, "a") == b"2" and read(s3, bucket, "a", VersionId=kept) == b"kept"


@pytest.mark.moto_is_wrong("preflight is 403")
def test_cors(s3, bucket, endpoint_url, refuses):
    def preflight(method="PUT", origin=ORIGIN, headers="content-type"):
        asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
        return requests.options(f"{endpoint_url}/{bucket}/a", headers=asked)

    refuses("NoSuchCORSConfiguration", s3.get_bucket_cors, Bucket=bucket)
    assert preflight().status_code == 403
    rule = {
        "AllowedOrigins": [ORIGIN], "AllowedMethods": ["PUT", "GET"], "AllowedHeaders": ["content-type", "x-amz-*"],
        "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 300,
    }
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule]
    allowed = preflight()
    assert allowed.status_code == 200 and allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "PUT" in allowed.headers["Access-Control-Allow-Methods"]
    assert allowed.headers["Access-Control-Allow-Headers"] == "content-type"
    assert preflight(method="DELETE").status_code == 403
    assert preflight(origin="https://evil.example").status_code == 403
    assert preflight(headers="content-type,authorization").status_code == 403
    put = requests.put(sign(s3, "put_object", Bucket=bucket, Key="a"), data=b"x", headers={"Origin": ORIGIN})
    assert put.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert put.headers["Access-Control-Expose-Headers"] == "ETag"
    refused = requests.put(f"{endpoint_url}/{bucket}/a", data=b"x", headers={"Origin": ORIGIN})
    assert refused.status_code == 403 and refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    s3.delete_bucket_cors(Bucket=bucket)
    assert preflight().status_code == 403


def test_lifecycle_configuration(s3, bucket, refuses):
    refuses("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, Bucket=bucket)
    rule = {
        "ID": "r", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [rule]
    s3.delete_bucket_lifecycle(Bucket=bucket)
    refuses("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, Bucket=bucket)


@pytest.mark.moto_is_wrong("takes anything for a policy")
def test_policy(s3, bucket, refuses):
    refuses("NoSuchBucketPolicy", s3.get_bucket_policy, Bucket=bucket)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*",
         "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]})
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(policy)
    refuses("MalformedPolicy", s3.put_bucket_policy, Bucket=bucket, Policy="no json")
    s3.delete_bucket_policy(Bucket=bucket)
    refuses("NoSuchBucketPolicy", s3.get_bucket_policy, Bucket=bucket)


def test_what_terraform_sets(s3, bucket, refuses):
    encryption = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=encryption)
    assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"] == encryption
    block = dict.fromkeys(["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"], True)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == block
    s3.delete_public_access_block(Bucket=bucket)
    refuses("NoSuchPublicAccessBlockConfiguration", s3.get_public_access_block, Bucket=bucket)
    ownership = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=ownership)
    assert s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"] == ownership
    s3.delete_bucket_ownership_controls(Bucket=bucket)
    refuses("OwnershipControlsNotFoundError", s3.get_bucket_ownership_controls, Bucket=bucket)
    refuses("NoSuchTagSet", s3.get_bucket_tagging, Bucket=bucket)
    tags = [{"Key": "product", "Value": "reelfleet"}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    refuses("NoSuchTagSet", s3.get_bucket_tagging, Bucket=bucket)


@pytest.mark.moto_is_wrong("has no request payment")
def test_what_terraform_asks(s3, bucket, refuses):
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Permission"] == "FULL_CONTROL"
    refuses("NoSuchWebsiteConfiguration", s3.get_bucket_website, Bucket=bucket)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    refuses("ReplicationConfigurationNotFoundError", s3.get_bucket_replication, Bucket=bucket)
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    refuses("ObjectLockConfigurationNotFoundError", s3.get_object_lock_configuration, Bucket=bucket)


# --- what only our endpoint has


@pytest.mark.moto_is_wrong("has no counters")
def test_bytes_served_are_counted(s3, bucket, endpoint_url):
    s3.put_object(Bucket=bucket, Key="a", Body=body(100_000))
    read(s3, bucket, "a", Range="bytes=0-999")
    s3.head_object(Bucket=bucket, Key="a")
    stats = requests.get(f"{endpoint_url}/_reelfleet/stats").json()
    assert stats["get_object_bytes"][f"{bucket}/a"] == 1000
    proxied = requests.get(f"{endpoint_url}/_reelfleet/stats", headers={"X-Forwarded-For": "203.0.113.1"})
    assert proxied.status_code == 403
