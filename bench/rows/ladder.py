"""The ladder, in one round: our jailed decoders, the same without the jail, in chunks; one ffmpeg, one per rendition, the newest ffmpeg.
Then quality: VMAF and SSIM of the same frames against the scaled source, brought to equal size along ffmpeg's own rate curve."""

import json
import math
import pathlib
import re
import shutil

from harness import Figure, Sample, at_least, at_most

WHAT = "ladder 720/480/240 + AAC of a 1080p source, veryfast, CRF 23, 4 s segments"
AGAINST = "one ffmpeg process, one decode, split, its own threads"
LIMIT_S = 1200
TOOLS = {"ffmpeg": ["ffmpeg", "-version"]}

RUNGS = "720,480,240"
X264 = "keyint=infinite:min-keyint=1:scenecut=0:open-gop=0"


class Ladder:
    """What all sides are given."""

    def __init__(self, bench, film):
        self.bench, self.film = bench, film
        told = json.loads(bench.command([bench.driver, "rungs", film, "--rungs", RUNGS], output=True).out)
        self.rungs, self.segment_s, self.audio = told["rungs"], told["segment_s"], told["audio_bitrate"]
        fps = told["probe"]["video"]
        self.seconds = told["probe"]["duration_ms"] / 1000
        self.megapixels = sum(r["width"] * r["height"] for r in self.rungs) / 1e6 * self.seconds * fps["fps_num"] / fps["fps_den"]
        self.newest = newest(bench)

    def ours(self, name, *more):
        """A decoder session as a worker's, the driver's start and the zygote's included."""
        out = self.bench.scratch / name
        shutil.rmtree(out, ignore_errors=True)
        words = [self.bench.driver, *more[:1], "ladder", self.film, "--rungs", RUNGS, "--out", out, *more[1:]]
        sample = self.bench.command([w for w in words if w], output=True)
        told = json.loads(sample.pop("out"))
        sample.pop("err")
        # The driver waits until the zygote has waited for the decoders; when it ends, the zygote dies with it.
        sample["cpu"] = told["cpu_s"]
        return Sample(**sample, session=told["wall_s"], first=told["first_s"]["240p"], bytes=sum(told["bytes"].values()), told=told)

    def encoder(self, rung, crf=None):
        """x264's options, the same as ours."""
        keys = f"expr:gte(t,n_forced*{self.segment_s:g})"
        return [
            "-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-crf", crf or rung["crf"],
            "-maxrate", rung["maxrate"], "-bufsize", rung["bufsize"], "-pix_fmt", "yuv420p",
            "-force_key_frames", keys, "-forced-idr", "1", "-x264-params", X264,
        ]

    def hls(self, folder, name):
        """Its segments as CMAF, like ours."""
        return [
            "-f", "hls", "-hls_time", f"{self.segment_s:g}", "-hls_playlist_type", "vod", "-hls_segment_type", "fmp4",
            "-hls_fmp4_init_filename", f"{name}-init.mp4", "-hls_segment_filename", folder / f"{name}-%05d.m4s", folder / f"{name}.m3u8",
        ]

    def sound(self, folder):
        return ["-map", "0:a:0", "-c:a", "aac", "-b:a", self.audio, "-ac", "2", "-ar", "48000", *self.hls(folder, "audio")]

    def one(self, program, name, crf=None):
        """One process for everything."""
        folder = self.fresh(name)
        split = f"[0:v:0]split={len(self.rungs)}" + "".join(f"[s{i}]" for i in range(len(self.rungs)))
        scales = [f"[s{i}]scale={r['width']}:{r['height']}:flags=bicubic,setsar=1[v{i}]" for i, r in enumerate(self.rungs)]
        words = [program, *QUIET, "-i", self.film, "-filter_complex", ";".join([split, *scales])]
        for i, rung in enumerate(self.rungs):
            words += ["-map", f"[v{i}]", *self.encoder(rung, crf), *self.hls(folder, rung["name"])]
        return self.bench.command([*words, *self.sound(folder)])

    def each(self, program, name):
        """One process for each rendition and one for the sound, one after the other."""
        folder = self.fresh(name)
        samples = []
        for rung in self.rungs:
            scale = f"scale={rung['width']}:{rung['height']}:flags=bicubic,setsar=1"
            words = [program, *QUIET, "-i", self.film, "-map", "0:v:0", "-vf", scale, *self.encoder(rung), *self.hls(folder, rung["name"])]
            samples.append(self.bench.command(words))
        samples.append(self.bench.command([program, *QUIET, "-i", self.film, *self.sound(folder)]))
        return Sample(wall=sum(s.wall for s in samples), cpu=sum(s.cpu for s in samples), rss=max(s.rss for s in samples))

    def fresh(self, name):
        folder = self.bench.scratch / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def joined(self, name, rung):
        """A rendition as one file: init, then its segments in order."""
        folder = self.bench.scratch / name
        whole = folder / f"{rung['name']}-whole.mp4"
        with whole.open("wb") as to:
            for part in [folder / f"{rung['name']}-init.mp4", *sorted(folder.glob(f"{rung['name']}-*.m4s"))]:
                to.write(part.read_bytes())
        return whole

    def quality(self, name, rung):
        """(bytes, VMAF, SSIM): frames paired by number, against the source scaled to the rendition's size."""
        file = self.joined(name, rung)
        size = f"{rung['width']}:{rung['height']}:flags=bicubic"
        # One measure of every frame; VMAF of every third, which costs a third and moves its mean by a few hundredths for all sides alike.
        measures = "[a0][b0]libvmaf=n_threads=2:n_subsample=3[x];[a1][b1]ssim[y]" if self.newest else "[a1][b1]ssim[y]"
        split = "split=2[a0][a1]" if self.newest else "null[a1]"
        # Ours says what its colours are, the source does not: without the same words on both, new versions convert one of them.
        same = "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709,settb=1/24,setpts=N"
        graph = (
            f"[0:v]format=yuv420p,{same},{split};"
            f"[1:v]scale={size},format=yuv420p,{same},{split.replace('a0', 'b0').replace('a1', 'b1')};{measures}"
        )
        maps = ["-map", "[x]", "-f", "null", "-", "-map", "[y]", "-f", "null", "-"] if self.newest else ["-map", "[y]", "-f", "null", "-"]
        program = self.newest or "ffmpeg"
        words = [program, "-hide_banner", "-nostdin", "-i", file, "-i", self.film, "-filter_complex", graph, *maps]
        said = self.bench.command(words, output=True).err.decode(errors="replace")
        vmaf = re.findall(r"VMAF score: ([\d.]+)", said)
        ssim = re.findall(r"SSIM .*All:([\d.]+)", said)
        return file.stat().st_size, float(vmaf[-1]) if vmaf else None, float(ssim[-1])


QUIET = ["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]


def newest(bench):
    """The newest static FFmpeg that PyPI has; it has libvmaf too."""
    found = bench.command([bench.venv, "-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"], output=True, check=False)
    path = pathlib.Path(found.out.decode().strip() or "/nonexistent")
    return path if path.exists() else None


def run(bench):
    ladder = Ladder(bench, bench.media("film"))
    sides = {
        "ours": lambda: ladder.ours("ours"),
        "one": lambda: ladder.one("ffmpeg", "one"),
        "chunked": lambda: ladder.ours("chunked", None, "--chunks", "15"),
        "bare": lambda: ladder.ours("bare", "--in-process"),
        "each": lambda: ladder.each("ffmpeg", "each"),
    }
    if ladder.newest:
        sides["newest"] = lambda: ladder.one(ladder.newest, "newest")
    took = bench.rounds(sides, warm=0)
    ours, one = took["ours"], took["one"]
    last = ours[-1].told
    note = (
        f"a whole process, its start of about {last['startup_s'] * 1000:.0f} ms included, which a worker pays once; {last['frames']} frames; "
        f"first 240p segment after {last['first_s']['240p']:.2f} s; peak memory {ours[-1].rss / 2**20:.0f} MiB of the largest process "
        f"against {one[-1].rss / 2**20:.0f} MiB"
    )
    yield Figure("wall", ours.wall, one.wall, "s", at_most(0.86), note)
    yield Figure("CPU", ours.cpu, one.cpu, "s", at_most(0.90), "ours from the first request on")
    cost = [cpu / ladder.megapixels for cpu in ours.cpu]
    yield Figure("CPU seconds per megapixel encoded", cost, [cpu / ladder.megapixels for cpu in one.cpu], "s",
                 note="decoding, scaling and sound included, over the pixels of all rungs")
    each = took["each"]
    apart = {"against": "a process per rendition and one for the sound, one after the other"}
    yield Figure("wall", ours.wall, each.wall, "s", at_least(1.75), faster=True, **apart)
    yield Figure("CPU", ours.cpu, each.cpu, "s", faster=True, **apart)
    apart = {"against": "the newest static ffmpeg (PyPI imageio-ffmpeg), one process"}
    if "newest" in took:
        yield Figure("wall", ours.wall, took["newest"].wall, "s", at_most(0.92), **apart)
        yield Figure("CPU", ours.cpu, took["newest"].cpu, "s", **apart)
    chunked = took["chunked"]
    count = len(chunked[-1].told["spans"])
    apart = {"what": f"the same in {count} chunks of about 15 s", "against": "one task"}
    yield Figure("CPU", chunked.cpu, ours.cpu, "s", at_most(1.03), f"one chunk at a time; cut at {chunked[-1].told['spans']} µs", **apart)
    yield Figure("wall", chunked.wall, ours.wall, "s", **apart)
    bare = took["bare"]
    apart = {"what": "the jail: the ladder in it", "against": "the same decoder in process"}
    yield Figure("wall", ours.session, bare.session, "s", at_most(1.01), "from the first request to the last Done", **apart)
    yield Figure("CPU", ours.cpu, bare.cpu, "s", **apart)
    yield from quality(bench, ladder)


def quality(bench, ladder):
    """Ours and the chunks against ffmpeg at equal size: its curve is drawn through CRF 22, 23 and 24."""
    curve = {23: "one"}
    for crf in (22, 24):
        curve[crf] = f"crf{crf}"
        ladder.one("ffmpeg", curve[crf], crf)
    for rung in ladder.rungs:
        theirs = sorted(ladder.quality(name, rung) for name in curve.values())
        ours = ladder.quality("ours", rung)
        cut = ladder.quality("chunked", rung)
        sized = f"{ours[0]:,} B against {ladder.joined('one', rung).stat().st_size:,} B at the same CRF"
        quality_of = {"what": f"quality at equal size, {rung['name']}", "against": "one ffmpeg process"}
        chunks_of = {"what": f"quality at equal size in chunks, {rung['name']}", "against": "one ffmpeg process"}
        for place, name, limit, scale in ((1, "VMAF", 0.1, 1), (2, "SSIM", 0.001, 1)):
            if ours[place] is None:
                continue
            for side, words in ((ours, quality_of), (cut, chunks_of)):
                there = at_size(theirs, side[0], place)
                lost = there - side[place]
                yield Figure(f"{name} lost", [lost * scale], None, "", at_most(limit, of="ours"),
                             f"{side[place]:.4f} against {there:.4f} of its curve (CRF 22–24) at that size; {sized}", **words)


def at_size(curve, size, place):
    """The value of a curve of (bytes, …) at a size: straight between its points and beyond them, over the logarithm of the size."""
    points = [(math.log(point[0]), point[place]) for point in curve]
    low, high = (points[0], points[1]) if math.log(size) < points[1][0] else (points[1], points[2])
    slope = (high[1] - low[1]) / (high[0] - low[0])
    return low[1] + slope * (math.log(size) - low[0])
