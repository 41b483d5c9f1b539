"""Commands with their wall time, CPU time and peak memory; interleaved rounds."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time


class Absent(Exception):
    """A row that can't be measured here, and why: "not built", "no such tool"."""


class Sample(dict):
    """What one run of one side gave: wall and cpu in seconds, rss in bytes, and whatever else. `sample.wall` is `sample["wall"]`."""

    def __init__(self, wall=None, cpu=None, rss=None, **more):
        given = {"wall": wall, "cpu": cpu, "rss": rss, **more}
        super().__init__({key: value for key, value in given.items() if value is not None})

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Samples(list):
    """The rounds of one side. `samples.wall` is the series of that figure."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return [sample[name] for sample in self]


@dataclasses.dataclass
class Bench:
    """What a row is given."""

    root: pathlib.Path
    state: pathlib.Path
    scratch: pathlib.Path
    rounds_wanted: int = 5

    @property
    def _release(self):
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", self.root / "target"))
        return target / os.environ.get("REELFLEET_BENCH_PROFILE", "release")

    @property
    def reelfleet(self):
        return self.binary("reelfleet")

    @property
    def decoder(self):
        return self.binary("reelfleet-decoder")

    @property
    def driver(self):
        return self.binary("reelfleet-bench")

    def binary(self, name):
        path = self._release / name
        if not path.exists():
            raise Absent(f"{path.name} is not built: cargo build --release -p reelfleet-cli -p reelfleet-decoder -p reelfleet-bench")
        return path

    @property
    def venv(self):
        """The Python that has what bench/requirements.txt names."""
        python = self.state / "venv" / "bin" / "python"
        if not python.exists():
            raise Absent("scripts/setup.sh bench has not been run")
        return python

    def tool(self, name):
        path = shutil.which(name)
        if not path:
            raise Absent(f"{name} is not installed (scripts/setup.sh bench)")
        return path

    def media(self, name):
        from . import media

        return media.source(self, name)

    def rounds(self, sides, rounds=None, warm=1):
        """Each side in turn, round after round; what went before the first round warmed caches and is not counted."""
        results = {name: Samples() for name in sides}
        for number in range(-warm, rounds or self.rounds_wanted):
            for name, side in sides.items():
                sample = side()
                if number >= 0:
                    results[name].append(sample if isinstance(sample, Sample) else Sample(value=float(sample)))
        return results

    def command(self, words, stdin=None, env=None, cwd=None, timeout=600, check=True, output=False):
        """Runs a process with its children to its end. CPU and peak memory are the kernel's count of all that were waited for,
        and of those that outlived it. With `output`, the sample has `out`, its standard output as bytes."""
        words = [str(word) for word in words]
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            began = time.perf_counter()
            child = subprocess.Popen(
                words, stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, start_new_session=True,
                env={**os.environ, **{k: str(v) for k, v in (env or {}).items()}},
            )
            late = threading.Timer(timeout, lambda: kill_group(child.pid))
            late.start()
            try:
                _, status, usage = os.wait4(child.pid, 0)
                wall = time.perf_counter() - began
                child.returncode = os.waitstatus_to_exitcode(status)
                cpu, rss = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
                # Orphans of its group come to us: the runner made this process their reaper.
                with contextlib.suppress(ChildProcessError):
                    while True:
                        _, _, usage = os.wait4(-child.pid, 0)
                        cpu, rss = cpu + usage.ru_utime + usage.ru_stime, max(rss, usage.ru_maxrss * 1024)
            finally:
                late.cancel()
            if check and child.returncode != 0:
                err.seek(0)
                tail = err.read().decode(errors="replace").strip().splitlines()[-3:]
                raise RuntimeError(f"{pathlib.Path(words[0]).name} ended with {child.returncode}: {' / '.join(tail)}")
            sample = Sample(wall=wall, cpu=cpu, rss=rss, status=child.returncode)
            if output:
                out.seek(0)
                err.seek(0)
                sample["out"], sample["err"] = out.read(), err.read()
            return sample


def kill_group(pid):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
