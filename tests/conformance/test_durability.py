"""What the endpoint does when its disk is full, its databases are locked, their logs are torn, or it dies in the middle
of a completion: it says so in the words of AWS, and keeps what it acknowledged, whole.
"""

import json
import os
import random
import select
import socket
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from conftest import TARGET, Local, make_client
from test_links import Links, target
from test_rds import ARNS, Rds
from test_sqs import counts, receive

pytestmark = [
    pytest.mark.skipif(TARGET == "moto", reason="moto keeps nothing"),
    pytest.mark.skipif("REELFLEET_CONFORMANCE_ENDPOINT" in os.environ, reason="these tests hurt the endpoint"),
]
MIB = 1 << 20


class World:
    """Clients of an endpoint, a bucket whose events come to a queue, and a table."""

    def __init__(self, local, fresh=True):
        self.s3, self.sqs, self.sns = (make_client(service, local.url) for service in ("s3", "sqs", "sns"))
        self.rds = Rds(local.url)
        self.queue = f"{local.url}/000000000000/events"
        if fresh:
            self.sqs.create_queue(QueueName="events")
            self.s3.create_bucket(Bucket="bucket")
            arn = "arn:aws:sqs:us-east-1:000000000000:events"
            events = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
            self.s3.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration=events)
            self.take()
            self.rds("CREATE TABLE t (id BIGINT PRIMARY KEY)")

    def put(self, key, body=b"x"):
        return self.s3.put_object(Bucket="bucket", Key=key, Body=body)

    def get(self, key):
        return self.s3.get_object(Bucket="bucket", Key=key)["Body"].read()

    def keys(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="bucket")
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def take(self):
        """Keys of all events in the queue, which are gone then."""
        keys = []
        while messages := receive(self.sqs, self.queue):
            for message in messages:
                for record in json.loads(message["Body"]).get("Records", []):
                    keys.append(record["s3"]["object"]["key"])
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return sorted(keys)

    def ids(self):
        return [id for id, in self.rds("SELECT id FROM t ORDER BY id")]

    def begin_upload(self, key, parts=(b"part",)):
        upload = self.s3.create_multipart_upload(Bucket="bucket", Key=key)["UploadId"]
        named = []
        for n, body in enumerate(parts, 1):
            answer = self.s3.upload_part(Bucket="bucket", Key=key, UploadId=upload, PartNumber=n, Body=body)
            named.append({"PartNumber": n, "ETag": answer["ETag"]})
        return {"Bucket": "bucket", "Key": key, "UploadId": upload, "MultipartUpload": {"Parts": named}}


def wait(condition):
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def blobs(folder):
    return len(list((folder / "blobs").glob("*/*")))


# --- a full disk


class SmallDisk(Local):
    """An endpoint whose folder is a file system of its own, of 24 MiB, in a mount namespace that outlives it."""

    def __init__(self, binary, folder):
        folder.mkdir()
        mount = f"mount -t tmpfs -o size=24m tmpfs '{folder}' && echo mounted && exec cat"
        self.holder = subprocess.Popen(
            ["unshare", "-Urm", "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.holder.stdout.readline() != "mounted\n":
            pytest.skip("this system lets nobody mount a file system of his own")
        # As seen from here.
        self.inside = Path(f"/proc/{self.holder.pid}/root{folder}")
        os.environ["REELFLEET_LOCAL_RESERVE_MIB"] = "4"
        try:
            super().__init__(binary, folder)
        finally:
            del os.environ["REELFLEET_LOCAL_RESERVE_MIB"]

    def command(self):
        enter = ["nsenter", "--target", str(self.holder.pid), "--user", "--preserve-credentials", "--mount", "--"]
        return [*enter, os.path.abspath(self.binary), *super().command()[1:]]

    def fill(self):
        """Not a byte is free afterwards."""
        with open(self.inside / "ballast", "ab", buffering=0) as ballast:
            for size in (MIB, 4096, 1):
                try:
                    while ballast.write(bytes(size)) == size:
                        pass
                except OSError:
                    pass

    def empty(self):
        (self.inside / "ballast").unlink()

    def end(self):
        self.kill()
        self.holder.communicate()


@pytest.fixture
def small_disk(tmp_path):
    binary = os.environ.get("REELFLEET_LOCAL_BIN")
    disk = SmallDisk(binary, tmp_path / "disk")
    yield disk
    disk.end()


def test_a_full_disk(small_disk, refuses):
    world = World(small_disk)
    world.put("kept", b"k" * MIB)
    completion = world.begin_upload("m", [b"p" * 5 * MIB, b"tail"])
    world.sqs.send_message(QueueUrl=world.queue, MessageBody='{"Records": []}')
    world.rds("INSERT INTO t VALUES (1)")
    there = blobs(small_disk.inside)

    # More than fits is refused before a byte of it is taken.
    answer = refuses("InsufficientStorage", world.put, key="large", body=bytes(20 * MIB))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 507
    assert blobs(small_disk.inside) == there

    # The disk fills up while a body comes in.
    links = Links(small_disk.url, "bucket")
    head = f"PUT {target(links.sign(key='torn'))} HTTP/1.1\r\nHost: {links.host}\r\nContent-Length: {6 * MIB}\r\n\r\n"
    address = urlsplit(small_disk.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as line:
        line.sendall(head.encode() + bytes(3 * MIB))
        wait(lambda: blobs(small_disk.inside) > there)
        small_disk.fill()
        # No more than it takes: an answer to what is being sent still could be lost.
        while not select.select([line], [], [], 0.02)[0]:
            line.sendall(bytes(64 << 10))
        assert b"<Code>InsufficientStorage</Code>" in line.recv(65536)
    wait(lambda: blobs(small_disk.inside) == there)

    def full():
        small_disk.fill()
        refuses("InsufficientStorage", world.put, key="small", body=b"x")
        refuses("InsufficientStorage", world.s3.delete_object, Bucket="bucket", Key="kept")
        refuses("InsufficientStorage", world.s3.complete_multipart_upload, **completion)
        refusal = refuses("InternalFailure", world.sqs.send_message, QueueUrl=world.queue, MessageBody="x")
        assert "no space left" in refusal["Error"]["Message"]
        refuses("InternalFailure", world.sqs.receive_message, QueueUrl=world.queue)
        refuses("InternalError", world.sns.create_topic, Name="t")
        insert = {**ARNS, "sql": "INSERT INTO t VALUES (2)"}
        assert "53100" in refuses("DatabaseErrorException", world.rds.client.execute_statement, **insert)["Error"]["Message"]
        batch = {**ARNS, "sql": "INSERT INTO t VALUES (:id)", "parameterSets": [
            [{"name": "id", "value": {"longValue": n}}] for n in range(10, 1010)]}
        refuses("DatabaseErrorException", world.rds.client.batch_execute_statement, **batch)
        # What is there can be read.
        assert world.keys() == ["kept"] and world.get("kept") == b"k" * MIB
        assert counts(world.sqs, world.queue)[0] == 2 and world.ids() == [1]
        parts = world.s3.list_parts(Bucket="bucket", Key="m", UploadId=completion["UploadId"])["Parts"]
        assert len(parts) == 2

    full()
    # A power cut now; the disk is still full.
    small_disk.kill()
    small_disk.start()
    world = World(small_disk, fresh=False)
    full()

    small_disk.empty()
    assert world.s3.complete_multipart_upload(**completion)["ETag"].endswith('-2"')
    assert world.get("m") == b"p" * 5 * MIB + b"tail"
    world.rds("INSERT INTO t VALUES (2)")
    world.put("small")
    assert world.keys() == ["kept", "m", "small"] and world.take() == ["kept", "m", "small"]
    assert world.ids() == [1, 2]
    small_disk.kill()
    small_disk.start()
    assert blobs(small_disk.inside) == there + 1, "nothing of what was refused is left"


# --- a lock of another process


def test_databases_locked_by_another_process(own_process, tmp_path, refuses):
    world = World(own_process)
    world.put("kept", b"kept")
    topic = world.sns.create_topic(Name="t")["TopicArn"]
    names = ("local.sqlite", "app.sqlite")

    def lock():
        others = [sqlite3.connect(own_process.folder / name, isolation_level=None) for name in names]
        for other in others:
            other.execute("BEGIN IMMEDIATE")
        return others

    def release(others):
        for other in others:
            other.execute("ROLLBACK")
            other.close()

    # A short one is waited for.
    others = lock()
    waiting = [threading.Thread(target=call) for call in (
        lambda: world.put("short"), lambda: world.rds("INSERT INTO t VALUES (1)"))]
    for thread in waiting:
        thread.start()
    time.sleep(0.3)
    release(others)
    for thread in waiting:
        thread.join()
    assert world.keys() == ["kept", "short"] and world.ids() == [1]

    # A long one is said, by each service in its words; meanwhile what is there can be read.
    there = blobs(own_process.folder)
    others = lock()
    locked_folder = tmp_path / "other"
    locked_folder.mkdir()
    third = sqlite3.connect(locked_folder / "local.sqlite", isolation_level=None)
    third.execute("PRAGMA journal_mode=WAL")
    third.execute("CREATE TABLE x (n)")
    third.execute("BEGIN EXCLUSIVE")
    with ThreadPoolExecutor(6) as pool:
        calls = [
            pool.submit(refuses, "ServiceUnavailable", world.put, key="long"),
            pool.submit(refuses, "ServiceUnavailable", world.sqs.send_message, QueueUrl=world.queue, MessageBody="x"),
            pool.submit(refuses, "ServiceUnavailable", world.sns.publish, TopicArn=topic, Message="x"),
            pool.submit(
                refuses, "DatabaseErrorException", world.rds.client.execute_statement, **ARNS,
                sql="INSERT INTO t VALUES (2)",
            ),
        ]
        command = [str(locked_folder) if part == str(own_process.folder) else part for part in own_process.command()]
        start = pool.submit(subprocess.run, command, env=own_process.environment, capture_output=True, text=True)
        assert world.get("kept") == b"kept" and world.ids() == [1]
        assert all(not call.done() for call in calls), "reads wait for nobody"
        errors = [call.result()["Error"]["Message"] for call in calls]
        ended = start.result()
    assert all("locked" in error for error in errors), errors
    assert "SQLState: 40001" in errors[3]
    assert ended.returncode != 0 and "locked" in ended.stderr
    third.close()
    release(others)
    assert blobs(own_process.folder) == there
    world.put("long")
    world.rds("INSERT INTO t VALUES (2)")
    assert world.take() == ["kept", "long", "short"] and world.ids() == [1, 2]


# --- a torn log


@pytest.fixture
def written(own_process):
    """A killed endpoint's folder, keys in the order of their acknowledgement, and the lengths of both logs after each."""
    world = World(own_process)
    logs = [own_process.folder / f"{name}.sqlite-wal" for name in ("local", "app")]
    ends = []
    for n in range(24):
        world.put(f"{n:02}", str(n).encode() * 100)
        world.rds("INSERT INTO t VALUES (:n)", n=n)
        ends.append([log.stat().st_size for log in logs])
    assert all(a[i] < b[i] for a, b in zip(ends, ends[1:]) for i in (0, 1)), "no checkpoint came between"
    own_process.kill()
    return own_process, logs, ends


def overwrite(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


@pytest.mark.parametrize("damage", ["appended", "cut", "garbled", "garbled in the middle"])
def test_a_torn_log_ends_with_the_last_whole_commit(written, damage):
    local, logs, ends = written
    noise = random.Random(4).randbytes(5000)
    kept = {"appended": 24, "cut": 23, "garbled": 23, "garbled in the middle": 12}[damage]
    for i, log in enumerate(logs):
        end = ends[kept - 1][i]
        if damage == "appended":
            # What was never acknowledged: half of a commit, as a power cut leaves it.
            assert log.stat().st_size == end
            overwrite(log, end, noise)
        elif damage == "cut":
            os.truncate(log, end + 700)
        else:
            overwrite(log, end + 10, noise[: ends[kept][i] - end - 20])
    local.start()
    world = World(local, fresh=False)
    keys = [f"{n:02}" for n in range(kept)]
    assert world.keys() == keys
    assert [world.get(key) for key in keys] == [str(n).encode() * 100 for n in range(kept)]
    assert world.take() == keys, "an object, its event and its entry in the queue are one commit"
    assert world.ids() == list(range(kept))
    assert blobs(local.folder) == kept
    # It goes on, and what is written now stays.
    world.put("24", b"new")
    world.rds("INSERT INTO t VALUES (24)")
    local.kill()
    local.start()
    world = World(local, fresh=False)
    assert world.get("24") == b"new" and world.take() == ["24"] and world.ids()[-1] == 24


# --- killed in the middle of a completion


def test_killed_in_the_middle_of_completions(own_process):
    world = World(own_process)
    chance = random.Random(11)
    bodies, unanswered, there = {}, 0, 0
    for round in range(3):
        uploads = {}
        for n in range(24):
            key = f"{round}-{n:02}"
            parts = [os.urandom(5 * MIB), b"tail"] if n == 0 else [key.encode()]
            bodies[key] = b"".join(parts)
            uploads[key] = world.begin_upload(key, parts)
        answered = {}
        enough = threading.Semaphore(0)

        def complete(key):
            try:
                answered[key] = world.s3.complete_multipart_upload(**uploads[key])["ETag"]
                enough.release()
            except (BotoCoreError, ClientError):
                pass

        with ThreadPoolExecutor(12) as pool:
            running = [pool.submit(complete, key) for key in uploads]
            for _ in range(chance.randint(1, 10)):
                assert enough.acquire(timeout=20)
            own_process.kill()
            for each in running:
                each.result()
        own_process.start()
        world = World(own_process, fresh=False)
        for key, completion in uploads.items():
            listing = {"Bucket": "bucket", "Key": key, "UploadId": completion["UploadId"]}
            if key in world.keys():
                assert world.get(key) == bodies[key], "no half object"
                with pytest.raises(ClientError, match="NoSuchUpload"):
                    world.s3.list_parts(**listing)
            else:
                assert key not in answered, "what was acknowledged is there"
                assert len(world.s3.list_parts(**listing)["Parts"]) == len(completion["MultipartUpload"]["Parts"])
            etag = world.s3.complete_multipart_upload(**completion)["ETag"]
            assert etag == answered.get(key, etag)
        unanswered += len(uploads) - len(answered)
        there += len(uploads) + 1
        assert blobs(own_process.folder) == there
    assert unanswered > 0, "no kill came in the middle"
    assert world.keys() == sorted(bodies) and all(world.get(key) == body for key, body in bodies.items())
    assert world.take() == sorted(bodies), "one event each"
    assert "Uploads" not in world.s3.list_multipart_uploads(Bucket="bucket")
