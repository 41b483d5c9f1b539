"""Faults on purpose: each does what docs/faults.md says, and the state behind it is right."""

import json
import os
import socket
import subprocess
import time
from urllib.parse import urlsplit

import pytest
import requests
from botocore.exceptions import BotoCoreError, ClientError
from conftest import TARGET, make_client
from test_rds import ARNS, Rds
from test_sqs import counts, receive

pytestmark = [
    pytest.mark.skipif(TARGET == "moto", reason="moto has no faults"),
    pytest.mark.skipif("REELFLEET_CONFORMANCE_ENDPOINT" in os.environ, reason="others use that endpoint"),
]
LOST = (BotoCoreError,)


@pytest.fixture(scope="module")
def endpoint_url(start_local):
    """An endpoint that nobody else uses."""
    return start_local()


@pytest.fixture(scope="module")
def s3(endpoint_url):
    return make_client("s3", endpoint_url)


@pytest.fixture(scope="module")
def sqs(endpoint_url):
    return make_client("sqs", endpoint_url)


@pytest.fixture(scope="module")
def sns(endpoint_url):
    return make_client("sns", endpoint_url)


@pytest.fixture(scope="module")
def rds(endpoint_url):
    rds = Rds(endpoint_url)
    rds("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)")
    return rds


@pytest.fixture
def suffer(endpoint_url):
    """Puts rules in force until the test ends, at which each must have befallen as often as it was to."""

    def suffer(*rules):
        answer = requests.post(f"{endpoint_url}/_reelfleet/faults", json=rules)
        assert answer.status_code == 200, answer.text

    yield suffer
    rules = requests.get(f"{endpoint_url}/_reelfleet/faults").json()["rules"]
    assert [rule for rule in rules if rule["left"]] == [], "a rule has not befallen"
    suffer()


@pytest.fixture
def topic(sns, queue):
    """A topic whose raw messages come to the queue: ARN."""
    arn = sns.create_topic(Name=queue[1].rsplit(":", 1)[1])["TopicArn"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue[1], Attributes={"RawMessageDelivery": "true"})
    return arn


def bodies(messages):
    return sorted(message["Body"] for message in messages)


def batch(bodies):
    return [{"Id": body, "MessageBody": body} for body in bodies]


def handles(messages, **more):
    return [{"Id": message["Body"], "ReceiptHandle": message["ReceiptHandle"], **more} for message in messages]


# --- refusals: nothing is done


WORDS = {
    ("s3", "throttle"): (503, "SlowDown"),
    ("s3", "internal_error"): (500, "InternalError"),
    ("s3", "unavailable"): (503, "ServiceUnavailable"),
    ("sqs", "throttle"): (400, "ThrottlingException"),
    ("sqs", "internal_error"): (500, "InternalFailure"),
    ("sqs", "unavailable"): (503, "ServiceUnavailable"),
    ("sns", "throttle"): (400, "Throttling"),
    ("sns", "internal_error"): (500, "InternalError"),
    ("sns", "unavailable"): (503, "ServiceUnavailable"),
    ("rds-data", "throttle"): (400, "ThrottlingException"),
    ("rds-data", "internal_error"): (500, "InternalServerErrorException"),
    ("rds-data", "unavailable"): (503, "ServiceUnavailableError"),
    ("rds-data", "resuming"): (400, "DatabaseResumingException"),
}


@pytest.mark.parametrize("service, fault", WORDS)
def test_a_refusal_has_the_words_of_its_service(
    suffer, refuses, s3, sqs, sns, rds, bucket, queue, topic, service, fault
):
    status, code = WORDS[service, fault]
    operation, call, arguments = {
        "s3": ("PutObject", s3.put_object, {"Bucket": bucket, "Key": "a", "Body": b"x"}),
        "sqs": ("SendMessage", sqs.send_message, {"QueueUrl": queue[0], "MessageBody": "x"}),
        "sns": ("Publish", sns.publish, {"TopicArn": topic, "Message": "x"}),
        "rds-data": (
            "ExecuteStatement", rds.client.execute_statement, {**ARNS, "sql": "INSERT INTO t VALUES (99, 0)"},
        ),
    }[service]
    suffer({"service": service, "operation": operation, "fault": fault})
    assert refuses(code, call, **arguments)["ResponseMetadata"]["HTTPStatusCode"] == status
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert counts(sqs, queue[0]) == [0, 0, 0]
    assert rds("SELECT count(*) FROM t WHERE id = 99") == [(0,)]


@pytest.mark.parametrize("fault", ["drop", "reset"])
def test_connections_end_before_the_work(suffer, s3, endpoint_url, bucket, fault):
    suffer({"service": "s3", "path": "/gone", "fault": fault, "times": 2})
    with pytest.raises(LOST):
        s3.put_object(Bucket=bucket, Key="gone", Body=b"x")
    # What the system says of the connection, without a library in between.
    address = urlsplit(endpoint_url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as line:
        line.sendall(f"HEAD /{bucket}/gone HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        if fault == "drop":
            assert line.recv(1) == b""
        else:
            with pytest.raises(ConnectionResetError):
                line.recv(1)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_delay(suffer, sqs):
    suffer({"service": "sqs", "operation": "ListQueues", "fault": {"delay": {"ms": 200}}})
    began = time.monotonic()
    sqs.list_queues()
    assert time.monotonic() - began >= 0.2


# --- the work is done, and the answer lost


@pytest.mark.parametrize("fault", ["lose_answer", "fail_answer"])
def test_each_call_of_the_data_api_may_be_done_without_an_answer(suffer, rds, fault):
    def lost(operation, call, *arguments, **more):
        suffer({"service": "rds-data", "operation": operation, "fault": fault})
        with pytest.raises(LOST if fault == "lose_answer" else ClientError) as caught:
            call(*arguments, **more)
        if fault == "fail_answer":
            assert caught.value.response["Error"]["Code"] == "InternalServerErrorException"

    rds("DELETE FROM t")
    lost("ExecuteStatement", rds, "INSERT INTO t VALUES (1, 0)")
    lost("ExecuteStatement", rds, "UPDATE t SET n = n + 1 WHERE id = 1")
    assert rds("SELECT id, n FROM t") == [(1, 1)], "done once"
    lost("BatchExecuteStatement", rds.batch, "INSERT INTO t VALUES (:id, 0)", [{"id": 2}, {"id": 3}])
    assert rds("SELECT id FROM t ORDER BY id") == [(1,), (2,), (3,)]

    lost("BeginTransaction", rds.begin)
    transaction = rds.begin()
    lost("ExecuteStatement", rds, "UPDATE t SET n = n + 1 WHERE id = 1", transaction)
    assert rds("SELECT n FROM t WHERE id = 1", transaction) == [(2,)]
    lost("CommitTransaction", rds.commit, transaction)
    assert rds("SELECT n FROM t WHERE id = 1") == [(2,)], "the lost commit was one"
    with pytest.raises(ClientError, match="is not found"):
        rds.commit(transaction)

    transaction = rds.begin()
    rds("DELETE FROM t", transaction)
    lost("RollbackTransaction", rds.rollback, transaction)
    assert rds("SELECT count(*) FROM t") == [(3,)]
    assert rds.updated("UPDATE t SET n = 0 WHERE id = 1") == 1, "no lock is left behind"


def test_the_data_api_resumes(suffer, rds, refuses):
    rds("DELETE FROM t")
    suffer({"service": "rds-data", "fault": "resuming", "times": 3})
    transaction = dict(**ARNS)
    refuses("DatabaseResumingException", rds.client.begin_transaction, **transaction)
    refuses("DatabaseResumingException", rds.client.execute_statement, **ARNS, sql="INSERT INTO t VALUES (1, 0)")
    refuses("DatabaseResumingException", rds.client.batch_execute_statement, **ARNS, sql="INSERT INTO t VALUES (1, 0)")
    assert rds("SELECT count(*) FROM t") == [(0,)]


def test_each_batch_may_be_done_without_an_answer(suffer, sqs, sns, queue, topic):
    def lost(service, operation, call, **arguments):
        suffer({"service": service, "operation": operation, "path": queue[1].rsplit(":", 1)[1], "fault": "lose_answer"})
        with pytest.raises(LOST):
            call(**arguments)

    url = queue[0]
    lost("sqs", "SendMessageBatch", sqs.send_message_batch, QueueUrl=url, Entries=batch("ab"))
    entries = [{"Id": body, "Message": body} for body in "cd"]
    lost("sns", "PublishBatch", sns.publish_batch, TopicArn=topic, PublishBatchRequestEntries=entries)
    messages = receive(sqs, url)
    assert bodies(messages) == ["a", "b", "c", "d"], "each was sent once"
    again = handles(messages[:2], VisibilityTimeout=0)
    lost("sqs", "ChangeMessageVisibilityBatch", sqs.change_message_visibility_batch, QueueUrl=url, Entries=again)
    assert counts(sqs, url) == [2, 2, 0]
    gone = handles(messages[2:])
    lost("sqs", "DeleteMessageBatch", sqs.delete_message_batch, QueueUrl=url, Entries=gone)
    assert bodies(receive(sqs, url)) == bodies(messages[:2])
    assert counts(sqs, url) == [0, 2, 0]


def test_a_lost_receive_is_delivered_again(suffer, sqs, queue):
    url = queue[0]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    suffer({"service": "sqs", "operation": "ReceiveMessage", "fault": "lose_answer"})
    with pytest.raises(LOST):
        receive(sqs, url, VisibilityTimeout=1)
    assert counts(sqs, url) == [0, 1, 0], "in flight, and nobody has it"
    message, = receive(sqs, url, WaitTimeSeconds=5, AttributeNames=["ApproximateReceiveCount"])
    assert message["Body"] == "x" and message["Attributes"]["ApproximateReceiveCount"] == "2"


def test_a_lost_completion_is_one_object_and_one_event(suffer, s3, sqs, bucket, queue):
    events = {"QueueConfigurations": [{"QueueArn": queue[1], "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=events)
    receive(sqs, queue[0])
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"whole")
    named = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    completion = {"Bucket": bucket, "Key": "m", "UploadId": upload, "MultipartUpload": named}
    suffer({"service": "s3", "operation": "CompleteMultipartUpload", "fault": "lose_answer"})
    with pytest.raises(LOST):
        s3.complete_multipart_upload(**completion)
    first = s3.head_object(Bucket=bucket, Key="m")
    assert s3.complete_multipart_upload(**completion)["ETag"] == first["ETag"]
    suffer({"service": "s3", "operation": "PutObject", "path": f"{bucket}/p", "fault": "lose_answer"})
    with pytest.raises(LOST):
        s3.put_object(Bucket=bucket, Key="p", Body=b"whole", IfNoneMatch="*")
    keys = [json.loads(m["Body"])["Records"][0]["s3"]["object"]["key"] for m in receive(sqs, queue[0])]
    assert sorted(keys) == ["m", "p"]


# --- messages


def test_a_message_comes_twice(suffer, sqs, queue):
    url = queue[0]
    sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes={"k": {"DataType": "String", "StringValue": "v"}})
    suffer({"service": "sqs", "path": queue[1], "fault": "duplicate"})
    first, = receive(sqs, url, MessageAttributeNames=["All"])
    assert counts(sqs, url) == [1, 1, 0], "handed out, and visible still"
    second, = receive(sqs, url, MessageAttributeNames=["All"])
    differs = {"ReceiptHandle", "ResponseMetadata"}
    assert {k: v for k, v in first.items() if k not in differs} == {k: v for k, v in second.items() if k not in differs}
    assert first["ReceiptHandle"] != second["ReceiptHandle"]
    # Each holder can hold on to its own, and to no other.
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=60)
    assert counts(sqs, url) == [0, 1, 0]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
    assert counts(sqs, url) == [0, 0, 0]


def test_a_message_comes_late(suffer, sqs, queue):
    url = queue[0]
    suffer({"service": "sqs", "operation": "ReceiveMessage", "fault": {"postpone": {"ms": 400}}})
    assert receive(sqs, url) == [], "an empty receive draws nothing"
    sqs.send_message(QueueUrl=url, MessageBody="x")
    began = time.monotonic()
    message, = receive(sqs, url, WaitTimeSeconds=5, AttributeNames=["ApproximateReceiveCount"])
    assert 0.35 <= time.monotonic() - began < 4
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


def test_messages_come_out_of_order(suffer, sqs, queue):
    url = queue[0]
    for body in "abc":
        sqs.send_message(QueueUrl=url, MessageBody=body)
    suffer({"service": "sqs", "fault": "reorder", "times": 2})
    assert [message["Body"] for message in receive(sqs, url, MaxNumberOfMessages=1)] == ["c"]
    assert [message["Body"] for message in receive(sqs, url)] == ["b", "a"]
    assert counts(sqs, url) == [0, 3, 0]


# --- batches in part


def split(answer, entries):
    """Ids that succeeded and ids that failed on the service's side: together all."""
    good = {entry["Id"] for entry in answer.get("Successful", [])}
    bad = {entry["Id"] for entry in answer.get("Failed", [])}
    assert bad and not good & bad and good | bad == {entry["Id"] for entry in entries}
    assert all(not entry["SenderFault"] and "Internal" in entry["Code"] for entry in answer["Failed"])
    return good, bad


def test_entries_of_a_batch_fail_alone(suffer, sqs, sns, queue, topic):
    url, letters = queue[0], "abcdefgh"

    def fail(service, operation):
        suffer({"service": service, "operation": operation, "fault": "fail_entries", "seed": 3})

    fail("sqs", "SendMessageBatch")
    good, bad = split(sqs.send_message_batch(QueueUrl=url, Entries=batch(letters)), batch(letters))
    entries = [{"Id": body, "Message": body} for body in letters.upper()]
    fail("sns", "PublishBatch")
    published, unpublished = split(sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries), entries)
    messages = receive(sqs, url) + receive(sqs, url)
    assert set(bodies(messages)) == good | published and len(messages) == len(good) + len(published)
    assert good and published, "the seed fails not all of them"

    sent = handles(messages[:10], VisibilityTimeout=0)
    fail("sqs", "ChangeMessageVisibilityBatch")
    given_back, kept = split(sqs.change_message_visibility_batch(QueueUrl=url, Entries=sent), sent)
    assert counts(sqs, url) == [len(given_back), len(messages) - len(given_back), 0]
    messages = [m for m in messages if m["Body"] not in given_back] + receive(sqs, url)
    held = handles(messages[:10])
    fail("sqs", "DeleteMessageBatch")
    deleted, left = split(sqs.delete_message_batch(QueueUrl=url, Entries=held), held)
    assert counts(sqs, url) == [0, len(messages) - len(deleted), 0]


# --- bodies


def test_a_body_comes_slowly(suffer, s3, bucket):
    data = os.urandom(50_000)
    s3.put_object(Bucket=bucket, Key="a", Body=data)
    suffer({"service": "s3", "operation": "GetObject", "fault": {"slow_body": {"bytes_per_s": 100_000}}})
    began = time.monotonic()
    assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == data
    assert 0.4 <= time.monotonic() - began < 3


@pytest.mark.parametrize("cut, there", [(1000, 1000), (10**9, 49_999), (0, 0)])
def test_a_body_breaks_off_and_is_resumed(suffer, s3, bucket, cut, there):
    data = os.urandom(50_000)
    etag = s3.put_object(Bucket=bucket, Key="a", Body=data)["ETag"]
    suffer({"service": "s3", "path": "/a", "fault": {"truncate_body": {"bytes": cut}}})
    answer = s3.get_object(Bucket=bucket, Key="a")
    assert answer["ContentLength"] == len(data), "the head promises all"
    got = b""
    with pytest.raises(BotoCoreError):
        while piece := answer["Body"].read(500):
            got += piece
        raise AssertionError("the body ended as if it were whole")
    assert got == data[: len(got)] and there - 500 < len(got) <= there
    rest = s3.get_object(Bucket=bucket, Key="a", Range=f"bytes={len(got)}-", IfMatch=etag)["Body"].read()
    assert got + rest == data


# --- rules


def test_rules_are_shown_with_what_they_did(endpoint_url, suffer, refuses, s3, bucket):
    rule = {"service": "s3", "operation": "GetObject", "path": bucket, "fault": "throttle", "after": 1, "times": 2}
    suffer(rule)
    refuses("NoSuchKey", s3.get_object, Bucket=bucket, Key="a")
    for _ in range(2):
        refuses("SlowDown", s3.get_object, Bucket=bucket, Key="a")
    refuses("NoSuchKey", s3.get_object, Bucket=bucket, Key="a")
    shown, = requests.get(f"{endpoint_url}/_reelfleet/faults").json()["rules"]
    assert shown == {**rule, "seed": 0, "left": 0, "matched": 3, "befell": 2}


def test_a_storm_is_repeated_by_its_seed(endpoint_url, suffer, bucket):
    session = requests.Session()

    def storm(seed):
        suffer({"service": "s3", "operation": "HeadObject", "fault": "throttle", "rate": 0.3, "seed": seed})
        return [session.head(f"{endpoint_url}/{bucket}/a").status_code for _ in range(60)]

    first = storm(1)
    assert {503, 403} == set(first) and 5 <= first.count(503) <= 35
    assert storm(1) == first != storm(2)


def test_rules_that_cannot_be_are_refused(endpoint_url, suffer, refuses, s3, bucket):
    def refused(rules, words):
        answer = requests.post(f"{endpoint_url}/_reelfleet/faults", data=rules)
        assert answer.status_code == 400 and words in answer.text, answer.text

    suffer({"service": "s3", "operation": "HEAD", "fault": "throttle"})
    good = '{"service": "s3", "fault": "drop"}'
    refused(f'[{good}, {{"service": "sqs", "fault": {{"truncate_body": {{"bytes": 1}}}}}}]', "rule 2: slow_body and")
    refused('[{"service": "sns", "operation": "GetObject", "fault": "drop"}]', "sns has no operation GetObject")
    refused('[{"service": "s3", "fault": "drop", "rate": 2}]', "a share from 0 to 1")
    refused("no json", "JSON list of rules")
    refuses("503", s3.head_bucket, Bucket=bucket)


def test_faults_are_for_this_machine_only(endpoint_url):
    url = f"{endpoint_url}/_reelfleet/faults"
    for header in ({"Origin": "http://evil.test"}, {"X-Forwarded-For": "203.0.113.1"}, {"Forwarded": "for=203.0.113.1"}):
        assert requests.post(url, json=[], headers=header).status_code == 403
        assert requests.get(url, headers=header).status_code == 403
    assert requests.delete(url).status_code == 405


def test_faults_of_a_file_hold_from_the_start(own_process, tmp_path, refuses):
    rules = tmp_path / "faults.json"
    rules.write_text('[{"service": "sqs", "operation": "ListQueues", "fault": "throttle"}]')
    own_process.environment["REELFLEET_LOCAL_FAULTS"] = str(rules)
    for _ in range(2):
        own_process.kill()
        own_process.start()
        sqs = make_client("sqs", own_process.url)
        refuses("ThrottlingException", sqs.list_queues)
        sqs.list_queues()
    rules.write_text('[{"service": "sqs", "fault": "resuming"}]')
    own_process.kill()
    ended = subprocess.run(own_process.command(), env=own_process.environment, capture_output=True, text=True)
    assert ended.returncode != 0 and "resuming is an answer of rds-data, not of sqs" in ended.stderr
