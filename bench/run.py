#!/usr/bin/env python3
"""Runs the rows, prints the table, writes docs/benchmarks.md. See bench/README.md."""

import argparse
import ctypes
import dataclasses
import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
STATE = ROOT / ".reelfleet" / "bench"
sys.path.insert(0, str(HERE))

import rows  # noqa: E402
from harness import Absent, Bench, Figure, Plot, machine, page  # noqa: E402

PR_SET_CHILD_SUBREAPER = 36


def measured(name, rounds):
    """One row, in this process: its result as JSON."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    module = importlib.import_module(f"rows.{name}")
    result = {"name": name, "what": module.WHAT, "against": module.AGAINST, "state": "measured", "why": "", "figures": [], "plots": []}
    (STATE / "scratch").mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=STATE / "scratch"))
    bench = Bench(root=ROOT, state=STATE, scratch=scratch, rounds_wanted=rounds)
    began = time.monotonic()
    try:
        for made in module.run(bench):
            if isinstance(made, Plot):
                result["plots"].append(dataclasses.asdict(made))
            elif isinstance(made, Figure):
                result["figures"].append(made.plain())
            else:
                raise TypeError(f"a row gives Figure and Plot, not {type(made).__name__}")
    except Absent as why:
        result.update(state="absent", why=str(why))
    except Exception as why:  # noqa: BLE001 - whatever it was, the other rows go on
        result.update(state="failed", why=f"{type(why).__name__}: {why}"[:300])
        if os.environ.get("REELFLEET_BENCH_TRACE"):
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    result["seconds"] = round(time.monotonic() - began, 1)
    return result


def apart(name, rounds):
    """The same in a process of its own, which is killed with all it started when its time is over."""
    module = importlib.import_module(f"rows.{name}")
    failed = {"name": name, "what": module.WHAT, "against": module.AGAINST, "state": "failed", "figures": [], "plots": []}
    with tempfile.TemporaryDirectory() as folder:
        to = pathlib.Path(folder) / "result.json"
        words = [sys.executable, str(HERE / "run.py"), "--row", name, "--rounds", str(rounds), "--to", str(to)]
        child = subprocess.Popen(words, start_new_session=True)
        try:
            child.wait(timeout=module.LIMIT_S)
        except subprocess.TimeoutExpired:
            return {**failed, "why": f"not done after {module.LIMIT_S} s"}
        finally:
            end_session(child)
        if not to.exists():
            return {**failed, "why": f"its process ended with {child.returncode}"}
        return json.loads(to.read_text())


def end_session(child):
    """Kills whatever a row left: its session, found by the kernel's session number, for commands have groups of their own."""
    mine = set()
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if int(fields[3]) == child.pid or f"REELFLEET_BENCH_ROW={child.pid}".encode() in environment:
            mine.add(int(folder.name))
    for pid in mine - {os.getpid()}:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if child.poll() is None:
        child.wait()


def main():
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--only", default="", help="names of rows, with commas between")
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--write", action="store_true", help="write docs/benchmarks.md though not all rows are run")
    ask.add_argument("--list", action="store_true")
    ask.add_argument("--row", help=argparse.SUPPRESS)
    ask.add_argument("--to", help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.row:
        os.environ["REELFLEET_BENCH_ROW"] = str(os.getpid())
        pathlib.Path(given.to).write_text(json.dumps(measured(given.row, given.rounds)))
        return 0
    if given.list:
        print("\n".join(rows.ORDER))
        return 0
    wanted = [name for name in given.only.split(",") if name] or rows.ORDER
    unknown = [name for name in wanted if name not in rows.ORDER]
    if unknown:
        ask.error(f"no row is called {', '.join(unknown)}; there are {', '.join(rows.ORDER)}")
    STATE.mkdir(parents=True, exist_ok=True)
    tools = {}
    for name in wanted:
        tools.update(getattr(importlib.import_module(f"rows.{name}"), "TOOLS", {}))
    told = machine.facts(ROOT, tools)
    began = time.monotonic()
    kept_at = STATE / "results.json"
    kept = json.loads(kept_at.read_text()) if kept_at.exists() else {"rows": {}, "versions": {}}
    results = []
    for number, name in enumerate(wanted, 1):
        print(f"bench: {number}/{len(wanted)} {name} …", file=sys.stderr, flush=True)
        result = {**apart(name, given.rounds), "when": told["date"]}
        print(f"bench: {name}: {result['state']} {result['why'] if result['why'] else ''} ({result.get('seconds', '–')} s)", file=sys.stderr)
        results.append(result)
        kept["rows"][name] = result
        kept["versions"].update(told["versions"])
        kept_at.write_text(json.dumps(kept, indent=1))
    seconds = time.monotonic() - began
    print(page.terminal(results))
    print(f"{seconds / 60:.1f} minutes; load before {told['load_before']}, now {os.getloadavg()[0]:.2f}")
    if len(wanted) == len(rows.ORDER) or given.write:
        shown = [kept["rows"][name] for name in rows.ORDER if name in kept["rows"]]
        told["versions"] = dict(sorted(kept["versions"].items()))
        plots = ROOT / "docs" / "plots"
        for row in shown:
            for plot in row["plots"]:
                plots.mkdir(parents=True, exist_ok=True)
                (plots / f"{plot['name']}.svg").write_text(plot["svg"])
        (ROOT / "docs" / "benchmarks.md").write_text(page.markdown(shown, told, given.rounds, seconds))
        print("written: docs/benchmarks.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
