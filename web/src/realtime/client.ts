/**
 * One connection to the notifier, for as long as somebody is signed in.
 *
 * Guarantee: it comes back by itself, with its positions, after whatever ended it; its state is what a person is shown.
 */
import { api } from "../api/client";
import { hello, MAX_TOPICS, nothing, pause, reduce, type RealtimeEvent, type ServerFrame } from "./protocol";

export type Connection = "live" | "connecting" | "reconnecting" | "offline";

interface Ticket {
  url: string;
}

export class Realtime {
  #state: Connection = "connecting";
  #seen = nothing;
  #topics = new Map<string, number>();
  /** What the connection was asked to tell. */
  #told = new Set<string>();
  /** One of the topics was refused: only what is always one's own is asked for, until there is another wish. */
  #refused = false;
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watch: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #running = false;
  #connecting = false;
  #heartbeat = 25_000;
  #states = new Set<() => void>();
  #events = new Set<(event: RealtimeEvent) => void>();
  #refetches = new Set<() => void>();

  snapshot = (): Connection => this.#state;

  subscribe = (listener: () => void): (() => void) => {
    this.#states.add(listener);
    return () => this.#states.delete(listener);
  };

  onEvent(listener: (event: RealtimeEvent) => void): () => void {
    this.#events.add(listener);
    return () => this.#events.delete(listener);
  }

  onRefetch(listener: () => void): () => void {
    this.#refetches.add(listener);
    return () => this.#refetches.delete(listener);
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    addEventListener("online", this.#now);
    addEventListener("offline", this.#gone);
    document.addEventListener("visibilitychange", this.#now);
    void this.#connect();
  }

  /** Signed out: what was seen was somebody's. */
  stop(): void {
    this.#running = false;
    removeEventListener("online", this.#now);
    removeEventListener("offline", this.#gone);
    document.removeEventListener("visibilitychange", this.#now);
    clearTimeout(this.#timer);
    this.#drop();
    this.#seen = nothing;
    this.#attempt = 0;
    this.#become("connecting");
  }

  /** Listens to one more topic until the answer is called. Topics are said once a connection, so it is made anew where it must. */
  join(topic: string): () => void {
    this.#topics.set(topic, (this.#topics.get(topic) ?? 0) + 1);
    if (!this.#told.has(topic)) {
      this.#refused = false;
      this.#renew();
    }
    return () => {
      const left = (this.#topics.get(topic) ?? 1) - 1;
      if (left > 0) this.#topics.set(topic, left);
      else this.#topics.delete(topic);
    };
  }

  #renew(): void {
    if (!this.#running || this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#drop();
    void this.#connect();
  }

  #now = (): void => {
    if (document.visibilityState === "hidden" || !this.#running || this.#socket) return;
    clearTimeout(this.#timer);
    void this.#connect();
  };

  #gone = (): void => {
    if (!this.#socket) this.#become("offline");
  };

  async #connect(): Promise<void> {
    if (!this.#running || this.#connecting || this.#socket) return;
    this.#connecting = true;
    try {
      const ticket = await api<Ticket>("POST", "/v1/realtime/tickets", { body: {} });
      if (this.#running) this.#open(ticket.url);
    } catch {
      this.#later(null);
    } finally {
      this.#connecting = false;
    }
  }

  #open(url: string): void {
    const socket = new WebSocket(url, "reelfleet.v1");
    this.#socket = socket;
    socket.onopen = () => {
      const topics = ["me", ...(this.#refused ? [] : this.#topics.keys())].slice(0, MAX_TOPICS);
      this.#told = new Set(topics);
      socket.send(hello(this.#seen, topics));
    };
    socket.onmessage = ({ data }: MessageEvent<string>) => {
      if (this.#socket !== socket) return;
      this.#alive();
      this.#take(socket, JSON.parse(data) as ServerFrame);
    };
    socket.onclose = () => {
      if (this.#socket === socket) this.#later(null);
    };
    this.#alive();
  }

  #take(socket: WebSocket, frame: ServerFrame): void {
    const { seen, effects } = reduce(this.#seen, frame);
    this.#seen = seen;
    for (const effect of effects) {
      switch (effect.do) {
        case "open":
          this.#heartbeat = effect.heartbeatMs;
          this.#attempt = 0;
          this.#become("live");
          break;
        case "pong":
          socket.send('{"op":"pong"}');
          break;
        case "deliver":
          for (const listener of this.#events) listener(effect.event);
          break;
        case "refetch":
          for (const listener of this.#refetches) listener();
          break;
        case "leave":
          this.#refused = effect.code === "forbidden";
          this.#later(effect.retryAfterMs);
          break;
      }
    }
  }

  /** A connection that says nothing for two heartbeats and a half is dead, whatever the system believes. */
  #alive(): void {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => this.#later(0), this.#heartbeat * 2.5);
  }

  #drop(): void {
    clearTimeout(this.#watch);
    const socket = this.#socket;
    this.#socket = null;
    this.#told.clear();
    socket?.close();
  }

  #later(after: number | null): void {
    this.#drop();
    if (!this.#running) return;
    this.#become(navigator.onLine ? "reconnecting" : "offline");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#connect(), after ?? pause(this.#attempt++, Math.random()));
  }

  #become(state: Connection): void {
    if (this.#state === state) return;
    this.#state = state;
    for (const listener of this.#states) listener();
  }
}

export const realtime = new Realtime();
