#!/usr/bin/env python3
"""Draws docs/plots/throughput.svg: uploads an hour over the transcoders that they keep busy, by `reelfleet simulate` (the same seed, the same plot).

    bench/plots.py [EXECUTABLE]     default: target/release/reelfleet
"""

import json
import pathlib
import subprocess
import sys

from harness.plot import Line, line_plot

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATES = [30, 100, 300, 1_000, 2_100, 7_000, 23_400]


def main():
    executable = sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "release" / "reelfleet"
    rates = [word for rate in RATES for word in ("--assets-per-hour", str(rate))]
    said = subprocess.run([executable, "simulate", "--json", "--max", "100000", *rates], capture_output=True, text=True, check=True)
    runs = json.loads(said.stdout)
    held = [(run["transcoders_mean"], run["assets_per_hour"]) for run in runs]
    # As many as if every paid second were work: what the last one makes of its time, for all.
    per_worker = runs[-1]["assets_per_hour"] / runs[-1]["transcoders_mean"] / runs[-1]["use_of_time"]
    bound = [(workers, workers * per_worker) for workers, _ in held]
    svg = line_plot(
        "transcoders, mean", "uploads an hour", [Line("as scaled by the formula", held), Line("if all paid time were work", bound)],
        log_x=True, log_y=True,
    )
    folder = ROOT / "docs" / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "throughput.svg").write_text(svg)
    print("written: docs/plots/throughput.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
