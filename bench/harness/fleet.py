"""Fleets and endpoints as rows run them: each in a folder of the row, ended with the `with` that started it."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import urllib.request

from .aws import Endpoint

TICKS = os.sysconf("SC_CLK_TCK")
STARTUP_S = 90


def free_port():
    with socket.socket() as drawn:
        drawn.bind(("127.0.0.1", 0))
        return drawn.getsockname()[1]


def end(process, seconds=30):
    """SIGTERM, time to drain, SIGKILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(what, seconds, every=0.05, message="it did not happen"):
    """The first true answer of `what`."""
    until = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > until:
            raise TimeoutError(f"{message} within {seconds} s")
        time.sleep(every)


def answers(url):
    """Whether a server is there: any answer will do."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def tree(pid):
    """A process and what came of it, as far as it lives."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [pid]
    while left:
        one = left.pop()
        found.append(one)
        left += children.get(one, [])
    return found


def cpu_seconds(pids):
    """CPU of processes and of their children that have ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def memory_kib(pids):
    """(Resident, proportional) memory of processes: the second counts a page that several share once."""
    resident = proportional = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    resident += int(line.split()[1])
                elif line.startswith("Pss:"):
                    proportional += int(line.split()[1])
    return resident, proportional


class Fleet:
    """One `reelfleet up`."""

    def __init__(self, bench, folder, *args, env=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        ready = self.folder / "bench-ready.json"
        ready.unlink(missing_ok=True)
        self._log = open(self.folder / "bench.log", "a+")
        self.process = subprocess.Popen(
            [bench.reelfleet, "up", "--data", self.folder, "--listen", "127.0.0.1:0", "--ready-file", ready, *args],
            env={**os.environ, "REELFLEET_DECODER": str(bench.decoder), "REELFLEET_LOG_FORMAT": "json", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            wait_for(lambda: ready.exists() or self.process.poll() is not None, STARTUP_S, message="the fleet was not ready")
            if self.process.poll() is not None:
                raise RuntimeError(f"up ended: {(self.folder / 'bench.log').read_text()[-400:]}")
        except BaseException:
            end(self.process)
            raise
        self.ready = json.loads(ready.read_text())
        self.aws = Endpoint(
            self.ready["aws_endpoint"], self.ready["access_key_id"], self.ready["secret_access_key"], self.ready["region"]
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)
        self._log.close()

    def api(self, method, path, body=None):
        """A request to the gateway with the first key."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.ready['api_key']}", "content-type": "application/json"}
        request = urllib.request.Request(self.ready["gateway"] + path, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def drop(self, key, body):
        """Puts an object into the uploads bucket; answers the time (epoch milliseconds) at which it was there."""
        self.aws.put(self.ready["uploads_bucket"], key, body)
        return time.time() * 1_000

    def asset(self, key, columns, done, seconds):
        """Columns of the asset of an object, as soon as `done` says so of them."""
        statement = f"SELECT {columns} FROM asset WHERE bucket = :bucket AND object_key = :key"

        def look():
            rows = self.aws.sql(statement, bucket=self.ready["uploads_bucket"], key=key)
            return rows[0] if rows and done(rows[0]) else None

        return wait_for(look, seconds, 0.1, f"{key}: {columns} did not come")

    def quiet(self, seconds=120):
        """Waits until no task is at work or due."""
        open_tasks = "SELECT count(*) FROM task WHERE state IN ('pending', 'leased')"
        outbox = "SELECT count(*) FROM outbox"
        wait_for(
            lambda: self.aws.sql(open_tasks)[0][0] == 0 and self.aws.sql(outbox)[0][0] == 0,
            seconds, 0.2, "the fleet did not come to rest",
        )

    def pids(self):
        return tree(self.process.pid)

    def cpu_seconds(self):
        return cpu_seconds(self.pids())


class Server:
    """A server process that answers HTTP on a port of its own."""

    def __init__(self, command, port, env=None, cwd=None, log=None):
        self.url = f"http://127.0.0.1:{port}"
        self._log = open(log, "w") if log else subprocess.DEVNULL
        self.process = subprocess.Popen(
            [str(part) for part in command], env={**os.environ, **(env or {})}, cwd=cwd,
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )
        try:
            wait_for(
                lambda: answers(self.url) or self.process.poll() is not None, STARTUP_S, message=f"{command[0]} did not listen"
            )
            if self.process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended")
        except BaseException:
            end(self.process)
            raise
        self.aws = Endpoint(self.url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process, 10)


def local(bench, folder, public_url=None):
    """The embedded endpoint alone."""
    port = free_port()
    env = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    return Server([bench.reelfleet, "local", "--data", folder, "--listen", f"127.0.0.1:{port}"], port, env, log=f"{folder}.log")


def moto(bench, log):
    port = free_port()
    return Server([bench.venv.with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)], port, log=log)


def ministack(bench, log):
    port = free_port()
    env = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)}
    return Server([bench.venv.with_name("ministack")], port, env, log=log)


class Clients:
    """A function run by many threads at once, each over its own endpoint connection."""

    def __init__(self, endpoint, count):
        self.endpoints = [endpoint.clone() for _ in range(count)]

    def run(self, work):
        failures = []

        def guarded(number, endpoint):
            try:
                work(number, endpoint)
            except Exception as error:  # noqa: BLE001 — told by the caller's thread
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=pair) for pair in enumerate(self.endpoints)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
