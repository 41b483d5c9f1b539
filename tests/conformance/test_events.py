"""S3 event notifications: to queues, to topics, filtered, encoded, in order, and one for one with the objects."""

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_plus

import pytest
import requests
from botocore.exceptions import BotoCoreError, ClientError
from conftest import ACCOUNT, make_client

MIB = 1 << 20


def receive(sqs, url, wanted, seconds=10):
    """Messages until there are as many as wanted, or the time is over."""
    found, end = [], time.monotonic() + seconds
    while len(found) < wanted and time.monotonic() < end:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in answer.get("Messages", []):
            found.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def records(bodies):
    return [record for text in bodies for record in json.loads(text).get("Records", [])]


def notify(s3, bucket, arn, events=("s3:ObjectCreated:*",), rules=(), kind="Queue", key="QueueArn"):
    rule = {"Id": "r", key: arn, "Events": list(events)}
    if rules:
        rule["Filter"] = {"Key": {"FilterRules": [{"Name": name, "Value": value} for name, value in rules]}}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={f"{kind}Configurations": [rule]}
    )
    return rule


@pytest.fixture
def open_queue(sqs, queue):
    """A queue that S3 and SNS may send to, on whatever checks policies."""
    url, arn = queue
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}]}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    return url, arn


def test_the_configuration_comes_back(s3, bucket, open_queue):
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    rule = notify(s3, bucket, open_queue[1], rules=[("prefix", "in/"), ("suffix", ".mp4")])
    found = s3.get_bucket_notification_configuration(Bucket=bucket)["QueueConfigurations"][0]
    lower = [{**entry, "Name": entry["Name"].lower()} for entry in found["Filter"]["Key"]["FilterRules"]]
    assert {**found, "Filter": {"Key": {"FilterRules": lower}}} == rule
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)


@pytest.mark.moto_is_wrong("two events for one multipart, no sequencer, writes / as %2F")
def test_created_events(s3, sqs, bucket, open_queue):
    url, arn = open_queue
    notify(s3, bucket, arn, rules=[("prefix", "in/"), ("suffix", ".mp4")])
    etag = s3.put_object(Bucket=bucket, Key="in/ä b+c.mp4", Body=b"12345")["ETag"]
    for other in ("in/a.mov", "out/a.mp4"):
        s3.put_object(Bucket=bucket, Key=other, Body=b"")
    s3.copy_object(Bucket=bucket, Key="in/copy.mp4", CopySource={"Bucket": bucket, "Key": "in/ä b+c.mp4"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="in/m.mp4")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="in/m.mp4", UploadId=upload, PartNumber=1, Body=b"x")
    s3.complete_multipart_upload(
        Bucket=bucket, Key="in/m.mp4", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    link = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "in/link.mp4"})
    assert requests.put(link, data=b"x").status_code == 200
    found = records(receive(sqs, url, 5))
    assert [record["eventName"] for record in found] == [
        "ObjectCreated:Put", "ObjectCreated:Copy", "ObjectCreated:CompleteMultipartUpload", "ObjectCreated:Put",
    ]
    first = found[0]
    assert first["eventSource"] == "aws:s3" and first["eventVersion"].startswith("2.")
    assert first["awsRegion"] == "us-east-1" and first["s3"]["configurationId"] == "r"
    assert first["s3"]["bucket"]["name"] == bucket and first["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{bucket}"
    thing = first["s3"]["object"]
    assert thing["key"] == "in/%C3%A4+b%2Bc.mp4" and unquote_plus(thing["key"]) == "in/ä b+c.mp4"
    assert thing["size"] == 5 and thing["eTag"] == etag.strip('"') and "versionId" not in thing
    sequence = [record["s3"]["object"]["sequencer"] for record in found]
    assert sequence == sorted(set(sequence)) and len({len(entry) for entry in sequence}) == 1


@pytest.mark.moto_is_wrong("sends no ObjectRemoved for some deletions")
def test_removed_events_and_versions(s3, sqs, bucket, open_queue):
    url, arn = open_queue
    notify(s3, bucket, arn, events=["s3:ObjectRemoved:*", "s3:ObjectCreated:Put"])
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_object(Bucket=bucket, Key="a")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="a", Body=b"x")["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key="a")["VersionId"]
    s3.delete_object(Bucket=bucket, Key="a", VersionId=version)
    found = records(receive(sqs, url, 6))
    assert [(record["eventName"], record["s3"]["object"].get("versionId")) for record in found] == [
        ("ObjectCreated:Put", None),
        ("ObjectRemoved:Delete", None),
        ("ObjectCreated:Put", version),
        ("ObjectRemoved:DeleteMarkerCreated", marker),
        ("ObjectRemoved:Delete", version),
    ]


def test_the_test_event(s3, sqs, bucket, open_queue):
    url, arn = open_queue
    notify(s3, bucket, arn)
    test = json.loads(receive(sqs, url, 1)[0])
    assert (test["Service"], test["Event"], test["Bucket"]) == ("Amazon S3", "s3:TestEvent", bucket)


@pytest.mark.moto_is_wrong("does not check targets")
def test_targets_and_events_are_checked(s3, bucket, open_queue, refuses):
    missing = f"arn:aws:sqs:us-east-1:{ACCOUNT}:no-such-queue"
    refuses("InvalidArgument", notify, s3=s3, bucket=bucket, arn=missing)
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:no-such-topic"
    refuses("InvalidArgument", notify, s3=s3, bucket=bucket, arn=topic, kind="Topic", key="TopicArn")
    refuses("InvalidArgument|MalformedXML", notify, s3=s3, bucket=bucket, arn=open_queue[1], events=["s3:Nothing"])
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)


@pytest.mark.moto_is_wrong("gives no subject")
def test_through_a_topic(s3, sqs, sns, bucket, open_queue):
    url, arn = open_queue
    topic = sns.create_topic(Name=f"conformance-{uuid.uuid4().hex[:16]}")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    notify(s3, bucket, topic, kind="Topic", key="TopicArn")
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"x")
    envelopes = [json.loads(text) for text in receive(sqs, url, 2)]
    assert all(envelope["Type"] == "Notification" and envelope["TopicArn"] == topic for envelope in envelopes)
    assert all(envelope["Subject"] == "Amazon S3 Notification" for envelope in envelopes)
    found = records(envelope["Message"] for envelope in envelopes)
    assert [unquote_plus(record["s3"]["object"]["key"]) for record in found] == ["a/b"]
    sns.delete_topic(TopicArn=topic)


@pytest.mark.moto_is_wrong("keeps nothing")
def test_a_storm_of_kills_keeps_objects_and_events_one_to_one(own_process):
    """Six writers, single PUTs and multiparts, and a kill -9 every now and then."""
    s3, sqs = make_client("s3", own_process.url), make_client("sqs", own_process.url)
    s3.create_bucket(Bucket="storm")
    url = sqs.create_queue(QueueName="storm")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    notify(s3, "storm", arn)
    acknowledged, over = set(), threading.Event()
    big = bytes(5 * MIB)

    def write(writer):
        n = 0
        while not over.is_set():
            n += 1
            key = f"{writer}/{n}"
            try:
                s3 = make_client("s3", own_process.url, connect_timeout=2)
                if n % 10 == 0:
                    upload = s3.create_multipart_upload(Bucket="storm", Key=key)["UploadId"]
                    parts = []
                    for part, data in ((1, big), (2, key.encode())):
                        answer = s3.upload_part(Bucket="storm", Key=key, UploadId=upload, PartNumber=part, Body=data)
                        parts.append({"PartNumber": part, "ETag": answer["ETag"]})
                    s3.complete_multipart_upload(
                        Bucket="storm", Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
                    )
                else:
                    s3.put_object(Bucket="storm", Key=key, Body=key.encode())
                acknowledged.add(key)
            except (BotoCoreError, ClientError):
                pass

    with ThreadPoolExecutor(6) as writers:
        running = [writers.submit(write, writer) for writer in range(6)]
        for _ in range(5):
            time.sleep(0.7)
            own_process.kill()
            own_process.start()
        over.set()
        for writer in running:
            writer.result()

    s3, sqs = make_client("s3", own_process.url), make_client("sqs", own_process.url)
    objects = set()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="storm"):
        for entry in page.get("Contents", []):
            data = s3.get_object(Bucket="storm", Key=entry["Key"])["Body"].read()
            assert data.removeprefix(big) == entry["Key"].encode()
            objects.add(entry["Key"])
    url = sqs.get_queue_url(QueueName="storm")["QueueUrl"]
    told = []
    while True:
        bodies = receive(sqs, url, 10, seconds=1)
        told += [unquote_plus(record["s3"]["object"]["key"]) for record in records(bodies)]
        if not bodies:
            break
    assert acknowledged <= objects, "an acknowledged object is there"
    assert sorted(told) == sorted(objects), "each object was told of once"
    assert len(acknowledged) > 20
