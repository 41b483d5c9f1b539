import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Realtime } from "./client";

vi.mock("../api/client", () => ({ api: async () => ({ url: "ws://h/v1/realtime" }) }));

/** A connection as browsers have it, as far as the client looks at it. */
class Socket {
  static readonly OPEN = 1;
  static all: Socket[] = [];
  readyState = 0;
  sent: { op: string; topics: string[] }[] = [];
  onopen: () => void = () => undefined;
  onmessage: (message: { data: string }) => void = () => undefined;
  onclose: () => void = () => undefined;

  constructor() {
    Socket.all.push(this);
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.readyState = 3;
  }

  /** The server takes it, and answers. */
  open(): void {
    this.readyState = 1;
    this.onopen();
    this.say({ op: "welcome", epoch: "e", positions: {}, resumed: true, heartbeat_ms: 25_000, session: "s" });
  }

  say(frame: object): void {
    this.onmessage({ data: JSON.stringify(frame) });
  }
}

const connection = (n: number): Promise<Socket> =>
  vi.waitFor(() => {
    const socket = Socket.all[n - 1];
    if (!socket) throw new Error(`${Socket.all.length} connections`);
    return socket;
  });

describe("the connection", () => {
  let realtime: Realtime;
  beforeEach(() => {
    Socket.all = [];
    vi.stubGlobal("WebSocket", Socket);
    vi.stubGlobal("document", { visibilityState: "visible", addEventListener: vi.fn(), removeEventListener: vi.fn() });
    vi.stubGlobal("addEventListener", vi.fn());
    vi.stubGlobal("removeEventListener", vi.fn());
    vi.stubGlobal("navigator", { onLine: true });
    realtime = new Realtime();
    realtime.start();
  });
  afterEach(() => {
    realtime.stop();
    vi.unstubAllGlobals();
  });

  it("is made anew for a new topic, once for several, and not for one that it has", async () => {
    (await connection(1)).open();
    expect(Socket.all[0]?.sent[0]?.topics).toEqual(["me"]);
    const leave = ["asset:1", "asset:2"].map((topic) => realtime.join(topic));
    (await connection(2)).open();
    expect(Socket.all[1]?.sent[0]?.topics).toEqual(["me", "asset:1", "asset:2"]);
    expect(realtime.snapshot(), "nobody sees it").toBe("live");
    // What a page does when its list has changed: it leaves all and joins what is there now.
    for (const end of leave) end();
    const again = realtime.join("asset:2");
    await new Promise((resolve) => setTimeout(resolve));
    expect(Socket.all).toHaveLength(2);
    again();
    realtime.join("asset:3");
    (await connection(3)).open();
    expect(Socket.all[2]?.sent[0]?.topics).toEqual(["me", "asset:3"]);
  });

  it("never asks for more topics than one connection may have", async () => {
    for (let n = 0; n < 100; n++) realtime.join(`asset:${n}`);
    (await connection(1)).open();
    expect(Socket.all[0]?.sent[0]?.topics).toHaveLength(64);
    expect(Socket.all[0]?.sent[0]?.topics[0]).toBe("me");
  });

  it("does not lose one's own for an asset that is not one's to see any more", async () => {
    realtime.join("asset:1");
    const first = await connection(1);
    first.readyState = 1;
    first.onopen();
    first.say({ op: "bye", code: "forbidden", retry_after_ms: 1 });
    (await connection(2)).open();
    expect(Socket.all[1]?.sent[0]?.topics).toEqual(["me"]);
    expect(realtime.snapshot()).toBe("live");
    realtime.join("asset:2");
    (await connection(3)).open();
    expect(Socket.all[2]?.sent[0]?.topics).toEqual(["me", "asset:1", "asset:2"]);
  });
});
