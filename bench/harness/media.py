"""The sources of the rows, made once under .reelfleet/bench/media. Pictures are real: Big Buck Bunny (CC BY 3.0, Blender Foundation)."""

import subprocess

from .measure import Absent


def run(words):
    made = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"{words[0]}: {made.stderr.strip()[-300:]}")


def ffmpeg(*words):
    run(["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *words])


def film(bench, _to):
    """30 s of 1080p24, H.264 and AAC, 22.7 MB: what `make media` fetches."""
    path = bench.root / ".reelfleet" / "media" / "video.mp4"
    if not path.exists():
        raise Absent("the film is not there: scripts/setup.sh media")
    return path


def long(bench, to, *words):
    """The film 22 times over: 11 minutes, 500 MB, without encoding anything again."""
    listed = to.with_suffix(".txt")
    listed.write_text(f"file '{film(bench, None)}'\n" * 22)
    ffmpeg("-f", "concat", "-safe", "0", "-i", listed, "-c", "copy", *words, to)
    listed.unlink()


def right(bench, to):
    """Twelve seconds of the film as a careful uploader encodes them: a keyframe every two seconds, no other, within the ladder's bit rate."""
    ffmpeg("-t", "12", "-i", film(bench, None), "-c:v", "libx264", "-preset", "medium", "-crf", "22", "-maxrate", "5M", "-bufsize", "10M", "-g", "48",
           "-keyint_min", "48", "-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", "2", "-b:a", "128k", to)


def photo(bench, to):
    """20 megapixels with the fine noise that a camera leaves, JPEG, 4:2:0: some 9 MB."""
    scale = "scale=5472:3648:flags=bicubic,noise=alls=6:allf=u:all_seed=1,format=yuvj420p"
    ffmpeg("-ss", "12", "-i", film(bench, None), "-frames:v", "1", "-vf", scale, "-q:v", "3", to)


# Name: (file, how it is made).
SOURCES = {
    "film": (None, film),
    "long-end.mp4": ("long-end.mp4", lambda bench, to: long(bench, to)),
    "long-start.mp4": ("long-start.mp4", lambda bench, to: long(bench, to, "-movflags", "+faststart")),
    "long.mkv": ("long.mkv", lambda bench, to: long(bench, to)),
    "right.mp4": ("right.mp4", right),
    "photo.jpg": ("photo.jpg", photo),
}


def source(bench, name):
    file, make = SOURCES[name]
    if file is None:
        return make(bench, None)
    path = bench.state / "media" / file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name("part-" + file)
        make(bench, part)
        part.rename(path)
    return path
