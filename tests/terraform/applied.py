#!/usr/bin/env python3
"""Terraform applies buckets, topics and queues to our own endpoint; a video that is dropped there becomes a stream.

    applied.py ENVIRONMENT WORK       ENVIRONMENT: the copy of terraform/environments/local, initialised

Nothing else provisions: no `reelfleet up`. Workers are started one by one on what Terraform made, as they would be on AWS; no
gateway, since what is tried begins with an object in the bucket. Afterwards a second plan is empty, and destroy leaves nothing.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import boto3

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = os.environ["REELFLEET_BIN"]
PREFIX = "applied"
ROLES = ["intake", "transcoder", "thumbnailer", "metadata"]
READY_S = 180
KEYS = {"AWS_ACCESS_KEY_ID": "terraform", "AWS_SECRET_ACCESS_KEY": "terraform-secret", "AWS_REGION": "us-east-1"}


def fail(text):
    raise SystemExit(f"terraform apply: {text}")


class Processes:
    """What was started, and nothing else, is ended."""

    def __init__(self, folder):
        self.folder, self.started = folder, []

    def start(self, name, arguments, environment, **options):
        log = (self.folder / f"{name}.log").open("w")
        process = subprocess.Popen([BIN, *arguments], env={**os.environ, **environment}, stderr=log, **options)
        self.started.append((name, process))
        return process

    def check(self):
        for name, process in self.started:
            if process.poll() is not None:
                text = (self.folder / f"{name}.log").read_text()[-2000:]
                fail(f"{name} ended with {process.returncode}: {text}")

    def stop(self):
        for _, process in reversed(self.started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()


def terraform(environment, *arguments, expected=0):
    done = subprocess.run(["terraform", *arguments], cwd=environment, capture_output=True, text=True, env={**os.environ, **KEYS})
    if done.returncode != expected:
        fail(f"`terraform {arguments[0]}` ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def clip(folder):
    """A film of two chunks with sound."""
    path = folder / "clip.mp4"
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=8",
         "-f", "lavfi", "-i", "sine=frequency=440:duration=8", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", str(path)],
        check=True,
    )
    return path


def equal_to(topology, sqs, sns, s3, made):
    """What stands there is what the topology says, asked by another client than the one that made it."""
    for name, url in made["queue_urls"].items():
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        redrive = json.loads(attributes["RedrivePolicy"])
        facts = topology["queues"][name]
        if int(attributes["VisibilityTimeout"]) != facts["visibility_seconds"]:
            fail(f"{name}: visibility {attributes['VisibilityTimeout']}")
        if redrive["maxReceiveCount"] != topology["dead_letters"]["max_receives"]:
            fail(f"{name}: {redrive}")
        dead = sqs.get_queue_url(QueueName=redrive["deadLetterTargetArn"].rsplit(":", 1)[1])["QueueUrl"]
        kept = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["All"])["Attributes"]
        if int(kept["MessageRetentionPeriod"]) <= int(attributes["MessageRetentionPeriod"]):
            fail(f"{name}: its dead letters are kept for {kept['MessageRetentionPeriod']} s")
        if json.loads(kept["RedriveAllowPolicy"])["sourceQueueArns"] != [attributes["QueueArn"]]:
            fail(f"{name}: {kept['RedriveAllowPolicy']}")
    if set(made["queue_urls"]) != set(topology["queues"]):
        fail(f"queues {sorted(made['queue_urls'])}")
    for queue, wanted in topology["subscriptions"].items():
        topic = made["topic_arns"][wanted["topic"]]
        [own] = [one for one in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] if one["Endpoint"].endswith(f"-{queue}")]
        attributes = sns.get_subscription_attributes(SubscriptionArn=own["SubscriptionArn"])["Attributes"]
        filtered = json.loads(attributes.get("FilterPolicy", "null"))
        if attributes.get("RawMessageDelivery", "false") != str(wanted["raw"]).lower() or filtered != wanted["filter"]:
            fail(f"subscription of {queue}: {attributes}")
    for role, bucket in made["bucket_names"].items():
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        if not all(block.values()) or len(block) != 4:
            fail(f"{bucket} is open: {block}")
        if s3.get_bucket_versioning(Bucket=bucket).get("Status") != ("Enabled" if role == "uploads" else None):
            fail(f"{bucket}: versioning")


def main():
    environment, work = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    topology = json.loads((ROOT / "schema/topology.json").read_text())
    processes = Processes(work)
    try:
        local = processes.start(
            "local", ["local", "--data", str(work / "data"), "--listen", "127.0.0.1:0"], KEYS, stdout=subprocess.PIPE, text=True
        )
        line = local.stdout.readline()
        if not line:
            processes.check()
        endpoint = json.loads(line)["aws_endpoint"]
        variables = [f"-var=endpoint={endpoint}", f"-var=prefix={PREFIX}"]
        began = time.monotonic()
        terraform(environment, "apply", "-auto-approve", "-no-color", "-parallelism=30", *variables)
        print(f"terraform: applied in {time.monotonic() - began:.0f} s")
        # 2 would say that something differs.
        terraform(environment, "plan", "-detailed-exitcode", "-no-color", *variables)
        made = {name: one["value"] for name, one in json.loads(terraform(environment, "output", "-json")).items()}
        sqs, sns, s3 = (
            boto3.client(service, endpoint_url=endpoint, region_name=KEYS["AWS_REGION"],
                         aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"], aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"])
            for service in ("sqs", "sns", "s3")
        )
        equal_to(topology, sqs, sns, s3, made)

        uploads, outputs = made["bucket_names"]["uploads"], made["bucket_names"]["outputs"]
        fleet = {
            **KEYS, "AWS_ENDPOINT_URL": endpoint, "REELFLEET_PREFIX": PREFIX,
            "REELFLEET_UPLOADS": f"{uploads}=default", "REELFLEET_OUTPUTS_BUCKET": outputs,
        }
        subprocess.run([BIN, "migrate"], env={**os.environ, **fleet}, check=True, stdout=subprocess.DEVNULL)
        for role in ROLES:
            processes.start(role, ["worker", role], fleet, stdout=subprocess.DEVNULL)
        s3.upload_file(str(clip(work)), uploads, "a partner/some film.mp4")
        began = time.monotonic()
        # Its description is written by way of the events topic and that topic's filter.
        while (stream := whole(s3, outputs)) is None:
            processes.check()
            if time.monotonic() - began > READY_S:
                fail(f"no stream within {READY_S} s; objects: {keys(s3, outputs)}")
            time.sleep(0.25)
        if "#EXT-X-STREAM-INF" not in stream:
            fail(f"not a master playlist: {stream}")
        print(f"terraform: a video became {len(keys(s3, outputs))} objects in {time.monotonic() - began:.0f} s on what Terraform made")
        for name, process in processes.started[1:]:
            process.send_signal(signal.SIGTERM)
            if process.wait(timeout=60) != 0:
                fail(f"{name} did not drain")
        processes.started = processes.started[:1]
        terraform(environment, "destroy", "-auto-approve", "-no-color", "-parallelism=30", *variables)
        left = s3.list_buckets()["Buckets"], sqs.list_queues().get("QueueUrls", []), sns.list_topics()["Topics"]
        if any(left):
            fail(f"destroy left {left}")
    finally:
        processes.stop()


def keys(s3, bucket):
    return [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def whole(s3, bucket):
    """The master playlist, once the asset's description says that stream and pictures are there."""
    for key in keys(s3, bucket):
        if key.endswith("/metadata.json"):
            document = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
            if document["state"] in ("refused", "failed"):
                fail(f"the video was not processed: {document}")
            if document["state"] == "ready" and document["outputs"]["pictures"]:
                master = key.replace("metadata.json", document["outputs"]["master"])
                return s3.get_object(Bucket=bucket, Key=master)["Body"].read().decode()
    return None


if __name__ == "__main__":
    main()
