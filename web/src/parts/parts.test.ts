import { describe, expect, it } from "vitest";
import { ago, bytes, clock, roughly, took } from "./format";
import { shotAt, shots } from "./storyboard";
import { statusOf } from "./status";

describe("what people read", () => {
  it("is short and right at the borders", () => {
    expect([0, 999, 1000, 999_499, 999_500, 12_345_678, 5e12].map(bytes)).toEqual([
      "0 B", "999 B", "1.0 kB", "999 kB", "1.0 MB", "12 MB", "5.0 TB",
    ]);
    expect([0, 59.9, 60, 3661, Number.NaN].map(clock)).toEqual(["0:00", "0:59", "1:00", "1:01:01", "0:00"]);
    expect([3, 31, 61, 3600].map(roughly)).toEqual([
      "a few seconds", "about 40 seconds", "about 2 minutes", "about 1 hour",
    ]);
    expect([850, 2500, 65_000].map(took)).toEqual(["850 ms", "2.5 s", "1 min 5 s"]);
    const now = Date.parse("2026-01-02T00:00:00Z");
    expect(ago("2026-01-01T22:00:00Z", now)).toBe("2 hours ago");
    expect(ago("2026-01-08T00:00:00Z", now)).toBe("in 6 days");
  });
});

describe("a storyboard", () => {
  const vtt = "WEBVTT\n\n00:00.000 --> 00:02.000\nstoryboard-0.webp#xywh=0,0,160,90\n\n" +
    "00:02.000 --> 01:00:04.500\nstoryboard-0.webp#xywh=160,0,160,90\n\n00:05.000 --> 00:06.000\nno picture\n";
  const list = shots(vtt, "http://h/p/token/storyboard.vtt");

  it("is read from its cues", () => {
    expect(list).toHaveLength(2);
    expect(list[1]).toEqual({ from: 2, to: 3604.5, url: "http://h/p/token/storyboard-0.webp", x: 160, y: 0, w: 160, h: 90 });
  });

  it("has a picture for any time", () => {
    expect(shotAt(list, 0.5)).toBe(list[0]);
    expect(shotAt(list, 2)).toBe(list[1]);
    expect(shotAt(list, 9999)).toBe(list[1]);
    expect(shotAt([], 1)).toBeNull();
  });
});

describe("a status", () => {
  it("says in words what a colour shows", () => {
    expect(statusOf("processing", 61.4)).toMatchObject({ text: "Processing 61 %", tone: "info" });
    expect(statusOf("playable", 61.4)).toMatchObject({ text: "Playable · 61 %" });
    expect(statusOf("ready", 100)).toMatchObject({ text: "Ready", tone: "good" });
    expect(statusOf("failed", null)).toMatchObject({ tone: "bad" });
  });
});
