"""The aws CLI, as an operator would use it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

AWS = str(Path(sys.executable).parent / "aws")
MIB = 1 << 20


@pytest.fixture
def aws(endpoint_url, tmp_path):
    """Runs the CLI; gives its output, as JSON where it is."""
    config = tmp_path / "config"
    config.write_text("[default]\nregion = us-east-1\ns3 =\n  signature_version = s3v4\n  addressing_style = path\n")
    environment = {**os.environ, "AWS_CONFIG_FILE": str(config), "AWS_PAGER": ""}

    def aws(*arguments):
        # Version 1 of the CLI ignores AWS_ENDPOINT_URL for SQS.
        command = [AWS, "--endpoint-url", endpoint_url, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout

    return aws


def test_s3_copies_lists_and_presigns(aws, bucket, tmp_path):
    path = tmp_path / "forty.mp4"
    path.write_bytes(os.urandom(40 * MIB))
    aws("s3", "cp", str(path), f"s3://{bucket}/videos/forty.mp4", "--no-progress")
    head = aws("s3api", "head-object", "--bucket", bucket, "--key", "videos/forty.mp4")
    assert head["ETag"].endswith('-5"') and head["ContentType"] == "video/mp4" and head["ContentLength"] == 40 * MIB
    assert "forty.mp4" in aws("s3", "ls", f"s3://{bucket}/videos/")
    assert "PRE videos/" in aws("s3", "ls", f"s3://{bucket}/")
    back = tmp_path / "back"
    aws("s3", "cp", f"s3://{bucket}/videos/forty.mp4", str(back), "--no-progress")
    assert back.read_bytes() == path.read_bytes()
    link = aws("s3", "presign", f"s3://{bucket}/videos/forty.mp4").strip()
    assert requests.get(link, headers={"Range": "bytes=0-9"}).content == path.read_bytes()[:10]
    aws("s3", "mv", f"s3://{bucket}/videos/forty.mp4", f"s3://{bucket}/moved.mp4", "--no-progress")
    aws("s3", "rm", f"s3://{bucket}", "--recursive")
    assert aws("s3", "ls", f"s3://{bucket}/") == ""


@pytest.mark.moto_is_wrong("what was synced is synced again")
def test_s3_sync(aws, bucket, tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.txt", "sub/b c.txt", "sub/ü+.txt"):
        (folder / name).write_text(name)
    aws("s3", "sync", str(folder), f"s3://{bucket}/s")
    aws("s3", "sync", f"s3://{bucket}/s", str(tmp_path / "back"))
    assert (tmp_path / "back" / "sub" / "ü+.txt").read_text() == "sub/ü+.txt"
    assert aws("s3", "sync", str(folder), f"s3://{bucket}/s") == "", "nothing is left to do"


def test_sqs(aws, queue):
    url = queue[0]
    sent = aws("sqs", "send-message", "--queue-url", url, "--message-body", "hello")
    got = aws("sqs", "receive-message", "--queue-url", url, "--wait-time-seconds", "5")["Messages"][0]
    assert (got["Body"], got["MessageId"]) == ("hello", sent["MessageId"])
    aws("sqs", "delete-message", "--queue-url", url, "--receipt-handle", got["ReceiptHandle"])
    attributes = aws("sqs", "get-queue-attributes", "--queue-url", url, "--attribute-names", "All")["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == "0"


def test_sns(aws, queue):
    topic = aws("sns", "create-topic", "--name", "conformance-cli")["TopicArn"]
    aws("sns", "subscribe", "--topic-arn", topic, "--protocol", "sqs", "--notification-endpoint", queue[1])
    aws("sns", "publish", "--topic-arn", topic, "--message", "fact", "--subject", "s")
    got = aws("sqs", "receive-message", "--queue-url", queue[0], "--wait-time-seconds", "5")["Messages"][0]
    assert json.loads(got["Body"])["Message"] == "fact"
    aws("sns", "delete-topic", "--topic-arn", topic)
