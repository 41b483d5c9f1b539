"""Sizes of a 20-megapixel photo, against vipsthumbnail."""

import json
import re

from harness import Figure, Sample, at_least

WHAT = "20-megapixel JPEG, 5 sizes in JPEG and WebP"
AGAINST = "vipsthumbnail, a process per picture"
LIMIT_S = 240
TOOLS = {"vipsthumbnail": ["vipsthumbnail", "--vips-version"]}
TIMES = 5
WIDTHS = [320, 640, 960, 1280, 1920]


def run(bench):
    photo = bench.media("photo.jpg")
    vips = bench.tool("vipsthumbnail")
    mine, other = bench.scratch / "ours", bench.scratch / "theirs"
    other.mkdir()

    def ours(widths, formats):
        words = [bench.driver, "still", photo, "--times", TIMES, "--widths", ",".join(map(str, widths)), "--formats", formats, "--out", mine]
        told = json.loads(bench.command(words, output=True).out)
        walls = sorted(told["wall_s"])
        return Sample(wall=walls[len(walls) // 2], cpu=told["cpu_s"])

    def theirs(widths, kinds):
        made = []
        for width in widths:
            for ending, options in kinds:
                made.append(bench.command([vips, photo, "-s", f"{width}x", "-o", f"{other}/image-{width}.{ending}[{options}]"]))
        return Sample(wall=sum(m.wall for m in made), cpu=sum(m.cpu for m in made))

    jpeg, webp = ("jpg", "Q=80,strip"), ("webp", "Q=75,strip")
    took = bench.rounds({
        "ours": lambda: ours(WIDTHS, "jpeg,webp"),
        "theirs": lambda: theirs(WIDTHS, [jpeg, webp]),
        "one": lambda: ours([320], "jpeg"),
        "their one": lambda: theirs([320], [jpeg]),
    })
    note = f"median of {TIMES} in a row, each a jailed child of its own; {photo.stat().st_size:,} B, 5472 × 3648"
    yield Figure("wall", took["ours"].wall, took["theirs"].wall, "s", at_least(2), note, faster=True)
    yield Figure("CPU", took["ours"].cpu, took["theirs"].cpu, "s", faster=True)
    apart = {"what": "20-megapixel JPEG, 320 wide, JPEG", "against": "vipsthumbnail"}
    yield Figure("wall", took["one"].wall, took["their one"].wall, "s", at_least(2), faster=True, **apart)
    yield Figure("CPU", took["one"].cpu, took["their one"].cpu, "s", faster=True, **apart)
    # Their JPEGs of one size differ by what each has rounded away, so both are held against the whole photo, scaled with care.
    ours(WIDTHS, "jpeg,webp")
    found = []
    for width in WIDTHS:
        pair = [mine / f"image-{width}.jpg", other / f"image-{width}.jpg"]
        careful = bench.scratch / f"careful-{width}.png"
        scaled(bench, photo, pair[0], careful)
        found.append([ssim(bench, picture, careful) for picture in pair])
    least = min(found, key=lambda pair: pair[0] / pair[1])
    apart = {"what": "the same, SSIM of the JPEGs to the whole photo, scaled with care", "against": "vipsthumbnail's"}
    told = ", ".join(f"{width}: {mine:.4f} and {theirs:.4f}" for width, (mine, theirs) in zip(WIDTHS, found))
    yield Figure("the size that compares worst", [least[0]], [least[1]], "", at_least(0.99), told, **apart)


def scaled(bench, photo, like, to):
    size = bench.command(["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "stream=width,height", "-of", "csv=p=0", like], output=True)
    size = size.out.decode().strip().replace(",", ":")
    flags = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
    bench.command(["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-i", photo, "-vf", f"scale={size}:flags={flags},format=rgb24", to])


def ssim(bench, ours, theirs):
    words = ["ffmpeg", "-hide_banner", "-nostdin", "-i", ours, "-i", theirs, "-lavfi", "[0:v]format=yuv444p[a];[1:v]format=yuv444p[b];[a][b]ssim", "-f", "null", "-"]
    said = bench.command(words, output=True).err.decode(errors="replace")
    return float(re.findall(r"All:([\d.]+)", said)[-1])
