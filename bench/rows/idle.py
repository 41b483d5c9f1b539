"""A whole fleet that has nothing to do: CPU of all its processes, endpoint and supervisor among them, and their memory."""

import time

from harness import Figure, at_most
from harness.fleet import Fleet, cpu_seconds, memory_kib, tree

WHAT = "idle fleet: endpoint, gateway, 2 transcoders, the other workers"
AGAINST = "–"
LIMIT_S = 120
SETTLE_S = 10
WINDOW_S = 8


def run(bench):
    with Fleet(bench, bench.scratch / "fleet") as fleet:
        # What starting leaves to be done is done.
        time.sleep(SETTLE_S)
        shares, before_roles = [], roles(fleet)
        began = time.monotonic()
        for _ in range(max(5, bench.rounds_wanted)):
            at, cpu = time.monotonic(), fleet.cpu_seconds()
            time.sleep(WINDOW_S)
            shares.append(100 * (fleet.cpu_seconds() - cpu) / (time.monotonic() - at))
        lasted = time.monotonic() - began
        each = {role: 100 * (cpu - before_roles[role]) / lasted for role, cpu in roles(fleet).items()}
        pids = fleet.pids()
        resident, proportional = memory_kib(pids)
    told = ", ".join(f"{role} {share:.2f}" for role, share in sorted(each.items(), key=lambda pair: -pair[1]))
    yield Figure("CPU, % of one core", shares, unit="%", goal=at_most(1), note=f"% by role: {told}")
    processes = f"{len(pids)} processes of one executable"
    yield Figure("memory of all, pages that they share counted once (PSS)", proportional * 1024, unit="B", goal=at_most(150 << 20), note=processes)
    yield Figure("the same, shared pages counted in each (sum of RSS)", resident * 1024, unit="B")


def roles(fleet):
    found = {role: sum(cpu_seconds(tree(pid)) for pid in pids) for role, pids in fleet.ready["pids"].items()}
    return {**found, "supervisor": cpu_seconds([fleet.process.pid])}
