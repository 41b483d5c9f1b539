"""Objects of the embedded endpoint: 1 GiB up and down by `curl` over signed links, and 64 KiB ranges on one connection."""

import contextlib
import os

from harness import Figure, Sample, at_least, at_most
from harness.fleet import local, ministack, moto
from harness.load import wrk

WHAT = "`local`: 1 GiB up and down, 64 KiB ranges"
AGAINST = "`cp` + `sync`; moto, ministack (in memory)"
LIMIT_S = 240
TOOLS = {"curl": ["curl", "--version"]}
GIB = 1 << 30
RANGE = 64 << 10
SOME = 64 << 20


def up(bench, server, path, key):
    link = server.aws.presign("PUT", "bench", key)
    return bench.command([bench.tool("curl"), "-sSf", "-H", "Expect:", "-T", path, "-o", os.devnull, link])


def down(bench, server, key):
    return bench.command([bench.tool("curl"), "-sSf", "-o", os.devnull, server.aws.presign("GET", "bench", key)])


def ranges(bench, server, key, size):
    found = wrk(bench, server.aws.presign("GET", "bench", key), 1, 2, ranges=size // RANGE, length=RANGE)
    return Sample(p50=found["p50"], p99=found["p99"], rate=found["rate"])


def run(bench):
    source, copied, some = bench.scratch / "gib", bench.scratch / "copy", bench.scratch / "some"
    with open(source, "wb") as file:
        block = os.urandom(4 << 20)
        for number in range(GIB // len(block)):
            file.write(number.to_bytes(8) + block[8:])
    some.write_bytes(os.urandom(SOME))

    def copy():
        copied.unlink(missing_ok=True)
        return bench.command(["sh", "-c", f"cp '{source}' '{copied}' && sync '{copied}'"])

    with contextlib.ExitStack() as stack:
        own = stack.enter_context(local(bench, bench.scratch / "local"))
        own.aws.make_bucket("bench")
        both = bench.rounds({"local": lambda: up(bench, own, source, "gib"), "copy": copy})
        copied.unlink()
        yield Figure(
            "PUT of 1 GiB, on disk", both["local"].wall, both["copy"].wall, "s", at_least(0.6), "against `cp` + `sync` of the same file",
            faster=True,
        )
        gets = bench.rounds({"local": lambda: Sample(speed=1 / down(bench, own, "gib").wall)})
        yield Figure("GET of 1 GiB", gets["local"].speed, unit="GiB/s", goal=at_least(1.9))
        reads = bench.rounds({"local": lambda: ranges(bench, own, "gib", GIB)})["local"]
        yield Figure("a 64 KiB range, p50", reads.p50, unit="s", goal=at_most(0.0005), note=f"p99 {max(reads.p99) * 1e3:.2f} ms")
        own.aws.put("bench", "some", some.read_bytes())
        others = {
            "ministack": stack.enter_context(ministack(bench, bench.scratch / "ministack.log")),
            "moto": stack.enter_context(moto(bench, bench.scratch / "moto.log")),
        }
        for server in others.values():
            server.aws.make_bucket("bench")
        servers = {"local": own, **others}
        # 64 MiB: they hold it all in memory.
        ups = bench.rounds({name: lambda s=server: up(bench, s, some, "some") for name, server in servers.items()})
        downs = bench.rounds({name: lambda s=server: down(bench, s, "some") for name, server in servers.items()})
        pieces = bench.rounds({name: lambda s=server: ranges(bench, s, "some", SOME) for name, server in servers.items()}, rounds=3)
    for name in others:
        yield Figure("PUT of 64 MiB", ups["local"].wall, ups[name].wall, "s", None, f"against {name}", faster=True)
        yield Figure("GET of 64 MiB", downs["local"].wall, downs[name].wall, "s", None, f"against {name}", faster=True)
        yield Figure("a 64 KiB range, p50", pieces["local"].p50, pieces[name].p50, "s", None, f"against {name}; 3 rounds", faster=True)
