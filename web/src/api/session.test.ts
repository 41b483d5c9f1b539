import { afterEach, describe, expect, it, vi } from "vitest";
import { Session } from "./session";

const user = { id: "usr_1", tenant: "default", email: "a@b", name: "Ann", roles: ["user"], state: "active" };

/** A server whose refresh token is good once: each refresh must show the last one that was given. */
class Server {
  now = 0;
  cookie = 0;
  refreshes = 0;
  reused = false;
  down = false;

  fetch = async (path: unknown): Promise<Response> => {
    if (this.down) throw new TypeError("network");
    if (path === "/v1/auth/sign-out") {
      this.cookie = 0;
      return new Response(null, { status: 204 });
    }
    if (path === "/v1/auth/refresh") {
      const shown = this.cookie;
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (shown !== this.cookie) this.reused = true;
      if (shown === 0) return new Response('{"code":"unauthenticated"}', { status: 401 });
      this.refreshes++;
    }
    this.cookie++;
    const expires_at = new Date(this.now + 600_000).toISOString();
    return Response.json({ user, access_token: `token ${this.cookie}`, expires_at });
  };
}

describe("the session", () => {
  const open: Session[] = [];
  const tab = (server: Server): Session => {
    const session = new Session(server.fetch as typeof fetch, () => server.now);
    open.push(session);
    return session;
  };
  afterEach(() => {
    for (const session of open.splice(0)) session.close();
  });

  it("is out when nobody is signed in, and unreachable when nobody answers", async () => {
    const server = new Server();
    const session = tab(server);
    await session.begin();
    expect(session.state).toEqual({ status: "out" });
    expect(await session.token()).toBeNull();
    server.down = true;
    const other = tab(server);
    await other.begin();
    expect(other.state).toEqual({ status: "unreachable" });
  });

  it("keeps its token until shortly before its end", async () => {
    const server = new Server();
    const session = tab(server);
    await session.signIn("a@b", "secret");
    expect(session.state).toMatchObject({ status: "in", user: { name: "Ann" } });
    expect(await session.token()).toBe("token 1");
    server.now = 575_000;
    expect(await session.token()).toBe("token 2");
    expect(server.refreshes).toBe(1);
  });

  it("refreshes once for many calls at once", async () => {
    const server = new Server();
    const session = tab(server);
    await session.signIn("a@b", "secret");
    server.now = 700_000;
    const tokens = await Promise.all([1, 2, 3, 4].map(() => session.token()));
    expect(new Set(tokens)).toEqual(new Set(["token 2"]));
    expect(server.refreshes).toBe(1);
  });

  it("never uses a refresh token twice, however many tabs there are", async () => {
    const server = new Server();
    // Web Locks as browsers have them: one holder at a time.
    let last: Promise<unknown> = Promise.resolve();
    vi.stubGlobal("navigator", {
      locks: { request: (_: string, work: () => Promise<unknown>) => (last = last.then(work, work)) },
    });
    const tabs = [tab(server), tab(server), tab(server)];
    await tabs[0]?.signIn("a@b", "secret");
    await vi.waitFor(() => expect(tabs.every(({ state }) => state.status === "in")).toBe(true));
    server.now = 700_000;
    await Promise.all(tabs.map((one) => one.token()));
    expect(server.reused).toBe(false);
    vi.unstubAllGlobals();
  });

  it("signs out everywhere", async () => {
    const server = new Server();
    const tabs = [tab(server), tab(server)];
    await tabs[0]?.signIn("a@b", "secret");
    await vi.waitFor(() => expect(tabs[1]?.state.status).toBe("in"));
    await tabs[0]?.signOut();
    await vi.waitFor(() => expect(tabs[1]?.state.status).toBe("out"));
    expect(await tabs[1]?.token()).toBeNull();
  });
});
