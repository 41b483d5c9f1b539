"""Where the conformance tests run, and what they share.

REELFLEET_CONFORMANCE_ENDPOINT names a running endpoint; without it, REELFLEET_LOCAL_BIN is started on a fresh folder.
TARGET says what it is (`reelfleet` or `moto`), so that a test can skip what the other implementation is known to get
wrong: `@pytest.mark.moto_is_wrong("reason")`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

REGION = "us-east-1"
KEY = os.environ.setdefault("AWS_ACCESS_KEY_ID", "conformance")
SECRET = os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "conformance-secret")
TARGET = os.environ.get("TARGET", "reelfleet")
ACCOUNT = "123456789012" if TARGET == "moto" else "000000000000"
os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"] = REGION
for name in ("AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
    os.environ.pop(name, None)


def pytest_configure(config):
    config.addinivalue_line("markers", "moto_is_wrong(reason): skipped when TARGET=moto")


def pytest_collection_modifyitems(items):
    for item in items:
        mark = item.get_closest_marker("moto_is_wrong")
        if mark and TARGET == "moto":
            item.add_marker(pytest.mark.skip(reason=f"moto: {mark.args[0]}"))
        if TARGET == "moto" and item.path.name == "test_rds.py":
            item.add_marker(pytest.mark.skip(reason="moto: ExecuteStatement gives canned answers"))


class Local:
    """An endpoint process of our own."""

    def __init__(self, binary, folder, postgres_url=None):
        self.binary, self.folder = binary, folder
        self.environment = dict(os.environ)
        # Each endpoint has the database that its test asks for, whatever the caller's shell says.
        self.environment.pop("REELFLEET_LOCAL_POSTGRES", None)
        if postgres_url:
            self.environment["REELFLEET_LOCAL_POSTGRES"] = postgres_url
        self.start()

    def command(self):
        if Path(self.binary).name == "endpoint":
            return [self.binary, str(self.folder), "127.0.0.1:0"]
        return [self.binary, "local", "--data", str(self.folder), "--listen", "127.0.0.1:0"]

    def start(self):
        self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, env=self.environment, text=True)
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{self.binary} ended with {self.process.wait()} before it said where it listens")
        self.url = json.loads(line)["aws_endpoint"] if line.startswith("{") else line.removeprefix("listening on ")

    def kill(self):
        """As a power cut would, as far as the process is concerned."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)


@pytest.fixture(scope="session")
def start_local(tmp_path_factory):
    """Starts an endpoint of our own and gives its URL; stops it at the end."""
    started = []

    def start(rds_postgres_url=None):
        if os.environ.get("REELFLEET_CONFORMANCE_ENDPOINT"):
            if rds_postgres_url:
                pytest.skip("an endpoint that is running already has its database already")
            return os.environ["REELFLEET_CONFORMANCE_ENDPOINT"]
        started.append(start_process(tmp_path_factory.mktemp("local"), rds_postgres_url))
        return started[-1].url

    yield start
    for local in started:
        assert local.stop() == 0


def held():
    """A loopback port that nobody else draws while this socket is open; whoever is told of it may listen there."""
    drawn = socket.socket()
    drawn.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    drawn.bind(("127.0.0.1", 0))
    return drawn


class Moto:
    """The other implementation, from PyPI: in memory, one process."""

    def __init__(self):
        self.held = held()
        port = self.held.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, "moto_server ended"
                time.sleep(0.05)
        raise RuntimeError("moto_server does not listen")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.held.close()
        return 0


def start_process(folder, postgres_url=None):
    if TARGET == "moto":
        return Moto()
    binary = os.environ.get("REELFLEET_LOCAL_BIN")
    assert binary, "set REELFLEET_LOCAL_BIN to the reelfleet executable, or REELFLEET_CONFORMANCE_ENDPOINT"
    return Local(binary, folder, postgres_url)


@pytest.fixture
def own_process(tmp_path):
    """An endpoint that the test may kill and start again."""
    if os.environ.get("REELFLEET_CONFORMANCE_ENDPOINT"):
        pytest.skip("this test kills the endpoint")
    if TARGET == "moto":
        pytest.skip("moto keeps nothing over a restart")
    local = start_process(tmp_path / "data")
    yield local
    local.kill()


@pytest.fixture(scope="session")
def endpoint_url(start_local):
    return start_local()


def make_client(service, url, secret=None, **config):
    settings = {"retries": {"total_max_attempts": 1}, "read_timeout": 60, "max_pool_connections": 32}
    if service == "s3":
        settings |= {"signature_version": "s3v4", "s3": {"addressing_style": "path"}}
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key=secret or SECRET,
        config=Config(**settings | config),
    )


@pytest.fixture(scope="session")
def client(endpoint_url):
    """Makes a client of a service, with botocore settings if need be."""
    return lambda service, **config: make_client(service, endpoint_url, **config)


@pytest.fixture(scope="session")
def s3(client):
    return client("s3")


@pytest.fixture(scope="session")
def sqs(client):
    return client("sqs")


@pytest.fixture(scope="session")
def sns(client):
    return client("sns")


@pytest.fixture
def bucket(s3):
    """A bucket of the test's own."""
    name = f"conformance-{uuid.uuid4().hex[:16]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def queue(sqs):
    """A queue of the test's own: (url, arn)."""
    url = sqs.create_queue(QueueName=f"conformance-{uuid.uuid4().hex[:16]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    yield url, arn
    sqs.delete_queue(QueueUrl=url)


@pytest.fixture
def refuses():
    """Expects a call to be refused with a code (one of several, by `|`) and gives the error."""

    def refuses(code, call, **arguments):
        with pytest.raises(ClientError) as caught:
            call(**arguments)
        assert caught.value.response["Error"]["Code"] in code.split("|"), caught.value
        return caught.value.response

    return refuses
