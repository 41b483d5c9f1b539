"""From the notification to the work: small objects are dropped one by one, each is looked for in the log of intake. The notification is there when the
PUT is answered; intake takes it up, commits the asset, and its first task is on its queue, leased and started."""

import datetime
import json
import statistics
import time

from harness import Absent, Figure, at_most
from harness.fleet import Fleet

WHAT = "notification → task started on `local`"
AGAINST = "–"
LIMIT_S = 120
DROPS = 200
PAUSE_S = 0.1


def logged(fleet, message):
    """(milliseconds, line) of a role's log lines with this message."""
    for line in (fleet.folder / "logs" / "intake.log").read_text().splitlines():
        if message in line:
            said = json.loads(line[line.index("{"):])
            if said.get("message") == message:
                yield datetime.datetime.fromisoformat(said["timestamp"]).timestamp() * 1_000, said


def percentiles(values):
    cut = statistics.quantiles(values, n=100, method="inclusive")
    return cut[49], cut[98]


def run(bench):
    source = bench.root / "bench" / "tiny" / "pixel.png"
    if not source.exists():
        raise Absent("bench/tiny/pixel.png is missing")
    landed, started, handed = [], [], []
    # Pictures of their own would share the two cores with what is measured: the thumbnailer waits.
    with Fleet(bench, bench.scratch / "fleet", "--thumbnailers", "0", "--transcoders", "0") as fleet:
        fleet.drop("warm.png", source.read_bytes())
        fleet.asset("warm.png", "probe", lambda row: row[0] is not None, 30)
        dropped = {}
        for number in range(DROPS):
            key = f"drop-{number}.png"
            # The bytes differ, as the names do: nothing is a duplicate.
            dropped[key] = fleet.drop(key, source.read_bytes() + str(number).encode())
            time.sleep(PAUSE_S)
        fleet.asset(f"drop-{DROPS - 1}.png", "probe", lambda row: row[0] is not None, 60)
        uploads = {said["asset"]: (at, dropped[said["key"]]) for at, said in logged(fleet, "an object landed") if said["key"] in dropped}
        for at, said in logged(fleet, "task started"):
            asset = said["span"]["asset"]
            if asset in uploads:
                taken, there = uploads.pop(asset)
                landed.append(max(taken - there, 0) / 1_000)
                handed.append((at - taken) / 1_000)
                started.append((at - there) / 1_000)
    if len(started) < DROPS * 0.99:
        raise RuntimeError(f"only {len(started)} of {DROPS} tasks were found in the log")
    note = f"{len(started)} drops, one every {PAUSE_S * 1_000:.0f} ms"
    for name, values in (("notification → committed as asset and task", landed), ("task committed → started", handed)):
        p50, p99 = percentiles(values)
        yield Figure(f"{name}, p50", p50, unit="s", note=f"{note}; p99 {p99 * 1_000:.1f} ms")
    p50, p99 = percentiles(started)
    yield Figure("notification → first task started, p50", p50, unit="s", goal=at_most(0.020), note=note)
    yield Figure("notification → first task started, p99", p99, unit="s", goal=at_most(0.100), note=note)
