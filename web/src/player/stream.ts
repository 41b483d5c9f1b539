/**
 * A video element that plays one stream, finished or growing.
 *
 * hls.js wherever it works; the browser's own HLS only where it handles a growing playlist (Safari with ManagedMediaSource).
 */
import Hls from "hls.js/light";

export interface Level {
  index: number;
  height: number;
  label: string;
}

export interface Heard {
  levels(levels: Level[]): void;
  /** Which level plays; -1: none yet. */
  level(index: number): void;
  /** Whether more is being made. */
  growing(growing: boolean): void;
  failed(message: string): void;
}

export interface Stream {
  /** -1: as the network allows. */
  choose(level: number): void;
  end(): void;
}

const RECOVERIES = 3;

export function play(video: HTMLVideoElement, url: string, at: number, heard: Heard): Stream {
  if (!Hls.isSupported()) {
    if ("ManagedMediaSource" in window && video.canPlayType("application/vnd.apple.mpegurl")) {
      video.src = url;
      video.currentTime = at;
      video.onerror = () => heard.failed("This browser can't play the stream.");
    } else {
      heard.failed("This browser can't play HLS.");
    }
    return { choose: () => undefined, end: () => video.removeAttribute("src") };
  }
  // A growing playlist is played from its beginning, not from where it grows.
  const hls = new Hls({ startPosition: at, enableWorker: false, backBufferLength: 60, capLevelToPlayerSize: true });
  let recoveries = 0;
  hls.on(Hls.Events.MANIFEST_PARSED, (_, { levels }) => {
    heard.levels(
      levels
        .map((level, index) => ({ index, height: level.height, label: level.height ? `${level.height}p` : "Sound" }))
        .sort((a, b) => b.height - a.height),
    );
  });
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, { level }) => heard.level(level));
  hls.on(Hls.Events.LEVEL_UPDATED, (_, { details }) => heard.growing(details.live));
  hls.on(Hls.Events.ERROR, (_, { fatal, type, response }) => {
    if (!fatal) return;
    if (response?.code === 410 || response?.code === 403) {
      heard.failed(response.code === 410 ? "It has been deleted." : "The right to play it has ended: load the page again.");
    } else if (type === Hls.ErrorTypes.MEDIA_ERROR && recoveries++ < RECOVERIES) {
      hls.recoverMediaError();
    } else if (type === Hls.ErrorTypes.NETWORK_ERROR && recoveries++ < RECOVERIES) {
      setTimeout(() => hls.startLoad(), 2_000);
    } else {
      heard.failed("Playing stopped. Check the connection, then load the page again.");
    }
  });
  hls.loadSource(url);
  hls.attachMedia(video);
  return {
    choose: (level) => {
      hls.nextLevel = level;
    },
    end: () => hls.destroy(),
  };
}
