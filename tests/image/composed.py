#!/usr/bin/env python3
"""A video through containers: `composed.py ENDPOINT GATEWAY FOLDER`, with the endpoint's secret in the environment."""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

import boto3
from botocore.exceptions import BotoCoreError, ClientError

LIMIT_S = 240


def described(s3):
    """The description of the asset, once somebody wrote one."""
    for one in s3.list_objects_v2(Bucket="reelfleet-outputs").get("Contents", []):
        if one["Key"].endswith("/metadata.json"):
            return one["Key"], json.loads(s3.get_object(Bucket="reelfleet-outputs", Key=one["Key"])["Body"].read())
    return None, None


def main():
    endpoint, gateway, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    s3 = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="reelfleet",
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    )
    clip = folder / "clip.mp4"
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=6",
         "-f", "lavfi", "-i", "sine=duration=6", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", str(clip)],
        check=True,
    )
    deadline = time.monotonic() + LIMIT_S
    sent = False
    while time.monotonic() < deadline:
        try:
            if not sent:
                # Before the bucket tells of it, an object would wait for the hourly scan.
                sent = bool(s3.get_bucket_notification_configuration(Bucket="reelfleet-uploads").get("TopicConfigurations"))
                if sent:
                    s3.upload_file(str(clip), "reelfleet-uploads", "dropped.mp4")
            key, document = described(s3) if sent else (None, None)
            if document and document["state"] in ("refused", "failed"):
                raise SystemExit(f"image: not processed: {document}")
            if document and document["state"] == "ready" and document["outputs"]["pictures"]:
                master = key.replace("metadata.json", document["outputs"]["master"])
                text = s3.get_object(Bucket="reelfleet-outputs", Key=master)["Body"].read().decode()
                if "#EXT-X-STREAM-INF" not in text:
                    raise SystemExit(f"image: not a master playlist: {text}")
                break
        except (BotoCoreError, ClientError):
            # Not there yet.
            pass
        time.sleep(0.5)
    else:
        raise SystemExit(f"image: no stream within {LIMIT_S} s (sent: {sent})")
    with urllib.request.urlopen(f"{gateway}/v1/openapi.json", timeout=10) as answer:
        json.load(answer)
    print("image: a video became a stream; the gateway answers")


if __name__ == "__main__":
    main()
