"""SQS: what the fleet, an operator's CLI and Terraform rely on."""

import hashlib
import json
import struct
import threading
import time
import uuid

import pytest
from conftest import make_client

DAY = 86_400


def name():
    return f"conformance-{uuid.uuid4().hex[:16]}"


def arn_of(sqs, url):
    return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def receive(sqs, url, **more):
    more.setdefault("MaxNumberOfMessages", 10)
    return sqs.receive_message(QueueUrl=url, **more).get("Messages", [])


def counts(sqs, url):
    names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return [int(found[name]) for name in names]


def digest(attributes):
    """MD5OfMessageAttributes, by the Developer Guide."""

    def part(data):
        return struct.pack(">I", len(data)) + data

    out = b""
    for key, value in sorted(attributes.items()):
        out += part(key.encode()) + part(value["DataType"].encode())
        out += b"\x02" + part(value["BinaryValue"]) if "BinaryValue" in value else b"\x01" + part(value["StringValue"].encode())
    return hashlib.md5(out).hexdigest()


@pytest.fixture
def dead_letters(sqs, queue):
    """(source URL, source ARN, dead-letter URL, dead-letter ARN); a message moves on its third receive."""
    url, arn = queue
    dlq = sqs.create_queue(QueueName=name())["QueueUrl"]
    policy = {"deadLetterTargetArn": arn_of(sqs, dlq), "maxReceiveCount": 2}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": json.dumps(policy)})
    yield url, arn, dlq, policy["deadLetterTargetArn"]
    sqs.delete_queue(QueueUrl=dlq)


def bury(sqs, dead_letters, bodies):
    """Sends messages and receives them until they lie in the dead-letter queue; gives what was sent, by body."""
    url, _, dlq, _ = dead_letters
    sent = {body: sqs.send_message(QueueUrl=url, MessageBody=body)["MessageId"] for body in bodies}
    for _ in range(2):
        assert len(receive(sqs, url, VisibilityTimeout=0)) == len(bodies)
    assert counts(sqs, dlq)[0] == 0, "moved before the next receive"
    assert receive(sqs, url, VisibilityTimeout=0) == []
    assert counts(sqs, dlq)[0] == len(bodies)
    return sent


def test_send_receive_delete_with_digests(sqs, queue):
    url, _ = queue
    body = "Zoë & <b> \t\n 🎬"
    attributes = {
        "kind": {"DataType": "String", "StringValue": "probe"},
        "kind.sub": {"DataType": "String.custom", "StringValue": "é"},
        "cost": {"DataType": "Number", "StringValue": "12.5"},
        "blob": {"DataType": "Binary", "BinaryValue": b"\x00\x01\xff"},
    }
    sent = sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    assert sent["MD5OfMessageAttributes"] == digest(attributes)
    before = time.time() * 1000
    [message] = receive(sqs, url, VisibilityTimeout=0, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"])
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], body)
    assert message["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert message["MessageAttributes"] == attributes
    system = message["Attributes"]
    assert system["ApproximateReceiveCount"] == "1" and system["SenderId"]
    assert abs(int(system["SentTimestamp"]) - before) < 10_000
    assert int(system["ApproximateFirstReceiveTimestamp"]) >= int(system["SentTimestamp"])
    # Only what is asked for is returned, and only that is digested.
    [message] = receive(sqs, url, MessageAttributeNames=["kind.*"], MessageSystemAttributeNames=["ApproximateReceiveCount"])
    assert message["Attributes"] == {"ApproximateReceiveCount": "2"}
    asked = {key: attributes[key] for key in message["MessageAttributes"]}
    assert "kind.sub" in asked and "cost" not in asked
    assert message["MD5OfMessageAttributes"] == digest(asked)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert counts(sqs, url) == [0, 0, 0]


def test_without_asking_nothing_but_the_message_is_returned(sqs, queue):
    url, _ = queue
    sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes={"a": {"DataType": "String", "StringValue": "1"}})
    [message] = receive(sqs, url)
    assert set(message) == {"MessageId", "ReceiptHandle", "MD5OfBody", "Body"}


def test_visibility_and_redelivery_with_a_new_receipt(sqs, queue):
    url, _ = queue
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [first] = receive(sqs, url, VisibilityTimeout=1, AttributeNames=["ApproximateReceiveCount"])
    assert receive(sqs, url) == []
    [second] = receive(sqs, url, WaitTimeSeconds=5, AttributeNames=["ApproximateReceiveCount"])
    assert first["MessageId"] == second["MessageId"]
    assert first["ReceiptHandle"] != second["ReceiptHandle"]
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"


def test_heartbeat_and_release(sqs, queue):
    url, _ = queue
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(sqs, url, VisibilityTimeout=1)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=30)
    assert receive(sqs, url, WaitTimeSeconds=2) == []
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert len(receive(sqs, url)) == 1


@pytest.mark.moto_is_wrong("lets a stale handle delete and extend")
def test_a_stale_handle_deletes_nothing_and_extends_nothing(sqs, queue, refuses):
    url, _ = queue
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [stale] = receive(sqs, url, VisibilityTimeout=0)
    [held] = receive(sqs, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=stale["ReceiptHandle"])
    assert counts(sqs, url) == [0, 1, 0]
    stale = {"QueueUrl": url, "ReceiptHandle": stale["ReceiptHandle"], "VisibilityTimeout": 9}
    refuses("InvalidParameterValue", sqs.change_message_visibility, **stale)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"])
    sqs.delete_message(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"])
    assert counts(sqs, url) == [0, 0, 0]


@pytest.mark.moto_is_wrong("answers OK")
def test_a_message_that_is_not_in_flight_cannot_be_extended(sqs, queue, refuses):
    url, _ = queue
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(sqs, url, VisibilityTimeout=0)
    change = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 30}
    error = refuses("AWS.SimpleQueueService.MessageNotInflight|MessageNotInflight", sqs.change_message_visibility, **change)
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_twelve_hours_is_the_most(sqs, queue, refuses):
    url, _ = queue
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(sqs, url)
    handle = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    refuses("InvalidParameterValue", sqs.change_message_visibility, **handle, VisibilityTimeout=43_201)
    time.sleep(0.01)
    error = refuses("InvalidParameterValue", sqs.change_message_visibility, **handle, VisibilityTimeout=43_200)
    assert "beyond the limit [43200 seconds]" in error["Error"]["Message"]
    sqs.change_message_visibility(**handle, VisibilityTimeout=43_000)


@pytest.mark.moto_is_wrong("refuses the whole batch for one bad entry")
def test_a_bad_entry_does_not_fail_its_neighbours(sqs, queue):
    url, _ = queue
    entries = [{"Id": f"e{n}", "MessageBody": f"b{n}"} for n in range(3)]
    entries[1]["MessageAttributes"] = {"a": {"DataType": "Text", "StringValue": "x"}}
    sent = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in sent["Successful"]] == ["e0", "e2"]
    [failed] = sent["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("e1", "InvalidParameterValue", True)
    assert counts(sqs, url) == [2, 0, 0]


def test_batches_of_each_kind(sqs, queue):
    url, _ = queue
    sent = sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": f"e{n}", "MessageBody": f"b{n}"} for n in (0, 2)])
    assert [entry["Id"] for entry in sent["Successful"]] == ["e0", "e2"] and not sent.get("Failed")
    held = receive(sqs, url)
    assert sorted(message["Body"] for message in held) == ["b0", "b2"]
    both = [{"Id": f"h{n}", "ReceiptHandle": m["ReceiptHandle"], "VisibilityTimeout": 60} for n, m in enumerate(held)]
    changed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=[*both, {**both[0], "Id": "x", "ReceiptHandle": "junk"}])
    assert [entry["Id"] for entry in changed["Successful"]] == ["h0", "h1"]
    assert [(entry["Id"], entry["Code"]) for entry in changed["Failed"]] == [("x", "ReceiptHandleIsInvalid")]
    both = [{"Id": entry["Id"], "ReceiptHandle": entry["ReceiptHandle"]} for entry in both]
    deleted = sqs.delete_message_batch(QueueUrl=url, Entries=both)
    assert len(deleted["Successful"]) == 2 and not deleted.get("Failed")
    assert counts(sqs, url) == [0, 0, 0]


def test_batches_that_are_refused_whole(sqs, queue, refuses):
    url, _ = queue

    def refused(code, entries):
        refuses(f"AWS.SimpleQueueService.{code}|{code}", sqs.send_message_batch, QueueUrl=url, Entries=entries)

    refused("EmptyBatchRequest", [])
    refused("TooManyEntriesInBatchRequest", [{"Id": str(n), "MessageBody": "x"} for n in range(11)])
    refused("BatchEntryIdsNotDistinct", [{"Id": "a", "MessageBody": "x"}] * 2)
    refused("InvalidBatchEntryId", [{"Id": "a b", "MessageBody": "x"}])
    assert counts(sqs, url) == [0, 0, 0]


def test_a_batch_is_limited_to_a_mebibyte(sqs, queue, refuses):
    url, _ = queue
    entries = [{"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)]
    refuses("AWS.SimpleQueueService.BatchRequestTooLong", sqs.send_message_batch, QueueUrl=url, Entries=entries)


def test_long_poll_is_woken_by_a_send(sqs, queue, client):
    url, _ = queue
    found = []

    def poll():
        found.extend(receive(client("sqs"), url, WaitTimeSeconds=20))
        found.append(time.monotonic())

    poller = threading.Thread(target=poll)
    poller.start()
    time.sleep(0.5)
    assert not found
    sent = time.monotonic()
    sqs.send_message(QueueUrl=url, MessageBody="x")
    poller.join(15)
    assert found[0]["Body"] == "x" and found[1] - sent < 3


def test_the_queues_own_wait_time_is_honoured(sqs, queue):
    url, _ = queue
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"ReceiveMessageWaitTimeSeconds": "1"})
    started = time.monotonic()
    assert receive(sqs, url) == []
    assert time.monotonic() - started >= 0.9
    started = time.monotonic()
    assert receive(sqs, url, WaitTimeSeconds=0) == []
    assert time.monotonic() - started < 0.9


@pytest.mark.moto_is_wrong("sets no DeadLetterQueueSourceArn")
def test_dead_letter_queue(sqs, dead_letters):
    url, arn, dlq, _ = dead_letters
    sent = bury(sqs, dead_letters, ["x"])
    [message] = receive(sqs, dlq, MessageSystemAttributeNames=["All"])
    assert message["MessageId"] == sent["x"]
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == arn
    assert message["Attributes"]["ApproximateReceiveCount"] == "3"
    assert sqs.list_dead_letter_source_queues(QueueUrl=dlq)["queueUrls"] == [url]


@pytest.mark.moto_is_wrong("StartMessageMoveTask: 500")
def test_move_task_gives_new_messages_back_to_their_source(sqs, dead_letters, refuses):
    url, arn, dlq, dlq_arn = dead_letters
    sent = bury(sqs, dead_letters, ["a", "b", "c"])
    sqs.start_message_move_task(SourceArn=dlq_arn)
    back = []
    while len(back) < 3:
        got = receive(sqs, url, WaitTimeSeconds=10, MessageSystemAttributeNames=["All"])
        assert got
        back.extend(got)
    assert sorted(message["Body"] for message in back) == ["a", "b", "c"]
    for message in back:
        assert message["MessageId"] != sent[message["Body"]]
        assert message["Attributes"]["ApproximateReceiveCount"] == "1"
        assert "DeadLetterQueueSourceArn" not in message["Attributes"]
    deadline = time.monotonic() + 10
    while (task := sqs.list_message_move_tasks(SourceArn=dlq_arn)["Results"][0])["Status"] == "RUNNING":
        assert time.monotonic() < deadline
    assert task["Status"] == "COMPLETED" and "TaskHandle" not in task
    assert (task["ApproximateNumberOfMessagesMoved"], task["ApproximateNumberOfMessagesToMove"]) == (3, 3)
    refuses("InvalidParameterValue", sqs.start_message_move_task, SourceArn=arn)
    refuses("ResourceNotFoundException", sqs.start_message_move_task, SourceArn=arn + "x")


@pytest.mark.moto_is_wrong("StartMessageMoveTask: 500")
def test_move_task_with_a_rate_is_cancelled(sqs, queue, dead_letters, refuses):
    _, _, dlq, dlq_arn = dead_letters
    other = sqs.create_queue(QueueName=name())["QueueUrl"]
    bury(sqs, dead_letters, [str(n) for n in range(5)])
    task = {"SourceArn": dlq_arn, "DestinationArn": arn_of(sqs, other), "MaxNumberOfMessagesPerSecond": 1}
    handle = sqs.start_message_move_task(**task)["TaskHandle"]
    refuses("InvalidParameterValue", sqs.start_message_move_task, **task)
    assert len(receive(sqs, other, WaitTimeSeconds=5)) == 1
    [running] = sqs.list_message_move_tasks(SourceArn=dlq_arn)["Results"]
    assert (running["Status"], running["TaskHandle"]) == ("RUNNING", handle)
    assert sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"] < 5
    [cancelled] = sqs.list_message_move_tasks(SourceArn=dlq_arn)["Results"]
    assert cancelled["Status"] == "CANCELLED"
    refuses("ResourceNotFoundException", sqs.cancel_message_move_task, TaskHandle="bm8=")
    assert counts(sqs, dlq)[0] >= 3
    sqs.delete_queue(QueueUrl=other)


def test_delay_purge_and_counts(sqs, queue):
    url, _ = queue
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=1)
    sqs.send_message(QueueUrl=url, MessageBody="held")
    assert counts(sqs, url) == [1, 0, 1]
    [held] = receive(sqs, url)
    assert held["Body"] == "held" and counts(sqs, url) == [0, 1, 1]
    [later] = receive(sqs, url, WaitTimeSeconds=5)
    assert later["Body"] == "later" and counts(sqs, url) == [0, 2, 0]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "900"})
    sqs.send_message(QueueUrl=url, MessageBody="by the queue")
    sqs.send_message(QueueUrl=url, MessageBody="by the message", DelaySeconds=0)
    assert counts(sqs, url) == [1, 2, 1]
    sqs.purge_queue(QueueUrl=url)
    assert counts(sqs, url) == [0, 0, 0]


def test_one_purge_in_a_minute(sqs, queue, refuses):
    url, _ = queue
    sqs.purge_queue(QueueUrl=url)
    refuses("AWS.SimpleQueueService.PurgeQueueInProgress", sqs.purge_queue, QueueUrl=url)


@pytest.mark.moto_is_wrong("knows no fair queues")
def test_fair_queue_serves_the_quiet_tenant(sqs, queue):
    url, _ = queue
    for start in range(0, 40, 10):
        entries = [{"Id": str(n), "MessageBody": f"noisy {start + n}", "MessageGroupId": "noisy"} for n in range(10)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert len(receive(sqs, url)) == 10
    sqs.send_message(QueueUrl=url, MessageBody="quiet", MessageGroupId="quiet")
    [message] = receive(sqs, url, MaxNumberOfMessages=1, MessageSystemAttributeNames=["MessageGroupId"])
    assert message["Body"] == "quiet" and message["Attributes"]["MessageGroupId"] == "quiet"
    # One worker, one at a time: tenants take turns although nothing is in flight.
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    other = sqs.create_queue(QueueName=name())["QueueUrl"]
    for n in range(5):
        sqs.send_message(QueueUrl=other, MessageBody=f"noisy {n}", MessageGroupId="noisy")
    sqs.send_message(QueueUrl=other, MessageBody="quiet", MessageGroupId="quiet")
    served = []
    for _ in range(2):
        [message] = receive(sqs, other, MaxNumberOfMessages=1)
        sqs.delete_message(QueueUrl=other, ReceiptHandle=message["ReceiptHandle"])
        served.append(message["Body"])
    assert sorted(served) == ["noisy 0", "quiet"]
    sqs.delete_queue(QueueUrl=other)


def test_errors(sqs, queue, refuses):
    url, _ = queue
    gone = url + "-gone"
    missing = "AWS.SimpleQueueService.NonExistentQueue|QueueDoesNotExist"
    error = refuses(missing, sqs.get_queue_url, QueueName=name())
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    refuses(missing, sqs.send_message, QueueUrl=gone, MessageBody="x")
    refuses(missing, sqs.receive_message, QueueUrl=gone)
    refuses(missing, sqs.delete_queue, QueueUrl=gone)
    refuses("ReceiptHandleIsInvalid", sqs.delete_message, QueueUrl=url, ReceiptHandle="junk")
    refuses("InvalidParameterValue", sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=11)
    refuses("InvalidParameterValue", sqs.receive_message, QueueUrl=url, WaitTimeSeconds=21)
    refuses("InvalidParameterValue", sqs.send_message, QueueUrl=url, MessageBody="x", DelaySeconds=901)
    refuses("InvalidAttributeName", sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["Nothing"])
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName=name())


@pytest.mark.moto_is_wrong("takes some of these values")
def test_values_out_of_range(sqs, queue, refuses):
    url, _ = queue
    for key, value in [("VisibilityTimeout", "43201"), ("MessageRetentionPeriod", "1"), ("MaximumMessageSize", "1048577")]:
        refuses("InvalidAttributeValue", sqs.set_queue_attributes, QueueUrl=url, Attributes={key: value})
    refuses("InvalidAttributeName", sqs.set_queue_attributes, QueueUrl=url, Attributes={"Nothing": "1"})
    policy = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:none", "maxReceiveCount": 2}
    refuses("InvalidParameterValue", sqs.set_queue_attributes, QueueUrl=url, Attributes={"RedrivePolicy": json.dumps(policy)})
    refuses("InvalidParameterValue", sqs.create_queue, QueueName="no spaces")
    refuses("InvalidMessageContents", sqs.send_message, QueueUrl=url, MessageBody="\u0000")


def test_a_message_of_one_mebibyte(sqs, queue, refuses):
    url, _ = queue
    largest = "x" * 1_048_576
    sqs.send_message(QueueUrl=url, MessageBody=largest)
    assert receive(sqs, url)[0]["Body"] == largest
    refuses("InvalidParameterValue", sqs.send_message, QueueUrl=url, MessageBody=largest + "x")


@pytest.mark.moto_is_wrong("offers FIFO queues, which ours refuses on purpose")
def test_fifo_is_refused(sqs, queue, refuses):
    url, _ = queue
    for request in [
        {"QueueName": name() + ".fifo", "Attributes": {"FifoQueue": "true"}},
        {"QueueName": name(), "Attributes": {"FifoQueue": "true"}},
    ]:
        error = refuses("InvalidParameterValue", sqs.create_queue, **request)
        assert "FIFO" in error["Error"]["Message"]
    fifo = {"QueueUrl": url, "MessageBody": "x", "MessageDeduplicationId": "d"}
    refuses("InvalidParameterValue", sqs.send_message, **fifo)


def test_create_is_idempotent(sqs, refuses):
    queue = name()
    attributes = {"VisibilityTimeout": "90", "DelaySeconds": "1"}
    url = sqs.create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"]
    assert sqs.create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"] == url
    assert sqs.get_queue_url(QueueName=queue)["QueueUrl"] == url
    refuses("QueueAlreadyExists|QueueNameExists", sqs.create_queue, QueueName=queue, Attributes={"VisibilityTimeout": "91"})
    sqs.delete_queue(QueueUrl=url)


def test_attributes_come_back_as_they_were_set(sqs, queue):
    url, arn = queue
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}]}
    wanted = {
        "VisibilityTimeout": "90",
        "MessageRetentionPeriod": str(14 * DAY),
        "Policy": json.dumps(policy),
        "KmsMasterKeyId": "alias/aws/sqs",
    }
    sqs.set_queue_attributes(QueueUrl=url, Attributes=wanted)
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    for key, value in wanted.items():
        assert found[key] == value or json.loads(found[key]) == json.loads(value), key
    assert found["QueueArn"] == arn and found["DelaySeconds"] == "0"
    assert float(found["LastModifiedTimestamp"]) >= float(found["CreatedTimestamp"])


@pytest.mark.moto_is_wrong("returns no RedriveAllowPolicy and does not obey it")
def test_redrive_allow_policy_is_returned_and_obeyed(sqs, queue, refuses):
    url, arn = queue
    allow = json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [arn + "-source"]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedriveAllowPolicy": allow})
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedriveAllowPolicy"])["Attributes"]
    assert found == {"RedriveAllowPolicy": allow}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedriveAllowPolicy": json.dumps({"redrivePermission": "denyAll"})})
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    refuses("InvalidParameterValue", sqs.create_queue, QueueName=name(), Attributes={"RedrivePolicy": redrive})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedriveAllowPolicy": ""})
    source = sqs.create_queue(QueueName=name(), Attributes={"RedrivePolicy": redrive})["QueueUrl"]
    sqs.delete_queue(QueueUrl=source)


def test_tags(sqs, queue):
    url, _ = queue
    sqs.tag_queue(QueueUrl=url, Tags={"a": "1", "b": "2"})
    sqs.tag_queue(QueueUrl=url, Tags={"b": "3"})
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "1", "b": "3"}
    sqs.untag_queue(QueueUrl=url, TagKeys=["a"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"b": "3"}


def test_list_queues_by_pages(sqs):
    prefix = name()
    made = [sqs.create_queue(QueueName=f"{prefix}-{n}")["QueueUrl"] for n in range(3)]
    assert sqs.list_queues(QueueNamePrefix=prefix)["QueueUrls"] == made
    pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix=prefix, PaginationConfig={"PageSize": 2})
    pages = [page.get("QueueUrls", []) for page in pages]
    assert [len(page) for page in pages] == [2, 1] and sum(pages, []) == made
    for url in made:
        sqs.delete_queue(QueueUrl=url)
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=prefix)


def test_a_deleted_queue_takes_its_messages_along(sqs):
    queue = name()
    url = sqs.create_queue(QueueName=queue)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    sqs.delete_queue(QueueUrl=url)
    url = sqs.create_queue(QueueName=queue)["QueueUrl"]
    assert receive(sqs, url) == []
    sqs.delete_queue(QueueUrl=url)


def test_what_was_accepted_outlives_a_kill(own_process):
    sqs = make_client("sqs", own_process.url)
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="waits")
    sqs.send_message(QueueUrl=url, MessageBody="is held")
    held = receive(sqs, url, MaxNumberOfMessages=1, VisibilityTimeout=600)[0]
    own_process.kill()
    own_process.start()
    sqs = make_client("sqs", own_process.url)
    url = sqs.get_queue_url(QueueName="q")["QueueUrl"]
    assert counts(sqs, url) == [1, 1, 0]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=held["ReceiptHandle"])
    assert counts(sqs, url) == [1, 0, 0]


def test_a_move_task_goes_on_after_a_kill(own_process):
    sqs = make_client("sqs", own_process.url)
    dlq = sqs.create_queue(QueueName="q-dlq")["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": arn_of(sqs, dlq), "maxReceiveCount": 1})
    url = sqs.create_queue(QueueName="q", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    for n in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(n))
    assert len(receive(sqs, url, VisibilityTimeout=0)) == 3 and receive(sqs, url) == []
    sqs.start_message_move_task(SourceArn=arn_of(sqs, dlq), MaxNumberOfMessagesPerSecond=1)
    own_process.kill()
    own_process.start()
    sqs = make_client("sqs", own_process.url)
    url = sqs.get_queue_url(QueueName="q")["QueueUrl"]
    bodies = set()
    while len(bodies) < 3:
        got = receive(sqs, url, WaitTimeSeconds=10)
        assert got
        bodies.update(message["Body"] for message in got)
    assert bodies == {"0", "1", "2"}
