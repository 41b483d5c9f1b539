"""The endpoint as a process: what survives a kill, who gets in, how it ends."""

import socket
import threading
import time
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from conftest import SECRET, TARGET, make_client

MIB = 1 << 20

pytestmark = pytest.mark.skipif(TARGET == "moto", reason="about our process")


def test_what_was_answered_survives_a_kill(own_process):
    s3 = make_client("s3", own_process.url)
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="a", Body=b"x")
    upload = s3.create_multipart_upload(Bucket="kept", Key="m")["UploadId"]
    parts = []
    for n, data in enumerate((bytes(5 * MIB), b"tail"), 1):
        answer = s3.upload_part(Bucket="kept", Key="m", UploadId=upload, PartNumber=n, Body=data)
        parts.append({"PartNumber": n, "ETag": answer["ETag"]})
    s3.put_object(Bucket="kept", Key="gone", Body=b"x")
    s3.delete_object(Bucket="kept", Key="gone")
    own_process.kill()
    (own_process.folder / "blobs" / "00" / ("00" * 16)).write_bytes(b"left by a crash")
    own_process.start()
    s3 = make_client("s3", own_process.url)
    assert s3.get_object(Bucket="kept", Key="a")["Body"].read() == b"x"
    s3.complete_multipart_upload(Bucket="kept", Key="m", UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket="kept", Key="m")["Body"].read() == bytes(5 * MIB) + b"tail"
    blobs = sum(1 for path in (own_process.folder / "blobs").glob("*/*"))
    assert blobs == 3, "one of the object, two of the parts; what no row names was swept"


def test_a_client_that_goes_away_leaves_nothing(own_process):
    s3 = make_client("s3", own_process.url)
    s3.create_bucket(Bucket="half")
    url = urlsplit(s3.generate_presigned_url("put_object", Params={"Bucket": "half", "Key": "half"}))

    def blobs():
        return list((own_process.folder / "blobs").glob("*/*"))

    def wait(condition):
        end = time.monotonic() + 10
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)
        assert condition()

    with socket.create_connection((url.hostname, url.port)) as line:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {4 * MIB}\r\n\r\n"
        line.sendall(head.encode() + bytes(2 * MIB))
        wait(blobs)
    wait(lambda: not blobs())
    assert s3.list_objects_v2(Bucket="half")["KeyCount"] == 0


def test_one_process_per_folder(own_process):
    with pytest.raises(RuntimeError):
        type(own_process)(own_process.binary, own_process.folder)


def test_shutdown_ends_long_polls_at_once(own_process):
    sqs = make_client("sqs", own_process.url)
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    answers = []

    def poll():
        try:
            answers.append(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))
        except BotoCoreError as error:
            answers.append(error)

    poller = threading.Thread(target=poll)
    poller.start()
    while requests.get(f"{own_process.url}/_reelfleet/stats").json()["requests"].get("sqs:ReceiveMessage") != 1:
        time.sleep(0.02)
    began = time.monotonic()
    assert own_process.stop() == 0
    poller.join()
    assert time.monotonic() - began < 5
    assert isinstance(answers[0], dict) and "Messages" not in answers[0]


@pytest.mark.parametrize("service, call", [("sqs", "list_queues"), ("sns", "list_topics")])
def test_nothing_unsigned_gets_in(endpoint_url, refuses, service, call):
    nobody = boto3.client(
        service, endpoint_url=endpoint_url, region_name="us-east-1", config=Config(signature_version=UNSIGNED)
    )
    refuses("MissingAuthenticationToken|AccessDenied", getattr(nobody, call))
    refuses("SignatureDoesNotMatch", getattr(make_client(service, endpoint_url, secret=SECRET + "x"), call))
    stranger = boto3.client(
        service, endpoint_url=endpoint_url, region_name="us-east-1", aws_access_key_id="stranger",
        aws_secret_access_key="x",
    )
    refuses("UnrecognizedClientException|InvalidClientTokenId", getattr(stranger, call))


def test_bodies_are_limited(sqs, queue, refuses):
    refuses("RequestEntityTooLarge", sqs.send_message, QueueUrl=queue[0], MessageBody="x" * (5 * MIB))


def test_the_health_path_needs_no_signature(endpoint_url):
    assert requests.get(f"{endpoint_url}/_reelfleet/health").json() == {"status": "ok"}
