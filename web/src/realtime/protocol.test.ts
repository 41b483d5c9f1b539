import { describe, expect, it } from "vitest";
import { hello, nothing, pause, reduce, type Effect, type Seen, type ServerFrame } from "./protocol";

const event = (position: number, type = "asset.ready.v1", data: Record<string, unknown> = {}): ServerFrame => ({
  op: "event",
  stream: "user:default/ann",
  position,
  id: `evt_${position}`,
  type,
  subject: "ast_1",
  at: "2026-01-01T00:00:00Z",
  data,
});

const welcome = (epoch: string, position: number, resumed = true): ServerFrame => ({
  op: "welcome",
  epoch,
  positions: { "user:default/ann": position },
  resumed,
  heartbeat_ms: 25_000,
  session: "s",
});

function all(frames: ServerFrame[], from: Seen = nothing): { seen: Seen; effects: Effect[] } {
  const effects: Effect[] = [];
  let seen = from;
  for (const frame of frames) {
    const step = reduce(seen, frame);
    seen = step.seen;
    effects.push(...step.effects);
  }
  return { seen, effects };
}

const delivered = (effects: Effect[]): string[] =>
  effects.flatMap((effect) => (effect.do === "deliver" ? [effect.event.id] : []));

describe("the realtime protocol", () => {
  it("delivers each event once, in order, across a reconnect", () => {
    const first = all([welcome("e", 4), event(5), event(5), event(6)]);
    expect(delivered(first.effects)).toEqual(["evt_5", "evt_6"]);
    expect(JSON.parse(hello(first.seen, ["me"]))).toEqual({
      op: "hello",
      epoch: "e",
      since: { "user:default/ann": 6 },
      topics: ["me"],
    });
    // The server stands at 9 and replays what follows 6: the welcome's position must not swallow it.
    const again = all([welcome("e", 9), event(6), event(7), event(8), event(9)], first.seen);
    expect(delivered(again.effects)).toEqual(["evt_7", "evt_8", "evt_9"]);
    expect(again.effects).not.toContainEqual({ do: "refetch" });
  });

  it("fetches anew when positions begin anew", () => {
    const { seen } = all([welcome("e", 4), event(5)]);
    const other = all([welcome("f", 1, false)], seen);
    expect(other.effects).toContainEqual({ do: "refetch" });
    expect(other.seen.positions).toEqual({ "user:default/ann": 1 });
    expect(delivered(all([event(2)], other.seen).effects)).toEqual(["evt_2"]);
  });

  it("goes on from where a reset says, after fetching anew", () => {
    const { seen } = all([welcome("e", 4)]);
    const reset = all([{ op: "reset", stream: "user:default/ann", reason: "too_old", position: 40 }, event(40), event(41)], seen);
    expect(reset.effects[0]).toEqual({ do: "refetch" });
    expect(delivered(reset.effects)).toEqual(["evt_41"]);
  });

  it("lets progress neither run backwards nor move positions", () => {
    const progress = (sequence: number) => event(4, "job.progressed.v1", { job: "job_1", percent: sequence, sequence });
    const { seen, effects } = all([welcome("e", 4), progress(2), progress(1), progress(2), progress(3), event(5)]);
    expect(effects.filter((effect) => effect.do === "deliver")).toHaveLength(3);
    expect(seen.positions).toEqual({ "user:default/ann": 5 });
  });

  it("answers a ping, says when to come back, and passes over what it does not know", () => {
    expect(all([{ op: "ping" }]).effects).toEqual([{ do: "pong" }]);
    expect(all([{ op: "bye", code: "draining", retry_after_ms: 7 }]).effects).toEqual([
      { do: "leave", code: "draining", retryAfterMs: 7 },
    ]);
    expect(all([{ op: "news" } as unknown as ServerFrame]).effects).toEqual([]);
  });

  it("says where it stands in what it still listens to", () => {
    const seen: Seen = { epoch: "e", positions: { "user:default/ann": 7, "asset:ast_1": 3, "asset:ast_2": 4 }, sequences: {} };
    expect(JSON.parse(hello(seen, ["me", "asset:ast_2"]))).toEqual({
      op: "hello", epoch: "e", since: { "user:default/ann": 7, "asset:ast_2": 4 }, topics: ["me", "asset:ast_2"],
    });
  });

  it("waits with full jitter, at most half a minute", () => {
    expect(pause(0, 1)).toBe(500);
    expect(pause(3, 0.5)).toBe(2000);
    expect(pause(50, 1)).toBe(30_000);
    expect(pause(50, 0)).toBe(0);
  });
});
