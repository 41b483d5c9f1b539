// A page with hls.js in headless Chromium. Each line of standard input is a playlist to play from its start; each line
// of standard output is one JSON object: open, playing, captions, grown, whole, ended, error. Ends when standard input
// ends. A playlist's first captions are shown.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { launch } from "./chromium.mjs";

const script = await readFile(createRequire(import.meta.url).resolve("hls.js/dist/hls.min.js"));

const page = `<!doctype html><meta charset="utf-8"><title>player</title><video id="video" playsinline></video>
<script src="/hls.js"></script><script>
function play(url) {
  window.hls?.destroy();
  // A new one: the browser keeps the text tracks of the one before.
  const before = document.getElementById("video"), video = before.cloneNode();
  before.replaceWith(video);
  const state = () => ({
    at: video.currentTime, duration: video.duration, live: window.live,
    frames: video.getVideoPlaybackQuality().totalVideoFrames,
    audio_bytes: video.webkitAudioDecodedByteCount ?? 0,
  });
  const say = (said, more = {}) => window.say(JSON.stringify({ said, ...state(), ...more }));
  // No startPosition: where to begin is for the playlist to say.
  const hls = window.hls = new Hls();
  let first, whole = false;
  window.live = undefined;
  hls.on(Hls.Events.LEVEL_UPDATED, (_, { details }) => {
    window.live = details.live;
    first ??= details.totalduration;
    if (details.live && details.totalduration > first) say("grown", { duration: details.totalduration });
    if (!details.live && !whole) {
      whole = true;
      say("whole", { duration: details.totalduration });
    }
  });
  hls.on(Hls.Events.ERROR, (_, error) => {
    if (error.fatal) say("error", { type: error.type, details: error.details, reason: String(error.error) });
  });
  // As a viewer does by the browser's menu.
  video.textTracks.onaddtrack = ({ track }) => {
    if (track === video.textTracks[0]) track.mode = "showing";
  };
  hls.on(Hls.Events.SUBTITLE_FRAG_PROCESSED, (_, { success, error }) => {
    if (!success) return say("error", { reason: "captions: " + error });
    const tracks = hls.subtitleTracks.map(({ name, lang, default: shown }) => ({ name, lang, shown }));
    const cues = [...video.textTracks].flatMap((track) => [...(track.cues ?? [])]);
    say("captions", { tracks, cues: cues.map(({ startTime, endTime, text }) => [startTime, endTime, text]) });
  });
  video.onplaying = () => { video.onplaying = null; say("playing"); };
  // Beyond the start, time is money: near the end of what is whole, play on from there.
  video.ontimeupdate = () => {
    if (whole && video.currentTime > 3 && video.duration - video.currentTime > 12) video.currentTime = video.duration - 6;
  };
  video.onended = () => say("ended");
  video.playbackRate = 1;
  hls.loadSource(url);
  hls.attachMedia(video);
  hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
}
</script>`;

const server = createServer((request, response) => {
  const [type, body] = request.url === "/hls.js" ? ["text/javascript", script] : ["text/html", page];
  response.writeHead(200, { "content-type": type }).end(body);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const browser = await launch();
const tab = await browser.newPage();
tab.on("pageerror", (error) => console.log(JSON.stringify({ said: "error", reason: String(error) })));
await tab.exposeFunction("say", (line) => console.log(line));
await tab.goto(`http://127.0.0.1:${server.address().port}/`);
console.log(JSON.stringify({ said: "open" }));

for await (const url of createInterface({ input: process.stdin })) {
  await tab.evaluate((url) => play(url), url);
}
await browser.close();
server.close();
