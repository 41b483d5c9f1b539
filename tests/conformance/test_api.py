"""What is said against the documents that tell of it. Of the HTTP API, its OpenAPI document: whatever is sent, no answer
is an error of the server, and each has a status, a type and a body that the document tells of; Schemathesis makes the
requests, half of them about what is there (`seeded.py`). Of what is pushed, the AsyncAPI document, which itself is as AsyncAPI's own schema says."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import boto3
import pytest
import requests
from jsonschema import Draft7Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# They end the very key that the requests are made with.
SPARED = ("revokeKey", "rotateKey")
# AsyncAPI's own schemas, from npm.
SPECS = Path(__file__).parents[1] / "browser/node_modules/@asyncapi/specs/schemas"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A whole fleet whose limits do not stand in the way of a thousand requests."""
    binary = os.environ.get("REELFLEET_LOCAL_BIN")
    if not binary:
        pytest.skip("REELFLEET_LOCAL_BIN is not set")
    folder = tmp_path_factory.mktemp("api") / "data"
    ready = folder.parent / "ready.json"
    environment = os.environ | {
        "REELFLEET_RATE_PER_SECOND": "100000", "REELFLEET_RATE_BURST": "100000",
        "REELFLEET_APPROVAL": '[{"prefix": "held/"}]', "REELFLEET_REVIEWERS": "rita@example.com",
    }
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.pop(name, None)
    with open(folder.parent / "up.log", "wb") as log:
        process = subprocess.Popen(
            [binary, "up", "--data", str(folder), "--listen", "127.0.0.1:0", "--ready-file", str(ready)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
        )
    try:
        while not ready.exists():
            assert process.poll() is None, (folder.parent / "up.log").read_text()
            time.sleep(0.05)
        fleet = json.loads(ready.read_text())
        # Whoever is first administers.
        who = {"email": "ann@example.com", "password": "correct horse battery"}
        answer = requests.post(f"{fleet['gateway']}/v1/auth/sign-up", json=who, timeout=30)
        assert answer.status_code == 201, answer.text
        yield fleet | {"ann": answer.json()["access_token"]}
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder)


def of_a_key(fleet):
    return fleet["api_key"]


def of_a_person(fleet):
    return fleet["ann"]


def aws(fleet, service):
    return boto3.client(
        service, region_name=fleet["region"], endpoint_url=fleet["aws_endpoint"],
        aws_access_key_id=fleet["access_key_id"], aws_secret_access_key=fleet["secret_access_key"],
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """One second, with sound."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    sources = ["-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=1", "-f", "lavfi", "-i", "sine=d=1"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    subprocess.run(["ffmpeg", "-loglevel", "error", *sources, *codecs, str(path)], check=True, timeout=60)
    return path.read_bytes()


def happens(fleet):
    """Everything that happens, from now on, as (type, asset, data); the first is `welcome`."""
    key = {"Authorization": f"Bearer {fleet['api_key']}"}
    with requests.get(f"{fleet['gateway']}/v1/events?topics=ops", headers=key, stream=True, timeout=60) as stream:
        for line in stream.iter_lines(decode_unicode=True):
            if line.startswith("data:"):
                frame = json.loads(line.removeprefix("data:"))
                if frame["op"] in ("welcome", "event"):
                    yield frame.get("type", frame["op"]), frame.get("subject"), frame.get("data")


def seeds(fleet, token, film):
    """Makes one of each thing, and says which operation is to be asked about which: path, headers and body."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"

    def call(method, path, **arguments):
        answer = session.request(method, f"{fleet['gateway']}/v1/{path}", timeout=30, **arguments)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def upload(name, body):
        made = call("POST", "uploads", json={"name": name, "size": len(body), "type": "video/mp4"})
        part = call("POST", f"uploads/{made['id']}/parts", json={"parts": [{"n": 1, "len": len(body)}]})[0]
        sent = requests.put(part["url"], data=body, headers=part.get("headers"), timeout=30)
        assert sent.ok, sent.text
        return made

    def complete(upload):
        call("POST", f"uploads/{upload['id']}/complete", json={})
        return upload["asset"]

    events = happens(fleet)
    next(events)
    watched, edited, doomed = (complete(upload(name, body)) for name, body in
                               (("film.mp4", film), ("edited.mp4", b"no film"), ("doomed.mp4", b"no film either")))
    aws(fleet, "s3").put_object(Bucket=fleet["uploads_bucket"], Key=f"held/{watched}.png", Body=picture(watched))
    ends, review = {watched: "asset.ready.v1", edited: "asset.refused.v1", doomed: "asset.refused.v1"}, None
    while ends or not review:
        kind, asset, data = next(events)
        if kind == ends.get(asset):
            del ends[asset]
        if kind == "approval.requested.v1":
            review = data["review"]
    events.close()
    mails = aws(fleet, "rds-data").execute_statement(
        resourceArn="arn:aws:rds:us-east-1:000000000000:cluster:reelfleet", database="reelfleet",
        secretArn="arn:aws:secretsmanager:us-east-1:000000000000:secret:reelfleet",
        sql="SELECT text FROM mail ORDER BY created_at DESC LIMIT 1",
    )
    link = re.search("/review/([0-9a-f]{64})", mails["records"][0][0]["stringValue"])[1]

    call("PATCH", f"assets/{watched}", json={"visibility": "public"})
    vtt = "WEBVTT\n\n00:00.000 --> 00:00.500\nhello\n"
    call("PUT", f"assets/{watched}/captions/de", data=vtt, headers={"Content-Type": "text/vtt"})
    hooks = [call("POST", "webhooks", json={"name": name, "url": "https://example.com/hook"})["id"] for name in "abc"]
    ping = call("POST", f"webhooks/{hooks[0]}/ping")["id"]
    started, aborted = (call("POST", "uploads", json={"name": name, "size": 9, "type": "video/mp4"})["id"] for name in "ab")
    somebody = {"email": f"{watched}@example.com", "password": "correct horse battery"}
    somebody = requests.post(f"{fleet['gateway']}/v1/auth/sign-up", json=somebody, timeout=30).json()["user"]["id"]

    def about(value, **more):
        return {"path": {"id": value}, **more}

    document = "application/json"
    return {
        **{name: about(watched) for name in ("getAsset", "exploreAsset", "getOriginal", "getTimeline")},
        "editAsset": about(edited, body=[document, {"description": "no film"}]),
        "deleteAsset": about(doomed, query={}), "restoreAsset": about(doomed),
        "putCaptions": {"path": {"id": watched, "language": "en"}, "query": {}, "body": ["text/vtt", vtt]},
        "deleteCaptions": {"path": {"id": watched, "language": "de"}},
        "getUpload": about(started), "renameUpload": about(started, body=[document, {"name": "renamed.mp4"}]),
        "signParts": about(started, body=[document, {"parts": [{"n": 1, "len": 9}]}]),
        "completeUpload": about(upload("late.mp4", b"late")["id"], body=[document, {}]), "abortUpload": about(aborted),
        "getReview": about(review), "getLinkReview": {"path": {"token": link}},
        "decideReview": about(review, headers={"If-Match": '"1"'}, body=[document, {"verdict": "approve"}]),
        **{name: about(hooks[0]) for name in ("getWebhook", "getWebhookSecret", "pingWebhook")},
        "listDeliveries": about(hooks[0], query={}),
        "redeliver": {"path": {"id": hooks[0], "event": ping}},
        "changeWebhook": about(hooks[1], body=[document, {"name": "renamed"}]), "rotateWebhook": about(hooks[1]),
        "deleteWebhook": about(hooks[2]), "getUser": about(somebody),
        "changeUser": about(somebody, headers={"If-Match": '"1"'}, body=[document, {"name": "Somebody"}]),
        "pauseQueue": {"path": {"name": "backfill"}}, "resumeQueue": {"path": {"name": "backfill"}},
    }


@pytest.mark.parametrize("credential", [of_a_key, of_a_person])
def test_every_answer_is_documented(fleet, film, tmp_path, credential):
    schemathesis = Path(sys.executable).with_name("st")
    token = credential(fleet)
    command = [
        str(schemathesis), "run", f"{fleet['gateway']}/v1/openapi.json", "-H", f"Authorization: Bearer {token}",
        "--checks", CHECKS, "--phases", "coverage,fuzzing", "--max-examples", "12", "--seed", "7",
        "--workers", "2", "--no-color", "--continue-on-failure",
    ]
    for operation in SPARED:
        command += ["--exclude-operation-id", operation]
    wanted, (told, seen) = seeds(fleet, token, film), (tmp_path / name for name in ("seeds.json", "seen"))
    told.write_text(json.dumps(wanted))
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "seeded", "PYTHONPATH": str(Path(__file__).parent),
        "REELFLEET_SEEDS": str(told), "REELFLEET_SEEN": str(seen),
    }
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    went_well = {operation for operation, status in map(str.split, seen.read_text().splitlines()) if status.startswith("2")}
    assert set(wanted) <= went_well, f"never seen to go well: {set(wanted) - went_well}"
    # It was let in all the while.
    answer = requests.get(f"{fleet['gateway']}/v1/assets", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.status_code == 200, answer.text


def described(document, schema):
    """Whether something is as a schema of the document says; draft 7 is what AsyncAPI takes by default."""
    registry = Registry().with_resource("doc:", Resource.from_contents(document, default_specification=DRAFT7))
    whole = {"$ref": f"doc:{schema}"} if isinstance(schema, str) else schema
    return Draft7Validator(whole, registry=registry).is_valid


def fitting(document, operation, frame):
    """The names of an operation's messages that a frame may be."""
    of_channel = [message["$ref"].rsplit("/", 1)[1] for message in document["operations"][operation]["messages"]]
    return [name for name in of_channel if described(document, f"#/components/messages/{name}/payload")(frame)]


def picture(of=""):
    """The smallest PNG that is worth looking at, one of its own for each text."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    lines = b"".join(b"\0" + b"".join(bytes((x * 3, y * 3, 90)) for x in range(64)) for y in range(64))
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"tEXt", b"of\0" + of.encode()) + chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")


def test_the_realtime_document_is_asyncapi(fleet):
    document = requests.get(f"{fleet['gateway']}/v1/asyncapi.json", timeout=30).json()
    of_asyncapi = json.loads((SPECS / "3.0.0.json").read_text())
    registry = Registry().with_resources(
        (name, Resource.from_contents(part, default_specification=DRAFT7))
        for name, part in of_asyncapi["definitions"].items()
    )
    wrong = [f"{list(error.path)}: {error.message}" for error in
             Draft7Validator(of_asyncapi, registry=registry).iter_errors(document)]
    assert wrong == []
    for name, message in document["components"]["messages"].items():
        for example in message.get("examples", []):
            assert described(document, f"#/components/messages/{name}/payload")(example["payload"]), name


def test_whatever_is_pushed_is_documented(fleet):
    gateway, key = fleet["gateway"], {"Authorization": f"Bearer {fleet['api_key']}"}
    document = requests.get(f"{gateway}/v1/asyncapi.json", timeout=30).json()
    sqs, sns, s3 = (aws(fleet, service) for service in ("sqs", "sns", "s3"))
    queue = sqs.create_queue(QueueName="witness")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = next(topic["TopicArn"] for topic in sns.list_topics()["Topics"]
                 if topic["TopicArn"].endswith(":" + document["channels"]["topic"]["address"]))
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})

    seen = set()
    stream = requests.get(f"{gateway}/v1/events?topics=me,ops", headers=key, stream=True, timeout=60)
    assert stream.status_code == 200, stream.text
    with stream:
        for line in stream.iter_lines(decode_unicode=True):
            if not line.startswith("data:"):
                continue
            frame = json.loads(line.removeprefix("data:"))
            fits = fitting(document, "stream", frame)
            assert len(fits) == 1, f"{fits}: {frame}"
            seen.add(fits[0])
            if frame["op"] == "welcome":
                s3.put_object(Bucket=fleet["uploads_bucket"], Key="witness.png", Body=picture())
            if frame["op"] == "event":
                fact = {"type": frame["type"], "data": frame["data"]}
                data = document["components"]["schemas"][frame["type"]]["allOf"][1]
                of_fact = json.loads(json.dumps(data).replace("#/components", "doc:#/components"))
                assert described(document, of_fact)(fact), fact
                seen.add(frame["type"])
                if frame["type"] in ("asset.ready.v1", "asset.failed.v1", "asset.refused.v1"):
                    break
    assert {"server.welcome", "server.event", "asset.uploaded.v1", "job.queued.v1", "asset.ready.v1"} <= seen, seen

    heard = set()
    while "asset.ready.v1" not in heard:
        messages = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20, MaxNumberOfMessages=10).get("Messages", [])
        assert messages, f"nothing more came after {heard}"
        for message in messages:
            event = json.loads(message["Body"])
            assert fitting(document, "publish", event) == [event["type"]], event
            heard.add(event["type"])
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert "asset.uploaded.v1" in heard, heard
