/**
 * The realtime protocol `reelfleet.v1` (docs/api.md) as a pure function.
 *
 * Guarantee: of each stream every event is handed on once and in order, whatever is sent again after a reconnect; progress
 * never runs backwards; what can't be continued is said to be fetched anew.
 */

export interface RealtimeEvent {
  stream: string;
  position: number;
  id: string;
  type: string;
  subject: string;
  at: string;
  data: Record<string, unknown>;
}

export type ServerFrame =
  | { op: "welcome"; epoch: string; positions: Record<string, number>; resumed: boolean; heartbeat_ms: number; session: string }
  | ({ op: "event" } & RealtimeEvent)
  | { op: "reset"; stream: string; reason: string; position: number }
  | { op: "ping" }
  | { op: "pong" }
  | { op: "bye"; code: string; retry_after_ms: number };

export interface Seen {
  epoch: string | null;
  /** The last position of each stream. */
  positions: Record<string, number>;
  /** The last sequence of each job's progress, which is not logged. */
  sequences: Record<string, number>;
}

export type Effect =
  | { do: "deliver"; event: RealtimeEvent }
  | { do: "refetch" }
  | { do: "pong" }
  | { do: "open"; heartbeatMs: number }
  | { do: "leave"; code: string; retryAfterMs: number };

/** Topics of one connection (docs/api.md). */
export const MAX_TOPICS = 64;

export const nothing: Seen = { epoch: null, positions: {}, sequences: {} };

/** `topics`: as many as one connection may have. Of assets that are listened to no longer no position is said: a frame has an end. */
export function hello(seen: Seen, topics: string[]): string {
  const wanted = Object.entries(seen.positions).filter(([stream]) => !stream.startsWith("asset:") || topics.includes(stream));
  return JSON.stringify({ op: "hello", epoch: seen.epoch, since: Object.fromEntries(wanted), topics });
}

export function reduce(seen: Seen, frame: ServerFrame): { seen: Seen; effects: Effect[] } {
  switch (frame.op) {
    case "welcome": {
      const same = seen.epoch === frame.epoch;
      // Of a stream that was never seen nothing is missed before now. Of the others what follows is replayed first.
      const positions = same ? { ...frame.positions, ...seen.positions } : frame.positions;
      const lost = seen.epoch !== null && (!same || !frame.resumed);
      const effects: Effect[] = [{ do: "open", heartbeatMs: frame.heartbeat_ms }];
      return {
        seen: { epoch: frame.epoch, positions, sequences: same ? seen.sequences : {} },
        effects: lost ? [...effects, { do: "refetch" }] : effects,
      };
    }
    case "event": {
      const { op: _, ...event } = frame;
      if (event.type === "job.progressed.v1") return progressed(seen, event);
      if (event.position <= (seen.positions[event.stream] ?? -1)) return { seen, effects: [] };
      const positions = { ...seen.positions, [event.stream]: event.position };
      return { seen: { ...seen, positions }, effects: [{ do: "deliver", event }] };
    }
    case "reset": {
      const positions = { ...seen.positions, [frame.stream]: frame.position };
      return { seen: { ...seen, positions }, effects: [{ do: "refetch" }] };
    }
    case "ping":
      return { seen, effects: [{ do: "pong" }] };
    case "pong":
      return { seen, effects: [] };
    case "bye":
      return { seen, effects: [{ do: "leave", code: frame.code, retryAfterMs: frame.retry_after_ms }] };
    default:
      // A newer server may say more.
      return { seen, effects: [] };
  }
}

function progressed(seen: Seen, event: RealtimeEvent): { seen: Seen; effects: Effect[] } {
  const job = String(event.data.job ?? event.subject);
  const sequence = Number(event.data.sequence ?? 0);
  if (sequence <= (seen.sequences[job] ?? -1)) return { seen, effects: [] };
  return { seen: { ...seen, sequences: { ...seen.sequences, [job]: sequence } }, effects: [{ do: "deliver", event }] };
}

/** How long to wait before the n-th attempt (from 0) to come back: full jitter between nothing and a growing bound. */
export function pause(attempt: number, random: number): number {
  return Math.round(random * Math.min(30_000, 500 * 2 ** Math.min(attempt, 10)));
}
