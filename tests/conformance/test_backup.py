"""A copy of the data folder, taken while clients write and delete: it starts, and everything that it names is whole."""

import hashlib
import os
import subprocess
import threading
from pathlib import Path

import pytest
from conftest import TARGET, Local
from test_durability import World

pytestmark = [
    pytest.mark.skipif(TARGET == "moto", reason="moto keeps nothing"),
    pytest.mark.skipif("REELFLEET_CONFORMANCE_ENDPOINT" in os.environ, reason="its folder is needed"),
]


def backup(local, to):
    if Path(local.binary).name != "reelfleet":
        pytest.skip("only the executable has the command")
    command = [local.binary, "backup", "--data", str(local.folder), "--to", str(to)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_copy_under_load_is_whole(own_process, tmp_path):
    world = World(own_process)
    before = [f"before/{n}" for n in range(20)]
    for n, key in enumerate(before):
        world.put(key, os.urandom(200_000))
        world.rds(f"INSERT INTO t (id) VALUES ({n})")
    kept = {key: hashlib.sha256(world.get(key)).hexdigest() for key in before}
    stop, problems = threading.Event(), []

    def churn(writer):
        try:
            n = 0
            while not stop.is_set():
                # Row after object, as the fleet does it; one in three is deleted again.
                world.put(f"during/{writer}-{n}", os.urandom(100_000))
                world.rds(f"INSERT INTO t (id) VALUES ({1000 * (writer + 1) + n})")
                if n % 3 == 0:
                    world.s3.delete_object(Bucket="bucket", Key=f"during/{writer}-{n}")
                n += 1
        except Exception as error:  # noqa: BLE001
            problems.append(error)

    writers = [threading.Thread(target=churn, args=(writer,)) for writer in range(3)]
    for writer in writers:
        writer.start()
    copy = tmp_path / "copy"
    done = backup(own_process, copy)
    stop.set()
    for writer in writers:
        writer.join()
    assert done.returncode == 0 and not problems, (done.stderr, problems)

    # The original goes on, and what happens to it does not reach the copy.
    for key in before:
        world.s3.delete_object(Bucket="bucket", Key=key)
    restored = Local(own_process.binary, copy)
    try:
        there = World(restored, fresh=False)
        keys = there.keys()
        assert set(before) <= set(keys)
        for key in keys:
            body = there.get(key)
            assert kept.get(key, hashlib.sha256(body).hexdigest()) == hashlib.sha256(body).hexdigest()
        ids = there.ids()
        assert set(range(20)) <= set(ids)
        # What a row names has been there before it; the churn deletes only every third.
        for id in (id for id in ids if id >= 1000 and id % 1000 % 3):
            assert f"during/{id // 1000 - 1}-{id % 1000}" in keys
        # It is an endpoint like any other.
        there.put("after")
        assert there.get("after") == b"x"
    finally:
        assert restored.stop() == 0


def test_what_is_there_is_not_written_over(own_process, tmp_path):
    World(own_process)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    done = backup(own_process, tmp_path / "full")
    assert done.returncode == 1 and "is not empty" in done.stderr
    own_process.folder = tmp_path / "full"
    done = backup(own_process, tmp_path / "copy")
    assert done.returncode == 1 and "holds no data" in done.stderr
    assert not (tmp_path / "copy").exists()
