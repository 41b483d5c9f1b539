"""How long a jailed child takes to be made, and what short work costs in the jail."""

import json
import statistics

from harness import Figure, Sample, at_most

WHAT = "the jail: a child made, jailed, and at its first read"
AGAINST = "–"
LIMIT_S = 120
TIMES = 100


def run(bench):
    film = bench.media("film")

    def made(*how):
        told = json.loads(bench.command([bench.driver, *how, "probe", film, "--times", TIMES], output=True).out)
        return Sample(wall=statistics.median(told["wall_s"]), first=statistics.median(told["first_read_s"]), cpu=told["cpu_s"])

    took = bench.rounds({"jailed": lambda: made(), "bare": lambda: made("--in-process")})
    note = f"median of {TIMES} in a row, from asking for a session to the first byte it asks for"
    yield Figure("wall", took["jailed"].first, None, "s", at_most(0.003, of="ours"), note)
    apart = {"what": "the jail: a probe in it", "against": "the same decoder in process"}
    yield Figure("wall", took["jailed"].wall, took["bare"].wall, "s", note="told for its own sake: making the child is most of it", **apart)
    yield Figure("CPU", took["jailed"].cpu, took["bare"].cpu, "s", **apart)
