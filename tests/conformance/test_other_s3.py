"""Files on an S3 server that is not ours (moto), told of by webhook; queues, topics and rows by ours: docs/outside-aws.md."""

import contextlib
import json
import os
import posixpath
import re
import subprocess
import time
from pathlib import Path

import boto3
import pytest
import requests
from botocore.config import Config
from conftest import KEY, REGION, SECRET, TARGET, Local, Moto, held

pytestmark = [
    pytest.mark.skipif(TARGET == "moto", reason="it is the other half here"),
    pytest.mark.skipif("REELFLEET_CONFORMANCE_ENDPOINT" in os.environ, reason="it starts its own"),
]

TOLD = "0123456789abcdef0123456789abcdef"
UPLOADS, OUTPUTS = "reelfleet-uploads", "reelfleet-outputs"
SOON_S = 90


def until(what, processes):
    """The first true answer; ends at once where a process has ended."""
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        if found := what():
            return found
        for process in processes:
            assert process.poll() is None, f"{process.args} ended"
        time.sleep(0.1)
    raise TimeoutError(what)


def answers(url):
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(url, timeout=5).ok


@pytest.fixture
def halves(tmp_path):
    binary = os.environ.get("REELFLEET_LOCAL_BIN", "")
    if Path(binary).name != "reelfleet":
        pytest.skip("only the executable has the workers")
    s3, rest = Moto(), Local(binary, tmp_path / "local")
    yield binary, s3.url, rest.url
    s3.stop()
    assert rest.stop() == 0


def test_a_film_on_another_server_is_processed_there(halves, tmp_path):
    binary, s3_url, rest_url = halves
    ports = [held() for _ in range(7)]
    gateway, *healths = (f"127.0.0.1:{port.getsockname()[1]}" for port in ports)
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": rest_url,
        "AWS_ENDPOINT_URL_S3": s3_url,
        "REELFLEET_S3_PUBLIC_ENDPOINT": s3_url,
        "REELFLEET_GATEWAY_LISTEN": gateway,
        "REELFLEET_PUBLIC_URL": f"http://{gateway}",
        "REELFLEET_SOURCES": json.dumps([{"name": "other", "secret": TOLD, "buckets": [UPLOADS]}]),
        **{f"REELFLEET_{name}_SECRET": os.urandom(32).hex() for name in ("PLAYBACK", "SESSION", "WEBHOOK")},
    }
    log = (tmp_path / "fleet.log").open("w")

    def run(*words):
        own = {**environment, "REELFLEET_HEALTH_LISTEN": healths.pop()}
        return subprocess.Popen([binary, *words], env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    assert run("provision").wait(60) == 0, (tmp_path / "fleet.log").read_text()
    fleet = [run("gateway"), *(run("worker", role) for role in ("intake", "transcoder", "thumbnailer", "metadata"))]
    try:
        film = tmp_path / "film.mp4"
        source = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4", "-f", "lavfi", "-i", "sine=d=4", "-shortest"]
        subprocess.run(["ffmpeg", "-v", "error", *source, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", film], check=True)
        s3 = boto3.client("s3", endpoint_url=s3_url, region_name=REGION, config=Config(s3={"addressing_style": "path"}))
        put = s3.put_object(Bucket=UPLOADS, Key="in/a film.mp4", Body=film.read_bytes())
        until(lambda: answers(f"http://{gateway}/healthz"), fleet)
        entry = {"key": "in/a+film.mp4", "size": film.stat().st_size, "eTag": put["ETag"].strip('"')}
        record = {"eventVersion": "2.0", "eventSource": "other:s3", "eventName": "s3:ObjectCreated:Put", "s3": {"bucket": {"name": UPLOADS}, "object": entry}}
        told = requests.post(f"http://{gateway}/v1/sources/other", json={"Records": [record]}, headers={"Authorization": f"Bearer {TOLD}"}, timeout=30)
        assert told.status_code == 200, told.text

        rds = boto3.client("rds-data", endpoint_url=rest_url, region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=SECRET)
        arns = {"resourceArn": f"arn:aws:rds:{REGION}:000000000000:cluster:reelfleet", "secretArn": f"arn:aws:secretsmanager:{REGION}:000000000000:secret:reelfleet"}

        def asset():
            rows = rds.execute_statement(sql="SELECT id, state FROM asset", database="reelfleet", **arns)["records"]
            found = [[field["stringValue"] for field in row] for row in rows]
            return found[0] if found and found[0][1] in ("ready", "failed", "refused") else None

        asset_id, state = until(asset, fleet)
        assert state == "ready", (tmp_path / "fleet.log").read_text()[-4000:]
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=OUTPUTS, Prefix=f"out/{asset_id}/")
        keys = [entry["Key"] for page in pages for entry in page["Contents"]]
        assert any("poster-" in key for key in keys) and any(key.endswith("/master.m3u8") for key in keys), keys
        # The largest rendition as one file: its playlist names init and segments, in order.
        def read(key):
            return s3.get_object(Bucket=OUTPUTS, Key=key)["Body"].read()

        (playlist,) = [key for key in keys if key.endswith("/180p.m3u8")]
        parts = re.findall(r'^#EXT-X-MAP:URI="([^"]+)"|^([^#\s]+)', read(playlist).decode(), re.MULTILINE)
        whole = tmp_path / "whole.mp4"
        whole.write_bytes(b"".join(read(posixpath.normpath(posixpath.join(posixpath.dirname(playlist), first or then))) for first, then in parts))
        count = ["-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"]
        frames = subprocess.run(["ffprobe", "-v", "error", *count, whole], check=True, capture_output=True, text=True)
        assert frames.stdout.strip() == "100", frames.stdout
    finally:
        for process in fleet:
            process.terminate()
        ended = [process.wait(60) for process in fleet]
    assert ended == [0] * len(fleet), (tmp_path / "fleet.log").read_text()[-4000:]
