"""From the end of the upload to the first playable moment, by the length of the film: a master playlist and a segment of every rendition and of the
sound are in storage. The three films are the same pictures again and again, so that length alone differs."""

from harness import Absent, Figure, Plot, Sample, at_most
from harness.fleet import Fleet
from harness.plot import Line, line_plot

WHAT = "end of upload → first playable"
AGAINST = "itself, by length"
LIMIT_S = 240
LOOPS = {"1 min": 2, "10 min": 20, "3 h": 360}
MINUTES = {"1 min": 1, "10 min": 10, "3 h": 180}


def films(bench):
    """30 s of Big Buck Bunny at 426x240, then its packets repeated."""
    folder = bench.state / "films"
    folder.mkdir(parents=True, exist_ok=True)
    source = bench.root / ".reelfleet/media/video.mp4"
    if not source.exists():
        raise Absent("the demo's film is missing: scripts/setup.sh media")
    clip, ffmpeg = folder / "clip-240.mp4", bench.tool("ffmpeg")
    if not clip.exists():
        part = clip.with_suffix(".part.mp4")
        encode = ["-vf", "scale=426:240", "-r", "25", "-c:v", "libx264", "-preset", "veryfast", "-crf", "30", "-g", "50"]
        bench.command([ffmpeg, "-v", "error", "-y", "-i", source, *encode, "-c:a", "aac", "-b:a", "64k", part])
        part.rename(clip)
    for name, loops in LOOPS.items():
        film = folder / f"film-{MINUTES[name]}.mp4"
        if not film.exists():
            part = film.with_suffix(".part.mp4")
            bench.command([
                ffmpeg, "-v", "error", "-y", "-stream_loop", loops - 1, "-i", clip, "-c", "copy", "-movflags", "+faststart", part,
            ])
            part.rename(film)
        yield name, film


def run(bench):
    sources = dict(films(bench))
    count = 0
    with Fleet(bench, bench.scratch / "fleet") as fleet:

        def upload(name):
            nonlocal count
            count += 1
            key = f"film-{count}.mp4"
            with open(sources[name], "rb") as film:
                there = fleet.drop(key, film)
            asset, at = fleet.asset(key, "id, playable_at", lambda row: row[1] is not None, 60)
            # The rest of three hours is of no interest here.
            fleet.api("DELETE", f"/v1/assets/{asset}?purge=now")
            fleet.quiet()
            return Sample(seconds=(at - there) / 1_000)

        sides = {name: lambda n=name: upload(n) for name in sources}
        found = bench.rounds(sides)
    for name, samples in found.items():
        yield Figure(name, samples.seconds, unit="s", goal=at_most(3, of="ours"))
    yield Figure("3 h beside 1 min", found["3 h"].seconds, found["1 min"].seconds, "s", at_most(1.5))
    points = [(MINUTES[name], value) for name, samples in found.items() for value in samples.seconds]
    yield Plot(
        "first-playable",
        line_plot("minutes of film", "seconds until first playable", [Line("five uploads each", points, marks=True)], log_x=True),
        "From the end of the upload to the first playable moment, by length (426×240, one machine of 2 cores).",
    )
