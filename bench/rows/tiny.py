"""What the fleet itself costs: an asset so small that its media cost nearly nothing goes through every stage (landing, probe, plan, chunk, sound, publishing,
pictures, description, events), and the CPU time of all processes is counted, the endpoint's among them."""

import time

from harness import Figure, Sample, at_most
from harness.fleet import Fleet

WHAT = "fleet overhead of one tiny asset"
AGAINST = "–"
LIMIT_S = 150
ASSETS = 20


def film(bench):
    """One second of 32x32 pixels with sound."""
    path = bench.scratch / "tiny.mp4"
    sources = ["-f", "lavfi", "-i", "testsrc2=s=32x32:r=10:d=1", "-f", "lavfi", "-i", "sine=frequency=440:duration=1"]
    encode = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-c:a", "aac", "-shortest", "-movflags", "+faststart"]
    bench.command([bench.tool("ffmpeg"), "-v", "error", "-y", *sources, *encode, path])
    return path.read_bytes()


def rest(fleet):
    """All is made and described, and nothing is under way."""
    fleet.quiet()
    undescribed = "SELECT count(*) FROM asset WHERE described < version AND state NOT IN ('uploaded', 'deleting', 'deleted')"
    until = time.monotonic() + 30
    while fleet.aws.sql(undescribed)[0][0] and time.monotonic() < until:
        time.sleep(0.2)


def run(bench):
    source = film(bench)
    with Fleet(bench, bench.scratch / "fleet") as fleet:
        count = 0

        def batch(assets):
            """CPU of some assets, one after another, and of the time that it took."""
            nonlocal count
            began, cpu = time.monotonic(), fleet.cpu_seconds()
            for _ in range(assets):
                count += 1
                key = f"tiny-{count}.mp4"
                # A box that readers pass over: no two objects are alike.
                fleet.drop(key, source + (16).to_bytes(4) + b"free" + count.to_bytes(8))
                fleet.asset(key, "state", lambda row: row[0] == "ready", 60)
            rest(fleet)
            return fleet.cpu_seconds() - cpu, time.monotonic() - began

        batch(3)
        # What the fleet costs while nothing happens is another row.
        before = fleet.cpu_seconds()
        time.sleep(5)
        idle = (fleet.cpu_seconds() - before) / 5
        samples = []
        for _ in range(bench.rounds_wanted):
            cpu, wall = batch(ASSETS // 4)
            samples.append((cpu - idle * wall) / (ASSETS // 4))
        roles = by_role(fleet, batch)
    yield Figure("CPU an asset", samples, unit="s", goal=at_most(0.150), note=roles)


def by_role(fleet, batch):
    """Where it goes: the shares of the roles, of five more."""
    from harness.fleet import cpu_seconds, tree

    def now():
        return {role: sum(cpu_seconds(tree(pid)) for pid in pids) for role, pids in fleet.ready["pids"].items()}

    before = now()
    batch(5)
    after = now()
    shares = {role: (after[role] - before.get(role, 0)) / 5 * 1_000 for role in after}
    return "ms by role: " + ", ".join(f"{role} {ms:.0f}" for role, ms in sorted(shares.items(), key=lambda pair: -pair[1]) if ms >= 0.5)
