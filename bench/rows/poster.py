"""A poster out of a long film, as a decoder makes it, against the programs people call."""

import json

from harness import Figure, Sample, at_least

WHAT = "poster, 640 wide, JPEG, of an 11 min 1080p film"
AGAINST = "ffmpeg -ss 66 -frames:v 1"
LIMIT_S = 240
TOOLS = {"ffmpegthumbnailer": ["ffmpegthumbnailer", "-v"]}

TIMES = 15
SET = ["--posters", "320,640,1280", "--formats", "jpeg,webp"]


def run(bench):
    film = bench.media("long-start.mp4")

    def ours(*which):
        said = bench.command([bench.driver, "pictures", film, "--times", TIMES, *which], output=True).out
        told = json.loads(said)
        walls = sorted(told["wall_s"])
        return Sample(wall=walls[len(walls) // 2], cpu=told["cpu_s"], fetched=told["fetched"], share=told["fetched"] / told["size"])

    picture = bench.scratch / "poster.jpg"
    seek = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
    took = bench.rounds({
        "ours": lambda: ours("--posters", "640"),
        "ffmpeg": lambda: bench.command([*seek, "-ss", "66", "-i", film, "-frames:v", "1", "-vf", "scale=640:-2", "-q:v", "4", picture]),
        "keyframe": lambda: bench.command([
            *seek, "-skip_frame", "nokey", "-noaccurate_seek", "-ss", "66", "-i", film, "-frames:v", "1", "-vf", "scale=640:-2",
            "-q:v", "4", picture]),
        "thumbnailer": lambda: bench.command([bench.tool("ffmpegthumbnailer"), "-i", film, "-o", picture, "-s", "640", "-t", "10%", "-q", "8"]),
        "set": lambda: ours(*SET),
    })
    mine = took["ours"]
    note = f"median of {TIMES} in a row, each a jailed child of its own, from the request to Done; the best of several keyframes; read {mine[-1].fetched:,} B"
    yield Figure("wall", mine.wall, took["ffmpeg"].wall, "s", at_least(10), note, faster=True)
    yield Figure("CPU", mine.cpu, took["ffmpeg"].cpu, "s", faster=True)
    apart = {"against": "ffmpeg, keyframes only, no exact seek"}
    yield Figure("wall", mine.wall, took["keyframe"].wall, "s", faster=True, **apart)
    apart = {"against": "ffmpegthumbnailer -t 10%"}
    yield Figure("wall", mine.wall, took["thumbnailer"].wall, "s", at_least(10), faster=True, **apart)
    yield Figure("CPU", mine.cpu, took["thumbnailer"].cpu, "s", faster=True, **apart)
    apart = {"what": "the same, all six posters of an asset (320, 640, 1280; JPEG and WebP)", "against": "one picture by ffmpeg -ss"}
    yield Figure("wall", took["set"].wall, took["ffmpeg"].wall, "s", faster=True, **apart)
