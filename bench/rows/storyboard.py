"""A hundred pictures of a long film by ranges, against ffmpeg's tiles over the whole file."""

import json

from harness import Figure, Sample, at_least, at_most

WHAT = "storyboard of 100 pictures of an 11 min film, 500 MB"
AGAINST = "ffmpeg, keyframes only, tile filter, whole local file"
LIMIT_S = 240
CELLS, COLUMNS, WIDTH, HEIGHT = 100, 10, 160, 90


def run(bench):
    film = bench.media("long-start.mp4")
    out = bench.scratch / "ours"

    def ours():
        said = bench.command([bench.driver, "pictures", film, "--storyboard", CELLS, "--out", out], output=True)
        told = json.loads(said.out)
        return Sample(wall=told["wall_s"][0], cpu=told["cpu_s"], share=told["fetched"] / told["size"], told=told)

    def theirs():
        words = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-skip_frame", "nokey", "-i", film, "-an", "-vf",
                 f"scale={WIDTH}:{HEIGHT},tile={COLUMNS}x{CELLS // COLUMNS}", "-frames:v", "1", "-c:v", "libwebp", "-quality", "70",
                 bench.scratch / "theirs.webp"]
        return bench.command(words)

    took = bench.rounds({"ours": ours, "theirs": theirs})
    mine, last = took["ours"], took["ours"][-1].told
    note = f"{len(last['cues'])} cells over {last['fetched']:,} B of reads"
    yield Figure("wall", mine.wall, took["theirs"].wall, "s", at_least(2), note, faster=True)
    yield Figure("CPU", mine.cpu, took["theirs"].cpu, "s", faster=True)
    apart = {"against": "the whole file"}
    yield Figure("share of its bytes read", mine.share, None, "", at_most(0.08, of="ours"), **apart)
    alike, told = alikes(bench, out, last["cues"])
    yield Figure("pictures that are like another", [alike], None, "", at_most(0, of="ours"), told, **apart)


def alikes(bench, folder, cues):
    """How many cells can't be told from one less than 25 s before: the film repeats after 30 s."""
    pixels = {}
    for sprite in sorted(folder.glob("storyboard-*.webp")):
        raw = bench.command(["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-i", sprite, "-f", "rawvideo", "-pix_fmt", "gray", "-"], output=True)
        pixels[int(sprite.stem.rsplit("-", 1)[1])] = raw.out
    cells = []
    for cue in cues:
        sprite = pixels[cue["sprite"]]
        stride = COLUMNS * WIDTH
        rows = [sprite[(cue["y"] + line) * stride + cue["x"]:][:cue["w"]] for line in range(cue["h"])]
        cells.append(b"".join(rows))
    def differ(a, b):
        return sum(abs(x - y) for x, y in zip(a[::7], b[::7])) / max(1, len(a[::7]))
    times = [cue["start_us"] for cue in cues]
    pairs = [(i, j) for i in range(len(cells)) for j in range(max(0, i - 8), i) if times[i] - times[j] < 25e6]
    near = [differ(cells[i], cells[j]) for i, j in pairs]
    alike = sum(distance < 1 for distance in near) + len(times) - len(set(times))
    return alike, f"mean difference of grey values, least {min(near):.1f} of 255; a cell counts below 1"
