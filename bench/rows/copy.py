"""Stream copy of what is already right: what the top rendition costs beside the next one, copied and encoded. Both sides decode
everything, the copy too, since the smaller renditions need it and nothing is copied that does not decode."""

import json
import shutil
import subprocess

from harness import Figure, Sample, at_least, at_most

WHAT = "what is already right (H.264, a keyframe every 2 s, 1080p), top rendition"
AGAINST = "re-encoding it, the same decoder"
LIMIT_S = 400
TOOLS = {"ffmpeg": ["ffmpeg", "-version"]}


def run(bench):
    film = bench.media("right.mp4")

    def ladder(name, rungs, *more):
        out = bench.scratch / name
        shutil.rmtree(out, ignore_errors=True)
        words = [bench.driver, "ladder", film, "--rungs", rungs, "--no-audio", "--out", out, *more]
        told = json.loads(bench.command(words, output=True).out)
        return Sample(wall=told["wall_s"], cpu=told["cpu_s"], rss=0, bytes=told["bytes"].get("1080p", 0), first=told["first_s"])

    sides = {
        "copied": lambda: ladder("copied", "1080,720", "--copy"),
        "encoded": lambda: ladder("encoded", "1080,720"),
        "without": lambda: ladder("without", "720"),
    }
    took = bench.rounds(sides, warm=0)
    copied, encoded, without = took["copied"], took["encoded"], took["without"]
    # The 720p rung is scaled from the 1080p one or from the source, which are the same pixels.
    alone = [max(c - w, 0.01) for c, w in zip(copied.cpu, without.cpu)]
    again = [e - w for e, w in zip(encoded.cpu, without.cpu)]
    note = "CPU of both renditions less that of 720p alone, 10 ms at the least, which is what the clock tells apart; decoding is in both"
    yield Figure("CPU of that rendition", alone, again, "s", at_least(20), note, faster=True)
    yield Figure("wall of both renditions", copied.wall, encoded.wall, "s", faster=True)
    yield Figure("CPU of both renditions", copied.cpu, encoded.cpu, "s", faster=True)
    joined = bench.scratch / "copied" / "whole.mp4"
    with joined.open("wb") as to:
        for part in [joined.with_name("1080p-init.mp4"), *sorted(joined.parent.glob("1080p-*.m4s"))]:
            to.write(part.read_bytes())
    ours, theirs = pictures(joined), pictures(film)
    other = sum(a != b for a, b in zip(ours, theirs)) + abs(len(ours) - len(theirs))
    yield Figure("pictures that are not the source's own", [float(other)], None, "", at_most(0, of="ours"),
                 f"{len(theirs)} decoded by the ffmpeg command line, compared by hash")


def pictures(path):
    words = ["ffmpeg", "-v", "error", "-nostdin", "-i", path, "-map", "0:v:0", "-vsync", "passthrough", "-f", "framemd5", "-"]
    told = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=True).stdout
    return [line.rsplit(",", 1)[1] for line in told.splitlines() if not line.startswith("#")]
