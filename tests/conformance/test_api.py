"""The HTTP API against its own OpenAPI document: whatever is sent, no answer is an error of the server, and each has a
status, a type and a body that the document tells of. Schemathesis makes the requests."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# They end the very key that the requests are made with.
SPARED = ("revokeKey", "rotateKey")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A whole fleet whose limits do not stand in the way of a thousand requests."""
    binary = os.environ.get("REELFLEET_LOCAL_BIN")
    if not binary:
        pytest.skip("REELFLEET_LOCAL_BIN is not set")
    folder = tmp_path_factory.mktemp("api") / "data"
    ready = folder.parent / "ready.json"
    environment = os.environ | {"REELFLEET_RATE_PER_SECOND": "100000", "REELFLEET_RATE_BURST": "100000"}
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
        yield json.loads(ready.read_text())
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder)


def of_a_key(fleet):
    return fleet["api_key"]


def of_a_person(fleet):
    who = {"email": "ann@example.com", "password": "correct horse battery"}
    answer = requests.post(f"{fleet['gateway']}/v1/auth/sign-up", json=who, timeout=30)
    assert answer.status_code == 201, answer.text
    return answer.json()["access_token"]


@pytest.mark.parametrize("credential", [of_a_key, of_a_person])
def test_every_answer_is_documented(fleet, tmp_path, credential):
    schemathesis = Path(sys.executable).with_name("st")
    token = credential(fleet)
    command = [
        str(schemathesis), "run", f"{fleet['gateway']}/v1/openapi.json", "-H", f"Authorization: Bearer {token}",
        "--checks", CHECKS, "--phases", "coverage,fuzzing", "--max-examples", "12", "--seed", "7",
        "--workers", "2", "--no-color", "--continue-on-failure",
    ]
    for operation in SPARED:
        command += ["--exclude-operation-id", operation]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    # It was let in all the while.
    answer = requests.get(f"{fleet['gateway']}/v1/assets", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.status_code == 200, answer.text
