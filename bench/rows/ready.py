"""From the end of the upload until everything is made, with the source's own stream copied (as a fleet does by itself, where it fits) and without, beside one `ffmpeg` process that makes the same ladder of the same file on the local disk: the same
renditions, preset, CRF and caps, keyframes every four seconds, CMAF segments and playlists."""

import statistics

from harness import Absent, Figure, Sample, at_most
from harness.fleet import Fleet

WHAT = "end of upload → ready, 15 s of 720p"
AGAINST = "`ffmpeg` command line, the same ladder of the local file"
LIMIT_S = 260
TOOLS = {"ffmpeg": ["ffmpeg", "-version"]}
RUNGS = [(1280, 720, 3_500_000), (854, 480, 1_600_000), (640, 360, 900_000), (426, 240, 450_000)]


def film(bench):
    folder = bench.state / "films"
    folder.mkdir(parents=True, exist_ok=True)
    path, source = folder / "film-720-15.mp4", bench.root / ".reelfleet/media/video.mp4"
    if not source.exists():
        raise Absent("the demo's film is missing: scripts/setup.sh media")
    if not path.exists():
        part = path.with_suffix(".part.mp4")
        encode = ["-vf", "scale=1280:720", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-g", "50", "-c:a", "aac", "-b:a", "128k"]
        bench.command([bench.tool("ffmpeg"), "-v", "error", "-y", "-i", source, "-t", 15, *encode, "-movflags", "+faststart", part])
        part.rename(path)
    return path


def preset(bench):
    """The preset that the transcoder asks for."""
    import re

    found = re.search(r'PRESET: &str = "(\w+)"', (bench.root / "workers/transcoder/src/encode.rs").read_text())
    if not found:
        raise RuntimeError("workers/transcoder/src/encode.rs names no PRESET: this row reads it there")
    return found[1]


def command_line(bench, source, folder):
    """One decode, a cascade of scalers, one process; its own choice of threads."""
    graph, label = [], "0:v"
    for number, (width, height, _) in enumerate(RUNGS):
        last = number == len(RUNGS) - 1
        graph.append(f"[{label}]scale={width}:{height}:flags=bicubic,split={1 if last else 2}[v{number}]{'' if last else f'[s{number}]'}")
        label = f"s{number}"
    words = [bench.tool("ffmpeg"), "-v", "error", "-y", "-i", source, "-filter_complex", ";".join(graph)]
    for number, (_, _, rate) in enumerate(RUNGS):
        words += ["-map", f"[v{number}]", f"-maxrate:v:{number}", rate, f"-bufsize:v:{number}", 2 * rate]
    words += ["-c:v", "libx264", "-preset", preset(bench), "-crf", 23, "-force_key_frames", "expr:gte(t,n_forced*4)", "-sc_threshold", 0]
    words += ["-map", "0:a", "-c:a", "aac", "-b:a", "128k"]
    groups = " ".join(f"v:{number},agroup:a" for number in range(len(RUNGS))) + " a:0,agroup:a"
    words += ["-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", 4, "-hls_playlist_type", "vod", "-var_stream_map", groups]
    return [*words, "-master_pl_name", "master.m3u8", folder / "v%v.m3u8"]


def run(bench):
    source = film(bench)
    count = 0
    copying = {"REELFLEET_STREAM_COPY": "true"}
    with Fleet(bench, bench.scratch / "encoding", env={"REELFLEET_STREAM_COPY": "false"}) as encoding, Fleet(bench, bench.scratch / "copying", env=copying) as copies:

        def processed(fleet):
            nonlocal count
            count += 1
            key = f"film-{count}.mp4"
            cpu = fleet.cpu_seconds()
            with open(source, "rb") as body:
                # A box at the end that readers pass over: no two uploads are alike.
                there = fleet.drop(key, body.read() + (16).to_bytes(4) + b"free" + count.to_bytes(8))
            _, playable, ready = fleet.asset(key, "state, playable_at, ready_at", lambda row: row[0] in ("ready", "failed"), 150)
            if ready is None:
                raise RuntimeError("the film was not made")
            fleet.quiet()
            return Sample(seconds=(ready - there) / 1_000, playable=(playable - there) / 1_000, cpu=fleet.cpu_seconds() - cpu)

        def theirs():
            folder = bench.scratch / "hls"
            folder.mkdir(exist_ok=True)
            sample = bench.command(command_line(bench, source, folder))
            return Sample(seconds=sample.wall, cpu=sample.cpu)

        sides = {"encoding": lambda: processed(encoding), "copying": lambda: processed(copies), "ffmpeg": theirs}
        found = bench.rounds(sides)
    b = found["ffmpeg"]
    renditions = f"{len(RUNGS)} renditions and sound; ours makes poster and storyboard besides and was playable after"
    for side, what in [("encoding", f"{WHAT}, every rendition encoded"), ("copying", f"{WHAT}, its own stream copied as the first rendition")]:
        a = found[side]
        told = f"{renditions} {statistics.median(a.playable):.1f} s"
        yield Figure("wall", a.seconds, b.seconds, "s", at_most(1.0), told, what=what)
        yield Figure("CPU", a.cpu, b.cpu, "s", None, "all processes of the fleet, pictures, events and storage among them", what=what)
