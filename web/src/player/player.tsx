/** The player: our own controls over the browser's video, so that the page's policy can refuse everything inline. */
import { useCallback, useEffect, useRef, useState, type KeyboardEvent, type RefObject } from "react";
import type { Captions } from "../api/types";
import { clock } from "../parts/format";
import { Icon } from "../parts/icon";
import { useShots } from "../parts/tile";
import { Modal } from "../parts/ui";
import { deedOf, HELP } from "./keyboard";
import { Seek } from "./seek";
import { play, type Level, type Stream } from "./stream";

const IDLE_MS = 2_500;
const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2];
const FRAME_S = 1 / 25;

export interface Source {
  url: string;
  /** Seconds of the whole, also while only its beginning is there. */
  duration: number;
  poster: string | null;
  /** The storyboard's cues. */
  cues: string | null;
  captions: Captions[];
  sound: boolean;
  title: string;
}

interface Moment {
  time: number;
  /** Seconds that can be played. */
  until: number;
  loaded: number;
  paused: boolean;
  ended: boolean;
  muted: boolean;
  volume: number;
  rate: number;
  waiting: boolean;
}

const START: Moment = {
  time: 0, until: 0, loaded: 0, paused: true, ended: false, muted: false, volume: 1, rate: 1, waiting: false,
};

function momentOf(video: HTMLVideoElement): Moment {
  const last = (ranges: TimeRanges): number => (ranges.length ? ranges.end(ranges.length - 1) : 0);
  return {
    time: video.currentTime,
    until: Number.isFinite(video.duration) ? video.duration : last(video.seekable),
    loaded: last(video.buffered),
    paused: video.paused,
    ended: video.ended,
    muted: video.muted || video.volume === 0,
    volume: video.volume,
    rate: video.playbackRate,
    waiting: !video.paused && video.readyState < 3,
  };
}

const EVENTS = [
  "timeupdate", "durationchange", "progress", "play", "pause", "ended", "volumechange", "ratechange", "waiting",
  "playing", "seeking", "seeked", "loadedmetadata",
] as const;

export function Player({ source, onMade }: { source: Source; onMade?: (until: number, growing: boolean) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const video = useRef<HTMLVideoElement>(null);
  const stream = useRef<Stream | null>(null);
  const [moment, setMoment] = useState(START);
  const [levels, setLevels] = useState<Level[]>([]);
  const [level, setLevel] = useState(-1);
  const [chosen, setChosen] = useState(-1);
  const [growing, setGrowing] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const [track, setTrack] = useState("");
  const [help, setHelp] = useState(false);
  const idle = useIdle(box, !moment.paused);
  const frames = useShots(source.cues, true);

  useEffect(() => {
    const element = video.current;
    if (!element) return;
    const note = (): void => setMoment(momentOf(element));
    for (const name of EVENTS) element.addEventListener(name, note);
    setProblem(null);
    stream.current = play(element, source.url, 0, {
      levels: setLevels,
      level: setLevel,
      growing: setGrowing,
      failed: setProblem,
    });
    return () => {
      for (const name of EVENTS) element.removeEventListener(name, note);
      stream.current?.end();
      stream.current = null;
    };
  }, [source.url]);

  useEffect(() => {
    for (const one of video.current?.textTracks ?? []) one.mode = one.language === track ? "showing" : "hidden";
  }, [track]);

  useEffect(() => onMade?.(moment.until, growing), [onMade, moment.until, growing]);

  const toggle = useCallback((): void => {
    const element = video.current;
    if (!element) return;
    if (element.paused) element.play().catch(() => undefined);
    else element.pause();
  }, []);
  const to = (time: number): void => {
    if (video.current) video.current.currentTime = Math.max(0, Math.min(time, moment.until));
  };
  const full = (): void => {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void box.current?.requestFullscreen().catch(() => undefined);
  };
  const pip = (): void => {
    if (document.pictureInPictureElement) void document.exitPictureInPicture();
    else void video.current?.requestPictureInPicture?.().catch(() => undefined);
  };
  const captions = (): void => setTrack(track ? "" : (source.captions[0]?.language ?? ""));

  const key = (event: KeyboardEvent): void => {
    const element = video.current;
    const target = event.target as HTMLElement;
    // A select or a slider knows its own keys; the space bar belongs to the button that has the focus.
    if (!element || event.ctrlKey || event.metaKey || event.altKey || /SELECT/.test(target.tagName)) return;
    if (event.key === " " && target.tagName === "BUTTON") return;
    const deed = deedOf(event.key);
    if (!deed) return;
    event.preventDefault();
    switch (deed.do) {
      case "toggle": return toggle();
      case "move": return to(element.currentTime + deed.by);
      case "jump": return to(deed.to * source.duration);
      case "frame": return void (element.paused && to(element.currentTime + deed.by * FRAME_S));
      case "volume":
        element.muted = false;
        element.volume = Math.min(1, Math.max(0, element.volume + deed.by));
        return;
      case "speed": {
        element.playbackRate = Math.min(2, Math.max(0.25, element.playbackRate + deed.by));
        return;
      }
      case "mute":
        element.muted = !element.muted;
        return;
      case "captions": return captions();
      case "full": return full();
      case "pip": return pip();
      case "help": return setHelp(true);
    }
  };

  const duration = Math.max(source.duration, moment.until);
  const playing = levels.find(({ index }) => index === level);
  const speeds = SPEEDS.includes(moment.rate) ? SPEEDS : [...SPEEDS, moment.rate].sort((a, b) => a - b);
  return (
    <div
      ref={box}
      className={["player", source.sound && "sound", idle && "idle"].filter(Boolean).join(" ")}
      role="region"
      aria-label={`Player: ${source.title}`}
      tabIndex={-1}
      onKeyDown={key}
      data-playing={!moment.paused}
      data-level={playing?.height ?? 0}
    >
      <video
        ref={video}
        playsInline
        crossOrigin="anonymous"
        poster={source.poster ?? undefined}
        aria-label={source.title}
        onClick={toggle}
      >
        {source.captions.filter(({ url }) => url).map(({ language, label, url }) => (
          <track key={url} kind="captions" srcLang={language} label={label} src={url ?? ""} />
        ))}
      </video>
      {problem && <p className="big" role="alert">{problem}</p>}
      {!problem && moment.paused && moment.time === 0 && (
        <button type="button" className="big" aria-label="Play" onClick={toggle}>
          <span><Icon name="play" /></span>
        </button>
      )}
      {moment.waiting && !problem && <div className="big" aria-hidden="true"><Icon name="gear" spin /></div>}
      <div className="controls">
        <Seek
          time={moment.time}
          until={moment.until}
          loaded={moment.loaded}
          duration={duration}
          shots={frames}
          to={to}
        />
        <div className="row wrap">
          <button type="button" className="button" aria-label={moment.ended ? "Play again" : moment.paused ? "Play" : "Pause"} onClick={toggle}>
            <Icon name={moment.ended ? "replay" : moment.paused ? "play" : "pause"} />
          </button>
          <button
            type="button"
            className="button"
            aria-label="Mute"
            aria-pressed={moment.muted}
            onClick={() => video.current && (video.current.muted = !video.current.muted)}
          >
            <Icon name={moment.muted ? "muted" : "volume"} />
          </button>
          <input
            className="volume"
            type="range"
            aria-label="Volume"
            min={0}
            max={1}
            step={0.05}
            value={moment.muted ? 0 : moment.volume}
            onChange={({ target }) => {
              if (!video.current) return;
              video.current.muted = false;
              video.current.volume = Number(target.value);
            }}
          />
          <span className="clock grow">{clock(moment.time)} / {clock(duration)}</span>
          {source.captions.length > 0 && (
            <select aria-label="Captions" value={track} onChange={({ target }) => setTrack(target.value)}>
              <option value="">No captions</option>
              {source.captions.map(({ language, label }) => (
                <option key={language} value={language}>{label}</option>
              ))}
            </select>
          )}
          <select
            aria-label="Speed"
            value={moment.rate}
            onChange={({ target }) => video.current && (video.current.playbackRate = Number(target.value))}
          >
            {speeds.map((speed) => (
              <option key={speed} value={speed}>{speed}×</option>
            ))}
          </select>
          {levels.length > 0 && !source.sound && (
            <select
              aria-label="Quality"
              value={chosen}
              onChange={({ target }) => {
                setChosen(Number(target.value));
                stream.current?.choose(Number(target.value));
              }}
            >
              <option value={-1}>{chosen === -1 && playing ? `Auto (${playing.label})` : "Auto"}</option>
              {levels.map(({ index, label }) => (
                <option key={index} value={index}>{label}</option>
              ))}
            </select>
          )}
          {document.pictureInPictureEnabled && !source.sound && (
            <button type="button" className="button beside" aria-label="Picture in picture" onClick={pip}>
              <Icon name="pip" />
            </button>
          )}
          <button type="button" className="button beside" aria-label="Keyboard" onClick={() => setHelp(true)}>?</button>
          {document.fullscreenEnabled && (
            <button type="button" className="button" aria-label="Full screen" onClick={full}>
              <Icon name="full" />
            </button>
          )}
        </div>
      </div>
      {help && (
        <Modal title="Keyboard" close={() => setHelp(false)}>
          <dl className="facts">
            {HELP.flatMap(([keys, what]) => [<dt key={keys} className="mono">{keys}</dt>, <dd key={what}>{what}</dd>])}
          </dl>
          <button type="button" className="button" onClick={() => setHelp(false)}>Close</button>
        </Modal>
      )}
    </div>
  );
}

/** Whether the pointer has rested while it plays. */
function useIdle(box: RefObject<HTMLElement | null>, playing: boolean): boolean {
  const [idle, setIdle] = useState(false);
  useEffect(() => {
    const element = box.current;
    if (!element || !playing) {
      setIdle(false);
      return;
    }
    let timer: ReturnType<typeof setTimeout>;
    const stir = (): void => {
      setIdle(false);
      clearTimeout(timer);
      timer = setTimeout(() => setIdle(true), IDLE_MS);
    };
    stir();
    const names = ["pointermove", "pointerdown", "keydown"] as const;
    for (const name of names) element.addEventListener(name, stir);
    return () => {
      clearTimeout(timer);
      for (const name of names) element.removeEventListener(name, stir);
    };
  }, [box, playing]);
  return idle;
}
