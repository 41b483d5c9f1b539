"""What is read of an object of 500 MB for its facts and its posters, against ffmpeg over HTTP."""

import http.server
import json
import os
import re
import threading

from harness import Figure, at_most

WHAT = "bytes read for probe + posters of a 500 MB film"
AGAINST = "ffmpeg -ss 66 -frames:v 1 over HTTP"
LIMIT_S = 240
FILES = {"MP4, moov last": "long-end.mp4", "MP4, moov first": "long-start.mp4", "Matroska": "long.mkv"}


def run(bench):
    for kind, name in FILES.items():
        film = bench.media(name)
        size = film.stat().st_size
        probe = json.loads(bench.command([bench.driver, "probe", film], output=True).out)["fetched"]
        words = [bench.driver, "pictures", film, "--posters", "320,640,1280", "--formats", "jpeg,webp"]
        posters = json.loads(bench.command(words, output=True).out)["fetched"]
        theirs = over_http(bench, film)
        apart = {"what": f"{WHAT}, {kind}"}
        yield Figure("bytes", [probe + posters], [theirs], "B", note=f"{probe:,} B for the probe, {posters:,} B for the posters", **apart)
        yield Figure("share of the object", [(probe + posters) / size], None, "", at_most(0.0015, of="ours"), **apart)


def over_http(bench, film):
    """Bytes that an HTTP server with ranges hands to the kernel for one ffmpeg."""
    sent = [0]

    class Ranges(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            size = film.stat().st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(asked[1]) if asked else 0
            end = int(asked[2]) if asked and asked[2] else size - 1
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(end - start + 1))
            self.send_header("Accept-Ranges", "bytes")
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
            self.end_headers()
            with film.open("rb") as file:
                file.seek(start)
                left = end - start + 1
                try:
                    while left > 0:
                        part = file.read(min(left, 64 << 10))
                        self.wfile.write(part)
                        sent[0] += len(part)
                        left -= len(part)
                except OSError:
                    self.close_connection = True  # it has what it wanted

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        words = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-ss", "66", "-i",
                 f"http://127.0.0.1:{server.server_address[1]}/film", "-frames:v", "1", bench.scratch / "poster.jpg"]
        bench.command(words, env={"no_proxy": "127.0.0.1", "http_proxy": "", **({} if "HTTP_PROXY" not in os.environ else {"HTTP_PROXY": ""})})
    finally:
        server.shutdown()
    return sent[0]
